//! What the daemon tells of itself: counters and gauges in Prometheus' text format, and what the status page shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::controllers::context::Context;

/// What is shown of one Consortium.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsortiumView {
    /// Its phase.
    pub phase: String,
    /// Its `Ready` condition's reason.
    pub reason: String,
    /// Its `Ready` condition's message.
    pub message: String,
    /// The last commit that the world was brought to.
    pub revision: Option<String>,
    /// The last commit that was looked at.
    pub attempted: Option<String>,
    /// Steps that are to do, by action.
    pub steps: BTreeMap<String, u64>,
    /// The first steps that are to do.
    pub next: Vec<String>,
    /// Findings and notes.
    pub notes: Vec<String>,
    /// Whether it is as the last revision says.
    pub applied: bool,
}

/// A certificate that will expire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// Namespace of the object that it belongs to.
    pub namespace: String,
    /// The object, as `kind/name`.
    pub object: String,
    /// Which of its certificates.
    pub certificate: String,
    /// When, in seconds since 1970.
    pub not_after: i64,
}

/// Counters and gauges of one process.
#[derive(Default)]
pub struct Telemetry {
    ready: AtomicBool,
    passes: AtomicU64,
    pass_errors: AtomicU64,
    consortia: Mutex<BTreeMap<String, ConsortiumView>>,
    snapshots: Mutex<BTreeMap<String, Arc<str>>>,
    expiries: Mutex<BTreeMap<String, Vec<Expiry>>>,
    ctx: Option<Arc<Context>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned gauge is still a gauge.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Telemetry {
    /// Telemetry of a process that works with `ctx`.
    pub fn new(ctx: Arc<Context>) -> Self {
        Self { ctx: Some(ctx), ..Self::default() }
    }

    /// Says that the API server has answered.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Whether the API server has answered.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Counts a pass of the sync loop.
    pub fn count_pass(&self, failed: bool) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.pass_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes up what a pass found out about a Consortium.
    pub fn set_consortium(&self, name: &str, view: ConsortiumView) {
        lock(&self.consortia).insert(name.to_owned(), view);
    }

    /// Takes up when a Consortium's certificates expire.
    pub fn set_expiries(&self, name: &str, expiries: Vec<Expiry>) {
        lock(&self.expiries).insert(name.to_owned(), expiries);
    }

    /// Takes up a Consortium's signed snapshot.
    pub fn set_snapshot(&self, name: &str, snapshot: String) {
        lock(&self.snapshots).insert(name.to_owned(), snapshot.into());
    }

    /// A Consortium's signed snapshot.
    pub fn snapshot(&self, name: &str) -> Option<Arc<str>> {
        lock(&self.snapshots).get(name).cloned()
    }

    /// Forgets a Consortium that is gone.
    pub fn forget(&self, name: &str) {
        lock(&self.consortia).remove(name);
        lock(&self.snapshots).remove(name);
        lock(&self.expiries).remove(name);
    }

    /// What is known of each Consortium.
    pub fn consortia(&self) -> BTreeMap<String, ConsortiumView> {
        lock(&self.consortia).clone()
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let version = env!("CARGO_PKG_VERSION");
        family(&mut text, "tenter_build_info", "gauge", "The program's version.", [(vec![("version", version)], 1)]);
        let load = |counter: &AtomicU64| i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let passes = load(&self.passes);
        family(&mut text, "tenter_sync_passes_total", "counter", "Passes of the sync loop.", [(vec![], passes)]);
        let errors = load(&self.pass_errors);
        family(&mut text, "tenter_sync_errors_total", "counter", "Passes that failed.", [(vec![], errors)]);
        if let Some(ctx) = &self.ctx {
            context_metrics(&mut text, ctx);
        }
        self.consortium_metrics(&mut text);
        let expiries = lock(&self.expiries);
        let samples = expiries.iter().flat_map(|(consortium, expiries)| {
            expiries.iter().map(move |expiry| {
                let labels = vec![
                    ("consortium", consortium.as_str()),
                    ("namespace", expiry.namespace.as_str()),
                    ("object", expiry.object.as_str()),
                    ("certificate", expiry.certificate.as_str()),
                ];
                (labels, expiry.not_after)
            })
        });
        let help = "When a certificate expires, in seconds since 1970.";
        family(&mut text, "tenter_certificate_not_after_seconds", "gauge", help, samples);
        text
    }

    fn consortium_metrics(&self, text: &mut String) {
        let consortia = lock(&self.consortia);
        let steps = consortia.iter().flat_map(|(name, view)| {
            view.steps.iter().map(move |(action, count)| {
                let labels = vec![("consortium", name.as_str()), ("action", action.as_str())];
                (labels, i64::try_from(*count).unwrap_or(i64::MAX))
            })
        });
        family(text, "tenter_plan_steps", "gauge", "Steps that the last plan holds.", steps);
        let applied =
            consortia.iter().map(|(name, view)| (vec![("consortium", name.as_str())], i64::from(view.applied)));
        family(text, "tenter_consortium_applied", "gauge", "Whether everything is as the last revision says.", applied);
        let revisions = consortia.iter().map(|(name, view)| {
            let labels = vec![
                ("consortium", name.as_str()),
                ("applied", view.revision.as_deref().unwrap_or_default()),
                ("attempted", view.attempted.as_deref().unwrap_or_default()),
                ("phase", view.phase.as_str()),
            ];
            (labels, 1)
        });
        family(text, "tenter_consortium_info", "gauge", "The commits and the phase of a Consortium.", revisions);
    }
}

fn context_metrics(text: &mut String, ctx: &Context) {
    let help = "Writes to the API server, those of the Lease aside.";
    counted(text, "tenter_api_writes_total", help, "kind", &ctx.writes.by_kind());
    let help = "Changes that were asked of Fabric nodes.";
    counted(text, "tenter_fabric_changes_total", help, "action", &ctx.fabric_changes.by_kind());
    counted(text, "tenter_reconciles_total", "Reconciliations.", "kind", &ctx.reconciles.by_kind());
    let help = "Reconciliations that failed.";
    counted(text, "tenter_reconcile_errors_total", help, "kind", &ctx.failures.by_kind());
}

/// A counter by one label; a zero without the label where nothing was counted yet.
fn counted(text: &mut String, name: &str, help: &str, label: &str, counts: &BTreeMap<String, u64>) {
    let mut samples: Vec<_> = counts
        .iter()
        .map(|(key, count)| (vec![(label, key.as_str())], i64::try_from(*count).unwrap_or(i64::MAX)))
        .collect();
    if samples.is_empty() {
        samples.push((vec![], 0));
    }
    family(text, name, "counter", help, samples);
}

/// One metric: its comments and its samples.
fn family<'a>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, i64)>,
) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (labels, value) in samples {
        text.push_str(name);
        for (place, (label, content)) in labels.iter().enumerate() {
            let _ = write!(text, "{}{label}=\"{}\"", if place == 0 { '{' } else { ',' }, escape(content));
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// A label's value, as the format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_counters_and_labels() {
        let telemetry = Telemetry::default();
        telemetry.count_pass(false);
        telemetry.count_pass(true);
        let view = ConsortiumView {
            steps: BTreeMap::from([("joinPeer".to_owned(), 3)]),
            phase: "Waiting".to_owned(),
            revision: Some("a\"b\\c\n".to_owned()),
            ..ConsortiumView::default()
        };
        telemetry.set_consortium("trade", view);
        let expiry = Expiry {
            namespace: "trade-acme".to_owned(),
            object: "Peer/peer1".to_owned(),
            certificate: "tls".to_owned(),
            not_after: 42,
        };
        telemetry.set_expiries("trade", vec![expiry]);
        let text = telemetry.render();
        for line in [
            "tenter_sync_passes_total 2",
            "tenter_sync_errors_total 1",
            "tenter_plan_steps{consortium=\"trade\",action=\"joinPeer\"} 3",
            "tenter_consortium_applied{consortium=\"trade\"} 0",
            "tenter_consortium_info{consortium=\"trade\",applied=\"a\\\"b\\\\c\\n\",attempted=\"\",phase=\"Waiting\"} 1",
            "tenter_certificate_not_after_seconds{consortium=\"trade\",namespace=\"trade-acme\",object=\"Peer/peer1\",certificate=\"tls\"} 42",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        telemetry.forget("trade");
        assert!(!telemetry.render().contains("trade"));
    }
}
