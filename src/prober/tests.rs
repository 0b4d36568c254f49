//! Judging as tables, and asking of a real server on loopback.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::HOST};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use lumoauth_core::{
    ResourceUri, ScopeSet, UnixTime,
    config::{Authorization, Enforce, Enforcement, Issuer, LogLevel, OAuth, ServerRef, SidecarConfig, Upstream},
    policy::{DefaultRule, Policy, ScopeDeclaration},
    token::{Algorithm, JsonWebKeySet, TokenType},
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{expectation::Challenged, rounds::pause, verdict::Probe, *};

const CHALLENGE: &str = r#"Bearer resource_metadata="https://invoices.acme.example/.well-known/oauth-protected-resource/mcp", scope="mcp:read""#;
const INVALID: &str = r#"Bearer error="invalid_token", resource_metadata="https://invoices.acme.example/.well-known/oauth-protected-resource/mcp", scope="mcp:read", error_description="the signature is wrong""#;

fn config() -> SidecarConfig {
    let resource = ResourceUri::parse("https://invoices.acme.example/mcp").unwrap();
    let read = lumoauth_core::Scope::parse("mcp:read").unwrap();
    let scopes = vec![ScopeDeclaration { name: read, implies: ScopeSet::default() }];
    let required = ScopeSet::parse("mcp:read").unwrap();
    let policy = Policy::new(scopes, required, Vec::new(), DefaultRule::RequireBase, None).unwrap();
    SidecarConfig {
        version: 1,
        server: ServerRef {
            org: "acme".to_owned(),
            namespace: "acme".to_owned(),
            name: "invoices".to_owned(),
            server_id: "mcp_0".to_owned(),
        },
        enforcement: Enforcement::Enforce(Box::new(Enforce {
            resource: resource.clone(),
            hosts: Vec::new(),
            allowed_origins: Vec::new(),
            upstream: Upstream { port: 8000, path: "/mcp".to_owned() },
            max_body_bytes: 1024,
            log_level: LogLevel::Info,
            authorization: Authorization::OAuth(Box::new(OAuth {
                metadata: r#"{"resource":"https://invoices.acme.example/mcp"}"#.to_owned(),
                policy,
                filter_lists: true,
                issuers: vec![Issuer {
                    issuer: lumoauth_core::IssuerUrl::parse("https://as.example/orgs/acme/api/v1").unwrap(),
                    audience: resource,
                    token_type: TokenType::AccessToken,
                    algorithms: vec![Algorithm::ES256],
                    keys: JsonWebKeySet { keys: vec![json!({"kty": "EC", "kid": "published"})] },
                    jwks_uri: None,
                    ca_bundle: None,
                    status: None,
                }],
            })),
        })),
    }
}

fn expected() -> Box<Challenged> {
    match Expectation::of(&config()) {
        Expectation::Challenge(expected) => expected,
        other => panic!("{other:?}"),
    }
}

