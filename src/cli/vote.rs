//! `tenter vote` and `tenter votes`: what organizations say to config updates.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::ValueEnum;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde_json::Value;
use tenter_consortium::objects::{LABEL_CONSORTIUM, LABEL_ORGANIZATION, VoteChoice, VoteSpec};

use super::args::Global;
use super::cluster::{Cluster, failed, refused};
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report, Verbatim};
use crate::controllers::apply::{get, list, list_all};
use crate::controllers::channel::config::line;
use crate::controllers::failure::Failure;
use crate::controllers::proposal;
use crate::report::Style;
use crate::resources::{Membership, Organization, Proposal, Vote};

/// Field manager of votes.
const MANAGER: &str = "tenter-vote";

/// Say for an organization whether it signs a config update.
///
/// Writes a Vote in the organization's namespace. It is for exactly the update that the proposal holds now. An approval lets
/// an organization whose signing is manual sign; a rejection keeps it from signing, and other members are told of it. Voting
/// again replaces the vote; a signature that was published cannot be taken back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tenter votes\n  tenter vote approve settlement-3f2a9c01de --organization acme\n  \
                        tenter vote reject settlement-3f2a9c01de --organization acme --reason 'blocks get too large'"
)]
pub struct Args {
    /// What to say
    #[arg(value_name = "CHOICE", value_enum)]
    choice: Choice,
    /// The proposal
    #[arg(value_name = "PROPOSAL")]
    proposal: String,
    /// Why, in a line; others read it when an update is rejected
    #[arg(long, env = "TENTER_REASON", hide_env_values = true, value_name = "TEXT", default_value = "")]
    reason: String,
    /// The organization [default: the only one whose vote the proposal waits for]
    #[arg(long, env = "TENTER_ORGANIZATION", hide_env_values = true, value_name = "NAME")]
    organization: Option<String>,
    /// Its namespace [default: as its object says, else CONSORTIUM-ORGANIZATION]
    #[arg(long, env = "TENTER_ORGANIZATION_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    organization_namespace: Option<String>,
}

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// It signs.
    Approve,
    /// It does not.
    Reject,
}

/// Show the proposals that are open, and who said what to them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter votes\n  tenter votes -o json")]
pub struct ListArgs {}

/// An organization, as a vote needs it.
struct Voter {
    consortium: String,
    organization: String,
    namespace: String,
}

/// Votes.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let Args { choice, proposal, reason, organization, organization_namespace } = args;
    if reason.len() > 250 || reason.chars().any(char::is_control) {
        return Err(CliError::new(Exit::Usage, "a reason is one line of at most 250 bytes", "shorten --reason"));
    }
    let cluster = Cluster::connect(global).await?;
    let ctx = &cluster.engine.ctx;
    // An organization's administrator may read its own namespace only: what is elsewhere is asked, and done without.
    let found = get::<Proposal>(ctx, &global.namespace, &proposal).await;
    let voter = voter(&cluster, global, organization, organization_namespace, found.as_ref().ok()).await?;
    let digest = digest(&cluster, &voter, &proposal, found).await?;
    let choice = match choice {
        Choice::Approve => VoteChoice::Approve,
        Choice::Reject => VoteChoice::Reject,
    };
    let Voter { consortium, organization, namespace } = voter;
    let spec = VoteSpec {
        consortium: consortium.clone(),
        organization: organization.clone(),
        proposal,
        digest,
        choice,
        reason,
    };
    let mut vote = Vote::new(&spec.proposal, spec.clone());
    vote.metadata.namespace = Some(namespace.clone());
    vote.metadata.labels = Some(BTreeMap::from([
        (LABEL_CONSORTIUM.to_owned(), consortium),
        (LABEL_ORGANIZATION.to_owned(), organization),
    ]));
    let api = Api::<Vote>::namespaced(ctx.client.clone(), &namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(&spec.proposal, &parameters, &Patch::Apply(&vote))
        .await
        .map_err(|error| failed("write the vote", &namespace, &error))?;
    let VoteSpec { organization, proposal, digest, choice, .. } = &spec;
    let text = format!("{organization}: {choice} {proposal} (digest {digest}); see Vote {namespace}/{proposal}\n");
    Ok(Outcome::shown(Verbatim(text)))
}

/// For whom, and where.
async fn voter(
    cluster: &Cluster,
    global: &Global,
    organization: Option<String>,
    namespace: Option<String>,
    proposal: Option<&Option<Proposal>>,
) -> Result<Voter, CliError> {
    let ctx = &cluster.engine.ctx;
    let proposal = proposal.and_then(Option::as_ref);
    let consortium = global.consortium.clone().or_else(|| proposal.map(|proposal| proposal.spec.consortium.clone()));
    let organizations = list::<Organization>(ctx, &global.namespace, "").await.unwrap_or_default();
    let organization = if let Some(name) = organization {
        name
    } else {
        let status = proposal.and_then(|proposal| proposal.status.as_ref());
        let awaiting = status.map(|status| status.awaiting_votes.clone()).unwrap_or_default();
        let mut waiting = organizations.iter().filter(|object| awaiting.contains(&object.spec.msp_id));
        let (Some(only), None) = (waiting.next(), waiting.next()) else {
            return Err(CliError::new(
                Exit::Usage,
                "for which organization is not clear",
                "name it with --organization",
            ));
        };
        only.name_any()
    };
    let object = organizations.iter().find(|object| object.name_any() == organization);
    let consortium = consortium
        .or_else(|| object.map(|object| object.spec.consortium.clone()))
        .ok_or_else(|| CliError::new(Exit::Usage, "of which Consortium is not clear", "name it with --consortium"))?;
    let namespace = namespace
        .or_else(|| object.map(|object| object.spec.namespace.clone()))
        .unwrap_or_else(|| format!("{consortium}-{organization}"));
    Ok(Voter { consortium, organization, namespace })
}

