//! `tenter validate`: findings in a definition, without a cluster.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;
use tenter_consortium::diagnostic::{Diagnostic, has_errors};
use tenter_consortium::{document, repository};

use super::definition::read_local;
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use crate::report::Style;
use crate::report::diagnostics::Findings;
use crate::report::review::Review;

/// Check a definition; needs no cluster.
///
/// Prints every finding with its place, its rule and what would be right. Exit code 4 when the definition has errors.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tenter validate\n  tenter validate network.yaml -o json\n  cat network.yaml | tenter validate -"
)]
pub struct Args {
    /// The definition, the folder that holds network.yaml, or - for standard input
    #[arg(value_name = "FILE|DIR", default_value = ".")]
    path: PathBuf,
}

impl Args {
    /// Where the definition is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Report for Findings {
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

/// A path in a folder, as the definition's own is written.
fn below(folder: &Path, path: &str) -> String {
    folder.join(path).display().to_string()
}

/// Validates.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let local = read_local(&args.path)?;
    let mut loaded = document::load(&local.bytes, &local.name, &local.facts);
    if let Some(network) = &loaded.network {
        let folder = Path::new(&local.name).parent().unwrap_or(Path::new(""));
        let beside = repository::check(network, Some(Timestamp::now())).into_iter();
        // Paths of the members' files begin where the definition stands.
        loaded.diagnostics.extend(beside.map(|found| Diagnostic { file: below(folder, &found.file), ..found }));
    }
    let exit = if has_errors(&loaded.diagnostics) { Exit::InvalidDefinition } else { Exit::Ok };
    Ok(Outcome::with(exit, Findings::new(local.name, &local.bytes, loaded.diagnostics)))
}
