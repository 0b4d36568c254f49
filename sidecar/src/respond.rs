//! The one place where refusals become HTTP. Nothing of the request is echoed but its JSON-RPC `id`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use lumoauth_core::challenge::Challenge;
use serde_json::{Value, json};

use crate::{
    body::Body,
    refusal::{Refusal, Unavailable},
    site::Protected,
};

/// JSON-RPC: the request is not acceptable.
const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC: something failed behind us.
const INTERNAL_ERROR: i32 = -32603;
/// Ours, from the range JSON-RPC leaves to servers: the sidecar forwards nothing.
const UNAVAILABLE: i32 = -32000;
/// Ours: the call is understood and not allowed.
const FORBIDDEN: i32 = -32003;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer to `refusal`. `protected` is what challenges speak of; a server that asks for no token has none.
pub(crate) fn refuse(refusal: &Refusal, protected: Option<&Protected>) -> Response<Body> {
    if let Some(response) = protected.and_then(|protected| challenge(refusal, protected)) {
        return response;
    }
    let (status, code, message) = match refusal {
        Refusal::Unavailable(Unavailable::NoConfig) => {
            (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "the sidecar has no configuration yet")
        }
        Refusal::Unavailable(Unavailable::DenyAll) => {
            (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "this server is not available")
        }
        Refusal::Unavailable(Unavailable::Revoked) => {
            (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "the rules for this call have changed")
        }
        Refusal::Unavailable(Unavailable::Status) => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            "it cannot be told whether the token was revoked: try again later",
        ),
        Refusal::Unavailable(Unavailable::Busy) => {
            (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "too many large bodies are on their way: try again later")
        }
        Refusal::Malformed(what) => (StatusCode::BAD_REQUEST, INVALID_REQUEST, what.message()),
        Refusal::Misdirected => {
            (StatusCode::MISDIRECTED_REQUEST, INVALID_REQUEST, "this server does not answer for that host")
        }
        Refusal::Origin => (StatusCode::FORBIDDEN, FORBIDDEN, "this origin is not allowed"),
        Refusal::NotFound => (StatusCode::NOT_FOUND, INVALID_REQUEST, "there is nothing at this path"),
        Refusal::Method(_) => {
            (StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, "this method is not allowed at this path")
        }
        Refusal::Expectation => (StatusCode::EXPECTATION_FAILED, INVALID_REQUEST, "the expectation cannot be met"),
        Refusal::ContentCoding => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, "send the body without a content coding")
        }
        Refusal::ContentType => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, "send the body as application/json in UTF-8")
        }
        Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, "the body is too large"),
        Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, INVALID_REQUEST, "the body did not arrive in time"),
        Refusal::Message(rejection) => (StatusCode::BAD_REQUEST, rejection.code, rejection.message),
        Refusal::Denied { reason, .. } => (StatusCode::FORBIDDEN, FORBIDDEN, reason.message()),
        Refusal::Upstream { .. } => (StatusCode::BAD_GATEWAY, INTERNAL_ERROR, "the server did not answer"),
        // Only servers that ask for a token make these, and `challenge` has answered them.
        Refusal::NoToken | Refusal::TokenRequest | Refusal::Token(_) | Refusal::Scope { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR, "the request could not be decided")
        }
    };
    let data = if let Refusal::Message(rejection) = refusal { rejection.data.as_ref() } else { None };
    let mut response = answer(status, rpc_error(id(refusal), code, message, data));
    let headers = response.headers_mut();
    match refusal {
        Refusal::Method(allow) => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        Refusal::Unavailable(_) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        // What follows on such a connection may be something else than it seems.
        Refusal::Malformed(_) | Refusal::TooLarge | Refusal::Slow => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// RFC 6750 §3: the refusals that tell the client what token would do.
fn challenge(refusal: &Refusal, protected: &Protected) -> Option<Response<Body>> {
    let (metadata, scope) = (&protected.metadata_url, protected.policy.required_scopes());
    let challenge = match refusal {
        Refusal::NoToken => Challenge::Unauthenticated { metadata, scope },
        Refusal::Token(error) => Challenge::InvalidToken { metadata, scope, description: error.description() },
        Refusal::TokenRequest => Challenge::InvalidRequest { metadata },
        Refusal::Scope { needed, .. } => Challenge::InsufficientScope { metadata, scope: needed },
        _ => return None,
    };
    let status = StatusCode::from_u16(challenge.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let body = if let Refusal::Scope { id, .. } = refusal {
        rpc_error(id.as_deref(), FORBIDDEN, challenge.description(), None)
    } else {
        let members = [("error", challenge.error()), ("error_description", challenge.description())];
        json!(BTreeMap::from(members)).to_string()
    };
    let mut response = answer(status, body);
    match HeaderValue::try_from(challenge.to_string()) {
        Ok(value) => response.headers_mut().insert(WWW_AUTHENTICATE, value),
        // Scopes and URLs are printable ASCII by construction; a refusal stays one even if that were to change.
        Err(_) => None,
    };
    Some(response)
}

/// A JSON answer that no cache keeps.
fn answer(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `id` is JSON text that was read from the request, and `null` when it could not be (JSON-RPC 2.0 §5).
fn rpc_error(id: Option<&str>, code: i32, message: &str, data: Option<&Value>) -> String {
    let error = match data {
        Some(data) => json!({"code": code, "message": message, "data": data}),
        None => json!({"code": code, "message": message}),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.unwrap_or("null"))
}

fn id(refusal: &Refusal) -> Option<&str> {
    match refusal {
        Refusal::Scope { id, .. } | Refusal::Denied { id, .. } | Refusal::Upstream { id, .. } => id.as_deref(),
        Refusal::Message(rejection) => rejection.id.as_deref(),
        _ => None,
    }
}