fn answer(status: u16, challenges: &[&str], body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        challenges: challenges.iter().map(|&text| text.to_owned()).collect(),
        content_type: Some("application/json".to_owned()),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

#[rstest]
#[case::exact(401, &[CHALLENGE], true)]
#[case::let_through(200, &[], false)]
#[case::status_alone(401, &[], false)]
#[case::wrong_status(403, &[CHALLENGE], false)]
#[case::two_challenges(401, &[CHALLENGE, "Basic realm=\"x\""], false)]
#[case::an_error_where_there_is_none(401, &[INVALID], false)]
#[case::other_scope(401, &[r#"Bearer resource_metadata="https://invoices.acme.example/.well-known/oauth-protected-resource/mcp", scope="mcp:write""#], false)]
#[case::other_metadata(401, &[r#"Bearer resource_metadata="https://evil.example/x", scope="mcp:read""#], false)]
#[case::denied(503, &[], false)]
fn rfc6750_3_no_token(#[case] status: u16, #[case] challenges: &[&str], #[case] right: bool) {
    let wrong = verdict::no_token(&answer(status, challenges, ""), &expected());
    assert_eq!(wrong.is_none(), right, "{wrong:?}");
    assert!(wrong.is_none_or(|wrong| wrong.probe == Probe::NoToken && wrong.got.contains(&status.to_string())));
}

#[rstest]
#[case::exact(401, &[INVALID], true)]
#[case::other_description(401, &[r#"Bearer error="invalid_token", resource_metadata="https://invoices.acme.example/.well-known/oauth-protected-resource/mcp", scope="mcp:read", error_description="no such key""#], true)]
#[case::no_error(401, &[CHALLENGE], false)]
#[case::let_through(200, &[], false)]
#[case::forbidden(403, &[INVALID], false)]
#[case::two(401, &[INVALID, INVALID], false)]
#[case::unfinished(401, &[r#"Bearer error="invalid_token", resource_metadata="https://invoices.acme.example/.well-known/oauth-protected-resource/mcp", scope="mcp:read", error_description="x"#], false)]
#[case::more_members(401, &[r#"Bearer error="invalid_token", resource_metadata="https://invoices.acme.example/.well-known/oauth-protected-resource/mcp", scope="mcp:read", error_description="x", realm="y""#], false)]
fn rfc6750_3_1_forged_token(#[case] status: u16, #[case] challenges: &[&str], #[case] right: bool) {
    let wrong = verdict::forged_token(&answer(status, challenges, ""), &expected());
    assert_eq!(wrong.is_none(), right, "{wrong:?}");
}

#[rstest]
#[case::exact(200, Some("application/json"), r#"{"resource":"https://invoices.acme.example/mcp"}"#, true)]
#[case::with_charset(
    200,
    Some("application/json; charset=utf-8"),
    r#"{"resource":"https://invoices.acme.example/mcp"}"#,
    true
)]
#[case::same_json_other_bytes(
    200,
    Some("application/json"),
    r#"{"resource": "https://invoices.acme.example/mcp"}"#,
    false
)]
#[case::other_resource(200, Some("application/json"), r#"{"resource":"https://evil.example/mcp"}"#, false)]
#[case::other_type(200, Some("text/html"), r#"{"resource":"https://invoices.acme.example/mcp"}"#, false)]
#[case::no_type(200, None, r#"{"resource":"https://invoices.acme.example/mcp"}"#, false)]
#[case::not_found(404, Some("application/json"), r#"{"resource":"https://invoices.acme.example/mcp"}"#, false)]
fn rfc9728_3_2_metadata(#[case] status: u16, #[case] kind: Option<&str>, #[case] body: &str, #[case] right: bool) {
    let answer = Answer { content_type: kind.map(str::to_owned), ..answer(status, &[], body) };
    assert_eq!(verdict::metadata(&answer, &expected()).is_none(), right);
}

#[rstest]
#[case::denied(503, &[], true)]
#[case::let_through(200, &[], false)]
#[case::challenged(401, &[CHALLENGE], false)]
#[case::sends_clients_for_a_token(503, &[CHALLENGE], false)]
fn everything_denied(#[case] status: u16, #[case] challenges: &[&str], #[case] right: bool) {
    assert_eq!(verdict::denied(&answer(status, challenges, "")).is_none(), right);
}

