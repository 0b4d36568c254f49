//! Why a registration is refused.

use super::super::metadata::MetadataError;
use crate::authserver::{artefact::RandomError, store::StoreError};

/// One cause each. The words are for the developer of the client; nothing that was sent is repeated in them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// `dcr.mode` is `Off`.
    #[error(
        "clients cannot register themselves here: ask the administrator for a client_id, or use a client ID metadata document"
    )]
    Off,
    /// No initial access token, or none that is configured.
    #[error("registering needs an initial access token: ask the administrator")]
    InitialToken,
    /// No registration access token, or not that of this client, or there is no such client.
    #[error("the registration access token is not that of this client")]
    RegistrationToken,
    /// More registrations in a short time than the organization takes.
    #[error("too many registrations at the moment: try again later")]
    TooOften {
        /// When it may work again.
        seconds: u64,
    },
    /// The organization has as many clients as it may have.
    #[error("there is no room for more clients: those that nobody uses are forgotten after a while")]
    TooMany,
    /// Not `application/json`.
    #[error("send the client metadata as application/json")]
    NotJson,
    /// The body is longer than accepted, or broke off.
    #[error("the request body is too long or incomplete")]
    TooLarge,
    /// The metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// `private_key_jwt` without keys.
    #[error("token_endpoint_auth_method private_key_jwt needs jwks or jwks_uri")]
    NoKeys,
    /// `cimd.enabled` or `cimd.allowedDomains` keep us from fetching the keys.
    #[error("keys are not fetched from the host of jwks_uri here: use jwks")]
    JwksUri,
    /// RFC 7592 §2.2: what a client may not send along.
    #[error("{0} may not be part of an update")]
    Fixed(&'static str),
    /// RFC 7592 §2.2: `client_id` or `client_secret` of another client.
    #[error("{0} is not that of this client")]
    Other(&'static str),
    /// Another way to authenticate than the one registered.
    #[error("token_endpoint_auth_method cannot be changed: register another client")]
    MethodChange,
    /// The store.
    #[error("the authorization server cannot reach its database: try again")]
    Store(#[from] StoreError),
    /// No randomness, or a stored row that makes no sense.
    #[error("the server failed: try again")]
    Internal,
}

impl From<RandomError> for Refused {
    fn from(error: RandomError) -> Self {
        tracing::error!(%error, "no client can be registered");
        Self::Internal
    }
}

impl Refused {
    /// `error` of RFC 7591 §3.2.2, RFC 6750 §3.1.
    pub(crate) fn error(&self) -> &'static str {
        match self {
            Self::Off => "access_denied",
            Self::InitialToken | Self::RegistrationToken => "invalid_token",
            Self::TooOften { .. } | Self::TooMany => "too_many_requests",
            Self::NotJson | Self::TooLarge => "invalid_request",
            Self::Metadata(error) if error.is_redirect_uri() => "invalid_redirect_uri",
            Self::Metadata(_) | Self::NoKeys | Self::JwksUri | Self::Fixed(_) | Self::Other(_) | Self::MethodChange => {
                "invalid_client_metadata"
            }
            Self::Store(_) => "temporarily_unavailable",
            Self::Internal => "server_error",
        }
    }

    /// A stable word for the log.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::InitialToken => "initial_token",
            Self::RegistrationToken => "registration_token",
            Self::TooOften { .. } => "too_often",
            Self::TooMany => "too_many",
            other => other.error(),
        }
    }
}
