//! From bytes to a definition.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::{ChaincodeSource, ExternalEntry, NetworkFile};
use crate::diagnostic::{Diagnostic, Related, Span, has_errors};
use crate::network::Network;
use crate::path::Path;
use crate::plan::Origin;
use crate::rules::{self, RuleId};
use crate::yaml::Node;
use crate::{shape, validate, yaml};

/// What the repository holds beside the definition, as far as the definition's meaning depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryFacts {
    /// Names of the folders in `organizations/`: the organizations that are hosted elsewhere or publish their material.
    pub organizations: Vec<String>,
    /// What stands at the paths that the definition names (see [`repository_paths`]). A path that is not here was not
    /// looked at, as for a definition that comes without a repository.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, RepositoryItem>,
    /// The files below `organizations/`, `channels/` and `approvals/`.
    #[serde(default)]
    pub members: MemberFiles,
    /// What the repository held at the commits from which pinned genesis blocks were made, by commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub commits: BTreeMap<String, Snapshot>,
}

/// The files below `organizations/`, `channels/` and `approvals/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberFiles {
    /// By their path from the repository's root.
    pub files: BTreeMap<String, Blob>,
    /// What was not read, by its path, and why: `holds more than 256 files and folders`.
    pub refused: BTreeMap<String, String>,
}

/// A definition, and what stood beside it, at an earlier commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The definition's bytes.
    pub definition: Blob,
    /// The files of the members.
    pub members: MemberFiles,
}

/// Most bytes of a file that a definition names.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most files of a folder that a definition names.
pub const MAX_FOLDER_FILES: usize = 256;
/// Most bytes of all files that a definition names: what is more is [`RepositoryItem::Refused`].
pub const MAX_ALL_BYTES: usize = 16 << 20;

/// What stands at a path of the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "camelCase")]
pub enum RepositoryItem {
    /// A regular file of at most [`MAX_FILE_BYTES`].
    File {
        /// What it holds.
        bytes: Blob,
    },
    /// A folder with nothing but regular files and folders below it.
    Folder {
        /// Its files by their path in it, those of its folders too.
        files: BTreeMap<String, Blob>,
    },
    /// There is nothing.
    Missing,
    /// A file of more than [`MAX_FILE_BYTES`], which was not read.
    TooLarge {
        /// Its size.
        size: u64,
    },
    /// Something else that is not read: a symbolic link, a submodule, a folder with either of them or over a limit.
    Refused {
        /// What it is: `is a symbolic link`.
        why: String,
    },
}

/// Bytes of a file. `Debug` shows how many, hexadecimal text stands for them in JSON.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Blob(
    #[serde(with = "crate::hexadecimal")]
    #[schemars(with = "String")]
    pub Vec<u8>,
);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

/// A definition as written, with the position of everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    file: String,
    document: NetworkFile,
    tree: Node,
}

impl Definition {
    /// The file, as the caller named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The document as written.
    pub const fn document(&self) -> &NetworkFile {
        &self.document
    }

    /// Where a place of the document stands, for a plan's reasons.
    pub fn origin(&self, path: &Path) -> Origin {
        let span = path.span(&self.tree);
        Origin { line: span.line, column: span.column, path: path.to_string() }
    }

    /// Where a place of the document stands.
    pub fn span(&self, path: &Path) -> Span {
        path.span(&self.tree)
    }

    /// Where a key of the mapping at a place stands.
    pub fn key_span(&self, path: &Path, key: &str) -> Span {
        path.key_span(&self.tree, key)
    }

    /// The paths in the repository that the document names: what [`RepositoryFacts::files`] should tell of. Paths that
    /// lead nowhere inside a repository are left out; validation reports them.
    pub fn repository_paths(&self) -> BTreeSet<String> {
        let sources = self.document.spec.chaincodes.iter().flatten().map(|chaincode| &chaincode.source);
        let named = sources.flat_map(|ChaincodeSource { image: _, package, external }| {
            let roots = external
                .as_ref()
                .and_then(|ExternalEntry { address: _, root_certificates }| root_certificates.as_ref());
            package.iter().chain(roots)
        });
        named.filter(|path| is_repository_path(path)).cloned().collect()
    }

    /// A finding about a place of the document.
    pub fn finding(&self, rule: RuleId, path: &Path, message: String, help: impl Into<String>) -> Diagnostic {
        diagnostic(&self.file, rule, self.span(path), message, Some(help.into()))
    }
}

/// The outcome of reading a definition.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The network; `None` when any finding is an error, so that nothing can be planned from a broken file.
    pub network: Option<Network>,
    /// All findings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads, validates and resolves a definition. `file` is what messages call it.
pub fn load(bytes: &[u8], file: &str, facts: &RepositoryFacts) -> Loaded {
    let (definition, mut diagnostics) = parse(bytes, file);
    let mut network = None;
    if let Some(definition) = definition {
        diagnostics.extend(validate::validate(&definition, facts));
        if !has_errors(&diagnostics) {
            network = Some(Network::resolve(&definition, facts));
        }
    }
    diagnostics.sort();
    Loaded { network, diagnostics }
}

/// Reads a definition and holds it to the schema. There is none when the document does not have the schema's shape.
pub fn parse(bytes: &[u8], file: &str) -> (Option<Definition>, Vec<Diagnostic>) {
    let (tree, problems) = yaml::parse(bytes);
    let mut diagnostics: Vec<Diagnostic> = problems
        .into_iter()
        .map(|problem| {
            let mut finding = diagnostic(file, problem.rule, problem.span, problem.message, Some(problem.help));
            finding.related.extend(problem.first.map(|span| Related { span, message: "first here".to_owned() }));
            finding
        })
        .collect();
    let Some(tree) = tree.filter(|tree| !tree.to_json().is_null()) else {
        if diagnostics.is_empty() {
            diagnostics.push(diagnostic(
                file,
                rules::EMPTY,
                Span::START,
                "the file is empty".to_owned(),
                Some("start with `apiVersion: tenter.dev/v1alpha1` and `kind: Network`".to_owned()),
            ));
        }
        return (None, diagnostics);
    };
    let json = tree.to_json();
    let findings = shape::check(&tree, &json);
    let whole = findings.is_empty();
    diagnostics
        .extend(findings.into_iter().map(|found| diagnostic(file, found.rule, found.span, found.message, found.help)));
    if !whole {
        diagnostics.sort();
        return (None, diagnostics);
    }
    let definition = match serde_json::from_value(json) {
        Ok(document) => Some(Definition { file: file.to_owned(), document, tree }),
        Err(error) => {
            diagnostics.push(diagnostic(file, rules::SHAPE, Span::START, error.to_string(), None));
            None
        }
    };
    diagnostics.sort();
    (definition, diagnostics)
}

/// The paths in the repository that a definition names; none when it cannot be read.
pub fn repository_paths(bytes: &[u8]) -> BTreeSet<String> {
    parse(bytes, "").0.map(|definition| definition.repository_paths()).unwrap_or_default()
}

/// Whether a text is a path from the repository's root to something inside it.
pub fn is_repository_path(path: &str) -> bool {
    path.len() <= 1024
        && !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part != ".git")
}

fn diagnostic(file: &str, rule: RuleId, span: Span, message: String, help: Option<String>) -> Diagnostic {
    Diagnostic {
        file: file.to_owned(),
        span,
        rule,
        severity: rules::severity(rule),
        message,
        help,
        related: Vec::new(),
    }
}
