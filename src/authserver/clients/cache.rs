//! What was fetched, for a while: bounded, and each thing fetched once however many wait for it. Failures are never
//! kept.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, future::Shared};
use lumoauth_core::UnixTime;

/// The most values kept, of all organizations.
const MAX_VALUES: usize = 1000;
/// The most fetches at a time, of all organizations.
const MAX_FLIGHTS: usize = 64;

/// A value that is being fetched.
type Flight<V, E> = Shared<Pin<Box<dyn Future<Output = Result<V, E>> + Send>>>;

/// Values by key. A value counts only for the context (the settings) it was fetched under.
pub(super) struct Cache<K, C, V, E> {
    inner: Arc<Mutex<Inner<K, C, V, E>>>,
}

struct Inner<K, C, V, E> {
    kept: HashMap<K, Kept<C, V>>,
    flying: HashMap<K, Flight<V, E>>,
}

#[derive(Clone)]
struct Kept<C, V> {
    value: V,
    context: C,
    since: UnixTime,
    until: UnixTime,
}

/// What is known about a key before anything is fetched.
pub(super) enum Known<V> {
    /// This, since then.
    Fresh(V, UnixTime),
    /// It was known, and has grown old.
    Stale,
    /// Nothing.
    Nothing,
}

impl<K, C, V, E> Default for Cache<K, C, V, E> {
    fn default() -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { kept: HashMap::new(), flying: HashMap::new() })) }
    }
}

impl<K, C, V, E> Cache<K, C, V, E>
where
    K: Eq + Hash + Clone + Send + 'static,
    C: PartialEq + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    fn lock(&self) -> MutexGuard<'_, Inner<K, C, V, E>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known at `now`.
    pub(super) fn known(&self, key: &K, context: &C, now: UnixTime) -> Known<V> {
        match self.lock().kept.get(key) {
            Some(kept) if kept.context != *context => Known::Nothing,
            Some(kept) if now < kept.until => Known::Fresh(kept.value.clone(), kept.since),
            Some(_) => Known::Stale,
            None => Known::Nothing,
        }
    }

    /// Waits for the value that is being fetched; where none is, `start` begins. It gives the value and for how many
    /// seconds it may be kept, and runs to its end even if nobody waits any more. `start` may refuse at once, and is
    /// refused by `None` when too many are under way.
    pub(super) async fn fetch<F>(
        &self,
        key: K,
        context: C,
        now: UnixTime,
        start: impl FnOnce() -> Result<F, E>,
    ) -> Option<Result<V, E>>
    where
        F: Future<Output = Result<(V, u64), E>> + Send + 'static,
    {
        let flight = {
            let mut inner = self.lock();
            let full = inner.flying.len() >= MAX_FLIGHTS;
            match inner.flying.get(&key) {
                Some(flight) => flight.clone(),
                None if full => return None,
                None => {
                    let fetching = match start() {
                        Ok(fetching) => fetching,
                        Err(error) => return Some(Err(error)),
                    };
                    let landing = self.landing(key.clone(), context, now, fetching);
                    let flight = landing.boxed().shared();
                    inner.flying.insert(key, flight.clone());
                    tokio::spawn(flight.clone());
                    flight
                }
            }
        };
        Some(flight.await)
    }

    /// Fetches, keeps what came of it, and takes the flight off the board.
    fn landing<F>(
        &self,
        key: K,
        context: C,
        now: UnixTime,
        fetching: F,
    ) -> impl Future<Output = Result<V, E>> + use<F, K, C, V, E>
    where
        F: Future<Output = Result<(V, u64), E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        async move {
            let landed = Landed { inner, key };
            let (value, seconds) = fetching.await?;
            let mut inner = landed.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.make_room(now);
            let kept = Kept { value: value.clone(), context, since: now, until: now.plus(seconds) };
            inner.kept.insert(landed.key.clone(), kept);
            drop(inner);
            Ok(value)
        }
    }
}

impl<K: Eq + Hash + Clone, C, V, E> Inner<K, C, V, E> {
    fn make_room(&mut self, now: UnixTime) {
        if self.kept.len() < MAX_VALUES {
            return;
        }
        self.kept.retain(|_, kept| now < kept.until);
        while self.kept.len() >= MAX_VALUES {
            let Some(oldest) = self.kept.iter().min_by_key(|(_, kept)| kept.until).map(|(key, _)| key.clone()) else {
                return;
            };
            self.kept.remove(&oldest);
        }
    }
}

