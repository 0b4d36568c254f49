//! What users agreed to: remembered for (user, client, resource).

use lumoauth_core::{ClientId, ResourceUri, ScopeSet, UnixTime};
use sqlx::any::AnyRow;

use super::{
    Store, StoreError, UserId, Writer,
    grants::{revoke_grants, revoked},
    rows::{Columns as _, Query, sql, time},
};
use crate::{authserver::artefact::Digest, registry::OrgId};

/// The most consents of one user that are listed.
const MAX_LISTED: i64 = 1000;

/// What a user lets a client do at a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// With these scopes.
    pub scopes: ScopeSet,
    /// Also while the user is away: the page said so, and without it there is no refresh token.
    pub offline: bool,
    /// Of what the user was shown of the client: when that changes, the user is asked again.
    pub fingerprint: Digest,
    /// Of where the answer went: for another place, the user is asked again.
    pub destination: Digest,
    /// When.
    pub given_at: UnixTime,
}

impl Consent {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            scopes: row.scopes("scopes")?,
            offline: row.flag("offline")?,
            fingerprint: row.digest("fingerprint")?,
            destination: row.digest("destination")?,
            given_at: row.time("given_at")?,
        })
    }
}

impl Store {
    /// What the user agreed to for this client at this resource.
    pub async fn consent(
        &self,
        org: &OrgId,
        user: &UserId,
        client: &ClientId,
        resource: &ResourceUri,
    ) -> Result<Option<Consent>, StoreError> {
        self.row(one(org, user, client, resource), Consent::read).await
    }

    /// All that the user agreed to, the newest first.
    pub async fn consents(
        &self,
        org: &OrgId,
        user: &UserId,
    ) -> Result<Vec<(ClientId, ResourceUri, Consent)>, StoreError> {
        let query = sql("SELECT client, resource, scopes, offline, fingerprint, destination, given_at FROM consents \
                         WHERE org = $1 AND user_id = $2 ORDER BY given_at DESC, client, resource LIMIT $3")
        .bind(org.as_str())
        .bind(user.as_str())
        .bind(MAX_LISTED);
        let read = |row: &AnyRow| {
            let resource = row.parsed("resource", |text| ResourceUri::parse(text).ok())?;
            Ok((row.client("client")?, resource, Consent::read(row)?))
        };
        self.rows(query, read).await
    }

    /// Forgets what the user agreed to for this client, revokes the grants that came of it, and withdraws its codes.
    pub async fn withdraw_consent(
        &self,
        org: &OrgId,
        user: &UserId,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut writer = self.change(org).await?;
        writer.withdraw(org, user, client, now).await?;
        writer.commit().await
    }
}

/// The consent of a user for a client at a resource.
fn one(org: &OrgId, user: &UserId, client: &ClientId, resource: &ResourceUri) -> Query {
    sql("SELECT scopes, offline, fingerprint, destination, given_at FROM consents \
         WHERE org = $1 AND user_id = $2 AND client = $3 AND resource = $4")
    .bind(org.as_str())
    .bind(user.as_str())
    .bind(client.as_str())
    .bind(resource.as_str())
}

impl Writer<'_> {
    /// What the user agrees to for this client at this resource; the organization is locked.
    pub(super) async fn consent(
        &mut self,
        org: &OrgId,
        user: &UserId,
        client: &ClientId,
        resource: &ResourceUri,
    ) -> Result<Option<Consent>, StoreError> {
        self.row(one(org, user, client, resource), Consent::read).await
    }

    /// Ends all that a user agreed to for a client; the organization is locked.
    async fn withdraw(
        &mut self,
        org: &OrgId,
        user: &UserId,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let both = |query: Query| query.bind(org.as_str()).bind(user.as_str()).bind(client.as_str());
        self.run(both(sql("DELETE FROM consents WHERE org = $1 AND user_id = $2 AND client = $3"))).await?;
        let codes = "DELETE FROM codes WHERE org = $1 AND user_id = $2 AND client = $3 AND grant_id IS NULL";
        self.run(both(sql(codes))).await?;
        let grants = revoked(revoke_grants!("user_id = $4 AND client = $5"), org, now);
        self.run(grants.bind(user.as_str()).bind(client.as_str())).await.map(drop)
    }

    /// Ends all that a user agreed to for a client when it was another than it is now, by its fingerprint: what is listed
    /// as agreed to would hide it.
    pub(super) async fn withdraw_former(
        &mut self,
        org: &OrgId,
        user: &UserId,
        client: &ClientId,
        fingerprint: &Digest,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let former = sql("SELECT client FROM consents \
                          WHERE org = $1 AND user_id = $2 AND client = $3 AND fingerprint <> $4 LIMIT 1")
        .bind(org.as_str())
        .bind(user.as_str())
        .bind(client.as_str())
        .bind(fingerprint.to_string());
        if self.row(former, |_| Ok(())).await?.is_some() { self.withdraw(org, user, client, now).await } else { Ok(()) }
    }

    /// Remembers a consent in place of what was agreed to before.
    pub(super) async fn remember(
        &mut self,
        org: &OrgId,
        user: &UserId,
        client: &ClientId,
        resource: &ResourceUri,
        consent: &Consent,
    ) -> Result<(), StoreError> {
        let query = sql("INSERT INTO consents \
                         (org, user_id, client, resource, scopes, offline, fingerprint, destination, given_at) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                         ON CONFLICT (org, user_id, client, resource) DO UPDATE SET scopes = excluded.scopes, \
                         offline = excluded.offline, fingerprint = excluded.fingerprint, \
                         destination = excluded.destination, given_at = excluded.given_at")
        .bind(org.as_str())
        .bind(user.as_str())
        .bind(client.as_str())
        .bind(resource.as_str())
        .bind(consent.scopes.to_string())
        .bind(i64::from(consent.offline))
        .bind(consent.fingerprint.to_string())
        .bind(consent.destination.to_string())
        .bind(time(consent.given_at));
        self.run(query).await.map(drop)
    }
}
