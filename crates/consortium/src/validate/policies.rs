//! Policies: whether they can be read, and whether anybody can satisfy them.

use std::collections::{BTreeMap, BTreeSet};

use tenter_fabric::policy::{ImplicitMeta, Principal, Rule, SignaturePolicy, SignatureRule};

use super::{Context, is_element_name};
use crate::diagnostic::{closest, quoted};
use crate::network::{Channel, Network};
use crate::path::Path;
use crate::rules;

/// Policies of an organization that runs orderers, as `configtx.yaml` samples have them.
const ORDERER_ORGANIZATION: &[&str] = &["Readers", "Writers", "Admins"];
/// Policies of a member.
const MEMBER: &[&str] = &["Readers", "Writers", "Admins", "Endorsement"];

pub(super) fn check(context: &mut Context<'_>) {
    let network = context.network;
    let section = Path::spec("channels");
    for (index, channel) in network.channels.iter().enumerate() {
        let path = section.index(index);
        check_levels(context, channel, &path.key("policies"));
        for (resource, policy) in &channel.acls {
            let path = path.key("acls").key(resource);
            if !known_policies(channel).contains(&absolute(policy)) {
                unknown_policy(context, channel, policy, &path);
            }
        }
    }
}

/// A policy of a level: what it says, if it can be read.
enum Parsed {
    Implicit(ImplicitMeta),
    Signature(SignaturePolicy),
}

fn parse(text: &str) -> Result<Parsed, String> {
    let implicit = text.split_once(' ').is_some_and(|(word, _)| ["ANY", "ALL", "MAJORITY"].contains(&word));
    if implicit || !text.contains('(') {
        text.parse()
            .map(Parsed::Implicit)
            .map_err(|error: tenter_fabric::policy::ImplicitMetaSyntaxError| error.to_string())
    } else {
        text.parse().map(Parsed::Signature).map_err(|error: tenter_fabric::policy::PolicySyntaxError| error.to_string())
    }
}

fn check_levels(context: &mut Context<'_>, channel: &Channel, path: &Path) {
    let network = context.network;
    let levels = [
        ("orderer", &channel.policies.orderer),
        ("application", &channel.policies.application),
        ("channel", &channel.policies.channel),
    ];
    for (level, policies) in levels {
        for (name, text) in policies {
            let path = path.key(level).key(name);
            if !is_element_name(name) {
                let help = "use letters, digits, `.` and `-`; `_` is not possible";
                context.report(rules::ELEMENT_NAME, &path, format!("{} cannot name a policy", quoted(name)), help);
            }
            let parsed = match parse(text) {
                Ok(parsed) => parsed,
                Err(message) => {
                    let help = "write `MAJORITY Admins`, or `OR('AcmeMSP.admin', 'GlobexMSP.admin')`";
                    context.report(rules::POLICY_SYNTAX, &path, message, help);
                    continue;
                }
            };
            if let Some((reason, help)) = obstacle(network, channel, level, &parsed) {
                let message = format!("nobody can satisfy {}: {reason}", quoted(text));
                context.report(rules::POLICY_UNSATISFIABLE, &path, message, help);
            }
        }
    }
}

/// Why nobody can satisfy a policy, and what to do. Of a policy that counts those of the levels below, only their being
/// there is asked: what is wrong with them is reported where they stand.
fn obstacle(network: &Network, channel: &Channel, level: &str, policy: &Parsed) -> Option<(String, String)> {
    match policy {
        Parsed::Implicit(ImplicitMeta { rule, sub_policy }) => {
            let has = |names: &[&str]| names.contains(&sub_policy.as_str());
            let all = |count: usize, has: bool| (count, if has { count } else { 0 });
            let (children, able) = match level {
                "orderer" => all(channel.orderer_organizations().len(), has(ORDERER_ORGANIZATION)),
                "application" => all(channel.members.len(), has(MEMBER)),
                _ => {
                    let levels = [&channel.policies.orderer, &channel.policies.application];
                    (levels.len(), levels.iter().filter(|level| level.contains_key(sub_policy)).count())
                }
            };
            let what = if level == "application" { MEMBER } else { ORDERER_ORGANIZATION };
            // Fabric (`common/policies/implicitmeta.go`): no children, nothing to satisfy.
            let needed = match rule {
                Rule::Any => children.min(1),
                Rule::All => children,
                Rule::Majority if children == 0 => 0,
                Rule::Majority => children / 2 + 1,
            };
            (able < needed).then(|| {
                let help = format!("name one that they have: {}", what.join(", "));
                (format!("{able} of {children} groups below have a policy `{sub_policy}`, and it takes {needed}"), help)
            })
        }
        Parsed::Signature(policy) => {
            let known: BTreeSet<&str> = channel
                .participants()
                .into_iter()
                .filter_map(|name| network.organization(name))
                .map(|organization| organization.msp_id.as_str())
                .collect();
            (!holds(&policy.rule, &policy.identities, &known)).then(|| strangers(policy, &known))
        }
    }
}

