//! Snapshot entry -> `SidecarConfig`, and the metadata document that sidecar and authorization server both serve.

use lumoauth_core::{
    IssuerUrl, ResourceUri,
    config::{
        Authorization, Enforce, Enforcement, Issuer, OAuth, ServerRef, SidecarConfig, StatusLists, Upstream, VERSION,
    },
    metadata::ProtectedResource,
    token::{Algorithm, JsonWebKeySet, TokenType},
};

use super::{OrgId, Reason, Server, ServerEntry, ServerState};
use crate::api::{names, v1alpha1::AuthMode};

/// What the built-in authorization server is, as seen from a registry entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuing {
    /// Public base URL, without a `/` at its end.
    pub public_url: IssuerUrl,
    /// Its verification keys: in use, next, and not yet expired.
    pub keys: JsonWebKeySet,
    /// Base URL where sidecars reach it, without a `/` at its end; `None`: they use the keys they are given.
    pub internal_url: Option<IssuerUrl>,
    /// PEM certificates that sidecars need for `internal_url`.
    pub ca_bundle: Option<String>,
    /// How old sidecars let a Token Status List become, in seconds.
    pub status_max_age: u64,
}

impl Issuing {
    /// The issuer of an organization: `B/orgs/<org>/api/v1`.
    pub fn issuer(&self, org: &OrgId) -> IssuerUrl {
        under(&self.public_url, org)
    }

    /// The same under the address that is reached inside the cluster.
    pub fn internal_issuer(&self, org: &OrgId) -> Option<IssuerUrl> {
        Some(under(self.internal_url.as_ref()?, org))
    }

    /// What the URI of every Token Status List of an organization begins with; its name follows.
    pub fn status_folder(&self, org: &OrgId) -> Option<ResourceUri> {
        status_folder(&self.issuer(org))
    }

    fn status_lists(&self, org: &OrgId) -> Option<StatusLists> {
        let uri = self.status_folder(org)?;
        let fetch = self.internal_issuer(org).as_ref().and_then(status_folder).unwrap_or_else(|| uri.clone());
        Some(StatusLists { uri, fetch, max_age_seconds: self.status_max_age })
    }

    fn jwks_uri(&self, org: &OrgId) -> Option<ResourceUri> {
        let base = self.internal_issuer(org)?;
        ResourceUri::parse(&format!("{base}/.well-known/jwks.json")).ok()
    }
}

fn status_folder(issuer: &IssuerUrl) -> Option<ResourceUri> {
    ResourceUri::parse(&format!("{issuer}/oauth/status/")).ok()
}

fn under(base: &IssuerUrl, org: &OrgId) -> IssuerUrl {
    let text = format!("{}/orgs/{org}/api/v1", base.as_str().trim_end_matches('/'));
    // A valid base with a path of letters, digits, - and / after it.
    IssuerUrl::parse(&text).unwrap_or_else(|_| base.clone())
}

/// The protected resource metadata of a server.
pub fn metadata(server: &Server, org: &OrgId, issuing: &Issuing) -> ProtectedResource {
    ProtectedResource::new(
        server.resource.clone(),
        vec![issuing.issuer(org)],
        server.policy.required_scopes().clone(),
        server.metadata.clone(),
    )
}

/// What the sidecars of an entry run.
pub fn sidecar_config(entry: &ServerEntry, issuing: &Issuing) -> SidecarConfig {
    let enforcement = match (&entry.state, &entry.org) {
        (ServerState::Enforced(server), Some(org)) => {
            Enforcement::Enforce(Box::new(enforce(entry, server, org, issuing)))
        }
        (ServerState::DenyAll(problem), _) => return denied(entry, problem.reason),
        (ServerState::Enforced(_), None) => Enforcement::DenyAll { reason: "NoOrganization".to_owned() },
    };
    SidecarConfig { version: VERSION, server: server_ref(entry), enforcement }
}

/// The configuration of an entry that is not valid. It needs nothing from the authorization server.
pub fn denied(entry: &ServerEntry, reason: Reason) -> SidecarConfig {
    let enforcement = Enforcement::DenyAll { reason: reason.as_str().to_owned() };
    SidecarConfig { version: VERSION, server: server_ref(entry), enforcement }
}

fn server_ref(entry: &ServerEntry) -> ServerRef {
    ServerRef {
        org: entry.org.as_ref().map(ToString::to_string).unwrap_or_default(),
        namespace: entry.key.namespace.clone(),
        name: entry.key.name.clone(),
        server_id: entry.id.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The configuration of a server that is gone.
pub fn deleted(server: ServerRef) -> SidecarConfig {
    SidecarConfig { version: VERSION, server, enforcement: Enforcement::DenyAll { reason: "Deleted".to_owned() } }
}

fn enforce(entry: &ServerEntry, server: &Server, org: &OrgId, issuing: &Issuing) -> Enforce {
    Enforce {
        resource: server.resource.clone(),
        hosts: hosts(entry, server),
        allowed_origins: server.sidecar.allowed_origins.clone(),
        upstream: Upstream { port: server.port, path: server.path.clone() },
        max_body_bytes: server.sidecar.max_body_bytes,
        log_level: server.sidecar.log_level,
        authorization: match server.auth_mode {
            AuthMode::None => Authorization::None,
            AuthMode::OAuth => Authorization::OAuth(Box::new(OAuth {
                metadata: metadata(server, org, issuing).to_json(),
                policy: server.policy.clone(),
                filter_lists: server.filter_lists,
                issuers: vec![Issuer {
                    issuer: issuing.issuer(org),
                    audience: server.resource.clone(),
                    token_type: TokenType::AccessToken,
                    algorithms: vec![Algorithm::ES256],
                    keys: issuing.keys.clone(),
                    jwks_uri: issuing.jwks_uri(org),
                    ca_bundle: issuing.ca_bundle.clone(),
                    status: issuing.status_lists(org),
                }],
            })),
        },
    }
}

/// Hosts accepted beside the resource's: the endpoint's, the Service under each of its names, and what the author adds.
fn hosts(entry: &ServerEntry, server: &Server) -> Vec<String> {
    let service = names::service(&entry.key.name);
    let namespace = &entry.key.namespace;
    let of_service = ["", "", ".svc", ".svc.cluster.local"].iter().enumerate().map(|(at, suffix)| match at {
        0 => service.clone(),
        _ => format!("{service}.{namespace}{suffix}"),
    });
    let endpoint = Some(server.endpoint.authority().to_owned()).filter(|host| host != server.resource.authority());
    endpoint.into_iter().chain(of_service).chain(server.sidecar.allowed_hosts.iter().cloned()).collect()
}
