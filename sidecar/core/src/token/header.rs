//! The JOSE header (RFC 7515 §4): algorithm, type, key identifier; everything else is ignored or refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MAX_KID_BYTES, TokenError};
use crate::json;

/// Signature algorithms we verify (RFC 7518 §3.1, RFC 8037 §3.1). No `none`, no HMAC: they cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA, P-256, SHA-256.
    ES256,
    /// ECDSA, P-384, SHA-384.
    ES384,
    /// RSASSA-PKCS1-v1_5, SHA-256.
    RS256,
    /// RSASSA-PSS, SHA-256.
    PS256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// The algorithm of this `alg`, compared byte for byte (RFC 7515 §4.1.1).
    pub(super) fn named(alg: &str) -> Option<Self> {
        match alg {
            "ES256" => Some(Self::ES256),
            "ES384" => Some(Self::ES384),
            "RS256" => Some(Self::RS256),
            "PS256" => Some(Self::PS256),
            "EdDSA" => Some(Self::EdDSA),
            _ => None,
        }
    }

    pub(super) fn backend(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Which `typ` header a token must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenType {
    /// `at+jwt` or `application/at+jwt` (RFC 9068 §2.1), compared without case.
    #[default]
    AccessToken,
}

impl TokenType {
    fn as_str(&self) -> &'static str {
        match self {
            Self::AccessToken => "at+jwt",
        }
    }
}

/// What a header says. Key material in it (`jwk`, `jku`, `x5u`, `x5c`) is never looked at (RFC 8725 §3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    typ: Option<String>,
}

impl Header {
    /// Reads the decoded first segment.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        let members = json::object(bytes).map_err(|_| TokenError::Malformed)?;
        // RFC 7515 §4.1.11: an extension we do not implement must be refused, and we implement none. `b64` (RFC 7797)
        // changes what is signed even where `crit` forgets to say so.
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(TokenError::CriticalHeader);
        }
        let algorithm = members
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::named)
            .ok_or(TokenError::UnsupportedAlgorithm)?;
        let key_id = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=MAX_KID_BYTES).contains(&kid.len()) => Some(kid.clone()),
            Some(_) => return Err(TokenError::KeyId),
        };
        let typ = match members.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(typ.clone()),
            Some(_) => return Err(TokenError::WrongType),
        };
        Ok(Self { algorithm, key_id, typ })
    }

    /// Whether the token declares itself to be of this type (RFC 8725 §3.11).
    pub(super) fn is_of_type(&self, expected: &TokenType) -> bool {
        self.is_named(Some(expected.as_str()))
    }

    /// Whether `typ` is this media type, with or without `application/` (RFC 7515 §4.1.9); or is absent, for `None`.
    pub(super) fn is_named(&self, expected: Option<&str>) -> bool {
        match (self.typ.as_deref(), expected) {
            (Some(typ), Some(expected)) => match typ.split_at_checked("application/".len()) {
                Some((prefix, name)) if prefix.eq_ignore_ascii_case("application/") => {
                    name.eq_ignore_ascii_case(expected)
                }
                _ => typ.eq_ignore_ascii_case(expected),
            },
            (typ, expected) => typ.is_none() && expected.is_none(),
        }
    }
}
