//! `McpClientSpec` and the secrets in its status, parsed.

use jiff::Timestamp;
use lumoauth_core::{
    ClientId, RedirectUri, ResourceUri, Scope, ScopeSet,
    token::{JsonWebKeySet, KeySet},
};

use super::{ObjectKey, Problem, Reason};
use crate::api::v1alpha1::{ClientAuthentication, ClientAuthenticationMethod, GrantType, McpClient, McpClientSpec};

/// A valid McpClient, apart from what depends on other objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// OAuth client identifier; set when the organization is known.
    pub id: Option<ClientId>,
    /// Shown to people.
    pub display_name: String,
    /// How it may ask for tokens.
    pub grant_types: Vec<GrantType>,
    /// Where people are sent back to; at least one for a client that is registered for AuthorizationCode.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it proves who it is.
    pub authentication: ClientAuthenticationMethod,
    /// Its keys; there are some when, and only when, it authenticates by PrivateKeyJwt.
    pub keys: Option<ClientKeys>,
    /// The most it may be given.
    pub scopes: ScopeSet,
    /// Servers it may ask tokens for; empty: all that allow it.
    pub servers: Vec<ObjectKey>,
    /// The secrets that work, newest first.
    pub secrets: Vec<SecretDigest>,
    /// Secret that holds its credentials.
    pub credentials_secret: Option<String>,
}

impl Client {
    /// Whether it is registered for a grant.
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    /// Whether it proves who it is with a secret of ours.
    pub fn has_secret(&self) -> bool {
        uses_secret(self.authentication)
    }
}

/// Where the keys of a client are that authenticates by PrivateKeyJwt (RFC 7591 section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKeys {
    /// `jwks`: in the object itself.
    Inline(JsonWebKeySet),
    /// `jwks_uri`: behind an https URL.
    Uri(ResourceUri),
}

/// SHA-256 of a secret, and until when it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretDigest {
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// When it stops to work.
    pub not_after: Option<Timestamp>,
}

type Problems = Vec<Problem>;

