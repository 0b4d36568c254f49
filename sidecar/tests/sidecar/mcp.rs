//! What reaches the server, what it must never see, and what comes back (security.md C.3).

use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Bench, Reply, SSE_HEAD, chunk, config, json_response, options, post, request, tool_call, with_oauth,
};

fn list_result(tools: &[&str]) -> String {
    let tools: Vec<Value> = tools.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
    json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}).to_string()
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

#[tokio::test]
async fn the_server_gets_the_exact_bytes_and_our_headers_alone() {
    let bench = Bench::start().await;
    let body = "{ \"jsonrpc\":\"2.0\",\r\n \"id\" : 7, \"method\":\"tools\\/call\", \"params\":{\"name\":\"re\\u0061d\",\"arguments\":{\"x\":1.50e3}}} ";
    let token = format!("Bearer {}", bench.token());
    let headers = [
        ("Authorization", &*token),
        ("Accept", "application/json, text/event-stream"),
        ("X-Lumoauth-Subject", "admin"),
        ("x_lumoauth_subject", "admin"),
        ("X-Lumoauth-Scopes", "mcp:admin"),
        ("X-Forwarded-User", "admin"),
        ("X_Forwarded_Email", "admin"),
        ("X-Auth-Request-User", "admin"),
        ("X-Remote-User", "admin"),
        ("Remote-User", "admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Original-URL", "/admin"),
        ("X_Rewrite_Url", "/admin"),
        ("X-Forwarded-Prefix", "/admin"),
        ("Last-Event-ID", "5"),
        ("Mcp-Session-Id", "s1"),
        ("Mcp-Param-Region", "eu"),
        ("X-Custom", "kept"),
    ];
    let answer =
        bench.raw(request("POST", "/mcp?a=1&b=%20", &[&headers[..], &[("Connection", "close")]].concat(), body)).await;
    assert_eq!((answer.status, &*answer.body), (200, "{}"));
    let recorded = bench.upstream.recorded();
    let (head, forwarded) = recorded.split_once("\r\n\r\n").unwrap();
    assert_eq!(forwarded, body);
    let mut lines: Vec<_> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /inner?a=1&b=%20 HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: application/json, text/event-stream",
            &format!("content-length: {}", body.len()),
            "content-type: application/json",
            &format!("host: 127.0.0.1:{}", bench.upstream.port),
            "mcp-param-region: eu",
            "mcp-session-id: s1",
            "x-custom: kept",
            "x-lumoauth-client: mcpc_1",
            "x-lumoauth-org: acme",
            "x-lumoauth-scopes: mcp:read",
            "x-lumoauth-subject: user-1",
        ]
    );
}

#[tokio::test]
async fn subjects_arrive_as_one_header_value() {
    let bench = Bench::start().await;
    let token = bench.key.token(|claims| claims["sub"] = json!("jörg 100%"));
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 200);
    assert!(bench.upstream.recorded().contains("x-lumoauth-subject: j%C3%B6rg%20100%25\r\n"));
}

