//! The sync loop: fetch, read, validate, plan, execute, and again; one loop for each Consortium object.

pub mod conclude;
pub mod definition;
pub mod engine;
pub mod follow;
pub mod known;
pub mod publish;
mod status;
pub mod triggers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::engine::Engine;
use crate::resources::Consortium;
use crate::web::metrics::Telemetry;

/// What a sync loop is told by flags.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only this Consortium; all of the namespace otherwise.
    pub consortium: Option<String>,
    /// Folder for mirrors of repositories.
    pub cache: PathBuf,
    /// Take the definition from this local folder instead of the repository.
    pub folder: Option<PathBuf>,
    /// Longest time of a fetch.
    pub fetch_limit: Duration,
}

/// What every loop shares.
pub struct Shared {
    /// Looks and plans.
    pub engine: Engine,
    /// Flags.
    pub options: Options,
    /// What is told on the status page and in metrics.
    pub telemetry: Arc<Telemetry>,
}

/// A loop that runs.
struct Running {
    generation: watch::Sender<i64>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Runs a loop for each Consortium object of the daemon's namespace, until `stop`. What is under way is finished.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let ctx = &shared.engine.ctx;
    let api = Api::<Consortium>::namespaced(ctx.client.clone(), &ctx.namespace);
    let config = match &shared.options.consortium {
        Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        None => watcher::Config::default(),
    };
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut listed: Vec<String> = Vec::new();
    {
        let events = watcher(api, config).default_backoff().take_until(stop.clone().cancelled_owned());
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    listed.push(object.name_any());
                    seen(&shared, &mut running, &object, &stop);
                }
                Ok(Event::InitDone) => {
                    shared.telemetry.set_ready();
                    let gone: Vec<String> = running.keys().filter(|name| !listed.contains(name)).cloned().collect();
                    for name in gone {
                        end(&shared, &mut running, &name).await;
                    }
                }
                Ok(Event::Apply(object)) => seen(&shared, &mut running, &object, &stop),
                Ok(Event::Delete(object)) => end(&shared, &mut running, &object.name_any()).await,
                Err(error) => tracing::warn!("cannot watch the Consortium objects: {error}"),
            }
        }
    }
    for (name, Running { task, .. }) in running {
        if let Err(error) = task.await {
            tracing::warn!(consortium = name, "the loop ended badly: {error}");
        }
    }
}

/// Starts a loop for an object that is new, and wakes the loop of one whose spec has changed.
fn seen(shared: &Arc<Shared>, running: &mut BTreeMap<String, Running>, object: &Consortium, stop: &CancellationToken) {
    let (name, generation) = (object.name_any(), object.metadata.generation.unwrap_or_default());
    // A loop that has ended, because its object was gone for a moment or because it could not start, is started anew.
    if let Some(found) = running.get(&name).filter(|found| !found.task.is_finished()) {
        // A status write, this daemon's own too, leaves the generation as it is.
        found.generation.send_if_modified(|known| std::mem::replace(known, generation) != generation);
        return;
    }
    let (sender, receiver) = watch::channel(generation);
    let stop = stop.child_token();
    let task = tokio::spawn(follow::run(shared.clone(), name.clone(), receiver, stop.clone()));
    running.insert(name, Running { generation: sender, stop, task });
}

/// Ends the loop of an object that is gone. What it made stays.
async fn end(shared: &Shared, running: &mut BTreeMap<String, Running>, name: &str) {
    let Some(Running { stop, task, .. }) = running.remove(name) else { return };
    stop.cancel();
    if let Err(error) = task.await {
        tracing::warn!(consortium = name, "the loop ended badly: {error}");
    }
    shared.telemetry.forget(name);
    shared.engine.ctx.definitions.forget(name);
    tracing::info!(consortium = name, "the Consortium object is gone; what it made stays");
}
