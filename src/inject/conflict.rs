//! What of a pod's own makes a sidecar useless or impossible. Asked at admission, and again of running pods: a pod that
//! never passed the webhook may have it all.

use serde_json::Value;

use super::{Refusal, pod};
use crate::api::names::{SIDECAR_ADMIN_PORT, SIDECAR_CONTAINER, SIDECAR_PORT, SIDECAR_PORT_NAME};

/// The annotation kubelet writes on the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A field of the pod's own that no sidecar can live with.
pub(super) struct Conflict {
    /// Its path in the pod.
    pub(super) field: String,
    /// What its author is told.
    pub(super) refusal: Refusal,
}

impl Conflict {
    fn new(field: impl Into<String>, refusal: Refusal) -> Self {
        Self { field: field.into(), refusal }
    }
}

/// The first conflict of a pod with any sidecar.
pub(super) fn find(pod: &Value) -> Option<Conflict> {
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return Some(Conflict::new("spec.hostNetwork", Refusal::HostNetwork));
    }
    if pod::annotation(pod, MIRROR).is_some() {
        return Some(Conflict::new(format!("metadata.annotations[{MIRROR}]"), Refusal::StaticPod));
    }
    if let Some(os) = pod.pointer("/spec/os/name").and_then(Value::as_str)
        && os != "linux"
    {
        return Some(Conflict::new("spec.os.name", Refusal::OperatingSystem(os.to_owned())));
    }
    let of = |list: &'static str| {
        let others = pod::list(pod, list).iter().filter(|container| pod::name(container) != SIDECAR_CONTAINER);
        others.flat_map(move |container| pod::list(container, "/ports").iter().map(move |port| (list, container, port)))
    };
    let mut ports = of("/spec/containers").chain(of("/spec/initContainers"));
    ports.find_map(|(list, container, port)| {
        let refusal = port_conflict(pod::name(container), port)?;
        let list = list.trim_start_matches('/').replace('/', ".");
        Some(Conflict::new(format!("{list}[{}].ports", pod::name(container)), refusal))
    })
}

fn port_conflict(container: &str, port: &Value) -> Option<Refusal> {
    if pod::name(port) == SIDECAR_PORT_NAME {
        return Some(Refusal::PortNameTaken(container.to_owned()));
    }
    let tcp = pod::text(port, "protocol").is_none_or(|protocol| protocol == "TCP");
    let number = port.get("containerPort").and_then(Value::as_u64).filter(|_| tcp)?;
    let ours = [SIDECAR_PORT, SIDECAR_ADMIN_PORT].into_iter().find(|ours| u64::from(*ours) == number)?;
    Some(Refusal::PortTaken { container: container.to_owned(), port: ours })
}
