//! The keys of one issuer: those the configuration was written with, and newer ones fetched from `jwks_uri`.
//!
//! Fetching is bounded in every direction: one at a time, at most one per interval whatever tokens arrive, of a limited
//! size, in limited time. It fails closed: without an answer no key becomes known, and a key that the issuer has
//! withdrawn does not come back because the issuer is silent.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use lumoauth_core::{
    config::Issuer,
    token::{JsonWebKeySet, KeySet},
};
use tokio::time::Instant;

use crate::{
    fetch::{Address, Answer, FetchError, Fetcher, Wanted},
    metrics::{FetchResult, Metrics},
};

const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;

/// When and how long keys are fetched.
#[derive(Clone, Copy, Debug)]
pub struct JwksLimits {
    /// The least time between two fetches of one issuer's keys, successful or not.
    pub min_interval: Duration,
    /// How old fetched keys may be before they are fetched again.
    pub refresh_after: Duration,
    /// How old fetched keys may become while the issuer does not answer.
    pub max_stale: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
}

impl Default for JwksLimits {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(10),
            refresh_after: Duration::from_mins(5),
            max_stale: Duration::from_hours(6),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum JwksError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the answer is not a JWK Set of at most {MAX_KEYS} keys")]
    Document,
}

/// The keys in force at one moment.
pub(crate) struct Keys {
    pub(crate) set: KeySet,
    document: JsonWebKeySet,
    /// When they were fetched; seeded ones count as fetched when the configuration was read.
    since: Instant,
    fetched: bool,
}

impl Keys {
    fn new(document: JsonWebKeySet, fetched: bool) -> Self {
        Self { set: KeySet::new(&document), document, since: Instant::now(), fetched }
    }
}

/// One issuer and its keys.
pub(crate) struct KeySource {
    pub(crate) settings: Issuer,
    keys: ArcSwap<Keys>,
    endpoint: Option<Endpoint>,
    last_attempt: Mutex<Option<Instant>>,
    in_flight: tokio::sync::Mutex<()>,
    limits: JwksLimits,
    /// Raised after every change of the keys.
    epoch: Arc<AtomicU64>,
    metrics: Metrics,
}

impl KeySource {
    /// `epoch` is raised after every change of the keys, by this source and by others that share it.
    pub(crate) fn new(
        settings: Issuer,
        limits: JwksLimits,
        epoch: Arc<AtomicU64>,
        metrics: &Metrics,
    ) -> Result<Self, FetchError> {
        let endpoint = match &settings.jwks_uri {
            // Keys are asked for so rarely that no connection is kept.
            Some(uri) => Some(Endpoint {
                address: Address::parse(uri.as_str())?,
                fetcher: Fetcher::new(settings.ca_bundle.as_deref(), 0)?,
            }),
            None => None,
        };
        Ok(Self {
            keys: ArcSwap::from_pointee(Keys::new(settings.keys.clone(), false)),
            endpoint,
            last_attempt: Mutex::new(None),
            in_flight: tokio::sync::Mutex::new(()),
            limits,
            epoch,
            metrics: metrics.clone(),
            settings,
        })
    }

    /// The keys in force.
    pub(crate) fn current(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// A token names a key we do not have: asks the issuer, unless it was asked within the interval. When it
    /// returns, every fetch that was under way has ended.
    pub(crate) async fn refresh_unknown(self: &Arc<Self>) {
        if self.endpoint.is_none() {
            return;
        }
        if self.attempted_recently() {
            // Whoever asked first may still be waiting for the answer.
            drop(self.in_flight.lock().await);
        } else {
            // Detached: a caller who hangs up must not take the fetch with it and leave the interval used up.
            let this = Arc::clone(self);
            let fetched = tokio::spawn(async move { this.fetch().await }).await;
            if fetched.is_err() {
                tracing::error!(issuer = %self.settings.issuer, "fetching keys panicked");
            }
        }
    }

    fn replace(&self, keys: Keys) {
        let changed = self.keys.load().document != keys.document;
        self.keys.store(Arc::new(keys));
        if changed {
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    /// Renews keys that have grown old, without keeping the caller waiting, and lets go of those too old to trust.
    pub(crate) fn keep_fresh(self: &Arc<Self>) {
        if self.endpoint.is_none() {
            return;
        }
        let keys = self.keys.load();
        let age = keys.since.elapsed();
        if age < self.limits.refresh_after {
            return;
        }
        if keys.fetched && age >= self.limits.max_stale {
            self.fall_back(&keys);
        }
        if !self.attempted_recently() {
            let this = Arc::clone(self);
            tokio::spawn(async move { this.fetch().await });
        }
    }

    /// What remains of fetched keys that could not be renewed: those the configuration vouches for as well.
    fn fall_back(&self, stale: &Keys) {
        let seeded = &self.settings.keys.keys;
        let keys = stale.document.keys.iter().filter(|key| seeded.contains(key)).cloned().collect();
        tracing::warn!(issuer = %self.settings.issuer, "keys could not be renewed for too long: only seeded ones are kept");
        self.replace(Keys::new(JsonWebKeySet { keys }, false));
    }

    fn attempted_recently(&self) -> bool {
        let last = self.last_attempt.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|at| at.elapsed() < self.limits.min_interval)
    }

    async fn fetch(&self) {
        let Some(endpoint) = &self.endpoint else { return };
        let _alone = self.in_flight.lock().await;
        if self.attempted_recently() {
            return;
        }
        *self.last_attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match endpoint.get(self.limits.timeout).await {
            Ok(document) => {
                self.metrics.jwks_fetch(FetchResult::Ok);
                self.replace(Keys::new(document, true));
            }
            Err(error) => {
                self.metrics.jwks_fetch(FetchResult::Error);
                tracing::warn!(issuer = %self.settings.issuer, %error, "keys could not be fetched");
            }
        }
    }
}

/// Where the keys are, and how to ask.
struct Endpoint {
    address: Address,
    fetcher: Fetcher,
}

impl Endpoint {
    async fn get(&self, within: Duration) -> Result<JsonWebKeySet, JwksError> {
        let wanted = Wanted {
            address: &self.address,
            media_types: "application/jwk-set+json, application/json",
            unless: None,
            max_bytes: MAX_DOCUMENT_BYTES,
            within,
        };
        let Answer::Document(bytes, _) = self.fetcher.get(&wanted).await? else { return Err(JwksError::Document) };
        let document: JsonWebKeySet = serde_json::from_slice(&bytes).map_err(|_| JwksError::Document)?;
        if document.keys.len() > MAX_KEYS { Err(JwksError::Document) } else { Ok(document) }
    }
}
