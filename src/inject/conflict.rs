//! What of a pod's own makes a sidecar useless or impossible. Asked at admission, and again of running pods: a pod that
//! never passed the webhook may have it all.

use serde_json::Value;

use super::{Refusal, pod};
use crate::api::names::{SIDECAR_ADMIN_PORT, SIDECAR_CONTAINER, SIDECAR_PORT, SIDECAR_PORT_NAME};

/// The annotation kubelet writes on the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The first conflict of a pod with any sidecar.
pub(super) fn find(pod: &Value) -> Option<Refusal> {
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return Some(Refusal::HostNetwork);
    }
    if pod::annotation(pod, MIRROR).is_some() {
        return Some(Refusal::StaticPod);
    }
    if let Some(os) = pod.pointer("/spec/os/name").and_then(Value::as_str)
        && os != "linux"
    {
        return Some(Refusal::OperatingSystem(os.to_owned()));
    }
    pod::containers(pod).filter(|container| pod::name(container) != SIDECAR_CONTAINER).find_map(port_conflict)
}

fn port_conflict(container: &Value) -> Option<Refusal> {
    pod::list(container, "/ports").iter().find_map(|port| {
        let name = || pod::name(container).to_owned();
        if pod::name(port) == SIDECAR_PORT_NAME {
            return Some(Refusal::PortNameTaken(name()));
        }
        let tcp = pod::text(port, "protocol").is_none_or(|protocol| protocol == "TCP");
        let number = port.get("containerPort").and_then(Value::as_u64)?;
        let ours = [SIDECAR_PORT, SIDECAR_ADMIN_PORT].into_iter().find(|ours| u64::from(*ours) == number)?;
        tcp.then(|| Refusal::PortTaken { container: name(), port: ours })
    })
}
