//! The two discovery documents: protected resource metadata (RFC 9728 §2) and authorization server metadata
//! (RFC 8414 §2).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{IssuerUrl, ResourceUri, ScopeSet};

/// Well-known path of RFC 9728 §3.
pub const PROTECTED_RESOURCE_PATH: &str = "/.well-known/oauth-protected-resource";
/// Well-known path of RFC 8414 §3.
pub const AUTHORIZATION_SERVER_PATH: &str = "/.well-known/oauth-authorization-server";

/// PRM members an author may not set: they are ours, or promise something that is not enforced.
pub const RESERVED_MEMBERS: [&str; 6] = [
    "resource",
    "authorization_servers",
    "bearer_methods_supported",
    "scopes_supported",
    "signed_metadata",
    "jwks_uri",
];
/// Prefixes of PRM members an author may not set.
pub const RESERVED_PREFIXES: [&str; 2] = ["dpop_", "tls_"];

/// Whether `member` may be set by the author of an `McpServer` (`spec.metadata`).
pub fn is_reserved_member(member: &str) -> bool {
    RESERVED_MEMBERS.contains(&member) || RESERVED_PREFIXES.iter().any(|prefix| member.starts_with(prefix))
}

/// Protected resource metadata (RFC 9728 §2). `scopes_supported` is the minimal set (the server's required scopes), and
/// is absent when empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProtectedResource {
    /// The resource identifier, verbatim.
    pub resource: ResourceUri,
    /// Issuers, not metadata URLs (RFC 9728 §2).
    pub authorization_servers: Vec<IssuerUrl>,
    /// Always `["header"]`.
    pub bearer_methods_supported: [&'static str; 1],
    /// The required scopes.
    #[serde(skip_serializing_if = "ScopeSet::is_empty")]
    pub scopes_supported: ScopeSet,
    /// What the author added; never a reserved member.
    #[serde(flatten)]
    pub extra: BTreeMap<String, String>,
}

impl ProtectedResource {
    /// The document for `resource`. Reserved members of `extra` are left out here as well as refused by validation.
    pub fn new(
        resource: ResourceUri,
        authorization_servers: Vec<IssuerUrl>,
        required: ScopeSet,
        extra: BTreeMap<String, String>,
    ) -> Self {
        let extra = extra.into_iter().filter(|(member, _)| !is_reserved_member(member)).collect();
        Self {
            resource,
            authorization_servers,
            bearer_methods_supported: ["header"],
            scopes_supported: required,
            extra,
        }
    }

    /// The bytes every party serves: the sidecar on the resource's origin and the authorization server on its own.
    pub fn to_json(&self) -> String {
        // Strings and lists of strings: there is no value serde_json could refuse.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Authorization server metadata (RFC 8414 §2), with the members MCP clients look for.
///
/// `scopes_supported` holds `offline_access` alone: clients ask for all of it when a resource names no scope of its own,
/// and the scopes of an organization belong to many resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorizationServer {
    /// Identical to the identifier the document was asked for (RFC 8414 §3.3).
    pub issuer: IssuerUrl,
    /// SDKs refuse a document without it.
    pub authorization_endpoint: String,
    /// RFC 6749 §3.2.
    pub token_endpoint: String,
    /// RFC 7517.
    pub jwks_uri: String,
    /// RFC 7591; absent where nobody may register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// RFC 7009.
    pub revocation_endpoint: String,
    /// RFC 7662.
    pub introspection_endpoint: String,
    /// What belongs to no resource.
    pub scopes_supported: Vec<&'static str>,
    /// `["code"]`.
    pub response_types_supported: Vec<&'static str>,
    /// `["query"]`.
    pub response_modes_supported: Vec<&'static str>,
    /// The grants that work.
    pub grant_types_supported: Vec<&'static str>,
    /// How clients authenticate at the token endpoint.
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// `alg` of the assertions of `private_key_jwt`.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// How clients authenticate to revoke.
    pub revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    /// As at the token endpoint.
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// How clients authenticate to introspect.
    pub introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    /// As at the token endpoint.
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// `["S256"]`; MCP clients must refuse a server without it.
    pub code_challenge_methods_supported: Vec<&'static str>,
    /// RFC 9207 §3.
    pub authorization_response_iss_parameter_supported: bool,
    /// Whether a client may name itself by the URL of its metadata (draft-ietf-oauth-client-id-metadata-document §5).
    pub client_id_metadata_document_supported: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(required: &str, extra: &[(&str, &str)]) -> String {
        ProtectedResource::new(
            ResourceUri::parse("https://invoices.acme.example/mcp").unwrap(),
            vec![IssuerUrl::parse("https://as.example/orgs/acme/api/v1").unwrap()],
            ScopeSet::parse(required).unwrap(),
            extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        )
        .to_json()
    }

    #[test]
    fn rfc9728_2_members() {
        assert_eq!(
            document("mcp:read", &[("resource_documentation", "https://docs.example/")]),
            r#"{"resource":"https://invoices.acme.example/mcp","authorization_servers":["https://as.example/orgs/acme/api/v1"],"bearer_methods_supported":["header"],"scopes_supported":["mcp:read"],"resource_documentation":"https://docs.example/"}"#
        );
    }

    #[test]
    fn no_required_scopes_no_member() {
        assert!(!document("", &[]).contains("scopes_supported"));
    }

    #[test]
    fn reserved_members_never_come_from_the_author() {
        for member in ["resource", "scopes_supported", "jwks_uri", "dpop_signing_alg_values_supported", "tls_x"] {
            assert!(is_reserved_member(member));
            assert!(!document("a", &[(member, "evil")]).contains("evil"));
        }
    }
}
