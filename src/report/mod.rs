//! Findings, plans and the consortium's tree, for people and for programs. Nothing here prints.

pub mod annotations;
pub mod diagnostics;
pub mod failed;
pub mod junit;
pub mod markdown;
pub mod plan;
pub mod review;
pub mod sarif;
pub mod tree;

/// Version of the documents that `-o json` and `-o yaml` make.
pub const API_VERSION: &str = "cli.tenter.dev/v1alpha1";

/// Whether text carries terminal colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether it does.
    pub color: bool,
}

macro_rules! paints {
    ($($(#[$meta:meta])* $name:ident = $code:literal;)*) => {
        $(
            $(#[$meta])*
            pub fn $name(self, text: &str) -> String {
                if self.color { format!(concat!("\x1b[", $code, "m{}\x1b[0m"), text) } else { text.to_owned() }
            }
        )*
    };
}

impl Style {
    paints! {
        /// What matters.
        bold = "1";
        /// What matters less.
        dim = "2";
        /// Errors, and what cannot be undone.
        red = "31";
        /// What comes, and what is done.
        green = "32";
        /// Warnings, and what changes.
        yellow = "33";
        /// Hints.
        cyan = "36";
    }
}

/// Text of somebody else's for a terminal: control characters and those that change its direction become `·`.
pub fn printable(text: &str) -> String {
    text.chars().map(printable_char).collect()
}

/// Text of several lines for a terminal or a log. CI servers obey lines of a log that begin in certain ways
/// (`::add-mask::`, `##[`), whatever blanks stand before it: only the first line, which has a word of ours in front, may.
pub fn printable_lines(text: &str) -> String {
    let shown = text.split('\n').enumerate().map(|(number, line)| {
        let start = line.trim_start();
        let obeyed = number > 0 && (start.starts_with("::") || start.starts_with("##["));
        format!("{}{}", if obeyed { "· " } else { "" }, printable(line))
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// One character of [`printable`]; the count of characters stays, so that columns stay true.
pub const fn printable_char(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '·',
        _ if character.is_ascii_control() || ('\u{80}' <= character && character <= '\u{9f}') => '·',
        _ => character,
    }
}

/// `1 step`, `2 steps`.
pub fn count(number: usize, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{number} {singular}s") }
}

#[cfg(test)]
mod tests {
    use schemars::generate::SchemaSettings;
    use serde_json::Value;

    #[test]
    fn lines_of_others_are_no_commands() {
        let text = super::printable_lines("a\u{1b}[31m\r\n  ::add-mask::x\n##[error]y\n  help: z");
        assert_eq!(text, "a·[31m·\n·   ::add-mask::x\n· ##[error]y\n  help: z");
    }

    /// Writes or compares a schema of schemas/.
    fn check(name: &str, schema: &Value) {
        let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        let expected = format!("{schema:#}\n");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let actual = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(actual == expected, "{name} is not what the types make; UPDATE_SCHEMAS=1 writes it");
    }

    #[test]
    fn the_checked_in_schemas_of_the_documents_are_current() {
        let generator = || SchemaSettings::draft2020_12().for_serialize().into_generator();
        let mut plan = generator().into_root_schema_for::<super::plan::PlanDocument<'_>>().to_value();
        plan.sort_all_objects();
        check("plan.schema.json", &plan);
        let mut findings = generator().into_root_schema_for::<super::diagnostics::Findings>().to_value();
        findings.sort_all_objects();
        let mut snapshot = generator().into_root_schema_for::<tenter_consortium::snapshot::Snapshot>().to_value();
        snapshot.sort_all_objects();
        check("snapshot.schema.json", &snapshot);
        check("findings.schema.json", &findings);
        let mut failure = generator().into_root_schema_for::<super::failed::Failed>().to_value();
        failure.sort_all_objects();
        check("failure.schema.json", &failure);
    }
}
