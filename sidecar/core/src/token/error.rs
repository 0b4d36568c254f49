//! Why a token is refused.

use std::fmt;

/// Why a token is refused. Displays as [`TokenError::description`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenError {
    /// Longer than [`super::MAX_TOKEN_BYTES`].
    TooLong,
    /// Not three segments of canonical base64url, the first two of them JSON objects without duplicate keys.
    Malformed,
    /// `crit` or `b64` in the header.
    CriticalHeader,
    /// `alg` is none we verify, none this issuer may use, or not that of the key.
    UnsupportedAlgorithm,
    /// `kid` is empty, too long, or not a string.
    KeyId,
    /// `typ` is not that of an access token.
    WrongType,
    /// The issuer has no such key, or none that may be used so.
    UnknownKey,
    /// The signature is not the key's.
    BadSignature,
    /// `iss` is not a string, or not an issuer we trust for this server.
    WrongIssuer,
    /// `aud` is not exactly this server.
    WrongAudience,
    /// The token is an ID token (`nonce`, `at_hash`).
    IdToken,
    /// The token is bound to a key (`cnf`), whose proof we cannot check.
    SenderConstrained,
    /// `exp`, `iat` or `nbf` is missing, not a whole number of seconds, or impossible.
    Dates,
    /// `exp` has passed.
    Expired,
    /// `iat` or `nbf` lies in the future.
    NotYetValid,
    /// Valid for longer than [`super::MAX_LIFETIME_SECONDS`].
    LifetimeTooLong,
    /// `sub` is missing, empty, too long, or holds control characters.
    Subject,
    /// `client_id` is missing or not one.
    Client,
    /// `scope` is not a list of scope-tokens.
    Scope,
    /// `jti` is empty, too long, or not plain text.
    TokenId,
    /// `status` is there and does not say which bit of which list is the token's.
    Status,
    /// `status` names a list that is none of its issuer's.
    ForeignStatus,
    /// The issuer's status list says so.
    Revoked,
}

impl TokenError {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.texts().0
    }

    /// The `error_description` of the challenge: from a closed list, without `=`, quotes and backslashes.
    pub fn description(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::TooLong => ("too_long", "token is too long"),
            Self::Malformed => ("malformed", "token is malformed"),
            Self::CriticalHeader => ("critical_header", "token uses an extension that is not supported"),
            Self::UnsupportedAlgorithm => ("algorithm", "token is signed with an algorithm that is not accepted"),
            Self::KeyId => ("key_id", "token names its key in a way that is not accepted"),
            Self::WrongType => ("type", "token is not an access token"),
            Self::UnknownKey => ("unknown_key", "token is signed by an unknown key"),
            Self::BadSignature => ("signature", "token signature is not valid"),
            Self::WrongIssuer => ("issuer", "token is from an issuer that is not trusted here"),
            Self::WrongAudience => ("audience", "token is for another resource"),
            Self::IdToken => ("id_token", "token is an ID token and not an access token"),
            Self::SenderConstrained => ("sender_constrained", "token is bound to a key and is not a bearer token"),
            Self::Dates => ("dates", "token has no sensible dates"),
            Self::Expired => ("expired", "token expired"),
            Self::NotYetValid => ("not_yet_valid", "token is not valid yet"),
            Self::LifetimeTooLong => ("lifetime", "token is valid for too long"),
            Self::Subject => ("subject", "token has no acceptable subject"),
            Self::Client => ("client", "token has no acceptable client"),
            Self::Scope => ("scope", "token has an unreadable list of scopes"),
            Self::TokenId => ("token_id", "token has an unacceptable identifier"),
            Self::Status => ("status", "token has an unreadable status"),
            Self::ForeignStatus => ("foreign_status", "token names a status list that is not of its issuer"),
            Self::Revoked => ("token_revoked", "token was revoked"),
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl std::error::Error for TokenError {}
