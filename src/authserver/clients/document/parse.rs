//! What a Client ID Metadata Document means (section 4 of the draft, MCP's registration page, RFC 7591 §2). Pure.

use lumoauth_core::{ClientId, uri::RedirectKind};

use crate::{
    authserver::clients::{
        Authentication, OAuthClient, ResolveError, ScopeLimit, Source,
        fetch::HttpsUrl,
        metadata::{Members, Metadata, MetadataError, Method},
    },
    settings::{ClientDocuments, LocalhostRedirects},
};

/// Why a document describes no client. The words are for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// Something about its members.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// `client_id` is not the URL it was fetched from, byte for byte.
    #[error("its client_id is not the URL of the document")]
    OtherClientId,
    /// A secret that everybody can read.
    #[error("it holds {0}, and everybody can read it")]
    Secret(&'static str),
    /// A method that needs a shared secret, which nobody has.
    #[error("token_endpoint_auth_method {0} needs a secret: use none or private_key_jwt")]
    SharedSecret(&'static str),
    /// `private_key_jwt` without keys.
    #[error("token_endpoint_auth_method private_key_jwt needs jwks or jwks_uri")]
    NoKeys,
}

/// The client that the document at `url` describes.
pub(super) fn parse(url: &HttpsUrl, bytes: &[u8]) -> Result<OAuthClient, DocumentError> {
    let members = Members::parse(bytes)?;
    let id = members.text("client_id")?.ok_or(MetadataError::Missing("client_id"))?;
    if id != url.as_str() {
        return Err(DocumentError::OtherClientId);
    }
    for secret in ["client_secret", "client_secret_expires_at"] {
        if members.has(secret) {
            return Err(DocumentError::Secret(secret));
        }
    }
    let metadata = Metadata::read(&members)?;
    let authentication = authentication(&metadata)?;
    Ok(OAuthClient {
        id: ClientId::parse(id).map_err(|_| DocumentError::OtherClientId)?,
        source: Source::Document { host: url.authority() },
        name: metadata.name.ok_or(MetadataError::Missing("client_name"))?,
        redirect_uris: metadata.redirect_uris,
        grants: metadata.grants,
        authentication,
        secrets: Vec::new(),
        scopes: metadata.scope.map_or(ScopeLimit::Any, ScopeLimit::Only),
        servers: Vec::new(),
        uri: metadata.uri,
    })
}

/// A client whose document names keys proves that it holds them, unless it says that it is public.
fn authentication(metadata: &Metadata) -> Result<Authentication, DocumentError> {
    match (metadata.method, &metadata.keys) {
        (Some(method), _) if method.uses_secret() => Err(DocumentError::SharedSecret(method.as_str())),
        (None | Some(Method::PrivateKeyJwt), Some(keys)) => Ok(Authentication::PrivateKeyJwt(keys.clone())),
        (Some(Method::PrivateKeyJwt), None) => Err(DocumentError::NoKeys),
        _ => Ok(Authentication::None),
    }
}

/// `cimd.allowedDomains`: whether documents may come from this host. A pattern is a host, or `*.` and a domain, which
/// admits every host below it.
pub(super) fn may_come_from(host: &str, settings: &ClientDocuments) -> bool {
    let admits = |pattern: &String| match pattern.strip_prefix("*.") {
        Some(domain) => {
            let below = host.len().checked_sub(domain.len() + 1).and_then(|at| host.split_at_checked(at));
            below.is_some_and(|(name, rest)| {
                !name.is_empty() && rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(domain))
            })
        }
        None => host.eq_ignore_ascii_case(pattern),
    };
    settings.allowed_domains.is_empty() || settings.allowed_domains.iter().any(admits)
}

/// `cimd.enabled` and `cimd.allowedDomains`: whether anything that a stranger named may be fetched from this URL.
pub(in crate::authserver::clients) fn is_admitted(
    url: &HttpsUrl,
    settings: &ClientDocuments,
) -> Result<(), ResolveError> {
    if !settings.enabled {
        return Err(ResolveError::DocumentsOff);
    }
    if may_come_from(url.host_str(), settings) { Ok(()) } else { Err(ResolveError::Domain) }
}

/// `cimd.localhostRedirects`: whether a response may go there. A document lists what it likes, so it is the redirect URI
/// of the request that counts.
pub(in crate::authserver::clients) fn admits_redirect(
    client: &OAuthClient,
    redirect: RedirectKind,
    settings: &ClientDocuments,
) -> bool {
    let of_document = matches!(client.source, Source::Document { .. });
    !(of_document && settings.localhost_redirects == LocalhostRedirects::Block && redirect == RedirectKind::Loopback)
}

/// `cimd.localhostRedirects`: whether a client is refused because any program on the user's machine can pass for it.
pub(super) fn is_blocked(client: &OAuthClient, settings: &ClientDocuments) -> bool {
    settings.localhost_redirects == LocalhostRedirects::Block && client.is_local_only()
}

impl OAuthClient {
    /// Whether every response to it goes to the user's own machine over loopback, where any program can receive it.
    pub(crate) fn is_local_only(&self) -> bool {
        self.redirect_uris.iter().all(|uri| uri.kind() == RedirectKind::Loopback)
    }
}
