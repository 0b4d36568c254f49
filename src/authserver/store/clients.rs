//! What is known of clients whoever declared them: which are disabled, and what they hold.

use std::collections::BTreeSet;

use lumoauth_core::{ClientId, UnixTime};
use sqlx::any::AnyRow;

use super::{
    Store, StoreError, Writer,
    grants::{revoke_grants, revoked},
    rows::{Columns as _, sql, time},
};
use crate::registry::OrgId;

impl Store {
    /// Revokes all that a client holds: its grants, the codes that nobody has redeemed, what users agreed to, and the
    /// tokens it has in its own name.
    pub async fn revoke_client(&self, org: &OrgId, client: &ClientId, now: UnixTime) -> Result<(), StoreError> {
        let mut writer = self.change(org).await?;
        writer.revoke_client(org, client, now).await?;
        writer.commit().await
    }

    /// Disables or enables a client. Disabling revokes all that it holds, and it gets nothing while it is disabled.
    pub async fn set_client_disabled(
        &self,
        org: &OrgId,
        client: &ClientId,
        disabled: bool,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut writer = self.change(org).await?;
        if disabled {
            let insert = sql("INSERT INTO disabled_clients (org, client, disabled_at) VALUES ($1, $2, $3) \
                              ON CONFLICT (org, client) DO NOTHING");
            writer.run(insert.bind(org.as_str()).bind(client.as_str()).bind(time(now))).await?;
            writer.revoke_client(org, client, now).await?;
        } else {
            let delete = sql("DELETE FROM disabled_clients WHERE org = $1 AND client = $2");
            writer.run(delete.bind(org.as_str()).bind(client.as_str())).await?;
        }
        writer.commit().await
    }

    /// Whether a client is disabled.
    pub async fn is_client_disabled(&self, org: &OrgId, client: &ClientId) -> Result<bool, StoreError> {
        let query = sql("SELECT client FROM disabled_clients WHERE org = $1 AND client = $2");
        self.finds(query.bind(org.as_str()).bind(client.as_str())).await
    }

    /// Whether a user of the organization agreed to a client, or it holds a grant.
    pub async fn is_client_in_use(&self, org: &OrgId, client: &ClientId) -> Result<bool, StoreError> {
        let query = sql("SELECT client FROM grants WHERE org = $1 AND client = $2 AND revoked_at IS NULL \
                         UNION SELECT client FROM consents WHERE org = $1 AND client = $2");
        self.finds(query.bind(org.as_str()).bind(client.as_str())).await
    }

    /// The disabled clients of all organizations.
    pub async fn disabled_clients(&self) -> Result<BTreeSet<(OrgId, ClientId)>, StoreError> {
        let query = sql("SELECT org, client FROM disabled_clients LIMIT 100001");
        let read = |row: &AnyRow| Ok((row.parsed("org", OrgId::parse)?, row.client("client")?));
        Ok(self.list("disabled_clients", query, read).await?.into_iter().collect())
    }

    /// The organizations in which anything was ever given. What cannot be the name of one is none.
    pub async fn orgs(&self) -> Result<Vec<OrgId>, StoreError> {
        let query = sql("SELECT org FROM orgs LIMIT 100001");
        let orgs = self.list("orgs", query, |row| Ok(OrgId::parse(&row.get::<String>("org")?))).await?;
        Ok(orgs.into_iter().flatten().collect())
    }

    /// The clients of an organization that hold grants, codes or tokens that are not revoked, or that users agreed to, and
    /// whose identifiers begin with `prefix`: others, of which anybody may make many, are not read.
    pub async fn clients_holding(&self, org: &OrgId, prefix: &str) -> Result<BTreeSet<ClientId>, StoreError> {
        let query = sql("SELECT client FROM grants WHERE org = $1 AND client LIKE $2 AND revoked_at IS NULL \
                         UNION SELECT client FROM codes WHERE org = $1 AND client LIKE $2 AND grant_id IS NULL \
                         UNION SELECT client FROM consents WHERE org = $1 AND client LIKE $2 \
                         UNION SELECT client FROM status_blocks \
                         WHERE org = $1 AND client LIKE $2 AND revoked_at IS NULL LIMIT 100001");
        let query = query.bind(org.as_str()).bind(format!("{prefix}%"));
        let clients = self.list("clients", query, |row| row.client("client")).await?;
        Ok(clients.into_iter().filter(|client| client.as_str().starts_with(prefix)).collect())
    }
}

impl Writer<'_> {
    /// Revokes all that a client holds; the organization is locked.
    pub(super) async fn revoke_client(
        &mut self,
        org: &OrgId,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        for text in [
            "DELETE FROM codes WHERE org = $1 AND client = $2 AND grant_id IS NULL",
            "DELETE FROM consents WHERE org = $1 AND client = $2",
        ] {
            self.run(sql(text).bind(org.as_str()).bind(client.as_str())).await?;
        }
        self.run(revoked(revoke_grants!("client = $4"), org, now).bind(client.as_str())).await?;
        let blocks = sql("UPDATE status_blocks SET revoked_at = $3 \
                          WHERE org = $1 AND client = $2 AND revoked_at IS NULL");
        self.run(blocks.bind(org.as_str()).bind(client.as_str()).bind(time(now))).await.map(drop)
    }
}
