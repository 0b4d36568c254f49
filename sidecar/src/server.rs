//! Connections: accepted up to a cap, served with limits on every wait, drained with a deadline.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    framing::{Patience, Watched},
    gate::Gate,
    metrics::Metrics,
};

/// The longest request head: more is answered 431. Clients need no token to make us hold one, so that this, times
/// [`Limits::max_connections`], has to fit into the container's memory.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// What is read ahead of a connection.
const MAX_BUFFER_BYTES: usize = MAX_HEAD_BYTES;
/// A pause after an `accept` that failed, as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many clients are served, and how long they may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// Bytes of bodies held at a time, of all connections together; at least what one body may have.
    pub body_bytes: usize,
    /// For the first byte of a connection.
    pub first_byte: Duration,
    /// For a request's head, from its first byte to its last.
    pub head: Duration,
    /// For the next request on a connection.
    pub idle: Duration,
    /// For the next piece of a request's body.
    pub body_idle: Duration,
    /// For the whole of a request's body.
    pub body_total: Duration,
    /// For the client to take what it is sent.
    pub write: Duration,
    /// For requests in flight at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            body_bytes: 24 * 1024 * 1024,
            first_byte: Duration::from_secs(5),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(15),
            body_total: Duration::from_mins(2),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(25),
        }
    }
}

/// Serves `listener` until `shutdown`, then closes it, lets requests in flight finish, and cuts what is left after
/// `limits.drain`.
pub(crate) async fn serve(
    gate: Arc<Gate>,
    metrics: Metrics,
    listener: TcpListener,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some((stream, slot)) = shutdown.run_until_cancelled(next(&listener, &slots)).await {
        let (gate, shutdown, cut, counted) = (Arc::clone(&gate), shutdown.clone(), cut.clone(), metrics.connection());
        connections.spawn(async move {
            let _held = (slot, counted);
            cut.run_until_cancelled(connection(gate, stream, limits, shutdown)).await;
        });
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "drain deadline reached: connections are cut");
        cut.cancel();
        connections.wait().await;
    }
}

/// The next connection, once there is a slot for it.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                if !is_of_one_connection(&error) {
                    tracing::warn!(%error, "connections cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Errors of a connection that was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(gate: Arc<Gate>, stream: TcpStream, limits: Limits, shutdown: CancellationToken) {
    // Without it events wait for acknowledgements; that it cannot be set is no reason to hang up.
    let _ = stream.set_nodelay(true);
    let patience = Patience { first_byte: limits.first_byte, head: limits.head, write: limits.write };
    let (io, framing) = Watched::new(stream, patience);
    let service = service_fn(move |request| {
        let (gate, framing) = (Arc::clone(&gate), framing.clone());
        async move { Ok::<_, Infallible>(gate.answer(&framing, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(io), service);
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
