//! What people may be given: `spec.grants` of an McpServer.

use lumoauth_core::{ClientId, ScopeSet, client::ClientPattern};

use super::{
    ObjectKey, Server, UserName,
    references::ClientReference,
    server::{Invalid, parse_clients, parse_scopes},
};
use crate::api::v1alpha1::Grant as GrantSpec;

/// A person who asks for a token.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// Name in the organization.
    pub name: &'a str,
    /// Groups in the organization.
    pub groups: &'a [String],
}

/// One entry of `spec.grants`: for whom, and what. Either people or clients are named, never both: it could be read as
/// "these people with these clients" and would be wider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Groups whose people it is for.
    pub groups: Vec<String>,
    /// People it is for.
    pub users: Vec<UserName>,
    /// Clients it is for, whoever uses them.
    pub clients: Vec<ClientPattern>,
    /// The scopes, all of them declared by the server.
    pub scopes: ScopeSet,
}

impl Grant {
    fn is_for(&self, person: Person<'_>, client: &ClientId) -> bool {
        self.users.iter().any(|user| user.as_str() == person.name)
            || self.groups.iter().any(|group| person.groups.contains(group))
            || self.clients.iter().any(|pattern| pattern.admits(client))
    }
}

impl Server {
    /// Every scope a token for `person` through `client` may hold, with what those scopes imply. Without `grants`: the
    /// required scopes, for everybody. `None`: there are grants, and none of them is for this person; not even a token
    /// without scopes.
    pub fn grantable(&self, person: Person<'_>, client: &ClientId) -> Option<ScopeSet> {
        let hierarchy = self.policy.hierarchy();
        if self.grants.is_empty() {
            return Some(hierarchy.expand(self.policy.required_scopes()));
        }
        let granted = self.grants.iter().filter(|grant| grant.is_for(person, client));
        let scopes = granted.map(|grant| grant.scopes.clone()).reduce(|all, more| all.union(&more))?;
        Some(hierarchy.expand(&scopes))
    }
}

