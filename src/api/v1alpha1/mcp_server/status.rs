//! What is observed of an `McpServer`.

// KubeSchema's derive repeats each struct inside a private scope of its own.
#![allow(unreachable_pub)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is observed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct McpServerStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `mcp_` and 24 hexadecimal digits: a stable function of organization and resourceUri.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub server_id: Option<String>,
    /// Organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub org_id: Option<String>,
    /// Where the authorization server publishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<ServerUrls>,
    /// What a call without a token is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub www_authenticate_example: Option<String>,
    /// Content hash of what sidecars should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub config_generation: Option<String>,
    /// How many pods are how far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// Accepted, MetadataPublished, Injected, Programmed, BypassProtected, EnforcementVerified, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// URLs of a server at the authorization server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServerUrls {
    /// Protected resource metadata.
    #[schemars(length(max = 2048))]
    pub resource_metadata: String,
    /// Registry entry.
    #[schemars(length(max = 2048))]
    pub registry: String,
    /// Challenge endpoint.
    #[schemars(length(max = 2048))]
    pub challenge: String,
    /// Authorization server metadata.
    #[schemars(length(max = 2048))]
    pub authorization_server_metadata: String,
}

/// How many pods are how far.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// Pods annotated for this server.
    pub selected: i32,
    /// Of these, with the sidecar as planned.
    pub injected: i32,
    /// Of these, running the current configuration.
    pub programmed: i32,
    /// Of these, that answered the probes rightly.
    pub verified: i32,
    /// programmed/selected, for the print column.
    #[schemars(length(max = 32))]
    pub summary: String,
}
