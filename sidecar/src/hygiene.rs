//! Step 1: HTTP that has one meaning, for us and for whatever reads it after us.
//!
//! Pure over the request's head. What it accepts names one resource of ours, with one method we serve.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, ORIGIN,
        TRANSFER_ENCODING,
    },
    request::Parts,
};

use crate::{
    refusal::{Malformed, Refusal},
    site::{Host, Site},
};

/// Methods of the MCP path. GET is answered 405: there is no standalone stream.
pub(crate) const MCP_METHODS: &str = "POST, DELETE, OPTIONS";
/// Methods of the metadata document.
pub(crate) const METADATA_METHODS: &str = "GET, HEAD, OPTIONS";
const ALL_METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// What an acceptable request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// An MCP message.
    Message,
    /// The end of a session.
    EndSession,
    /// `OPTIONS` on the MCP path.
    Options,
    /// The protected resource metadata.
    Metadata,
    /// `OPTIONS` on the metadata.
    MetadataOptions,
}

/// Checks a request's head and says what it is for.
pub(crate) fn check(parts: &Parts, site: &Site) -> Result<Route, Refusal> {
    host(parts, site)?;
    single_headers(&parts.headers)?;
    framing(&parts.headers)?;
    header_names(&parts.headers)?;
    connection(&parts.headers)?;
    codings(&parts.headers)?;
    if ![Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS].contains(&parts.method) {
        return Err(Refusal::Method(ALL_METHODS));
    }
    let route = route(parts, site)?;
    if route != Route::Message && has_body(&parts.headers) {
        return Err(Refusal::Malformed(Malformed::UnexpectedBody));
    }
    Ok(route)
}

/// RFC 9112 §3.2: exactly one Host; an absolute-form target must agree with it. Then: is it ours?
fn host(parts: &Parts, site: &Site) -> Result<(), Refusal> {
    const BAD: Refusal = Refusal::Malformed(Malformed::Host);
    let mut values = parts.headers.get_all(HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(BAD) };
    let host = value.to_str().ok().and_then(Host::parse).ok_or(BAD)?;
    if let Some(authority) = parts.uri.authority()
        && Host::parse(authority.as_str()).as_ref() != Some(&host)
    {
        return Err(BAD);
    }
    if site.answers_for(&host) { Ok(()) } else { Err(Refusal::Misdirected) }
}

/// Headers we or the server act on, of which a second one would be read by somebody.
fn single_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    const ONCE: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, ORIGIN, EXPECT];
    let repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if ONCE.iter().any(repeated) || headers.get_all("mcp-session-id").iter().nth(1).is_some() {
        return Err(Refusal::Malformed(Malformed::RepeatedHeader));
    }
    Ok(())
}

/// RFC 9112 §6.1: the only transfer coding is `chunked`, and never beside a length.
fn framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None)
            if coding.as_bytes().eq_ignore_ascii_case(b"chunked") && !headers.contains_key(CONTENT_LENGTH) =>
        {
            Ok(())
        }
        _ => Err(Refusal::Malformed(Malformed::Framing)),
    }
}

/// Servers that map `-` and `_` to one name (CGI, WSGI) would read `Mcp_Session_Id` as `Mcp-Session-Id`. Identity
/// headers spelled so are removed when forwarding; those that steer parsing or MCP are refused.
fn header_names(headers: &HeaderMap) -> Result<(), Refusal> {
    let imitates = |name: &HeaderName| {
        let name = name.as_str();
        name.contains('_') && {
            let plain = name.replace('_', "-");
            plain.starts_with("mcp-") || plain.starts_with("content-") || plain == "transfer-encoding"
        }
    };
    if headers.keys().any(imitates) { Err(Refusal::Malformed(Malformed::HeaderName)) } else { Ok(()) }
}

/// RFC 9110 §7.6.1: headers that `Connection` lists are removed, so it must not list what others rely on.
fn connection(headers: &HeaderMap) -> Result<(), Refusal> {
    let harmless = |token: &str| {
        ["close", "keep-alive", "upgrade", "http2-settings", "te", "trailer", "proxy-connection", ""]
            .iter()
            .any(|known| token.eq_ignore_ascii_case(known))
    };
    let all_harmless = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').all(|token| harmless(token.trim_matches([' ', '\t']))))
    };
    if headers.get_all(CONNECTION).iter().all(all_harmless) {
        Ok(())
    } else {
        Err(Refusal::Malformed(Malformed::Connection))
    }
}

/// A coded body would hide its message from us; an expectation other than `100-continue` cannot be met.
fn codings(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::ContentCoding);
    }
    if headers.get(EXPECT).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Expectation);
    }
    Ok(())
}

