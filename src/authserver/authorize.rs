//! The authorization endpoint, as far as it exists: clients refuse metadata without it, and nobody can log in yet.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS},
};

use super::{
    errors::{ApiError, Outcome},
    org::{Org, OrgError},
};

const PAGE: &str = include_str!("authorize.html");

/// What every page of ours is sent with: no script, no frame, nothing from elsewhere, nothing kept.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Always a page, never a redirect: nothing in the request has been checked.
pub(super) async fn authorize(org: Result<Org, OrgError>) -> Result<Response, ApiError> {
    org.map_err(ApiError::unknown_tenant)?;
    let mut response = (StatusCode::BAD_REQUEST, HEADERS, PAGE).into_response();
    response.extensions_mut().insert(Outcome("login_not_available"));
    Ok(response)
}
