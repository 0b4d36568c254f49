//! Authorization codes (RFC 6749 §4.1.2): issued with the consent, redeemed once.

use lumoauth_core::{ClientId, ResourceUri, ScopeSet, UnixTime, pkce::CodeChallenge};
use sqlx::any::AnyRow;

use super::{
    Consent, GRANT_TAIL_SECONDS, Grant, GrantId, StatusIndex, Store, StoreError, UserId, Writer,
    rows::{Columns as _, resources, sql, time},
};
use crate::{authserver::artefact::Digest, registry::OrgId};

/// A code to be issued.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// Of the code.
    pub digest: Digest,
    /// Who may redeem it.
    pub client: ClientId,
    /// Who agreed.
    pub user: UserId,
    /// Where it was sent: what the client must repeat.
    pub redirect_uri: String,
    /// `code_challenge` (RFC 7636 §4.2).
    pub challenge: CodeChallenge,
    /// What for.
    pub resources: Vec<(ResourceUri, ScopeSet)>,
    /// Also while the user is away: the page said so, and without it there is no refresh token.
    pub offline: bool,
    /// When.
    pub issued_at: UnixTime,
    /// Until when it can be redeemed.
    pub expires_at: UnixTime,
}

/// A code that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Who may redeem it.
    pub client: ClientId,
    /// Who agreed.
    pub user: UserId,
    /// Where it was sent.
    pub redirect_uri: String,
    /// `code_challenge`.
    pub challenge: CodeChallenge,
    /// What for.
    pub resources: Vec<(ResourceUri, ScopeSet)>,
    /// Also while the user is away: the page said so, and without it there is no refresh token.
    pub offline: bool,
    /// When.
    pub issued_at: UnixTime,
    /// Until when it can be redeemed.
    pub expires_at: UnixTime,
    /// What came of it, once it was: then whoever presents it again replays it, and the grant has to be revoked.
    pub grant: Option<GrantId>,
}

impl Code {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            client: row.client("client")?,
            user: row.parsed("user_id", UserId::parse)?,
            redirect_uri: row.get("redirect_uri")?,
            challenge: row.parsed("challenge", |text| text.parse().ok())?,
            resources: row.resources("resources")?,
            offline: row.flag("offline")?,
            issued_at: row.time("issued_at")?,
            expires_at: row.time("expires_at")?,
            grant: row
                .get::<Option<String>>("grant_id")?
                .map(|_| row.parsed("grant_id", GrantId::parse))
                .transpose()?,
        })
    }
}

/// What a redeemed code becomes.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// Its identifier.
    pub id: GrantId,
    /// The status of all its tokens, of a block leased for grants.
    pub status: StatusIndex,
}

/// What came of presenting a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The first time, in time: this grant lives now.
    Fresh(Grant),
    /// Not the first time: the grant that came of it is revoked.
    Replayed(GrantId),
    /// There is no such code, it is too late, or its user or client is disabled.
    Unknown,
}

/// What came of asking for a code upon what a user agreed to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reissued {
    /// It is issued.
    Done,
    /// The user agrees to something else by now, or to nothing.
    Changed,
    /// User or client is disabled or gone.
    Refused,
}

impl Store {
    /// Issues a code and remembers what the user agreed to. What came of a yes to the client as it was before, by another
    /// fingerprint, is revoked. False: user or client is disabled or gone, and nothing was done.
    pub async fn issue_code(
        &self,
        org: &OrgId,
        code: &NewCode,
        remember: &[(ResourceUri, Consent)],
    ) -> Result<bool, StoreError> {
        let mut writer = self.change(org).await?;
        if let Some((_, Consent { fingerprint, .. })) = remember.first() {
            writer.withdraw_former(org, &code.user, &code.client, fingerprint, code.issued_at).await?;
        }
        if !writer.insert_code(org, code).await? {
            writer.rollback().await?;
            return Ok(false);
        }
        for (resource, consent) in remember {
            writer.remember(org, &code.user, &code.client, resource, consent).await?;
        }
        writer.commit().await?;
        Ok(true)
    }

    /// Issues a code upon what the user agreed to before. `agreed` is what was read of that: whatever of it was withdrawn
    /// or replaced since gives no code.
    pub async fn issue_code_again(
        &self,
        org: &OrgId,
        code: &NewCode,
        agreed: &[(ResourceUri, Consent)],
    ) -> Result<Reissued, StoreError> {
        let mut writer = self.change(org).await?;
        for (resource, _) in &code.resources {
            let known = writer.consent(org, &code.user, &code.client, resource).await?;
            if !agreed.iter().any(|(of, consent)| of == resource && known.as_ref() == Some(consent)) {
                writer.rollback().await?;
                return Ok(Reissued::Changed);
            }
        }
        if !writer.insert_code(org, code).await? {
            writer.rollback().await?;
            return Ok(Reissued::Refused);
        }
        writer.commit().await?;
        Ok(Reissued::Done)
    }

