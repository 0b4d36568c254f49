//! Why a token request is refused.

use crate::authserver::{
    authenticate::AuthenticationError,
    form::FormError,
    oauth::{OAuthError, Refusal, Told},
    resource::{NOT_FOR_CLIENT, NoTarget},
    status::NoIndex,
    store::StoreError,
};

/// One cause each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::authserver) enum Refused {
    /// The parameters cannot be read.
    Form(FormError),
    /// The client is not authenticated.
    Client(AuthenticationError),
    /// No `grant_type`.
    NoGrantType,
    /// A grant that is not built.
    UnsupportedGrantType,
    /// The client is not registered for this grant.
    GrantNotRegistered,
    /// More than one resource, and a token has one audience.
    SeveralResources,
    /// There is no such server for the client.
    Resource(NoTarget),
    /// Not a resource that the user agreed to.
    ResourceNotGranted,
    /// `scope` is no list of scope-tokens.
    MalformedScope,
    /// Nothing is left of what was asked for.
    NoScopeLeft,
    /// More scopes than the user agreed to (RFC 6749 §6).
    ScopeNotGranted,
    /// No `code`.
    NoCode,
    /// Nobody was given this code, or too long ago (RFC 6749 §4.1.2).
    UnknownCode,
    /// The code is another client's (RFC 6749 §4.1.3).
    CodeOfAnotherClient,
    /// A `redirect_uri` that is not the one the code was sent to (RFC 6749 §4.1.3).
    WrongRedirectUri,
    /// `code_verifier` is missing, or no verifier (RFC 7636 §4.5).
    NoVerifier,
    /// The challenge was not made from this verifier (RFC 7636 §4.6).
    WrongVerifier,
    /// The code was redeemed before: what came of it is revoked (RFC 6749 §10.5).
    CodeReplayed,
    /// No `refresh_token`.
    NoRefreshToken,
    /// Nobody was given this refresh token, or too long ago.
    UnknownRefreshToken,
    /// The refresh token is another client's (RFC 6749 §6).
    RefreshTokenOfAnotherClient,
    /// The refresh token expired.
    RefreshTokenExpired,
    /// The grant was revoked.
    Revoked,
    /// The page that the user agreed to did not say that the client stays connected.
    NotOffline,
    /// The refresh token was used before: the grant is revoked (RFC 9700 §4.14.2).
    RefreshTokenReplayed,
    /// The user is disabled or gone.
    UserDisabled,
    /// The server's `grants` allow this user nothing of what was agreed to any more.
    NothingGrantedAnyMore,
    /// The store does not answer.
    Store,
    /// The token could not be made.
    Minting,
}

impl From<FormError> for Refused {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

impl From<AuthenticationError> for Refused {
    fn from(error: AuthenticationError) -> Self {
        Self::Client(error)
    }
}

impl From<NoTarget> for Refused {
    fn from(none: NoTarget) -> Self {
        Self::Resource(none)
    }
}

impl From<StoreError> for Refused {
    /// The store has logged it.
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl From<NoIndex> for Refused {
    fn from(none: NoIndex) -> Self {
        match none {
            NoIndex::Disabled => Self::Client(AuthenticationError::Disabled),
            NoIndex::Store => Self::Store,
        }
    }
}

impl Refusal for Refused {
    fn told(&self) -> Told {
        const CODE: &str = "the code is not valid, expired, was used before, or is not for this request";
        const REFRESH: &str = "the refresh token is not valid, expired, was used before, or was revoked";
        let request = |reason, text| Told(OAuthError::InvalidRequest, reason, text);
        let target = |reason, text| Told(OAuthError::InvalidTarget, reason, text);
        let scope = |reason, text| Told(OAuthError::InvalidScope, reason, text);
        let grant = |reason, text| Told(OAuthError::InvalidGrant, reason, text);
        match self {
            Self::Form(error) => error.told(),
            Self::Client(error) => error.told(),
            Self::NoGrantType => request("no_grant_type", "the parameter grant_type is missing"),
            Self::UnsupportedGrantType => Told(
                OAuthError::UnsupportedGrantType,
                "unsupported_grant_type",
                "use grant_type authorization_code, refresh_token or client_credentials",
            ),
            Self::GrantNotRegistered => {
                Told(OAuthError::UnauthorizedClient, "grant_not_registered", "this client may not use this grant_type")
            }
            Self::SeveralResources => {
                target("several_resources", "ask for one resource at a time: a token has one audience")
            }
            Self::Resource(none) => none.told(),
            Self::ResourceNotGranted => target("resource_not_granted", NOT_FOR_CLIENT),
            Self::MalformedScope => scope("malformed_scope", "separate scopes by single spaces, without quotes"),
            Self::NoScopeLeft => scope("no_scope_left", "this client may have none of these scopes on this resource"),
            Self::ScopeNotGranted => scope("scope_not_granted", "ask for no more scopes than were granted"),
            Self::NoCode => request("no_code", "the parameter code is missing"),
            Self::NoVerifier => grant("no_verifier", "the parameter code_verifier is missing, or is no verifier"),
            Self::UnknownCode => grant("unknown_code", CODE),
            Self::CodeOfAnotherClient => grant("code_of_another_client", CODE),
            Self::WrongRedirectUri => grant("wrong_redirect_uri", CODE),
            Self::WrongVerifier => grant("wrong_verifier", CODE),
            Self::CodeReplayed => grant("code_replayed", CODE),
            Self::NoRefreshToken => request("no_refresh_token", "the parameter refresh_token is missing"),
            Self::UnknownRefreshToken => grant("unknown_refresh_token", REFRESH),
            Self::RefreshTokenOfAnotherClient => grant("refresh_token_of_another_client", REFRESH),
            Self::RefreshTokenExpired => grant("refresh_token_expired", REFRESH),
            Self::Revoked => grant("revoked", REFRESH),
            Self::NotOffline => grant("not_offline", REFRESH),
            Self::RefreshTokenReplayed => grant("refresh_token_replayed", REFRESH),
            Self::UserDisabled => grant("user_disabled", "the user has to log in again"),
            Self::NothingGrantedAnyMore => grant("nothing_granted_any_more", "the user has to log in again"),
            Self::Store => Told(OAuthError::Unavailable, "store", "the server cannot answer now: try again"),
            Self::Minting => Told(OAuthError::Internal, "minting", "the token could not be issued: try again"),
        }
    }
}
