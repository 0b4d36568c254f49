//! OAuth clients, whichever way they became known: an McpClient object, a Client ID Metadata Document, or Dynamic
//! Client Registration. [`resolve`] turns a `client_id` into an [`OAuthClient`]; nothing behind it asks where one came
//! from, except to tell people.

#![allow(dead_code, unused_imports, reason = "the authorization and token endpoints are built upon this")]

mod client;
mod registered;
mod resolve;

use std::{fmt, sync::Arc};

pub(super) use client::{Authentication, GrantTypes, Keys, OAuthClient, ScopeLimit, Source};
pub(super) use resolve::{ResolveError, resolve};

/// What is kept in memory about clients that are not in the registry. Cheap to clone.
#[derive(Clone, Default)]
pub struct Clients(Arc<Inner>);

#[derive(Default)]
struct Inner {}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}
