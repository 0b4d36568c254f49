//! Whether an object in the cluster is what it should be. Pure.

use serde_json::{Map, Value};

use crate::api::names;

/// What an apply would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Nothing.
    None,
    /// It would change fields that are ours.
    Fields,
    /// It would take over an object that is not ours.
    NotOurs,
}

/// Compares `live` with what `manager` wants to apply. Equal means: every value we want is there, and the fields we
/// own are exactly those we want, so that a field we no longer want is removed and one that another manager took is
/// taken back. What the API server defaulted and what others added beside it does not count.
pub(super) fn difference(live: &Value, desired: &Value, manager: &str) -> Difference {
    if !is_ours(live, desired) {
        return Difference::NotOurs;
    }
    let same = has(live, desired) && owned(live, manager).is_some_and(|fields| owns_exactly(fields, desired, true));
    if same { Difference::None } else { Difference::Fields }
}

/// Ours: it has our label, and each owner we would name is already an owner, perhaps in an earlier life (same kind and
/// name, other uid).
fn is_ours(live: &Value, desired: &Value) -> bool {
    let label = live.pointer("/metadata/labels").and_then(|labels| labels.get(names::MANAGED_BY));
    let owners = |object: &Value| -> Vec<(Value, Value)> {
        let list = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let member = |owner: &Value, name: &str| owner.get(name).cloned().unwrap_or_default();
        list.into_iter().flatten().map(|owner| (member(owner, "kind"), member(owner, "name"))).collect()
    };
    let (has, wants) = (owners(live), owners(desired));
    label.and_then(Value::as_str) == Some(names::MANAGER) && wants.iter().all(|owner| has.contains(owner))
}

fn has(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(name, value)| match live.get(name) {
            Some(live) => has(live, value),
            None => is_empty(value),
        }),
        (Value::Array(live), Value::Array(desired)) if desired.iter().all(Value::is_object) => {
            desired.iter().all(|value| live.iter().any(|live| has(live, value)))
        }
        _ => live == desired,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The fields `manager` applied to the object itself (FieldsV1).
fn owned<'a>(live: &'a Value, manager: &str) -> Option<&'a Map<String, Value>> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array)?;
    let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let ours = entries.iter().find(|entry| {
        text(entry, "manager") == manager
            && text(entry, "operation") == "Apply"
            && text(entry, "subresource").is_empty()
    });
    ours?.get("fieldsV1")?.as_object()
}

/// Members of an object that say which one, in which version, and are nobody's.
fn names_the_object(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "name" | "namespace" | "uid" | "resourceVersion")
}

fn owns_exactly(fields: &Map<String, Value>, desired: &Value, at_root: bool) -> bool {
    if fields.keys().all(|key| key == ".") {
        // An atomic value: owned as a whole.
        return true;
    }
    let child = |key: &str, value: &Value| match fields.get(key) {
        Some(Value::Object(fields)) => owns_exactly(fields, value, false),
        _ => false,
    };
    match desired {
        Value::Object(members) => {
            let wanted = members.iter().filter(|(_, value)| !is_empty(value));
            wanted.into_iter().all(|(name, value)| {
                if at_root && name == "metadata" {
                    return owns_metadata(fields.get("f:metadata"), value);
                }
                at_root && names_the_object(name) || child(&format!("f:{name}"), value)
            }) && fields.keys().filter_map(|key| key.strip_prefix("f:")).all(|name| members.contains_key(name))
        }
        Value::Array(items) => {
            let matched = |key: &str, value: &Value| match (key.split_at_checked(2), value) {
                (Some(("k:", text)), Value::Object(item)) => serde_json::from_str::<Map<String, Value>>(text)
                    .is_ok_and(|keys| keys.iter().all(|(name, key)| item.get(name).is_none_or(|value| value == key))),
                (Some(("v:", text)), value) => {
                    serde_json::from_str::<Value>(text).is_ok_and(|literal| literal == *value)
                }
                _ => false,
            };
            let keys: Vec<&String> = fields.keys().filter(|key| *key != ".").collect();
            items.iter().all(|value| keys.iter().any(|key| matched(key, value) && child(key, value)))
                && keys.iter().all(|key| items.iter().any(|value| matched(key, value)))
        }
        _ => false,
    }
}

