//! The definition that a Consortium names: fetched, read, validated; and the last good one.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tenter_consortium::diagnostic::{Diagnostic, Severity};
use tenter_consortium::document::{self, RepositoryFacts};
use tenter_consortium::network::Network;
use tenter_consortium::objects::{ConsortiumSource, ConsortiumSpec, KeyReference, TrustedKey};
use tenter_consortium::ownership::unconsented;
use tenter_consortium::repository;
use tenter_consortium::settings::{acts_for_others, trust_problem, verifies};
use tenter_consortium::status::ConsortiumStatus;

use super::conclude::{Problem, line};
use crate::controllers::apply;
use crate::controllers::context::Context;
use crate::source::mirror::{self, FetchRequest, Fetched};
use crate::source::{Credentials, SourceError, folder, process};
use crate::trust::KeyText;
use crate::trust::history::{HistoryProblem, Trust, VerifiedHistory};

/// Findings of a broken definition that a status lists.
const LISTED: usize = 10;

/// A definition that was read and is valid.
#[derive(Clone, Debug)]
pub struct Good {
    /// The commit, or the name of a folder's content.
    pub revision: String,
    /// What it says.
    pub network: Network,
}

/// What came of looking for the newest definition.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    /// The newest commit, if it could be told.
    pub attempted: Option<String>,
    /// The definition, if it may be applied.
    pub good: Option<Good>,
    /// Why it may not be.
    pub problem: Option<Problem>,
    /// Findings in it.
    pub findings: Vec<String>,
    /// The commit up to which all signatures were found good.
    pub verified: Option<String>,
}

impl Newest {
    fn failed(attempted: Option<String>, problem: Problem) -> Self {
        Self { attempted, problem: Some(problem), ..Self::default() }
    }
}

/// Whether only a person can change what went wrong with a source.
const fn is_terminal(error: &SourceError) -> bool {
    match error {
        SourceError::Unreachable { .. } | SourceError::Timeout { .. } | SourceError::Local { .. } => false,
        SourceError::Url { .. }
        | SourceError::Unauthorised { .. }
        | SourceError::HostKey { .. }
        | SourceError::TooMuchData { .. }
        | SourceError::NoRevision { .. }
        | SourceError::Empty { .. }
        | SourceError::NoFile { .. }
        | SourceError::NotAFile { .. }
        | SourceError::TooLarge { .. } => true,
    }
}

fn problem(error: &SourceError) -> Problem {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    Problem { reason: error.reason().to_owned(), message: format!("{error}{hint}"), terminal: is_terminal(error) }
}

/// Reads the trusted keys that a source names; `None` when commits are not verified.
pub async fn trusted_keys(ctx: &Context, spec: &ConsortiumSpec) -> Result<Option<Vec<KeyText>>, Problem> {
    if let Some((reason, message)) = trust_problem(spec) {
        return Err(Problem { reason: reason.to_owned(), message, terminal: true });
    }
    let Some(verification) = spec.source.verification.as_ref().filter(|_| verifies(spec)) else { return Ok(None) };
    let mut keys = Vec::new();
    for key in &verification.keys {
        let TrustedKey { name, organization, ssh, openpgp, config_map, secret, not_after, revoked } = key;
        let text = match (ssh.as_ref().or(openpgp.as_ref()), config_map, secret) {
            (Some(text), ..) => text.clone(),
            (None, Some(reference), _) => {
                entry::<ConfigMap>(ctx, name, reference, |map, key| {
                    map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes)
                })
                .await?
            }
            (None, None, Some(reference)) => {
                entry::<Secret>(ctx, name, reference, |secret, key| {
                    secret.data.and_then(|mut data| data.remove(key)).map(|value| value.0)
                })
                .await?
            }
            (None, None, None) => String::new(),
        };
        let parsed = not_after.as_ref().map(|text| text.parse().map_err(|error| (text, error))).transpose();
        let not_after = parsed.map_err(|(text, error): (_, jiff::Error)| Problem {
            reason: "TrustedKeyInvalid".to_owned(),
            message: format!(
                "key `{name}` of spec.source.verification: notAfter `{text}` is no RFC 3339 time: {error}"
            ),
            terminal: true,
        })?;
        keys.push(KeyText {
            name: name.clone(),
            organization: organization.clone(),
            text,
            not_after,
            revoked: *revoked,
        });
    }
    Ok(Some(keys))
}

