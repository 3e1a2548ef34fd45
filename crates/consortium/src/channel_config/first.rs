//! The first configuration of a channel, from its spec and the public certificates.

use std::collections::BTreeMap;

use tenter_fabric::block::Block;
use tenter_fabric::ca::RevocationList;
use tenter_fabric::config::{
    Anchor, ApplicationOrganization, Batch, BftConsenter, BftOptions, ChannelConfig, Consensus, OrdererOrganization,
    RaftConsenter, RaftOptions,
};
use tenter_fabric::genesis::{GenesisFormat, genesis_block};
use tenter_fabric::msp::{MspDefinition, Pem};
use tenter_fabric::policy::defaults::Policies;
use tenter_fabric::policy::{ImplicitMeta, Policy, SignaturePolicy, defaults};
use tenter_fabric::x509::CertificateInfo;

use super::lockout::lock_out_at_first;
use super::wanted::unknown_msp;
use super::{Material, MspMaterial, chain};
use crate::objects::{Capabilities, ChannelMember, ChannelSpec, ConsensusType, ConsenterRef};
use crate::values::Address;

/// The genesis block of a channel. Equal inputs give equal bytes.
pub fn genesis(spec: &ChannelSpec, material: &Material) -> Result<Block, String> {
    genesis_in(spec, material, GenesisFormat::LATEST)
}

/// The genesis block of a channel, in a format of its own.
pub fn genesis_in(spec: &ChannelSpec, material: &Material, format: GenesisFormat) -> Result<Block, String> {
    let config = first_config(spec, material)?;
    if let Some(why) = lock_out_at_first(&spec.channel, &config) {
        return Err(why);
    }
    genesis_block(&spec.channel, &config, format).map_err(|error| chain(&error))
}

/// The configuration that a channel begins with.
pub fn first_config(spec: &ChannelSpec, material: &Material) -> Result<ChannelConfig, String> {
    let mut config = ChannelConfig::new(consensus(spec, material)?);
    let Capabilities { channel, orderer, application } = &spec.capabilities;
    config.capabilities = [channel.clone()].into();
    config.orderer.capabilities = [orderer.clone()].into();
    config.application.capabilities = [application.clone()].into();
    set_policies(&mut config.policies, &spec.policies.channel, "/Channel")?;
    set_policies(&mut config.orderer.policies, &spec.policies.orderer, "/Channel/Orderer")?;
    set_policies(&mut config.application.policies, &spec.policies.application, "/Channel/Application")?;
    config.application.acls.clone_from(&spec.acls);
    config.orderer.batch = batch(spec);
    for organization in &spec.orderer_organizations {
        let entry = OrdererOrganization {
            msp: msp(&organization.organization, &organization.msp_id, material)?,
            endpoints: organization.endpoints.clone(),
            policies: defaults::orderer_organization(&organization.msp_id),
        };
        config.orderer.organizations.insert(organization.organization.clone(), entry);
    }
    for member in &spec.members {
        let entry = ApplicationOrganization {
            msp: msp(&member.organization, &member.msp_id, material)?,
            anchors: anchors(member)?,
            policies: defaults::application_organization(&member.msp_id),
        };
        config.application.organizations.insert(member.organization.clone(), entry);
    }
    // After the spec's policies: for BFT it is computed, whatever was written.
    config.orderer.set_block_validation();
    Ok(config)
}

/// As much of a channel's configuration as its policies are made of, without any certificate.
pub fn policy_config(spec: &ChannelSpec) -> Result<ChannelConfig, String> {
    let nobody = Consensus::EtcdRaft { consenters: Vec::new(), options: RaftOptions::default() };
    let mut config = ChannelConfig::new(nobody);
    set_policies(&mut config.policies, &spec.policies.channel, "/Channel")?;
    set_policies(&mut config.orderer.policies, &spec.policies.orderer, "/Channel/Orderer")?;
    set_policies(&mut config.application.policies, &spec.policies.application, "/Channel/Application")?;
    for organization in &spec.orderer_organizations {
        let entry = OrdererOrganization {
            msp: unknown_msp(&organization.msp_id),
            endpoints: Vec::new(),
            policies: defaults::orderer_organization(&organization.msp_id),
        };
        config.orderer.organizations.insert(organization.organization.clone(), entry);
    }
    for member in &spec.members {
        let entry = ApplicationOrganization {
            msp: unknown_msp(&member.msp_id),
            anchors: Vec::new(),
            policies: defaults::application_organization(&member.msp_id),
        };
        config.application.organizations.insert(member.organization.clone(), entry);
    }
    Ok(config)
}

