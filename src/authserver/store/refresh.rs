//! Refresh tokens: every use gives a successor (RFC 9700 §4.14.2).
//!
//! Two rows of a grant are kept: of the token that was not used yet, and of the one before it, for a client that lost the
//! answer. A token tells its grant, so any other that is presented was used before those two, and is known by that.

use lumoauth_core::{UnixTime, token::LEEWAY_SECONDS};
use sqlx::any::AnyRow;

use super::{
    GRANT_TAIL_SECONDS, Grant, GrantId, Store, StoreError, Writer,
    rows::{Columns as _, sql, time},
};
use crate::{
    authserver::artefact::{Digest, parse_hex},
    registry::OrgId,
};

/// How long a used token still gives its successor again, in seconds, to a client that lost the answer.
pub const RETRY_SECONDS: u64 = 30;

/// A refresh token of a grant that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// What it is of.
    pub grant: Grant,
    /// When it ends; none: it was used.
    pub expires_at: Option<UnixTime>,
}

/// A refresh token and what it shall become.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// What the presented token says it is of.
    pub grant: GrantId,
    /// Of the presented token.
    pub old: Digest,
    /// What [`Family::successor`](crate::authserver::artefact::Family::successor) made the new one with.
    pub salt: [u8; 32],
    /// Of the new one.
    pub new: Digest,
    /// When the new one ends.
    pub expires_at: UnixTime,
    /// The time.
    pub now: UnixTime,
}

/// What came of presenting a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The first time: the new token lives, the old one does not.
    Fresh,
    /// It was used just now and its successor was not: make the successor with this salt and give it again.
    Retry {
        /// Of the first use.
        salt: [u8; 32],
    },
    /// Somebody else has it: its grant is revoked.
    Reused,
    /// There is no such grant, it was revoked before, or the token has expired.
    Unknown,
}

/// What is known of a token that cannot be used for the first time.
struct Used {
    revoked: bool,
    /// Whether its row is there; else its successor was used.
    kept: bool,
    /// When it was used first, and with which salt.
    first: Option<(UnixTime, [u8; 32])>,
}

impl Used {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let first = match row.optional_time("used_at")? {
            Some(used_at) => Some((used_at, row.parsed("salt", parse_hex)?)),
            None => None,
        };
        let kept = row.optional_time("expires_at")?.is_some();
        Ok(Self { revoked: row.optional_time("revoked_at")?.is_some(), kept, first })
    }

    fn judge(&self, now: UnixTime) -> Rotated {
        let lately = |used_at: UnixTime| used_at.until(now) <= RETRY_SECONDS && now.until(used_at) <= LEEWAY_SECONDS;
        match self.first {
            _ if self.revoked => Rotated::Unknown,
            None if self.kept => Rotated::Unknown,
            Some((used_at, salt)) if lately(used_at) => Rotated::Retry { salt },
            _ => Rotated::Reused,
        }
    }
}

impl Store {
    /// The refresh token and its grant, used, expired, revoked or not; none: there is no such grant.
    pub async fn refresh_token(
        &self,
        org: &OrgId,
        grant: &GrantId,
        digest: &Digest,
    ) -> Result<Option<RefreshToken>, StoreError> {
        let query = sql("SELECT g.id, g.user_id, g.client, g.resources, g.offline, g.list, g.idx, g.created_at, \
                         g.keep_until, g.revoked_at, t.expires_at \
                         FROM grants g LEFT JOIN refresh_tokens t ON t.org = g.org AND t.grant_id = g.id \
                         AND t.digest = $3 AND t.used_at IS NULL WHERE g.org = $1 AND g.id = $2")
        .bind(org.as_str())
        .bind(grant.as_str())
        .bind(digest.to_string());
        let read =
            |row: &AnyRow| Ok(RefreshToken { grant: Grant::read(row)?, expires_at: row.optional_time("expires_at")? });
        self.row(query, read).await
    }

