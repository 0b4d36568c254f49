//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a client whose identifier is the https
//! URL of a document that describes it.

mod parse;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use lumoauth_core::{ClientId, UnixTime};

pub(crate) use self::parse::DocumentError;
use self::parse::{is_blocked, may_come_from};
use super::{
    OAuthClient, ResolveError,
    cache::{Cache, Known},
    fetch::{Fetcher, HttpsUrl},
};
use crate::{registry::OrgId, settings::ClientDocuments};

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
    cache: Cache<(OrgId, ClientId), ClientDocuments, Arc<OAuthClient>, ResolveError>,
    fetcher: Fetcher,
}

impl Documents {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self { cache: Cache::default(), fetcher }
    }

    /// The client whose document is at the URL `id`.
    pub(super) async fn get(
        &self,
        org: &OrgId,
        id: &ClientId,
        settings: &ClientDocuments,
        now: UnixTime,
    ) -> Result<Arc<OAuthClient>, ResolveError> {
        if !settings.enabled {
            return Err(ResolveError::DocumentsOff);
        }
        let url = HttpsUrl::document(id.as_str()).map_err(ResolveError::Url)?;
        if !may_come_from(url.host_str(), settings) {
            return Err(ResolveError::Domain);
        }
        let client = self.fetched(org, id, url, settings, now).await?;
        if is_blocked(&client, settings) { Err(ResolveError::LocalOnly) } else { Ok(client) }
    }

    async fn fetched(
        &self,
        org: &OrgId,
        id: &ClientId,
        url: HttpsUrl,
        settings: &ClientDocuments,
        now: UnixTime,
    ) -> Result<Arc<OAuthClient>, ResolveError> {
        let key = (org.clone(), id.clone());
        let known = match self.cache.known(&key, settings, now) {
            Known::Fresh(client, _) => return Ok(client),
            Known::Stale => true,
            Known::Nothing => false,
        };
        let start = || {
            if !self.fetcher.may_ask(org, &url, known) {
                return Err(ResolveError::Busy);
            }
            let (fetcher, settings) = (self.fetcher.clone(), settings.clone());
            Ok(async move {
                let answer = fetcher.get(&url, MAX_BYTES, &settings).await.map_err(ResolveError::Unreachable)?;
                let client = parse::parse(&url, &answer.body).map_err(ResolveError::Invalid)?;
                Ok((Arc::new(client), age(answer.max_age)))
            })
        };
        self.cache.fetch(key, settings.clone(), now, start).await.unwrap_or(Err(ResolveError::Busy))
    }
}

/// For how many seconds a document is kept.
pub(super) fn age(max_age: Option<Duration>) -> u64 {
    max_age.map_or(DEFAULT_AGE, |age| age.as_secs().clamp(MIN_AGE, MAX_AGE))
}
