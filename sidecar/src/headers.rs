//! Which headers pass, in each direction.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
    },
};
use lumoauth_core::policy::Identity;

const SUBJECT: HeaderName = HeaderName::from_static("x-lumoauth-subject");
const CLIENT: HeaderName = HeaderName::from_static("x-lumoauth-client");
const SCOPES: HeaderName = HeaderName::from_static("x-lumoauth-scopes");
const ORG: HeaderName = HeaderName::from_static("x-lumoauth-org");

/// What the outbound headers depend on.
pub(crate) struct Outbound<'a> {
    /// What the server is called on loopback.
    pub(crate) host: &'a HeaderValue,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) org: &'a str,
    /// Whether the response must be readable.
    pub(crate) filtered: bool,
}

/// The headers of the request to the server: the client's without credentials, hop-by-hop headers, and anything that
/// could be taken for a statement about who calls; then ours.
///
/// `Host` names the server's own address, as it does to any client on loopback: SDK servers that listen there refuse
/// other hosts (DNS rebinding), and must not have to be changed. The client's Host was checked in hygiene.
pub(crate) fn outbound(mut headers: HeaderMap, context: &Outbound<'_>) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len() + 4);
    out.insert(HOST, context.host.clone());
    let mut current: Option<HeaderName> = None;
    for (name, value) in headers.drain() {
        // A name that is absent repeats the one before it.
        if let Some(name) = name {
            let goes = name == HOST
                || is_hop_by_hop(&name)
                || is_removed(&name)
                || (context.filtered && name == ACCEPT_ENCODING);
            current = (!goes).then_some(name);
        }
        if let Some(name) = &current {
            out.append(name, value);
        }
    }
    let mut add = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::try_from(encode(text)) {
            out.insert(name, value);
        }
    };
    add(ORG, context.org);
    if let Some(identity) = context.identity {
        add(SUBJECT, &identity.subject);
        add(CLIENT, identity.client.as_str());
        if let Ok(scopes) = HeaderValue::try_from(identity.scopes.to_string()) {
            out.insert(SCOPES, scopes);
        }
    }
    out
}

/// RFC 9110 §7.6.1, and what belongs to the message framing of one hop. What `Connection` lists beside these was
/// refused in hygiene.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        CONNECTION,
        TRANSFER_ENCODING,
        CONTENT_LENGTH,
        TE,
        TRAILER,
        UPGRADE,
        EXPECT,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Credentials, identities that proxies assert, and overrides of method or path, in any spelling a server may take for
/// them.
fn is_removed(name: &HeaderName) -> bool {
    if *name == AUTHORIZATION {
        return true;
    }
    let name = name.as_str();
    // The cheap test first: most headers of a call are none of these.
    if !(name.starts_with(['x', 'r', 'l'])) {
        return false;
    }
    let plain: std::borrow::Cow<'_, str> = if name.contains('_') { name.replace('_', "-").into() } else { name.into() };
    ["x-lumoauth-", "x-auth-request-", "x-remote-"].iter().any(|prefix| plain.starts_with(prefix))
        || matches!(
            &*plain,
            "x-forwarded-user"
                | "x-forwarded-email"
                | "x-forwarded-groups"
                | "x-forwarded-preferred-username"
                | "x-forwarded-access-token"
                | "remote-user"
                | "x-http-method-override"
                | "x-http-method"
                | "x-method-override"
                | "x-original-url"
                | "x-original-uri"
                | "x-original-method"
                | "x-rewrite-url"
                | "x-forwarded-uri"
                | "x-forwarded-prefix"
                | "x-forwarded-path"
                | "last-event-id"
        )
}

