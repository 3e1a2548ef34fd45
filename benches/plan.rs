//! Time and peak memory of reading, validating and planning generated networks of 10 to 10,000 nodes.
//!
//! Each size runs in a process of its own, so that the peak (`VmHWM` of `/proc/self/status`) is that size's alone. Three plans
//! are made: of an empty world, of the world that the definition makes, which must be empty, and of that world with one more
//! member in every channel. The last columns say how much faster than the input each number grew since the size before: 1.0
//! is as fast, and more than [`MOST`] fails from 100 nodes on. Memory is counted above what an empty process takes.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use tenter_consortium::desired::{Desired, desired};
use tenter_consortium::document::{RepositoryFacts, load};
use tenter_consortium::model::{self, Certificates};
use tenter_consortium::planner::plan;
use tenter_consortium::settings::Settings;

/// Networks to measure, in nodes.
const SIZES: [usize; 4] = [10, 100, 1000, 10_000];
/// Repetitions of each measurement; the median is printed.
const ROUNDS: usize = 5;
/// How much faster than the input a number may grow. What fits no cache any more, and pages that are touched first, cost up to twice as
/// much a node on a shared machine; a step that looks at every node for every node would show as ten.
const MOST: f64 = 2.0;
/// What is measured, in the order of the columns.
const NAMES: [&str; 5] = ["load ms", "new ms", "in sync ms", "changed ms", "peak MiB"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--nodes") {
        let nodes = arguments.get(at + 1).ok_or("--nodes needs a number")?.parse()?;
        return measure(nodes);
    }
    let head: Vec<String> = NAMES.iter().map(|name| format!("{name:>11}")).collect();
    println!("{:>6} {} {:>24}", "nodes", head.join(" "), "growth against input");
    let mut before: Option<(usize, Vec<f64>)> = None;
    let mut too_fast = Vec::new();
    for nodes in SIZES {
        let output = Command::new(std::env::current_exe()?).args(["--nodes", &nodes.to_string()]).output()?;
        if !output.status.success() {
            return Err(format!("{nodes} nodes: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let mut line = format!("{nodes:>6}");
        for number in &numbers {
            let _ = write!(line, " {number:>11.2}");
        }
        if let Some((fewer, earlier)) = &before {
            #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
            let input = nodes as f64 / *fewer as f64;
            for ((name, now), then) in NAMES.iter().zip(&numbers).zip(earlier) {
                let growth = now / then / input;
                let _ = write!(line, " {growth:>4.2}");
                // The first steps are of microseconds, in which the clock and the caches decide.
                if growth > MOST && *fewer >= 100 {
                    too_fast.push(format!("{name} at {nodes} nodes: {growth:.2}"));
                }
            }
        }
        println!("{line}");
        before = Some((nodes, numbers));
    }
    if too_fast.is_empty() {
        return Ok(());
    }
    Err(format!("these grow faster than the input: {}", too_fast.join(", ")).into())
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

/// A definition, and the same with one more member in every channel.
fn measure(nodes: usize) -> Result<(), Box<dyn Error>> {
    let base = peak_mib()?;
    let text = network(nodes);
    let more = text
        .replace("members: [", "members: [guest, ")
        .replace("  channels:\n", "    - {name: guest, peers: [peer1]}\n  channels:\n");
    let read = |text: &str| -> Result<Desired, Box<dyn Error>> {
        let loaded = load(text.as_bytes(), "network.yaml", &RepositoryFacts::default());
        let network = loaded.network.ok_or_else(|| format!("the network is invalid: {:?}", loaded.diagnostics))?;
        Ok(desired(&network, &Settings::of_definitions("bench", "tenter-system", &[&network])))
    };
    let (wanted, changed) = (read(&text)?, read(&more)?);
    let certificates = Certificates::of(&[&wanted])?;
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        read(&text)?;
        times[0].push(start.elapsed());
        let world = model::nothing(&wanted, "the world is empty");
        let start = Instant::now();
        plan(&wanted, &world, None);
        times[1].push(start.elapsed());
        let mut world = model::converged(&wanted, &certificates)?;
        let start = Instant::now();
        let again = plan(&wanted, &world, None);
        times[2].push(start.elapsed());
        if !again.steps.is_empty() {
            return Err(format!("planning again has {} steps", again.steps.len()).into());
        }
        model::look(&mut world, &changed, "it is new");
        let start = Instant::now();
        let next = plan(&changed, &world, None);
        times[3].push(start.elapsed());
        if next.steps.is_empty() {
            return Err("a new member makes no step".into());
        }
    }
    for mut times in times {
        times.sort();
        print!("{} ", times[times.len() / 2].as_secs_f64() * 1000.0);
    }
    println!("{}", peak_mib()? - base);
    Ok(())
}

fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("VmHWM has no value")?.parse()?;
    Ok(kib / 1024.0)
}
