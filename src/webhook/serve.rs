//! Connections: TLS, limits, and an end that loses no request.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Certificates, Metrics};

/// The ALPN identifier of HTTP/2 (RFC 9113 §3.2).
const HTTP2: &[u8] = b"h2";
/// Connections at a time; more wait in the listener's queue. API servers keep a few each.
const MAX_CONNECTIONS: usize = 512;
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an HTTP/2 peer is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// The pause after a failed accept, so that a machine out of descriptors is not kept busy by us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections are accepted after `shutdown`: until every node has heard that this pod is no endpoint any more.
/// The webhook's failure policy is Fail, so a connection refused is a pod refused.
const LAME_DUCK: Duration = Duration::from_secs(5);
/// How long requests in flight may take after that.
const DRAIN: Duration = Duration::from_secs(6);

/// Serves `router` with the newest of `certificates`, until some seconds after `shutdown`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    certificates: Arc<Certificates>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), rustls::Error> {
    let acceptor = TlsAcceptor::from(Arc::new(config(certificates)?));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let end = async {
        shutdown.cancelled().await;
        sleep(LAME_DUCK).await;
    };
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "webhook: cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, router, metrics, watcher) =
            (acceptor.clone(), router.clone(), metrics.clone(), graceful.watcher());
        connections.spawn(async move {
            match handshake(&acceptor, stream).await {
                // A peer that goes away concerns nobody.
                Ok(stream) if is_http2(&stream) => {
                    let service = TowerToHyperService::new(router);
                    let _ = watcher.watch(http2().serve_connection(TokioIo::new(stream), service)).await;
                }
                Ok(stream) => {
                    let service = TowerToHyperService::new(router);
                    let _ = watcher.watch(http1().serve_connection(TokioIo::new(stream), service)).await;
                }
                Err(error) => {
                    metrics.handshake_failed();
                    tracing::debug!(%error, "webhook: handshake failed");
                }
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    let ended = async {
        graceful.shutdown().await;
        connections.wait().await;
    };
    if timeout(DRAIN, ended).await.is_err() {
        tracing::warn!("webhook: connections are closed with requests in flight");
    }
    Ok(())
}

/// The next connection, once there is a slot for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.map_err(io::Error::from)?
}

fn config(certificates: Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING).max_concurrent_streams(MAX_STREAMS);
    builder
}
