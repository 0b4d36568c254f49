//! Grants: what a user lets a client do, from one redeemed code on. Every token of the family lives by the grant's row.

use lumoauth_core::{ClientId, ResourceUri, ScopeSet, UnixTime};
use sqlx::any::AnyRow;

use super::{
    GrantId, StatusIndex, Store, StoreError, UserId, Writer,
    rows::{Columns as _, Query, resources, sql, time},
};
use crate::registry::OrgId;

/// How long an access token may live after the refresh token it was asked for with, in seconds: the longest
/// `tokenLifetimeSeconds`, and a minute for clocks that disagree.
pub const GRANT_TAIL_SECONDS: u64 = 86_400 + 60;

/// The most living grants of one user to one client: each computer where the client runs has one. The oldest make room,
/// else a client that asks again and again, instead of refreshing, would fill the database and the status lists.
pub const MAX_GRANTS: u32 = 20;

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its identifier.
    pub id: GrantId,
    /// Who agreed.
    pub user: UserId,
    /// Who may act.
    pub client: ClientId,
    /// Where, and with which scopes.
    pub resources: Vec<(ResourceUri, ScopeSet)>,
    /// Also while the user is away: the page said so, and without it there is no refresh token.
    pub offline: bool,
    /// The status of all its access tokens.
    pub status: StatusIndex,
    /// When the code was redeemed.
    pub created_at: UnixTime,
    /// When no token of it can be alive any more.
    pub keep_until: UnixTime,
    /// Whether it is revoked, and with it every token of it.
    pub revoked: bool,
}

impl Grant {
    /// Reads the columns of `grants`.
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id", GrantId::parse)?,
            user: row.parsed("user_id", UserId::parse)?,
            client: row.client("client")?,
            resources: row.resources("resources")?,
            offline: row.flag("offline")?,
            status: StatusIndex { list: row.small("list")?, index: row.small("idx")? },
            created_at: row.time("created_at")?,
            keep_until: row.time("keep_until")?,
            revoked: row.optional_time("revoked_at")?.is_some(),
        })
    }
}

/// A statement that revokes those living grants of `$1` that `$which` tells, at `$2`: [`revoked`] binds these, and what
/// `$which` needs is `$4` and on.
macro_rules! revoke_grants {
    ($which:literal) => {
        concat!(
            "UPDATE grants SET revoked_at = $2, keep_until = CASE WHEN keep_until > $3 THEN $3 ELSE keep_until END ",
            "WHERE org = $1 AND revoked_at IS NULL AND ",
            $which
        )
    };
}
pub(super) use revoke_grants;

/// What all statements of [`revoke_grants`] need. Only access tokens are left of a revoked grant, and then nothing: it is
/// kept for no longer than they may live.
pub(super) fn revoked(text: &'static str, org: &OrgId, now: UnixTime) -> Query {
    sql(text).bind(org.as_str()).bind(time(now)).bind(time(now.plus(GRANT_TAIL_SECONDS)))
}

impl Store {
    /// The grant, revoked or not.
    pub async fn grant(&self, org: &OrgId, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        let query =
            sql("SELECT id, user_id, client, resources, offline, list, idx, created_at, keep_until, revoked_at \
                         FROM grants WHERE org = $1 AND id = $2");
        self.row(query.bind(org.as_str()).bind(id.as_str()), Grant::read).await
    }

    /// The grant whose tokens carry this status, revoked or not.
    pub async fn grant_of_index(&self, org: &OrgId, index: StatusIndex) -> Result<Option<GrantId>, StoreError> {
        let query = sql("SELECT id FROM grants WHERE org = $1 AND list = $2 AND idx = $3");
        let query = query.bind(org.as_str()).bind(i64::from(index.list)).bind(i64::from(index.index));
        self.row(query, |row| row.parsed("id", GrantId::parse)).await
    }

    /// Revokes a grant: its refresh token and all its access tokens. False: there is none, or it was revoked.
    pub async fn revoke_grant(&self, org: &OrgId, id: &GrantId, now: UnixTime) -> Result<bool, StoreError> {
        let mut writer = self.begin().await?;
        let revoked = writer.revoke_grant(org, id, now).await?;
        writer.commit().await?;
        Ok(revoked)
    }
}

impl Writer<'_> {
    /// Adds a grant; the organization is locked.
    pub(super) async fn insert_grant(&mut self, org: &OrgId, grant: &Grant) -> Result<(), StoreError> {
        let query = sql("INSERT INTO grants (org, id, user_id, client, resources, offline, list, idx, created_at, \
                         keep_until, number) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
                         (SELECT COALESCE(MAX(number), 0) + 1 FROM grants \
                         WHERE org = $1 AND user_id = $3 AND client = $4))")
        .bind(org.as_str())
        .bind(grant.id.as_str())
        .bind(grant.user.as_str())
        .bind(grant.client.as_str())
        .bind(resources(&grant.resources))
        .bind(i64::from(grant.offline))
        .bind(i64::from(grant.status.list))
        .bind(i64::from(grant.status.index))
        .bind(time(grant.created_at))
        .bind(time(grant.keep_until));
        self.run(query).await.map(drop)
    }

    /// Revokes the oldest living grants of the user and client of `new`, so that with it there are [`MAX_GRANTS`]. Gives
    /// how many that were.
    pub(super) async fn make_room(&mut self, org: &OrgId, new: &Grant, now: UnixTime) -> Result<u64, StoreError> {
        let oldest = revoke_grants!(
            "id IN (SELECT id FROM grants WHERE org = $1 AND user_id = $4 AND client = $5 AND id <> $6 \
             AND revoked_at IS NULL AND keep_until > $2 ORDER BY number DESC LIMIT 1000 OFFSET $7)"
        );
        let query = revoked(oldest, org, now)
            .bind(new.user.as_str())
            .bind(new.client.as_str())
            .bind(new.id.as_str())
            .bind(i64::from(MAX_GRANTS - 1));
        self.run(query).await
    }

    /// Revokes one grant.
    pub(super) async fn revoke_grant(&mut self, org: &OrgId, id: &GrantId, now: UnixTime) -> Result<bool, StoreError> {
        let query = revoked(revoke_grants!("id = $4"), org, now);
        Ok(self.run(query.bind(id.as_str())).await? == 1)
    }
}
