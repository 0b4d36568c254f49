//! What is known of clients whoever declared them: which are disabled, and what they hold.

use std::collections::BTreeSet;

use lumoauth_core::{ClientId, UnixTime};

use super::{
    Store, StoreError, Writer,
    rows::{Columns as _, sql, time},
};
use crate::registry::OrgId;

/// The most clients that are listed. A list that is longer is an error: what it left out would not be revoked.
const MAX_LISTED: usize = 100_000;

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
        Ok(self.row(query.bind(org.as_str()).bind(client.as_str())).await?.is_some())
    }

    /// Whether a user of the organization agreed to a client, or it holds a grant.
    pub async fn is_client_in_use(&self, org: &OrgId, client: &ClientId) -> Result<bool, StoreError> {
        let query = sql("SELECT client FROM grants WHERE org = $1 AND client = $2 AND revoked_at IS NULL \
                         UNION SELECT client FROM consents WHERE org = $1 AND client = $2");
        Ok(self.row(query.bind(org.as_str()).bind(client.as_str())).await?.is_some())
    }

    /// The disabled clients of all organizations.
    pub async fn disabled_clients(&self) -> Result<BTreeSet<(OrgId, ClientId)>, StoreError> {
        let rows = self.rows(sql("SELECT org, client FROM disabled_clients LIMIT 100001")).await?;
        if rows.len() > MAX_LISTED {
            return Err(StoreError::TooMany("disabled_clients"));
        }
        rows.iter().map(|row| Ok((row.parsed("org", OrgId::parse)?, row.client("client")?))).collect()
    }

    /// The organizations in which anything was ever given.
    pub async fn orgs(&self) -> Result<Vec<OrgId>, StoreError> {
        let rows = self.rows(sql("SELECT org FROM orgs LIMIT 100001")).await?;
        if rows.len() > MAX_LISTED {
            return Err(StoreError::TooMany("orgs"));
        }
        rows.iter().map(|row| row.parsed("org", OrgId::parse)).collect()
    }

    /// The clients of an organization that hold grants, codes or tokens that are not revoked, or that users agreed to.
    pub async fn clients_holding(&self, org: &OrgId) -> Result<BTreeSet<ClientId>, StoreError> {
        let query = sql("SELECT client FROM grants WHERE org = $1 AND revoked_at IS NULL \
                         UNION SELECT client FROM codes WHERE org = $1 AND grant_id IS NULL \
                         UNION SELECT client FROM consents WHERE org = $1 \
                         UNION SELECT client FROM status_blocks \
                         WHERE org = $1 AND client IS NOT NULL AND revoked_at IS NULL LIMIT 100001");
        let rows = self.rows(query.bind(org.as_str())).await?;
        if rows.len() > MAX_LISTED {
            return Err(StoreError::TooMany("clients"));
        }
        rows.iter().map(|row| row.client("client")).collect()
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
        for text in [
            "UPDATE grants SET revoked_at = $3 WHERE org = $1 AND client = $2 AND revoked_at IS NULL",
            "UPDATE status_blocks SET revoked_at = $3 WHERE org = $1 AND client = $2 AND revoked_at IS NULL",
        ] {
            self.run(sql(text).bind(org.as_str()).bind(client.as_str()).bind(time(now))).await?;
        }
        Ok(())
    }
}
