//! What can go wrong with a node's process, asked for from outside: no program of Tenter knows about it.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{World, skip};

/// Processes that are stopped, until this is dropped.
pub struct Stopped(Vec<Pid>);

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            let _ = kill_process(*process, Signal::CONT);
        }
    }
}

/// Stops the processes of some of the hub's orderers where they are, as a machine that hangs would.
/// Says so and gives nothing where Pods run elsewhere: then their processes cannot be reached.
pub async fn stop(world: &World, orderers: &[&str]) -> Option<Stopped> {
    let pods = Api::<Pod>::namespaced(world.client.clone(), &world.organization("hub"));
    let mut stopped = Stopped(Vec::new());
    for orderer in orderers {
        let pod = pods.get(&format!("{orderer}-0")).await.expect("the Pod");
        let Some(process) = process(&pod.metadata.uid.expect("a uid"), "orderer") else {
            skip(
                "orderers that hang: the processes of the cluster's Pods are not on this machine, or only root may stop them",
            );
            return None;
        };
        kill_process(process, Signal::STOP).expect("stop it");
        stopped.0.push(process);
    }
    Some(stopped)
}

/// The process of a Pod that runs a program, by the name of its control group.
fn process(pod: &str, program: &str) -> Option<Pid> {
    let names = [format!("pod{pod}"), format!("pod{}", pod.replace('-', "_"))];
    let text = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
    let found = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok).find(|entry| {
        let groups = text(&entry.path(), "cgroup");
        names.iter().any(|name| groups.contains(name)) && text(&entry.path(), "comm").trim() == program
    })?;
    Pid::from_raw(found.file_name().to_str()?.parse().ok()?)
}
