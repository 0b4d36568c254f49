//! What several integration tests need: a cluster, `kubectl` as a user runs it, and `curl`.

pub(crate) mod documents;
pub(crate) mod local;
pub(crate) mod login;
pub(crate) mod oauth;
pub(crate) mod program;

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};

/// The kubeconfig of the test cluster.
///
/// # Panics
/// When `LUMOAUTH_TEST_KUBECONFIG` is not set: a cluster test that cannot run has failed.
pub(crate) fn kubeconfig() -> String {
    std::env::var("LUMOAUTH_TEST_KUBECONFIG")
        .expect("set LUMOAUTH_TEST_KUBECONFIG to the kubeconfig of a test cluster (tests/cluster/up prints one)")
}

/// A client of the test cluster.
pub(crate) async fn client() -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig()).expect("a readable kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}

/// The checkout.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command, input: &str) -> Output {
    use std::io::Write as _;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What a command said.
pub(crate) struct Said {
    /// Whether it succeeded.
    pub(crate) ok: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

/// Runs `kubectl` with `input`, whatever comes of it.
pub(crate) fn try_kubectl(arguments: &[&str], input: &str) -> Said {
    let wrapper = root().join("tests/cluster/kubectl");
    let output = run(Command::new(wrapper).env("KUBECONFIG", kubeconfig()).args(arguments), input);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { ok: output.status.success(), text }
}

/// Runs `kubectl`; it must succeed. Gives standard output without white space at its ends.
pub(crate) fn kubectl(arguments: &[&str]) -> String {
    apply_text(arguments, "")
}

/// Runs `kubectl` with `input`; it must succeed.
pub(crate) fn apply_text(arguments: &[&str], input: &str) -> String {
    let said = try_kubectl(arguments, input);
    assert!(said.ok, "kubectl {}: {}", arguments.join(" "), said.text);
    said.text.trim().to_owned()
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// HTTP status; 0 when there was no answer.
    pub(crate) status: u16,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: String,
}

impl Answer {
    /// The value of the first header `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, also when it is the data of one server-sent event.
    pub(crate) fn json(&self) -> serde_json::Value {
        let data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .rfind(|data| data.starts_with('{'));
        serde_json::from_str(data.unwrap_or(&self.body)).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `curl` with `arguments`.
pub(crate) fn curl(arguments: &[&str]) -> Answer {
    let output = run(Command::new("curl").args(["-s", "-i", "--max-time", "10", "--noproxy", "*"]).args(arguments), "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0);
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}

/// Waits until `check` gives something; gives it and the time it took.
///
/// # Panics
/// After `limit`, with what `check` said last.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return (value, start.elapsed()),
            Err(last) if start.elapsed() > limit => panic!("{what}: not within {limit:?}; last: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
