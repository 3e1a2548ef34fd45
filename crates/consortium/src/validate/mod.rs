//! What a definition must satisfy beyond the shape that the schema describes.
//!
//! Rules look at the resolved network where defaults matter (an address that collides with a default one), and at the
//! document where the words matter; all of them run, so that one reading shows everything.

mod chaincodes;
mod channels;
mod names;
mod nodes;
mod policies;

use std::collections::BTreeMap;

use crate::definition::{NetworkSection, NodeEntry};
use crate::diagnostic::{Diagnostic, Related, closest, quoted};
use crate::document::{Definition, RepositoryFacts};
use crate::network::{Network, Organization};
use crate::path::Path;
use crate::rules::{self, RuleId};

/// Everything that is wrong with a definition whose shape is right, in the order of the file.
pub fn validate(definition: &Definition, facts: &RepositoryFacts) -> Vec<Diagnostic> {
    let network = Network::resolve(definition, facts);
    let spec = &definition.document().spec;
    let mut context = Context { definition, spec, network: &network, findings: Vec::new() };
    names::check(&mut context);
    nodes::check(&mut context);
    channels::check(&mut context);
    policies::check(&mut context);
    chaincodes::check(&mut context);
    chaincodes::check_retired(&mut context);
    context.findings.sort();
    context.findings.dedup();
    context.findings
}

/// What the rules look at, and where they put what they find.
struct Context<'a> {
    definition: &'a Definition,
    spec: &'a NetworkSection,
    network: &'a Network,
    findings: Vec<Diagnostic>,
}

impl<'a> Context<'a> {
    fn report(&mut self, rule: RuleId, path: &Path, message: String, help: impl Into<String>) {
        self.findings.push(self.definition.finding(rule, path, message, help));
    }

    /// Reports each value that stands a second time, with the place where it stands first.
    fn unique(&mut self, rule: RuleId, what: &str, help: &str, values: impl IntoIterator<Item = (String, Path)>) {
        let mut seen: BTreeMap<String, Path> = BTreeMap::new();
        for (value, path) in values {
            if let Some(first) = seen.get(&value) {
                let message = format!("{what} {} stands twice", quoted(&value));
                let mut finding = self.definition.finding(rule, &path, message, help);
                let span = self.definition.span(first);
                finding.related.push(Related { span, message: "first here".to_owned() });
                self.findings.push(finding);
            } else {
                seen.insert(value, path);
            }
        }
    }

    /// Reports a name that nothing has, with the nearest that something has.
    fn unknown<'b>(
        &mut self,
        rule: RuleId,
        path: &Path,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'b str> + Clone,
    ) {
        let help = if let Some(word) = closest(name, known.clone()) {
            format!("did you mean `{word}`?")
        } else {
            let known: Vec<&str> = known.into_iter().take(20).collect();
            if known.is_empty() { "there is none".to_owned() } else { format!("there are: {}", known.join(", ")) }
        };
        self.report(rule, path, format!("there is no {what} {}", quoted(name)), help);
    }

    /// The organization of a name; reports it when there is none.
    fn organization(&mut self, name: &str, path: &Path) -> Option<&'a Organization> {
        let network = self.network;
        let found = network.organization(name);
        if found.is_none() {
            let known = network.organizations.iter().map(|organization| organization.name.as_str());
            self.unknown(rules::UNKNOWN_ORGANIZATION, path, "organization", name, known);
        }
        found
    }
}

/// The path of an organization.
fn organization_path(index: usize) -> Path {
    Path::spec("organizations").index(index)
}

/// The path of a node's name, in its short form or its long one.
fn node_name_path(entry: &NodeEntry, path: &Path) -> Path {
    match entry {
        NodeEntry::Name(_) => path.clone(),
        NodeEntry::Node(_) => path.key("name"),
    }
}

/// The characters of Fabric's configuration element names (`common/configtx/validator.go`).
fn is_element_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    !text.is_empty() && text.len() <= 249 && text.bytes().all(allowed) && text != "." && text != ".."
}
