//! The difference of two trees as an update (`internal/configtxlator/update/update.go`).

use std::collections::{BTreeMap, BTreeSet};

use tenter_fabric_wire::common::{ConfigGroup, ConfigPolicy, ConfigValue};

use super::super::write::Unchanged;
use super::super::{key, map};

/// Read set and write set.
pub(super) struct Sets {
    pub(super) read: ConfigGroup,
    pub(super) write: ConfigGroup,
}

/// What happened to the members of one kind in a group.
struct Members<T> {
    read: BTreeMap<String, T>,
    write: BTreeMap<String, T>,
    /// The unchanged ones, with nothing but their version. They are listed only if the group itself changes.
    same: BTreeMap<String, T>,
    joined_or_left: bool,
}

impl<T: Clone> Members<T> {
    fn is_untouched(&self) -> bool {
        !self.joined_or_left && self.read.is_empty() && self.write.is_empty()
    }

    fn list_same(&mut self) {
        self.read.extend(self.same.iter().map(|(name, member)| (name.clone(), member.clone())));
        self.write.append(&mut self.same);
    }
}

/// A member's place in the sets.
enum Placed<T> {
    Same,
    Changed { read: Option<T>, write: T },
}

/// A member of a group.
trait Member: Clone {
    /// What is listed of an unchanged one.
    fn bare(&self) -> Self;

    /// It, with everything in it at version 0.
    fn fresh(&self) -> Self;
}

impl Member for ConfigValue {
    fn bare(&self) -> Self {
        Self { version: self.version, ..Self::default() }
    }

    fn fresh(&self) -> Self {
        Self { version: 0, ..self.clone() }
    }
}

impl Member for ConfigPolicy {
    fn bare(&self) -> Self {
        Self { version: self.version, ..Self::default() }
    }

    fn fresh(&self) -> Self {
        Self { version: 0, ..self.clone() }
    }
}

impl Member for ConfigGroup {
    fn bare(&self) -> Self {
        Self { version: self.version, ..Self::default() }
    }

    fn fresh(&self) -> Self {
        let mut group = self.clone();
        reset_versions(&mut group);
        group
    }
}

/// Compares the members of one kind. Those of `original` that are in `unchanged` are not in `updated`, and stay.
fn compare<T: Member>(
    original: &BTreeMap<String, T>,
    updated: &BTreeMap<String, T>,
    unchanged: &BTreeSet<&str>,
    existing: impl Fn(&str, &T, &T) -> Placed<T>,
) -> Members<T> {
    let (mut read, mut write) = (BTreeMap::new(), BTreeMap::new());
    let kept = original.iter().filter(|(name, _)| unchanged.contains(name.as_str()));
    let mut same: BTreeMap<String, T> = kept.map(|(name, member)| (name.clone(), member.bare())).collect();
    let mut joined = false;
    let mut found = same.len();
    for (name, after) in updated {
        let Some(before) = original.get(name) else {
            write.insert(name.clone(), after.fresh());
            joined = true;
            continue;
        };
        found += 1;
        match existing(name, before, after) {
            Placed::Same => {
                same.insert(name.clone(), before.bare());
            }
            Placed::Changed { read: seen, write: changed } => {
                read.extend(seen.map(|seen| (name.clone(), seen)));
                write.insert(name.clone(), changed);
            }
        }
    }
    Members { read, write, same, joined_or_left: joined || found < original.len() }
}

fn place_value(before: &ConfigValue, after: &ConfigValue) -> Placed<ConfigValue> {
    if before.mod_policy == after.mod_policy && before.value == after.value {
        return Placed::Same;
    }
    Placed::Changed { read: None, write: ConfigValue { version: before.version + 1, ..after.clone() } }
}

fn place_policy(before: &ConfigPolicy, after: &ConfigPolicy) -> Placed<ConfigPolicy> {
    if before.mod_policy == after.mod_policy && before.policy == after.policy {
        return Placed::Same;
    }
    Placed::Changed { read: None, write: ConfigPolicy { version: before.version + 1, ..after.clone() } }
}

fn place_group(sets: Option<Sets>) -> Placed<ConfigGroup> {
    match sets {
        None => Placed::Same,
        Some(Sets { read, write }) => Placed::Changed { read: Some(read), write },
    }
}

fn reset_versions(group: &mut ConfigGroup) {
    group.version = 0;
    group.values.values_mut().for_each(|value| value.version = 0);
    group.policies.values_mut().for_each(|policy| policy.version = 0);
    group.groups.values_mut().for_each(reset_versions);
}

/// The update of a root; `None` if nothing in it changes.
pub(super) fn update(original: &ConfigGroup, updated: &ConfigGroup, unchanged: &Unchanged<'_>) -> Option<Sets> {
    let none = BTreeSet::new();
    group_update(original, updated, &none, |name, before, after| {
        let kept = unchanged.below(name).unwrap_or(&none);
        group_update(before, after, kept, |_, before, after| whole_update(before, after))
    })
}

/// The update of a group of which nothing is left out.
fn whole_update(original: &ConfigGroup, updated: &ConfigGroup) -> Option<Sets> {
    group_update(original, updated, &BTreeSet::new(), |_, before, after| whole_update(before, after))
}

/// The update of a group, without the groups of `unchanged` in `updated`; `None` if nothing in it changes.
///
/// A group itself changes when members join or leave it or its modification policy changes, not when a member changes.
fn group_update(
    original: &ConfigGroup,
    updated: &ConfigGroup,
    unchanged: &BTreeSet<&str>,
    child: impl Fn(&str, &ConfigGroup, &ConfigGroup) -> Option<Sets>,
) -> Option<Sets> {
    let none = BTreeSet::new();
    let mut values = compare(&original.values, &updated.values, &none, |_, before, after| place_value(before, after));
    let mut policies =
        compare(&original.policies, &updated.policies, &none, |_, before, after| place_policy(before, after));
    let mut groups = compare(&original.groups, &updated.groups, unchanged, |name, before, after| {
        place_group(child(name, before, after))
    });
    let membership = values.joined_or_left || policies.joined_or_left || groups.joined_or_left;
    let itself = membership || original.mod_policy != updated.mod_policy;
    if !itself && values.is_untouched() && policies.is_untouched() && groups.is_untouched() {
        return None;
    }
    if itself {
        values.list_same();
        policies.list_same();
        groups.list_same();
    }
    Some(Sets {
        read: ConfigGroup {
            version: original.version,
            groups: groups.read,
            values: values.read,
            policies: policies.read,
            mod_policy: String::new(),
        },
        write: ConfigGroup {
            version: original.version + u64::from(itself),
            groups: groups.write,
            values: values.write,
            policies: policies.write,
            mod_policy: if itself { updated.mod_policy.clone() } else { String::new() },
        },
    })
}

/// Puts the `original` bytes back into `tree` where they mean the same: Go writes maps in any order. Values that hold no
/// map, and policies, are written as they were read.
pub(super) fn keep_equal(tree: &mut ConfigGroup, original: &ConfigGroup) {
    for name in [key::CAPABILITIES, key::ACLS] {
        if let (Some(value), Some(original)) = (tree.values.get_mut(name), original.values.get(name))
            && value.value != original.value
            && entries(&value.value).is_some_and(|wanted| Some(wanted) == entries(&original.value))
        {
            value.value.clone_from(&original.value);
        }
    }
    for (name, group) in &mut tree.groups {
        if let Some(original) = original.groups.get(name) {
            keep_equal(group, original);
        }
    }
}

fn entries(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    Some(map::decode(bytes)?.into_iter().collect())
}
