//! The elements of a configuration tree, by name, and the length of its encoding.

use std::collections::BTreeMap;

use prost::Message as _;
use prost::encoding::encoded_len_varint;
use tenter_fabric_wire::common::{ConfigGroup, ConfigPolicy, ConfigValue};

use super::Element;

/// Longest name of a configuration element.
pub(super) const MAX_NAME: usize = 249;

/// Whether Fabric takes a name for a group, value or policy (`common/configtx/validator.go`).
pub(super) fn is_legal_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    !name.is_empty() && name.len() <= MAX_NAME && ![".", ".."].contains(&name) && name.bytes().all(legal)
}

/// An element of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node<'a> {
    Group(&'a ConfigGroup),
    Value(&'a ConfigValue),
    Policy(&'a ConfigPolicy),
}

impl Node<'_> {
    pub(crate) fn version(self) -> u64 {
        match self {
            Self::Group(group) => group.version,
            Self::Value(value) => value.version,
            Self::Policy(policy) => policy.version,
        }
    }

    pub(crate) fn mod_policy(&self) -> &str {
        match self {
            Self::Group(group) => &group.mod_policy,
            Self::Value(value) => &value.mod_policy,
            Self::Policy(policy) => &policy.mod_policy,
        }
    }

    /// Whether two elements say the same, whatever their versions: for groups, whether they list the same members.
    pub(crate) fn says_the_same(self, other: Self) -> bool {
        let content = match (self, other) {
            (Self::Group(one), Self::Group(two)) => {
                one.groups.keys().eq(two.groups.keys())
                    && one.values.keys().eq(two.values.keys())
                    && one.policies.keys().eq(two.policies.keys())
            }
            (Self::Value(one), Self::Value(two)) => one.value == two.value,
            (Self::Policy(one), Self::Policy(two)) => one.policy == two.policy,
            _ => false,
        };
        content && self.mod_policy() == other.mod_policy()
    }
}

/// The elements of a tree by [`Element::at`].
pub(crate) type Elements<'a> = BTreeMap<String, Node<'a>>;

/// All the elements of the group at `path`, itself included.
pub(crate) fn elements<'a>(path: &str, group: &'a ConfigGroup) -> Elements<'a> {
    let mut out = Elements::new();
    collect(path, group, &mut out);
    out
}

fn collect<'a>(path: &str, group: &'a ConfigGroup, out: &mut Elements<'a>) {
    out.insert(Element::Group.at(path), Node::Group(group));
    let at = |kind: Element, key: &str| kind.at(&format!("{path}/{key}"));
    out.extend(group.values.iter().map(|(key, value)| (at(Element::Value, key), Node::Value(value))));
    out.extend(group.policies.iter().map(|(key, policy)| (at(Element::Policy, key), Node::Policy(policy))));
    for (key, child) in &group.groups {
        collect(&format!("{path}/{key}"), child, out);
    }
}

/// The first name below the group at `path` that Fabric does not take.
pub(super) fn illegal_name(path: &str, group: &ConfigGroup) -> Option<String> {
    let kinds = [
        (Element::Group, group.groups.keys().find(|key| !is_legal_name(key))),
        (Element::Value, group.values.keys().find(|key| !is_legal_name(key))),
        (Element::Policy, group.policies.keys().find(|key| !is_legal_name(key))),
    ];
    let own = kinds.into_iter().find_map(|(kind, key)| Some(kind.at(&format!("{path}/{}", key?))));
    own.or_else(|| group.groups.iter().find_map(|(key, child)| illegal_name(&format!("{path}/{key}"), child)))
}

/// Length of a group as Go encodes it, which writes key and value of every map entry; prost leaves out empty ones.
///
/// The order of map entries does not change the length, so an encoding that has neither this length nor prost's has
/// parts that decoding dropped.
pub(super) fn go_length(group: &ConfigGroup) -> usize {
    let own = ConfigGroup { version: group.version, mod_policy: group.mod_policy.clone(), ..ConfigGroup::default() };
    let groups = group.groups.iter().map(|(key, child)| entry_length(key, go_length(child)));
    let values = group.values.iter().map(|(key, value)| entry_length(key, value.encoded_len()));
    let policies = group.policies.iter().map(|(key, policy)| entry_length(key, policy.encoded_len()));
    own.encoded_len() + groups.chain(values).chain(policies).sum::<usize>()
}

fn entry_length(key: &str, value: usize) -> usize {
    field_length(field_length(key.len()) + field_length(value))
}

/// Length of a field with a tag of one byte and so many bytes of content.
pub(super) fn field_length(content: usize) -> usize {
    1 + encoded_len_varint(content as u64) + content
}
