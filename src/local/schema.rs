//! What an API server checks before it stores an object, by the CRD's own schema: unknown fields, types, missing fields
//! and bounds. Rules in CEL are not run; the registry's parser holds the same ones.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

/// A value that does not fit the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Where, as `spec.rules[0].tools`.
    pub(super) field: String,
    /// The name that is not known, when that is what is wrong.
    pub(super) unknown: Option<String>,
    /// What is wrong and what to write instead.
    pub(super) message: String,
}

/// Everything in `value` (the object's field `field`) that does not fit.
pub(super) fn check(schema: &JSONSchemaProps, value: &Value, field: &str) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    walk(schema, value, field, &mut misfits);
    misfits
}

fn walk(schema: &JSONSchemaProps, value: &Value, field: &str, misfits: &mut Vec<Misfit>) {
    if let Some(message) = wrong_type(schema, value).or_else(|| out_of_bounds(schema, value)) {
        misfits.push(Misfit { field: field.to_owned(), unknown: None, message });
        return;
    }
    match value {
        Value::Object(members) => {
            for name in schema.required.iter().flatten().filter(|name| !members.contains_key(*name)) {
                let message = format!("is missing: add {name}");
                misfits.push(Misfit { field: format!("{field}.{name}"), unknown: None, message });
            }
            for (name, member) in members {
                let path = format!("{field}.{name}");
                match member_schema(schema, name) {
                    Member::Known(schema) => walk(schema, member, &path, misfits),
                    Member::Anything => {}
                    Member::Unknown => misfits.push(Misfit {
                        field: path,
                        unknown: Some(name.clone()),
                        message: format!("is not a field of {field}{}", suggestion(schema, name)),
                    }),
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    walk(schema, item, &format!("{field}[{at}]"), misfits);
                }
            }
        }
        _ => {}
    }
}

enum Member<'a> {
    Known(&'a JSONSchemaProps),
    Anything,
    Unknown,
}

fn member_schema<'a>(schema: &'a JSONSchemaProps, name: &str) -> Member<'a> {
    if let Some(known) = schema.properties.as_ref().and_then(|properties| properties.get(name)) {
        return Member::Known(known);
    }
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(schema)) => Member::Known(schema),
        Some(JSONSchemaPropsOrBool::Bool(true)) => Member::Anything,
        _ if schema.x_kubernetes_preserve_unknown_fields == Some(true) => Member::Anything,
        _ => Member::Unknown,
    }
}

fn wrong_type(schema: &JSONSchemaProps, value: &Value) -> Option<String> {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return (!value.is_i64() && !value.is_string()).then(|| "must be a number or a text".to_owned());
    }
    if value.is_null() && schema.nullable != Some(true) {
        return Some("has no value: write one or remove the field".to_owned());
    }
    let (fits, wanted) = match schema.type_.as_deref()? {
        "object" => (value.is_object(), "a map of fields"),
        "array" => (value.is_array(), "a list, as [a, b]"),
        "string" => (value.is_string(), "a text (in quotes when it looks like something else)"),
        "integer" => (value.is_i64() || value.is_u64(), "a whole number"),
        "number" => (value.is_number(), "a number"),
        "boolean" => (value.is_boolean(), "true or false"),
        _ => return None,
    };
    (!fits).then(|| format!("must be {wanted}"))
}

fn out_of_bounds(schema: &JSONSchemaProps, value: &Value) -> Option<String> {
    let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let range = |count: usize, min: Option<i64>, max: Option<i64>, what: &str| {
        let (few, many) = (min.filter(|min| size(count) < *min), max.filter(|max| size(count) > *max));
        few.map(|min| format!("must have at least {min} {what}"))
            .or_else(|| many.map(|max| format!("may have at most {max} {what}, and has {count}")))
    };
    match value {
        Value::String(text) => {
            let allowed = schema.enum_.as_ref().map(|values| values.iter().map(|value| &value.0).collect::<Vec<_>>());
            if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(&value)) {
                let words: Vec<_> = allowed.iter().filter_map(|word| word.as_str()).collect();
                return Some(format!("may not be {text:?}: write one of {}", words.join(", ")));
            }
            range(text.chars().count(), schema.min_length, schema.max_length, "characters")
        }
        Value::Array(items) => range(items.len(), schema.min_items, schema.max_items, "entries"),
        Value::Object(members) => range(members.len(), schema.min_properties, schema.max_properties, "members"),
        _ => None,
    }
}

