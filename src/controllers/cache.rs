//! Copies of the objects that the controllers watch, so that a look at an object need not ask the API server.
//!
//! A copy is as good as an answer of the API server for this daemon's own writes: a copy that is older than what this
//! process wrote last is not used (the API server is asked instead), nor is any while the watch is broken. What others
//! write arrives a moment later than it would be read, and wakes whoever waits for it *after* the copy has it: nothing
//! is decided for good on what was there before.
//!
//! Secrets are not among the watched kinds: no private key is kept here.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tenter_consortium::objects::{FIELD_MANAGER, LABEL_ORGANIZATION};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use super::apply::MANAGED_BY;
use crate::resources::API_VERSION;

/// An object of a kind that can be watched, in a namespace or not.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K> Watched for K where K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

/// Changes that a slow reader may be behind; one that is further behind is shown everything again.
const BACKLOG: usize = 256;

/// The copies of all kinds that are watched. Clones share them.
#[derive(Clone)]
pub struct Cache {
    client: Client,
    kinds: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
}

/// What the copies say.
#[derive(Debug)]
pub enum Answer<T> {
    /// It is so.
    Known(T),
    /// They cannot tell: ask the API server.
    Unknown,
}

/// A change of a kind's objects.
#[derive(Clone)]
enum Change<K> {
    /// This one changed, or went.
    One(Arc<K>),
    /// The watch began anew: any may have changed.
    All,
}

/// One kind's copies.
struct Kind<K: Watched> {
    /// The only namespace that is watched; `None` for all.
    place: Option<String>,
    reader: Store<K>,
    /// Whether the watch stands, and has shown everything once.
    standing: Arc<AtomicBool>,
    changes: broadcast::Sender<Change<K>>,
    written: Mutex<BTreeMap<(String, String), Floor>>,
    _watch: AbortOnDropHandle<()>,
}

/// What a copy must have reached to be used: this process wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Floor {
    /// At least this resource version.
    At(String),
    /// Something newer than this resource version: somebody wrote it in between.
    After(String),
    /// Anything at all: it is there already.
    There,
    /// Not the object of this UID any more.
    Gone(String),
}

impl Floor {
    fn is_met(&self, version: Option<&str>, uid: Option<&str>) -> bool {
        match self {
            Self::At(written) => version.is_some_and(|version| version == written || is_later(version, written)),
            Self::After(read) => version.is_some_and(|version| is_later(version, read)),
            Self::There => version.is_some(),
            Self::Gone(gone) => uid != Some(gone),
        }
    }
}

/// Whether a resource version comes after another (Kubernetes API concepts, "Resource versions": they compare as
/// numbers). Those of a server where they are none never do.
fn is_later(version: &str, other: &str) -> bool {
    matches!((version.parse::<u128>(), other.parse::<u128>()), (Ok(version), Ok(other)) if version > other)
}

/// The label selector of what is watched of a kind: Tenter's own kinds whole, of namespaces those of organizations, of other
/// kinds what Tenter made.
fn selector<K: Watched>() -> Option<String> {
    if K::api_version(&()) == API_VERSION {
        None
    } else if TypeId::of::<K>() == TypeId::of::<Namespace>() {
        Some(LABEL_ORGANIZATION.to_owned())
    } else {
        Some(format!("{MANAGED_BY}={FIELD_MANAGER}"))
    }
}

/// How a copy is found; the namespace of an object that stands in none is empty.
fn reference<K: Watched>(namespace: &str, name: &str) -> ObjectRef<K> {
    let reference = ObjectRef::new(name);
    if namespace.is_empty() { reference } else { reference.within(namespace) }
}

/// Whether labels fit a selector of equalities and presences; `None` if it says more than those.
fn fits(labels: &BTreeMap<String, String>, selector: &str) -> Option<bool> {
    selector.split(',').filter(|term| !term.is_empty()).try_fold(true, |fits, term| {
        if term.contains(['!', '(', ' ']) || term.contains("==") {
            return None;
        }
        let holds = match term.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|label| label == value),
            None => labels.contains_key(term),
        };
        Some(fits && holds)
    })
}

