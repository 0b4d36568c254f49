//! Client metadata (RFC 7591 §2) as a document holds it and as a registration asks for it: parsed once, every member
//! that means something to us judged, the others ignored.

use lumoauth_core::{
    RedirectUri, ScopeSet,
    json::{self, JsonError},
    token::{JsonWebKeySet, KeySet},
    uri::UriError,
};
use serde_json::{Map, Value, json};

use super::{
    GrantTypes, Keys,
    fetch::{HttpsUrl, UrlError},
};
use crate::authserver::text as words;

/// The most redirect URIs of a client.
const MAX_REDIRECT_URIS: usize = 32;
/// The most entries of the other lists.
const MAX_ENTRIES: usize = 32;
/// The most keys of a client.
const MAX_KEYS: usize = 16;
/// The longest name, in characters.
pub(super) const MAX_NAME_CHARS: usize = 128;
/// The most scopes a client may be limited to.
const MAX_SCOPES: usize = 64;
/// The longest of the other texts, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// Why metadata cannot be accepted. The words are for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    /// Not one JSON object without duplicate members.
    #[error("it must be one JSON object: {0}")]
    Json(JsonError),
    /// A member of another type, or longer than accepted.
    #[error("{0} is not as RFC 7591 says, or too long")]
    Member(&'static str),
    /// A member that must be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A redirect URI that no response may be sent to.
    #[error("a redirect URI {0}")]
    RedirectUri(UriError),
    /// No redirect URI, or too many.
    #[error("redirect_uris must hold 1 to {MAX_REDIRECT_URIS} redirect URIs")]
    RedirectUris,
    /// Neither of the two kinds of OpenID Connect Dynamic Client Registration §2.
    #[error("application_type must be native or web")]
    ApplicationType,
    /// A web page that is none.
    #[error("{0} must be an http or https URL")]
    WebPage(&'static str),
    /// Nothing is left that a client could do here.
    #[error("grant_types and response_types must include authorization_code and code")]
    Flow,
    /// A grant that only clients may use which an administrator vouches for.
    #[error("the grant client_credentials is only for clients that an administrator creates")]
    Privileged,
    /// Another way to authenticate than those there are here.
    #[error("token_endpoint_auth_method {0}")]
    Method(&'static str),
    /// Keys in two places.
    #[error("use either jwks or jwks_uri")]
    TwoKeys,
    /// A `jwks_uri` that is not fetched.
    #[error("jwks_uri {0}")]
    JwksUri(UrlError),
    /// No key that signatures can be verified with.
    #[error("jwks must hold 1 to {MAX_KEYS} public keys for ES256, ES384, EdDSA, RS256 or PS256")]
    Jwks,
    /// A shared or private key, which must not be told.
    #[error("jwks holds a private or symmetric key: replace it, others may have seen it")]
    PrivateKey,
}

impl MetadataError {
    /// Whether it is `invalid_redirect_uri` of RFC 7591 §3.2.2; else it is `invalid_client_metadata`.
    pub(crate) fn is_redirect_uri(&self) -> bool {
        matches!(self, Self::RedirectUri(_) | Self::RedirectUris)
    }
}

/// `token_endpoint_auth_method` (RFC 7591 §2), of those there are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    None,
    SecretBasic,
    SecretPost,
    PrivateKeyJwt,
}

impl Method {
    fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::SecretBasic, Self::SecretPost, Self::PrivateKeyJwt]
            .into_iter()
            .find(|method| method.as_str() == word)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SecretBasic => "client_secret_basic",
            Self::SecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    pub(super) fn uses_secret(self) -> bool {
        matches!(self, Self::SecretBasic | Self::SecretPost)
    }
}

/// What a client says about itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) redirect_uris: Vec<RedirectUri>,
    pub(super) grants: GrantTypes,
    /// It asked for `client_credentials`.
    pub(super) wants_client_credentials: bool,
    pub(super) method: Option<Method>,
    pub(super) keys: Option<Keys>,
    pub(super) scope: Option<ScopeSet>,
    pub(super) uri: Option<String>,
    pub(super) application_type: Option<&'static str>,
}

/// The members of one JSON object.
pub(super) struct Members(Map<String, Value>);

impl Members {
    /// Reads one JSON object in which no member occurs twice, at any depth.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        json::object(bytes).map(Self).map_err(MetadataError::Json)
    }

    /// Whether it is there, whatever it holds.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What a member says. Null is the same as leaving it out (RFC 7592 §2.2), and so is the empty text, which some
    /// clients send for what they do not have.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, MetadataError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_TEXT_BYTES => Ok(Some(text)),
            Some(_) => Err(MetadataError::Member(name)),
        }
    }

    /// A member that is a list of texts.
    fn texts(&self, name: &'static str) -> Result<Option<Vec<&str>>, MetadataError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list = value.as_array().filter(|list| list.len() <= MAX_ENTRIES).ok_or(MetadataError::Member(name))?;
        let texts = list.iter().map(|entry| entry.as_str().ok_or(MetadataError::Member(name)));
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// A web page that people may be shown the address of. It is never fetched.
    fn web_page(&self, name: &'static str) -> Result<Option<&str>, MetadataError> {
        let text = self.text(name)?;
        let is_page = |text: &str| {
            let clean = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&b));
            clean && url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        };
        if text.is_none_or(is_page) { Ok(text) } else { Err(MetadataError::WebPage(name)) }
    }
}

