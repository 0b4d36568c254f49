//! A real sidecar between a raw client and a server that records every byte it gets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use lumoauth_sidecar::{ConfigHandle, JwksLimits, Limits, Options, Sidecar};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";
pub(crate) const ISSUER: &str = "https://as.example/orgs/acme/api/v1";
pub(crate) const PRM: &str =
    r#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example/orgs/acme/api/v1"]}"#;
pub(crate) const PRM_URL: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
/// Far above what anything here takes on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An ES256 key of some issuer.
pub(crate) struct Key {
    pair: rcgen::KeyPair,
    pub(crate) kid: String,
}

impl Key {
    pub(crate) fn new(kid: &str) -> Self {
        Self { pair: rcgen::KeyPair::generate().unwrap(), kid: kid.to_owned() }
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key_raw();
        assert_eq!((point.len(), point[0]), (65, 4));
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        })
    }

    pub(crate) fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    fn encoding(&self) -> EncodingKey {
        EncodingKey::from_ec_der(self.pair.serialized_der())
    }

    /// A good token with `change` made to its claims.
    pub(crate) fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        self.token_with_header(|_| {}, change)
    }

    /// A good token with changes made to its header and claims.
    pub(crate) fn token_with_header(&self, header: impl FnOnce(&mut Value), claims: impl FnOnce(&mut Value)) -> String {
        let mut h = json!({"alg": "ES256", "typ": "at+jwt", "kid": self.kid});
        let mut c = good_claims();
        header(&mut h);
        claims(&mut c);
        self.sign(&h, &c)
    }

    /// `header` and `claims`, whatever they say, with an ES256 signature.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.encoding(), jsonwebtoken::Algorithm::ES256).unwrap();
        format!("{signed}.{signature}")
    }

    /// A good token made entirely by the JWT library.
    pub(crate) fn library_token(&self) -> String {
        let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, &good_claims(), &self.encoding()).unwrap()
    }
}

pub(crate) fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

pub(crate) fn good_claims() -> Value {
    let now = now();
    json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "user-1", "client_id": "mcpc_1", "scope": "mcp:read",
        "iat": now, "exp": now + 300, "jti": "j1",
    })
}

/// The configuration of the tests: reads need `mcp:read`, `send_*` needs `mcp:write`, `delete_*` is denied.
pub(crate) fn config(upstream: u16, key: &Key) -> Value {
    json!({
        "version": 1,
        "server": {"org": "acme", "namespace": "acme-corp", "name": "invoices", "serverId": "mcp_0123456789ab0123456789ab"},
        "enforcement": {"enforce": {
            "resource": RESOURCE,
            "hosts": ["invoices-mcp.acme-corp"],
            "allowedOrigins": ["https://app.example"],
            "upstream": {"port": upstream, "path": "/inner"},
            "maxBodyBytes": 65536,
            "logLevel": "info",
            "authorization": {"oAuth": {
                "metadata": PRM,
                "policy": {
                    "scopes": [
                        {"name": "mcp:read"},
                        {"name": "mcp:write", "implies": ["mcp:read"]},
                    ],
                    "requiredScopes": ["mcp:read"],
                    "rules": [
                        {"selector": {"tools": ["send_*"]}, "effect": {"require": ["mcp:write"]}},
                        {"selector": {"tools": ["delete_*"]}, "effect": "deny"},
                    ],
                    "defaultRule": "RequireBase",
                },
                "filterLists": true,
                "issuers": [{
                    "issuer": ISSUER, "audience": RESOURCE, "tokenType": "accessToken",
                    "algorithms": ["ES256"], "keys": {"keys": [key.jwk()]},
                }],
            }},
        }},
    })
}

pub(crate) fn deny_all() -> Value {
    let mut config = config(1, &Key::new("k"));
    config["enforcement"] = json!({"denyAll": {"reason": "Deleted"}});
    config
}

