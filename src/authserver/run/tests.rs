use super::*;
use std::{fs, path::Path};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use lumoauth_core::UnixTime;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

use crate::{
    authserver::testing::{World, client, invoices, server},
    registry::Snapshot,
};

/// A certificate for `localhost`; returns what clients must trust.
fn write_certificate(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn trusting(certificate: CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn get(config: ClientConfig, port: u16, path: &str) -> Result<(StatusCode, String), String> {
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build(https);
    let request = Request::get(format!("https://localhost:{port}{path}")).body(Empty::new()).unwrap();
    let response = client.request(request).await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..100 {
        if let Some(value) = ask().await {
            return value;
        }
        time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it did not happen within 10 s");
}

/// The process without a cluster: what it listens to, what it waits for, and what it takes over while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn it_serves_what_is_mounted_and_follows_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let data = at("data");
    let settings = |url: &str| {
        let storage = format!("storage: {{sqlite: {{path: {}}}}}", data.join("lumoauth.db").display());
        fs::write(at("config.yaml"), format!("publicUrl: {url}\nsidecarImage: a:1\n{storage}\n")).unwrap();
    };
    settings("https://one.example");
    let options = Options {
        listen: ([127, 0, 0, 1], free_port()).into(),
        admin: ([127, 0, 0, 1], free_port()).into(),
        settings: at("config.yaml"),
        tls: directory.path().to_owned(),
        keys: directory.path().to_owned(),
    };
    let port = options.listen.port();

    let mut world = World::empty();
    world.put_server(server("acme", "invoices", &invoices()));
    world.put_client(client("acme", "reader", "ClientSecretBasic", &[], &serde_json::json!({})));
    let (_snapshot, snapshot) = watch::channel(Arc::new(world.index.snapshot()));
    let (synced, is_synced) = watch::channel(false);
    let shutdown = CancellationToken::new();
    let watched = Watched { snapshot, synced: is_synced };
    let running =
        tokio::spawn(run_with(options.clone(), watched, Registry::default(), Duration::from_secs(1), shutdown.clone()));

    let ready = async || -> Option<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(options.admin).await.ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    let text = until(ready).await;
    for missing in ["custom resources", "signing keys", "TLS certificate", "the store is not open"] {
        assert!(text.starts_with("HTTP/1.1 503") && text.contains(missing), "{text}");
    }

    let told = until(async || ready().await.filter(|text| text.contains("make it, or mount a volume"))).await;
    assert!(told.contains(data.to_str().unwrap()), "{told}");
    fs::create_dir(&data).unwrap();
    let first = write_certificate(directory.path());
    fs::write(at(DOCUMENT_KEY), KeyRing::new(UnixTime(1)).unwrap().to_json().unwrap().as_bytes()).unwrap();
    synced.send_replace(true);
    until(async || ready().await.filter(|text| text.starts_with("HTTP/1.1 200"))).await;

    let path = "/orgs/acme/api/v1/.well-known/oauth-authorization-server";
    let (status, body) = get(trusting(first.clone()), port, path).await.unwrap();
    assert!(status == 200 && body.contains("https://one.example/orgs/acme/api/v1"), "{body}");

    settings("https://two.example");
    let second = write_certificate(directory.path());
    until(async || {
        let (_, body) = get(trusting(second.clone()), port, path).await.ok()?;
        body.contains("https://two.example/orgs/acme/api/v1").then_some(())
    })
    .await;
    assert!(get(trusting(first), port, path).await.is_err(), "the old certificate is gone");

    shutdown.cancel();
    let text = ready().await.unwrap();
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("shutting down"), "{text}");
    assert!(get(trusting(second.clone()), port, path).await.is_ok(), "latecomers are still served");
    running.await.unwrap().unwrap();
    assert!(get(trusting(second), port, path).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn settings_that_cannot_be_read_end_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        admin: ([127, 0, 0, 1], 0).into(),
        settings: directory.path().join("config.yaml"),
        tls: directory.path().to_owned(),
        keys: directory.path().to_owned(),
    };
    let (_snapshot, snapshot) = watch::channel(Arc::new(Snapshot::default()));
    let (_synced, synced) = watch::channel(true);
    let watched = Watched { snapshot, synced };
    let error =
        run_with(options, watched, Registry::default(), Duration::ZERO, CancellationToken::new()).await.unwrap_err();
    assert!(format!("{error:#}").contains("config.yaml"), "{error:#}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_certificate(one.path());
    write_certificate(two.path());
    let read = |directory: &Path, name: &str| Content::new(fs::read(directory.join(name)).unwrap());
    let chain = || read(one.path(), "tls.crt");
    assert!(certified_key(&[chain(), read(one.path(), "tls.key")]).is_ok());
    for key in [read(two.path(), "tls.key"), chain(), Content::new(b"x".to_vec())] {
        assert!(certified_key(&[chain(), key]).is_err());
    }
    assert!(certified_key(&[Content::new(Vec::new()), read(one.path(), "tls.key")]).is_err());
}
