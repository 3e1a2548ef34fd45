//! From a push to a plan, and to a channel that all peers of the example network have joined; from the push of a third organisation to its peer having joined;
//! from the push of a contract to its first answer; and what the daemon holds in memory when it is idle. Beside it, in the same run, what Fabric's own
//! programs need by hand.
//!
//! Needs a cluster with the images of `deploy/images`: `make bench` sees to both.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::expect_used, clippy::panic, reason = "the world ends with the message of what went wrong")]

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

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
    let mut joins = Vec::new();
    let mut answers = Vec::new();
    let mut idle = Vec::new();
    for round in 0..ROUNDS {
        let Round { plan, total, joined, answered, memory } = runtime.block_on(converge(round));
        println!(
            "round {round}: push to plan {:.2} s, push to converged {:.2} s, third organisation joined {:.2} s, \
             contract answered {:.2} s, idle {memory:.1} MiB",
            plan.as_secs_f64(),
            total.as_secs_f64(),
            joined.as_secs_f64(),
            answered.as_secs_f64()
        );
        plans.push(plan);
        totals.push(total);
        joins.push(joined);
        answers.push(answered);
        idle.push(memory);
    }
    plans.sort();
    totals.sort();
    joins.sort();
    answers.sort();
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
        Some(ByHand { total: seconds, contract }) => {
            println!("by hand {seconds:.2} s; push to converged is {:.1} times that", total / seconds);
            match contract {
                Some(seconds) => println!(
                    "the contract by hand {seconds:.2} s, on three peers of two organisations; its push on four peers of three is \
                     {:.1} times that",
                    answer / seconds
                ),
                None => println!("the contract by hand: not measured, ccaas_builder is not beside Fabric's programs"),
            }
        }
        None => println!("by hand: not measured, Fabric's programs are not there (FABRIC_BIN_DIR)"),
    }
    Ok(())
}

/// What one network took.
struct Round {
    /// From the push to the plan.
    plan: Duration,
    /// From the push to convergence.
    total: Duration,
    /// From the push of a third organisation to its peer having joined.
    joined: Duration,
    /// From the push of a contract to its first answer.
    answered: Duration,
    /// MiB that the idle daemon holds.
    memory: f64,
}

/// One network from nothing.
async fn converge(round: usize) -> Round {
    let world = World::new(&format!("bench{round}-")).await;
    world.consortium(json!({})).await;
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
    Round { plan, total, joined, answered: start.elapsed(), memory }
}

/// What Fabric's programs need by hand, in seconds.
struct ByHand {
    /// For the network.
    total: f64,
    /// For a contract on it.
    contract: Option<f64>,
}

/// Seconds that Fabric's programs need by hand, where they are.
fn by_hand() -> Result<Option<ByHand>, Box<dyn Error>> {
    let fabric = world::fabric();
    let Some(programs) = fabric.strip_prefix("real ").and_then(|rest| rest.split(' ').next()) else { return Ok(None) };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/by-hand");
    let contract = Path::new(env!("CARGO_BIN_EXE_tenter")).with_file_name("assets-contract");
    let (mut totals, mut contracts) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let output = Command::new(script).arg(programs).arg(&contract).output()?;
        if output.status.code() == Some(3) {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("benches/by-hand: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let phase = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::parse::<f64>);
        totals.push(phase("total ").ok_or("benches/by-hand printed no total")??);
        contracts.extend(phase("chaincode ").transpose()?);
    }
    totals.sort_by(f64::total_cmp);
    contracts.sort_by(f64::total_cmp);
    Ok(Some(ByHand { total: totals[ROUNDS / 2], contract: contracts.get(ROUNDS / 2).copied() }))
}
