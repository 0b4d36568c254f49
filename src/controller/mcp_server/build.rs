//! Step three, pure: the objects a cluster should have for an McpServer.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::OwnerReference, util::intstr::IntOrString},
};
use kube::{Resource as _, api::ObjectMeta};
use lumoauth_core::config::{ServerRef, SidecarConfig};

use super::validate::{Role, Validated};
use crate::{
    api::{names, v1alpha1::McpServer},
    registry::{self, ObjectKey},
};

/// Port of the Service.
pub(super) const SERVICE_PORT: u16 = 80;

/// The objects of one McpServer, computed and not yet written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prepared {
    /// What its sidecars run. Not owned: garbage collection would leave the last, open, content mounted.
    pub(super) config_map: ConfigMap,
    /// How callers reach its sidecars. Owned.
    pub(super) service: Service,
}

/// The objects of `server`; `None` when pods have nothing to do with it.
pub(super) fn build(server: &Validated) -> Option<Prepared> {
    if server.role == Role::RegistryOnly {
        return None;
    }
    Some(Prepared { config_map: config_map(&server.key, server.document.clone()), service: service(server) })
}

/// The ConfigMap that makes the sidecars of a server that is gone refuse everything. `current` is what they run now.
pub(super) fn deleted(key: &ObjectKey, current: Option<&str>) -> ConfigMap {
    let known = current.and_then(|text| SidecarConfig::parse(text.as_bytes()).ok()).map(|config| config.server);
    let server = known.unwrap_or_else(|| ServerRef {
        org: String::new(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        server_id: String::new(),
    });
    config_map(key, registry::deleted(server).to_json())
}

fn config_map(key: &ObjectKey, document: String) -> ConfigMap {
    ConfigMap {
        metadata: metadata(key, names::config_map(&key.name)),
        data: Some(BTreeMap::from([(names::CONFIG_KEY.to_owned(), document)])),
        ..ConfigMap::default()
    }
}

/// The target is a port NAME that only the sidecar declares: a pod without it is no endpoint, instead of an open one.
fn service(server: &Validated) -> Service {
    let mut metadata = metadata(&server.key, names::service(&server.key.name));
    metadata.owner_references = Some(vec![owner(&server.object)]);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(BTreeMap::from([(names::SERVER.to_owned(), server.key.name.clone())])),
            ports: Some(vec![ServicePort {
                name: Some("mcp".to_owned()),
                protocol: Some("TCP".to_owned()),
                port: i32::from(SERVICE_PORT),
                target_port: Some(IntOrString::String(names::SIDECAR_PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn metadata(key: &ObjectKey, name: String) -> ObjectMeta {
    let labels = [(names::MANAGED_BY, names::MANAGER), (names::SERVER, &key.name)];
    ObjectMeta {
        name: Some(name),
        namespace: Some(key.namespace.clone()),
        labels: Some(labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect()),
        ..ObjectMeta::default()
    }
}

fn owner(object: &McpServer) -> OwnerReference {
    OwnerReference {
        api_version: McpServer::api_version(&()).into_owned(),
        kind: McpServer::kind(&()).into_owned(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}
