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
    fetch::Fetcher,
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
                let answer = fetcher.get(&url, MAX_BYTES, &settings).await.map_err(ResolveError::Unreachable)?;
                let document: JsonWebKeySet = serde_json::from_slice(&answer.body).map_err(|_| ResolveError::KeySet)?;
                let set = KeySet::new(&document);
                if set.is_empty() {
                    return Err(ResolveError::KeySet);
                }
                Ok((Arc::new(set), age(answer.max_age)))
            })
        };
        self.cache.fetch(key, settings.clone(), now, start).await.unwrap_or(Err(ResolveError::Busy))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::authserver::clients::{
        fetch::{FetchError, HttpsUrl},
        testing::{Answer, LOOPBACK, Names, Origin},
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
            let of = (&org, &client);
            let set = self.sets.get(of, &self.keys, named, &self.settings, NOW.plus(at)).await?;
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
            assert!(site.find("1", 300).await.is_err());
        }
        assert_eq!(site.origin.connections(), 6 + 10);
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
