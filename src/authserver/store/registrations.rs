//! Dynamically registered clients (RFC 7591).

use lumoauth_core::{ClientId, UnixTime};
use sqlx::any::AnyRow;

use super::{
    Store, StoreError, Writer,
    rows::{Columns as _, Query, sql, time},
};
use crate::{authserver::artefact::Digest, registry::OrgId};

/// How often the use of a client is noted, in seconds.
const DAY: u64 = 86_400;

/// How long a registration that nobody has used keeps its place where there is no other, in seconds: long enough for a
/// person to sign in, and short enough that a stranger who registers as often as is allowed closes the door to nobody.
pub const KEEPS_ITS_PLACE: u64 = 600;

/// A client to be registered.
#[derive(Clone, Debug)]
pub struct NewRegistration {
    /// Its identifier.
    pub id: ClientId,
    /// Its metadata (RFC 7591 §2), as JSON.
    pub metadata: String,
    /// Of its secret, when it has one.
    pub secret: Option<Digest>,
    /// Of its registration access token (RFC 7592 §3).
    pub access_token: Digest,
    /// When it is forgotten, unless it was used.
    pub expires_unused_at: UnixTime,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its identifier.
    pub id: ClientId,
    /// Its metadata, as JSON.
    pub metadata: String,
    /// Of its secret, when it has one.
    pub secret: Option<Digest>,
    /// Of its registration access token.
    pub access_token: Digest,
    /// When it registered.
    pub created_at: UnixTime,
    /// When it is forgotten, unless it was used.
    pub expires_unused_at: UnixTime,
    /// When it was last used, to the day, if it was: then it is forgotten when nothing of it lives and it was not used
    /// for long.
    pub used_at: Option<UnixTime>,
}

impl Registration {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let secret = row.get::<Option<String>>("secret")?;
        let secret = secret.map(|text| Digest::parse(&text).ok_or(StoreError::Corrupt("secret"))).transpose()?;
        Ok(Self {
            id: row.client("id")?,
            metadata: row.get("metadata")?,
            secret,
            access_token: row.digest("access_token")?,
            created_at: row.time("created_at")?,
            expires_unused_at: row.time("expires_unused_at")?,
            used_at: row.optional_time("used_at")?,
        })
    }
}

/// What came of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The client is registered.
    Done,
    /// The organization has as many as it may have.
    TooMany,
}

impl Store {
    /// Registers a client, unless the organization has `most` already. Those that nobody used make room, the oldest first,
    /// once they are [`KEEPS_ITS_PLACE`] seconds old.
    pub async fn register(
        &self,
        org: &OrgId,
        registration: &NewRegistration,
        most: u32,
        now: UnixTime,
    ) -> Result<Registered, StoreError> {
        let mut writer = self.change(org).await?;
        for text in [
            "DELETE FROM consents WHERE org = $1 AND client IN \
             (SELECT id FROM registrations WHERE org = $1 AND used_at IS NULL AND expires_unused_at <= $2)",
            "DELETE FROM registrations WHERE org = $1 AND used_at IS NULL AND expires_unused_at <= $2",
        ] {
            writer.run(sql(text).bind(org.as_str()).bind(time(now))).await?;
        }
        if !writer.has_room(org, most, now).await? {
            writer.rollback().await?;
            return Ok(Registered::TooMany);
        }
        let insert = sql("INSERT INTO registrations \
                          (org, id, metadata, secret, access_token, created_at, expires_unused_at, number) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, \
                          (SELECT COALESCE(MAX(number), 0) + 1 FROM registrations WHERE org = $1))")
        .bind(org.as_str())
        .bind(registration.id.as_str())
        .bind(registration.metadata.as_str())
        .bind(registration.secret.map(|secret| secret.to_string()))
        .bind(registration.access_token.to_string())
        .bind(time(now))
        .bind(time(registration.expires_unused_at));
        writer.run(insert).await?;
        writer.commit().await?;
        Ok(Registered::Done)
    }

    /// The registered client.
    pub async fn registration(
        &self,
        org: &OrgId,
        id: &ClientId,
        now: UnixTime,
    ) -> Result<Option<Registration>, StoreError> {
        let query = sql("SELECT id, metadata, secret, access_token, created_at, expires_unused_at, used_at \
                         FROM registrations WHERE org = $1 AND id = $2 \
                         AND (used_at IS NOT NULL OR expires_unused_at > $3)");
        self.row(query.bind(org.as_str()).bind(id.as_str()).bind(time(now)), Registration::read).await
    }

