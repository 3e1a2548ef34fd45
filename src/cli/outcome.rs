//! What a subcommand returns, and the one place that prints it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::args::{Color, Format, Global};
use super::exit::Exit;
use crate::report::Style;

/// Something to show on standard output.
pub trait Report {
    /// For people; ends with a line break unless it is empty.
    fn text(&self, style: Style) -> String;

    /// For programs.
    fn json(&self) -> Value;
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
}

impl CliError {
    /// A failure with a hint.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: Some(hint.into()) }
    }

    /// A failure whose message says all.
    pub fn plain(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
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

/// Prints what a subcommand returned. The only place that writes to standard output.
pub fn render(global: &Global, result: Result<Outcome, CliError>) -> Exit {
    match result {
        Ok(Outcome { exit, report }) => {
            let Some(report) = report else { return exit };
            let text = match global.output {
                Format::Text => report.text(stdout_style(global.color)),
                Format::Json => format!("{:#}\n", report.json()),
            };
            match write_out(&text) {
                Ok(()) => exit,
                // The reader has had enough, for example `head`.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
                Err(error) => {
                    complain(global.color, &format!("cannot write to standard output: {error}"), None);
                    Exit::Failure
                }
            }
        }
        Err(CliError { exit, message, hint }) => {
            complain(global.color, &message, hint.as_deref());
            exit
        }
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
    let mut text = format!("{} {message}\n", style.red("error:"));
    if let Some(hint) = hint {
        let _ = writeln!(text, "{} {hint}", style.cyan("hint:"));
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
