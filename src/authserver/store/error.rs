//! Why the store cannot answer.

use std::{io, path::PathBuf};

use crate::authserver::artefact::RandomError;

/// Why the store cannot answer. Its text is for the log: it never reaches a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory of the SQLite file is not there.
    #[error("storage.sqlite: the directory {} is not there: make it, or mount a volume there", .0.display())]
    Directory(PathBuf),
    /// The SQLite file cannot be opened.
    #[error("storage.sqlite: cannot open {path}: {error}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file with PostgreSQL's URL cannot be read.
    #[error("storage.postgres.urlFile: cannot read {path}: {error}", path = .path.display())]
    UrlFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The URL cannot be used. It is not shown: a password may be in it.
    #[error(
        "storage.postgres.urlFile: {path} holds no URL of a PostgreSQL database: \
         write postgres://user:password@host/database?sslmode=verify-full",
        path = .0.display()
    )]
    Url(PathBuf),
    /// A newer LumoAuth wrote the database.
    #[error(
        "the database has schema {found} and this LumoAuth knows {known}: run the newer LumoAuth again, or restore the \
         backup made before it ran"
    )]
    Newer {
        /// The version of the database.
        found: u64,
        /// The newest version that this program knows.
        known: u64,
    },
    /// The database cannot be reached, or refuses.
    #[error("the database cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// The database took too long.
    #[error("the database does not answer")]
    Silent,
    /// A row that this program would not have written.
    #[error("the database holds an unusable {0}")]
    Corrupt(&'static str),
    /// More rows than anybody may read at once.
    #[error("the database holds too many rows of {0}")]
    TooMany(&'static str),
    /// No randomness for an identifier.
    #[error(transparent)]
    Random(#[from] RandomError),
}
