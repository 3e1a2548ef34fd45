//! What a Pod says of itself, and what is wrong with it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::controllers::labels::RESTART;

/// Label of a Pod that names the revision of its `StatefulSet` that it was made from.
const REVISION: &str = "controller-revision-hash";
/// Longest part of a program's last words that is shown.
const MAX_LAST_WORDS: usize = 400;

/// What is known of a node's Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is true or false whatever the others are")]
pub struct PodFacts {
    /// Its uid.
    pub uid: String,
    /// Whether it passes its readiness probe.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether its program runs, ready or not.
    pub running: bool,
    /// Since when it is ready, not ready, or being deleted.
    pub since: Option<Timestamp>,
    /// The revision of the `StatefulSet` that it was made from.
    pub revision: Option<String>,
    /// The image that it was made with.
    pub image: Option<String>,
    /// The annotations of its template.
    pub annotations: BTreeMap<String, String>,
    /// What keeps it from running, if anything does.
    pub trouble: Option<Trouble>,
    /// Whether a restart of it was asked for; see [`RESTART`].
    pub restart_asked: bool,
}

/// What keeps a Pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// CamelCase, as Kubernetes says it: `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`, ...
    pub reason: String,
    /// What Kubernetes, or the program's last words, say.
    pub message: String,
}

impl PodFacts {
    /// Reads a Pod.
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let condition = |name: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == name);
        let containers = status.container_statuses.clone().unwrap_or_default();
        let unschedulable =
            condition("PodScheduled").filter(|condition| condition.status == "False").map(|condition| Trouble {
                reason: condition.reason.clone().unwrap_or_else(|| "Unschedulable".to_owned()),
                message: condition.message.clone().unwrap_or_default(),
            });
        let since = pod.metadata.deletion_timestamp.clone().or_else(|| {
            // One that was never scheduled has no such condition.
            let changed = condition("Ready").and_then(|condition| condition.last_transition_time.clone());
            changed.or_else(|| pod.creation_timestamp())
        });
        Self {
            uid: pod.uid().unwrap_or_default(),
            ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            running: containers.iter().any(|it| it.state.as_ref().is_some_and(|state| state.running.is_some())),
            since: since.map(|time| time.0),
            revision: pod.labels().get(REVISION).cloned(),
            image: pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone()),
            annotations: pod.annotations().clone(),
            trouble: unschedulable.or_else(|| containers.iter().find_map(container_trouble)),
            restart_asked: false,
        }
    }

    /// Reads the Pod of a node with these annotations.
    pub fn of_node(pod: &Pod, annotations: &BTreeMap<String, String>) -> Self {
        let facts = Self::of(pod);
        let restart_asked = annotations.get(RESTART).is_some_and(|uid| *uid == facts.uid);
        Self { restart_asked, ..facts }
    }

    /// Whether it serves: ready, and not on its way out.
    pub const fn serves(&self) -> bool {
        self.ready && !self.deleting
    }

    /// Whether it waits for a restart, or may come to: Kubernetes has not looked at the newest template yet.
    pub fn may_be_outdated(&self, stateful_set: &StatefulSet) -> bool {
        self.restart_asked
            || update_revision(stateful_set).is_none_or(|revision| self.revision.as_deref() != Some(revision))
    }

    /// Whether it was made from an older template than the `StatefulSet` has now, or is to be restarted for another reason.
    pub fn is_outdated(&self, stateful_set: &StatefulSet) -> bool {
        self.restart_asked
            || update_revision(stateful_set).is_some_and(|revision| self.revision.as_deref() != Some(revision))
    }
}

/// The revision of the newest template; `None` until Kubernetes has looked at it.
fn update_revision(stateful_set: &StatefulSet) -> Option<&str> {
    let status = stateful_set.status.as_ref()?;
    let seen = status.observed_generation == stateful_set.metadata.generation;
    status.update_revision.as_deref().filter(|_| seen)
}

fn container_trouble(container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone()?;
    // These two are the ordinary way up.
    if reason == "ContainerCreating" || reason == "PodInitializing" {
        return None;
    }
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last_words = ended.map(|ended| {
        let words = ended.message.as_deref().unwrap_or_default().trim();
        let start = words.ceil_char_boundary(words.len().saturating_sub(MAX_LAST_WORDS));
        format!("; it last ended with exit code {}: {}", ended.exit_code, &words[start..])
    });
    let message =
        format!("{}{}", waiting.message.as_deref().unwrap_or("its container waits"), last_words.unwrap_or_default());
    Some(Trouble { reason, message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(status: &serde_json::Value) -> PodFacts {
        let pod = json!({"metadata": {"uid": "u", "labels": {REVISION: "r1"}}, "status": status});
        PodFacts::of(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn troubles_are_named_with_the_last_words() {
        let check = |status: serde_json::Value, expect: Option<(&str, &str)>| {
            let trouble = facts(&status).trouble;
            let found = trouble.as_ref().map(|trouble| (trouble.reason.as_str(), trouble.message.as_str()));
            assert_eq!(found, expect);
        };
        let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "why"}});
        let container = |state: serde_json::Value, last: serde_json::Value| {
            json!({"containerStatuses": [{
                "name": "node", "ready": false, "restartCount": 1, "image": "", "imageID": "",
                "state": state, "lastState": last,
            }]})
        };
        check(json!({}), None);
        check(container(waiting("ContainerCreating"), json!({})), None);
        check(container(waiting("ImagePullBackOff"), json!({})), Some(("ImagePullBackOff", "why")));
        let crashed = json!({"terminated": {"exitCode": 2, "message": "panic: no identity\n"}});
        check(
            container(waiting("CrashLoopBackOff"), crashed),
            Some(("CrashLoopBackOff", "why; it last ended with exit code 2: panic: no identity")),
        );
        let unscheduled = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node has 8 CPUs"},
        ]});
        check(unscheduled, Some(("Unschedulable", "no node has 8 CPUs")));
    }

    #[test]
    fn a_pod_says_since_when_and_whether_its_program_runs() {
        let check = |status: serde_json::Value, running: bool, since: Option<&str>| {
            let pod = facts(&status);
            let since = since.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!((pod.running, pod.since), (running, since), "{status}");
        };
        let container = json!({
            "name": "node", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": {"running": {}},
        });
        let ready = json!({"type": "Ready", "status": "False", "lastTransitionTime": "2026-03-01T12:00:00Z"});
        check(json!({}), false, None);
        check(json!({"conditions": [ready]}), false, Some("2026-03-01T12:00:00Z"));
        check(json!({"containerStatuses": [container]}), true, None);
    }

    #[test]
    fn a_pod_is_outdated_once_kubernetes_has_seen_the_new_template() {
        let set = |generation: i64, observed: i64, revision: &str| -> StatefulSet {
            let set = json!({
                "metadata": {"generation": generation},
                "status": {"replicas": 1, "observedGeneration": observed, "updateRevision": revision},
            });
            serde_json::from_value(set).unwrap()
        };
        let pod = facts(&json!({}));
        assert!(!pod.is_outdated(&set(1, 1, "r1")));
        assert!(pod.is_outdated(&set(2, 2, "r2")));
        assert!(!pod.is_outdated(&set(2, 1, "r2")), "not looked at yet");
        assert!(pod.may_be_outdated(&set(2, 1, "r1")), "not looked at yet");
        assert!(!pod.may_be_outdated(&set(1, 1, "r1")));
        let asked = PodFacts { restart_asked: true, ..pod };
        assert!(asked.is_outdated(&set(1, 1, "r1")) && asked.may_be_outdated(&set(1, 1, "r1")));
    }
}
