//! Revokes what deleted McpClients hold.
//!
//! Nobody tells the store that an object is gone: this looks for clients that hold something and have no object any
//! more. What is revoked stays revoked, so it never acts on what may be a moment: nothing before the registry was read
//! once, nothing while the registry holds no object at all, nothing on a client whose object is there and not valid or
//! has no organization (that mends), and nothing until a client was missing for [`PATIENCE`] seconds in a row.

use std::collections::HashMap;

use lumoauth_core::{ClientId, UnixTime};

use super::store::{Store, StoreError};
use crate::registry::{OrgId, Snapshot};

/// For how long a client must have been missing, in seconds. An object that is deleted and made again within it is the
/// same client.
const PATIENCE: u64 = 5;
/// What the identifiers of McpClients begin with.
const PREFIX: &str = "mcpc_";

/// Which clients are missing, and since when.
#[derive(Debug, Default)]
pub(super) struct Revoker(HashMap<(OrgId, ClientId), UnixTime>);

impl Revoker {
    /// Looks once. What cannot be told of one organization, or not be revoked of one client, stops no other: the store
    /// has counted it, and it is tried again the next time.
    pub(super) async fn look(&mut self, store: &Store, snapshot: &Snapshot, now: UnixTime) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for org in store.orgs().await? {
            match store.clients_holding(&org, PREFIX).await {
                Ok(holding) => {
                    let gone = holding.into_iter().filter(|id| is_missing(snapshot, &org, id));
                    missing.extend(gone.map(|id| (org.clone(), id)));
                }
                Err(error) => tracing::warn!(%error, %org, "it cannot be told what its deleted clients hold"),
            }
        }
        for (org, client) in self.gone(missing, now) {
            match store.revoke_client(&org, &client, now).await {
                Ok(()) => {
                    tracing::info!(target: "lumoauth::audit", event = "revocation", outcome = "revoked", reason = "client_deleted", %org, %client);
                }
                Err(error) => tracing::warn!(%error, %org, %client, "what a deleted client holds cannot be revoked"),
            }
        }
        Ok(())
    }

    /// Of those that are missing now, the ones that have been for long enough.
    fn gone(&mut self, missing: Vec<(OrgId, ClientId)>, now: UnixTime) -> Vec<(OrgId, ClientId)> {
        let before = std::mem::take(&mut self.0);
        self.0 = missing
            .into_iter()
            .map(|key| (before.get(&key).copied().unwrap_or(now), key))
            .map(|(since, key)| (key, since))
            .collect();
        let gone = self.0.iter().filter(|(_, since)| since.until(now) >= PATIENCE);
        gone.map(|(key, _)| key.clone()).collect()
    }
}

/// Whether a client should be in the registry and is not.
fn is_missing(snapshot: &Snapshot, org: &OrgId, id: &ClientId) -> bool {
    let was_read = snapshot.generation > 0 && !(snapshot.servers.is_empty() && snapshot.clients.is_empty());
    was_read && id.as_str().starts_with(PREFIX) && !snapshot.declares_client(org, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authserver::testing::{World, client, id_of};
    use crate::registry::ObjectKey;
    use rstest::rstest;
    use serde_json::json;

    fn org() -> OrgId {
        OrgId::parse("acme").unwrap()
    }

    #[test]
    fn a_client_must_be_missing_for_a_while_and_without_a_break() {
        let mut revoker = Revoker::default();
        let key = || vec![(org(), ClientId::parse("mcpc_a").unwrap())];
        assert!(revoker.gone(key(), UnixTime(100)).is_empty());
        assert!(revoker.gone(key(), UnixTime(104)).is_empty());
        assert!(revoker.gone(Vec::new(), UnixTime(105)).is_empty(), "it came back");
        assert!(revoker.gone(key(), UnixTime(106)).is_empty());
        assert_eq!(revoker.gone(key(), UnixTime(111)), key());
        assert!(revoker.gone(key(), UnixTime(50)).is_empty(), "a clock that goes back waits");
    }

    #[rstest]
    #[case::there("mcpc_there", false)]
    #[case::gone("mcpc_000000000000000000000000", true)]
    #[case::rejected("mcpc_rejected", false)]
    #[case::of_another_organization("mcpc_other", true)]
    #[case::document("https://app.example/client.json", false)]
    #[case::dynamic("dcr_000000000000000000000000", false)]
    #[tokio::test]
    async fn who_is_missing(#[case] id: &str, #[case] missing: bool) {
        let mut world = World::new();
        world.put_client(client("acme", "rejected", "None", &[], &json!({"grantTypes": []})));
        world.publish();
        let id = match id {
            "mcpc_there" => id_of("acme", "reader"),
            "mcpc_rejected" => id_of("acme", "rejected"),
            "mcpc_other" => id_of("other", "reader"),
            other => other.to_owned(),
        };
        let snapshot = world.snapshot.borrow().clone();
        let id = ClientId::parse(&id).unwrap();
        assert_eq!(is_missing(&snapshot, &org(), &id), missing);
        assert!(!is_missing(&Snapshot::default(), &org(), &id), "nothing was read yet");
        let empty = World::empty().index.snapshot();
        assert!(empty.generation > 0 && !is_missing(&empty, &org(), &id), "an empty registry");
    }

    #[tokio::test]
    async fn what_is_unusable_in_one_organization_stops_no_other() {
        let world = World::new();
        let mut revoker = Revoker::default();
        let now = UnixTime(crate::authserver::testing::NOW);
        let (gone, until) = (ClientId::parse("mcpc_gone").unwrap(), now.plus(600));
        let orgs = ["aaa", "acme", "zzz"].map(|name| OrgId::parse(name).unwrap());
        for org in &orgs {
            world.store.lease_block(org, Some(&gone), until, now).await.unwrap().unwrap();
        }
        world.store.execute("UPDATE status_blocks SET client = 'mcpc_é' WHERE org = 'acme'").await;
        world.publish();
        let snapshot = world.snapshot.borrow().clone();
        for at in [now, now.plus(PATIENCE)] {
            revoker.look(&world.store, &snapshot, at).await.unwrap();
        }
        for (org, holds) in orgs.iter().zip([Some(false), None, Some(false)]) {
            let holding = world.store.clients_holding(org, PREFIX).await.ok();
            assert_eq!(holding.map(|clients| clients.contains(&gone)), holds, "{org}");
        }
    }

    #[tokio::test]
    async fn what_a_deleted_client_holds_is_revoked() {
        let mut world = World::new();
        let token = world.token("reader", crate::authserver::testing::INVOICES, "mcp:read").await;
        let reader = id_of("acme", "reader");
        let mut revoker = Revoker::default();
        let now = UnixTime(crate::authserver::testing::NOW);
        world.index.delete_client(&ObjectKey::new("acme", "reader"));
        world.publish();
        let snapshot = world.snapshot.borrow().clone();
        for (at, held) in [(now, true), (now.plus(4), true), (now.plus(5), false)] {
            revoker.look(&world.store, &snapshot, at).await.unwrap();
            let holding = world.store.clients_holding(&org(), PREFIX).await.unwrap();
            assert_eq!(holding.contains(&ClientId::parse(&reader).unwrap()), held, "{at:?}");
        }
        world.set_time(now.0 + 6);
        let path = format!(
            "/orgs/acme/api/v1/mcp/{}/challenge",
            crate::authserver::testing::server_id(crate::authserver::testing::INVOICES)
        );
        world.get_with(&path, &token).await.assert_error(401, "invalid_token");
    }
}
