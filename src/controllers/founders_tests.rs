//! A consortium without a coordinator, on Fabric processes: every member has a daemon with a store of its own, which holds its
//! keys and nobody else's. What they share is a definition with the members' folders, and a git repository for signatures. What
//! the controllers do, without a Kubernetes in between.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Repository;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize as _;
use tempfile::TempDir;
use tenter_consortium::chaincode::{package, wanted};
use tenter_consortium::channel_config::{ConsenterMaterial, MspMaterial};
use tenter_consortium::desired::desired;
use tenter_consortium::document::{self, Blob, MemberFiles, RepositoryFacts};
use tenter_consortium::network::Network;
use tenter_consortium::objects::{
    ChaincodeSpec, ChannelSpec, ConsortiumSpec, Kind as ObjectKind, MembershipSpec, VoteChoice,
};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::NodeRef;
use tenter_consortium::repository::{self, GenesisNote};
use tenter_consortium::settings::Settings;
use tenter_consortium::status::{ChannelPhase, MembershipPhase, ProposalPhase, ProposalVote};
use tenter_fabric::chaincode::lifecycle::{approve_call, commit_call};
use tenter_fabric::chaincode::transaction::{Call, SignedCall};
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};
use tenter_fabric::genesis::GenesisFormat;
use tenter_fabric_testnet::{Kind, Node as Process, Organization, Programs};

use crate::controllers::channel::config::ProposalSeen;
use crate::controllers::channel::{decide as channel, form};
use crate::controllers::definitions::{Behind, Definitions};
use crate::controllers::membership::{decide as member, join};
use crate::controllers::process_world::{CHANNEL, CONFIG_YAML, SYSTEM, enrol, pair, reference, start, table};
use crate::controllers::proposal::decide::{Action, Attempt, Decision, VOTED_DOWN, View, decide};
use crate::controllers::proposal::look::{Live, Place, look};
use crate::messages::channel::{How, MessageChannel};
use crate::nodes::identity::signing_identity;
use crate::nodes::memory::MemoryStore;
use crate::nodes::records::{Pinned, pin};
use crate::nodes::{Node, NodeKind, Nodes, nonce};
use crate::source::Credentials;

const FOUNDERS: [&str; 3] = ["acme", "globex", "initech"];
const LATER: &str = "umbrella";
const NONE: Credentials = Credentials { username: None, password: None, identity: None, known_hosts: None };

/// A config update as one daemon follows it.
struct Followed {
    update: ConfigUpdate,
    topic: String,
    base: u64,
    signatures: Vec<ConfigSignature>,
    attempt: Option<Attempt>,
    vote: Option<VoteChoice>,
    last: Option<Decision>,
}

/// One member: its keys, its daemon and what that remembers.
struct Member {
    organization: Organization,
    store: Arc<MemoryStore>,
    nodes: Arc<Nodes>,
    settings: ConsortiumSpec,
    messages: MessageChannel,
    definitions: Definitions,
    url: String,
    spec: Option<ChannelSpec>,
    chaincode: Option<ChaincodeSpec>,
    proposals: BTreeMap<String, Followed>,
    /// Seconds that its clock has gone ahead: what was read from the repository is fresh for some.
    ahead: i64,
}

/// Everybody, and what they share.
struct Consortium {
    members: BTreeMap<String, Member>,
    processes: BTreeMap<NodeRef, Process>,
    folder: TempDir,
    files: MemberFiles,
    batch: u32,
    invited: bool,
}

fn settings(name: &str) -> ConsortiumSpec {
    serde_json::from_value(serde_json::json!({
        "source": {"repository": "file:///nowhere"},
        "organizations": [name],
        "namespaces": {"allowed": [format!("trade-{name}")]},
        "images": {"allowed": ["docker.io/hyperledger"]},
    }))
    .unwrap()
}

/// What a daemon has seen of definitions when it starts.
fn followed() -> Definitions {
    let definitions = Definitions::default();
    definitions.follow(None);
    definitions
}