/// Paths are compared byte for byte; what a server behind us might resolve to another path is not merely unknown.
fn route(parts: &Parts, site: &Site) -> Result<Route, Refusal> {
    let path = parts.uri.path();
    let method = &parts.method;
    if path == site.resource.path() {
        return match *method {
            Method::POST => Ok(Route::Message),
            Method::DELETE => Ok(Route::EndSession),
            Method::OPTIONS => Ok(Route::Options),
            _ => Err(Refusal::Method(MCP_METHODS)),
        };
    }
    if site.serves_metadata_at(path) {
        return match *method {
            Method::GET | Method::HEAD => Ok(Route::Metadata),
            Method::OPTIONS => Ok(Route::MetadataOptions),
            _ => Err(Refusal::Method(METADATA_METHODS)),
        };
    }
    if is_devious(path) { Err(Refusal::Malformed(Malformed::Target)) } else { Err(Refusal::NotFound) }
}

/// Whether some parser would resolve `path` to another one.
fn is_devious(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    plain.contains("//")
        || ["\\", "%2f", "%5c", "%00", ";"].iter().any(|part| plain.contains(part))
        || plain.split('/').any(|segment| segment == "." || segment == "..")
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes().iter().any(|byte| *byte != b'0'))
}

/// Whether more than one `Authorization` is there: neither can be chosen.
pub(crate) fn repeats_authorization(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use rstest::rstest;

    use super::*;
    use crate::site::testing::site;

    fn checked(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Route, Refusal> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, &site())
    }

    const HOST_OK: (&str, &str) = ("host", "mcp.example.com");
    const PRM: &str = "/.well-known/oauth-protected-resource";

    #[rstest]
    #[case("POST", "/mcp", Ok(Route::Message))]
    #[case("POST", "/mcp?a=b", Ok(Route::Message))]
    #[case("POST", "https://mcp.example.com/mcp", Ok(Route::Message))]
    #[case("DELETE", "/mcp", Ok(Route::EndSession))]
    #[case("OPTIONS", "/mcp", Ok(Route::Options))]
    #[case("GET", PRM, Ok(Route::Metadata))]
    #[case("HEAD", "/.well-known/oauth-protected-resource/mcp", Ok(Route::Metadata))]
    #[case("OPTIONS", PRM, Ok(Route::MetadataOptions))]
    #[case("POST", PRM, Err(Refusal::Method(METADATA_METHODS)))]
    #[case("GET", "/mcp", Err(Refusal::Method(MCP_METHODS)))]
    #[case("HEAD", "/mcp", Err(Refusal::Method(MCP_METHODS)))]
    #[case("TRACE", "/mcp", Err(Refusal::Method(ALL_METHODS)))]
    #[case("CONNECT", "mcp.example.com:443", Err(Refusal::Method(ALL_METHODS)))]
    #[case("post", "/mcp", Err(Refusal::Method(ALL_METHODS)))]
    #[case("PUT", "/mcp", Err(Refusal::Method(ALL_METHODS)))]
    #[case("OPTIONS", "*", Err(Refusal::NotFound))]
    #[case("POST", "/", Err(Refusal::NotFound))]
    #[case("POST", "/mcp/", Err(Refusal::NotFound))]
    #[case("POST", "/MCP", Err(Refusal::NotFound))]
    #[case("POST", "/mcpx", Err(Refusal::NotFound))]
    #[case("POST", "/%6dcp", Err(Refusal::NotFound))]
    #[case("GET", "/.well-known/oauth-protected-resource/other", Err(Refusal::NotFound))]
    #[case("POST", "/mcp/../admin", Err(Refusal::Malformed(Malformed::Target)))]
    #[case("POST", "/x/../mcp", Err(Refusal::Malformed(Malformed::Target)))]
    #[case("POST", "/%2e%2E/mcp", Err(Refusal::Malformed(Malformed::Target)))]
    #[case("POST", "//mcp", Err(Refusal::Malformed(Malformed::Target)))]
    #[case("POST", "/mcp;x", Err(Refusal::Malformed(Malformed::Target)))]
    #[case("POST", "/mcp%2f", Err(Refusal::Malformed(Malformed::Target)))]
    #[case("POST", "/mcp%00", Err(Refusal::Malformed(Malformed::Target)))]
    #[case("POST", "https://evil.example/mcp", Err(Refusal::Malformed(Malformed::Host)))]
    #[case("POST", "https://mcp.example.com:444/mcp", Err(Refusal::Malformed(Malformed::Host)))]
    fn targets_and_methods(#[case] method: &str, #[case] target: &str, #[case] expected: Result<Route, Refusal>) {
        let host = if method == "CONNECT" { ("host", target) } else { HOST_OK };
        assert_eq!(checked(method, target, &[host]), expected);
    }

    #[rstest]
    #[case(&["mcp.example.com"], Ok(Route::Message))]
    #[case(&["MCP.Example.com:443"], Ok(Route::Message))]
    #[case(&["invoices-mcp.acme:80"], Ok(Route::Message))]
    #[case(&["invoices-mcp.acme"], Ok(Route::Message))]
    #[case(&["ported.example:8443"], Ok(Route::Message))]
    #[case(&["ported.example"], Err(Refusal::Misdirected))]
    #[case(&["mcp.example.com:8443"], Err(Refusal::Misdirected))]
    #[case(&["evil.example"], Err(Refusal::Misdirected))]
    #[case(&["mcp.example.com.evil.example"], Err(Refusal::Misdirected))]
    #[case(&["mcp.example.com."], Err(Refusal::Misdirected))]
    #[case(&[], Err(Refusal::Malformed(Malformed::Host)))]
    #[case(&[""], Err(Refusal::Malformed(Malformed::Host)))]
    #[case(&["mcp.example.com", "mcp.example.com"], Err(Refusal::Malformed(Malformed::Host)))]
    #[case(&["mcp.example.com/admin?x=#"], Err(Refusal::Malformed(Malformed::Host)))]
    #[case(&["a@mcp.example.com"], Err(Refusal::Malformed(Malformed::Host)))]
    #[case(&["mcp.example.com:"], Err(Refusal::Malformed(Malformed::Host)))]
    #[case(&["mcp.example.com:99999"], Err(Refusal::Malformed(Malformed::Host)))]
    #[case(&["mcp.example.com, evil.example"], Err(Refusal::Malformed(Malformed::Host)))]
    fn rfc9112_3_2_host(#[case] hosts: &[&str], #[case] expected: Result<Route, Refusal>) {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        assert_eq!(checked("POST", "/mcp", &headers), expected);
    }

    #[rstest]
    #[case(&[("transfer-encoding", "chunked")], None)]
    #[case(&[("transfer-encoding", "gzip, chunked")], Some(Refusal::Malformed(Malformed::Framing)))]
    #[case(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Some(Refusal::Malformed(Malformed::Framing)))]
    #[case(&[("transfer-encoding", "chunked"), ("content-length", "1")], Some(Refusal::Malformed(Malformed::Framing)))]
    #[case(&[("content-encoding", "gzip")], Some(Refusal::ContentCoding))]
    #[case(&[("content-encoding", "identity")], None)]
    #[case(&[("expect", "100-Continue")], None)]
    #[case(&[("expect", "y")], Some(Refusal::Expectation))]
    #[case(&[("connection", "keep-alive, Upgrade"), ("upgrade", "h2c")], None)]
    #[case(&[("connection", "close, Authorization")], Some(Refusal::Malformed(Malformed::Connection)))]
    #[case(&[("connection", "x-lumoauth-subject")], Some(Refusal::Malformed(Malformed::Connection)))]
    #[case(&[("connection", "Mcp-Session-Id")], Some(Refusal::Malformed(Malformed::Connection)))]
    #[case(&[("mcp_session_id", "x")], Some(Refusal::Malformed(Malformed::HeaderName)))]
    #[case(&[("content_length", "1")], Some(Refusal::Malformed(Malformed::HeaderName)))]
    #[case(&[("x_custom", "1")], None)]
    #[case(&[("origin", "a"), ("origin", "a")], Some(Refusal::Malformed(Malformed::RepeatedHeader)))]
    #[case(&[("mcp-session-id", "a"), ("mcp-session-id", "b")], Some(Refusal::Malformed(Malformed::RepeatedHeader)))]
    fn headers(#[case] extra: &[(&str, &str)], #[case] refusal: Option<Refusal>) {
        let mut headers = vec![HOST_OK];
        headers.extend(extra);
        assert_eq!(checked("POST", "/mcp", &headers).err(), refusal);
    }

    #[rstest]
    #[case("DELETE", "/mcp", "content-length", "5", true)]
    #[case("DELETE", "/mcp", "content-length", "0", false)]
    #[case("DELETE", "/mcp", "transfer-encoding", "chunked", true)]
    #[case("GET", PRM, "content-length", "1", true)]
    fn only_messages_have_bodies(
        #[case] method: &str,
        #[case] path: &str,
        #[case] name: &str,
        #[case] value: &str,
        #[case] refused: bool,
    ) {
        let result = checked(method, path, &[HOST_OK, (name, value)]);
        assert_eq!(result == Err(Refusal::Malformed(Malformed::UnexpectedBody)), refused);
    }
}
