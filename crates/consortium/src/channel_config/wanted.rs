//! The configuration that a live channel should have.
//!
//! It begins with the live configuration and changes what the spec governs: capabilities, policies and ACLs of the three
//! levels, batches, consensus options, addresses, members and their anchors, and the authorities in MSPs whose public
//! folder is known. The rest (organizations' own policies, values that no spec names) is left as it is. What cannot be
//! done to a live channel is refused by name, and stays as it is too.

use std::collections::{BTreeMap, BTreeSet};

use tenter_fabric::config::{
    ApplicationOrganization, ChannelConfig, Consensus, OrdererConfig, OrdererOrganization as LiveOrderer,
};
use tenter_fabric::msp::{MspDefinition, NodeOus, Pem};
use tenter_fabric::policy::defaults::{self, Policies};
use tenter_fabric::x509::CertificateInfo;

use super::Material;
use super::first::{
    anchors, batch, bft_options, first_certificate, msp, part, policy, raft_options, target, unknown_part,
};
use crate::objects::{ChannelMember, ChannelSpec, ConsensusType, OrdererOrganization};

/// The topic of changes of the consenters.
const CONSENTERS: &str = "consenters";
/// The policy that Fabric computes from a BFT channel's consenters.
const BLOCK_VALIDATION: &str = "BlockValidation";

/// Something that the spec asks for and that is not done to a live channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// What it concerns, as a topic is named: `consenters`, `capabilities`, `member/acme`.
    pub topic: String,
    /// Why, and what to do instead.
    pub why: String,
    /// Whether it only waits for something that comes by itself.
    pub waits: bool,
}

/// What a live channel should become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The configuration, as far as it can be had.
    pub config: ChannelConfig,
    /// New organizations whose MSP is not known: they stand in `config` with an MSP that has no certificate.
    pub incomplete: BTreeSet<String>,
    /// `namespace/name` of the orderer that stands in `config` as a consenter without its certificates, which are not known.
    pub unknown_consenter: Option<String>,
    /// What the spec asks for and is not done.
    pub refused: Vec<Refused>,
    /// Organizations of the live configuration that the spec neither names nor releases: they stay.
    pub unnamed: Vec<String>,
    /// `host:port` of consenters of the live configuration that the spec neither names nor releases: they stay.
    pub unnamed_consenters: Vec<String>,
    /// `host:port` of consenters of the live configuration that the spec does not name, those among them.
    pub leaving: BTreeSet<String>,
    /// `host:port` of the consenter that `config` has and the live configuration has not. At most one comes or goes.
    pub joining: Option<String>,
    /// `host:port` of consenters that the spec names and the live configuration does not have yet.
    pub coming: BTreeSet<String>,
}

/// The configuration that a live channel should have. An error says what in the spec or in the material cannot be read.
pub fn wanted(live: &ChannelConfig, spec: &ChannelSpec, material: &Material) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        config: live.clone(),
        incomplete: BTreeSet::new(),
        refused: Vec::new(),
        unnamed: Vec::new(),
        unnamed_consenters: Vec::new(),
        leaving: BTreeSet::new(),
        unknown_consenter: None,
        joining: None,
        coming: BTreeSet::new(),
    };
    wanted.capabilities(spec);
    let bft = matches!(live.orderer.consensus, Consensus::Bft { .. });
    let config = &mut wanted.config;
    level(&mut config.policies, &spec.policies.channel, "/Channel", None)?;
    let kept = bft.then_some(BLOCK_VALIDATION);
    level(&mut config.orderer.policies, &spec.policies.orderer, "/Channel/Orderer", kept)?;
    level(&mut config.application.policies, &spec.policies.application, "/Channel/Application", None)?;
    config.application.acls.clone_from(&spec.acls);
    config.orderer.batch = batch(spec);
    wanted.consensus(spec, material)?;
    wanted.orderer_organizations(live, spec, material)?;
    wanted.members(spec, material)?;
    Ok(wanted)
}

/// Brings the policies of a level to those of the spec. One that means the same keeps its bytes.
fn level(
    live: &mut Policies,
    spec: &BTreeMap<String, String>,
    path: &str,
    computed: Option<&str>,
) -> Result<(), String> {
    live.retain(|name, _| spec.contains_key(name) || computed == Some(name.as_str()));
    for (name, text) in spec.iter().filter(|(name, _)| computed != Some(name.as_str())) {
        let policy = policy(text).map_err(|why| format!("policy {path}/{name}: {why}"))?;
        if live.get(name).map(ToString::to_string) != Some(policy.to_string()) {
            live.insert(name.clone(), policy);
        }
    }
    Ok(())
}

