//! A JWS in compact form (RFC 7515 §7.1) whose payload is a set of claims: what all our tokens are.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{Algorithm, KeyMatch, KeySet, TokenError, VerificationKey, header::Header};
use crate::json;

/// Size, form and header are acceptable, and nothing more.
pub(super) struct Jws<'a> {
    /// The first two segments as received: what the signature is over (RFC 7515 §5.2).
    signing_input: &'a str,
    signature: &'a str,
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
}

impl<'a> Jws<'a> {
    /// Reads a token of at most `longest` bytes.
    pub(super) fn parse(raw: &'a str, longest: usize) -> Result<Self, TokenError> {
        if raw.len() > longest {
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
        Ok(Self { signing_input, signature, header, claims })
    }

    /// The key of `keys` that the header asks for.
    pub(super) fn find_key<'k>(&self, keys: &'k KeySet) -> KeyMatch<'k> {
        keys.find(self.header.key_id.as_deref(), self.header.algorithm)
    }

    /// Whether it is signed with `key`, by one of `algorithms`.
    pub(super) fn check(&self, key: &VerificationKey, algorithms: &[Algorithm]) -> Result<(), TokenError> {
        let algorithm = self.header.algorithm;
        if algorithm != key.algorithm() || !algorithms.contains(&algorithm) {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        if key.signed(self.signing_input, self.signature) { Ok(()) } else { Err(TokenError::BadSignature) }
    }
}

/// One non-empty segment in its only spelling: no padding, no white space, no stray bits (RFC 7515 §2).
fn decode(segment: &str) -> Result<Vec<u8>, TokenError> {
    match URL_SAFE_NO_PAD.decode(segment) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(TokenError::Malformed),
    }
}
