//! The form that a request to an OAuth endpoint carries (RFC 6749 §3.2).

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::{HeaderMap, Uri};

use super::{
    oauth::{OAuthError, Refusal, Told},
    parameters::{Parameters, ParametersError},
};

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormError {
    /// The body is longer than accepted, or broke off.
    TooLarge,
    /// Parameters in the URL, where they end up in logs (RFC 6749 §2.3.1).
    Query,
    /// They are not what they must be.
    Parameters(ParametersError),
}

/// Reads the parameters of a request: all of them in its body.
pub(super) fn read<'a>(
    headers: &HeaderMap,
    uri: &Uri,
    body: Result<&'a Bytes, &BytesRejection>,
) -> Result<Parameters<'a>, FormError> {
    let body = body.map_err(|_| FormError::TooLarge)?;
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(FormError::Query);
    }
    Parameters::of_form(headers, body).map_err(FormError::Parameters)
}

impl Refusal for FormError {
    fn told(&self) -> Told {
        let request = |reason, text| Told(OAuthError::InvalidRequest, reason, text);
        match self {
            Self::TooLarge => Told(OAuthError::TooLarge, "too_large", "the request body is too long or incomplete"),
            Self::Query => request("query", "send the parameters in the request body and none in the URL"),
            Self::Parameters(ParametersError::NotAForm) => {
                request("not_a_form", "send the parameters as application/x-www-form-urlencoded in the request body")
            }
            Self::Parameters(ParametersError::TooMany) => request("too_many_parameters", "too many parameters"),
            Self::Parameters(ParametersError::Duplicate) => {
                request("duplicate_parameter", "a parameter may be sent only once")
            }
        }
    }
}
