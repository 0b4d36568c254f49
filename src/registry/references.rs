//! Clients as an McpServer's spec names them, and what the names come to.

use std::{collections::BTreeMap, sync::Arc};

use lumoauth_core::{ClientId, client::ClientPattern};

use super::{ClientEntry, ObjectKey, OrgId};

/// A client in a spec: it is not known yet whether there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientReference {
    /// An McpClient.
    Object(ObjectKey),
    /// A client-id URL, or every one of a host.
    Url(ClientPattern),
}

impl ClientReference {
    /// Parses `name`, `namespace/name`, an https URL or `https://host/*`, as an object in `namespace` writes it.
    pub(super) fn parse(text: &str, namespace: &str) -> Option<Self> {
        if !text.contains("://") {
            return Some(Self::Object(ObjectKey::resolve(text, namespace)));
        }
        text.starts_with("https://").then(|| ClientPattern::parse(text).ok()).flatten().map(Self::Url)
    }
}

/// The clients of an organization, by name; remembers the names that lead nowhere.
pub(super) struct Resolver<'a> {
    org: &'a OrgId,
    clients: &'a BTreeMap<ObjectKey, Arc<ClientEntry>>,
    unresolved: Vec<String>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(org: &'a OrgId, clients: &'a BTreeMap<ObjectKey, Arc<ClientEntry>>) -> Self {
        Self { org, clients, unresolved: Vec::new() }
    }

    /// The identifier of an McpClient that the spec names in `field`; one of another organization has none.
    pub(super) fn client(&mut self, field: &str, key: &ObjectKey) -> Option<ClientId> {
        let entry = self.clients.get(key).filter(|entry| entry.org.as_ref() == Some(self.org));
        let id = entry.and_then(|entry| entry.id.clone());
        if id.is_none() {
            self.unresolved.push(format!("spec.{field} {key}"));
        }
        id
    }

    /// What the entries of `field` admit. One that leads nowhere admits nobody.
    pub(super) fn patterns(&mut self, field: &str, references: &[ClientReference]) -> Vec<ClientPattern> {
        let mut pattern = |reference: &ClientReference| match reference {
            ClientReference::Url(pattern) => Some(pattern.clone()),
            ClientReference::Object(key) => self.client(field, key).map(ClientPattern::Exact),
        };
        references.iter().filter_map(&mut pattern).collect()
    }

    /// Every name that led nowhere, with the field it stands in.
    pub(super) fn unresolved(self) -> Vec<String> {
        self.unresolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::own_namespace("agent", Some(ClientReference::Object(ObjectKey::new("acme", "agent"))))]
    #[case::other_namespace("tools/agent", Some(ClientReference::Object(ObjectKey::new("tools", "agent"))))]
    #[case::url("https://app.example/id", ClientPattern::parse("https://app.example/id").ok().map(ClientReference::Url))]
    #[case::host("https://app.example/*", ClientPattern::parse("https://app.example/*").ok().map(ClientReference::Url))]
    #[case::plain_http("http://app.example/id", None)]
    #[case::every_host("https://*", None)]
    #[case::star_inside("https://app.example/a*", None)]
    fn a_reference_is_a_name_or_an_https_url(#[case] text: &str, #[case] expected: Option<ClientReference>) {
        assert_eq!(ClientReference::parse(text, "acme"), expected);
    }
}