/// The text of an entry that a trusted key refers to.
async fn entry<K: apply::Namespaced>(
    ctx: &Context,
    name: &str,
    reference: &KeyReference,
    take: impl FnOnce(K, &str) -> Option<Vec<u8>>,
) -> Result<String, Problem> {
    let failed = |why: String| Problem {
        reason: "TrustedKeyMissing".to_owned(),
        message: format!("key `{name}` of spec.source.verification: {why}"),
        terminal: false,
    };
    let KeyReference { name: object, key } = reference;
    let found = apply::get::<K>(ctx, &ctx.namespace, object).await.map_err(|failure| failed(failure.message))?;
    let found = found.ok_or_else(|| failed(format!("there is no {object} in namespace {}", ctx.namespace)))?;
    let bytes = take(found, key).ok_or_else(|| failed(format!("{object} has no entry `{key}`")))?;
    String::from_utf8(bytes).map_err(|_| failed(format!("entry `{key}` of {object} is not text")))
}

/// The commit from which signatures are verified: the last one that was accepted, if it came from the same branch.
pub fn accepted(source: &ConsortiumSource, status: &ConsortiumStatus) -> Option<String> {
    let same = status.last_verified_source.as_deref() == Some(source_name(source).as_str());
    status.last_verified_revision.clone().filter(|_| same)
}

/// Reads the credentials that a source names.
pub async fn credentials(ctx: &Context, source: &ConsortiumSource) -> Result<Credentials, Problem> {
    let Some(name) = &source.secret else { return Ok(Credentials::default()) };
    let failed = |message: String| Problem { reason: "SourceSecret".to_owned(), message, terminal: false };
    let secret = apply::get::<Secret>(ctx, &ctx.namespace, name)
        .await
        .map_err(|failure| failed(failure.message))?
        .ok_or_else(|| failed(format!("Secret {}/{name} (spec.source.secret) does not exist", ctx.namespace)))?;
    let data = secret.data.unwrap_or_default();
    let text = |key: &str| {
        data.get(key)
            .map(|value| String::from_utf8(value.0.clone()))
            .transpose()
            .map_err(|_| failed(format!("`{key}` in Secret {}/{name} is not text", ctx.namespace)))
    };
    // A token pasted from a browser ends with a line break; a key needs the one that it has.
    let trimmed = |value: Option<String>| value.map(|value| value.trim_end_matches(['\r', '\n']).to_owned());
    Ok(Credentials {
        username: trimmed(text("username")?),
        password: trimmed(text("password")?),
        identity: text("identity")?,
        known_hosts: text("known_hosts")?,
    })
}

/// Repository and branch, as the status names them.
pub fn source_name(source: &ConsortiumSource) -> String {
    format!("{} {}", source.repository, source.branch)
}

/// The commit that the newest one must descend from: the one that was applied last, if it came from the same branch of
/// the same repository.
pub fn base(source: &ConsortiumSource, status: &ConsortiumStatus) -> Option<String> {
    let commit = status.last_applied_revision.as_ref()?;
    let same = status.last_applied_source.as_deref() == Some(source_name(source).as_str());
    // The name of a folder's content is no commit.
    let is_commit = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (same && is_commit).then(|| commit.clone())
}

/// Fetches the newest definition of a repository. `last_good` is the commit that it must descend from, `accepted` the one from
/// which signatures are verified. `consented` names the organizations whose `consent.sig` verifies for a definition.
pub async fn from_repository(
    ctx: &Context,
    spec: &ConsortiumSpec,
    cache: &Path,
    limit: Duration,
    last_good: Option<&str>,
    accepted: Option<&str>,
    consented: &(dyn Fn(&Network) -> BTreeSet<String> + Sync),
) -> Newest {
    let source = &spec.source;
    let trust = match trusted_keys(ctx, spec).await {
        Ok(keys) => keys.map(|keys| Trust { keys, accepted: accepted.map(ToOwned::to_owned), now: ctx.now() }),
        Err(problem) => return Newest::failed(None, problem),
    };
    let credentials = match credentials(ctx, source).await {
        Ok(credentials) => credentials,
        Err(problem) => return Newest::failed(None, problem),
    };
    let request = FetchRequest {
        cache: cache.to_owned(),
        url: source.repository.clone(),
        revision: source.branch.clone(),
        path: source.path.clone(),
        last_good: last_good.map(ToOwned::to_owned),
        trust,
        credentials,
    };
    match process::fetch(&request, limit).await {
        Ok(fetched) => judge(fetched, spec, last_good, consented, ctx.now()),
        Err(error) => Newest::failed(None, problem(&error)),
    }
}

