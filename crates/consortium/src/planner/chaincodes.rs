//! Steps that concern a chaincode: its package, its object, and its way to the peers and to the ledger.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::Value;
use tenter_fabric::chaincode::{Definition, Difference, Endorsement, PackageId};
use tenter_fabric::config::{ChannelConfig, CurrentConfig};

use super::channels::{config_step, join_step, node_step};
use super::config::UNREAD;
use super::{Block, Draft, Planner, cannot_tell, object_step, unseen};
use crate::chaincode::{self, Approval, LifecyclePolicy, MemberProgress, Progress};
use crate::channel_config;
use crate::desired::{DesiredChaincode, DesiredChannel};
use crate::network::RetiredTarget;
use crate::objects::{ChaincodeSpec, ChannelSpec, Kind, ObjectRef};
use crate::observation::Observation;
use crate::observed::{NodeRef, ObservedChaincode};
use crate::plan::{FieldChange, NoteLevel, Signing, Step, StepId, Unseen};

/// Why a later definition never takes back an earlier one.
const IRREVERSIBLE: &str = "the sequence never goes back: what is committed can only be replaced by the next definition, and a \
                            collection can neither be taken away nor change its blockToLive";

impl Planner<'_> {
    /// The package, the object and the deployment of a chaincode.
    pub(super) fn chaincode(&mut self, key: &str, chaincode: &DesiredChaincode) {
        let Some(wanted) = self.desired.objects.get(&chaincode.object) else { return };
        let Some(channel) = self.desired.channels.get(&chaincode.spec.channel) else { return };
        let seen = self.seen(key, chaincode, channel);
        let mut needs = self.made(vec![object_step(&channel.object)]);
        needs.extend(self.store_package(chaincode, seen.as_ref()));
        self.object(&chaincode.object, wanted, needs);
        // What stops the object stops the rest: then there is no definition to speak of.
        if wanted.blocked.is_none() {
            self.deploy(key, chaincode, channel, seen.as_ref());
        }
    }

    /// What is known of a chaincode. Of a channel that is witnessed not to be formed, it is known without a look.
    fn seen(&self, key: &str, chaincode: &DesiredChaincode, channel: &DesiredChannel) -> Option<ObservedChaincode> {
        let seen = self.observed.chaincodes.get(key);
        if seen.is_some() {
            return seen.cloned();
        }
        let evidence = match self.observed.channels.get(&chaincode.spec.channel).map(|seen| &seen.genesis) {
            Some(Observation::Absent { evidence }) => format!("the channel is not formed ({evidence})"),
            None if !self.observed.objects.contains_key(&channel.object) => "there is no such channel".to_owned(),
            _ => return None,
        };
        let hosted = chaincode.spec.members.iter().filter(|member| self.is_hosted(&member.organization));
        let peers = hosted.clone().flat_map(|member| {
            member.peers.iter().map(|peer| NodeRef { namespace: member.namespace.clone(), name: peer.clone() })
        });
        Some(ObservedChaincode {
            committed: Observation::Absent { evidence: evidence.clone() },
            author: None,
            approvals: hosted
                .clone()
                .map(|member| (member.msp_id.clone(), Observation::Absent { evidence: evidence.clone() }))
                .collect(),
            readiness: Observation::Present { value: BTreeMap::new() },
            installed: peers.map(|peer| (peer, Observation::Absent { evidence: evidence.clone() })).collect(),
            package: Observation::Absent { evidence },
        })
    }

    fn is_hosted(&self, organization: &str) -> bool {
        self.desired.organizations.contains(organization)
    }

    /// Keeps the package's bytes where the peers' controller finds them.
    fn store_package(&mut self, chaincode: &DesiredChaincode, seen: Option<&ObservedChaincode>) -> Option<StepId> {
        let reference = chaincode.spec.source.package.as_ref()?;
        let package = chaincode.package.clone()?;
        let blocked = match seen.map(|seen| &seen.package) {
            Some(Observation::Present { .. }) => return None,
            Some(Observation::Absent { .. }) => None,
            Some(other) => Some(cannot_tell(other)),
            None => Some(Block::not_seen("cannot tell whether it exists: the chaincode was not looked at")),
        };
        let id = StepId(format!("package/{}/{}", chaincode.object.namespace, reference.config_map));
        let step = Step::StorePackage {
            namespace: chaincode.object.namespace.clone(),
            config_map: reference.config_map.clone(),
            package_id: reference.package_id.clone(),
            package,
        };
        self.add(id.clone(), Draft::new(step, &chaincode.origins).blocked(blocked));
        Some(id)
    }

    fn deploy(
        &mut self,
        key: &str,
        chaincode: &DesiredChaincode,
        channel: &DesiredChannel,
        seen: Option<&ObservedChaincode>,
    ) {
        let subject = format!("chaincode {key}");
        let read =
            chaincode::wanted(&chaincode.spec).and_then(|wanted| Ok((wanted, chaincode::package_id(&chaincode.spec)?)));
        let (wanted, package) = match read {
            Ok(read) => read,
            Err(error) => {
                self.note(NoteLevel::Error, "ChaincodeUnreadable", subject, chaincode::chain(&error));
                return;
            }
        };
        let hosted = &self.desired.organizations;
        let progress = seen.and_then(|seen| chaincode::progress(&chaincode.spec, &wanted, &package, seen, hosted));
        let (Some(seen), Some(progress)) = (seen, progress) else {
            self.deploy_unread(key, chaincode, seen, &wanted, &package);
            return;
        };
        let config = match self.policy_config(channel) {
            Ok(config) => config,
            Err(why) => {
                self.note(NoteLevel::Error, "ChaincodeUnreadable", subject, why);
                return;
            }
        };
        self.note_unknown(&subject, &progress);
        let live = self.observed.objects.get(&chaincode.object);
        let back = chaincode::went_back(live.and_then(|live| live.sequence), &seen.committed);
        if let Some(why) = &back {
            self.note(NoteLevel::Warning, "SequenceWentBack", subject, why.clone());
        }
        let parts = self.parts(&chaincode.spec, &progress);
        let is_change = progress.next.is_change();
        if !is_change && parts.install.is_empty() && parts.approve.is_empty() {
            return;
        }
        let waits: Vec<String> = progress
            .members
            .iter()
            .filter(|member| is_change && !member.hosted && member.approval.is_due())
            .map(|member| member.organization.clone())
            .collect();
        let approving: BTreeSet<String> = progress.approved().into_iter().chain(parts.msps.iter().cloned()).collect();
        let lifecycle = LifecyclePolicy::live(&config).met_by(&approving);
        let signing =
            if is_change { lifecycle.signing(&parts.msps, &progress.approved(), &waits) } else { Signing::default() };
        let commit = is_change && lifecycle.endorsers.is_some();
        let previous = seen.committed.value();
        let blocked = back
            .or_else(|| refusal(&progress, &config, previous.map(|committed| &committed.definition)))
            .map(Block::from)
            .or_else(|| (is_change && !commit && waits.is_empty()).then(|| obstacle(&progress, &parts, &signing)));
        let foreign = seen.author.as_ref().zip(previous).filter(|(author, _)| is_change && author.foreign);
        let needs = self.deploy_needs(chaincode, &parts.install);
        let step = Step::DeployChaincode {
            channel: chaincode.spec.channel.clone(),
            name: chaincode.spec.name.clone(),
            sequence: Some(progress.next.sequence()),
            changes: changes(&progress),
            package: package.to_string(),
            install: parts.install,
            approve: parts.approve,
            commit,
            signing,
            waits,
            drift: foreign.map(|(author, committed)| {
                format!("sequence {} was committed in block {} by {}", committed.sequence, author.block, author.creator)
            }),
        };
        let draft = Draft::new(step, &chaincode.origins)
            .needs(needs)
            .blocked(blocked)
            .irreversible(is_change.then(|| IRREVERSIBLE.to_owned()));
        self.add(deploy_step(key), draft);
    }

    /// As much of the channel's configuration as its policies are made of: the live one as this plan leaves it, or, before
    /// there is one, what the channel will begin with.
    fn policy_config(&self, channel: &DesiredChannel) -> Result<ChannelConfig, String> {
        let name = &channel.object.name;
        let object = self.desired.objects.get(&channel.object).ok_or_else(|| format!("there is no channel {name}"))?;
        let spec = ChannelSpec::deserialize(&object.spec).map_err(|error| error.to_string())?;
        let seen = self.observed.channels.get(name);
        let Some((seen, live)) = seen.and_then(|seen| Some((seen, seen.config.value()?))) else {
            return channel_config::policy_config(&spec);
        };
        let current = CurrentConfig::from_bytes(name, &live.config).map_err(|error| chaincode::chain(&error))?;
        let after = channel_config::wanted(current.config(), &spec, &seen.material);
        // Why it could not be computed is said where the updates are planned.
        Ok(after.map_or_else(|_| current.config().clone(), |after| after.config))
    }

    /// What could not be told. Peers that start are waited for by steps of their own.
    fn note_unknown(&mut self, subject: &str, progress: &Progress) {
        for member in &progress.members {
            for (peer, seen) in &member.peers {
                let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
                if let (Some(why), false) = (unseen(seen), self.steps.contains_key(&node_step(Kind::Peer, &node))) {
                    let message = format!(
                        "whether peer {node} has its package is not known: {}",
                        seen.evidence().unwrap_or_default()
                    );
                    self.note(NoteLevel::Warning, code(why), subject, message);
                }
            }
            if let Approval::Unknown { why, forbidden } = &member.approval {
                let starting = member.peers.keys().any(|peer| {
                    let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
                    self.steps.contains_key(&node_step(Kind::Peer, &node))
                });
                if !starting {
                    let message = format!("whether {} approved it is not known: {why}", member.organization);
                    let code = code(if *forbidden { Unseen::Forbidden } else { Unseen::Unreachable });
                    self.note(NoteLevel::Warning, code, subject, message);
                }
            }
        }
    }

    /// What own members have to do. Peers that cannot join the channel now hold up nobody else.
    fn parts(&self, spec: &ChaincodeSpec, progress: &Progress) -> Parts {
        let mut parts = Parts::default();
        for member in progress.members.iter().filter(|member| member.hosted) {
            let node = |name: &String| NodeRef { namespace: member.namespace.clone(), name: name.clone() };
            let held = |name: &&String| self.held(&spec.channel, &node(name));
            let reachable = member.peers.keys().find(|name| held(name).is_none());
            parts.held.extend(member.peers.keys().filter_map(|name| held(&name)));
            parts.install.extend(member.without_package().filter(|name| held(name).is_none()).map(node));
            if member.approval.is_due() && reachable.is_some() {
                parts.approve.push(member.organization.clone());
                parts.msps.insert(member.msp_id.clone());
            }
        }
        parts
    }

    /// The blocked step that keeps a peer out of the channel.
    fn held(&self, channel: &str, peer: &NodeRef) -> Option<StepId> {
        [join_step("peer", channel, peer), node_step(Kind::Peer, peer)]
            .into_iter()
            .find(|id| self.steps.get(id).is_some_and(|planned| planned.blocked.is_some()))
    }

    fn deploy_needs(&self, chaincode: &DesiredChaincode, install: &[NodeRef]) -> Vec<StepId> {
        let channel = &chaincode.spec.channel;
        let mut needs: Vec<StepId> = self.written(object_step(&chaincode.object)).into_iter().collect();
        let topics = ["policies", "capabilities", UNREAD].map(|topic| config_step(channel, topic));
        // A member that cannot be brought in holds up its own peers, not the others.
        let first = config_step(channel, "member/");
        let members = self
            .steps
            .range(first.clone()..)
            .take_while(|(id, _)| id.0.starts_with(&first.0))
            .filter(|(_, planned)| planned.blocked.is_none());
        needs.extend(topics.into_iter().chain(members.map(|(id, _)| id.clone())));
        for peer in install {
            let kind = Kind::Membership;
            let membership = ObjectRef { kind, namespace: peer.namespace.clone(), name: channel.clone() };
            needs.push(join_step("peer", channel, peer));
            needs.extend(self.written(object_step(&membership)));
        }
        needs
    }

    /// A chaincode whose committed definition could not be read: told from what its object last asked for.
    fn deploy_unread(
        &mut self,
        key: &str,
        chaincode: &DesiredChaincode,
        seen: Option<&ObservedChaincode>,
        wanted: &Definition,
        package: &PackageId,
    ) {
        let block = match seen.map(|seen| &seen.committed) {
            Some(committed) => {
                let evidence = committed.evidence().unwrap_or_default();
                let why = format!("its committed definition could not be read ({}: {evidence})", committed.word());
                Block { why, unseen: unseen(committed) }
            }
            None => Block::not_seen("cannot tell what is committed: it was not looked at"),
        };
        let word = code(block.unseen.unwrap_or(Unseen::Unreachable));
        let message = format!("{}, so it was not compared", block.why);
        self.note(NoteLevel::Warning, word, format!("chaincode {key}"), message);
        let live = self.observed.objects.get(&chaincode.object);
        let asked = live.and_then(|live| ChaincodeSpec::deserialize(&live.spec).ok());
        let before = asked.and_then(|spec| Some((chaincode::wanted(&spec).ok()?, chaincode::package_id(&spec).ok()?)));
        let changes: Vec<FieldChange> = match &before {
            Some((definition, id)) => {
                let differences = definition.differences(wanted);
                if differences.is_empty() && id == package {
                    return;
                }
                differences.into_iter().map(field).collect()
            }
            None => first_changes(wanted),
        };
        let step = Step::DeployChaincode {
            channel: chaincode.spec.channel.clone(),
            name: chaincode.spec.name.clone(),
            sequence: None,
            changes,
            package: package.to_string(),
            install: Vec::new(),
            approve: Vec::new(),
            commit: false,
            signing: Signing::default(),
            waits: Vec::new(),
            drift: None,
        };
        let needs = self.deploy_needs(chaincode, &[]);
        self.add(deploy_step(key), Draft::new(step, &chaincode.origins).needs(needs).blocked(Some(block)));
    }

    /// Chaincodes that the file releases: their objects go, and with them their services.
    pub(super) fn remove_chaincodes(&mut self) {
        for retired in &self.desired.retired {
            let RetiredTarget::Chaincode(channel, name) = &retired.target else { continue };
            let key = format!("{channel}/{name}");
            let objects = self.observed.objects.iter().filter(|(object, live)| {
                object.kind == Kind::Chaincode && !live.deleting && super::notes::chaincode_key(live) == key
            });
            let objects: Vec<&ObjectRef> = objects.map(|(object, _)| object).collect();
            for object in objects {
                let keeps = format!(
                    "its services are taken down; the definition of {name} stays on the ledger of channel {channel} and the \
                     packages stay on the peers: Fabric has no way to take them away"
                );
                let step = Step::RemoveObject { object: object.clone(), keeps, volume: None };
                let draft = Draft::new(step, std::slice::from_ref(&retired.origin));
                self.add(StepId(format!("remove/{}", object_step(object))), draft);
            }
        }
    }
}

