//! The keys that a client signs its assertions with (RFC 7523 §2.2).

use std::{future::Future, sync::Arc};

use lumoauth_core::{
    ClientId,
    token::{Algorithm, JsonWebKeySet, KeyMatch, KeySet},
};

use super::{Keys, ResolveError, asking::Asking, cache::Cache, document::age, fetch::Fetcher};
use crate::settings::ClientDocuments;

/// The longest key set, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// How many seconds keys are good for whatever signatures name: after that, one that names an unknown key has them
/// fetched again.
const MIN_INTERVAL: u64 = 60;

/// Key sets that were fetched.
pub(super) struct KeySets {
    cache: Cache<(ClientId, String), ClientDocuments, Arc<KeySet>, ResolveError>,
    fetcher: Fetcher,
}

impl KeySets {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self { cache: Cache::default(), fetcher }
    }

    /// The keys of a client, newly fetched where an assertion names one that the last set did not hold. `vouched` as for
    /// documents.
    pub(super) async fn get(
        &self,
        asking: &Asking<'_>,
        client: &ClientId,
        keys: &Keys,
        named: (Option<&str>, Algorithm),
        vouched: impl Future<Output = bool>,
    ) -> Result<Arc<KeySet>, ResolveError> {
        let url = match keys {
            Keys::Inline(document) => return Ok(Arc::new(KeySet::new(document))),
            Keys::Uri(url) => url.clone(),
        };
        let Asking { org, settings, now, .. } = *asking;
        let key = (client.clone(), url.as_str().to_owned());
        let known = self.cache.known(org, &key, settings, now);
        let (is_known, since) = (known.is_some(), known.as_ref().map(|known| known.since));
        let (usable, old) = known.map_or((None, None), |known| asking.judge(known));
        let holds = |set: &Arc<KeySet>| !matches!(set.find(named.0, named.1), KeyMatch::UnknownKid);
        let recent = since.is_some_and(|since| since.until(now) < MIN_INTERVAL);
        if let Some(set) = usable.filter(|set| recent || holds(set)) {
            return Ok(set);
        }
        let vouched = vouched.await;
        let start = || {
            if !self.fetcher.may_ask(org, &url, is_known || vouched) {
                return Err(ResolveError::Busy);
            }
            let (fetcher, settings) = (self.fetcher.clone(), settings.clone());
            Ok(async move {
                let answer = fetcher.get(&url, MAX_BYTES, &settings).await.map_err(ResolveError::Unreachable)?;
                let document: JsonWebKeySet = serde_json::from_slice(&answer.body).map_err(|_| ResolveError::KeySet)?;
                let set = KeySet::new(&document);
                if set.is_empty() {
                    return Err(ResolveError::KeySet);
                }
                Ok((Arc::new(set), age(answer.max_age)))
            })
        };
        let fetched = self.cache.fetch((org, key), settings.clone(), now, vouched, start).await;
        // A set without the key that is named proves nothing: better to say that the new one cannot be had.
        asking.or_old(fetched.unwrap_or(Err(ResolveError::Busy)), old.filter(holds), client)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, time::Duration};

    use lumoauth_core::UnixTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        authserver::clients::{
            asking::TO_GO_ON,
            fetch::{FetchError, HttpsUrl},
            testing::{Answer, LOOPBACK, Names, Origin},
        },
        registry::OrgId,
    };

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn set(ids: &[&str]) -> Value {
        let key = |id: &&str| json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        json!({"keys": ids.iter().map(key).collect::<Vec<_>>()})
    }

    struct Site {
        origin: Origin,
        sets: KeySets,
        keys: Keys,
        settings: ClientDocuments,
    }

    impl Site {
        async fn new(answer: Answer) -> Self {
            let origin = Origin::start(answer).await;
            let sets = KeySets::new(Fetcher::resolving(Names::new(&[&[LOOPBACK]])));
            let keys = Keys::Uri(HttpsUrl::parse(&origin.url("/jwks.json?v=1")).unwrap());
            let settings = origin.reachable();
            Self { origin, sets, keys, settings }
        }

        async fn find(&self, id: &str, at: u64) -> Result<bool, ResolveError> {
            let org = OrgId::parse("acme").unwrap();
            let client = ClientId::parse("https://app.example/c").unwrap();
            let named = (Some(id), Algorithm::EdDSA);
            let asking = Asking { org: &org, settings: &self.settings, now: NOW.plus(at), patience: TO_GO_ON };
            let set = self.sets.get(&asking, &client, &self.keys, named, ready(false)).await?;
            Ok(matches!(set.find(named.0, named.1), KeyMatch::Found(_)))
        }
    }

    #[tokio::test]
    async fn keys_are_fetched_and_kept() {
        let site = Site::new(Answer::json(&set(&["1"]))).await;
        assert_eq!(site.find("1", 0).await, Ok(true));
        assert_eq!(site.find("1", 299).await, Ok(true));
        assert_eq!(site.origin.connections(), 1);
        assert!(site.origin.requests()[0].starts_with("GET /jwks.json?v=1 HTTP/1.1\r\n"));
        assert_eq!(site.find("1", 300).await, Ok(true));
        assert_eq!(site.origin.connections(), 2);
    }

    #[tokio::test]
    async fn an_unknown_key_has_them_fetched_but_not_often() {
        let site = Site::new(Answer::json(&set(&["1"]))).await;
        assert_eq!(site.find("1", 0).await, Ok(true));
        site.origin.says(Answer::json(&set(&["2"])));
        for at in [0, 30, 59] {
            assert_eq!(site.find("2", at).await, Ok(false));
        }
        assert_eq!(site.origin.connections(), 1);
        assert_eq!(site.find("2", 60).await, Ok(true));
        assert_eq!(site.find("1", 60).await, Ok(false), "what its owner withdrew is gone");
        assert_eq!(site.origin.connections(), 2);
    }

    #[tokio::test]
    async fn failures_are_not_kept_and_not_repeated_without_end() {
        let site = Site::new(Answer::with(404, "", b"")).await;
        assert_eq!(site.find("1", 0).await, Err(ResolveError::Unreachable(FetchError::Status(404))));
        for answer in [json!({"keys": []}), json!({"keys": 1}), json!([]), json!({"keys": [{"kty": "oct", "k": "AA"}]})]
        {
            site.origin.says(Answer::json(&answer));
            assert_eq!(site.find("1", 0).await, Err(ResolveError::KeySet), "{answer}");
        }
        site.origin.says(Answer::json(&set(&["1"])));
        assert_eq!(site.find("1", 0).await, Ok(true));
        site.origin.says(Answer::with(500, "", b""));
        for _ in 0..50 {
            assert!(site.find("1", TO_GO_ON).await.is_err());
        }
        assert_eq!(site.origin.connections(), 6 + 10);
    }

    #[tokio::test]
    async fn the_last_good_set_outlives_a_failing_host() {
        let site = Site::new(Answer::json(&set(&["1"]))).await;
        assert_eq!(site.find("1", 0).await, Ok(true));
        site.origin.says(Answer::with(503, "", b""));
        let unreachable = Err(ResolveError::Unreachable(FetchError::Status(503)));
        assert_eq!(site.find("1", 300).await, Ok(true));
        assert_eq!(site.find("1", 329).await, Ok(true));
        assert_eq!(site.origin.connections(), 2, "it is given time to recover");
        assert_eq!(site.find("2", 329).await, unreachable, "what the last set does not hold is not known to be wrong");
        assert_eq!(site.find("1", TO_GO_ON - 1).await, Ok(true));
        assert_eq!(site.find("1", TO_GO_ON).await, unreachable);
        site.origin.says(Answer::json(&set(&["1"])));
        assert_eq!(site.find("1", TO_GO_ON).await, Ok(true));
        site.origin.says(Answer::json(&json!({"keys": []})));
        assert_eq!(site.find("1", TO_GO_ON + 300).await, Err(ResolveError::KeySet));
        site.origin.says(Answer::with(503, "", b""));
        assert_eq!(site.find("1", TO_GO_ON + 300).await, unreachable, "what its owner withdrew does not come back");
    }

    /// Row 79 of the attacks: a canary inside the network, which nobody may make us ask.
    #[tokio::test]
    async fn keys_inside_the_network_are_not_fetched() {
        let mut site = Site::new(Answer::json(&set(&["1"]))).await;
        site.settings.allowed_cidrs.clear();
        let special = Err(ResolveError::Unreachable(FetchError::SpecialUse));
        assert_eq!(site.find("1", 0).await, special);
        site.keys = Keys::Uri(HttpsUrl::parse(&format!("https://127.0.0.1:{}/", site.origin.port)).unwrap());
        assert_eq!(site.find("1", 0).await, special);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(site.origin.connections(), 0);
    }

    #[tokio::test]
    async fn inline_keys_need_no_fetch() {
        let mut site = Site::new(Answer::Silence).await;
        site.keys = Keys::Inline(serde_json::from_value(set(&["1"])).unwrap());
        assert_eq!((site.find("1", 0).await, site.find("2", 0).await), (Ok(true), Ok(false)));
        assert_eq!(site.origin.connections(), 0);
    }
}