    /// Exchanges a refresh token for its successor. One that was exchanged before gives the same successor for
    /// [`RETRY_SECONDS`]; after that, or once the successor was used, two hold the family, and it is revoked.
    pub async fn rotate(&self, org: &OrgId, rotation: &Rotation) -> Result<Rotated, StoreError> {
        let mut writer = self.begin().await?;
        // Single use: of all who present the token, one finds it unused. A revocation beside it may come too late to
        // be seen here, and then the successor is dead too, because it lives by the same grant.
        let first_use = sql("UPDATE refresh_tokens SET used_at = $4, salt = $5 \
                             WHERE org = $1 AND grant_id = $2 AND digest = $3 AND used_at IS NULL AND expires_at > $4 \
                             AND EXISTS (SELECT 1 FROM grants g WHERE g.org = refresh_tokens.org \
                                         AND g.id = refresh_tokens.grant_id AND g.revoked_at IS NULL)")
        .bind(org.as_str())
        .bind(rotation.grant.as_str())
        .bind(rotation.old.to_string())
        .bind(time(rotation.now))
        .bind(lumoauth_core::digest::hex(&rotation.salt));
        if writer.run(first_use).await? == 0 {
            return writer.used_before(org, rotation).await;
        }
        let older = sql("DELETE FROM refresh_tokens WHERE org = $1 AND grant_id = $2 AND digest <> $3")
            .bind(org.as_str())
            .bind(rotation.grant.as_str())
            .bind(rotation.old.to_string());
        writer.run(older).await?;
        writer.insert_refresh_token(org, &rotation.grant, &rotation.new, rotation.now, rotation.expires_at).await?;
        let keep = sql("UPDATE grants SET keep_until = CASE WHEN keep_until < $3 THEN $3 ELSE keep_until END \
                        WHERE org = $1 AND id = $2 RETURNING client")
        .bind(org.as_str())
        .bind(rotation.grant.as_str())
        .bind(time(rotation.expires_at.plus(GRANT_TAIL_SECONDS)));
        if let Some(client) = writer.row(keep, |row| row.client("client")).await? {
            writer.mark_used(org, &client, rotation.now).await?;
        }
        writer.commit().await?;
        Ok(Rotated::Fresh)
    }
}

impl Writer<'_> {
    async fn used_before(mut self, org: &OrgId, rotation: &Rotation) -> Result<Rotated, StoreError> {
        let query = sql("SELECT g.revoked_at, t.expires_at, t.used_at, t.salt \
                         FROM grants g LEFT JOIN refresh_tokens t ON t.org = g.org AND t.grant_id = g.id \
                         AND t.digest = $3 WHERE g.org = $1 AND g.id = $2")
        .bind(org.as_str())
        .bind(rotation.grant.as_str())
        .bind(rotation.old.to_string());
        let used = self.row(query, Used::read).await?;
        let rotated = used.map_or(Rotated::Unknown, |used| used.judge(rotation.now));
        if rotated == Rotated::Reused {
            self.revoke_grant(org, &rotation.grant, rotation.now).await?;
        }
        self.commit().await?;
        Ok(rotated)
    }

    /// Adds a refresh token to a grant.
    pub(super) async fn insert_refresh_token(
        &mut self,
        org: &OrgId,
        grant: &GrantId,
        digest: &Digest,
        issued_at: UnixTime,
        expires_at: UnixTime,
    ) -> Result<(), StoreError> {
        let query = sql("INSERT INTO refresh_tokens (org, digest, grant_id, issued_at, expires_at) \
                         VALUES ($1, $2, $3, $4, $5)")
        .bind(org.as_str())
        .bind(digest.to_string())
        .bind(grant.as_str())
        .bind(time(issued_at))
        .bind(time(expires_at));
        self.run(query).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const RETRY: Rotated = Rotated::Retry { salt: [7; 32] };

    #[rstest]
    #[case::at_once(false, true, Some(100), 100, RETRY)]
    #[case::in_the_window(false, true, Some(100), 130, RETRY)]
    #[case::too_late(false, true, Some(100), 131, Rotated::Reused)]
    #[case::clocks_disagree(false, true, Some(100), 90, RETRY)]
    #[case::clocks_disagree_too_much(false, true, Some(161), 100, Rotated::Reused)]
    #[case::successor_used(false, false, None, 100, Rotated::Reused)]
    #[case::revoked(true, true, Some(100), 100, Rotated::Unknown)]
    #[case::revoked_and_late(true, false, None, 500, Rotated::Unknown)]
    #[case::never_used_but_expired(false, true, None, 100, Rotated::Unknown)]
    fn rfc9700_4_14_2(
        #[case] revoked: bool,
        #[case] kept: bool,
        #[case] used_at: Option<u64>,
        #[case] now: u64,
        #[case] expected: Rotated,
    ) {
        let first = used_at.map(|at| (UnixTime(at), [7; 32]));
        let used = Used { revoked, kept, first };
        assert_eq!(used.judge(UnixTime(now)), expected);
    }
}