/// `text` as a header value that decodes to it alone: bytes outside visible ASCII, and `%`, are percent-encoded.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Removes from the server's response what is between it and us, or ours to say: hop-by-hop headers with all that
/// `Connection` lists, challenges (a client must not be sent to an authorization server we do not know), and CORS.
pub(crate) fn inbound(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|token| token.trim().parse().ok())
            .collect();
        // The length is ours to trust: hyper framed the body by it.
        for name in listed.iter().filter(|name| **name != CONTENT_LENGTH) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        TRANSFER_ENCODING,
        TE,
        TRAILER,
        UPGRADE,
        PROXY_AUTHENTICATE,
        WWW_AUTHENTICATE,
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    static LOOPBACK: HeaderValue = HeaderValue::from_static("127.0.0.1:8000");
    const OPEN: Outbound<'static> = Outbound { host: &LOOPBACK, identity: None, org: "acme", filtered: false };

    fn sent(name: &'static str, context: &Outbound<'_>) -> bool {
        let name = HeaderName::from_static(name);
        let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("v"))]);
        outbound(headers, context).get(&name).is_some_and(|value| value == "v")
    }

    #[rstest]
    #[case("authorization")]
    #[case("proxy-authorization")]
    #[case("x-lumoauth-subject")]
    #[case("x-lumoauth-org")]
    #[case("x_lumoauth_subject")]
    #[case("x-lumoauth_anything")]
    #[case("x-forwarded-user")]
    #[case("x_forwarded_user")]
    #[case("x-forwarded-email")]
    #[case("x-forwarded-groups")]
    #[case("x-forwarded-preferred-username")]
    #[case("x-forwarded-access-token")]
    #[case("x-auth-request-user")]
    #[case("x-auth-request-access-token")]
    #[case("x-remote-user")]
    #[case("x-remote-group")]
    #[case("remote-user")]
    #[case("remote_user")]
    #[case("x-http-method-override")]
    #[case("x-original-url")]
    #[case("x_original_url")]
    #[case("x-original-uri")]
    #[case("x-original-method")]
    #[case("x-rewrite-url")]
    #[case("x-forwarded-uri")]
    #[case("x-forwarded-prefix")]
    #[case("x-forwarded-path")]
    #[case("last-event-id")]
    #[case("connection")]
    #[case("keep-alive")]
    #[case("te")]
    #[case("trailer")]
    #[case("transfer-encoding")]
    #[case("content-length")]
    #[case("upgrade")]
    #[case("http2-settings")]
    #[case("expect")]
    fn removed(#[case] name: &'static str) {
        assert!(!sent(name, &OPEN));
    }

    #[rstest]
    #[case("accept")]
    #[case("accept-encoding")]
    #[case("cookie")]
    #[case("origin")]
    #[case("content-type")]
    #[case("mcp-session-id")]
    #[case("mcp-protocol-version")]
    #[case("mcp-method")]
    #[case("mcp-name")]
    #[case("mcp-param-region")]
    #[case("x-forwarded-for")]
    #[case("traceparent")]
    #[case("x-request-id")]
    fn kept(#[case] name: &'static str) {
        assert!(sent(name, &OPEN));
    }

    #[test]
    fn the_server_is_called_by_its_own_name() {
        let mut headers = HeaderMap::new();
        headers.append("host", HeaderValue::from_static("mcp.example.com"));
        let out = outbound(headers, &OPEN);
        assert_eq!(out.get_all("host").iter().collect::<Vec<_>>(), ["127.0.0.1:8000"]);
    }

    #[test]
    fn a_response_that_is_filtered_must_be_readable() {
        assert!(!sent("accept-encoding", &Outbound { filtered: true, ..OPEN }));
    }

    #[test]
    fn repeated_headers_keep_their_values() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("cookie", "a"), ("x-remote-user", "b"), ("cookie", "c"), ("x-remote-user", "d")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let out = outbound(headers, &OPEN);
        assert_eq!(out.get_all("cookie").iter().collect::<Vec<_>>(), ["a", "c"]);
        assert!(!out.contains_key("x-remote-user"));
    }

    #[rstest]
    #[case("user-1", "user-1")]
    #[case("https://app.example/client.json", "https://app.example/client.json")]
    #[case("müller", "m%C3%BCller")]
    #[case("a b%20", "a%20b%2520")]
    #[case("a\r\nb", "a%0D%0Ab")]
    fn values_decode_to_one_text(#[case] text: &str, #[case] value: &str) {
        assert_eq!(encode(text), value);
    }

    #[test]
    fn responses() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("www-authenticate", "Bearer resource_metadata=\"https://evil.example\""),
            ("access-control-allow-origin", "*"),
            ("transfer-encoding", "chunked"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("mcp-session-id", "s"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        inbound(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "content-type", "mcp-session-id"]);
    }
}
