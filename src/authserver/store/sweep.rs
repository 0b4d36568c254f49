//! What has expired is deleted, by one replica at a time.

use lumoauth_core::{UnixTime, token::LEEWAY_SECONDS};
use sqlx::any::AnyRow;

use super::{
    Store, StoreError,
    rows::{Columns as _, sql, time},
};
use crate::registry::OrgId;

/// How long a replica that swept is the one that sweeps, in seconds.
const LEASE_SECONDS: u64 = 150;
/// How many rows one statement deletes at most, so that nobody waits long for it.
const BATCH: i64 = 500;

/// How much longer than they count rows are kept, in seconds: who asks for them may have a clock that is behind.
pub(super) const MARGIN_SECONDS: u64 = 2 * LEEWAY_SECONDS;
/// How long a registration stays after its last use, once nothing of it lives.
pub(super) const UNUSED_SECONDS: u64 = 90 * 86_400;
/// How many registrations are forgotten at once.
const REGISTRATIONS: i64 = 100;

/// Statements that delete at most `$2` rows that ended at `$1` or before. What others refer to comes last.
const EXPIRED: [&str; 11] = [
    "DELETE FROM sessions WHERE (org, digest) IN (SELECT org, digest FROM sessions WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM devices WHERE (org, digest) IN (SELECT org, digest FROM devices WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM codes WHERE (org, digest) IN \
     (SELECT org, digest FROM codes WHERE expires_at <= $1 AND grant_id IS NULL LIMIT $2)",
    "DELETE FROM refresh_tokens WHERE (org, digest) IN \
     (SELECT org, digest FROM refresh_tokens WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM status_blocks WHERE (org, list, first_index) IN \
     (SELECT org, list, first_index FROM status_blocks WHERE until <= $1 LIMIT $2)",
    "DELETE FROM status_revoked WHERE (org, list, idx) IN \
     (SELECT org, list, idx FROM status_revoked WHERE until <= $1 LIMIT $2)",
    // Who agreed to a client that never came for what it was given agreed to nothing that lasts.
    "DELETE FROM consents WHERE (org, user_id, client, resource) IN \
     (SELECT c.org, c.user_id, c.client, c.resource FROM registrations r \
     JOIN consents c ON c.org = r.org AND c.client = r.id \
     WHERE r.expires_unused_at <= $1 AND r.used_at IS NULL LIMIT $2)",
    "DELETE FROM registrations WHERE used_at IS NULL AND (org, id) IN \
     (SELECT org, id FROM registrations WHERE expires_unused_at <= $1 AND used_at IS NULL LIMIT $2)",
    "DELETE FROM assertions WHERE (org, client, jti) IN \
     (SELECT org, client, jti FROM assertions WHERE until <= $1 LIMIT $2)",
    // A code that was redeemed goes with its grant, and before it: then the next statement finds it by the grant.
    "DELETE FROM codes WHERE (org, digest) IN (SELECT c.org, c.digest FROM grants g \
     JOIN codes c ON c.org = g.org AND c.grant_id = g.id WHERE g.keep_until <= $1 LIMIT $2)",
    "DELETE FROM grants WHERE (org, id) IN (SELECT org, id FROM grants WHERE keep_until <= $1 LIMIT $2)",
];

/// Registrations that nobody used since `$1`, and that hold nothing that is alive.
const FORGOTTEN: &str = "SELECT org, id FROM registrations r WHERE used_at <= $1 \
     AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.org = r.org AND g.client = r.id AND g.revoked_at IS NULL) \
     AND NOT EXISTS (SELECT 1 FROM status_blocks b WHERE b.org = r.org AND b.client = r.id AND b.revoked_at IS NULL) \
     LIMIT $2";

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// So many rows are gone.
    Rows(u64),
    /// Another replica sweeps.
    Elsewhere,
}

impl Store {
    /// Deletes what has expired, and registrations that nobody uses any more, unless another replica did so lately.
    pub async fn sweep(&self, replica: &str, now: UnixTime) -> Result<Swept, StoreError> {
        let lease = sql("INSERT INTO leases (name, holder, until) VALUES ('sweep', $1, $2) \
                         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
                         WHERE leases.until <= $3 OR leases.holder = excluded.holder")
        .bind(replica)
        .bind(time(now.plus(LEASE_SECONDS)))
        .bind(time(now));
        if self.run(lease).await? == 0 {
            return Ok(Swept::Elsewhere);
        }
        let ended = now.minus(MARGIN_SECONDS);
        let mut rows = 0;
        for statement in EXPIRED {
            loop {
                let deleted = self.run(sql(statement).bind(time(ended)).bind(BATCH)).await?;
                rows += deleted;
                if deleted < BATCH.unsigned_abs() {
                    break;
                }
            }
        }
        let unused_since = now.minus(UNUSED_SECONDS);
        let forgotten = sql(FORGOTTEN).bind(time(unused_since)).bind(REGISTRATIONS);
        let read = |row: &AnyRow| Ok((row.parsed("org", OrgId::parse)?, row.client("id")?));
        for (org, id) in self.rows(forgotten, read).await? {
            rows += u64::from(self.forget_registration(&org, &id, unused_since, now).await?);
        }
        Ok(Swept::Rows(rows))
    }
}
