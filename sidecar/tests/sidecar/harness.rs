//! A real sidecar between a raw client and a server that records every byte it gets.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use lumoauth_sidecar::{ConfigHandle, JwksLimits, Limits, Options, Sidecar};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::servers::is_complete;
pub(crate) use crate::servers::{JwksServer, Recorder, Reply, SSE_HEAD, chunk, json_response, until};

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
