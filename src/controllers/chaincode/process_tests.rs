//! A chaincode on Fabric processes: what is decided about what a peer that lags behind does not know, and what becomes of a
//! commit that another member's daemon was faster with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;
use tenter_consortium::chaincode::{Lifecycle, Progress, package, package_id, progress, wanted};
use tenter_consortium::objects::{ChaincodeSpec, ChannelMember};
use tenter_consortium::observation::Observation;
use tenter_consortium::status::ChannelPhase;
use tenter_fabric::chaincode::lifecycle::{approve_call, commit_call};
use tenter_fabric::chaincode::transaction::{Call, SignedCall};

use tenter_fabric_testnet::Programs;

use super::act::perform;
use super::decide::{Action, Decision, View, decide};
use super::look::{Observed, look as look_at};
use crate::controllers::api_world::ApiServer;
use crate::controllers::process_world::{CHANNEL, SYSTEM, World};
use crate::controllers::{Context, Failure, Scope};
use crate::nodes::identity::signing_identity;
use crate::nodes::{Node, nonce};
use crate::observe::chaincode::{look, own_peers};
use crate::resources::{Chaincode, Channel, Consortium};

/// A channel of one member with one peer, and a contract on it.
struct Lagging {
    world: World,
    spec: ChaincodeSpec,
    peer: Node,
}

impl Lagging {
    /// The peer has joined and has the package; nothing is approved. Nothing where a real peer has no builder for it.
    async fn new() -> Option<Self> {
        let world = World::new().await;
        world.until(ChannelPhase::Active).await;
        world.joined(&world.spec.members[0]).await;
        let spec: ChaincodeSpec = serde_json::from_value(serde_json::json!({
            "consortium": "trade", "channel": CHANNEL, "name": "assets", "version": "1.0",
            "source": {"external": {"address": "assets.example:9999"}},
            "members": [{
                "organization": "acme", "mspID": world.acme.msp_id, "namespace": "trade-acme", "peers": ["peer1"],
            }],
        }))
        .unwrap();
        let peer = own_peers(&spec, &["*".to_owned()]).remove(0);
        if !Programs::find().unwrap().have_builder() {
            println!("SKIPPED a peer that lags behind: there is no ccaas_builder beside the peer's program");
            return None;
        }
        world.nodes.install(&peer, &package(&spec).unwrap().unwrap()).await.unwrap();
        Some(Self { world, spec, peer })
    }

    /// What is decided where own orderers have so many blocks; 0 where none is asked.
    async fn decision(&self, tip: u64) -> Decision {
        let (spec, definition) = (&self.spec, wanted(&self.spec).unwrap());
        let tip = std::future::ready(tip).boxed();
        let seen = look(&self.world.nodes, (SYSTEM, spec, &["*".to_owned()]), &definition, tip).await;
        let hosted = BTreeSet::from(["acme".to_owned()]);
        let found = progress(spec, &definition, &package_id(spec).unwrap(), &seen.observed, &hosted);
        let endorsers = BTreeSet::from([self.world.acme.msp_id.clone()]);
        decide(&View {
            progress: found.map_or_else(|| seen.observed.committed.unseen(), |value| Observation::Present { value }),
            defined: seen.observed.committed.value().is_some(),
            lifecycle: Observation::Present {
                value: Lifecycle { required: "acme".to_owned(), endorsers: Some(endorsers) },
            },
            refused: Vec::new(),
            went_back: None,
            initialized: Observation::Present { value: true },
            outside: seen.outside,
            services: BTreeMap::new(),
            left: Vec::new(),
            definition_awaited: None,
        })
    }

