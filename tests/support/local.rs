//! `lumoauth local`, run as people run it.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_lumoauth");
/// How long a start may take, on a machine that is busy with other tests.
pub(crate) const START: Duration = Duration::from_secs(30);

/// Ports that were free a moment ago: `count` of them in a row, and one for the authorization server.
pub(crate) fn free_ports(count: u16) -> (u16, u16) {
    let listen = TcpListener::bind("127.0.0.1:0").unwrap();
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let others: Option<Vec<_>> =
            (1..count).map(|n| TcpListener::bind(("127.0.0.1", port.checked_add(n)?)).ok()).collect();
        if others.is_some() {
            return (listen.local_addr().unwrap().port(), port);
        }
    }
}

/// A running `lumoauth local`.
pub(crate) struct Local {
    child: Child,
    directory: PathBuf,
    /// The port of the authorization server.
    pub(crate) listen: u16,
    /// The first port of sidecars.
    pub(crate) sidecar: u16,
    /// What it printed until it was ready.
    pub(crate) printed: String,
    /// What it prints from then on.
    later: mpsc::Receiver<String>,
}

impl Local {
    pub(crate) fn start(directory: &Path, flags: &[&str]) -> Self {
        Self::start_on(directory, flags, free_ports(3))
    }

    pub(crate) fn start_on(directory: &Path, flags: &[&str], (listen, sidecar): (u16, u16)) -> Self {
        let mut child = Command::new(BINARY)
            .args(["local", "--listen", &format!("127.0.0.1:{listen}"), "--sidecar-port", &sidecar.to_string()])
            .args(flags)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, later) = mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let mut this = Self { child, directory: directory.to_owned(), listen, sidecar, printed: String::new(), later };
        this.printed = this.printed_until("Stop with Ctrl-C");
        this
    }

    /// The issuer of the organization that everything is in.
    pub(crate) fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}/orgs/default/api/v1", self.listen)
    }

    /// The first protected server.
    pub(crate) fn resource(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.sidecar)
    }

    /// Name and password of the first user, who is printed once.
    pub(crate) fn user(&self) -> (String, String) {
        let line = self.printed.lines().find_map(|line| line.split_once(", with the password "));
        let (name, rest) = line.unwrap_or_else(|| panic!("no first user in\n{}", self.printed));
        let name = name.split_whitespace().last().unwrap();
        (name.to_owned(), rest.split(' ').next().unwrap().to_owned())
    }

    /// Lines up to the one that contains `end`.
    pub(crate) fn printed_until(&mut self, end: &str) -> String {
        let (begin, mut printed) = (Instant::now(), String::new());
        loop {
            let left = START.saturating_sub(begin.elapsed());
            let line = self.later.recv_timeout(left).unwrap_or_else(|_| panic!("no {end:?} in:\n{printed}"));
            printed += &line;
            printed.push('\n');
            if line.contains(end) {
                return printed;
            }
        }
    }

    /// Sends a signal and gives the exit code.
    pub(crate) fn stop(mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "it does not stop");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The commands under each heading of the walk-through, as they are printed.
    pub(crate) fn steps(&self) -> Vec<(String, String)> {
        let mut steps: Vec<(String, String)> = Vec::new();
        for line in self.printed.lines() {
            if line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok()) {
                steps.push((line.to_owned(), String::new()));
            } else if let (Some(command), Some((_, commands))) = (line.strip_prefix("    "), steps.last_mut()) {
                *commands += command;
                commands.push('\n');
            }
        }
        steps
    }

    /// Runs commands in a POSIX shell that knows no more than the machine's own, and gives what they print.
    pub(crate) fn shell(&self, script: &str) -> String {
        let output = Command::new("sh").args(["-eu", "-c", script]).current_dir(&self.directory).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}\n{printed}\n{}", String::from_utf8_lossy(&output.stderr));
        printed
    }

    /// An access token for `resource`, by the credentials that are stored for `client`.
    pub(crate) fn token(&self, client: &str, resource: &str, scope: &str) -> String {
        let script = format!(
            r#"member() {{ sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }}
credential() {{ member "$1" < .lumoauth/credentials/{client}.json; }}
curl -s "$(credential token_endpoint)" -u "$(credential client_id):$(credential client_secret)" \
  -d grant_type=client_credentials --data-urlencode "resource={resource}" -d "scope={scope}" | member access_token"#
        );
        let token = self.shell(&script).trim().to_owned();
        assert!(token.starts_with("eyJ"), "{token}");
        token
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The demo server on a port of its own, as a server that was there before.
pub(crate) struct Upstream(Child);

impl Upstream {
    pub(crate) fn start(port: u16) -> Self {
        let child = Command::new(BINARY)
            .args(["demo-server", "--listen", &format!("127.0.0.1:{port}")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < START, "the demo server does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Self(child)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
