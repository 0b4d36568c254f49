//! The admin port: `/livez`, `/readyz`, `/metrics`, `/config`. GET only; holds no secret.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, task::AbortHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::config::ConfigHandle;

/// Probes and scrapers; nobody needs more. One more than these ends the oldest: those who connect and say nothing
/// cannot keep the kubelet out.
const MAX_CONNECTIONS: usize = 64;
/// For the head of the one request of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// An admin connection ends after this, whatever it does.
const LIFETIME: Duration = Duration::from_secs(5);
/// A pause after an `accept` that failed, as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Admin {
    config: ConfigHandle,
    registry: Arc<Registry>,
}

/// Serves `listener` until `shutdown`.
pub(crate) async fn serve(
    config: ConfigHandle,
    registry: Arc<Registry>,
    listener: TcpListener,
    shutdown: CancellationToken,
) {
    let admin = Arc::new(Admin { config, registry });
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(MAX_CONNECTIONS);
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let (admin, shutdown) = (Arc::clone(&admin), shutdown.clone());
        let connection = tokio::spawn(async move {
            let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(admin.answer(&request))));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // A prober that hangs up early is no news.
            let _ = timeout(LIFETIME, shutdown.run_until_cancelled(connection)).await;
        });
        open.push_back(connection.abort_handle());
    }
}

impl Admin {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if *request.method() != Method::GET {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.config.current().is_some() => text(StatusCode::OK, "ok\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "no configuration yet\n"),
            "/metrics" => self.metrics(),
            "/config" => match serde_json::to_vec(&self.config.report()) {
                Ok(report) => typed(StatusCode::OK, "application/json", report.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the report cannot be written\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "/livez /readyz /metrics /config\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        // An age is as of now.
        self.config.status_list_age();
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) => typed(StatusCode::OK, OPEN_METRICS, out.into()),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n"),
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", Bytes::from_static(body.as_bytes()))
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
