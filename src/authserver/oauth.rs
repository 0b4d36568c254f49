//! What OAuth endpoints say when they refuse.

/// `error` of RFC 6749 §5.2 and RFC 8707 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OAuthError {
    /// The request is not what it must be.
    InvalidRequest,
    /// The same, because it is too long.
    TooLarge,
    /// The client did not prove who it is.
    InvalidClient,
    /// A code or a refresh token that is good for nothing here.
    InvalidGrant,
    /// The client may not do this.
    UnauthorizedClient,
    /// A `grant_type` that nobody may use.
    UnsupportedGrantType,
    /// A resource that the client may not name.
    InvalidTarget,
    /// Scopes that the client may not have.
    InvalidScope,
    /// The store does not answer.
    Unavailable,
    /// Something that should not happen.
    Internal,
}

impl OAuthError {
    /// The word on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::TooLarge => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidScope => "invalid_scope",
            Self::Unavailable => "temporarily_unavailable",
            Self::Internal => "server_error",
        }
    }
}

/// What a refusal is told as: to the client an error and a sentence, which is the same for everything that would tell a
/// stranger more than "no"; to log and metric a stable word, which may tell more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told(pub(super) OAuthError, pub(super) &'static str, pub(super) &'static str);

/// A cause for which an OAuth endpoint refuses.
pub(super) trait Refusal {
    /// How it is told.
    fn told(&self) -> Told;
}
