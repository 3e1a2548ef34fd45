//! `tenter apply`: carries out the plan, and waits until everything is so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use kube::ResourceExt as _;
use serde_json::{Value, json};
use tenter_consortium::plan::{NoteLevel, Plan, PlannedStep, StepId};
use tenter_consortium::planner::moved;
use tenter_consortium::settings::Settings;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::args::Global;
use super::cluster::Cluster;
use super::definition::load;
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report, say, stderr_style};
use super::plan::{DefinitionArgs, Inputs, unseen_exit};
use super::plan_file::PlanFile;
use crate::execute::lease::{Candidate, Lease, LeaseError};
use crate::execute::objects::Cluster as Writer;
use crate::execute::{Execution, StepOutcome, execute};
use crate::report::plan::{Basis, PlanReport, headline};
use crate::report::{Style, count, printable};
use crate::sync::engine::Look;
use crate::sync::follow::lease_name;
use crate::sync::triggers::Triggers;

/// Passes in a row that fail before `apply` gives up.
const TRIES: u32 = 5;
/// Least time between two passes.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time between two passes: Fabric's own progress does not show in objects.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// Things that moved that a message names.
const MOVED: usize = 10;

/// Carry out the plan, and wait until everything is so.
///
/// Shows the plan, asks, takes the Consortium's Lease, writes what the plan says, and plans again until nothing is left to
/// do. The controllers (tenter operator) do their part meanwhile. Where tenter run or tenter sync follows a repository, that has
/// the Lease and applies by itself: commit the change instead. A plan file (tenter plan --out) is applied only to the world that
/// it was made from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tenter apply --consortium trade .
  tenter apply --consortium trade . --yes --timeout 10m -o json
  tenter apply --consortium trade plan.json")]
pub struct Args {
    #[command(flatten)]
    definition: DefinitionArgs,
    /// Do not ask
    #[arg(long, short, env = "TENTER_YES", hide_env_values = true)]
    yes: bool,
    /// Longest time for everything: 90s, 10m, 1h
    #[arg(long, env = "TENTER_TIMEOUT", hide_env_values = true, value_name = "TIME", default_value = "10m", value_parser = super::args::duration)]
    timeout: Duration,
}

/// What `apply` came to.
struct Applied {
    consortium: String,
    done: usize,
    left: Vec<(StepId, String)>,
    /// What the plan cannot do at all.
    errors: Vec<String>,
    seconds: u64,
}

fn errors(plan: &Plan) -> Vec<String> {
    let errors = plan.notes.iter().filter(|note| note.level == NoteLevel::Error);
    errors.map(|note| format!("{}: {}: {}", note.code, note.subject, note.message)).collect()
}

impl Report for Applied {
    fn text(&self, style: Style) -> String {
        let Self { consortium, done, left, errors, seconds } = self;
        if left.is_empty() && errors.is_empty() {
            let word = style.green("Applied");
            return format!("{word}: {consortium} is as the file says ({} in {seconds} s).\n", count(*done, "step"));
        }
        let what = if left.is_empty() { "no step".to_owned() } else { count(left.len(), "step") };
        let mut text =
            format!("{}: {what} left of {consortium}, which is not as the file says:\n", style.red("Not done"));
        for (id, why) in left {
            let _ = writeln!(text, "  {id}: {}", printable(why));
        }
        for error in errors {
            let _ = writeln!(text, "  {}", printable(error));
        }
        text
    }

    fn json(&self) -> Value {
        let Self { consortium, done, left, errors, seconds } = self;
        let left: BTreeMap<&StepId, &String> = left.iter().map(|(id, why)| (id, why)).collect();
        json!({ "format": 1, "consortium": consortium, "done": done, "left": left, "errors": errors, "seconds": seconds })
    }
}

/// Shows each change of a step's state, and on a terminal one line that moves.
struct Progress {
    style: Style,
    quiet: bool,
    live: bool,
    shown: BTreeMap<StepId, StepOutcome>,
    done: usize,
    start: Instant,
}

impl Progress {
    fn new(global: &Global) -> Self {
        Self {
            style: stderr_style(global.color),
            quiet: global.quiet,
            live: io::stderr().is_terminal() && !global.quiet,
            shown: BTreeMap::new(),
            done: 0,
            start: Instant::now(),
        }
    }