#[tokio::test]
async fn connections_to_the_server_are_kept() {
    let bench = Bench::start().await;
    let token = format!("Bearer {}", bench.token());
    let mut client = bench.connect().await;
    for _ in 0..20 {
        client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(bench.upstream.connections(), 1);
}

#[tokio::test]
async fn a_server_that_is_down_is_502_with_the_id() {
    let bench = Bench::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    bench.load(&config(closed, &bench.key));
    let answer = bench.call(&bench.token(), &tool_call("read")).await;
    assert_eq!(answer.status, 502);
    assert_eq!(
        answer.body,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the server did not answer"}}"#
    );
}

#[tokio::test]
async fn a_server_that_hangs_up_is_502_and_is_not_asked_twice() {
    let bench = Bench::start().await;
    drop(bench.upstream.reply_live());
    let answer = bench.call(&bench.token(), &tool_call("read")).await;
    assert_eq!(answer.status, 502);
    assert_eq!(bench.upstream.recorded().matches("POST").count(), 1);
}

#[tokio::test]
async fn responses_pass_without_what_is_not_the_servers_to_say() {
    let bench = Bench::start().await;
    let response = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer resource_metadata=\"https://evil.example\"\r\n\
                    Access-Control-Allow-Origin: *\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                    Mcp-Session-Id: s9\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno";
    bench.upstream.reply(Reply::Bytes(response.into()));
    let answer = bench.call(&bench.token(), &tool_call("read")).await;
    assert_eq!((answer.status, &*answer.body), (401, "no"));
    assert_eq!(answer.header("mcp-session-id"), Some("s9"));
    for name in ["www-authenticate", "access-control-allow-origin", "keep-alive", "x-hop"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn the_end_of_a_session_needs_the_required_scopes() {
    let bench = Bench::start().await;
    let delete = |token: &str| {
        request(
            "DELETE",
            "/mcp",
            &[("Authorization", &format!("Bearer {token}")), ("Mcp-Session-Id", "s1"), ("Connection", "close")],
            "",
        )
    };
    let poor = bench.key.token(|claims| claims["scope"] = json!("other"));
    assert_eq!(bench.raw(delete(&poor)).await.status, 403);
    assert_eq!(bench.upstream.recorded(), "");
    assert_eq!(bench.raw(delete(&bench.token())).await.status, 200);
    let recorded = bench.upstream.recorded();
    assert!(
        recorded.starts_with("DELETE /inner HTTP/1.1\r\n") && recorded.contains("mcp-session-id: s1\r\n"),
        "{recorded}"
    );
    assert!(!recorded.to_lowercase().contains("authorization"));
}

#[rstest]
#[case::r48_duplicate_method(
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","method":"tools/call","params":{"name":"x"}}"#
)]
#[case::r48_duplicate_name(
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read","name":"delete_all"}}"#
)]
#[case::r48_duplicate_by_escape(
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read","n\u0061me":"delete_all"}}"#
)]
#[case::r49_case(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read","Name":"delete_all"}}"#)]
#[case::r49_fold(
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read"},"paramſ":{"name":"delete_all"}}"#
)]
#[case::r51_batch(r#"[{"jsonrpc":"2.0","id":7,"method":"tools/list"},{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"delete_all"}}]"#)]
#[case::r52_array(r#"["2.0",7,"tools/call",{"name":"x"}]"#)]
#[case::r53_two_documents(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}{"jsonrpc":"2.0","id":7,"method":"ping"}"#)]
#[case::r53_bom("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}")]
#[case::r53_comment(r#"{"jsonrpc":"2.0","id":7,/**/"method":"ping"}"#)]
#[case::r53_nan(r#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#)]
#[case::r58_both_shapes(r#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#)]
#[case::empty(" ")]
#[tokio::test]
async fn c3_bodies_with_two_readings(#[case] body: &str) {
    let bench = Bench::start().await;
    let answer = bench.call(&bench.token(), body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["jsonrpc"], "2.0");
    assert!(answer.json()["error"]["code"].is_i64());
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn c3_54_deep_and_wide_bodies() {
    let bench = Bench::start().await;
    for body in [
        "[".repeat(60_000),
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{}}}"#, "{\"a\":".repeat(10_000)),
    ] {
        assert_eq!(bench.call(&bench.token(), &body).await.status, 400);
    }
    assert_eq!(bench.upstream.recorded(), "");
    assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200);
}

