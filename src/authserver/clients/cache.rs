//! What was fetched, for a while: bounded in each organization, and each thing fetched once however many wait for it.
//! Failures are never kept, but what was good before outlives those that pass.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, future::Shared};
use lumoauth_core::UnixTime;

use crate::registry::OrgId;

/// The most values kept for an organization.
const MAX_VALUES: usize = 200;
/// The most fetches of an organization at a time that strangers may begin.
const MAX_FLIGHTS: usize = 16;
/// The most with those of clients that somebody vouches for.
const MAX_VOUCHED_FLIGHTS: usize = 64;
/// For how many seconds a fetch that failed is not repeated while there is an older value.
const REST: u64 = 30;

/// A value that is being fetched.
type Flight<V, E> = Shared<Pin<Box<dyn Future<Output = Result<V, E>> + Send>>>;

/// Values by organization and key. A value counts only for the context (the settings) it was fetched under.
pub(super) struct Cache<K, C, V, E>(Arc<Mutex<Shelves<K, C, V, E>>>);

/// Organizations exist because an administrator made them, so there are not many.
type Shelves<K, C, V, E> = HashMap<OrgId, Shelf<K, C, V, E>>;

struct Shelf<K, C, V, E> {
    kept: HashMap<K, Kept<C, V>>,
    flying: HashMap<K, Flight<V, E>>,
}

struct Kept<C, V> {
    value: V,
    context: C,
    since: UnixTime,
    until: UnixTime,
    /// Until then it is not fetched again, because that has just failed.
    rests_until: UnixTime,
    vouched: bool,
}

/// What is known before anything is fetched.
pub(super) struct Known<V> {
    pub(super) value: V,
    /// When it was fetched.
    pub(super) since: UnixTime,
    /// Whether it may be used without a look at its origin.
    pub(super) is_fresh: bool,
    /// Whether its origin has just failed to answer.
    pub(super) is_resting: bool,
}

/// Why a fetch failed.
pub(super) trait Failure {
    /// Whether it says nothing about what would be fetched. One that does (it is gone, it makes no sense) also ends
    /// what was known.
    fn is_outage(&self) -> bool;
}

