//! Steps that concern a channel: its configuration, its genesis block, and who joins it.

use serde::Deserialize as _;
use serde_json::Value;

use super::config::{ORDERER_ORGANIZATION, UNREAD};
use super::{Block, Draft, Planner, cannot_tell, diff, object_step, unseen};
use crate::channel_config::{lock_out_at_first, policy_config};
use crate::desired::{DesiredChannel, channel_facts};
use crate::document::Blob;
use crate::objects::{ChannelSpec, ConsensusType, Kind, ObjectRef};
use crate::observation::Observation;
use crate::observed::{ChannelFacts, JoinRecord, NodeChannel, NodeRef, ObservedChannel};
use crate::plan::{FieldChange, NoteLevel, Origin, Step, StepId};
use crate::repository::{Founded, material};

/// Whether a node is to join a channel.
enum Gate {
    /// It is in it, or may be: nothing is planned.
    None,
    /// It is to join.
    Join,
    /// It would have to join and must not, for this reason.
    Blocked(Block),
}

impl Gate {
    /// The step of a join, if there is to be one.
    fn draft(self, step: Step, reasons: &[Origin]) -> Option<Draft> {
        match self {
            Self::None => None,
            Self::Join => Some(Draft::new(step, reasons)),
            Self::Blocked(reason) => Some(Draft::new(step, reasons).blocked(Some(reason))),
        }
    }
}

