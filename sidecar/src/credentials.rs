//! Step 3: the token a request presents (RFC 6750 §2), without judging it.

use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use lumoauth_core::token::TokenError;

use crate::{hygiene::repeats_authorization, refusal::Refusal};

/// The token in the `Authorization` header.
///
/// A token in the query alone counts as none (401): it was logged by whoever passed it on. Both together are an
/// invalid request (400), as are two headers or a list in one.
pub(crate) fn bearer(parts: &Parts) -> Result<&str, Refusal> {
    let in_query = in_query(parts.uri.query().unwrap_or_default());
    match header(&parts.headers)? {
        Some(_) if in_query => Err(Refusal::TokenRequest),
        Some(token) => Ok(token),
        None => Err(Refusal::NoToken),
    }
}

/// RFC 6750 §2.1. A scheme other than Bearer is no credential for us.
fn header(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    if repeats_authorization(headers) {
        return Err(Refusal::TokenRequest);
    }
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let value = value.as_bytes();
    let scheme_end = value.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = match rest {
        [b' ', token @ ..] => token.trim_ascii_start(),
        _ => return Err(Refusal::TokenRequest),
    };
    if token.is_empty() || token.contains(&b',') {
        return Err(Refusal::TokenRequest);
    }
    let acceptable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    match std::str::from_utf8(token) {
        Ok(token) if token.as_bytes().iter().all(acceptable) => Ok(Some(token)),
        _ => Err(Refusal::Token(TokenError::Malformed)),
    }
}

/// Whether the query carries an `access_token` parameter (RFC 6750 §2.3), however its name is encoded.
pub(crate) fn in_query(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        decoded(name).eq(b"access_token".iter().copied())
    })
}

/// The bytes `text` stands for; a `%` that encodes nothing stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            rest = after;
            return Some(high * 16 + low);
        }
        rest = tail;
        Some(*first)
    })
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use http::Request;
    use rstest::rstest;

    use super::*;

    fn presented(target: &str, authorization: &[&[u8]]) -> Result<String, Refusal> {
        let mut request = Request::builder().uri(target);
        for value in authorization {
            request = request.header(AUTHORIZATION, http::HeaderValue::from_bytes(value).unwrap());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        bearer(&parts).map(str::to_owned)
    }

    #[rstest]
    #[case(b"Bearer a.b-c_d~e+f/g==", Ok("a.b-c_d~e+f/g=="))]
    #[case(b"bearer x", Ok("x"))]
    #[case(b"BEARER   x", Ok("x"))]
    #[case(b"Bearer", Err(Refusal::TokenRequest))]
    #[case(b"Bearer ", Err(Refusal::TokenRequest))]
    #[case(b"bearer\tx", Err(Refusal::TokenRequest))]
    #[case(b"Bearer=x", Err(Refusal::TokenRequest))]
    #[case(b"Bearer a, Bearer b", Err(Refusal::TokenRequest))]
    #[case(b"Bearer a b", Err(Refusal::Token(TokenError::Malformed)))]
    #[case(b"Bearer \"x\"", Err(Refusal::Token(TokenError::Malformed)))]
    #[case(b"Bearer \xff", Err(Refusal::Token(TokenError::Malformed)))]
    #[case(b"Basic YTpi", Err(Refusal::NoToken))]
    #[case(b"DPoP x", Err(Refusal::NoToken))]
    #[case(b"Bearerx y", Err(Refusal::NoToken))]
    #[case(b"", Err(Refusal::NoToken))]
    fn rfc6750_2_1_header(#[case] value: &[u8], #[case] expected: Result<&str, Refusal>) {
        assert_eq!(presented("/mcp", &[value]), expected.map(str::to_owned));
    }

    #[rstest]
    #[case("/mcp?access_token=x", true)]
    #[case("/mcp?a=b&access_token=x", true)]
    #[case("/mcp?a=b;access_token=x", true)]
    #[case("/mcp?access%5Ftoken=x", true)]
    #[case("/mcp?%61ccess_token", true)]
    #[case("/mcp?xaccess_token=x", false)]
    #[case("/mcp?a=access_token", false)]
    #[case("/mcp?%zz%", false)]
    fn rfc6750_2_3_query(#[case] target: &str, #[case] carries: bool) {
        assert_eq!(presented(target, &[]), Err(Refusal::NoToken));
        let both = presented(target, &[b"Bearer x"]);
        assert_eq!(both, if carries { Err(Refusal::TokenRequest) } else { Ok("x".to_owned()) });
    }

    #[test]
    fn two_headers_are_no_choice() {
        assert_eq!(presented("/mcp", &[b"Bearer x", b"Bearer x"]), Err(Refusal::TokenRequest));
        assert_eq!(presented("/mcp", &[b"Basic x", b"Bearer x"]), Err(Refusal::TokenRequest));
    }
}
