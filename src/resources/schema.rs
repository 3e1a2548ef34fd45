//! JSON Schema of a plain type, made fit for a CustomResourceDefinition.

use kube_core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The structural schema of `T`.
///
/// Defaults are left out: the API server would write them into stored specs, and a live spec would then
/// differ from the one that the plan wrote. `uint32` and the like are no formats of OpenAPI; the bound
/// `minimum: 0` that comes with them stays.
pub fn structural<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    clean(&mut schema);
    schema
}

fn clean(schema: &mut Value) {
    let Value::Object(object) = schema else {
        return;
    };
    object.remove("default");
    object.remove("title");
    if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        object.remove("format");
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(clean);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            clean(inner);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(inner)) = object.get_mut(key) {
            inner.iter_mut().for_each(clean);
        }
    }
}

/// The schema at `path` (property names; `*` steps into the items of a list), to be refined.
pub fn at<'a>(schema: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter()
        .try_fold(schema, |schema, name| {
            if *name == "*" { schema.get_mut("items") } else { schema.get_mut("properties")?.get_mut(*name) }
        })?
        .as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tenter_consortium::objects::{OrganizationSpec, Quota};

    use super::*;

    #[test]
    fn optional_objects_are_nullable_and_closed_types_stay_structural() {
        let schema = structural::<OrganizationSpec>();
        let quota = &schema["properties"]["quota"];
        assert_eq!(quota["nullable"], json!(true));
        assert_eq!(quota["type"], json!("object"));
        assert_eq!(quota.get("additionalProperties"), None);
        assert_eq!(schema["properties"]["admins"].get("default"), None);
    }

    #[test]
    fn unsigned_numbers_keep_their_bound_and_lose_their_format() {
        let schema = structural::<Quota>();
        let nodes = &schema["properties"]["nodes"];
        assert_eq!((nodes.get("format"), &nodes["minimum"]), (None, &json!(0)));
    }

    #[test]
    fn paths_step_into_lists() {
        let mut schema = structural::<OrganizationSpec>();
        assert!(at(&mut schema, &["admins", "*", "name"]).is_some());
        assert!(at(&mut schema, &["admins", "*", "nobody"]).is_none());
    }
}
