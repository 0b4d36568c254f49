//! What is known about a client.

use lumoauth_core::{ClientId, RedirectUri, ScopeSet, token::JsonWebKeySet};
use serde_json::{Value, json};

use super::fetch::HttpsUrl;
use crate::{
    authserver::{artefact::Digest, org::Target, text},
    registry::{ObjectKey, SecretDigest},
};

/// A client that may ask for tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OAuthClient {
    /// Its identifier.
    pub(crate) id: ClientId,
    /// How it became known.
    pub(crate) source: Source,
    /// What people are told it is called: one line, without invisible characters, at most
    /// [`super::metadata::MAX_NAME_CHARS`]. Nobody has checked it, unless it comes from an McpClient.
    pub(crate) name: String,
    /// Where people are sent back to.
    pub(crate) redirect_uris: Vec<RedirectUri>,
    /// How it may ask for tokens.
    pub(crate) grants: GrantTypes,
    /// How it proves who it is.
    pub(crate) authentication: Authentication,
    /// The secrets that work, for [`Authentication::SecretBasic`] and [`Authentication::SecretPost`].
    pub(crate) secrets: Vec<SecretDigest>,
    /// The most it may be given.
    pub(crate) scopes: ScopeLimit,
    /// McpServers it may ask tokens for; empty: all that allow it.
    pub(crate) servers: Vec<ObjectKey>,
    /// Its web page, shown as text and never fetched.
    pub(crate) uri: Option<String>,
}

/// How a client became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An McpClient of the organization: the administrator vouches for it.
    Registered(ObjectKey),
    /// Its Client ID Metadata Document: `host` vouches for it.
    Document {
        /// Of the `client_id` URL, with the port where one is written.
        host: String,
    },
    /// Dynamic Client Registration: nobody vouches for it.
    Dynamic,
}

impl Source {
    /// A stable word for logs and metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Registered(_) => "registered",
            Self::Document { .. } => "document",
            Self::Dynamic => "dynamic",
        }
    }
}

/// Grants a client is registered for (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrantTypes {
    /// `authorization_code`.
    pub(crate) authorization_code: bool,
    /// `refresh_token`.
    pub(crate) refresh_token: bool,
    /// `client_credentials`.
    pub(crate) client_credentials: bool,
}

/// How a client proves who it is (RFC 7591 §2, `token_endpoint_auth_method`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Authentication {
    /// It does not: a public client.
    None,
    /// `client_secret_basic`.
    SecretBasic,
    /// `client_secret_post`.
    SecretPost,
    /// `private_key_jwt` (RFC 7523 §2.2).
    PrivateKeyJwt(Keys),
}

/// Where the public keys of a client are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Keys {
    /// In its metadata (`jwks`).
    Inline(JsonWebKeySet),
    /// At an https URL (`jwks_uri`).
    Uri(HttpsUrl),
}

/// The most a client may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScopeLimit {
    /// These, and what they imply.
    Only(ScopeSet),
    /// Whatever a server declares.
    Any,
}

impl OAuthClient {
    /// Whether client and server admit each other: `servers` of the one, `allowedClients` of the other.
    pub(crate) fn may_use(&self, target: &Target) -> bool {
        (self.servers.is_empty() || self.servers.contains(&target.entry.key)) && target.server.policy.admits(&self.id)
    }

    /// What people agreed to when they agreed to this client: where it comes from, what it calls itself, where it
    /// receives them, and whose keys speak for it. A consent given to another fingerprint counts for nothing.
    pub(crate) fn fingerprint(&self) -> Digest {
        let mut redirect_uris: Vec<_> = self.redirect_uris.iter().map(RedirectUri::as_str).collect();
        redirect_uris.sort_unstable();
        let (method, keys) = match &self.authentication {
            Authentication::None => ("none", Value::Null),
            Authentication::SecretBasic | Authentication::SecretPost => ("secret", Value::Null),
            Authentication::PrivateKeyJwt(Keys::Inline(set)) => ("private_key_jwt", json!(set)),
            Authentication::PrivateKeyJwt(Keys::Uri(uri)) => ("private_key_jwt", json!(uri.as_str())),
        };
        let facts = json!([self.id, self.source.as_str(), self.name, redirect_uris, method, keys, self.uri]);
        Digest::of(&facts.to_string())
    }

    /// What pages call it: its name, or its identifier where the name has nothing to call it by.
    pub(crate) fn title(&self) -> &str {
        if text::is_a_name(&self.name) { &self.name } else { self.id.as_str() }
    }

    /// Whether the client proves who it is at the token endpoint.
    pub(crate) fn is_confidential(&self) -> bool {
        self.authentication != Authentication::None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn client() -> OAuthClient {
        OAuthClient {
            id: ClientId::parse("https://app.example/c").unwrap(),
            source: Source::Document { host: "app.example".to_owned() },
            name: "App".to_owned(),
            redirect_uris: ["https://app.example/cb", "http://127.0.0.1/cb"]
                .map(|uri| RedirectUri::parse(uri).unwrap())
                .into(),
            grants: GrantTypes { authorization_code: true, ..GrantTypes::default() },
            authentication: Authentication::None,
            secrets: Vec::new(),
            scopes: ScopeLimit::Any,
            servers: Vec::new(),
            uri: None,
        }
    }

    #[test]
    fn a_client_without_a_name_is_called_by_its_identifier() {
        assert_eq!(client().title(), "App");
        assert_eq!(OAuthClient { name: "-\u{3164}".to_owned(), ..client() }.title(), "https://app.example/c");
    }

    #[test]
    fn whatever_people_agreed_to_changes_the_fingerprint() {
        let keys = |uri: &str| Authentication::PrivateKeyJwt(Keys::Uri(HttpsUrl::parse(uri).unwrap()));
        let set = |id: &str| JsonWebKeySet { keys: vec![json!({"kid": id})] };
        let changed: [fn(&mut OAuthClient); 6] = [
            |_| {},
            |client| client.id = ClientId::parse("https://app.example/d").unwrap(),
            |client| client.name = "Other".to_owned(),
            |client| drop(client.redirect_uris.pop()),
            |client| client.uri = Some("https://app.example/".to_owned()),
            |client| client.authentication = Authentication::SecretBasic,
        ];
        let with = |authentication| OAuthClient { authentication, ..client() };
        let mut clients: Vec<_> = changed
            .iter()
            .map(|change| {
                let mut client = client();
                change(&mut client);
                client
            })
            .collect();
        clients.extend([
            with(keys("https://app.example/k")),
            with(keys("https://app.example/l")),
            with(Authentication::PrivateKeyJwt(Keys::Inline(set("1")))),
            with(Authentication::PrivateKeyJwt(Keys::Inline(set("2")))),
        ]);
        let prints: BTreeSet<_> = clients.iter().map(|client| client.fingerprint().to_string()).collect();
        assert_eq!(prints.len(), clients.len());
    }

    #[test]
    fn what_nobody_is_asked_about_does_not() {
        let same: [fn(&mut OAuthClient); 5] = [
            |client| client.redirect_uris.reverse(),
            |client| client.grants.refresh_token = true,
            |client| client.scopes = ScopeLimit::Only(ScopeSet::default()),
            |client| client.servers = vec![ObjectKey::new("acme", "invoices")],
            |client| client.secrets = vec![SecretDigest { sha256: String::new(), not_after: None }],
        ];
        for change in same {
            let mut other = client();
            change(&mut other);
            assert_eq!(other.fingerprint(), client().fingerprint());
        }
    }
}
