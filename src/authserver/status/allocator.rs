//! Which token gets which index.
//!
//! A token's index comes from a block that this process leased for its client, so that revoking the client revokes the
//! block; grants share blocks. The next block is leased when a quarter of one is left, by one task, so that nobody
//! waits; who finds none waits for that task.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lumoauth_core::{ClientId, UnixTime, token::MAX_LIFETIME_SECONDS};

use super::{NoIndex, is_fresh, lists::Lists};
use crate::{
    authserver::store::{Block, StatusIndex, Store},
    registry::OrgId,
};

/// For how long a block is used at least, in seconds.
const USE: u64 = 3600;
/// For how long it is leased: the last token that is given an index of it ends before.
const LEASE: u64 = USE + MAX_LIFETIME_SECONDS + 60;
/// The most clients that have a block in memory. What is given up costs the rest of a block.
const MAX_HOLDERS: usize = 10_000;

type Key = (OrgId, Option<ClientId>);

#[derive(Default)]
pub(super) struct Allocator(Mutex<HashMap<Key, Arc<Holder>>>);

/// The blocks of one client, or those for the grants of one organization.
#[derive(Default)]
struct Holder {
    blocks: Mutex<Blocks>,
    /// Held by the one who leases.
    leasing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Blocks {
    current: Option<Lease>,
    next: Option<Lease>,
    /// A task was sent for the next one.
    ordered: bool,
}

/// A block, and how much of it is used.
#[derive(Clone, Copy, Debug)]
struct Lease {
    block: Block,
    used: u32,
    until: UnixTime,
    /// When the request began that found it not revoked.
    sound_at: UnixTime,
}

/// What came of asking for an index.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// This one.
    Index(StatusIndex),
    /// This one, and the asker has to see to the next block.
    Last(StatusIndex),
    /// First it has to be seen whether the block with this index is revoked.
    Doubtful(StatusIndex),
    /// There is none.
    None,
}

impl Blocks {
    /// An index for a token that ends at `expires_at`.
    fn take(&mut self, expires_at: UnixTime, now: UnixTime) -> Taken {
        let usable = |lease: &Lease| lease.used < lease.block.len && expires_at.plus(60) <= lease.until;
        if !self.current.as_ref().is_some_and(usable) {
            self.current = self.next.take().filter(usable);
        }
        let (is_last, Some(lease)) = (self.next.is_none() && !self.ordered, self.current.as_mut()) else {
            return Taken::None;
        };
        if !is_fresh(lease.sound_at, now) {
            return Taken::Doubtful(StatusIndex { list: lease.block.list, index: lease.block.first });
        }
        let index = StatusIndex { list: lease.block.list, index: lease.block.first.saturating_add(lease.used) };
        lease.used += 1;
        let left = lease.block.len.saturating_sub(lease.used);
        if is_last && left <= lease.block.len / 4 {
            self.ordered = true;
            return Taken::Last(index);
        }
        Taken::Index(index)
    }

    /// What was found out about the block that begins with `first`.
    fn judge(&mut self, first: StatusIndex, revoked: bool, now: UnixTime) {
        let is_it = |lease: &Lease| lease.block.list == first.list && lease.block.first == first.index;
        if let Some(lease) = self.current.as_mut().filter(|lease| is_it(lease)) {
            if revoked {
                self.current = None;
            } else if !is_fresh(lease.sound_at, now) {
                lease.sound_at = now;
            }
        }
    }

    /// Takes a new block in.
    fn put(&mut self, lease: Lease) {
        self.ordered = false;
        match self.current {
            None => self.current = Some(lease),
            Some(_) => self.next = Some(lease),
        }
    }

    fn needs_one(&self) -> bool {
        self.current.is_none() || (self.ordered && self.next.is_none())
    }
}

impl Holder {
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases a block, unless somebody else did in the meantime.
    async fn lease(&self, store: &Store, (org, client): &Key, now: UnixTime) -> Result<(), NoIndex> {
        let _one_at_a_time = self.leasing.lock().await;
        if !self.blocks().needs_one() {
            return Ok(());
        }
        let until = now.plus(LEASE);
        let leased = store.lease_block(org, client.as_ref(), until, now).await;
        let mut blocks = self.blocks();
        match leased {
            Ok(Some(block)) => {
                blocks.put(Lease { block, used: 0, until, sound_at: now });
                Ok(())
            }
            Ok(None) => Err(NoIndex::Disabled),
            Err(_) => {
                blocks.ordered = false;
                Err(NoIndex::Store)
            }
        }
    }
}

impl Allocator {
    fn holder(&self, key: &Key) -> Arc<Holder> {
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = holders.get(key) {
            return Arc::clone(holder);
        }
        let full = holders.len() >= MAX_HOLDERS;
        if let Some(any) = holders.keys().next().filter(|_| full).cloned() {
            holders.remove(&any);
        }
        Arc::clone(holders.entry(key.clone()).or_default())
    }