/// What is to be done by own members.
#[derive(Default)]
struct Parts {
    /// Peers that get the package.
    install: Vec<NodeRef>,
    /// Organizations that approve.
    approve: Vec<String>,
    /// Their MSP IDs.
    msps: BTreeSet<String>,
    /// Blocked steps that keep peers out of the channel.
    held: Vec<StepId>,
}

/// The step that brings a chaincode to the ledger.
pub(super) fn deploy_step(key: &str) -> StepId {
    StepId(format!("chaincode/{key}"))
}

const fn code(why: Unseen) -> &'static str {
    match why {
        Unseen::Forbidden => "Forbidden",
        Unseen::Unreachable | Unseen::Awaited | Unseen::Unapproved => "Unreachable",
    }
}

/// Why peers would refuse the definition.
fn refusal(progress: &Progress, config: &ChannelConfig, previous: Option<&Definition>) -> Option<String> {
    if !progress.next.is_change() {
        return None;
    }
    let members = config.application.organizations.values().map(|member| member.msp.msp_id.clone());
    let orderers = config.orderer.organizations.values().map(|organization| organization.msp.msp_id.clone());
    let problems = progress.definition.check(&members.chain(orderers).collect(), previous);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    (!problems.is_empty()).then(|| format!("peers would refuse this definition: {}", problems.join("; ")))
}

