//! Contracts: from lines in the file to an answer.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenter::nodes::identity::signing_identity;
use tenter::nodes::{Node, NodeKind, Nodes, nonce};
use tenter_fabric::chaincode::lifecycle::{approve_call, commit_call};
use tenter_fabric::chaincode::transaction::{Call, SignedCall};
use tenter_fabric::chaincode::{Definition, Package, ServiceConnection};

use crate::changes::{converge, converge_commit, node, nodes, orderer};
use crate::scenarios::{announce, example, plan};
use crate::world::{LIMIT, World};

/// Where the cluster has the example contract.
const CONTRACT: &str = "localhost/tenter/assets";

/// The example network with the contract on its channel; `more` are further lines of the chaincode's entry.
fn with_contract(file: &str, image: &str, version: &str, more: &[&str]) -> String {
    let lines = [
        "  chaincodes:".to_owned(),
        "    - name: assets".to_owned(),
        "      channel: settlement".to_owned(),
        format!("      version: \"{version}\""),
        format!("      source: {{image: \"{image}\"}}"),
    ];
    let more = more.iter().map(|line| format!("      {line}"));
    format!("{}\n{}\n", file.trim_end(), lines.into_iter().chain(more).collect::<Vec<_>>().join("\n"))
}

/// Calls the contract, and gives what it answered. On a busy machine a peer may not be reached in time; then nothing was sent.
fn call(world: &World, verb: &str, arguments: &[&str]) -> Result<Value, String> {
    let arguments: Vec<&str> = ["-o", "json", verb].into_iter().chain(arguments.iter().copied()).collect();
    let start = Instant::now();
    loop {
        let output = world.run(&arguments);
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).map_err(|error| error.to_string());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !said.contains("did not finish connecting") || start.elapsed() > LIMIT {
            return Err(said);
        }
    }
}

async fn chaincode(world: &World) -> Value {
    let object = world.objects("Chaincode", &world.namespace).get("settlement-assets").await.expect("the Chaincode");
    object.data["status"].clone()
}

/// Names of the Deployments that serve the contract for an organization.
async fn services(world: &World, organization: &str) -> Vec<String> {
    let api = Api::<Deployment>::namespaced(world.client.clone(), &world.organization(organization));
    let list = api.list(&ListParams::default().labels("tenter.dev/chaincode")).await.expect("Deployments");
    list.into_iter().filter_map(|deployment| deployment.metadata.name).collect()
}

/// Says which organizations the daemon acts for.
async fn organizations(world: &World, names: Value) {
    let patch = Patch::Merge(json!({"spec": {"organizations": names}}));
    let api = world.objects("Consortium", &world.namespace);
    api.patch(&world.name, &PatchParams::default(), &patch).await.expect("the settings");
}

