//! Access tokens: JWTs of RFC 9068, verified without I/O.
//!
//! Two steps, because the key may have to be fetched in between: [`Unverified::parse`] checks size and header and tells
//! whose key is needed; [`Unverified::verify`] checks the signature and the claims.

mod claims;
mod header;
mod keyset;
mod verify;

pub use claims::AccessToken;
pub use header::{Algorithm, TokenType};
pub use keyset::{JsonWebKeySet, KeyMatch, KeySet, VerificationKey};
pub use verify::{Expectations, TokenError, Unverified, Verified};

/// The longest token we look at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8192;
/// The longest `kid` we look up, in bytes.
pub const MAX_KID_BYTES: usize = 256;
/// How far clocks may differ, in seconds.
pub const LEEWAY_SECONDS: u64 = 30;
