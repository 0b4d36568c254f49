//! From a `client_id` to a client.

use std::sync::Arc;

use lumoauth_core::ClientId;

use super::{OAuthClient, registered};
use crate::authserver::org::{Org, State};

/// Why a `client_id` leads to no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// Nothing is known under it.
    #[error("there is no such client")]
    Unknown,
}

impl ResolveError {
    /// A stable word for logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_client",
        }
    }
}

/// The client with this identifier. Its spelling says where to look: `https://…` is a document, `dcr_…` a dynamic
/// registration, anything else an McpClient.
#[allow(clippy::unused_async, reason = "documents are fetched and registrations read from the store")]
pub(crate) async fn resolve(_state: &State, org: &Org, id: &ClientId) -> Result<Arc<OAuthClient>, ResolveError> {
    let (entry, client) = org.client(id).ok_or(ResolveError::Unknown)?;
    registered::client(id, &entry.key, client).map(Arc::new).ok_or(ResolveError::Unknown)
}
