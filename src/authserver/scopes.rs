//! Scopes at the authorization endpoint and the token endpoint: what is asked for (RFC 6749 §3.3), and how much of it
//! a client may be given.

use lumoauth_core::{ScopeSet, scope::Hierarchy};

use super::clients::{OAuthClient, ScopeLimit};
use crate::registry::{Person, Server};

/// No scope of any server (OpenID Connect Core §11): whether a client gets a refresh token is decided by its registration,
/// and shown to the person.
const OFFLINE_ACCESS: &str = "offline_access";

/// `scope` is no list of scope-tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The scopes that the parameter `scope` asks for; `None`: those that each server requires.
pub(super) fn asked(scope: Option<&str>) -> Result<Option<ScopeSet>, Malformed> {
    let scopes = ScopeSet::parse(scope.unwrap_or_default()).map_err(|_| Malformed)?;
    let of_servers: ScopeSet = scopes.iter().filter(|scope| scope.as_str() != OFFLINE_ACCESS).cloned().collect();
    Ok(Some(of_servers).filter(|scopes| !scopes.is_empty()))
}

/// What of `declared` a client with this limit may be given, itself or within a scope that implies it. Only what the
/// resource declares can be implied: a foreign scope of the same name opens nothing here.
pub(super) fn within(limit: &ScopeLimit, declared: &ScopeSet, hierarchy: &Hierarchy) -> ScopeSet {
    match limit {
        ScopeLimit::Any => declared.clone(),
        ScopeLimit::Only(scopes) => hierarchy.expand(&scopes.intersection(declared)).intersection(declared),
    }
}

/// What a token for a person through a client may hold at a server: what the server declares, within what the client
/// may be given and what grants allow this person. `None`: not even a token without scopes.
pub(super) fn allowed(server: &Server, person: Person<'_>, client: &OAuthClient) -> Option<ScopeSet> {
    let grantable = server.grantable(person, &client.id)?;
    let within = within(&client.scopes, &server.policy.declared_scopes(), server.policy.hierarchy());
    Some(grantable.intersection(&within))
}

/// What of `held` is `allowed` still. `None`: nothing, although there was something.
pub(super) fn still(held: &ScopeSet, allowed: &ScopeSet) -> Option<ScopeSet> {
    let left = held.intersection(allowed);
    (held.is_empty() || !left.is_empty()).then_some(left)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use lumoauth_core::ClientId;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        authserver::clients::{Authentication, GrantTypes, Source},
        registry::{Index, NamespaceMeta, ObjectKey, Parsed},
    };

    pub(in crate::authserver) fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    #[rstest]
    #[case::absent(None, Ok(None))]
    #[case::empty(Some(""), Ok(None))]
    #[case(Some("a b"), Ok(Some("a b")))]
    #[case(Some("a offline_access"), Ok(Some("a")))]
    #[case::as_if_absent(Some("offline_access"), Ok(None))]
    #[case::other_spelling(Some("OFFLINE_ACCESS"), Ok(Some("OFFLINE_ACCESS")))]
    #[case(Some("a  b"), Err(Malformed))]
    #[case(Some(" a"), Err(Malformed))]
    #[case(Some("a\tb"), Err(Malformed))]
    #[case(Some("a\nb"), Err(Malformed))]
    #[case(Some("\"a\""), Err(Malformed))]
    #[case(Some("\u{e9}"), Err(Malformed))]
    fn rfc6749_3_3_syntax(#[case] scope: Option<&str>, #[case] expected: Result<Option<&str>, Malformed>) {
        assert_eq!(asked(scope), expected.map(|scopes| scopes.map(set)));
    }

    /// read < write < admin, and one on its own; read is required.
    pub(in crate::authserver) fn server(grants: &serde_json::Value, required: &[&str]) -> Arc<Server> {
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"namespace": "acme", "name": "a"},
            "spec": {
                "resourceUri": "https://a.example/mcp", "port": 8000, "requiredScopes": required, "grants": grants,
                "scopes": [
                    {"name": "admin", "implies": ["write"]}, {"name": "write", "implies": ["read"]}, {"name": "read"},
                    {"name": "export"},
                ],
            },
        });
        let mut index = Index::default();
        index.apply_namespace("acme".to_owned(), NamespaceMeta::default());
        index.apply_server(Parsed::Object(Arc::new(serde_json::from_value(object).unwrap())));
        Arc::clone(index.snapshot().servers[&ObjectKey::new("acme", "a")].server().unwrap())
    }

    fn client(scopes: ScopeLimit) -> OAuthClient {
        OAuthClient {
            id: ClientId::parse("mcpc_1").unwrap(),
            source: Source::Dynamic,
            name: "A".to_owned(),
            redirect_uris: Vec::new(),
            grants: GrantTypes::default(),
            authentication: Authentication::None,
            secrets: Vec::new(),
            scopes,
            servers: Vec::new(),
            uri: None,
        }
    }

    #[rstest]
    #[case::as_before("read write", "read write admin", Some("read write"))]
    #[case::cut("read write", "read", Some("read"))]
    #[case::nothing_left("write", "read", None)]
    #[case::nothing_at_all("write", "", None)]
    #[case::nothing_was_held("", "", Some(""))]
    fn what_is_still_granted(#[case] held: &str, #[case] allowed: &str, #[case] left: Option<&str>) {
        assert_eq!(still(&set(held), &set(allowed)), left.map(set));
    }

    #[rstest]
    #[case::no_grants("", None, Some("read"))]
    #[case::by_grant("admin export", None, Some("admin export read write"))]
    #[case::within_the_client("admin export", Some("write"), Some("read write"))]
    #[case::client_with_a_foreign_scope("write", Some("export settings.manage"), Some(""))]
    #[case::client_without_scopes("write", Some(""), Some(""))]
    #[case::client_with_more("write", Some("admin"), Some("read write"))]
    #[case::within_a_wider_scope_of_the_client("read", Some("admin"), Some("read"))]
    fn nothing_beyond_grants_client_and_server(
        #[case] granted: &str,
        #[case] limit: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let scopes: Vec<_> = granted.split(' ').filter(|scope| !scope.is_empty()).collect();
        let grants = if scopes.is_empty() { json!([]) } else { json!([{"users": ["ada"], "scopes": scopes}]) };
        let client = client(limit.map_or(ScopeLimit::Any, |scopes| ScopeLimit::Only(set(scopes))));
        let server = server(&grants, &["read"]);
        let ada = Person { name: "ada", groups: &[] };
        assert_eq!(allowed(&server, ada, &client), expected.map(set));
        let bob = Person { name: "bob", groups: &[] };
        assert_eq!(allowed(&server, bob, &client).is_some(), scopes.is_empty());
    }
}
