//! A plan for pull requests: remarks, cases, and the comment.

use tenter_consortium::diagnostic::Span;
use tenter_consortium::plan::{Note, NoteLevel, PlannedStep, Step, StepId, Unseen};

use super::steps::{meanwhile_text, step_text, symbol};
use super::{PlanReport, headline, short_revision, summary};
use crate::report::markdown::{self, Markdown, Section};
use crate::report::review::{Case, Level, Remark, Review, RuleText};
use crate::report::{Style, count, printable};

impl PlanReport {
    /// For a pull request.
    pub fn review(&self) -> Review {
        let Self { plan, file, basis: _ } = self;
        let order = plan.ordered();
        let steps = || order.iter().filter_map(|id| plan.steps.get(id));
        let mut remarks: Vec<Remark> = steps().flat_map(step_remarks).collect();
        remarks.extend(plan.notes.iter().map(note_remark));
        let steps_cases = steps().enumerate().map(|(place, planned)| step_case(place + 1, planned));
        let notes_cases = plan.notes.iter().enumerate().map(|(place, note)| note_case(place + 1, note));
        let mut rules: Vec<RuleText> = PLAN_RULES.iter().map(PlanRule::text).collect();
        for note in &remarks {
            if rules.iter().all(|rule| rule.id != note.rule) {
                let title = format!("{} of the plan.", note.rule.trim_start_matches("plan/"));
                let explanation = "The message says what is so and what to do next.".to_owned();
                rules.push(RuleText { id: note.rule.clone(), title, explanation, level: note.level });
            }
        }
        Review {
            command: "plan",
            file: file.clone(),
            remarks,
            rules,
            cases: steps_cases.chain(notes_cases).collect(),
            markdown: self.markdown(&order),
        }
    }

    fn markdown(&self, order: &[StepId]) -> Markdown {
        let Self { plan, file, basis } = self;
        let plain = Style::default();
        let revision =
            plan.revision.as_deref().map(|revision| format!(" at {}", markdown::code(short_revision(revision))));
        let heading = format!("Tenter plan for {}{}", markdown::code(&plan.consortium), revision.unwrap_or_default());
        let mut top = vec![format!("**{}**", markdown::escaped(&summary(plan, plain)))];
        top.extend(basis.warning().map(|warning| markdown::escaped(&warning)));
        let numbered =
            || order.iter().enumerate().filter_map(|(place, id)| plan.steps.get(id).map(|step| (place + 1, step)));
        let mut items = Vec::new();
        for hold in [Hold::Refused, Hold::Unapproved, Hold::Unseen, Hold::Awaited] {
            let held = numbered().filter(|(_, planned)| Hold::of(planned) == Some(hold));
            let held = held.map(|(number, planned)| (number, planned, &planned.blocked));
            items.extend(alike(hold.sign(), hold.words(), held));
        }
        let final_ones = numbered().map(|(number, planned)| (number, planned, &planned.irreversible));
        items.extend(alike("⚠️", ("cannot be undone", "cannot be undone"), final_ones));
        for (number, planned) in numbered() {
            let name = markdown::code(&headline(&planned.step));
            if let Some(missing) = missing_signatures(&planned.step) {
                items.push(format!("- ✍️ {number}. {name} needs more signatures: {}", markdown::escaped(missing)));
            }
            let halted = planned.effects.restart.iter().flat_map(|restart| &restart.meanwhile);
            for channel in halted.filter(|channel| !channel.goes_on()) {
                let text = markdown::escaped(&meanwhile_text(channel));
                items.push(format!("- ⏸️ {number}. {name} restarts a node: {text}"));
            }
        }
        for Note { level, code, subject, message } in &plan.notes {
            let sign = match level {
                NoteLevel::Info => "ℹ️",
                NoteLevel::Warning => "⚠️",
                NoteLevel::Error => "❌",
            };
            let code = markdown::code(code);
            items.push(format!("- {sign} {code} {}: {}", markdown::escaped(subject), markdown::escaped(message)));
        }
        if let Some(first) = items.first_mut() {
            // A list begins after an empty line.
            first.insert(0, '\n');
        }
        top.extend(items);
        if let Some(approve) = self.approve() {
            top.push(format!("\nWhat cannot be undone is approved with {}", markdown::code(&approve)));
        }
        let mut lines = Vec::new();
        for (number, planned) in numbered() {
            let sign = match symbol(planned, plain).as_str() {
                "+" | ">" => '+',
                "-" => '-',
                "." => ' ',
                _ => '!',
            };
            lines.push(format!("{sign} {number}. {}", printable(&headline(&planned.step))));
            lines.extend(step_text(number, planned, file, plain).lines().skip(1).map(str::to_owned));
        }
        let sections = if lines.is_empty() {
            Vec::new()
        } else {
            vec![Section { summary: format!("All {}", count(plan.steps.len(), "step")), language: "diff", lines }]
        };
        Markdown { marker: format!("plan:{}", plan.consortium), heading, head: top, sections }
    }
}

