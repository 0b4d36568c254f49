//! `scope` (RFC 6749 §3.3): what is asked for, and how much of it a person may give to a client at a server.

use lumoauth_core::ScopeSet;

use super::refused::Refused;
use crate::{
    authserver::{
        clients::{OAuthClient, ScopeLimit},
        parameters::Parameters,
    },
    registry::{Person, Server},
};

/// No scope of any server (OpenID Connect Core §11): whether a client gets a refresh token is decided by its registration,
/// and shown to the person.
const OFFLINE_ACCESS: &str = "offline_access";

/// The scopes that a request asks for; `None`: those that each server requires.
pub(super) fn asked(parameters: &Parameters<'_>) -> Result<Option<ScopeSet>, Refused> {
    let Some(text) = parameters.get("scope") else { return Ok(None) };
    let scopes = ScopeSet::parse(text).map_err(|_| Refused::MalformedScope)?;
    let of_servers: ScopeSet = scopes.iter().filter(|scope| scope.as_str() != OFFLINE_ACCESS).cloned().collect();
    Ok(Some(of_servers).filter(|scopes| !scopes.is_empty()))
}

/// What a token for a person through a client may hold at a server: what the server declares, within what the client
/// may be given and what grants allow this person. `None`: not even a token without scopes.
pub(super) fn allowed(server: &Server, person: Person<'_>, client: &OAuthClient) -> Option<ScopeSet> {
    let declared = server.policy.declared_scopes();
    let grantable = server.grantable(person, &client.id)?.intersection(&declared);
    Some(match &client.scopes {
        ScopeLimit::Any => grantable,
        // Only what the server declares can be implied: a foreign scope of the same name opens nothing here.
        ScopeLimit::Only(limit) => {
            grantable.intersection(&server.policy.hierarchy().expand(&limit.intersection(&declared)))
        }
    })
}

/// What the person is asked about: of what the client asks for, and of what the person already lets it do there, the part
/// that is allowed. So a second request for more keeps what was granted. `None`: nothing that was asked for is left.
pub(super) fn proposed(
    server: &Server,
    asked: Option<&ScopeSet>,
    held: &ScopeSet,
    allowed: &ScopeSet,
) -> Option<ScopeSet> {
    let wanted = asked.unwrap_or_else(|| server.policy.required_scopes());
    let granted = wanted.intersection(allowed);
    if granted.is_empty() && !wanted.is_empty() {
        return None;
    }
    Some(granted.union(&held.intersection(allowed)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lumoauth_core::ClientId;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        authserver::clients::{Authentication, GrantTypes, Source},
        registry::{Index, NamespaceMeta, ObjectKey, Parsed},
    };

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    #[rstest]
    #[case("", Ok(None))]
    #[case("scope=", Ok(None))]
    #[case("scope=a+b", Ok(Some("a b")))]
    #[case("scope=a+offline_access", Ok(Some("a")))]
    #[case::as_if_absent("scope=offline_access", Ok(None))]
    #[case::other_spelling("scope=OFFLINE_ACCESS", Ok(Some("OFFLINE_ACCESS")))]
    #[case("scope=a++b", Err(Refused::MalformedScope))]
    #[case("scope=+a", Err(Refused::MalformedScope))]
    #[case("scope=%22a%22", Err(Refused::MalformedScope))]
    #[case("scope=a%0Ab", Err(Refused::MalformedScope))]
    #[case("scope=%C3%A9", Err(Refused::MalformedScope))]
    fn rfc6749_3_3_syntax(#[case] query: &str, #[case] expected: Result<Option<&str>, Refused>) {
        let result = asked(&Parameters::of_query(query).unwrap());
        assert_eq!(result, expected.map(|scopes| scopes.map(set)));
    }

    /// read < write < admin, and one on its own; read is required.
    fn server(grants: &serde_json::Value, required: &[&str]) -> Arc<Server> {
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
    #[case::no_grants("", None, Some("read"))]
    #[case::by_grant("admin export", None, Some("admin export read write"))]
    #[case::within_the_client("admin export", Some("write"), Some("read write"))]
    #[case::client_with_a_foreign_scope("write", Some("export settings.manage"), Some(""))]
    #[case::client_without_scopes("write", Some(""), Some(""))]
    #[case::client_with_more("write", Some("admin"), Some("read write"))]
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

    #[rstest]
    #[case::asked(Some("read"), "", "read write", Some("read"))]
    #[case::narrowed(Some("read admin"), "", "read write", Some("read"))]
    #[case::absent_is_required(None, "", "read write", Some("read"))]
    #[case::nothing_left(Some("admin"), "", "read write", None)]
    #[case::nothing_left_of_the_required(None, "", "export", None)]
    #[case::unknown(Some("nothing"), "", "read", None)]
    #[case::step_up(Some("write"), "read export", "read write export", Some("export read write"))]
    #[case::what_was_held_and_is_no_longer_allowed(Some("read"), "write", "read", Some("read"))]
    #[case::what_is_held_is_no_answer_to_another_question(Some("admin"), "read", "read write", None)]
    fn step_up_keeps_what_was_granted(
        #[case] asked: Option<&str>,
        #[case] held: &str,
        #[case] allowed: &str,
        #[case] expected: Option<&str>,
    ) {
        let server = server(&json!([]), &["read"]);
        let result = proposed(&server, asked.map(set).as_ref(), &set(held), &set(allowed));
        assert_eq!(result, expected.map(set));
    }

    #[test]
    fn a_server_that_requires_no_scope_gives_a_token_without() {
        let server = server(&json!([]), &[]);
        assert_eq!(proposed(&server, None, &set(""), &set("")), Some(set("")));
    }
}
