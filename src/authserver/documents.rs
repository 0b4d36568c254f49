//! Public documents: JSON that anyone may read, from any origin, and keep for an hour.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;

/// How long a public document may be kept, in seconds. Keys are published for longer than this before they sign
/// ([`crate::pki::signing::PUBLICATION_LEAD`]).
pub(super) const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A document of these bytes.
pub(super) fn public(json: impl Into<Bytes>) -> Response {
    ([(CONTENT_TYPE, JSON), (CACHE_CONTROL, MAX_AGE)], json.into()).into_response()
}

/// A value as a public document.
pub(super) fn public_json<T: Serialize>(value: &T) -> Response {
    // Structs of strings, lists and booleans: there is no value serde_json could refuse.
    public(serde_json::to_vec(value).unwrap_or_default())
}

/// A JSON response that nobody may keep.
pub(super) fn private(json: impl Into<Bytes>) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    ([(CONTENT_TYPE, JSON), (CACHE_CONTROL, no_store)], json.into()).into_response()
}
