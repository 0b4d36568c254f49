//! The loop that reconciles: each object at most once at a time, a bounded number together, failures with backoff.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    sync::Mutex,
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::registry::ObjectKey;

/// Reconciles that run together.
const CONCURRENCY: usize = 8;
/// How long one reconcile may take.
const LIMIT: Duration = Duration::from_mins(1);
/// Pause after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const LAST_PAUSE: Duration = Duration::from_mins(1);
/// Pause for a watch that is behind; doubled with each further one.
const FIRST_LAG: Duration = Duration::from_millis(200);
/// The longest pause for a watch that is behind.
const LAST_LAG: Duration = Duration::from_secs(5);

/// When to reconcile an object again, unless something happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something happens.
    Wait,
    /// After this time.
    After(Duration),
    /// When a watch has caught up: soon, and later each time in a row.
    Behind,
}

/// Objects to reconcile, and when. Holds each object once.
#[derive(Debug, Default)]
pub struct Queue {
    due: Mutex<BTreeMap<ObjectKey, Instant>>,
    wake: Notify,
}

impl Queue {
    /// Something happened: reconcile this object now, or, if that is already under way, once more.
    pub fn add(&self, key: ObjectKey) {
        self.at(key, Instant::now());
    }

    /// Something happened to all these.
    pub fn add_all(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        keys.into_iter().for_each(|key| self.add(key));
    }

    /// Something happened that is one of several changes: reconcile this object after `pause`, for all of them.
    pub fn add_after(&self, key: ObjectKey, pause: Duration) {
        self.at(key, Instant::now() + pause);
    }

    fn at(&self, key: ObjectKey, time: Instant) {
        let mut due = self.lock();
        let slot = due.entry(key).or_insert(time);
        *slot = time.min(*slot);
        drop(due);
        self.wake.notify_one();
    }

