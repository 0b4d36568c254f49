//! Token Status Lists: a revoked token stops within a poll, and what nobody knows is not let through.

use std::{io::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lumoauth_core::token::{LEEWAY_SECONDS, StatusList, StatusListClaims};
use lumoauth_sidecar::{Options, StatusLimits};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    configuration::Admin,
    harness::{
        Answer, Bench, ISSUER, Key, PATIENCE, SSE_HEAD, chunk, config, now, options, request, tool_call, until,
        with_oauth,
    },
    servers::StatusServer,
};

const FOLDER: &str = "https://as.example/orgs/acme/api/v1/oauth/status/";

fn quick() -> StatusLimits {
    StatusLimits { poll: Duration::from_millis(50), timeout: Duration::from_secs(2), ..StatusLimits::default() }
}

/// Asks once, and then not again for as long as a test takes.
fn once() -> StatusLimits {
    StatusLimits { poll: Duration::from_hours(1), ..quick() }
}

/// A sidecar whose issuer has status lists at `server`.
struct World {
    bench: Bench,
    server: StatusServer,
    max_age: u64,
}

impl World {
    async fn start(status: StatusLimits, max_age: u64) -> Self {
        let bench = Bench::start_without_config(Options { status, ..options() }).await;
        let world = Self { bench, server: StatusServer::start().await, max_age };
        world.bench.load(&world.config());
        world
    }

    fn config(&self) -> Value {
        with_oauth(config(self.bench.upstream.port, &self.bench.key), |oauth| {
            oauth["issuers"][0]["status"] =
                json!({"uri": FOLDER, "fetch": self.server.folder, "maxAgeSeconds": self.max_age});
        })
    }

    /// The header and claims of a list.
    fn list(&self, bytes: &[u8]) -> (Value, Value) {
        let list = StatusList::from_bytes(bytes.to_vec()).unwrap();
        let uri = format!("{FOLDER}0").parse().unwrap();
        let at = lumoauth_core::UnixTime(now());
        let claims = StatusListClaims::new(ISSUER.parse().unwrap(), uri, &list, at, 900, 2).unwrap();
        let header = json!({"alg": "ES256", "typ": "statuslist+jwt", "kid": self.bench.key.kid});
        (header, serde_json::to_value(claims).unwrap())
    }

    fn serve(&self, bytes: &[u8]) {
        let (header, claims) = self.list(bytes);
        self.server.serve(Some(self.bench.key.sign(&header, &claims)));
    }

    fn serve_nothing(&self) {
        self.server.serve(None::<Vec<u8>>);
    }

    fn token(&self, index: u64) -> String {
        self.token_of(&format!("{FOLDER}0"), index)
    }

    fn token_of(&self, uri: &str, index: u64) -> String {
        self.bench.key.token(|claims| claims["status"] = json!({"status_list": {"idx": index, "uri": uri}}))
    }

    async fn call(&self, token: &str) -> Answer {
        self.bench.call(token, &tool_call("read")).await
    }

    async fn until_answered(&self, token: &str, status: u16) -> Answer {
        let start = std::time::Instant::now();
        loop {
            let answer = self.call(token).await;
            if answer.status == status {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "{status} should be answered, not {}", answer.status);
        }
    }
}

