//! The Token Status Lists of one issuer: which of its tokens are revoked, polled while tokens that name them live.
//!
//! No call waits for the issuer but the first that names a list, and no call takes a lock. A list that cannot be
//! renewed stays in force until it is too old; what was never seen, or has grown too old, denies.

mod held;
mod watched;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use lumoauth_core::{
    ResourceUri, UnixTime,
    config::StatusLists,
    token::{StatusReference, TokenError},
};
use tokio::{runtime::Handle, sync::watch, time::Instant};

use self::watched::Watched;
use crate::{
    clock::{Moment, now},
    fetch::{Address, FetchError, Fetcher},
    jwks::KeySource,
    metrics::Metrics,
    refusal::{Refusal, Unavailable},
};

/// The most lists of one issuer that are kept: 4 MiB of bits. A list stays as long as its tokens live, so with tokens of
/// an hour these are enough for 4660 new ones a second.
const MAX_LISTS: usize = 128;

/// When and how long status lists are fetched.
#[derive(Clone, Copy, Debug)]
pub struct StatusLimits {
    /// The time between two fetches of one list, successful or not.
    pub poll: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// How old a list may become before it is complained about.
    pub alarm_after: Duration,
}

impl Default for StatusLimits {
    fn default() -> Self {
        Self { poll: Duration::from_secs(2), timeout: Duration::from_secs(3), alarm_after: Duration::from_mins(1) }
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
    /// It was told that there are too many lists.
    crowded: AtomicBool,
}

struct Shared {
    keys: Arc<KeySource>,
    lists: StatusLists,
    max_age: Duration,
    fetcher: Fetcher,
    limits: StatusLimits,
    metrics: Metrics,
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
        };
        Ok(Self {
            shared: Arc::new(shared),
            known: ArcSwap::default(),
            growing: Mutex::new(()),
            crowded: AtomicBool::new(false),
        })
    }

    /// Takes over what `earlier` holds of the same lists, and goes on polling: a new configuration forgets no revocation
    /// but what was signed with a key that it takes away.
    pub(crate) fn inherit(&self, earlier: &Self) {
        if earlier.shared.lists.uri != self.shared.lists.uri {
            return;
        }
        let known = earlier.known.load();
        let again = known.iter().filter_map(|(name, list)| Some((name.clone(), list.again(&self.shared)?)));
        let again: BTreeMap<_, _> = again.collect();
        // Without a runtime, each is started by the first call that needs it.
        if let Ok(runtime) = Handle::try_current() {
            for list in again.values().filter(|list| list.is_needed(now())) {
                runtime.spawn(Arc::clone(list).start());
            }
        }
        self.known.store(Arc::new(again));
    }

    /// The bit that `reference` speaks of, for a token that is accepted until `until`.
    pub(crate) fn bit(&self, reference: &StatusReference, until: UnixTime) -> Result<Bit, StatusFault> {
        let name = reference.name_under(self.shared.lists.uri.as_str()).ok_or(StatusFault::Foreign)?;
        let known = self.known.load().get(name).cloned();
        let list = known.map_or_else(|| self.add(name, &reference.list), Ok)?;
        list.need(until);
        Ok(Bit { list, index: reference.index })
    }

    fn add(&self, name: &str, uri: &ResourceUri) -> Result<Arc<Watched>, StatusFault> {
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = BTreeMap::clone(&self.known.load());
        if let Some(list) = known.get(name) {
            return Ok(Arc::clone(list));
        }
        let address = format!("{}{name}", self.shared.lists.fetch);
        let address = Address::parse(&address).map_err(|_| StatusFault::Foreign)?;
        let dropped = if known.len() < MAX_LISTS { None } else { self.make_room(&mut known) };
        let list = Arc::new(Watched::new(Arc::clone(&self.shared), uri.clone(), address));
        list.touch(now());
        known.insert(name.to_owned(), Arc::clone(&list));
        self.known.store(Arc::new(known));
        if let Some(dropped) = dropped {
            dropped.let_go();
        }
        Ok(list)
    }

    /// Takes out the list that is worth the least: a token that names it will have it asked for again.
    fn make_room(&self, known: &mut BTreeMap<String, Arc<Watched>>) -> Option<Arc<Watched>> {
        let now = now();
        let (name, _) = known.iter().min_by_key(|(_, list)| list.worth(now))?;
        let dropped = known.remove(&name.clone())?;
        if dropped.is_needed(now) && !self.crowded.swap(true, Ordering::Relaxed) {
            let issuer = &self.shared.keys.settings.issuer;
            tracing::warn!(%issuer, "tokens name more than {MAX_LISTS} status lists: they are asked for again and again");
        }
        Some(dropped)
    }

    /// The age of the oldest list that tokens name.
    pub(crate) fn oldest(&self, now: Instant) -> Option<Duration> {
        let known = self.known.load();
        known.values().filter(|list| list.is_steady()).map(|list| list.age(now)).max()
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
        self.list.touch(now());
        if !self.list.is_steady() {
            Arc::clone(&self.list).start().await;
        }
    }

    /// Whether the token may still be used. Takes no lock.
    pub(crate) fn check(&self) -> Result<(), StatusFault> {
        let now = Moment::now();
        self.list.touch(now.wall);
        self.list.check(self.index, now)
    }

    /// Whether its list made room for others, so that the source must be asked for it again.
    pub(crate) fn is_gone(&self) -> bool {
        self.list.is_gone()
    }

    /// Resolves at every change of the list after the call, which keeps it polled.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.list.changes.subscribe()
    }
}

#[cfg(test)]
mod tests;