/// `config` with the part that says how tokens are checked changed.
pub(crate) fn with_oauth(mut config: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut config["enforcement"]["enforce"]["authorization"]["oAuth"]);
    config
}

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
    connections: Arc<std::sync::atomic::AtomicUsize>,
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
        let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (b, r, h, c) = (Arc::clone(&bytes), Arc::clone(&reply), Arc::clone(&hung_up), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                c.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
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
        self.connections.load(std::sync::atomic::Ordering::SeqCst)
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
fn is_complete(message: &[u8]) -> bool {
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

/// A running sidecar, its server and its issuer's key.
pub(crate) struct Bench {
    pub(crate) sidecar: Sidecar,
    pub(crate) config: ConfigHandle,
    pub(crate) address: SocketAddr,
    pub(crate) upstream: Recorder,
    pub(crate) key: Key,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) fn options() -> Options {
    Options::default()
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(options(), |config| config).await
    }

    pub(crate) async fn start_with(options: Options, change: impl FnOnce(Value) -> Value) -> Self {
        let bench = Self::start_without_config(options).await;
        bench.load(&change(config(bench.upstream.port, &bench.key)));
        bench
    }

    pub(crate) async fn start_without_config(options: Options) -> Self {
        let upstream = Recorder::start().await;
        let key = Key::new("k1");
        let sidecar = Sidecar::new(options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(sidecar.serve(listener, shutdown.clone()));
        Self { config: sidecar.config(), sidecar, address, upstream, key, shutdown, serving }
    }

    pub(crate) fn load(&self, config: &Value) {
        self.config.load(config.to_string().as_bytes()).unwrap();
    }

    pub(crate) fn token(&self) -> String {
        self.key.token(|_| {})
    }

    /// Sends raw bytes on a connection of their own and gives everything that comes back until it is closed.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut got = Vec::new();
        // A reset after the answer is an end, too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the connection should end");
        Answer::parse(&got)
    }

    pub(crate) async fn call(&self, token: &str, body: &str) -> Answer {
        self.raw(post(&[("Authorization", &format!("Bearer {token}"))], body)).await
    }

    /// A connection that is kept.
    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap(), Vec::new())
    }
}

/// A POST to the MCP path that asks for the connection to be closed.
pub(crate) fn post(headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut headers = headers.to_vec();
    headers.push(("Connection", "close"));
    request("POST", "/mcp", &headers, body)
}

pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !has("host") {
        text += "Host: mcp.example.com\r\n";
    }
    if !body.is_empty() && !has("content-type") {
        text += "Content-Type: application/json\r\n";
    }
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    if !body.is_empty() && !has("transfer-encoding") {
        text.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
    }
    (text + "\r\n" + body).into_bytes()
}

pub(crate) fn tool_call(tool: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": {}}}).to_string()
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status: status.unwrap_or(0), headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert_eq!(values.next(), None, "{name} should appear once");
        first
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }
}

/// A connection read piece by piece.
pub(crate) struct Client(pub(crate) TcpStream, pub(crate) Vec<u8>);

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until what came contains `text`.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        timeout(PATIENCE, async {
            loop {
                let so_far = String::from_utf8_lossy(&self.1).into_owned();
                if so_far.contains(text) {
                    return so_far;
                }
                let mut buffer = [0; 4096];
                let n = self.0.read(&mut buffer).await.unwrap();
                assert!(n > 0, "closed before {text:?}; got {so_far:?}");
                self.1.extend_from_slice(&buffer[..n]);
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{text:?} should arrive; got {:?}", String::from_utf8_lossy(&self.1)))
    }

    /// One whole response with a length, and removes it.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.read_until("\r\n\r\n").await;
        timeout(PATIENCE, async {
            while !is_complete(&self.1) {
                let mut buffer = [0; 4096];
                let n = self.0.read(&mut buffer).await.unwrap();
                assert!(n > 0, "closed within a response");
                self.1.extend_from_slice(&buffer[..n]);
            }
        })
        .await
        .unwrap();
        let answer = Answer::parse(&self.1);
        self.1.clear();
        answer
    }

    /// Waits until the sidecar closes the connection; gives what came before.
    pub(crate) async fn closed(&mut self) -> String {
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut self.1)).await.expect("the connection should be closed");
        String::from_utf8_lossy(&self.1).into_owned()
    }
}

/// An issuer's JWKS endpoint that counts.
pub(crate) struct JwksServer {
    pub(crate) uri: String,
    hits: Arc<std::sync::atomic::AtomicUsize>,
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
        let hits = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let body = Arc::new(Mutex::new(Some(body)));
        let (h, b) = (Arc::clone(&hits), Arc::clone(&body));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                h.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
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
        self.hits.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// What it serves from now on; `None` hangs up on everybody.
    pub(crate) fn serve(&self, body: Option<String>) {
        *self.body.lock().unwrap() = body;
    }
}

pub(crate) fn jwks(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

pub(crate) fn quick_limits() -> Limits {
    Limits {
        head: Duration::from_millis(300),
        idle: Duration::from_millis(1500),
        body_idle: Duration::from_millis(300),
        body_total: Duration::from_secs(2),
        drain: Duration::from_millis(500),
        ..Limits::default()
    }
}

pub(crate) fn jwks_limits(min_interval: Duration) -> JwksLimits {
    JwksLimits { min_interval, timeout: Duration::from_secs(2), ..JwksLimits::default() }
}
