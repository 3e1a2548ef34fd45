//! `tenter plan`: what would change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::Value;
use tenter_consortium::expiry::expiring;
use tenter_consortium::model::{self, Compared, Revision};
use tenter_consortium::network::Network;
use tenter_consortium::objects::{ApprovalSettings, ImageSettings, NamespaceSettings, Subject, SubjectKind};
use tenter_consortium::plan::{Note, NoteLevel, Plan, PlannedStep, Unseen};
use tenter_consortium::settings::{Settings, acts_for_others};
use tenter_consortium::snapshot::{Snapshot, SnapshotError};

use super::args::Global;
use super::cluster::Cluster;
use super::definition::{Located, RepositoryArgs, load, network as network_of, read_local};
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use super::plan_file::PlanFile;
use crate::report::diagnostics::Findings;
use crate::report::plan::{Basis, PlanReport, short_revision};
use crate::report::review::Review;
use crate::report::{Style, count};
use crate::resources::Consortium;
use crate::source::{SourceError, local};
use crate::sync::definition::credentials;
use crate::sync::engine::{Look, plan_offline, plan_seen};

/// How far `diff` looks ahead for certificates that end, as `plan` does by default.
const HORIZON: Duration = Duration::from_hours(30 * 24);

/// Show what would change: objects, genesis blocks, joins, and the configuration of channels.
///
/// The definition is FILE, or that of --repository, or that of the Consortium object. Settings (which organizations,
/// namespaces and images) are those of the Consortium object, or, where there is none, the flags below. Exit code 7 when a
/// step is refused, or something of the definition: waiting for an approval or for other members is no reason.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tenter plan --consortium trade .
  tenter plan --detailed-exitcode -o json network.yaml
  tenter plan --against origin/main -o markdown=plan.md .
  tenter plan --consortium trade --out plan.json . && tenter apply --consortium trade plan.json
  tenter plan --offline --organizations '*' --allow-namespace 'trade-*' --allow-image docker.io/hyperledger .
  tenter plan --repository https://git.example/trade.git --revision main")]
pub struct Args {
    #[command(flatten)]
    definition: DefinitionArgs,
    #[command(flatten)]
    world: WorldArgs,
    /// Name certificates of channel configurations that end within this time: 12h, 30d
    #[arg(long, env = "TENTER_HORIZON", hide_env_values = true, value_name = "TIME", default_value = "30d", value_parser = super::args::duration)]
    horizon: Duration,
    /// Write the plan to this file too, for tenter apply FILE
    #[arg(long, env = "TENTER_OUT", hide_env_values = true, value_name = "FILE", conflicts_with_all = ["offline", "against", "snapshot"])]
    out: Option<PathBuf>,
    /// End with 0 when nothing would change, 2 when something would, 7 when a gate stops a step, one that waits for an approval
    /// too; without this, 7 only where something is refused, and 0 otherwise
    #[arg(long, env = "TENTER_DETAILED_EXITCODE", hide_env_values = true)]
    detailed_exitcode: bool,
}

/// Show what would change; the exit code says whether anything would.
///
/// The same as plan, ending as diff(1) does: with 0 when nothing would change, 1 when something would, and a higher code when
/// that could not be told or a gate stops a step.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tenter diff --consortium trade .
  tenter diff --against HEAD~1 .
  tenter diff -q --consortium trade . > /dev/null || echo 'something would change'")]
pub struct DiffArgs {
    #[command(flatten)]
    definition: DefinitionArgs,
    #[command(flatten)]
    world: WorldArgs,
}

impl Args {
    /// Where the definition is.
    pub fn path(&self) -> &Path {
        self.definition.path()
    }
}

impl DiffArgs {
    /// Where the definition is.
    pub fn path(&self) -> &Path {
        self.definition.path()
    }
}

