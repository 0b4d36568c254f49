use std::{collections::BTreeMap, net::SocketAddr, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Request as HttpRequest;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use lumoauth_core::UnixTime;
use prometheus_client::registry::Registry;
use rstest::rstest;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    api::v1alpha1::Resources,
    inject::Target,
    pki::{Authority, CaState, FORCED_NOTICE, Observed, Step},
    registry::{Index, NamespaceMeta, Parsed},
    tls::Certificate,
};

fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
}

/// An API server that knows some McpServers the snapshot does not.
#[derive(Clone, Default)]
struct Fake(BTreeMap<String, Option<Target>>);

impl Lookup for Fake {
    async fn read(&self, key: &ObjectKey) -> Result<Option<Target>, LookupError> {
        match self.0.get(&key.name) {
            None => Ok(None),
            Some(Some(target)) => Ok(Some(target.clone())),
            Some(None) => Err(LookupError::Timeout),
        }
    }
}

struct Server {
    address: SocketAddr,
    authority: watch::Sender<Option<Arc<Authority>>>,
    certificate: Arc<Certificate>,
    registry: Registry,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), rustls::Error>>,
}

impl Server {
    async fn start(authority: Option<Authority>) -> Self {
        let mut index = Index::default();
        index.apply_namespace("acme".to_owned(), NamespaceMeta::default());
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"namespace": "acme", "name": "invoices", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"resourceUri": "https://a.example/mcp", "port": 8000},
        });
        index.apply_server(Parsed::Object(Arc::new(serde_json::from_value(object).unwrap())));
        let settings = "{publicUrl: 'https://auth.example', sidecarImage: 'lumoauth/sidecar:0.1.0'}";
        let young = Target {
            key: ObjectKey::new("acme", "young"),
            port: None,
            resources: Resources::default(),
            registry_only: false,
        };
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let webhook = Webhook {
            snapshot: watch::channel(Arc::new(index.snapshot())).1,
            settings: watch::channel(Arc::new(Settings::parse(settings).unwrap())).1,
            lookup: Fake(BTreeMap::from([("young".to_owned(), Some(young)), ("hidden".to_owned(), None)])),
            metrics: metrics.clone(),
        };
        let (authority, authorities) = watch::channel(authority.map(Arc::new));
        let certificate = Arc::new(Certificate::default());
        let shutdown = CancellationToken::new();
        let kept = Arc::clone(&certificate);
        tokio::spawn(keep_certificate(kept, &NAMES, authorities, now, metrics.clone(), shutdown.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = serve(listener, webhook.router(), Arc::clone(&certificate), metrics, shutdown.clone());
        let task = tokio::spawn(serving);
        let server = Self { address, authority, certificate, registry, shutdown, task };
        if server.authority.borrow().is_some() {
            server.until(|server| server.certificate.is_loaded()).await;
        }
        server
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..500 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it takes too long");
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// One request on a connection of its own, trusting `bundle`.
    async fn post(&self, bundle: &str, path: &str, body: String) -> Result<(u16, String), std::io::Error> {
        let stream = tls(self.address, bundle).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = HttpRequest::post(path).header("host", NAMES[0]).body(Full::<Bytes>::from(body)).unwrap();
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok((status, String::from_utf8(bytes.to_vec()).unwrap()))
    }

    async fn review(&self, bundle: &str, review: Value) -> Value {
        let (status, body) = self.post(bundle, "/mutate/pods", review.to_string()).await.unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// API servers speak HTTP/2, and put many requests on one connection.
#[tokio::test]
async fn http2() {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    let stream = tls_with(server.address, &state.bundle(), &[b"h2"]).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = || {
        let body = Full::<Bytes>::from(review(&json!({})).to_string());
        let uri = format!("https://{}/mutate/pods", NAMES[0]);
        sender.clone().send_request(HttpRequest::post(uri).body(body).unwrap())
    };
    let (one, other) = tokio::join!(ask(), ask());
    assert_eq!((one.unwrap().status().as_u16(), other.unwrap().status().as_u16()), (200, 200));
}

async fn tls(address: SocketAddr, bundle: &str) -> Result<tokio_rustls::client::TlsStream<TcpStream>, std::io::Error> {
    tls_with(address, bundle, &[]).await
}

async fn tls_with(
    address: SocketAddr,
    bundle: &str,
    protocols: &[&[u8]],
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAMES[0]).unwrap(), stream).await
}

fn review(change: &Value) -> Value {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "acme", "operation": "CREATE", "dryRun": true,
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"generateName": "invoices-", "annotations": {"mcp.lumoauth.dev/server": "invoices"}},
                "spec": {"containers": [{"name": "app", "image": "example/invoices:1"}]},
            },
            "oldObject": null,
        },
    });
    json_patch::merge(&mut review, change);
    review
}

fn annotated(server: &str) -> Value {
    json!({"request": {"object": {"metadata": {"annotations": {"mcp.lumoauth.dev/server": server}}}}})
}

#[tokio::test]
async fn a_pod_is_patched() {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    let answer = server.review(&state.bundle(), review(&json!({}))).await;
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let response = &answer["response"];
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = review(&json!({}))["request"]["object"].clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "lumoauth-sidecar");
    assert!(server.metrics().contains(r#"lumoauth_webhook_requests_total{outcome="patched",reason=""} 1"#));

    let again = server.review(&state.bundle(), review(&json!({"request": {"object": pod}}))).await;
    assert_eq!(again["response"], json!({"uid": response["uid"], "allowed": true}), "reinvocation");
}

#[tokio::test]
async fn a_server_younger_than_the_snapshot_is_found() {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    let answer = server.review(&state.bundle(), review(&annotated("young"))).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"]["patch"].is_string());
}

#[rstest]
#[case::unknown(annotated("nope"), 403, r#"no McpServer "nope" in namespace "acme": create it first"#)]
#[case::not_known_now(
    annotated("hidden"),
    503,
    "cannot read McpServer acme/hidden from the API server right now: try again"
)]
#[case::host_network(json!({"request": {"object": {"spec": {"hostNetwork": true}}}}), 403,
    "the pod has hostNetwork: true, where a sidecar cannot guard its port: remove hostNetwork, or the annotation mcp.lumoauth.dev/server")]
