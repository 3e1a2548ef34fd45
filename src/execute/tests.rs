//! Against a world that remembers what was asked of it.

use std::sync::Mutex;

use serde_json::{Value, json};
use tenter_consortium::document::Blob;
use tenter_consortium::objects::Kind;
use tenter_consortium::plan::{Effects, StepApproval};

use super::*;

#[derive(Default)]
struct Memory {
    written: Mutex<Vec<String>>,
    refuses: Option<&'static str>,
    cancels_after: Option<(&'static str, CancellationToken)>,
}

impl Memory {
    fn write(&self, what: String) -> Result<StepOutcome, Failure> {
        if let Some((name, stop)) = &self.cancels_after
            && what == *name
        {
            stop.cancel();
        }
        if self.refuses == Some(what.as_str()) {
            return Err(Failure::new("Refused", format!("{what} is refused")));
        }
        self.written.lock().unwrap().push(what);
        Ok(StepOutcome::Done)
    }
}

impl World for Memory {
    async fn create_namespace(&self, namespace: &str, _organization: &str) -> Result<StepOutcome, Failure> {
        self.write(namespace.to_owned())
    }

    async fn create_object(
        &self,
        object: &ObjectRef,
        _labels: &BTreeMap<String, String>,
        _spec: &Value,
    ) -> Result<StepOutcome, Failure> {
        self.write(object.name.clone())
    }

    async fn update_object(
        &self,
        object: &ObjectRef,
        _labels: &BTreeMap<String, String>,
        _spec: &Value,
    ) -> Result<StepOutcome, Failure> {
        self.write(format!("{} again", object.name))
    }

    async fn store_package(&self, _namespace: &str, config_map: &str, _package: &[u8]) -> Result<StepOutcome, Failure> {
        self.write(config_map.to_owned())
    }

    async fn store_material(
        &self,
        (_, name): (&str, &str),
        _labels: &BTreeMap<String, String>,
        _entries: &BTreeMap<String, Blob>,
        _pinned: bool,
    ) -> Result<StepOutcome, Failure> {
        self.write(name.to_owned())
    }

    async fn approve_update(&self, channel: &str, digest: &str) -> Result<(), Failure> {
        self.write(format!("{digest} of {channel} approved")).map(drop)
    }

