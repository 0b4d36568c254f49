//! Why a pod is not admitted. Each message names what to change.

use crate::{
    api::names::{INJECTED, SERVER, SIDECAR_CONTAINER, SIDECAR_PORT_NAME},
    registry::ObjectKey,
};

/// A pod that asks for protection and cannot have it, or claims to have it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The annotation names no McpServer.
    #[error("no McpServer {:?} in namespace {:?}: create it first", .0.name, .0.namespace)]
    UnknownServer(ObjectKey),
    /// The annotation's value can be no name.
    #[error(
        "annotation {SERVER}: {0:?} is no name of an McpServer: write the metadata.name of one in the pod's namespace"
    )]
    InvalidName(String),
    /// The label is there and the annotation is not.
    #[error(
        "label {SERVER} is written by the webhook: remove the label from the pod template and write an annotation of that name"
    )]
    LabelWithoutAnnotation,
    /// Label and annotation name different servers.
    #[error(
        "label {SERVER}: {label:?} is not what the annotation of that name says ({annotation:?}): remove the label, the webhook writes it"
    )]
    LabelDisagrees {
        /// What the label says.
        label: String,
        /// What the annotation says.
        annotation: String,
    },
    /// The annotation that only the webhook writes, on a pod that it did not write.
    #[error("annotation {INJECTED} is written by the webhook: remove it from the pod template")]
    ForgedMarker,
    /// The pod shares its node's network.
    #[error(
        "the pod has hostNetwork: true, where a sidecar cannot guard its port: remove hostNetwork, or the annotation {SERVER}"
    )]
    HostNetwork,
    /// A pod that kubelet started from a file, before the webhook saw it.
    #[error(
        "a static pod cannot be protected, kubelet has already started it: run it as a Deployment, or remove the annotation {SERVER}"
    )]
    StaticPod,
    /// The sidecar is a Linux program.
    #[error("spec.os.name is {0:?} and the sidecar runs on Linux only: use linux, or remove the annotation {SERVER}")]
    OperatingSystem(String),
    /// A container uses a port of the sidecar.
    #[error("container {container:?} declares port {port}, which the sidecar uses: let it listen on another port")]
    PortTaken {
        /// Which container.
        container: String,
        /// Which port.
        port: u16,
    },
    /// A container uses the name that the Service targets: calls would go around the sidecar.
    #[error("container {0:?} names a port {SIDECAR_PORT_NAME:?}, which is the sidecar's: give that port another name")]
    PortNameTaken(String),
    /// A container has the sidecar's name and is not what would be injected.
    #[error(
        "container {SIDECAR_CONTAINER:?} is not as planned ({0}): remove it from the pod template, the webhook writes it"
    )]
    ContainerDiffers(String),
    /// A volume has the name of one of ours and is another.
    #[error("volume {0:?} is the sidecar's: give that volume another name")]
    VolumeTaken(String),
    /// `transport: Stdio`: nothing listens.
    #[error(
        "McpServer {0} has transport Stdio, which a sidecar cannot guard: remove the annotation {SERVER}, or use StreamableHttp"
    )]
    NothingToGuard(ObjectKey),
    /// Requests or limits that are no quantities.
    #[error(
        "McpServer {server} has spec.sidecar.resources {resource}: {quantity:?}, which is no quantity: write one like 100m or 64Mi"
    )]
    Quantity {
        /// Which McpServer.
        server: ObjectKey,
        /// cpu, memory, ...
        resource: String,
        /// What is written.
        quantity: String,
    },
}

impl Refusal {
    /// One word per cause, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownServer(_) => "unknown_server",
            Self::InvalidName(_) => "invalid_name",
            Self::LabelWithoutAnnotation => "label_without_annotation",
            Self::LabelDisagrees { .. } => "label_disagrees",
            Self::ForgedMarker => "forged_marker",
            Self::HostNetwork => "host_network",
            Self::StaticPod => "static_pod",
            Self::OperatingSystem(_) => "operating_system",
            Self::PortTaken { .. } => "port_taken",
            Self::PortNameTaken(_) => "port_name_taken",
            Self::ContainerDiffers(_) => "container_differs",
            Self::VolumeTaken(_) => "volume_taken",
            Self::NothingToGuard(_) => "nothing_to_guard",
            Self::Quantity { .. } => "quantity",
        }
    }
}
