//! Looks at a config update and at the channel that it is for, and does what was decided.

use std::collections::{BTreeMap, BTreeSet};

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use jiff::Timestamp;
use tenter_consortium::channel_config::{TopicUpdate, choose, organizations, problems, updates};
use tenter_consortium::document::Blob;
use tenter_consortium::objects::{ChannelSpec, ConsortiumSpec, SigningMode, VoteChoice};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::LiveChannel;
use tenter_consortium::settings::{hosts_all, signing_mode};
use tenter_consortium::status::{ProposalSignature, ProposalVote, RefusedSignature};
use tenter_fabric::block::{Block, ConfigOrigin};
use tenter_fabric::client::TransportError;
use tenter_fabric::client::broadcast::BroadcastError;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate, Freshness};
use tenter_fabric::config::{ChannelConfig, CurrentConfig};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::policy::{Judge, KnownIdentity, Received, Requirement, Role, Signer as Wanted};
use tenter_fabric::x509::CertificateInfo;

use super::decide::{Answer, Exchanged, Judgement, Standing, View};
use super::signers::{Hosted, Signer};
use super::versions::too_old;
use super::writers::Writers;
use crate::controllers::channel::form::{foreign, foreign_consenters, own_consenters, own_leaving, own_readers};
use crate::controllers::channel::material::{Others, available};
use crate::controllers::labels::{IDENTITY_CONFIG_ADMIN, IDENTITY_READER};
use crate::controllers::{Failure, gates};
use crate::messages::{Folder, Message, Messages, REJECTION};
use crate::nodes::identity::signing_identity;
use crate::nodes::records::{block_hash, read_pinned};
use crate::nodes::{Node, Nodes, SubmitError, chain};
use crate::observe::channel;

/// An organization that this daemon acts for: where its identities are.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its name.
    pub organization: String,
    /// Its namespace.
    pub namespace: String,
    /// Its MSP ID.
    pub msp_id: String,
}

/// Where an update is looked at.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The Fabric nodes.
    pub nodes: &'a Nodes,
    /// The consortium's namespace, with the pinned genesis block.
    pub namespace: &'a str,
    /// The daemon's settings.
    pub settings: &'a ConsortiumSpec,
    /// The channel.
    pub spec: &'a ChannelSpec,
    /// What others published; absent where there are no others, or it could not be read.
    pub messages: Option<&'a Messages>,
    /// What the administrators of own organizations said to this update, by MSP ID.
    pub votes: &'a BTreeMap<String, ProposalVote>,
    /// The time.
    pub now: Timestamp,
}

impl Place<'_> {
    /// What an own organization's administrator said: a Vote, or else a rejection among those that were published (`told`),
    /// signed where no cluster is.
    fn said(&self, msp_id: &str, told: &[ProposalVote]) -> Option<VoteChoice> {
        let published = || told.iter().find(|vote| vote.msp_id == msp_id);
        self.votes.get(msp_id).or_else(published).map(|vote| vote.choice)
    }
}

/// How many sets of signers a status lists.
const SETS: usize = 8;

/// What was seen of an update.
pub struct Seen {
    update: ConfigUpdate,
    standing: Observation<Standing>,
    wanted: bool,
    problems: Vec<String>,
    irreversible: Option<String>,
    too_old: Observation<Vec<String>>,
    judged: Option<Judged>,
    /// What was there before it was judged; shown of an update that is settled.
    collected: Vec<ConfigSignature>,
    exchanged: Exchanged,
    orderers: Vec<Node>,
}

/// What the policies in force say.
struct Judged {
    signatures: Vec<(ConfigSignature, KnownIdentity)>,
    /// MSP IDs of the organizations that this daemon acts for.
    own: BTreeSet<String>,
    judgement: Judgement,
    signers: BTreeMap<String, Own>,
    submitter: Option<SigningIdentity>,
    refused: Vec<RefusedSignature>,
    exchanged: Exchanged,
    /// What organizations said to it.
    votes: Vec<ProposalVote>,
    /// Own rejections that others were not told of, by MSP ID, with the reason.
    untold: BTreeMap<String, String>,
}

/// A channel as it is: its orderers, and the configuration in force.
pub struct Live {
    orderers: Vec<Node>,
    config: Observation<(LiveChannel, CurrentConfig)>,
}

