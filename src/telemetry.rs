//! Logs, and the one crypto provider of the process.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Logging that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log level {0:?} cannot be read: write error, warn, info, debug, or a filter as info,lumoauth=debug")]
    Level(String),
    /// Someone set up logging before us.
    #[error("logging is set up already")]
    Twice,
}

/// Starts logging to standard error: readable on a terminal, one JSON object per line elsewhere. `level` is a level
/// (`info`) or a filter (`info,lumoauth=debug`).
pub fn init(level: &str) -> Result<(), TelemetryError> {
    let filter = filter(level).ok_or_else(|| TelemetryError::Level(level.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        builder.compact().with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    started.map_err(|_| TelemetryError::Twice)
}

/// A filter, in which a word alone must be a level: `EnvFilter` would take a mistyped one for the name of a target, and
/// log nothing.
fn filter(level: &str) -> Option<EnvFilter> {
    let parts: Vec<_> = level.split(',').map(str::trim).collect();
    // The empty text is a level to tracing.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let sound = parts.iter().all(|part| part.contains('=') || is_level(part));
    sound.then(|| EnvFilter::builder().parse(parts.join(",")).ok())?
}

/// Makes aws-lc-rs the provider of every TLS connection. Later calls change nothing.
pub fn install_crypto_provider() {
    // An error says that a provider is there; it can only be ours, because no other one is linked.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("info", true)]
    #[case("DEBUG", true)]
    #[case("off", true)]
    #[case("warn,audit=info", true)]
    #[case("info, lumoauth=debug", true)]
    #[case("", false)]
    #[case("inf", false)]
    #[case("info,", false)]
    #[case("lumoauth=loud", false)]
    #[case("info,hyper", false)]
    fn levels(#[case] level: &str, #[case] good: bool) {
        assert_eq!(filter(level).is_some(), good);
    }
}