/// Parses a client. Gives every problem, not only the first.
pub(super) fn parse(key: &ObjectKey, object: &McpClient) -> Result<Client, Problems> {
    let spec = &object.spec;
    let mut problems = Problems::new();
    check_grant_types(spec, &mut problems);
    check_method(spec, &mut problems);
    let redirect_uris = parse_redirect_uris(spec, &mut problems);
    let keys = parse_keys(&spec.authentication, &mut problems);
    let scopes = parse_scopes(&spec.scopes, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let secrets = object.status.as_ref().map(|status| status.secrets.as_slice()).unwrap_or_default();
    Ok(Client {
        id: None,
        display_name: spec.display_name.clone().unwrap_or_else(|| key.name.clone()),
        grant_types: spec.grant_types.clone(),
        redirect_uris,
        authentication: spec.authentication.method,
        keys,
        scopes,
        servers: spec.servers.iter().map(|reference| ObjectKey::resolve(reference, &key.namespace)).collect(),
        secrets: secrets
            .iter()
            .map(|secret| SecretDigest {
                sha256: secret.sha256.clone(),
                not_after: secret.not_after.as_ref().map(|time| time.0),
            })
            .collect(),
        credentials_secret: spec.credentials_secret_name.clone().filter(|name| !name.is_empty()),
    })
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(Reason::Invalid, message)
}

fn uses_secret(method: ClientAuthenticationMethod) -> bool {
    matches!(method, ClientAuthenticationMethod::ClientSecretBasic | ClientAuthenticationMethod::ClientSecretPost)
}

fn check_grant_types(spec: &McpClientSpec, problems: &mut Problems) {
    let has = |grant| spec.grant_types.contains(&grant);
    for grant in [GrantType::TokenExchange, GrantType::DeviceCode].into_iter().filter(|grant| has(*grant)) {
        problems.push(Problem::new(
            Reason::NotImplemented,
            format!(
                "spec.grantTypes: {grant:?} is not supported by this version: use AuthorizationCode, RefreshToken or \
                 ClientCredentials"
            ),
        ));
    }
    if spec.grant_types.is_empty() {
        problems.push(invalid("spec.grantTypes is empty: write [AuthorizationCode, RefreshToken] for a client that people use, [ClientCredentials] for a program"));
    }
    if has(GrantType::RefreshToken) && !has(GrantType::AuthorizationCode) {
        problems.push(invalid("spec.grantTypes: RefreshToken goes with AuthorizationCode: add that, or remove it"));
    }
}

fn check_method(spec: &McpClientSpec, problems: &mut Problems) {
    let names_secret = spec.credentials_secret_name.as_deref().is_some_and(|name| !name.is_empty());
    match spec.authentication.method {
        method if uses_secret(method) && !names_secret => problems
            .push(invalid("spec.credentialsSecretName is missing: name the Secret that the operator shall write")),
        ClientAuthenticationMethod::None if spec.grant_types.contains(&GrantType::ClientCredentials) => {
            problems.push(invalid(
                "spec.authentication.method: None cannot be used with ClientCredentials, anybody could be the client: \
                 use ClientSecretBasic or PrivateKeyJwt",
            ));
        }
        ClientAuthenticationMethod::KubernetesServiceAccount => problems.push(Problem::new(
            Reason::NotImplemented,
            "spec.authentication.method: KubernetesServiceAccount is not supported by this version: use \
             ClientSecretBasic or PrivateKeyJwt",
        )),
        _ => {}
    }
}

/// RFC 7591 section 2: the redirect-based grant needs redirect URIs.
fn parse_redirect_uris(spec: &McpClientSpec, problems: &mut Problems) -> Vec<RedirectUri> {
    if spec.grant_types.contains(&GrantType::AuthorizationCode) && spec.redirect_uris.is_empty() {
        problems.push(invalid("spec.redirectUris is empty: AuthorizationCode needs where people are sent back to"));
    }
    let mut parsed = Vec::new();
    for text in &spec.redirect_uris {
        match RedirectUri::parse(text) {
            Ok(uri) => parsed.push(uri),
            Err(error) => problems.push(invalid(format!("spec.redirectUris {text:?} {error}"))),
        }
    }
    parsed
}

/// RFC 7591 section 2: `jwks` and `jwks_uri` never stand together.
fn parse_keys(authentication: &ClientAuthentication, problems: &mut Problems) -> Option<ClientKeys> {
    const FIELD: &str = "spec.authentication";
    let wanted = authentication.method == ClientAuthenticationMethod::PrivateKeyJwt;
    let keys = match (&authentication.jwks, &authentication.jwks_uri) {
        (None, None) if !wanted => return None,
        _ if !wanted => {
            Err(format!("{FIELD}: jwks and jwksUri are for method PrivateKeyJwt: remove them, or use that method"))
        }
        (None, None) => Err(format!("{FIELD}: PrivateKeyJwt needs the client's public keys: write jwks or jwksUri")),
        (Some(_), Some(_)) => Err(format!("{FIELD}: write jwks or jwksUri, not both")),
        (Some(jwks), None) => parse_jwks(jwks).map_err(|error| format!("{FIELD}.jwks {error}")),
        (None, Some(uri)) => match ResourceUri::parse(uri) {
            Ok(url) if url.origin().starts_with("https://") => Ok(ClientKeys::Uri(url)),
            Ok(_) => Err(format!("{FIELD}.jwksUri {uri:?} uses http: write https")),
            Err(error) => Err(format!("{FIELD}.jwksUri {uri:?} {error}")),
        },
    };
    keys.map_err(|message| problems.push(invalid(message))).ok()
}

fn parse_jwks(value: &serde_json::Value) -> Result<ClientKeys, &'static str> {
    let document: JsonWebKeySet = serde_json::from_value(value.clone()).map_err(|_| "is no JWK Set (RFC 7517)")?;
    if document.keys.iter().any(|key| key.get("d").is_some()) {
        return Err(
            "holds a private key, which everybody who reads this object can now use: make a new pair, and write \
                    its public key alone",
        );
    }
    if KeySet::new(&document).is_empty() {
        return Err(
            "holds no key that a signature can be verified with: write an EC (P-256, P-384), Ed25519 or RSA key",
        );
    }
    Ok(ClientKeys::Inline(document))
}

