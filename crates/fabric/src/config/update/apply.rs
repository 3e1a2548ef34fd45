//! Applying an update as an orderer does (`common/configtx/update.go`, `configmap.go`).

use tenter_fabric_wire::common::ConfigGroup;

use super::super::tree::{Elements, Node, illegal_name, is_legal_name};
use super::super::{CHANNEL, CurrentConfig, Element};
use super::{ConfigUpdate, UpdateError};
use crate::config::ConfigError;

/// The value whose presence makes orderers repair empty modification policies.
const REPAIRS: &str = "[Value]  /Channel/Orderer/Capabilities";
const REPAIRED: &str = "Admins";

/// Why every orderer would refuse an update, whoever signs it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateRefusal {
    /// Bytes that are not an update, or one that cannot be shown.
    #[error("the update cannot be read")]
    Unreadable(#[from] UpdateError),
    /// The update is for another channel.
    #[error("the update is for channel `{found}`, not `{expected}`")]
    OtherChannel {
        /// The channel whose configuration it should change.
        expected: String,
        /// The channel that it names.
        found: String,
    },
    /// A name that Fabric does not take.
    #[error("{element} has an illegal name: 1 to 249 letters, digits, `.` or `-`")]
    Name {
        /// The element.
        element: String,
    },
    /// The update depends on something that has changed.
    #[error(
        "the update depends on {element} at version {expected}, but {}; compute it anew and have it signed again",
        .found.map_or_else(|| "it is not there".to_owned(), |found| format!("it is at version {found}"))
    )]
    Stale {
        /// The element.
        element: String,
        /// The version in the read set.
        expected: u64,
        /// The version that there is.
        found: Option<u64>,
    },
    /// Nothing would be written.
    #[error("the update writes nothing")]
    NoEffect,
    /// An element without a usable modification policy.
    #[error("{element} would have the modification policy `{mod_policy}`, which is none")]
    ModPolicy {
        /// The element.
        element: String,
        /// The policy.
        mod_policy: String,
    },
    /// An element is written at a version that is not the next one.
    #[error(
        "{element} would be set to version {version}, but {}",
        .found.map_or_else(|| "it is new and must begin at 0".to_owned(), |found| format!("it is at version {found}"))
    )]
    Version {
        /// The element.
        element: String,
        /// The version that is written.
        version: u64,
        /// The version that there is.
        found: Option<u64>,
    },
    /// The policy that guards an element does not exist, so that nobody can change it.
    #[error("nobody can change {element}: its policy {policy} does not exist")]
    MissingPolicy {
        /// The element.
        element: String,
        /// Path of the policy.
        policy: String,
    },
    /// A group would list a member that is nowhere.
    #[error("{element} would be listed, but it is nowhere")]
    Incomplete {
        /// The member.
        element: String,
    },
    /// The result is no configuration.
    #[error("the configuration after the update cannot be read")]
    Result(#[from] ConfigError),
}

impl ConfigUpdate {
    /// The configuration after the update, if its form lets every orderer take it. Signatures are judged by
    /// [`Judge`](crate::policy::Judge).
    pub fn apply(&self, current: &CurrentConfig) -> Result<CurrentConfig, UpdateRefusal> {
        if self.channel_id != current.channel_id() {
            let (expected, found) = (current.channel_id().to_owned(), self.channel_id.clone());
            return Err(UpdateRefusal::OtherChannel { expected, found });
        }
        let existing = current.elements();
        self.check_read_set(&existing)?;
        if let Some(element) = self.write_set.as_ref().and_then(|set| illegal_name(CHANNEL, set)) {
            return Err(UpdateRefusal::Name { element });
        }
        let delta = self.delta();
        check_delta(&delta, &existing)?;
        let mut all = existing.clone();
        all.extend(delta);
        Ok(current.next(rebuild(CHANNEL, &all)?)?)
    }

    /// The tree after the update, whether or not it applies; `None` if there is none.
    pub(super) fn overlaid(&self, current: &CurrentConfig) -> Option<ConfigGroup> {
        let mut all = current.elements();
        all.extend(self.delta());
        rebuild(CHANNEL, &all).ok()
    }

    fn check_read_set(&self, existing: &Elements<'_>) -> Result<(), UpdateRefusal> {
        if let Some(element) = self.read_set.as_ref().and_then(|set| illegal_name(CHANNEL, set)) {
            return Err(UpdateRefusal::Name { element });
        }
        for (element, expected) in self.reads() {
            let found = existing.get(&element).map(|node| node.version());
            if found != Some(expected) {
                return Err(UpdateRefusal::Stale { element, expected, found });
            }
        }
        Ok(())
    }
}

fn check_delta(delta: &Elements<'_>, existing: &Elements<'_>) -> Result<(), UpdateRefusal> {
    if delta.is_empty() {
        return Err(UpdateRefusal::NoEffect);
    }
    for (element, node) in delta {
        let element = element.clone();
        if !is_mod_policy(node.mod_policy()) {
            return Err(UpdateRefusal::ModPolicy { element, mod_policy: node.mod_policy().to_owned() });
        }
        let version = node.version();
        let Some(old) = existing.get(&element) else {
            if version != 0 {
                return Err(UpdateRefusal::Version { element, version, found: None });
            }
            continue;
        };
        if old.version().checked_add(1) != Some(version) {
            return Err(UpdateRefusal::Version { element, version, found: Some(old.version()) });
        }
        let policy = CurrentConfig::guard(&element, old.mod_policy());
        if !existing.contains_key(&Element::Policy.at(&policy)) {
            return Err(UpdateRefusal::MissingPolicy { element, policy });
        }
    }
    Ok(())
}

/// Whether Fabric takes a text for a modification policy: names with slashes between them, perhaps one in front.
fn is_mod_policy(text: &str) -> bool {
    text.strip_prefix('/').unwrap_or(text).split('/').all(is_legal_name)
}

/// The group at `path` with the members that it lists, each as `all` has it. Elements that no group lists are lost.
fn rebuild(path: &str, all: &Elements<'_>) -> Result<ConfigGroup, UpdateRefusal> {
    let missing = |element: String| UpdateRefusal::Incomplete { element };
    let repairs = all.contains_key(REPAIRS);
    let repair = |mod_policy: &mut String| {
        if repairs && mod_policy.is_empty() {
            REPAIRED.clone_into(mod_policy);
        }
    };
    let element = Element::Group.at(path);
    let Some(Node::Group(listed)) = all.get(&element) else {
        return Err(missing(element));
    };
    let mut group =
        ConfigGroup { version: listed.version, mod_policy: listed.mod_policy.clone(), ..ConfigGroup::default() };
    repair(&mut group.mod_policy);
    for name in listed.groups.keys() {
        group.groups.insert(name.clone(), rebuild(&format!("{path}/{name}"), all)?);
    }
    for name in listed.values.keys() {
        let element = Element::Value.at(&format!("{path}/{name}"));
        let Some(Node::Value(value)) = all.get(&element) else {
            return Err(missing(element));
        };
        let mut value = (*value).clone();
        repair(&mut value.mod_policy);
        group.values.insert(name.clone(), value);
    }
    for name in listed.policies.keys() {
        let element = Element::Policy.at(&format!("{path}/{name}"));
        let Some(Node::Policy(policy)) = all.get(&element) else {
            return Err(missing(element));
        };
        let mut policy = (*policy).clone();
        repair(&mut policy.mod_policy);
        group.policies.insert(name.clone(), policy);
    }
    Ok(group)
}
