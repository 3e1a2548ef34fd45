//! Writing 1,000 objects anew, and finding out that they are unchanged, beside `kubectl apply --server-side` and
//! `kubectl diff --server-side` of the same objects in the same run.
//!
//! Needs a cluster with the CRDs; no daemon runs, so nothing is made of the objects.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::expect_used, clippy::panic, reason = "the world ends with the message of what went wrong")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tenter::controllers::Context;
use tenter::execute::execute;
use tenter::execute::objects::Cluster;
use tenter::nodes::Nodes;
use tenter::nodes::dial::PortForwardRoute;
use tenter::nodes::store::KubeStore;
use tenter::sync::engine::Engine;
use tenter_consortium::document::{RepositoryFacts, load};
use tenter_consortium::network::Network;
use tenter_consortium::objects::{ApprovalSettings, ImageSettings, NamespaceSettings};
use tenter_consortium::plan::{Plan, Step};
use tenter_consortium::settings::Settings;
use tokio_util::sync::CancellationToken;

#[path = "../tests/e2e/world.rs"]
#[expect(dead_code, reason = "the scenarios use more of the world than the measurement")]
mod world;

use world::World;

/// Organisations; each is two objects and its peers.
const ORGANIZATIONS: usize = 20;
/// Peers of each.
const PEERS: usize = 48;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = (World::new("objt").await, World::new("objk").await);
    let settings = settings(&ours);
    let network = network(&ours.name)?;
    let ctx = Arc::new(Context::new(ours.client.clone(), ours.namespace.clone()));
    let route = Arc::new(PortForwardRoute::new(ours.client.clone(), ctx.cache.clone()));
    let nodes = Arc::new(Nodes::new(Arc::new(KubeStore::new(ours.client.clone(), ctx.cache.clone())), route));
    let engine = Engine { ctx, nodes };
    let first = engine.look(&network, &settings, None).await.plan;
    let count = writes(&first);

    let start = Instant::now();
    let plan = engine.look(&network, &settings, None).await.plan;
    let cluster = Cluster { ctx: &engine.ctx, namespaces: &settings.namespaces };
    let execution = execute(&cluster, &plan, &CancellationToken::new(), &mut |_, _| ()).await;
    let anew = start.elapsed().as_secs_f64();
    if let Some((id, why)) = execution.failure() {
        return Err(format!("{id}: {}", why.message).into());
    }
    let start = Instant::now();
    let again = engine.look(&network, &settings, None).await.plan;
    let unchanged = start.elapsed().as_secs_f64();
    if writes(&again) != 0 {
        return Err("planning again writes objects".into());
    }

    let manifests = manifests(&plan, &ours.name, &theirs.name)?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), manifests)?;
    let path = file.path().to_str().ok_or("the temporary folder's name is no UTF-8")?;
    let applied = kubectl(&["apply", "--server-side", "-f", path])?;
    let diffed = kubectl(&["diff", "--server-side", "-f", path])?;
    println!("{count} objects    anew s  unchanged s");
    println!("tenter           {anew:>6.2}  {unchanged:>11.3}");
    println!("kubectl          {applied:>6.2}  {diffed:>11.3}");
    println!("times faster     {:>6.1}  {:>11.1}", applied / anew, diffed / unchanged);
    Ok(())
}

fn settings(world: &World) -> Settings {
    Settings {
        approvals: ApprovalSettings::default(),
        consortium: world.name.clone(),
        namespace: world.namespace.clone(),
        organizations: vec!["*".into()],
        namespaces: NamespaceSettings { allowed: vec![format!("{}-*", world.name)], create: true },
        images: ImageSettings { allowed: vec!["docker.io/hyperledger".into()], ..ImageSettings::default() },
        subjects: Vec::new(),
        chaincode_servers: Vec::new(),
    }
}

fn network(name: &str) -> Result<Network, Box<dyn Error>> {
    let mut text = format!(
        "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {{name: {name}}}\nspec:\n  organizations:\n"
    );
    let peers: Vec<String> = (1..=PEERS).map(|peer| format!("peer{peer}")).collect();
    for organization in 0..ORGANIZATIONS {
        let _ = writeln!(text, "    - {{name: org{organization}, peers: [{}]}}", peers.join(", "));
    }
    let loaded = load(text.as_bytes(), "network.yaml", &RepositoryFacts::default());
    loaded.network.ok_or_else(|| format!("the network is invalid: {:?}", loaded.diagnostics).into())
}

/// Objects that a plan writes.
fn writes(plan: &Plan) -> usize {
    let writes = |step: &Step| matches!(step, Step::CreateObject { .. } | Step::UpdateObject { .. });
    plan.steps.values().filter(|planned| writes(&planned.step)).count()
}

/// The objects and namespaces of a plan under another name, as a list that kubectl reads.
fn manifests(plan: &Plan, from: &str, to: &str) -> Result<String, Box<dyn Error>> {
    let (mut namespaces, mut objects) = (Vec::new(), Vec::new());
    for planned in plan.steps.values() {
        match &planned.step {
            Step::CreateNamespace { namespace, organization } => namespaces.push(json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": namespace, "labels": {"tenter.dev/organization": organization}},
            })),
            Step::CreateObject { object, labels, spec } => objects.push(json!({
                "apiVersion": "tenter.dev/v1alpha1", "kind": object.kind.as_str(),
                "metadata": {"name": object.name, "namespace": object.namespace, "labels": labels}, "spec": spec,
            })),
            _ => {}
        }
    }
    namespaces.extend(objects);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": namespaces});
    Ok(serde_json::to_string(&list)?.replace(from, to))
}

/// Seconds that kubectl needs.
fn kubectl(arguments: &[&str]) -> Result<f64, Box<dyn Error>> {
    let environment: BTreeMap<&str, &str> = BTreeMap::from([("KUBECTL_EXTERNAL_DIFF", "diff -u -N")]);
    let start = Instant::now();
    let output = Command::new("kubectl").args(arguments).envs(environment).output()?;
    let seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        // What differs is on standard output, and there is nothing on the other then.
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let text: String = String::from_utf8_lossy(said).chars().take(2000).collect();
        return Err(format!("kubectl {}: {text}", arguments.join(" ")).into());
    }
    Ok(seconds)
}
