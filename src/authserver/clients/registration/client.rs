//! A stored registration as a client.

use super::super::{
    Authentication, OAuthClient, ScopeLimit, Source,
    metadata::{Members, Metadata, Method},
};
use crate::{authserver::store::Registration, registry::SecretDigest};

/// The metadata of a registration; `None` for a row that no version of this program would have written.
pub(super) fn stored(registration: &Registration) -> Option<Metadata> {
    let members = Members::parse(registration.metadata.as_bytes()).ok()?;
    let metadata = Metadata::read(&members).ok();
    if metadata.is_none() {
        tracing::error!(client = %registration.id, "the stored metadata of a client cannot be read");
    }
    metadata
}

/// The client of a registration.
pub(crate) fn registered(registration: &Registration) -> Option<OAuthClient> {
    let metadata = stored(registration)?;
    let authentication = match (metadata.method?, metadata.keys) {
        (Method::None, _) => Authentication::None,
        (Method::SecretBasic, _) => Authentication::SecretBasic,
        (Method::SecretPost, _) => Authentication::SecretPost,
        (Method::PrivateKeyJwt, keys) => Authentication::PrivateKeyJwt(keys?),
    };
    let secrets = registration.secret.map(|secret| SecretDigest { sha256: secret.to_string(), not_after: None });
    Some(OAuthClient {
        id: registration.id.clone(),
        source: Source::Dynamic,
        name: metadata.name.unwrap_or_else(|| registration.id.to_string()),
        redirect_uris: metadata.redirect_uris,
        grants: metadata.grants,
        authentication,
        secrets: secrets.into_iter().collect(),
        scopes: ScopeLimit::Any,
        servers: Vec::new(),
        uri: metadata.uri,
    })
}