/// The digest of what is voted on: the Proposal's, or what the organization's memberships say of it.
async fn digest(
    cluster: &Cluster,
    voter: &Voter,
    name: &str,
    proposal: Result<Option<Proposal>, Failure>,
) -> Result<String, CliError> {
    let unread = match proposal {
        Ok(Some(proposal)) => return Ok(proposal.spec.digest),
        Ok(None) => {
            let hint = "tenter votes lists those that are open";
            return Err(CliError::new(Exit::Failure, format!("there is no Proposal {name}"), hint));
        }
        Err(failure) => failure,
    };
    let memberships =
        list::<Membership>(&cluster.engine.ctx, &voter.namespace, "").await.map_err(|_| refused(&unread))?;
    let open = memberships.iter().filter_map(|membership| membership.status.as_ref()).flat_map(|it| &it.proposals);
    let found = open.into_iter().find(|open| open.name == name).map(|open| open.digest.clone());
    found.ok_or_else(|| {
        let message = format!("no Membership of namespace {} waits for a vote on {name}", voter.namespace);
        let hint = "tenter votes lists the proposals that are open, for those who may read them";
        CliError::new(Exit::Failure, message, hint)
    })
}

/// A proposal, and what was said to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    topic: String,
    digest: String,
    phase: Option<String>,
    message: String,
    changes: Vec<String>,
    awaiting_votes: Vec<String>,
    votes: Vec<Said>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    #[serde(rename = "mspID")]
    msp_id: String,
    choice: VoteChoice,
    reason: String,
}

struct Items(Vec<Item>);

impl Report for Items {
    fn text(&self, style: Style) -> String {
        if self.0.is_empty() {
            return "no proposal is open\n".to_owned();
        }
        let mut text = String::new();
        for item in &self.0 {
            let phase = item.phase.as_deref().unwrap_or("new");
            let _ = writeln!(text, "{}  {}  {phase}: {}", style.bold(&item.name), item.topic, item.message);
            for change in &item.changes {
                let _ = writeln!(text, "    {change}");
            }
            for Said { msp_id, choice, reason } in &item.votes {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let _ = writeln!(text, "  {choice} by {msp_id}{reason}");
            }
            for msp_id in &item.awaiting_votes {
                let _ = writeln!(text, "  {msp_id} has not said anything");
            }
        }
        text
    }

    fn json(&self) -> Value {
        serde_json::to_value(&self.0).unwrap_or_default()
    }
}

/// Lists.
pub async fn votes(global: &Global, _args: ListArgs) -> Result<Outcome, CliError> {
    let cluster = Cluster::connect(global).await?;
    let consortium = cluster.required_consortium(global).await?.name_any();
    let ctx = &cluster.engine.ctx;
    let labels = format!("{LABEL_CONSORTIUM}={consortium}");
    let proposals = list::<Proposal>(ctx, &global.namespace, &labels).await.map_err(|failure| refused(&failure))?;
    let cast = list_all::<Vote>(ctx, "").await.unwrap_or_default();
    let mut items = Vec::new();
    for object in &proposals {
        let seen = proposal::seen(object);
        let status = object.status.clone().unwrap_or_default();
        if !seen.is_open() && !seen.voted_down {
            continue;
        }
        let said =
            |msp_id: &str, choice, reason: &str| Said { msp_id: msp_id.to_owned(), choice, reason: reason.to_owned() };
        let mut votes: Vec<Said> =
            status.votes.iter().map(|vote| said(&vote.msp_id, vote.choice, &vote.reason)).collect();
        // What is written and not counted yet.
        let counted = |vote: &Vote| status.votes.iter().any(|held| held.organization == vote.spec.organization);
        let fresh = cast.iter().filter(|vote| vote.spec.proposal == seen.name && vote.spec.digest == seen.digest);
        votes.extend(
            fresh
                .filter(|vote| vote.spec.consortium == consortium && !counted(vote))
                .map(|vote| said(&vote.spec.organization, vote.spec.choice, &vote.spec.reason)),
        );
        items.push(Item {
            name: seen.name,
            topic: seen.topic,
            digest: seen.digest,
            phase: seen.phase.map(|phase| phase.to_string()),
            message: seen.message,
            changes: seen.changes.iter().map(line).collect(),
            awaiting_votes: status.awaiting_votes,
            votes,
        });
    }
    Ok(Outcome::shown(Items(items)))
}
