//! Verification, in the order of RFC 9068 §4.

use std::ops::Deref;

use super::{AccessToken, Algorithm, MAX_TOKEN_BYTES, TokenError, TokenType, VerificationKey, claims, jws::Jws};
use crate::{IssuerUrl, ResourceUri, UnixTime};

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
#[derive(Clone, Copy, Debug)]
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

/// A token whose size, form and header are acceptable, and nothing more.
pub struct Unverified<'a> {
    jws: Jws<'a>,
    issuer: String,
}

impl<'a> Unverified<'a> {
    /// Checks size, segments and header, and reads `iss` to find the issuer's keys.
    pub fn parse(raw: &'a str) -> Result<Self, TokenError> {
        let jws = Jws::parse(raw, MAX_TOKEN_BYTES)?;
        let issuer = claims::text(&jws.claims, "iss").ok_or(TokenError::WrongIssuer)?.to_owned();
        Ok(Self { jws, issuer })
    }

    /// `iss`, unverified: good for nothing but choosing among configured issuers.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `aud`, unverified: good for nothing but choosing among resources of ours.
    pub fn audience(&self) -> Option<&str> {
        claims::sole_audience(&self.jws.claims)
    }

    /// `kid` of the header.
    pub fn key_id(&self) -> Option<&str> {
        self.jws.header.key_id.as_deref()
    }

    /// `alg` of the header.
    pub fn algorithm(&self) -> Algorithm {
        self.jws.header.algorithm
    }

    /// Checks the signature with `key`, then the claims at `now`.
    pub fn verify(
        &self,
        key: &VerificationKey,
        expect: &Expectations<'_>,
        now: UnixTime,
    ) -> Result<Verified<AccessToken>, TokenError> {
        if !self.jws.header.is_of_type(expect.token_type) {
            return Err(TokenError::WrongType);
        }
        self.jws.check(key, expect.algorithms)?;
        claims::judge(&self.jws.claims, expect, now).map(Verified)
    }
}
