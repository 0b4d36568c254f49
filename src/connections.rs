//! Connections of the servers of this process: bounded in number, in time, and in what they may send before they are
//! understood; and an end that loses no request.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest request head, in bytes; of HTTP/2 decompressed.
const MAX_HEAD_BYTES: u32 = 16 * 1024;
/// How often an HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(15);
/// The pause after a failed accept, so that a machine out of descriptors is not kept busy by us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one server allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once. One more is closed at once: whoever waits in a queue cannot go to another replica.
    pub(crate) connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub(crate) streams: u32,
    /// How long an HTTP/1.1 request head may take, from its first byte on.
    pub(crate) head: Duration,
    /// How long a connection may be without a request, its first included.
    pub(crate) idle: Duration,
    /// How old a connection gets: busy ones find new replicas.
    pub(crate) age: Duration,
    /// How long requests in flight may take once their connection is to end.
    pub(crate) drain: Duration,
}

/// What is counted of connections. Clones count into the same counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    handshakes: Counter,
    refused: Counter,
}

impl Counters {
    /// Makes the counters part of `registry`, their names starting with `prefix`.
    pub(crate) fn register(&self, registry: &mut Registry, prefix: &str) {
        registry.register(
            format!("{prefix}_handshake_failures"),
            "TLS handshakes that failed; clients that do not trust the CA show here",
            self.handshakes.clone(),
        );
        registry.register(
            format!("{prefix}_connections_refused"),
            "Connections closed at once because as many as allowed were open",
            self.refused.clone(),
        );
    }
}

/// Serves `router` until `shutdown`, then lets requests in flight finish. With `tls`, HTTPS; else plain HTTP.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    counters: Counters,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            counters.refused.inc();
            continue;
        };
        let (router, tls, counters, shutdown) = (router.clone(), tls.clone(), counters.clone(), shutdown.clone());
        connections.spawn(async move {
            // Answers are one small write: waiting for more would only delay them.
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, router, limits, shutdown).await,
                Some(tls) => match handshake(&tls, stream).await {
                    Ok(stream) => connection(stream, router, limits, shutdown).await,
                    Err(error) => {
                        counters.handshakes.inc();
                        tracing::debug!(%error, "TLS handshake failed");
                    }
                },
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not end in time and are cut off");
    }
}

async fn handshake(tls: &TlsAcceptor, stream: TcpStream) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await.map_err(io::Error::from)?
}

/// Serves one connection, HTTP/1.1 or HTTP/2, until the peer, its idleness, its age or `shutdown` ends it.
async fn connection<I>(io: I, router: Router, limits: Limits, shutdown: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(MAX_HEAD_BYTES)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let (running, in_flight) = watch::channel(0_usize);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let running = InFlight::start(&running);
        let answer = router.call(request);
        async move {
            let _running = running;
            answer.await
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let enough = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(limits.age) => {}
            () = idle(in_flight, limits.idle) => {}
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = enough => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.drain, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Ends when no request was in flight for as long as `limit`. An HTTP/2 peer that answers pings is not busy.
async fn idle(mut in_flight: watch::Receiver<usize>, limit: Duration) {
    loop {
        if in_flight.wait_for(|requests| *requests == 0).await.is_err() {
            return std::future::pending().await;
        }
        if timeout(limit, in_flight.changed()).await.is_err() {
            return;
        }
    }
}

/// One request, counted as long as it lives.
struct InFlight(watch::Sender<usize>);

impl InFlight {
    fn start(running: &watch::Sender<usize>) -> Self {
        running.send_modify(|requests| *requests += 1);
        Self(running.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests = requests.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;
    use std::{net::SocketAddr, time::Instant};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const IDLE: Duration = Duration::from_millis(300);
    const SLOW: Duration = Duration::from_millis(900);

    struct Server {
        address: SocketAddr,
        counters: Counters,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Server {
        async fn start(connections: usize) -> Self {
            let long = Duration::from_secs(20);
            let limits = Limits { connections, streams: 8, head: SLOW, idle: IDLE, age: long, drain: SLOW * 2 };
            let slow = get(async || {
                sleep(SLOW).await;
                "slow"
            });
            let router = Router::new().route("/", get(async || "fast")).route("/slow", slow);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (counters, shutdown) = (Counters::default(), CancellationToken::new());
            let task = tokio::spawn(serve(listener, router, None, limits, counters.clone(), shutdown.clone()));
            Self { address, counters, shutdown, task }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    /// What the peer sends until it closes, and after how long it does.
    async fn read_to_end(stream: &mut TcpStream) -> (String, Duration) {
        let started = Instant::now();
        let mut text = String::new();
        let read = timeout(Duration::from_secs(10), stream.read_to_string(&mut text));
        let _ = read.await.expect("the connection is closed");
        (text, started.elapsed())
    }

    #[tokio::test]
    async fn one_too_many_is_closed_at_once_and_the_others_are_served() {
        let server = Server::start(1).await;
        let mut first = server.connect().await;
        first.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let (text, after) = read_to_end(&mut server.connect().await).await;
        assert!(text.is_empty() && after < IDLE, "{text} after {after:?}");
        assert_eq!(server.counters.refused.get(), 1);
        let (text, _) = read_to_end(&mut first).await;
        assert!(text.ends_with("slow"), "{text}");

        let mut next = server.connect().await;
        next.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(read_to_end(&mut next).await.0.ends_with("fast"), "the slot is free again");
    }

    #[tokio::test]
    async fn who_says_nothing_does_not_keep_a_slot() {
        let server = Server::start(8).await;
        for opening in ["", "G", "PRI * H", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
            let mut stream = server.connect().await;
            stream.write_all(opening.as_bytes()).await.unwrap();
            let started = Instant::now();
            // At the latest when what it has begun is no longer waited for.
            let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await;
            assert!(closed.is_ok(), "{opening:?} keeps its connection");
            assert!(started.elapsed() + Duration::from_millis(100) > IDLE, "{opening:?} is not given its time");
        }
    }

    #[tokio::test]
    async fn an_http2_peer_is_closed_when_idle_and_not_while_it_waits() {
        let server = Server::start(8).await;
        let stream = TokioIo::new(server.connect().await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("http://a/slow").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200, "longer than the limit of idleness");
        assert!(!connection.is_finished());
        timeout(Duration::from_secs(10), connection).await.expect("an idle peer is sent away").unwrap().unwrap();
    }

    #[tokio::test]
    async fn requests_in_flight_finish_after_the_shutdown() {
        let server = Server::start(8).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        server.shutdown.cancel();
        assert!(read_to_end(&mut stream).await.0.ends_with("slow"));
        timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err(), "the port is given back");
    }
}
