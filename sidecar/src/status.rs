//! The Token Status Lists of one issuer: which of its tokens are revoked, polled while tokens name them.
//!
//! No call waits for the issuer but the first that names a list, and no call takes a lock. A list that cannot be
//! renewed stays in force until it is too old; what was never seen, or has grown too old, denies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use lumoauth_core::{
    ResourceUri, UnixTime,
    config::StatusLists,
    token::{
        MAX_STATUS_TOKEN_BYTES, StatusError, StatusExpectations, StatusList, StatusListToken, StatusReference,
        TokenError,
    },
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    clock::now,
    fetch::{Address, Answer, FetchError, Fetcher, Wanted},
    jwks::KeySource,
    metrics::{Metrics, StatusFetch},
    refusal::{Refusal, Unavailable},
};

/// The most lists of one issuer that are kept: 2 MiB of bits.
const MAX_LISTS: usize = 128;

/// When and how long status lists are fetched.
#[derive(Clone, Copy, Debug)]
pub struct StatusLimits {
    /// The time between two fetches of one list, successful or not.
    pub poll: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// How long a list is polled after the last call that needed it.
    pub keep: Duration,
    /// How old a list may become before it is complained about.
    pub alarm_after: Duration,
}

impl Default for StatusLimits {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            timeout: Duration::from_secs(3),
            keep: Duration::from_mins(10),
            alarm_after: Duration::from_mins(1),
        }
    }
}

/// Why a token with a status is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusFault {
    /// The issuer revoked it.
    Revoked,
    /// It names a list that is none of its issuer's.
    Foreign,
    /// Nobody knows: its list was never seen, or is too old.
    Unknown,
}

impl From<StatusFault> for Refusal {
    fn from(fault: StatusFault) -> Self {
        match fault {
            StatusFault::Revoked => Self::Token(TokenError::Revoked),
            StatusFault::Foreign => Self::Token(TokenError::ForeignStatus),
            StatusFault::Unknown => Self::Unavailable(Unavailable::Status),
        }
    }
}

/// The lists of one issuer.
pub(crate) struct StatusSource {
    shared: Arc<Shared>,
    known: ArcSwap<BTreeMap<String, Arc<Watched>>>,
    growing: Mutex<()>,
}

struct Shared {
    keys: Arc<KeySource>,
    lists: StatusLists,
    max_age: Duration,
    fetcher: Fetcher,
    limits: StatusLimits,
    metrics: Metrics,
    started: Instant,
}

impl StatusSource {
    pub(crate) fn new(
        keys: Arc<KeySource>,
        lists: StatusLists,
        limits: StatusLimits,
        metrics: &Metrics,
    ) -> Result<Self, FetchError> {
        Address::parse(lists.fetch.as_str())?;
        let shared = Shared {
            fetcher: Fetcher::new(keys.settings.ca_bundle.as_deref(), 1)?,
            max_age: Duration::from_secs(lists.max_age_seconds),
            keys,
            lists,
            limits,
            metrics: metrics.clone(),
            started: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared), known: ArcSwap::default(), growing: Mutex::new(()) })
    }

    /// Takes over what `earlier` holds of the same lists: a new configuration forgets no revocation.
    pub(crate) fn inherit(&self, earlier: &Self) {
        if earlier.shared.lists.uri != self.shared.lists.uri {
            return;
        }
        let known = earlier.known.load();
        let again = known.iter().filter_map(|(name, list)| Some((name.clone(), list.again(&self.shared)?)));
        self.known.store(Arc::new(again.collect()));
    }

    /// The bit that `reference` speaks of.
    pub(crate) fn bit(&self, reference: &StatusReference) -> Result<Bit, StatusFault> {
        let name = reference.name_under(self.shared.lists.uri.as_str()).ok_or(StatusFault::Foreign)?;
        let known = self.known.load().get(name).cloned();
        let list = known.map_or_else(|| self.add(name, &reference.list), Ok)?;
        Ok(Bit { list, index: reference.index })
    }

    fn add(&self, name: &str, uri: &ResourceUri) -> Result<Arc<Watched>, StatusFault> {
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = BTreeMap::clone(&self.known.load());
        if let Some(list) = known.get(name) {
            return Ok(Arc::clone(list));
        }
        if known.len() >= MAX_LISTS {
            known.retain(|_, list| list.steady.load(Ordering::Acquire));
        }
        if known.len() >= MAX_LISTS {
            tracing::error!(issuer = %self.shared.keys.settings.issuer, "tokens name more than {MAX_LISTS} status lists");
            return Err(StatusFault::Unknown);
        }
        let address = format!("{}{name}", self.shared.lists.fetch);
        let address = Address::parse(&address).map_err(|_| StatusFault::Foreign)?;
        let list = Arc::new(Watched::new(Arc::clone(&self.shared), uri.clone(), address, None));
        known.insert(name.to_owned(), Arc::clone(&list));
        self.known.store(Arc::new(known));
        Ok(list)
    }

    /// The age of the oldest list that tokens name.
    pub(crate) fn oldest(&self, now: Instant) -> Option<Duration> {
        let known = self.known.load();
        known.values().filter(|list| list.steady.load(Ordering::Acquire)).map(|list| list.age(now)).max()
    }
}