/// Host and port of an address.
pub(super) fn target(address: &str) -> Result<(String, u16), String> {
    let Address { host, port } =
        Address::parse(address).ok_or_else(|| format!("{address} is no address: write host:port"))?;
    Ok((host.to_owned(), port))
}

/// When blocks are cut.
pub(super) fn batch(spec: &ChannelSpec) -> Batch {
    Batch {
        max_message_count: spec.batch.max_message_count,
        absolute_max_bytes: spec.batch.absolute_max_bytes,
        preferred_max_bytes: spec.batch.preferred_max_bytes,
        timeout: spec.batch.timeout.clone(),
    }
}

/// A member's anchor peers.
pub(super) fn anchors(member: &ChannelMember) -> Result<Vec<Anchor>, String> {
    let anchors = member.anchors.iter().map(|anchor| target(anchor).map(|(host, port)| Anchor { host, port }));
    anchors.collect()
}

/// Sets the policies of a level that the spec names.
fn set_policies(policies: &mut Policies, wanted: &BTreeMap<String, String>, level: &str) -> Result<(), String> {
    for (name, text) in wanted {
        policies.insert(name.clone(), policy(text).map_err(|why| format!("policy {level}/{name}: {why}"))?);
    }
    Ok(())
}

/// Reads `MAJORITY Admins`, or Fabric's signature policy language.
pub(super) fn policy(text: &str) -> Result<Policy, String> {
    if let Ok(implicit) = text.parse::<ImplicitMeta>() {
        return Ok(Policy::ImplicitMeta(implicit));
    }
    text.parse::<SignaturePolicy>().map(Policy::Signature).map_err(|error| chain(&error))
}

fn certificates(text: &str, what: &str) -> Result<Vec<Pem>, String> {
    let certificates = CertificateInfo::all_from_pem(text).map_err(|error| format!("{what}: {}", chain(&error)))?;
    certificates
        .iter()
        .map(|certificate| certificate.to_pem().map(Pem::new).map_err(|error| format!("{what}: {}", chain(&error))))
        .collect()
}

pub(super) fn first_certificate(text: &str, what: &str) -> Result<Pem, String> {
    certificates(text, what)?.into_iter().next().ok_or_else(|| format!("{what}: no certificate"))
}

/// Fabric takes a list of anybody into a configuration, and then passes over it: one that no root of the organization
/// signed is refused here.
fn revocations(list: &str, ca_certs: &str) -> Result<(), String> {
    let list = RevocationList::from_pem(list).map_err(|error| chain(&error))?;
    let roots = CertificateInfo::all_from_pem(ca_certs).map_err(|error| chain(&error))?;
    if roots.iter().any(|root| list.is_signed_by(root)) {
        return Ok(());
    }
    Err("no root of the organization signed it".to_owned())
}

/// An organization's MSP as its public folder gives it.
pub(crate) fn msp(organization: &str, msp_id: &str, material: &Material) -> Result<MspDefinition, String> {
    let MspMaterial { ca_certs, tls_ca_certs, config, crls, intermediate_certs, tls_intermediate_certs } =
        material.msps.get(organization).ok_or_else(|| format!("the MSP of {organization} is missing"))?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let nothing = String::new();
    for (directory, text) in [
        ("cacerts", ca_certs),
        ("tlscacerts", tls_ca_certs),
        ("intermediatecerts", intermediate_certs.as_ref().unwrap_or(&nothing)),
        ("tlsintermediatecerts", tls_intermediate_certs.as_ref().unwrap_or(&nothing)),
    ] {
        let what = format!("{directory} of {organization}");
        for (index, pem) in certificates(text, &what)?.iter().enumerate() {
            files.insert(format!("{directory}/{index:04}.pem"), pem.bytes().to_vec());
        }
    }
    files.insert("config.yaml".to_owned(), config.clone().into_bytes());
    if let Some(list) = crls {
        revocations(list, ca_certs).map_err(|why| format!("revocation list of {organization}: {why}"))?;
        files.insert("crls/0000.pem".to_owned(), list.clone().into_bytes());
    }
    MspDefinition::from_files(msp_id, &files).map_err(|error| format!("MSP of {organization}: {}", chain(&error)))
}

fn consensus(spec: &ChannelSpec, material: &Material) -> Result<Consensus, String> {
    let parts = (0..spec.consensus.consenters.len()).map(|index| part(spec, material, index));
    let parts: Vec<Part> = parts.collect::<Result<_, _>>()?;
    Ok(match spec.consensus.consensus_type {
        ConsensusType::EtcdRaft => Consensus::EtcdRaft {
            consenters: parts.into_iter().map(Part::raft).collect(),
            options: raft_options(&spec.consensus.options)?,
        },
        ConsensusType::Bft => Consensus::Bft {
            consenters: parts.into_iter().zip(1..).map(|(part, id)| part.bft(id)).collect(),
            options: bft_options(&spec.consensus.options)?,
        },
    })
}

