//! Plans in files: what was reviewed is what is applied, or nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tenter_consortium::document::{Blob, RepositoryFacts};
use tenter_consortium::plan::Plan;

use super::definition::Located;
use super::exit::Exit;
use super::outcome::CliError;
use crate::report::API_VERSION;
use crate::sync::engine::Look;

/// The kind of the document.
const KIND: &str = "PlanFile";
/// Most bytes of a plan file.
const MAX_BYTES: u64 = 64 << 20;

/// A plan with everything that is needed to carry it out, except the right to. It holds what the repository holds and what
/// everybody who may read the cluster's objects can see: no keys, and of Secrets nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanFile {
    api_version: String,
    kind: String,
    /// The plan.
    pub plan: Plan,
    /// What the plan's hash covers, by name, with a digest each.
    pub covers: BTreeMap<String, String>,
    definition: Definition,
}

/// The definition that the plan was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    file: String,
    bytes: Blob,
    facts: RepositoryFacts,
    revision: Option<String>,
}

impl PlanFile {
    /// What was planned, and from what.
    pub fn new(look: &Look, located: &Located) -> Self {
        let Located { name, bytes, facts, revision } = located;
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            plan: look.plan.clone(),
            covers: look.plan.covered(&look.desired, &look.observed),
            definition: Definition {
                file: name.clone(),
                bytes: Blob(bytes.clone()),
                facts: facts.clone(),
                revision: revision.clone(),
            },
        }
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        let failed = |why: String| CliError::plain(Exit::Failure, format!("cannot write {}: {why}", path.display()));
        let text = serde_json::to_vec(self).map_err(|error| failed(error.to_string()))?;
        std::fs::write(path, text).map_err(|error| failed(error.to_string()))
    }

    /// Reads one, if the file is one: `None` where it is something else, for example a definition.
    pub fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let is_small = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
        let Some(text) = is_small.then(|| std::fs::read(path).ok()).flatten() else { return Ok(None) };
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text) else { return Ok(None) };
        if value.get("kind").and_then(serde_json::Value::as_str) != Some(KIND) {
            return Ok(None);
        }
        let wrong = |why: String| {
            let message = format!("{} is no plan file of this version: {why}", path.display());
            CliError::new(Exit::Usage, message, "make it again: tenter plan --out FILE")
        };
        let file: Self = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if file.api_version == API_VERSION { Ok(Some(file)) } else { Err(wrong(file.api_version)) }
    }

    /// The definition that it was made from.
    pub fn located(&self) -> Located {
        let Definition { file, bytes, facts, revision } = self.definition.clone();
        Located { name: file, bytes: bytes.0, facts, revision }
    }
}

#[cfg(test)]
mod tests {
    use tenter_consortium::desired::desired;
    use tenter_consortium::model;
    use tenter_consortium::planner::{moved, plan};
    use tenter_consortium::settings::Settings;

    use super::*;
    use crate::cli::definition::load;

    const TEXT: &str = "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  organizations:\n    \
                        - {name: hub, orderers: [orderer1]}\n    - {name: acme, peers: [peer1]}\n  channels:\n    \
                        - {name: settlement, members: [acme]}\n";

    fn look() -> (Look, Located) {
        let located = Located {
            name: "network.yaml".to_owned(),
            bytes: TEXT.as_bytes().to_vec(),
            facts: RepositoryFacts::default(),
            revision: Some("0123abc".to_owned()),
        };
        let network = load(&located).unwrap();
        let settings = Settings::of_definitions("trade", "tenter-system", &[&network]);
        let desired = desired(&network, &settings);
        let observed = model::nothing(&desired, "404");
        let plan = plan(&desired, &observed, Some("0123abc"));
        (Look { desired, observed, plan }, located)
    }

    #[test]
    fn a_file_holds_all_that_applying_needs_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let (look, located) = look();
        let file = PlanFile::new(&look, &located);
        file.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("PRIVATE KEY") && !text.to_lowercase().contains("password"));
        let read = PlanFile::read(&path).unwrap().unwrap();
        assert_eq!(read.plan.hash, look.plan.hash);
        assert_eq!(read.located().bytes, TEXT.as_bytes());
        assert_eq!(moved(&read.covers, &look.plan.covered(&look.desired, &look.observed)), [""; 0]);
        // A definition is none, whatever its syntax; another version is refused.
        std::fs::write(&path, "{\"kind\": \"Network\"}").unwrap();
        assert_eq!(PlanFile::read(&path).unwrap(), None);
        std::fs::write(&path, text.replace(API_VERSION, "cli.tenter.dev/v9")).unwrap();
        assert_eq!(PlanFile::read(&path).unwrap_err().exit, Exit::Usage);
        std::fs::write(&path, TEXT).unwrap();
        assert_eq!(PlanFile::read(&path).unwrap(), None);
    }

    #[test]
    fn what_moved_is_named() {
        let (look, _) = look();
        let before = look.plan.covered(&look.desired, &look.observed);
        let mut now = before.clone();
        now.insert("the commit".to_owned(), "other".to_owned());
        now.remove("Namespace trade-acme");
        now.insert("Peer trade-acme/peer9".to_owned(), "new".to_owned());
        let expect = ["Namespace trade-acme is gone", "Peer trade-acme/peer9 is new", "the commit has changed"];
        assert_eq!(moved(&before, &now), expect);
    }
}
