//! The difference of two trees as an update (`internal/configtxlator/update/update.go`).

use std::collections::BTreeMap;

use tenter_fabric_wire::common::{ConfigGroup, ConfigPolicy, ConfigValue};

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
    Same(T),
    Changed { read: Option<T>, write: T },
}

fn compare<T: Clone>(
    original: &BTreeMap<String, T>,
    updated: &BTreeMap<String, T>,
    existing: impl Fn(&T, &T) -> Placed<T>,
    new: impl Fn(&T) -> T,
) -> Members<T> {
    let (mut read, mut write, mut same) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (name, after) in updated {
        let Some(before) = original.get(name) else {
            write.insert(name.clone(), new(after));
            continue;
        };
        match existing(before, after) {
            Placed::Same(member) => {
                same.insert(name.clone(), member);
            }
            Placed::Changed { read: seen, write: changed } => {
                read.extend(seen.map(|seen| (name.clone(), seen)));
                write.insert(name.clone(), changed);
            }
        }
    }
    Members { read, write, same, joined_or_left: !original.keys().eq(updated.keys()) }
}

fn place_value(before: &ConfigValue, after: &ConfigValue) -> Placed<ConfigValue> {
    if before.mod_policy == after.mod_policy && before.value == after.value {
        return Placed::Same(ConfigValue { version: before.version, ..ConfigValue::default() });
    }
    Placed::Changed { read: None, write: ConfigValue { version: before.version + 1, ..after.clone() } }
}

fn place_policy(before: &ConfigPolicy, after: &ConfigPolicy) -> Placed<ConfigPolicy> {
    if before.mod_policy == after.mod_policy && before.policy == after.policy {
        return Placed::Same(ConfigPolicy { version: before.version, ..ConfigPolicy::default() });
    }
    Placed::Changed { read: None, write: ConfigPolicy { version: before.version + 1, ..after.clone() } }
}

fn place_group(before: &ConfigGroup, after: &ConfigGroup) -> Placed<ConfigGroup> {
    match group_update(before, after) {
        None => Placed::Same(ConfigGroup { version: before.version, ..ConfigGroup::default() }),
        Some(Sets { read, write }) => Placed::Changed { read: Some(read), write },
    }
}

/// A group that is new, with everything in it at version 0.
fn new_group(group: &ConfigGroup) -> ConfigGroup {
    let mut group = group.clone();
    reset_versions(&mut group);
    group
}

fn reset_versions(group: &mut ConfigGroup) {
    group.version = 0;
    group.values.values_mut().for_each(|value| value.version = 0);
    group.policies.values_mut().for_each(|policy| policy.version = 0);
    group.groups.values_mut().for_each(reset_versions);
}

/// The update of a group; `None` if nothing in it changes.
///
/// A group itself changes when members join or leave it or its modification policy changes, not when a member changes.
pub(super) fn group_update(original: &ConfigGroup, updated: &ConfigGroup) -> Option<Sets> {
    let new_value = |value: &ConfigValue| ConfigValue { version: 0, ..value.clone() };
    let new_policy = |policy: &ConfigPolicy| ConfigPolicy { version: 0, ..policy.clone() };
    let mut values = compare(&original.values, &updated.values, place_value, new_value);
    let mut policies = compare(&original.policies, &updated.policies, place_policy, new_policy);
    let mut groups = compare(&original.groups, &updated.groups, place_group, new_group);
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