    /// An index for a token that ends at `expires_at`, or for a grant.
    pub(super) async fn index(
        &self,
        lists: &Lists,
        store: &Store,
        (org, client): (&OrgId, Option<&ClientId>),
        expires_at: UnixTime,
        now: UnixTime,
    ) -> Result<StatusIndex, NoIndex> {
        let key = (org.clone(), client.cloned());
        let holder = self.holder(&key);
        // Leased, found revoked, leased again: who needs more rounds is being revoked all the time.
        for _ in 0..16 {
            let taken = holder.blocks().take(expires_at, now);
            match taken {
                Taken::Index(index) => return Ok(index),
                Taken::Last(index) => {
                    let (holder, store) = (Arc::clone(&holder), store.clone());
                    tokio::spawn(async move { holder.lease(&store, &key, now).await });
                    return Ok(index);
                }
                Taken::Doubtful(first) => {
                    // A store that is away cannot say it, and what it would have said holds all the same: whoever asks
                    // for the list sees the whole block revoked.
                    let bits = lists.bits(store, org, first.list, now).await;
                    let revoked = bits.is_ok_and(|bits| bits.is_none_or(|bits| bits.is_set(first.index)));
                    holder.blocks().judge(first, revoked, now);
                }
                Taken::None => holder.lease(store, &key, now).await?,
            }
        }
        Err(NoIndex::Store)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::future::join_all;
    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::authserver::{store::BLOCK_SIZE, testing::open_store};

    const NOW: UnixTime = UnixTime(1000);
    const EXP: UnixTime = UnixTime(1600);

    fn lease(first: u32, len: u32, until: u64) -> Lease {
        Lease { block: Block { list: 3, first, len }, used: 0, until: UnixTime(until), sound_at: NOW }
    }

    fn index(index: u32) -> StatusIndex {
        StatusIndex { list: 3, index }
    }

    #[test]
    fn every_index_once_and_the_next_block_in_time() {
        let mut blocks = Blocks::default();
        assert_eq!(blocks.take(EXP, NOW), Taken::None);
        assert!(blocks.needs_one());
        blocks.put(lease(0, 8, 9000));
        let taken = |at| if at % 8 == 5 { Taken::Last(index(at)) } else { Taken::Index(index(at)) };
        for at in 0..8 {
            assert_eq!(blocks.take(EXP, NOW), taken(at), "one is sent for the next block, once");
        }
        assert_eq!(blocks.take(EXP, NOW), Taken::None, "it is not there yet");
        blocks.put(lease(8, 8, 9000));
        assert!(!blocks.needs_one());
        for at in 8..14 {
            assert_eq!(blocks.take(EXP, NOW), taken(at));
        }
        blocks.put(lease(16, 8, 9000));
        for at in 14..24 {
            assert_eq!(blocks.take(EXP, NOW), taken(at), "it was there in time");
        }
        assert_eq!(blocks.take(EXP, NOW), Taken::None, "and none of it is given again");
    }

    fn acme() -> OrgId {
        OrgId::parse("acme").unwrap()
    }

    /// Each block that is leased for nothing is 512 indexes fewer, and every sidecar reads the longer list.
    #[tokio::test]
    async fn fifty_who_find_no_block_lease_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = open_store(directory.path(), Counter::default());
        let (allocator, lists, org) = (Allocator::default(), Lists::default(), acme());
        let asked = (0..50).map(|_| allocator.index(&lists, &store, (&org, None), EXP, NOW));
        let given: BTreeSet<_> = join_all(asked).await.into_iter().map(|index| index.unwrap().index).collect();
        assert_eq!(given, (0..50).collect());
        let next = store.lease_block(&org, None, EXP, NOW).await.unwrap().unwrap();
        assert_eq!(next.first, BLOCK_SIZE);
    }

    #[tokio::test]
    async fn a_block_that_could_not_be_leased_is_asked_for_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = open_store(directory.path(), Counter::default());
        store.close().await;
        let holder = Holder::default();
        holder.blocks().put(lease(0, 8, 9000));
        let sent =
            |holder: &Holder| (0..8).find(|_| matches!(holder.blocks().take(EXP, NOW), Taken::Last(_))).is_some();
        assert!(sent(&holder));
        assert_eq!(holder.lease(&store, &(acme(), None), NOW).await, Err(NoIndex::Store));
        assert!(sent(&holder));
    }

    #[test]
    fn clients_that_come_and_go_do_not_fill_the_memory() {
        let allocator = Allocator::default();
        for at in 0..=MAX_HOLDERS {
            allocator.holder(&(acme(), Some(ClientId::parse(&format!("dcr_{at}")).unwrap())));
        }
        assert_eq!(allocator.0.lock().unwrap().len(), MAX_HOLDERS);
    }

    #[test]
    fn no_token_outlives_its_block() {
        let mut blocks = Blocks::default();
        blocks.put(lease(0, 8, 1659));
        assert_eq!(blocks.take(EXP, NOW), Taken::None);
        blocks.put(lease(8, 8, 1660));
        assert_eq!(blocks.take(EXP, NOW), Taken::Index(index(8)));
    }

    #[test]
    fn a_block_is_looked_at_once_a_second_and_given_up_when_it_is_revoked() {
        let mut blocks = Blocks::default();
        blocks.put(lease(8, 8, 9000));
        let later = NOW.plus(1);
        assert_eq!(blocks.take(EXP, later), Taken::Doubtful(index(8)));
        blocks.judge(index(0), true, later);
        assert_eq!(blocks.take(EXP, later), Taken::Doubtful(index(8)), "that was another block");
        blocks.judge(index(8), false, later);
        assert_eq!(blocks.take(EXP, later), Taken::Index(index(8)));
        // Those that began before, and are not done yet.
        assert_eq!(blocks.take(EXP, NOW), Taken::Index(index(9)));
        blocks.judge(index(8), false, NOW);
        assert_eq!(blocks.take(EXP, later), Taken::Index(index(10)), "the newest answer stays");
        blocks.judge(index(8), true, later);
        assert_eq!(blocks.take(EXP, later), Taken::None);
    }
}
