//! Which parts of a definition a change touches, and whose consent that needs.
//!
//! A change is looked at by the model and not by lines: moving, reformatting or spelling out a default touches nothing. An
//! organization's part is its own section and its folder in the repository; to take part in another channel needs its agreement as well. What it only inherits (the Fabric version of
//! the network) is not its section.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::Definition;
use crate::network::{Network, RetiredTarget};

/// A part of a definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// The network's name.
    Name,
    /// The Fabric that nodes run unless their organization says otherwise.
    Fabric,
    /// An organization's section or folder.
    Organization(String),
    /// A channel, by name.
    Channel(String),
    /// A chaincode, by channel and name.
    Chaincode(String, String),
    /// What may be taken down.
    Retired,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name => write!(f, "the network's name"),
            Self::Fabric => write!(f, "spec.fabric"),
            Self::Organization(name) => write!(f, "organization {name}"),
            Self::Channel(name) => write!(f, "channel {name}"),
            Self::Chaincode(channel, name) => write!(f, "chaincode {channel}/{name}"),
            Self::Retired => write!(f, "spec.retired"),
        }
    }
}

/// One side of a comparison: a definition, its model, and what its `organizations/` folders hold.
#[derive(Clone, Debug)]
pub struct Side {
    /// What the file says, as it is written; each with the model that it makes.
    parts: BTreeMap<Part, (Value, Value)>,
    /// What names the content of each organization's folder.
    folders: BTreeMap<String, String>,
    /// The organizations that may be taken down.
    retired: BTreeSet<String>,
    /// Who takes part in each channel.
    participants: BTreeMap<String, BTreeSet<String>>,
}

impl Side {
    /// A side. `folders` names the content of each folder below `organizations/` (a digest, or a git tree's id).
    pub fn new(definition: &Definition, network: &Network, folders: BTreeMap<String, String>) -> Self {
        let spec = &definition.document().spec;
        let model = |found: Option<Value>| found.unwrap_or_default();
        let mut parts = BTreeMap::from([
            (Part::Name, (Value::String(network.name.clone()), Value::String(network.name.clone()))),
            (Part::Fabric, (value(&spec.fabric), value(&spec.fabric))),
        ]);
        for entry in &spec.organizations {
            let resolved = model(network.organization(&entry.name).map(value));
            parts.insert(Part::Organization(entry.name.clone()), (value(entry), resolved));
        }
        for entry in spec.channels.iter().flatten() {
            let resolved = model(network.channel(&entry.name).map(value));
            parts.insert(Part::Channel(entry.name.clone()), (value(entry), resolved));
        }
        for entry in spec.chaincodes.iter().flatten() {
            let part = Part::Chaincode(entry.channel.clone(), entry.name.clone());
            parts.insert(part, (value(entry), value(entry)));
        }
        let targets: BTreeSet<String> =
            network.retired.iter().map(|entry| format!("{} {}", entry.target, value(&entry.ledger))).collect();
        parts.insert(Part::Retired, (value(&targets), value(&targets)));
        let retired = network.retired.iter().filter_map(|entry| match &entry.target {
            RetiredTarget::Organization(name) => Some(name.clone()),
            _ => None,
        });
        let participants = network
            .channels
            .iter()
            .map(|channel| (channel.name.clone(), channel.participants().into_iter().map(str::to_owned).collect()));
        Self { parts, folders, retired: retired.collect(), participants: participants.collect() }
    }
}

fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// The parts that differ between two sides. A part is touched when the file says something else *and* it means something
/// else.
pub fn touched(old: &Side, new: &Side) -> BTreeSet<Part> {
    let parts = old.parts.keys().chain(new.parts.keys());
    let mut touched: BTreeSet<Part> = parts
        .filter(|part| match (old.parts.get(*part), new.parts.get(*part)) {
            (Some((old_text, old_model)), Some((new_text, new_model))) => {
                old_text != new_text && old_model != new_model
            }
            (old, new) => old.is_some() != new.is_some(),
        })
        .cloned()
        .collect();
    let folders = old.folders.keys().chain(new.folders.keys());
    touched.extend(
        folders
            .filter(|name| old.folders.get(*name) != new.folders.get(*name))
            .map(|name| Part::Organization(name.clone())),
    );
    touched
}