impl Planner<'_> {
    /// The channel's object, configuration, genesis block and orderers.
    pub(super) fn channel(&mut self, name: &str, channel: &DesiredChannel) {
        let seen = self.observed.channels.get(name);
        let base = self.ledger(channel, seen);
        self.ledgers.extend(base.map(|base| (name.to_owned(), base)));
        let needs = self.made(self.participants(name));
        if let Some(wanted) = self.desired.objects.get(&channel.object) {
            self.object(&channel.object, wanted, needs);
        }
        let following = self.config_updates(name, channel, seen);
        self.pin_genesis(name, channel, seen);
        for orderer in &channel.orderers {
            self.join_orderer(name, channel, orderer, seen);
        }
        if let Some(following) = following {
            self.consenter_updates(name, channel, following);
        }
    }

    /// What the ledger says: the live configuration, or, when it cannot be read and a genesis block may exist, what
    /// the Channel object last asked for.
    fn ledger(&self, channel: &DesiredChannel, seen: Option<&ObservedChannel>) -> Option<ChannelFacts> {
        match seen {
            Some(ObservedChannel { config: Observation::Present { value }, .. }) => Some(value.facts.clone()),
            Some(seen) if seen.genesis.is_absent() => None,
            _ => {
                let live = self.observed.objects.get(&channel.object)?;
                ChannelSpec::deserialize(&live.spec).ok().map(|spec| channel_facts(&spec))
            }
        }
    }

    /// The steps that would let an object take part in a channel which is live without it.
    pub(super) fn admission(&self, channel: &str, object: &ObjectRef) -> Vec<StepId> {
        let Some((ledger, wanted)) = self.ledgers.get(channel).zip(self.desired.objects.get(object)) else {
            return Vec::new();
        };
        let field = |name: &str| wanted.spec.get(name).and_then(Value::as_str).unwrap_or_default();
        let member = || {
            let known = ledger.members.contains_key(field("mspID"));
            (!known).then(|| config_step(channel, &format!("member/{}", field("organization"))))
        };
        // Whose organization orders is let in as soon as that is known, before it is a consenter.
        let orders = || {
            let known = ledger.orderer_organizations.contains_key(field("mspID"));
            (!known).then(|| config_step(channel, &format!("{ORDERER_ORGANIZATION}{}", field("organization"))))
        };
        let step = match object.kind {
            Kind::Orderer => orders(),
            Kind::Membership => {
                let orderers = wanted.spec.get("orderers").and_then(Value::as_array);
                if orderers.is_some_and(|orderers| !orderers.is_empty()) { orders() } else { member() }
            }
            _ => member(),
        };
        // Without the live configuration there is one step for all of its changes.
        step.into_iter().flat_map(|step| [step, config_step(channel, UNREAD)]).collect()
    }

    /// Steps of the organizations, authorities and orderers that a channel is formed of.
    fn participants(&self, channel: &str) -> Vec<StepId> {
        let mut needs = Vec::new();
        for (object, wanted) in self.wanted.memberships(channel) {
            if let Some(organization) = &wanted.organization {
                needs.push(StepId(format!("organization/{}/{organization}", self.desired.namespace)));
                needs.push(StepId(format!("certificateauthority/{}/ca", object.namespace)));
            }
        }
        let orderers = self.desired.channels.get(channel).into_iter().flat_map(|channel| &channel.orderers);
        needs.extend(orderers.map(|orderer| node_step(Kind::Orderer, orderer)));
        needs
    }

    /// Keeps the block that the repository pins, which was computed again and is the same.
    fn store_genesis(&self, name: &str, channel: &DesiredChannel, founded: &Founded) -> Step {
        let text = |text: &str| Blob(text.as_bytes().to_vec());
        let labels = self.desired.objects.get(&channel.object).map(|wanted| wanted.labels.clone());
        Step::StoreMaterial {
            namespace: self.desired.namespace.clone(),
            config_map: format!("{name}-genesis"),
            subject: format!("the pinned genesis block of channel {name}"),
            labels: labels.unwrap_or_default(),
            pinned: true,
            entries: [
                ("genesis.pb".to_owned(), Blob(founded.block.clone())),
                ("hash".to_owned(), text(&founded.hash)),
                ("format".to_owned(), text(&founded.format.to_string())),
            ]
            .into(),
        }
    }

    /// Keeps the material of other daemons' organizations where the controllers find it.
    pub(super) fn materials(&mut self) {
        for (config_map, wanted) in &self.desired.materials {
            let blocked = match self.observed.materials.get(config_map) {
                Some(Observation::Present { value }) if *value == wanted.entries => continue,
                Some(Observation::Present { .. } | Observation::Absent { .. }) => None,
                Some(other) => Some(cannot_tell(other)),
                None => Some(Block::not_seen("cannot tell what is there: it was not looked at")),
            };
            let expired = || self.observed.at.and_then(|at| material::expired(&wanted.entries, at));
            if let Some(why) = wanted.refused.clone().or_else(expired) {
                let message = format!("its material is not taken: {why}");
                self.note(
                    NoteLevel::Error,
                    "MaterialRefused",
                    format!("organization {}", wanted.organization),
                    message,
                );
            }
            let refused =
                wanted.refused.clone().or_else(expired).map(|why| Block::from(format!("it is refused: {why}")));
            let blocked = refused.or(blocked);
            let step = Step::StoreMaterial {
                namespace: self.desired.namespace.clone(),
                config_map: config_map.clone(),
                subject: format!("the public material of {}", wanted.organization),
                labels: wanted.labels.clone(),
                pinned: false,
                entries: wanted.entries.clone(),
            };
            let id = StepId(format!("material/{}/{config_map}", self.desired.namespace));
            self.add(id, Draft::new(step, &wanted.origins).blocked(blocked));
        }
    }

    fn pin_genesis(&mut self, name: &str, channel: &DesiredChannel, seen: Option<&ObservedChannel>) {
        let object_is_live = self.observed.objects.contains_key(&channel.object);
        let blocked = match seen.map(|seen| &seen.genesis) {
            Some(Observation::Present { .. }) => return,
            Some(Observation::Absent { .. }) => seen.and_then(lost_genesis).map(Block::from),
            Some(other) => Some(cannot_tell(other)),
            None => {
                object_is_live.then(|| Block::not_seen("cannot tell whether it exists: the channel was not looked at"))
            }
        };
        if let Some(reason) = &blocked {
            self.note(
                NoteLevel::Error,
                "GenesisUnknown",
                format!("channel {name}"),
                format!("the pinned genesis block: {}", reason.why),
            );
        }
        let mut needs = self.participants(name);
        needs.extend(self.made(vec![object_step(&channel.object)]));
        let (step, awaited) = match &channel.founding {
            None => (Step::PinGenesis { channel: name.to_owned() }, None),
            Some(Ok(founded)) => (self.store_genesis(name, channel, founded), None),
            // Another commit may bring it, and no gate of this daemon stops it.
            Some(Err(why)) => {
                // A member that comes later and only has peers takes what the channel's orderers deliver.
                let more = if channel.orderers.is_empty() {
                    "; a member that was not there from the start gets it from the channel's orderers, once they let it read"
                } else {
                    ""
                };
                (Step::PinGenesis { channel: name.to_owned() }, Some(Block::awaited(format!("{why}{more}"))))
            }
        };
        let draft = Draft::new(step, &channel.origins)
            .blocked(awaited)
            .needs(needs)
            .blocked(blocked)
            .blocked(self.locked_at_first(name, channel))
            .irreversible(Some(
                "once a node has joined, the genesis block is for good: what it says can only be changed by \
                 configuration updates"
                    .to_owned(),
            ));
        self.add(genesis_step(name), draft);
    }

    /// Why nobody could change the configuration that the channel would begin with.
    fn locked_at_first(&self, name: &str, channel: &DesiredChannel) -> Option<String> {
        let spec = ChannelSpec::deserialize(&self.desired.objects.get(&channel.object)?.spec).ok()?;
        // What cannot be read is reported by validation.
        lock_out_at_first(name, &policy_config(&spec).ok()?)
    }

    fn join_orderer(
        &mut self,
        name: &str,
        channel: &DesiredChannel,
        orderer: &NodeRef,
        seen: Option<&ObservedChannel>,
    ) {
        let view = seen.and_then(|seen| seen.orderers.get(orderer));
        if let Some(NodeChannel { live: Observation::Present { value }, .. }) = view {
            if !matches!(value.status.as_str(), "active" | "onboarding") {
                let message = format!("it says {} ({}): look at its log", value.status, value.relation);
                self.note(NoteLevel::Warning, "OrdererUnwell", format!("orderer {orderer} in channel {name}"), message);
            }
            return;
        }
        let step = Step::JoinOrderer { channel: name.to_owned(), orderer: orderer.clone() };
        let gate = self.join_gate(Kind::Orderer, name, orderer, view);
        let Some(draft) = gate.draft(step, &channel.origins) else { return };
        let mut needs = self.made(vec![object_step(&channel.object)]);
        needs.extend([genesis_step(name), node_step(Kind::Orderer, orderer)]);
        needs.extend(self.admission(name, &node_object(Kind::Orderer, orderer)));
        self.add(join_step("orderer", name, orderer), draft.needs(needs));
    }

    pub(super) fn join_peers(&mut self, name: &str, channel: &DesiredChannel) {
        let seen = self.observed.channels.get(name);
        for peer in &channel.peers {
            let view = seen.and_then(|seen| seen.peers.get(peer));
            if matches!(view, Some(NodeChannel { live: Observation::Present { .. }, .. })) {
                continue;
            }
            let membership =
                ObjectRef { kind: Kind::Membership, namespace: peer.namespace.clone(), name: name.to_owned() };
            let step = Step::JoinPeer { channel: name.to_owned(), peer: peer.clone() };
            let origins = self.desired.objects.get(&membership).map_or(&channel.origins, |object| &object.origins);
            let gate = self.join_gate(Kind::Peer, name, peer, view);
            let Some(draft) = gate.draft(step, origins) else { continue };
            let mut needs = self.made(vec![object_step(&channel.object)]);
            needs.extend(self.written(object_step(&membership)));
            needs.extend([genesis_step(name), node_step(Kind::Peer, peer)]);
            needs.extend(self.admission(name, &node_object(Kind::Peer, peer)));
            // A channel that lives does so without the orderers that cannot join.
            let lives = self.ledgers.contains_key(name);
            let joins = channel.orderers.iter().map(|orderer| join_step("orderer", name, orderer));
            needs.extend(joins.filter(|id| !(lives && self.steps.get(id).is_some_and(|step| step.blocked.is_some()))));
            self.add(join_step("peer", name, peer), draft.needs(needs));
        }
    }

    /// A step, unless it only waits: readiness of a membership comes from the joins, not before them.
    pub(super) fn written(&self, id: StepId) -> Option<StepId> {
        let waits = matches!(self.steps.get(&id)?.step, Step::AwaitReady { .. });
        (!waits).then_some(id)
    }

    /// Whether a node that was not seen in a channel is to join it.
    fn join_gate<T>(&mut self, kind: Kind, channel: &str, node: &NodeRef, view: Option<&NodeChannel<T>>) -> Gate {
        let object = node_object(kind, node);
        let subject = format!("{} {node} in channel {channel}", kind.as_str().to_lowercase());
        let step = self.steps.get(&object_step(&object)).map(|planned| &planned.step);
        // What it once held does not matter where the live configuration does not count on it.
        let address = self.desired.objects.get(&object).and_then(|wanted| wanted.spec.get("address")?.as_str());
        let counts = self.ledgers.get(channel).is_none_or(|ledger| {
            kind != Kind::Orderer || ledger.consenters.iter().any(|consenter| Some(consenter.as_str()) == address)
        });
        let record = view.filter(|_| counts).map_or(JoinRecord::None, |view| view.record);
        if matches!(step, Some(Step::CreateObject { .. })) && !self.observed.objects.contains_key(&object) {
            if record == JoinRecord::Joined {
                let message = "it had joined before its object went; what its volume holds is known when it runs again";
                self.note(NoteLevel::Warning, "JoinedBefore", subject, message);
                return Gate::None;
            }
            return Gate::Join;
        }
        let Some(view) = view else {
            return Gate::Blocked(Block::not_seen("cannot tell whether it has joined: it was not asked"));
        };
        let awaited = matches!(step, Some(Step::AwaitReady { .. } | Step::UpdateObject { .. }));
        match (&view.live, record) {
            (Observation::Present { .. }, _) => Gate::None,
            (Observation::Absent { .. }, JoinRecord::None) => Gate::Join,
            (Observation::Absent { evidence }, JoinRecord::Joined) => {
                let message = format!(
                    "it had joined, and now says that it holds nothing ({evidence}): its volume was emptied or \
                     replaced. It is not joined again by itself: restore the volume, or delete its entry of the \
                     ConfigMap {}-ledgers in namespace {} to have it start anew",
                    node.name, node.namespace
                );
                self.note(NoteLevel::Error, "DataLost", subject, message.clone());
                Gate::Blocked(Block::from(format!("data lost: {message}")))
            }
            (other, record) => {
                let code = if matches!(other, Observation::Forbidden { .. }) { "Forbidden" } else { "Unreachable" };
                let evidence = other.evidence().unwrap_or_default();
                self.note(NoteLevel::Warning, code, subject, format!("nothing is known of it: {evidence}"));
                match record {
                    JoinRecord::Joined => Gate::None,
                    // It is starting: its controller joins it when it answers.
                    JoinRecord::None if awaited => Gate::Join,
                    JoinRecord::None => {
                        let why = format!("cannot tell whether it has joined ({}: {evidence})", other.word());
                        Gate::Blocked(Block { why, unseen: unseen(other) })
                    }
                }
            }
        }
    }
}