impl Cache {
    /// No copies yet.
    pub fn new(client: Client) -> Self {
        Self { client, kinds: Arc::default() }
    }

    fn kind<K: Watched>(&self) -> Option<Arc<Kind<K>>> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.get(&TypeId::of::<K>()).cloned()?.downcast().ok()
    }

    /// The copies of a kind; the first who asks for them starts its watch, which ends with the last clone of the cache.
    fn watched<K: Watched>(&self) -> Arc<Kind<K>> {
        self.kept(None, || Api::all(self.client.clone()))
    }

    /// Keeps copies of a kind's objects in one namespace only: the others are not this daemon's to watch.
    pub fn keep_in<K: Watched + Resource<Scope = NamespaceResourceScope>>(&self, namespace: &str) {
        self.kept(Some(namespace), || Api::<K>::namespaced(self.client.clone(), namespace));
    }

    fn kept<K: Watched>(&self, place: Option<&str>, api: impl FnOnce() -> Api<K>) -> Arc<Kind<K>> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.get(&TypeId::of::<K>()).cloned().and_then(|kind| kind.downcast().ok());
        known.unwrap_or_else(|| {
            let kind = Arc::new(Kind::<K>::start(api(), place.map(str::to_owned)));
            kinds.insert(TypeId::of::<K>(), kind.clone());
            kind
        })
    }

    /// The copies of a kind, for those that look at all of them.
    pub fn store<K: Watched>(&self) -> Store<K> {
        self.watched::<K>().reader.clone()
    }

    /// Every object of a kind, and then each that changed or went, after the copy shows it. Ends with the cache.
    pub fn changes<K: Watched>(&self) -> impl Stream<Item = K> + Send + 'static {
        let kind = self.watched::<K>();
        // Subscribed before the copies are looked at, so that no change falls in between.
        let follow = Follow { receiver: kind.changes.subscribe(), reader: kind.reader.clone(), next: VecDeque::new() };
        let follow = Follow { next: follow.reader.state().into(), ..follow };
        stream::unfold(follow, |mut follow| async move { Some((follow.next().await?, follow)) })
            .map(Arc::unwrap_or_clone)
    }

    /// The copy of an object.
    pub fn get<K: Watched>(&self, namespace: &str, name: &str) -> Answer<Option<K>> {
        match self.own(namespace, name) {
            // It may be there and be somebody else's: without the label it is not watched.
            Answer::Known(None) if selector::<K>().is_some() => Answer::Unknown,
            copy => copy,
        }
    }

    /// The copy of an object that Tenter makes; absent may also mean that somebody else's has its name.
    pub fn own<K: Watched>(&self, namespace: &str, name: &str) -> Answer<Option<K>> {
        let Some(kind) = self.kind::<K>().filter(|kind| kind.standing.load(Ordering::Acquire)) else {
            return Answer::Unknown;
        };
        if kind.place.as_deref().is_some_and(|place| place != namespace) {
            return Answer::Unknown;
        }
        match kind.current(&(namespace.to_owned(), name.to_owned())) {
            Answer::Known(copy) => Answer::Known(copy.map(Arc::unwrap_or_clone)),
            Answer::Unknown => Answer::Unknown,
        }
    }

    /// The copies in a namespace, or in all, that carry `labels` (a label selector).
    pub fn list<K: Watched>(&self, namespace: Option<&str>, labels: &str) -> Answer<Vec<K>> {
        let Some(kind) = self.kind::<K>().filter(|kind| kind.standing.load(Ordering::Acquire)) else {
            return Answer::Unknown;
        };
        if selector::<K>().is_some_and(|watched| !labels.split(',').any(|term| term == watched)) {
            return Answer::Unknown;
        }
        if kind.place.as_deref().is_some_and(|place| namespace != Some(place)) || !kind.are_current(namespace) {
            return Answer::Unknown;
        }
        let mut found = Vec::new();
        for copy in kind.reader.state() {
            if namespace.is_some_and(|namespace| copy.namespace().as_deref() != Some(namespace)) {
                continue;
            }
            match fits(copy.labels(), labels) {
                None => return Answer::Unknown,
                Some(true) => found.push(Arc::unwrap_or_clone(copy)),
                Some(false) => {}
            }
        }
        Answer::Known(found)
    }

    /// Notes what the API server answered to a write.
    pub fn wrote<K: Watched>(&self, answer: &K) {
        if let Some(version) = answer.resource_version() {
            self.note::<K>(&answer.namespace().unwrap_or_default(), &answer.name_any(), Floor::At(version));
        }
    }

    /// Notes that somebody else wrote an object after this version of it was read.
    pub fn outdated<K: Watched>(&self, read: &K) {
        if let Some(version) = read.resource_version() {
            self.note::<K>(&read.namespace().unwrap_or_default(), &read.name_any(), Floor::After(version));
        }
    }

    /// Notes that an object is there already.
    pub fn exists<K: Watched>(&self, namespace: &str, name: &str) {
        self.note::<K>(namespace, name, Floor::There);
    }

    /// Notes that an object was deleted: it is `going`, as the API server answered, or gone at once.
    pub fn deleted<K: Watched>(&self, namespace: &str, name: &str, going: Option<&K>) {
        if let Some(going) = going {
            return self.wrote(going);
        }
        let copy = self.kind::<K>().and_then(|kind| kind.reader.get(&reference(namespace, name)));
        if let Some(uid) = copy.and_then(|copy| copy.uid()) {
            self.note::<K>(namespace, name, Floor::Gone(uid));
        }
    }

    /// Notes what the API server answered when it was asked: what is in neither place was not missed.
    pub fn asked<K: Watched>(&self, namespace: &str, name: &str, there: bool) {
        let Some(kind) = self.kind::<K>().filter(|_| !there) else { return };
        if kind.reader.get(&reference(namespace, name)).is_none() {
            kind.floors().remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    fn note<K: Watched>(&self, namespace: &str, name: &str, floor: Floor) {
        let Some(kind) = self.kind::<K>() else { return };
        let mut floors = kind.floors();
        let known = floors.entry((namespace.to_owned(), name.to_owned())).or_insert_with(|| floor.clone());
        // Two writes may be noted in the wrong order.
        match (&*known, &floor) {
            (Floor::At(before), Floor::At(now)) if is_later(before, now) => {}
            (Floor::At(_) | Floor::After(_), Floor::There) => {}
            _ => *known = floor,
        }
    }
}

impl<K: Watched> Kind<K> {
    fn start(api: Api<K>, place: Option<String>) -> Self {
        let (reader, writer) = reflector::store();
        let standing = Arc::new(AtomicBool::new(false));
        let (changes, _) = broadcast::channel(BACKLOG);
        let watch = tokio::spawn(watch(api, reader.clone(), writer, standing.clone(), changes.clone()));
        Self {
            place,
            reader,
            standing,
            changes,
            written: Mutex::new(BTreeMap::new()),
            _watch: AbortOnDropHandle::new(watch),
        }
    }

    fn floors(&self) -> MutexGuard<'_, BTreeMap<(String, String), Floor>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy, if it has reached what this process wrote.
    fn current(&self, key: &(String, String)) -> Answer<Option<Arc<K>>> {
        // Held while the copy is looked at: another reader may see a later one, and take the floor away.
        let mut floors = self.floors();
        let copy = self.reader.get(&reference(&key.0, &key.1));
        let Some(floor) = floors.get(key) else { return Answer::Known(copy) };
        let meta = copy.as_ref().map(|copy| copy.meta());
        let version = meta.and_then(|meta| meta.resource_version.as_deref());
        if !floor.is_met(version, meta.and_then(|meta| meta.uid.as_deref())) {
            return Answer::Unknown;
        }
        floors.remove(key);
        Answer::Known(copy)
    }

    /// Whether all copies of a namespace, or of all, have.
    fn are_current(&self, namespace: Option<&str>) -> bool {
        let keys: Vec<_> = self
            .floors()
            .keys()
            .filter(|(place, _)| namespace.is_none_or(|namespace| place == namespace))
            .cloned()
            .collect();
        keys.iter().all(|key| matches!(self.current(key), Answer::Known(_)))
    }
}

/// Follows a kind for ever, and tells of each change once the copy has it.
async fn watch<K: Watched>(
    api: Api<K>,
    reader: Store<K>,
    writer: reflector::store::Writer<K>,
    standing: Arc<AtomicBool>,
    changes: broadcast::Sender<Change<K>>,
) {
    let config =
        selector::<K>().map_or_else(watcher::Config::default, |labels| watcher::Config::default().labels(&labels));
    let events = watcher(api, config)
        .default_backoff()
        // Nothing that looks at copies asks who wrote which field, and that is the half of many objects.
        .modify(|object: &mut K| object.meta_mut().managed_fields = None)
        .reflect(writer);
    let mut events = std::pin::pin!(events);
    let mut before = Vec::new();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            // A watch that broke comes back by itself; until it shows something again the API server is asked.
            Err(error) => {
                standing.store(false, Ordering::Release);
                tracing::debug!(kind = %K::kind(&()), "{error}");
                continue;
            }
        };
        // Nobody listening is no failure.
        match event {
            Event::Init => before = reader.state(),
            Event::InitApply(_) => {}
            Event::InitDone => {
                standing.store(true, Ordering::Release);
                for gone in before.drain(..).filter(|object| reader.get(&ObjectRef::from_obj(&**object)).is_none()) {
                    drop(changes.send(Change::One(gone)));
                }
                drop(changes.send(Change::All));
            }
            Event::Apply(object) | Event::Delete(object) => {
                standing.store(true, Ordering::Release);
                drop(changes.send(Change::One(Arc::new(object))));
            }
        }
    }
}