fn assert_revoked(answer: &Answer) {
    let challenge = answer.header("www-authenticate").unwrap();
    assert_eq!(answer.status, 401);
    assert!(challenge.contains(r#"error="invalid_token""#) && challenge.contains("token was revoked"), "{challenge}");
}

fn assert_unknown(answer: &Answer) {
    assert_eq!((answer.status, answer.header("www-authenticate")), (503, None));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(answer.json()["error"]["code"], -32000);
}

#[tokio::test]
async fn a_revoked_token_is_refused_within_a_poll() {
    let world = World::start(quick(), 900).await;
    world.serve(&[0]);
    let (token, other) = (world.token(5), world.token(6));
    assert_eq!(world.call(&token).await.status, 200);
    assert_eq!(world.call(&other).await.status, 200);
    world.serve(&[1 << 5]);
    assert_revoked(&world.until_answered(&token, 401).await);
    assert_eq!(world.call(&other).await.status, 200);
    world.serve_nothing();
    assert_revoked(&world.call(&token).await);
    assert!(world.server.asked().iter().all(|path| path == "/oauth/status/0"), "at the address that is reached");
}

#[tokio::test]
async fn a_token_that_is_revoked_before_it_is_seen_is_refused() {
    let world = World::start(once(), 900).await;
    world.serve(&[0b10]);
    assert_revoked(&world.call(&world.token(1)).await);
    assert_revoked(&world.call(&world.token(8)).await);
    assert_revoked(&world.call(&world.token(u64::MAX)).await);
    assert_eq!(world.call(&world.token(0)).await.status, 200);
}

#[tokio::test]
async fn calls_ask_nobody() {
    let world = World::start(once(), 900).await;
    world.serve(&[0]);
    let tokens: Vec<_> = (0..8).map(|index| world.token(index)).collect();
    for answer in futures(&world, &tokens).await {
        assert_eq!(answer, 200);
    }
    for token in &tokens {
        assert_eq!(world.call(token).await.status, 200);
    }
    assert_eq!(world.server.asked().len(), 1);
}

/// The statuses of calls made at the same time.
async fn futures(world: &World, tokens: &[String]) -> Vec<u16> {
    let mut calls = tokio::task::JoinSet::new();
    for token in tokens {
        let bytes = crate::harness::post(&[("Authorization", &format!("Bearer {token}"))], &tool_call("read"));
        let address = world.bench.address;
        calls.spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            Answer::parse(&got).status
        });
    }
    calls.join_all().await
}

#[tokio::test]
async fn an_unchanged_list_is_not_sent_again() {
    let world = World::start(quick(), 1).await;
    world.serve(&[0]);
    let token = world.token(0);
    assert_eq!(world.call(&token).await.status, 200);
    until(|| world.server.unchanged() >= 30).await;
    assert_eq!(world.call(&token).await.status, 200, "an unchanged list is as good as a new one");
    assert_eq!(world.server.asked().len() - world.server.unchanged(), 1);
    world.serve(&[1]);
    assert_revoked(&world.until_answered(&token, 401).await);
}

