//! What has expired is deleted, by one replica at a time.

use lumoauth_core::UnixTime;

use super::{
    Store, StoreError,
    rows::{sql, time},
};

/// How long a replica that swept is the one that sweeps, in seconds.
const LEASE_SECONDS: u64 = 150;
/// How many rows one statement deletes at most, so that nobody waits long for it.
const BATCH: i64 = 500;

/// Statements that delete at most `$2` rows that ended at `$1` or before. What others refer to comes last.
const EXPIRED: [&str; 8] = [
    "DELETE FROM sessions WHERE (org, digest) IN (SELECT org, digest FROM sessions WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM codes WHERE (org, digest) IN \
     (SELECT org, digest FROM codes WHERE expires_at <= $1 AND grant_id IS NULL LIMIT $2)",
    "DELETE FROM refresh_tokens WHERE (org, digest) IN \
     (SELECT org, digest FROM refresh_tokens WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM status_blocks WHERE (org, list, first_index) IN \
     (SELECT org, list, first_index FROM status_blocks WHERE until <= $1 LIMIT $2)",
    "DELETE FROM status_revoked WHERE (org, list, idx) IN \
     (SELECT org, list, idx FROM status_revoked WHERE until <= $1 LIMIT $2)",
    "DELETE FROM registrations WHERE (org, id) IN \
     (SELECT org, id FROM registrations WHERE expires_unused_at <= $1 AND used_at IS NULL LIMIT $2)",
    "DELETE FROM assertions WHERE (org, client, jti) IN \
     (SELECT org, client, jti FROM assertions WHERE until <= $1 LIMIT $2)",
    "DELETE FROM grants WHERE (org, id) IN (SELECT org, id FROM grants WHERE keep_until <= $1 LIMIT $2)",
];

/// A code that was redeemed goes with its grant.
const CODES_WITHOUT_GRANT: &str = "DELETE FROM codes WHERE grant_id IS NOT NULL AND expires_at <= $1 AND NOT EXISTS \
                                   (SELECT 1 FROM grants g WHERE g.org = codes.org AND g.id = codes.grant_id)";

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// So many rows are gone.
    Rows(u64),
    /// Another replica sweeps.
    Elsewhere,
}

impl Store {
    /// Deletes what has expired, unless another replica did so lately.
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
        let mut rows = 0;
        for statement in EXPIRED {
            loop {
                let deleted = self.run(sql(statement).bind(time(now)).bind(BATCH)).await?;
                rows += deleted;
                if deleted < BATCH.unsigned_abs() {
                    break;
                }
            }
        }
        rows += self.run(sql(CODES_WITHOUT_GRANT).bind(time(now))).await?;
        Ok(Swept::Rows(rows))
    }
}
