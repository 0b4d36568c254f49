//! Reading a raw pod: absent, null and of another type are all "not there".

use serde_json::Value;

/// The containers of a pod that listen on its network: `initContainers` and `containers`.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    init_containers(pod).iter().chain(app_containers(pod))
}

pub(super) fn init_containers(pod: &Value) -> &[Value] {
    list(pod, "/spec/initContainers")
}

pub(super) fn app_containers(pod: &Value) -> &[Value] {
    list(pod, "/spec/containers")
}

pub(super) fn volumes(pod: &Value) -> &[Value] {
    list(pod, "/spec/volumes")
}

pub(super) fn label<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    text(pod.pointer("/metadata/labels")?, name)
}

pub(super) fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    text(pod.pointer("/metadata/annotations")?, name)
}

/// `metadata.name`-like names of containers, volumes and ports.
pub(super) fn name(object: &Value) -> &str {
    text(object, "name").unwrap_or_default()
}

/// The member with this name, among objects that have one.
pub(super) fn named<'a>(objects: &'a [Value], wanted: &str) -> Option<&'a Value> {
    objects.iter().find(|object| name(object) == wanted)
}

pub(super) fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
