//! What a subcommand returns, and the one place that prints it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::args::{Color, Format, Global, Output};
use super::exit::Exit;
use crate::report::diagnostics::Findings;
use crate::report::failed::{Failed, Reviewed};
use crate::report::review::Review;
use crate::report::{Style, annotations, junit, printable_lines, sarif};

/// Most bytes of a job summary that GitHub takes of one step.
const SUMMARY_LIMIT: usize = 1 << 20;

/// Something to show on standard output.
pub trait Report {
    /// For people; ends with a line break unless it is empty.
    fn text(&self, style: Style) -> String;

    /// For programs.
    fn json(&self) -> Value;

    /// For a pull request; only what [`super::args::Command::is_review`] names has one.
    fn review(&self) -> Option<Review> {
        None
    }
}

impl Report for Failed {
    /// Nothing: it stands on standard error.
    fn text(&self, _style: Style) -> String {
        String::new()
    }

    fn json(&self) -> Value {
        Self::json(self)
    }

    fn review(&self) -> Option<Review> {
        Some(Self::review(self))
    }
}

/// How a subcommand ended.
pub struct Outcome {
    /// The exit code.
    pub exit: Exit,
    /// What to show.
    pub report: Option<Box<dyn Report>>,
}

impl Outcome {
    /// Done, with something to show.
    pub fn shown(report: impl Report + 'static) -> Self {
        Self::with(Exit::Ok, report)
    }

    /// Ended with a code and something to show.
    pub fn with(exit: Exit, report: impl Report + 'static) -> Self {
        Self { exit, report: Some(Box::new(report)) }
    }

    /// Ended with nothing to show.
    pub const fn silent(exit: Exit) -> Self {
        Self { exit, report: None }
    }
}

/// Why a subcommand failed.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// What happened, and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// What a definition with errors has: what a review shows in place of what it was asked for.
    pub findings: Option<Box<Findings>>,
}

impl CliError {
    /// A failure with a hint.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..Self::plain(exit, message) }
    }

    /// A failure whose message says all.
    pub fn plain(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, findings: None }
    }
}

/// Text that is the same for people and programs: CRDs, a schema, a completion script.
pub struct Verbatim(pub String);

impl Report for Verbatim {
    fn text(&self, _style: Style) -> String {
        self.0.clone()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| Value::String(self.0.clone()))
    }
}

/// Prints what a subcommand returned. The only place that writes to standard output. `reviewed` is what a review is about: it is
/// told of a failure in every format that was asked for, because a file that is not there fails what reads it, and tells nothing.
pub fn render(global: &Global, result: Result<Outcome, CliError>, reviewed: Option<Reviewed>) -> Exit {
    let (exit, report) = match result {
        Ok(Outcome { exit, report }) => (exit, report),
        Err(error) => {
            let exit = error.exit;
            (exit, told(global, error, reviewed))
        }
    };
    let Some(report) = report else { return exit };
    match write_all(global, report.as_ref()) {
        Ok(()) => exit,
        Err(message) => {
            complain(global.color, &message, None);
            Exit::Failure
        }
    }
}

/// What is shown of a failure, after it stands on standard error.
fn told(global: &Global, error: CliError, reviewed: Option<Reviewed>) -> Option<Box<dyn Report>> {
    let CliError { exit, message, hint, findings } = error;
    let is_shown = global.output.iter().any(|output| output.format == Format::Text && output.file.is_none());
    match (reviewed, findings) {
        (Some(_), Some(findings)) => {
            if !is_shown {
                complain(global.color, &message, hint.as_deref());
            }
            Some(findings)
        }
        (Some(reviewed), None) => {
            complain(global.color, &message, hint.as_deref());
            Some(Box::new(Failed::new(reviewed, exit, message, hint)))
        }
        (None, _) => {
            complain(global.color, &message, hint.as_deref());
            None
        }
    }
}

