//! From a push to a plan, and to a channel that all peers of the example network have joined; from the push of a third organisation to its peer having joined;
//! from the push of a contract to its first answer; and what the daemon holds in memory when it is idle. Beside it, in the same run, what Fabric's own
//! programs need by hand: for the network as processes, for the contract on the same nodes.
//!
//! Needs a cluster with the images of `deploy/images`: `make bench` sees to both.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::expect_used, clippy::panic, reason = "the world ends with the message of what went wrong")]

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

#[path = "../tests/e2e/world.rs"]
#[expect(dead_code, reason = "the scenarios use more of the world than the measurement")]
mod world;

use world::World;

/// Runs of the whole; the median is printed.
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    println!("Fabric is {}", world::fabric());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut plans = Vec::new();
    let mut totals = Vec::new();
    let mut starts = Vec::new();
    let mut joins = Vec::new();
    let mut answers = Vec::new();
    let mut contracts = Vec::new();
    let mut idle = Vec::new();
    for round in 0..ROUNDS {
        let Round { plan, total, pods, joined, answered, by_hand, memory } = runtime.block_on(converge(round))?;
        println!(
            "round {round}: push to plan {:.2} s, push to converged {:.2} s, its Pods alone {:.2} s, third organisation joined \
             {:.2} s, contract answered {:.2} s, by hand {}, idle {memory:.1} MiB",
            plan.as_secs_f64(),
            total.as_secs_f64(),
            pods.as_secs_f64(),
            joined.as_secs_f64(),
            answered.as_secs_f64(),
            by_hand.map_or_else(|| "not measured".to_owned(), |seconds| format!("{seconds:.2} s")),
        );
        plans.push(plan);
        totals.push(total);
        starts.push(pods);
        joins.push(joined);
        answers.push(answered);
        contracts.extend(by_hand);
        idle.push(memory);
    }
    plans.sort();
    totals.sort();
    starts.sort();
    joins.sort();
    answers.sort();
    contracts.sort_by(f64::total_cmp);
    idle.sort_by(f64::total_cmp);
    let total = totals[ROUNDS / 2].as_secs_f64();
    let answer = answers[ROUNDS / 2].as_secs_f64();
    println!(
        "median: push to plan {:.2} s, push to converged {total:.2} s, third organisation joined {:.2} s, push of a contract to \
         its first answer {answer:.2} s, idle daemon {:.1} MiB",
        plans[ROUNDS / 2].as_secs_f64(),
        joins[ROUNDS / 2].as_secs_f64(),
        idle[ROUNDS / 2]
    );
    match by_hand()? {
        Some(ByHand { total: seconds, nodes }) => {
            let pods = starts[ROUNDS / 2].as_secs_f64();
            // The same commands, where the programs are started by Kubernetes and not by a shell. Its volumes are there already.
            let in_pods = seconds - nodes + pods;
            println!(
                "by hand {seconds:.2} s as processes, of which {nodes:.2} s start the nodes; Kubernetes needs {pods:.2} s to start the \
                 same Pods, so {in_pods:.2} s by hand in Pods; push to converged is {:.1} times the first and {:.1} times the second",
                total / seconds,
                total / in_pods
            );
        }
        None => println!("by hand: not measured, Fabric's programs are not there (FABRIC_BIN_DIR)"),
    }
    match contracts.get(contracts.len() / 2) {
        Some(seconds) => println!(
            "the contract by hand, on the same nodes and as a Pod too, {seconds:.2} s; its push is {:.1} times that",
            answer / seconds
        ),
        None => println!(
            "the contract by hand: not measured; it needs Fabric's peer (FABRIC_BIN_DIR) and the dev cluster (TENTER_BENCH_CLUSTER)"
        ),
    }
    Ok(())
}

/// What one network took.
struct Round {
    /// From the push to the plan.
    plan: Duration,
    /// From the push to convergence.
    total: Duration,
    /// What Kubernetes needs to start the Pods of it again.
    pods: Duration,
    /// From the push of a third organisation to its peer having joined.
    joined: Duration,
    /// From the push of a contract to its first answer.
    answered: Duration,
    /// Seconds that another contract then takes by hand, on the same nodes.
    by_hand: Option<f64>,
    /// MiB that the idle daemon holds.
    memory: f64,
}