impl Wanted {
    fn refuse(&mut self, topic: impl Into<String>, why: String) {
        self.refused.push(Refused { topic: topic.into(), why, waits: false });
    }

    fn wait(&mut self, topic: impl Into<String>, why: String) {
        self.refused.push(Refused { topic: topic.into(), why, waits: true });
    }

    fn capabilities(&mut self, spec: &ChannelSpec) {
        let mut lowered = Vec::new();
        let config = &mut self.config;
        for (level, live, wanted) in [
            ("channel", &mut config.capabilities, &spec.capabilities.channel),
            ("orderer", &mut config.orderer.capabilities, &spec.capabilities.orderer),
            ("application", &mut config.application.capabilities, &spec.capabilities.application),
        ] {
            match live.iter().max_by_key(|name| rank(name)) {
                Some(newest) if rank(newest) > rank(wanted) => lowered.push(format!(
                    "the channel has {level} capability {newest}, and capabilities are never lowered: write {newest} \
                     instead of {wanted} (capabilities.{level})"
                )),
                _ if live.len() == 1 && live.contains(wanted) => {}
                _ => *live = BTreeSet::from([wanted.clone()]),
            }
        }
        for why in lowered {
            self.refuse("capabilities", why);
        }
    }

    fn consensus(&mut self, spec: &ChannelSpec, material: &Material) -> Result<(), String> {
        let wanted = &spec.consensus;
        match (&mut self.config.orderer.consensus, wanted.consensus_type) {
            (Consensus::EtcdRaft { options, .. }, ConsensusType::EtcdRaft) => *options = raft_options(&wanted.options)?,
            (Consensus::Bft { options, .. }, ConsensusType::Bft) => {
                // What no definition can set stays as it is.
                let given = bft_options(&wanted.options)?;
                let live = options.clone();
                *options = tenter_fabric::config::BftOptions {
                    request_batch_max_count: live.request_batch_max_count,
                    request_batch_max_bytes: live.request_batch_max_bytes,
                    request_max_bytes: live.request_max_bytes,
                    sync_on_start: live.sync_on_start,
                    speed_up_view_change: live.speed_up_view_change,
                    leader_rotation: live.leader_rotation,
                    decisions_per_leader: live.decisions_per_leader,
                    ..given
                };
            }
            (Consensus::Other { kind, .. }, _) => {
                let why = format!("the channel is ordered by {kind}, which is not supported");
                self.refuse(CONSENTERS, why);
                return Ok(());
            }
            _ => {
                let why = "a live channel keeps its consensus type: moving from etcdraft to BFT is a migration that is not \
                           carried out yet; put the type back";
                self.refuse(CONSENTERS, why.to_owned());
                return Ok(());
            }
        }
        self.consenters(spec, material)
    }

    /// The next step towards the consenters of the spec. The same ones under other addresses move, all at once. Else one
    /// comes or one goes, the first before the second: Fabric takes no more in one update, and what leaves fewer nodes
    /// comes last (`orderer/consensus/etcdraft/membership.go`).
    fn consenters(&mut self, spec: &ChannelSpec, material: &Material) -> Result<(), String> {
        let wanted = &spec.consensus.consenters;
        let live = addresses(&self.config.orderer);
        let names: Vec<String> = wanted.iter().map(|consenter| consenter.address.clone()).collect();
        if sorted(&live) == sorted(&names) {
            return Ok(());
        }
        let keys = keys(&self.config.orderer);
        let mut moved: Vec<(usize, String, u16)> = Vec::new();
        let (mut known, mut unknown, mut uncovered) = (Vec::new(), Vec::new(), Vec::new());
        let mut left: Vec<usize> = (0..live.len()).filter(|position| !names.contains(&live[*position])).collect();
        for (index, consenter) in wanted.iter().enumerate() {
            if live.contains(&consenter.address) {
                continue;
            }
            let certificate = material.consenters.get(index).filter(|material| !material.tls.is_empty());
            let Some(certificate) = certificate else {
                unknown.push(index);
                self.coming.insert(consenter.address.clone());
                continue;
            };
            let key = public_key(&certificate.tls);
            let position = key.and_then(|key| keys.iter().position(|other| other.as_ref() == Some(&key)));
            let (host, port) = target(&consenter.address)?;
            let position = position.filter(|position| !names.contains(&live[*position]));
            left.retain(|other| Some(*other) != position);
            match position {
                Some(_) if !covers(&certificate.tls, &host) => {
                    uncovered.push(format!("{}/{}", consenter.namespace, consenter.orderer));
                }
                Some(position) => moved.push((position, host, port)),
                None => {
                    self.coming.insert(consenter.address.clone());
                    known.push(index);
                }
            }
        }
        self.leaving = left.iter().map(|position| live[*position].clone()).collect();
        let (gone, stays) = self.released(spec, &live, left);
        // One whose certificate is not known may be one of these that moves.
        if unknown.is_empty() {
            self.unnamed_consenters = stays;
        }
        if !uncovered.is_empty() {
            let why = format!(
                "new addresses of consenters wait until the TLS certificates of {} cover them",
                uncovered.join(", ")
            );
            self.wait(CONSENTERS, why);
        } else if !moved.is_empty() {
            self.move_consenters(moved);
        } else if let Some(index) = known.first() {
            self.add_consenter(spec, material, *index)?;
        } else if let Some(position) = gone.last() {
            // The newest goes first: its place was the last to be filled. Whoever has no certificate yet does not hold it up.
            self.remove_consenter(*position);
        } else if let Some(index) = unknown.first() {
            self.add_consenter(spec, material, *index)?;
        }
        Ok(())
    }