    fn step(&mut self, plan: &Plan, id: &StepId, outcome: &StepOutcome) {
        if self.shown.get(id) == Some(outcome) {
            return;
        }
        self.shown.insert(id.clone(), outcome.clone());
        let what = plan.steps.get(id).map_or_else(|| id.to_string(), |planned| headline(&planned.step));
        let (symbol, why) = match outcome {
            StepOutcome::Done | StepOutcome::AlreadyTrue => (self.style.green("done"), ""),
            StepOutcome::Waiting(why) => (self.style.dim("wait"), why.as_str()),
            StepOutcome::Failed(why) => (self.style.red("fail"), why.message.as_str()),
        };
        self.done += usize::from(outcome.holds());
        let colon = if why.is_empty() { "" } else { ": " };
        self.line(&format!("{symbol} {}{colon}{}", printable(&what), printable(why)));
    }

    /// Steps that an earlier plan held and this one does not: done by a controller.
    fn settle(&mut self, before: &Plan, now: &Plan) {
        let gone: Vec<StepId> = self
            .shown
            .iter()
            .filter(|(id, outcome)| !outcome.holds() && !now.steps.contains_key(*id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.step(before, &id, &StepOutcome::Done);
        }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            say(&format!("{}{text}\n", if self.live { "\r\x1b[K" } else { "" }));
        }
    }

    fn moving(&self, left: usize) {
        if self.live {
            say(&format!("\r\x1b[K{} done, {left} to go, {} s", self.done, self.start.elapsed().as_secs()));
        }
    }

    fn clear(&self) {
        if self.live {
            say("\r\x1b[K");
        }
    }
}

/// Applies.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let cluster = Cluster::connect(global).await?;
    let consortium = cluster.required_consortium(global).await?;
    if consortium.spec.suspend {
        let message = format!("Consortium {}/{} is suspended", global.namespace, consortium.name_any());
        let hint = "its controllers leave everything alone, so nothing would come of what is applied; set spec.suspend to false";
        return Err(CliError::new(Exit::Blocked, message, hint));
    }
    let file = args.definition.path.as_deref().map(PlanFile::read).transpose()?.flatten();
    let inputs = match &file {
        None => args.definition.inputs(global, Some(&cluster), Some(&consortium)).await?,
        Some(file) => {
            let located = file.located();
            let settings = Settings::of(&consortium.name_any(), &global.namespace, &consortium.spec);
            Inputs { network: load(&located)?, located, settings }
        }
    };
    let name = consortium.name_any();
    let first = look(&cluster, &inputs).await;
    if let Some(file) = &file {
        unmoved(file, &first)?;
    }
    let mut plan = first.plan;
    if plan.steps.is_empty() {
        let exit = settled(&plan);
        let errors = errors(&plan);
        return Ok(Outcome::with(exit, Applied { consortium: name, done: 0, left: Vec::new(), errors, seconds: 0 }));
    }
    let lease = loop {
        confirm(global, &args, &inputs, &plan)?;
        let lease = take_lease(&cluster, &name, args.timeout).await?;
        // The plan that was agreed to must be this world's: between the question and the Lease others may have written.
        let again = look(&cluster, &inputs).await;
        if again.plan.hash == plan.hash {
            break lease;
        }
        lease.release().await;
        if let Some(file) = &file {
            unmoved(file, &again)?;
        }
        say("The world has changed since this plan was made; this is the new one.\n");
        plan = again.plan;
    };
    let result = converge(global, &args, &cluster, &inputs, &name, plan, &lease).await;
    lease.release().await;
    result
}

async fn look(cluster: &Cluster, inputs: &Inputs) -> Look {
    cluster.engine.look(&inputs.network, &inputs.settings, inputs.located.revision.as_deref()).await
}

