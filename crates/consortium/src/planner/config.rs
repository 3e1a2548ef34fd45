//! Steps that change the configuration of live channels, and who signs for them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::Value;
use tenter_fabric::config::CurrentConfig;

use super::channels::{config_step, fact_changes, join_step, node_object};
use super::notes::{field as text, retires};
use super::retire::remove_step;
use super::{Block, Draft, Planner, object_step, unseen};
use crate::channel_config::{Refused, TopicUpdate, chain, facts, signing, update_of, updates};
use crate::desired::DesiredChannel;
use crate::network::RetiredTarget;
use crate::objects::{ChannelSpec, Kind, ObjectRef, ProposedChange};
use crate::observation::Observation;
use crate::observed::{LiveChannel, LiveObject, ObservedChannel};
use crate::plan::{FieldChange, NoteLevel, Origin, Passing, Signing, Step, StepId, Unseen};

/// The topic of changes of the consenter set.
pub(super) const CONSENTERS: &str = "consenters";
/// The topics of organizations that order, up to their names.
pub(super) const ORDERER_ORGANIZATION: &str = "orderer-organization/";
/// Most updates that follow one another in a plan: more consenters never come or go in one commit.
const LONGEST: usize = 64;
/// The topic of all changes of a configuration that could not be read.
pub(super) const UNREAD: &str = "unread";