    /// Takes an object that is due and not in `busy`; else says when the next one will be.
    fn take(&self, busy: &BTreeSet<ObjectKey>, now: Instant) -> Result<ObjectKey, Option<Instant>> {
        let mut due = self.lock();
        let first = due.iter().filter(|(key, _)| !busy.contains(key)).min_by_key(|(_, time)| **time);
        match first.map(|(key, time)| (key.clone(), *time)) {
            Some((key, time)) if time <= now => {
                due.remove(&key);
                Ok(key)
            }
            other => Err(other.map(|(_, time)| time)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Instant>> {
        // Nothing panics while it holds the lock, and a map of times is never half written.
        self.due.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Reconciles what `queue` says until `shutdown`, then waits for what is under way. `reconcile` gives when to come
/// back, or what failed.
pub async fn run<R, F, E>(
    kind: &'static str,
    queue: &Queue,
    metrics: &Metrics,
    shutdown: &CancellationToken,
    reconcile: R,
) where
    R: Fn(ObjectKey) -> F,
    F: Future<Output = Result<Next, E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let mut busy = BTreeSet::new();
    let mut failures: HashMap<ObjectKey, u32> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        let mut next = None;
        while running.len() < CONCURRENCY && !shutdown.is_cancelled() {
            match queue.take(&busy, Instant::now()) {
                Ok(key) => {
                    busy.insert(key.clone());
                    let work = reconcile(key.clone());
                    running.spawn(async move { (key, timeout(LIMIT, work).await) });
                }
                Err(time) => {
                    next = time;
                    break;
                }
            }
        }
        if shutdown.is_cancelled() && running.is_empty() {
            return;
        }
        let timer = async {
            match next {
                Some(time) => sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
            () = queue.wake.notified() => {}
            () = timer => {}
            Some(done) = running.join_next() => {
                // A task ends in an error only by a panic, and then says so itself; the loop must not go on without it.
                let Ok((key, result)) = done else { return };
                busy.remove(&key);
                settle(kind, queue, metrics, &mut failures, key, result);
            }
        }
    }
}

fn settle<E: std::fmt::Display>(
    kind: &'static str,
    queue: &Queue,
    metrics: &Metrics,
    failures: &mut HashMap<ObjectKey, u32>,
    key: ObjectKey,
    result: Result<Result<Next, E>, tokio::time::error::Elapsed>,
) {
    let (outcome, error) = match result {
        Ok(Ok(Next::Behind)) => {
            metrics.reconciled(kind, "done");
            let count = failures.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
            queue.at(key, Instant::now() + doubled(FIRST_LAG, *count, LAST_LAG));
            return;
        }
        Ok(Ok(next)) => {
            metrics.reconciled(kind, "done");
            failures.remove(&key);
            if let Next::After(pause) = next {
                queue.at(key, Instant::now() + pause);
            }
            return;
        }
        Ok(Err(error)) => ("failed", error.to_string()),
        Err(_) => ("timeout", format!("took longer than {} s", LIMIT.as_secs())),
    };
    metrics.reconciled(kind, outcome);
    let count = failures.entry(key.clone()).or_default();
    *count = count.saturating_add(1);
    let pause = doubled(FIRST_PAUSE, *count, LAST_PAUSE);
    tracing::warn!(kind, %key, error, failures = *count, retry_in_ms = pause.as_millis(), "a reconcile failed");
    queue.at(key, Instant::now() + pause);
}

/// How long to wait after this `count` in a row.
fn doubled(first: Duration, count: u32, last: Duration) -> Duration {
    first.saturating_mul(1 << count.saturating_sub(1).min(16)).min(last)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(1, 500)]
    #[case(2, 1_000)]
    #[case(7, 32_000)]
    #[case(8, 60_000)]
    #[case(u32::MAX, 60_000)]
    fn failures_pause_longer_each_time(#[case] failures: u32, #[case] millis: u64) {
        assert_eq!(doubled(FIRST_PAUSE, failures, LAST_PAUSE), Duration::from_millis(millis));
    }

    #[rstest]
    #[case::first(1, 200)]
    #[case::second(2, 400)]
    #[case::longest(6, 5_000)]
    fn a_watch_that_is_behind_is_waited_for(#[case] times: u32, #[case] millis: u64) {
        let (queue, metrics, mut failures) = (Queue::default(), Metrics::default(), HashMap::new());
        let start = Instant::now();
        for _ in 0..times {
            let _ = queue.take(&BTreeSet::new(), start + LAST_PAUSE);
            settle("McpServer", &queue, &metrics, &mut failures, key("a"), Ok(Ok::<_, String>(Next::Behind)));
        }
        let due = queue.take(&BTreeSet::new(), start).unwrap_err().unwrap();
        let waits = due - start;
        assert!(waits >= Duration::from_millis(millis) && waits < Duration::from_millis(millis + 150), "{waits:?}");
        settle("McpServer", &queue, &metrics, &mut failures, key("a"), Ok(Ok::<_, String>(Next::Wait)));
        assert!(failures.is_empty(), "the watch has caught up");
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("acme", name)
    }

    #[test]
    fn the_queue_keeps_the_earlier_time_and_skips_what_is_busy() {
        let queue = Queue::default();
        let now = Instant::now();
        queue.at(key("a"), now + Duration::from_secs(5));
        queue.at(key("a"), now + Duration::from_secs(9));
        assert_eq!(queue.take(&BTreeSet::new(), now), Err(Some(now + Duration::from_secs(5))));
        queue.at(key("a"), now);
        assert_eq!(queue.take(&BTreeSet::from([key("a")]), now), Err(None));
        assert_eq!(queue.take(&BTreeSet::new(), now), Ok(key("a")));
        assert_eq!(queue.take(&BTreeSet::new(), now), Err(None));
    }

    #[tokio::test]
    async fn an_object_is_reconciled_once_at_a_time_and_again_when_something_happens() {
        let queue = Arc::new(Queue::default());
        let (calls, together, most) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let shutdown = CancellationToken::new();
        let reconcile = {
            let (queue, calls, together, most, shutdown) =
                (queue.clone(), calls.clone(), together.clone(), most.clone(), shutdown.clone());
            move |key: ObjectKey| {
                let (queue, calls, together, most, shutdown) =
                    (queue.clone(), calls.clone(), together.clone(), most.clone(), shutdown.clone());
                async move {
                    most.fetch_max(together.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    queue.add(key);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    together.fetch_sub(1, Ordering::SeqCst);
                    if calls.fetch_add(1, Ordering::SeqCst) == 3 {
                        shutdown.cancel();
                    }
                    Ok::<_, String>(Next::Wait)
                }
            }
        };
        queue.add_all([key("a"), key("a")]);
        run("McpClient", &queue, &Metrics::default(), &shutdown, reconcile).await;
        assert_eq!(calls.load(Ordering::SeqCst), 4);
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_is_tried_again_and_shutdown_waits_for_what_is_under_way() {
        let queue = Queue::default();
        let calls = Arc::new(AtomicUsize::new(0));
        let shutdown = CancellationToken::new();
        queue.add(key("a"));
        let started = Instant::now();
        run("McpClient", &queue, &Metrics::default(), &shutdown, |_| {
            let (calls, shutdown) = (calls.clone(), shutdown.clone());
            async move {
                if calls.fetch_add(1, Ordering::SeqCst) == 0 {
                    return Err("no");
                }
                shutdown.cancel();
                tokio::time::sleep(Duration::from_millis(20)).await;
                calls.fetch_add(1, Ordering::SeqCst);
                Ok(Next::After(Duration::ZERO))
            }
        })
        .await;
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        assert!(started.elapsed() >= FIRST_PAUSE);
    }
}
