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
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header::ACCEPT};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder as ConnectorBuilder, builderstates::WantsSchemes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lumoauth_core::{
    config::Issuer,
    token::{JsonWebKeySet, KeySet},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::{Instant, timeout};

use crate::metrics::{FetchResult, Metrics};

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

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Neither `https` nor plain `http` to this machine.
    #[error("jwksUri must be https, or http on loopback")]
    Insecure,
    /// The CA bundle holds no usable certificate.
    #[error("caBundle is not a list of PEM certificates")]
    CaBundle,
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// No answer.
    #[error("no answer from jwksUri")]
    Unreachable,
    /// Another status than 200; redirects are not followed.
    #[error("jwksUri answered {0}")]
    Status(StatusCode),
    /// Not a key set of acceptable size.
    #[error("jwksUri did not answer with a JWK Set of at most {MAX_KEYS} keys and {MAX_DOCUMENT_BYTES} bytes")]
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
    fetcher: Option<Fetcher>,
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
    ) -> Result<Self, JwksError> {
        let fetcher = match &settings.jwks_uri {
            Some(uri) => Some(Fetcher::new(uri.as_str(), settings.ca_bundle.as_deref())?),
            None => None,
        };
        Ok(Self {
            keys: ArcSwap::from_pointee(Keys::new(settings.keys.clone(), false)),
            fetcher,
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
        if self.fetcher.is_none() {
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
        if self.fetcher.is_none() {
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
        let Some(fetcher) = &self.fetcher else { return };
        let _alone = self.in_flight.lock().await;
        if self.attempted_recently() {
            return;
        }
        *self.last_attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let answer = timeout(self.limits.timeout, fetcher.get()).await.unwrap_or(Err(JwksError::Unreachable));
        match answer {
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

struct Fetcher {
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Fetcher {
    fn new(uri: &str, ca_bundle: Option<&str>) -> Result<Self, JwksError> {
        let uri: Uri = uri.parse().map_err(|_| JwksError::Insecure)?;
        let loopback = uri.host().is_some_and(is_loopback);
        if uri.scheme_str() != Some("https") && !loopback {
            return Err(JwksError::Insecure);
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let connector = tls(ca_bundle)?.https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { uri, client })
    }

    async fn get(&self) -> Result<JsonWebKeySet, JwksError> {
        let request = Request::get(self.uri.clone())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::new())
            .map_err(|_| JwksError::Unreachable)?;
        let response = self.client.request(request).await.map_err(|_| JwksError::Unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(JwksError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES);
        let bytes = body.collect().await.map_err(|_| JwksError::Document)?.to_bytes();
        let document: JsonWebKeySet = serde_json::from_slice(&bytes).map_err(|_| JwksError::Document)?;
        if document.keys.len() > MAX_KEYS { Err(JwksError::Document) } else { Ok(document) }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// TLS with its provider named, so that nothing depends on a process-wide default. Without a bundle, Mozilla's roots.
fn tls(ca_bundle: Option<&str>) -> Result<ConnectorBuilder<WantsSchemes>, JwksError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = ConnectorBuilder::new();
    let Some(pem) = ca_bundle else { return Ok(builder.with_provider_and_webpki_roots(provider)?) };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| JwksError::CaBundle)?).map_err(|_| JwksError::CaBundle)?;
    }
    if roots.is_empty() {
        return Err(JwksError::CaBundle);
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(builder.with_tls_config(config))
}
