//! What the store says of each list: asked once a second and list however many want to know, and signed when it changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::HeaderValue;
use lumoauth_core::{
    ResourceUri, UnixTime, digest,
    token::{STATUS_LIST_TYPE, StatusList, StatusListClaims},
};

use super::is_fresh;
use crate::{
    authserver::{
        org::Org,
        store::{StatusBits, Store, StoreError},
    },
    registry::OrgId,
};

/// The most lists in memory, 16 KiB each and a little.
const MAX_LISTS: usize = 256;
/// The most that the store is being asked for, to be shared with whoever asks for the same.
const MAX_ASKED: usize = 64;
/// How old a signature may become, in seconds: verifiers see by it that the list is being kept.
const SIGN_AGAIN: u64 = 30;
/// `ttl`: after how many seconds verifiers shall ask again.
const TTL: u64 = 2;

/// A signed list (section 5.1).
#[derive(Clone)]
pub(super) struct Document {
    pub(super) token: Bytes,
    pub(super) etag: HeaderValue,
}

/// Why there is no document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unavailable;

#[derive(Default)]
pub(super) struct Lists(Mutex<Shelf>);

/// What is in memory. Anybody may ask for any number: lists that there are never make room for those that may not be.
#[derive(Default)]
struct Shelf {
    slots: HashMap<(OrgId, u32), Slot>,
    /// How often one was asked for.
    uses: u64,
}

struct Slot {
    entry: Arc<Entry>,
    /// Whether the store knows the list; else it is being asked.
    exists: bool,
    /// The last use.
    used: u64,
}

impl Shelf {
    /// The entry of a list: a new one is there at once, so that all who ask for it meanwhile wait for one answer.
    fn take(&mut self, key: &(OrgId, u32)) -> Arc<Entry> {
        self.uses += 1;
        if let Some(slot) = self.slots.get_mut(key) {
            slot.used = self.uses;
            return Arc::clone(&slot.entry);
        }
        self.make_room(false, MAX_ASKED);
        let entry = Arc::<Entry>::default();
        self.slots.insert(key.clone(), Slot { entry: Arc::clone(&entry), exists: false, used: self.uses });
        entry
    }

    /// The store said whether there is such a list. What was forgotten or pushed out meanwhile stays out.
    fn learn(&mut self, key: &(OrgId, u32), entry: &Arc<Entry>, exists: bool) {
        let is_it = |slot: &&mut Slot| Arc::ptr_eq(&slot.entry, entry);
        let Some(slot) = self.slots.get_mut(key).filter(is_it) else { return };
        if !exists {
            self.slots.remove(key);
        } else if !slot.exists {
            slot.exists = true;
            self.make_room(true, MAX_LISTS + 1);
        }
    }

    /// Pushes out, where there are `most` of a kind, the one that nobody asked for the longest.
    fn make_room(&mut self, exists: bool, most: usize) {
        let of_kind = || self.slots.iter().filter(|(_, slot)| slot.exists == exists);
        if of_kind().count() >= most
            && let Some(oldest) = of_kind().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone())
        {
            self.slots.remove(&oldest);
        }
    }
}

/// One list. Whoever needs it newer than it is renews it while the others wait.
#[derive(Default)]
struct Entry(tokio::sync::Mutex<Known>);

#[derive(Default)]
struct Known {
    /// When the request began for which the store was asked.
    at: Option<UnixTime>,
    /// What it said; none: there is no such list.
    bits: Option<Arc<StatusBits>>,
    signed: Option<Signed>,
}

struct Signed {
    bits: Arc<StatusBits>,
    key: String,
    at: UnixTime,
    lifetime: u64,
    document: Document,
}

impl Known {
    async fn renew(&mut self, store: &Store, org: &OrgId, list: u32, now: UnixTime) -> Result<(), StoreError> {
        if !self.at.is_some_and(|at| is_fresh(at, now)) {
            self.bits = store.status_list(org, list).await?.map(Arc::new);
            self.at = Some(now);
        }
        Ok(())
    }

    /// The list, signed anew if it has to be.
    fn document(&mut self, org: &Org, list: u32, lifetime: u64) -> Result<Option<Document>, Unavailable> {
        let Some(bits) = self.bits.clone() else { return Ok(None) };
        let key = org.authority.ring.current(org.now);
        let good = |signed: &&Signed| {
            *signed.bits == *bits
                && signed.key == key.id()
                && signed.lifetime == lifetime
                && signed.at <= org.now
                && signed.at.until(org.now) < SIGN_AGAIN
        };
        if let Some(signed) = self.signed.as_ref().filter(good) {
            return Ok(Some(signed.document.clone()));
        }
        let document = sign(org, list, &bits, lifetime).ok_or(Unavailable)?;
        let (key, at) = (key.id().to_owned(), org.now);
        self.signed = Some(Signed { bits, key, at, lifetime, document: document.clone() });
        Ok(Some(document))
    }
}

