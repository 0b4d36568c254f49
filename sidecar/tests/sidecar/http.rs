//! HTTP: exact answers, hygiene (security.md C.2), smuggling, CORS and metadata.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;

use crate::harness::{Answer, Bench, PRM, PRM_URL, deny_all, options, post, quick_limits, request, tool_call};

fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

/// A response without its date, as text.
fn text(answer: &Answer) -> String {
    let mut headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").collect();
    headers.sort();
    let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{}\n{}\n{}", answer.status, headers.concat(), answer.body)
}

#[tokio::test]
async fn rfc6750_3_no_token_byte_for_byte() {
    let bench = Bench::start().await;
    let expected = format!(
        "401\ncache-control: no-store\nconnection: close\ncontent-length: 74\ncontent-type: application/json\n\
         www-authenticate: Bearer resource_metadata=\"{PRM_URL}\", scope=\"mcp:read\"\n\n\
         {{\"error\":\"unauthorized\",\"error_description\":\"an access token is required\"}}"
    );
    for request in [
        post(&[], &tool_call("read")),
        post(&[("Authorization", "Basic YTpi")], &tool_call("read")),
        request("POST", "/mcp?access_token=x", &[("Connection", "close")], &tool_call("read")),
        request("POST", "/mcp?x=/.well-known/oauth-protected-resource", &[("Connection", "close")], &tool_call("read")),
        post(&[("X-Forwarded-Uri", "/livez"), ("X-Original-Url", "/health")], &tool_call("read")),
        post(&[("Host", "mcp.example.com"), ("X-Forwarded-Host", "evil.example")], "junk"),
        post(&[("Mcp-Init-Host", "mcp.example.com"), ("Router-Key", "x")], &tool_call("read")),
        request("DELETE", "/mcp", &[("Connection", "close")], ""),
    ] {
        assert_eq!(text(&bench.raw(request).await), expected);
    }
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn rfc6750_3_1_bad_token_byte_for_byte() {
    let bench = Bench::start().await;
    let answer = bench.call(&bench.key.token(|claims| claims["exp"] = json!(1)), &tool_call("read")).await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with(&format!(
        r#"Bearer error="invalid_token", resource_metadata="{PRM_URL}", scope="mcp:read", error_description=""#
    )));
    assert_eq!(challenge.matches("scope=").count(), 1);
}

