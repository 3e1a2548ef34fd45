//! `tenter sign`: an organization's signature over a config update, on a machine that holds the key and knows no cluster.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tenter_consortium::document::Blob;
use tenter_fabric::block::Block;
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::config::update::{ConfigUpdate, Freshness};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;
use tenter_fabric::policy::{Judge, Received};

use super::definition::cache_folder;
use super::exit::Exit;
use super::genesis::save;
use super::outcome::{CliError, Outcome, Verbatim};
use crate::messages::exchange::{ExchangeRequest, exchange};
use crate::messages::{Folder, Message, REJECTION, SIGNATURE, UPDATE};
use crate::nodes::{chain, nonce};
use crate::source::Credentials;

/// Sign a config update, or reject it, with a key that no cluster holds.
///
/// UPDATE is the file with the update's bytes (update.pb in a clone of the ref refs/heads/tenter/signatures), or, with
/// --repository, CHANNEL/DIGEST on that ref. What the update changes is shown first. The signature is written beside the file,
/// as MSPID.sig, or pushed to the ref. Needs no cluster.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tenter sign settlement/3f2a.../update.pb --msp-id AcmeMSP --key admin.key --cert admin.crt\n  \
                        tenter sign settlement/3f2a... --repository https://git.example/trade.git --msp-id AcmeMSP --key admin.key \
                        --cert admin.crt --config newest.block"
)]
pub struct Args {
    /// File with the update, or CHANNEL/DIGEST with --repository
    #[arg(value_name = "UPDATE")]
    update: String,
    /// MSP ID of the organization
    #[arg(long, env = "TENTER_MSP_ID", hide_env_values = true, value_name = "ID")]
    msp_id: String,
    /// File with the key of its configuration administrator, PEM
    #[arg(long, env = "TENTER_KEY", hide_env_values = true, value_name = "FILE")]
    key: PathBuf,
    /// File with its certificate, PEM
    #[arg(long, env = "TENTER_CERT", hide_env_values = true, value_name = "FILE")]
    cert: PathBuf,
    /// Repository with the ref that daemons exchange signatures on: read the update there, and push the signature
    #[arg(long, env = "TENTER_REPOSITORY", hide_env_values = true, value_name = "URL")]
    repository: Option<String>,
    /// Folder for mirrors of repositories [default: the user's cache folder]
    #[arg(long, env = "TENTER_CACHE_DIR", hide_env_values = true, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// User name for https
    #[arg(
        help = "User name for https; the password is only read from TENTER_GIT_PASSWORD",
        long,
        env = "TENTER_GIT_USERNAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    git_username: Option<String>,
    /// File with the SSH private key
    #[arg(long, env = "TENTER_GIT_IDENTITY", hide_env_values = true, value_name = "FILE")]
    git_identity: Option<PathBuf>,
    /// File with the SSH servers' host keys
    #[arg(long, env = "TENTER_GIT_KNOWN_HOSTS", hide_env_values = true, value_name = "FILE")]
    git_known_hosts: Option<PathBuf>,
    /// The channel's newest config block, to compare with (peer channel fetch config)
    #[arg(long, env = "TENTER_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say that the organization does not want the update, instead of signing it
    #[arg(long, env = "TENTER_REJECT", hide_env_values = true)]
    reject: bool,
    /// Why it is rejected, in a line
    #[arg(
        long,
        env = "TENTER_REASON",
        hide_env_values = true,
        value_name = "TEXT",
        default_value = "",
        requires = "reject"
    )]
    reason: String,
    /// Do not ask
    #[arg(long, short, env = "TENTER_YES", hide_env_values = true)]
    yes: bool,
}

/// Hex digits of a digest.
const DIGEST: usize = 64;
/// Hex digits that name an update which a person then looks at. With fewer, another update could be made to fit.
const SHORTEST: usize = 16;

fn refused(error: &dyn std::error::Error) -> CliError {
    CliError::plain(Exit::Failure, chain(error))
}

fn bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path)
        .map_err(|error| CliError::plain(Exit::Usage, format!("cannot read {}: {error}", path.display())))
}

fn text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(bytes(path)?).map_err(|_| CliError::plain(Exit::Usage, format!("{} is no text", path.display())))
}

/// Shows, asks, signs, and writes or pushes.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let remote = args.repository.as_ref().map(|url| Remote::new(args, url)).transpose()?;
    let update = match &remote {
        Some(remote) => remote.read(&args.update, args.yes)?,
        None => bytes(Path::new(&args.update))?,
    };
    let update = ConfigUpdate::from_bytes(update).map_err(|error| refused(&error))?;
    let current = args.config.as_deref().map(|path| current(path, &update)).transpose()?;
    let shown = shown(&update, current.as_ref());
    let act = if args.reject { "reject" } else { "sign" };
    confirm(&shown, &format!("{act} it for {}?", args.msp_id), args.yes)?;
    let key = SecretKey::from_pem(text(&args.key)?);
    let identity = SigningIdentity::load(&args.msp_id, &text(&args.cert)?, &key).map_err(|error| refused(&error))?;
    let nonce = nonce().map_err(|error| CliError::plain(Exit::Failure, error.to_string()))?;
    let mut message = Message::new(update.channel_id(), update.bytes());
    let (end, made) = if args.reject {
        let made = update.reject(&identity, nonce, &args.reason).map_err(|error| refused(&error))?.to_bytes();
        message.rejections.insert(args.msp_id.clone(), Blob(made.clone()));
        (REJECTION, made)
    } else {
        let made = update.sign(&identity, nonce).map_err(|error| refused(&error))?.to_bytes();
        if let Some(current) = &current {
            let judge = Judge::new(current.config());
            // A signature that nobody would count is not given away.
            match judge.receive(current, &update, &args.msp_id, &made, &[], Timestamp::now()) {
                Received::Valid(_) => {}
                other => return Err(CliError::plain(Exit::Failure, format!("it would not count: {other}"))),
            }
        }
        message.signatures.insert(args.msp_id.clone(), Blob(made.clone()));
        (SIGNATURE, made)
    };
    let file = format!("{}{end}", args.msp_id);
    let said = if let Some(remote) = &remote {
        let place = message.folder.to_string();
        remote.push(message)?;
        format!("pushed {place}/{file}\n")
    } else {
        let path = Path::new(&args.update).with_file_name(&file);
        save(&path, &made)?;
        format!("wrote {}; commit and push it to refs/heads/tenter/signatures\n", path.display())
    };
    let shown = if args.yes { format!("{shown}{said}") } else { said };
    Ok(Outcome::shown(Verbatim(shown)))
}