impl Lists {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` makes of a list that [`is_fresh`].
    async fn with<T>(
        &self,
        store: &Store,
        (org, list): (&OrgId, u32),
        now: UnixTime,
        look: impl FnOnce(&mut Known) -> T,
    ) -> Result<T, StoreError> {
        let key = (org.clone(), list);
        let entry = self.shelf().take(&key);
        let mut known = entry.0.lock().await;
        let renewed = known.renew(store, org, list, now).await;
        self.shelf().learn(&key, &entry, known.bits.is_some());
        renewed.map(|()| look(&mut known))
    }

    /// The bits of a list that [`is_fresh`]; none when there is no such list.
    pub(super) async fn bits(
        &self,
        store: &Store,
        org: &OrgId,
        list: u32,
        now: UnixTime,
    ) -> Result<Option<Arc<StatusBits>>, StoreError> {
        self.with(store, (org, list), now, |known| known.bits.clone()).await
    }

    /// The signed list, good for `lifetime` seconds from when it is handed out; none when there is no such list.
    pub(super) async fn document(
        &self,
        store: &Store,
        org: &Org,
        list: u32,
        lifetime: u64,
    ) -> Result<Option<Document>, Unavailable> {
        let found = self.with(store, (&org.id, list), org.now, |known| known.document(org, list, lifetime)).await;
        found.map_err(|_| Unavailable)?
    }

    /// Forgets the lists of an organization.
    pub(super) fn forget(&self, org: &OrgId) {
        self.shelf().slots.retain(|(of, _), _| of != org);
    }
}

fn sign(org: &Org, list: u32, bits: &StatusBits, lifetime: u64) -> Option<Document> {
    let uri = ResourceUri::parse(&super::uri(org, list)).ok()?;
    let bits = StatusList::from_bytes(bits.as_bytes().to_vec()).ok()?;
    // It is handed out until it is signed again, and good from then on.
    let lifetime = lifetime.saturating_add(SIGN_AGAIN);
    let claims = StatusListClaims::new(org.issuer.clone(), uri, &bits, org.now, lifetime, TTL).ok()?;
    let token = org.authority.ring.current(org.now).sign_as(STATUS_LIST_TYPE, &claims).ok()?;
    let etag = digest::sha256_hex(token.as_bytes());
    let etag = HeaderValue::from_str(&format!("\"{}\"", etag.get(..32)?)).ok()?;
    Some(Document { token: token.into(), etag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authserver::{
        store::StatusIndex,
        testing::{World, acme},
    };

    fn key(list: u32) -> (OrgId, u32) {
        (OrgId::parse("acme").unwrap(), list)
    }

    fn learn(shelf: &mut Shelf, list: u32, exists: bool) -> Arc<Entry> {
        let entry = shelf.take(&key(list));
        shelf.learn(&key(list), &entry, exists);
        entry
    }

    fn holds(shelf: &Shelf, list: u32, entry: &Arc<Entry>) -> bool {
        shelf.slots.get(&key(list)).is_some_and(|slot| Arc::ptr_eq(&slot.entry, entry))
    }

    #[test]
    fn lists_that_there_are_not_leave_nothing_behind() {
        let mut shelf = Shelf::default();
        let known = learn(&mut shelf, 0, true);
        for list in 1..1000 {
            learn(&mut shelf, list, false);
        }
        assert_eq!(shelf.slots.len(), 1);
        assert!(holds(&shelf, 0, &known));
    }

    #[test]
    fn those_that_are_being_asked_for_do_not_push_out_those_that_there_are() {
        let mut shelf = Shelf::default();
        let known: Vec<_> = (0..256).map(|list| learn(&mut shelf, list, true)).collect();
        let asked: Vec<_> = (1000..2000).map(|list| shelf.take(&key(list))).collect();
        assert_eq!(shelf.slots.len(), MAX_LISTS + MAX_ASKED);
        assert!((0..).zip(&known).all(|(list, entry)| holds(&shelf, list, entry)));
        assert!(Arc::ptr_eq(&shelf.take(&key(1999)), &asked[999]), "who asks for the same waits for the same");
    }

    #[test]
    fn the_one_goes_that_nobody_asked_for_the_longest() {
        let mut shelf = Shelf::default();
        let known: Vec<_> = (0..256).map(|list| learn(&mut shelf, list, true)).collect();
        shelf.take(&key(0));
        let new = learn(&mut shelf, 300, true);
        assert!(holds(&shelf, 300, &new) && holds(&shelf, 0, &known[0]));
        assert!(!shelf.slots.contains_key(&key(1)));
        assert_eq!(shelf.slots.len(), MAX_LISTS);
    }

    /// Else they would undo each other's reading around every tick.
    #[tokio::test]
    async fn requests_that_overlap_take_the_newest_answer() {
        let world = World::new();
        let (org, lists) = (acme(), Lists::default());
        let block = world.store.lease_block(&org, None, UnixTime(9000), UnixTime(100)).await.unwrap().unwrap();
        let is_set = async |now| {
            let bits = lists.bits(&world.store, &org, block.list, UnixTime(now)).await.unwrap();
            bits.unwrap().is_set(block.first)
        };
        assert!(!is_set(101).await);
        let index = StatusIndex { list: block.list, index: block.first };
        world.store.revoke_index(&org, index, UnixTime(9000)).await.unwrap();
        assert!(!is_set(100).await, "the store is not asked by one that began before");
        assert!(!is_set(101).await, "nor for one of the same second, after that");
        assert!(is_set(102).await);
    }

    /// Else what was read before a revocation would be told after it.
    #[test]
    fn what_is_forgotten_while_it_is_asked_for_stays_forgotten() {
        let lists = Lists::default();
        let entry = lists.shelf().take(&key(0));
        lists.forget(&key(0).0);
        lists.shelf().learn(&key(0), &entry, true);
        assert!(lists.shelf().slots.is_empty());
        let newer = lists.shelf().take(&key(0));
        lists.shelf().learn(&key(0), &entry, false);
        assert!(holds(&lists.shelf(), 0, &newer));
    }
}
