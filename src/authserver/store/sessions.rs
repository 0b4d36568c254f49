//! Browser sessions.

use lumoauth_core::UnixTime;
use sqlx::any::AnyRow;

use super::{
    NewDevice, PasswordHash, Store, StoreError, User, UserId, Writer,
    rows::{Columns as _, Query, sql, time},
};
use crate::{authserver::artefact::Digest, registry::OrgId};

/// The most sessions of one user; the oldest make room.
pub const MAX_SESSIONS: u32 = 20;

/// A session to be started.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Of its cookie.
    pub digest: Digest,
    /// Whose it is.
    pub user: UserId,
    /// The hash that the user's password was verified with.
    pub verified: PasswordHash,
    /// When it ends.
    pub expires_at: UnixTime,
    /// The browser, which is from now on one of the user's.
    pub device: NewDevice,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Of its cookie.
    pub digest: Digest,
    /// When the user logged in.
    pub started_at: UnixTime,
    /// When it ends.
    pub expires_at: UnixTime,
}

impl Store {
    /// Starts a session, and ends the one that the browser had; the browser is known as the user's device. False: the
    /// user is disabled or gone or has another password by now, and nothing started.
    pub async fn start_session(
        &self,
        org: &OrgId,
        session: &NewSession,
        replaces: Option<&Digest>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut writer = self.change(org).await?;
        if let Some(replaced) = replaces {
            writer.run(ended(org, replaced)).await?;
        }
        let insert = sql("INSERT INTO sessions (org, digest, user_id, started_at, expires_at, number) \
                          SELECT org, $3, id, $4, $5, \
                          (SELECT COALESCE(MAX(number), 0) + 1 FROM sessions WHERE org = $1 AND user_id = $2) \
                          FROM users \
                          WHERE org = $1 AND id = $2 AND disabled = 0 AND password_hash = $6")
        .bind(org.as_str())
        .bind(session.user.as_str())
        .bind(session.digest.to_string())
        .bind(time(now))
        .bind(time(session.expires_at))
        .bind(session.verified.as_str().to_owned());
        let started = writer.run(insert).await? == 1;
        if started {
            writer.know_device(org, &session.user, &session.device).await?;
        }
        let oldest = sql("DELETE FROM sessions WHERE org = $1 AND digest IN (SELECT digest FROM sessions \
                          WHERE org = $1 AND user_id = $2 AND digest <> $3 ORDER BY number DESC \
                          LIMIT 1000 OFFSET $4)")
        .bind(org.as_str())
        .bind(session.user.as_str())
        .bind(session.digest.to_string())
        .bind(i64::from(MAX_SESSIONS - 1));
        writer.run(oldest).await?;
        writer.commit().await?;
        Ok(started)
    }

    /// The session of a cookie and its user, while it lasts.
    pub async fn session(
        &self,
        org: &OrgId,
        digest: &Digest,
        now: UnixTime,
    ) -> Result<Option<(Session, User)>, StoreError> {
        let query = sql("SELECT s.digest, s.started_at, s.expires_at, \
                         u.id, u.name, u.password_hash, u.member_of, u.disabled, u.created_at \
                         FROM sessions s JOIN users u ON u.org = s.org AND u.id = s.user_id \
                         WHERE s.org = $1 AND s.digest = $2 AND s.expires_at > $3 AND u.disabled = 0");
        let query = query.bind(org.as_str()).bind(digest.to_string()).bind(time(now));
        let read = |row: &AnyRow| {
            let session = Session {
                digest: row.digest("digest")?,
                started_at: row.time("started_at")?,
                expires_at: row.time("expires_at")?,
            };
            Ok((session, User::read(row)?))
        };
        self.row(query, read).await
    }

    /// Ends a session.
    pub async fn end_session(&self, org: &OrgId, digest: &Digest) -> Result<(), StoreError> {
        self.run(ended(org, digest)).await.map(drop)
    }
}

/// Ends one session.
fn ended(org: &OrgId, digest: &Digest) -> Query {
    sql("DELETE FROM sessions WHERE org = $1 AND digest = $2").bind(org.as_str()).bind(digest.to_string())
}

impl Writer<'_> {
    /// Ends every session of a user.
    pub(super) async fn end_sessions(&mut self, org: &OrgId, user: &UserId) -> Result<(), StoreError> {
        let query = sql("DELETE FROM sessions WHERE org = $1 AND user_id = $2");
        self.run(query.bind(org.as_str()).bind(user.as_str())).await.map(drop)
    }
}
