//! What every page is.

use super::*;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use rstest::rstest;

use crate::authserver::errors::Outcome;

const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{202e}";

async fn text(response: Response) -> (StatusCode, http::HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

fn a_scope(description: Option<&str>) -> ScopeView {
    ScopeView { name: Shown::of("mcp:read"), description: description.map(Shown::of), already: false }
}

fn a_server(name: &str, description: Option<&str>) -> ServerView {
    let resource = Shown::of("https://invoices.acme.example/mcp");
    ServerView { name: Shown::of(name), resource, scopes: vec![a_scope(description)], offline: true }
}

fn hostile_consent(text: &str) -> ConsentPage<'_> {
    ConsentPage {
        org: "acme",
        user: "alice",
        action: "/orgs/acme/api/v1/oauth/authorize?state=%22&x=1",
        account: "/orgs/acme/api/v1/account",
        csrf: "token",
        proposal: "proposal",
        client: ClientView { name: Shown::of(text), known: "Described by", by: Shown::of(text) },
        destination: Shown::of(text),
        warnings: vec![
            Warning::Unverified,
            Warning::OtherHost { document: Shown::of(text), redirect: Shown::of(text) },
        ],
        servers: vec![a_server(text, Some(text)), a_server(text, None)],
        offline: true,
    }
}

fn hostile_login(text: &str) -> LoginPage<'_> {
    LoginPage {
        org: "acme",
        host: "auth.example",
        action: "/orgs/acme/api/v1/account",
        csrf: "token",
        client: Some(Shown::of(text)),
        username: text,
        refused: Some("User name or password is wrong.".to_owned()),
    }
}

fn hostile_account(text: &str) -> AccountPage<'_> {
    AccountPage {
        org: "acme",
        user: "alice",
        action: "/orgs/acme/api/v1/account",
        csrf: "token",
        done: Some("Done."),
        clients: vec![AllowedClientView { id: text, name: Shown::of(text), servers: vec![a_server(text, Some(text))] }],
        more: true,
    }
}

fn every_page(hostile: &str) -> Vec<Response> {
    let mut pages = vec![
        login(StatusCode::UNAUTHORIZED, &hostile_login(hostile), &FormTarget::own()),
        consent(&hostile_consent(hostile), &FormTarget::own()),
        account(&hostile_account(hostile)),
        signed_out(&SignedOutPage { org: "acme", account: "/orgs/acme/api/v1/account" }),
        go_back(&GoBackPage {
            location: "https://app.example/callback?state=%22&x=1",
            destination: Shown::of(hostile),
            app: false,
            client: Shown::of(hostile),
            error: "invalid_scope",
            description: "separate scopes by single spaces",
        }),
    ];
    pages.extend(Problem::ALL.map(IntoResponse::into_response));
    pages
}

/// C.4 row 68: a client chooses its name, and a page shows it.
#[tokio::test]
async fn what_clients_write_stays_text() {
    for page in every_page(HOSTILE) {
        let (_, _, text) = text(page).await;
        assert!(!text.contains("<script") && !text.contains("alert(1)</"), "{text}");
        // What goes back in a form is whole; it is in an attribute there, and nowhere else.
        let fields = text.matches("value=\"&#60;script").count();
        assert_eq!(text.matches('\u{202e}').count(), fields, "{text}");
        assert_eq!(text.matches("<style>").count(), 1);
    }
}

#[tokio::test]
async fn very_long_names_are_cut() {
    let long = "x".repeat(100_000);
    for page in [consent(&hostile_consent(&long), &FormTarget::own())] {
        let (_, _, text) = text(page).await;
        assert!(text.len() < 20_000, "{}", text.len());
        assert!(text.contains("xxx…"));
    }
}

/// The hash in the policy is that of the bytes between the tags, so that browsers apply the style; and nothing else on
/// a page needs the policy's leave.
#[tokio::test]
async fn the_policy_fits_the_page() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    for page in every_page("Claude") {
        let (_, headers, text) = text(page).await;
        let style = text.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = STANDARD.encode(lumoauth_core::digest::sha256(style.as_bytes()));
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains(&format!("style-src 'sha256-{hash}';")), "{policy}");
        for foreign in ["style=", " onclick", "src=", "<link", "<img", "<iframe", "<base", "http-equiv", "url("] {
            assert!(!text.contains(foreign), "{foreign} in {text}");
        }
    }
}