impl Live {
    /// Reads the newest configuration.
    pub async fn read(nodes: &Nodes, namespace: &str, settings: &ConsortiumSpec, spec: &ChannelSpec) -> Self {
        // Own orderers first; a member that has none, or whose are down, asks those of others.
        let readers = own_readers(spec, &settings.organizations);
        let mut orderers = own_consenters(spec, &settings.organizations);
        orderers.extend(own_leaving(spec, &settings.organizations));
        orderers.extend(foreign_consenters(spec, namespace, &settings.organizations, &readers));
        let pinned = read_pinned(nodes.store(), namespace, &spec.channel, block_hash).await;
        let hash = pinned.value().map(|pinned| pinned.hash.clone());
        let config = match channel::config(nodes, &orderers, &spec.channel, hash.as_deref()).await {
            Observation::Present { value: live } => match CurrentConfig::from_bytes(&spec.channel, &live.config) {
                Ok(current) => Observation::Present { value: (live, current) },
                Err(error) => {
                    Observation::Unreachable { evidence: format!("config block {}: {}", live.block, chain(&error)) }
                }
            },
            other => other.unseen(),
        };
        Self { orderers, config }
    }

    /// Whether others take part in the channel as it is, or as it shall be.
    pub fn is_shared(&self, settings: &ConsortiumSpec, spec: &ChannelSpec) -> bool {
        let live = self.config.value().map(|(_, current)| organizations(current.config()));
        !hosts_all(settings, spec, live.as_ref())
    }
}

/// Looks at everything that the decision needs. `collected` are signatures from anywhere: only those that count are
/// kept.
pub async fn look(
    place: &Place<'_>,
    live: Live,
    base_sequence: u64,
    update: ConfigUpdate,
    collected: Vec<ConfigSignature>,
) -> Seen {
    let Place { spec, .. } = *place;
    let Live { orderers, config } = live;
    let published = place.messages.and_then(|messages| messages.find(&spec.channel, &update.digest()));
    let mut seen = Seen {
        update,
        standing: config.clone().map(|_| Standing::Applies),
        wanted: false,
        problems: Vec::new(),
        irreversible: None,
        too_old: Observation::Present { value: Vec::new() },
        judged: None,
        collected: collected.clone(),
        exchanged: Exchanged { published: published.is_some(), ..Exchanged::default() },
        orderers,
    };
    if let Observation::Present { value: (live, current) } = config {
        seen.compare(place, base_sequence, &live, &current, collected).await;
    }
    seen
}

impl Seen {
    async fn compare(
        &mut self,
        place: &Place<'_>,
        base_sequence: u64,
        live: &LiveChannel,
        current: &CurrentConfig,
        collected: Vec<ConfigSignature>,
    ) {
        let Place { nodes, namespace, settings, spec, .. } = *place;
        self.standing = self.stand(nodes, base_sequence, live, current).await;
        if self.standing.value() != Some(&Standing::Applies) {
            return;
        }
        let others = Others { namespace, organizations: &foreign(spec, &settings.organizations) };
        let material = available(nodes.store(), spec, &others).await;
        let topics = match updates(current, spec, &material) {
            Ok(found) => {
                // Who only follows takes no update, and refuses it as one for a channel that is not there.
                self.orderers.retain(|orderer| !found.coming.contains(&orderer.address));
                found.topics
            }
            Err(why) => {
                self.standing = Observation::Unreachable { evidence: why };
                return;
            }
        };
        // Signatures cover the bytes that were proposed first; what they mean is what the spec must ask for.
        match topics.into_iter().find(|topic| topic.update.means_the_same(&self.update)) {
            Some(TopicUpdate { problems, irreversible, .. }) => {
                self.wanted = true;
                self.problems = problems;
                self.irreversible = irreversible;
            }
            None => self.problems = problems(current, &self.update),
        }
        if self.irreversible.is_some() {
            self.too_old = too_old(nodes, settings, spec).await;
        }
        let judged = judge(place, current, &self.update, collected).await;
        self.exchanged = judged.exchanged;
        self.judged = Some(judged);
    }