#[case::no_object(json!({"request": {"object": null}}), 400, "the request holds no object")]
#[case::no_object_but_a_list(json!({"request": {"object": [1]}}), 400, "the request holds no object")]
#[tokio::test]
async fn denied(#[case] change: Value, #[case] code: u16, #[case] message: &str) {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    let answer = server.review(&state.bundle(), review(&change)).await;
    let response = &answer["response"];
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(code)));
    assert_eq!(response["status"]["message"], message);
    assert!(response.get("patch").is_none());
}

#[rstest]
#[case::update(json!({"request": {"operation": "UPDATE"}}))]
#[case::delete(json!({"request": {"operation": "DELETE", "object": null}}))]
#[case::sub_resource(json!({"request": {"subResource": "ephemeralcontainers"}}))]
#[case::other_resource(json!({"request": {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}}}))]
#[case::pods_of_another_group(json!({"request": {"resource": {"group": "metrics.k8s.io", "version": "v1", "resource": "pods"}}}))]
#[case::not_annotated(json!({"request": {"object": {"metadata": {"annotations": null}}}}))]
#[tokio::test]
async fn left_alone(#[case] change: Value) {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    let answer = server.review(&state.bundle(), review(&change)).await;
    assert_eq!(answer["response"], json!({"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": true}));
}

#[rstest]
#[case::not_json("{", 400)]
#[case::too_deep(&"[".repeat(1000), 400)]
#[case::other_kind(r#"{"apiVersion": "v1", "kind": "Pod"}"#, 400)]
#[case::other_version(
    r#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "x"}}"#,
    400
)]
#[case::no_request(r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#, 400)]
#[case::no_uid(r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}"#, 400)]
#[case::too_long(&" ".repeat(3 * 1024 * 1024 + 1), 413)]
#[tokio::test]
async fn not_a_review(#[case] body: &str, #[case] status: u16) {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    assert_eq!(server.post(&state.bundle(), "/mutate/pods", body.to_owned()).await.unwrap().0, status);
}

#[tokio::test]
async fn a_large_pod_is_read() {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    let large = json!({"request": {"object": {"metadata": {"annotations": {"x": "y".repeat(2_500_000)}}}}});
    assert_eq!(server.review(&state.bundle(), review(&large)).await["response"]["allowed"], true);
}

#[tokio::test]
async fn other_paths_and_methods() {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    assert_eq!(server.post(&state.bundle(), "/", review(&json!({})).to_string()).await.unwrap().0, 404);
}

#[tokio::test]
async fn without_a_certificate_no_handshake() {
    let server = Server::start(None).await;
    assert!(!server.certificate.is_loaded());
    let state = CaState::new(now()).unwrap();
    assert!(server.post(&state.bundle(), "/mutate/pods", String::new()).await.is_err());
    server.authority.send_replace(Some(Arc::new(state.authority().unwrap())));
    server.until(|server| server.certificate.is_loaded()).await;
    assert!(server.post(&state.bundle(), "/mutate/pods", String::new()).await.is_ok());
    let other = CaState::new(now()).unwrap();
    assert!(server.post(&other.bundle(), "/mutate/pods", String::new()).await.is_err(), "another CA");
    server.until(|server| server.metrics().contains("lumoauth_webhook_handshake_failures_total 2")).await;
}

/// A whole rotation against a running server: whoever trusts the bundle of this step or of the step before is served.
#[tokio::test]
async fn rotation_without_a_refused_pod() {
    let start = now();
    let mut state = CaState::new(start).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    let first = state.bundle();
    let mut trusted = first.clone();
    let mut steps = Vec::new();
    for tick in 0..6 {
        let at = start.plus(tick * FORCED_NOTICE);
        let Some(step) = state.advance(at, Observed { rotate: Some("1"), distributed: true }).unwrap() else { break };
        steps.push(step);
        let before = presented(&server);
        server.authority.send_replace(Some(Arc::new(state.authority().unwrap())));
        if step == Step::Promoted {
            server.until(|server| presented(server) != before).await;
        }
        for bundle in [&trusted, &state.bundle()] {
            assert_eq!(server.review(bundle, review(&json!({}))).await["response"]["allowed"], true, "{step:?}");
        }
        trusted = state.bundle();
    }
    assert_eq!(steps, [Step::Announced, Step::Known, Step::Promoted]);
    assert!(server.post(&first, "/mutate/pods", String::new()).await.is_err(), "the new CA signs now");
}

fn presented(server: &Server) -> Option<CertificateDer<'static>> {
    server.certificate.current().and_then(|key| key.cert.first().cloned())
}

#[tokio::test]
async fn requests_in_flight_end_and_the_port_is_given_back() {
    let state = CaState::new(now()).unwrap();
    let server = Server::start(Some(state.authority().unwrap())).await;
    server.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = server.review(&state.bundle(), review(&json!({}))).await;
    assert_eq!(answer["response"]["allowed"], true, "still an endpoint somewhere");
    let idle = tls(server.address, &state.bundle()).await.unwrap();
    timeout(Duration::from_secs(20), server.task).await.unwrap().unwrap().unwrap();
    drop(idle);
    assert!(TcpStream::connect(server.address).await.is_err());
}
