//! Probes of the app that kubelet sends to the pod's IP: left alone, and worth a warning, because an app that keeps its
//! port to itself (as it should) does not answer them.

use serde_json::Value;

use super::{Plan, pod};

const PROBES: [(&str, &str); 5] = [
    ("livenessProbe", "/livenessProbe"),
    ("readinessProbe", "/readinessProbe"),
    ("startupProbe", "/startupProbe"),
    ("lifecycle.postStart", "/lifecycle/postStart"),
    ("lifecycle.preStop", "/lifecycle/preStop"),
];

/// One sentence for each probe of the guarded port.
pub(super) fn warnings(pod: &Value, plan: &Plan) -> Vec<String> {
    let Some(port) = plan.port else { return Vec::new() };
    let mut warnings = Vec::new();
    for container in pod::containers(pod) {
        for (probe, pointer) in PROBES {
            let asked = container.pointer(pointer).and_then(|probe| asked_port(probe, container));
            if asked == Some(i64::from(port)) {
                warnings.push(format!(
                    "container {:?}: {probe} asks port {port} at the pod's IP and fails if the server listens on 127.0.0.1 only: use an exec probe then",
                    pod::name(container)
                ));
            }
        }
    }
    warnings
}

/// The port a network probe asks; a named one is looked up in its own container.
fn asked_port(probe: &Value, container: &Value) -> Option<i64> {
    let action = ["httpGet", "tcpSocket", "grpc"].into_iter().find_map(|kind| probe.get(kind))?;
    // With a host of its own the probe does not go to the pod's IP.
    if pod::text(action, "host").is_some_and(|host| !host.is_empty()) {
        return None;
    }
    let port = action.get("port")?;
    port.as_i64().or_else(|| {
        let named = pod::named(pod::list(container, "/ports"), port.as_str()?)?;
        named.get("containerPort")?.as_i64()
    })
}