    async fn stand(
        &mut self,
        nodes: &Nodes,
        base_sequence: u64,
        live: &LiveChannel,
        current: &CurrentConfig,
    ) -> Observation<Standing> {
        let digest = self.update.digest();
        // One that was committed has raised the versions of what it wrote, and cannot apply again.
        let value = match self.update.freshness(current) {
            Freshness::Applies => return Observation::Present { value: Standing::Applies },
            Freshness::AlreadyThere => Standing::AlreadyThere,
            Freshness::Stale { element, expected, found } => {
                let version = |version: Option<u64>| version.map_or_else(|| "absent".to_owned(), |it| it.to_string());
                let why = format!(
                    "{element} is at version {}, the update {} builds on {}",
                    version(found),
                    digest.get(..10).unwrap_or(&digest),
                    version(expected)
                );
                Standing::Stale { why }
            }
        };
        let shown = |block: &Block| {
            let origin = block.config_origin().ok().flatten().filter(|origin| origin.update == self.update.bytes())?;
            Some((block.config(), origin))
        };
        let newest = (self.update.channel_id(), live);
        match channel::find_since(nodes, &self.orderers, newest, base_sequence, shown).await {
            Observation::Present { value: (block, (config, origin)) } => {
                if let Ok(config) = config {
                    self.count(&config, origin);
                }
                Observation::Present { value: Standing::Committed { block } }
            }
            Observation::Absent { .. } => Observation::Present { value },
            other => other.unseen(),
        }
    }

    /// Adds the signatures that a committed update came with: those of other members may have been seen by nobody here. An
    /// orderer passes over signatures that count for nothing, so who made one is judged by the configuration in the block.
    fn count(&mut self, config: &ChannelConfig, origin: ConfigOrigin) {
        let judge = Judge::new(config);
        let counted = origin.signatures.into_iter().filter(|made| made.signer(&self.update, &judge).is_ok());
        self.collected.extend(counted.collect::<Vec<_>>());
    }

    /// Fills in what the decision is made on.
    pub fn complete(&self, view: &mut View) {
        view.standing = self.standing.clone();
        view.wanted = self.wanted;
        view.problems.clone_from(&self.problems);
        view.irreversible.clone_from(&self.irreversible);
        view.too_old = self.too_old.clone();
        view.judgement = self.judged.as_ref().map(|judged| judged.judgement.clone());
        view.exchanged = self.exchanged;
    }

    /// Signatures of others that do not count, and why.
    pub fn refused(&self) -> Vec<RefusedSignature> {
        self.judged.as_ref().map(|judged| judged.refused.clone()).unwrap_or_default()
    }

    /// Where the update is on the message channel.
    pub fn folder(&self) -> Folder {
        Message::new(self.update.channel_id(), self.update.bytes()).folder
    }

    /// The update with the signatures of this daemon's organizations and their rejections, for others.
    pub async fn message(&self, nodes: &Nodes) -> Result<Message, Failure> {
        let mut message = Message::new(self.update.channel_id(), self.update.bytes());
        let Some(judged) = &self.judged else { return Ok(message) };
        for (signature, signer) in own_signatures(judged) {
            message.signatures.insert(signer.msp_id.clone(), Blob(signature.to_bytes()));
        }
        for (msp_id, reason) in &judged.untold {
            let Some(own) = judged.signers.get(msp_id) else { continue };
            let signer = Hosted { store: nodes.store(), namespace: own.namespace.clone(), msp_id: msp_id.clone() };
            let rejection = signer.reject(&self.update, reason).await?;
            message.rejections.insert(msp_id.clone(), Blob(rejection.to_bytes()));
        }
        Ok(message)
    }

    /// What organizations said to it; `None` where that was not asked.
    pub fn votes(&self) -> Option<Vec<ProposalVote>> {
        self.judged.as_ref().map(|judged| judged.votes.clone())
    }

    /// The signatures that count, as a status lists them. Of an update that is settled, those that were made.
    pub fn listed(&self) -> Vec<ProposalSignature> {
        let entry = |signature: &ConfigSignature, msp_id: &str, certificate: &CertificateInfo| ProposalSignature {
            msp_id: msp_id.to_owned(),
            subject: certificate.subject.clone(),
            fingerprint: certificate.certificate_fingerprint.clone(),
            signature: BASE64.encode(signature.to_bytes()),
        };
        if let Some(judged) = &self.judged {
            let signatures = judged.signatures.iter();
            return signatures.map(|(made, signer)| entry(made, &signer.msp_id, &signer.certificate)).collect();
        }
        let mut listed: Vec<ProposalSignature> = Vec::new();
        for signature in &self.collected {
            let Ok(signer) = signature.verify(&self.update) else { continue };
            if !listed.iter().any(|other| other.fingerprint == signer.certificate.certificate_fingerprint) {
                listed.push(entry(signature, &signer.msp_id, &signer.certificate));
            }
        }
        listed
    }

