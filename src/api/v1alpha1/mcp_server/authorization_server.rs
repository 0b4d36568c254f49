//! Authorization servers other than the built-in one.

// KubeSchema's derive repeats each struct inside a private scope of its own.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// An authorization server other than the built-in one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationServerSpec {
    /// Its issuer identifier.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// Where its keys are; default: from its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub jwks_uri: Option<String>,
    /// `aud` of its tokens; default: resourceUri.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub audience: Option<String>,
    /// `typ` of its tokens; default: at+jwt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub typ: Option<String>,
    /// Signature algorithms.
    #[serde(default)]
    #[schemars(length(max = 8), inner(length(max = 16)))]
    pub algorithms: Vec<String>,
    /// Claim that names the client; default: client_id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub client_claim: Option<String>,
    /// Claim that lists the scopes; default: scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub scope_claim: Option<String>,
    /// Scopes that follow from claims.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub scope_map: Vec<ScopeMapping>,
    /// For tokens that are not JWTs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// PEM certificates to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
}

/// Scopes that follow from a claim's value.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScopeMapping {
    /// The claim.
    #[schemars(length(min = 1, max = 128))]
    pub claim: String,
    /// Its value.
    #[schemars(length(max = 512))]
    pub value: String,
    /// What it gives.
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub scopes: Vec<String>,
}

/// RFC 7662 introspection.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Introspection {
    /// The endpoint.
    #[schemars(length(min = 1, max = 1024))]
    pub endpoint: String,
    /// Secret with client_id and client_secret.
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret_name: String,
}
