//! The official SDKs, as they are, from the bare URL of a protected server to a tool call and a step-up.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use rstest::rstest;
use serde_json::{Value, json};

use super::{NATIVE, Visits, World, blocking};
use crate::support::{program, root};

/// How long a client may take, two visits of a browser included.
pub(crate) const LIMIT: Duration = Duration::from_mins(3);

/// What it is made with.
#[derive(Clone, Copy)]
pub(crate) enum Sdk {
    Python,
    TypeScript,
}

#[derive(Clone, Copy)]
enum Identity {
    /// Dynamic Client Registration.
    Registered,
    /// A Client ID Metadata Document.
    Document,
}

impl Sdk {
    /// What runs it, and the client.
    pub(crate) fn program(self) -> (PathBuf, PathBuf) {
        match self {
            Self::Python => (program::python(), root().join("tests/sdk/person.py")),
            Self::TypeScript => (program::node(), root().join("tests/sdk/person.mjs")),
        }
    }

    /// How it calls itself when it registers.
    pub(crate) fn client(self) -> &'static str {
        match self {
            Self::Python => "Python Example Client",
            Self::TypeScript => "TypeScript Example Client",
        }
    }
}

#[rstest]
#[case::python_registered(Sdk::Python, Identity::Registered)]
#[case::python_document(Sdk::Python, Identity::Document)]
#[case::typescript_registered(Sdk::TypeScript, Identity::Registered)]
#[case::typescript_document(Sdk::TypeScript, Identity::Document)]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser"]
async fn unmodified_clients_do_everything_by_themselves(#[case] sdk: Sdk, #[case] identity: Identity) {
    let world = World::new().await;
    let document = world.site.client_id(NATIVE);
    let client = match identity {
        Identity::Registered => sdk.client(),
        Identity::Document => "Native Document Client",
    };
    let visits = world.visits("sdk", &steps(client));
    let (program, script) = sdk.program();
    let mut command = visits.command(program);
    command.arg(script).arg(world.local.resource());
    if let Identity::Document = identity {
        command.arg(&document);
    }
    let output = blocking(move || program::finish(&mut command, LIMIT)).await;
    let seen = program::lines(&output);
    assert!(output.status.success(), "{seen:#?}\n{}", String::from_utf8_lossy(&output.stderr));
    went_through(&seen, &visits, "/orgs/default/api/v1");
    let id = members(&seen, "client", "id")[0].as_str().unwrap();
    match identity {
        Identity::Registered => assert!(registered(&seen) && id.starts_with("dcr_"), "{id}"),
        Identity::Document => assert!(!registered(&seen) && id == document, "{id}"),
    }
}

/// The two visits of a client: first everything, then, still logged in, only what is new.
pub(crate) fn steps(client: &str) -> [Value; 2] {
    [
        json!({"client": client, "scopes": ["Read invoices"], "withheld": ["Send reminders"], "audit": false}),
        json!({"client": client, "pages": ["consent"], "scopes": ["Send reminders"], "audit": false}),
    ]
}

/// Whether the client registered itself.
pub(crate) fn registered(seen: &[Value]) -> bool {
    answers(seen).any(|(method, path, status)| method == "POST" && status == 201 && path.ends_with("/connect/register"))
}

/// What a client saw, whichever SDK it is made with; `issuer` is the path of the issuer.
pub(crate) fn went_through(seen: &[Value], visits: &Visits, issuer: &str) {
    let answers: Vec<_> = answers(seen).collect();
    let position = |method: &str, path: &str, status: u64| {
        let found = answers.iter().position(|seen| *seen == (method, path, status));
        found.unwrap_or_else(|| panic!("no {method} {path} {status} in {answers:#?}"))
    };
    let milestones = [
        position("POST", "/mcp", 401),
        position("GET", "/.well-known/oauth-protected-resource/mcp", 200),
        position("GET", &format!("/.well-known/oauth-authorization-server{issuer}"), 200),
        position("POST", &format!("{issuer}/oauth/token"), 200),
        position("POST", "/mcp", 200),
        position("POST", "/mcp", 403),
    ];
    assert!(milestones.is_sorted(), "{milestones:?} in {answers:#?}");

    let scopes = members(seen, "tokens", "scope");
    let scopes: Vec<BTreeSet<&str>> =
        scopes.into_iter().map(|scope| scope.as_str().unwrap().split(' ').collect()).collect();
    let (read, both) = (BTreeSet::from(["mcp:read"]), BTreeSet::from(["mcp:read", "mcp:write"]));
    assert_eq!(scopes, [read, both.clone(), both], "at first, after the step-up, after the refresh");
    assert!(members(seen, "tokens", "refresh").iter().all(|refresh| **refresh == json!(true)));

    let texts: Vec<_> = members(seen, "called", "text").into_iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    for (text, part) in texts.iter().zip(["INV-1001", "reminder of INV-1001 sent", "INV-1002"]) {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(visits.pages(), [json!(["login", "consent"]), json!(["consent"])]);
}

/// The values of a member in all lines of an event.
fn members<'a>(seen: &'a [Value], event: &str, member: &str) -> Vec<&'a Value> {
    seen.iter().filter(|line| line["event"] == event).map(|line| &line[member]).collect()
}

/// Method, path and status of each HTTP answer.
fn answers(seen: &[Value]) -> impl Iterator<Item = (&str, &str, u64)> {
    seen.iter().filter(|line| line["event"] == "answer").map(|line| {
        (line["method"].as_str().unwrap(), line["path"].as_str().unwrap(), line["status"].as_u64().unwrap())
    })
}