    /// Of the live consenters that the spec does not name: the places of those that it releases, and the addresses of the others,
    /// which stay.
    fn released(&self, spec: &ChannelSpec, live: &[String], left: Vec<usize>) -> (Vec<usize>, Vec<String>) {
        let organizations = &self.config.orderer.organizations;
        let leaving = spec.retired.iter().filter_map(|name| organizations.get(name));
        let mut released: BTreeSet<String> = leaving.flat_map(|live| live.endpoints.clone()).collect();
        released.extend(spec.consensus.released.iter().map(|orderer| orderer.address.clone()));
        let (gone, unnamed): (Vec<usize>, Vec<usize>) =
            left.into_iter().partition(|position| released.contains(&live[*position]));
        (gone, unnamed.into_iter().map(|position| live[position].clone()).collect())
    }

    fn move_consenters(&mut self, moved: Vec<(usize, String, u16)>) {
        for (position, host, port) in moved {
            match &mut self.config.orderer.consensus {
                Consensus::EtcdRaft { consenters, .. } => {
                    if let Some(consenter) = consenters.get_mut(position) {
                        (consenter.host, consenter.port) = (host, port);
                    }
                }
                Consensus::Bft { consenters, .. } => {
                    if let Some(consenter) = consenters.get_mut(position) {
                        (consenter.host, consenter.port) = (host, port);
                    }
                }
                Consensus::Other { .. } => {}
            }
        }
    }

    fn add_consenter(&mut self, spec: &ChannelSpec, material: &Material, index: usize) -> Result<(), String> {
        let Some(consenter) = spec.consensus.consenters.get(index) else { return Ok(()) };
        let organization = spec.orderer_organizations.iter().find(|it| it.organization == consenter.organization);
        let known = |msp_id: &String| self.config.orderer.organizations.values().any(|live| live.msp.msp_id == *msp_id);
        if !organization.is_some_and(|organization| known(&organization.msp_id)) {
            // Its organization comes first: certificates are judged by the roots of those that order already.
            return Ok(());
        }
        let new = if material.consenters.get(index).is_some_and(|material| !material.tls.is_empty()) {
            part(spec, material, index)?
        } else {
            self.unknown_consenter = Some(format!("{}/{}", consenter.namespace, consenter.orderer));
            unknown_part(consenter)?
        };
        match &mut self.config.orderer.consensus {
            Consensus::EtcdRaft { consenters, .. } => consenters.push(new.raft()),
            Consensus::Bft { consenters, .. } => {
                let id = consenters.iter().map(|consenter| consenter.id).max().unwrap_or_default();
                consenters.push(new.bft(id.saturating_add(1)));
            }
            Consensus::Other { .. } => return Ok(()),
        }
        self.joining = Some(consenter.address.clone());
        self.config.orderer.set_block_validation();
        Ok(())
    }

    fn remove_consenter(&mut self, position: usize) {
        match &mut self.config.orderer.consensus {
            Consensus::EtcdRaft { consenters, .. } => drop(consenters.remove(position)),
            Consensus::Bft { consenters, .. } => drop(consenters.remove(position)),
            Consensus::Other { .. } => {}
        }
        self.config.orderer.set_block_validation();
    }

    /// The MSP of an organization that is new to the channel; until its material is known, one that only names it.
    fn newcomer(&mut self, organization: &str, msp_id: &str, material: &Material) -> Result<MspDefinition, String> {
        if material.msps.contains_key(organization) {
            return msp(organization, msp_id, material);
        }
        self.incomplete.insert(organization.to_owned());
        Ok(unknown_msp(msp_id))
    }