#[rstest]
#[case::r50_escaped(r#"{"jsonrpc":"2.0","id":7,"method":"tools\/c\u0061ll","params":{"n\u0061me":"delete_\u0061ll"}}"#, &[403])]
#[case::r56_nul(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_all\u0000"}}"#, &[400, 403])]
#[case::r57_unknown_method(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call2","params":{"name":"read"}}"#, &[403])]
#[case::r57_sampling(r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}"#, &[403])]
#[case::no_name(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#, &[400, 403])]
#[tokio::test]
async fn c3_other_ways_to_the_same_power(#[case] body: &str, #[case] statuses: &[u16]) {
    let bench = Bench::start().await;
    let answer = bench.call(&bench.token(), body).await;
    assert!(statuses.contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(bench.upstream.recorded(), "");
}

fn modern(method: &str, params: Value) -> String {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string()
}

#[rstest]
#[case::agree("tools/call", "read", 200)]
#[case::encoded_name("tools/call", "=?base64?cmVhZA==?=", 200)]
#[case::other_name("tools/call", "other", 400)]
#[case::other_method("tools/list", "read", 400)]
#[tokio::test]
async fn c3_55_headers_must_agree_with_the_body(#[case] method: &str, #[case] name: &str, #[case] status: u16) {
    let bench = Bench::start().await;
    let token = format!("Bearer {}", bench.token());
    let headers = [
        ("Authorization", &*token),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", method),
        ("Mcp-Name", name),
    ];
    let answer = bench.raw(post(&headers, &modern("tools/call", json!({"name": "read", "arguments": {}})))).await;
    assert_eq!(answer.status, status, "{answer:?}");
    if status == 200 {
        assert!(bench.upstream.recorded().contains(&format!("mcp-name: {name}\r\n")));
    } else {
        assert_eq!((&answer.json()["error"]["code"], &answer.json()["id"]), (&json!(-32020), &json!(7)));
        assert_eq!(bench.upstream.recorded(), "");
    }
}

#[tokio::test]
async fn a_version_nobody_speaks_is_answered_with_those_we_know() {
    let bench = Bench::start().await;
    let token = format!("Bearer {}", bench.token());
    let answer = bench
        .raw(post(&[("Authorization", &*token), ("MCP-Protocol-Version", "1900-01-01")], &tool_call("read")))
        .await;
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert_eq!((&error["code"], &error["data"]["requested"]), (&json!(-32022), &json!("1900-01-01")));
    assert_eq!(error["data"]["supported"][0], "2026-07-28");
    assert_eq!(bench.upstream.recorded(), "");
    assert_eq!(bench.call(&bench.token(), "{}").await.json()["error"].get("data"), None);
}

#[rstest]
#[case::free(&["free://1"], 200)]
#[case::denied(&["free://1", "invoice://secret/1"], 403)]
#[case::denied_in_code(&["invoice://%73ecret/1"], 403)]
#[tokio::test]
async fn subscriptions_of_a_listen_are_ruled(#[case] uris: &[&str], #[case] status: u16) {
    let bench = Bench::start_with(options(), |config| {
        with_oauth(config, |oauth| {
            let rule = json!({
                "selector": {"methods": {"methods": ["resources/*"], "names": ["invoice://secret*"]}},
                "effect": "deny",
            });
            oauth["policy"]["rules"].as_array_mut().unwrap().insert(0, rule);
        })
    })
    .await;
    let token = format!("Bearer {}", bench.token());
    let method = "subscriptions/listen";
    let headers = [("Authorization", &*token), ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
    let body = modern(method, json!({"notifications": {"resourceSubscriptions": uris}}));
    assert_eq!(bench.raw(post(&headers, &body)).await.status, status);
    assert_eq!(bench.upstream.recorded().is_empty(), status != 200);
}

#[rstest]
#[case::absent(&[], 200)]
#[case::agree(&[("Mcp-Method", "tools/call"), ("Mcp-Name", "read")], 200)]
#[case::other_method(&[("Mcp-Method", "tools/list")], 400)]
#[case::other_name(&[("Mcp-Name", "other")], 400)]
#[tokio::test]
async fn legacy_requests_may_leave_the_headers_out_but_not_lie(#[case] extra: &[(&str, &str)], #[case] status: u16) {
    let bench = Bench::start().await;
    let token = format!("Bearer {}", bench.token());
    let headers = [&[("Authorization", &*token), ("MCP-Protocol-Version", "2025-06-18")], extra].concat();
    assert_eq!(bench.raw(post(&headers, &tool_call("read"))).await.status, status);
    let recorded = bench.upstream.recorded();
    assert_eq!(recorded.contains("mcp-protocol-version: 2025-06-18\r\n"), status == 200, "{recorded}");
}

#[tokio::test]
async fn scopes_decide_and_imply() {
    let bench = Bench::start().await;
    let writer = bench.key.token(|claims| claims["scope"] = json!("mcp:write"));
    for (token, tool, status) in [
        (&bench.token(), "read", 200),
        (&bench.token(), "send_reminder", 403),
        (&writer, "read", 200),
        (&writer, "send_reminder", 200),
        (&writer, "delete_all", 403),
    ] {
        assert_eq!(bench.call(token, &tool_call(tool)).await.status, status, "{tool}");
    }
    let stranger = bench.key.token(|claims| claims["scope"] = json!("xmcp:read"));
    let answer = bench.call(&stranger, &tool_call("read")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("www-authenticate").unwrap().contains(r#"scope="mcp:read""#));
}

#[tokio::test]
async fn c3_59_lists_show_what_the_token_may_use_in_json() {
    let bench = Bench::start().await;
    bench.upstream.reply_json(&list_result(&["read", "send_reminder", "delete_all"]));
    let token = format!("Bearer {}", bench.token());
    let answer = bench.raw(post(&[("Authorization", &token), ("Accept-Encoding", "gzip")], LIST)).await;
    assert_eq!(answer.status, 200);
    let names: Vec<_> =
        answer.json()["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
    assert_eq!(names, ["read"]);
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    assert!(!bench.upstream.recorded().contains("accept-encoding"));
    let writer = bench.key.token(|claims| claims["scope"] = json!("mcp:write"));
    let answer = bench.call(&writer, LIST).await;
    assert_eq!(answer.json()["result"]["tools"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn c3_59_lists_show_what_the_token_may_use_in_events() {
    let bench = Bench::start().await;
    let live = bench.upstream.reply_live();
    let token = format!("Bearer {}", bench.token());
    let mut client = bench.connect().await;
    client.send(request("POST", "/mcp", &[("Authorization", &token)], LIST)).await;
    live.send(SSE_HEAD.to_vec()).unwrap();
    live.send(chunk(
        "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n",
    ))
    .unwrap();
    client.read_until("notifications/progress").await;
    // The list in two pieces, cut within a name.
    let event = format!("event: message\ndata: {}\n\n", list_result(&["read", "delete_all"]));
    let (a, b) = event.split_at(event.find("delete").unwrap() + 3);
    live.send(chunk(a)).unwrap();
    live.send(chunk(b)).unwrap();
    let got = client.read_until("\"read\"").await;
    live.send(b"0\r\n\r\n".to_vec()).unwrap();
    let rest = client.read_until("\r\n0\r\n\r\n").await;
    assert!(!got.contains("delete") && !rest.contains("delete"), "{rest}");
}

#[rstest]
#[case::other_form(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\ndelete_all".to_vec())]
#[case::encoded(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\ndelete_all".to_vec())]
#[case::encoded_in_a_second_line(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\ndelete_all".to_vec())]
#[case::encoded_in_a_list(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: identity, br\r\nContent-Length: 10\r\n\r\ndelete_all".to_vec())]
#[case::two_types(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\ndelete_all".to_vec())]
#[case::empty_in_chunks(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec())]
#[case::junk(json_response("{\"result\":{\"tools\":[\"delete_all\""))]
#[case::batch(json_response(r#"[{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"delete_all"}]}}]"#))]
#[tokio::test]
async fn a_list_that_cannot_be_filtered_is_not_passed_on(#[case] response: Vec<u8>) {
    let bench = Bench::start().await;
    bench.upstream.reply(Reply::Bytes(response));
    let answer = bench.call(&bench.token(), LIST).await;
    assert_eq!(answer.status, 502);
    assert!(!answer.body.contains("delete"));
}

#[rstest]
#[case::json_empty_in_chunks("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]
#[case::json_junk("Content-Type: application/json\r\nContent-Length: 10\r\n\r\ndelete_all")]
#[case::text("Content-Type: text/plain\r\nContent-Length: 10\r\n\r\ndelete_all")]
#[case::encoded("Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\ndelete_all")]
#[case::nothing("Content-Length: 0\r\n\r\n")]
#[tokio::test]
async fn errors_answered_to_a_list_request_keep_their_status(#[case] rest: &str) {
    let bench = Bench::start().await;
    for status in [404, 500] {
        bench.upstream.reply(Reply::Bytes(format!("HTTP/1.1 {status} No\r\nMcp-Session-Id: s\r\n{rest}").into()));
        let answer = bench.call(&bench.token(), LIST).await;
        assert_eq!((answer.status, &*answer.body), (status, ""));
        assert_eq!((answer.header("content-length"), answer.header("content-encoding")), (Some("0"), None));
        assert_eq!(answer.header("mcp-session-id"), Some("s"));
    }
}

#[tokio::test]
async fn an_error_in_json_passes() {
    let bench = Bench::start().await;
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no such session"}}"#;
    let response = String::from_utf8(json_response(error)).unwrap().replacen("200 OK", "404 Not Found", 1);
    bench.upstream.reply(Reply::Bytes(response.into()));
    let answer = bench.call(&bench.token(), LIST).await;
    assert_eq!((answer.status, &*answer.body), (404, error));
}

#[tokio::test]
async fn lists_pass_whole_where_they_are_not_filtered() {
    let bench =
        Bench::start_with(options(), |config| with_oauth(config, |oauth| oauth["filterLists"] = json!(false))).await;
    let list = list_result(&["read", "delete_all"]);
    bench.upstream.reply_json(&list);
    assert_eq!(bench.call(&bench.token(), LIST).await.body, list);
}

#[tokio::test]
async fn auth_mode_none_forwards_without_tokens_and_with_hygiene() {
    let bench = Bench::start_with(options(), |mut config| {
        config["enforcement"]["enforce"]["authorization"] = json!("none");
        config
    })
    .await;
    assert_eq!(bench.raw(post(&[], &tool_call("delete_all"))).await.status, 200);
    assert_eq!(bench.call("anything", &tool_call("read")).await.status, 200);
    let recorded = bench.upstream.recorded().to_lowercase();
    assert!(!recorded.contains("authorization") && !recorded.contains("anything"), "{recorded}");
    assert!(recorded.contains("x-lumoauth-org: acme\r\n") && !recorded.contains("x-lumoauth-subject"));
    bench.upstream.clear();
    let prm = request("GET", "/.well-known/oauth-protected-resource/mcp", &[("Connection", "close")], "");
    assert_eq!(bench.raw(prm).await.status, 404);
    for (request, status) in [
        (post(&[], "[]"), 400),
        (post(&[("Origin", "https://evil.example")], &tool_call("read")), 403),
        (post(&[("Host", "evil.example")], &tool_call("read")), 421),
        (request("POST", "/mcp?access_token=x", &[("Connection", "close")], &tool_call("read")), 400),
        (request("GET", "/mcp", &[("Connection", "close")], ""), 405),
    ] {
        let answer = bench.raw(request).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (status, None));
    }
    assert_eq!(bench.upstream.recorded(), "");
}