/// A commit whose daemon is killed when it takes it up, and again at the first thing that it then does.
async fn converge_killed(world: &World, file: &str) {
    const KILLS: usize = 2;
    let kills = world.kills() + KILLS;
    world.kill_at_work_and_while_it_waits(KILLS);
    let commit = world.commit(file);
    world.killed(kills).await;
    converge_commit(world, &commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_served_upgraded_and_kept() {
    announce("a contract");
    let world = World::new("cc").await;
    world.consortium(json!({})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;

    let image = |tag: &str| format!("{CONTRACT}:{tag}");
    let first = with_contract(&file, &image("1.0"), "1.0", &[]);
    std::fs::write(world.repository().join("network.yaml"), &first).expect("the definition");
    let (code, before) = plan(&world);
    let step = before["steps"]["chaincode/settlement/assets"].clone();
    assert_eq!((code, step["step"]["sequence"].clone()), (2, json!(1)), "{before}");
    converge_killed(&world, &first).await;
    call(&world, "invoke", &["assets", "Create", "a1", "alice", "100"]).expect("a valid transaction");
    let read = |organization: &str| call(&world, "query", &["--organization", organization, "assets", "Read", "a1"]);
    world
        .eventually("the other organisation to see it", async || {
            read("globex").map(|answer| assert_eq!(answer["result"]["owner"], "alice"))
        })
        .await;
    let refused = call(&world, "invoke", &["assets", "Create", "a1", "bob", "1"]).expect_err("it exists already");
    assert!(refused.contains("exists"), "what the contract says reaches the caller: {refused}");

    // An application's own identity.
    let acme = world.organization("acme");
    let object = json!({
        "apiVersion": "tenter.dev/v1alpha1", "kind": "Identity", "metadata": {"name": "app", "namespace": acme},
        "spec": {"consortium": world.name, "organization": "acme", "role": "client", "revoked": false},
    });
    let object = serde_json::from_value(object).expect("an object");
    world.objects("Identity", &acme).create(&PostParams::default(), &object).await.expect("an Identity");
    world.phase("Identity", &acme, "app", "Enrolled").await;
    let by_app = ["--organization", "acme", "--identity", "app", "assets", "Create", "a2", "alice", "7"];
    call(&world, "invoke", &by_app).expect("a valid transaction");

    // Another program: what was written stays, and the program that nobody calls any more goes.
    let old = services(&world, "acme").await;
    let second = with_contract(&file, &image("2.0"), "2.0", &[]);
    converge_killed(&world, &second).await;
    assert_eq!(
        (chaincode(&world).await["sequence"].clone(), chaincode(&world).await["version"].clone()),
        (json!(2), json!("2.0"))
    );
    world
        .eventually("the earlier services to be taken down", async || {
            let now = services(&world, "acme").await;
            if now.len() == 1 && now != old { Ok(()) } else { Err(format!("{old:?} {now:?}")) }
        })
        .await;
    assert_eq!(call(&world, "query", &["assets", "Read", "a1"]).expect("an answer")["result"]["owner"], "alice");

    // The policy alone, then a collection: sequences of their own, and the same program.
    let both = "endorsement: AND('AcmeMSP.peer', 'GlobexMSP.peer')";
    let third = with_contract(&file, &image("2.0"), "2.0", &[both]);
    converge_killed(&world, &third).await;
    assert_eq!(chaincode(&world).await["sequence"], 3);
    let transfer = call(&world, "invoke", &["--organization", "globex", "assets", "Transfer", "a1", "bob"]);
    transfer.expect("both organisations endorse");
    let collection = "collections: [{name: prices, members: [acme, globex]}]";
    let fourth = with_contract(&file, &image("2.0"), "2.0", &[both, collection]);
    converge_killed(&world, &fourth).await;
    assert_eq!(chaincode(&world).await["sequence"], 4);
    let secret = ["--transient", "price=42", "--endorsers", "AcmeMSP,GlobexMSP", "assets", "SetPrice", "a1"];
    call(&world, "invoke", &secret).expect("both organisations endorse");
    for organization in ["acme", "globex"] {
        world
            .eventually("a member of the collection to see the price", async || {
                let answer = call(&world, "query", &["--organization", organization, "assets", "Price", "a1"])?;
                if answer["result"] == 42 { Ok(()) } else { Err(answer.to_string()) }
            })
            .await;
    }
    assert_eq!(call(&world, "query", &["assets", "Read", "a1"]).expect("an answer")["result"]["owner"], "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_waits_for_what_it_lacks_and_says_so() {
    announce("a contract that waits");
    let world = World::new("ccwait").await;
    world.consortium(json!({})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;

    // A program that ends at once.
    world.kill_at_work_and_while_it_waits(2);
    let broken = with_contract(&file, "localhost/tenter/tenter:dev", "1.0", &[]);
    world.commit(&broken);
    world.killed(2).await;
    world
        .eventually("the crash to be named", async || {
            let api = world.objects("Chaincode", &world.namespace);
            let status =
                api.get_opt("settlement-assets").await.ok().flatten().map(|object| object.data["status"].to_string());
            let status = status.unwrap_or_default();
            if status.contains("CrashLoopBackOff") { Ok(()) } else { Err(status) }
        })
        .await;
    assert!(chaincode(&world).await["sequence"].is_null(), "nothing is committed that nobody could call");

    // An organisation that this daemon does not act for any more: its approval is waited for, by name.
    organizations(&world, json!(["hub", "acme"])).await;
    let good = with_contract(&file, &format!("{CONTRACT}:1.0"), "1.0", &[]);
    let commit = world.commit(&good);
    let status = world
        .eventually("the missing approval to be named", async || {
            let status = chaincode(&world).await;
            let text = status.to_string();
            if text.contains("ApprovalMissing") && text.contains("globex") { Ok(status) } else { Err(text) }
        })
        .await;
    assert!(status["sequence"].is_null(), "half of the organisations is no majority: {status}");
    world.kill();
    organizations(&world, json!(["*"])).await;
    world.start();
    converge_commit(&world, &commit).await;
    call(&world, "invoke", &["assets", "Create", "a1", "alice", "100"]).expect("a valid transaction");

    // A member that comes later installs, approves and serves by itself.
    let more = good
        .replace("  channels:\n", "    - name: initech\n      peers: [peer1]\n  channels:\n")
        .replace("members: [acme, globex]", "members: [acme, globex, initech]");
    assert_ne!(more, good);
    converge_killed(&world, &more).await;
    let answer = call(&world, "query", &["--organization", "initech", "assets", "Read", "a1"]).expect("an answer");
    assert_eq!(answer["result"]["owner"], "alice");
    assert_eq!(chaincode(&world).await["sequence"], 1, "nothing was committed for it");
    a_quota_is_enforced_and_shown(&world, &more).await;
}

/// A quota that an organization's two peers and one contract use up: the next version of the contract has no room.
async fn a_quota_is_enforced_and_shown(world: &World, file: &str) {
    let bounded = |cpu: &str| file.replace("- name: acme\n", &format!("- name: acme\n      quota: {{cpu: {cpu}}}\n"));
    let upgraded = |file: String| file.replace("\"1.0\"", "\"2.0\"").replace("assets:1.0", "assets:2.0");
    converge(world, &bounded("220m")).await;
    let commit = world.commit(&upgraded(bounded("220m")));
    world
        .eventually("the quota to be named", async || {
            let text = chaincode(world).await.to_string();
            if text.contains("exceeded quota: tenter") { Ok(()) } else { Err(text) }
        })
        .await;
    let organizations = world.objects("Organization", &world.namespace);
    world
        .eventually("what is used of what may be", async || {
            let organization = organizations.get("acme").await.map_err(|error| error.to_string())?;
            let cpu = &organization.data["status"]["capacity"]["cpu"];
            if *cpu == json!({"used": "220m", "limit": "220m"}) { Ok(()) } else { Err(cpu.to_string()) }
        })
        .await;
    assert_ne!(world.status().await["lastAppliedRevision"], commit.as_str(), "it is not called done");
    converge(world, &upgraded(bounded("300m"))).await;
    assert_eq!(chaincode(world).await["version"], "2.0");
}

/// The first peer of an organization.
fn peer(world: &World, organization: &str, msp_id: &str) -> Node {
    node(world, NodeKind::Peer, (organization, msp_id), "peer1")
}

/// A transaction of one of an organization's identities, endorsed by these peers, of which the first is its own.
async fn transact(world: &World, nodes: &Nodes, call: Call, endorsers: &[&Node], secret: &str) {
    let own = endorsers.first().expect("an endorser");
    let identity = signing_identity(nodes.store(), &own.reference.namespace, secret, &own.msp_id).await;
    let identity = identity.value().cloned().expect("the identity");
    let call = SignedCall::new(&call, &identity, nonce().expect("a nonce"), Timestamp::now()).expect("a proposal");
    let mut endorsements = Vec::new();
    for endorser in endorsers {
        endorsements.push(nodes.endorse(endorser, &call).await.expect("an endorsement"));
    }
    nodes.transact((own, &[orderer(world)]), &call, &endorsements, &identity).await.expect("a valid transaction");
}

/// Puts another definition of the contract in force by hand, as the next sequence: both organizations approve it, and an
/// identity that Tenter never commits with commits it.
async fn define_by_hand(world: &World, change: impl FnOnce(&mut Definition)) -> i64 {
    let nodes = nodes(world);
    let (acme, globex) = (peer(world, "acme", "AcmeMSP"), peer(world, "globex", "GlobexMSP"));
    let committed = nodes.committed_chaincode(&acme, "settlement", "assets").await;
    let committed = committed.value().cloned().expect("the definition in force");
    let (mut definition, sequence) = (committed.definition, committed.sequence + 1);
    change(&mut definition);
    let package = chaincode(world).await["packageID"].as_str().expect("a package").parse().expect("its id");
    for own in [&acme, &globex] {
        let call = approve_call("settlement", &definition, sequence, Some(&package));
        transact(world, &nodes, call, &[own], "identity-node-admin").await;
    }
    let call = commit_call("settlement", &definition, sequence);
    transact(world, &nodes, call, &[&acme, &globex], "identity-reader").await;
    sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_initialized_and_what_somebody_else_defined_is_put_right() {
    announce("a contract with Init, defined by hand as well");
    let world = World::new("ccinit").await;
    world.consortium(json!({})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;
    converge_killed(&world, &with_contract(&file, &format!("{CONTRACT}:1.0"), "1.0", &["initRequired: true"])).await;
    // A peer refuses calls of a contract that demands Init and was not initialized.
    call(&world, "invoke", &["assets", "Create", "a1", "alice", "100"]).expect("a valid transaction");

    world.kill();
    let sequence = define_by_hand(&world, |definition| "9.9".clone_into(&mut definition.version)).await;
    assert_eq!(sequence, 2);
    let (code, planned) = plan(&world);
    let step = planned["steps"]["chaincode/settlement/assets"]["step"].clone();
    assert_eq!((code, step["sequence"].clone()), (2, json!(3)), "the next sequence, never the old one: {planned}");
    let drift = step["drift"].as_str().unwrap_or_default();
    assert!(drift.starts_with("sequence 2 was committed in block ") && drift.contains("AcmeMSP"), "by whom: {step}");
    println!("defined by hand: {drift}");
    world.start();
    world
        .eventually("the definition to be put right", async || {
            let status = chaincode(&world).await;
            let right = (&status["sequence"], &status["version"]) == (&json!(3), &json!("1.0"));
            if right { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    let (code, planned) = plan(&world);
    assert_eq!(code, 0, "{planned}");
    assert_eq!(call(&world, "query", &["assets", "Read", "a1"]).expect("an answer")["result"]["owner"], "alice");
}

/// A contract that somebody else runs, in the clear, for a package of this id.
async fn run_elsewhere(world: &World, namespace: &str, package: &str) {
    let labels = json!({"app": "contract"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "contract", "namespace": namespace},
        "spec": {"selector": labels, "ports": [{"port": 9999}]},
    });
    let environment = json!([
        {"name": "CHAINCODE_ID", "value": package},
        {"name": "CHAINCODE_SERVER_ADDRESS", "value": "0.0.0.0:9999"},
    ]);
    let container = json!({"name": "contract", "image": format!("{CONTRACT}:1.0"), "env": environment});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "contract", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    });
    let parameters = PatchParams::apply("somebody").force();
    let services = Api::<Service>::namespaced(world.client.clone(), namespace);
    services.patch("contract", &parameters, &Patch::Apply(service)).await.expect("a Service");
    let deployments = Api::<Deployment>::namespaced(world.client.clone(), namespace);
    deployments.patch("contract", &parameters, &Patch::Apply(deployment)).await.expect("a Deployment");
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_come_from_the_repository_or_from_elsewhere() {
    announce("a contract of somebody else");
    let world = World::new("ccfrom").await;
    let acme = world.organization("acme");
    let address = format!("contract.{acme}.svc:9999");
    world.consortium(json!({"chaincodeServers": [address]})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;
    let with_source = |source: &str, version: &str| {
        format!(
            "{}\n  chaincodes:\n    - {{name: assets, channel: settlement, version: \"{version}\", source: {source}}}\n",
            file.trim_end()
        )
    };
    let answers = async |world: &World| {
        world
            .eventually("an answer", async || {
                call(world, "query", &["assets", "List"]).map(|answer| answer["result"].clone())
            })
            .await
    };

    let external = with_source(&format!("{{external: {{address: \"{address}\"}}}}"), "1.0");
    converge(&world, &external).await;
    let first = chaincode(&world).await["packageID"].as_str().unwrap_or_default().to_owned();
    run_elsewhere(&world, &acme, &first).await;
    assert_eq!(answers(&world).await, json!([]));
    assert!(services(&world, "acme").await.is_empty(), "Tenter runs nothing of it");

    // A folder of the repository: the same bytes make the same package, wherever it is read.
    let folder = world.repository().join("contracts/assets");
    std::fs::create_dir_all(&folder).expect("a folder");
    let connection = json!({"address": address, "dial_timeout": "10s", "tls_required": false});
    std::fs::write(folder.join("connection.json"), connection.to_string()).expect("a file");
    converge(&world, &with_source("{package: contracts/assets}", "2.0")).await;
    let status = chaincode(&world).await;
    let second = status["packageID"].as_str().unwrap_or_default().to_owned();
    assert!(second.starts_with("assets_2.0:") && second != first, "{status}");
    assert_eq!(status["sequence"], 2);
    run_elsewhere(&world, &acme, &second).await;
    assert_eq!(answers(&world).await, json!([]));

    // A package that is ready: its bytes are installed as they are.
    let connection = ServiceConnection { address: address.clone(), dial_timeout: "10s".to_owned(), tls: None };
    let package = Package::service(&"assets_ready".parse().expect("a label"), &connection);
    std::fs::write(world.repository().join("contracts/ready.tar.gz"), package.bytes()).expect("a file");
    converge(&world, &with_source("{package: contracts/ready.tar.gz}", "3.0")).await;
    let status = chaincode(&world).await;
    assert_eq!((status["packageID"].clone(), status["sequence"].clone()), (json!(package.id().to_string()), json!(3)));
    run_elsewhere(&world, &acme, &package.id().to_string()).await;
    assert_eq!(answers(&world).await, json!([]));

    // Its tombstone takes the object; the ledger keeps the definition.
    converge(&world, &format!("{}\n  retired: [{{chaincode: settlement/assets}}]\n", file.trim_end())).await;
    world
        .eventually("the Chaincode to go", async || {
            let object = world.objects("Chaincode", &world.namespace).get_opt("settlement-assets").await;
            if matches!(object, Ok(None)) { Ok(()) } else { Err("it is there".to_owned()) }
        })
        .await;
}