/// What screen readers and password managers need.
#[tokio::test]
async fn every_page_can_be_used_without_seeing_it() {
    for page in every_page("Claude") {
        let (_, headers, text) = text(page).await;
        assert_eq!(headers[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(!headers.contains_key(LOCATION));
        for needed in ["<!doctype html>", "<html lang=\"en\">", "name=\"viewport\"", "<main>"] {
            assert!(text.contains(needed), "{needed} in {text}");
        }
        assert_eq!(text.matches("<h1>").count(), 1, "{text}");
        assert!(!text.contains("<title></title>"));
        let inputs = text.matches("<input ").count() - text.matches("type=\"hidden\"").count();
        assert_eq!(text.matches("<label for=").count(), inputs, "{text}");
        let posts = text.matches("method=\"post\"").count();
        assert_eq!(text.matches("name=\"csrf\"").count(), posts, "{text}");
        // Elements that a paragraph ends at.
        assert!(text.split("<p").skip(1).all(|p| !p.split("</p>").next().unwrap().contains("<form")), "{text}");
    }
}

#[tokio::test]
async fn a_refused_login_says_so_at_the_fields() {
    let (status, _, text) = text(login(StatusCode::UNAUTHORIZED, &hostile_login("Ada"), &FormTarget::own())).await;
    assert_eq!(status, 401);
    for needed in [
        "<title>Not signed in",
        "role=\"alert\"",
        "User name or password is wrong.",
        "aria-describedby=\"refused\"",
        "autocomplete=\"username\"",
        "autocomplete=\"current-password\"",
        "value=\"Ada\"",
    ] {
        assert!(text.contains(needed), "{needed} in {text}");
    }
    assert_eq!(text.matches("autofocus").count(), 1);
}

#[tokio::test]
async fn a_consent_says_who_where_and_what() {
    let (_, _, text) = text(consent(&hostile_consent("Claude"), &FormTarget::own())).await;
    for needed in [
        "Allow the application that calls itself <q><bdi>Claude</bdi></q> to act for you?",
        "signed in to acme as <bdi>alice</bdi>",
        "<code>mcp:read</code>",
        "https://invoices.acme.example/mcp",
        "Stay connected",
        "Nobody has checked who this is",
        "value=\"allow\"",
        "value=\"deny\"",
        "href=\"/orgs/acme/api/v1/account\"",
        "authorize?state=%22&#38;x=1",
    ] {
        assert!(text.contains(needed), "{needed} in {text}");
    }
}

#[rstest]
#[case("https://app.example/cb", Some("app.example"), false, &[])]
#[case("https://app.example/cb", Some("APP.example:8443"), false, &[])]
#[case("https://app.example/cb", None, false, &[])]
#[case("https://app.example/cb", None, true, &["Unverified"])]
#[case("https://app.example/cb", Some("other.example"), false, &["OtherHost"])]
#[case("https://app.example/cb", Some("app.example.evil"), false, &["OtherHost"])]
#[case("http://127.0.0.1:1/cb", Some("other.example"), false, &["Loopback"])]
#[case("http://localhost/cb", None, true, &["Unverified", "Loopback"])]
#[case("cursor://x/cb", Some("cursor.example"), false, &["PrivateUse"])]
fn what_is_warned_of(
    #[case] redirect: &str,
    #[case] document: Option<&str>,
    #[case] unverified: bool,
    #[case] expected: &[&str],
) {
    let warnings = Warning::of(&RedirectUri::parse(redirect).unwrap(), document, unverified);
    let names: Vec<_> = warnings.iter().map(|warning| format!("{warning:?}")).collect();
    assert_eq!(names.len(), expected.len(), "{names:?}");
    assert!(names.iter().zip(expected).all(|(name, expected)| name.starts_with(expected)), "{names:?}");
}

#[test]
fn hosts_are_warned_of_whole() {
    let long = |owner: &str| format!("{}{owner}", "accounts.google.com.".repeat(12));
    let (document, redirect) = (long("app.example"), long("evil.example"));
    let uri = RedirectUri::parse(&format!("https://{redirect}/cb")).unwrap();
    let [warning] = &Warning::of(&uri, Some(&document), false)[..] else { panic!() };
    assert!(warning.text().contains(&format!("described by {document}, and the access goes to {redirect}.")));
}

#[tokio::test]
async fn every_problem_says_what_happened_and_what_to_do() {
    for problem in Problem::ALL {
        let response = problem.into_response();
        assert_eq!(response.extensions().get::<Outcome>().unwrap().0, problem.reason());
        let (status, headers, text) = text(response).await;
        assert_eq!(status, problem.status());
        assert!(status.is_client_error() || status.is_server_error());
        assert!(text.contains("What to do"), "{text}");
        assert_eq!(headers.contains_key("retry-after"), status == 503);
    }
}

#[tokio::test]
async fn a_page_that_goes_on_says_where_to_and_repeats_nothing() {
    let location = "https://app.example/callback?code=1&state=%22%3Cscript%3E&x='";
    let page = onward(&OnwardPage { location, destination: Shown::of("app.example") });
    let (status, headers, text) = text(page).await;
    assert_eq!((status, headers["referrer-policy"].to_str().unwrap()), (StatusCode::OK, "no-referrer"));
    let escaped = "https://app.example/callback?code=1&#38;state=%22%3Cscript%3E&#38;x=&#39;";
    for needed in
        [&format!("content=\"0;url={escaped}\""), &format!("<a href=\"{escaped}\">"), "<bdi>app.example</bdi>"]
    {
        assert!(text.contains(needed), "{needed} in {text}");
    }
}

/// A client that opened a window waits there for its own website; the account has no such visitors.
#[tokio::test]
async fn only_the_account_is_cut_off_from_who_opened_it() {
    let policy = "cross-origin-opener-policy";
    assert_eq!(account(&hostile_account("x")).headers()[policy], "same-origin");
    let for_clients = [
        login(StatusCode::OK, &hostile_login("x"), &FormTarget::own()),
        consent(&hostile_consent("x"), &FormTarget::own()),
        onward(&OnwardPage { location: "https://app.example/", destination: Shown::of("x") }),
    ];
    assert!(for_clients.iter().all(|page| !page.headers().contains_key(policy)));
}
