//! The documents read and write as the ecosystem's own types do.

use serde_json::Value;
use tare_oci::runtime::Spec;

/// What the ecosystem's default `config.json` says, read by our types and written again, is the same document.
#[test]
fn the_default_runtime_spec_survives_a_round_trip() {
    let theirs = serde_json::to_value(oci_spec::runtime::Spec::default()).unwrap();
    let ours: Spec = serde_json::from_value(theirs.clone()).unwrap();
    let again: oci_spec::runtime::Spec =
        serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
    assert_eq!(normal(&serde_json::to_value(again).unwrap()), normal(&theirs));
}

/// Absent and empty mean the same in this specification, and the capability sets have no order.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(key, value)| (key.clone(), normal(value)));
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(normal).collect();
            if items.iter().all(|item| item.as_str().is_some_and(|text| text.starts_with("CAP_"))) {
                items.sort_by_key(ToString::to_string);
            }
            Value::Array(items)
        }
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
