//! Paths in a document, and where they are in the file.

use crate::diagnostic::Span;
use crate::yaml::{Data, Node};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

/// A place in a document, for example `spec.organizations[1].peers[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The path of a section of `spec`.
    pub fn spec(section: &str) -> Self {
        Self::default().key("spec").key(section)
    }

    /// The value of a key of this place.
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// An item of this place.
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// The path that a JSON pointer names in a tree.
    pub fn from_pointer(tree: &Node, pointer: &str) -> Self {
        let mut path = Self::default();
        let mut node = Some(tree);
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let item = match (node.map(|node| &node.data), part.parse::<usize>()) {
                (Some(Data::Sequence(items)), Ok(index)) => Some((Segment::Index(index), items.get(index))),
                (_, _) => None,
            };
            let (segment, next) = item.unwrap_or_else(|| {
                let next = node.and_then(|node| node.entry(&part)).map(|entry| &entry.value);
                (Segment::Key(part), next)
            });
            path.0.push(segment);
            node = next;
        }
        path
    }

    /// Where the value stands; of what is not in the file, the nearest thing around it that is.
    pub fn value_span(&self, tree: &Node) -> Span {
        self.spans(tree).1
    }

    /// Where a reader should look: the value if it is one word, else its key, else its first line.
    pub fn span(&self, tree: &Node) -> Span {
        let (key, value) = self.spans(tree);
        key.unwrap_or(value)
    }

    /// The key's place when the value is a list or a mapping (or empty), and the value's place.
    fn spans(&self, tree: &Node) -> (Option<Span>, Span) {
        let mut node = tree;
        let mut key = None;
        for segment in &self.0 {
            let next = match segment {
                Segment::Key(name) => node.entry(name).map(|entry| (Some(entry.key_span), &entry.value)),
                Segment::Index(index) => node.item(*index).map(|item| (None, item)),
            };
            let Some((next_key, next_node)) = next else { break };
            (key, node) = (next_key, next_node);
        }
        match &node.data {
            Data::Scalar(value) if !value.is_null() => (None, node.span),
            Data::Scalar(_) | Data::Sequence(_) => (key, first_line(node.span)),
            Data::Mapping(entries) => (key, entries.first().map_or(first_line(node.span), |entry| entry.key_span)),
        }
    }

    /// Where a key of the mapping at this path stands.
    pub fn key_span(&self, tree: &Node, key: &str) -> Span {
        let mut node = Some(tree);
        for segment in &self.0 {
            node = match (node, segment) {
                (Some(node), Segment::Key(name)) => node.entry(name).map(|entry| &entry.value),
                (Some(node), Segment::Index(index)) => node.item(*index),
                (None, _) => None,
            };
        }
        node.and_then(|node| node.entry(key)).map_or_else(|| self.span(tree), |entry| entry.key_span)
    }
}

/// The first character of something that spans lines.
fn first_line(span: Span) -> Span {
    if span.end_line == span.line { span } else { Span::on_line(span.line, span.column, span.column + 1) }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') => {
                    write!(f, "{}{key}", if position == 0 { "" } else { "." })?;
                }
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_places_and_the_nearest_for_what_is_missing() {
        let (tree, _) = crate::yaml::parse(b"spec:\n  organizations:\n    - name: a\n      peers: [p1, p2]\n  x: y\n");
        let tree = tree.unwrap();
        let organization = Path::spec("organizations").index(0);
        assert_eq!(organization.to_string(), "spec.organizations[0]");
        assert_eq!(organization.span(&tree), Span::on_line(3, 7, 11));
        assert_eq!(organization.key("name").span(&tree), Span::on_line(3, 13, 14));
        assert_eq!(organization.key("peers").span(&tree), Span::on_line(4, 7, 12));
        assert_eq!(organization.key("peers").index(1).span(&tree), Span::on_line(4, 19, 21));
        assert_eq!(organization.key("domain").span(&tree), Span::on_line(3, 7, 11));
        assert_eq!(Path::spec("x").span(&tree), Span::on_line(5, 6, 7));
        assert_eq!(
            Path::from_pointer(&tree, "/spec/organizations/0/peers/1").to_string(),
            "spec.organizations[0].peers[1]"
        );
        assert_eq!(Path::default().key("a/b.c").to_string(), "[\"a/b.c\"]");
    }
}
