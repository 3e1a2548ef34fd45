//! Whether an update does no harm: what orderers refuse, and what they accept and die of, or can never repair.
//!
//! Sources: `common/channelconfig/bundle.go`, `orderer/common/msgprocessor/maintenancefilter.go`,
//! `orderer/consensus/etcdraft/membership.go`, `orderer/consensus/smartbft/configverifier.go`. Where Fabric only fails
//! later, or never says anything, the check is stricter than Fabric.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use prost::Message as _;
use tenter_fabric_wire::{common, orderer, protos};

use super::super::tree::Node;
use super::super::update::{ConfigUpdate, UpdateRefusal};
use super::super::{CurrentConfig, diff, key};
use super::{
    APPLICATION, BftConsenter, CHANNEL, ChannelConfig, ConfigProblem, Consensus, ConsensusState, Element, ORDERER,
    Organization, Problems, RaftConsenter, V3_0, organizations,
};
use crate::msp::{Pem, VerifyingMsp};
use crate::policy::Judge;
use crate::x509::{CertificateInfo, verify_chain};

const CONSENSUS_TYPE: &str = "/Channel/Orderer/ConsensusType";
/// Capabilities that Fabric knows, lowest first (`common/capabilities`).
const CHANNEL_CAPABILITIES: &[&str] = &["V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"];
const ORDERER_CAPABILITIES: &[&str] = &["V1_1", "V1_4_2", "V2_0"];
const APPLICATION_CAPABILITIES: &[&str] = &["V1_1", "V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"];
/// Policies without which nobody can read, write or change the channel.
const NEEDED: &[&str] = &[
    "/Channel/Admins",
    "/Channel/Readers",
    "/Channel/Writers",
    "/Channel/Application/Admins",
    "/Channel/Application/Readers",
    "/Channel/Application/Writers",
    "/Channel/Orderer/Admins",
    "/Channel/Orderer/Readers",
    "/Channel/Orderer/Writers",
];

/// Everything that would be wrong after an update and is not wrong now, sorted; empty if it does no harm.
///
/// Looks at form and content. Who signed is judged by [`Judge`], and who reads the changes must want them: compare with
/// what is wanted by [`check_update_against`].
pub fn check_update(current: &CurrentConfig, update: &ConfigUpdate) -> Vec<ConfigProblem> {
    let mut problems = Problems(Vec::new());
    if let Some(Node::Value(value)) = update.delta().get(&Element::Value.at(CONSENSUS_TYPE))
        && orderer::ConsensusType::decode(value.value.as_slice()).is_ok_and(|kind| kind.metadata.is_empty())
    {
        problems.add(CONSENSUS_TYPE, "the metadata would be empty, which would crash every orderer for good");
    }
    match update.apply(current) {
        Ok(next) => problems.compare(current, update, &next),
        Err(refusal) => problems.refused(current, update, &refusal),
    }
    problems.0.sort();
    problems.0.dedup();
    problems.0
}

/// As [`check_update`]; besides, every way in which the update would not lead to what is `wanted`.
///
/// An update can remove organisations, or drop what it seems to add, without showing it in the elements that it writes.
pub fn check_update_against(
    current: &CurrentConfig,
    update: &ConfigUpdate,
    wanted: &ChannelConfig,
) -> Vec<ConfigProblem> {
    let mut problems = check_update(current, update);
    if let Ok(next) = update.apply(current) {
        for change in diff(next.config(), &wanted.carrying_over(current.config())) {
            let words = |text: Option<String>| text.unwrap_or_else(|| "nothing".to_owned());
            let problem = format!("would be {}, and {} is wanted", words(change.from), words(change.to));
            problems.push(ConfigProblem { path: change.path, problem });
        }
    }
    problems.sort();
    problems
}

impl Problems {
    fn refused(&mut self, current: &CurrentConfig, update: &ConfigUpdate, refusal: &UpdateRefusal) {
        let mut problem = refusal.to_string();
        let mut source = refusal.source();
        while let Some(error) = source {
            problem = format!("{problem}: {error}");
            source = error.source();
        }
        let elements = update.elements(current);
        let path = elements.iter().find(|touched| problem.contains(&touched.element));
        self.add(path.map_or(CHANNEL, |touched| &touched.element), problem);
    }

