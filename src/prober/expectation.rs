//! What a caller of a server should be answered, derived from the configuration its sidecars should run.

use lumoauth_core::{
    challenge::{Challenge, MetadataUrl},
    config::{Authorization, Enforcement, SidecarConfig},
};

use super::forged::ForgedClaims;

/// The right answers of a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// 503 to everything.
    DenyAll,
    /// No token is asked for: there is no answer to judge.
    Open,
    /// A challenge for whoever has no good token.
    Challenge(Box<Challenged>),
}

/// The right answers of a server that asks for tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenged {
    /// `Host` to send: the authority of the resource.
    pub host: String,
    /// The MCP path.
    pub path: String,
    /// Path of the protected resource metadata.
    pub metadata_path: String,
    /// The metadata, byte for byte.
    pub metadata: String,
    /// `WWW-Authenticate` for a call without a token, byte for byte.
    pub unauthenticated: String,
    /// How `WWW-Authenticate` for a bad token starts: all of it but the text of `error_description`.
    pub invalid_token: String,
    /// What the forged token claims, so that only its signature is wrong.
    pub claims: ForgedClaims,
}

impl Expectation {
    /// What a sidecar that runs `config` answers.
    pub fn of(config: &SidecarConfig) -> Self {
        let Enforcement::Enforce(enforce) = &config.enforcement else { return Self::DenyAll };
        let Authorization::OAuth(oauth) = &enforce.authorization else { return Self::Open };
        let metadata = &MetadataUrl::of_resource(&enforce.resource);
        let scope = oauth.policy.required_scopes();
        let invalid = Challenge::InvalidToken { metadata, scope, description: "" }.to_string();
        Self::Challenge(Box::new(Challenged {
            host: enforce.resource.authority().to_owned(),
            path: enforce.resource.path().to_owned(),
            metadata_path: enforce.resource.metadata_path(),
            metadata: oauth.metadata.clone(),
            unauthenticated: Challenge::Unauthenticated { metadata, scope }.to_string(),
            invalid_token: invalid.strip_suffix('"').unwrap_or(&invalid).to_owned(),
            claims: ForgedClaims::of(oauth),
        }))
    }
}
