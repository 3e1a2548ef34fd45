//! Whether what the controllers read in objects is what the repositories say now, as far as this run of the daemon has seen.
//!
//! Objects outlive the daemon. While it was down, the members may have agreed on another definition and brought a channel to
//! it; held against the objects of before, that is a change of others to put back. So a daemon that reads repositories as well
//! proposes, signs and approves nothing for a consortium until it has, in this run, read a good definition and written it to
//! the objects.
//!
//! The same can happen while it runs, between two looks at the repository: others have merged a change, read it, and brought a
//! channel, or a contract on it, to it. So after one that concerns several daemons has changed, nothing new is proposed or
//! approved for it before the repository was read again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tenter_consortium::objects::Kind;

/// Reason of what is not proposed or signed before the definition was seen.
pub const DEFINITION_NOT_SEEN: &str = "DefinitionNotSeen";

/// Objects that are not what the definition says, each with what keeps it from it. Only what is proposed or signed for counts:
/// Channels and Chaincodes, which all are in the consortium's namespace.
pub type Behind = BTreeMap<(Kind, String), String>;

/// What the sync loops have seen, for the controllers of the same process.
#[derive(Debug, Default)]
pub struct Definitions {
    seen: Mutex<Arc<State>>,
}

/// What the sync loops had seen at one time.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<State>);

#[derive(Clone, Debug, Default)]
struct State {
    followed: Followed,
    consortia: BTreeMap<String, Stand>,
    /// The last of the moments that were counted: see [`Definitions::moment`].
    moment: u64,
    /// When the reading began that brought the newest good definition, by consortium.
    fetched: BTreeMap<String, u64>,
    /// The newest sequence of each channel and chaincode of a consortium, and when it was first seen; the first of all was there
    /// before.
    changed: BTreeMap<(String, Kind, String), (u64, u64)>,
}

/// The consortia whose repositories this process reads.
#[derive(Clone, Debug, Default)]
enum Followed {
    /// None: another process keeps the objects as the definition says, and these controllers take them as they are.
    #[default]
    None,
    One(String),
    All,
}

#[derive(Clone, Debug)]
enum Stand {
    /// No good definition was read, and why.
    Unread(String),
    /// One was, and all objects but these are as it says.
    Read(Behind),
}

impl Definitions {
    /// Controllers wait for the definition of this consortium, or of every one, from now on.
    pub fn follow(&self, consortium: Option<&str>) {
        let followed = consortium.map_or(Followed::All, |name| Followed::One(name.to_owned()));
        self.change(|state| state.followed = followed);
    }

    /// No good definition was to be had. One that was read in this run before still counts.
    pub fn unread(&self, consortium: &str, why: &str) {
        self.change(|state| {
            if !matches!(state.consortia.get(consortium), Some(Stand::Read(_))) {
                state.consortia.insert(consortium.to_owned(), Stand::Unread(why.to_owned()));
            }
        });
    }

    /// A good definition was read, and all objects but these are as it says.
    pub fn read(&self, consortium: &str, behind: Behind) {
        self.change(|state| drop(state.consortia.insert(consortium.to_owned(), Stand::Read(behind))));
    }

    /// A moment after everything that was told before: for putting in order what different tasks see.
    pub fn moment(&self) -> u64 {
        let mut moment = 0;
        self.change(|state| {
            state.moment += 1;
            moment = state.moment;
        });
        moment
    }

    /// The repository was read, and had a good definition; the reading began at this moment.
    pub fn fetched(&self, consortium: &str, began: u64) {
        self.change(|state| {
            state.fetched.insert(consortium.to_owned(), began);
        });
    }

    /// A channel's configuration, or a chaincode's definition, has this sequence, which daemons of others may have brought.
    /// Gives when it was first seen.
    pub fn changed(&self, consortium: &str, kind: Kind, name: &str, sequence: u64) -> u64 {
        let key = (consortium.to_owned(), kind, name.to_owned());
        let known = self.seen().0.changed.get(&key).copied();
        let when = match known {
            Some((known, when)) if known >= sequence => return when,
            Some(_) => self.moment(),
            None => 0,
        };
        self.change(|state| {
            state.changed.insert(key, (sequence, when));
        });
        when
    }

    /// The definition is no longer followed: what was seen of it does not count when it is again.
    pub fn forget(&self, consortium: &str) {
        self.change(|state| {
            state.consortia.remove(consortium);
            state.fetched.remove(consortium);
            state.changed.retain(|(of, ..), _| of != consortium);
        });
    }

    /// What was seen so far. Whoever reads an object after it finds it at least as new.
    pub fn seen(&self) -> Seen {
        Seen(Arc::clone(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut seen));
    }
}

impl Seen {
    /// Whether anything of a consortium waits.
    pub fn is_awaited(&self, consortium: &str) -> bool {
        let settled = matches!(self.0.consortia.get(consortium), Some(Stand::Read(behind)) if behind.is_empty());
        self.is_followed(consortium) && (!settled || self.overtaken(consortium).is_some())
    }

    /// When the newest change was seen after which the repository was not read again.
    pub fn overtaken(&self, consortium: &str) -> Option<u64> {
        let changes = self.0.changed.iter().filter(|((of, ..), _)| of == consortium);
        changes.map(|(_, (_, when))| *when).max().filter(|when| *when > self.fetched(consortium))
    }