/// One list.
struct Watched {
    shared: Arc<Shared>,
    uri: ResourceUri,
    address: Address,
    held: ArcSwapOption<Held>,
    /// When it was first wanted: the age of a list that was never seen.
    since: Instant,
    /// Milliseconds from the source's start to the last use.
    used_at: AtomicU64,
    /// Whether it is being polled, the first answer having come or not.
    steady: AtomicBool,
    starting: tokio::sync::Mutex<()>,
    complained: AtomicBool,
    /// Raised when a bit changes, and when the list becomes too old.
    changes: watch::Sender<()>,
}

/// What a list said when it was last seen.
#[derive(Clone)]
struct Held {
    list: StatusList,
    issued_at: UnixTime,
    expires_at: UnixTime,
    /// When the issuer last said that this is its list.
    confirmed: Instant,
    version: Option<HeaderValue>,
}

/// Why a list could not be renewed.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("the list is unchanged and has expired")]
    Expired,
    #[error("the answer is not text")]
    NotText,
}

impl Watched {
    fn new(shared: Arc<Shared>, uri: ResourceUri, address: Address, held: Option<Arc<Held>>) -> Self {
        Self {
            uri,
            address,
            held: ArcSwapOption::new(held),
            since: Instant::now(),
            used_at: AtomicU64::new(0),
            steady: AtomicBool::new(false),
            starting: tokio::sync::Mutex::new(()),
            complained: AtomicBool::new(false),
            changes: watch::Sender::new(()),
            shared,
        }
    }

    /// The same list as `shared` would watch it, if it was ever seen.
    fn again(&self, shared: &Arc<Shared>) -> Option<Arc<Self>> {
        let held = self.held.load_full()?;
        let address =
            Address::parse(&self.uri.as_str().replacen(shared.lists.uri.as_str(), shared.lists.fetch.as_str(), 1));
        Some(Arc::new(Self::new(Arc::clone(shared), self.uri.clone(), address.ok()?, Some(held))))
    }

