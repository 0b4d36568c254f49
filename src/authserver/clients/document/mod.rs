//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a client whose identifier is the https
//! URL of a document that describes it.

mod parse;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc, time::Duration};

use lumoauth_core::ClientId;

pub(crate) use self::parse::DocumentError;
use self::parse::is_blocked;
pub(super) use self::parse::{admits_redirect, is_admitted};
use super::{
    OAuthClient, ResolveError,
    asking::Asking,
    cache::Cache,
    fetch::{Fetcher, HttpsUrl},
};
use crate::settings::ClientDocuments;

/// The longest document, in bytes: what the draft recommends (section 6.6).
const MAX_BYTES: usize = 5 * 1024;
/// How long a document is kept that does not say so itself, in seconds.
const DEFAULT_AGE: u64 = 300;
/// The least, so that one login needs one fetch, whatever the document says.
const MIN_AGE: u64 = 60;
/// The most, so that a client's change arrives.
const MAX_AGE: u64 = 3600;

/// The documents that were fetched.
pub(super) struct Documents {
    cache: Cache<ClientId, ClientDocuments, Arc<OAuthClient>, ResolveError>,
    fetcher: Fetcher,
}

impl Documents {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self { cache: Cache::default(), fetcher }
    }

    /// The client whose document is at the URL `id`. `vouched`, which is awaited only where it matters: whether an
    /// administrator or a user of the organization named this client.
    pub(super) async fn get(
        &self,
        asking: &Asking<'_>,
        id: &ClientId,
        vouched: impl Future<Output = bool>,
    ) -> Result<Arc<OAuthClient>, ResolveError> {
        let url = HttpsUrl::document(id.as_str()).map_err(ResolveError::Url)?;
        is_admitted(&url, asking.settings)?;
        let client = self.fetched(asking, id, url, vouched).await?;
        if is_blocked(&client, asking.settings) { Err(ResolveError::LocalOnly) } else { Ok(client) }
    }

    async fn fetched(
        &self,
        asking: &Asking<'_>,
        id: &ClientId,
        url: HttpsUrl,
        vouched: impl Future<Output = bool>,
    ) -> Result<Arc<OAuthClient>, ResolveError> {
        let Asking { org, settings, now, .. } = *asking;
        let known = self.cache.known(org, id, settings, now);
        let is_known = known.is_some();
        let (fresh, old) = known.map_or((None, None), |known| asking.judge(known));
        if let Some(client) = fresh {
            return Ok(client);
        }
        let vouched = vouched.await;
        let start = || {
            if !self.fetcher.may_ask(org, &url, is_known || vouched) {
                return Err(ResolveError::Busy);
            }
            let (fetcher, settings) = (self.fetcher.clone(), settings.clone());
            Ok(async move {
                let answer = fetcher.get(&url, MAX_BYTES, &settings).await.map_err(ResolveError::Unreachable)?;
                let client = parse::parse(&url, &answer.body).map_err(ResolveError::Invalid)?;
                Ok((Arc::new(client), age(answer.max_age)))
            })
        };
        let fetched = self.cache.fetch((org, id.clone()), settings.clone(), now, vouched, start).await;
        asking.or_old(fetched.unwrap_or(Err(ResolveError::Busy)), old, id)
    }
}

/// For how many seconds a document is kept.
pub(super) fn age(max_age: Option<Duration>) -> u64 {
    max_age.map_or(DEFAULT_AGE, |age| age.as_secs().clamp(MIN_AGE, MAX_AGE))
}
