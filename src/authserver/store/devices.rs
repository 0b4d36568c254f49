//! Devices: browsers in which a user has signed in, known by a cookie that outlives the session.

use lumoauth_core::UnixTime;

use super::{
    Store, StoreError, UserId, UserName, Writer,
    rows::{Columns as _, sql, time},
};
use crate::{authserver::artefact::Digest, registry::OrgId};

/// The most devices of one user; those that were not signed in with for the longest time make room.
pub const MAX_DEVICES: u32 = 20;

/// A device that is to be known as its user's.
#[derive(Clone, Copy, Debug)]
pub struct NewDevice {
    /// Of its cookie.
    pub digest: Digest,
    /// Of the device cookie that the browser had, whosever it was; the same one where it is kept.
    pub replaces: Option<Digest>,
    /// When it is known no more.
    pub expires_at: UnixTime,
}

impl Store {
    /// The name of the user whose device has this cookie, while it is known.
    pub async fn device_user(
        &self,
        org: &OrgId,
        digest: &Digest,
        now: UnixTime,
    ) -> Result<Option<UserName>, StoreError> {
        let query = sql("SELECT u.name FROM devices d JOIN users u ON u.org = d.org AND u.id = d.user_id \
                         WHERE d.org = $1 AND d.digest = $2 AND d.expires_at > $3");
        let query = query.bind(org.as_str()).bind(digest.to_string()).bind(time(now));
        self.row(query, |row| row.parsed("name", |name| UserName::parse(name).ok())).await
    }
}

impl Writer<'_> {
    /// Makes a device known as the newest one of `user`.
    pub(super) async fn know_device(
        &mut self,
        org: &OrgId,
        user: &UserId,
        device: &NewDevice,
    ) -> Result<(), StoreError> {
        if let Some(replaced) = &device.replaces {
            let replace = sql("DELETE FROM devices WHERE org = $1 AND digest = $2");
            self.run(replace.bind(org.as_str()).bind(replaced.to_string())).await?;
        }
        let insert = sql("INSERT INTO devices (org, digest, user_id, number, expires_at) VALUES ($1, $3, $2, \
                          (SELECT COALESCE(MAX(number), 0) + 1 FROM devices WHERE org = $1 AND user_id = $2), $4)")
        .bind(org.as_str())
        .bind(user.as_str())
        .bind(device.digest.to_string())
        .bind(time(device.expires_at));
        self.run(insert).await?;
        let oldest = sql("DELETE FROM devices WHERE org = $1 AND digest IN (SELECT digest FROM devices \
                          WHERE org = $1 AND user_id = $2 ORDER BY number DESC LIMIT 1000 OFFSET $3)")
        .bind(org.as_str())
        .bind(user.as_str())
        .bind(i64::from(MAX_DEVICES));
        self.run(oldest).await.map(drop)
    }

    /// Forgets every device of a user.
    pub(super) async fn forget_devices(&mut self, org: &OrgId, user: &UserId) -> Result<(), StoreError> {
        let query = sql("DELETE FROM devices WHERE org = $1 AND user_id = $2");
        self.run(query.bind(org.as_str()).bind(user.as_str())).await.map(drop)
    }
}