    fn touch(&self, now: Instant) {
        let at = now.saturating_duration_since(self.shared.started).as_millis();
        self.used_at.store(u64::try_from(at).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Nobody waits for a change, and the last use is long ago.
    fn is_unused(&self, now: Instant) -> bool {
        let used_at = self.shared.started + Duration::from_millis(self.used_at.load(Ordering::Relaxed));
        self.changes.receiver_count() == 0 && now.saturating_duration_since(used_at) > self.shared.limits.keep
    }

    fn age(&self, now: Instant) -> Duration {
        let confirmed = self.held.load().as_ref().map_or(self.since, |held| held.confirmed);
        now.saturating_duration_since(confirmed)
    }

    /// What the list says of `index`, at `now`.
    fn check(&self, index: u64, now: Instant) -> Result<(), StatusFault> {
        let held = self.held.load();
        match held.as_ref() {
            // A revocation is for good, however old the news.
            Some(held) if held.list.is_revoked(index) => Err(StatusFault::Revoked),
            Some(held) if now.saturating_duration_since(held.confirmed) <= self.shared.max_age => Ok(()),
            _ => Err(StatusFault::Unknown),
        }
    }

    /// Begins to poll, and resolves when the first answer has come or not.
    async fn start(self: &Arc<Self>) {
        let this = Arc::clone(self);
        // Detached: a caller who hangs up must not take the fetch with it.
        let started = tokio::spawn(async move {
            let _alone = this.starting.lock().await;
            if this.steady.load(Ordering::Acquire) {
                return;
            }
            this.renew().await;
            this.steady.store(true, Ordering::Release);
            tokio::spawn(Self::poll(Arc::downgrade(&this), this.shared.limits.poll));
        });
        if started.await.is_err() {
            tracing::error!(list = %self.uri, "fetching a status list panicked");
        }
    }

    async fn poll(list: Weak<Self>, every: Duration) {
        loop {
            sleep(every).await;
            let Some(list) = list.upgrade() else { return };
            if list.is_unused(Instant::now()) {
                list.steady.store(false, Ordering::Release);
                return;
            }
            list.renew().await;
        }
    }

    /// Asks once.
    async fn renew(&self) {
        let outcome = self.ask().await;
        let metrics = &self.shared.metrics;
        match &outcome {
            Ok(Some(_)) => metrics.status_fetch(StatusFetch::Ok),
            Ok(None) => metrics.status_fetch(StatusFetch::Unchanged),
            Err(_) => metrics.status_fetch(StatusFetch::Error),
        }
        let now = Instant::now();
        match outcome {
            Ok(news) => self.confirm(news, now),
            Err(error) => self.complain(&error, now),
        }
    }

    /// A newer list, or none if the one that is held still is the issuer's.
    async fn ask(&self) -> Result<Option<(StatusListToken, Option<HeaderValue>)>, RenewError> {
        let now = now();
        let held = self.held.load_full().filter(|held| now < held.expires_at);
        let wanted = Wanted {
            address: &self.address,
            media_types: "application/statuslist+jwt",
            unless: held.as_ref().and_then(|held| held.version.as_ref()),
            max_bytes: MAX_STATUS_TOKEN_BYTES,
            within: self.shared.limits.timeout,
        };
        let Answer::Document(body, version) = self.shared.fetcher.get(&wanted).await? else {
            return if held.is_some() { Ok(None) } else { Err(RenewError::Expired) };
        };
        let text = std::str::from_utf8(&body).map_err(|_| RenewError::NotText)?;
        let token = match self.verify(text, now) {
            Err(StatusError::UnknownKey) => {
                self.shared.keys.refresh_unknown().await;
                self.verify(text, now)?
            }
            other => other?,
        };
        Ok(Some((token, version)))
    }

    fn verify(&self, text: &str, now: UnixTime) -> Result<StatusListToken, StatusError> {
        let settings = &self.shared.keys.settings;
        let expect = StatusExpectations { issuer: &settings.issuer, list: &self.uri, algorithms: &settings.algorithms };
        StatusListToken::verify(text, &self.shared.keys.current().set, &expect, now)
    }

    fn confirm(&self, news: Option<(StatusListToken, Option<HeaderValue>)>, now: Instant) {
        let before = self.held.load_full();
        let after = match (news, before.as_deref()) {
            (Some((token, version)), before) => Held::next(before, token, version, now),
            (None, Some(before)) => Held { confirmed: now, ..before.clone() },
            (None, None) => return,
        };
        let changed = before.is_none_or(|before| before.list != after.list);
        self.held.store(Some(Arc::new(after)));
        if changed {
            self.changes.send_replace(());
        }
        if self.complained.swap(false, Ordering::Relaxed) {
            tracing::info!(list = %self.uri, "the status list is renewed again");
        }
    }

    fn complain(&self, error: &RenewError, now: Instant) {
        tracing::debug!(list = %self.uri, %error, "a status list could not be renewed");
        let age = self.age(now);
        if age >= self.shared.limits.alarm_after && !self.complained.swap(true, Ordering::Relaxed) {
            let max_age = self.shared.max_age.as_secs();
            tracing::warn!(
                list = %self.uri, %error, age_seconds = age.as_secs(),
                "a status list could not be renewed for too long: at {max_age} s its tokens are refused"
            );
        }
        if age > self.shared.max_age {
            self.changes.send_replace(());
        }
    }
}

impl Held {
    /// What follows `before`. An issuer has several replicas, and one may be behind another for a moment: what an older
    /// list does not yet say is not forgotten.
    fn next(before: Option<&Self>, token: StatusListToken, version: Option<HeaderValue>, now: Instant) -> Self {
        let StatusListToken { list, issued_at, expires_at } = token;
        let (list, issued_at) = match before {
            Some(before) if before.issued_at >= issued_at => (list.or(&before.list), before.issued_at),
            _ => (list, issued_at),
        };
        Self { list, issued_at, expires_at, confirmed: now, version }
    }
}

/// The bit of one token.
#[derive(Clone)]
pub(crate) struct Bit {
    list: Arc<Watched>,
    index: u64,
}

impl Bit {
    /// Resolves when its list is polled; at once, unless it is wanted for the first time in a while.
    pub(crate) async fn ready(&self) {
        self.list.touch(Instant::now());
        if !self.list.steady.load(Ordering::Acquire) {
            self.list.start().await;
        }
    }

    /// Whether the token may still be used. Takes no lock.
    pub(crate) fn check(&self) -> Result<(), StatusFault> {
        let now = Instant::now();
        self.list.touch(now);
        self.list.check(self.index, now)
    }

    /// Resolves at every change of the list after the call, which keeps it polled.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.list.changes.subscribe()
    }
}

#[cfg(test)]
mod tests;
