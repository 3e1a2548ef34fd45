//! The parts of the program as processes of their own: controllers, sync loop, `apply`; and who may write when there are two.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tenter::sync::follow::lease_name;

use crate::changes::in_sync;
use crate::scenarios::{announce, small};
use crate::world::World;

/// Who holds a Lease of the world's namespace.
async fn holder(world: &World, lease: &str) -> Option<String> {
    let leases = Api::<Lease>::namespaced(world.client.clone(), &world.namespace);
    leases.get_opt(lease).await.ok().flatten()?.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

/// Waits until a process holds a Lease; others of this machine are told by their process id.
async fn held_by(world: &World, lease: &str, process: u32) {
    world
        .eventually(&format!("process {process} to hold Lease {lease}"), async || {
            let holder = holder(world, lease).await.unwrap_or_default();
            if holder.split('_').any(|part| part == process.to_string()) { Ok(()) } else { Err(holder) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_and_the_loop_run_apart_and_a_person_applies() {
    announce("processes of their own");
    let world = World::new("apart").await;
    world.consortium(json!({"source": {"intervalSeconds": 600}})).await;
    let file = small(&world.name);
    world.commit(&file);
    let repository = world.repository();
    let here = repository.to_str().expect("UTF-8");

    // A person applies; the controllers do what is not the plan's own.
    let _controllers = world.spawn("operator", &["operator", "--listen", "127.0.0.1:0"]);
    let mut apply = world.spawn("apply", &["apply", here, "--yes", "--timeout", "4m"]);
    held_by(&world, &lease_name(&world.name), apply.id()).await;
    let second = world.run(&["apply", here, "--yes", "--timeout", "1s"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(7), "one at a time: {said}");
    assert!(said.contains("is held by"), "{said}");
    let code = world.eventually("apply to end", async || apply.code().ok_or_else(|| apply.log())).await;
    let said = apply.log();
    assert_eq!(code, 0, "{said}");
    for what in ["Orderer", "Peer", "Channel"] {
        let done = said.lines().any(|line| line.starts_with("done ") && line.contains(what));
        assert!(done, "it shows what was done: {said}");
    }
    world.phase("Channel", &world.namespace, "trades", "Active").await;
    in_sync(&world).await;
    assert_eq!(holder(&world, &lease_name(&world.name)).await, None, "it has let go of the Lease");
    let again = world.run(&["apply", here, "--yes"]);
    assert_eq!(again.status.code(), Some(0), "there is nothing to do: {}", String::from_utf8_lossy(&again.stderr));

    // Suspended, its controllers would do nothing about what is applied.
    world.consortium(json!({"source": {"intervalSeconds": 600}, "suspend": true})).await;
    let suspended = world.run(&["apply", here, "--yes"]);
    let said = String::from_utf8_lossy(&suspended.stderr).into_owned();
    assert!(suspended.status.code() == Some(7) && said.contains("is suspended"), "{said}");
    world.consortium(json!({"source": {"intervalSeconds": 600}, "suspend": false})).await;

    // The sync loop, beside the same controllers.
    let sync = world.spawn("sync", &["sync", "--listen", "127.0.0.1:0"]);
    let commit = world.commit(&file.replace("peers: [peer1]", "peers: [peer1, peer2]"));
    world.applied(&commit).await;
    world.phase("Peer", &world.organization("acme"), "peer2", "Running").await;
    drop(sync);

    // The same from a folder that is edited: nothing but the change itself tells it.
    let _edits = world.spawn("folder", &["sync", "--path", here, "--listen", "127.0.0.1:0"]);
    world
        .eventually("the folder to be taken up", async || {
            let status = world.status().await;
            if status["phase"] == "Applied" && holder(&world, &lease_name(&world.name)).await.is_some() {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
    let edited = file.replace("peers: [peer1]", "peers: [peer1, peer2, peer3]");
    std::fs::write(repository.join("network.yaml"), edited).expect("the edit");
    let start = Instant::now();
    world.phase("Peer", &world.organization("acme"), "peer3", "Running").await;
    println!("an edited folder: its peer runs after {:.1} s", start.elapsed().as_secs_f32());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_one_writes() {
    announce("two daemons of one consortium");
    let world = World::new("pair").await;
    world.consortium(json!({})).await;
    world.start();
    let loop_lease = lease_name(&world.name);
    held_by(&world, &loop_lease, world.daemon_id()).await;
    held_by(&world, "tenter-operator", world.daemon_id()).await;
    let second = world.spawn("second", &["run", "--listen", "127.0.0.1:0"]);
    let file = small(&world.name);
    let commit = world.commit(&file);
    world.applied(&commit).await;
    world
        .eventually("the second daemon to say that it waits", async || {
            let log = second.log();
            if log.contains("is held by") { Ok(()) } else { Err(log) }
        })
        .await;
    assert!(!second.log().contains(" acting "), "it has done nothing: {}", second.log());
    held_by(&world, &loop_lease, world.daemon_id()).await;

    // The first is gone, and the second goes on.
    world.kill();
    let commit = world.commit(&file.replace("peers: [peer1]", "peers: [peer1, peer2]"));
    world.applied(&commit).await;
    held_by(&world, &loop_lease, second.id()).await;
    held_by(&world, "tenter-operator", second.id()).await;
    in_sync(&world).await;

    // Somebody elsewhere takes the Lease, and is never heard of again: what holds it no more writes nothing, until its time is over.
    let leases = Api::<Lease>::namespaced(world.client.clone(), &world.namespace);
    let taken = json!({"spec": {
        "holderIdentity": "elsewhere_0_0_1_0", "leaseDurationSeconds": 15,
        "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    }});
    let start = Instant::now();
    leases.patch(&loop_lease, &PatchParams::default(), &Patch::Merge(taken)).await.expect("the Lease");
    // It finds out when it would renew.
    world
        .eventually("the second daemon to see that it lost the Lease", async || {
            let log = second.log();
            if log.contains("the Lease was taken by another process") { Ok(()) } else { Err(log) }
        })
        .await;
    let commit = world.commit(&file.replace("peers: [peer1]", "peers: [peer1, peer2, peer3]"));
    let peers = world.objects("Peer", &world.organization("acme"));
    world
        .eventually("the Lease to be taken over", async || {
            let written = peers.get_opt("peer3").await.map_err(|error| error.to_string())?.is_some();
            let holder = holder(&world, &loop_lease).await;
            if holder.as_deref() != Some("elsewhere_0_0_1_0") {
                return Ok(());
            }
            assert!(!written, "it writes without the Lease");
            Err(format!("{holder:?} has it"))
        })
        .await;
    assert!(start.elapsed() > Duration::from_secs(10), "not before its time: {:?}", start.elapsed());
    println!("a Lease that nobody renews was taken over after {:.1} s", start.elapsed().as_secs_f32());
    world.applied(&commit).await;
    in_sync(&world).await;

    // The same of the controllers' Lease: what is deleted meanwhile is put back by who holds it next, and by nobody before.
    let taken = json!({"spec": {
        "holderIdentity": "elsewhere_0_0_1_0", "leaseDurationSeconds": 15,
        "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    }});
    leases.patch("tenter-operator", &PatchParams::default(), &Patch::Merge(taken)).await.expect("the Lease");
    world
        .eventually("the second daemon's controllers to stop", async || {
            let log = second.log();
            if log.contains("the controllers stop: their Lease is lost") { Ok(()) } else { Err(log) }
        })
        .await;
    let services = Api::<Service>::namespaced(world.client.clone(), &world.organization("acme"));
    services.delete("peer1", &DeleteParams::default()).await.expect("the Service");
    world
        .eventually("the controllers' Lease to be taken over, and the Service to be put back", async || {
            let back = services.get_opt("peer1").await.map_err(|error| error.to_string())?.is_some();
            let holder = holder(&world, "tenter-operator").await;
            let elsewhere = holder.as_deref() == Some("elsewhere_0_0_1_0");
            assert!(!(back && elsewhere), "the controllers act without their Lease");
            if back { Ok(()) } else { Err(format!("{holder:?} has the Lease")) }
        })
        .await;
    in_sync(&world).await;
}