/// Whether the organizations of a channel could satisfy a rule between them.
fn holds(rule: &SignatureRule, identities: &[Principal], known: &BTreeSet<&str>) -> bool {
    match rule {
        SignatureRule::SignedBy(index) => usize::try_from(*index)
            .ok()
            .and_then(|index| identities.get(index))
            .and_then(msp_id)
            .is_some_and(|msp_id| known.contains(msp_id.as_str())),
        SignatureRule::OutOf { n, rules } => {
            let able = rules.iter().filter(|rule| holds(rule, identities, known)).count();
            i32::try_from(able).is_ok_and(|able| able >= *n)
        }
    }
}

const fn msp_id(principal: &Principal) -> Option<&String> {
    match principal {
        Principal::Role { msp_id, .. } | Principal::Unit { msp_id, .. } | Principal::Identity { msp_id, .. } => {
            Some(msp_id)
        }
        Principal::Other { .. } => None,
    }
}

fn strangers(policy: &SignaturePolicy, known: &BTreeSet<&str>) -> (String, String) {
    let strangers: BTreeSet<&str> =
        policy.identities.iter().filter_map(msp_id).map(String::as_str).filter(|name| !known.contains(name)).collect();
    let Some(first) = strangers.first() else {
        return ("it asks for more signatures than it names".to_owned(), "lower the number".to_owned());
    };
    let help = match closest(first, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("MSP IDs of the channel: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
    };
    let names: Vec<String> = strangers.iter().map(|name| quoted(name)).collect();
    (format!("{} takes no part in the channel", names.join(", ")), help)
}

/// A chaincode's endorsement policy: a signature policy, or the path of one of the channel's.
pub(super) fn check_endorsement(context: &mut Context<'_>, channel: &Channel, text: &str, path: &Path) {
    if text.starts_with('/') {
        if !known_policies(channel).contains(text) {
            unknown_policy(context, channel, text, path);
        }
        return;
    }
    let policy: SignaturePolicy = match text.parse() {
        Ok(policy) => policy,
        Err(error) => {
            let help =
                "write `OR('AcmeMSP.peer', 'GlobexMSP.peer')`, or a path such as `/Channel/Application/Endorsement`";
            context.report(rules::POLICY_SYNTAX, path, error.to_string(), help);
            return;
        }
    };
    // Only peers endorse: organizations that merely order, or that joined no peer, are as good as unknown here.
    let able =
        |name: &str| channel.members.iter().any(|member| member.organization == name && !member.peers.is_empty());
    let organizations = context.network.organizations.iter();
    let known: BTreeSet<&str> =
        organizations.filter(|organization| able(&organization.name)).map(|found| found.msp_id.as_str()).collect();
    let strange: BTreeSet<&str> =
        policy.identities.iter().filter_map(msp_id).map(String::as_str).filter(|name| !known.contains(name)).collect();
    let Some(first) = strange.first() else {
        if !holds(&policy.rule, &policy.identities, &known) {
            let message = format!("nobody can satisfy {}: it asks for more signatures than it names", quoted(text));
            context.report(rules::POLICY_UNSATISFIABLE, path, message, "lower the number");
        }
        return;
    };
    let help = match closest(first, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("members with peers in it: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
    };
    let names: Vec<String> = strange.iter().map(|name| quoted(name)).collect();
    let message = format!("{} has no peers in channel {}", names.join(", "), channel.name);
    context.report(rules::ENDORSEMENT_MEMBER, path, message, help);
}

fn unknown_policy(context: &mut Context<'_>, channel: &Channel, policy: &str, path: &Path) {
    let known = known_policies(channel);
    let near = if policy.starts_with('/') {
        closest(policy, known.iter().map(String::as_str))
    } else {
        closest(policy, channel.policies.application.keys().map(String::as_str))
    };
    let help = match near {
        Some(word) => format!("did you mean `{word}`?"),
        None => "name one of the channel's policies, such as `/Channel/Application/Writers`".to_owned(),
    };
    context.report(rules::POLICY_REFERENCE, path, format!("there is no policy {}", quoted(policy)), help);
}

/// The path of a policy; names without one are of the application level.
fn absolute(policy: &str) -> String {
    if policy.starts_with('/') { policy.to_owned() } else { format!("/Channel/Application/{policy}") }
}

/// Paths of all policies of a channel.
fn known_policies(channel: &Channel) -> BTreeSet<String> {
    let policies = &channel.policies;
    let level = |prefix: &str, names: &BTreeMap<String, String>| {
        names.keys().map(|name| format!("{prefix}/{name}")).collect::<Vec<_>>()
    };
    let mut known: BTreeSet<String> = level("/Channel", &policies.channel).into_iter().collect();
    known.extend(level("/Channel/Orderer", &policies.orderer));
    known.extend(level("/Channel/Application", &policies.application));
    for organization in channel.orderer_organizations() {
        known.extend(ORDERER_ORGANIZATION.iter().map(|name| format!("/Channel/Orderer/{organization}/{name}")));
    }
    for member in &channel.members {
        known.extend(MEMBER.iter().map(|name| format!("/Channel/Application/{}/{name}", member.organization)));
    }
    known
}
