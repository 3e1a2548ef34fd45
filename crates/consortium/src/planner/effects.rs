//! What steps touch beside what they say: channels, members, contracts, and nodes that are restarted.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use tenter_fabric::policy::bft_quorum;

use super::Planner;
use crate::objects::{ChannelSpec, ConsensusType, Kind, ObjectRef};
use crate::observed::NodeRef;
use crate::plan::{Effects, FieldChange, Meanwhile, Restart, Step, StepId};

/// Fields of a node's spec that its Pod is made of: a change of one is a restart.
const RESTARTING: [&str; 4] = ["spec.address", "spec.image", "spec.resources", "spec.version"];

/// Who takes part where.
struct Index {
    /// The channels of each node.
    channels: BTreeMap<NodeRef, BTreeSet<String>>,
    /// The members of each channel by name, those that only order too.
    members: BTreeMap<String, BTreeSet<String>>,
    /// The chaincodes of each channel, as `channel/chaincode`.
    contracts: BTreeMap<String, BTreeSet<String>>,
    /// The channels of each organization.
    of_member: BTreeMap<String, BTreeSet<String>>,
}

impl Planner<'_> {
    /// Fills in the effects of all steps that change what is there.
    pub(super) fn effects(&mut self) {
        let index = self.index();
        let effects: Vec<(StepId, Effects)> = self
            .steps
            .iter()
            .map(|(id, planned)| (id.clone(), self.effects_of(&planned.step, &index)))
            .filter(|(_, effects)| !effects.is_empty())
            .collect();
        for (id, effects) in effects {
            if let Some(planned) = self.steps.get_mut(&id) {
                planned.effects = effects;
            }
        }
    }

    fn index(&self) -> Index {
        let mut index = Index {
            channels: BTreeMap::new(),
            members: BTreeMap::new(),
            contracts: BTreeMap::new(),
            of_member: BTreeMap::new(),
        };
        for (name, channel) in &self.desired.channels {
            for node in channel.orderers.iter().chain(&channel.peers) {
                index.channels.entry(node.clone()).or_default().insert(name.clone());
            }
            let object = self.desired.objects.get(&channel.object);
            let Some(spec) = object.and_then(|object| ChannelSpec::deserialize(&object.spec).ok()) else { continue };
            let orderers = spec.orderer_organizations.into_iter().map(|entry| entry.organization);
            let members: BTreeSet<String> =
                orderers.chain(spec.members.into_iter().map(|entry| entry.organization)).collect();
            for member in &members {
                index.of_member.entry(member.clone()).or_default().insert(name.clone());
            }
            index.members.insert(name.clone(), members);
        }
        for (key, chaincode) in &self.desired.chaincodes {
            index.contracts.entry(chaincode.spec.channel.clone()).or_default().insert(key.clone());
        }
        index
    }

    fn effects_of(&self, step: &Step, index: &Index) -> Effects {
        match step {
            Step::UpdateObject { object, changes, .. } => self.effects_on_object(object, changes, index),
            Step::RemoveObject { object, .. } => self.effects_on_object(object, &[], index),
            Step::UpdateChannelConfig { channel, topic, .. } => {
                let one = topic.split_once('/').map(|(_, organization)| BTreeSet::from([organization.to_owned()]));
                Effects {
                    channels: BTreeSet::from([channel.clone()]),
                    members: one.unwrap_or_else(|| index.members.get(channel).cloned().unwrap_or_default()),
                    // Addresses and batches change nothing of what a contract may do.
                    contracts: match topic.split('/').next() {
                        Some("policies" | "capabilities" | "member") => {
                            index.contracts.get(channel).cloned().unwrap_or_default()
                        }
                        _ => BTreeSet::new(),
                    },
                    restart: None,
                }
            }
            Step::DeployChaincode { channel, name, .. } => {
                let key = format!("{channel}/{name}");
                let members = self.desired.chaincodes.get(&key).into_iter().flat_map(|it| &it.spec.members);
                Effects {
                    channels: BTreeSet::from([channel.clone()]),
                    members: members.map(|member| member.organization.clone()).collect(),
                    contracts: BTreeSet::from([key]),
                    restart: None,
                }
            }
            Step::CreateNamespace { .. }
            | Step::CreateObject { .. }
            | Step::PinGenesis { .. }
            | Step::JoinOrderer { .. }
            | Step::JoinPeer { .. }
            | Step::StoreMaterial { .. }
            | Step::StorePackage { .. }
            | Step::AwaitReady { .. } => Effects::default(),
        }
    }

    fn effects_on_object(&self, object: &ObjectRef, changes: &[FieldChange], index: &Index) -> Effects {
        let live = self.observed.objects.get(object);
        let field = |name: &str| live.and_then(|live| super::notes::field(live, name)).map(str::to_owned);
        let mut effects = Effects::default();
        match object.kind {
            Kind::Orderer | Kind::Peer => {
                let node = NodeRef { namespace: object.namespace.clone(), name: object.name.clone() };
                effects.channels = index.channels.get(&node).cloned().unwrap_or_default();
                effects.members.extend(field("organization"));
                let restarts =
                    changes.iter().any(|change| RESTARTING.iter().any(|field| change.path.starts_with(field)));
                if restarts {
                    let channels = effects.channels.iter();
                    let meanwhile =
                        channels.filter_map(|channel| self.meanwhile(object.kind, &node, channel)).collect();
                    effects.restart = Some(Restart { node, meanwhile });
                }
            }
            Kind::Organization | Kind::CertificateAuthority => {
                let organization = field("organization").unwrap_or_else(|| object.name.clone());
                effects.channels = index.of_member.get(&organization).cloned().unwrap_or_default();
                effects.members.insert(organization);
            }
            Kind::Channel => {
                effects.channels.insert(object.name.clone());
                effects.members = index.members.get(&object.name).cloned().unwrap_or_default();
            }
            Kind::Membership => {
                effects.channels.insert(object.name.clone());
                effects.members.extend(field("organization"));
            }
            Kind::Chaincode => {
                effects.channels.extend(field("channel"));
                effects.contracts.extend(live.map(super::notes::chaincode_key));
            }
        }
        effects
    }

    /// What a channel has left while a node is down.
    fn meanwhile(&self, kind: Kind, node: &NodeRef, channel: &str) -> Option<Meanwhile> {
        let wanted = self.desired.channels.get(channel)?;
        let seen = self.observed.channels.get(channel)?;
        if kind == Kind::Peer {
            let own = || wanted.peers.iter().filter(|peer| peer.namespace == node.namespace);
            let serves = |peer: &&NodeRef| seen.peers.get(*peer).is_some_and(|view| view.live.value().is_some());
            let left = own().filter(|peer| *peer != node).filter(serves).count();
            return Some(Meanwhile { channel: channel.to_owned(), left, of: own().count(), needed: None, unseen: 0 });
        }
        let facts = self.ledgers.get(channel)?;
        let of = facts.consenters.len();
        let needed = match facts.consensus_type {
            ConsensusType::EtcdRaft => of / 2 + 1,
            ConsensusType::Bft => bft_quorum(of),
        };
        let serves = |orderer: &&NodeRef| {
            seen.orderers.get(*orderer).and_then(|view| view.live.value()).is_some_and(|live| live.status == "active")
        };
        let unseen = of.saturating_sub(wanted.orderers.len());
        let left = wanted.orderers.iter().filter(|orderer| *orderer != node).filter(serves).count() + unseen;
        Some(Meanwhile { channel: channel.to_owned(), left, of, needed: Some(needed), unseen })
    }
}
