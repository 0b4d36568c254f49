//! Verification, in the order of RFC 9068 §4.

use std::ops::Deref;

use super::{AccessToken, Algorithm, TokenType, VerificationKey};
use crate::{IssuerUrl, ResourceUri, UnixTime};

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Not three non-empty base64url segments of acceptable size.
    #[error("the token is malformed")]
    Malformed,
}

impl TokenError {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        "malformed"
    }

    /// The `error_description` of the challenge: from a closed list, without `=` and quotes.
    pub fn description(self) -> &'static str {
        "the token is malformed"
    }
}

/// Proof that the value was verified. Only this module can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// What a token must say to be one for us.
pub struct Expectations<'a> {
    /// `iss`, byte for byte.
    pub issuer: &'a IssuerUrl,
    /// `aud`, byte for byte: the one audience.
    pub audience: &'a ResourceUri,
    /// Which algorithms the issuer may use.
    pub algorithms: &'a [Algorithm],
    /// Which `typ`.
    pub token_type: &'a TokenType,
}

/// A token whose size and header are acceptable, and nothing more.
pub struct Unverified<'a> {
    raw: &'a str,
    issuer: String,
}

impl<'a> Unverified<'a> {
    /// Checks size, segments and header, and reads `iss` to find the issuer's keys.
    pub fn parse(_raw: &'a str) -> Result<Self, TokenError> {
        Err(TokenError::Malformed)
    }

    /// `iss`, unverified: good for nothing but choosing among configured issuers.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `kid` of the header.
    pub fn key_id(&self) -> Option<&str> {
        Some(self.raw)
    }

    /// `alg` of the header.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }

    /// Checks the signature with `key`, then the claims at `now`.
    pub fn verify(
        &self,
        _key: &VerificationKey,
        _expect: &Expectations<'_>,
        _now: UnixTime,
    ) -> Result<Verified<AccessToken>, TokenError> {
        Err(TokenError::Malformed)
    }
}
