//! The one place that reads YAML: bytes into a tree in which every key and value has its position.
//!
//! Structure and positions come from an event parser; what a plain scalar means (`no`, `0123`, `1e3`) is what
//! `serde_yaml` says, so that there is one answer in the whole program. Aliases are refused rather than expanded:
//! no definition needs them, and a few lines of them can stand for gigabytes.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as ParserSpan};
use serde_json::Value;

use crate::diagnostic::{Span, quoted};
use crate::rules::{self, RuleId};

/// Most bytes of a definition.
pub const MAX_BYTES: usize = 1 << 20;
/// Most levels of nesting.
pub const MAX_DEPTH: usize = 64;

/// A problem of the YAML itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The rule that it breaks.
    pub rule: RuleId,
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// Where the first of two stands.
    pub first: Option<Span>,
}

impl Problem {
    fn new(rule: RuleId, span: Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { rule, span, message: message.into(), help: help.into(), first: None }
    }
}

/// A value with its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub data: Data,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A null, boolean, number or string.
    Scalar(Value),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the file; the first of two equal keys only.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value without positions.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Data::Mapping(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            Data::Scalar(_) | Data::Sequence(_) => None,
        }
    }

    /// An item of a list.
    pub fn item(&self, index: usize) -> Option<&Self> {
        match &self.data {
            Data::Sequence(items) => items.get(index),
            Data::Scalar(_) | Data::Mapping(_) => None,
        }
    }
}

/// Reads one document. There is no tree when the input cannot be read as one; problems that leave a tree (a
/// duplicate key, a tag) come with it, so that what follows can be checked in the same run.
pub fn parse(bytes: &[u8]) -> (Option<Node>, Vec<Problem>) {
    let mut problems = Vec::new();
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len());
        problems.push(Problem::new(rules::YAML_SIZE, Span::START, message, "split what does not belong together"));
        return (None, problems);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            problems.push(not_utf8(bytes, error.valid_up_to()));
            return (None, problems);
        }
    };
    let text = text.strip_prefix('\u{feff}').map_or(text, |rest| {
        problems.push(Problem::new(
            rules::YAML_BYTE_ORDER_MARK,
            Span::START,
            "the file starts with a byte order mark",
            "save it as UTF-8 without a byte order mark",
        ));
        rest
    });
    let mut builder = Builder { problems, ..Builder::default() };
    let tree = builder.run(text);
    (tree, builder.problems)
}

fn not_utf8(bytes: &[u8], valid: usize) -> Problem {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Problem::new(
        rules::YAML_ENCODING,
        Span::on_line(line, column, column + 1),
        format!("the byte 0x{:02x} is not UTF-8", bytes.get(valid).copied().unwrap_or_default()),
        "save the file as UTF-8",
    )
}

/// A list or mapping that is still open.
enum Frame {
    Sequence { span: Span, items: Vec<Node> },
    Mapping { span: Span, entries: Vec<Entry>, key: Option<(String, Span)> },
}

#[derive(Default)]
struct Builder {
    problems: Vec<Problem>,
    stack: Vec<Frame>,
    root: Option<Node>,
    /// Something could not be read at all, so that the tree has holes.
    holes: bool,
}