/// The configuration in a config block.
fn current(path: &Path, update: &ConfigUpdate) -> Result<CurrentConfig, CliError> {
    let block = Block::from_bytes(bytes(path)?).map_err(|error| refused(&error))?;
    block.verify_data_hash().map_err(|error| refused(&error))?;
    let current = CurrentConfig::from_block(&block).map_err(|error| refused(&error))?;
    if current.channel_id() != update.channel_id() {
        let message = format!("{} is of channel {}", path.display(), current.channel_id());
        return Err(CliError::plain(Exit::Usage, message));
    }
    Ok(current)
}

/// What an update changes, in words.
fn shown(update: &ConfigUpdate, current: Option<&CurrentConfig>) -> String {
    use std::fmt::Write as _;
    let mut text = format!("Update {} of channel {}\n", update.digest(), update.channel_id());
    let Some(current) = current else {
        for (element, said) in update.writes() {
            let _ = writeln!(text, "  {element} = {said}");
        }
        text.push_str("  (with --config and the channel's newest config block, what it replaces is shown)\n");
        return text;
    };
    for change in update.changes(current) {
        let value = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        let _ = writeln!(text, "  {}: {} -> {}", change.path, value(change.from), value(change.to));
    }
    for problem in tenter_consortium::channel_config::problems(current, update) {
        let _ = writeln!(text, "  ! {problem}");
    }
    if update.freshness(current) != Freshness::Applies {
        text.push_str("  ! it does not apply to this configuration any more\n");
    }
    text
}

/// Shows, and asks a person unless that was answered before.
fn confirm(shown: &str, question: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let message = "nobody is there to ask";
        return Err(CliError::new(Exit::Usage, message, "--yes signs without asking; what it changes is printed"));
    }
    let mut out = std::io::stderr();
    let _ = write!(out, "{shown}{question} [y/N] ");
    let _ = out.flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(CliError::plain(Exit::Failure, "nothing was signed"))
}

/// The ref that daemons exchange signatures on.
struct Remote {
    request: ExchangeRequest,
}

impl Remote {
    fn new(args: &Args, url: &str) -> Result<Self, CliError> {
        let credentials = Credentials {
            username: args.git_username.clone(),
            password: std::env::var("TENTER_GIT_PASSWORD").ok().filter(|password| !password.is_empty()),
            identity: args.git_identity.as_deref().map(text).transpose()?,
            known_hosts: args.git_known_hosts.as_deref().map(text).transpose()?,
        };
        let cache = cache_folder(args.cache_dir.as_ref());
        let request = ExchangeRequest {
            cache,
            url: url.to_owned(),
            credentials,
            publish: Vec::new(),
            prune: std::collections::BTreeSet::new(),
            now: Timestamp::now().as_second(),
        };
        Ok(Self { request })
    }

    fn read(&self, place: &str, unasked: bool) -> Result<Vec<u8>, CliError> {
        let wanted = place.trim_end_matches(&format!("/{UPDATE}"));
        let shortest = if unasked { DIGEST } else { SHORTEST };
        if wanted.rsplit('/').next().unwrap_or_default().len() < shortest {
            let message = format!("{wanted} names too little of the update's digest");
            let hint = format!(
                "at least {SHORTEST} hex digits, and with --yes all {DIGEST}: everybody who may push makes updates"
            );
            return Err(CliError::new(Exit::Usage, message, hint));
        }
        let messages = exchange(&self.request)?;
        // The beginning of a digest is enough, where there is one such update.
        let named = |message: &Message| {
            let Folder { channel, digest } = &message.folder;
            let digest_of = wanted.strip_prefix(channel.as_str()).and_then(|rest| rest.strip_prefix('/'));
            digest_of.is_some_and(|wanted| digest.starts_with(wanted))
        };
        let mut found = messages.messages.into_iter().filter(named);
        match (found.next(), found.next()) {
            (Some(message), None) => Ok(message.update.0),
            (Some(_), Some(_)) => {
                Err(CliError::new(Exit::Usage, format!("{wanted} names several updates"), "write more of the digest"))
            }
            (None, _) => {
                let message = format!("there is no update {wanted} on the ref");
                let hint = "the daemons of members publish those that are open, as CHANNEL/DIGEST";
                Err(CliError::new(Exit::Failure, message, hint))
            }
        }
    }

    fn push(&self, message: Message) -> Result<(), CliError> {
        exchange(&ExchangeRequest { publish: vec![message], ..self.request.clone() })?;
        Ok(())
    }
}
