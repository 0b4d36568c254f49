//! What the authorization server must not forget: one SQL text for SQLite and PostgreSQL.
//!
//! Every use case is one transaction. What may happen once is decided by the statement that writes it, never by a read
//! before it. Whoever gives or takes rights in an organization holds the lock of that organization
//! ([`Store::change`]), so that no grant can appear beside the statement that revokes all of them; what only one grant
//! is about (rotation, its revocation) needs no lock, because a token lives by its grant's row.
//!
//! Codes, refresh tokens, cookies and secrets come here as [`Digest`](super::artefact::Digest)s only. Time is always an
//! argument. Identifiers of another organization find nothing.

mod assertions;
mod clients;
mod codes;
mod consents;
#[cfg(test)]
mod contract;
mod devices;
mod error;
mod grants;
mod ids;
mod migrations;
mod open;
mod refresh;
mod registrations;
mod rows;
mod sessions;
mod status;
mod sweep;
mod users;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use sqlx::{Any, AnyPool, any::AnyRow, pool::PoolConnection, raw_sql};
use tokio::time::timeout;

pub use codes::{Code, NewCode, NewGrant, Redeemed, Reissued};
pub use consents::Consent;
pub use devices::{MAX_DEVICES, NewDevice};
pub use error::StoreError;
pub use grants::{GRANT_TAIL_SECONDS, Grant, MAX_GRANTS};
pub use ids::{GrantId, StatusIndex, UserId};
pub use refresh::{RETRY_SECONDS, RefreshToken, Rotated, Rotation};
pub use registrations::{KEEPS_ITS_PLACE, NewRegistration, Registered, Registration};
pub use sessions::{MAX_SESSIONS, NewSession, Session};
pub use status::{BLOCK_SIZE, Block, LIST_SIZE, StatusBits};
pub use sweep::Swept;
pub use users::{AddUser, NewUser, PasswordHash, User};

use self::rows::{Query, sql};
use crate::registry::OrgId;
pub use crate::registry::{MAX_USER_NAME_BYTES, UserName, UserNameError};

/// The open store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    /// For statements that only read.
    read: AnyPool,
    /// For the others. On SQLite it has one connection: writers wait in line here, and nobody polls a lock.
    write: AnyPool,
    /// Begins a transaction that will write.
    begin: &'static str,
    /// What could not be done, or made out.
    errors: Counter,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// How long an answer of the database may take. Longer than what the database allows itself, so that its word comes
/// first: this is for one that is silent.
const ANSWER: Duration = Duration::from_secs(6);

/// The most rows of a list that has to be whole.
const MAX_LISTED: usize = 100_000;

impl Store {
    /// The rows that a query finds, each as `read` makes it out.
    async fn rows<T>(
        &self,
        query: Query,
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.answer(async { query.fetch_all(&self.0.read).await?.iter().map(read).collect() }).await
    }

    /// The rows that a query finds, if there are at most [`MAX_LISTED`]: with `LIMIT 100001` it reads no more than it
    /// has to. `what` they are.
    async fn list<T>(
        &self,
        what: &'static str,
        query: Query,
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let listed = async {
            let rows = query.fetch_all(&self.0.read).await?;
            if rows.len() > MAX_LISTED {
                return Err(StoreError::TooMany(what));
            }
            rows.iter().map(read).collect()
        };
        self.answer(listed).await
    }

    /// The one row that a query finds.
    async fn row<T>(
        &self,
        query: Query,
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.answer(async { query.fetch_optional(&self.0.read).await?.as_ref().map(read).transpose() }).await
    }

    /// Whether a query finds anything.
    async fn finds(&self, query: Query) -> Result<bool, StoreError> {
        Ok(self.row(query, |_| Ok(())).await?.is_some())
    }

    /// One statement that writes, and is its own transaction. Gives how many rows it wrote.
    async fn run(&self, query: Query) -> Result<u64, StoreError> {
        self.answer(async { Ok(query.execute(&self.0.write).await?.rows_affected()) }).await
    }

    /// A transaction that writes.
    async fn begin(&self) -> Result<Writer<'_>, StoreError> {
        let connection = self.answer(async { Ok(self.0.write.acquire().await?) }).await?;
        // From here on the connection is closed unless the transaction ends, also when nobody waits for BEGIN any more.
        let mut writer = Writer { connection, ended: false, store: self };
        writer.text(self.0.begin).await?;
        Ok(writer)
    }

    /// A transaction that gives or takes rights in an organization: no other one of that organization runs beside it.
    async fn change(&self, org: &OrgId) -> Result<Writer<'_>, StoreError> {
        let mut writer = self.begin().await?;
        let lock = sql("INSERT INTO orgs (org, list, next_index) VALUES ($1, 0, 0) \
                        ON CONFLICT (org) DO UPDATE SET list = orgs.list");
        writer.run(lock.bind(org.as_str())).await?;
        Ok(writer)
    }

    /// Waits for the database, but not for ever. Counts and logs, in one place, what it said when it fails, and what it
    /// holds that cannot be made out.
    async fn answer<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let error = match timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => StoreError::Silent,
        };
        self.0.errors.inc();
        tracing::error!(%error, "the store failed");
        Err(error)
    }
}

/// A transaction that writes; undone unless it is committed.
///
/// One that was left halfway, because a statement failed or because nobody waits for it any more, closes its
/// connection: whatever the database has heard of it by then, nobody else goes on with it.
struct Writer<'a> {
    connection: PoolConnection<Any>,
    ended: bool,
    store: &'a Store,
}

impl Writer<'_> {
    /// The one row that a statement finds or writes. It is run to its end: what a statement that returns rows writes
    /// is whole only then.
    async fn row<T>(
        &mut self,
        query: Query,
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let connection = &mut *self.connection;
        self.store.answer(async { query.fetch_all(connection).await?.last().map(read).transpose() }).await
    }

    async fn run(&mut self, query: Query) -> Result<u64, StoreError> {
        let connection = &mut *self.connection;
        self.store.answer(async { Ok(query.execute(connection).await?.rows_affected()) }).await
    }

    /// Statements without parameters.
    async fn text(&mut self, text: &'static str) -> Result<(), StoreError> {
        let connection = &mut *self.connection;
        self.store.answer(async { Ok(raw_sql(text).execute(connection).await.map(drop)?) }).await
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        self.text("COMMIT").await?;
        self.ended = true;
        Ok(())
    }

    /// Commits what was done, or undoes it when that is nothing. Gives which.
    async fn end(self, done: bool) -> Result<bool, StoreError> {
        if done {
            self.commit().await?;
        } else {
            self.rollback().await?;
        }
        Ok(done)
    }

    /// Undoes it. To leave it does the same, and costs the connection.
    async fn rollback(mut self) -> Result<(), StoreError> {
        self.text("ROLLBACK").await?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
