//! The keys that a client signs its assertions with (RFC 7523 §2.2).

use std::sync::Arc;

use lumoauth_core::{
    ClientId, UnixTime,
    token::{Algorithm, JsonWebKeySet, KeyMatch, KeySet},
};

use super::{
    Keys, ResolveError,
    cache::{Cache, Known},
    document::age,
    fetch::{Fetcher, HttpsUrl},
};
use crate::{registry::OrgId, settings::ClientDocuments};

/// The longest key set, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// How many seconds keys are good for whatever signatures name: after that, one that names an unknown key has them
/// fetched again.
const MIN_INTERVAL: u64 = 60;

/// Key sets that were fetched.
pub(super) struct KeySets {
    cache: Cache<(OrgId, ClientId, String), ClientDocuments, Arc<KeySet>, ResolveError>,
    fetcher: Fetcher,
}

impl KeySets {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self { cache: Cache::default(), fetcher }
    }

    /// The keys of a client, newly fetched where an assertion names one that the last set did not hold.
    pub(super) async fn get(
        &self,
        (org, client): (&OrgId, &ClientId),
        keys: &Keys,
        named: (Option<&str>, Algorithm),
        settings: &ClientDocuments,
        now: UnixTime,
    ) -> Result<Arc<KeySet>, ResolveError> {
        let url = match keys {
            Keys::Inline(document) => return Ok(Arc::new(KeySet::new(document))),
            Keys::Uri(url) => url.clone(),
        };
        let key = (org.clone(), client.clone(), url.as_str().to_owned());
        let known = match self.cache.known(&key, settings, now) {
            Known::Fresh(set, since) => {
                let unknown = matches!(set.find(named.0, named.1), KeyMatch::UnknownKid);
                if !unknown || since.until(now) < MIN_INTERVAL {
                    return Ok(set);
                }
                true
            }
            Known::Stale => true,
            Known::Nothing => false,
        };
        let start = || {
            if !self.fetcher.may_ask(org, &url, known) {
                return Err(ResolveError::Busy);
            }
            let (fetcher, settings) = (self.fetcher.clone(), settings.clone());
            Ok(async move {
                let fetched = fetcher.get(&url, MAX_BYTES, &settings).await.map_err(ResolveError::Unreachable)?;
                let document: JsonWebKeySet =
                    serde_json::from_slice(&fetched.body).map_err(|_| ResolveError::KeySet)?;
                let set = KeySet::new(&document);
                if set.is_empty() {
                    return Err(ResolveError::KeySet);
                }
                Ok((Arc::new(set), age(fetched.max_age)))
            })
        };
        self.cache.fetch(key, settings.clone(), now, start).await.unwrap_or(Err(ResolveError::Busy))
    }
}
