//! What the store says of each list: asked once a second and list however many want to know, and signed when it changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::HeaderValue;
use lumoauth_core::{
    ResourceUri, UnixTime, digest,
    token::{STATUS_LIST_TYPE, StatusList, StatusListClaims},
};

use crate::{
    authserver::{
        org::Org,
        store::{StatusBits, Store, StoreError},
    },
    registry::OrgId,
};

/// The most lists in memory, 16 KiB each and a little.
const MAX_LISTS: usize = 256;
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
pub(super) struct Lists(Mutex<HashMap<(OrgId, u32), Arc<Entry>>>);

/// One list. Whoever needs it newer than it is renews it while the others wait.
#[derive(Default)]
struct Entry(tokio::sync::Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The second in which the store was asked.
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
        if self.at != Some(now) {
            self.bits = store.status_list(org, list).await?.map(Arc::new);
            self.at = Some(now);
        }
        Ok(())
    }
}

impl Lists {
    fn entry(&self, org: &OrgId, list: u32) -> Arc<Entry> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (org.clone(), list);
        if let Some(entry) = lists.get(&key) {
            return Arc::clone(entry);
        }
        if lists.len() >= MAX_LISTS {
            // Those that nobody asks for at this moment; all of them can be read again.
            lists.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        let entry = Arc::new(Entry::default());
        if lists.len() < MAX_LISTS {
            lists.insert(key, Arc::clone(&entry));
        }
        entry
    }

    /// The bits of a list, as of this second; none when there is no such list.
    pub(super) async fn bits(
        &self,
        store: &Store,
        org: &OrgId,
        list: u32,
        now: UnixTime,
    ) -> Result<Option<Arc<StatusBits>>, StoreError> {
        let entry = self.entry(org, list);
        let mut known = entry.0.lock().await;
        known.renew(store, org, list, now).await?;
        Ok(known.bits.clone())
    }

    /// The signed list, good for `lifetime` seconds from when it is handed out; none when there is no such list.
    pub(super) async fn document(
        &self,
        store: &Store,
        org: &Org,
        list: u32,
        lifetime: u64,
    ) -> Result<Option<Document>, Unavailable> {
        let entry = self.entry(&org.id, list);
        let mut known = entry.0.lock().await;
        known.renew(store, &org.id, list, org.now).await.map_err(|_| Unavailable)?;
        let Some(bits) = known.bits.clone() else { return Ok(None) };
        let key = org.authority.ring.current(org.now);
        let good = |signed: &&Signed| {
            *signed.bits == *bits
                && signed.key == key.id()
                && signed.lifetime == lifetime
                && signed.at <= org.now
                && signed.at.until(org.now) < SIGN_AGAIN
        };
        if let Some(signed) = known.signed.as_ref().filter(good) {
            return Ok(Some(signed.document.clone()));
        }
        let document = sign(org, list, &bits, lifetime).ok_or(Unavailable)?;
        let (key, at) = (key.id().to_owned(), org.now);
        known.signed = Some(Signed { bits, key, at, lifetime, document: document.clone() });
        Ok(Some(document))
    }

    /// Forgets the lists of an organization.
    pub(super) fn forget(&self, org: &OrgId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != org);
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
