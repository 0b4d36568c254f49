//! The admin endpoints of the control plane: /livez, /readyz and /metrics, on a port of their own.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may send its request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection lives.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after a failed accept, so that a machine out of descriptors is not kept busy by us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Content type of OpenMetrics text.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What the admin endpoints show.
#[derive(Clone)]
pub struct Admin {
    /// Every metric of the process.
    pub registry: Arc<Registry>,
    /// Whether the process can do its work; the error says what is missing, in words for the one who looks.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Serves the admin endpoints until `shutdown`. Connections are closed after one answer.
pub async fn serve(listener: TcpListener, admin: Admin, shutdown: CancellationToken) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin: cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let admin = admin.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&admin, request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A peer that goes away or is too slow concerns nobody.
            let _ = time::timeout(CONNECTION_TIMEOUT, connection).await;
            drop(slot);
        });
    }
}

fn answer(admin: &Admin, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let known = matches!(path, "/livez" | "/readyz" | "/metrics");
    if known && method != Method::GET && method != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/livez" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => match (admin.ready)() {
            Ok(()) => plain(StatusCode::OK, "ok\n"),
            Err(missing) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")),
        },
        "/metrics" => {
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, &admin.registry) {
                Ok(()) => respond(StatusCode::OK, OPEN_METRICS, text),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n"),
            }
        }
        _ => plain(StatusCode::NOT_FOUND, "not found: ask for /livez, /readyz or /metrics\n"),
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, TEXT, body)
}

fn respond(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use rstest::rstest;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    fn admin(ready: Result<(), String>) -> Admin {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        counter.inc();
        registry.register("lumoauth_test", "Counts", counter);
        Admin { registry: Arc::new(registry), ready: Arc::new(move || ready.clone()) }
    }

    #[rstest]
    #[case(Method::GET, "/livez", 200)]
    #[case(Method::HEAD, "/livez", 200)]
    #[case(Method::GET, "/readyz", 200)]
    #[case(Method::GET, "/metrics", 200)]
    #[case(Method::POST, "/metrics", 405)]
    #[case(Method::DELETE, "/livez", 405)]
    #[case(Method::GET, "/", 404)]
    #[case(Method::GET, "/livez/", 404)]
    #[case(Method::GET, "/config", 404)]
    fn answers(#[case] method: Method, #[case] path: &str, #[case] status: u16) {
        assert_eq!(answer(&admin(Ok(())), &method, path).status(), status);
    }

    #[test]
    fn not_ready_is_not_dead() {
        let admin = admin(Err("the caches are not synced".to_owned()));
        assert_eq!(answer(&admin, &Method::GET, "/readyz").status(), 503);
        assert_eq!(answer(&admin, &Method::GET, "/livez").status(), 200);
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn over_the_wire() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, admin(Err("no certificate".to_owned())), shutdown.clone()));

        let answer = ask(address, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: no certificate\n"), "{answer}");
        let answer = ask(address, "GET /metrics?x HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(
            answer.contains("application/openmetrics-text") && answer.contains("lumoauth_test_total 1"),
            "{answer}"
        );
        assert!(answer.ends_with("# EOF\n"), "{answer}");

        shutdown.cancel();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is given back");
    }
}
