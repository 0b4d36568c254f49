//! Access tokens: JWTs of RFC 9068, verified without I/O.
//!
//! Two steps, because the key may have to be fetched in between: [`Unverified::parse`] checks size and header and tells
//! whose key is needed; [`Unverified::verify`] checks the signature and the claims.
//!
//! jsonwebtoken checks the signature and nothing else; what a token may look like and say is decided here. Its crypto
//! provider comes from its one enabled backend (`aws_lc_rs`): a binary has nothing to install.

mod assertion;
mod claims;
mod error;
mod header;
mod jws;
mod keyset;
mod status;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;

pub use assertion::{
    ASSERTION_ALGORITHMS, AssertionError, AssertionExpectations, ClientAssertion, MAX_ASSERTION_ID_BYTES,
    MAX_ASSERTION_SECONDS,
};
pub use claims::AccessToken;
pub use error::TokenError;
pub use header::{Algorithm, TokenType};
pub use keyset::{JsonWebKeySet, KeyMatch, KeySet, VerificationKey};
pub use status::{
    MAX_STATUS_INDEXES, MAX_STATUS_TOKEN_BYTES, STATUS_LIST_TYPE, StatusError, StatusExpectations, StatusList,
    StatusListClaims, StatusListToken, StatusReference,
};
pub use verify::{Expectations, Unverified, Verified};

/// The longest token we look at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8192;
/// The longest `kid` we look up, in bytes.
pub const MAX_KID_BYTES: usize = 256;
/// The longest `sub`, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 256;
/// The longest `jti`, in bytes.
pub const MAX_TOKEN_ID_BYTES: usize = 256;
/// The most keys of one issuer we keep.
pub const MAX_KEYS: usize = 64;
/// How far clocks may differ, in seconds.
pub const LEEWAY_SECONDS: u64 = 30;
/// The longest time between `iat` and `exp`, in seconds: the upper bound of an McpServer's `tokenLifetimeSeconds`.
pub const MAX_LIFETIME_SECONDS: u64 = 86_400;