/// Why an absent pinned genesis block must not be made again: somebody holds a ledger that began with the old one.
fn lost_genesis(seen: &ObservedChannel) -> Option<String> {
    let ledger = seen.config.value().is_some()
        || seen.orderers.values().any(|node| node.record == JoinRecord::Joined || node.live.value().is_some())
        || seen.peers.values().any(|node| node.record == JoinRecord::Joined || node.live.value().is_some());
    ledger.then(|| {
        "it is gone while nodes hold the channel's ledger; another one would split the channel: restore it from a \
         backup or from block 0 of a node"
            .to_owned()
    })
}

/// What differs between two configurations. With BFT, Fabric computes `BlockValidation` itself.
pub(super) fn fact_changes(mut live: ChannelFacts, wanted: &ChannelFacts) -> Vec<FieldChange> {
    if live.consensus_type == ConsensusType::Bft && wanted.consensus_type == ConsensusType::Bft {
        live.policies.orderer.remove("BlockValidation");
    }
    let value = |facts: &ChannelFacts| serde_json::to_value(facts).unwrap_or_default();
    diff("", &value(&live), &value(wanted))
}

fn genesis_step(channel: &str) -> StepId {
    StepId(format!("genesis/{channel}"))
}

/// The step of a config update.
pub(super) fn config_step(channel: &str, topic: &str) -> StepId {
    StepId(format!("channel-config/{channel}/{topic}"))
}

pub(super) fn node_object(kind: Kind, node: &NodeRef) -> ObjectRef {
    ObjectRef { kind, namespace: node.namespace.clone(), name: node.name.clone() }
}

pub(super) fn node_step(kind: Kind, node: &NodeRef) -> StepId {
    object_step(&node_object(kind, node))
}

/// The step of a join.
pub(super) fn join_step(kind: &str, channel: &str, node: &NodeRef) -> StepId {
    StepId(format!("join-{kind}/{channel}/{node}"))
}
