//! `tenter man`: manual pages.

use std::path::PathBuf;

use clap::CommandFactory as _;
use serde_json::{Value, json};

use super::args::Cli;
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use crate::report::{Style, count};

/// Write manual pages, one for the program and one for each subcommand.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter man ~/.local/share/man/man1\n  tenter man . && man ./tenter-plan.1")]
pub struct Args {
    /// The folder that they are written to; made where it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// The pages that were written.
struct Pages {
    folder: PathBuf,
    names: Vec<String>,
}

impl Report for Pages {
    fn text(&self, _style: Style) -> String {
        format!("{} in {}\n", count(self.names.len(), "page"), self.folder.display())
    }

    fn json(&self) -> Value {
        json!({ "folder": self.folder, "pages": self.names })
    }
}

/// Writes them.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let Args { folder } = args;
    let failed = |error: std::io::Error| {
        CliError::plain(Exit::Failure, format!("cannot write manual pages to {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut root = Cli::command();
    // Names of the pages of subcommands: `tenter-plan`.
    root.build();
    let mut names = Vec::new();
    let hidden = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for command in std::iter::once(&root).chain(root.get_subcommands().filter(hidden)) {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
        std::fs::write(folder.join(format!("{name}.1")), page).map_err(failed)?;
        names.push(format!("{name}.1"));
    }
    Ok(Outcome::shown(Pages { folder: folder.clone(), names }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_with_examples() {
        let folder = tempfile::tempdir().unwrap();
        run(&Args { folder: folder.path().join("man1") }).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = folder.path().join(format!("man1/tenter-{}.1", command.get_name()));
            let text = std::fs::read_to_string(&page).unwrap();
            assert!(text.contains("Examples:"), "{} has no examples", command.get_name());
        }
        assert!(std::fs::read_to_string(folder.path().join("man1/tenter.1")).unwrap().contains("TENTER_NAMESPACE"));
    }
}
