//! Config updates against configtxlator's, and against what real orderers did with the recorded ones.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use prost::Message as _;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate, Freshness, UpdateRefusal};
use tenter_fabric::config::{Anchor, ChannelConfig, CurrentConfig, Topic, diff, split};
use tenter_fabric::identity::PublicIdentity;
use tenter_fabric_wire::common;

use crate::blocks::normal;
use crate::{cases, json, name, read};

/// The channel in the vectors of configtxlator.
const CHANNEL: &str = "raft3";

fn message(update: &ConfigUpdate) -> common::ConfigUpdate {
    common::ConfigUpdate::decode(update.bytes()).unwrap()
}

#[test]
fn updates_are_configtxlators() {
    let mut computed = 0;
    for case in cases("config-update") {
        let (original, updated) = (read(case.join("original.pb")), read(case.join("updated.pb")));
        let current = CurrentConfig::from_bytes(CHANNEL, &original).unwrap();
        let wanted = ChannelConfig::from_config_bytes(&updated).unwrap();
        let ours = ConfigUpdate::compute_from_bytes(CHANNEL, &original, &updated).unwrap();
        if case.join("error.txt").exists() {
            assert_eq!(ours, None, "{}", name(&case));
            assert_eq!(ConfigUpdate::compute(&current, &wanted), None, "{}", name(&case));
            continue;
        }
        computed += 1;
        let theirs = ConfigUpdate::from_bytes(read(case.join("update.pb"))).unwrap();
        assert_eq!(message(&ours.unwrap()), message(&theirs), "{}", name(&case));
        let typed = ConfigUpdate::compute(&current, &wanted).unwrap();
        assert_eq!(typed.bytes(), ConfigUpdate::compute(&current, &wanted).unwrap().bytes());
        // Both lead to the same configuration; the bytes of map values may be in another order.
        for update in [&typed, &theirs] {
            let next = update.apply(&current).unwrap();
            assert_eq!(next.config().sequence, current.config().sequence + 1);
            assert_eq!(diff(next.config(), &wanted), [], "{}", name(&case));
            assert_eq!(update.changes(&current), diff(current.config(), &wanted), "{}", name(&case));
            assert_eq!(update.freshness(&current), Freshness::Applies, "{}", name(&case));
            assert_eq!(update.freshness(&next), Freshness::AlreadyThere, "{}", name(&case));
            assert!(matches!(update.apply(&next), Err(UpdateRefusal::Stale { .. } | UpdateRefusal::Version { .. })));
            assert_eq!(ConfigUpdate::compute(&next, &wanted), None, "{}", name(&case));
        }
        let elements = |update: &ConfigUpdate| update.elements(&current);
        assert_eq!(elements(&typed), elements(&theirs), "{}", name(&case));
        assert_eq!(typed.reads(), theirs.reads(), "{}", name(&case));
    }
    assert!(computed > 0);
}

/// The configuration with its maps in the other order, as Go may write them the next time.
fn reversed(config: &[u8]) -> Vec<u8> {
    fn reverse(bytes: &mut Vec<u8>) {
        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(&length) = rest.get(1) {
            let (entry, tail) = rest.split_at(2 + usize::from(length));
            assert!(entry[0] == 0x0a && length < 0x80, "a map of short entries");
            entries.push(entry);
            rest = tail;
        }
        *bytes = entries.into_iter().rev().flatten().copied().collect();
    }
    fn walk(group: &mut common::ConfigGroup) {
        for (key, value) in &mut group.values {
            if ["Capabilities", "ACLs"].contains(&key.as_str()) {
                reverse(&mut value.value);
            }
        }
        group.groups.values_mut().for_each(walk);
    }
    let mut config = common::Config::decode(config).unwrap();
    walk(config.channel_group.as_mut().unwrap());
    config.encode_to_vec()
}

#[test]
fn the_order_of_maps_is_no_difference() {
    for case in cases("config-update") {
        let mut wanted = ChannelConfig::from_config_bytes(&read(case.join("updated.pb"))).unwrap();
        edit(&mut wanted, &Edit::Capability);
        wanted.application.acls.extend(["a", "b"].map(|name| (name.to_owned(), "Readers".to_owned())));
        let bytes = wanted.to_config_bytes();
        let other = reversed(&bytes);
        assert_ne!(bytes, other);
        let current = CurrentConfig::from_bytes(CHANNEL, &other).unwrap();
        assert_eq!(ConfigUpdate::compute(&current, &wanted), None);
        assert_eq!(split(current.config(), &wanted), []);
        assert_ne!(ConfigUpdate::compute_from_bytes(CHANNEL, &other, &bytes).unwrap(), None);
    }
}