impl<K, C, V, E> Default for Cache<K, C, V, E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, C, V, E> Default for Shelf<K, C, V, E> {
    fn default() -> Self {
        Self { kept: HashMap::new(), flying: HashMap::new() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, C, V, E> Cache<K, C, V, E>
where
    K: Eq + Hash + Clone + Send + 'static,
    C: PartialEq + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Failure + Clone + Send + Sync + 'static,
{
    /// What is known at `now`.
    pub(super) fn known(&self, org: &OrgId, key: &K, context: &C, now: UnixTime) -> Option<Known<V>> {
        let shelves = lock(&self.0);
        let kept = shelves.get(org)?.kept.get(key).filter(|kept| kept.context == *context)?;
        Some(Known {
            value: kept.value.clone(),
            since: kept.since,
            is_fresh: now < kept.until,
            is_resting: now < kept.rests_until,
        })
    }

    /// Waits for the value that is being fetched; where none is, `start` begins. It gives the value and for how many
    /// seconds it may be kept, and runs to its end even if nobody waits any more. `start` may refuse at once, and is
    /// refused by `None` when too many are under way. What is `vouched` for is not crowded out by what is not.
    pub(super) async fn fetch<F>(
        &self,
        (org, key): (&OrgId, K),
        context: C,
        now: UnixTime,
        vouched: bool,
        start: impl FnOnce() -> Result<F, E>,
    ) -> Option<Result<V, E>>
    where
        F: Future<Output = Result<(V, u64), E>> + Send + 'static,
    {
        let flight = {
            let mut shelves = lock(&self.0);
            let entries = shelves.entry(org.clone()).or_default();
            let most = if vouched { MAX_VOUCHED_FLIGHTS } else { MAX_FLIGHTS };
            let full = entries.flying.len() >= most;
            match entries.flying.get(&key) {
                Some(flight) => flight.clone(),
                None if full => return None,
                None => {
                    let fetching = match start() {
                        Ok(fetching) => fetching,
                        Err(error) => return Some(Err(error)),
                    };
                    let landing = Landing { shelves: Arc::clone(&self.0), org: org.clone(), key: key.clone() };
                    let flight = landing.land(fetching, context, now, vouched).boxed().shared();
                    entries.flying.insert(key, flight.clone());
                    tokio::spawn(flight.clone());
                    flight
                }
            }
        };
        Some(flight.await)
    }
}

impl<K: Eq + Hash + Clone, C, V, E> Shelf<K, C, V, E> {
    /// Lets go of what nobody vouches for first, and of that which has expired or would next.
    fn make_room(&mut self) {
        while self.kept.len() >= MAX_VALUES {
            let next = self.kept.iter().min_by_key(|(_, kept)| (kept.vouched, kept.until));
            let Some(key) = next.map(|(key, _)| key.clone()) else { return };
            self.kept.remove(&key);
        }
    }
}

/// A fetch under way. Its end, also by a panic, takes it off the shelf.
struct Landing<K: Eq + Hash, C, V, E> {
    shelves: Arc<Mutex<Shelves<K, C, V, E>>>,
    org: OrgId,
    key: K,
}

impl<K, C, V, E> Landing<K, C, V, E>
where
    K: Eq + Hash + Clone,
    C: PartialEq,
    V: Clone,
    E: Failure,
{
    /// Fetches, and keeps what came of it.
    async fn land<F>(self, fetching: F, context: C, now: UnixTime, vouched: bool) -> Result<V, E>
    where
        F: Future<Output = Result<(V, u64), E>>,
    {
        let fetched = fetching.await;
        let mut shelves = lock(&self.shelves);
        let entries = shelves.entry(self.org.clone()).or_default();
        let result = match fetched {
            Ok((value, seconds)) => {
                if !entries.kept.contains_key(&self.key) {
                    entries.make_room();
                }
                let until = now.plus(seconds);
                let kept = Kept { value: value.clone(), context, since: now, until, rests_until: now, vouched };
                entries.kept.insert(self.key.clone(), kept);
                Ok(value)
            }
            Err(error) => {
                match entries.kept.get_mut(&self.key) {
                    Some(kept) if kept.context != context => {}
                    Some(kept) if error.is_outage() => kept.rests_until = now.plus(REST),
                    _ => drop(entries.kept.remove(&self.key)),
                }
                Err(error)
            }
        };
        drop(shelves);
        result
    }
}

impl<K: Eq + Hash, C, V, E> Drop for Landing<K, C, V, E> {
    fn drop(&mut self) {
        if let Some(entries) = lock(&self.shelves).get_mut(&self.org) {
            entries.flying.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    type Texts = Cache<String, u8, usize, &'static str>;
    const NOW: UnixTime = UnixTime(1000);

    impl Failure for &'static str {
        fn is_outage(&self) -> bool {
            *self == "passing"
        }
    }

    fn org() -> OrgId {
        OrgId::parse("acme").unwrap()
    }

    async fn put(cache: &Texts, key: &str, value: usize, seconds: u64) -> Option<Result<usize, &'static str>> {
        put_in(cache, &org(), key, (value, seconds), false).await
    }

    async fn put_in(
        cache: &Texts,
        org: &OrgId,
        key: &str,
        value: (usize, u64),
        vouched: bool,
    ) -> Option<Result<usize, &'static str>> {
        cache.fetch((org, key.to_owned()), 0, NOW, vouched, || Ok(async move { Ok(value) })).await
    }

    async fn fail(cache: &Texts, key: &str, context: u8, error: &'static str) {
        let failed = cache.fetch((&org(), key.to_owned()), context, NOW, false, || Ok(async move { Err(error) })).await;
        assert_eq!(failed, Some(Err(error)));
    }

    fn known(cache: &Texts, key: &str, context: u8, now: u64) -> Option<Known<usize>> {
        cache.known(&org(), &key.to_owned(), &context, UnixTime(now))
    }

    fn fresh(cache: &Texts, key: &str, context: u8, now: u64) -> Option<usize> {
        known(cache, key, context, now).filter(|known| known.is_fresh).map(|known| known.value)
    }

    #[tokio::test]
    async fn values_are_kept_as_long_as_they_may() {
        let cache = Texts::default();
        assert_eq!(put(&cache, "a", 1, 60).await, Some(Ok(1)));
        assert_eq!(fresh(&cache, "a", 0, 1059), Some(1));
        assert_eq!(fresh(&cache, "a", 0, 1060), None);
        let old = known(&cache, "a", 0, 1060).unwrap();
        assert_eq!((old.value, old.since, old.is_fresh, old.is_resting), (1, NOW, false, false));
        assert_eq!(fresh(&cache, "a", 1, 1000), None, "under other settings it was not fetched");
        assert_eq!(fresh(&cache, "b", 0, 1000), None);
    }

    #[tokio::test]
    async fn failures_are_not_kept() {
        let cache = Texts::default();
        fail(&cache, "a", 0, "no").await;
        let refuse = || Err::<std::future::Ready<_>, _>("limit");
        let refused = cache.fetch((&org(), "a".to_owned()), 0, NOW, false, refuse).await;
        assert_eq!(refused, Some(Err("limit")));
        assert_eq!(put(&cache, "a", 2, 60).await, Some(Ok(2)));
    }

    #[tokio::test]
    async fn what_was_good_outlives_failures_that_pass() {
        let cache = Texts::default();
        put(&cache, "a", 1, 60).await;
        fail(&cache, "a", 0, "passing").await;
        for (at, is_resting) in [(1000, true), (1029, true), (1030, false)] {
            assert_eq!(known(&cache, "a", 0, at).map(|known| (known.value, known.is_resting)), Some((1, is_resting)));
        }
        fail(&cache, "a", 1, "gone").await;
        assert!(known(&cache, "a", 0, 1000).is_some(), "what happens under other settings says nothing");
        fail(&cache, "a", 0, "gone").await;
        assert!(known(&cache, "a", 0, 1000).is_none());
        fail(&cache, "a", 0, "passing").await;
        assert!(known(&cache, "a", 0, 1000).is_none());
    }

    #[tokio::test]
    async fn fifty_wait_for_one_fetch() {
        let (cache, fetches, gate) = (Texts::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let org = org();
        let one = || {
            let (fetches, gate) = (Arc::clone(&fetches), Arc::clone(&gate));
            cache.fetch((&org, "a".to_owned()), 0, NOW, false, move || {
                Ok(async move {
                    fetches.fetch_add(1, Ordering::Relaxed);
                    gate.notified().await;
                    Ok((7, 60))
                })
            })
        };
        let waiting = futures::future::join_all((0..50).map(|_| one()));
        let (results, ()) = tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            gate.notify_one();
        });
        assert!(results.iter().all(|result| *result == Some(Ok(7))));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_fetch_goes_on_when_nobody_waits() {
        let (cache, org, gate) = (Texts::default(), org(), Arc::new(Notify::new()));
        let waiting = cache.fetch((&org, "a".to_owned()), 0, NOW, false, {
            let gate = Arc::clone(&gate);
            move || {
                Ok(async move {
                    gate.notified().await;
                    Ok((7, 60))
                })
            }
        });
        assert!(waiting.now_or_never().is_none(), "the gate is closed");
        gate.notify_one();
        while fresh(&cache, "a", 0, 1000).is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn each_organization_has_its_own_bounds() {
        let (cache, org, other) = (Texts::default(), org(), OrgId::parse("other").unwrap());
        put_in(&cache, &other, "o", (1, 60), false).await;
        put_in(&cache, &org, "v", (1, 1), true).await;
        for n in 0..MAX_VALUES + 10 {
            put(&cache, &n.to_string(), n, 60 + n as u64).await.unwrap().unwrap();
        }
        assert_eq!(lock(&cache.0)[&org].kept.len(), MAX_VALUES);
        let last = (MAX_VALUES + 9).to_string();
        put(&cache, &last, 0, 600).await.unwrap().unwrap();
        assert_eq!(lock(&cache.0)[&org].kept.len(), MAX_VALUES, "what is fetched anew pushes out nothing");
        assert_eq!(fresh(&cache, "0", 0, 1000), None, "what would have expired first is gone");
        assert!(fresh(&cache, &(MAX_VALUES + 9).to_string(), 0, 1000).is_some());
        assert!(fresh(&cache, "v", 0, 1000).is_some(), "what somebody vouches for stays");
        assert!(cache.known(&other, &"o".to_owned(), &0, NOW).is_some(), "and what others have");

        for n in 0..MAX_FLIGHTS {
            let never = cache.fetch((&org, format!("f{n}")), 0, NOW, false, || Ok(std::future::pending()));
            assert!(never.now_or_never().is_none());
        }
        assert_eq!(put(&cache, "one more", 0, 60).await, None);
        assert_eq!(put_in(&cache, &org, "one more", (0, 60), true).await, Some(Ok(0)));
        assert_eq!(put_in(&cache, &other, "one more", (0, 60), false).await, Some(Ok(0)));
        for n in MAX_FLIGHTS..MAX_VOUCHED_FLIGHTS {
            let never = cache.fetch((&org, format!("f{n}")), 0, NOW, true, || Ok(std::future::pending()));
            assert!(never.now_or_never().is_none());
        }
        assert_eq!(put_in(&cache, &org, "one more", (0, 60), true).await, None);
    }

    #[tokio::test]
    async fn a_fetch_that_panics_ends() {
        let (cache, org) = (Texts::default(), org());
        let fetch = cache.fetch((&org, "a".to_owned()), 0, NOW, false, || Ok(async { panic!("expected by the test") }));
        let panicked = std::panic::AssertUnwindSafe(fetch).catch_unwind().await;
        assert!(panicked.is_err());
        assert_eq!(put(&cache, "a", 2, 60).await, Some(Ok(2)));
    }
}
