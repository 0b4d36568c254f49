//! One list, and how it is kept up to date.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use lumoauth_core::{
    ResourceUri, UnixTime,
    token::{MAX_STATUS_TOKEN_BYTES, StatusError, StatusExpectations, StatusListToken},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Shared, StatusFault, held::Held};
use crate::{
    clock::{Moment, now},
    fetch::{Address, Answer, FetchError, Wanted},
    metrics::StatusFetch,
};

/// A list that tokens name.
pub(super) struct Watched {
    shared: Arc<Shared>,
    uri: ResourceUri,
    address: Address,
    pub(super) held: ArcSwapOption<Held>,
    /// When it was first wanted: the age of a list that was never seen.
    since: Instant,
    /// The wall clock at the last use, in seconds.
    used_at: AtomicU64,
    /// When the last token that is known to name it has ended, in seconds.
    needed_until: AtomicU64,
    /// Whether it is being polled, the first answer having come or not.
    pub(super) steady: AtomicBool,
    /// It made room for others: whoever needs it shall ask the source again.
    gone: AtomicBool,
    starting: tokio::sync::Mutex<()>,
    pub(super) complained: AtomicBool,
    /// Raised when a bit changes, and when the list becomes too old.
    pub(super) changes: watch::Sender<()>,
}

/// Why a list could not be renewed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("the list is unchanged and has expired")]
    Expired,
    #[error("the answer is not text")]
    NotText,
}

/// What is new: a list and the version it is to be called, or none if the one that is held still is the issuer's.
pub(super) type News = Option<(StatusListToken, Option<HeaderValue>)>;

impl Watched {
    pub(super) fn new(shared: Arc<Shared>, uri: ResourceUri, address: Address) -> Self {
        Self {
            uri,
            address,
            held: ArcSwapOption::empty(),
            since: Instant::now(),
            used_at: AtomicU64::new(0),
            needed_until: AtomicU64::new(0),
            steady: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            starting: tokio::sync::Mutex::new(()),
            complained: AtomicBool::new(false),
            changes: watch::Sender::new(()),
            shared,
        }
    }

    /// The same list as `shared` would watch it, if it was ever seen, and not signed with a key that is trusted no more.
    pub(super) fn again(&self, shared: &Arc<Shared>) -> Option<Arc<Self>> {
        let held = self.held.load_full()?;
        let seeded = |shared: &Shared| shared.keys.settings.keys.keys.contains(&held.signed_by);
        if seeded(&self.shared) && !seeded(shared) {
            return None;
        }
        let address =
            Address::parse(&self.uri.as_str().replacen(shared.lists.uri.as_str(), shared.lists.fetch.as_str(), 1));
        let again = Self::new(Arc::clone(shared), self.uri.clone(), address.ok()?);
        again.held.store(Some(held));
        again.used_at.store(self.used_at.load(Ordering::Relaxed), Ordering::Relaxed);
        again.need(UnixTime(self.needed_until.load(Ordering::SeqCst)));
        Some(Arc::new(again))
    }

    pub(super) fn touch(&self, now: UnixTime) {
        self.used_at.store(now.0, Ordering::Relaxed);
    }

    /// A token that ends at `until` names it.
    pub(super) fn need(&self, until: UnixTime) {
        self.needed_until.fetch_max(until.0, Ordering::SeqCst);
    }

    /// Whether somebody waits for a change, or a token may come that names it.
    pub(super) fn is_needed(&self, now: UnixTime) -> bool {
        self.changes.receiver_count() > 0 || now.0 < self.needed_until.load(Ordering::SeqCst)
    }

    /// What speaks for keeping it rather than another.
    pub(super) fn worth(&self, now: UnixTime) -> (bool, bool, u64) {
        (self.changes.receiver_count() > 0, self.is_needed(now), self.used_at.load(Ordering::Relaxed))
    }

