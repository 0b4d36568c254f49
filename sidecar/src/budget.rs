//! How many bytes of bodies one sidecar holds at a time, whoever sends them.
//!
//! A limit per body does not bound memory: many bodies that never end would fill it. So whatever is held beyond a
//! little per body is drawn from one budget, as the bytes arrive, and given back when nobody holds the bytes any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What the budget is counted in. The first unit of every body is free: calls of ordinary size pass while others have
/// used everything up, and the number of connections bounds them.
pub(crate) const UNIT_BYTES: usize = 8 * 1024;

/// The budget is used up, and stayed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// What all bodies share.
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    size: AtomicUsize,
    /// For others to give something back.
    patience: Duration,
}

impl Budget {
    /// A budget of `bytes`, for which bodies wait for `patience`.
    pub(crate) fn new(bytes: usize, patience: Duration) -> Self {
        let size = units(bytes);
        Self { free: Arc::new(Semaphore::new(size)), size: AtomicUsize::new(size), patience }
    }

    /// Grows to hold at least one body of `bytes`: a limit that is configured can be used.
    pub(crate) fn cover(&self, bytes: usize) {
        let wanted = units(bytes);
        let before = self.size.fetch_max(wanted, Ordering::Relaxed);
        self.free.add_permits(wanted.saturating_sub(before));
    }

    /// The share of one body, which holds nothing yet.
    pub(crate) fn share(&self) -> Share<'_> {
        Share { budget: self, held: None }
    }
}

/// What one body has of the budget.
pub(crate) struct Share<'a> {
    budget: &'a Budget,
    held: Option<OwnedSemaphorePermit>,
}

impl Share<'_> {
    /// Covers `bytes` in all, waiting for them if need be.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = units(bytes).saturating_sub(1 + held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| Exhausted)?;
        let acquiring = Arc::clone(&self.budget.free).acquire_many_owned(missing);
        // The semaphore is never closed.
        let more = timeout(self.budget.patience, acquiring).await.map_err(|_| Exhausted)?.map_err(|_| Exhausted)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    /// `bytes`, whose last clone gives the share back.
    pub(crate) fn seal(self, bytes: Bytes) -> Bytes {
        match self.held {
            None => bytes,
            Some(held) => Bytes::from_owner(Sealed { bytes, _held: held }),
        }
    }
}

struct Sealed {
    bytes: Bytes,
    _held: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn bodies_share_what_there_is() {
        let budget = Budget::new(4 * UNIT_BYTES, SHORT);
        let (mut a, mut b) = (budget.share(), budget.share());
        a.grow(4 * UNIT_BYTES).await.unwrap();
        b.grow(2 * UNIT_BYTES).await.unwrap();
        assert_eq!(b.grow(2 * UNIT_BYTES + 1).await, Err(Exhausted));
        assert_eq!(budget.share().grow(UNIT_BYTES).await, Ok(()), "the first unit is free");
        drop(a);
        assert_eq!(b.grow(5 * UNIT_BYTES).await, Ok(()));
        assert_eq!(budget.free.available_permits(), 0);
    }

    #[tokio::test]
    async fn the_last_holder_of_the_bytes_gives_back() {
        let budget = Budget::new(4 * UNIT_BYTES, SHORT);
        let mut share = budget.share();
        share.grow(3 * UNIT_BYTES).await.unwrap();
        let sealed = share.seal(Bytes::from(vec![7; 3 * UNIT_BYTES]));
        let slice = sealed.slice(5..6);
        drop(sealed);
        assert_eq!(budget.free.available_permits(), 2);
        assert_eq!(&*slice, [7]);
        drop(slice);
        assert_eq!(budget.free.available_permits(), 4);
    }

    #[tokio::test]
    async fn the_largest_body_fits() {
        let budget = Budget::new(UNIT_BYTES, SHORT);
        assert_eq!(budget.share().grow(4 * UNIT_BYTES).await, Err(Exhausted));
        for _ in 0..3 {
            budget.cover(3 * UNIT_BYTES);
        }
        assert_eq!(budget.free.available_permits(), 3);
        assert_eq!(budget.share().grow(3 * UNIT_BYTES).await, Ok(()));
    }
}