/// One network from nothing.
async fn converge(round: usize) -> Result<Round, Box<dyn Error>> {
    let world = World::new(&format!("bench{round}-")).await;
    world.consortium(json!({"source": {"intervalSeconds": 1}})).await;
    world.start();
    // The daemon is at work when it has said that there is nothing yet.
    world
        .eventually("the daemon to look at the empty repository", async || {
            let status = world.status().await;
            if status["conditions"].is_array() { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    let definition =
        include_str!("../examples-repo/network.yaml").replace("name: trade\n", &format!("name: {}\n", world.name));
    let commit = world.commit(&definition);
    let start = Instant::now();
    world
        .eventually("the plan", async || {
            let status = world.status().await;
            if status["lastAttemptedRevision"] == commit.as_str() { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    let plan = start.elapsed();
    world.applied(&commit).await;
    let total = start.elapsed();
    let passes = world.metric("tenter_sync_passes_total").await;
    world
        .eventually("ten idle passes", async || {
            let now = world.metric("tenter_sync_passes_total").await;
            if now >= passes + 10.0 { Ok(()) } else { Err(format!("{now}")) }
        })
        .await;
    let memory = world.daemon_memory();
    let pods = restart_pods(&world).await;
    let more = definition
        .replace("  channels:\n", "    - name: initech\n      peers: [peer1]\n  channels:\n")
        .replace("members: [acme, globex]", "members: [acme, globex, initech]");
    let commit = world.commit(&more);
    let start = Instant::now();
    world.applied(&commit).await;
    let joined = start.elapsed();
    let contract = "  chaincodes:\n    - {name: assets, channel: settlement, version: \"1.0\", source: {image: \"localhost/tenter/assets:1.0\"}}";
    world.commit(&format!("{}\n{contract}\n", more.trim_end()));
    let start = Instant::now();
    world
        .eventually("an answer of the contract", async || {
            let output = world.run(&["query", "assets", "List"]);
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        })
        .await;
    let answered = start.elapsed();
    let by_hand = contract_by_hand(&world)?;
    remove(world).await;
    Ok(Round { plan, total, pods, joined, answered, by_hand, memory })
}

/// Takes a network down, and waits until its Pods are gone: the next one is to have the machine for itself.
async fn remove(world: World) {
    let (client, name) = (world.client.clone(), world.name.clone());
    // What runs until then is stopped with it.
    tokio::task::spawn_blocking(move || drop(world)).await.expect("the network is taken down");
    let pods = Api::<Pod>::all(client);
    let end = Instant::now() + world::LIMIT;
    loop {
        let all = pods.list(&ListParams::default()).await.expect("Pods");
        let left = all.iter().filter(|pod| pod.namespace().is_some_and(|place| place.starts_with(&name))).count();
        if left == 0 {
            return;
        }
        assert!(Instant::now() < end, "{left} Pods of {name} do not go");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Fabric's programs, where they are.
fn programs() -> Option<String> {
    world::fabric().strip_prefix("real ")?.split(' ').next().map(str::to_owned)
}

/// Seconds that a contract takes by hand on the nodes of a network.
fn contract_by_hand(world: &World) -> Result<Option<f64>, Box<dyn Error>> {
    let (Some(programs), Some(cluster)) = (programs(), std::env::var_os("TENTER_BENCH_CLUSTER")) else {
        return Ok(None);
    };
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(format!("{root}/deploy/dev-cluster/cluster"))
        .arg("run")
        .arg(cluster)
        .arg(format!("{root}/benches/by-hand-contract"))
        .args([&programs, &world.name, "settlement", "localhost/tenter/assets:1.0", "hub/orderer1"])
        .args(["acme/peer1", "acme/peer2", "globex/peer1", "initech/peer1"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!("benches/by-hand-contract: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let seconds = text.lines().find_map(|line| line.strip_prefix("chaincode "));
    Ok(Some(seconds.ok_or("benches/by-hand-contract printed no time")?.parse()?))
}

/// How long Kubernetes needs for the same Pods alone: all are there already but the processes, and nobody else does anything.
async fn restart_pods(world: &World) -> Duration {
    world.kill();
    let mut sets = Vec::new();
    for namespace in world.namespaces().await {
        let api = Api::<StatefulSet>::namespaced(world.client.clone(), &namespace);
        for set in api.list(&ListParams::default()).await.expect("StatefulSets") {
            sets.push((api.clone(), set.metadata.name.expect("a name")));
        }
    }
    scale(world, &sets, 0).await;
    let start = Instant::now();
    scale(world, &sets, 1).await;
    let elapsed = start.elapsed();
    world.start();
    elapsed
}

/// Gives each so many Pods, and waits until they are ready, or gone.
async fn scale(world: &World, sets: &[(Api<StatefulSet>, String)], replicas: i32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    for (api, name) in sets {
        api.patch(name, &PatchParams::default(), &patch).await.expect("scale");
    }
    world
        .eventually("the Pods", async || {
            for (api, name) in sets {
                let status = api.get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
                if (status.replicas, status.ready_replicas.unwrap_or(0)) != (replicas, replicas) {
                    return Err(format!("{name}: {status:?}"));
                }
            }
            Ok(())
        })
        .await;
}

/// What Fabric's programs need for the network by hand, in seconds.
struct ByHand {
    total: f64,
    /// Of it, until all nodes run.
    nodes: f64,
}

/// The median of what Fabric's programs need for the network by hand, where they are.
fn by_hand() -> Result<Option<ByHand>, Box<dyn Error>> {
    let Some(programs) = programs() else { return Ok(None) };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/by-hand");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let output = Command::new(script).arg(&programs).output()?;
        if output.status.code() == Some(3) {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("benches/by-hand: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let phase = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::parse::<f64>).ok_or_else(|| format!("benches/by-hand printed no {name}"))
        };
        rounds.push(ByHand { total: phase("total ")??, nodes: phase("nodes ")?? });
    }
    rounds.sort_by(|one, other| one.total.total_cmp(&other.total));
    Ok(rounds.into_iter().nth(ROUNDS / 2))
}
