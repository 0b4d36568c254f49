//! The servers around a sidecar: one that records what it is sent, and an issuer's key endpoint that counts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use crate::harness::PATIENCE;

/// What the recording server answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// These bytes, after the whole request.
    Bytes(Vec<u8>),
    /// Whatever the test sends, when it sends it.
    Live(Arc<Mutex<Option<mpsc::UnboundedReceiver<Vec<u8>>>>>),
    /// Nothing, until the peer hangs up.
    Silence,
}

/// A server that records what it is sent, byte for byte.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    bytes: Arc<Mutex<Vec<u8>>>,
    reply: Arc<Mutex<Reply>>,
    hung_up: Arc<tokio::sync::Notify>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reply = Arc::new(Mutex::new(Reply::Bytes(json_response("{}"))));
        let hung_up = Arc::new(tokio::sync::Notify::new());
        let connections = Arc::new(AtomicUsize::new(0));
        let (b, r, h, c) = (Arc::clone(&bytes), Arc::clone(&reply), Arc::clone(&hung_up), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                c.fetch_add(1, Ordering::SeqCst);
                let (b, r, h) = (Arc::clone(&b), Arc::clone(&r), Arc::clone(&h));
                tokio::spawn(async move {
                    serve(stream, &b, &r).await;
                    h.notify_one();
                });
            }
        });
        Self { port, bytes, reply, hung_up, connections, task }
    }

    pub(crate) fn reply(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    pub(crate) fn reply_json(&self, body: &str) {
        self.reply(Reply::Bytes(json_response(body)));
    }

    /// The next request is answered with what is sent on the result.
    pub(crate) fn reply_live(&self) -> mpsc::UnboundedSender<Vec<u8>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.reply(Reply::Live(Arc::new(Mutex::new(Some(receiver)))));
        sender
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn recorded(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    pub(crate) fn clear(&self) {
        self.bytes.lock().unwrap().clear();
    }

    /// Waits until something arrived.
    pub(crate) async fn received(&self) -> String {
        until(|| !self.recorded().is_empty()).await;
        self.recorded()
    }

    /// Waits until a connection to it was closed by its peer.
    pub(crate) async fn hung_up(&self) {
        timeout(PATIENCE, self.hung_up.notified()).await.expect("the connection to the server should be closed");
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the condition should come to hold");
}

async fn serve(mut stream: TcpStream, bytes: &Mutex<Vec<u8>>, reply: &Mutex<Reply>) {
    loop {
        let mut message = Vec::new();
        while !is_complete(&message) {
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    message.extend_from_slice(&buffer[..n]);
                    bytes.lock().unwrap().extend_from_slice(&buffer[..n]);
                }
                _ => return,
            }
        }
        let reply = reply.lock().unwrap().clone();
        match reply {
            Reply::Bytes(response) => {
                if stream.write_all(&response).await.is_err() {
                    return;
                }
            }
            Reply::Live(live) => {
                let Some(mut live) = live.lock().unwrap().take() else { return };
                let mut buffer = [0; 16];
                loop {
                    tokio::select! {
                        piece = live.recv() => match piece {
                            Some(piece) if piece.is_empty() => break,
                            Some(piece) => if stream.write_all(&piece).await.is_err() { return },
                            None => return,
                        },
                        read = stream.read(&mut buffer) => if !matches!(read, Ok(n) if n > 0) { return },
                    }
                }
            }
            Reply::Silence => {
                let mut buffer = [0; 16];
                while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
                return;
            }
        }
    }
}

/// Whether `message` is a whole message with a length.
pub(crate) fn is_complete(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message).to_ascii_lowercase();
    let Some(end) = text.find("\r\n\r\n") else { return false };
    let length = text[..end]
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse::<usize>().unwrap());
    message.len() >= end + 4 + length
}

pub(crate) fn json_response(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

pub(crate) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

pub(crate) const SSE_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An issuer's JWKS endpoint that counts.
pub(crate) struct JwksServer {
    pub(crate) uri: String,
    hits: Arc<AtomicUsize>,
    body: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl JwksServer {
    pub(crate) async fn start(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let hits = Arc::new(AtomicUsize::new(0));
        let body = Arc::new(Mutex::new(Some(body)));
        let (h, b) = (Arc::clone(&hits), Arc::clone(&body));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                h.fetch_add(1, Ordering::SeqCst);
                let body = b.lock().unwrap().clone();
                tokio::spawn(async move {
                    let Some(body) = body else { return };
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream.write_all(&json_response(&body)).await;
                });
            }
        });
        Self { uri, hits, body, task }
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// What it serves from now on; `None` hangs up on everybody.
    pub(crate) fn serve(&self, body: Option<String>) {
        *self.body.lock().unwrap() = body;
    }
}

/// An issuer's status lists, with the count of what it was asked and an `ETag` for each content.
pub(crate) struct StatusServer {
    /// Where its lists are: ends in `/`.
    pub(crate) folder: String,
    state: Arc<Mutex<StatusState>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct StatusState {
    body: Option<Vec<u8>>,
    version: usize,
    asked: Vec<String>,
    unchanged: usize,
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StatusServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = format!("http://{}/oauth/status/", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(StatusState::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    std::future::ready(state.lock().unwrap().answer(&request))
                });
                let stream = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
            }
        });
        Self { folder, state, task }
    }

    /// What it serves from now on, whatever list is asked for; `None` hangs up on everybody.
    pub(crate) fn serve(&self, body: Option<impl Into<Vec<u8>>>) {
        let mut state = self.state.lock().unwrap();
        state.body = body.map(Into::into);
        state.version += 1;
    }

    /// The paths that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How often the list had not changed.
    pub(crate) fn unchanged(&self) -> usize {
        self.state.lock().unwrap().unchanged
    }
}

impl StatusState {
    fn answer(
        &mut self,
        request: &http::Request<hyper::body::Incoming>,
    ) -> Result<http::Response<Full<Bytes>>, std::io::Error> {
        self.asked.push(request.uri().path().to_owned());
        // A service that fails makes hyper close the connection.
        let body = self.body.clone().ok_or_else(|| std::io::Error::other("gone"))?;
        let version = format!("\"{}\"", self.version);
        let held = request.headers().get(http::header::IF_NONE_MATCH).and_then(|held| held.to_str().ok());
        let mut response = http::Response::new(Full::new(Bytes::from(body)));
        if held == Some(&version) {
            self.unchanged += 1;
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
            *response.body_mut() = Full::default();
        }
        response.headers_mut().insert(http::header::ETAG, version.parse().unwrap());
        Ok(response)
    }
}
