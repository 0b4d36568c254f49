//! OAuth clients, whichever way they became known: an McpClient object, a Client ID Metadata Document, or Dynamic
//! Client Registration. [`resolve`] turns a `client_id` into an [`OAuthClient`]; nothing behind it asks where one came
//! from, except to tell people.

mod asking;
mod cache;
mod client;
mod document;
mod fetch;
mod keys;
mod metadata;
mod registered;
pub(super) mod registration;
mod resolve;
#[cfg(test)]
pub(super) mod testing;
mod unsafe_settings;

use std::{fmt, sync::Arc};

#[cfg(test)]
pub(super) use self::fetch::FetchError;
pub use self::unsafe_settings::warn_of_unsafe_settings;
pub(super) use self::{
    client::{Authentication, GrantTypes, Keys, OAuthClient, ScopeLimit, Source},
    resolve::{ResolveError, check_redirect, key_set, may_be_known, resolve, resolve_to_authorize},
};
use self::{document::Documents, fetch::Fetcher, keys::KeySets, registration::RegistrationRate};

/// What is kept in memory about clients that are not in the registry. Cheap to clone.
#[derive(Clone)]
pub struct Clients(Arc<Inner>);

struct Inner {
    documents: Documents,
    keys: KeySets,
    registrations: RegistrationRate,
}

impl Clients {
    fn new(fetcher: Fetcher) -> Self {
        Self(Arc::new(Inner {
            documents: Documents::new(fetcher.clone()),
            keys: KeySets::new(fetcher),
            registrations: RegistrationRate::default(),
        }))
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(Fetcher::default())
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}