/// The grants without their clients, and the clients of each. `declared` is `None` when the scopes are not valid.
pub(super) fn parse(
    key: &ObjectKey,
    entries: &[GrantSpec],
    declared: Option<&ScopeSet>,
    invalid: &mut Invalid<'_>,
) -> (Vec<Grant>, Vec<Vec<ClientReference>>) {
    let mut parsed = (Vec::new(), Vec::new());
    for (at, entry) in entries.iter().enumerate() {
        let field = format!("grants[{at}]");
        let (people, clients) = (!entry.groups.is_empty() || !entry.users.is_empty(), !entry.clients.is_empty());
        match (people, clients) {
            (false, false) => invalid(&field, &"names nobody: write groups, users or clients"),
            (true, true) => invalid(&field, &"names people and clients: write two entries, each is granted by itself"),
            _ => {}
        }
        if entry.groups.iter().any(String::is_empty) {
            invalid(&format!("{field}.groups"), &"holds an empty name: remove it");
        }
        let mut users = Vec::with_capacity(entry.users.len());
        for user in &entry.users {
            match UserName::parse(user) {
                Ok(name) => users.push(name),
                Err(error) => invalid(&format!("{field}.users"), &format!("names {user:?}: {error}")),
            }
        }
        let of_scopes = format!("{field}.scopes");
        let scopes = parse_scopes(&of_scopes, &entry.scopes, invalid);
        if entry.scopes.is_empty() {
            invalid(&of_scopes, &"is empty: name the scopes that are granted");
        }
        for scope in scopes.iter().filter(|scope| declared.is_some_and(|declared| !declared.contains(scope))) {
            let name = scope.as_str();
            invalid(&of_scopes, &format!("names scope {name:?}, which spec.scopes does not declare: declare it there"));
        }
        parsed.1.push(parse_clients(key, &format!("{field}.clients"), &entry.clients, invalid));
        parsed.0.push(Grant { groups: entry.groups.clone(), users, clients: Vec::new(), scopes });
    }
    parsed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::{Index, NamespaceMeta, ObjectKey, Parsed, ServerState};
    use rstest::rstest;
    use serde_json::{Value, json};

    const APP: &str = "https://app.example/client.json";

    /// read < write < admin; read is required.
    fn state(grants: &Value) -> ServerState {
        let object = |kind: &str, name: &str, spec: &Value| {
            json!({
                "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": kind,
                "metadata": {"namespace": "acme", "name": name}, "spec": spec,
            })
        };
        let server = json!({
            "resourceUri": "https://a.example/mcp", "port": 8000, "requiredScopes": ["read"], "grants": grants,
            "scopes": [{"name": "admin", "implies": ["write"]}, {"name": "write", "implies": ["read"]}, {"name": "read"}],
        });
        let client = json!({
            "grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"},
            "credentialsSecretName": "c",
        });
        let mut index = Index::default();
        index.apply_namespace("acme".to_owned(), NamespaceMeta::default());
        let client = serde_json::from_value(object("McpClient", "agent", &client)).unwrap();
        index.apply_client(Parsed::Object(Arc::new(client)));
        let server = serde_json::from_value(object("McpServer", "a", &server)).unwrap();
        index.apply_server(Parsed::Object(Arc::new(server)));
        index.snapshot().servers[&ObjectKey::new("acme", "a")].state.clone()
    }

    fn agent() -> ClientId {
        crate::registry::client_id(&crate::registry::OrgId::parse("acme").unwrap(), &ObjectKey::new("acme", "agent"))
    }

    fn people() -> Value {
        json!([
            {"groups": ["finance"], "scopes": ["write"]},
            {"users": ["ada"], "scopes": ["admin"]},
            {"groups": ["auditors"], "users": ["finance"], "scopes": ["read"]},
        ])
    }

    fn clients() -> Value {
        json!([{"clients": ["agent", "missing", "https://app.example/*"], "scopes": ["write"]}])
    }

    #[rstest]
    #[case::nobody_is_granted_anything_special(json!([]), "bob", &[], APP, Some("read"))]
    #[case::by_group_with_what_it_implies(people(), "bob", &["finance"], APP, Some("read write"))]
    #[case::by_name(people(), "ada", &[], APP, Some("admin read write"))]
    #[case::by_both(people(), "ada", &["finance", "auditors"], APP, Some("admin read write"))]
    #[case::one_of_several_groups(people(), "bob", &["x", "auditors"], APP, Some("read"))]
    #[case::not_named_is_not_even_given_the_required(people(), "bob", &["x"], APP, None)]
    #[case::a_name_is_no_group(people(), "x", &["ada"], APP, None)]
    #[case::a_group_is_no_name(people(), "finance", &[], APP, Some("read"))]
    #[case::letter_case_of_groups_matters(people(), "bob", &["Finance"], APP, None)]
    #[case::letter_case_of_names_does_not(json!([{"users": ["Alice"], "scopes": ["write"]}]), "alice", &[], APP, Some("read write"))]
    #[case::by_client_url(clients(), "bob", &[], APP, Some("read write"))]
    #[case::by_client_reference(clients(), "bob", &[], "@agent", Some("read write"))]
    #[case::another_client(clients(), "bob", &[], "https://other.example/client.json", None)]
    #[case::a_person_named_as_a_client(clients(), "agent", &["agent"], "mcpc_other", None)]
    fn what_a_person_may_be_given(
        #[case] grants: Value,
        #[case] name: &str,
        #[case] groups: &[&str],
        #[case] client: &str,
        #[case] expected: Option<&str>,
    ) {
        let ServerState::Enforced(server) = state(&grants) else { panic!("not accepted") };
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let person = Person { name, groups: &groups };
        let client = if client == "@agent" { agent() } else { ClientId::parse(client).unwrap() };
        let granted = server.grantable(person, &client);
        assert_eq!(granted.map(|scopes| scopes.to_string()).as_deref(), expected);
    }

    #[rstest]
    #[case::for_nobody(json!([{"scopes": ["read"]}]), "spec.grants[0] names nobody")]
    #[case::of_nothing(json!([{"users": ["a"], "scopes": []}]), "spec.grants[0].scopes is empty")]
    #[case::undeclared(json!([{"users": ["a"], "scopes": ["read"]}, {"users": ["a"], "scopes": ["other"]}]), "spec.grants[1].scopes names scope \"other\"")]
    #[case::no_scope(json!([{"users": ["a"], "scopes": ["a b"]}]), "spec.grants[0].scopes \"a b\"")]
    #[case::people_and_clients(json!([{"users": ["a"], "clients": ["agent"], "scopes": ["read"]}]), "write two entries")]
    #[case::client(json!([{"clients": ["http://a.example/x"], "scopes": ["read"]}]), "spec.grants[0].clients \"http://a.example/x\"")]
    #[case::empty_name(json!([{"users": [""], "scopes": ["read"]}]), "spec.grants[0].users names \"\": a user name is")]
    #[case::no_user_name(json!([{"users": ["a", "two words"], "scopes": ["read"]}]), "spec.grants[0].users names \"two words\"")]
    #[case::empty_group(json!([{"groups": [""], "scopes": ["read"]}]), "spec.grants[0].groups")]
    fn what_is_no_grant_denies_and_names_the_field(#[case] grants: Value, #[case] message: &str) {
        let ServerState::DenyAll(problem) = state(&grants) else { panic!("accepted") };
        assert!(problem.message.contains(message), "{problem}");
    }
}