    fn compare(&mut self, current: &CurrentConfig, update: &ConfigUpdate, next: &CurrentConfig) {
        self.lost(update, next);
        let (before, after) = (current.config(), next.config());
        let mut old = Self(Vec::new());
        old.content(before, Some(before));
        old.kept_values(before);
        let mut new = Self(Vec::new());
        new.content(after, Some(before));
        new.kept_values(after);
        self.0.extend(new.0.into_iter().filter(|problem| !old.0.contains(problem)));
        self.capabilities(before, after);
        self.msps(before, after);
        self.policies_of(current, next);
        self.acls(before, after);
        self.consensus_change(before, after, update);
        if after.application.organizations.is_empty() && !before.application.organizations.is_empty() {
            self.add(APPLICATION, "every organisation would be removed");
        }
    }

    /// What the update writes and no group would list: the orderer drops it without a word.
    fn lost(&mut self, update: &ConfigUpdate, next: &CurrentConfig) {
        let elements = next.elements();
        for element in update.delta().into_keys().filter(|element| !elements.contains_key(element)) {
            self.add(element, "would be dropped, because the version of the group that lists it is not raised");
        }
    }

    /// Values that are kept as bytes: Fabric takes only those that it knows and can decode.
    fn kept_values(&mut self, config: &ChannelConfig) {
        for (element, bytes) in &config.other_values {
            let Some((group, name)) = element.find('/').and_then(|start| element.get(start..)?.rsplit_once('/')) else {
                continue;
            };
            let known: &[&str] = match group {
                CHANNEL => &[key::CAPABILITIES, key::ORDERER_ADDRESSES, key::CONSORTIUM],
                ORDERER => &[key::CAPABILITIES, key::ORDERERS, key::CHANNEL_RESTRICTIONS, "KafkaBrokers"],
                APPLICATION => &[key::CAPABILITIES, key::ACLS],
                group if group.starts_with(ORDERER) => &[key::ENDPOINTS],
                _ => &[key::ANCHOR_PEERS],
            };
            if !known.contains(&name) {
                self.add(element, "Fabric knows no such value");
            }
            let decodes = match name {
                key::CAPABILITIES => common::Capabilities::decode(bytes.as_slice()).is_ok(),
                key::ACLS => protos::Acls::decode(bytes.as_slice()).is_ok(),
                key::ORDERERS => common::Orderers::decode(bytes.as_slice()).is_ok(),
                _ => true,
            };
            if !decodes {
                self.add(element, "cannot be decoded");
            }
        }
    }

    fn capabilities(&mut self, before: &ChannelConfig, after: &ChannelConfig) {
        let levels = [
            (CHANNEL, &before.capabilities, &after.capabilities, CHANNEL_CAPABILITIES),
            (ORDERER, &before.orderer.capabilities, &after.orderer.capabilities, ORDERER_CAPABILITIES),
            (APPLICATION, &before.application.capabilities, &after.application.capabilities, APPLICATION_CAPABILITIES),
        ];
        for (level, before, after, known) in levels {
            let path = format!("{level}/{}", key::CAPABILITIES);
            for name in after.difference(before).filter(|name| !known.contains(&name.as_str())) {
                self.add(&path, format!("no version of Fabric knows {name} here; nodes without it stop"));
            }
            let height = |set: &BTreeSet<String>| known.iter().rposition(|name| set.contains(*name));
            if height(after) < height(before) {
                self.add(&path, "would be lowered, and nodes may already depend on the higher one");
            }
        }
    }

    /// MSPs that are new or change: Fabric sets them up, and takes some that make an organisation's identities nobody.
    fn msps(&mut self, before: &ChannelConfig, after: &ChannelConfig) {
        let old: BTreeMap<_, _> = organizations(before).map(|old| ((old.level, old.name), old.msp)).collect();
        let ed25519 = after.capabilities.contains(V3_0);
        for Organization { level, name, msp, .. } in organizations(after) {
            let path = format!("{level}/{name}/{}", key::MSP);
            match old.get(&(level, name)) {
                Some(old) if *old == msp => continue,
                Some(old) if old.msp_id != msp.msp_id => {
                    self.add(&path, format!("the MSP ID would change from {} to {}", old.msp_id, msp.msp_id));
                }
                _ => {}
            }
            let known = old.get(&(level, name)).and_then(|old| VerifyingMsp::new(old, ed25519).ok());
            let known = known.map(|old| old.warnings()).unwrap_or_default();
            match VerifyingMsp::new(msp, ed25519) {
                Err(problem) => self.add(path, problem.to_string()),
                Ok(msp) => {
                    for warning in msp.warnings().into_iter().filter(|warning| !known.contains(warning)) {
                        self.add(&path, warning);
                    }
                }
            }
        }
    }

