//! From a `client_id` to a client.

use std::sync::Arc;

use lumoauth_core::{
    ClientId,
    client::ClientPattern,
    token::{Algorithm, KeySet},
    uri::RedirectKind,
};

use super::{
    Authentication, Keys, OAuthClient, Source,
    asking::{self, Asking},
    cache::Failure,
    document::{self, DocumentError},
    fetch::{FetchError, HttpsUrl, UrlError},
    registered, registration,
};
use crate::authserver::{
    org::{Org, State, Target},
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
    /// `cimd.localhostRedirects` is `Block`, and all its redirect URIs, or that of the request, are on loopback.
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

impl Failure for ResolveError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Unreachable(error) => error.is_outage(),
            _ => false,
        }
    }
}

/// The client with this identifier, for what people agreed to already. Its spelling says where to look: `https://…` is
/// a document, `dcr_…` a dynamic registration, anything else an McpClient. A document whose host fails is good for
/// another day.
pub(crate) async fn resolve(state: &State, org: &Org, id: &ClientId) -> Result<Arc<OAuthClient>, ResolveError> {
    resolve_within(asking::TO_GO_ON, state, org, id).await
}

/// The same, for what people are asked to agree to: a document whose host fails is good for an hour.
pub(crate) async fn resolve_to_authorize(
    state: &State,
    org: &Org,
    id: &ClientId,
) -> Result<Arc<OAuthClient>, ResolveError> {
    resolve_within(asking::TO_AUTHORIZE, state, org, id).await
}

async fn resolve_within(
    patience: u64,
    state: &State,
    org: &Org,
    id: &ClientId,
) -> Result<Arc<OAuthClient>, ResolveError> {
    if state.disabled.contains(&org.id, id) {
        return Err(ResolveError::Disabled);
    }
    if id.as_str().starts_with(registration::PREFIX) {
        let found = state.store.registration(&org.id, id, org.now).await?;
        return found.as_ref().and_then(registration::registered).map(Arc::new).ok_or(ResolveError::Unknown);
    }
    if id.as_str().starts_with("https://") {
        let settings = org.settings(state).cimd;
        let asking = Asking { org: &org.id, settings: &settings, now: org.now, patience };
        return state.clients.0.documents.get(&asking, id, is_vouched_for(state, org, id)).await;
    }
    let (entry, client) = org.client(id).ok_or(ResolveError::Unknown)?;
    registered::client(id, &entry.key, client).map(Arc::new).ok_or(ResolveError::Unknown)
}

/// Whether a client that holds a token may still be one, as far as that can be told without asking others: deleting a
/// dynamic client revokes its tokens, and a document that cannot be fetched now is no reason to end what people do.
pub(crate) fn may_be_known(state: &State, org: &Org, id: &ClientId) -> bool {
    if state.disabled.contains(&org.id, id) {
        return false;
    }
    if id.as_str().starts_with(registration::PREFIX) {
        return true;
    }
    if id.as_str().starts_with("https://") {
        let settings = org.settings(state).cimd;
        return HttpsUrl::parse(id.as_str()).is_ok_and(|url| document::is_admitted(&url, &settings).is_ok());
    }
    org.client(id).is_some()
}

/// Whether an administrator named this very client, or a user of the organization agreed to it: strangers who keep us
/// busy are not in its way.
pub(super) async fn is_vouched_for(state: &State, org: &Org, id: &ClientId) -> bool {
    let exactly = ClientPattern::Exact(id.clone());
    let names = |target: &Target| target.server.policy.allowed_clients().is_some_and(|list| list.contains(&exactly));
    // Where the store fails, it was logged there, and nothing can be given to anybody anyway.
    org.servers().any(|target| names(&target)) || state.store.is_client_in_use(&org.id, id).await.unwrap_or(false)
}

/// Whether `cimd.localhostRedirects` lets a response to this client go to such a redirect URI.
pub(crate) fn check_redirect(
    state: &State,
    org: &Org,
    client: &OAuthClient,
    redirect: RedirectKind,
) -> Result<(), ResolveError> {
    let admitted = document::admits_redirect(client, redirect, &org.settings(state).cimd);
    if admitted { Ok(()) } else { Err(ResolveError::LocalOnly) }
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
    if let (Source::Dynamic, Keys::Uri(url)) = (&client.source, keys) {
        document::is_admitted(url, &settings)?;
    }
    let asking = Asking { org: &org.id, settings: &settings, now: org.now, patience: asking::TO_GO_ON };
    let vouched =
        async { matches!(client.source, Source::Registered(_)) || is_vouched_for(state, org, &client.id).await };
    state.clients.0.keys.get(&asking, &client.id, keys, (key_id, algorithm), vouched).await
}