    /// Who is registered. Those that were never used and whose time is over are not.
    pub async fn registrations(&self, org: &OrgId, now: UnixTime) -> Result<Vec<Registration>, StoreError> {
        let query = sql("SELECT id, metadata, secret, access_token, created_at, expires_unused_at, used_at \
                         FROM registrations \
                         WHERE org = $1 AND (used_at IS NOT NULL OR expires_unused_at > $2) ORDER BY id LIMIT 100001");
        self.list("registrations", query.bind(org.as_str()).bind(time(now)), Registration::read).await
    }

    /// Replaces metadata and secret (RFC 7592 §2.2). False: there is no such client.
    pub async fn update_registration(
        &self,
        org: &OrgId,
        id: &ClientId,
        metadata: &str,
        secret: Option<&Digest>,
    ) -> Result<bool, StoreError> {
        let query = sql("UPDATE registrations SET metadata = $3, secret = $4 WHERE org = $1 AND id = $2")
            .bind(org.as_str())
            .bind(id.as_str())
            .bind(metadata)
            .bind(secret.map(ToString::to_string));
        Ok(self.run(query).await? == 1)
    }

    /// Forgets a client and revokes all that it holds (RFC 7592 §2.3). False: there is no such client.
    pub async fn delete_registration(&self, org: &OrgId, id: &ClientId, now: UnixTime) -> Result<bool, StoreError> {
        let mut writer = self.change(org).await?;
        let delete = sql("DELETE FROM registrations WHERE org = $1 AND id = $2").bind(org.as_str()).bind(id.as_str());
        let deleted = writer.forget(org, id, delete, now).await?;
        writer.end(deleted).await
    }

    /// Forgets a client that was not used after `unused_since`, and what there is of it. False: it was.
    pub(super) async fn forget_registration(
        &self,
        org: &OrgId,
        id: &ClientId,
        unused_since: UnixTime,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut writer = self.change(org).await?;
        let delete = sql("DELETE FROM registrations WHERE org = $1 AND id = $2 AND used_at <= $3");
        let delete = delete.bind(org.as_str()).bind(id.as_str()).bind(time(unused_since));
        let deleted = writer.forget(org, id, delete, now).await?;
        let disabled = sql("DELETE FROM disabled_clients WHERE org = $1 AND client = $2");
        writer.run(disabled.bind(org.as_str()).bind(id.as_str())).await?;
        writer.end(deleted).await
    }
}

impl Writer<'_> {
    /// Makes room for one more registration, where it may; the organization is locked. False: there is none.
    async fn has_room(&mut self, org: &OrgId, most: u32, now: UnixTime) -> Result<bool, StoreError> {
        let count = sql("SELECT COUNT(*) AS count FROM registrations WHERE org = $1").bind(org.as_str());
        let there = self.row(count, |row| row.number("count")).await?.unwrap_or_default();
        let missing = (there + 1).saturating_sub(u64::from(most));
        if missing == 0 {
            return Ok(true);
        }
        let mut gone = 0;
        for text in [
            "DELETE FROM consents WHERE org = $1 AND client IN \
             (SELECT id FROM registrations WHERE org = $1 AND used_at IS NULL AND created_at <= $2 \
             ORDER BY number LIMIT $3)",
            "DELETE FROM registrations WHERE org = $1 AND id IN \
             (SELECT id FROM registrations WHERE org = $1 AND used_at IS NULL AND created_at <= $2 \
             ORDER BY number LIMIT $3)",
        ] {
            let oldest = sql(text).bind(org.as_str()).bind(time(now.minus(KEEPS_ITS_PLACE)));
            gone = self.run(oldest.bind(i64::try_from(missing).unwrap_or(i64::MAX))).await?;
        }
        Ok(gone == missing)
    }

    /// Revokes what a client holds and deletes its registration, in the order in which whoever gives it something locks
    /// the rows: grants first. False, and then all of it has to be undone: `delete` found none.
    async fn forget(&mut self, org: &OrgId, id: &ClientId, delete: Query, now: UnixTime) -> Result<bool, StoreError> {
        self.revoke_client(org, id, now).await?;
        Ok(self.run(delete).await? == 1)
    }

    /// Notes, to the day, that a client was given something, so that it is not forgotten. For others than registered
    /// clients it does nothing.
    pub(super) async fn mark_used(&mut self, org: &OrgId, id: &ClientId, now: UnixTime) -> Result<(), StoreError> {
        let query = sql("UPDATE registrations SET used_at = $3 \
                         WHERE org = $1 AND id = $2 AND (used_at IS NULL OR used_at <= $4)")
        .bind(org.as_str())
        .bind(id.as_str())
        .bind(time(now))
        .bind(time(now.minus(DAY)));
        self.run(query).await.map(drop)
    }
}