    /// Policies that cannot be evaluated, or that nobody could satisfy and that something depends on.
    fn policies_of(&mut self, current: &CurrentConfig, next: &CurrentConfig) {
        let (before, after) = (Judge::new(current.config()), Judge::new(next.config()));
        for (path, why) in after.broken_policies().filter(|(path, _)| !before.is_broken(path)) {
            self.add(Element::Policy.at(path), why);
        }
        let mut guarded: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (element, node) in next.elements() {
            let guard = CurrentConfig::guard(&element, node.mod_policy());
            guarded.entry(guard).or_insert((0, element)).0 += 1;
        }
        let existed: BTreeSet<String> = current
            .elements()
            .into_iter()
            .map(|(element, node)| CurrentConfig::guard(&element, node.mod_policy()))
            .collect();
        let was_stuck = |path: &String| existed.contains(path) && !before.is_satisfiable(path);
        for (path, (count, example)) in &guarded {
            if !after.is_satisfiable(path) && !was_stuck(path) {
                let others = if *count > 1 { format!(" and {} more elements", count - 1) } else { String::new() };
                let problem = format!("nobody could satisfy it, so that {example}{others} could never change again");
                self.add(Element::Policy.at(path), problem);
            }
        }
        let needed = NEEDED.iter().map(|path| (*path).to_owned()).filter(|path| !guarded.contains_key(path));
        for path in needed.filter(|path| before.is_satisfiable(path) && !after.is_satisfiable(path)) {
            self.add(Element::Policy.at(&path), "nobody could satisfy it");
        }
        // An organisation that can never sign counts in every majority.
        for Organization { level, name, policies, .. } in organizations(next.config()) {
            let path = format!("{level}/{name}/Admins");
            let stuck = policies.contains_key("Admins") && !after.is_satisfiable(&path);
            if stuck && before.is_satisfiable(&path) && !guarded.contains_key(&path) {
                self.add(Element::Policy.at(&path), "nobody could satisfy it, and it would count all the same");
            }
        }
    }

    /// ACLs that are new or change must refer to a policy (`core/aclmgmt`).
    fn acls(&mut self, before: &ChannelConfig, after: &ChannelConfig) {
        let judge = Judge::new(after);
        for (resource, policy) in &after.application.acls {
            let path = if policy.starts_with('/') { policy.clone() } else { format!("{APPLICATION}/{policy}") };
            if before.application.acls.get(resource) != Some(policy) && !judge.has_policy(&path) {
                let problem = format!("refers to the policy {path}, which does not exist");
                self.add(format!("{APPLICATION}/{}/{resource}", key::ACLS), problem);
            }
        }
    }

    fn consensus_change(&mut self, before: &ChannelConfig, after: &ChannelConfig, update: &ConfigUpdate) {
        let (old, new) = (&before.orderer, &after.orderer);
        if old.state != new.state {
            let element = Element::Value.at(CONSENSUS_TYPE);
            if update.delta().into_keys().any(|touched| touched != element) || old.consensus != new.consensus {
                self.add(CONSENSUS_TYPE, "nothing else may change when a channel enters or leaves maintenance");
            }
        }
        match (&old.consensus, &new.consensus) {
            (Consensus::EtcdRaft { consenters: old, .. }, Consensus::EtcdRaft { consenters: new, .. }) => {
                self.raft_change(old, new, (before, after));
            }
            (Consensus::Bft { consenters: old, .. }, Consensus::Bft { consenters: new, .. }) => {
                self.bft_change(old, new, (before, after));
            }
            (Consensus::Other { .. }, Consensus::Other { .. }) => {}
            (Consensus::EtcdRaft { consenters: raft, .. }, Consensus::Bft { consenters: bft, .. }) => {
                if [old.state, new.state] != [ConsensusState::Maintenance; 2] {
                    self.add(CONSENSUS_TYPE, "the kind of consensus can change in maintenance only");
                }
                self.migration(raft, bft);
            }
            _ => self.add(CONSENSUS_TYPE, "the kind of consensus can change from etcdraft to BFT only"),
        }
    }

