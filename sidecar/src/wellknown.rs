//! Step 2: what is answered without a token. The metadata document, and CORS (Fetch standard, §3.2).

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CONTENT_LENGTH,
        CONTENT_TYPE, ORIGIN, VARY,
    },
};

use crate::{
    body::Body,
    hygiene::{MCP_METHODS, METADATA_METHODS},
    refusal::Refusal,
    site::{Protected, Site},
};

const ALLOWED_HEADERS: &str =
    "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, Last-Event-ID";
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version");
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// How many `Mcp-Param-*` headers one preflight may ask for.
const MAX_PARAM_HEADERS: usize = 32;

/// The page the request comes from, if it says; refused unless it may call (MCP Streamable HTTP, Security).
pub(crate) fn origin<'a>(headers: &'a HeaderMap, site: &Site) -> Result<Option<&'a HeaderValue>, Refusal> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
    match origin.to_str() {
        Ok(text) if site.allows_origin(text) => Ok(Some(origin)),
        _ => Err(Refusal::Origin),
    }
}

/// Lets the page of `origin` read the response. Never with credentials: tokens are not cookies.
pub(crate) fn expose_to(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

/// RFC 9728 §3.2: the bytes of the configuration, for everybody.
pub(crate) fn metadata(method: &Method, protected: &Protected) -> Response<Body> {
    let document = &protected.metadata;
    let body = if *method == Method::HEAD { Body::empty() } else { Body::full(document.clone()) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

/// `OPTIONS` on the metadata: every page may read it.
pub(crate) fn metadata_options() -> Response<Body> {
    let mut response = no_content(METADATA_METHODS);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METADATA_METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("MCP-Protocol-Version"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// `OPTIONS` on the MCP path; a preflight where the request has an allowed origin.
pub(crate) fn options(request: &HeaderMap, is_preflight: bool) -> Response<Body> {
    let mut response = no_content(MCP_METHODS);
    if is_preflight {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(MCP_METHODS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request));
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    response
}

/// The fixed list, and those `Mcp-Param-*` that are asked for: their names are the tools' own.
fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    let mut allowed = ALLOWED_HEADERS.to_owned();
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let params = asked.split(',').map(str::trim).filter(|name| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        name.len() <= 128 && name.to_ascii_lowercase().starts_with("mcp-param-") && name.bytes().all(token)
    });
    for name in params.take(MAX_PARAM_HEADERS) {
        allowed.push_str(", ");
        allowed.push_str(name);
    }
    HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS))
}

fn no_content(allow: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameter_headers_are_added_to_the_list() {
        let asked = "mcp-param-region, x-evil, Mcp-Param-a\u{7f}b, authorization";
        let request = HeaderMap::from_iter([(
            ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_bytes(asked.replace('\u{7f}', "=").as_bytes()).unwrap(),
        )]);
        assert_eq!(allowed_headers(&request), format!("{ALLOWED_HEADERS}, mcp-param-region"));
    }

    #[test]
    fn the_list_is_bounded() {
        let asked = (0..1000).map(|i| format!("mcp-param-{i}")).collect::<Vec<_>>().join(",");
        let request = HeaderMap::from_iter([(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::try_from(asked).unwrap())]);
        let allowed = allowed_headers(&request);
        assert_eq!(allowed.to_str().unwrap().matches("mcp-param-").count(), MAX_PARAM_HEADERS);
    }
}
