//! Logs, and the one crypto provider of the process.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Logging that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log level {level:?} cannot be read: {source}: write error, warn, info, debug, or info,lumoauth=debug")]
    Level {
        /// What was asked for.
        level: String,
        /// Why it cannot be read.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Someone set up logging before us.
    #[error("logging is set up already")]
    Twice,
}

/// Starts logging to standard error: readable on a terminal, one JSON object per line elsewhere. `level` is a level
/// (`info`) or a filter (`info,lumoauth=debug`).
pub fn init(level: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|source| TelemetryError::Level { level: level.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        builder.compact().with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    started.map_err(|_| TelemetryError::Twice)
}

/// Makes aws-lc-rs the provider of every TLS connection. Later calls change nothing.
pub fn install_crypto_provider() {
    // An error says that a provider is there; it can only be ours, because no other one is linked.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
