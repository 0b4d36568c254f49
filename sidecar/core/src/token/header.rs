//! The JOSE header (RFC 7515 §4): algorithm, type, key identifier; everything else is ignored or refused.

use serde::{Deserialize, Serialize};

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

/// Which `typ` header a token must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenType {
    /// `at+jwt` or `application/at+jwt` (RFC 9068 §2.1), compared without case.
    #[default]
    AccessToken,
}