/// Refuses a plan file whose world has moved, naming what moved.
fn unmoved(file: &PlanFile, look: &Look) -> Result<(), CliError> {
    if file.plan.hash == look.plan.hash {
        return Ok(());
    }
    let moved = moved(&file.covers, &look.plan.covered(&look.desired, &look.observed));
    let more = moved.len().saturating_sub(MOVED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let named = moved.iter().take(MOVED).map(|line| printable(line)).collect::<Vec<_>>().join("; ");
    let message = format!("nothing was applied: the world has moved since the plan was made: {named}{more}");
    Err(CliError::new(Exit::Blocked, message, "plan again, and have the new plan reviewed: tenter plan --out FILE"))
}

/// Shows the plan and asks, unless `--yes` has answered.
fn confirm(global: &Global, args: &Args, inputs: &Inputs, plan: &Plan) -> Result<(), CliError> {
    if !global.quiet || !args.yes {
        let report = PlanReport { plan: plan.clone(), file: inputs.located.name.clone(), basis: Basis::World };
        say(&report.text(stderr_style(global.color)));
    }
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let message = "nobody can be asked: standard input is no terminal";
        return Err(CliError::new(Exit::Usage, message, "--yes applies without asking"));
    }
    say("\nApply? Only `yes` is taken: ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == "yes" {
        return Ok(());
    }
    Err(CliError::plain(Exit::Failure, "not applied: the answer was not `yes`"))
}

async fn take_lease(cluster: &Cluster, name: &str, patience: Duration) -> Result<Lease, CliError> {
    let ctx = &cluster.engine.ctx;
    let mut candidate = Candidate::new(ctx.client.clone(), &ctx.namespace, &lease_name(name));
    candidate.acquire(patience.min(Duration::from_secs(30))).await.map_err(
        |error| match &error {
            LeaseError::Held { .. } => CliError::new(
                Exit::Blocked,
                error.to_string(),
                "a daemon that follows the repository applies by itself: commit the change; or run the controllers alone (tenter operator)",
            ),
            LeaseError::Api { error: answer, .. } => {
                CliError { message: error.to_string(), ..super::cluster::failed("take the Lease", name, answer) }
            }
            LeaseError::Silent { .. } => CliError::plain(Exit::Unreachable, error.to_string()),
        },
    )
}

async fn converge(
    global: &Global,
    args: &Args,
    cluster: &Cluster,
    inputs: &Inputs,
    name: &str,
    mut plan: Plan,
    lease: &Lease,
) -> Result<Outcome, CliError> {
    let triggers = Triggers::start(&cluster.engine.ctx, name);
    let mut changes = triggers.changes.clone();
    let mut progress = Progress::new(global);
    let deadline = Instant::now() + args.timeout;
    let writer = Writer { ctx: &cluster.engine.ctx, namespaces: &inputs.settings.namespaces };
    let stop: CancellationToken = lease.lost().clone();
    let mut failed = 0;
    loop {
        changes.mark_unchanged();
        let execution = execute(&writer, &plan, &stop, &mut |id, outcome| progress.step(&plan, id, outcome)).await;
        if stop.is_cancelled() {
            progress.clear();
            let message = "the Lease was lost: another process writes now; nothing more was started";
            return Err(CliError::new(Exit::Failure, message, "tenter status shows how far it came; apply again"));
        }
        failed = if execution.failure().is_some() { failed + 1 } else { 0 };
        let next = look(cluster, inputs).await.plan;
        progress.settle(&plan, &next);
        plan = next;
        progress.moving(plan.steps.len());
        let end = ended(&plan, &execution, failed, deadline);
        if let Some(exit) = end {
            progress.clear();
            let left = plan.ordered().into_iter().map(|id| (id.clone(), why_left(&plan, &execution, &id))).collect();
            let seconds = progress.start.elapsed().as_secs();
            return Ok(Outcome::with(
                exit,
                Applied { consortium: name.to_owned(), done: progress.done, left, errors: errors(&plan), seconds },
            ));
        }
        // Changes that come together are looked at together; silence is ended by a look.
        sleep(PAUSE).await;
        let wait = LOOK_AGAIN.min(deadline.saturating_duration_since(Instant::now()));
        let _ = timeout(wait, changes.changed()).await;
    }
}

