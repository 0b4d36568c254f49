//! The schema: numbered steps, only forward, under a lock.

use sqlx::raw_sql;

use super::{
    Store, StoreError,
    rows::{Columns as _, sql},
};

/// The steps; the version of a database is how many it has taken. One that was released is never changed.
const STEPS: [&str; 1] = [include_str!("migrations/0001_initial.sql")];

/// Takes the lock of the schema until the transaction ends. SQLite needs none: its writing transaction is one.
pub(super) const POSTGRES_LOCK: &str = "SET LOCAL statement_timeout TO 0; SET LOCAL lock_timeout TO 0; \
                                        SELECT pg_advisory_xact_lock(7811321905)";

/// Takes the steps that the database has not taken yet, all or none.
pub(super) async fn run(store: &Store, lock: Option<&'static str>) -> Result<(), StoreError> {
    let mut writer = store.begin().await?;
    if let Some(lock) = lock {
        // Without a limit: another process may be taking long steps.
        raw_sql(lock).execute(&mut *writer.connection).await?;
    }
    writer.run(sql("CREATE TABLE IF NOT EXISTS schema_steps (step BIGINT PRIMARY KEY)")).await?;
    let newest = sql("SELECT COALESCE(MAX(step), 0) AS newest FROM schema_steps");
    let found = writer.row(newest, |row| row.number("newest")).await?.unwrap_or_default();
    let known = STEPS.len() as u64;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (step, text) in (1_i64..).zip(STEPS).filter(|(step, _)| step.unsigned_abs() > found) {
        raw_sql(text).execute(&mut *writer.connection).await?;
        writer.run(sql("INSERT INTO schema_steps (step) VALUES ($1)").bind(step)).await?;
        tracing::info!(step, "the database has a new schema");
    }
    writer.commit().await
}
