//! The JSON schema of `network.yaml`, made from its types.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::definition::NetworkFile;

static SCHEMA: LazyLock<Value> = LazyLock::new(generate);

/// The schema of `network.yaml` (JSON Schema 2020-12).
pub fn schema() -> &'static Value {
    &SCHEMA
}

fn generate() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<NetworkFile>().to_value();
    tidy(&mut schema);
    schema
}

/// Makes the schema say what the file may hold: an absent key and an empty one are different things, so `null` is
/// not a value; and numbers have the bounds of their types.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            object.values_mut().for_each(tidy);
            drop_null(object);
            bound_numbers(object);
            // The order of keys must not depend on features that other crates of the build turn on.
            object.sort_keys();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch != &json!({ "type": "null" }));
        if let [only] = branches.as_slice() {
            // `$ref` beside a description: allowed since draft 2019-09.
            if let Some(only) = only.as_object().cloned() {
                object.remove("anyOf");
                object.extend(only);
            }
        }
    }
}

fn bound_numbers(object: &mut Map<String, Value>) {
    if object.get("format").and_then(Value::as_str) == Some("uint32") {
        object.remove("format");
        object.insert("maximum".to_owned(), json!(u32::MAX));
    }
}