/// What is known of a commit whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedChange {
    /// The commit.
    pub commit: String,
    /// What the settings call the key that signed it.
    pub key: String,
    /// The organization that the key speaks for.
    pub organization: Option<String>,
    /// The organizations whose part it touches and which are still part of the definition, or left it without a tombstone.
    pub organizations: BTreeSet<String>,
}

/// The organizations of a change whose agreement it takes: those that it touches or has take part in another channel, except one
/// that goes and that `spec.retired` releases. Who releases it is decided by votes on the channels.
pub fn agreement(old: &Side, new: &Side) -> BTreeSet<String> {
    let joins = new.participants.iter().flat_map(|(channel, names)| {
        let before = old.participants.get(channel);
        names.iter().filter(move |name| before.is_none_or(|before| !before.contains(*name))).cloned()
    });
    touched(old, new)
        .into_iter()
        .filter_map(|part| match part {
            Part::Organization(name) => Some(name),
            _ => None,
        })
        .chain(joins)
        .filter(|name| new.parts.contains_key(&Part::Organization(name.clone())) || !new.retired.contains(name))
        .collect()
}

/// A change of an organization's part that the organization has not agreed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unconsented {
    /// The commit.
    pub commit: String,
    /// What the settings call the key that signed it.
    pub key: String,
    /// The organization.
    pub organization: String,
}

impl std::fmt::Display for Unconsented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { commit, key, organization } = self;
        write!(
            f,
            "commit {commit}, signed by {key}, changes the section, the folder or the channels of organization {organization}, which \
             has not agreed: it needs a signature by one of that organization's keys, or a new \
             organizations/{organization}/consent.sig (tenter consent {organization})"
        )
    }
}