    /// The code, as long as presenting it means something: until it expires or, once redeemed, while what came of it
    /// is kept.
    pub async fn code(&self, org: &OrgId, digest: &Digest, now: UnixTime) -> Result<Option<Code>, StoreError> {
        let query = sql("SELECT client, user_id, redirect_uri, challenge, resources, offline, issued_at, expires_at, \
                         grant_id FROM codes \
                         WHERE org = $1 AND digest = $2 AND (expires_at > $3 OR grant_id IS NOT NULL)");
        self.row(query.bind(org.as_str()).bind(digest.to_string()).bind(time(now)), Code::read).await
    }

    /// Redeems a code: makes its grant, and its first refresh token when `refresh` names one and when that expires. Of
    /// more than [`MAX_GRANTS`](super::MAX_GRANTS) of one user to one client, the oldest are revoked. A code that was
    /// redeemed before revokes what came of it (RFC 6749 §4.1.2).
    pub async fn redeem_code(
        &self,
        org: &OrgId,
        digest: &Digest,
        grant: NewGrant,
        refresh: Option<(Digest, UnixTime)>,
        now: UnixTime,
    ) -> Result<Redeemed, StoreError> {
        let mut writer = self.change(org).await?;
        // Single use: of all who present the code, one finds it without a grant.
        let redeem = sql("UPDATE codes SET grant_id = $3 \
                          WHERE org = $1 AND digest = $2 AND grant_id IS NULL AND expires_at > $4 \
                          AND EXISTS (SELECT 1 FROM users u \
                                      WHERE u.org = codes.org AND u.id = codes.user_id AND u.disabled = 0) \
                          AND NOT EXISTS (SELECT 1 FROM disabled_clients d \
                                          WHERE d.org = codes.org AND d.client = codes.client) \
                          RETURNING client, user_id, redirect_uri, challenge, resources, offline, issued_at, \
                          expires_at, grant_id")
        .bind(org.as_str())
        .bind(digest.to_string())
        .bind(grant.id.as_str())
        .bind(time(now));
        let redeemed = writer.row(redeem, Code::read).await?;
        let Some(code) = redeemed else { return writer.replayed(org, digest, now).await };
        let last = refresh.map_or(now, |(_, expires_at)| expires_at.max(now));
        let grant = Grant {
            id: grant.id,
            user: code.user,
            client: code.client,
            resources: code.resources,
            offline: code.offline,
            status: grant.status,
            created_at: now,
            keep_until: last.plus(GRANT_TAIL_SECONDS),
            revoked: false,
        };
        writer.insert_grant(org, &grant).await?;
        let pushed_out = writer.make_room(org, &grant, now).await?;
        writer.mark_used(org, &grant.client, now).await?;
        if let Some((refresh, expires_at)) = refresh {
            writer.insert_refresh_token(org, &grant.id, &refresh, now, expires_at).await?;
        }
        writer.commit().await?;
        if pushed_out > 0 {
            tracing::info!(
                target: "lumoauth::audit",
                event = "revocation",
                outcome = "revoked",
                reason = "too_many_grants",
                %org,
                client = %grant.client,
                user = %grant.user,
                grants = pushed_out,
            );
        }
        Ok(Redeemed::Fresh(grant))
    }
}

impl Writer<'_> {
    /// Adds a code; the organization is locked. False: user or client is disabled or gone.
    async fn insert_code(&mut self, org: &OrgId, code: &NewCode) -> Result<bool, StoreError> {
        let insert =
            sql("INSERT INTO codes (org, digest, user_id, client, redirect_uri, challenge, resources, offline, \
                          issued_at, expires_at) \
                          SELECT org, $3, id, $4, $5, $6, $7, $8, $9, $10 FROM users \
                          WHERE org = $1 AND id = $2 AND disabled = 0 \
                          AND NOT EXISTS (SELECT 1 FROM disabled_clients WHERE org = $1 AND client = $4)")
            .bind(org.as_str())
            .bind(code.user.as_str())
            .bind(code.digest.to_string())
            .bind(code.client.as_str())
            .bind(code.redirect_uri.as_str())
            .bind(code.challenge.to_string())
            .bind(resources(&code.resources))
            .bind(i64::from(code.offline))
            .bind(time(code.issued_at))
            .bind(time(code.expires_at));
        Ok(self.run(insert).await? == 1)
    }

    /// Revokes the grant that came of a code that is presented again.
    async fn replayed(mut self, org: &OrgId, digest: &Digest, now: UnixTime) -> Result<Redeemed, StoreError> {
        let query = sql("SELECT grant_id FROM codes WHERE org = $1 AND digest = $2 AND grant_id IS NOT NULL");
        let query = query.bind(org.as_str()).bind(digest.to_string());
        let Some(grant) = self.row(query, |row| row.parsed("grant_id", GrantId::parse)).await? else {
            self.rollback().await?;
            return Ok(Redeemed::Unknown);
        };
        self.revoke_grant(org, &grant, now).await?;
        self.commit().await?;
        Ok(Redeemed::Replayed(grant))
    }
}
