//! The claims of an access token (RFC 9068 §2.2), parsed strictly.

use crate::{ClientId, IssuerUrl, ScopeSet, UnixTime};

/// What a verified access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// `iss`.
    pub issuer: IssuerUrl,
    /// `sub`: 1 to 256 characters without control characters.
    pub subject: String,
    /// `client_id`.
    pub client: ClientId,
    /// `scope`; empty when absent.
    pub scopes: ScopeSet,
    /// `exp`.
    pub expires_at: UnixTime,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `jti`, when present.
    pub id: Option<String>,
}
