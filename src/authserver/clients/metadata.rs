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
    pub(super) application_type: Option<String>,
}

/// The members of one JSON object.
pub(super) struct Members(Map<String, Value>);

impl Members {
    /// Reads one JSON object in which no member occurs twice, at any depth.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        json::object(bytes).map(Self).map_err(MetadataError::Json)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
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
            application_type: members.text("application_type")?.map(str::to_owned),
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
mod tests {
    use super::*;
    use rstest::rstest;

    fn with(change: Value) -> Result<Metadata, MetadataError> {
        let mut object = json!({"client_name": "A", "redirect_uris": ["https://a.example/cb"]});
        let Value::Object(change) = change else { panic!("{change}") };
        for (name, value) in change {
            object[&name] = value;
        }
        Metadata::read(&Members::parse(object.to_string().as_bytes()).unwrap())
    }

    fn ec_key() -> Value {
        json!({"kty": "EC", "crv": "P-256", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
    }

    #[test]
    fn rfc7591_2_defaults() {
        let metadata = with(json!({"unknown": {"a": [1]}, "contacts": ["x"]})).unwrap();
        assert_eq!(metadata.grants, GrantTypes { authorization_code: true, ..GrantTypes::default() });
        assert_eq!((metadata.method, metadata.keys, metadata.scope, metadata.uri), (None, None, None, None));
        assert!(!metadata.wants_client_credentials);
    }

    #[rstest]
    #[case::name_number(json!({"client_name": 1}), MetadataError::Member("client_name"))]
    #[case::name_empty(json!({"client_name": ""}), MetadataError::Member("client_name"))]
    #[case::name_invisible(json!({"client_name": "\u{200b}\n "}), MetadataError::Member("client_name"))]
    #[case::name_long(json!({"client_name": "a".repeat(129)}), MetadataError::Member("client_name"))]
    #[case::no_uris(json!({"redirect_uris": []}), MetadataError::RedirectUris)]
    #[case::uris_text(json!({"redirect_uris": "https://a.example/cb"}), MetadataError::RedirectUris)]
    #[case::uris_null(json!({"redirect_uris": null}), MetadataError::RedirectUris)]
    #[case::uris_number(json!({"redirect_uris": [1]}), MetadataError::RedirectUris)]
    #[case::uris_many(json!({"redirect_uris": vec!["https://a.example/cb"; 33]}), MetadataError::RedirectUris)]
    #[case::implicit(json!({"grant_types": ["implicit"]}), MetadataError::Flow)]
    #[case::no_grants(json!({"grant_types": []}), MetadataError::Flow)]
    #[case::only_refresh(json!({"grant_types": ["refresh_token"]}), MetadataError::Flow)]
    #[case::response_token(json!({"response_types": ["token"]}), MetadataError::Flow)]
    #[case::grants_text(json!({"grant_types": "authorization_code"}), MetadataError::Member("grant_types"))]
    #[case::grants_many(json!({"grant_types": vec!["x"; 33]}), MetadataError::Member("grant_types"))]
    #[case::scope_list(json!({"scope": ["a"]}), MetadataError::Member("scope"))]
    #[case::scope_spaces(json!({"scope": "a  b"}), MetadataError::Member("scope"))]
    #[case::uri_script(json!({"client_uri": "javascript:alert(1)"}), MetadataError::WebPage("client_uri"))]
    #[case::uri_data(json!({"client_uri": "data:text/html,x"}), MetadataError::WebPage("client_uri"))]
    #[case::uri_quote(json!({"client_uri": "https://a.example/\"><script>"}), MetadataError::WebPage("client_uri"))]
    #[case::logo_script(json!({"logo_uri": "javascript:alert(1)"}), MetadataError::WebPage("logo_uri"))]
    #[case::policy_file(json!({"policy_uri": "file:///etc/passwd"}), MetadataError::WebPage("policy_uri"))]
    #[case::uri_long(json!({"client_uri": format!("https://a/{}", "x".repeat(1024))}), MetadataError::Member("client_uri"))]
    #[case::two_keys(json!({"jwks": {"keys": [ec_key()]}, "jwks_uri": "https://a.example/k"}), MetadataError::TwoKeys)]
    #[case::keys_http(json!({"jwks_uri": "http://127.0.0.1/k"}), MetadataError::JwksUri(UrlError::NotHttps))]
    #[case::keys_number(json!({"jwks_uri": 1}), MetadataError::Member("jwks_uri"))]
    #[case::keys_none(json!({"jwks": {"keys": []}}), MetadataError::Jwks)]
    #[case::keys_null(json!({"jwks": null}), MetadataError::Jwks)]
    #[case::keys_unusable(json!({"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}}), MetadataError::Jwks)]
    #[case::keys_many(json!({"jwks": {"keys": vec![ec_key(); 17]}}), MetadataError::Jwks)]
    #[case::keys_symmetric(json!({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}), MetadataError::PrivateKey)]
    #[case::keys_private(json!({"jwks": {"keys": [{"kty": "EC", "d": "AA"}]}}), MetadataError::PrivateKey)]
    fn rfc7591_2_refused(#[case] change: Value, #[case] error: MetadataError) {
        assert_eq!(with(change), Err(error));
    }

    #[rstest]
    #[case("client_secret_jwt")]
    #[case("tls_client_auth")]
    #[case("self_signed_tls_client_auth")]
    #[case("None")]
    #[case("")]
    fn methods_that_are_not_built(#[case] method: &str) {
        assert!(matches!(with(json!({"token_endpoint_auth_method": method})), Err(MetadataError::Method(_))));
    }

    #[rstest]
    #[case("javascript:alert(1)")]
    #[case("JavaScript:alert(1)")]
    #[case("data:text/html,x")]
    #[case("vbscript:x")]
    #[case("file:///etc/passwd")]
    #[case("blob:https://a.example/1")]
    #[case("about:blank")]
    #[case("http://a.example/cb")]
    #[case("https://a.example/cb#f")]
    #[case("https://u@a.example/cb")]
    #[case("/cb")]
    #[case("")]
    fn row_68_redirect_uris(#[case] uri: &str) {
        let error = with(json!({"redirect_uris": ["https://a.example/cb", uri]})).unwrap_err();
        assert!(error.is_redirect_uri(), "{error}");
    }

    #[rstest]
    #[case("{\"client_name\": \"a\", \"client_name\": \"b\"}")]
    #[case("{\"a\": 1, \"\\u0061\": 2}")]
    #[case("{\"jwks\": {\"keys\": [], \"keys\": []}}")]
    #[case("[]")]
    #[case("{} {}")]
    #[case("")]
    #[case("{")]
    fn it_is_one_object_with_one_meaning(#[case] text: &str) {
        assert!(matches!(Members::parse(text.as_bytes()), Err(MetadataError::Json(_))));
    }

    #[rstest]
    #[case("Claude Code", "Claude Code")]
    #[case("  two\n\tlines\u{a0} ", "two lines")]
    #[case("ev\u{202e}il\u{200b}", "evil")]
    #[case("\u{1b}[31mred", "[31mred")]
    #[case("\u{3164}A\u{115f}p\u{fe0f}p\u{e0100}", "App")]
    #[case("A\u{300}\u{301}\u{302}\u{303}", "A\u{300}\u{301}")]
    #[case("名前 \u{1f600}", "名前 \u{1f600}")]
    #[case("<b>&amp;", "<b>&amp;")]
    fn names_are_made_visible(#[case] written: &str, #[case] shown: &str) {
        assert_eq!(with(json!({"client_name": written})).unwrap().name.as_deref(), Some(shown));
    }

    #[test]
    fn what_is_stored_reads_the_same() {
        let all = json!({
            "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
            "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [ec_key()]}, "scope": "a b",
            "client_uri": "https://a.example/", "application_type": "native", "logo_uri": "https://a.example/l.png",
            "redirect_uris": ["http://localhost/callback", "com.example.app:/cb"],
        });
        for change in [all, json!({"jwks_uri": "https://a.example/k?x=1"}), json!({})] {
            let metadata = with(change).unwrap();
            let text = Value::Object(metadata.to_members()).to_string();
            assert_eq!(Metadata::read(&Members::parse(text.as_bytes()).unwrap()).unwrap(), metadata);
        }
    }

    #[test]
    fn a_client_may_not_ask_without_a_person() {
        let metadata = with(json!({"grant_types": ["authorization_code", "client_credentials"]})).unwrap();
        assert!(metadata.wants_client_credentials && !metadata.grants.client_credentials);
    }
}
