//! Checks of updates, against what became of the recorded ones.

use std::collections::BTreeMap;

use tenter_fabric::config::update::ConfigUpdate;
use tenter_fabric::config::{
    Anchor, ApplicationOrganization, BftConsenter, BftOptions, ChannelConfig, Consensus, ConsensusState, CurrentConfig,
    Element, check_update, check_update_against,
};
use tenter_fabric::msp::Pem;
use tenter_fabric::policy::Policy;

use crate::enough;
use crate::updates::{Broadcast, broadcasts, own_broadcast};

/// What orderers take and is warned of all the same, with the reason.
const STRICTER: &[(&str, &str)] = &[
    ("would be lowered", "nodes may depend on the capability: chaincode, keys, consensus"),
    ("could never change again", "no update can repair it"),
    ("would revoke nothing", "the list was meant to revoke somebody"),
    ("the policy Admins is missing", "the organisation counts in every majority and can never sign"),
    ("the policy Readers is missing", "the organisation cannot read"),
    ("the policy Writers is missing", "the organisation cannot write"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Harmless,
    Harmful,
    /// Not said by the recording: the orderer had another reason to refuse.
    Unknown,
}

fn outcome(broadcast: &Broadcast) -> Outcome {
    let info = broadcast.info();
    // Refused for who signed or submitted, or because the node could not order.
    let about_others =
        ["policy for", "permission denied", "expired", "channel does not exist", "no Raft leader", "nodes are alive"];
    if about_others.iter().any(|text| info.contains(text)) {
        return Outcome::Unknown;
    }
    let aftermath = broadcast.case["aftermath"].as_str().unwrap_or_default();
    if broadcast.committed() && aftermath.is_empty() { Outcome::Harmless } else { Outcome::Harmful }
}

#[test]
fn harm_is_found_and_nothing_else() {
    let mut outcomes = BTreeMap::<Outcome, usize>::new();
    let (mut wrong, mut stricter) = (Vec::new(), Vec::new());
    for broadcast in broadcasts() {
        let Some(bytes) = broadcast.update.clone() else { continue };
        let outcome = outcome(&broadcast);
        *outcomes.entry(outcome).or_default() += 1;
        let problems: Vec<String> = match ConfigUpdate::from_bytes(bytes) {
            Ok(update) => check_update(&broadcast.current, &update).iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        let name = &broadcast.name;
        match outcome {
            Outcome::Harmful if problems.is_empty() => {
                wrong.push(format!("{name}: nothing found, but {}", broadcast.case));
            }
            Outcome::Harmless if !problems.is_empty() => {
                stricter.extend(problems.into_iter().map(|problem| (name.clone(), problem)));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, problem) in stricter {
        assert!(STRICTER.iter().any(|(text, _)| problem.contains(text)), "{name}: {problem}");
    }
    enough(outcomes.len(), 3, "kinds of outcomes");
}

/// Checks the update from a recorded configuration to what `edit` makes of it.
fn problems(config: &str, edit: impl Fn(&mut ChannelConfig)) -> Vec<String> {
    let path = crate::own().join("recorded/broadcast/configs").join(config);
    let current = CurrentConfig::from_bytes("channel", &crate::read(path)).unwrap();
    let mut wanted = current.config().clone();
    edit(&mut wanted);
    let update = ConfigUpdate::compute(&current, &wanted).unwrap();
    let problems = check_update(&current, &update);
    assert_eq!(check_update_against(&current, &update, &wanted), problems);
    problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(config: &str, edit: impl Fn(&mut ChannelConfig), expected: &str) {
    let found = problems(config, edit);
    assert!(found.iter().any(|problem| problem.contains(expected)), "{expected} is not in {found:?}");
}

fn bft(config: &mut ChannelConfig, edit: impl Fn(&mut Vec<BftConsenter>)) {
    let Consensus::Bft { consenters, .. } = &mut config.orderer.consensus else { panic!("no BFT") };
    edit(consenters);
    config.orderer.set_block_validation();
}

fn member<'a>(config: &'a mut ChannelConfig, name: &str) -> &'a mut ApplicationOrganization {
    config.application.organizations.get_mut(name).unwrap()
}

fn signature(rule: &str) -> Policy {
    Policy::Signature(rule.parse().unwrap())
}

#[test]
fn a_harmless_update_has_no_problem() {
    for config in ["rec1-0.pb", "bft1-0.pb"] {
        assert_eq!(problems(config, |config| config.orderer.batch.timeout = "5s".to_owned()), [""; 0]);
        let anchor = Anchor { host: "peer".to_owned(), port: 7051 };
        let add = |config: &mut ChannelConfig| member(config, "AcmeMSP").anchors.push(anchor.clone());
        assert_eq!(problems(config, add), [""; 0]);
    }
}

#[test]
fn what_would_kill_bft_orderers() {
    let file = "bft1-0.pb";
    check(file, |config| bft(config, |all| all[0].id = 0), "greater than 0");
    check(file, |config| bft(config, |all| all[0].id = all[1].id), "same number");
    check(file, |config| bft(config, |all| all[0].identity = Pem::from("rubbish")), "no certificate");
    check(file, |config| bft(config, |all| all[0].server_tls_cert = all[0].identity.clone()), "TLS authority");
    check(file, |config| bft(config, |all| all[0].identity = all[0].server_tls_cert.clone()), "identity of HubMSP");
    check(file, |config| bft(config, |all| all[0].msp_id = "Nobody".to_owned()), "MSP ID Nobody");
    check(file, |config| bft(config, |all| drop(all.drain(..2))), "one consenter at a time");
    let stale = |config: &mut ChannelConfig| {
        let Consensus::Bft { consenters, .. } = &mut config.orderer.consensus else { panic!("no BFT") };
        consenters.pop();
    };
    check(file, stale, "compute it anew");
    let short = |config: &mut ChannelConfig| {
        let Consensus::Bft { options, .. } = &mut config.orderer.consensus else { panic!("no BFT") };
        options.request_complain_timeout = "1s".to_owned();
        options.collect_timeout = "soon".to_owned();
    };
    check(file, short, "must not decrease");
    check(file, short, "`soon`");
}

#[test]
fn what_would_lock_out() {
    let file = "rec1-0.pb";
    let policy = |path: &'static str, rule: &'static str| {
        move |config: &mut ChannelConfig| {
            let policies = match path {
                "/Channel" => &mut config.policies,
                "/Channel/Orderer" => &mut config.orderer.policies,
                _ => &mut config.application.policies,
            };
            policies.insert("Admins".to_owned(), signature(rule));
        }
    };
    for path in ["/Channel", "/Channel/Orderer", "/Channel/Application"] {
        check(file, policy(path, "OR('Nobody.admin')"), "nobody could satisfy it");
        check(file, policy(path, "OutOf(2, 'AcmeMSP.admin')"), "nobody could satisfy it");
        assert_eq!(problems(file, policy(path, "OR('AcmeMSP.admin')")), [""; 0]);
    }
    let readers = |config: &mut ChannelConfig| {
        config.policies.insert("Writers".to_owned(), signature("OR('Nobody.member')"));
    };
    check(file, readers, "[Policy] /Channel/Writers: nobody could satisfy it");
    let no_members = |config: &mut ChannelConfig| config.application.organizations.clear();
    check(file, no_members, "every organisation would be removed");
    let guard = |config: &mut ChannelConfig| {
        let element = Element::Value.at("/Channel/Orderer/BatchSize");
        config.mod_policies.insert(element, "/Channel/Nothing".to_owned());
    };
    check(file, guard, "could never change again");
    let no_units = |config: &mut ChannelConfig| member(config, "AcmeMSP").msp.node_ous = None;
    check(file, no_units, "neither an administrator");
}

#[test]
fn what_orderers_would_refuse() {
    let file = "rec1-0.pb";
    check(file, |config| config.orderer_addresses.push("orderer:7050".to_owned()), "use the organisations' endpoints");
    let endpoints = |config: &mut ChannelConfig| {
        config.orderer.organizations.values_mut().for_each(|organization| organization.endpoints.clear());
    };
    check(file, endpoints, "must not be empty");
    check(file, |config| member(config, "AcmeMSP").msp.msp_id = "Other".to_owned(), "would change from AcmeMSP");
    let underscore = |config: &mut ChannelConfig| {
        config.application.policies.insert("a_b".to_owned(), signature("OR('AcmeMSP.admin')"));
    };
    check(file, underscore, "illegal name");
    let maintenance = |config: &mut ChannelConfig| {
        config.orderer.state = ConsensusState::Maintenance;
        config.orderer.batch.timeout = "5s".to_owned();
    };
    check(file, maintenance, "nothing else may change");
    let unknown = |config: &mut ChannelConfig| {
        config.other_values.insert(Element::Value.at("/Channel/Application/Other"), vec![1]);
    };
    check(file, unknown, "no such value");
    let acl = |config: &mut ChannelConfig| {
        config.application.acls.insert("qscc/GetChainInfo".to_owned(), "/Channel/Nothing".to_owned());
    };
    check(file, acl, "which does not exist");
    let capability = |config: &mut ChannelConfig| config.application.capabilities.extend(["V3_0".to_owned()]);
    check(file, capability, "no version of Fabric knows V3_0 here");
    let kind = |config: &mut ChannelConfig| {
        config.orderer.consensus = Consensus::Bft { consenters: Vec::new(), options: BftOptions::default() };
    };
    check(file, kind, "in maintenance only");
}

#[test]
fn an_update_that_leads_elsewhere_is_noticed() {
    let update = |name: &str| {
        let found = own_broadcast(name);
        (ConfigUpdate::from_bytes(found.update.unwrap()).unwrap(), found.current)
    };
    let (removes, current) = update("org-remove-again");
    assert_eq!(check_update(&current, &removes), []);
    let problems = check_update_against(&current, &removes, current.config());
    assert!(problems.iter().any(|problem| problem.problem.starts_with("would be nothing, and")), "{problems:?}");
}