    /// The signature of an organization that this daemon acts for.
    pub async fn sign(&self, nodes: &Nodes, msp_id: &str) -> Result<ConfigSignature, Failure> {
        let own = self.judged.as_ref().and_then(|judged| judged.signers.get(msp_id)).ok_or_else(|| {
            Failure::new("Sign", format!("{msp_id} is not this daemon's to sign for; it is looked at again"))
        })?;
        let signer = Hosted { store: nodes.store(), namespace: own.namespace.clone(), msp_id: own.msp_id.clone() };
        signer.sign(&self.update).await
    }

    /// Hands the update to the first orderer that takes it.
    pub async fn submit(&self, nodes: &Nodes) -> Result<Answer, Failure> {
        let judged = self.judged.as_ref();
        let Some((judged, submitter)) = judged.and_then(|judged| Some((judged, judged.submitter.as_ref()?))) else {
            return Err(Failure::new("Submit", "nobody may submit it; it is looked at again"));
        };
        let signatures: Vec<ConfigSignature> =
            judged.signatures.iter().map(|(signature, _)| signature.clone()).collect();
        let mut unavailable = Vec::new();
        // A connection that broke may have carried the update: a refusal after it may be that of a second copy.
        let mut may_be_taken = false;
        for orderer in &self.orderers {
            match nodes.submit(orderer, &self.update, &signatures, submitter).await {
                Ok(()) => return Ok(Answer::Taken { orderer: orderer.to_string() }),
                Err(SubmitError::Broadcast { source, .. }) => match *source {
                    error @ (BroadcastError::Unavailable { .. }
                    | BroadcastError::Transport(TransportError::Unreachable { .. })) => {
                        may_be_taken |= matches!(error, BroadcastError::Transport(_));
                        unavailable.push(chain(&error));
                    }
                    error if error.is_elsewhere() => unavailable.push(chain(&error)),
                    error @ (BroadcastError::Unknown { .. } | BroadcastError::Transport(_)) => {
                        return Ok(Answer::Unknown(chain(&error)));
                    }
                    error if may_be_taken => return Ok(Answer::Unknown(chain(&error))),
                    error => return Ok(Answer::Refused(chain(&error))),
                },
                Err(SubmitError::Node(error)) => unavailable.push(chain(&error)),
            }
        }
        if unavailable.is_empty() {
            unavailable.push("this daemon acts for no orderer of the channel".to_owned());
        }
        Ok(Answer::Unavailable(unavailable.join("; ")))
    }
}

/// The organizations of a channel that this daemon acts for, the organizer first.
pub fn own_organizations(settings: &ConsortiumSpec, spec: &ChannelSpec) -> Vec<Own> {
    let orderers = spec.orderer_organizations.iter().map(|it| (&it.organization, &it.msp_id, &it.namespace));
    let members = spec.members.iter().map(|it| (&it.organization, &it.msp_id, &it.namespace));
    // Until its last orderer has left, its signature counts, and may be needed.
    let leaving = spec.consensus.released.iter().map(|it| (&it.organization, &it.msp_id, &it.namespace));
    let mut found: Vec<(bool, Own)> = Vec::new();
    for (organization, msp_id, namespace) in orderers.chain(members).chain(leaving) {
        let known = found.iter().any(|(_, own)| own.msp_id == *msp_id);
        if known || gates::admit(settings, organization, namespace).is_err() {
            continue;
        }
        let (organization_name, namespace) = (organization.clone(), namespace.clone());
        let own = Own { organization: organization_name, namespace, msp_id: msp_id.clone() };
        found.push((*organization != spec.organizer, own));
    }
    found.sort_by_key(|(other, _)| *other);
    found.into_iter().map(|(_, own)| own).collect()
}

