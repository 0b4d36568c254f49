//! The people of an organization.

use std::fmt;

use lumoauth_core::UnixTime;
use sqlx::any::AnyRow;

use super::{
    Store, StoreError, UserId, UserName,
    grants::{revoke_grants, revoked},
    rows::{Columns, json, sql, time},
};
use crate::registry::OrgId;

/// The most users that are listed.
const MAX_LISTED: i64 = 10_000;

/// A password's hash in PHC form. Not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// What the hash function gave.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// What the person types to log in.
    pub name: UserName,
    /// Of the password.
    pub password_hash: PasswordHash,
    /// Names of groups, which `grants` of McpServers speak of.
    pub groups: Vec<String>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `sub` of the user's tokens.
    pub id: UserId,
    /// What the person types to log in.
    pub name: UserName,
    /// Of the password.
    pub password_hash: PasswordHash,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Whether the user may do nothing.
    pub disabled: bool,
    /// When the user was added.
    pub created_at: UnixTime,
}

impl User {
    /// Reads the columns of [`USER`].
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id", UserId::parse)?,
            name: row.parsed("name", |name| UserName::parse(name).ok())?,
            password_hash: PasswordHash(row.get("password_hash")?),
            groups: row.parsed("member_of", |text| serde_json::from_str(text).ok())?,
            disabled: row.flag("disabled")?,
            created_at: row.time("created_at")?,
        })
    }
}

/// Why a user was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddUser {
    /// The organization has a user of this name.
    #[error("there is a user of this name: choose another")]
    NameTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Adds a user.
    pub async fn add_user(&self, org: &OrgId, user: NewUser, now: UnixTime) -> Result<User, AddUser> {
        let NewUser { name, password_hash, groups } = user;
        let id = UserId::generate().map_err(StoreError::Random)?;
        let query = sql("INSERT INTO users (org, id, name, password_hash, member_of, disabled, created_at) \
                         VALUES ($1, $2, $3, $4, $5, 0, $6) ON CONFLICT (org, name) DO NOTHING")
        .bind(org.as_str())
        .bind(id.as_str())
        .bind(name.as_str())
        .bind(password_hash.0.clone())
        .bind(json(&groups))
        .bind(time(now));
        match self.run(query).await? {
            0 => Err(AddUser::NameTaken),
            _ => Ok(User { id, name, password_hash, groups, disabled: false, created_at: now }),
        }
    }

    /// The user of this identifier.
    pub async fn user(&self, org: &OrgId, id: &UserId) -> Result<Option<User>, StoreError> {
        let query = sql("SELECT id, name, password_hash, member_of, disabled, created_at FROM users \
                         WHERE org = $1 AND id = $2");
        self.row(query.bind(org.as_str()).bind(id.as_str()), User::read).await
    }

    /// The user of this name.
    pub async fn user_by_name(&self, org: &OrgId, name: &UserName) -> Result<Option<User>, StoreError> {
        let query = sql("SELECT id, name, password_hash, member_of, disabled, created_at FROM users \
                         WHERE org = $1 AND name = $2");
        self.row(query.bind(org.as_str()).bind(name.as_str()), User::read).await
    }

    /// The users of the organization, by name; of very many, the oldest.
    pub async fn users(&self, org: &OrgId) -> Result<Vec<User>, StoreError> {
        let query = sql("SELECT id, name, password_hash, member_of, disabled, created_at FROM users \
                         WHERE org = $1 ORDER BY created_at, id LIMIT $2");
        let mut users = self.rows(query.bind(org.as_str()).bind(MAX_LISTED), User::read).await?;
        // By the bytes of the name, whatever the database's collation is.
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    /// Replaces the groups: whatever is granted from then on looks at them. False: there is no such user.
    pub async fn set_groups(&self, org: &OrgId, id: &UserId, groups: &[String]) -> Result<bool, StoreError> {
        let query = sql("UPDATE users SET member_of = $3 WHERE org = $1 AND id = $2");
        Ok(self.run(query.bind(org.as_str()).bind(id.as_str()).bind(json(groups))).await? == 1)
    }

    /// Sets a password, ends the user's sessions and forgets the devices. False: there is no such user.
    pub async fn set_password(
        &self,
        org: &OrgId,
        id: &UserId,
        password_hash: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let mut writer = self.change(org).await?;
        let query = sql("UPDATE users SET password_hash = $3 WHERE org = $1 AND id = $2");
        let query = query.bind(org.as_str()).bind(id.as_str()).bind(password_hash.0.clone());
        let found = writer.run(query).await? == 1;
        writer.end_sessions(org, id).await?;
        writer.forget_devices(org, id).await?;
        writer.commit().await?;
        Ok(found)
    }

    /// Replaces the hash of a password that was just verified with a better one of the same password. False: the user
    /// has another password by now.
    pub async fn replace_hash(
        &self,
        org: &OrgId,
        id: &UserId,
        verified: &PasswordHash,
        better: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let query = sql("UPDATE users SET password_hash = $4 WHERE org = $1 AND id = $2 AND password_hash = $3")
            .bind(org.as_str())
            .bind(id.as_str())
            .bind(verified.0.clone())
            .bind(better.0.clone());
        Ok(self.run(query).await? == 1)
    }

    /// Disables or enables a user. Disabling ends the sessions, forgets the devices, revokes the grants and withdraws the
    /// codes that nobody has redeemed; consents stay. False: there is no such user.
    pub async fn set_user_disabled(
        &self,
        org: &OrgId,
        id: &UserId,
        disabled: bool,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut writer = self.change(org).await?;
        let query = sql("UPDATE users SET disabled = $3 WHERE org = $1 AND id = $2");
        let query = query.bind(org.as_str()).bind(id.as_str()).bind(i64::from(disabled));
        let found = writer.run(query).await? == 1;
        if disabled {
            writer.end_sessions(org, id).await?;
            writer.forget_devices(org, id).await?;
            let codes = sql("DELETE FROM codes WHERE org = $1 AND user_id = $2 AND grant_id IS NULL");
            writer.run(codes.bind(org.as_str()).bind(id.as_str())).await?;
            writer.run(revoked(revoke_grants!("user_id = $4"), org, now).bind(id.as_str())).await?;
        }
        writer.commit().await?;
        Ok(found)
    }
}