impl Planner<'_> {
    /// The updates of a live channel's configuration, one step a topic. Those that a consenter which joins the channel comes
    /// with are left for [`Self::consenter_updates`].
    pub(super) fn config_updates<'a>(
        &mut self,
        name: &str,
        channel: &DesiredChannel,
        seen: Option<&'a ObservedChannel>,
    ) -> Option<Following<'a>> {
        let seen = seen.filter(|seen| !seen.config.is_absent())?;
        let wanted = self.desired.objects.get(&channel.object)?;
        let spec = ChannelSpec::deserialize(&wanted.spec).ok()?;
        let Observation::Present { value: live } = &seen.config else {
            self.unread(name, channel, seen);
            return None;
        };
        let subject = format!("channel {name}");
        let current = match CurrentConfig::from_bytes(name, &live.config) {
            Ok(current) => current,
            Err(error) => {
                let message = format!("config block {}: {error}", live.block);
                self.note(NoteLevel::Error, "ConfigUnreadable", subject, message);
                return None;
            }
        };
        let found = match updates(&current, &spec, &seen.material) {
            Ok(found) => found,
            Err(why) => {
                self.note(NoteLevel::Error, "ConfigUncomputable", subject, why);
                return None;
            }
        };
        for organization in found.unnamed {
            let message = format!(
                "{organization} is in the channel's configuration and the definition does not name it. Nothing is taken \
                 away: put it back into `members`, or add `- member: {name}/{organization}` to spec.retired"
            );
            self.note(NoteLevel::Warning, "MemberUnnamed", subject.clone(), message);
        }
        for address in found.unnamed_consenters {
            let message = format!(
                "{address} orders the channel and the definition does not name it. Nothing is taken away: put the orderer back, \
                 or add `- orderer: ORGANIZATION/NAME` to spec.retired"
            );
            self.note(NoteLevel::Warning, "ConsenterUnnamed", subject.clone(), message);
        }
        for refused in found.refused {
            self.refused(name, channel, live, refused);
        }
        let mut late: BTreeSet<String> = BTreeSet::new();
        let (mut now, mut then) = (Vec::new(), Vec::new());
        for update in found.topics {
            if update.joining.is_some() || update.after.iter().any(|topic| late.contains(topic)) {
                late.insert(update.topic.clone());
                then.push(update);
            } else {
                now.push(update);
            }
        }
        let mut following =
            Following { seen, spec, running: current.clone(), current, topics: then, last: BTreeMap::new() };
        self.judged_updates(name, channel, &mut following, now);
        Some(following)
    }

    /// The updates that follow when orderers have joined the channel, and all that is left of the consenters then.
    pub(super) fn consenter_updates(&mut self, name: &str, channel: &DesiredChannel, mut following: Following<'_>) {
        let topics = std::mem::take(&mut following.topics);
        self.judged_updates(name, channel, &mut following, topics);
        self.sequence(name, channel, following);
    }

    /// Each update is judged by what the earlier ones leave.
    fn judged_updates(
        &mut self,
        name: &str,
        channel: &DesiredChannel,
        following: &mut Following<'_>,
        topics: Vec<TopicUpdate>,
    ) {
        for update in topics {
            let Following { seen, spec, current, running, .. } = &*following;
            let judged = judge(current, running, spec, seen, &update, &self.wanted.own_msps);
            if let Some(next) = judged.next.clone() {
                following.running = next;
            }
            let id = config_step(name, &update.topic);
            following.last.insert(update.topic.clone(), (id.clone(), 1));
            self.config_update((name, channel, following.seen), id, update, Vec::new(), judged);
        }
    }

    /// What is left when the updates that can be made now are made: of the consenters, one comes or goes at a time.
    fn sequence(&mut self, name: &str, channel: &DesiredChannel, following: Following<'_>) {
        let Following { seen, spec, mut running, mut last, .. } = following;
        // One that is blocked is computed the same again.
        let blocked = |planner: &Self, topic: &str| {
            planner.steps.get(&config_step(name, topic)).is_some_and(|step| step.blocked.is_some())
        };
        let mut before: Vec<StepId> = last
            .iter()
            .filter(|(topic, _)| *topic == CONSENTERS || topic.starts_with(ORDERER_ORGANIZATION))
            .map(|(_, (id, _))| id.clone())
            .collect();
        for _ in 0..LONGEST {
            let Ok(found) = updates(&running, &spec, &seen.material) else { break };
            let more = found.topics.into_iter().find(|update| {
                let follows = update.topic == CONSENTERS || update.topic.starts_with(ORDERER_ORGANIZATION);
                follows && !blocked(self, &update.topic)
            });
            let Some(update) = more else { break };
            let judged = judge(&running, &running, &spec, seen, &update, &self.wanted.own_msps);
            let next = judged.next.clone();
            let number = last.get(&update.topic).map_or(0, |(_, number)| *number) + 1;
            let id = match number {
                1 => config_step(name, &update.topic),
                number => config_step(name, &format!("{}/{number}", update.topic)),
            };
            last.insert(update.topic.clone(), (id.clone(), number));
            let first = std::mem::replace(&mut before, vec![id.clone()]);
            self.config_update((name, channel, seen), id, update, first, judged);
            // What stops here is shown with its reason.
            let Some(next) = next else { break };
            running = next;
        }
        if let Ok(facts) = facts(running.config()) {
            self.ends.insert(name.to_owned(), facts);
        }
    }

    /// The steps that take an orderer out of a channel, or would.
    pub(super) fn consenter_steps(&self, channel: &str) -> Vec<StepId> {
        let first = config_step(channel, CONSENTERS);
        let more = format!("{first}/");
        self.steps.keys().filter(|id| **id == first || id.0.starts_with(&more)).cloned().collect()
    }

    /// `first` are the steps that it follows; then it is computed anew when its turn has come.
    fn config_update(
        &mut self,
        (name, channel, seen): (&str, &DesiredChannel, &ObservedChannel),
        id: StepId,
        update: TopicUpdate,
        first: Vec<StepId>,
        judged: Judged,
    ) {
        let TopicUpdate { topic, update, changes, elements, problems: _, irreversible, incomplete, joining, after } =
            update;
        let drift = seen
            .foreign
            .iter()
            .filter(|foreign| elements.iter().any(|touched| foreign.elements.contains(&touched.element)));
        let drift: Vec<String> = drift.map(ToString::to_string).collect();
        let step = Step::UpdateChannelConfig {
            channel: name.to_owned(),
            changes: changes.into_iter().map(field).collect(),
            elements,
            signing: judged.signing,
            digest: (incomplete.is_none() && first.is_empty()).then(|| update.digest()),
            drift,
            topic: topic.clone(),
        };
        let mut needs: Vec<StepId> = after.iter().map(|topic| config_step(name, topic)).collect();
        needs.extend(self.written(object_step(&channel.object)));
        needs.extend(first);
        // A consenter that comes holds the channel first, so that it counts as soon as it is one.
        let new = channel.orderers.iter().filter(|orderer| {
            let object = self.desired.objects.get(&node_object(Kind::Orderer, orderer));
            let address = object.and_then(|wanted| wanted.spec.get("address")).and_then(Value::as_str);
            address.is_some() && address == joining.as_deref()
        });
        needs.extend(new.map(|orderer| join_step("orderer", name, orderer)));
        let organization = topic.strip_prefix("member/").map(str::to_owned);
        if let Some(organization) = &organization {
            needs.extend(self.made(self.founding(organization)));
        }
        let places = organization.and_then(|organization| self.member_origins(name, &organization));
        let planned = Draft::new(step, places.as_deref().unwrap_or(&channel.origins))
            .needs(needs)
            .blocked(judged.blocked)
            .irreversible(irreversible);
        self.add(id, planned);
    }

    /// The steps that an organization's public MSP comes from.
    fn founding(&self, organization: &str) -> Vec<StepId> {
        let authority = self.wanted.authorities.get(organization).map(|object| object_step(object));
        let step = StepId(format!("organization/{}/{organization}", self.desired.namespace));
        authority.into_iter().chain([step]).collect()
    }

    /// Where the file names a member.
    fn member_origins(&self, channel: &str, organization: &str) -> Option<Vec<Origin>> {
        let membership =
            self.wanted.memberships(channel).find(|(_, wanted)| wanted.organization.as_deref() == Some(organization));
        let retired = self.desired.retired.iter().find(|retired| match &retired.target {
            RetiredTarget::Organization(name) => name == organization,
            RetiredTarget::Member(name, member) => name == channel && member == organization,
            _ => false,
        });
        membership.map(|(_, wanted)| wanted.origins.clone()).or_else(|| retired.map(|entry| vec![entry.origin.clone()]))
    }

    /// A step for what is not done to a live channel: it stops what depends on it, and says why.
    fn refused(&mut self, name: &str, channel: &DesiredChannel, live: &LiveChannel, refused: Refused) {
        let Refused { topic, why, waits } = refused;
        let mut changes = fact_changes(live.facts.clone(), &channel.facts);
        let concerns = |change: &FieldChange| match topic.as_str() {
            CONSENTERS => ["consenters", "consensusType", "ordererOrganizations"]
                .iter()
                .any(|field| change.path.starts_with(field)),
            other => change.path.starts_with(other.split('/').next().unwrap_or(other)),
        };
        changes.retain(concerns);
        if changes.is_empty() {
            changes.push(FieldChange { path: topic.clone(), from: None, to: Some(Value::String(why.clone())) });
        }
        let id = config_step(name, &topic);
        if self.steps.contains_key(&id) {
            self.note(NoteLevel::Error, "NotCarriedOut", format!("channel {name}"), why);
            return;
        }
        let step = Step::UpdateChannelConfig {
            channel: name.to_owned(),
            topic,
            changes,
            elements: Vec::new(),
            signing: Signing::default(),
            digest: None,
            drift: Vec::new(),
        };
        let block = Block { why, unseen: waits.then_some(Unseen::Awaited) };
        self.add(id, Draft::new(step, &channel.origins).blocked(Some(block)));
    }

    /// One step for all changes of a configuration that could not be read, told from what the Channel object asked for.
    fn unread(&mut self, name: &str, channel: &DesiredChannel, seen: &ObservedChannel) {
        let Some(base) = self.ledgers.get(name).cloned() else { return };
        let changes = fact_changes(base, &channel.facts);
        if changes.is_empty() {
            return;
        }
        let evidence = seen.config.evidence().unwrap_or_default();
        let block = Block {
            why: format!("the live configuration could not be read ({}: {evidence})", seen.config.word()),
            unseen: unseen(&seen.config),
        };
        let step = Step::UpdateChannelConfig {
            channel: name.to_owned(),
            topic: UNREAD.to_owned(),
            changes,
            elements: Vec::new(),
            signing: Signing::default(),
            digest: None,
            drift: Vec::new(),
        };
        self.add(config_step(name, UNREAD), Draft::new(step, &channel.origins).blocked(Some(block)));
    }

    /// Memberships that the file releases go when the channel's configuration no longer has the organization.
    pub(super) fn remove_released(&mut self) {
        for retired in &self.desired.retired {
            let concerns = matches!(retired.target, RetiredTarget::Organization(_) | RetiredTarget::Member(..));
            let released = self.observed.objects.iter().filter(|(object, live)| {
                concerns && object.kind == Kind::Membership && !live.deleting && retires(retired, object, live)
            });
            let released: Vec<(&ObjectRef, &LiveObject)> =
                released.filter(|(object, live)| self.governs(object, live)).collect();
            for (object, live) in released {
                let (Some(organization), Some(msp_id)) = (text(live, "organization"), text(live, "mspID")) else {
                    continue;
                };
                let channel = &object.name;
                let step = Step::RemoveObject {
                    object: object.clone(),
                    keeps: "the peers keep the ledger: Fabric has no way to leave a channel while they run".to_owned(),
                    volume: None,
                };
                let need = config_step(channel, &format!("member/{organization}"));
                let unread = config_step(channel, UNREAD);
                let blocked = if !self.desired.channels.contains_key(channel) {
                    self.still_in(channel, organization, msp_id)
                } else if self.ledgers.contains_key(channel) {
                    None
                } else {
                    Some(Block::not_seen(
                        "cannot tell whether the channel still has the organization: its configuration was not read",
                    ))
                };
                let draft =
                    Draft::new(step, std::slice::from_ref(&retired.origin)).needs([need, unread]).blocked(blocked);
                self.add(remove_step(object), draft);
            }
        }
    }
}

