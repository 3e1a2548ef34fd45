//! The configuration tree as a flat map, and back (Fabric `common/configtx/configmap.go`).

use std::collections::BTreeMap;

use tenter_fabric_wire::common::{ConfigGroup, ConfigPolicy, ConfigValue};

const GROUP: &str = "[Group]  ";
const VALUE: &str = "[Value]  ";
const POLICY: &str = "[Policy] ";
/// The mod policy that channels of the earliest version get where they have none.
const DEFAULT_MOD_POLICY: &str = "Admins";

/// Elements by kind and path, such as `[Value]  /Channel/Orderer/BatchSize`: the names that Fabric's texts use.
pub(super) type Elements<'a> = BTreeMap<String, Element<'a>>;

#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    Group(&'a ConfigGroup),
    Value(&'a ConfigValue),
    Policy(&'a ConfigPolicy),
}

/// One element of the tree.
#[derive(Debug, Clone)]
pub(super) struct Element<'a> {
    /// Names of the groups above, `Channel` first; for a group its own name comes last.
    scope: Vec<&'a str>,
    content: Content<'a>,
}

impl<'a> Element<'a> {
    pub fn version(&self) -> u64 {
        match self.content {
            Content::Group(group) => group.version,
            Content::Value(value) => value.version,
            Content::Policy(policy) => policy.version,
        }
    }

    pub fn mod_policy(&self) -> &'a str {
        match self.content {
            Content::Group(group) => &group.mod_policy,
            Content::Value(value) => &value.mod_policy,
            Content::Policy(policy) => &policy.mod_policy,
        }
    }

    /// Where a relative mod policy is looked up: the groups below `Channel`. A group is judged by its own policies.
    pub fn scope(&self) -> &[&'a str] {
        self.scope.get(1..).unwrap_or_default()
    }
}

/// All elements of a tree, none where there is no tree.
pub(super) fn flatten(root: Option<&ConfigGroup>) -> Result<Elements<'_>, String> {
    let mut found = Elements::new();
    if let Some(root) = root {
        flatten_group(&mut found, &["Channel"], root)?;
    }
    Ok(found)
}

fn flatten_group<'a>(found: &mut Elements<'a>, scope: &[&'a str], group: &'a ConfigGroup) -> Result<(), String> {
    let mut add = |kind: &str, key: &str, path: String, content: Content<'a>| {
        check_name(key).map_err(|text| format!("illegal characters in key: {kind}: {text}"))?;
        found.insert(format!("{kind}{path}"), Element { scope: scope.to_vec(), content });
        Ok::<_, String>(())
    };
    let path = format!("/{}", scope.join("/"));
    add(GROUP, scope.last().copied().unwrap_or_default(), path.clone(), Content::Group(group))?;
    for (name, value) in &group.values {
        add(VALUE, name, format!("{path}/{name}"), Content::Value(value))?;
    }
    for (name, policy) in &group.policies {
        add(POLICY, name, format!("{path}/{name}"), Content::Policy(policy))?;
    }
    for (name, child) in &group.groups {
        let below: Vec<&str> = scope.iter().copied().chain([name.as_str()]).collect();
        flatten_group(found, &below, child)?;
    }
    Ok(())
}

/// Letters, digits, dots and dashes, at most 249 of them, and not one or two dots alone.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("config ID illegal, cannot be empty".to_owned());
    }
    if name.len() > 249 {
        return Err("config ID illegal, cannot be longer than 249".to_owned());
    }
    if [".", ".."].contains(&name) {
        return Err(format!("name '{name}' for config ID is not allowed"));
    }
    if name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'.' || c == b'-') {
        Ok(())
    } else {
        Err(format!("config ID '{name}' contains illegal characters"))
    }
}

/// The tree that the elements make. What no group lists any more is dropped.
pub(super) fn rebuild(elements: &Elements<'_>) -> Result<ConfigGroup, String> {
    let fill = elements.contains_key("[Value]  /Channel/Orderer/Capabilities");
    rebuild_group(elements, "/Channel", fill)
}

fn rebuild_group(elements: &Elements<'_>, path: &str, fill: bool) -> Result<ConfigGroup, String> {
    let Some(Content::Group(group)) = elements.get(&format!("{GROUP}{path}")).map(|element| element.content) else {
        return Err(format!("missing group at path: {GROUP}{path}"));
    };
    let filled = |mod_policy: &str| {
        if fill && mod_policy.is_empty() { DEFAULT_MOD_POLICY.to_owned() } else { mod_policy.to_owned() }
    };
    let mut built =
        ConfigGroup { version: group.version, mod_policy: filled(&group.mod_policy), ..ConfigGroup::default() };
    for name in group.groups.keys() {
        built.groups.insert(name.clone(), rebuild_group(elements, &format!("{path}/{name}"), fill)?);
    }
    for name in group.values.keys() {
        let at = format!("{VALUE}{path}/{name}");
        let Some(Content::Value(value)) = elements.get(&at).map(|element| element.content) else {
            return Err(format!("missing value at path: {at}"));
        };
        built.values.insert(name.clone(), ConfigValue { mod_policy: filled(&value.mod_policy), ..value.clone() });
    }
    for name in group.policies.keys() {
        let at = format!("{POLICY}{path}/{name}");
        let Some(Content::Policy(policy)) = elements.get(&at).map(|element| element.content) else {
            return Err(format!("missing policy at path: {at}"));
        };
        built.policies.insert(name.clone(), ConfigPolicy { mod_policy: filled(&policy.mod_policy), ..policy.clone() });
    }
    Ok(built)
}