impl Metadata {
    /// Judges the members of RFC 7591 §2.
    pub(super) fn read(members: &Members) -> Result<Self, MetadataError> {
        for page in ["logo_uri", "tos_uri", "policy_uri"] {
            members.web_page(page)?;
        }
        let (grants, wants_client_credentials) = grants(members)?;
        Ok(Self {
            name: name(members)?,
            redirect_uris: redirect_uris(members)?,
            grants,
            wants_client_credentials,
            method: method(members)?,
            keys: keys(members)?,
            scope: scope(members)?,
            uri: members.web_page("client_uri")?.map(str::to_owned),
            application_type: application_type(members)?,
        })
    }

    /// The members, as they are stored and told to the client.
    pub(super) fn to_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        if let Some(name) = &self.name {
            put("client_name", json!(name));
        }
        put("redirect_uris", self.redirect_uris.iter().map(RedirectUri::as_str).collect());
        let grants =
            [("authorization_code", self.grants.authorization_code), ("refresh_token", self.grants.refresh_token)];
        put("grant_types", grants.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect());
        put("response_types", json!(["code"]));
        if let Some(method) = self.method {
            put("token_endpoint_auth_method", json!(method.as_str()));
        }
        match &self.keys {
            Some(Keys::Inline(set)) => put("jwks", json!(set)),
            Some(Keys::Uri(uri)) => put("jwks_uri", json!(uri.as_str())),
            None => {}
        }
        if let Some(scope) = &self.scope {
            put("scope", json!(scope.to_string()));
        }
        if let Some(uri) = &self.uri {
            put("client_uri", json!(uri));
        }
        if let Some(kind) = &self.application_type {
            put("application_type", json!(kind));
        }
        members
    }
}

/// `client_name` without what could make a page lie: control characters, changes of direction, invisible characters.
fn name(members: &Members) -> Result<Option<String>, MetadataError> {
    let Some(text) = members.text("client_name")? else { return Ok(None) };
    let spaced: String =
        text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !words::is_hidden(*c)).collect();
    let visible: String = words::without_floods(&spaced).collect();
    let name = visible.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    if fits { Ok(Some(name)) } else { Err(MetadataError::Member("client_name")) }
}

fn redirect_uris(members: &Members) -> Result<Vec<RedirectUri>, MetadataError> {
    let texts = members.texts("redirect_uris").map_err(|_| MetadataError::RedirectUris)?.unwrap_or_default();
    if !(1..=MAX_REDIRECT_URIS).contains(&texts.len()) {
        return Err(MetadataError::RedirectUris);
    }
    texts.into_iter().map(RedirectUri::parse).collect::<Result<_, _>>().map_err(MetadataError::RedirectUri)
}

/// `grant_types` and `response_types`, each with the default of RFC 7591 §2. Grants that are not built are left out:
/// metadata is written for many authorization servers, and the answer to a registration tells what came of it.
fn grants(members: &Members) -> Result<(GrantTypes, bool), MetadataError> {
    let asked = members.texts("grant_types")?.unwrap_or_else(|| vec!["authorization_code"]);
    let responses = members.texts("response_types")?.unwrap_or_else(|| vec!["code"]);
    if !asked.contains(&"authorization_code") || !responses.contains(&"code") {
        return Err(MetadataError::Flow);
    }
    let grants = GrantTypes {
        authorization_code: true,
        refresh_token: asked.contains(&"refresh_token"),
        client_credentials: false,
    };
    Ok((grants, asked.contains(&"client_credentials")))
}

fn method(members: &Members) -> Result<Option<Method>, MetadataError> {
    let Some(word) = members.text("token_endpoint_auth_method")? else { return Ok(None) };
    let unknown = MetadataError::Method("must be none, client_secret_basic, client_secret_post or private_key_jwt");
    Method::parse(word).map(Some).ok_or(unknown)
}

fn application_type(members: &Members) -> Result<Option<&'static str>, MetadataError> {
    let Some(word) = members.text("application_type")? else { return Ok(None) };
    let kind = ["native", "web"].into_iter().find(|kind| *kind == word);
    kind.map(Some).ok_or(MetadataError::ApplicationType)
}

fn keys(members: &Members) -> Result<Option<Keys>, MetadataError> {
    match (members.get("jwks"), members.text("jwks_uri")?) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(MetadataError::TwoKeys),
        (None, Some(uri)) => HttpsUrl::parse(uri).map(|uri| Some(Keys::Uri(uri))).map_err(MetadataError::JwksUri),
        (Some(set), None) => inline_keys(set).map(|set| Some(Keys::Inline(set))),
    }
}

fn inline_keys(set: &Value) -> Result<JsonWebKeySet, MetadataError> {
    let keys = set.get("keys").and_then(Value::as_array).ok_or(MetadataError::Jwks)?;
    // RFC 7518 §6.2.2, §6.3.2, §6.4.1.
    if keys.iter().any(|key| ["d", "k", "p", "q"].iter().any(|secret| key.get(secret).is_some())) {
        return Err(MetadataError::PrivateKey);
    }
    let document = JsonWebKeySet { keys: keys.clone() };
    if keys.len() > MAX_KEYS || KeySet::new(&document).is_empty() {
        return Err(MetadataError::Jwks);
    }
    Ok(document)
}

fn scope(members: &Members) -> Result<Option<ScopeSet>, MetadataError> {
    let Some(text) = members.text("scope")? else { return Ok(None) };
    let scopes = ScopeSet::parse(text).ok().filter(|scopes| scopes.len() <= MAX_SCOPES);
    scopes.map(Some).ok_or(MetadataError::Member("scope"))
}

#[cfg(test)]
mod tests;