/// What the definition is compared with, where that is not the cluster.
#[derive(Debug, clap::Args)]
pub struct WorldArgs {
    /// Plan as if nothing existed, without a cluster
    #[arg(long, env = "TENTER_OFFLINE", hide_env_values = true)]
    offline: bool,
    /// Compare with the definition at this revision of its repository, without a cluster
    #[arg(
        help = "Compare with the definition at this revision of its repository (40 zeros: with nothing), without a cluster; all \
                that both ask for is allowed unless settings are given",
        long,
        env = "TENTER_AGAINST",
        hide_env_values = true,
        value_name = "REVISION",
        conflicts_with = "offline"
    )]
    against: Option<String>,
    /// Compare with this snapshot of the state (tenter snapshot, or a daemon's /snapshots/CONSORTIUM), without a cluster
    #[arg(
        long,
        env = "TENTER_SNAPSHOT",
        hide_env_values = true,
        value_name = "FILE",
        conflicts_with_all = ["offline", "against"],
        requires = "snapshot_roots"
    )]
    snapshot: Option<PathBuf>,
    /// Enrolment roots (PEM) of the organization that must have signed the snapshot
    #[arg(long, env = "TENTER_SNAPSHOT_ROOTS", hide_env_values = true, value_name = "FILE")]
    snapshot_roots: Option<PathBuf>,
}

/// Where the definition and the settings come from.
#[derive(Debug, clap::Args)]
pub struct DefinitionArgs {
    /// The definition, or the folder that holds network.yaml [default: the Consortium's repository]
    #[arg(value_name = "FILE|DIR")]
    pub path: Option<PathBuf>,
    /// The repository, where no file is given.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// The settings, where there is no Consortium object.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// A daemon's settings as flags.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Settings, where there is no Consortium object")]
pub struct SettingsArgs {
    /// Organizations to act for, with commas between them; * for all
    #[arg(long, env = "TENTER_ORGANIZATIONS", hide_env_values = true, value_name = "NAMES", value_delimiter = ',')]
    pub organizations: Vec<String>,
    /// Namespaces that may be used: a name, or a beginning and *
    #[arg(long, env = "TENTER_ALLOW_NAMESPACE", hide_env_values = true, value_name = "NAME", value_delimiter = ',')]
    pub allow_namespace: Vec<String>,
    /// Make namespaces that are missing
    #[arg(long, env = "TENTER_CREATE_NAMESPACES", hide_env_values = true)]
    pub create_namespaces: bool,
    /// Images that may be run, by registry or repository
    #[arg(long, env = "TENTER_ALLOW_IMAGE", hide_env_values = true, value_name = "PREFIX", value_delimiter = ',')]
    pub allow_image: Vec<String>,
    /// Pull images from elsewhere: FROM=TO, both registries or repositories
    #[arg(long, env = "TENTER_MIRROR_IMAGE", hide_env_values = true, value_name = "FROM=TO", value_delimiter = ',', value_parser = pair)]
    pub mirror_image: Vec<(String, String)>,
    /// Subjects that may be granted roles: User:NAME, Group:NAME or ServiceAccount:NAMESPACE:NAME
    #[arg(long, env = "TENTER_ALLOW_SUBJECT", hide_env_values = true, value_name = "SUBJECT", value_delimiter = ',', value_parser = subject)]
    pub allow_subject: Vec<Subject>,
    /// Servers of chaincode elsewhere that peers may be sent to: host:port, or *.domain:port
    #[arg(
        long,
        env = "TENTER_ALLOW_CHAINCODE_SERVER",
        hide_env_values = true,
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub allow_chaincode_server: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err("write FROM=TO, for example docker.io/hyperledger=registry.example/fabric".to_owned()),
    }
}

fn subject(text: &str) -> Result<Subject, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let subject = |kind, name: &str, namespace: Option<&str>| Subject {
        kind,
        name: name.to_owned(),
        namespace: namespace.map(ToOwned::to_owned),
    };
    match parts.as_slice() {
        ["User", name] => Ok(subject(SubjectKind::User, name, None)),
        ["Group", name] => Ok(subject(SubjectKind::Group, name, None)),
        ["ServiceAccount", namespace, name] => Ok(subject(SubjectKind::ServiceAccount, name, Some(namespace))),
        _ => Err("write User:NAME, Group:NAME or ServiceAccount:NAMESPACE:NAME".to_owned()),
    }
}

