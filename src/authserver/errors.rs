//! The one place where a refusal becomes an HTTP response.
//!
//! Every body is `{"error", "error_description"}` (RFC 6749 §5.2, RFC 6750 §3.1). Descriptions come from closed lists:
//! nothing a caller sent, and nothing internal, is ever repeated.

use std::borrow::Cow;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
};
use lumoauth_core::{ScopeSet, challenge::Challenge, token::TokenError};
use serde::Serialize;

use super::{
    REGISTRY_SCOPE,
    clients::registration,
    oauth::{OAuthError, Refusal, Told},
    org::OrgError,
    store::StoreError,
};

/// A refusal, ready to be sent.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: &'static str,
    description: Cow<'static, str>,
    scope: Option<String>,
    challenge: Option<HeaderValue>,
    /// In seconds.
    retry_after: Option<u64>,
}

/// `error` of a refusal, for the metric: left on the response for the layer that counts.
#[derive(Clone, Copy)]
pub(super) struct Outcome(pub(super) &'static str);

#[derive(Serialize)]
struct Body<'a> {
    error: &'static str,
    error_description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

impl ApiError {
    fn new(status: StatusCode, error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2);
        Self { status, error, description: description.into(), scope: None, challenge: None, retry_after }
    }

    pub(super) fn unknown_server() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such MCP server")
    }

    pub(super) fn unknown_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not answer this method")
    }

    /// LumoAuth's word for an unknown organization at the discovery and OAuth endpoints.
    pub(super) fn unknown_tenant(error: OrgError) -> Self {
        match error {
            OrgError::Unknown => Self { error: "invalid_tenant", ..Self::from(error) },
            OrgError::NotReady => error.into(),
        }
    }

    pub(super) fn no_protected_server() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "no MCP server of this organization is protected")
    }

    pub(super) fn not_applicable() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "not_applicable", "the MCP server does not require authorization")
    }

    pub(super) fn client_not_allowed() -> Self {
        Self::new(StatusCode::FORBIDDEN, "access_denied", "this client may not use this MCP server")
    }

    pub(super) fn unknown_list() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such status list")
    }

    /// The store, or something else that mends itself.
    pub(super) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            OAuthError::Unavailable.as_str(),
            "the server cannot answer now: try again",
        )
    }

    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request", "the request did not arrive in time")
    }

    pub(super) fn broken_off() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", "the request broke off")
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the server failed: try again")
    }

    /// A refusal of an OAuth endpoint (RFC 6749 §5.2).
    pub(super) fn refused(refusal: &impl Refusal) -> Self {
        let Told(error, _, description) = refusal.told();
        let status = match error {
            OAuthError::InvalidClient => StatusCode::UNAUTHORIZED,
            OAuthError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            OAuthError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            OAuthError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let refused = Self::new(status, error.as_str(), description);
        match error {
            OAuthError::InvalidClient => refused.with_challenge("Basic realm=\"lumoauth\", charset=\"UTF-8\""),
            _ => refused,
        }
    }

    /// The registry API: no token (RFC 6750 §3.1: no `error` in the challenge).
    pub(super) fn registry_unauthorized() -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "an access token is required");
        error.with_challenge(&format!("Bearer scope=\"{}\"", *REGISTRY_SCOPE))
    }

    /// The registry API: a token that cannot be used.
    pub(super) fn registry_invalid_token(reason: TokenError) -> Self {
        let description = reason.description();
        Self::new(StatusCode::UNAUTHORIZED, "invalid_token", description).with_challenge(&format!(
            "Bearer error=\"invalid_token\", scope=\"{}\", error_description=\"{description}\"",
            *REGISTRY_SCOPE
        ))
    }

    /// The registry API: a token presented twice, or in two places.
    pub(super) fn registry_invalid_request() -> Self {
        let description = "send exactly one access token, in one Authorization header";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
            .with_challenge("Bearer error=\"invalid_request\"")
    }

    /// The registry API: the client does not hold `settings.manage`.
    pub(super) fn registry_forbidden() -> Self {
        let description = "reading the registry needs the scope settings.manage";
        Self {
            scope: Some(REGISTRY_SCOPE.to_string()),
            ..Self::new(StatusCode::FORBIDDEN, "insufficient_scope", description)
        }
        .with_challenge(&format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", *REGISTRY_SCOPE))
    }

    /// The `error` member: a word from a closed list.
    pub(super) fn error(&self) -> &'static str {
        self.error
    }

    fn with_challenge(mut self, text: &str) -> Self {
        self.challenge = HeaderValue::from_str(text).ok();
        self
    }
}

impl From<OrgError> for ApiError {
    fn from(error: OrgError) -> Self {
        match error {
            OrgError::Unknown => Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such organization"),
            OrgError::NotReady => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "the authorization server is starting: try again",
            ),
        }
    }
}

/// Whatever it is, it was counted and logged where it happened; the client may come again.
impl From<StoreError> for ApiError {
    fn from(_: StoreError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the authorization server cannot reach its database: try again",
        )
    }
}

impl From<&Challenge<'_>> for ApiError {
    fn from(challenge: &Challenge<'_>) -> Self {
        let status = StatusCode::from_u16(challenge.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let scope: Option<&ScopeSet> = match challenge {
            Challenge::InsufficientScope { scope, .. } => Some(scope),
            _ => None,
        };
        Self { scope: scope.map(ToString::to_string), ..Self::new(status, challenge.error(), challenge.description()) }
            .with_challenge(&challenge.to_string())
    }
}

/// RFC 7591 §3.2.2, RFC 7592 §2.
impl From<registration::Refused> for ApiError {
    fn from(refused: registration::Refused) -> Self {
        use registration::Refused;
        let status = match &refused {
            Refused::Off => StatusCode::FORBIDDEN,
            Refused::InitialToken | Refused::RegistrationToken => StatusCode::UNAUTHORIZED,
            Refused::TooOften { .. } | Refused::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Refused::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refused::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Refused::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = Self::new(status, refused.error(), refused.to_string());
        match refused {
            Refused::InitialToken | Refused::RegistrationToken => {
                error.with_challenge("Bearer error=\"invalid_token\"")
            }
            Refused::TooOften { seconds } => Self { retry_after: Some(seconds), ..error },
            Refused::TooMany => Self { retry_after: Some(3600), ..error },
            _ => error,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body { error: self.error, error_description: &self.description, scope: self.scope.as_deref() };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Outcome(self.error));
        response
    }
}

impl IntoResponse for OrgError {
    fn into_response(self) -> Response {
        ApiError::from(self).into_response()
    }
}
