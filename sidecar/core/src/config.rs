//! `SidecarConfig`: what the control plane tells a sidecar, as one JSON document. The wire contract between versions.

use serde::{Deserialize, Serialize};

use crate::{
    IssuerUrl, ResourceUri, digest,
    policy::Policy,
    token::{Algorithm, JsonWebKeySet, TokenType},
};

/// The configuration version this code writes and reads.
pub const VERSION: u32 = 1;
/// The largest configuration a sidecar reads, in bytes (a ConfigMap holds at most 1 MiB).
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// What a sidecar runs: whom it guards, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SidecarConfig {
    /// [`VERSION`] of whoever wrote it.
    pub version: u32,
    /// The guarded server, for logs and headers.
    pub server: ServerRef,
    /// Enforce, or deny everything.
    pub enforcement: Enforcement,
}

/// Names of the guarded server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerRef {
    /// Organization.
    pub org: String,
    /// Namespace of the McpServer.
    pub namespace: String,
    /// Name of the McpServer.
    pub name: String,
    /// `mcp_…`.
    pub server_id: String,
}

/// The two states of a registry entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Enforcement {
    /// 503 to everything. Every version can read this.
    DenyAll {
        /// One word: why.
        reason: String,
    },
    /// Check every call.
    Enforce(Box<Enforce>),
}

/// How calls are checked and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enforce {
    /// Resource identifier: `aud`, PRM, challenge; its path is the only MCP path accepted.
    pub resource: ResourceUri,
    /// Hosts accepted beside that of `resource`: `host` (any port) or `host:port`, lower case.
    pub hosts: Vec<String>,
    /// Origins accepted in `Origin`, as `scheme://host[:port]`, beside the resource's own.
    pub allowed_origins: Vec<String>,
    /// Where calls go, on loopback.
    pub upstream: Upstream,
    /// The longest request body.
    pub max_body_bytes: usize,
    /// Log level of the sidecar.
    pub log_level: LogLevel,
    /// Whether calls need a token.
    pub authorization: Authorization,
}

/// The MCP server in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Its MCP path.
    pub path: String,
}

/// Log levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // The words are the documentation.
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl LogLevel {
    /// The level's word, as tracing filters know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// `authMode` of the McpServer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Authorization {
    /// Hygiene only.
    None,
    /// Tokens, scopes and rules.
    OAuth(Box<OAuth>),
}

/// What tokens are accepted and what they allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth {
    /// The protected resource metadata, byte for byte.
    pub metadata: String,
    /// Rules and scopes.
    pub policy: Policy,
    /// Whether lists show only what the token may use.
    pub filter_lists: bool,
    /// Who may issue tokens for this server.
    pub issuers: Vec<Issuer>,
}

/// One trusted issuer and how to get its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// `iss`.
    pub issuer: IssuerUrl,
    /// `aud` of its tokens for this server.
    pub audience: ResourceUri,
    /// `typ` of its tokens.
    pub token_type: TokenType,
    /// Algorithms it may sign with.
    pub algorithms: Vec<Algorithm>,
    /// Keys known when the configuration was written.
    pub keys: JsonWebKeySet,
    /// Where to ask for newer ones; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<ResourceUri>,
    /// PEM certificates to trust for `jwks_uri`; absent: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// How to see whether its tokens are revoked; absent: a token that says where to look is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusLists>,
}

/// Where the Token Status Lists of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusLists {
    /// What the URI of each list begins with, in tokens and in the lists themselves. Ends in `/`.
    #[serde(deserialize_with = "folder")]
    pub uri: ResourceUri,
    /// What to put in its place to ask for a list: an address that is reached from here. Ends in `/`.
    #[serde(deserialize_with = "folder")]
    pub fetch: ResourceUri,
    /// How old a list may become before tokens that name it are refused, in seconds.
    pub max_age_seconds: u64,
}

fn folder<'de, D: serde::Deserializer<'de>>(from: D) -> Result<ResourceUri, D::Error> {
    let uri = ResourceUri::deserialize(from)?;
    if uri.as_str().ends_with('/') && !uri.as_str().contains('?') {
        Ok(uri)
    } else {
        Err(serde::de::Error::custom(format!("{uri} is the beginning of a URI only with a / at its end")))
    }
}

/// A configuration that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Larger than [`MAX_CONFIG_BYTES`].
    #[error("the configuration is larger than {MAX_CONFIG_BYTES} bytes")]
    TooLarge,
    /// Written by a newer control plane.
    #[error("the configuration has version {0}; this sidecar reads up to {VERSION}: restart the pods to update it")]
    Version(u32),
    /// Not a configuration.
    #[error("the configuration cannot be read: {0}")]
    Invalid(#[from] serde_json::Error),
}

/// The part of a configuration that every version can read, whatever else a later one holds.
#[derive(Deserialize)]
struct Envelope {
    version: u32,
    #[serde(default)]
    server: LooseServerRef,
    enforcement: serde_json::Value,
}

/// A [`ServerRef`] of any version: to deny everything it is not needed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LooseServerRef {
    org: String,
    namespace: String,
    name: String,
    server_id: String,
}

impl From<LooseServerRef> for ServerRef {
    fn from(LooseServerRef { org, namespace, name, server_id }: LooseServerRef) -> Self {
        Self { org, namespace, name, server_id }
    }
}

impl SidecarConfig {
    /// Reads a configuration. A `denyAll` of any version is accepted; anything else must be of a version we know.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLarge);
        }
        let envelope: Envelope = serde_json::from_slice(bytes)?;
        if let Some(deny) = envelope.enforcement.get("denyAll") {
            let reason = deny.get("reason").and_then(serde_json::Value::as_str).unwrap_or("Unknown").to_owned();
            let enforcement = Enforcement::DenyAll { reason };
            return Ok(Self { version: envelope.version, server: envelope.server.into(), enforcement });
        }
        if envelope.version > VERSION {
            return Err(ConfigError::Version(envelope.version));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The bytes that are written to the ConfigMap.
    pub fn to_json(&self) -> String {
        // Only strings, numbers and maps with string keys: there is no value serde_json could refuse.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Names the bytes of a configuration: the first 16 hexadecimal digits of their SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(String);

impl Generation {
    /// The generation of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut text = digest::sha256_hex(bytes);
        text.truncate(16);
        Self(text)
    }

    /// The 16 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