    fn orderer_organizations(
        &mut self,
        live: &ChannelConfig,
        spec: &ChannelSpec,
        material: &Material,
    ) -> Result<(), String> {
        // Clients ask who orders, and not who is about to come or to go.
        let mut ordering: BTreeSet<String> = addresses(&self.config.orderer).into_iter().collect();
        ordering.retain(|address| self.joining.as_ref() != Some(address));
        for wanted in &spec.orderer_organizations {
            let OrdererOrganization { organization, msp_id, endpoints, .. } = wanted;
            let live = self.config.orderer.organizations.iter_mut().find(|(_, live)| live.msp.msp_id == *msp_id);
            if let Some((_, live)) = live {
                bring(&mut live.msp, organization, msp_id, material)?;
                let stays = live.endpoints.iter().filter(|endpoint| !endpoints.contains(endpoint));
                let all = endpoints.iter().chain(stays).filter(|endpoint| ordering.contains(*endpoint));
                let all: Vec<String> = all.cloned().collect();
                if !all.is_empty() && sorted(&live.endpoints) != sorted(&all) {
                    live.endpoints = all;
                }
                continue;
            }
            if let Some(live) = self.config.orderer.organizations.get(organization) {
                let why = renamed(organization, &live.msp, msp_id);
                self.refuse(format!("orderer-organization/{organization}"), why);
                continue;
            }
            let definition = self.newcomer(organization, msp_id, material)?;
            // It has no consenter yet. From capability V3_0 on an organization that orders has endpoints all the same
            // (`common/channelconfig/orderer.go`).
            let bound = self.config.capabilities.iter().any(|name| rank(name) >= rank("V3_0"));
            let entry = LiveOrderer {
                msp: definition,
                endpoints: if bound { endpoints.clone() } else { Vec::new() },
                policies: defaults::orderer_organization(msp_id),
            };
            self.config.orderer.organizations.insert(organization.clone(), entry);
        }
        // One that is released goes after its last consenter, whose certificate its authority stands for.
        let addresses = addresses(&live.orderer);
        let named = |msp_id: &String| spec.orderer_organizations.iter().any(|it| it.msp_id == *msp_id);
        self.config.orderer.organizations.retain(|name, live| {
            let orders = live.endpoints.iter().any(|endpoint| addresses.contains(endpoint));
            let released: Vec<&String> = spec.consensus.released.iter().map(|orderer| &orderer.address).collect();
            let all_released = live.endpoints.iter().all(|endpoint| released.contains(&endpoint));
            let released = spec.retired.contains(name) || (all_released && !live.endpoints.is_empty());
            named(&live.msp.msp_id) || !released || orders
        });
        Ok(())
    }

    fn members(&mut self, spec: &ChannelSpec, material: &Material) -> Result<(), String> {
        let mut named = BTreeSet::new();
        for wanted in &spec.members {
            let ChannelMember { organization, msp_id, .. } = wanted;
            let live = self.config.application.organizations.iter_mut().find(|(_, live)| live.msp.msp_id == *msp_id);
            let wanted_anchors = anchors(wanted)?;
            if let Some((key, live)) = live {
                named.insert(key.clone());
                let ordered = |list: &[tenter_fabric::config::Anchor]| list.iter().cloned().collect::<BTreeSet<_>>();
                if ordered(&live.anchors) != ordered(&wanted_anchors) {
                    live.anchors = wanted_anchors;
                }
                bring(&mut live.msp, organization, msp_id, material)?;
                continue;
            }
            if let Some(live) = self.config.application.organizations.get(organization) {
                let why = renamed(organization, &live.msp, msp_id);
                self.refuse(format!("member/{organization}"), why);
                named.insert(organization.clone());
                continue;
            }
            let definition = self.newcomer(organization, msp_id, material)?;
            let entry = ApplicationOrganization {
                msp: definition,
                anchors: wanted_anchors,
                policies: defaults::application_organization(msp_id),
            };
            named.insert(organization.clone());
            self.config.application.organizations.insert(organization.clone(), entry);
        }
        self.config.application.organizations.retain(|key, _| named.contains(key) || !spec.retired.contains(key));
        let others = self.config.application.organizations.keys().filter(|key| !named.contains(*key));
        self.unnamed.extend(others.cloned());
        Ok(())
    }
}

fn renamed(organization: &str, live: &MspDefinition, msp_id: &str) -> String {
    let known = &live.msp_id;
    format!("the channel knows {organization} as {known}, the spec as {msp_id}: an MSP ID can never change")
}

