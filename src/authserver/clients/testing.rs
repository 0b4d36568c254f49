//! An https server that says what it is told to, counts who comes, and is found by names that are told as well.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

use super::fetch::Resolve;
use crate::settings::ClientDocuments;

pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a server says.
#[derive(Clone)]
pub(in crate::authserver) enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, one at a time.
    Drip(Vec<u8>),
    /// Nothing, without end.
    Silence,
}

impl Answer {
    /// A response with this status, headers (each ended by CRLF) and body.
    pub(in crate::authserver) fn with(status: u16, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// A JSON document.
    pub(in crate::authserver) fn json(body: &serde_json::Value) -> Self {
        Self::with(200, "Content-Type: application/json\r\n", body.to_string().as_bytes())
    }
}

/// The server, on loopback. It answers to `app.example`, `other.example` and `127.0.0.1`.
pub(in crate::authserver) struct Origin {
    pub(in crate::authserver) port: u16,
    /// The certificate it shows.
    pub(super) ca: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    answer: Mutex<Answer>,
}

impl Origin {
    pub(in crate::authserver) async fn start(answer: Answer) -> Self {
        let names = ["app.example", "other.example", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            answer: Mutex::new(answer),
        });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(tls.clone(), stream, Arc::clone(&shared)));
                }
            }
        });
        Self { port, ca: made.cert.pem(), shared, task: task.abort_handle() }
    }

    pub(in crate::authserver) fn says(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// How many have connected, with or without TLS.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests.
    pub(super) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Settings under which it can be asked.
    pub(in crate::authserver) fn reachable(&self) -> ClientDocuments {
        ClientDocuments {
            allowed_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
            ca_bundle: self.ca.clone(),
            ..ClientDocuments::default()
        }
    }

    /// The URL of something here.
    pub(super) fn url(&self, path: &str) -> String {
        format!("https://app.example:{}{path}", self.port)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(tls: TlsAcceptor, stream: TcpStream, shared: Arc<Shared>) {
    let Ok(mut stream) = tls.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    shared.requests.lock().unwrap().push(String::from_utf8(head).unwrap());
    let answer = shared.answer.lock().unwrap().clone();
    match answer {
        Answer::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Answer::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Answer::Silence => tokio::time::sleep(Duration::from_mins(1)).await,
    }
    let _ = stream.shutdown().await;
}

/// A resolver that gives one answer after the other, the last again and again.
pub(super) struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub(super) asked: AtomicUsize,
    pub(super) looked_up: Mutex<Vec<String>>,
}

impl Names {
    pub(super) fn new(answers: &[&[IpAddr]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0), looked_up: Mutex::default() })
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        self.looked_up.lock().unwrap().push(name.to_owned());
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}
