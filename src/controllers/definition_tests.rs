//! A daemon that comes back after the members have changed a channel and its definition: the controllers with their driver on
//! Fabric processes, and an API server in memory.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use tenter_consortium::status::{ChannelPhase, ObjectStatus as _, ProposalPhase};

use super::api_world::ApiServer;
use super::daemon_world::{Daemon, channel, consortium, ready};
use super::definitions::{Behind, DEFINITION_NOT_SEEN};
use super::process_world::{CHANNEL, SYSTEM, World};
use crate::nodes::identity::signing_identity;
use crate::nodes::nonce;
use crate::resources::{Channel, Proposal};

/// The members bring the channel to its new definition.
async fn commit(world: &World) {
    let update = world.look().await.updates[0].update.clone();
    let identity = async |name: &str| {
        let found = signing_identity(world.nodes.store(), "trade-hub", name, "HubMSP").await;
        found.value().cloned().unwrap()
    };
    let signature = update.sign(&identity("identity-config-admin").await, nonce().unwrap()).unwrap();
    let reader = identity("identity-reader").await;
    let end = Instant::now() + Duration::from_mins(2);
    while !world.look().await.updates.is_empty() {
        // An election may lose what an orderer has taken; the same bytes again change nothing twice.
        let said = world.nodes.submit(&world.own()[0], &update, std::slice::from_ref(&signature), &reader).await;
        assert!(Instant::now() < end, "it is not committed: {said:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_comes_back_puts_nothing_back_that_was_agreed_on() {
    let mut world = World::new().await;
    world.until(ChannelPhase::Active).await;
    let api = ApiServer::default();
    api.put(&consortium());
    api.put(&channel(&world.spec));
    world.spec.batch.timeout = "7s".to_owned();
    commit(&world).await;
    let reason = || {
        let found = api.all::<Channel>(SYSTEM);
        ready(found[0].status.as_ref().unwrap().conditions()).to_owned()
    };

    // Its object says what was so before: nothing is proposed by that, until the definition was seen.
    let daemon = Daemon::new(&world, &api);
    daemon.ctx.definitions.follow(None);
    let pause = daemon.channels.reconcile(SYSTEM, CHANNEL).await.unwrap();
    assert_eq!(reason(), DEFINITION_NOT_SEEN);
    assert!(pause <= Duration::from_secs(2), "{pause:?}");
    assert!(api.all::<Proposal>(SYSTEM).is_empty());

    // Controllers that follow no repository take objects as they are, and propose.
    Daemon::new(&world, &api).channels.reconcile(SYSTEM, CHANNEL).await;
    let proposed = api.all::<Proposal>(SYSTEM);
    assert_eq!((reason().as_str(), proposed.len()), ("Updating", 1));
    let name = proposed[0].name_any();
    // What they proposed is not signed here.
    daemon.proposals.reconcile(SYSTEM, &name).await;
    let status = api.all::<Proposal>(SYSTEM)[0].status.clone().unwrap();
    assert_eq!(ready(&status.conditions), DEFINITION_NOT_SEEN);
    assert!(status.signatures.is_empty(), "{status:?}");

    // The sync loop has read the repository and written the object.
    api.put(&channel(&world.spec));
    daemon.ctx.definitions.read("trade", Behind::new());
    daemon.channels.reconcile(SYSTEM, CHANNEL).await;
    assert_eq!(reason(), "Ordering");
    daemon.proposals.reconcile(SYSTEM, &name).await;
    let status = api.all::<Proposal>(SYSTEM)[0].status.clone().unwrap();
    assert_eq!((status.phase, ready(&status.conditions)), (Some(ProposalPhase::Superseded), "NotWanted"));
    assert!(status.signatures.is_empty(), "{status:?}");
}