/// Why nobody can commit, although nobody elsewhere is waited for.
fn obstacle(progress: &Progress, parts: &Parts, signing: &Signing) -> Block {
    let required = &signing.required;
    if let Some(held) = parts.held.first() {
        let why = format!("the channel's LifecycleEndorsement needs {required}: waits for {held}, which is blocked");
        return Block::from(why);
    }
    let unknown = |member: &&MemberProgress| matches!(member.approval, Approval::Unknown { .. });
    if let Some(member) = progress.members.iter().find(unknown) {
        let Approval::Unknown { why, forbidden } = &member.approval else { return Block::from(required.clone()) };
        return Block {
            why: format!(
                "the channel's LifecycleEndorsement needs {required}, and whether {} approved is not known ({why})",
                member.organization
            ),
            unseen: Some(if *forbidden { Unseen::Forbidden } else { Unseen::Unreachable }),
        };
    }
    Block::from(format!(
        "the channel's LifecycleEndorsement needs {required}, and too few of them have peers in the channel: let more \
         members join peers, or change the policy"
    ))
}

/// What the next definition changes.
fn changes(progress: &Progress) -> Vec<FieldChange> {
    match &progress.next {
        chaincode::Next::InSync { .. } => Vec::new(),
        chaincode::Next::Change { differences, .. } if differences.is_empty() => first_changes(&progress.definition),
        chaincode::Next::Change { differences, .. } => differences.iter().cloned().map(field).collect(),
    }
}

/// What the first definition says.
fn first_changes(definition: &Definition) -> Vec<FieldChange> {
    let new = |path: String, to: String| FieldChange { path, from: None, to: Some(Value::String(to)) };
    let mut changes = vec![new("version".to_owned(), definition.version.clone())];
    if definition.endorsement != Endorsement::default() {
        changes.push(new("endorsement".to_owned(), definition.endorsement.to_string()));
    }
    if definition.init_required {
        changes.push(new("initRequired".to_owned(), "true".to_owned()));
    }
    changes.extend(
        definition
            .collections
            .iter()
            .map(|collection| new(format!("collections.{}", collection.name), collection.policy.to_string())),
    );
    changes
}

/// A difference as plans show it.
fn field(difference: Difference) -> FieldChange {
    let Difference { field, old, new } = difference;
    FieldChange { path: field, from: Some(Value::String(old)), to: Some(Value::String(new)) }
}