/// Whether a commit may be applied.
fn judge(
    fetched: Fetched,
    spec: &ConsortiumSpec,
    last_good: Option<&str>,
    consented: &(dyn Fn(&Network) -> BTreeSet<String> + Sync),
    now: Timestamp,
) -> Newest {
    let Fetched { commit, subject: _, fast_forward, history, facts, definition } = fetched;
    if !fast_forward {
        let message = format!(
            "commit {commit} of branch {} does not descend from {}, which was applied last: the history was rewritten; put \
             that commit back, or delete and make the Consortium object again to accept the new history",
            spec.source.branch,
            last_good.unwrap_or_default()
        );
        return Newest::failed(
            Some(commit),
            Problem { reason: "HistoryRewritten".to_owned(), message, terminal: true },
        );
    }
    let history = match (history, verifies(spec)) {
        (Some(Ok(history)), _) => Some(history),
        (Some(Err(problem)), _) => {
            let terminal = !matches!(problem, HistoryProblem::Unreadable { .. });
            let problem = Problem { reason: problem.reason().to_owned(), message: problem.to_string(), terminal };
            return Newest::failed(Some(commit), problem);
        }
        (None, true) => {
            let message = format!("the signature of commit {commit} was not looked at; it is fetched again");
            let reason = "CommitNotVerified".to_owned();
            return Newest::failed(Some(commit), Problem { reason, message, terminal: false });
        }
        (None, false) => None,
    };
    if let Some(problem) = for_others(spec, &facts) {
        return Newest::failed(Some(commit), problem);
    }
    match definition {
        Err(error) => Newest::failed(Some(commit), problem(&error)),
        Ok(bytes) => {
            let newest = read(commit, &bytes, &spec.source.path, &facts, now);
            match history {
                Some(history) => agreed(newest, &history, consented),
                None => newest,
            }
        }
    }
}

/// Whether the organizations whose parts a verified history changes have agreed.
fn agreed(
    newest: Newest,
    history: &VerifiedHistory,
    consented: &(dyn Fn(&Network) -> BTreeSet<String> + Sync),
) -> Newest {
    let Some(good) = &newest.good else { return newest };
    let consented = consented(&good.network);
    let missing = unconsented(&history.changes, &consented, &history.settled);
    let Some(first) = missing.first() else {
        return Newest { verified: Some(good.revision.clone()), ..newest };
    };
    let more = missing.len() - 1;
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let problem =
        Problem { reason: "ConsentMissing".to_owned(), message: line(&format!("{first}{more}")), terminal: true };
    Newest { problem: Some(problem), good: None, ..newest }
}

/// What is wrong with acting on a definition where these facts stand beside it.
fn for_others(spec: &ConsortiumSpec, facts: &RepositoryFacts) -> Option<Problem> {
    let message = line(&acts_for_others(&spec.organizations, facts)?);
    Some(Problem { reason: "OrganizationsNotNamed".to_owned(), message, terminal: true })
}

/// Reads a definition from a local folder. A folder has no commits: where they are to be verified, nothing is taken from it,
/// as the objects would count as what the members signed.
pub fn from_folder(path: &Path, spec: &ConsortiumSpec, now: Timestamp) -> Newest {
    if verifies(spec) {
        let message =
            "spec.source.verification asks for signed commits, and a folder (--path) has none: leave --path out, or \
                       set spec.source.verification.mode to `off`"
                .to_owned();
        let reason = "FolderNotVerified".to_owned();
        return Newest::failed(None, Problem { reason, message, terminal: true });
    }
    match folder::read(path) {
        Err(error) => Newest::failed(None, problem(&error)),
        Ok((file, bytes)) => {
            let facts = folder::facts(&file, &bytes);
            let revision = folder::revision(&bytes, &facts);
            match for_others(spec, &facts) {
                Some(problem) => Newest::failed(Some(revision), problem),
                None => read(revision, &bytes, &file.display().to_string(), &facts, now),
            }
        }
    }
}

/// A finding in one line.
fn one_line(finding: &Diagnostic) -> String {
    let text = finding.to_string();
    line(&text.lines().map(str::trim).collect::<Vec<_>>().join("; "))
}

/// Parses and validates.
fn read(revision: String, bytes: &[u8], name: &str, facts: &RepositoryFacts, now: Timestamp) -> Newest {
    let loaded = document::load(bytes, name, facts);
    // What is wrong with a member's folder stops only the channels that need it.
    let members = loaded.network.as_ref().map(|network| repository::check(network, Some(now))).unwrap_or_default();
    let findings: Vec<String> = loaded.diagnostics.iter().chain(&members).take(LISTED).map(one_line).collect();
    let attempted = Some(revision.clone());
    if let Some(network) = loaded.network {
        return Newest { attempted, good: Some(Good { revision, network }), findings, ..Newest::default() };
    }
    let errors = loaded.diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
    let first = errors.clone().next().map(one_line).unwrap_or_default();
    let message = format!("{name} has {}: {first}", crate::report::count(errors.count(), "error"));
    let problem = Problem { reason: "InvalidDefinition".to_owned(), message, terminal: true };
    Newest { attempted, problem: Some(problem), findings, ..Newest::default() }
}