/// A recorded broadcast of a config update.
pub struct Broadcast {
    pub name: String,
    pub folder: PathBuf,
    pub case: serde_json::Value,
    pub current: CurrentConfig,
    pub envelope: Vec<u8>,
    /// Bytes of the `ConfigUpdate`, if there are any.
    pub update: Option<Vec<u8>>,
}

impl Broadcast {
    pub fn info(&self) -> &str {
        self.case["response"]["info"].as_str().unwrap_or_default()
    }

    pub fn committed(&self) -> bool {
        self.case["committed"] == true
    }
}

/// The payload of an envelope, its channel header, and the config update envelope in it, as far as they can be read.
pub fn open(envelope: &[u8]) -> Option<(common::Payload, common::ChannelHeader, common::ConfigUpdateEnvelope)> {
    let envelope = common::Envelope::decode(envelope).ok()?;
    let payload = common::Payload::decode(envelope.payload.as_slice()).ok()?;
    let header = common::ChannelHeader::decode(payload.header.as_ref()?.channel_header.as_slice()).ok()?;
    let update = common::ConfigUpdateEnvelope::decode(payload.data.as_slice()).ok()?;
    Some((payload, header, update))
}

fn broadcast(folder: &Path) -> Broadcast {
    let case = json(folder.join("case.json"));
    let path = |key: &str| folder.join(case[key].as_str().unwrap());
    let current = CurrentConfig::from_bytes(case["channel"].as_str().unwrap(), &read(path("config"))).unwrap();
    let envelope = read(path("envelope"));
    let update = open(&envelope)
        .filter(|(_, header, _)| header.r#type == i32::from(common::HeaderType::ConfigUpdate))
        .map(|(_, _, update)| update.config_update);
    Broadcast { name: name(folder).to_owned(), folder: folder.to_owned(), current, envelope, update, case }
}

/// All the recorded broadcasts.
pub fn broadcasts() -> Vec<Broadcast> {
    let folders = cases("recorded/broadcast/cases").into_iter().chain(cases("recorded/identities/cases"));
    folders.map(|folder| broadcast(&folder)).collect()
}

/// A broadcast of the repository's own recording.
pub fn own_broadcast(name: &str) -> Broadcast {
    broadcast(&crate::own().join("recorded/broadcast/cases").join(name))
}

#[test]
fn recorded_updates_are_applied_as_orderers_do() {
    let (mut applied, mut refused) = (0, 0);
    for broadcast in broadcasts() {
        let Some(bytes) = &broadcast.update else { continue };
        let result = ConfigUpdate::from_bytes(bytes.clone())
            .map_err(UpdateRefusal::from)
            .and_then(|update| update.apply(&broadcast.current));
        let at = format!("{}: {:?} {}", broadcast.name, result.as_ref().err(), broadcast.info());
        if broadcast.committed() {
            applied += 1;
            let after = read(broadcast.folder.join(broadcast.case["config_after"].as_str().unwrap()));
            let next = result.as_ref().unwrap_or_else(|error| panic!("{}: {error}", broadcast.name));
            assert_eq!(normal(&next.to_bytes()), normal(&after), "{at}");
        }
        let info = broadcast.info();
        let by_form = info.contains("error authorizing update") && !info.contains("not satisfied");
        if by_form {
            refused += 1;
            assert!(broadcast.name == "update-garbage" || result.is_err(), "{at}");
        } else if info.contains("not satisfied") || info.contains("Writers") {
            assert!(result.is_ok(), "{at}");
        }
    }
    assert!(applied > 0 && refused > 0);
}

#[test]
fn recorded_signatures_are_what_they_are_called() {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for broadcast in broadcasts() {
        let labels = broadcast.case["config_signatures"].as_array().cloned().unwrap_or_default();
        let (Some((_, _, envelope)), false) = (open(&broadcast.envelope), labels.is_empty()) else { continue };
        let Ok(update) = ConfigUpdate::from_bytes(envelope.config_update) else { continue };
        for (label, signature) in labels.iter().zip(&envelope.signatures) {
            let signature = ConfigSignature::from_bytes(&signature.encode_to_vec()).unwrap();
            let kind = label["signature"].as_str().unwrap();
            // Certificates that this library does not read are judged elsewhere.
            let Ok(signer) = signature.creator().and_then(|creator| Ok(PublicIdentity::from_creator(&creator)?)) else {
                continue;
            };
            let result = signature.verify(&update);
            assert_eq!(result.is_ok(), kind == "valid", "{}: {kind} {result:?}", broadcast.name);
            assert_eq!(signer.certificate.certificate_fingerprint, label["cert_sha256"], "{}", broadcast.name);
            *seen.entry(kind.to_owned()).or_default() += 1;
        }
    }
    assert!(seen.len() > 3, "{seen:?}");
}

/// Changes that a definition could make.
#[derive(Debug, Clone)]
enum Edit {
    Remove(prop::sample::Index),
    Rename(prop::sample::Index),
    Anchor(prop::sample::Index, u16),
    DropAnchors(prop::sample::Index),
    Timeout,
    OrganizationPolicy(prop::sample::Index),
    Policy,
    Acl,
    Capability,
    Endpoint(prop::sample::Index),
    Addresses,
    ModPolicy(prop::sample::Index),
    Unknown,
    Consenter,
    Tick,
    Maintenance,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let index = any::<prop::sample::Index>;
    let edit = prop_oneof![
        index().prop_map(Edit::Remove),
        index().prop_map(Edit::Rename),
        (index(), 1..u16::MAX).prop_map(|(index, port)| Edit::Anchor(index, port)),
        index().prop_map(Edit::DropAnchors),
        Just(Edit::Timeout),
        index().prop_map(Edit::OrganizationPolicy),
        Just(Edit::Policy),
        Just(Edit::Acl),
        Just(Edit::Capability),
        index().prop_map(Edit::Endpoint),
        Just(Edit::Addresses),
        index().prop_map(Edit::ModPolicy),
        Just(Edit::Unknown),
        Just(Edit::Consenter),
        Just(Edit::Tick),
        Just(Edit::Maintenance),
    ];
    prop::collection::vec(edit, 0..8)
}

fn edit(config: &mut ChannelConfig, edit: &Edit) {
    use tenter_fabric::config::{Consensus, ConsensusState};
    let organizations = &mut config.application.organizations;
    let pick = |index: &prop::sample::Index, names: Vec<String>| {
        (!names.is_empty()).then(|| names[index.index(names.len())].clone())
    };
    let picked = |index: &prop::sample::Index| pick(index, organizations.keys().cloned().collect());
    match edit {
        Edit::Remove(index) => {
            if let Some(name) = picked(index) {
                organizations.remove(&name);
            }
        }
        Edit::Rename(index) => {
            if let Some(name) = picked(index) {
                let organization = organizations.remove(&name).unwrap();
                organizations.insert(format!("{name}-2"), organization);
            }
        }
        Edit::Anchor(index, port) => {
            if let Some(name) = picked(index) {
                let anchors = &mut organizations.get_mut(&name).unwrap().anchors;
                anchors.push(Anchor { host: "peer".to_owned(), port: *port });
            }
        }
        Edit::DropAnchors(index) => {
            if let Some(name) = picked(index) {
                organizations.get_mut(&name).unwrap().anchors.clear();
            }
        }
        Edit::OrganizationPolicy(index) => {
            if let Some(name) = picked(index) {
                organizations.get_mut(&name).unwrap().policies.remove("Endorsement");
            }
        }
        Edit::Timeout => config.orderer.batch.timeout.push('0'),
        Edit::Policy => {
            let endorsement = config.application.policies["Readers"].clone();
            config.application.policies.insert("Endorsement".to_owned(), endorsement);
        }
        Edit::Acl => {
            config.application.acls.insert("qscc/GetChainInfo".to_owned(), "/Channel/Application/Readers".to_owned());
        }
        Edit::Capability => {
            config.application.capabilities.insert("V2_6".to_owned());
        }
        Edit::Endpoint(index) => {
            if let Some(name) = pick(index, config.orderer.organizations.keys().cloned().collect()) {
                config.orderer.organizations.get_mut(&name).unwrap().endpoints.push("orderer9:7050".to_owned());
            }
        }
        Edit::Addresses => config.orderer_addresses.push("orderer:7050".to_owned()),
        Edit::ModPolicy(index) => {
            let elements = [
                "[Value]  /Channel/Orderer/BatchSize".to_owned(),
                "[Value]  /Channel/OrdererAddresses".to_owned(),
                "[Policy] /Channel/Application/Readers".to_owned(),
                format!("[Group]  /Channel/Application/{}", picked(index).unwrap_or_default()),
            ];
            let element = elements[index.index(elements.len())].clone();
            config.mod_policies.insert(element, "/Channel/Orderer/Admins".to_owned());
        }
        Edit::Unknown => {
            config.other_values.insert("[Value]  /Channel/Application/Other".to_owned(), vec![1, 2]);
        }
        Edit::Consenter => match &mut config.orderer.consensus {
            Consensus::EtcdRaft { consenters, .. } => drop(consenters.pop()),
            Consensus::Bft { consenters, .. } => {
                consenters.pop();
                config.orderer.set_block_validation();
            }
            Consensus::Other { .. } => {}
        },
        Edit::Tick => {
            if let Consensus::EtcdRaft { options, .. } = &mut config.orderer.consensus {
                options.election_tick += 1;
            }
        }
        Edit::Maintenance => config.orderer.state = ConsensusState::Maintenance,
    }
}

/// The file of a configuration.
fn any_current() -> impl Strategy<Value = PathBuf> {
    let mut files: Vec<_> = cases("config-update").iter().map(|case| case.join("original.pb")).collect();
    let recorded = crate::own().join("recorded/broadcast/configs");
    files.extend(["bft1-0.pb", "rec1-0.pb", "rec2-0.pb"].map(|name| recorded.join(name)));
    prop::sample::select(files)
}

fn edited(current: &CurrentConfig, edits: &[Edit]) -> ChannelConfig {
    let mut wanted = current.config().clone();
    for change in edits {
        edit(&mut wanted, change);
    }
    wanted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_update_leads_to_what_is_wanted(file in any_current(), edits in edits()) {
        let current = CurrentConfig::from_bytes(CHANNEL, &read(file)).unwrap();
        let wanted = edited(&current, &edits);
        let Some(update) = ConfigUpdate::compute(&current, &wanted) else {
            prop_assert_eq!(diff(current.config(), &wanted.carrying_over(current.config())), []);
            return Ok(());
        };
        prop_assert_eq!(&ConfigUpdate::from_bytes(update.bytes()).unwrap(), &update);
        let next = update.apply(&current).unwrap();
        prop_assert_eq!(ConfigUpdate::compute(&next, &wanted), None);
        prop_assert_eq!(update.freshness(&next), Freshness::AlreadyThere);
        // Nothing but what is written got a new version.
        let written: Vec<String> = update.elements(&current).into_iter().map(|touched| touched.element).collect();
        for (element, version) in &next.config().versions {
            prop_assert!(written.contains(element) || current.config().version(element) == *version, "{}", element);
        }
    }

    #[test]
    fn topics_lead_one_by_one_to_what_is_wanted(file in any_current(), edits in edits(), order in any::<prop::sample::Index>()) {
        let current = CurrentConfig::from_bytes(CHANNEL, &read(file)).unwrap();
        let wanted = edited(&current, &edits);
        let mut now = current.clone();
        for _ in 0..32 {
            let topics = split(now.config(), &wanted);
            if topics.is_empty() {
                break;
            }
            let (topic, config) = &topics[order.index(topics.len())];
            let update = ConfigUpdate::compute(&now, config).unwrap();
            let next = update.apply(&now).unwrap();
            let left: Vec<Topic> = split(next.config(), &wanted).into_iter().map(|(topic, _)| topic).collect();
            prop_assert!(!left.contains(topic), "{} is still there", topic);
            prop_assert!(left.iter().all(|left| topics.iter().any(|(topic, _)| topic == left)), "{:?} is new", left);
            now = next;
        }
        prop_assert_eq!(ConfigUpdate::compute(&now, &wanted), None);
    }
}

#[test]
fn topics_have_names() {
    let organization = || "globex".to_owned();
    let names = [
        Topic::Maintenance,
        Topic::OrdererOrganization { organization: organization() },
        Topic::Consenters,
        Topic::OrdererSettings,
        Topic::Capabilities,
        Topic::Member { organization: organization() },
        Topic::Anchors { organization: organization() },
        Topic::Policies,
    ]
    .map(|topic| topic.to_string());
    assert_eq!(
        names.join(" "),
        "maintenance orderer-organization/globex consenters orderer-settings capabilities member/globex \
         anchors/globex policies"
    );
}