/// The changes that lack the agreement of the organization whose part they touch. Each needs a signature by one of its
/// keys on the commit, or its `consent.sig` over what the newest commit says: `consented` names the organizations whose
/// consent there verifies. `settled` names those whose part is at the newest commit as it was at the last accepted one.
pub fn unconsented(
    changes: &[SignedChange],
    consented: &BTreeSet<String>,
    settled: &BTreeSet<String>,
) -> Vec<Unconsented> {
    let mut found = Vec::new();
    for change in changes {
        for organization in &change.organizations {
            let agreed = change.organization.as_ref() == Some(organization)
                || consented.contains(organization)
                || settled.contains(organization);
            if !agreed {
                found.push(Unconsented {
                    commit: change.commit.clone(),
                    key: change.key.clone(),
                    organization: organization.clone(),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{RepositoryFacts, parse};

    const BASE: &str = "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  organizations:\n  \
                        - {name: acme, orderers: [orderer1], peers: [peer1]}\n  - {name: globex, peers: [peer1]}\n  \
                        channels:\n  - {name: deals, members: [acme, globex]}\n";

    fn side(text: &str, folders: &[(&str, &str)]) -> Side {
        let (definition, findings) = parse(text.as_bytes(), "network.yaml");
        let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
        let network = Network::resolve(&definition, &RepositoryFacts::default());
        let folders = folders.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect();
        Side::new(&definition, &network, folders)
    }

    #[track_caller]
    fn check(new: &str, expect: &[&str]) {
        let touched = touched(&side(BASE, &[]), &side(new, &[]));
        assert_eq!(touched.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{new}");
    }

    #[test]
    fn parts_are_told_by_what_they_mean() {
        check(BASE, &[]);
        check(&format!("# a comment\n{BASE}"), &[]);
        check(&BASE.replace("peers: [peer1]}\n  channels", "peers: [{name: peer1}]}\n  channels"), &[]);
        check(&BASE.replace("{name: globex, peers", "{name: globex, domain: globex.trade, peers"), &[]);
        check(
            &BASE.replace("{name: globex, peers: [peer1]}", "{name: globex, peers: [peer1, peer2]}"),
            &["organization globex"],
        );
        check(&BASE.replace("spec:\n", "spec:\n  fabric: {version: \"3.0\"}\n"), &["spec.fabric"]);
        check(&BASE.replace("[acme, globex]}", "[acme, globex], batch: {timeout: 1s}}"), &["channel deals"]);
        check(&BASE.replace("metadata: {name: trade}", "metadata: {name: trades}"), &["the network's name"]);
        check(&format!("{BASE}  retired: [{{peer: acme/peer9}}]\n"), &["spec.retired"]);
    }

    #[test]
    fn moving_sections_touches_nothing() {
        let globex = "  - {name: globex, peers: [peer1]}\n";
        let first = BASE.replace(globex, "").replace("organizations:\n", &format!("organizations:\n{globex}"));
        check(&first, &[]);
    }

    #[test]
    fn a_folder_is_its_organizations() {
        let touched = touched(&side(BASE, &[("globex", "1")]), &side(BASE, &[("globex", "2"), ("initech", "3")]));
        let expect = ["globex", "initech"].map(|name| Part::Organization(name.to_owned()));
        assert_eq!(touched, BTreeSet::from(expect));
    }

    #[test]
    fn leaving_needs_agreement_or_a_tombstone() {
        let gone = BASE.replace("  - {name: globex, peers: [peer1]}\n", "").replace("[acme, globex]", "[acme]");
        assert_eq!(agreement(&side(BASE, &[]), &side(&gone, &[])), BTreeSet::from(["globex".to_owned()]));
        let retired = format!("{gone}  retired: [{{organization: globex}}]\n");
        assert!(agreement(&side(BASE, &[]), &side(&retired, &[])).is_empty());
    }

    #[test]
    fn taking_part_in_another_channel_needs_agreement() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let check = |old: &str, new: &str, expect: &[&str]| {
            assert_eq!(agreement(&side(old, &[]), &side(new, &[])), names(expect), "{new}");
        };
        let alone = BASE.replace("[acme, globex]", "[acme]");
        check(&alone, BASE, &["globex"]);
        // Whoever leaves is not asked here, and what else a channel says is decided by votes on it.
        check(BASE, &alone, &[]);
        check(BASE, &BASE.replace("[acme, globex]}", "[acme, globex], batch: {timeout: 1s}}"), &[]);
        check(BASE, &format!("{BASE}  - {{name: loans, members: [acme]}}\n"), &["acme"]);
        check(BASE, &format!("{BASE}  - {{name: loans, members: [acme, globex]}}\n"), &["acme", "globex"]);
    }

    #[test]
    fn an_organizations_part_is_its_own() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let change = |organization: Option<&str>, touched: &[&str]| SignedChange {
            commit: "c1".to_owned(),
            key: "ann".to_owned(),
            organization: organization.map(ToOwned::to_owned),
            organizations: names(touched),
        };
        let check = |change: SignedChange, consented: &[&str], settled: &[&str], expect: &[&str]| {
            let found = unconsented(std::slice::from_ref(&change), &names(consented), &names(settled));
            let found: Vec<&str> = found.iter().map(|it| it.organization.as_str()).collect();
            assert_eq!(found, expect, "{change:?}");
        };
        check(change(Some("acme"), &["acme"]), &[], &[], &[]);
        check(change(Some("acme"), &["acme", "globex"]), &[], &[], &["globex"]);
        check(change(None, &["globex"]), &["globex"], &[], &[]);
        check(change(None, &["globex"]), &["acme"], &[], &["globex"]);
        check(change(None, &["globex"]), &[], &["globex"], &[]);
        check(change(None, &[]), &[], &[], &[]);
        let found = unconsented(&[change(None, &["globex"])], &names(&[]), &names(&[]));
        assert!(found[0].to_string().contains("organizations/globex/consent.sig"), "{}", found[0]);
    }
}