/// List items for steps of which something is so, those with the same reason in one.
fn alike<'a>(
    sign: &str,
    (one, many): (&str, &str),
    steps: impl Iterator<Item = (usize, &'a PlannedStep, &'a Option<String>)>,
) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<(usize, &PlannedStep)>)> = Vec::new();
    for (number, planned, reason) in steps {
        let Some(reason) = reason.as_deref() else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, steps)) => steps.push((number, planned)),
            None => reasons.push((reason, vec![(number, planned)])),
        }
    }
    let items = reasons.into_iter().map(|(reason, steps)| {
        let reason = markdown::escaped(reason);
        if let [(number, planned)] = steps.as_slice() {
            return format!("- {sign} {number}. {} {one}: {reason}", markdown::code(&headline(&planned.step)));
        }
        let numbers: Vec<String> = steps.iter().map(|(number, _)| number.to_string()).collect();
        format!("- {sign} {} ({}) {many}: {reason}", count(steps.len(), "step"), numbers.join(", "))
    });
    items.collect()
}

/// What keeps a step from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Refused,
    Unapproved,
    Unseen,
    Awaited,
}

impl Hold {
    fn of(planned: &PlannedStep) -> Option<Self> {
        planned.blocked.as_ref()?;
        Some(match planned.unseen {
            None => Self::Refused,
            Some(Unseen::Unapproved) => Self::Unapproved,
            Some(Unseen::Unreachable | Unseen::Forbidden) => Self::Unseen,
            Some(Unseen::Awaited) => Self::Awaited,
        })
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Refused => "⛔",
            Self::Unapproved => "🔏",
            Self::Unseen => "❓",
            Self::Awaited => "⏳",
        }
    }

    /// How it is said of one step, and of several.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Refused | Self::Unseen => ("is blocked", "are blocked"),
            Self::Unapproved => ("is not approved", "are not approved"),
            Self::Awaited => ("is not done yet", "are not done yet"),
        }
    }

    const fn rule(self) -> (&'static str, Level) {
        match self {
            Self::Refused => (BLOCKED, Level::Error),
            Self::Unapproved => (UNAPPROVED, Level::Warning),
            Self::Unseen => (UNSEEN, Level::Warning),
            Self::Awaited => (AWAITED, Level::Warning),
        }
    }
}

/// What a step's remarks are called.
struct PlanRule {
    id: &'static str,
    title: &'static str,
    explanation: &'static str,
    level: Level,
}

impl PlanRule {
    fn text(&self) -> RuleText {
        let Self { id, title, explanation, level } = self;
        RuleText {
            id: (*id).to_owned(),
            title: (*title).to_owned(),
            explanation: (*explanation).to_owned(),
            level: *level,
        }
    }
}

const BLOCKED: &str = "plan/blocked";
const UNAPPROVED: &str = "plan/unapproved";
const UNSEEN: &str = "plan/unseen";
const AWAITED: &str = "plan/awaited";
const IRREVERSIBLE: &str = "plan/irreversible";
const SIGNATURES: &str = "plan/signatures";
const HALTS: &str = "plan/halts";

