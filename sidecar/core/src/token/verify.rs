//! Verification, in the order of RFC 9068 §4.

use std::ops::Deref;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{AccessToken, Algorithm, MAX_TOKEN_BYTES, TokenError, TokenType, VerificationKey, claims, header::Header};
use crate::{IssuerUrl, ResourceUri, UnixTime, json};

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
    /// The first two segments as received: what the signature is over (RFC 7515 §5.2).
    signing_input: &'a str,
    signature: &'a str,
    header: Header,
    claims: Map<String, Value>,
    issuer: String,
}

impl<'a> Unverified<'a> {
    /// Checks size, segments and header, and reads `iss` to find the issuer's keys.
    pub fn parse(raw: &'a str) -> Result<Self, TokenError> {
        if raw.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (signing_input, signature) = raw.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signing_input.split_once('.').ok_or(TokenError::Malformed)?;
        if claims.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = Header::parse(&decode(header)?)?;
        let claims = json::object(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        decode(signature)?;
        let issuer = claims::issuer(&claims).ok_or(TokenError::WrongIssuer)?.to_owned();
        Ok(Self { signing_input, signature, header, claims, issuer })
    }

    /// `iss`, unverified: good for nothing but choosing among configured issuers.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `kid` of the header.
    pub fn key_id(&self) -> Option<&str> {
        self.header.key_id.as_deref()
    }

    /// `alg` of the header.
    pub fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }

    /// Checks the signature with `key`, then the claims at `now`.
    pub fn verify(
        &self,
        key: &VerificationKey,
        expect: &Expectations<'_>,
        now: UnixTime,
    ) -> Result<Verified<AccessToken>, TokenError> {
        let algorithm = self.header.algorithm;
        if algorithm != key.algorithm() || !expect.algorithms.contains(&algorithm) {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        if !self.header.is_of_type(expect.token_type) {
            return Err(TokenError::WrongType);
        }
        if !key.signed(self.signing_input, self.signature) {
            return Err(TokenError::BadSignature);
        }
        claims::judge(&self.claims, expect, now).map(Verified)
    }
}

/// One non-empty segment in its only spelling: no padding, no white space, no stray bits (RFC 7515 §2).
fn decode(segment: &str) -> Result<Vec<u8>, TokenError> {
    match URL_SAFE_NO_PAD.decode(segment) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(TokenError::Malformed),
    }
}