impl Builder {
    fn run(&mut self, text: &str) -> Option<Node> {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok((event, span)) => (event, to_span(&span)),
                Err(error) => {
                    self.syntax(text, error.marker(), error.info());
                    return None;
                }
            };
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents > 1 {
                    self.problems.push(Problem::new(
                        rules::YAML_DOCUMENTS,
                        span,
                        "the file holds more than one document",
                        "keep one `kind: Network` in the file and remove the `---` between documents",
                    ));
                    break;
                }
            }
            if !self.event(event, span) {
                return None;
            }
        }
        if self.holes { None } else { self.root.take() }
    }

    /// Takes one event; false when reading must stop.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::Scalar(text, style, _, tag) => {
                let tagged = tag.is_some();
                if tagged {
                    self.tag(span);
                }
                if self.expects_key() {
                    self.key(text.into_owned(), span);
                } else {
                    let value = self.scalar(&text, style == ScalarStyle::Plain && !tagged, span);
                    self.value(Node { span, data: Data::Scalar(value) });
                }
            }
            Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) if self.stack.len() >= MAX_DEPTH => {
                let _ = tag;
                self.problems.push(Problem::new(
                    rules::YAML_DEPTH,
                    span,
                    format!("lists and mappings are nested more than {MAX_DEPTH} deep"),
                    "no definition needs this; check the brackets and the indentation",
                ));
                return false;
            }
            Event::SequenceStart(_, tag) => {
                self.open(tag.is_some(), span);
                self.stack.push(Frame::Sequence { span, items: Vec::new() });
            }
            Event::MappingStart(_, tag) => {
                self.open(tag.is_some(), span);
                self.stack.push(Frame::Mapping { span, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(_) => {
                self.problems.push(Problem::new(
                    rules::YAML_ALIAS,
                    span,
                    "aliases are not read",
                    "write the value out where it is used",
                ));
                self.holes = true;
                if self.expects_key() {
                    self.key(String::new(), span);
                } else {
                    self.value(Node { span, data: Data::Scalar(Value::Null) });
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        true
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Mapping { key: None, .. }))
    }

    fn open(&mut self, tagged: bool, span: Span) {
        if tagged {
            self.tag(span);
        }
        if self.expects_key() {
            self.problems.push(Problem::new(
                rules::YAML_KEY,
                span,
                "a key is a list or a mapping",
                "write a plain word before the colon; text that begins with `{` or `[` needs quotes",
            ));
            self.holes = true;
        }
    }

    fn close(&mut self) {
        let node = match self.stack.pop() {
            Some(Frame::Sequence { span, items }) => Node { span, data: Data::Sequence(items) },
            Some(Frame::Mapping { span, entries, .. }) => Node { span, data: Data::Mapping(entries) },
            None => return,
        };
        if self.expects_key() {
            // Reported when it was opened; the value that follows needs a place.
            self.key(String::new(), node.span);
        } else {
            self.value(node);
        }
    }

    fn key(&mut self, text: String, span: Span) {
        self.controls(&text, span);
        if let Some(Frame::Mapping { key, .. }) = self.stack.last_mut() {
            *key = Some((text, span));
        }
    }

    fn value(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::Sequence { items, .. }) => items.push(node),
            Some(Frame::Mapping { entries, key, .. }) => {
                let Some((key, key_span)) = key.take() else { return };
                if let Some(first) = entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_span) {
                    let mut problem = Problem::new(
                        rules::YAML_DUPLICATE_KEY,
                        key_span,
                        format!("the key {} stands twice in the same mapping", quoted(&key)),
                        "keep one of them",
                    );
                    problem.first = Some(first);
                    self.problems.push(problem);
                } else {
                    entries.push(Entry { key, key_span, value: node });
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, plain: bool, span: Span) -> Value {
        self.controls(text, span);
        if !plain || !may_be_special(text) {
            return Value::String(text.to_owned());
        }
        match serde_yaml::from_str::<serde_yaml::Value>(text) {
            Ok(serde_yaml::Value::Null) => Value::Null,
            Ok(serde_yaml::Value::Bool(value)) => Value::Bool(value),
            // JSON has neither infinity nor NaN; as text they meet "expected a number".
            Ok(serde_yaml::Value::Number(number)) => {
                serde_json::to_value(&number).ok().filter(Value::is_number).unwrap_or_else(|| text.into())
            }
            Ok(_) | Err(_) => Value::String(text.to_owned()),
        }
    }

    fn tag(&mut self, span: Span) {
        self.problems.push(Problem::new(
            rules::YAML_TAG,
            span,
            "tags (`!name`) are not read",
            "remove the tag; put text that looks like a number into quotes",
        ));
    }

    fn controls(&mut self, text: &str, span: Span) {
        if text.chars().any(|character| character.is_control() && character != '\n' && character != '\t') {
            self.problems.push(Problem::new(
                rules::YAML_CONTROL_CHARACTER,
                span,
                format!("{} holds a control character", quoted(text)),
                "remove it",
            ));
        }
    }

    /// The parser's own complaint, or, where tabs are the likely reason, the tabs.
    fn syntax(&mut self, text: &str, marker: &Marker, info: &str) {
        let tabs: Vec<Problem> = text
            .lines()
            .enumerate()
            // The scanner may still point at the end of the line before.
            .take(marker.line() + 1)
            .filter_map(|(index, line)| {
                let indentation = line.chars().take_while(|character| character.is_whitespace());
                let column = indentation.into_iter().position(|character| character == '\t')? + 1;
                (line.trim() != "").then(|| {
                    Problem::new(
                        rules::YAML_TAB,
                        Span::on_line(index + 1, column, column + 1),
                        "a tab is used for indentation",
                        "use spaces",
                    )
                })
            })
            .collect();
        if tabs.is_empty() {
            let (line, column) = (marker.line().max(1), marker.col() + 1);
            self.problems.push(Problem::new(
                rules::YAML_SYNTAX,
                Span::on_line(line, column, column + 1),
                format!("the YAML cannot be read here: {info}"),
                "check the indentation, the brackets and the quotes of this and the lines before",
            ));
        } else {
            self.problems.extend(tabs);
        }
    }
}

/// Whether a plain scalar can be something other than text; spares a parse of every name.
fn may_be_special(text: &str) -> bool {
    match text.as_bytes().first() {
        None | Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'~') => true,
        Some(_) => text.len() <= 5 && matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null"),
    }
}

