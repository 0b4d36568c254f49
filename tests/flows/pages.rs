//! The pages, in a real browser.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use reqwest::Url;
use rstest::rstest;
use serde_json::{Value, json};

use super::{NATIVE, SCHEME, WEB, World, blocking};
use crate::support::local::Local;

/// An authorization request as a client sends it; `change` removes a parameter or gives it another value.
fn request(local: &Local, client_id: &str, redirect: &str, change: Option<(&str, Option<&str>)>) -> String {
    let resource = local.resource();
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect),
        ("scope", "mcp:read"),
        ("state", "a state"),
        ("resource", &resource),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    if let Some((name, value)) = change {
        parameters.retain(|(parameter, _)| *parameter != name);
        parameters.extend(value.map(|value| (name, value)));
    }
    let mut url = Url::parse(&format!("{}/oauth/authorize", local.issuer())).unwrap();
    url.query_pairs_mut().extend_pairs(parameters);
    url.into()
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Every kind of redirect a client may have is followed by the browser, under the policy of the consent page, which lets
/// no form go anywhere else. One of them by keyboard alone. What was allowed once is not asked again, unless any program
/// of the machine could have taken the client's place (RFC 8252 section 8.6).
#[rstest]
#[case::loopback(NATIVE, "Native Document Client", json!({}), json!({"pages": ["consent"], "audit": false}))]
#[case::https(WEB, "Web Document Client", json!({}), json!({"pages": [], "audit": false}))]
#[case::private_use_scheme(SCHEME, "Scheme Document Client", json!({"keyboard": true}), json!({"pages": ["consent"], "audit": false}))]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser"]
async fn the_browser_goes_back_to_the_client(
    #[case] client: &str,
    #[case] title: &str,
    #[case] how: Value,
    #[case] again: Value,
) {
    let world = World::new().await;
    let (port, _) = crate::support::local::free_ports(1);
    let redirect = match client {
        NATIVE => format!("http://127.0.0.1:{port}/callback"),
        WEB => format!("{}/callback", world.site.origin),
        _ => "com.example.app:/callback".to_owned(),
    };
    let mut wanted = json!({"client": title, "scopes": ["Read invoices"], "withheld": ["Send reminders"]});
    wanted.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    let visits = world.visits(&format!("redirect-{client}"), &[wanted, again]);
    let url = request(&world.local, &world.site.client_id(client), &redirect, None);
    let issuer = world.local.issuer();
    blocking(move || {
        for _ in 0..2 {
            let sent = visits.open(&url);
            assert!(parameter(&sent, "code").is_some_and(|code| code.len() > 40), "{sent}");
            assert_eq!(parameter(&sent, "state").as_deref(), Some("a state"));
            assert_eq!(parameter(&sent, "iss"), Some(issuer.clone()));
        }
    })
    .await;
}

/// A web server of one answer. Gives its port.
fn answering(answer: String) -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

/// Browsers hold the policy of a page against every redirect that follows on its form, those of the client's program too.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser"]
async fn a_program_may_redirect_on_to_another_port() {
    let world = World::new().await;
    let done = answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone".to_owned());
    let done = format!("http://localhost:{done}/done");
    let callback =
        answering(format!("HTTP/1.1 302 Found\r\nlocation: {done}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let redirect = format!("http://127.0.0.1:{callback}/callback");
    let visits = world.visits("redirects-on", &[json!({"then": done, "audit": false})]);
    let url = request(&world.local, &world.site.client_id(NATIVE), &redirect, None);
    let sent = blocking(move || visits.open(&url)).await;
    assert!(parameter(&sent, "code").is_some(), "{sent}");
}

/// Who denies is sent back with an error that the client understands.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser"]
async fn denying_tells_the_client() {
    let world = World::new().await;
    let redirect = format!("{}/callback", world.site.origin);
    let visits = world.visits("deny", &[json!({"end": "deny", "audit": false})]);
    let url = request(&world.local, &world.site.client_id(WEB), &redirect, None);
    let sent = blocking(move || visits.open(&url)).await;
    assert_eq!(parameter(&sent, "error").as_deref(), Some("access_denied"), "{sent}");
    assert_eq!(parameter(&sent, "iss"), Some(world.local.issuer()));
    assert_eq!(parameter(&sent, "code"), None);
}

/// While it is not proven who asks and where they may be sent, the person stays here and reads what is wrong.
#[rstest]
#[case::unknown_client("unknown-client", "client_id", Some("dcr_000000000000000000000000"))]
#[case::no_document("no-document", "client_id", Some("https://127.0.0.1:1/client.json"))]
#[case::another_redirect("another-redirect", "redirect_uri", Some("https://elsewhere.example/callback"))]
#[case::script("script", "redirect_uri", Some("javascript:alert(1)"))]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser"]
async fn errors_before_the_client_is_proven_are_pages(
    #[case] shot: &str,
    #[case] name: &'static str,
    #[case] value: Option<&'static str>,
) {
    let world = World::new().await;
    let redirect = format!("{}/callback", world.site.origin);
    let visits = world.visits(shot, &[json!({"end": "error", "pages": [], "texts": ["What to do"]})]);
    let url = request(&world.local, &world.site.client_id(WEB), &redirect, Some((name, value)));
    blocking(move || visits.open(&url)).await;
}
