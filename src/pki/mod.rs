//! One CA, its leaves and their rotation; the keys that sign access tokens.
//!
//! Every replica holds the CA ([`CaState`], the content of Secret `lumoauth-ca`) and signs its own short-lived leaves
//! ([`Authority::leaf`]). Who trusts is given the whole bundle, so that the CA rotates without a refused connection.

mod authority;
mod certificate;
mod rotation;
pub mod signing;

use std::time::SystemTime;

use lumoauth_core::UnixTime;

pub use authority::{Authority, LEAF_LIFETIME, Leaf};
pub use certificate::Certificate;
pub use rotation::{CA_LIFETIME, CaState, FORCED_NOTICE, NOTICE, Observed, Step};

/// The time, for those who call what takes it as an argument.
pub fn wall_clock() -> UnixTime {
    // A clock that stands before 1970 reads as 1970: every certificate is then too young to be used.
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Certificates or keys that cannot be made or used. No variant holds key material.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The Secret lacks a key.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Not a PEM certificate.
    #[error("{0} is not a PEM certificate")]
    Certificate(&'static str),
    /// Not a PEM private key, or that of another certificate.
    #[error("{0} is not the private key of its certificate")]
    Key(&'static str),
    /// A certificate that may not sign others.
    #[error("{0} is not the certificate of a CA")]
    NotCa(&'static str),
    /// The record of the rotation cannot be read.
    #[error("rotation.json cannot be read: {0}")]
    Record(#[from] serde_json::Error),
    /// The cryptographic library failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}