/// One reader of a kind's changes.
struct Follow<K: Watched> {
    receiver: broadcast::Receiver<Change<K>>,
    reader: Store<K>,
    next: VecDeque<Arc<K>>,
}

impl<K: Watched> Follow<K> {
    async fn next(&mut self) -> Option<Arc<K>> {
        loop {
            if let Some(object) = self.next.pop_front() {
                return Some(object);
            }
            match self.receiver.recv().await {
                Ok(Change::One(object)) => return Some(object),
                Ok(Change::All) | Err(broadcast::error::RecvError::Lagged(_)) => self.next = self.reader.state().into(),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_used_once_it_has_what_was_written() {
        let check = |floor: &Floor, version: Option<&str>, uid: Option<&str>, expect: bool| {
            assert_eq!(floor.is_met(version, uid), expect, "{floor:?} {version:?} {uid:?}");
        };
        let at = Floor::At("10".to_owned());
        check(&at, None, None, false);
        check(&at, Some("9"), Some("a"), false);
        check(&at, Some("10"), Some("a"), true);
        check(&at, Some("11"), Some("a"), true);
        let after = Floor::After("10".to_owned());
        check(&after, Some("10"), Some("a"), false);
        check(&after, Some("11"), Some("a"), true);
        check(&Floor::There, None, None, false);
        check(&Floor::There, Some("1"), Some("a"), true);
        let gone = Floor::Gone("a".to_owned());
        check(&gone, Some("12"), Some("a"), false);
        check(&gone, Some("12"), Some("b"), true);
        check(&gone, None, None, true);
    }

    #[test]
    fn versions_that_are_no_numbers_are_never_later() {
        assert!(!is_later("b", "a"));
        assert!(!is_later("10", "a"));
        assert!(Floor::At("a".to_owned()).is_met(Some("a"), None));
        assert!(!Floor::At("a".to_owned()).is_met(Some("b"), None));
    }

    #[test]
    fn selectors_of_equalities_and_presences_are_understood() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        for (selector, expect) in [
            ("", Some(true)),
            ("a=1", Some(true)),
            ("a=2", Some(false)),
            ("b", Some(true)),
            ("a=1,b", Some(true)),
            ("a=1,c", Some(false)),
            ("a!=1", None),
            ("a in (1)", None),
            ("!a", None),
        ] {
            assert_eq!(fits(&labels, selector), expect, "{selector}");
        }
    }
}
