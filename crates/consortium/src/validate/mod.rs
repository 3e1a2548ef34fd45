//! What a definition must satisfy beyond the shape that the schema describes.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, quoted};
use crate::document::{Definition, RepositoryFacts};
use crate::path::Path;
use crate::rules;

/// Everything that is wrong with a definition whose shape is right, in the order of the file.
pub fn validate(definition: &Definition, _facts: &RepositoryFacts) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, organization) in definition.document().spec.organizations.iter().enumerate() {
        if seen.insert(organization.name.as_str(), index).is_some() {
            let path = Path::spec("organizations").index(index).key("name");
            let message = format!("there are two organizations {}", quoted(&organization.name));
            findings.push(definition.finding(rules::DUPLICATE_NAME, &path, message, "rename one of them"));
        }
    }
    findings
}
