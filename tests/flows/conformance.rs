//! The authorization scenarios of the MCP conformance suite.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use reqwest::Url;
use serde_json::{Value, json};

use super::{World, blocking};
use crate::support::{local::free_ports, login::http, program};

/// How long the suite may take, a visit included.
const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser"]
async fn the_authorization_scenarios_pass() {
    let world = World::new().await;
    let (port, _) = free_ports(1);
    let issuer = world.local.issuer();
    let redirect = format!("http://127.0.0.1:{port}/callback");
    let wanted = json!({
        "client_name": "Conformance suite",
        "redirect_uris": [redirect],
        "token_endpoint_auth_method": "none",
    });
    let response = http().post(format!("{issuer}/connect/register")).json(&wanted).send().await.unwrap();
    let registration: Value = response.json().await.unwrap();
    let client_id = registration["client_id"].as_str().unwrap_or_else(|| panic!("{registration}")).to_owned();
    let out = world.directory.path().join("conformance");
    let visits = world.visits("conformance", &[json!({"client": "Conformance suite", "audit": false})]);
    let resource = world.local.resource();
    let checks = blocking(move || {
        let mut command = Command::new(program::node());
        command
            .arg(program::package("@modelcontextprotocol/conformance/dist/index.js"))
            .args(["authorization", "--url", &issuer, "--client-id", &client_id, "--resource", &resource])
            .args(["-p", &port.to_string(), "--spec-version", "2026-07-28", "-o"])
            .arg(&out);
        let (succeeded, printed) = program::follow(&mut command, LIMIT, |line| {
            if Url::parse(line.trim()).is_ok_and(|url| url.path().ends_with("/authorize")) {
                visits.open(line.trim());
            }
        });
        assert!(succeeded, "{printed}");
        let files: Vec<_> = walk(&out).into_iter().filter(|path| path.ends_with("checks.json")).collect();
        assert_eq!(files.len(), 2, "{files:?}: {printed}");
        files.iter().map(|file| serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap()).collect::<Vec<_>>()
    })
    .await;
    let checks: Vec<_> = checks.iter().flat_map(|file| file.as_array().unwrap()).collect();
    for check in &checks {
        assert_eq!(check["status"], "SUCCESS", "{check:#}");
    }
    let ids: Vec<_> = checks.iter().map(|check| check["id"].as_str().unwrap()).collect();
    for id in ["authorization-server-metadata", "authorization-server-metadata-cimd", "authorization-code-grant"] {
        assert!(ids.iter().any(|seen| seen.starts_with(id)), "no {id} in {ids:?}");
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
