//! How much API servers may ask of the webhook at a time, and how it ends.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::{
    connections::{self, Limits},
    tls::{self, Certificate},
};

/// API servers keep a few connections each.
const LIMITS: Limits = Limits {
    connections: 512,
    streams: 128,
    head: Duration::from_secs(10),
    idle: Duration::from_mins(1),
    age: Duration::from_mins(15),
    drain: Duration::from_secs(6),
};
/// How long connections are accepted after `shutdown`: until every node has heard that this pod is no endpoint any more.
/// The webhook's failure policy is Fail, so a connection refused is a pod refused.
const LAME_DUCK: Duration = Duration::from_secs(5);

/// Serves `router` with `certificate`, until some seconds after `shutdown`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    certificate: Arc<Certificate>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), rustls::Error> {
    let tls = tls::acceptor(certificate)?;
    let closing = CancellationToken::new();
    let end = async {
        shutdown.cancelled().await;
        sleep(LAME_DUCK).await;
        closing.cancel();
    };
    let serving = connections::serve(listener, router, Some(tls), LIMITS, metrics.connections(), closing.clone());
    tokio::join!(end, serving);
    Ok(())
}
