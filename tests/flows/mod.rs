//! What people and their MCP clients go through, with `lumoauth local`: unmodified SDKs, a real browser, the conformance
//! suite of MCP.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    documents::{Site, document},
    local::Local,
    program,
};

mod conformance;
mod pages;
pub(crate) mod rmcp_client;
pub(crate) mod sdk;

/// The system under test, a person who has an account there, and the site of clients that name themselves by a document.
struct World {
    local: Local,
    site: Site,
    directory: TempDir,
}

/// The document of a native client, as clients publish it: no port, because they cannot know it.
const NATIVE: &str = "native";
/// The document of a client that runs on the site.
const WEB: &str = "web";
/// The document of a client with a scheme of its own.
const SCHEME: &str = "scheme";

impl World {
    async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("lumoauth-flows-").tempdir().unwrap();
        let site = Site::start(|origin| {
            let client =
                |name, title, redirects: &[&str]| (name, document(&format!("{origin}/{name}.json"), title, redirects));
            vec![
                client(NATIVE, "Native Document Client", &["http://127.0.0.1/callback", "http://localhost/callback"]),
                client(WEB, "Web Document Client", &[&format!("{origin}/callback")]),
                client(SCHEME, "Scheme Document Client", &["com.example.app:/callback"]),
            ]
        })
        .await;
        let settings = json!({"orgs": {"default": {
            "dcr": {"mode": "Open"},
            "cimd": {"allowedCidrs": ["127.0.0.0/8"], "caBundle": site.certificate},
        }}});
        // JSON is YAML.
        fs::write(directory.path().join("config.yaml"), settings.to_string()).unwrap();
        let local = Local::start(directory.path(), &["--config", "config.yaml"]);
        Self { local, site, directory }
    }

    /// Visits of the person who has an account.
    fn visits(&self, name: &str, steps: &[Value]) -> Visits {
        let (user, password) = self.local.user();
        Visits::new(self.directory.path(), name, (&user, &password), steps)
    }
}

/// A browser's visits for one client, one after another, as tests/browser/visit.mjs describes them.
pub(crate) struct Visits {
    steps: String,
    log: PathBuf,
    chromium: String,
}

impl Visits {
    /// `steps` says what each visit is to find, beside who visits.
    pub(crate) fn new(directory: &Path, name: &str, (user, password): (&str, &str), steps: &[Value]) -> Self {
        let steps = steps.iter().enumerate().map(|(step, wanted)| {
            let mut visit = json!({
                "user": user,
                "password": password,
                "state": directory.join(format!("{name}.cookies")),
                "out": program::screenshots(),
                "name": format!("{name}-{}", step + 1),
                "insecure": true,
            });
            visit.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
            visit
        });
        Self {
            steps: Value::Array(steps.collect()).to_string(),
            log: directory.join(format!("{name}.visits")),
            chromium: String::new(),
        }
    }

    /// With a flag of Chromium's.
    pub(crate) fn chromium(mut self, flag: &str) -> Self {
        flag.clone_into(&mut self.chromium);
        self
    }

    /// A program that is to send the person to the browser.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("BROWSER", program::browser())
            .env("VISIT", &self.steps)
            .env("VISIT_LOG", &self.log)
            .env("VISIT_CHROMIUM", &self.chromium);
        command
    }

    /// What each visit saw.
    pub(crate) fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The pages of each visit.
    pub(crate) fn pages(&self) -> Vec<Value> {
        self.seen().iter().map(|visit| visit["pages"].clone()).collect()
    }

    /// Opens `url`; gives where the browser was sent.
    ///
    /// # Panics
    /// When anything was not as the step says.
    pub(crate) fn open(&self, url: &str) -> String {
        let browser = program::browser();
        let mut words = browser.split(' ').chain([url]);
        let mut command = self.command(words.next().unwrap());
        let output = program::finish(command.args(words), program::VISIT);
        let seen = program::lines(&output);
        assert!(output.status.success(), "{seen:#?} {}", String::from_utf8_lossy(&output.stderr));
        seen[0]["sent"].as_str().unwrap_or_default().to_owned()
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
