//! What kind of grant (RFC 6749 §4.1.3, §4.4.2, §6), and whether the client is registered for it (§5.2).

use super::Refused;
use crate::authserver::{clients::OAuthClient, parameters::Parameters};

/// The grants there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

impl Kind {
    /// `grant_type`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// The grant that is asked for, if the client may use it.
pub(super) fn kind(form: &Parameters<'_>, client: &OAuthClient) -> Result<Kind, Refused> {
    let grants = client.grants;
    let (kind, registered) = match form.get("grant_type").ok_or(Refused::NoGrantType)? {
        "authorization_code" => (Kind::AuthorizationCode, grants.authorization_code),
        "refresh_token" => (Kind::RefreshToken, grants.refresh_token),
        // RFC 6749 §4.4: a client that proves nothing cannot act for itself.
        "client_credentials" => (Kind::ClientCredentials, grants.client_credentials && client.is_confidential()),
        _ => return Err(Refused::UnsupportedGrantType),
    };
    if registered { Ok(kind) } else { Err(Refused::GrantNotRegistered) }
}