/// The definition that was applied last, out of the mirror: after a restart while the newest one cannot be had.
pub fn last_applied(spec: &ConsortiumSpec, cache: &Path, commit: &str) -> Option<Good> {
    let (bytes, facts) = mirror::read_known(cache, &spec.source.repository, commit, &spec.source.path).ok()?;
    let loaded = document::load(&bytes, &spec.source.path, &facts);
    loaded.network.map(|network| Good { revision: commit.to_owned(), network })
}

#[cfg(test)]
mod tests {
    use tenter_consortium::objects::{SourceVerification, VerificationMode};

    use super::*;

    fn spec(organizations: &[&str]) -> ConsortiumSpec {
        serde_json::from_value(serde_json::json!({
            "source": { "repository": "https://git.example/trade.git" },
            "organizations": organizations,
        }))
        .unwrap()
    }

    const GOOD: &str = "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  \
                        organizations: [{name: acme, peers: [peer1]}]\n";

    fn check(fetched: Fetched, organizations: &[&str], expect: Option<&str>) {
        let newest = judge(fetched, &spec(organizations), Some("old"), &|_| BTreeSet::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(newest.attempted.as_deref(), Some("new"));
        assert_eq!(newest.problem.as_ref().map(|problem| problem.reason.as_str()), expect, "{newest:?}");
        assert_eq!(newest.good.is_some(), expect.is_none());
    }

    #[test]
    fn history_is_that_of_one_branch_of_one_repository() {
        let source = spec(&["*"]).source;
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let check = |revision: &str, from: Option<String>, expect: Option<&str>| {
            let status = ConsortiumStatus {
                last_applied_revision: Some(revision.to_owned()),
                last_applied_source: from,
                ..ConsortiumStatus::default()
            };
            assert_eq!(base(&source, &status).as_deref(), expect);
        };
        check(commit, Some(source_name(&source)), Some(commit));
        check(commit, Some("https://git.example/other.git main".to_owned()), None);
        check(commit, None, None);
        check("folder-0123", Some(source_name(&source)), None);
        assert_eq!(base(&source, &ConsortiumStatus::default()), None);
    }

    #[test]
    fn only_a_valid_descendant_may_be_applied() {
        let fetched = Fetched {
            commit: "new".to_owned(),
            subject: String::new(),
            fast_forward: true,
            history: None,
            facts: RepositoryFacts::default(),
            definition: Ok(GOOD.as_bytes().to_vec()),
        };
        check(fetched.clone(), &["*"], None);
        check(Fetched { fast_forward: false, ..fetched.clone() }, &["*"], Some("HistoryRewritten"));
        let broken = GOOD.replace("peers", "peerz").into_bytes();
        check(Fetched { definition: Ok(broken), ..fetched.clone() }, &["*"], Some("InvalidDefinition"));
        let missing = SourceError::NoFile { commit: "new".to_owned(), path: "network.yaml".to_owned() };
        check(Fetched { definition: Err(missing), ..fetched.clone() }, &["*"], Some("DefinitionNotFound"));
        let facts = RepositoryFacts { organizations: vec!["acme".to_owned()], ..RepositoryFacts::default() };
        let shared = Fetched { facts, ..fetched };
        check(shared, &["*"], Some("OrganizationsNotNamed"));
    }

    #[test]
    fn a_folder_on_a_disk_is_held_to_the_same() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("network.yaml"), GOOD).unwrap();
        let reason = |organizations: &[&str]| {
            from_folder(folder.path(), &spec(organizations), Timestamp::UNIX_EPOCH)
                .problem
                .map(|problem| problem.reason)
        };
        assert_eq!(reason(&["*"]), None);
        // A link is not followed, and what cannot be read is not nothing.
        std::os::unix::fs::symlink("/nowhere", folder.path().join("organizations")).unwrap();
        assert_eq!(reason(&["*"]).as_deref(), Some("OrganizationsNotNamed"));
        std::fs::remove_file(folder.path().join("organizations")).unwrap();
        std::fs::create_dir_all(folder.path().join("organizations/acme")).unwrap();
        assert_eq!(reason(&["*"]).as_deref(), Some("OrganizationsNotNamed"));
        assert_eq!(reason(&["hub"]), None);
    }

    #[test]
    fn a_folder_is_no_verified_history() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("network.yaml"), GOOD).unwrap();
        let check = |mode: VerificationMode, expect: Option<&str>| {
            let mut spec = spec(&["*"]);
            spec.source.verification = Some(SourceVerification { mode, ..SourceVerification::default() });
            let newest = from_folder(folder.path(), &spec, Timestamp::UNIX_EPOCH);
            assert_eq!(newest.problem.as_ref().map(|problem| problem.reason.as_str()), expect, "{newest:?}");
            assert_eq!(newest.good.is_some(), expect.is_none());
        };
        check(VerificationMode::Required, Some("FolderNotVerified"));
        check(VerificationMode::Off, None);
    }
}