/// How new a capability is: `V1_4_2` gives 1, 4, 2. What has another shape is newer than all of them, so that it is
/// never lowered by mistake.
fn rank(capability: &str) -> Vec<u32> {
    let numbers = capability.strip_prefix('V').map(|rest| rest.split('_').map(str::parse::<u32>).collect());
    match numbers {
        Some(Ok(numbers)) => numbers,
        _ => vec![u32::MAX],
    }
}

fn sorted(list: &[String]) -> Vec<&String> {
    let mut list: Vec<&String> = list.iter().collect();
    list.sort();
    list
}

/// `host:port` of the consenters, in order.
fn addresses(orderer: &OrdererConfig) -> Vec<String> {
    match &orderer.consensus {
        Consensus::EtcdRaft { consenters, .. } => {
            consenters.iter().map(|consenter| format!("{}:{}", consenter.host, consenter.port)).collect()
        }
        Consensus::Bft { consenters, .. } => {
            consenters.iter().map(|consenter| format!("{}:{}", consenter.host, consenter.port)).collect()
        }
        Consensus::Other { .. } => Vec::new(),
    }
}

/// Fingerprints of the consenters' TLS keys, in order. A certificate that was renewed for the same key is the same
/// consenter (`orderer/consensus/etcdraft/util.go`).
fn keys(orderer: &OrdererConfig) -> Vec<Option<String>> {
    let key = |pem: &Pem| std::str::from_utf8(pem.bytes()).ok().and_then(public_key);
    match &orderer.consensus {
        Consensus::EtcdRaft { consenters, .. } => consenters.iter().map(|one| key(&one.server_tls_cert)).collect(),
        Consensus::Bft { consenters, .. } => consenters.iter().map(|one| key(&one.server_tls_cert)).collect(),
        Consensus::Other { .. } => Vec::new(),
    }
}

/// Whether a configuration names the key of this TLS certificate (PEM) for one of its consenters.
pub fn is_consenter(config: &ChannelConfig, tls: &str) -> bool {
    public_key(tls).is_some_and(|key| keys(&config.orderer).contains(&Some(key)))
}

/// Whether a TLS certificate is for a host.
fn covers(pem: &str, host: &str) -> bool {
    let Ok(first) = first_certificate(pem, "certificate") else { return false };
    let text = std::str::from_utf8(first.bytes()).unwrap_or_default();
    CertificateInfo::from_pem(text)
        .is_ok_and(|info| info.dns_names.contains(host) || host.parse().is_ok_and(|ip| info.ip_addresses.contains(&ip)))
}

fn public_key(pem: &str) -> Option<String> {
    let first = first_certificate(pem, "certificate").ok()?;
    let text = std::str::from_utf8(first.bytes()).ok()?;
    CertificateInfo::from_pem(text).ok().map(|info| info.public_key_fingerprint)
}

/// Brings the authorities of a live MSP to those of its public folder, if that is known. How roles are told stays.
fn bring(live: &mut MspDefinition, organization: &str, msp_id: &str, material: &Material) -> Result<(), String> {
    if !material.msps.contains_key(organization) {
        return Ok(());
    }
    let wanted = msp(organization, msp_id, material)?;
    for (live, wanted) in [
        (&mut live.root_certs, wanted.root_certs),
        (&mut live.intermediate_certs, wanted.intermediate_certs),
        (&mut live.tls_root_certs, wanted.tls_root_certs),
        (&mut live.tls_intermediate_certs, wanted.tls_intermediate_certs),
        (&mut live.revocation_list, wanted.revocation_list),
    ] {
        if same(live) != same(&wanted) {
            *live = wanted;
        }
    }
    Ok(())
}

/// What a list of PEM texts holds: certificates by their fingerprint, whatever the text around them; the rest as it is.
fn same(list: &[Pem]) -> BTreeSet<Vec<u8>> {
    let meaning = |pem: &Pem| {
        let text = std::str::from_utf8(pem.bytes()).unwrap_or_default();
        CertificateInfo::from_pem(text)
            .map_or_else(|_| pem.bytes().trim_ascii().to_vec(), |info| info.certificate_fingerprint.into_bytes())
    };
    list.iter().map(meaning).collect()
}

/// The MSP of an organization whose certificates are not there yet.
pub(super) fn unknown_msp(msp_id: &str) -> MspDefinition {
    MspDefinition {
        msp_id: msp_id.to_owned(),
        root_certs: Vec::new(),
        intermediate_certs: Vec::new(),
        admins: Vec::new(),
        revocation_list: Vec::new(),
        organizational_units: Vec::new(),
        tls_root_certs: Vec::new(),
        tls_intermediate_certs: Vec::new(),
        node_ous: Some(NodeOus::usual(None)),
        crypto: None,
    }
}
