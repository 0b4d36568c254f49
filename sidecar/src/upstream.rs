//! Connections to the MCP server in the pod.
//!
//! A connection carries one exchange at a time and is used again only after the exchange ended as it should. Dropping
//! an exchange before that closes its connection at once: that is how the server learns that its client has gone.

use std::{
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::AbortHandle,
    time::{Instant, timeout},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the keep-alive time of common servers (5 s), so that they do not hang up as we send.
const MAX_IDLE_TIME: Duration = Duration::from_secs(3);
const MAX_IDLE: usize = 64;
/// A connection that is not ready again so soon after an exchange is given up.
const READY_TIMEOUT: Duration = Duration::from_millis(20);
/// A response head beyond this is not one of an MCP server. It is also what is read ahead of a client that is slow to
/// take it.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The server did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable;

/// A server on loopback, and the connections to it that are idle.
pub(crate) struct Upstream {
    port: u16,
    host: HeaderValue,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection. Its task ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A response's body and the connection it comes on.
pub(crate) struct Exchange {
    body: Incoming,
    /// Whether the body was read to its end; a length that is known says so earlier.
    finished: bool,
    connection: Option<Connection>,
    upstream: Arc<Upstream>,
}

impl Upstream {
    pub(crate) fn new(port: u16) -> Self {
        // An address and a port are always a header value.
        let host = HeaderValue::try_from(format!("{}:{port}", Ipv4Addr::LOCALHOST));
        let host = host.unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Self { port, host, idle: Mutex::new(Vec::new()) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the server is called on loopback: `127.0.0.1:<port>`.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Sends `request` and gives the response's head. An idle connection that turns out to be closed before anything
    /// was sent on it is replaced; whatever may have reached the server is never sent twice.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(http::response::Parts, Exchange), Unreachable> {
        while let Some(mut connection) = self.checkout() {
            if !matches!(timeout(READY_TIMEOUT, connection.sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.exchange(connection, response)),
                Err(mut error) => request = error.take_message().ok_or(Unreachable)?,
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.sender.try_send_request(request).await.map_err(|_| Unreachable)?;
        Ok(self.exchange(connection, response))
    }

    fn exchange(
        self: &Arc<Self>,
        connection: Connection,
        response: Response<Incoming>,
    ) -> (http::response::Parts, Exchange) {
        let (parts, body) = response.into_parts();
        (parts, Exchange { body, finished: false, connection: Some(connection), upstream: Arc::clone(self) })
    }

    /// The connection that was used last: the others grow old and go.
    fn checkout(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(candidate) = idle.pop() {
            if candidate.since.elapsed() > MAX_IDLE_TIME {
                // Everything below it is older.
                idle.clear();
                return None;
            }
            if !candidate.connection.sender.is_closed() {
                return Some(candidate.connection);
            }
        }
        None
    }

    fn give_back(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    async fn connect(&self) -> Result<Connection, Unreachable> {
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let stream = timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| Unreachable)?.map_err(|_| Unreachable)?;
        // Without it small requests wait for acknowledgements; that it cannot be set is no reason to fail.
        let _ = stream.set_nodelay(true);
        let (sender, driver) = http1::Builder::new()
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Unreachable)?;
        let task = tokio::spawn(async move {
            // Its errors reach whoever waits for the response or its body.
            let _ = driver.await;
        });
        Ok(Connection { sender, task: task.abort_handle() })
    }
}

impl Exchange {
    /// The next piece of the body. Trailers are skipped.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_) => continue,
                },
                Some(Err(error)) => Some(Err(error)),
                None => {
                    self.finished = true;
                    None
                }
            });
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.finished || self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.is_end_stream()
        {
            self.upstream.give_back(connection);
        }
    }
}
