//! A channel from nothing to peers that have joined, on Fabric processes: what the controllers do, without
//! a Kubernetes in between.

use std::time::{Duration, Instant};

use tenter_consortium::status::{ChannelPhase, MembershipPhase};

use super::{decide, form};
use crate::controllers::follow::Followers;
use crate::controllers::process_world::{CHANNEL, SYSTEM, World, reference};
use crate::nodes::store::Entries;

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_forms_and_survives_what_goes_wrong() {
    let mut world = World::new().await;

    // An orderer that is down is unreachable, not absent: nothing is pinned.
    let first = reference("hub", "orderer1");
    world.processes.get_mut(&first).unwrap().stop().await.unwrap();
    let decision = world.channel(usize::MAX).await;
    assert_eq!(decision.outlook.verdict.reason(), "OrdererUnreachable", "{decision:?}");
    assert_eq!(world.store.writes(), 0);
    world.processes.get_mut(&first).unwrap().start().await.unwrap();

    let decision = world.channel(usize::MAX).await;
    assert_eq!(decision.actions, [decide::Action::Pin], "{decision:?}");
    // A pass that stops after the first join; the next one completes it.
    let decision = world.channel(1).await;
    assert_eq!(decision.actions.len(), 3, "{decision:?}");
    let decision = world.channel(usize::MAX).await;
    assert_eq!(decision.outlook.verdict.reason(), "JoiningOrderers");
    let joins = decision.actions.iter().filter(|action| matches!(action, decide::Action::Join(_))).count();
    assert_eq!(joins, 2, "{decision:?}");

    let decision = world.until(ChannelPhase::Active).await;
    assert_eq!(decision.outlook.verdict.reason(), "Ordering", "{decision:?}");

    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let decision = world.membership().await;
        if decision.phase == MembershipPhase::Active && decision.actions.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "{decision:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // In sync: nothing is written.
    let writes = world.store.writes();
    assert!(world.channel(usize::MAX).await.actions.is_empty());
    assert!(world.membership().await.actions.is_empty());
    assert_eq!(world.store.writes(), writes);

    // Two of three gone: participation of the third still says active.
    for name in ["orderer1", "orderer2"] {
        world.processes.get_mut(&reference("hub", name)).unwrap().stop().await.unwrap();
    }
    let decision = world.until(ChannelPhase::Degraded).await;
    assert_eq!(decision.outlook.verdict.reason(), "QuorumLost", "{decision:?}");
    // Config blocks are followed by whichever node answers; the genesis block is one.
    let followers = Followers::default();
    let mut changes = followers.changes();
    followers.follow(&world.nodes, CHANNEL, world.own(), 0);
    tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
    for name in ["orderer1", "orderer2"] {
        world.processes.get_mut(&reference("hub", name)).unwrap().start().await.unwrap();
    }
    world.until(ChannelPhase::Active).await;

    // The record outlives the volume.
    let emptied = world.processes.get_mut(&first).unwrap();
    emptied.stop().await.unwrap();
    std::fs::remove_dir_all(world.folder.path().join("hub/orderer1/data")).unwrap();
    std::fs::create_dir_all(world.folder.path().join("hub/orderer1/data")).unwrap();
    world.processes.get_mut(&first).unwrap().start().await.unwrap();
    let decision = world.until(ChannelPhase::Active).await;
    assert_eq!(decision.outlook.verdict.reason(), "DataLost", "{decision:?}");
    assert!(decision.outlook.verdict.message().contains("trade-hub/orderer1"));

    // A setting that differs is shown, and changes nothing.
    world.store.put_config_map("trade-hub", "orderer1-ledgers", Entries::new());
    world.spec.batch.timeout = "1s".to_owned();
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let seen = world.look().await;
        let decision = decide::decide(&seen.view);
        if decision.phase == ChannelPhase::Updating {
            assert!(decision.actions.contains(&decide::Action::Propose("orderer-settings".to_owned())), "{decision:?}");
            let changes = &seen.updates[0].changes;
            assert!(changes.iter().any(|change| change.from.as_deref() == Some("2s")), "{changes:?}");
            break;
        }
        assert!(Instant::now() < end, "{decision:?}");
        for action in &decision.actions {
            form::perform(&world.nodes, SYSTEM, &world.spec, &seen, action).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
