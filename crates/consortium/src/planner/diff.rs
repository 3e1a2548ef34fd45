//! Differences between two values, field by field.

use serde_json::Value;

use crate::plan::FieldChange;

/// Every field in which `to` differs from `from`. `null` and an absent field are the same thing. Lists are compared
/// item by item when they hold as many mappings, otherwise as a whole.
pub fn diff(path: &str, from: &Value, to: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    walk(path, Some(from), Some(to), &mut changes);
    changes
}

fn walk(path: &str, from: Option<&Value>, to: Option<&Value>, changes: &mut Vec<FieldChange>) {
    let from = from.filter(|value| !value.is_null());
    let to = to.filter(|value| !value.is_null());
    match (from, to) {
        (Some(from), Some(to)) if from == to => {}
        (None, None) => {}
        (Some(Value::Object(from)), Some(Value::Object(to))) => {
            let mut keys: Vec<&String> = from.keys().chain(to.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, from.get(key), to.get(key), changes);
            }
        }
        (Some(Value::Array(from)), Some(Value::Array(to)))
            if from.len() == to.len() && from.iter().chain(to).all(Value::is_object) =>
        {
            for (index, (from, to)) in from.iter().zip(to).enumerate() {
                walk(&format!("{path}[{index}]"), Some(from), Some(to), changes);
            }
        }
        (from, to) => {
            changes.push(FieldChange { path: path.to_owned(), from: from.cloned(), to: to.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(from: &Value, to: &Value, expect: &[&str]) {
        let paths: Vec<String> = diff("spec", from, to).into_iter().map(|change| change.path).collect();
        assert_eq!(paths, expect, "{from} {to}");
        assert_eq!(diff("", to, to), []);
    }

    #[test]
    fn fields_lists_and_nulls() {
        check(&json!({"a": 1, "b": null}), &json!({"a": 1}), &[]);
        check(&json!({"a": {"b": 1, "c": 2}}), &json!({"a": {"b": 2, "d": 3}}), &["spec.a.b", "spec.a.c", "spec.a.d"]);
        check(&json!({"l": [{"a": 1}, {"a": 2}]}), &json!({"l": [{"a": 1}, {"a": 3}]}), &["spec.l[1].a"]);
        check(&json!({"l": [1]}), &json!({"l": [1, 2]}), &["spec.l"]);
        check(&json!({"l": []}), &json!({}), &["spec.l"]);
    }
}
