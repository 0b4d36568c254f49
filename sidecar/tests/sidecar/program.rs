//! The binary: arguments, logs, signals.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::harness::{Answer, Client, Key, PATIENCE, Recorder, config, post, request, tool_call};

const BINARY: &str = env!("CARGO_BIN_EXE_lumoauth-sidecar");

pub(crate) struct Program {
    child: Child,
    log: Lines<BufReader<ChildStdout>>,
    address: String,
    admin: String,
}

impl Program {
    pub(crate) async fn start(config: &Path) -> Self {
        let mut child = Command::new(BINARY)
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-seconds", "10", "--workers", "1"])
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = next(&mut log).await;
        assert_eq!(line["message"], "listening");
        let field = |name: &str| line[name].as_str().unwrap().to_owned();
        Self { address: field("listen"), admin: field("admin"), child, log }
    }

    /// The next line that is about `target`.
    async fn line(&mut self, target: &str) -> Value {
        loop {
            let line = next(&mut self.log).await;
            if line["target"] == target {
                return line;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect().await;
        client.send(bytes).await;
        Answer::parse(client.closed().await.as_bytes())
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(&self.address).await.unwrap(), Vec::new())
    }

    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let mut client = Client(TcpStream::connect(&self.admin).await.unwrap(), Vec::new());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        Answer::parse(client.closed().await.as_bytes())
    }

    pub(crate) async fn ready(&self) {
        timeout(PATIENCE, async {
            while self.admin("/readyz").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the program should become ready");
    }
}

async fn next(log: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = timeout(PATIENCE, log.next_line()).await.expect("a line should come").unwrap().unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
}

#[tokio::test]
async fn wrong_usage_is_64() {
    for arguments in
        [&["--no-such-flag"][..], &["--listen", "x"], &["--drain-seconds", "-1"], &["--workers", "0"], &["extra"]]
    {
        let output = Command::new(BINARY).args(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(Command::new(BINARY).args(arguments).output().await.unwrap().status.code(), Some(0));
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(BINARY).args(["--listen", &address]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
}

#[tokio::test]
async fn a_call_leaves_one_audit_line_without_secrets_and_a_signal_drains() {
    let upstream = Recorder::start().await;
    let key = Key::new("k1");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let mut program = Program::start(&path).await;
    assert_eq!(program.raw(post(&[], "{}")).await.status, 503);
    assert_eq!(program.line("audit").await["reason"], "no_config");
    std::fs::write(&path, config(upstream.port, &key).to_string()).unwrap();
    program.ready().await;

    let token = key.token(|claims| claims["sub"] = json!("user\u{202e}1"));
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", &*authorization), ("X-Request-Id", "r-1"), ("Cookie", "secret=cookie")];
    let body =
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read","arguments":{"password":"hunter2"}}}"#;
    assert_eq!(program.raw(post(&headers, body)).await.status, 200);
    let line = program.line("audit").await;
    let said = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name} in {line}"));
    for (name, value) in [
        ("namespace", "acme-corp"),
        ("server", "invoices"),
        ("client", "mcpc_1"),
        ("subject", "user\u{fffd}1"),
        ("method", "tools/call"),
        ("name", "read"),
        ("decision", "allow"),
        ("reason", "permitted"),
        ("request_id", "r-1"),
    ] {
        assert_eq!(said(name), value);
    }
    assert!(!said("timestamp").is_empty());
    for secret in [&token, "hunter2", "cookie", token.rsplit('.').next().unwrap()] {
        assert!(!line.to_string().contains(secret));
    }

    let answering = upstream.reply_live();
    upstream.clear();
    let mut client = program.connect().await;
    client.send(request("POST", "/mcp", &[("Authorization", &authorization)], &tool_call("read"))).await;
    upstream.received().await;
    let pid = program.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    program.line("lumoauth_sidecar").await;
    answering.send(crate::harness::json_response("{\"late\":1}")).unwrap();
    assert!(client.closed().await.contains("{\"late\":1}"));
    let status = timeout(PATIENCE, program.child.wait()).await.expect("the program should end").unwrap();
    assert_eq!(status.code(), Some(0));
}
