//! Findings in a definition, with the lines that they speak of.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use tenter_consortium::diagnostic::{Diagnostic, Severity, Span};
use tenter_consortium::rules::RULES;

use super::markdown::{self, Markdown, Section};
use super::review::{Case, Level, Remark, Review, RuleText};
use super::{API_VERSION, Style, count, printable, printable_char};

/// Longest part of a line that an excerpt shows, in characters.
const EXCERPT: usize = 160;

/// Findings in one file, ready to be shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Findings")]
pub struct Findings {
    /// Version of this format: `cli.tenter.dev/v1alpha1`.
    pub api_version: &'static str,
    /// `Findings`.
    pub kind: &'static str,
    /// The file, as the caller named it.
    pub file: String,
    /// The findings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of errors.
    pub errors: usize,
    /// Number of warnings.
    pub warnings: usize,
    #[serde(skip)]
    source: String,
}

impl Findings {
    /// Findings in `source`, the bytes of `file`.
    pub fn new(file: impl Into<String>, source: &[u8], diagnostics: Vec<Diagnostic>) -> Self {
        let errors = diagnostics.iter().filter(|finding| finding.severity == Severity::Error).count();
        Self {
            api_version: API_VERSION,
            kind: "Findings",
            file: file.into(),
            warnings: diagnostics.len() - errors,
            errors,
            diagnostics,
            source: String::from_utf8_lossy(source).into_owned(),
        }
    }

    /// The first of the errors.
    pub fn first_error(&self) -> Option<&Diagnostic> {
        self.diagnostics.iter().find(|finding| finding.severity == Severity::Error)
    }

    /// All findings, then one line that counts them.
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for one in self.each(style) {
            text.push_str(&one);
            text.push('\n');
        }
        text.push_str(&self.summary(style));
        text.push('\n');
        text
    }

    /// Each finding, with the lines that it speaks of where they are of this file.
    fn each(&self, style: Style) -> impl Iterator<Item = String> {
        let lines: Vec<&str> = self.source.lines().collect();
        let of = move |finding: &Diagnostic| one(finding, if finding.file == self.file { &lines } else { &[] }, style);
        self.diagnostics.iter().map(of)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        // Plain data: it has nothing that JSON lacks.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// For a pull request.
    pub fn review(&self) -> Review {
        let level = |severity| match severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
        };
        let remark = |finding: &Diagnostic| Remark {
            rule: finding.rule.to_string(),
            level: level(finding.severity),
            message: finding.message.clone(),
            help: finding.help.clone(),
            file: (finding.file != self.file).then(|| finding.file.clone()),
            span: (finding.file == self.file).then_some(finding.span),
            related: finding.related.iter().map(|other| (other.span, other.message.clone())).collect(),
            reason: None,
        };
        let case = |rule: &tenter_consortium::rules::Rule| {
            let found = self.diagnostics.iter().filter(|finding| finding.rule == rule.id);
            let found: Vec<String> = found.map(ToString::to_string).collect();
            let found = (!found.is_empty()).then(|| found.join("\n"));
            let group = rule.id.as_str().split('/').next().unwrap_or_default().to_owned();
            let (failure, output) = if rule.severity == Severity::Error { (found, None) } else { (None, found) };
            Case { name: rule.id.to_string(), group, failure, output }
        };
        let rule = |rule: &tenter_consortium::rules::Rule| RuleText {
            id: rule.id.to_string(),
            title: rule.title.to_owned(),
            explanation: rule.explanation.to_owned(),
            level: level(rule.severity),
        };
        Review {
            command: "validate",
            file: self.file.clone(),
            remarks: self.diagnostics.iter().map(remark).collect(),
            rules: RULES.iter().map(rule).collect(),
            cases: RULES.iter().map(case).collect(),
            markdown: self.markdown(),
        }
    }

    fn markdown(&self) -> Markdown {
        let item = |finding: &Diagnostic| {
            let place = if finding.file == self.file {
                format!("{}:{}", finding.span.line, finding.span.column)
            } else {
                markdown::code(&finding.file)
            };
            let sign = if finding.severity == Severity::Error { "❌" } else { "⚠️" };
            let rule = markdown::code(finding.rule.as_str());
            let help = finding.help.as_deref().map(|help| format!("; {}", markdown::escaped(help))).unwrap_or_default();
            format!("- {sign} {place} {rule}: {}{help}", markdown::escaped(&finding.message))
        };
        let mut head: Vec<String> = self.diagnostics.iter().map(item).collect();
        if let Some(first) = head.first_mut() {
            // A list begins after an empty line.
            first.insert(0, '\n');
        }
        let plain = Style::default();
        let excerpts: String = self.each(plain).map(|one| one + "\n").collect();
        let excerpts: Vec<String> = excerpts.lines().map(str::to_owned).collect();
        let sections = if excerpts.is_empty() {
            Vec::new()
        } else {
            vec![Section { summary: "Where".to_owned(), language: "text", lines: excerpts }]
        };
        let heading = format!("Tenter: {}", markdown::escaped(&self.summary(plain)));
        Markdown { marker: format!("validate:{}", self.file), heading, head, sections }
    }

    /// How many there are.
    pub fn summary(&self, style: Style) -> String {
        let Self { errors, warnings, .. } = self;
        let file = printable(&self.file);
        match (errors, warnings) {
            (0, 0) => format!("{}: {file} is valid", style.green("ok")),
            (0, warnings) => {
                format!("{}: {file} is valid, with {}", style.yellow("ok"), count(*warnings, "warning"))
            }
            (errors, 0) => format!("{}: {file} has {}", style.red("invalid"), count(*errors, "error")),
            (errors, warnings) => format!(
                "{}: {file} has {} and {}",
                style.red("invalid"),
                count(*errors, "error"),
                count(*warnings, "warning")
            ),
        }
    }
}