    fn raft_change(
        &mut self,
        old: &[RaftConsenter],
        new: &[RaftConsenter],
        (before, after): (&ChannelConfig, &ChannelConfig),
    ) {
        let certificates = |list: &[RaftConsenter]| -> BTreeSet<Pem> {
            list.iter().map(|consenter| consenter.client_tls_cert.clone()).collect()
        };
        let (old_certificates, new_certificates) = (certificates(old), certificates(new));
        let added = new_certificates.difference(&old_certificates).count();
        let removed = old_certificates.difference(&new_certificates).count();
        if added > 1 || removed > 1 {
            let problem = format!(
                "one consenter at a time can join, leave or be replaced; here {added} join and {removed} leave"
            );
            self.add(CONSENSUS_TYPE, problem);
        }
        let authorities = TlsAuthorities::of(after);
        // Those that stay may lose the authority that stands for them, with the organization that has it.
        let others = authorities != TlsAuthorities::of(before);
        for consenter in new.iter().filter(|consenter| others || !old.contains(consenter)) {
            let path = format!("{CONSENSUS_TYPE}/consenters/{}:{}", consenter.host, consenter.port);
            self.tls(&path, &consenter.client_tls_cert, &authorities);
            self.tls(&path, &consenter.server_tls_cert, &authorities);
        }
    }

    fn bft_change(
        &mut self,
        old: &[BftConsenter],
        new: &[BftConsenter],
        (before, after): (&ChannelConfig, &ChannelConfig),
    ) {
        let ids = |list: &[BftConsenter]| -> BTreeSet<u32> { list.iter().map(|consenter| consenter.id).collect() };
        let (added, removed) = (ids(new).difference(&ids(old)).count(), ids(old).difference(&ids(new)).count());
        if added > 1 || removed > 1 {
            let problem = format!("change one consenter at a time; here {added} join and {removed} leave");
            self.add("/Channel/Orderer/Orderers", problem);
        }
        let authorities = TlsAuthorities::of(after);
        let others = authorities != TlsAuthorities::of(before);
        let judge = Judge::new(after);
        for consenter in new.iter().filter(|consenter| others || !old.contains(consenter)) {
            let path = format!("/Channel/Orderer/Orderers/{}", consenter.id);
            self.tls(&path, &consenter.client_tls_cert, &authorities);
            self.tls(&path, &consenter.server_tls_cert, &authorities);
            let certificate = String::from_utf8_lossy(consenter.identity.bytes());
            match judge.identify(&crate::identity::serialize(&consenter.msp_id, &certificate)) {
                Ok(identity) => {
                    if let Some(problem) = identity.problem {
                        self.add(path, format!("its enrolment certificate is not valid: {problem}"));
                    }
                }
                Err(problem) => self.add(path, problem.to_string()),
            }
        }
    }

    /// With the kind of consensus, the consenters must stay the same nodes.
    fn migration(&mut self, raft: &[RaftConsenter], bft: &[BftConsenter]) {
        let same = |raft: &RaftConsenter, bft: &BftConsenter| {
            (&raft.host, raft.port, &raft.client_tls_cert, &raft.server_tls_cert)
                == (&bft.host, bft.port, &bft.client_tls_cert, &bft.server_tls_cert)
        };
        if raft.len() != bft.len() || !raft.iter().all(|raft| bft.iter().any(|bft| same(raft, bft))) {
            self.add(
                "/Channel/Orderer/Orderers",
                "the consenters must be the nodes that they are, with their certificates",
            );
        }
    }

    fn tls(&mut self, path: &str, pem: &Pem, authorities: &TlsAuthorities) {
        let Ok(certificate) = CertificateInfo::from_first_pem(pem.bytes()) else {
            // Said with the other certificates that cannot be read.
            return;
        };
        if !certificate.server_auth || !certificate.client_auth {
            self.add(path, format!("{} is not for clients and servers alike", certificate.subject));
        }
        // Expiry is another matter: Fabric overlooks it for consenters that stay.
        let at = certificate.not_before;
        if let Err(error) = verify_chain(&certificate, &authorities.intermediates, &authorities.roots, at) {
            self.add(path, format!("no TLS authority of an orderer organisation stands for it: {error}"));
        }
    }
}

/// The TLS authorities of all the organisations that run orderers.
#[derive(PartialEq)]
struct TlsAuthorities {
    roots: Vec<CertificateInfo>,
    intermediates: Vec<CertificateInfo>,
}

impl TlsAuthorities {
    fn of(config: &ChannelConfig) -> Self {
        let read = |pems: &[Pem]| -> Vec<CertificateInfo> {
            pems.iter().filter_map(|pem| CertificateInfo::from_first_pem(pem.bytes()).ok()).collect()
        };
        let msps = || config.orderer.organizations.values().map(|organization| &organization.msp);
        Self {
            roots: msps().flat_map(|msp| read(&msp.tls_root_certs)).collect(),
            intermediates: msps().flat_map(|msp| read(&msp.tls_intermediate_certs)).collect(),
        }
    }
}
