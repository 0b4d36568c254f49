//! From a `client_id` to a client.

use std::sync::Arc;

use lumoauth_core::{
    ClientId,
    token::{Algorithm, KeySet},
};

use super::{
    Authentication, OAuthClient,
    document::DocumentError,
    fetch::{FetchError, UrlError},
    registered, registration,
};
use crate::authserver::{
    org::{Org, State},
    store::StoreError,
};

/// Why a `client_id` leads to no client, or a client to no keys. The words are for people: what a page says after "The
/// client cannot be used:".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// Nothing is known under it.
    #[error("it is not known here")]
    Unknown,
    /// An administrator disabled it.
    #[error("an administrator has disabled it")]
    Disabled,
    /// The store cannot be asked; it said why in the log.
    #[error("the authorization server cannot reach its database: try again")]
    Store,
    /// `cimd.enabled` is false.
    #[error("clients that describe themselves by a document are not admitted here")]
    DocumentsOff,
    /// `cimd.allowedDomains` does not name the host.
    #[error("documents from its host are not admitted here")]
    Domain,
    /// The identifier is a URL that cannot be one of a document.
    #[error("its client_id {0}")]
    Url(UrlError),
    /// The document, or the key set, cannot be fetched.
    #[error("its document cannot be fetched: {0}")]
    Unreachable(FetchError),
    /// The document does not describe a client.
    #[error("its document cannot be used: {0}")]
    Invalid(DocumentError),
    /// What `jwks_uri` leads to is no set of keys.
    #[error("its jwks_uri does not lead to a set of keys that can be used")]
    KeySet,
    /// It has no keys.
    #[error("it has no keys")]
    NoKeys,
    /// `cimd.localhostRedirects` is `Block`, and all its redirect URIs are on loopback.
    #[error("clients that only run on the user's own machine are not admitted here")]
    LocalOnly,
    /// Too many documents are asked for: later it may work.
    #[error("too many documents are being fetched: try again in a minute")]
    Busy,
}

impl ResolveError {
    /// A stable word for logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_client",
            Self::Disabled => "client_disabled",
            Self::Store => "store",
            Self::DocumentsOff => "documents_off",
            Self::Domain => "document_domain",
            Self::Url(_) => "document_url",
            Self::Unreachable(error) => error.reason(),
            Self::Invalid(_) => "document_invalid",
            Self::KeySet => "key_set_invalid",
            Self::NoKeys => "no_keys",
            Self::LocalOnly => "local_only",
            Self::Busy => "document_rate",
        }
    }

    /// Whether it says nothing of the client, and may be over in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Store | Self::Busy => true,
            Self::Unreachable(error) => error.is_passing(),
            _ => false,
        }
    }
}

/// Whatever it is, it was counted and logged where it happened.
impl From<StoreError> for ResolveError {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

/// The client with this identifier. Its spelling says where to look: `https://…` is a document, `dcr_…` a dynamic
/// registration, anything else an McpClient.
pub(crate) async fn resolve(state: &State, org: &Org, id: &ClientId) -> Result<Arc<OAuthClient>, ResolveError> {
    if state.disabled.contains(&org.id, id) {
        return Err(ResolveError::Disabled);
    }
    if id.as_str().starts_with(registration::PREFIX) {
        let found = state.store.registration(&org.id, id, org.now).await?;
        return found.as_ref().and_then(registration::registered).map(Arc::new).ok_or(ResolveError::Unknown);
    }
    if id.as_str().starts_with("https://") {
        let settings = org.settings(state).cimd;
        return state.clients.0.documents.get(&org.id, id, &settings, org.now).await;
    }
    let (entry, client) = org.client(id).ok_or(ResolveError::Unknown)?;
    registered::client(id, &entry.key, client).map(Arc::new).ok_or(ResolveError::Unknown)
}

/// The keys of a client that authenticates by `private_key_jwt`. `key_id` and `algorithm` are those of its assertion:
/// where the keys that are known hold none for them, they are fetched again, but not often.
pub(crate) async fn key_set(
    state: &State,
    org: &Org,
    client: &OAuthClient,
    (key_id, algorithm): (Option<&str>, Algorithm),
) -> Result<Arc<KeySet>, ResolveError> {
    let Authentication::PrivateKeyJwt(keys) = &client.authentication else { return Err(ResolveError::NoKeys) };
    let settings = org.settings(state).cimd;
    let of = (&org.id, &client.id);
    state.clients.0.keys.get(of, keys, (key_id, algorithm), &settings, org.now).await
}