/// Whether there is an end, and how it ends.
fn ended(plan: &Plan, execution: &Execution, failed: u32, deadline: Instant) -> Option<Exit> {
    if plan.steps.is_empty() {
        return Some(settled(plan));
    }
    if plan.steps.values().all(PlannedStep::is_gated) && !execution.wrote() {
        return Some(Exit::Blocked);
    }
    if failed >= TRIES {
        return Some(Exit::Failure);
    }
    // What could not be seen is looked at again until the end.
    let blocked = plan.steps.values().all(|planned| planned.blocked.is_some());
    let exit = plan.unseen().filter(|_| blocked).and_then(unseen_exit).unwrap_or(Exit::Timeout);
    (Instant::now() >= deadline).then_some(exit)
}

/// The end of a plan without steps: what it says that it cannot do is not done.
fn settled(plan: &Plan) -> Exit {
    if plan.error().is_some() { Exit::Blocked } else { Exit::Ok }
}

fn why_left(plan: &Plan, execution: &Execution, id: &StepId) -> String {
    match execution.outcomes.get(id) {
        Some(StepOutcome::Waiting(why)) => why.clone(),
        Some(StepOutcome::Failed(failure)) => failure.message.clone(),
        _ => plan.steps.get(id).map(|planned| headline(&planned.step)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tenter_consortium::plan::{Effects, Note, Step, Unseen};

    use super::*;
    use crate::execute::StepFailure;

    fn step(blocked: bool, unseen: Option<Unseen>) -> PlannedStep {
        PlannedStep {
            step: Step::PinGenesis { channel: "c".to_owned() },
            needs: BTreeSet::new(),
            reasons: Vec::new(),
            blocked: blocked.then(|| "no".to_owned()),
            unseen,
            irreversible: None,
            effects: Effects::default(),
            approval: None,
        }
    }

    fn check(steps: Vec<PlannedStep>, error: bool, (wrote, failed, over): (bool, u32, bool), expect: Option<Exit>) {
        let text = || "x".to_owned();
        let id = |place: usize| StepId(place.to_string());
        let steps: BTreeMap<StepId, PlannedStep> =
            steps.into_iter().enumerate().map(|(place, step)| (id(place), step)).collect();
        let note = Note { level: NoteLevel::Error, code: text(), subject: text(), message: text() };
        let notes = if error { vec![note] } else { Vec::new() };
        let plan = Plan { format: 1, consortium: text(), revision: None, steps, notes, hash: text() };
        let mut execution = Execution::default();
        if wrote {
            execution.outcomes.insert(id(0), StepOutcome::Done);
        }
        if failed > 0 {
            let failure = StepFailure { reason: text(), message: text(), terminal: false };
            execution.outcomes.insert(id(1), StepOutcome::Failed(failure));
        }
        let deadline = Instant::now();
        let deadline = if over { deadline } else { deadline + Duration::from_hours(1) };
        assert_eq!(ended(&plan, &execution, failed, deadline), expect, "{plan:?} {execution:?}");
    }

    #[test]
    fn every_end_has_its_code() {
        let (open, gated) = (step(false, None), step(true, None));
        let (unreachable, forbidden) = (step(true, Some(Unseen::Unreachable)), step(true, Some(Unseen::Forbidden)));
        let going = (false, 0, false);
        let over = (false, 0, true);
        check(vec![], false, going, Some(Exit::Ok));
        check(vec![], true, going, Some(Exit::Blocked));
        check(vec![open.clone()], false, going, None);
        check(vec![open.clone()], false, over, Some(Exit::Timeout));
        check(vec![open.clone(), gated.clone()], false, going, None);
        check(vec![open.clone(), gated.clone()], false, over, Some(Exit::Timeout));
        check(vec![gated.clone()], false, going, Some(Exit::Blocked));
        check(vec![gated], false, (true, 0, false), None);
        check(vec![open.clone()], false, (false, TRIES - 1, false), None);
        check(vec![open], false, (false, TRIES, false), Some(Exit::Failure));
        // What could not be seen may be seen at the next look.
        check(vec![unreachable.clone()], false, going, None);
        check(vec![unreachable.clone()], false, over, Some(Exit::Unreachable));
        check(vec![unreachable, forbidden], false, over, Some(Exit::Unauthorised));
        check(vec![step(true, Some(Unseen::Awaited))], false, over, Some(Exit::Timeout));
        check(vec![step(true, Some(Unseen::Unapproved))], false, going, Some(Exit::Blocked));
    }
}