impl Consortium {
    /// Starts the nodes of all; nobody has joined anything.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signatures.git");
        Repository::init_bare(&path).unwrap();
        let url = format!("file://{}", path.display());
        let names: Vec<&str> = FOUNDERS.into_iter().chain([LATER]).collect();
        let organizations: Vec<Organization> = names.iter().map(|name| Organization::new(name).unwrap()).collect();
        let stores: Vec<Arc<MemoryStore>> = names.iter().map(|_| Arc::new(MemoryStore::default())).collect();
        let admins: Vec<_> = organizations.iter().zip(&stores).map(|(it, store)| enrol(store, it)).collect();
        let mut plan: Vec<(usize, Kind, &str)> = (0..3).map(|index| (index, Kind::Orderer, "orderer1")).collect();
        plan.extend((0..4).map(|index| (index, Kind::Peer, "peer1")));
        let pairs: Vec<_> = organizations.iter().zip(&admins).collect();
        let processes = start(folder.path(), &pairs, &plan).await;
        let mut files = MemberFiles::default();
        let mut members = BTreeMap::new();
        for (organization, store) in organizations.into_iter().zip(stores) {
            let name = organization.name.clone();
            let mut own = BTreeMap::new();
            let mut consenters = Vec::new();
            for (node, process) in processes.iter().filter(|(node, _)| node.namespace == format!("trade-{name}")) {
                store.put_secret(&node.namespace, &format!("{}-tls", node.name), pair(&process.tls));
                store.put_secret(&node.namespace, &format!("{}-enrolment", node.name), pair(&process.enrolment));
                own.insert(node.clone(), process);
                if process.kind == Kind::Orderer {
                    let identity = process.enrolment.cert_pem.clone();
                    let material = ConsenterMaterial { tls: process.tls.cert_pem.clone(), identity };
                    consenters.push((node.name.clone(), material));
                }
            }
            let msp = MspMaterial {
                ca_certs: organization.roots.enrolment.cert_pem.clone(),
                tls_ca_certs: organization.roots.tls.cert_pem.clone(),
                config: CONFIG_YAML.to_owned(),
                ..MspMaterial::default()
            };
            for (path, bytes) in repository::files(&organization.msp_id, &msp, &consenters).unwrap() {
                files.files.insert(format!("organizations/{name}/{path}"), Blob(bytes));
            }
            // A route to its own nodes only: those of others are dialled at their addresses.
            let route = Arc::new(table(own));
            let member = Member {
                nodes: Arc::new(Nodes::new(Arc::clone(&store) as _, route)),
                settings: settings(&name),
                messages: MessageChannel::new(folder.path().join(format!("cache-{name}")), How::Here),
                definitions: followed(),
                url: url.clone(),
                spec: None,
                chaincode: None,
                proposals: BTreeMap::new(),
                ahead: 0,
                organization,
                store,
            };
            members.insert(name, member);
        }
        let mut consortium = Self { members, processes, folder, files, batch: 500, invited: false };
        // One of them computes the block; the others compute it again.
        let network = consortium.network();
        let folders = repository::read(&consortium.files).0;
        let founded = repository::compute(&network, &folders, CHANNEL, GenesisFormat::LATEST).unwrap();
        let note =
            GenesisNote { format_version: founded.format, commit: "0".repeat(40), block_hash: founded.hash.clone() };
        let files = &mut consortium.files.files;
        files.insert(repository::genesis_path(CHANNEL), Blob(founded.block));
        files.insert(repository::note_path(CHANNEL), Blob(serde_yaml::to_string(&note).unwrap().into_bytes()));
        consortium
    }

    fn address(&self, organization: &str, node: &str) -> String {
        self.processes[&reference(organization, node)].address.to_string()
    }

    /// The definition as it stands.
    fn network(&self) -> Network {
        let mut text =
            "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  fabric: {version: \
                        \"3.1\"}\n  organizations:\n"
                .to_owned();
        let members: Vec<&str> = FOUNDERS.into_iter().chain(self.invited.then_some(LATER)).collect();
        for name in &members {
            let peer = self.address(name, "peer1");
            let orderers = if FOUNDERS.contains(name) {
                format!("orderers: [{{name: orderer1, address: '{}'}}], ", self.address(name, "orderer1"))
            } else {
                String::new()
            };
            writeln!(text, "  - {{name: {name}, {orderers}peers: [{{name: peer1, address: '{peer}'}}]}}").unwrap();
        }
        let list = members.join(", ");
        writeln!(
            text,
            "  channels:\n  - name: {CHANNEL}\n    members: [{list}]\n    consensus: {{consenters: [acme/orderer1, \
             globex/orderer1, initech/orderer1]}}\n    batch: {{maxMessageCount: {}}}\n  chaincodes:\n  - {{name: assets, channel: \
             {CHANNEL}, version: \"1.0\", source: {{external: {{address: 'assets.example:9999'}}}}}}",
            self.batch
        )
        .unwrap();
        let (definition, findings) = document::parse(text.as_bytes(), "network.yaml");
        let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
        let facts = RepositoryFacts {
            organizations: self.members.keys().cloned().collect(),
            members: self.files.clone(),
            ..RepositoryFacts::default()
        };
        // Addresses of processes are loopback's, which validation refuses among several daemons.
        Network::resolve(&definition, &facts)
    }

    /// Every daemon reads the definition, as its sync loop does.
    async fn pull(&mut self, who: &[&str]) {
        let network = self.network();
        for name in who {
            let member = self.members.get_mut(*name).unwrap();
            let wanted = desired(&network, &Settings::of("trade", SYSTEM, &member.settings));
            for (name, material) in &wanted.materials {
                assert_eq!(material.refused, None);
                let entries = material.entries.iter().map(|(key, blob)| (key.clone(), blob.0.clone())).collect();
                member.store.put_config_map(SYSTEM, name, entries);
            }
            let found = &wanted.channels[CHANNEL];
            let spec = ChannelSpec::deserialize(&wanted.objects[&found.object].spec).unwrap();
            if let Some(Ok(founded)) = &found.founding {
                let pinned = Pinned { hash: founded.hash.clone(), block: founded.block.clone() };
                pin(member.store.as_ref(), SYSTEM, CHANNEL, BTreeMap::new(), &pinned).await.unwrap();
            }
            member.spec = Some(spec);
            member.chaincode = wanted.chaincodes.values().next().map(|chaincode| chaincode.spec.clone());
            member.definitions.read("trade", Behind::new());
        }
    }

    /// All these daemons at work, until each says that its channel is active and nothing is left to do.
    async fn settle(&mut self, who: &[&str]) {
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            let mut open = Vec::new();
            for name in who {
                let member = self.members.get_mut(*name).unwrap();
                let decision = member.turn().await;
                if decision.phase != ChannelPhase::Active || !decision.actions.is_empty() {
                    open.push(format!("{name}: {} {}", decision.phase, decision.outlook.verdict.message()));
                }
            }
            if open.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{open:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// These daemons at work, until their proposals of a topic are in a phase.
    async fn until(&mut self, who: &[&str], topic: &str, phase: ProposalPhase) {
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            let mut open = Vec::new();
            for name in who {
                let member = self.members.get_mut(*name).unwrap();
                member.turn().await;
                let found = member.proposals.values().find(|followed| followed.topic == topic);
                let last = found.and_then(|followed| followed.last.as_ref());
                if last.map(|last| last.phase) != Some(phase) {
                    open.push(format!("{name}: {last:?}"));
                }
            }
            if open.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{topic} {phase}: {open:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn vote(&mut self, name: &str, topic: &str, choice: VoteChoice) {
        let proposals = &mut self.members.get_mut(name).unwrap().proposals;
        let open = proposals.values_mut().find(|followed| followed.topic == topic && !followed.is_settled());
        open.unwrap_or_else(|| panic!("{name} has no open proposal of {topic}")).vote = Some(choice);
    }

    /// The peers of these members join, as far as they have not.
    async fn join(&mut self, who: &[&str]) {
        let end = Instant::now() + Duration::from_mins(2);
        for name in who {
            let address = self.address(name, "peer1");
            loop {
                let decision = self.members[*name].membership(&address).await;
                if decision.phase == MembershipPhase::Active {
                    break;
                }
                assert!(Instant::now() < end, "{name}: {decision:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Each of these installs the contract on its own peer and approves it.
    async fn approve(&self, who: &[&str]) {
        for name in who {
            let (member, address) = (&self.members[*name], self.address(name, "peer1"));
            let spec = member.chaincode.as_ref().unwrap();
            let package = package(spec).unwrap().unwrap();
            // Without its builder a real peer installs nothing, and the approval names no package.
            let installs = Programs::find().unwrap().have_builder();
            if !installs {
                println!("SKIPPED installing: there is no ccaas_builder beside the peer's program");
            }
            if installs {
                member.nodes.install(&member.peer(&address), &package).await.unwrap();
            }
            let call = approve_call(CHANNEL, &wanted(spec).unwrap(), 1, installs.then(|| package.id()));
            member.transact(&address, &call, &[]).await;
        }
    }

    /// One of them commits the contract, and everybody's peer says that it is so.
    async fn commit(&self, name: &str, endorsers: &[&str]) {
        let member = &self.members[name];
        let definition = wanted(member.chaincode.as_ref().unwrap()).unwrap();
        let others: Vec<(String, u16, String)> = endorsers
            .iter()
            .map(|name| {
                let target = &self.processes[&reference(name, "peer1")].address;
                let roots = self.members[*name].organization.roots.tls.cert_pem.clone();
                (target.host.clone(), target.port, roots)
            })
            .collect();
        member.transact(&self.address(name, "peer1"), &commit_call(CHANNEL, &definition, 1), &others).await;
        for (name, member) in &self.members {
            let peer = member.peer(&self.address(name, "peer1"));
            let end = Instant::now() + Duration::from_mins(1);
            loop {
                let seen = member.nodes.committed_chaincode(&peer, CHANNEL, "assets").await;
                if seen.value().is_some_and(|committed| committed.definition == definition) {
                    break;
                }
                assert!(Instant::now() < end, "{name}: {seen:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// The configuration in force, as a member's own or other members' orderers have it.
    async fn current(&self, name: &str) -> CurrentConfig {
        let member = &self.members[name];
        let parties = form::Parties::of(member.spec.as_ref().unwrap(), SYSTEM, &member.settings.organizations);
        let mut why = Vec::new();
        for node in parties.own.iter().chain(&parties.others) {
            match member.nodes.config_block(node, CHANNEL).await {
                Observation::Present { value } => return CurrentConfig::from_block(&value).unwrap(),
                other => why.extend(other.evidence().map(str::to_owned)),
            }
        }
        panic!("{why:?}");
    }
}

impl Followed {
    fn is_settled(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| matches!(last.phase, ProposalPhase::Committed | ProposalPhase::Superseded))
    }
}

impl Member {
    fn namespace(&self) -> String {
        format!("trade-{}", self.organization.name)
    }

    fn definition_awaited(&self) -> Option<String> {
        self.definitions.seen().awaited("trade", ObjectKind::Channel, CHANNEL)
    }

    fn seen(&self) -> Vec<ProposalSeen> {
        let seen = self.proposals.values().map(|followed| ProposalSeen {
            name: followed.topic.clone(),
            topic: followed.topic.clone(),
            digest: followed.update.digest(),
            phase: followed.last.as_ref().map(|last| last.phase),
            voted_down: followed.last.as_ref().is_some_and(|last| last.outlook.verdict.reason() == VOTED_DOWN),
            awaiting: Vec::new(),
            changes: Vec::new(),
            message: String::new(),
            block: None,
        });
        seen.collect()
    }

    /// One reconciliation of the channel and of every proposal that is open.
    async fn turn(&mut self) -> channel::Decision {
        self.ahead += 6;
        let spec = self.spec.clone().unwrap();
        let parties = form::Parties::of(&spec, SYSTEM, &self.settings.organizations);
        let proposals = self.seen();
        let mut seen = form::look(&self.nodes, SYSTEM, &spec, parties, &proposals).await;
        seen.view.definition_awaited = self.definition_awaited();
        let decision = channel::decide(&seen.view);
        for action in &decision.actions {
            if let channel::Action::Propose(topic) = action {
                let update = seen.updates.iter().find(|update| update.topic == *topic).unwrap().update.clone();
                let base = seen.config.value().unwrap().sequence;
                let followed = Followed {
                    topic: topic.clone(),
                    base,
                    signatures: Vec::new(),
                    attempt: None,
                    vote: None,
                    last: None,
                    update: update.clone(),
                };
                self.proposals.insert(update.digest(), followed);
            } else {
                form::perform(&self.nodes, SYSTEM, &spec, &seen, action).await.unwrap();
            }
        }
        let open: Vec<String> = self
            .proposals
            .iter()
            .filter(|(_, followed)| !followed.is_settled())
            .map(|(digest, _)| digest.clone())
            .collect();
        for digest in open {
            self.proposal(&spec, &digest).await;
        }
        decision
    }

    /// One reconciliation of a proposal.
    async fn proposal(&mut self, spec: &ChannelSpec, digest: &str) {
        let now = Timestamp::now() + SignedDuration::from_secs(self.ahead);
        let messages = self.messages.read(&self.url, &NONE, now).await.unwrap();
        let awaited = self.definition_awaited();
        let followed = self.proposals.get_mut(digest).unwrap();
        let msp_id = &self.organization.msp_id;
        let vote = followed.vote.map(|choice| ProposalVote {
            organization: self.organization.name.clone(),
            msp_id: msp_id.clone(),
            choice,
            reason: String::new(),
            vote: "vote".to_owned(),
        });
        let votes = vote.into_iter().map(|vote| (msp_id.clone(), vote)).collect();
        let place = Place {
            nodes: &self.nodes,
            namespace: SYSTEM,
            settings: &self.settings,
            spec,
            messages: Some(&messages),
            votes: &votes,
            now,
        };
        let live = Live::read(&self.nodes, SYSTEM, &self.settings, spec).await;
        let seen = look(&place, live, followed.base, followed.update.clone(), followed.signatures.clone()).await;
        let place = (SYSTEM.to_owned(), followed.topic.clone());
        let update = (CHANNEL, followed.topic.as_str(), digest);
        let mut view = View::unseen(place, update, followed.attempt.clone(), now);
        seen.complete(&mut view);
        view.definition_awaited = awaited;
        let decision = decide(&view, now);
        for action in &decision.actions {
            match action {
                Action::Sign(msp_id) => followed.signatures.push(seen.sign(&self.nodes, msp_id).await.unwrap()),
                Action::Submit => {
                    let answer = seen.submit(&self.nodes).await.unwrap();
                    followed.attempt = Some(Attempt { first: now, last: now, times: 1, answer });
                }
                Action::Publish => {
                    let message = seen.message(&self.nodes).await.unwrap();
                    drop(self.messages.publish(&self.url, &NONE, now, message).await.unwrap());
                }
                Action::Prune => drop(self.messages.prune(&self.url, &NONE, now, seen.folder()).await.unwrap()),
            }
        }
        followed.last = Some(decision);
    }

    fn peer(&self, address: &str) -> Node {
        Node {
            reference: reference(&self.organization.name, "peer1"),
            kind: NodeKind::Peer,
            msp_id: self.organization.msp_id.clone(),
            address: address.to_owned(),
            foreign: None,
        }
    }

    /// A transaction that its own peer endorses and, at their addresses, peers of others: `(host, port, TLS roots)`.
    async fn transact(&self, address: &str, call: &Call, others: &[(String, u16, String)]) {
        let (namespace, msp_id) = (self.namespace(), &self.organization.msp_id);
        let found = signing_identity(self.nodes.store(), &namespace, "identity-node-admin", msp_id).await;
        let identity = found.value().unwrap();
        let peer = self.peer(address);
        let spec = self.spec.as_ref().unwrap();
        let organizations = &self.settings.organizations;
        let mut orderers = form::own_consenters(spec, organizations);
        orderers.extend(form::foreign_consenters(spec, SYSTEM, organizations, &form::own_readers(spec, organizations)));
        let signed = SignedCall::new(call, identity, nonce().unwrap(), Timestamp::now()).unwrap();
        let mut endorsements = vec![self.nodes.endorse(&peer, &signed).await.unwrap()];
        for (host, port, roots) in others {
            endorsements
                .push(self.nodes.endorse_elsewhere((msp_id, host, *port), roots, &signed, identity).await.unwrap());
        }
        self.nodes.transact((&peer, &orderers), &signed, &endorsements, identity).await.unwrap();
    }

    /// One reconciliation of its membership.
    async fn membership(&self, address: &str) -> member::Decision {
        let spec = self.spec.as_ref().unwrap();
        let entry = spec.members.iter().find(|member| member.organization == self.organization.name).unwrap();
        let object = MembershipSpec {
            consortium: "trade".to_owned(),
            consortium_namespace: SYSTEM.to_owned(),
            channel: CHANNEL.to_owned(),
            organization: self.organization.name.clone(),
            msp_id: entry.msp_id.clone(),
            role: tenter_consortium::objects::MembershipRole::Follower,
            orderers: Vec::new(),
            peers: entry.peers.clone(),
        };
        let organizations = &self.settings.organizations;
        let readers = [(self.namespace(), entry.msp_id.clone())];
        let parties = join::Parties {
            consenters: form::own_consenters(spec, organizations),
            others: form::foreign_consenters(spec, SYSTEM, organizations, &readers),
            peers: vec![self.peer(address)],
            asked: member::Asked { named: true, ..member::Asked::default() },
            ..join::Parties::default()
        };
        let seen = join::look(&self.nodes, SYSTEM, &object, parties).await;
        let decision = member::decide(&seen.view);
        for action in &decision.actions {
            join::perform(&self.nodes, &object, &seen, action).await.unwrap();
        }
        decision
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn founders_form_a_channel_and_go_on_without_one_of_them() {
    let mut world = Consortium::new().await;
    for (name, member) in &world.members {
        for other in FOUNDERS.iter().filter(|other| *other != name) {
            use crate::nodes::store::Store as _;
            let key = member.store.secret(&format!("trade-{other}"), "identity-config-admin").await;
            assert!(key.is_absent(), "{name} holds a key of {other}");
        }
    }

    // Formed from the block that each has computed again.
    world.pull(&FOUNDERS).await;
    world.settle(&FOUNDERS).await;
    world.join(&FOUNDERS).await;
    assert_eq!(world.current("globex").await.config().sequence, 0);

    // Invited: its own daemon waits, and says for what. Two of three vote it in.
    world.invited = true;
    world.pull(&[FOUNDERS.as_slice(), &[LATER]].concat()).await;
    let topic = format!("member/{LATER}");
    world.until(&FOUNDERS, &topic, ProposalPhase::Collecting).await;
    let waiting = world.members.get_mut(LATER).unwrap().turn().await;
    assert_eq!((waiting.phase, waiting.outlook.verdict.reason()), (ChannelPhase::Pending, "GenesisMissing"));
    let address = world.address(LATER, "peer1");
    assert_eq!(world.members[LATER].membership(&address).await.phase, MembershipPhase::Invited);
    world.vote("acme", &topic, VoteChoice::Approve);
    world.until(&["acme"], &topic, ProposalPhase::Collecting).await;
    world.vote("globex", &topic, VoteChoice::Approve);
    world.until(&FOUNDERS, &topic, ProposalPhase::Committed).await;
    // It has no orderer: the block comes from those of others, and is the one that was pinned.
    world.settle(&[LATER]).await;
    world.join(&[LATER]).await;
    let everybody: Vec<&str> = FOUNDERS.into_iter().chain([LATER]).collect();
    world.settle(&everybody).await;
    assert_eq!(world.current(LATER).await.config().sequence, 1);

    // A contract: each installs and approves for itself, the newcomer by way of others' orderers; one commits it, endorsed by
    // peers of the others at their addresses.
    world.approve(&everybody).await;
    world.commit("globex", &["acme", LATER]).await;

    // Three of four sign another batch while the fourth's daemon is stopped.
    world.batch = 100;
    let running = ["acme", "globex", LATER];
    world.pull(&running).await;
    world.until(&running, "orderer-settings", ProposalPhase::Collecting).await;
    for name in running {
        world.vote(name, "orderer-settings", VoteChoice::Approve);
    }
    world.until(&running, "orderer-settings", ProposalPhase::Committed).await;
    assert_eq!(world.current("acme").await.config().orderer.batch.max_message_count, 100);

    // The fourth is started again, with the object of before: what the others agreed on is nothing to put back.
    let fourth = world.members.get_mut("initech").unwrap();
    fourth.definitions = followed();
    let decision = fourth.turn().await;
    assert_eq!(decision.outlook.verdict.reason(), "DefinitionNotSeen", "{decision:?}");
    assert!(fourth.proposals.values().all(|followed| followed.topic != "orderer-settings"));
    world.pull(&["initech"]).await;
    world.settle(&["initech"]).await;

    // Two of four reject the next: nobody can make it pass.
    world.batch = 50;
    world.pull(&everybody).await;
    for member in world.members.values_mut() {
        member.proposals.clear();
    }
    world.until(&everybody, "orderer-settings", ProposalPhase::Collecting).await;
    world.vote("initech", "orderer-settings", VoteChoice::Reject);
    world.vote("globex", "orderer-settings", VoteChoice::Reject);
    world.until(&everybody, "orderer-settings", ProposalPhase::Rejected).await;
    world.batch = 100;
    world.pull(&everybody).await;

    // The one who began it is lost for good, daemon and nodes; the others go on.
    for (_, process) in world.processes.iter_mut().filter(|(node, _)| node.namespace == "trade-acme") {
        process.stop().await.unwrap();
    }
    let left = ["globex", "initech", LATER];
    world.batch = 20;
    world.pull(&left).await;
    for member in world.members.values_mut() {
        member.proposals.clear();
    }
    world.until(&left, "orderer-settings", ProposalPhase::Collecting).await;
    for name in left {
        world.vote(name, "orderer-settings", VoteChoice::Approve);
    }
    world.until(&left, "orderer-settings", ProposalPhase::Committed).await;
    assert_eq!(world.current(LATER).await.config().orderer.batch.max_message_count, 20);
    drop(world.folder);
}
