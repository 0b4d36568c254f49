//! What of an McpServer an injection depends on. Much less than its policy: a server whose spec is refused is
//! injected all the same, and its sidecar denies.

use crate::{
    api::v1alpha1::{McpServer, Resources, Transport},
    registry::{ObjectKey, ServerEntry},
};

/// The McpServer a pod is guarded as.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Which object.
    pub key: ObjectKey,
    /// Where the server listens in its pod, when that is known.
    pub port: Option<i32>,
    /// Requests and limits as its author wrote them.
    pub resources: Resources,
    /// `transport: Stdio`: there is no port to guard.
    pub registry_only: bool,
}

impl Target {
    /// The target a registry entry is.
    pub fn of_entry(entry: &ServerEntry) -> Self {
        match &entry.object {
            Some(object) => Self::of_object(entry.key.clone(), object),
            None => Self::unreadable(entry.key.clone()),
        }
    }

    /// The target an McpServer is.
    pub fn of_object(key: ObjectKey, object: &McpServer) -> Self {
        Self {
            key,
            port: Some(object.spec.port),
            resources: object.spec.sidecar.resources.clone(),
            registry_only: object.spec.transport == Transport::Stdio,
        }
    }

    /// The target of an McpServer that exists and cannot be read.
    pub fn unreadable(key: ObjectKey) -> Self {
        Self { key, port: None, resources: Resources::default(), registry_only: false }
    }
}