#[tokio::test]
async fn rfc6750_3_1_insufficient_scope_byte_for_byte() {
    let bench = Bench::start().await;
    let body = tool_call("send_reminder").replace("\"id\":7", "\"id\":\"a\\\"b\"");
    let answer = bench.call(&bench.token(), &body).await;
    assert_eq!(
        text(&answer),
        format!(
            "403\ncache-control: no-store\nconnection: close\ncontent-length: 116\ncontent-type: application/json\n\
             www-authenticate: Bearer error=\"insufficient_scope\", scope=\"mcp:read mcp:write\", \
             resource_metadata=\"{PRM_URL}\", \
             error_description=\"the access token lacks scopes this operation needs\"\n\n\
             {{\"jsonrpc\":\"2.0\",\"id\":\"a\\\"b\",\"error\":{{\"code\":-32003,\"message\":\
             \"the access token lacks scopes this operation needs\"}}}}"
        )
    );
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn denied_for_good_is_403_without_a_challenge() {
    let bench = Bench::start().await;
    let answer = bench.call(&bench.token(), &tool_call("delete_all")).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (403, None));
    assert_eq!(
        answer.body,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32003,"message":"this operation is not allowed on this server"}}"#
    );
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn rfc6750_3_1_invalid_request_byte_for_byte() {
    let bench = Bench::start().await;
    let (name, token) = bearer(&bench.token());
    for request in [
        post(&[(name, &token), (name, &token)], &tool_call("read")),
        post(&[(name, &token), (name, "Basic YTpi")], &tool_call("read")),
        post(&[(name, &format!("{token}, {token}"))], &tool_call("read")),
        post(&[(name, "Bearer")], &tool_call("read")),
        request("POST", "/mcp?access_token=x", &[(name, &token), ("Connection", "close")], &tool_call("read")),
        request("POST", "/mcp?a&%61ccess_token=x", &[(name, &token), ("Connection", "close")], &tool_call("read")),
    ] {
        let answer = bench.raw(request).await;
        assert_eq!(
            text(&answer),
            format!(
                "400\ncache-control: no-store\nconnection: close\ncontent-length: 108\ncontent-type: application/json\n\
                 www-authenticate: Bearer error=\"invalid_request\", resource_metadata=\"{PRM_URL}\"\n\n\
                 {{\"error\":\"invalid_request\",\"error_description\":\
                 \"send exactly one access token, in one Authorization header\"}}"
            )
        );
    }
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn deny_all_and_no_config_answer_503_to_everything() {
    let bench = Bench::start_without_config(options()).await;
    let (name, token) = bearer(&bench.token());
    let requests = [
        post(&[(name, &token)], &tool_call("read")),
        post(&[], "junk"),
        request("GET", "/.well-known/oauth-protected-resource/mcp", &[("Connection", "close")], ""),
        request("OPTIONS", "/mcp", &[("Origin", "https://app.example"), ("Connection", "close")], ""),
        request("GET", "/", &[("Host", "evil.example"), ("Connection", "close")], ""),
        request("DELETE", "/mcp", &[(name, &token), ("Connection", "close")], ""),
    ];
    for message in ["the sidecar has no configuration yet", "this server is not available"] {
        for request in &requests {
            let answer = bench.raw(request).await;
            let body = format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32000,"message":"{message}"}}}}"#);
            let expected = format!(
                "503\ncache-control: no-store\nconnection: close\ncontent-length: {}\ncontent-type: application/json\n\
                 retry-after: 5\n\n{body}",
                body.len()
            );
            assert_eq!(text(&answer), expected);
        }
        bench.load(&deny_all());
    }
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn rfc9110_15_5_20_foreign_hosts() {
    let bench = Bench::start().await;
    let (name, token) = bearer(&bench.token());
    let answer = bench.raw(post(&[("Host", "evil.example"), (name, &token)], &tool_call("read"))).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (421, None));
    assert!(!answer.body.contains("evil"));
    let answer = bench
        .raw(request(
            "GET",
            "/.well-known/oauth-protected-resource",
            &[("Host", "evil.example"), ("Connection", "close")],
            "",
        ))
        .await;
    assert_eq!(answer.status, 421);
    for host in ["invoices-mcp.acme-corp", "invoices-mcp.acme-corp:80", "MCP.example.com:443"] {
        let answer = bench.raw(post(&[("Host", host), (name, &token)], &tool_call("read"))).await;
        assert_eq!(answer.status, 200, "{host}");
        let recorded = bench.upstream.recorded();
        assert!(
            recorded.contains("host: 127.0.0.1:") && !recorded.contains(host),
            "the server is called by its own name"
        );
    }
}