fn to_span(span: &ParserSpan) -> Span {
    Span {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
        end_line: span.end.line().max(1),
        end_column: span.end.col() + 1,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn check(input: &str, expect: &Value) {
        let (tree, problems) = parse(input.as_bytes());
        assert_eq!(problems, [], "{input}");
        let tree = tree.unwrap();
        assert_eq!(&tree.to_json(), expect, "{input}");
        let reference: serde_yaml::Value = serde_yaml::from_str(input).unwrap();
        assert_eq!(serde_json::to_value(&reference).unwrap(), *expect, "serde_yaml reads {input} otherwise");
    }

    fn rules_of(input: &[u8]) -> Vec<(&'static str, usize, usize)> {
        let (_, problems) = parse(input);
        problems.iter().map(|problem| (problem.rule.as_str(), problem.span.line, problem.span.column)).collect()
    }

    #[test]
    fn scalars_mean_what_serde_yaml_says() {
        use serde_json::json;
        for (text, value) in [
            ("no", json!("no")),
            ("Yes", json!("Yes")),
            ("on", json!("on")),
            ("0123", json!("0123")),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("12:30:45", json!("12:30:45")),
            ("1e3", json!(1000.0)),
            ("3.10", json!(3.1)),
            ("2.5.12", json!("2.5.12")),
            ("-7", json!(-7)),
            ("null", json!(null)),
            ("~", json!(null)),
            ("", json!(null)),
            ("'~'", json!("~")),
            ("\"1\"", json!("1")),
            ("True", json!(true)),
            ("false", json!(false)),
            ("1_000", json!("1_000")),
            ("2001-12-14", json!("2001-12-14")),
        ] {
            check(&format!("key: {text}\n"), &json!({ "key": value }));
        }
    }

    #[test]
    fn infinity_is_text() {
        let (tree, problems) = parse(b"key: .inf\n");
        assert_eq!(problems, []);
        assert_eq!(tree.unwrap().to_json(), serde_json::json!({ "key": ".inf" }));
    }

    #[test]
    fn structures_and_block_scalars() {
        let input = "a: [1, {b: c}]\nd:\n- e\n- f: |\n    two\n    lines\n# comment\n\"g\": >-\n  one\n  line\n";
        let expect =
            serde_json::json!({ "a": [1, { "b": "c" }], "d": ["e", { "f": "two\nlines\n" }], "g": "one line" });
        check(input, &expect);
    }

    #[test]
    fn positions_of_keys_and_values() {
        let (tree, _) = parse("a:\n  bé: cd\n  list:\n    - x\n    - {y: z}\n".as_bytes());
        let tree = tree.unwrap();
        let a = tree.entry("a").unwrap();
        let b = a.value.entry("bé").unwrap();
        assert_eq!(b.key_span, Span::on_line(2, 3, 5));
        assert_eq!(b.value.span, Span::on_line(2, 7, 9));
        let list = a.value.entry("list").unwrap();
        assert_eq!(list.value.item(0).unwrap().span, Span::on_line(4, 7, 8));
        assert_eq!(list.value.item(1).unwrap().entry("y").unwrap().value.span, Span::on_line(5, 11, 12));
    }

    #[test]
    fn all_duplicates_are_found_and_the_first_is_kept() {
        let input = "a: 1\nb: {c: 1, c: 2}\na: 2\n";
        assert_eq!(rules_of(input.as_bytes()), [("yaml/duplicate-key", 2, 11), ("yaml/duplicate-key", 3, 1)]);
        let (tree, problems) = parse(input.as_bytes());
        assert_eq!(tree.unwrap().to_json(), serde_json::json!({ "a": 1, "b": { "c": 1 } }));
        assert_eq!(problems[1].first, Some(Span::on_line(1, 1, 2)));
        assert!(serde_yaml::from_str::<serde_yaml::Value>(input).is_err());
    }

    #[test]
    fn hostile_input_is_refused() {
        assert_eq!(rules_of(&vec![b'a'; MAX_BYTES + 1]), [("yaml/size", 1, 1)]);
        assert_eq!(rules_of(b"a: 1\nb: \xff\n"), [("yaml/encoding", 2, 4)]);
        assert_eq!(rules_of(b"\xef\xbb\xbfa: 1\n"), [("yaml/byte-order-mark", 1, 1)]);
        assert_eq!(rules_of(b"\xff\xfea\0"), [("yaml/encoding", 1, 1)]);
        assert_eq!(rules_of(b"a: 1\n---\nb: 1\n"), [("yaml/documents", 2, 1)]);
        assert_eq!(rules_of(b"a: &x [1]\nb: *x\nc: *x\n"), [("yaml/alias", 2, 4), ("yaml/alias", 3, 4)]);
        assert_eq!(rules_of(b"a: !!str 1\n"), [("yaml/tag", 1, 4)]);
        assert_eq!(rules_of(b"a: \"\\e[31m\"\n"), [("yaml/control-character", 1, 4)]);
        assert_eq!(rules_of(b"a:\n\tb: 1\n"), [("yaml/tab", 2, 1)]);
        assert_eq!(rules_of(b"? [a]\n: 1\n"), [("yaml/key", 1, 3)]);
        assert_eq!(rules_of(b"a: [1\nb: 2\n").len(), 1);
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(rules_of(deep.as_bytes()), [("yaml/depth", 1, MAX_DEPTH + 1)]);
        // The scanner itself stops at 255 open brackets.
        assert_eq!(rules_of("[".repeat(100_000).as_bytes()), [("yaml/syntax", 1, 256)]);
        let deep = (0..200).map(|level| " ".repeat(level) + "a:").collect::<Vec<_>>().join("\n");
        assert_eq!(rules_of(deep.as_bytes()), [("yaml/depth", 65, 65)]);
    }

    #[test]
    fn an_alias_bomb_costs_nothing() {
        let mut input = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(input, "a{level}: &a{level} [{items}]").unwrap();
        }
        let (tree, problems) = parse(input.as_bytes());
        assert!(tree.is_none());
        assert_eq!(problems.len(), 290);
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_text_panics(text in "[ \\-:\\[\\]{}&*!|>'\"#%@,?a0\\n\\t]{0,120}") {
            let _ = parse(text.as_bytes());
        }
    }
}