impl SettingsArgs {
    /// Whether any flag says something.
    fn is_given(&self) -> bool {
        let Self {
            organizations,
            allow_namespace,
            create_namespaces,
            allow_image,
            mirror_image,
            allow_subject,
            allow_chaincode_server,
        } = self;
        *create_namespaces
            || [organizations, allow_namespace, allow_image, allow_chaincode_server].iter().any(|list| !list.is_empty())
            || !mirror_image.is_empty()
            || !allow_subject.is_empty()
    }

    /// The settings that the flags make.
    fn settings(&self, consortium: &str, namespace: &str) -> Result<Settings, CliError> {
        if self.organizations.is_empty() {
            let message = format!("there is no Consortium {namespace}/{consortium} to take the settings from");
            let hint = "say with --organizations which organizations to act for (* for all), and with --allow-namespace and \
                        --allow-image what may be used";
            return Err(CliError::new(Exit::Usage, message, hint));
        }
        Ok(Settings {
            consortium: consortium.to_owned(),
            namespace: namespace.to_owned(),
            organizations: self.organizations.clone(),
            namespaces: NamespaceSettings { allowed: self.allow_namespace.clone(), create: self.create_namespaces },
            images: ImageSettings {
                allowed: self.allow_image.clone(),
                mirrors: self.mirror_image.iter().cloned().collect::<BTreeMap<_, _>>(),
            },
            subjects: self.allow_subject.clone(),
            chaincode_servers: self.allow_chaincode_server.clone(),
            approvals: ApprovalSettings::default(),
        })
    }
}

/// Everything that a plan is made from.
pub struct Inputs {
    /// Where the definition came from.
    pub located: Located,
    /// What it says.
    pub network: Network,
    /// What may be done.
    pub settings: Settings,
}

impl DefinitionArgs {
    /// Where the definition is: in the repository, where no file is given.
    fn path(&self) -> &Path {
        let inside = self.repository.definition.as_deref().unwrap_or("network.yaml");
        self.path.as_deref().unwrap_or_else(|| Path::new(inside))
    }

    /// Reads definition and settings; `consortium` is the object, where there is one.
    pub async fn inputs(
        &self,
        global: &Global,
        cluster: Option<&Cluster>,
        consortium: Option<&Consortium>,
    ) -> Result<Inputs, CliError> {
        let located = self.locate(cluster, consortium).await?;
        let network = load(&located)?;
        let settings = if let Some(object) = consortium {
            if let Some(why) = acts_for_others(&object.spec.organizations, &located.facts) {
                return Err(CliError::plain(Exit::Blocked, why));
            }
            Settings::of(&object.name_any(), &global.namespace, &object.spec)
        } else {
            let name = global.consortium.as_deref().unwrap_or(&network.name);
            self.settings.settings(name, &global.namespace)?
        };
        Ok(Inputs { located, network, settings })
    }

    async fn locate(&self, cluster: Option<&Cluster>, consortium: Option<&Consortium>) -> Result<Located, CliError> {
        if let Some(path) = &self.path {
            return read_local(path);
        }
        if let Some(url) = &self.repository.repository {
            return self.repository.fetch(url, None, None, self.repository.credentials()?).await;
        }
        if let (Some(cluster), Some(object)) = (cluster, consortium) {
            let source = &object.spec.source;
            let secret = credentials(&cluster.engine.ctx, source)
                .await
                .map_err(|problem| CliError::plain(Exit::Failure, problem.message))?;
            let (branch, path) = (Some(source.branch.as_str()), Some(source.path.as_str()));
            return self.repository.fetch(&source.repository, branch, path, secret).await;
        }
        read_local(std::path::Path::new("."))
    }
}

