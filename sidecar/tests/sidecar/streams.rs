//! Streams: unbuffered, ended with the client, the token and the permission.

use std::time::{Duration, Instant};

use lumoauth_core::token::LEEWAY_SECONDS;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc::UnboundedSender};

use crate::configuration::Admin;
use crate::harness::{
    Bench, Client, Key, PATIENCE, Reply, SSE_HEAD, chunk, config, deny_all, now, options, request, tool_call, until,
    with_oauth,
};

/// A call that is being answered with an event stream, of which the first event has arrived.
async fn open_stream(bench: &Bench, token: &str) -> (Client, UnboundedSender<Vec<u8>>) {
    open_response(bench, token, SSE_HEAD).await
}

/// The same with another head.
async fn open_response(bench: &Bench, token: &str, head: &[u8]) -> (Client, UnboundedSender<Vec<u8>>) {
    let live = bench.upstream.reply_live();
    let mut client = bench.connect().await;
    let token = format!("Bearer {token}");
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    live.send(head.to_vec()).unwrap();
    live.send(chunk("data: first\n\n")).unwrap();
    client.read_until("data: first\n\n").await;
    (client, live)
}

#[tokio::test]
async fn events_pass_as_they_come() {
    let bench = Bench::start().await;
    let (mut client, live) = open_stream(&bench, &bench.token()).await;
    for i in 0..50 {
        live.send(chunk(&format!(": keep-alive {i}\n\n"))).unwrap();
        client.read_until(&format!("keep-alive {i}\n\n")).await;
    }
    live.send(b"0\r\n\r\n".to_vec()).unwrap();
    live.send(Vec::new()).unwrap();
    client.read_until("\r\n0\r\n\r\n").await;
    // The stream ended as it should: both connections go on.
    bench.upstream.reply_json("{}");
    client.1.clear();
    let token = format!("Bearer {}", bench.token());
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(bench.upstream.connections(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_is_cancelled() {
    let bench = Bench::start().await;
    let (client, _live) = open_stream(&bench, &bench.token()).await;
    drop(client);
    bench.upstream.hung_up().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_cancelled() {
    let bench = Bench::start().await;
    bench.upstream.reply(Reply::Silence);
    let mut client = bench.connect().await;
    let token = format!("Bearer {}", bench.token());
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    bench.upstream.received().await;
    drop(client);
    bench.upstream.hung_up().await;
}

fn expiring(bench: &Bench, seconds: u64) -> String {
    bench.key.token(|claims| claims["exp"] = json!(now() + seconds))
}

#[tokio::test]
async fn c2_38_a_stream_ends_with_its_token() {
    let bench = Bench::start().await;
    let start = Instant::now();
    let (mut client, _live) = open_stream(&bench, &expiring(&bench, 3)).await;
    client.read_until("\r\n0\r\n\r\n").await;
    let lasted = start.elapsed();
    assert!(lasted > Duration::from_millis(1500) && lasted < Duration::from_secs(10), "{lasted:?}");
    bench.upstream.hung_up().await;
}

#[tokio::test]
async fn c2_38_a_busy_stream_ends_with_its_token() {
    let bench = Bench::start().await;
    let (mut client, live) = open_stream(&bench, &expiring(&bench, 2)).await;
    let feeding = tokio::spawn(async move {
        while live.send(chunk(": busy\n\n")).is_ok() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    });
    client.read_until("\r\n0\r\n\r\n").await;
    bench.upstream.hung_up().await;
    feeding.abort();
}

#[tokio::test]
async fn c2_38_a_busy_download_ends_with_its_token_and_is_seen_to_be_incomplete() {
    let bench = Bench::start().await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut client, live) = open_response(&bench, &expiring(&bench, 2), head).await;
    let piece = chunk(&"x".repeat(100_000));
    let feeding = tokio::spawn(async move {
        while live.send(piece.clone()).is_ok() {
            // At the pace at which they are taken, about: the sidecar always finds more to relay.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(!client.closed().await.ends_with("\r\n0\r\n\r\n"));
    bench.upstream.hung_up().await;
    feeding.abort();
}

/// Sends a call whose body is held back until `meanwhile` is done; gives the status of the answer.
async fn held_back(bench: &Bench, token: &str, meanwhile: impl AsyncFnOnce()) -> u16 {
    let mut client = bench.connect().await;
    let authorization = format!("Bearer {}", bench.token());
    // A connection to the server is open and idle.
    client.send(request("POST", "/mcp", &[("Authorization", &authorization)], &tool_call("read"))).await;
    assert_eq!(client.answer().await.status, 200);
    bench.upstream.clear();
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", &*authorization), ("Expect", "100-continue")];
    let call = request("POST", "/mcp", &headers, &tool_call("read"));
    let (head, body) = call.split_at(call.len() - tool_call("read").len());
    client.send(head).await;
    // The body is asked for when the head has been accepted.
    client.read_until("100 Continue\r\n\r\n").await;
    client.1.clear();
    meanwhile().await;
    client.send(body).await;
    client.answer().await.status
}

#[tokio::test]
async fn a_body_that_comes_after_the_permission_has_ended_is_not_forwarded() {
    let bench = Bench::start().await;
    let admin = Admin::start(&bench).await;
    assert_eq!(held_back(&bench, &bench.token(), async || bench.load(&deny_all())).await, 503);
    assert_eq!(bench.upstream.recorded(), "");
    let metrics = admin.ask("GET", "/metrics").await.body;
    for line in [
        r#"decisions_total{decision="allow",reason="permitted",method="tools/call"} 1"#,
        r#"decisions_total{decision="deny",reason="revoked",method="tools/call"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_body_that_comes_after_the_token_has_ended_is_not_forwarded() {
    let bench = Bench::start().await;
    // The last seconds of the leeway.
    let token = bench.key.token(|claims| {
        claims["iat"] = json!(now() - 100);
        claims["exp"] = json!(now() - LEEWAY_SECONDS + 2);
    });
    let wait = async || tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(held_back(&bench, &token, wait).await, 401);
    assert_eq!(bench.upstream.recorded(), "");
}

#[tokio::test]
async fn a_body_that_comes_late_is_forwarded_while_the_permission_holds() {
    let bench = Bench::start().await;
    let same = with_oauth(config(bench.upstream.port, &bench.key), |oauth| oauth["filterLists"] = json!(false));
    assert_eq!(held_back(&bench, &bench.token(), async || bench.load(&same)).await, 200);
}

#[tokio::test]
async fn a_call_that_waits_ends_with_its_token() {
    let bench = Bench::start().await;
    bench.upstream.reply(Reply::Silence);
    let answer = bench.call(&expiring(&bench, 2), &tool_call("read")).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    bench.upstream.hung_up().await;
}

/// Opens a stream, changes the configuration, and says whether the stream ended.
async fn ends_when(change: impl FnOnce(&Bench) -> Value) -> bool {
    let bench = Bench::start().await;
    let (mut client, live) = open_stream(&bench, &bench.token()).await;
    let changed = change(&bench);
    bench.load(&changed);
    // Whatever is going to happen has happened when a later event has passed, or the stream is over.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _ = live.send(chunk("data: second\n\n"));
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            let got = String::from_utf8_lossy(&client.1).into_owned();
            if got.ends_with("\r\n0\r\n\r\n") {
                return true;
            }
            if got.contains("second") {
                return false;
            }
            read_some(&mut client).await;
        }
    })
    .await
    .unwrap();
    if ended {
        bench.upstream.hung_up().await;
    }
    ended
}

async fn read_some(client: &mut Client) {
    use tokio::io::AsyncReadExt as _;
    let mut buffer = [0; 1024];
    let n = client.0.read(&mut buffer).await.unwrap();
    assert!(n > 0, "a stream ends with its last chunk");
    client.1.extend_from_slice(&buffer[..n]);
}

#[tokio::test]
async fn streams_end_when_everything_is_denied() {
    assert!(ends_when(|_| deny_all()).await);
}

#[tokio::test]
async fn streams_end_when_the_rules_would_not_permit_them() {
    let rule = json!([{"selector": {"tools": ["read"]}, "effect": "deny"}]);
    assert!(
        ends_when(|bench| with_oauth(config(bench.upstream.port, &bench.key), |o| o["policy"]["rules"] = rule)).await
    );
    let clients = json!(["mcpc_other"]);
    assert!(
        ends_when(|bench| {
            with_oauth(config(bench.upstream.port, &bench.key), |o| o["policy"]["allowedClients"] = clients)
        })
        .await
    );
}

#[tokio::test]
async fn streams_end_when_their_key_is_taken_away() {
    assert!(ends_when(|bench| config(bench.upstream.port, &Key::new("k2"))).await);
}

#[tokio::test]
async fn streams_go_on_when_what_permits_them_stays() {
    let next = Key::new("k2").jwk();
    assert!(
        !ends_when(|bench| {
            with_oauth(config(bench.upstream.port, &bench.key), |oauth| {
                oauth["issuers"][0]["keys"]["keys"].as_array_mut().unwrap().push(next);
                oauth["policy"]["rules"] = json!([]);
            })
        })
        .await
    );
}

#[tokio::test]
async fn a_waiting_call_is_503_when_everything_is_denied() {
    let bench = Bench::start().await;
    bench.upstream.reply(Reply::Silence);
    let mut client = bench.connect().await;
    let token = format!("Bearer {}", bench.token());
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    bench.upstream.received().await;
    bench.load(&deny_all());
    assert_eq!(client.answer().await.status, 503);
    bench.upstream.hung_up().await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_seen_to_be_incomplete() {
    let bench = Bench::start().await;
    let live = bench.upstream.reply_live();
    let mut client = bench.connect().await;
    let token = format!("Bearer {}", bench.token());
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    live.send(SSE_HEAD.to_vec()).unwrap();
    live.send(chunk("data: first\n\n")).unwrap();
    client.read_until("first").await;
    drop(live);
    assert!(!client.closed().await.ends_with("\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn c2_36_a_client_that_does_not_read_is_given_up() {
    let mut options = options();
    options.limits.write = Duration::from_millis(300);
    let bench = Bench::start_with(options, |config| config).await;
    let (_client, live) = open_stream(&bench, &bench.token()).await;
    let event = chunk(&format!("data: {}\n\n", "x".repeat(60_000)));
    // More than the buffers of four sockets hold, at the pace they take it.
    let feeding = tokio::spawn(async move {
        for _ in 0..2_000 {
            if live.send(event.clone()).is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    });
    bench.upstream.hung_up().await;
    feeding.abort();
}

#[tokio::test]
async fn requests_in_flight_finish_at_shutdown() {
    let bench = Bench::start().await;
    let live = bench.upstream.reply_live();
    let mut client = bench.connect().await;
    let mut idle = bench.connect().await;
    idle.send(request("POST", "/mcp", &[], "{}")).await;
    assert_eq!(idle.answer().await.status, 401);
    let token = format!("Bearer {}", bench.token());
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    bench.upstream.received().await;
    bench.shutdown.cancel();
    idle.closed().await;
    tokio::time::timeout(PATIENCE, async {
        while TcpStream::connect(bench.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("new connections should be refused");
    assert!(!bench.serving.is_finished());
    live.send(crate::harness::json_response("{\"late\":1}")).unwrap();
    assert!(client.closed().await.contains("{\"late\":1}"));
    until(|| bench.serving.is_finished()).await;
}

#[tokio::test]
async fn the_drain_has_a_deadline() {
    let mut options = options();
    options.limits.drain = Duration::from_millis(300);
    let bench = Bench::start_with(options, |config| config).await;
    let (mut client, _live) = open_stream(&bench, &bench.token()).await;
    bench.shutdown.cancel();
    client.closed().await;
    until(|| bench.serving.is_finished()).await;
    bench.upstream.hung_up().await;
}