/// Ends a flight, also one that panics.
struct Landed<K: Eq + Hash, C, V, E> {
    inner: Arc<Mutex<Inner<K, C, V, E>>>,
    key: K,
}

impl<K: Eq + Hash, C, V, E> Drop for Landed<K, C, V, E> {
    fn drop(&mut self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).flying.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    type Texts = Cache<String, u8, usize, &'static str>;
    const NOW: UnixTime = UnixTime(1000);

    async fn put(cache: &Texts, key: &str, value: usize, seconds: u64) -> Option<Result<usize, &'static str>> {
        cache.fetch(key.to_owned(), 0, NOW, || Ok(async move { Ok((value, seconds)) })).await
    }

    fn fresh(cache: &Texts, key: &str, context: u8, now: u64) -> Option<usize> {
        match cache.known(&key.to_owned(), &context, UnixTime(now)) {
            Known::Fresh(value, _) => Some(value),
            _ => None,
        }
    }

    #[tokio::test]
    async fn values_are_kept_as_long_as_they_may() {
        let cache = Texts::default();
        assert_eq!(put(&cache, "a", 1, 60).await, Some(Ok(1)));
        assert_eq!(fresh(&cache, "a", 0, 1059), Some(1));
        assert_eq!(fresh(&cache, "a", 0, 1060), None);
        assert!(matches!(cache.known(&"a".to_owned(), &0, UnixTime(1060)), Known::Stale));
        assert_eq!(fresh(&cache, "a", 1, 1000), None, "under other settings it was not fetched");
        assert_eq!(fresh(&cache, "b", 0, 1000), None);
    }

    #[tokio::test]
    async fn failures_are_not_kept() {
        let cache = Texts::default();
        let failed = cache.fetch("a".to_owned(), 0, NOW, || Ok(async { Err("no") })).await;
        assert_eq!(failed, Some(Err("no")));
        let refused = cache.fetch("a".to_owned(), 0, NOW, || Err::<std::future::Ready<_>, _>("limit")).await;
        assert_eq!(refused, Some(Err("limit")));
        assert_eq!(put(&cache, "a", 2, 60).await, Some(Ok(2)));
    }

    #[tokio::test]
    async fn fifty_wait_for_one_fetch() {
        let (cache, fetches, gate) = (Texts::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let one = || {
            let (fetches, gate) = (Arc::clone(&fetches), Arc::clone(&gate));
            cache.fetch("a".to_owned(), 0, NOW, move || {
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
        let (cache, gate) = (Texts::default(), Arc::new(Notify::new()));
        let waiting = cache.fetch("a".to_owned(), 0, NOW, {
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
    async fn it_is_bounded() {
        let cache = Texts::default();
        for n in 0..MAX_VALUES + 10 {
            put(&cache, &n.to_string(), n, 60 + n as u64).await.unwrap().unwrap();
        }
        assert_eq!(cache.lock().kept.len(), MAX_VALUES);
        assert_eq!(fresh(&cache, "0", 0, 1000), None, "what would have expired first is gone");
        assert!(fresh(&cache, &(MAX_VALUES + 9).to_string(), 0, 1000).is_some());

        for n in 0..MAX_FLIGHTS {
            let never = cache.fetch(format!("f{n}"), 0, NOW, || Ok(std::future::pending()));
            assert!(never.now_or_never().is_none());
        }
        assert_eq!(put(&cache, "one more", 0, 60).await, None);
        assert!(cache.lock().flying.len() == MAX_FLIGHTS);
    }

    #[tokio::test]
    async fn a_fetch_that_panics_ends() {
        let cache = Texts::default();
        let fetch = cache.fetch("a".to_owned(), 0, NOW, || Ok(async { panic!("expected by the test") }));
        let panicked = std::panic::AssertUnwindSafe(fetch).catch_unwind().await;
        assert!(panicked.is_err());
        assert_eq!(put(&cache, "a", 2, 60).await, Some(Ok(2)));
    }
}