fn parse_scopes(texts: &[String], problems: &mut Problems) -> ScopeSet {
    let mut scopes = Vec::new();
    for text in texts {
        match Scope::parse(text) {
            Ok(scope) => scopes.push(scope),
            Err(error) => problems.push(invalid(format!("spec.scopes {text:?}: {error}"))),
        }
    }
    scopes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const REDIRECT: &str = "https://app.example/callback";

    fn parsed(spec: &Value) -> Result<Client, String> {
        let object = serde_json::from_value(json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
            "metadata": {"namespace": "acme", "name": "app"}, "spec": spec,
        }));
        let told = |problems: Problems| Problem::join(&problems).unwrap().to_string();
        parse(&ObjectKey::new("acme", "app"), &object.unwrap()).map_err(told)
    }

    /// RFC 7515 appendix A.3.
    fn key() -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    fn with(key: &Value, name: &str, value: &str) -> Value {
        let mut key = key.clone();
        key[name] = json!(value);
        key
    }

    fn people(authentication: &Value) -> Value {
        json!({"grantTypes": ["AuthorizationCode", "RefreshToken"], "redirectUris": [REDIRECT], "authentication": authentication})
    }

    #[test]
    fn a_public_client_needs_no_secret() {
        let client = parsed(&people(&json!({"method": "None"}))).unwrap();
        assert!(!client.has_secret() && client.may_use(GrantType::RefreshToken));
        assert_eq!((client.redirect_uris.len(), client.keys), (1, None));
    }

    #[test]
    fn a_client_has_its_keys_in_one_of_two_places() {
        let inline = people(&json!({"method": "PrivateKeyJwt", "jwks": {"keys": [key()]}}));
        let expected = ClientKeys::Inline(JsonWebKeySet { keys: vec![key()] });
        assert_eq!(parsed(&inline).unwrap().keys, Some(expected));
        let behind = people(&json!({"method": "PrivateKeyJwt", "jwksUri": "https://app.example/jwks"}));
        let expected = ClientKeys::Uri(ResourceUri::parse("https://app.example/jwks").unwrap());
        assert_eq!(parsed(&behind).unwrap().keys, Some(expected));
    }

    #[rstest]
    #[case::program_with_keys(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt", "jwks": {"keys": [key()]}}), json!({}), None)]
    #[case::both(json!(["AuthorizationCode", "ClientCredentials"]), json!({"method": "ClientSecretPost"}), json!({"redirectUris": [REDIRECT], "credentialsSecretName": "s"}), None)]
    #[case::loopback(json!(["AuthorizationCode"]), json!({"method": "None"}), json!({"redirectUris": ["http://127.0.0.1/callback", "http://localhost/callback"]}), None)]
    #[case::private_use(json!(["AuthorizationCode"]), json!({"method": "None"}), json!({"redirectUris": ["com.example.app:/callback"]}), None)]
    #[case::token_exchange(json!(["TokenExchange"]), json!({"method": "None"}), json!({}), Some("NotImplemented: spec.grantTypes"))]
    #[case::device(json!(["DeviceCode", "AuthorizationCode"]), json!({"method": "None"}), json!({"redirectUris": [REDIRECT]}), Some("NotImplemented: spec.grantTypes"))]
    #[case::service_account(json!(["ClientCredentials"]), json!({"method": "KubernetesServiceAccount"}), json!({}), Some("NotImplemented: spec.authentication.method"))]
    #[case::no_grant(json!([]), json!({"method": "None"}), json!({}), Some("spec.grantTypes is empty"))]
    #[case::refresh_of_nothing(json!(["RefreshToken"]), json!({"method": "None"}), json!({}), Some("goes with AuthorizationCode"))]
    #[case::public_program(json!(["ClientCredentials"]), json!({"method": "None"}), json!({}), Some("None cannot be used with ClientCredentials"))]
    #[case::public_person_and_program(json!(["AuthorizationCode", "ClientCredentials"]), json!({"method": "None"}), json!({"redirectUris": [REDIRECT]}), Some("None cannot be used with ClientCredentials"))]
    #[case::secret_nowhere(json!(["ClientCredentials"]), json!({"method": "ClientSecretBasic"}), json!({}), Some("spec.credentialsSecretName"))]
    #[case::nowhere_to_return_to(json!(["AuthorizationCode"]), json!({"method": "None"}), json!({}), Some("spec.redirectUris is empty"))]
    #[case::script(json!(["AuthorizationCode"]), json!({"method": "None"}), json!({"redirectUris": [REDIRECT, "javascript:alert(1)"]}), Some("spec.redirectUris \"javascript:alert(1)\""))]
    #[case::plain_http(json!(["AuthorizationCode"]), json!({"method": "None"}), json!({"redirectUris": ["http://app.example/callback"]}), Some("spec.redirectUris \"http://app.example/callback\""))]
    #[case::unused_and_bad(json!(["ClientCredentials"]), json!({"method": "ClientSecretBasic"}), json!({"redirectUris": ["x"], "credentialsSecretName": "s"}), Some("spec.redirectUris \"x\""))]
    #[case::no_keys(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt"}), json!({}), Some("write jwks or jwksUri"))]
    #[case::keys_twice(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt", "jwks": {"keys": [key()]}, "jwksUri": "https://a.example/"}), json!({}), Some("not both"))]
    #[case::keys_over_http(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt", "jwksUri": "http://127.0.0.1/jwks"}), json!({}), Some("jwksUri \"http://127.0.0.1/jwks\" uses http"))]
    #[case::keys_nowhere(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt", "jwksUri": "jwks.json"}), json!({}), Some("jwksUri \"jwks.json\""))]
    #[case::no_key(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt", "jwks": {"keys": []}}), json!({}), Some("holds no key"))]
    #[case::no_usable_key(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt", "jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}), json!({}), Some("holds no key"))]
    #[case::private_key(json!(["ClientCredentials"]), json!({"method": "PrivateKeyJwt", "jwks": {"keys": [with(&key(), "d", "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")]}}), json!({}), Some("holds a private key"))]
    #[case::keys_of_a_public_client(json!(["AuthorizationCode"]), json!({"method": "None", "jwks": {"keys": [key()]}}), json!({"redirectUris": [REDIRECT]}), Some("are for method PrivateKeyJwt"))]
    #[case::scope(json!(["ClientCredentials"]), json!({"method": "ClientSecretBasic"}), json!({"credentialsSecretName": "s", "scopes": ["a b"]}), Some("spec.scopes \"a b\""))]
    fn rfc7591_2(
        #[case] grants: Value,
        #[case] authentication: Value,
        #[case] more: Value,
        #[case] refused: Option<&str>,
    ) {
        let mut spec = json!({"grantTypes": grants, "authentication": authentication});
        json_patch::merge(&mut spec, &more);
        match (parsed(&spec), refused) {
            (Ok(_), None) => {}
            (Err(problem), Some(message)) => assert!(problem.contains(message), "{problem}"),
            (result, _) => panic!("{result:?}"),
        }
    }
}
