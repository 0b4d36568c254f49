//! Refresh tokens: every use gives a successor (RFC 9700 §4.14.2).

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

/// A refresh token that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// What it is of.
    pub grant: Grant,
    /// When it ends.
    pub expires_at: UnixTime,
    /// When it was used first.
    pub used_at: Option<UnixTime>,
}

/// A refresh token and what it shall become.
#[derive(Clone, Copy)]
pub struct Rotation {
    /// Of the presented token.
    pub old: Digest,
    /// What [`Artefact::successor`](crate::authserver::artefact::Artefact::successor) made the new one with.
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
    /// There is no such token, it has expired, or its grant was revoked before.
    Unknown,
}

/// What is known of a token that cannot be used for the first time.
struct Used {
    grant: GrantId,
    revoked: bool,
    /// When it was used first, and with which salt.
    first: Option<(UnixTime, [u8; 32])>,
    has_successor_in_use: bool,
}

impl Used {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let first = match row.optional_time("used_at")? {
            Some(used_at) => Some((used_at, row.parsed("salt", parse_hex)?)),
            None => None,
        };
        Ok(Self {
            grant: row.parsed("grant_id", GrantId::parse)?,
            revoked: row.optional_time("revoked_at")?.is_some(),
            first,
            has_successor_in_use: row.optional_time("successor_used_at")?.is_some(),
        })
    }

    fn judge(&self, now: UnixTime) -> Rotated {
        let lately = |used_at: UnixTime| used_at.until(now) <= RETRY_SECONDS && now.until(used_at) <= LEEWAY_SECONDS;
        match self.first {
            _ if self.revoked => Rotated::Unknown,
            None => Rotated::Unknown,
            Some((used_at, salt)) if !self.has_successor_in_use && lately(used_at) => Rotated::Retry { salt },
            Some(_) => Rotated::Reused,
        }
    }
}

impl Store {
    /// The refresh token and its grant, used, expired, revoked or not.
    pub async fn refresh_token(&self, org: &OrgId, digest: &Digest) -> Result<Option<RefreshToken>, StoreError> {
        let query = sql("SELECT g.id, g.user_id, g.client, g.resources, g.offline, g.list, g.idx, g.created_at, \
                         g.keep_until, g.revoked_at, t.expires_at, t.used_at \
                         FROM refresh_tokens t JOIN grants g ON g.org = t.org AND g.id = t.grant_id \
                         WHERE t.org = $1 AND t.digest = $2");
        let Some(row) = self.row(query.bind(org.as_str()).bind(digest.to_string())).await? else { return Ok(None) };
        Ok(Some(RefreshToken {
            grant: Grant::read(&row)?,
            expires_at: row.time("expires_at")?,
            used_at: row.optional_time("used_at")?,
        }))
    }

    /// Exchanges a refresh token for its successor. One that was exchanged before gives the same successor for
    /// [`RETRY_SECONDS`]; after that, or once the successor was used, two hold the family, and it is revoked.
    pub async fn rotate(&self, org: &OrgId, rotation: &Rotation) -> Result<Rotated, StoreError> {
        let mut writer = self.begin().await?;
        // Single use: of all who present the token, one finds it unused. A revocation beside it may come too late to
        // be seen here, and then the successor is dead too, because it lives by the same grant.
        let first_use = sql("UPDATE refresh_tokens SET used_at = $3, salt = $4, successor = $5 \
                             WHERE org = $1 AND digest = $2 AND used_at IS NULL AND expires_at > $3 \
                             AND EXISTS (SELECT 1 FROM grants g WHERE g.org = refresh_tokens.org \
                                         AND g.id = refresh_tokens.grant_id AND g.revoked_at IS NULL) \
                             RETURNING grant_id, \
                             (SELECT g.client FROM grants g WHERE g.org = refresh_tokens.org \
                              AND g.id = refresh_tokens.grant_id) AS client")
        .bind(org.as_str())
        .bind(rotation.old.to_string())
        .bind(time(rotation.now))
        .bind(lumoauth_core::digest::hex(&rotation.salt))
        .bind(rotation.new.to_string());
        let Some(row) = writer.row(first_use).await? else { return writer.used_before(org, rotation).await };
        let grant = row.parsed("grant_id", GrantId::parse)?;
        writer.insert_refresh_token(org, &grant, &rotation.new, rotation.now, rotation.expires_at).await?;
        let keep = sql("UPDATE grants SET keep_until = $3 WHERE org = $1 AND id = $2 AND keep_until < $3")
            .bind(org.as_str())
            .bind(grant.as_str())
            .bind(time(rotation.expires_at.plus(GRANT_TAIL_SECONDS)));
        writer.run(keep).await?;
        writer.mark_used(org, &row.client("client")?, rotation.now).await?;
        writer.commit().await?;
        Ok(Rotated::Fresh)
    }
}

impl Writer<'_> {
    async fn used_before(mut self, org: &OrgId, rotation: &Rotation) -> Result<Rotated, StoreError> {
        let query = sql("SELECT t.grant_id, t.used_at, t.salt, g.revoked_at, s.used_at AS successor_used_at \
                         FROM refresh_tokens t JOIN grants g ON g.org = t.org AND g.id = t.grant_id \
                         LEFT JOIN refresh_tokens s ON s.org = t.org AND s.digest = t.successor \
                         WHERE t.org = $1 AND t.digest = $2");
        let row = self.row(query.bind(org.as_str()).bind(rotation.old.to_string())).await?;
        let Some(row) = row else {
            self.rollback().await?;
            return Ok(Rotated::Unknown);
        };
        let used = Used::read(&row)?;
        let rotated = used.judge(rotation.now);
        if rotated == Rotated::Reused {
            self.revoke_grant(org, &used.grant, rotation.now).await?;
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
    #[case::at_once(false, Some(100), false, 100, RETRY)]
    #[case::in_the_window(false, Some(100), false, 130, RETRY)]
    #[case::too_late(false, Some(100), false, 131, Rotated::Reused)]
    #[case::clocks_disagree(false, Some(100), false, 90, RETRY)]
    #[case::clocks_disagree_too_much(false, Some(161), false, 100, Rotated::Reused)]
    #[case::successor_used(false, Some(100), true, 100, Rotated::Reused)]
    #[case::revoked(true, Some(100), false, 100, Rotated::Unknown)]
    #[case::revoked_and_late(true, Some(100), true, 500, Rotated::Unknown)]
    #[case::never_used_but_expired(false, None, false, 100, Rotated::Unknown)]
    fn rfc9700_4_14_2(
        #[case] revoked: bool,
        #[case] used_at: Option<u64>,
        #[case] successor_used: bool,
        #[case] now: u64,
        #[case] expected: Rotated,
    ) {
        let first = used_at.map(|at| (UnixTime(at), [7; 32]));
        let used = Used { grant: GrantId::generate().unwrap(), revoked, first, has_successor_in_use: successor_used };
        assert_eq!(used.judge(UnixTime(now)), expected);
    }
}
