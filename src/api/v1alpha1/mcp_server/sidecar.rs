//! Settings of the injected sidecar.

// KubeSchema's derive repeats each struct inside a private scope of its own.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::schema;

/// Settings of the injected sidecar.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSpec {
    /// Requests and limits of its container.
    #[serde(default)]
    pub resources: Resources,
    /// The longest request body in bytes.
    #[serde(default = "default_max_body")]
    #[x_kube(
        validation = Rule::new("self >= 1024 && self <= 67108864")
            .message("maxBodyBytes must be between 1024 and 67108864 (64 MiB)")
    )]
    pub max_body_bytes: i64,
    /// Browser origins that may call, as scheme://host[:port].
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    #[x_kube(
        validation = Rule::new("self.all(o, o.matches('^https?://[a-z0-9.:\\\\[\\\\]-]+$'))")
            .message("an origin is written as https://host or https://host:port, in lower case and without path")
    )]
    pub allowed_origins: Vec<String>,
    /// Hosts accepted beside those of resourceUri, endpointUrl and the Service, as host or host:port.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    #[x_kube(
        validation = Rule::new("self.all(h, h.matches('^[a-z0-9.-]+(:[0-9]+)?$'))")
            .message("a host is written as host or host:port, in lower case")
    )]
    pub allowed_hosts: Vec<String>,
    /// Secret with the certificate for TLS in the pod; empty: plain HTTP.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub tls_secret_name: String,
    /// Log level.
    #[serde(default)]
    pub log_level: LogLevelSpec,
}

impl Default for SidecarSpec {
    fn default() -> Self {
        Self {
            resources: Resources::default(),
            max_body_bytes: default_max_body(),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            tls_secret_name: String::new(),
            log_level: LogLevelSpec::default(),
        }
    }
}

fn default_max_body() -> i64 {
    4_194_304
}

/// Log level of the sidecar.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // The words are the documentation.
pub enum LogLevelSpec {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// Compute resources, as in a container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, IntOrString>,
    /// What is the most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, IntOrString>,
}
