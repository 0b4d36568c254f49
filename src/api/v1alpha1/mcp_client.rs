//! `McpClient`: who may ask for tokens.

// KubeSchema's derive repeats each struct inside a private scope of its own.
#![allow(unreachable_pub)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// An OAuth client of the organization.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mcp.lumoauth.dev",
    version = "v1alpha1",
    kind = "McpClient",
    plural = "mcpclients",
    shortname = "mcpc",
    category = "lumoauth",
    namespaced,
    derive = "PartialEq",
    status = "McpClientStatus",
    doc = "An OAuth client that may ask for access tokens.",
    printcolumn(name = "Client-ID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.credentialsSecretName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    validation = crate::api::v1alpha1::schema::object_name()
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.authentication.method in ['ClientSecretBasic', 'ClientSecretPost']) || (has(self.credentialsSecretName) && size(self.credentialsSecretName) > 0)")
        .message("credentialsSecretName is needed for authentication with a secret: name the Secret that the operator shall write"),
    validation = Rule::new("!('AuthorizationCode' in self.grantTypes) || (has(self.redirectUris) && size(self.redirectUris) > 0)")
        .message("redirectUris is needed with AuthorizationCode: write where people are sent back to"),
    validation = Rule::new("!('RefreshToken' in self.grantTypes) || 'AuthorizationCode' in self.grantTypes")
        .message("RefreshToken goes with AuthorizationCode: add that to grantTypes, or remove RefreshToken"),
    validation = Rule::new("!(self.authentication.method == 'None' && 'ClientCredentials' in self.grantTypes)")
        .message("authentication None cannot be used with ClientCredentials, anybody could be the client: use ClientSecretBasic or PrivateKeyJwt"),
    validation = Rule::new("self.authentication.method == 'PrivateKeyJwt' ? has(self.authentication.jwks) != has(self.authentication.jwksUri) : !has(self.authentication.jwks) && !has(self.authentication.jwksUri)")
        .message("PrivateKeyJwt needs exactly one of authentication.jwks and authentication.jwksUri; the other methods have neither")
)]
pub struct McpClientSpec {
    /// Name shown to people; default: metadata.name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,

    /// What the client is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,

    /// Where people are sent back to with AuthorizationCode; exact, on loopback any port: `https://app.example/callback`,
    /// `http://127.0.0.1/callback`, `com.example.app:/callback`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 1024)))]
    pub redirect_uris: Vec<String>,

    /// How it may ask for tokens: [AuthorizationCode, RefreshToken] for a client that people use, [ClientCredentials]
    /// for a program.
    #[schemars(length(min = 1, max = 5))]
    pub grant_types: Vec<GrantType>,

    /// How it proves who it is. Example: {method: None} for a client on people's machines, which can keep no secret.
    pub authentication: ClientAuthentication,

    /// The most it may be given.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    pub scopes: Vec<String>,

    /// McpServers it may ask tokens for; empty: all of the organization that allow it.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 114)))]
    pub servers: Vec<String>,

    /// Secret that the operator writes client_id, issuer and token_endpoint to; client_secret where the client has one,
    /// authorization_endpoint where people use it, ca.crt while the authorization server uses the operator's CA. Needed
    /// for authentication with a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = Rule::new("size(self) == 0 || self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
            .message("credentialsSecretName must be the name of a Secret: lower-case letters, digits, - and .")
    )]
    pub credentials_secret_name: Option<String>,

    /// When the secret is replaced.
    #[serde(default)]
    pub rotation: Rotation,
}

/// How a client may ask for tokens.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    /// RFC 6749 section 4.1, for people.
    AuthorizationCode,
    /// RFC 6749 section 6.
    RefreshToken,
    /// RFC 6749 section 4.4, for programs.
    ClientCredentials,
    /// RFC 8693.
    TokenExchange,
    /// RFC 8628.
    DeviceCode,
}

/// How a client proves who it is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuthentication {
    /// The method.
    pub method: ClientAuthenticationMethod,
    /// Where its public keys are, for PrivateKeyJwt: an https URL. Example: https://app.example/jwks.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub jwks_uri: Option<String>,
    /// Its public keys, for PrivateKeyJwt: {keys: [...]} (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::jwks")]
    pub jwks: Option<serde_json::Value>,
    /// The ServiceAccount it runs as, for KubernetesServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account_name: Option<String>,
}

/// Ways for a client to prove who it is (RFC 7591 section 2).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthenticationMethod {
    /// It cannot: a public client, for AuthorizationCode alone.
    None,
    /// client_secret_basic.
    ClientSecretBasic,
    /// client_secret_post.
    ClientSecretPost,
    /// private_key_jwt.
    PrivateKeyJwt,
    /// A ServiceAccount token.
    KubernetesServiceAccount,
}

/// When a client's secret is replaced. Also by a new value of the annotation mcp.lumoauth.dev/rotate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Every so many days; 0: only by annotation.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 3650").message("everyDays must be between 0 and 3650"))]
    pub every_days: i32,
    /// How many hours the replaced secret still works.
    #[serde(default = "default_overlap")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 720").message("overlapHours must be between 0 and 720"))]
    pub overlap_hours: i32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { every_days: 0, overlap_hours: default_overlap() }
    }
}

fn default_overlap() -> i32 {
    24
}

/// What is observed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct McpClientStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub org_id: Option<String>,
    /// `mcpc_` and 24 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub client_id: Option<String>,
    /// SHA-256 of the secrets that work; the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub secrets: Vec<ClientSecretStatus>,
    /// Value of the rotate annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub rotated_for: Option<String>,
    /// When the secret was last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotated: Option<Time>,
    /// Accepted, CredentialsReady, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// One secret that works.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretStatus {
    /// SHA-256 of the secret, 64 hexadecimal digits.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// When it stops to work; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}
