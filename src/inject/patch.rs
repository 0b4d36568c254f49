//! Plan -> JSON patch (RFC 6902) of `add` operations only.

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value};

use super::{
    Comparison, Plan, Refusal,
    compare::{self, difference},
    conflict, pod, probes,
};
use crate::api::names::{INJECTED, SERVER};

/// Which container `kubectl logs` and `kubectl exec` mean when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What is to be done to a pod, and what its author is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// `add` operations; empty when the pod is already injected.
    pub patch: Patch,
    /// Sentences for the admission response.
    pub warnings: Vec<String>,
}

pub(super) fn injection(pod: &Value, plan: &Plan) -> Result<Injection, Refusal> {
    if let Some(conflict) = conflict::find(pod) {
        return Err(conflict.refusal);
    }
    let mut operations = Vec::new();
    let mut warnings = Vec::new();
    let marker = pod::annotation(pod, INJECTED);
    match compare::container(pod, plan) {
        // The marker is accepted only beside what it speaks of.
        Comparison::Missing if marker.is_some() => return Err(Refusal::ForgedMarker),
        Comparison::Injected if marker.is_some_and(|hash| hash != plan.hash()) => return Err(Refusal::ForgedMarker),
        Comparison::Missing => {
            operations.push(prepend(pod, "initContainers", plan.container.clone()));
            warnings = probes::warnings(pod, plan);
        }
        Comparison::Tampered { field } => return Err(Refusal::ContainerDiffers(field)),
        // Another webhook changed the resources, or another version of the operator was here first.
        Comparison::Injected | Comparison::Outdated { image: None, .. } => {}
        Comparison::Outdated { image: Some(image), .. } => warnings.push(format!(
            "the sidecar runs image {image}, which is not the configured one: if it stands in the pod template, remove it there"
        )),
    }
    operations.extend(append_volumes(pod, plan)?);
    operations.extend(members(pod, "labels", &[(SERVER, &plan.server.name)]));
    let app = pod::app_containers(pod).first().map(|container| (DEFAULT_CONTAINER, pod::name(container)));
    let annotations: Vec<_> = [(INJECTED, plan.hash())].into_iter().chain(app).collect();
    operations.extend(members(pod, "annotations", &annotations));
    Ok(Injection { patch: Patch(operations), warnings })
}

fn add<'a>(path: impl IntoIterator<Item = &'a str>, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path), value })
}

/// `value` before all others of a list of the spec.
fn prepend(pod: &Value, list: &str, value: Value) -> PatchOperation {
    let exists = pod.pointer(&format!("/spec/{list}")).is_some_and(Value::is_array);
    if exists { add(["spec", list, "0"], value) } else { add(["spec", list], Value::Array(vec![value])) }
}

/// The plan's volumes that are not there yet, after all others.
fn append_volumes(pod: &Value, plan: &Plan) -> Result<Vec<PatchOperation>, Refusal> {
    let mut absent = Vec::new();
    for planned in &plan.volumes {
        let name = pod::name(planned);
        match pod::named(pod::volumes(pod), name) {
            None => absent.push(planned.clone()),
            Some(volume) if difference(planned, volume, "").is_some() => {
                return Err(Refusal::VolumeTaken(name.to_owned()));
            }
            Some(_) => {}
        }
    }
    Ok(match pod.pointer("/spec/volumes") {
        Some(Value::Array(_)) => absent.into_iter().map(|volume| add(["spec", "volumes", "-"], volume)).collect(),
        _ if absent.is_empty() => Vec::new(),
        _ => vec![add(["spec", "volumes"], Value::Array(absent))],
    })
}

/// The labels or annotations that are not there yet.
fn members(pod: &Value, of: &str, entries: &[(&str, &str)]) -> Vec<PatchOperation> {
    let Some(present) = pod.pointer(&format!("/metadata/{of}")).and_then(Value::as_object) else {
        let all: Map<String, Value> =
            entries.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        return vec![add(["metadata", of], Value::Object(all))];
    };
    let absent = entries.iter().filter(|(name, _)| !present.contains_key(*name));
    absent.map(|(name, value)| add(["metadata", of, name], Value::from(*value))).collect()
}