/// What the policies in force say, who can sign, and who can submit.
async fn judge(
    place: &Place<'_>,
    current: &CurrentConfig,
    update: &ConfigUpdate,
    collected: Vec<ConfigSignature>,
) -> Judged {
    let Place { spec, messages, votes, .. } = *place;
    let judge = Judge::new(current.config());
    let (mut signatures, mut refused) = counting(place, &judge, current, update, collected);
    let (told, refused_rejections) = rejections(&judge, update, place, &signatures);
    refused.extend(refused_rejections);
    // What an own organization signed and no longer wants does not count here, whoever may have it.
    let unwanted = |msp_id: &str| place.said(msp_id, &told) == Some(VoteChoice::Reject);
    let all: Vec<KnownIdentity> = signatures.iter().map(|(_, signer)| signer.clone()).collect();
    let published = |msp_id: &str| {
        let there = messages.and_then(|messages| messages.find(&spec.channel, &update.digest()));
        there.is_some_and(|message| message.signatures.contains_key(msp_id))
    };
    let withdrawn: BTreeSet<String> = all
        .iter()
        .map(|signer| &signer.msp_id)
        .filter(|msp_id| unwanted(msp_id) && published(msp_id))
        .cloned()
        .collect();
    signatures.retain(|(_, signer)| !unwanted(&signer.msp_id));
    let Able { own, signers, willing, writers } = able(place, &judge, current, &told).await;
    let have: Vec<KnownIdentity> = signatures.iter().map(|(_, signer)| signer.clone()).collect();
    let requirement = judge.needed_for(current, update, &have);
    let satisfied = requirement.is_satisfied();
    let able: BTreeSet<String> = signers.keys().cloned().collect();
    let signed =
        |msp_id: &String| have.iter().any(|other| other.msp_id == *msp_id && other.role() == Some(Role::Admin));
    let help = |able: &BTreeSet<String>| -> Vec<String> {
        let chosen = if satisfied { Vec::new() } else { choose(&requirement, able).0 };
        chosen.into_iter().filter(|msp_id| !signed(msp_id)).collect()
    };
    let to_sign = help(&willing);
    let open: BTreeSet<String> = able.iter().filter(|msp_id| !unwanted(msp_id)).cloned().collect();
    let awaiting_votes = help(&open).into_iter().filter(|msp_id| !willing.contains(msp_id)).collect();
    let mut said: Vec<ProposalVote> = votes.values().cloned().collect();
    said.extend(told.iter().filter(|vote| !votes.contains_key(&vote.msp_id)).cloned());
    let rejecting: BTreeSet<&String> =
        said.iter().filter(|vote| vote.choice == VoteChoice::Reject).map(|vote| &vote.msp_id).collect();
    let rejected = rejected_by(&said);
    let impossible = !satisfied && (voted_down(&requirement, &rejecting) || !requirement.is_possible());
    let enough = if satisfied { Vec::new() } else { enough(&requirement) };
    let submittable = satisfied || judge.needed_for(current, update, &all).is_satisfied();
    let untold = votes
        .values()
        .filter(|vote| vote.choice == VoteChoice::Reject && signers.contains_key(&vote.msp_id))
        .filter(|vote| !told.iter().any(|it| it.msp_id == vote.msp_id && it.reason == vote.reason))
        .map(|vote| (vote.msp_id.clone(), vote.reason.clone()));
    let untold: BTreeMap<String, String> = if messages.is_some() { untold.collect() } else { BTreeMap::new() };
    let missing = if satisfied { String::new() } else { requirement.to_string() };
    // Policies take the first signer that fits, so the order can matter.
    let guards = update.guards(current);
    let order = judge.order(guards.keys().map(String::as_str), &have);
    let signatures = order.into_iter().filter_map(|place| signatures.get(place).cloned()).collect();
    let no_writer = writers.why(&spec.channel);
    let mut judged = Judged {
        judgement: Judgement {
            satisfied,
            missing,
            to_sign,
            no_writer,
            awaiting_votes,
            enough,
            rejected,
            impossible,
            withdrawn: withdrawn.into_iter().collect(),
            submittable,
        },
        signatures,
        own,
        signers,
        submitter: writers.found,
        refused,
        exchanged: Exchanged::default(),
        votes: said,
        untold,
    };
    if let Some(messages) = messages {
        let there = messages.find(&spec.channel, &update.digest());
        let missing = |(signature, signer): &(ConfigSignature, KnownIdentity)| {
            let published = there.and_then(|message| message.signatures.get(&signer.msp_id));
            published.is_none_or(|bytes| bytes.0 != signature.to_bytes())
        };
        // Others may have to sign it where there is no daemon that could compute it.
        let behind = there.is_none() || own_signatures(&judged).any(missing) || !judged.untold.is_empty();
        judged.exchanged = Exchanged { used: true, published: there.is_some(), behind };
    }
    judged
}

