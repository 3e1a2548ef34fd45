//! `tenter crds`: the custom resource definitions.

use serde_json::Value;

use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use crate::report::Style;
use crate::resources;

/// Print the custom resource definitions.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter crds | kubectl apply --server-side -f -\n  tenter crds -o json")]
pub struct Args {}

struct Definitions {
    yaml: String,
    json: Value,
}

impl Report for Definitions {
    fn text(&self, _style: Style) -> String {
        self.yaml.clone()
    }

    fn json(&self) -> Value {
        self.json.clone()
    }
}

/// The definitions, as YAML documents or as a JSON list.
pub fn run(_args: &Args) -> Result<Outcome, CliError> {
    let failed =
        |error: &dyn std::fmt::Display| CliError::plain(Exit::Failure, format!("cannot write the CRDs: {error}"));
    let crds = resources::crds().map_err(|error| failed(&error))?;
    let yaml = resources::to_yaml(&crds).map_err(|error| failed(&error))?;
    let items = serde_json::to_value(&crds).map_err(|error| failed(&error))?;
    let json = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
    Ok(Outcome::shown(Definitions { yaml, json }))
}