/// The known name that is nearest to an unknown one, when it is near.
fn suggestion(schema: &JSONSchemaProps, unknown: &str) -> String {
    let known = schema.properties.iter().flatten().map(|(name, _)| name);
    let nearest = known.map(|name| (distance(&name.to_lowercase(), &unknown.to_lowercase()), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 3 && distance * 2 <= name.len() => format!(": did you mean {name}?"),
        _ => ": remove it".to_owned(),
    }
}

/// How many letters must be added, removed or changed to make one word the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().take(64).enumerate() {
        let mut next = vec![at + 1];
        for (other, (above, before)) in to.iter().zip(row.iter().skip(1).zip(&row)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above + 1).min(left + 1).min(before + usize::from(*other != letter)));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{McpClient, McpServer};
    use kube::CustomResourceExt;
    use rstest::rstest;
    use serde_json::json;

    fn spec_schema<K: CustomResourceExt>() -> JSONSchemaProps {
        let schema = K::crd().spec.versions.remove(0).schema.unwrap().open_api_v3_schema.unwrap();
        schema.properties.unwrap().remove("spec").unwrap()
    }

    fn misfits(change: &Value) -> Vec<String> {
        let mut spec = json!({"resourceUri": "https://a.example/mcp", "port": 8000});
        spec.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
        let told = check(&spec_schema::<McpServer>(), &spec, "spec").into_iter();
        told.map(|misfit| format!("{} {}", misfit.field, misfit.message)).collect()
    }

    #[test]
    fn a_full_spec_fits() {
        let spec = json!({
            "scopes": [{"name": "r", "implies": []}], "requiredScopes": ["r"], "defaultRule": "Deny", "filterLists": false,
            "rules": [{"tools": ["a*"], "scopes": ["r"]}], "metadata": {"resource_documentation": "https://a.example"},
            "sidecar": {"resources": {"requests": {"cpu": 1, "memory": "32Mi"}}, "allowedHosts": ["a"]},
        });
        assert_eq!(misfits(&spec), Vec::<String>::new());
    }

    #[rstest]
    #[case(json!({"requiredScope": ["r"]}), "spec.requiredScope is not a field of spec: did you mean requiredScopes?")]
    #[case(json!({"FilterLists": true}), "spec.FilterLists is not a field of spec: did you mean filterLists?")]
    #[case(json!({"colour": "red"}), "spec.colour is not a field of spec: remove it")]
    #[case(json!({"rules": [{"tool": ["a"]}]}), "spec.rules[0].tool is not a field of spec.rules[0]: did you mean tools?")]
    #[case(json!({"scopes": [{}]}), "spec.scopes[0].name is missing: add name")]
    #[case(json!({"port": "8000"}), "spec.port must be a whole number")]
    #[case(json!({"port": 80.5}), "spec.port must be a whole number")]
    #[case(json!({"port": null}), "spec.port has no value: write one or remove the field")]
    #[case(json!({"requiredScopes": "r"}), "spec.requiredScopes must be a list, as [a, b]")]
    #[case(json!({"requiredScopes": [1]}), "spec.requiredScopes[0] must be a text (in quotes when it looks like something else)")]
    #[case(json!({"filterLists": "yes"}), "spec.filterLists must be true or false")]
    #[case(json!({"sidecar": []}), "spec.sidecar must be a map of fields")]
    #[case(json!({"defaultRule": "Allow"}), "spec.defaultRule may not be \"Allow\": write one of RequireBase, Deny")]
    #[case(json!({"requiredScopes": [""]}), "spec.requiredScopes[0] must have at least 1 characters")]
    #[case(json!({"requiredScopes": vec!["r"; 33]}), "spec.requiredScopes may have at most 32 entries, and has 33")]
    #[case(json!({"metadata": {"a": "x".repeat(1025)}}), "spec.metadata.a may have at most 1024 characters, and has 1025")]
    fn misfits_are_named(#[case] change: Value, #[case] told: &str) {
        assert_eq!(misfits(&change), [told]);
    }

    #[test]
    fn every_misfit_is_told() {
        let told = check(&spec_schema::<McpClient>(), &json!({"grantType": [], "servers": 1}), "spec");
        let fields: Vec<_> = told.iter().map(|misfit| misfit.field.as_str()).collect();
        assert_eq!(fields, ["spec.authentication", "spec.grantTypes", "spec.grantType", "spec.servers"]);
    }
}