    async fn remove_object(&self, object: &ObjectRef, _volume: Option<&str>) -> Result<StepOutcome, Failure> {
        self.write(format!("{} gone", object.name))
    }
}

fn create(name: &str) -> Step {
    let object = ObjectRef { kind: Kind::Peer, namespace: "n".to_owned(), name: name.to_owned() };
    Step::CreateObject { object, labels: BTreeMap::new(), spec: json!({}) }
}

fn plan(steps: &[(&str, Step, &[&str])]) -> Plan {
    let steps = steps.iter().map(|(id, step, needs)| {
        let needs = needs.iter().map(|need| StepId((*need).to_owned())).collect();
        let planned = PlannedStep {
            step: step.clone(),
            needs,
            reasons: vec![],
            blocked: None,
            unseen: None,
            irreversible: None,
            effects: Effects::default(),
            approval: None,
        };
        (StepId((*id).to_owned()), planned)
    });
    Plan {
        format: 1,
        consortium: "c".to_owned(),
        revision: None,
        steps: steps.collect(),
        notes: vec![],
        hash: String::new(),
    }
}

async fn run(world: &Memory, plan: &Plan, stop: &CancellationToken) -> (Execution, Vec<String>) {
    let mut seen = Vec::new();
    let execution = execute(world, plan, stop, &mut |id, _| seen.push(id.0.clone())).await;
    (execution, seen)
}

fn chain() -> Plan {
    plan(&[
        ("a", create("third"), &["b"]),
        ("b", create("second"), &["c"]),
        ("c", create("first"), &[]),
        ("x", create("other"), &[]),
    ])
}

#[tokio::test]
async fn steps_are_done_after_what_they_need() {
    let world = Memory::default();
    let (execution, seen) = run(&world, &chain(), &CancellationToken::new()).await;
    assert!(execution.outcomes.values().all(StepOutcome::holds) && execution.wrote() && !execution.interrupted);
    assert_eq!(seen.len(), 4);
    let written = world.written.into_inner().unwrap();
    let place = |name: &str| written.iter().position(|item| item == name).unwrap();
    assert!(place("first") < place("second") && place("second") < place("third"), "{written:?}");
}

#[tokio::test]
async fn a_failure_holds_up_only_what_needs_it() {
    let world = Memory { refuses: Some("second"), ..Memory::default() };
    let (execution, _) = run(&world, &chain(), &CancellationToken::new()).await;
    let failure =
        StepFailure { reason: "Refused".to_owned(), message: "second is refused".to_owned(), terminal: false };
    assert_eq!(execution.failure(), Some((&StepId("b".to_owned()), &failure)));
    let outcome = |id: &str| execution.outcomes[&StepId(id.to_owned())].clone();
    assert_eq!(outcome("a"), StepOutcome::Waiting("first: create Peer n/second".to_owned()));
    assert_eq!((outcome("c"), outcome("x")), (StepOutcome::Done, StepOutcome::Done));
}

#[tokio::test]
async fn a_blocked_step_is_not_done_nor_what_needs_it() {
    let mut plan = chain();
    plan.steps.get_mut(&StepId("b".to_owned())).unwrap().blocked = Some("no".to_owned());
    let world = Memory::default();
    let (execution, _) = run(&world, &plan, &CancellationToken::new()).await;
    assert_eq!(execution.outcomes[&StepId("b".to_owned())], StepOutcome::Waiting("blocked: no".to_owned()));
    assert!(!execution.outcomes[&StepId("a".to_owned())].holds());
    assert_eq!(world.written.into_inner().unwrap().len(), 2);
}

#[tokio::test]
async fn a_cancellation_takes_effect_at_the_next_step() {
    let stop = CancellationToken::new();
    let world = Memory { cancels_after: Some(("first", stop.clone())), ..Memory::default() };
    let (execution, _) = run(&world, &chain(), &stop).await;
    assert!(execution.interrupted);
    let written = world.written.into_inner().unwrap();
    assert!(written.contains(&"first".to_owned()) && !written.contains(&"second".to_owned()), "{written:?}");
}

#[tokio::test]
async fn controllers_steps_wait() {
    let plan = plan(&[
        ("genesis", Step::PinGenesis { channel: "settlement".to_owned() }, &[]),
        ("after", create("after"), &["genesis"]),
    ]);
    let (execution, _) = run(&Memory::default(), &plan, &CancellationToken::new()).await;
    assert!(execution.outcomes.values().all(|outcome| matches!(outcome, StepOutcome::Waiting(_))));
    assert!(!execution.wrote() && !execution.interrupted);
}

/// The update is the controllers' work; that it is approved is written where they look for it.
#[tokio::test]
async fn an_update_that_cannot_be_undone_is_let_pass_when_it_is_approved() {
    let update = || Step::UpdateChannelConfig {
        channel: "settlement".to_owned(),
        topic: "capabilities".to_owned(),
        changes: vec![],
        elements: vec![],
        signing: Signing::default(),
        digest: Some("abc".to_owned()),
        drift: vec![],
    };
    let check = async |approval: Option<bool>, blocked: bool, written: &[&str], why: &str| {
        let mut plan = plan(&[("update", update(), &[])]);
        let planned = plan.steps.values_mut().next().unwrap();
        planned.approval = approval.map(|given| StepApproval { given, ..StepApproval::default() });
        planned.blocked = blocked.then(|| "no".to_owned());
        plan.hash = "0123456789abcdef".to_owned();
        let world = Memory::default();
        let (execution, _) = run(&world, &plan, &CancellationToken::new()).await;
        let [StepOutcome::Waiting(waits)] = execution.outcomes.values().collect::<Vec<_>>()[..] else { panic!() };
        assert!(waits.contains(why), "{waits}");
        assert_eq!(world.written.into_inner().unwrap(), written);
    };
    check(Some(true), false, &["abc of settlement approved"], "Channel settlement proposes capabilities").await;
    check(Some(false), false, &[], "nobody approved it: tenter approve 0123456789ab").await;
    check(Some(true), true, &[], "blocked: no").await;
    check(None, false, &[], "Channel settlement proposes capabilities").await;
}