/// The signatures that count, each signer once; and those of others that do not.
fn counting(
    place: &Place<'_>,
    judge: &Judge,
    current: &CurrentConfig,
    update: &ConfigUpdate,
    collected: Vec<ConfigSignature>,
) -> (Vec<(ConfigSignature, KnownIdentity)>, Vec<RefusedSignature>) {
    let nothing = Messages::default();
    let (received, refused) = receive(judge, current, update, place.messages.unwrap_or(&nothing), place.now);
    let known = collected.into_iter().filter_map(|made| {
        let signer = made.signer(update, judge).ok()?;
        Some((made, signer))
    });
    let mut signatures: Vec<(ConfigSignature, KnownIdentity)> = Vec::new();
    for (signature, signer) in known.chain(received) {
        let fingerprint = &signer.certificate.certificate_fingerprint;
        if !signatures.iter().any(|(_, other)| other.certificate.certificate_fingerprint == *fingerprint) {
            signatures.push((signature, signer));
        }
    }
    (signatures, refused)
}

/// What own organizations can do about an update.
struct Able {
    /// MSP IDs of all of them.
    own: BTreeSet<String>,
    /// Those whose administrator's key is here and counts.
    signers: BTreeMap<String, Own>,
    /// Those of them that sign it.
    willing: BTreeSet<String>,
    writers: Writers,
}

async fn able(place: &Place<'_>, judge: &Judge, current: &CurrentConfig, told: &[ProposalVote]) -> Able {
    let Place { nodes, settings, spec, now, .. } = *place;
    let live = organizations(current.config());
    let organizations = own_organizations(settings, spec);
    let own: BTreeSet<String> = organizations.iter().map(|own| own.msp_id.clone()).collect();
    let secret = |own: &Own, name: &str| format!("{}/{name}", own.namespace);
    let mut able = Able { own, signers: BTreeMap::new(), willing: BTreeSet::new(), writers: Writers::default() };
    for own in organizations {
        let reader = signing_identity(nodes.store(), &own.namespace, IDENTITY_READER, &own.msp_id).await;
        able.writers.ask(judge, &secret(&own, IDENTITY_READER), reader, now);
        let administrator = signing_identity(nodes.store(), &own.namespace, IDENTITY_CONFIG_ADMIN, &own.msp_id).await;
        let key = secret(&own, IDENTITY_CONFIG_ADMIN);
        let counts = administrator.value().is_some_and(|identity| {
            judge.identify(identity.creator()).is_ok_and(|known| known.role() == Some(Role::Admin))
        });
        if counts {
            let auto = signing_mode(settings, spec, &live, &own.organization) == SigningMode::Auto;
            let willing = match place.said(&own.msp_id, told) {
                Some(VoteChoice::Approve) => true,
                Some(VoteChoice::Reject) => false,
                None => auto,
            };
            if willing {
                able.willing.insert(own.msp_id.clone());
            }
            able.signers.insert(own.msp_id.clone(), own);
        }
        able.writers.ask(judge, &key, administrator, now);
    }
    able
}

/// The rejections that organizations published for an update: those that count, and those that do not. Where an
/// organization's signature counts as well, that stands, for it cannot be taken back.
fn rejections(
    judge: &Judge,
    update: &ConfigUpdate,
    place: &Place<'_>,
    signatures: &[(ConfigSignature, KnownIdentity)],
) -> (Vec<ProposalVote>, Vec<RefusedSignature>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let there = place.messages.and_then(|messages| messages.find(&place.spec.channel, &update.digest()));
    let own = own_organizations(place.settings, place.spec);
    // An own signature that nobody else has yet can be kept back.
    let given = |msp_id: &String| {
        let published = there.is_some_and(|message| message.signatures.contains_key(msp_id));
        published || !own.iter().any(|own| own.msp_id == *msp_id)
    };
    for (message, (msp_id, bytes)) in there.iter().flat_map(|it| it.rejections.iter().map(move |entry| (it, entry))) {
        let signed = given(msp_id) && signatures.iter().any(|(_, signer)| signer.msp_id == *msp_id);
        match judge.receive_rejection(update, msp_id, &bytes.0, place.now) {
            Ok(rejection) if !signed || place.votes.contains_key(msp_id) => found.push(ProposalVote {
                organization: String::new(),
                msp_id: msp_id.clone(),
                choice: VoteChoice::Reject,
                reason: rejection.reason,
                vote: String::new(),
            }),
            Ok(_) => {}
            Err(problem) => refused.push(RefusedSignature {
                place: format!("{}/{msp_id}{REJECTION}", message.folder),
                reason: problem.reason().to_owned(),
                message: chain(&problem),
            }),
        }
    }
    (found, refused)
}