#[tokio::test]
async fn an_issuer_that_is_gone_is_believed_until_its_list_is_too_old() {
    let world = World::start(quick(), 2).await;
    let admin = Admin::start(&world.bench).await;
    world.serve(&[0b10]);
    let token = world.token(0);
    assert_eq!(world.call(&token).await.status, 200);
    world.serve_nothing();
    let asked = world.server.asked().len();
    until(|| world.server.asked().len() > asked + 2).await;
    assert_eq!(world.call(&token).await.status, 200, "kept");
    assert_unknown(&world.until_answered(&token, 503).await);
    assert_revoked(&world.call(&world.token(1)).await);
    assert_eq!(world.call(&world.bench.token()).await.status, 200, "a token without status needs no list");
    let age = world.bench.config.report().status_list_age_seconds.unwrap();
    assert!(age >= 2, "{age}");
    let metrics = admin.ask("GET", "/metrics").await.body;
    let shown = metrics.lines().find_map(|line| line.strip_prefix("lumoauth_sidecar_status_list_age_seconds "));
    assert!(shown.unwrap().parse::<u64>().unwrap() >= 2, "{metrics}");
    assert!(metrics.contains(r#"lumoauth_sidecar_status_list_fetches_total{result="Error"}"#), "{metrics}");
    world.serve(&[0]);
    world.until_answered(&token, 200).await;
    assert_eq!(world.bench.config.report().status_list_age_seconds, Some(0));
}

#[tokio::test]
async fn a_list_that_never_came_denies_until_it_comes() {
    let world = World::start(quick(), 900).await;
    world.serve_nothing();
    assert_unknown(&world.call(&world.token(0)).await);
    assert_eq!(world.call(&world.bench.token()).await.status, 200);
    world.serve(&[0]);
    world.until_answered(&world.token(0), 200).await;
}

#[rstest]
#[case::another_host("https://evil.example/orgs/acme/api/v1/oauth/status/0")]
#[case::another_organization("https://as.example/orgs/other/api/v1/oauth/status/0")]
#[case::below("https://as.example/orgs/acme/api/v1/oauth/status/0/1")]
#[case::the_folder(FOLDER)]
#[case::query("https://as.example/orgs/acme/api/v1/oauth/status/0?x")]
#[case::not_a_url("0")]
#[tokio::test]
async fn a_list_elsewhere_is_not_asked_for(#[case] uri: &str) {
    let world = World::start(quick(), 900).await;
    world.serve(&[0]);
    let answer = world.call(&world.token_of(uri, 0)).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
    assert_eq!(world.server.asked(), [""; 0]);
}

#[tokio::test]
async fn an_issuer_without_lists_issues_no_token_with_a_status() {
    let world = World::start(quick(), 900).await;
    world.bench.load(&config(world.bench.upstream.port, &world.bench.key));
    assert_eq!(world.call(&world.token(0)).await.status, 401);
    assert_eq!(world.call(&world.bench.token()).await.status, 200);
}

fn bomb() -> String {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&vec![0; 32 << 20]).unwrap();
    URL_SAFE_NO_PAD.encode(zlib.finish().unwrap())
}

#[rstest]
#[case::access_token(json!({"typ": "at+jwt"}), json!({}))]
#[case::no_type(json!({"typ": null}), json!({}))]
#[case::unsigned(json!({"alg": "none"}), json!({}))]
#[case::unknown_key(json!({"kid": "k2"}), json!({}))]
#[case::another_issuer(json!({}), json!({"iss": "https://as.example/orgs/other/api/v1"}))]
#[case::another_list(json!({}), json!({"sub": format!("{FOLDER}1")}))]
#[case::expired(json!({}), json!({"iat": now() - 900, "exp": now() - 60}))]
#[case::of_tomorrow(json!({}), json!({"iat": now() + 86_400, "exp": now() + 90_000}))]
#[case::two_bits(json!({}), json!({"status_list": {"bits": 2, "lst": "eNrbuRgAAhcBXQ"}}))]
#[case::zip_bomb(json!({}), json!({"status_list": {"bits": 1, "lst": bomb()}}))]
#[tokio::test]
async fn a_list_that_is_not_the_issuers_is_no_list(#[case] header: Value, #[case] claims: Value) {
    let world = World::start(quick(), 900).await;
    let (mut good_header, mut good_claims) = world.list(&[0]);
    for (target, changes) in [(&mut good_header, header), (&mut good_claims, claims)] {
        for (name, value) in changes.as_object().unwrap() {
            target[name] = value.clone();
        }
    }
    world.server.serve(Some(world.bench.key.sign(&good_header, &good_claims)));
    assert_unknown(&world.call(&world.token(0)).await);
    world.serve(&[0]);
    world.until_answered(&world.token(0), 200).await;
}

#[rstest]
#[case::empty(Vec::new())]
#[case::not_text(vec![0xff; 100])]
#[case::junk(b"a.b.c".to_vec())]
#[case::endless(vec![b'a'; 1 << 20])]
#[tokio::test]
async fn junk_is_no_list(#[case] body: Vec<u8>) {
    let world = World::start(quick(), 900).await;
    world.server.serve(Some(body));
    assert_unknown(&world.call(&world.token(0)).await);
}

#[tokio::test]
async fn a_stranger_revokes_nothing_and_unrevokes_nothing() {
    let world = World::start(quick(), 900).await;
    world.serve(&[0b10]);
    let (good, revoked) = (world.token(0), world.token(1));
    assert_eq!(world.call(&good).await.status, 200);
    let (header, claims) = world.list(&[0b01]);
    world.server.serve(Some(Key::new("k1").sign(&header, &claims)));
    let asked = world.server.asked().len();
    until(|| world.server.asked().len() > asked + 2).await;
    assert_eq!((world.call(&good).await.status, world.call(&revoked).await.status), (200, 401));
}

/// A stream that is open, of which the first event has arrived.
async fn open_stream(
    world: &World,
    token: &str,
) -> (crate::harness::Client, tokio::sync::mpsc::UnboundedSender<Vec<u8>>) {
    let live = world.bench.upstream.reply_live();
    let mut client = world.bench.connect().await;
    let token = format!("Bearer {token}");
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    live.send(SSE_HEAD.to_vec()).unwrap();
    live.send(chunk("data: first\n\n")).unwrap();
    client.read_until("data: first\n\n").await;
    (client, live)
}

#[tokio::test]
async fn open_streams_end_with_their_token() {
    let world = World::start(quick(), 900).await;
    world.serve(&[0]);
    let (mut client, _live) = open_stream(&world, &world.token(3)).await;
    world.serve(&[1]);
    until(|| world.server.asked().len() - world.server.unchanged() == 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!String::from_utf8_lossy(&client.1).ends_with("0\r\n\r\n"), "another's revocation is none of its business");
    world.serve(&[1 << 3]);
    client.read_until("\r\n0\r\n\r\n").await;
    world.bench.upstream.hung_up().await;
}

#[tokio::test]
async fn a_stream_ends_when_nobody_knows_any_more() {
    let world = World::start(quick(), 1).await;
    world.serve(&[0]);
    let (mut client, _live) = open_stream(&world, &world.token(3)).await;
    world.serve_nothing();
    client.read_until("\r\n0\r\n\r\n").await;
    world.bench.upstream.hung_up().await;
}

#[tokio::test]
async fn a_call_that_waits_for_its_answer_ends_with_its_token() {
    let world = World::start(quick(), 900).await;
    world.serve(&[0]);
    world.bench.upstream.reply(crate::harness::Reply::Silence);
    let mut client = world.bench.connect().await;
    let token = format!("Bearer {}", world.token(3));
    client.send(request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    world.bench.upstream.received().await;
    world.serve(&[1 << 3]);
    assert_revoked(&client.answer().await);
}

#[tokio::test]
async fn a_list_that_nobody_needs_is_left_alone_until_somebody_does() {
    let world = World::start(quick(), 900).await;
    world.serve(&[0]);
    // Accepted for two more seconds.
    let ending = world.bench.key.token(|claims| {
        claims["iat"] = json!(now() - 300);
        claims["exp"] = json!(now() + 2 - LEEWAY_SECONDS);
        claims["status"] = json!({"status_list": {"idx": 0, "uri": format!("{FOLDER}0")}});
    });
    assert_eq!(world.call(&ending).await.status, 200);
    until(|| world.bench.config.report().status_list_age_seconds.is_none()).await;
    let asked = world.server.asked().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.server.asked().len(), asked);
    world.serve(&[1]);
    assert_revoked(&world.call(&world.token(0)).await);

    let (mut client, _live) = open_stream(&world, &world.token(3)).await;
    world.serve(&[1 << 3]);
    client.read_until("\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_new_configuration_forgets_no_revocation() {
    let world = World::start(quick(), 900).await;
    let other = Key::new("k2");
    let with_keys = |keys: &[&Key]| {
        with_oauth(world.config(), |oauth| {
            oauth["issuers"][0]["keys"]["keys"] = keys.iter().map(|key| key.jwk()).collect();
        })
    };
    world.serve(&[0b10]);
    assert_eq!(world.call(&world.token(0)).await.status, 200);
    world.serve_nothing();
    // A key comes, and another than the list's goes again.
    for keys in [&[&world.bench.key, &other][..], &[&world.bench.key]] {
        world.bench.load(&with_keys(keys));
        assert_eq!(world.call(&world.token(0)).await.status, 200);
        assert_revoked(&world.call(&world.token(1)).await);
    }
    world.bench.load(&with_keys(&[&world.bench.key, &other]));
    world.bench.load(&with_keys(&[&other]));
    let token = other.token(|claims| {
        claims["status"] = json!({"status_list": {"idx": 0, "uri": format!("{FOLDER}0")}});
    });
    assert_unknown(&world.call(&token).await);
}

#[tokio::test]
async fn a_new_configuration_goes_on_polling() {
    let world = World::start(quick(), 900).await;
    world.serve(&[0]);
    assert_eq!(world.call(&world.token(0)).await.status, 200);
    world.bench.load(&with_oauth(world.config(), |oauth| {
        oauth["issuers"][0]["keys"]["keys"].as_array_mut().unwrap().push(Key::new("k2").jwk());
    }));
    until(|| world.bench.config.report().status_list_age_seconds.is_some()).await;
    let asked = world.server.asked().len();
    until(|| world.server.asked().len() > asked + 2).await;
}

#[tokio::test]
async fn there_may_be_more_lists_than_are_kept() {
    let world = World::start(once(), 900).await;
    let serve = |name: usize| {
        let (header, mut claims) = world.list(&[0b10]);
        claims["sub"] = json!(format!("{FOLDER}{name}"));
        world.server.serve(Some(world.bench.key.sign(&header, &claims)));
    };
    let tokens: Vec<_> = (0..129).map(|name| world.token_of(&format!("{FOLDER}{name}"), 0)).collect();
    for (name, token) in tokens.iter().enumerate() {
        serve(name);
        assert_eq!(world.call(token).await.status, 200, "{name}");
    }
    // One of them was dropped. It is asked for again when it is wanted.
    for (name, token) in tokens.iter().enumerate() {
        serve(name);
        assert_eq!(world.call(token).await.status, 200, "{name}");
    }
    assert!(world.server.asked().len() > 129);
}
