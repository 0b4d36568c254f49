//! Connections: how each database is opened.

use std::{
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    str::FromStr as _,
    sync::{Arc, Once},
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus_client::metrics::counter::Counter;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use tokio::time::{sleep, timeout};
use url::Url;
use zeroize::Zeroizing;

use super::{Inner, Store, StoreError, migrations};
use crate::settings::Storage;

/// How long a request waits for a connection, and a connection for the database.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a file that another process prepares is left alone.
const RETRY: Duration = Duration::from_millis(50);
/// The most connections that read.
const READERS: u32 = 4;
/// The most connections to PostgreSQL.
const CONNECTIONS: u32 = 16;

/// WAL: the command line reads and writes beside the server. FULL: what was answered survives power failure. MEMORY: in
/// a container no directory for temporary files can be written, and a statement that needs one would fail.
const SQLITE_WRITER: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                             PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY";
const SQLITE_READER: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY";
/// The statements of this module are written for READ COMMITTED; nothing may hold a lock for long.
const POSTGRES: &str = "SET default_transaction_isolation TO 'read committed'; SET statement_timeout TO '5s'; \
                        SET lock_timeout TO '5s'; SET idle_in_transaction_session_timeout TO '10s'";

impl Store {
    /// Opens the database that the settings name, and brings its schema up to date. `errors` counts what the store
    /// cannot do.
    pub async fn open(storage: &Storage, errors: Counter) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let (inner, lock) = match storage {
            Storage::Sqlite { path } => (sqlite(path, errors).await?, None),
            Storage::Postgres { url_file } => (postgres(url_file, errors).await?, Some(migrations::POSTGRES_LOCK)),
        };
        let store = Self(Arc::new(inner));
        migrations::run(&store, lock).await?;
        Ok(store)
    }

    /// Closes every connection, once those at work have ended. Dropping the store does the same later.
    pub async fn close(&self) {
        let closed = async {
            self.0.write.close().await;
            self.0.read.close().await;
        };
        if timeout(TIMEOUT, closed).await.is_err() {
            tracing::warn!("the database does not answer: its connections are left to end by themselves");
        }
    }
}

async fn sqlite(path: &Path, errors: Counter) -> Result<Inner, StoreError> {
    let failed = |error| StoreError::File { path: path.to_owned(), error };
    create(path)?;
    let path = fs::canonicalize(path).map_err(failed)?;
    let text = path.to_str().ok_or_else(|| failed(io::Error::other("its path is not UTF-8")))?;
    let url = format!("sqlite://{}", utf8_percent_encode(text, NON_ALPHANUMERIC));
    let options = AnyConnectOptions::from_str(&url)?;
    connect(&options, SQLITE_WRITER).await?;
    let pool = |most: u32, prepare| {
        let pool = AnyPoolOptions::new().max_connections(most).acquire_timeout(TIMEOUT);
        // A connection to a file does not age.
        let pool = pool.max_lifetime(None).idle_timeout(None).test_before_acquire(false);
        prepared(pool, prepare).connect_lazy_with(options.clone())
    };
    Ok(Inner { read: pool(READERS, SQLITE_READER), write: pool(1, SQLITE_WRITER), begin: "BEGIN IMMEDIATE", errors })
}

/// Makes the file, readable by this user alone: SQLite gives its other files the same permissions.
fn create(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::File { path: path.to_owned(), error };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(StoreError::Directory(directory.to_owned()));
    }
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    // One that somebody else made, or that was restored. On some volumes the owner is another user: then it stays.
    let others_may_read = file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0;
    if others_may_read && let Err(error) = file.set_permissions(Permissions::from_mode(0o600)) {
        tracing::warn!(path = %path.display(), %error, "other users of this machine may read the database");
    }
    Ok(())
}

async fn postgres(url_file: &Path, errors: Counter) -> Result<Inner, StoreError> {
    let failed = |error| StoreError::UrlFile { path: url_file.to_owned(), error };
    let text = Zeroizing::new(fs::read_to_string(url_file).map_err(failed)?);
    let unusable = || StoreError::Url(url_file.to_owned());
    let url = Url::parse(text.trim()).map_err(|_| unusable())?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(unusable());
    }
    let options = AnyConnectOptions::from_url(&url)?;
    connect(&options, POSTGRES).await?;
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(TIMEOUT);
    // Somebody may have stopped waiting for an answer. A connection that owes one for long is closed, else it would
    // be missing from the pool until the network gives it up.
    let pool = pool.after_release(|connection, _| {
        Box::pin(async move {
            let answered = timeout(TIMEOUT, connection.ping()).await;
            answered.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))).map(|()| true)
        })
    });
    let pool = prepared(pool, POSTGRES).connect_lazy_with(options);
    Ok(Inner { read: pool.clone(), write: pool, begin: "BEGIN", errors })
}

/// Connects once: a pool tells only that it waited in vain, this tells why.
async fn connect(options: &AnyConnectOptions, statements: &'static str) -> Result<(), sqlx::Error> {
    let once = async || {
        let mut connection = options.connect().await?;
        connection.execute(statements).await?;
        connection.close().await
    };
    let until_free = async {
        loop {
            match once().await {
                // Another process makes the file what this one is about to make it.
                Err(sqlx::Error::Database(error)) if error.message() == "database is locked" => sleep(RETRY).await,
                result => return result,
            }
        }
    };
    timeout(TIMEOUT, until_free).await.map_err(|_| sqlx::Error::PoolTimedOut)?
}

/// Every new connection runs `statements` first.
fn prepared(pool: AnyPoolOptions, statements: &'static str) -> AnyPoolOptions {
    pool.after_connect(move |connection, _| Box::pin(async move { connection.execute(statements).await.map(drop) }))
}
