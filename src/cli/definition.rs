//! Definitions that the command line names: a file, a folder, standard input, or a revision of a repository.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tenter_consortium::document::{self, RepositoryFacts};
use tenter_consortium::network::Network;

use super::exit::Exit;
use super::outcome::CliError;
use crate::report::diagnostics::Findings;
use crate::source::mirror::{FetchRequest, Fetched};
use crate::source::{Credentials, MAX_BLOB_BYTES, SourceError, folder, process};

/// A definition's bytes and what belongs to them.
#[derive(Clone, Debug)]
pub struct Located {
    /// What messages call the file.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What lies beside it.
    pub facts: RepositoryFacts,
    /// The commit that it came from.
    pub revision: Option<String>,
}

impl From<SourceError> for CliError {
    fn from(error: SourceError) -> Self {
        let exit = match &error {
            SourceError::Unreachable { .. } => Exit::Unreachable,
            SourceError::Timeout { .. } => Exit::Timeout,
            SourceError::Unauthorised { .. } | SourceError::HostKey { .. } => Exit::Unauthorised,
            SourceError::Url { .. } => Exit::Usage,
            _ => Exit::Failure,
        };
        Self { hint: error.hint().map(ToOwned::to_owned), ..Self::plain(exit, error.to_string()) }
    }
}

/// Reads a file, a folder's `network.yaml`, or standard input (`-`).
pub fn read_local(path: &Path) -> Result<Located, CliError> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(MAX_BLOB_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::plain(Exit::Failure, format!("cannot read standard input: {error}")))?;
        return Ok(Located { name: "-".to_owned(), bytes, facts: RepositoryFacts::default(), revision: None });
    }
    let (file, bytes) = folder::read(path).map_err(|error| {
        let hint = "name the definition: tenter COMMAND path/to/network.yaml, or the folder that holds it";
        CliError::new(Exit::Failure, error.to_string(), error.hint().unwrap_or(hint))
    })?;
    let facts = folder::facts(&file, &bytes);
    let name = file.strip_prefix("./").unwrap_or(&file).display().to_string();
    Ok(Located { name, bytes, facts, revision: None })
}

/// Reads a definition; the findings where it has errors.
pub fn network(located: &Located) -> Result<Network, Findings> {
    let loaded = document::load(&located.bytes, &located.name, &located.facts);
    loaded.network.ok_or_else(|| Findings::new(located.name.clone(), &located.bytes, loaded.diagnostics))
}

/// Reads a definition, and refuses one with errors.
pub fn load(located: &Located) -> Result<Network, CliError> {
    network(located).map_err(|findings| {
        let first = findings.first_error().map(|finding| format!("; the first: {finding}")).unwrap_or_default();
        let message = format!("{} has {}{first}", located.name, crate::report::count(findings.errors, "error"));
        let hint = format!("tenter validate {} shows them all", located.name);
        let findings = Some(Box::new(findings));
        CliError { exit: Exit::InvalidDefinition, message, hint: Some(hint), findings }
    })
}

/// The folder for mirrors: the one that is named, or the user's.
pub fn cache_folder(named: Option<&PathBuf>) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named.cloned().unwrap_or_else(|| {
        variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("tenter")
    })
}

/// Where a repository's definition is taken from.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Repository")]
pub struct RepositoryArgs {
    /// Read the definition from this repository: https, ssh, http, git or file URL
    #[arg(long, env = "TENTER_REPOSITORY", hide_env_values = true, value_name = "URL", conflicts_with = "path")]
    pub repository: Option<String>,
    /// Branch, or full name of a commit [default: the Consortium's branch, or main]
    #[arg(long, env = "TENTER_REVISION", hide_env_values = true, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Path of the definition in the repository [default: the Consortium's path, or network.yaml]
    #[arg(long, env = "TENTER_DEFINITION", hide_env_values = true, value_name = "PATH")]
    pub definition: Option<String>,
    /// Folder for mirrors of repositories [default: the user's cache folder]
    #[arg(long, env = "TENTER_CACHE_DIR", hide_env_values = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// User name for https
    #[arg(
        help = "User name for https; the password is only read from TENTER_GIT_PASSWORD",
        long,
        env = "TENTER_GIT_USERNAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub git_username: Option<String>,
    /// File with the SSH private key
    #[arg(long, env = "TENTER_GIT_IDENTITY", hide_env_values = true, value_name = "FILE")]
    pub git_identity: Option<PathBuf>,
    /// File with the SSH servers' host keys
    #[arg(long, env = "TENTER_GIT_KNOWN_HOSTS", hide_env_values = true, value_name = "FILE")]
    pub git_known_hosts: Option<PathBuf>,
    /// Seconds that a fetch may take
    #[arg(long, env = "TENTER_GIT_TIMEOUT", hide_env_values = true, value_name = "SECONDS", default_value_t = 60)]
    pub git_timeout: u64,
}

impl RepositoryArgs {
    /// The credentials that flags and environment give.
    pub fn credentials(&self) -> Result<Credentials, CliError> {
        let read = |path: &Option<PathBuf>| match path {
            None => Ok(None),
            Some(path) => std::fs::read_to_string(path)
                .map(Some)
                .map_err(|error| CliError::plain(Exit::Usage, format!("cannot read {}: {error}", path.display()))),
        };
        Ok(Credentials {
            username: self.git_username.clone(),
            password: std::env::var("TENTER_GIT_PASSWORD").ok().filter(|password| !password.is_empty()),
            identity: read(&self.git_identity)?,
            known_hosts: read(&self.git_known_hosts)?,
        })
    }

    /// Longest time of a fetch.
    pub const fn limit(&self) -> Duration {
        Duration::from_secs(self.git_timeout)
    }

    /// Fetches a definition from `url`; flags win over what the Consortium object says.
    pub async fn fetch(
        &self,
        url: &str,
        branch: Option<&str>,
        path: Option<&str>,
        credentials: Credentials,
    ) -> Result<Located, CliError> {
        let path = self.definition.as_deref().or(path).unwrap_or("network.yaml").to_owned();
        let revision = self.revision.as_deref().or(branch).unwrap_or("main");
        let fetched = self.fetch_at(url, revision, &path, credentials).await?;
        Ok(Located { name: path, bytes: fetched.definition?, facts: fetched.facts, revision: Some(fetched.commit) })
    }

    /// Fetches what a repository has at a revision.
    pub async fn fetch_at(
        &self,
        url: &str,
        revision: &str,
        path: &str,
        credentials: Credentials,
    ) -> Result<Fetched, CliError> {
        let request = FetchRequest {
            cache: cache_folder(self.cache_dir.as_ref()),
            url: url.to_owned(),
            revision: revision.to_owned(),
            path: path.to_owned(),
            last_good: None,
            trust: None,
            credentials,
        };
        Ok(process::fetch(&request, self.limit()).await?)
    }
}
