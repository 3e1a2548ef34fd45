//! An update that cannot be undone, and plans in which it is approved, or another one: the controllers with their driver on
//! Fabric processes, an API server in memory, and plans that are carried out there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use tenter_consortium::objects::{ANNOTATION_APPROVED, NamespaceSettings};
use tenter_consortium::plan::{Effects, Plan, PlannedStep, Signing, Step, StepApproval, StepId};
use tenter_consortium::status::{ChannelPhase, ProposalPhase};
use tenter_fabric::config::CurrentConfig;
use tokio_util::sync::CancellationToken;

use super::api_world::ApiServer;
use super::daemon_world::{Daemon, channel, consortium, ready};
use super::process_world::{CHANNEL, SYSTEM, World};
use crate::execute::execute;
use crate::execute::objects::Cluster;
use crate::resources::Proposal;

/// A plan of one step, the update with this digest; approved or not.
fn plan(digest: &str, given: bool) -> Plan {
    let step = Step::UpdateChannelConfig {
        channel: CHANNEL.to_owned(),
        topic: "capabilities".to_owned(),
        changes: Vec::new(),
        elements: Vec::new(),
        signing: Signing::default(),
        digest: Some(digest.to_owned()),
        drift: Vec::new(),
    };
    let planned = PlannedStep {
        step,
        needs: BTreeSet::new(),
        reasons: Vec::new(),
        blocked: None,
        unseen: None,
        irreversible: Some("for good".to_owned()),
        effects: Effects::default(),
        approval: Some(StepApproval { given, ..StepApproval::default() }),
    };
    Plan {
        format: 1,
        consortium: "trade".to_owned(),
        revision: None,
        steps: BTreeMap::from([(StepId("update".to_owned()), planned)]),
        notes: Vec::new(),
        hash: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_lets_exactly_the_update_be_signed_that_is_approved_in_it() {
    let mut world = World::new().await;
    world.spec.capabilities.application = "V2_0".to_owned();
    world.until(ChannelPhase::Active).await;
    world.spec.capabilities.application = "V2_5".to_owned();
    let api = ApiServer::default();
    api.put(&consortium());
    api.put(&channel(&world.spec));
    let daemon = Daemon::new(&world, &api);
    daemon.channels.reconcile(SYSTEM, CHANNEL).await;
    let proposal = || api.all::<Proposal>(SYSTEM).remove(0);
    let (name, digest) = (proposal().name_any(), proposal().spec.digest.clone());
    assert_eq!(proposal().spec.topic, "capabilities");
    let status = async || {
        daemon.proposals.reconcile(SYSTEM, &name).await;
        proposal().status.unwrap()
    };
    let carry_out = async |digest: &str, given: bool| {
        let writer = Cluster { ctx: &daemon.ctx, namespaces: &NamespaceSettings::default() };
        let before = daemon.ctx.writes.total();
        let execution = execute(&writer, &plan(digest, given), &CancellationToken::new(), &mut |_, _| {}).await;
        assert_eq!(execution.failure(), None);
        daemon.ctx.writes.total() - before
    };
    let waits = async || {
        let status = status().await;
        assert_eq!((ready(&status.conditions), status.signatures.len()), ("ApprovalNeeded", 0), "{status:?}");
    };
    waits().await;
    assert_eq!(carry_out(&digest, false).await, 0, "nobody approved it");
    assert_eq!(carry_out(&"0".repeat(64), true).await, 0, "another update is approved, which is not proposed");
    // One whose Proposal would have the same name.
    let alike = format!("{}{}", &digest[..10], "0".repeat(54));
    assert_eq!(carry_out(&alike, true).await, 0, "the name is no proof");
    waits().await;
    assert_eq!(carry_out(&digest, true).await, 1);
    assert_eq!(proposal().annotations().get(ANNOTATION_APPROVED), Some(&digest));
    assert_eq!(carry_out(&digest, true).await, 0, "it is written once");
    let end = Instant::now() + Duration::from_mins(1);
    while status().await.phase != Some(ProposalPhase::Committed) {
        assert!(Instant::now() < end, "{:?}", proposal().status);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let block = world.nodes.config_block(&world.own()[0], CHANNEL).await;
    let config = CurrentConfig::from_block(block.value().unwrap()).unwrap();
    assert_eq!(config.config().application.capabilities, BTreeSet::from(["V2_5".to_owned()]));
}
