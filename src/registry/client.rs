//! `McpClientSpec` and the secrets in its status, parsed.

use jiff::Timestamp;
use lumoauth_core::{ClientId, Scope, ScopeSet};

use super::{ObjectKey, Problem, Reason};
use crate::api::v1alpha1::{ClientAuthenticationMethod, GrantType, McpClient};

/// A valid McpClient, apart from what depends on other objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// OAuth client identifier; set when the organization is known.
    pub id: Option<ClientId>,
    /// Shown to people.
    pub display_name: String,
    /// How it may ask for tokens.
    pub grant_types: Vec<GrantType>,
    /// How it proves who it is.
    pub authentication: ClientAuthenticationMethod,
    /// The most it may be given.
    pub scopes: ScopeSet,
    /// Servers it may ask tokens for; empty: all that allow it.
    pub servers: Vec<ObjectKey>,
    /// The secrets that work, newest first.
    pub secrets: Vec<SecretDigest>,
    /// Secret that holds its credentials.
    pub credentials_secret: Option<String>,
}

/// SHA-256 of a secret, and until when it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretDigest {
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// When it stops to work.
    pub not_after: Option<Timestamp>,
}

/// Parses a client. Gives every problem, not only the first.
pub(super) fn parse(key: &ObjectKey, object: &McpClient) -> Result<Client, Vec<Problem>> {
    let spec = &object.spec;
    let mut problems = Vec::new();
    for grant in &spec.grant_types {
        if *grant != GrantType::ClientCredentials {
            problems.push(Problem::new(
                Reason::NotImplemented,
                format!("spec.grantTypes: {grant:?} is not supported by this version: use ClientCredentials"),
            ));
        }
    }
    if spec.grant_types.is_empty() {
        problems.push(Problem::new(Reason::Invalid, "spec.grantTypes is empty: write [ClientCredentials]"));
    }
    let method = spec.authentication.method;
    match method {
        ClientAuthenticationMethod::ClientSecretBasic | ClientAuthenticationMethod::ClientSecretPost => {
            if spec.credentials_secret_name.as_deref().unwrap_or_default().is_empty() {
                problems.push(Problem::new(
                    Reason::Invalid,
                    "spec.credentialsSecretName is missing: name the Secret that the operator shall write",
                ));
            }
        }
        ClientAuthenticationMethod::None => problems.push(Problem::new(
            Reason::Invalid,
            "spec.authentication.method: None cannot be used with ClientCredentials: use ClientSecretBasic",
        )),
        other => problems.push(Problem::new(
            Reason::NotImplemented,
            format!("spec.authentication.method: {other:?} is not supported by this version: use ClientSecretBasic"),
        )),
    }
    let mut scopes = Vec::new();
    for text in &spec.scopes {
        match Scope::parse(text) {
            Ok(scope) => scopes.push(scope),
            Err(error) => problems.push(Problem::new(Reason::Invalid, format!("spec.scopes {text:?}: {error}"))),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let secrets = object.status.as_ref().map(|status| status.secrets.as_slice()).unwrap_or_default();
    Ok(Client {
        id: None,
        display_name: spec.display_name.clone().unwrap_or_else(|| key.name.clone()),
        grant_types: spec.grant_types.clone(),
        authentication: method,
        scopes: scopes.into_iter().collect(),
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