    /// Waits until what is decided is this: the actions in a word each, and a part of the message.
    async fn until(&self, tip: u64, actions: &[&str], part: &str) {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let decision = self.decision(tip).await;
            let message = decision.outlook.verdict.message();
            if words(&decision) == actions && message.contains(part) {
                return;
            }
            assert!(Instant::now() < end, "{actions:?} {part}: {decision:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Has the peer endorse a call, and the orderers put it into a block while the peer is down. Then the peer runs again, and
    /// no orderer that could give it the block. Gives how many blocks there are.
    async fn fall_behind(&mut self, call: &Call) -> u64 {
        let (world, peer) = (&mut self.world, &self.peer);
        let store = world.nodes.store();
        let identity = signing_identity(store, &peer.reference.namespace, "identity-node-admin", &peer.msp_id).await;
        let identity = identity.value().unwrap().clone();
        let call = SignedCall::new(call, &identity, nonce().unwrap(), Timestamp::now()).unwrap();
        let endorsed = world.nodes.endorse(peer, &call).await.unwrap();
        let orderers = world.own();
        let before = height(world, &orderers[0]).await;
        world.processes.get_mut(&peer.reference).unwrap().stop().await.unwrap();
        // The orderers take it; what came of it nobody can tell without the peer.
        world.nodes.transact((peer, &orderers), &call, &[endorsed], &identity).await.unwrap_err();
        let end = Instant::now() + Duration::from_mins(1);
        let tip = loop {
            let tip = height(world, &orderers[0]).await;
            if tip > before {
                break tip;
            }
            assert!(Instant::now() < end, "the orderers make no block");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        for orderer in &orderers {
            world.processes.get_mut(&orderer.reference).unwrap().stop().await.unwrap();
        }
        world.processes.get_mut(&peer.reference).unwrap().start().await.unwrap();
        tip
    }

    /// Starts the orderers again.
    async fn resume(&mut self) {
        for orderer in self.world.own() {
            self.world.processes.get_mut(&orderer.reference).unwrap().start().await.unwrap();
        }
    }
}

async fn height(world: &World, orderer: &Node) -> u64 {
    world.nodes.orderer_channel(orderer, CHANNEL).await.value().map_or(0, |channel| channel.height)
}

fn words(decision: &Decision) -> Vec<&'static str> {
    let word = |action: &Action| match action {
        Action::Issue(_) => "issue",
        Action::Apply(_) => "apply",
        Action::Install(_) => "install",
        Action::Approve { .. } => "approve",
        Action::Commit { .. } => "commit",
        Action::Initialize => "initialize",
        Action::Remove { .. } => "remove",
    };
    decision.actions.iter().map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_late_peer_does_not_know_is_not_done_again() {
    let Some(mut late) = Lagging::new().await else { return };
    late.until(0, &["approve"], "").await;

    // Approved, in a block that the organization's only peer does not have.
    let (definition, package) = (wanted(&late.spec).unwrap(), package_id(&late.spec).unwrap());
    let tip = late.fall_behind(&approve_call(CHANNEL, &definition, 1, Some(&package))).await;
    late.until(tip, &[], &format!("of {tip} blocks of channel {CHANNEL}")).await;
    // It is the blocks of others that tell: the peer itself says that nothing is approved.
    late.until(0, &["approve"], "").await;
    late.resume().await;
    late.until(tip, &["commit"], "").await;

    // Committed, and the peer does not know that either.
    let tip = late.fall_behind(&commit_call(CHANNEL, &definition, 1)).await;
    late.until(tip, &[], &format!("of {tip} blocks of channel {CHANNEL}")).await;
    late.until(0, &["commit"], "").await;
    late.resume().await;
    late.until(tip, &[], "is in force at sequence 1").await;
}

/// A daemon that acts for the orderers and one member, with the controller's own look and act.
struct Daemon {
    ctx: Context,
    scope: Scope,
    object: Chaincode,
}

impl Daemon {
    fn new(world: &World, organization: &str) -> Self {
        let api = ApiServer::default();
        let mut channel = Channel::new(CHANNEL, world.spec.clone());
        channel.metadata.namespace = Some(SYSTEM.to_owned());
        api.put(&channel);
        let settings = serde_json::json!({
            "source": {"repository": "file:///nowhere"}, "organizations": ["hub", organization],
            "namespaces": {"allowed": ["trade-*"]}, "chaincodeServers": ["assets.example:9999"],
        });
        let consortium = Consortium::new("trade", serde_json::from_value(settings).unwrap());
        let member = |member: &ChannelMember| {
            serde_json::json!({
                "organization": member.organization, "mspID": member.msp_id, "namespace": member.namespace,
                "peers": member.peers,
            })
        };
        let spec = serde_json::json!({
            "consortium": "trade", "channel": CHANNEL, "name": "assets", "version": "1.0",
            "source": {"external": {"address": "assets.example:9999"}},
            "members": world.spec.members.iter().map(member).collect::<Vec<_>>(),
        });
        let mut object = Chaincode::new("trade-assets", serde_json::from_value(spec).unwrap());
        object.metadata.namespace = Some(SYSTEM.to_owned());
        let ctx = Context::new(api.client(), SYSTEM);
        let scope = Scope { consortium, definitions: ctx.definitions.seen() };
        Self { ctx, scope, object }
    }

    async fn look(&self, world: &World) -> Observed {
        look_at(&self.ctx, &self.scope, &world.nodes, &self.object).await.unwrap()
    }

    async fn perform(&self, world: &World, seen: &Observed, action: &Action) -> Result<(), Failure> {
        perform(&self.ctx, &world.nodes, &self.object, seen, action).await
    }

    /// Looks again until there is nothing left to do: the definition is in force at this sequence.
    async fn is_done(&self, world: &World, sequence: i64) {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let decision = decide(&self.look(world).await.view);
            let message = decision.outlook.verdict.message();
            if decision.actions.is_empty() && message.contains(&format!("is in force at sequence {sequence}")) {
                return;
            }
            assert!(Instant::now() < end, "{decision:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Has the daemons install and approve until each has decided to commit; gives what each saw, and its decision.
async fn about_to_commit(world: &World, daemons: &[Daemon; 2]) -> [(Observed, Action); 2] {
    let end = Instant::now() + Duration::from_mins(2);
    loop {
        let seen = [daemons[0].look(world).await, daemons[1].look(world).await];
        let decisions = [decide(&seen[0].view), decide(&seen[1].view)];
        if let [[Action::Commit { .. }], [Action::Commit { .. }]] =
            [&decisions[0], &decisions[1]].map(|decision| decision.actions.as_slice())
        {
            let mut actions = decisions.into_iter().flat_map(|decision| decision.actions);
            return seen.map(|seen| (seen, actions.next().unwrap()));
        }
        assert!(Instant::now() < end, "{decisions:?}");
        for ((daemon, seen), decision) in daemons.iter().zip(&seen).zip(&decisions) {
            for action in decision.actions.iter().filter(|action| !matches!(action, Action::Commit { .. })) {
                daemon.perform(world, seen, action).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_looked_up_again_and_is_done() {
    if !Programs::find().unwrap().have_builder() {
        println!("SKIPPED commits that lose a race: there is no ccaas_builder beside the peer's program");
        return;
    }
    let world = World::with_peers_of(&["globex"]).await;
    world.until(ChannelPhase::Active).await;
    for member in &world.spec.members {
        world.joined(member).await;
    }
    let mut daemons = [Daemon::new(&world, "acme"), Daemon::new(&world, "globex")];

    // Both are endorsed before either is in a block: the ledger takes one.
    let [(acme, acme_commits), (globex, globex_commits)] = Box::pin(about_to_commit(&world, &daemons)).await;
    let (first, second) = tokio::join!(
        daemons[0].perform(&world, &acme, &acme_commits),
        daemons[1].perform(&world, &globex, &globex_commits),
    );
    let ((Ok(()), Err(lost)) | (Err(lost), Ok(()))) = (&first, &second) else { unreachable!("{first:?} {second:?}") };
    assert_eq!(lost.reason, "Transaction");
    assert!(lost.message.contains("is invalid: MVCC_READ_CONFLICT"), "{lost:?}");
    assert!(!lost.terminal);
    for daemon in &daemons {
        daemon.is_done(&world, 1).await;
    }

    // The other one commits between look and commit: the peers refuse.
    for daemon in &mut daemons {
        daemon.object.spec.version = "1.1".to_owned();
    }
    let [(acme, acme_commits), (globex, globex_commits)] = Box::pin(about_to_commit(&world, &daemons)).await;
    daemons[1].perform(&world, &globex, &globex_commits).await.unwrap();
    let lost = daemons[0].perform(&world, &acme, &acme_commits).await.unwrap_err();
    assert_eq!(lost.reason, "Transaction");
    assert!(lost.message.contains("sequence"), "{lost:?}");
    assert!(!lost.terminal);
    for daemon in &daemons {
        daemon.is_done(&world, 2).await;
    }
}

/// A member that approved may be gone for good: others who approved endorse instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_anchor_is_done_without() {
    if !Programs::find().unwrap().have_builder() {
        println!("SKIPPED a commit without a member: there is no ccaas_builder beside the peer's program");
        return;
    }
    let world = World::with_peers_of(&["globex", "initech"]).await;
    world.until(ChannelPhase::Active).await;
    for member in &world.spec.members {
        world.joined(member).await;
    }
    let daemons = ["acme", "globex", "initech"].map(|name| Daemon::new(&world, name));
    let end = Instant::now() + Duration::from_mins(2);
    let (mut seen, commit) = loop {
        for daemon in &daemons {
            let seen = daemon.look(&world).await;
            let actions = decide(&seen.view).actions;
            for action in actions.iter().filter(|action| !matches!(action, Action::Commit { .. })) {
                daemon.perform(&world, &seen, action).await.unwrap();
            }
        }
        let seen = daemons[0].look(&world).await;
        let approved = seen.view.progress.value().map(Progress::approved).unwrap_or_default();
        let commit = decide(&seen.view).actions.into_iter().find(|action| matches!(action, Action::Commit { .. }));
        match commit {
            Some(commit) if approved.len() == 3 => break (seen, commit),
            other => assert!(Instant::now() < end, "{approved:?} {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // All others gone, nobody is left to do without.
    let anchors = std::mem::take(&mut seen.anchors);
    let failed = daemons[0].perform(&world, &seen, &commit).await.unwrap_err();
    assert!(failed.message.contains("no anchor peer"), "{failed:?}");
    seen.anchors = anchors;
    let Action::Commit { endorsers, .. } = &commit else { unreachable!() };
    let chosen = endorsers.iter().find(|msp_id| *msp_id != "AcmeMSP").expect("a majority of three").clone();
    for anchor in &mut seen.anchors.get_mut(&chosen).expect("its anchors").0 {
        *anchor = ("127.0.0.1".to_owned(), 1);
    }
    daemons[0].perform(&world, &seen, &commit).await.unwrap();
    for daemon in &daemons {
        daemon.is_done(&world, 1).await;
    }
}