    pub(super) fn is_steady(&self) -> bool {
        self.steady.load(Ordering::SeqCst)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Forgets everything, and tells those who wait that it is known no more.
    pub(super) fn let_go(&self) {
        self.gone.store(true, Ordering::Release);
        self.held.store(None);
        self.changes.send_replace(());
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        let confirmed = self.held.load().as_ref().map_or(self.since, |held| held.confirmed);
        now.saturating_duration_since(confirmed)
    }

    /// What the list says of `index`, at `now`.
    pub(super) fn check(&self, index: u64, now: Moment) -> Result<(), StatusFault> {
        let held = self.held.load();
        match held.as_ref() {
            // A revocation is for good, however old the news.
            Some(held) if held.list.is_revoked(index) => Err(StatusFault::Revoked),
            Some(held) if held.is_fresh(now, self.shared.max_age) => Ok(()),
            _ => Err(StatusFault::Unknown),
        }
    }

    /// Begins to poll, and resolves when the first answer has come or not.
    pub(super) async fn start(self: Arc<Self>) {
        let uri = self.uri.clone();
        // Detached: a caller who hangs up must not take the fetch with it.
        survive(&uri, async move {
            let _alone = self.starting.lock().await;
            if self.is_steady() {
                return;
            }
            survive(&self.uri, Arc::clone(&self).renew()).await;
            if self.steady.swap(true, Ordering::SeqCst) {
                return;
            }
            tokio::spawn(Self::poll(Arc::downgrade(&self), self.shared.limits.poll, Self::renew));
        })
        .await;
    }

    /// Has `ask` ask again and again, until the list is needed no more or nobody has it.
    pub(super) async fn poll<F, R>(list: Weak<Self>, every: Duration, ask: F)
    where
        F: Fn(Arc<Self>) -> R,
        R: Future<Output = ()> + Send + 'static,
    {
        loop {
            sleep(every).await;
            let Some(list) = list.upgrade() else { return };
            if list.is_gone() {
                // Once more: an answer may have come since.
                list.let_go();
                list.steady.store(false, Ordering::SeqCst);
                return;
            }
            if !list.is_needed(now()) && list.retires(now()) {
                return;
            }
            survive(&list.uri, ask(Arc::clone(&list))).await;
        }
    }

    /// Ends polling, unless somebody came who has still seen it go on.
    pub(super) fn retires(&self, now: UnixTime) -> bool {
        self.steady.store(false, Ordering::SeqCst);
        // Or another has begun to poll meanwhile.
        !self.is_needed(now) || self.steady.swap(true, Ordering::SeqCst)
    }

    /// Asks once.
    async fn renew(self: Arc<Self>) {
        let outcome = self.ask().await;
        let metrics = &self.shared.metrics;
        match &outcome {
            Ok(Some(_)) => metrics.status_fetch(StatusFetch::Ok),
            Ok(None) => metrics.status_fetch(StatusFetch::Unchanged),
            Err(_) => metrics.status_fetch(StatusFetch::Error),
        }
        let now = Moment::now();
        match outcome {
            Ok(news) => self.confirm(news, now),
            Err(error) => self.complain(&error, now),
        }
    }

    async fn ask(&self) -> Result<News, RenewError> {
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

    pub(super) fn confirm(&self, news: News, now: Moment) {
        let before = self.held.load_full();
        let after = match (news, before.as_deref()) {
            (Some((token, version)), before) => Held::next(before, token, version, now),
            (None, Some(before)) => before.unchanged(now),
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

    pub(super) fn complain(&self, error: &RenewError, now: Moment) {
        tracing::debug!(list = %self.uri, %error, "a status list could not be renewed");
        let (age, max_age) = (self.age(now.steady), self.shared.max_age);
        if age >= self.shared.limits.alarm_after && !self.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                list = %self.uri, %error, age_seconds = age.as_secs(),
                "a status list could not be renewed for too long: at {} s its tokens are refused", max_age.as_secs()
            );
        }
        if self.held.load().as_ref().is_some_and(|held| !held.is_fresh(now, max_age)) {
            self.changes.send_replace(());
        }
    }
}

/// Does `work` for the list at `uri` on a task of its own: neither its caller's end nor its panic goes any further.
async fn survive(uri: &ResourceUri, work: impl Future<Output = ()> + Send + 'static) {
    if tokio::spawn(work).await.is_err() {
        tracing::error!(list = %uri, "fetching a status list panicked");
    }
}
