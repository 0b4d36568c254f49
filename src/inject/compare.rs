//! Whether a pod has what its plan says. Nothing a pod says about itself is believed: every field the plan sets is
//! compared, and our container may have no other.

use serde_json::Value;

use super::{Plan, conflict, pod, quantity::Quantity};
use crate::api::names::{SERVER, SIDECAR_CONTAINER};

/// What a pod is, measured by its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Guarded as planned.
    Injected,
    /// Guarded, by an image of another version or with other resources than a pod made now would have.
    Outdated {
        /// The pod's image, when it is not the planned one.
        image: Option<String>,
        /// Whether `resources` or `imagePullPolicy` differ.
        resources: bool,
    },
    /// There is no sidecar.
    Missing,
    /// There is one, and it or what it relies on is not as planned.
    Tampered {
        /// The first field that differs, as a path in the pod.
        field: String,
    },
}

/// Compares a pod, as the API server returns it, with the plan for its McpServer. Accepted beside the plan's values
/// are what the API server defaults, and resources.
pub fn compare(pod: &Value, plan: &Plan) -> Comparison {
    let state = container(pod, plan);
    if state == Comparison::Missing || matches!(state, Comparison::Tampered { .. }) {
        return state;
    }
    let tampered = |field: String| Comparison::Tampered { field };
    if let Some(conflict) = conflict::find(pod) {
        return tampered(conflict.field);
    }
    for planned in &plan.volumes {
        let name = pod::name(planned);
        let here = format!("spec.volumes[{name}]");
        match pod::named(pod::volumes(pod), name) {
            None => return tampered(here),
            Some(volume) => {
                if let Some(field) = difference(planned, volume, &here) {
                    return tampered(field);
                }
            }
        }
    }
    if pod::label(pod, SERVER) != Some(&plan.server.name) {
        return tampered(format!("metadata.labels[{SERVER}]"));
    }
    state
}

/// The same of our container alone.
pub(super) fn container(pod: &Value, plan: &Plan) -> Comparison {
    let here = format!("spec.initContainers[{SIDECAR_CONTAINER}]");
    if pod::named(pod::app_containers(pod), SIDECAR_CONTAINER).is_some() {
        return Comparison::Tampered { field: format!("spec.containers[{SIDECAR_CONTAINER}]") };
    }
    let Some(found) = pod::named(pod::init_containers(pod), SIDECAR_CONTAINER) else { return Comparison::Missing };
    let planned = &plan.container;
    if let Some(field) = difference(&without_tolerated(planned), &without_tolerated(found), &here) {
        return Comparison::Tampered { field };
    }
    let image_of = |container: &Value| pod::text(container, "image").unwrap_or_default().to_owned();
    let (image, planned_image) = (image_of(found), image_of(planned));
    if repository(&image) != repository(&planned_image) {
        return Comparison::Tampered { field: format!("{here}.image") };
    }
    let image = (image != planned_image).then_some(image);
    // The AlwaysPullImages admission plugin rewrites the policy to the strictest one.
    let policy = |container: &Value| pod::text(container, "imagePullPolicy").unwrap_or_default().to_owned();
    let other_policy = policy(found) != policy(planned) && policy(found) != "Always";
    let resources = other_policy || !same_resources(found, planned);
    if image.is_none() && !resources { Comparison::Injected } else { Comparison::Outdated { image, resources } }
}

/// The first difference between what is planned and what is there, as a path.
pub(super) fn difference(planned: &Value, found: &Value, path: &str) -> Option<String> {
    match (planned, found) {
        (Value::Object(planned), Value::Object(found)) => {
            let missing_or_other = planned.iter().find_map(|(key, value)| {
                let here = format!("{path}.{key}");
                found.get(key).map_or(Some(here.clone()), |other| difference(value, other, &here))
            });
            let added = || found.keys().find(|key| !planned.contains_key(*key)).map(|key| format!("{path}.{key}"));
            missing_or_other.or_else(added)
        }
        (Value::Array(planned), Value::Array(found)) => {
            if planned.len() != found.len() {
                return Some(path.to_owned());
            }
            let pairs = planned.iter().zip(found).enumerate();
            pairs.into_iter().find_map(|(at, (one, other))| difference(one, other, &format!("{path}[{at}]")))
        }
        _ => (planned != found).then(|| path.to_owned()),
    }
}

/// A container without the fields that are compared by rules of their own.
fn without_tolerated(container: &Value) -> Value {
    let mut rest = container.clone();
    if let Some(fields) = rest.as_object_mut() {
        for field in ["image", "imagePullPolicy", "resources"] {
            fields.remove(field);
        }
    }
    rest
}

/// An image without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

fn same_resources(found: &Value, planned: &Value) -> bool {
    let all = |container: &Value, of: &str| {
        let pointer = format!("/resources/{of}");
        let map = container.pointer(&pointer).and_then(Value::as_object).cloned().unwrap_or_default();
        map.into_iter().map(|(name, value)| (name, value.as_str().and_then(Quantity::parse))).collect::<Vec<_>>()
    };
    ["requests", "limits"].into_iter().all(|of| {
        let (mut one, mut other) = (all(found, of), all(planned, of));
        one.sort();
        other.sort();
        one == other
    })
}