/// A consenter with its certificates read.
pub(super) struct Part {
    host: String,
    port: u16,
    msp_id: String,
    tls: Pem,
    identity: Pem,
}

impl Part {
    pub(super) fn raft(self) -> RaftConsenter {
        let Self { host, port, tls, .. } = self;
        RaftConsenter { host, port, client_tls_cert: tls.clone(), server_tls_cert: tls }
    }

    pub(super) fn bft(self, id: u32) -> BftConsenter {
        let Self { host, port, msp_id, tls, identity } = self;
        BftConsenter { id, host, port, msp_id, identity, client_tls_cert: tls.clone(), server_tls_cert: tls }
    }
}

/// The consenter that a spec names at a place, while its certificates are not there: what stands for them is told apart.
pub(super) fn unknown_part(consenter: &ConsenterRef) -> Result<Part, String> {
    let (host, port) = target(&consenter.address)?;
    let pem = Pem::new(consenter.address.clone());
    Ok(Part { host, port, msp_id: String::new(), tls: pem.clone(), identity: pem })
}

/// The consenter that a spec names at a place.
pub(super) fn part(spec: &ChannelSpec, material: &Material, index: usize) -> Result<Part, String> {
    let consenter = spec.consensus.consenters.get(index).ok_or("there is no such consenter")?;
    let certificates = material.consenters.get(index).cloned().unwrap_or_default();
    let name = format!("{}/{}", consenter.namespace, consenter.orderer);
    let organization = spec
        .orderer_organizations
        .iter()
        .find(|organization| organization.organization == consenter.organization)
        .ok_or_else(|| {
            format!("consenter {name} is of {}, which is no orderer organization", consenter.organization)
        })?;
    let (host, port) = target(&consenter.address)?;
    Ok(Part {
        host,
        port,
        msp_id: organization.msp_id.clone(),
        tls: first_certificate(&certificates.tls, &format!("TLS certificate of {name}"))?,
        identity: first_certificate(&certificates.identity, &format!("enrolment certificate of {name}"))?,
    })
}

/// Reads options by their names; what is not given has Fabric's default.
struct Options<'a> {
    given: BTreeMap<&'a str, &'a str>,
}

impl<'a> Options<'a> {
    fn new(given: &'a BTreeMap<String, String>) -> Self {
        Self { given: given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect() }
    }

    fn text(&mut self, name: &str, place: &mut String) {
        if let Some(value) = self.given.remove(name) {
            value.clone_into(place);
        }
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str, place: &mut T) -> Result<(), String> {
        if let Some(value) = self.given.remove(name) {
            *place = value.parse().map_err(|_| format!("option {name}: {value} is no number in its range"))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), String> {
        match self.given.keys().next() {
            Some(name) => Err(format!("option {name} is not known")),
            None => Ok(()),
        }
    }
}

pub(super) fn raft_options(given: &BTreeMap<String, String>) -> Result<RaftOptions, String> {
    let mut options = RaftOptions::default();
    let mut reader = Options::new(given);
    reader.text("tickInterval", &mut options.tick_interval);
    reader.number("electionTick", &mut options.election_tick)?;
    reader.number("heartbeatTick", &mut options.heartbeat_tick)?;
    reader.number("maxInflightBlocks", &mut options.max_inflight_blocks)?;
    reader.number("snapshotIntervalSize", &mut options.snapshot_interval_size)?;
    reader.finish()?;
    Ok(options)
}

pub(super) fn bft_options(given: &BTreeMap<String, String>) -> Result<BftOptions, String> {
    let mut options = BftOptions::default();
    let mut reader = Options::new(given);
    reader.text("requestBatchMaxInterval", &mut options.request_batch_max_interval);
    reader.text("requestForwardTimeout", &mut options.request_forward_timeout);
    reader.text("requestComplainTimeout", &mut options.request_complain_timeout);
    reader.text("requestAutoRemoveTimeout", &mut options.request_auto_remove_timeout);
    reader.text("viewChangeResendInterval", &mut options.view_change_resend_interval);
    reader.text("viewChangeTimeout", &mut options.view_change_timeout);
    reader.text("leaderHeartbeatTimeout", &mut options.leader_heartbeat_timeout);
    reader.text("collectTimeout", &mut options.collect_timeout);
    reader.number("incomingMessageBufferSize", &mut options.incoming_message_buffer_size)?;
    reader.number("requestPoolSize", &mut options.request_pool_size)?;
    reader.number("leaderHeartbeatCount", &mut options.leader_heartbeat_count)?;
    reader.finish()?;
    Ok(options)
}
