//! Time and peak memory of reading, validating and planning generated networks of 10, 100 and 1,000 nodes.
//!
//! Each size runs in a process of its own, so that the peak (`VmHWM` of `/proc/self/status`) is that size's alone. Two plans
//! are made: of an empty world, and of a world in which everything exists, which must be empty.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use tenter_consortium::desired::desired;
use tenter_consortium::document::{RepositoryFacts, load};
use tenter_consortium::objects::{ImageSettings, Kind, NamespaceSettings};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{LiveNamespace, LiveObject, Observed};
use tenter_consortium::plan::{Plan, Step};
use tenter_consortium::planner::plan;
use tenter_consortium::settings::Settings;

/// Networks to measure, in nodes.
const SIZES: [usize; 3] = [10, 100, 1000];
/// Repetitions of each measurement; the median is printed.
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--nodes") {
        let nodes = arguments.get(at + 1).ok_or("--nodes needs a number")?.parse()?;
        return measure(nodes);
    }
    println!("{:>6} {:>10} {:>14} {:>12} {:>10}", "nodes", "load ms", "plan new ms", "in sync ms", "peak MiB");
    for nodes in SIZES {
        let output = Command::new(std::env::current_exe()?).args(["--nodes", &nodes.to_string()]).output()?;
        if !output.status.success() {
            return Err(format!("{nodes} nodes: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

/// A network of `nodes` nodes: organisations of ten peers, three orderers, a channel for every five organisations.
fn network(nodes: usize) -> String {
    let organizations = nodes.saturating_sub(3).div_ceil(10);
    let mut text = String::from(
        "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: bench}\nspec:\n  organizations:\n    \
         - {name: hub, orderers: [orderer1, orderer2, orderer3]}\n",
    );
    let mut left = nodes.saturating_sub(3);
    for organization in 0..organizations {
        let peers: Vec<String> = (1..=left.min(10)).map(|peer| format!("peer{peer}")).collect();
        left -= peers.len();
        let _ = writeln!(text, "    - {{name: org{organization}, peers: [{}]}}", peers.join(", "));
    }
    text.push_str("  channels:\n");
    for first in (0..organizations).step_by(5) {
        let members: Vec<String> = (first..organizations.min(first + 5)).map(|member| format!("org{member}")).collect();
        let _ = writeln!(text, "    - {{name: channel{first}, organizer: hub, members: [{}]}}", members.join(", "));
    }
    text
}

fn measure(nodes: usize) -> Result<(), Box<dyn Error>> {
    let text = network(nodes);
    let settings = Settings {
        consortium: "bench".into(),
        namespace: "tenter-system".into(),
        organizations: vec!["*".into()],
        namespaces: NamespaceSettings { allowed: vec!["*".into()], create: true },
        images: ImageSettings { allowed: vec!["docker.io/hyperledger".into()], ..ImageSettings::default() },
        subjects: Vec::new(),
        chaincode_servers: Vec::new(),
    };
    let (mut loads, mut news, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let loaded = load(text.as_bytes(), "network.yaml", &RepositoryFacts::default());
        let network = loaded.network.ok_or_else(|| format!("the network is invalid: {:?}", loaded.diagnostics))?;
        loads.push(start.elapsed());
        let start = Instant::now();
        let wanted = desired(&network, &settings);
        let first = plan(&wanted, &empty(&wanted), None);
        news.push(start.elapsed());
        let world = after(&first, &wanted);
        let start = Instant::now();
        let again = plan(&desired(&network, &settings), &world, None);
        syncs.push(start.elapsed());
        let left = again
            .steps
            .values()
            .filter(|step| matches!(step.step, Step::CreateObject { .. } | Step::UpdateObject { .. }));
        if left.count() != 0 {
            return Err("planning again writes objects".into());
        }
    }
    let median = |mut times: Vec<std::time::Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1000.0
    };
    let peak = peak_mib()?;
    println!("{nodes:>6} {:>10.2} {:>14.2} {:>12.2} {peak:>10.1}", median(loads), median(news), median(syncs));
    Ok(())
}

/// A world in which everything was looked for and nothing was found.
fn empty(wanted: &tenter_consortium::desired::Desired) -> Observed {
    let nothing = || Observation::Absent { evidence: "the world is empty".into() };
    Observed {
        kinds: Kind::ALL.into_iter().map(|kind| (kind, Observation::Present { value: () })).collect(),
        namespaces: wanted.namespaces.keys().map(|name| (name.clone(), nothing())).collect(),
        ..Observed::default()
    }
}

/// The world once the plan's objects were written.
fn after(plan: &Plan, wanted: &tenter_consortium::desired::Desired) -> Observed {
    let mut world = empty(wanted);
    for step in plan.steps.values() {
        if let Step::CreateObject { object, spec, .. } = &step.step {
            let live = LiveObject {
                spec: spec.clone(),
                generation: 1,
                phase: None,
                conditions: Vec::new(),
                deleting: false,
                sequence: None,
            };
            world.objects.insert(object.clone(), live);
        }
    }
    for (name, namespace) in &wanted.namespaces {
        let value = LiveNamespace { organization: Some(namespace.organization.clone()) };
        world.namespaces.insert(name.clone(), Observation::Present { value });
    }
    world
}

fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("VmHWM has no value")?.parse()?;
    Ok(kib / 1024.0)
}