/// C.2 rows 22, 24, 31: every request here is answered 400 or not at all, the connection ends, and what follows on it
/// is not read as a request.
#[rstest]
#[case::cl_te("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")]
#[case::te_cl("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")]
#[case::te_te("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n")]
#[case::te_twice("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")]
#[case::te_gzip("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")]
#[case::te_identity("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n")]
#[case::te_space("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")]
#[case::te_tab("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n")]
#[case::cl_twice("Content-Length: 2\r\nContent-Length: 2\r\n", "{}")]
#[case::cl_differ("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")]
#[case::cl_list("Content-Length: 2, 2\r\n", "{}")]
#[case::cl_sign("Content-Length: +2\r\n", "{}")]
#[case::fold("Content-Length: 2\r\n X: y\r\n", "{}")]
#[case::bare_lf("X: y\nContent-Length: 2\r\n", "{}")]
#[case::bare_cr("X: y\rZ: w\r\nContent-Length: 2\r\n", "{}")]
#[case::nul("X: \0\r\nContent-Length: 2\r\n", "{}")]
#[case::chunk_space("Transfer-Encoding: chunked\r\n", "2 \r\n{}\r\n0\r\n\r\n")]
#[case::chunk_lf("Transfer-Encoding: chunked\r\n", "2\n{}\r\n0\r\n\r\n")]
#[case::chunk_hex("Transfer-Encoding: chunked\r\n", "0x2\r\n{}\r\n0\r\n\r\n")]
#[case::chunk_overflow("Transfer-Encoding: chunked\r\n", "ffffffffffffffff2\r\n{}\r\n0\r\n\r\n")]
#[case::chunk_no_crlf("Transfer-Encoding: chunked\r\n", "2\r\n{}0\r\n\r\n")]
#[case::two_hosts("Host: mcp.example.com\r\nContent-Length: 2\r\n", "{}")]
#[case::connection_list("Connection: close, Authorization\r\nContent-Length: 2\r\n", "{}")]
#[case::underscore("Mcp_Session_Id: x\r\nContent-Length: 2\r\n", "{}")]
#[case::content_type_twice("Content-Type: text/plain\r\nContent-Length: 2\r\n", "{}")]
#[tokio::test]
async fn rfc9112_11_2_smuggling(#[case] headers: &str, #[case] body: &str) {
    let bench = Bench::start().await;
    let token = bench.token();
    let smuggled =
        String::from_utf8(post(&[("Authorization", &format!("Bearer {token}"))], &tool_call("read"))).unwrap();
    let bytes = format!(
        "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\n{headers}\r\n{body}{smuggled}"
    );
    let answer = bench.raw(&bytes).await;
    assert!(answer.status == 400 || answer.status == 0, "{answer:?}");
    assert_eq!(answer.body.matches("HTTP/1.1").count(), 0, "one answer: {answer:?}");
    assert_eq!(bench.upstream.recorded(), "");
}

#[rstest]
#[case("POST /mcp#x HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n", 400)]
#[case("POST /mcp HTTP/1.1\r\n\r\n", 400)]
#[case("POST /mcp HTTP/1.1\r\nHost:\r\n\r\n", 400)]
#[case("POST /mcp HTTP/1.1\r\nHost: a/admin?x=#\r\n\r\n", 400)]
#[case("POST https://evil.example/mcp HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n", 400)]
#[case("POST https://mcp.example.com/mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400)]
#[case("POST /mcp/../admin HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n", 400)]
#[case("POST /%2e%2e/mcp HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n", 400)]
#[case("POST //mcp HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n", 400)]
#[case("POST /mcp\\x HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n", 400)]
#[case("POST /mcp/ HTTP/1.1\r\nHost: mcp.example.com\r\nConnection: close\r\n\r\n", 404)]
#[case("OPTIONS * HTTP/1.1\r\nHost: mcp.example.com\r\nConnection: close\r\n\r\n", 404)]
#[case("TRACE /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nConnection: close\r\n\r\n", 405)]
#[case("post /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nConnection: close\r\n\r\n", 405)]
#[case("CONNECT mcp.example.com:443 HTTP/1.1\r\nHost: mcp.example.com:443\r\nConnection: close\r\n\r\n", 405)]
#[case("POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nExpect: y\r\nConnection: close\r\n\r\n", 417)]
#[case("POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n", 415)]
#[case("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)]
#[case("POST /mcp HTTP/0.9\r\n\r\n", 400)]
#[tokio::test]
async fn targets_and_methods(#[case] bytes: &str, #[case] status: u16) {
    let bench = Bench::start().await;
    let answer = bench.raw(bytes).await;
    // hyper answers an HTTP/2 preface on its own terms.
    assert!(answer.status == status || (answer.status == 0 && bytes.starts_with("PRI")), "{answer:?}");
    assert_eq!(bench.upstream.recorded(), "");
    assert_eq!(bench.upstream.connections(), 0);
}

