//! `tenter plan`: what would change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kube::ResourceExt as _;
use serde_json::Value;
use tenter_consortium::network::Network;
use tenter_consortium::objects::{ImageSettings, NamespaceSettings, Subject, SubjectKind};
use tenter_consortium::plan::{Plan, PlannedStep, Unseen};
use tenter_consortium::settings::Settings;

use super::args::Global;
use super::cluster::Cluster;
use super::definition::{Located, RepositoryArgs, load, read_local};
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use crate::report::Style;
use crate::report::plan::PlanReport;
use crate::report::review::Review;
use crate::resources::Consortium;
use crate::sync::definition::credentials;
use crate::sync::engine::plan_offline;

/// Show what would change: objects, genesis blocks, joins, and the configuration of channels.
///
/// The definition is FILE, or that of --repository, or that of the Consortium object. Settings (which organizations,
/// namespaces and images) are those of the Consortium object, or, where there is none, the flags below.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tenter plan --consortium trade .
  tenter plan --detailed-exitcode -o json network.yaml
  tenter plan --offline --organizations '*' --allow-namespace 'trade-*' --allow-image docker.io/hyperledger .
  tenter plan --repository https://git.example/trade.git --revision main")]
pub struct Args {
    #[command(flatten)]
    definition: DefinitionArgs,
    /// Plan as if nothing existed, without a cluster
    #[arg(long, env = "TENTER_OFFLINE", hide_env_values = true)]
    offline: bool,
    /// End with 0 when nothing would change, 2 when something would, 7 when a gate stops a step
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
  tenter diff -q --consortium trade . > /dev/null || echo 'something would change'")]
pub struct DiffArgs {
    #[command(flatten)]
    definition: DefinitionArgs,
    /// Plan as if nothing existed, without a cluster
    #[arg(long, env = "TENTER_OFFLINE", hide_env_values = true)]
    offline: bool,
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

/// The exit code of `--detailed-exitcode`.
fn detailed(plan: &Plan) -> Exit {
    if plan.steps.values().any(PlannedStep::is_gated) {
        return Exit::Blocked;
    }
    match plan.unseen() {
        Some(unseen) => unseen_exit(unseen),
        None if !plan.steps.is_empty() => Exit::Changes,
        None if plan.error().is_some() => Exit::Blocked,
        None => Exit::Ok,
    }
}

/// The exit code for what could not be seen.
pub const fn unseen_exit(unseen: Unseen) -> Exit {
    match unseen {
        Unseen::Unreachable => Exit::Unreachable,
        Unseen::Forbidden => Exit::Unauthorised,
    }
}

/// Plans.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let Args { definition, offline, detailed_exitcode } = args;
    let (plan, file) = if offline {
        let Inputs { located, network, settings } = definition.inputs(global, None, None).await?;
        (plan_offline(&network, &settings, located.revision.as_deref()), located.name)
    } else {
        let cluster = Cluster::connect(global).await?;
        let consortium = cluster.consortium(global).await?;
        let Inputs { located, network, settings } =
            definition.inputs(global, Some(&cluster), consortium.as_ref()).await?;
        let look = cluster.engine.look(&network, &settings, located.revision.as_deref()).await;
        (look.plan, located.name)
    };
    let exit = if detailed_exitcode { detailed(&plan) } else { Exit::Ok };
    Ok(Outcome::with(exit, PlanReport { plan, file, offline }))
}

/// Plans, and ends as `diff(1)` does.
pub async fn diff(global: &Global, args: DiffArgs) -> Result<Outcome, CliError> {
    let DiffArgs { definition, offline } = args;
    let args = Args { definition, offline, detailed_exitcode: true };
    match run(global, args).await {
        Ok(Outcome { exit, report }) => Ok(Outcome { exit: exit.of_diff(), report }),
        Err(CliError { exit, message, hint }) => Err(CliError { exit: exit.of_diff(), message, hint }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detailed_exit_code_tells_gates_from_what_was_not_seen() {
        use std::collections::BTreeSet;

        use tenter_consortium::plan::{Note, NoteLevel, Step, StepId};
        let step = |blocked: Option<&str>, unseen| PlannedStep {
            step: Step::PinGenesis { channel: "c".to_owned() },
            needs: BTreeSet::default(),
            reasons: vec![],
            blocked: blocked.map(ToOwned::to_owned),
            unseen,
            irreversible: None,
        };
        let check = |steps: Vec<PlannedStep>, level: NoteLevel, expect: Exit| {
            let steps = steps.into_iter().enumerate().map(|(index, step)| (StepId(index.to_string()), step)).collect();
            let text = || "x".to_owned();
            let notes = vec![Note { level, code: text(), subject: text(), message: text() }];
            let plan = Plan { format: 1, consortium: text(), revision: None, steps, notes, hash: text() };
            assert_eq!(detailed(&plan), expect, "{plan:?}");
        };
        let forbidden = || step(Some("cannot tell"), Some(Unseen::Forbidden));
        let unreachable = || step(Some("cannot tell"), Some(Unseen::Unreachable));
        check(vec![], NoteLevel::Warning, Exit::Ok);
        check(vec![], NoteLevel::Error, Exit::Blocked);
        check(vec![step(None, None)], NoteLevel::Error, Exit::Changes);
        check(vec![step(None, None), unreachable()], NoteLevel::Info, Exit::Unreachable);
        check(vec![forbidden(), unreachable()], NoteLevel::Info, Exit::Unauthorised);
        check(vec![forbidden(), step(Some("no"), None)], NoteLevel::Info, Exit::Blocked);
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
