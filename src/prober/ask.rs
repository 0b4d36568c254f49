//! The client: one request, one connection, nothing followed, everything limited.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{
    Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use lumoauth_core::UnixTime;
use tokio::{net::TcpStream, sync::Semaphore};

use super::{Expectation, ForgedKey, PodFinding, PodTarget, Verdict, Wrong, expectation::Challenged, verdict};
use crate::api::names;
use lumoauth_core::config::Generation;

/// Requests at one time, over all servers.
const CONCURRENCY: usize = 32;
/// How long a connection may take to be accepted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take, body included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes: metadata is a few hundred.
const MAX_ANSWER: usize = 256 * 1024;
/// A call that does no harm should it get through.
const PING: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// Where a sidecar listens in its pod.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The guarded port.
    pub guarded: u16,
    /// The admin port.
    pub admin: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { guarded: names::SIDECAR_PORT, admin: names::SIDECAR_ADMIN_PORT }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Every `WWW-Authenticate` field line.
    pub challenges: Vec<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection in time: dropped packets.
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout,
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[source] std::io::Error),
    /// A connection, but no whole answer in time.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    AnswerTimeout,
    /// A connection, but not HTTP.
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    /// The body broke off or is too large.
    #[error("the answer's body cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The question could not be written.
    #[error("the question cannot be asked: {0}")]
    Question(#[from] http::Error),
    /// The system gives no random numbers, or has no signature for us.
    #[error("the forged token cannot be signed")]
    Sign,
}

/// Asks, within limits that hold over all servers.
#[derive(Debug)]
pub struct Asker {
    ports: Ports,
    key: ForgedKey,
    permits: Semaphore,
}

impl Asker {
    /// An asker that signs forged tokens with `key`.
    pub fn new(ports: Ports, key: ForgedKey) -> Self {
        Self { ports, key, permits: Semaphore::new(CONCURRENCY) }
    }

    /// Asks one pod what it runs and, if that is `generation`, how it answers callers.
    pub(super) async fn pod(
        &self,
        pod: &PodTarget,
        generation: &Generation,
        expectation: &Expectation,
        now: UnixTime,
    ) -> PodFinding {
        let report = self.report(SocketAddr::new(pod.ip, self.ports.admin)).await;
        let running = verdict::running(&report);
        let mut enforcement = None;
        if pod.ready && running.is(generation) {
            let verdict = self.enforcement(SocketAddr::new(pod.ip, self.ports.guarded), expectation, now).await;
            enforcement = Some(match verdict::revocations(&report) {
                Some(late) if verdict == Verdict::Right => Verdict::Wrong(late),
                _ => verdict,
            });
        }
        PodFinding { running, enforcement }
    }

    async fn report(&self, admin: SocketAddr) -> Result<Answer, AskError> {
        let request = Request::get("/config").header(HOST, admin.to_string());
        self.ask(admin, request, Bytes::new()).await
    }

    /// Asks at `address` as callers would.
    pub(super) async fn enforcement(&self, address: SocketAddr, expectation: &Expectation, now: UnixTime) -> Verdict {
        let asked = match expectation {
            Expectation::Open => Ok(None),
            Expectation::DenyAll => self.ask_denied(address).await,
            Expectation::Challenge(expected) => self.ask_challenged(address, expected, now).await,
        };
        match asked {
            Ok(None) => Verdict::Right,
            Ok(Some(wrong)) => Verdict::Wrong(wrong),
            Err(error) => Verdict::Unreachable(error.to_string()),
        }
    }

    async fn ask_denied(&self, address: SocketAddr) -> Result<Option<Wrong>, AskError> {
        let request = Request::get("/").header(HOST, address.to_string());
        Ok(verdict::denied(&self.ask(address, request, Bytes::new()).await?))
    }

    async fn ask_challenged(
        &self,
        address: SocketAddr,
        expected: &Challenged,
        now: UnixTime,
    ) -> Result<Option<Wrong>, AskError> {
        let ping = Bytes::from_static(PING);
        let answer = self.ask(address, call(expected), ping.clone()).await?;
        if let Some(wrong) = verdict::no_token(&answer, expected) {
            return Ok(Some(wrong));
        }
        let token = self.key.token(&expected.claims, now).map_err(|_| AskError::Sign)?;
        let forged = call(expected).header(AUTHORIZATION, format!("Bearer {token}"));
        if let Some(wrong) = verdict::forged_token(&self.ask(address, forged, ping).await?, expected) {
            return Ok(Some(wrong));
        }
        let metadata = Request::get(&expected.metadata_path).header(HOST, &expected.host);
        Ok(verdict::metadata(&self.ask(address, metadata, Bytes::new()).await?, expected))
    }

    /// One request on a connection of its own.
    async fn ask(&self, address: SocketAddr, request: http::request::Builder, body: Bytes) -> Result<Answer, AskError> {
        let request = request.header(CONNECTION, "close").body(Full::new(body))?;
        // The semaphore is never closed; were it, asking without a permit is still bounded by its callers.
        let _permit = self.permits.acquire().await.ok();
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| AskError::ConnectTimeout)?
            .map_err(AskError::Connect)?;
        tokio::time::timeout(ANSWER_TIMEOUT, exchange(stream, request)).await.map_err(|_| AskError::AnswerTimeout)?
    }
}

/// A call of the MCP endpoint, as a client of Streamable HTTP sends it.
fn call(expected: &Challenged) -> http::request::Builder {
    Request::builder()
        .method(Method::POST)
        .uri(&expected.path)
        .header(HOST, &expected.host)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<Answer, AskError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(AskError::Body)?.to_bytes();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Answer {
            status: head.status,
            challenges: head.headers.get_all(WWW_AUTHENTICATE).iter().map(text).collect(),
            content_type: head.headers.get(CONTENT_TYPE).map(text),
            body,
        })
    };
    tokio::pin!(answered);
    // The connection must be driven while the answer is awaited; its own end or error shows in the answer.
    tokio::select! {
        answer = &mut answered => answer,
        _ = connection => answered.await,
    }
}