fn owns_metadata(fields: Option<&Value>, metadata: &Value) -> bool {
    let mut wanted = metadata.clone();
    if let Some(members) = wanted.as_object_mut() {
        members.retain(|name, value| !names_the_object(name) && !is_empty(value));
    }
    match fields {
        Some(Value::Object(fields)) => owns_exactly(fields, &wanted, false),
        _ => is_empty(&wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const ME: &str = "lumoauth-operator";

    fn desired() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "a-mcp", "namespace": "acme",
                "labels": {"app.kubernetes.io/managed-by": "lumoauth"},
                "ownerReferences": [{"apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer", "name": "a", "uid": "1"}]
            },
            "spec": {"ports": [{"port": 80, "targetPort": "mcp-auth"}], "selector": {"mcp.lumoauth.dev/server": "a"}}
        })
    }

    fn live() -> Value {
        let mut live = desired();
        *live.pointer_mut("/spec").unwrap() = json!({
            "clusterIP": "10.0.0.1",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "mcp-auth"}],
            "selector": {"mcp.lumoauth.dev/server": "a"}
        });
        *live.pointer_mut("/metadata").unwrap() = json!({
            "name": "a-mcp", "namespace": "acme", "uid": "s", "resourceVersion": "7",
            "labels": {"app.kubernetes.io/managed-by": "lumoauth", "other": "x"},
            "ownerReferences": [{"apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer", "name": "a", "uid": "1"}],
            "managedFields": [{
                "manager": ME, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {
                    "f:metadata": {
                        "f:labels": {"f:app.kubernetes.io/managed-by": {}},
                        "f:ownerReferences": {"k:{\"uid\":\"1\"}": {}}
                    },
                    "f:spec": {
                        "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:targetPort": {}}},
                        "f:selector": {}
                    }
                }
            }]
        });
        live
    }

    fn changed(mut object: Value, pointer: &str, value: Value) -> Value {
        *object.pointer_mut(pointer).unwrap() = value;
        object
    }

    #[test]
    fn what_others_added_and_the_server_defaulted_is_no_difference() {
        assert_eq!(difference(&live(), &desired(), ME), Difference::None);
    }

    #[rstest]
    #[case::changed_value("/spec/ports/0/targetPort", json!(8000))]
    #[case::atomic_map("/spec/selector", json!({"app": "x"}))]
    #[case::scalar_gone("/spec/ports", json!([]))]
    #[case::lost_to_another_manager("/metadata/managedFields/0/manager", json!("kubectl"))]
    #[case::not_applied_but_updated("/metadata/managedFields/0/operation", json!("Update"))]
    #[case::another_took_a_field(
        "/metadata/managedFields/0/fieldsV1/f:spec",
        json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:targetPort": {}}}})
    )]
    #[case::another_took_a_port_field(
        "/metadata/managedFields/0/fieldsV1/f:spec/f:ports",
        json!({"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}})
    )]
    #[case::a_field_no_longer_wanted(
        "/metadata/managedFields/0/fieldsV1/f:metadata/f:labels",
        json!({"f:app.kubernetes.io/managed-by": {}, "f:old": {}})
    )]
    #[case::a_list_item_no_longer_wanted(
        "/metadata/managedFields/0/fieldsV1/f:metadata/f:ownerReferences",
        json!({"k:{\"uid\":\"1\"}": {}, "k:{\"uid\":\"0\"}": {}})
    )]
    #[case::earlier_life_of_the_owner("/metadata/ownerReferences/0/uid", json!("0"))]
    fn our_fields_differ(#[case] pointer: &str, #[case] value: Value) {
        assert_eq!(difference(&changed(live(), pointer, value), &desired(), ME), Difference::Fields);
    }

    #[rstest]
    #[case::no_labels("/metadata/labels", json!({}))]
    #[case::other_manager("/metadata/labels/app.kubernetes.io~1managed-by", json!("Helm"))]
    #[case::other_owner("/metadata/ownerReferences/0/name", json!("b"))]
    #[case::no_owner("/metadata/ownerReferences", json!([]))]
    fn an_object_that_is_not_ours_is_left_alone(#[case] pointer: &str, #[case] value: Value) {
        assert_eq!(difference(&changed(live(), pointer, value), &desired(), ME), Difference::NotOurs);
    }

    #[test]
    fn an_empty_field_that_the_server_dropped_is_no_difference() {
        let mut desired = desired();
        desired["metadata"]["annotations"] = json!({});
        assert_eq!(difference(&live(), &desired, ME), Difference::None);
    }

    #[test]
    fn what_only_we_want_is_a_difference() {
        let mut desired = desired();
        desired["spec"]["publishNotReadyAddresses"] = json!(true);
        assert_eq!(difference(&live(), &desired, ME), Difference::Fields);
    }
}