const PLAN_RULES: [PlanRule; 7] = [
    PlanRule {
        id: BLOCKED,
        title: "A gate stops the step.",
        explanation: "The step will not be done by this plan; the message says what would open the gate.",
        level: Level::Error,
    },
    PlanRule {
        id: UNAPPROVED,
        title: "The step cannot be undone, and nobody who may has approved it.",
        explanation: "It is done as soon as somebody has; the message says how.",
        level: Level::Warning,
    },
    PlanRule {
        id: UNSEEN,
        title: "Whether the step is to be done could not be seen.",
        explanation: "A server could not be reached or refused to tell. The next look may tell.",
        level: Level::Warning,
    },
    PlanRule {
        id: AWAITED,
        title: "The step cannot be done yet.",
        explanation: "What members have to bring is not there; another commit may bring it.",
        level: Level::Warning,
    },
    PlanRule {
        id: IRREVERSIBLE,
        title: "The step cannot be undone.",
        explanation: "Reverting the commit will not take it back.",
        level: Level::Warning,
    },
    PlanRule {
        id: SIGNATURES,
        title: "Other organizations must sign.",
        explanation: "The policies that guard the change ask for more signatures than this daemon can give.",
        level: Level::Notice,
    },
    PlanRule {
        id: HALTS,
        title: "A channel stands still while a node restarts.",
        explanation: "Too few of the channel's nodes are left meanwhile: it has no quorum, or a member has no peer.",
        level: Level::Warning,
    },
];

/// Who else must sign or approve, in words.
fn missing_signatures(step: &Step) -> Option<&str> {
    match step {
        Step::UpdateChannelConfig { signing, .. } | Step::DeployChaincode { signing, .. } => signing.missing.as_deref(),
        _ => None,
    }
}

/// A step fails where it is refused, as its remark is an error. Numbers tell apart what is called the same.
fn step_case(number: usize, planned: &PlannedStep) -> Case {
    let hold = Hold::of(planned);
    let waits = hold.zip(planned.blocked.as_ref()).filter(|(hold, _)| *hold != Hold::Refused);
    let waits = waits.map(|(hold, why)| format!("{}: {why}", hold.words().0));
    let final_one = planned.irreversible.as_ref().map(|why| format!("cannot be undone: {why}"));
    let output: Vec<String> = waits.into_iter().chain(final_one).collect();
    Case {
        name: format!("{number}. {}", headline(&planned.step)),
        group: "steps".to_owned(),
        failure: planned.blocked.clone().filter(|_| hold == Some(Hold::Refused)),
        output: (!output.is_empty()).then(|| output.join("\n")),
    }
}

fn note_case(number: usize, note: &Note) -> Case {
    let Note { level, code, subject, message } = note;
    let (failure, output) = match level {
        NoteLevel::Error => (Some(message.clone()), None),
        NoteLevel::Warning | NoteLevel::Info => (None, Some(message.clone())),
    };
    Case { name: format!("{number}. {code}: {subject}"), group: "notes".to_owned(), failure, output }
}

fn step_remarks(planned: &PlannedStep) -> Vec<Remark> {
    let span = planned.reasons.first().map(|origin| Span::on_line(origin.line, origin.column, origin.column + 1));
    let name = headline(&planned.step);
    let remark = |rule: &str, level, (what, reason): (&str, &str)| Remark {
        rule: rule.to_owned(),
        level,
        message: format!("{name} {what}: {reason}"),
        help: None,
        file: None,
        span,
        related: Vec::new(),
        reason: Some(reason.to_owned()),
    };
    let mut remarks = Vec::new();
    if let (Some(hold), Some(why)) = (Hold::of(planned), &planned.blocked) {
        let (rule, level) = hold.rule();
        remarks.push(remark(rule, level, (hold.words().0, why)));
    }
    if let Some(why) = &planned.irreversible {
        remarks.push(remark(IRREVERSIBLE, Level::Warning, ("cannot be undone", why)));
    }
    if let Some(missing) = missing_signatures(&planned.step) {
        remarks.push(remark(SIGNATURES, Level::Notice, ("needs more signatures", missing)));
    }
    let halted = planned.effects.restart.iter().flat_map(|restart| &restart.meanwhile);
    for channel in halted.filter(|channel| !channel.goes_on()) {
        remarks.push(remark(HALTS, Level::Warning, ("restarts a node", &meanwhile_text(channel))));
    }
    remarks
}

fn note_remark(note: &Note) -> Remark {
    let Note { level, code, subject, message } = note;
    Remark {
        rule: format!("plan/{code}"),
        level: match level {
            NoteLevel::Info => Level::Notice,
            NoteLevel::Warning => Level::Warning,
            NoteLevel::Error => Level::Error,
        },
        message: format!("{subject}: {message}"),
        help: None,
        file: None,
        span: None,
        related: Vec::new(),
        reason: None,
    }
}