/// Who rejects an update, in words.
fn rejected_by(votes: &[ProposalVote]) -> Vec<String> {
    let rejecting = votes.iter().filter(|vote| vote.choice == VoteChoice::Reject);
    rejecting
        .map(|vote| match vote.reason.as_str() {
            "" => vote.msp_id.clone(),
            reason => format!("{} ({reason})", vote.msp_id),
        })
        .collect()
}

/// The smallest sets of organizations that would be enough, by MSP ID.
fn enough(requirement: &Requirement<'_>) -> Vec<Vec<String>> {
    let names = |set: BTreeSet<Wanted>| set.into_iter().map(|signer| signer.msp_id).collect::<BTreeSet<_>>();
    let sets: BTreeSet<BTreeSet<String>> = requirement.minimal_sets(SETS).into_iter().map(names).collect();
    sets.into_iter().map(|set| set.into_iter().collect()).collect()
}

/// Whether nobody is left who could make up what is missing. What policies ask of more than roles is not counted on.
fn voted_down(requirement: &Requirement<'_>, rejecting: &BTreeSet<&String>) -> bool {
    let everybody = requirement.present();
    let left = everybody.iter().filter(|signer| !rejecting.contains(&signer.msp_id)).cloned().collect();
    !rejecting.is_empty() && requirement.choose(&everybody).is_some() && requirement.choose(&left).is_none()
}

/// The first signature of each organization of this daemon: the one that is published.
fn own_signatures(judged: &Judged) -> impl Iterator<Item = &(ConfigSignature, KnownIdentity)> {
    judged.own.iter().filter_map(|msp_id| {
        let mut of = judged.signatures.iter().filter(|(_, signer)| signer.msp_id == *msp_id).collect::<Vec<_>>();
        of.sort_by(|(_, one), (_, other)| {
            one.certificate.certificate_fingerprint.cmp(&other.certificate.certificate_fingerprint)
        });
        of.first().copied()
    })
}

/// The signatures that others published for an update and that count; and those that do not.
fn receive(
    judge: &Judge,
    current: &CurrentConfig,
    update: &ConfigUpdate,
    messages: &Messages,
    now: Timestamp,
) -> (Vec<(ConfigSignature, KnownIdentity)>, Vec<RefusedSignature>) {
    let (mut received, mut refused) = (Vec::new(), Vec::new());
    let digest = update.digest();
    let (ours, others): (Vec<&Message>, Vec<&Message>) = messages
        .messages
        .iter()
        .filter(|message| message.folder.channel == update.channel_id())
        .partition(|message| message.folder.digest == digest);
    let updates: Vec<ConfigUpdate> = others
        .iter()
        .filter_map(|message| ConfigUpdate::from_bytes(message.update.0.clone()).ok())
        .filter(|other| other.channel_id() == update.channel_id())
        .collect();
    for (message, (msp_id, bytes)) in
        ours.iter().flat_map(|message| message.signatures.iter().map(move |entry| (message, entry)))
    {
        match judge.receive(current, update, msp_id, &bytes.0, &updates, now) {
            Received::Valid(found) => received.push(*found),
            // How the update stands says it better than each signature.
            Received::Stale(_) => {}
            Received::Refused(problem) => refused.push(RefusedSignature {
                place: format!("{}/{msp_id}.sig", message.folder),
                reason: problem.reason().to_owned(),
                message: chain(&problem),
            }),
        }
    }
    let elements: BTreeSet<String> = update.elements(current).into_iter().map(|touched| touched.element).collect();
    for other in &updates {
        let collides = other.elements(current).iter().any(|touched| elements.contains(&touched.element));
        if collides && other.freshness(current) == Freshness::Applies {
            refused.push(RefusedSignature {
                place: format!("{}/{}", other.channel_id(), other.digest()),
                reason: "OtherUpdate".to_owned(),
                message:
                    "another update of the same elements was published; it is not the one that the definition asks \
                          for here, so it is not signed"
                        .to_owned(),
            });
        }
    }
    (received, refused)
}