/// Where the updates of a channel have come to in a plan.
pub(super) struct Following<'a> {
    seen: &'a ObservedChannel,
    spec: ChannelSpec,
    /// The live configuration.
    current: CurrentConfig,
    /// What the updates so far make of it.
    running: CurrentConfig,
    /// Those that come next.
    topics: Vec<TopicUpdate>,
    /// Each topic's last step, and how many it has.
    last: BTreeMap<String, (StepId, usize)>,
}

/// What comes of an update when its turn has come.
struct Judged {
    signing: Signing,
    blocked: Option<String>,
    /// The configuration after it, if it is carried out.
    next: Option<CurrentConfig>,
}

/// Judges an update by the configuration that the earlier ones leave; `proposed` is the same update as it is computed from
/// the live configuration, and that is what has been signed.
fn judge(
    current: &CurrentConfig,
    running: &CurrentConfig,
    spec: &ChannelSpec,
    seen: &ObservedChannel,
    proposed: &TopicUpdate,
    own: &BTreeSet<String>,
) -> Judged {
    let anew = if running == current {
        None
    } else {
        update_of(running, spec, &seen.material, &proposed.topic).ok().flatten()
    };
    let turn = anew.as_ref().unwrap_or(proposed);
    let digest = proposed.update.digest();
    // What must be computed anew has to be signed anew.
    let signatures = seen.signatures.get(&digest).filter(|_| proposed.after.is_empty()).map_or(&[][..], Vec::as_slice);
    let mut signing = signing(running, &turn.update, own, (&proposed.update, signatures));
    let applied = turn.update.apply(running);
    if let Err(error) = &applied {
        signing.passes = Some(Passing::No { why: chain(error) });
    }
    let problems = if turn.problems.is_empty() { &proposed.problems } else { &turn.problems };
    let blocked = (!problems.is_empty())
        .then(|| format!("Fabric would refuse this update or come to harm by it: {}", problems.join("; ")));
    if blocked.is_some() {
        signing.passes = None;
    }
    Judged { signing, next: applied.ok().filter(|_| blocked.is_none()), blocked }
}

/// A change as plans show it.
fn field(change: ProposedChange) -> FieldChange {
    let ProposedChange { path, from, to } = change;
    FieldChange { path, from: from.map(Value::String), to: to.map(Value::String) }
}