/// One finding: headline, place, excerpts, help.
fn one(finding: &Diagnostic, lines: &[&str], style: Style) -> String {
    let Diagnostic { file, span, rule, severity, message, help, related } = finding;
    let headline = format!("{}[{rule}]", severity.as_str());
    let headline = match severity {
        Severity::Error => style.red(&headline),
        Severity::Warning => style.yellow(&headline),
    };
    let last = related.iter().map(|other| other.span.line).chain([span.line]).max().unwrap_or(span.line);
    let width = last.to_string().len();
    let bar = style.cyan("|");
    let mut text = format!("{headline}: {}\n", style.bold(&printable(message)));
    let (arrow, file) = (style.cyan("-->"), printable(file));
    let _ = writeln!(text, "{:width$}{arrow} {file}:{}:{}", "", span.line, span.column);
    excerpt(&mut text, *span, "", '^', lines, width, style);
    for other in related {
        excerpt(&mut text, other.span, &printable(&other.message), '-', lines, width, style);
    }
    if let Some(help) = help.as_deref().map(printable) {
        let _ = writeln!(text, "{:width$} {bar}\n{:width$} {} {}: {help}", "", "", style.cyan("="), style.bold("help"));
    }
    text
}

/// The first line of a span with marks under it, and a label after them.
fn excerpt(text: &mut String, span: Span, label: &str, mark: char, lines: &[&str], width: usize, style: Style) {
    let Some(line) = span.line.checked_sub(1).and_then(|index| lines.get(index)) else { return };
    let start = span.column.saturating_sub(1);
    // A long line is shown from a little before the place.
    let skipped = if start >= EXCERPT { start - EXCERPT / 2 } else { 0 };
    let shown: String = line.chars().skip(skipped).take(EXCERPT).map(printable_char).collect();
    let shown = shown.trim_end();
    let length = shown.chars().count();
    let from = (start - skipped).min(length);
    let to = if span.end_line > span.line { length } else { span.end_column.saturating_sub(1).saturating_sub(skipped) };
    let marks = to.clamp(from + 1, length.max(from + 1)) - from;
    let marks: String = std::iter::repeat_n(mark, marks).collect();
    let marks = format!("{marks}{}{label}", if label.is_empty() { "" } else { " " });
    let marks = if mark == '^' { style.red(&marks) } else { style.cyan(&marks) };
    let bar = style.cyan("|");
    let _ = writeln!(text, "{:width$} {bar}", "");
    let _ = writeln!(text, "{} {bar} {shown}", style.cyan(&format!("{:>width$}", span.line)));
    let _ = writeln!(text, "{:width$} {bar} {:from$}{marks}", "", "");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenter_consortium::diagnostic::Related;
    use tenter_consortium::rules;

    fn finding(span: Span) -> Diagnostic {
        Diagnostic {
            file: "network.yaml".to_owned(),
            span,
            rule: rules::YAML_SYNTAX,
            severity: Severity::Error,
            message: "something is wrong".to_owned(),
            help: Some("write it right".to_owned()),
            related: Vec::new(),
        }
    }

    #[test]
    fn marks_the_place() {
        let mut found = finding(Span::on_line(10, 3, 7));
        found.related.push(Related { span: Span::on_line(1, 1, 2), message: "first here".to_owned() });
        let source = format!("a: 1\n{}  name: x\n", "\n".repeat(8));
        let text = Findings::new("network.yaml", source.as_bytes(), vec![found]).text(Style::default());
        assert_eq!(
            text,
            "error[yaml/syntax]: something is wrong\n  --> network.yaml:10:3\n   |\n10 |   name: x\n   |   ^^^^\n   |\n \
             1 | a: 1\n   | - first here\n   |\n   = help: write it right\n\ninvalid: network.yaml has 1 error\n"
        );
    }

    #[test]
    fn shows_nothing_that_a_terminal_obeys() {
        let source = "a: \u{1b}[31m\u{202e}x\n";
        let text = Findings::new("network.yaml", source.as_bytes(), vec![finding(Span::on_line(1, 4, 5))])
            .text(Style::default());
        assert!(text.contains("1 | a: ·[31m·x\n"), "{text}");
    }

    #[test]
    fn names_of_files_and_messages_are_not_obeyed_either() {
        let mut found = finding(Span::on_line(1, 1, 2));
        let hostile = "a\u{1b}[2J\n::add-mask::x\u{202e}";
        found.related.push(Related { span: Span::on_line(1, 1, 2), message: hostile.to_owned() });
        found.help = Some(hostile.to_owned());
        hostile.clone_into(&mut found.message);
        let mut elsewhere = found.clone();
        hostile.clone_into(&mut elsewhere.file);
        hostile.clone_into(&mut found.file);
        let text = Findings::new(hostile, b"a: 1\n", vec![found, elsewhere]).text(Style::default());
        let wrong = |one: char| one != '\n' && (one.is_control() || one == '\u{202e}');
        assert!(!text.contains(wrong), "{text:?}");
        assert!(text.lines().all(|line| !line.trim_start().starts_with("::")), "{text}");
    }

    #[test]
    fn survives_places_outside_the_file() {
        for span in
            [Span::on_line(0, 0, 0), Span::on_line(9, 9, 9), Span { line: 1, column: 900, end_line: 3, end_column: 1 }]
        {
            let text = Findings::new("network.yaml", b"a: 1\n", vec![finding(span)]).text(Style::default());
            assert!(text.contains("something is wrong"), "{text}");
        }
    }

    #[test]
    fn cuts_long_lines_around_the_place() {
        let source = format!("{}b{}", "a".repeat(5000), "c".repeat(5000));
        let text = Findings::new("network.yaml", source.as_bytes(), vec![finding(Span::on_line(1, 5001, 5002))])
            .text(Style::default());
        assert!(text.lines().all(|line| line.chars().count() <= EXCERPT + 4), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3].find('b'), lines[4].find('^'));
    }
}