#[rstest]
#[case::runs(200, r#"{"version":"0.1.0","state":"enforce","generation":"0123456789abcdef","configVersion":1,"denyReason":null,"lastRefusal":null}"#, Some("0123456789abcdef"), None)]
#[case::refuses_a_newer_one(
    200,
    r#"{"generation":"0123456789abcdef","lastRefusal":{"generation":"ff","error":"bad\nline"}}"#,
    Some("0123456789abcdef"),
    Some("bad line")
)]
fn what_a_sidecar_runs(
    #[case] status: u16,
    #[case] body: &str,
    #[case] generation: Option<&str>,
    #[case] refusal: Option<&str>,
) {
    match verdict::running(&Ok(answer(status, &[], body))) {
        Running::Generation(running, why) => {
            assert_eq!((Some(running.as_str()), why.as_deref()), (generation, refusal));
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::no_list(r#"{"generation":"0123456789abcdef"}"#, None)]
#[case::none_in_use(r#"{"generation":"0123456789abcdef","statusListAgeSeconds":null}"#, None)]
#[case::new(r#"{"generation":"0123456789abcdef","statusListAgeSeconds":60}"#, None)]
#[case::late(
    r#"{"generation":"0123456789abcdef","statusListAgeSeconds":61}"#,
    Some("the question which tokens are revoked was answered with a list older than 60 s")
)]
#[case::no_report("hello", None)]
fn whether_it_hears_of_revocations(#[case] body: &str, #[case] wrong: Option<&str>) {
    let late = verdict::revocations(&Ok(answer(200, &[], body)));
    assert_eq!(late.map(|wrong| wrong.to_string()).as_deref(), wrong);
}

#[rstest]
#[case::none_yet(200, r#"{"generation":null}"#, Running::NoConfig(None))]
#[case::none_it_takes(200, r#"{"generation":null,"lastRefusal":{"error":"x"}}"#, Running::NoConfig(Some("x".to_owned())))]
#[case::other_status(404, r#"{"generation":null}"#, Running::NotASidecar("status 404 Not Found".to_owned()))]
#[case::other_body(200, "hello", Running::NotASidecar("a body that is no configuration report".to_owned()))]
fn no_configuration(#[case] status: u16, #[case] body: &str, #[case] running: Running) {
    assert_eq!(verdict::running(&Ok(answer(status, &[], body))), running);
}

#[rstest]
#[case(true, 0, 60_000)]
#[case(false, 0, 200)]
#[case(false, 2_000, 200)]
#[case(false, 5_000, 500)]
#[case(false, 60_000, 6_000)]
#[case(false, 3_600_000, 60_000)]
fn rounds_follow_a_change_closely_and_then_slower(#[case] settled: bool, #[case] since: u64, #[case] wait: u64) {
    assert_eq!(pause(settled, Duration::from_millis(since)), Duration::from_millis(wait));
}

#[test]
fn a_forged_token_is_right_but_for_its_key() {
    let token = ForgedKey::generate().unwrap().token(&expected().claims, UnixTime(1_000)).unwrap();
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let json = |at: usize| serde_json::from_slice::<Value>(&parts[at]).unwrap();
    assert_eq!(json(0), json!({"alg": "ES256", "typ": "at+jwt", "kid": "published"}));
    assert_eq!(json(1)["iss"], "https://as.example/orgs/acme/api/v1");
    assert_eq!(json(1)["aud"], "https://invoices.acme.example/mcp");
    assert_eq!((json(1)["iat"].clone(), json(1)["exp"].clone()), (json!(1_000), json!(1_060)));
    assert_eq!((parts.len(), parts[2].len()), (3, 64));
}

/// What a sidecar of the test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Enforcing,
    Open,
    AcceptsForged,
    OtherMetadata,
    DenyAll,
}

struct Sidecar {
    mode: Mutex<Mode>,
    generation: Mutex<String>,
    asked: AtomicUsize,
}

impl Sidecar {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let reply = |status: u16, challenge: Option<&str>, body: &str| {
            let mut builder = Response::builder().status(status).header("content-type", "application/json");
            if let Some(challenge) = challenge {
                builder = builder.header("www-authenticate", challenge);
            }
            builder.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
        };
        let mode = *self.mode.lock().unwrap();
        if request.uri().path() == "/config" {
            return reply(200, None, &json!({"generation": *self.generation.lock().unwrap()}).to_string());
        }
        if mode == Mode::DenyAll {
            return reply(503, None, "{}");
        }
        if request.headers().get(HOST).is_none_or(|host| host != "invoices.acme.example") {
            return reply(421, None, "{}");
        }
        match (request.method().as_str(), request.uri().path(), request.headers().get("authorization")) {
            ("GET", "/.well-known/oauth-protected-resource/mcp", None) if mode == Mode::OtherMetadata => {
                reply(200, None, "{}")
            }
            ("GET", "/.well-known/oauth-protected-resource/mcp", None) => {
                reply(200, None, r#"{"resource":"https://invoices.acme.example/mcp"}"#)
            }
            ("POST", "/mcp", None) if mode != Mode::Open => reply(401, Some(CHALLENGE), "{}"),
            ("POST", "/mcp", Some(_)) if !matches!(mode, Mode::Open | Mode::AcceptsForged) => {
                reply(401, Some(INVALID), "{}")
            }
            ("POST", "/mcp", _) => reply(200, None, "{}"),
            _ => reply(404, None, "{}"),
        }
    }
}

/// One port that is guarded port, admin port and Service at once.
async fn sidecar(mode: Mode, generation: &str) -> (Arc<Sidecar>, SocketAddr) {
    let sidecar = Arc::new(Sidecar {
        mode: Mutex::new(mode),
        generation: Mutex::new(generation.to_owned()),
        asked: AtomicUsize::new(0),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Arc::clone(&sidecar);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let sidecar = Arc::clone(&serving);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = sidecar.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (sidecar, address)
}

fn asker(port: u16) -> Asker {
    Asker::new(Ports { guarded: port, admin: port }, ForgedKey::generate().unwrap())
}

fn target(generation: &Generation, expectation: Expectation, service: SocketAddr, ready: bool) -> Target {
    Target {
        generation: generation.clone(),
        expectation: Arc::new(expectation),
        service: Some(service),
        pods: vec![PodTarget { uid: "u".to_owned(), ip: IpAddr::V4(Ipv4Addr::LOCALHOST), ready }],
    }
}

#[rstest]
#[case(Mode::Enforcing, None)]
#[case(Mode::Open, Some(Probe::NoToken))]
#[case(Mode::AcceptsForged, Some(Probe::ForgedToken))]
#[case(Mode::OtherMetadata, Some(Probe::Metadata))]
#[case(Mode::DenyAll, Some(Probe::NoToken))]
#[tokio::test]
async fn a_pod_that_should_ask_for_tokens(#[case] mode: Mode, #[case] wrong: Option<Probe>) {
    let (_, address) = sidecar(mode, "g").await;
    let verdict = asker(address.port()).enforcement(address, &Expectation::of(&config()), UnixTime(1)).await;
    match (verdict, wrong) {
        (Verdict::Right, None) => {}
        (Verdict::Wrong(found), Some(probe)) => assert_eq!(found.probe, probe),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case(Mode::DenyAll, true)]
#[case(Mode::Enforcing, false)]
#[case(Mode::Open, false)]
#[tokio::test]
async fn a_pod_that_should_deny_everything(#[case] mode: Mode, #[case] right: bool) {
    let (_, address) = sidecar(mode, "g").await;
    let verdict = asker(address.port()).enforcement(address, &Expectation::DenyAll, UnixTime(1)).await;
    assert_eq!(verdict == Verdict::Right, right, "{verdict:?}");
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let pod = PodTarget { uid: "u".to_owned(), ip: address.ip(), ready: true };
    let finding =
        asker(address.port()).pod(&pod, &Generation::of(b"x"), &Expectation::of(&config()), UnixTime(1)).await;
    assert!(matches!(finding.running, Running::Unreachable(_)), "{finding:?}");
    assert_eq!(finding.enforcement, None);
}

#[tokio::test]
async fn a_pod_that_runs_something_else_is_not_judged() {
    let (asked, address) = sidecar(Mode::Open, Generation::of(b"old").as_str()).await;
    let pod = PodTarget { uid: "u".to_owned(), ip: address.ip(), ready: true };
    let finding =
        asker(address.port()).pod(&pod, &Generation::of(b"new"), &Expectation::of(&config()), UnixTime(1)).await;
    assert_eq!(finding.running, Running::Generation(Generation::of(b"old"), None));
    assert_eq!((finding.enforcement, asked.asked.load(Ordering::Relaxed)), (None, 1));
}

async fn next(reports: &mut mpsc::Receiver<Report>) -> Arc<Findings> {
    tokio::time::timeout(Duration::from_secs(10), reports.recv()).await.unwrap().unwrap().findings
}

#[tokio::test]
async fn findings_follow_the_pod_and_the_target() {
    let (old, new) = (Generation::of(b"old"), Generation::of(b"new"));
    let (running, address) = sidecar(Mode::Enforcing, old.as_str()).await;
    let (mut prober, mut reports) = Prober::new(Arc::new(asker(address.port())));
    let key = ObjectKey::new("acme", "invoices");
    prober.set(&key, target(&old, Expectation::of(&config()), address, true));
    let first = next(&mut reports).await;
    assert_eq!(
        (first.pods["u"].enforcement.clone(), first.service.clone()),
        (Some(Verdict::Right), Some(Verdict::Right))
    );

    // The configuration changes; the pod follows a moment later, and is noticed at once instead of in a minute.
    prober.set(&key, target(&new, Expectation::DenyAll, address, true));
    let behind = next(&mut reports).await;
    assert_eq!((&behind.generation, behind.pods["u"].enforcement.clone(), behind.service.clone()), (&new, None, None));
    *running.mode.lock().unwrap() = Mode::DenyAll;
    *running.generation.lock().unwrap() = new.as_str().to_owned();
    let followed = next(&mut reports).await;
    assert!(followed.pods["u"].running.is(&new));
    assert_eq!(
        (followed.pods["u"].enforcement.clone(), followed.service.clone()),
        (Some(Verdict::Right), Some(Verdict::Right))
    );

    // Nothing changes: nothing is asked again within the interval, and nothing is reported.
    prober.set(&key, target(&new, Expectation::DenyAll, address, true));
    let asked = running.asked.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(running.asked.load(Ordering::Relaxed), asked);
    assert!(reports.try_recv().is_err());

    prober.forget(&key);
    prober.set(&key, target(&old, Expectation::DenyAll, address, true));
    assert_eq!(next(&mut reports).await.generation, old);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_is_asked_what_it_runs_and_no_more() {
    let generation = Generation::of(b"x");
    let (_, address) = sidecar(Mode::Open, generation.as_str()).await;
    let (mut prober, mut reports) = Prober::new(Arc::new(asker(address.port())));
    prober.set(&ObjectKey::new("a", "b"), target(&generation, Expectation::of(&config()), address, false));
    let findings = next(&mut reports).await;
    assert!(findings.pods["u"].running.is(&generation));
    assert_eq!((findings.pods["u"].enforcement.clone(), findings.service.clone()), (None, None));
}

/// A public key as an issuer publishes it.
fn jwk() -> Value {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = key.public_key().as_ref();
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "published",
        "x": part(&point[1..33]), "y": part(&point[33..65]),
    })
}

#[tokio::test]
async fn the_real_sidecar_gives_the_right_answers() {
    let mut config = config();
    let Enforcement::Enforce(enforce) = &mut config.enforcement else { panic!("{config:?}") };
    let Authorization::OAuth(oauth) = &mut enforce.authorization else { panic!("no tokens") };
    oauth.issuers[0].keys.keys = vec![jwk()];
    let denying = lumoauth_core::config::SidecarConfig {
        enforcement: Enforcement::DenyAll { reason: "Deleted".to_owned() },
        ..config.clone()
    };

    let sidecar = lumoauth_sidecar::Sidecar::new(lumoauth_sidecar::Options::default());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let guarded = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let ports = Ports { guarded: guarded.local_addr().unwrap().port(), admin: admin.local_addr().unwrap().port() };
    tokio::spawn(sidecar.serve(guarded, shutdown.clone()));
    tokio::spawn(sidecar.serve_admin(admin, shutdown.clone()));
    let asker = Asker::new(ports, ForgedKey::generate().unwrap());
    let pod = PodTarget { uid: "u".to_owned(), ip: IpAddr::V4(Ipv4Addr::LOCALHOST), ready: true };
    let now = UnixTime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap());

    let nothing = asker.pod(&pod, &Generation::of(b""), &Expectation::DenyAll, now).await;
    assert_eq!(nothing, PodFinding { running: Running::NoConfig(None), enforcement: None });
    for config in [config, denying] {
        let generation = sidecar.config().set(&config).unwrap();
        assert_eq!(generation, Generation::of(config.to_json().as_bytes()));
        let finding = asker.pod(&pod, &generation, &Expectation::of(&config), now).await;
        let right = PodFinding { running: Running::Generation(generation, None), enforcement: Some(Verdict::Right) };
        assert_eq!(finding, right);
    }
    shutdown.cancel();
}