impl DefinitionArgs {
    /// The definition as it was at another revision, with the name of that; no definition where there was no file.
    async fn earlier(&self, located: &Located, revision: &str) -> Result<(Option<Located>, String), CliError> {
        if is_before_the_first(revision) {
            return Ok((None, "nothing".to_owned()));
        }
        let (commit, definition, facts) = match (&self.path, &self.repository.repository) {
            (None, Some(url)) => {
                let fetched =
                    self.repository.fetch_at(url, revision, &located.name, self.repository.credentials()?).await?;
                (fetched.commit, fetched.definition, fetched.facts)
            }
            _ if located.name == "-" => {
                let message = "--against needs to know where the definition stands, and standard input is nowhere";
                return Err(CliError::new(Exit::Usage, message, "name the file or its folder"));
            }
            _ => {
                let at = local::at(Path::new(&located.name), revision)
                    .map_err(|error| CliError { exit: Exit::Usage, ..CliError::from(error) })?;
                (at.commit, at.definition, at.facts)
            }
        };
        let short = short_revision(&commit).to_owned();
        let name = if commit.starts_with(revision) { short } else { format!("{revision} ({short})") };
        let located = match definition {
            Ok(bytes) => {
                let name = format!("{} at {name}", located.name);
                Some(Located { name, bytes, facts, revision: Some(commit) })
            }
            Err(SourceError::NoFile { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok((located, name))
    }
}

/// Whether a revision is what git, and CI systems after it, call the one before a branch's first: zeros, as many as the name of
/// a commit has digits.
fn is_before_the_first(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|digit| digit == b'0')
}

impl Report for PlanReport {
    fn text(&self, style: Style) -> String {
        Self::text(self, style)
    }

    fn json(&self) -> Value {
        Self::json(self)
    }

    fn review(&self) -> Option<Review> {
        Some(Self::review(self))
    }
}

/// The exit code. What is refused ends the check of a pull request, whatever was asked for: a plan exists to tell of it.
fn ended(plan: &Plan, detailed: bool) -> Exit {
    if plan.is_refused() || (detailed && plan.steps.values().any(PlannedStep::is_gated)) {
        return Exit::Blocked;
    }
    if !detailed {
        return Exit::Ok;
    }
    match plan.unseen().and_then(unseen_exit) {
        Some(exit) => exit,
        None if !plan.steps.is_empty() => Exit::Changes,
        None if plan.error().is_some() => Exit::Blocked,
        None => Exit::Ok,
    }
}

/// The exit code for what could not be seen; none for what was seen to wait.
pub const fn unseen_exit(unseen: Unseen) -> Option<Exit> {
    match unseen {
        Unseen::Unreachable => Some(Exit::Unreachable),
        Unseen::Forbidden => Some(Exit::Unauthorised),
        Unseen::Unapproved | Unseen::Awaited => None,
    }
}

/// Plans.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let Args { definition, world, horizon, out, detailed_exitcode } = args;
    let look_ahead = SignedDuration::try_from(horizon).unwrap_or(SignedDuration::MAX);
    let report = match world {
        WorldArgs { against: Some(revision), .. } => against(global, &definition, &revision, look_ahead).await?,
        WorldArgs { snapshot: Some(snapshot), snapshot_roots: Some(roots), .. } => {
            let now = Timestamp::now();
            let FromSnapshot { located, look, basis, .. } = from_snapshot(&definition, &snapshot, &roots, now).await?;
            let Look { mut plan, observed, .. } = look;
            plan.notes.extend(expiring(&observed, now, look_ahead));
            PlanReport { plan, file: located.name, basis }
        }
        WorldArgs { offline: true, .. } => {
            let Inputs { located, network, settings } = definition.inputs(global, None, None).await?;
            let plan = plan_offline(&network, &settings, located.revision.as_deref());
            PlanReport { plan, file: located.name, basis: Basis::Nothing }
        }
        WorldArgs { .. } => {
            let cluster = Cluster::connect(global).await?;
            let consortium = cluster.consortium(global).await?;
            let Inputs { located, network, settings } =
                definition.inputs(global, Some(&cluster), consortium.as_ref()).await?;
            let mut look = cluster.engine.look(&network, &settings, located.revision.as_deref()).await;
            look.plan.notes.extend(expiring(&look.observed, cluster.engine.ctx.now(), look_ahead));
            if let Some(path) = &out {
                PlanFile::new(&look, &located).write(path)?;
            }
            PlanReport { plan: look.plan, file: located.name, basis: Basis::World }
        }
    };
    let exit = ended(&report.plan, detailed_exitcode);
    Ok(Outcome::with(exit, report))
}

/// A plan from a signed snapshot, and what it was made from.
pub struct FromSnapshot {
    /// Where the definition came from.
    pub located: Located,
    /// What it says.
    pub network: Network,
    /// What was seen, and the plan.
    pub look: Look,
    basis: Basis,
}

/// Plans from a signed snapshot, at a time.
pub async fn from_snapshot(
    args: &DefinitionArgs,
    path: &Path,
    roots: &Path,
    now: Timestamp,
) -> Result<FromSnapshot, CliError> {
    let (snapshot, signer) = super::snapshot::read(path, roots)?;
    let located = args.locate(None, None).await?;
    let network = load(&located)?;
    let Snapshot { consortium, namespace, taken, organizations, .. } = &snapshot;
    let settings = if args.settings.is_given() {
        args.settings.settings(consortium, namespace)?
    } else {
        let all = Settings::of_definitions(consortium, namespace, &[&network]);
        Settings { organizations: organizations.clone(), ..all }
    };
    let basis = Basis::Snapshot { taken: format!("{taken} ({})", age(taken, now)), signer };
    let failed = |error: SnapshotError| CliError::plain(Exit::Usage, format!("the snapshot is not used: {error}"));
    let observed = snapshot.observed().map_err(failed)?;
    let look = plan_seen(&network, &settings, observed, located.revision.as_deref(), now);
    Ok(FromSnapshot { located, network, look, basis })
}

/// How old something is, in words.
fn age(taken: &str, now: Timestamp) -> String {
    let Ok(taken) = taken.parse::<Timestamp>() else { return "at a time that cannot be read".to_owned() };
    let seconds = now.duration_since(taken).as_secs();
    match seconds {
        ..0 => "in the future: look at the clocks".to_owned(),
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Plans from one revision of a definition to another.
async fn against(
    global: &Global,
    args: &DefinitionArgs,
    revision: &str,
    horizon: SignedDuration,
) -> Result<PlanReport, CliError> {
    let located = args.locate(None, None).await?;
    let network = load(&located)?;
    let (earlier, before) = args.earlier(&located, revision).await?;
    // A pull request that repairs a broken branch must get its plan: there is nothing else to compare it with.
    let (was, before, broken) = match earlier.as_ref().map(network_of).transpose() {
        Ok(was) => (was, before, None),
        Err(findings) => (None, "nothing".to_owned(), Some(base_invalid(before, &findings))),
    };
    let consortium = global.consortium.as_deref().unwrap_or(&network.name);
    let settings = if args.settings.is_given() {
        args.settings.settings(consortium, &global.namespace)?
    } else {
        let definitions: Vec<&Network> = was.iter().chain([&network]).collect();
        Settings::of_definitions(consortium, &global.namespace, &definitions)
    };
    // These settings name what either revision has: that an organization is not there any more is no mistake of theirs.
    let gone: BTreeSet<String> = was
        .iter()
        .filter(|_| !args.settings.is_given())
        .flat_map(|was| &was.organizations)
        .filter(|organization| network.organization(&organization.name).is_none())
        .map(|organization| format!("organization {}", organization.name))
        .collect();
    let was = was.map(|network| Revision::of(&network, &settings)).unwrap_or_default();
    let asked = Revision::of(&network, &settings);
    let Compared { mut plan, world } = model::plan_between(&was, &asked, &before, located.revision.as_deref())
        .map_err(|error| CliError::plain(Exit::Failure, error.to_string()))?;
    plan.notes.retain(|note| note.code != "NotAllowed" || !gone.contains(&note.subject));
    plan.notes.extend(expiring(&world, Timestamp::now(), horizon));
    plan.notes.extend(broken);
    Ok(PlanReport { plan, file: located.name, basis: Basis::Revision(before) })
}

/// That the definition of a revision has errors, so that it was not compared with.
fn base_invalid(revision: String, findings: &Findings) -> Note {
    let first = findings.first_error().map(ToString::to_string).unwrap_or_default();
    let message = format!(
        "its definition has {}, so the plan is made as if nothing existed; the first: {}",
        count(findings.errors, "error"),
        first.lines().next().unwrap_or_default()
    );
    Note { level: NoteLevel::Warning, code: "BaseInvalid".to_owned(), subject: revision, message }
}

/// Plans, and ends as `diff(1)` does.
pub async fn diff(global: &Global, args: DiffArgs) -> Result<Outcome, CliError> {
    let DiffArgs { definition, world } = args;
    let args = Args { definition, world, horizon: HORIZON, out: None, detailed_exitcode: true };
    match run(global, args).await {
        Ok(Outcome { exit, report }) => Ok(Outcome { exit: exit.of_diff(), report }),
        Err(error) => Err(CliError { exit: error.exit.of_diff(), ..error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detailed_exit_code_tells_gates_from_what_was_not_seen() {
        use tenter_consortium::plan::{Effects, Step, StepId};
        let step = |blocked: Option<&str>, unseen| PlannedStep {
            step: Step::PinGenesis { channel: "c".to_owned() },
            needs: BTreeSet::default(),
            reasons: vec![],
            blocked: blocked.map(ToOwned::to_owned),
            unseen,
            irreversible: None,
            effects: Effects::default(),
            approval: None,
        };
        let check = |steps: Vec<PlannedStep>, level: NoteLevel, expect: Exit, plainly: Exit| {
            let steps = steps.into_iter().enumerate().map(|(index, step)| (StepId(index.to_string()), step)).collect();
            let text = || "x".to_owned();
            let notes = vec![Note { level, code: text(), subject: text(), message: text() }];
            let plan = Plan { format: 1, consortium: text(), revision: None, steps, notes, hash: text() };
            assert_eq!((ended(&plan, true), ended(&plan, false)), (expect, plainly), "{plan:?}");
        };
        let forbidden = || step(Some("cannot tell"), Some(Unseen::Forbidden));
        let unreachable = || step(Some("cannot tell"), Some(Unseen::Unreachable));
        let unapproved = || step(Some("nobody approved it"), Some(Unseen::Unapproved));
        let awaited = || step(Some("it is missing"), Some(Unseen::Awaited));
        let (info, error) = (NoteLevel::Info, NoteLevel::Error);
        check(vec![], NoteLevel::Warning, Exit::Ok, Exit::Ok);
        check(vec![], error, Exit::Blocked, Exit::Blocked);
        check(vec![step(None, None)], info, Exit::Changes, Exit::Ok);
        check(vec![step(None, None)], error, Exit::Blocked, Exit::Blocked);
        check(vec![step(None, None), unreachable()], info, Exit::Unreachable, Exit::Ok);
        check(vec![forbidden(), unreachable()], info, Exit::Unauthorised, Exit::Ok);
        check(vec![forbidden(), step(Some("no"), None)], info, Exit::Blocked, Exit::Blocked);
        check(vec![awaited(), step(None, None)], info, Exit::Changes, Exit::Ok);
        check(vec![awaited(), unreachable()], info, Exit::Unreachable, Exit::Ok);
        check(vec![unapproved(), step(None, None)], info, Exit::Blocked, Exit::Ok);
    }

    #[test]
    fn ages_are_told() {
        let now = "2026-05-01T12:00:00Z".parse().unwrap();
        let check = |taken: &str, expect: &str| assert_eq!(age(taken, now), expect);
        check("2026-05-01T11:59:30Z", "30 s ago");
        check("2026-05-01T11:30:00Z", "30 min ago");
        check("2026-04-30T12:00:00Z", "24 h ago");
        check("2026-04-01T12:00:00Z", "30 days ago");
        check("2026-05-01T13:00:00Z", "in the future: look at the clocks");
        check("yesterday", "at a time that cannot be read");
    }

    #[test]
    fn subjects_and_mirrors_are_read() {
        assert_eq!(subject("ServiceAccount:trade:bot").unwrap().namespace.as_deref(), Some("trade"));
        assert_eq!(subject("User:ann").unwrap().kind, SubjectKind::User);
        assert!(subject("ann").is_err() && subject("ServiceAccount:bot").is_err());
        assert_eq!(pair("a=b").unwrap(), ("a".to_owned(), "b".to_owned()));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
