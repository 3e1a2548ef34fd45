//! Consenters of a live channel: they come and go one at a time, and the channel goes on meanwhile.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::Api;
use serde_json::json;
use tenter_fabric::config::{ChannelConfig, Consensus};

use crate::changes::{KILLS, channel_status, configuration, converge, in_sync, nothing_is_doubled, proposals};
use crate::scenarios::{announce, example, plan};
use crate::world::World;

/// Names of the orderers of a configuration, in its order.
fn consenters(config: &ChannelConfig) -> Vec<String> {
    let Consensus::EtcdRaft { consenters, .. } = &config.orderer.consensus else { panic!("it is a Raft channel") };
    consenters.iter().map(|one| one.host.split('.').next().unwrap_or_default().to_owned()).collect()
}

/// The steps of a plan that change the consenters, in order: what they need, and what they say.
fn steps(plan: &serde_json::Value) -> Vec<(String, String)> {
    let steps = plan["steps"].as_object().expect("steps");
    let own = steps.iter().filter(|(id, _)| id.starts_with("channel-config/settlement/consenters"));
    own.map(|(id, step)| (id.clone(), step["needs"].to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn consenters_come_and_go_one_at_a_time() {
    announce("consenters");
    let world = World::new("raft").await;
    world.consortium(json!({})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;
    assert_eq!(consenters(configuration(&world).await.config()), ["orderer1", "orderer2", "orderer3"]);

    // Two more in one commit: two updates, each for an orderer that follows the channel already.
    let more = file.replace("[orderer1, orderer2, orderer3]", "[orderer1, orderer2, orderer3, orderer4, orderer5]");
    std::fs::write(world.repository().join("network.yaml"), &more).expect("the definition");
    let (code, before) = plan(&world);
    let planned = steps(&before);
    assert_eq!((code, planned.len()), (2, 2), "{before}");
    assert!(planned[0].1.contains("join-orderer/settlement"), "it follows first: {planned:?}");
    assert!(
        planned[1].1.contains("channel-config/settlement/orderer-organization/hub"),
        "after the first: {planned:?}"
    );
    world.kill_again_and_again(KILLS / 2);
    converge(&world, &more).await;
    let live = configuration(&world).await;
    assert_eq!(consenters(live.config()), ["orderer1", "orderer2", "orderer3", "orderer4", "orderer5"]);
    assert_eq!(live.config().orderer.organizations["hub"].endpoints.len(), 5, "clients are told");
    in_sync(&world).await;

    // Two go by their tombstones, one of them a founder. Their volumes stay.
    let fewer = file.replace("[orderer1, orderer2, orderer3]", "[orderer1, orderer3, orderer4]");
    let fewer = format!("{}\n  retired:\n    - orderer: hub/orderer2\n    - orderer: hub/orderer5\n", fewer.trim_end());
    std::fs::write(world.repository().join("network.yaml"), &fewer).expect("the definition");
    let (_, before) = plan(&world);
    assert_eq!(steps(&before).len(), 2, "{before}");
    let hub = world.organization("hub");
    let gone = &before["steps"][format!("remove/orderer/{hub}/orderer2")];
    assert!(gone["blocked"].is_null() && gone["needs"].to_string().contains("consenters"), "{before}");
    world.kill_again_and_again(KILLS - KILLS / 2);
    converge(&world, &fewer).await;
    let live = configuration(&world).await;
    assert_eq!(consenters(live.config()), ["orderer1", "orderer3", "orderer4"]);
    assert_eq!(live.config().orderer.organizations["hub"].endpoints.len(), 3);
    let sets = Api::<StatefulSet>::namespaced(world.client.clone(), &hub);
    let claims = Api::<PersistentVolumeClaim>::namespaced(world.client.clone(), &hub);
    for name in ["orderer2", "orderer5"] {
        world
            .eventually(&format!("{name} to be gone"), async || match sets.get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            })
            .await;
        claims.get(&format!("data-{name}-0")).await.expect("its volume stays");
    }
    world.joined(&world.organization("acme"), "settlement").await;
    in_sync(&world).await;
    let topics: Vec<String> = proposals(&world).await.into_iter().map(|(_, topic, _)| topic).collect();
    assert_eq!(topics.iter().filter(|topic| *topic == "consenters").count(), 4, "{topics:?}");
    assert_eq!(channel_status(&world).await["configSequence"], topics.len(), "{topics:?}");
    nothing_is_doubled(&world).await;
}
