//! Clients that an administrator disabled (`lumoauth client disable`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use lumoauth_core::ClientId;

use super::store::{Store, StoreError};
use crate::registry::OrgId;

/// The disabled clients, as of a second ago. Cheap to clone.
///
/// This is for saying no at once and everywhere. That a disabled client gets nothing does not hang on it: the store
/// revokes what the client holds when it is disabled, and leases it no status index, issues and redeems it no code.
#[derive(Clone, Default)]
pub struct DisabledClients(Arc<ArcSwap<BTreeMap<OrgId, BTreeSet<ClientId>>>>);

impl DisabledClients {
    /// Whether a client is disabled.
    pub(super) fn contains(&self, org: &OrgId, client: &ClientId) -> bool {
        self.0.load().get(org).is_some_and(|clients| clients.contains(client))
    }

    /// Takes over what the store says. A store that is away leaves what is known.
    pub(super) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let mut newest: BTreeMap<OrgId, BTreeSet<ClientId>> = BTreeMap::new();
        for (org, client) in store.disabled_clients().await? {
            newest.entry(org).or_default().insert(client);
        }
        if **self.0.load() != newest {
            self.0.store(Arc::new(newest));
        }
        Ok(())
    }
}

impl fmt::Debug for DisabledClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DisabledClients").finish_non_exhaustive()
    }
}
