//! Step two, pure: what an entry and the authorization server's state mean for the cluster.

use std::sync::Arc;

use lumoauth_core::{
    challenge::MetadataUrl,
    config::{Authorization, Enforcement, Generation, SidecarConfig},
    metadata::AUTHORIZATION_SERVER_PATH,
};

use super::{dereference::Dereferenced, error::Error};
use crate::{
    api::v1alpha1::{AuthMode, McpServer, ServerUrls},
    prober::Expectation,
    registry::{self, Issuing, ObjectKey, OrgId, Problem, ServerEntry, ServerId, ServerState},
};

/// What an McpServer is for its pods.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Role {
    /// `transport: Stdio`: pods have nothing to do with it.
    RegistryOnly,
    /// `authMode: None`: a sidecar that asks for no token.
    Open,
    /// Every call is checked.
    Protected,
    /// Every call is refused.
    Denied(Problem),
}

/// Everything the next steps need, proven consistent.
#[derive(Clone, Debug)]
pub(super) struct Validated {
    /// Which object.
    pub(super) key: ObjectKey,
    /// The object in the version its status will be written to. Its spec may be a stand-in (see `dereference`).
    pub(super) object: McpServer,
    /// `metadata.generation` of the spec that was judged.
    pub(super) observed_generation: Option<i64>,
    /// The registry's entry.
    pub(super) entry: Arc<ServerEntry>,
    /// What it is for its pods.
    pub(super) role: Role,
    /// The bytes every sidecar of it should run.
    pub(super) document: String,
    /// Names these bytes.
    pub(super) generation: Generation,
    /// What callers should be answered.
    pub(super) expectation: Arc<Expectation>,
    /// The metadata as the authorization server should publish it, and where; `None` where it publishes none.
    pub(super) publication: Option<Publication>,
    /// Where people find it at the authorization server.
    pub(super) urls: Option<ServerUrls>,
}

/// A document and where the operator can check it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Publication {
    /// Where the operator asks.
    pub(super) url: String,
    /// PEM certificates to trust for it; `None`: those every browser trusts.
    pub(super) ca_bundle: Option<String>,
    /// What should be answered, byte for byte.
    pub(super) document: String,
}

/// Judges what was read.
pub(super) fn validate(read: &Dereferenced) -> Result<Validated, Error> {
    let entry = Arc::clone(&read.entry);
    let issuing = read.issuing.as_deref();
    let config = config(&entry, issuing)?;
    let document = config.to_json();
    let publication = publication(&entry, &config, issuing);
    Ok(Validated {
        key: entry.key.clone(),
        object: read.object.clone(),
        observed_generation: observed(&entry, &read.object),
        role: role(&entry),
        generation: Generation::of(document.as_bytes()),
        expectation: Arc::new(Expectation::of(&config)),
        urls: urls(&entry, issuing),
        publication,
        document,
        entry,
    })
}

impl Validated {
    /// What a call without a token is answered.
    pub(super) fn challenge(&self) -> Option<&str> {
        match &*self.expectation {
            Expectation::Challenge(expected) => Some(&expected.unauthenticated),
            Expectation::DenyAll | Expectation::Open => None,
        }
    }
}

/// What an entry is for its pods.
pub(super) fn role(entry: &ServerEntry) -> Role {
    match &entry.state {
        ServerState::DenyAll(problem) => Role::Denied(problem.clone()),
        ServerState::Enforced(_) if entry.is_registry_only() => Role::RegistryOnly,
        ServerState::Enforced(server) if server.auth_mode == AuthMode::None => Role::Open,
        ServerState::Enforced(_) => Role::Protected,
    }
}

/// A denial needs nothing from the authorization server, so that it is never late.
fn config(entry: &ServerEntry, issuing: Option<&Issuing>) -> Result<SidecarConfig, Error> {
    match (&entry.state, issuing) {
        (ServerState::DenyAll(problem), _) => Ok(registry::denied(entry, problem.reason)),
        (ServerState::Enforced(_), Some(issuing)) => Ok(registry::sidecar_config(entry, issuing)),
        (ServerState::Enforced(_), None) => Err(Error::NoSigningKeys),
    }
}

/// The generation of the spec that the registry judged, which may be older than the object's by a watch event.
pub(super) fn observed(entry: &ServerEntry, object: &McpServer) -> Option<i64> {
    let judged = entry.object.as_ref().map_or(&object.metadata, |judged| &judged.metadata);
    judged.generation
}

fn published<'a>(
    entry: &'a ServerEntry,
    issuing: Option<&'a Issuing>,
) -> Option<(&'a OrgId, &'a ServerId, &'a Issuing)> {
    entry.server()?;
    Some((entry.org.as_ref()?, entry.id.as_ref()?, issuing?))
}

fn publication(entry: &ServerEntry, config: &SidecarConfig, issuing: Option<&Issuing>) -> Option<Publication> {
    let (org, id, issuing) = published(entry, issuing)?;
    let Enforcement::Enforce(enforce) = &config.enforcement else { return None };
    let Authorization::OAuth(oauth) = &enforce.authorization else { return None };
    let (issuer, ca_bundle) = match issuing.internal_issuer(org) {
        Some(internal) => (internal, issuing.ca_bundle.clone()),
        None => (issuing.issuer(org), None),
    };
    let url = MetadataUrl::of_registry(&issuer, id.as_str()).as_str().to_owned();
    Some(Publication { url, ca_bundle, document: oauth.metadata.clone() })
}

fn urls(entry: &ServerEntry, issuing: Option<&Issuing>) -> Option<ServerUrls> {
    let (org, id, issuing) = published(entry, issuing)?;
    let issuer = issuing.issuer(org);
    Some(ServerUrls {
        resource_metadata: MetadataUrl::of_registry(&issuer, id.as_str()).as_str().to_owned(),
        registry: format!("{issuer}/mcp/servers/{id}"),
        challenge: format!("{issuer}/mcp/{id}/challenge"),
        authorization_server_metadata: format!("{}{AUTHORIZATION_SERVER_PATH}{}", issuer.origin(), issuer.path()),
    })
}