/// Writes every output that was asked for; the reason why one could not be written.
fn write_all(global: &Global, report: &dyn Report) -> Result<(), String> {
    let review = report.review();
    for Output { format, file } in &global.output {
        let style = if file.is_some() { Style::default() } else { stdout_style(global.color) };
        let text = rendered(*format, report, review.as_ref(), style, global.markdown_limit);
        match file {
            Some(file) => {
                std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
            }
            None => match write_out(&text) {
                Ok(()) => {}
                // The reader has had enough, for example `head`.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => return Err(format!("cannot write to standard output: {error}")),
            },
        }
    }
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    let wanted = global.output.iter().any(|output| output.format == Format::Github);
    if let (true, Some(path), Some(review)) = (wanted, summary, review) {
        let text = review.markdown.render(SUMMARY_LIMIT);
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| format!("cannot write the job summary: {error}"))?;
    }
    Ok(())
}

/// A report in one format. What has no review is never asked for one: the command line is refused before.
fn rendered(format: Format, report: &dyn Report, review: Option<&Review>, style: Style, limit: usize) -> String {
    let json = |value: &Value| format!("{value:#}\n");
    match (format, review) {
        (Format::Yaml, _) => serde_yaml::to_string(&report.json()).unwrap_or_default(),
        (Format::Json, _) => json(&report.json()),
        (Format::Markdown, Some(review)) => review.markdown.render(limit),
        (Format::Sarif, Some(review)) => json(&sarif::sarif(review)),
        (Format::Junit, Some(review)) => junit::junit(review),
        (Format::Github, Some(review)) => annotations::github(review),
        (Format::Gitlab, Some(review)) => json(&annotations::gitlab(review)),
        (Format::Text, _) | (_, None) => report.text(style),
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes an error and a hint to standard error.
fn complain(color: Color, message: &str, hint: Option<&str>) {
    let style = stderr_style(color);
    let mut text = format!("{} {}\n", style.red("error:"), printable_lines(message));
    if let Some(hint) = hint {
        let _ = writeln!(text, "{} {}", style.cyan("hint:"), printable_lines(hint));
    }
    say(&text);
}

/// Writes progress to standard error. That nobody can read it is no reason to stop.
pub fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// How standard output is written.
pub fn stdout_style(color: Color) -> Style {
    Style { color: wants_color(color, io::stdout().is_terminal()) }
}

/// How standard error is written.
pub fn stderr_style(color: Color) -> Style {
    Style { color: wants_color(color, io::stderr().is_terminal()) }
}

fn wants_color(color: Color, terminal: bool) -> bool {
    let variable = |name: &str| std::env::var(name).ok();
    decide_color(color, terminal, &variable)
}

/// `NO_COLOR` (no-color.org) and `CLICOLOR`/`CLICOLOR_FORCE` (bixense.com/clicolors), after the flag.
fn decide_color(color: Color, terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) => false,
        Color::Auto if variable("CLICOLOR_FORCE").is_some_and(|value| value != "0" && !value.is_empty()) => true,
        Color::Auto if variable("CLICOLOR").is_some_and(|value| value == "0") => false,
        Color::Auto => terminal && variable("TERM").is_none_or(|value| value != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honours_the_conventions_for_color() {
        let check = |color, terminal, set: &[(&str, &str)], expect: bool| {
            let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(decide_color(color, terminal, &variable), expect, "{color:?} {terminal} {set:?}");
        };
        check(Color::Auto, true, &[], true);
        check(Color::Auto, false, &[], false);
        check(Color::Auto, true, &[("NO_COLOR", "1")], false);
        check(Color::Auto, true, &[("NO_COLOR", "")], true);
        check(Color::Auto, false, &[("CLICOLOR_FORCE", "1")], true);
        check(Color::Auto, true, &[("CLICOLOR", "0")], false);
        check(Color::Auto, true, &[("TERM", "dumb")], false);
        check(Color::Always, false, &[("NO_COLOR", "1")], true);
        check(Color::Never, true, &[("CLICOLOR_FORCE", "1")], false);
    }
}