    /// What an object waits for whose ledger changed at a moment, in words; `None` if the repository was read since.
    pub fn not_read_since(&self, consortium: &str, kind: Kind, name: &str, changed: u64) -> Option<String> {
        (self.is_followed(consortium) && changed > self.fetched(consortium)).then(|| {
            format!(
                "what the ledger has of {kind} {name} changed after the repository of consortium {consortium} was read, which is \
                 read again first"
            )
        })
    }

    fn fetched(&self, consortium: &str) -> u64 {
        self.0.fetched.get(consortium).copied().unwrap_or_default()
    }

    /// What an object waits for before anything is proposed or signed by it, in words; `None` if it is as the definition says.
    pub fn awaited(&self, consortium: &str, kind: Kind, name: &str) -> Option<String> {
        if !self.is_followed(consortium) {
            return None;
        }
        match self.0.consortia.get(consortium) {
            None => Some(format!(
                "the repository of consortium {consortium} is being read for the first time since this daemon began to follow it"
            )),
            Some(Stand::Unread(why)) => Some(format!(
                "no good definition was read from the repository of consortium {consortium} since this daemon began to \
                 follow it: {why}"
            )),
            Some(Stand::Read(behind)) => {
                let why = behind.get(&(kind, name.to_owned()))?;
                Some(format!("{kind} {name} is not yet what the repository of consortium {consortium} says: {why}"))
            }
        }
    }

    fn is_followed(&self, consortium: &str) -> bool {
        match &self.0.followed {
            Followed::None => false,
            Followed::One(name) => name == consortium,
            Followed::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(definitions: &Definitions, consortium: &str, expect: Option<&str>) {
        let seen = definitions.seen();
        let awaited = seen.awaited(consortium, Kind::Channel, "settlement");
        match expect {
            None => assert_eq!(awaited, None),
            Some(part) => assert!(awaited.as_ref().is_some_and(|why| why.contains(part)), "{part}: {awaited:?}"),
        }
    }

    #[test]
    fn controllers_alone_wait_for_nothing() {
        let definitions = Definitions::default();
        check(&definitions, "trade", None);
        assert!(!definitions.seen().is_awaited("trade"));
        definitions.follow(Some("trade"));
        check(&definitions, "trade", Some("first time"));
        check(&definitions, "other", None);
    }

    #[test]
    fn each_consortium_waits_for_its_own_definition() {
        let definitions = Definitions::default();
        definitions.follow(None);
        definitions.unread("other", "SourceUnreachable: no route");
        definitions.read("trade", Behind::new());
        check(&definitions, "trade", None);
        check(&definitions, "other", Some("SourceUnreachable: no route"));
        assert!(definitions.seen().is_awaited("other") && !definitions.seen().is_awaited("trade"));
    }

    #[test]
    fn what_was_seen_counts_until_it_is_forgotten() {
        let definitions = Definitions::default();
        definitions.follow(None);
        definitions.read("trade", Behind::new());
        definitions.unread("trade", "SourceUnreachable: no route");
        check(&definitions, "trade", None);
        definitions.forget("trade");
        check(&definitions, "trade", Some("first time"));
    }

    #[test]
    fn an_object_that_could_not_be_written_waits_alone() {
        let definitions = Definitions::default();
        definitions.follow(None);
        let why = "blocked: namespace trade-globex is not allowed".to_owned();
        definitions.read("trade", Behind::from([((Kind::Channel, "settlement".to_owned()), why)]));
        let seen = definitions.seen();
        check(
            &definitions,
            "trade",
            Some("Channel settlement is not yet what the repository of consortium trade says"),
        );
        assert_eq!(seen.awaited("trade", Kind::Channel, "other"), None);
        assert_eq!(seen.awaited("trade", Kind::Chaincode, "settlement"), None);
        assert!(seen.is_awaited("trade"));
        // What was asked for before stays as it was.
        definitions.read("trade", Behind::new());
        assert!(seen.awaited("trade", Kind::Channel, "settlement").is_some());
        check(&definitions, "trade", None);
    }

    #[test]
    fn a_channel_that_changed_waits_for_the_next_reading() {
        let definitions = Definitions::default();
        let check = |changed: u64, waits: bool| {
            let seen = definitions.seen();
            assert_eq!(seen.not_read_since("trade", Kind::Channel, "settlement", changed).is_some(), waits);
            assert_eq!(seen.is_awaited("trade"), waits);
        };
        // Controllers alone take objects as they are.
        definitions.changed("trade", Kind::Channel, "settlement", 1);
        let changed = definitions.changed("trade", Kind::Channel, "settlement", 2);
        assert!(definitions.seen().not_read_since("trade", Kind::Channel, "settlement", changed).is_none());
        definitions.forget("trade");

        definitions.follow(None);
        let began = definitions.moment();
        definitions.fetched("trade", began);
        definitions.read("trade", Behind::new());
        check(definitions.changed("trade", Kind::Channel, "settlement", 4), false);
        check(definitions.changed("trade", Kind::Channel, "settlement", 4), false);
        let began = definitions.moment();
        let changed = definitions.changed("trade", Kind::Channel, "settlement", 5);
        check(changed, true);
        assert_eq!(definitions.changed("trade", Kind::Channel, "settlement", 5), changed, "it is seen again and again");
        // A reading that began before may have missed what led to it.
        definitions.fetched("trade", began);
        check(changed, true);
        assert_eq!(definitions.seen().overtaken("other"), None);
        let began = definitions.moment();
        definitions.fetched("trade", began);
        check(changed, false);
        assert_eq!(definitions.seen().overtaken("trade"), None);
    }
}