#[tokio::test]
async fn get_is_405_with_what_is_allowed() {
    let bench = Bench::start().await;
    let (name, token) = bearer(&bench.token());
    let answer = bench.raw(request("GET", "/mcp", &[(name, &token), ("Connection", "close")], "")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, DELETE, OPTIONS")));
}

#[tokio::test]
async fn c2_23_an_upgrade_is_ignored_and_tunnels_nothing() {
    let bench = Bench::start().await;
    let token = format!("Bearer {}", bench.token());
    let upgrade = [
        ("Authorization", &*token),
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    let mut bytes = request("POST", "/mcp", &upgrade, &tool_call("read"));
    bytes.extend(post(&[], &tool_call("read")));
    let mut client = bench.connect().await;
    client.send(bytes).await;
    let got = client.closed().await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    assert!(got.contains("HTTP/1.1 401"), "the second request is decided on its own: {got}");
    let recorded = bench.upstream.recorded().to_lowercase();
    assert_eq!(recorded.matches("post /inner").count(), 1);
    assert!(!recorded.contains("upgrade") && !recorded.contains("http2-settings"));
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_is_502() {
    let bench = Bench::start().await;
    let response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_vec();
    bench.upstream.reply(crate::harness::Reply::Bytes(response));
    let answer = bench.call(&bench.token(), &tool_call("read")).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["id"], 7);
}

#[tokio::test]
async fn c2_47_expect_continue_is_answered_here() {
    let bench = Bench::start().await;
    let token = format!("Bearer {}", bench.token());
    let body = tool_call("read");
    let whole = String::from_utf8(post(&[("Authorization", &token), ("Expect", "100-continue")], &body)).unwrap();
    let (head, _) = whole.split_once("\r\n\r\n").unwrap();
    let mut client = bench.connect().await;
    client.send(format!("{head}\r\n\r\n")).await;
    client.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send(body).await;
    assert!(client.closed().await.contains("HTTP/1.1 200"));
    assert!(!bench.upstream.recorded().to_lowercase().contains("expect"));
    // Without a good token the body is not even asked for.
    let answer = bench
        .raw(b"POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(answer.status, 401);
}

#[rstest]
#[case("text/plain", 415)]
#[case("application/json; charset=utf-16", 415)]
#[case("multipart/form-data; boundary=x", 415)]
#[case("application/json; charset=utf-8", 200)]
#[tokio::test]
async fn c2_45_content_types(#[case] content_type: &str, #[case] status: u16) {
    let bench = Bench::start().await;
    let (name, token) = bearer(&bench.token());
    let answer = bench.raw(post(&[(name, &token), ("Content-Type", content_type)], &tool_call("read"))).await;
    assert_eq!(answer.status, status);
}

#[tokio::test]
async fn c2_39_heads_and_bodies_are_bounded() {
    let bench = Bench::start().await;
    let (name, token) = bearer(&bench.token());
    let long = "x".repeat(16 * 1024);
    assert_eq!(bench.raw(post(&[(name, &token), ("X-Long", &long)], "{}")).await.status, 431);
    let many: Vec<(String, String)> = (0..120).map(|i| (format!("X-{i}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(bench.raw(post(&many, "{}")).await.status, 431);
    let body = format!("{}{}", tool_call("read"), " ".repeat(65536));
    assert_eq!(bench.raw(post(&[(name, &token)], &body)).await.status, 413);
    let chunked = [(name, &*token), ("Transfer-Encoding", "chunked")];
    let body = format!("11000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x11000));
    assert_eq!(bench.raw(post(&chunked, &body)).await.status, 413);
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn chunked_bodies_are_reframed_with_a_length() {
    let bench = Bench::start().await;
    let token = format!("Bearer {}", bench.token());
    let body = tool_call("read");
    let (a, b) = body.split_at(10);
    let chunked =
        format!("{:x}\r\n{a}\r\n{:x};ext=1\r\n{b}\r\n0\r\nAuthorization: Bearer trailer\r\n\r\n", a.len(), b.len());
    let headers = [("Authorization", &*token), ("Transfer-Encoding", "chunked")];
    let mut bytes = request("POST", "/mcp", &headers, &chunked);
    bytes.extend(post(&[("Authorization", &token)], &tool_call("read")));
    let mut client = bench.connect().await;
    client.send(bytes).await;
    assert_eq!(client.closed().await.matches("HTTP/1.1 200").count(), 2, "the connection goes on after it");
    let recorded = bench.upstream.recorded();
    assert!(recorded.contains(&format!("content-length: {}\r\n", body.len())), "{recorded}");
    assert!(recorded.contains(&body));
    assert!(!recorded.to_lowercase().contains("chunked") && !recorded.contains("trailer"));
}

#[tokio::test]
async fn c2_36_slow_requests_end() {
    let mut options = options();
    options.limits = quick_limits();
    let bench = Bench::start_with(options, |config| config).await;
    let mut head = bench.connect().await;
    head.send("POST /mcp HTTP/1.1\r\nHost: mcp.exa").await;
    assert_eq!(head.closed().await, "", "a head that does not end");
    let mut body = bench.connect().await;
    let token = format!("Bearer {}", bench.token());
    let whole = post(&[("Authorization", &token)], &tool_call("read"));
    body.send(&whole[..whole.len() - 3]).await;
    assert!(body.closed().await.starts_with("HTTP/1.1 408"), "a body that does not end");
    let mut idle = bench.connect().await;
    assert_eq!(idle.closed().await, "", "a connection without a request");
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn connections_beyond_the_cap_wait() {
    let mut options = options();
    options.limits.max_connections = 1;
    let bench = Bench::start_with(options, |config| config).await;
    let mut first = bench.connect().await;
    first.send(request("POST", "/mcp", &[], "{}")).await;
    assert_eq!(first.answer().await.status, 401);
    let mut second = bench.connect().await;
    second.send(post(&[], "{}")).await;
    tokio::time::timeout(Duration::from_millis(200), second.read_until("HTTP")).await.unwrap_err();
    drop(first);
    assert!(second.closed().await.starts_with("HTTP/1.1 401"));
}

#[rstest]
#[case("/.well-known/oauth-protected-resource/mcp")]
#[case("/.well-known/oauth-protected-resource")]
#[tokio::test]
async fn rfc9728_3_metadata(#[case] path: &str) {
    let bench = Bench::start().await;
    let expected = format!(
        "200\naccess-control-allow-origin: *\nconnection: close\ncontent-length: {}\ncontent-type: application/json\n\n",
        PRM.len()
    );
    for origin in ["https://app.example", "https://evil.example"] {
        let get = request("GET", path, &[("Origin", origin), ("Connection", "close")], "");
        assert_eq!(text(&bench.raw(get).await), format!("{expected}{PRM}"));
    }
    assert_eq!(text(&bench.raw(request("HEAD", path, &[("Connection", "close")], "")).await), expected);
    let options =
        bench.raw(request("OPTIONS", path, &[("Origin", "https://evil.example"), ("Connection", "close")], "")).await;
    assert_eq!((options.status, options.header("access-control-allow-origin")), (204, Some("*")));
    let post = bench.raw(request("POST", path, &[("Connection", "close")], "{}")).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[rstest]
#[case("null")]
#[case("http://evil.example")]
#[case("https://evil.example")]
#[case("http://localhost.evil.example")]
#[case("https://app.example.evil.example")]
#[case("https://app.example:444")]
#[case("")]
#[tokio::test]
async fn c2_43_foreign_origins(#[case] origin: &str) {
    let bench = Bench::start().await;
    let (name, token) = bearer(&bench.token());
    for request in [
        post(&[("Origin", origin), (name, &token)], &tool_call("read")),
        post(&[("Origin", origin)], &tool_call("read")),
        request("OPTIONS", "/mcp", &[("Origin", origin), ("Connection", "close")], ""),
    ] {
        let answer = bench.raw(request).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
        assert_eq!(answer.header("www-authenticate"), None);
    }
    assert_eq!(bench.upstream.recorded(), "");
}

#[rstest]
#[case("https://app.example")]
#[case("https://mcp.example.com")]
#[tokio::test]
async fn cors_for_allowed_origins(#[case] origin: &str) {
    let bench = Bench::start().await;
    let preflight = bench
        .raw(request(
            "OPTIONS",
            "/mcp",
            &[
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "authorization,mcp-param-region,x-evil"),
                ("Connection", "close"),
            ],
            "",
        ))
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(origin));
    assert_eq!(preflight.header("access-control-allow-credentials"), None);
    let allowed = preflight.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("Authorization") && allowed.contains("mcp-param-region") && !allowed.contains("evil"));
    // The challenge must be readable, or a page could never log in.
    let answer = bench.raw(post(&[("Origin", origin)], &tool_call("read"))).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some(origin)));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("WWW-Authenticate"));
}
