//! How much the authorization server's connections may ask of it.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::connections::{self, Limits};

const LIMITS: Limits = Limits {
    connections: 1024,
    streams: 64,
    head: Duration::from_secs(15),
    idle: Duration::from_secs(30),
    age: Duration::from_mins(5),
    drain: Duration::from_secs(15),
};

/// Serves `router` until `shutdown`, then lets requests in flight finish. With `tls`, HTTPS; else plain HTTP, for
/// loopback.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    connections::serve(listener, router, tls, LIMITS, metrics.connections(), shutdown).await;
}
