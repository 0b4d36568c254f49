//! What is refused, and where that is told: on a page until client, redirect URI and state are proven, then by redirect.

use rstest::rstest;
use serde_json::json;

use super::*;

/// Rows 67, 69 and 81: there is no redirect, and no page repeats what was sent.
#[rstest]
#[case::no_client(&[("client_id", "")], 400, "cannot be read")]
#[case::unknown_client(&[("client_id", "mcpc_000000000000000000000000"), ("redirect_uri", EVIL)], 400, "not known here")]
#[case::client_of_another_organization(&[("client_id", "@other")], 400, "not known here")]
#[case::client_that_cannot_be_one(&[("client_id", "a\0b")], 400, "not known here")]
#[case::client_for_programs(&[("client_id", "@reader")], 400, "cannot act for people")]
#[case::no_redirect(&[("redirect_uri", "")], 400, "no address to return to")]
#[case::open_redirect(&[("redirect_uri", EVIL)], 400, "not its own")]
#[case::open_redirect_and_another_fault(&[("redirect_uri", EVIL), ("response_type", "token")], 400, "not its own")]
#[case::script(&[("redirect_uri", "javascript:alert(document.domain)//evil.example")], 400, "not its own")]
#[case::data(&[("redirect_uri", "data:text/html,<script>evil.example</script>")], 400, "not its own")]
#[case::user_info(&[("redirect_uri", "https://app.example@evil.example/callback")], 400, "not its own")]
#[case::query(&[("redirect_uri", "https://app.example/callback?next=https://evil.example")], 400, "not its own")]
#[case::response_splitting(&[("redirect_uri", "https://app.example/callback\r\nLocation: https://evil.example")], 400, "not its own")]
#[case::loopback_of_another_client(&[("redirect_uri", LOOPBACK)], 400, "not its own")]
#[case::state_with_a_line_break(&[("state", "a\r\nSet-Cookie: evil.example")], 400, "cannot be read")]
#[case::state_that_is_no_text(&[("state", "\u{fffd}evil.example")], 400, "cannot be read")]
#[tokio::test]
async fn rfc6749_4_1_2_1_on_a_page(#[case] changes: &[(&str, &str)], #[case] status: u16, #[case] says: &str) {
    let (other, reader) = (id_of("other", "reader"), id_of("acme", "reader"));
    let changes: Vec<(&str, &str)> = changes
        .iter()
        .map(|(name, value)| match *value {
            "@other" => (*name, other.as_str()),
            "@reader" => (*name, reader.as_str()),
            value => (*name, value),
        })
        .collect();
    let scene = Scene::new();
    let ada = scene.ada().await;
    for mut browser in [Browser::new(&scene.world), scene.browser_of(&ada).await] {
        let url = url("web", &changes);
        let reply = browser.get(&url).await;
        assert_page(&reply, status, says);
        assert!(!reply.text().contains("evil.example") && !reply.text().contains("<script"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_long_state_or_query_is_told_on_a_page() {
    let scene = Scene::new();
    for length in [4097, 10 * 1024, 60 * 1024] {
        let url = url("web", &[("state", &"x".repeat(length))]);
        assert_page(&scene.world.get(&url).await, 400, "cannot be read");
    }
    let many: Vec<_> = (0..40).map(|at| format!("p{at}=1")).collect();
    assert_page(&scene.world.get(&format!("{}&{}", url("web", &[]), many.join("&"))).await, 400, "cannot be read");
    assert_page(&scene.world.get(&url("web", &[("state", &"x".repeat(4096))])).await, 200, "Sign in");
}

/// Also where all of it is well-formed, and none of it is read.
#[tokio::test]
async fn a_query_of_twelve_kibibytes_and_no_more() {
    let scene = Scene::new();
    for (length, status, says) in [(12 * 1024, 200, "Sign in"), (12 * 1024 + 1, 400, "cannot be read")] {
        let mut url = format!("{}&x=", url("web", &[]));
        url += &"x".repeat(PATH.len() + 1 + length - url.len());
        assert_page(&scene.world.get(&url).await, status, says);
    }
}

/// Row 81, RFC 6749 §3.1.
#[rstest]
#[tokio::test]
async fn a_parameter_twice_is_told_on_a_page(
    #[values(
        "client_id",
        "redirect_uri",
        "response_type",
        "state",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "unknown"
    )]
    name: &str,
) {
    let scene = Scene::new();
    let url = format!("{}&{name}=a&{name}=a", url("web", &[]));
    assert_page(&scene.world.get(&url).await, 400, "cannot be read");
}

/// Rows 70, 74, 82 and 86: told the client, with `state` and `iss`.
#[rstest]
#[case::no_response_type(&[("response_type", "")], "invalid_request")]
#[case::implicit(&[("response_type", "token")], "unsupported_response_type")]
#[case::hybrid(&[("response_type", "code id_token")], "unsupported_response_type")]
#[case::password(&[("response_type", "password")], "unsupported_response_type")]
#[case::fragment(&[("response_mode", "fragment")], "invalid_request")]
#[case::form_post(&[("response_mode", "form_post")], "invalid_request")]
#[case::request_object(&[("request", "e30.e30.")], "request_not_supported")]
#[case::request_uri(&[("request_uri", "https://evil.example/")], "request_uri_not_supported")]
#[case::no_pkce(&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request")]
#[case::plain(&[("code_challenge_method", "plain")], "invalid_request")]
#[case::plain_by_default(&[("code_challenge_method", "")], "invalid_request")]
#[case::short_challenge(&[("code_challenge", "abc")], "invalid_request")]
#[case::no_resource(&[("resource", "")], "invalid_target")]
#[case::malformed_resource(&[("resource", "invoices")], "invalid_target")]
#[case::fragment_in_resource(&[("resource", "https://invoices.acme.example/mcp#x")], "invalid_target")]
#[case::unknown_resource(&[("resource", "https://unknown.example/mcp")], "invalid_target")]
#[case::one_of_two_unknown(&[("resource", INVOICES), ("resource", "https://unknown.example/mcp")], "invalid_target")]
#[case::issuer(&[("resource", ISSUER)], "invalid_target")]
#[case::denied_server(&[("resource", "https://broken.acme.example/mcp")], "invalid_target")]
#[case::public_server(&[("resource", "https://public.acme.example/mcp")], "invalid_target")]
#[case::server_that_does_not_allow_the_client(&[("resource", "https://reports.acme.example/mcp")], "invalid_target")]
#[case::scope_syntax(&[("scope", "mcp:read  mcp:write")], "invalid_scope")]
#[case::scope_with_control_characters(&[("scope", "mcp:read\nmcp:write")], "invalid_scope")]
#[case::prompt(&[("prompt", "none consent")], "invalid_request")]
#[tokio::test]
async fn rfc6749_4_1_2_1_by_redirect(#[case] changes: &[(&str, &str)], #[case] error: &str) {
    let scene = Scene::new();
    let ada = scene.ada().await;
    for mut browser in [Browser::new(&scene.world), scene.browser_of(&ada).await] {
        assert_eq!(refusal(&browser.get(&url("web", changes)).await, CALLBACK), error);
    }
}

#[tokio::test]
async fn more_resources_than_anybody_reads() {
    let mut scene = Scene::new();
    let resources: Vec<_> = (0..9).map(|at| format!("https://s{at}.acme.example/mcp")).collect();
    for (at, resource) in resources.iter().enumerate() {
        let spec = json!({"resourceUri": resource, "port": 8000, "scopes": [{"name": "r"}], "requiredScopes": ["r"]});
        scene.world.put_server(server("acme", &format!("s{at}"), &spec));
    }
    scene.world.publish();
    let all: Vec<_> = resources.iter().map(|resource| ("resource", resource.as_str())).collect();
    assert_eq!(refusal(&scene.world.get(&url("web", &all)).await, CALLBACK), "invalid_target");
    assert_page(&scene.world.get(&url("web", &all[..8])).await, 200, "Sign in");
}

/// The server says that it may be meant by nothing, and the client may use no other.
#[tokio::test]
async fn a_resource_that_goes_without_saying() {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    let reports = json!({
        "resourceUri": "https://reports.acme.example/mcp", "port": 8000, "scopes": [{"name": "report:read"}],
        "requiredScopes": ["report:read"], "requireResourceParam": false,
    });
    scene.world.put_server(server("tools", "reports", &reports));
    let only = json!({
        "grantTypes": ["AuthorizationCode"], "redirectUris": [CALLBACK], "servers": ["tools/reports"],
    });
    scene.world.put_client(client("acme", "web", "ClientSecretBasic", &["report:read"], &only));
    scene.world.publish();
    let mut browser = scene.browser_of(&ada).await;
    let reply = allow(&mut browser, &url("web", &[("resource", ""), ("scope", "")])).await;
    let code = scene.code(&answer(&reply, CALLBACK)["code"]).await;
    assert_eq!(given(&code), [("https://reports.acme.example/mcp".to_owned(), "report:read".to_owned())]);
    assert!(!code.offline, "the client is not registered for refresh tokens");
    // One beside it asks for no tokens, and cannot be meant.
    let public = json!({
        "grantTypes": ["AuthorizationCode"], "redirectUris": [CALLBACK], "servers": ["tools/reports", "public"],
    });
    scene.world.put_client(client("acme", "web", "ClientSecretBasic", &["report:read"], &public));
    scene.world.publish();
    let reply = scene.browser_of(&ada).await.get(&url("web", &[("resource", ""), ("scope", "")])).await;
    assert_eq!(shown(&reply), Shown::Code);
    // A server that insists is meant by its name alone.
    let mut insists = reports.clone();
    insists["requireResourceParam"] = json!(true);
    scene.world.put_server(server("tools", "reports", &insists));
    scene.world.publish();
    let reply = scene.browser_of(&ada).await.get(&url("web", &[("resource", ""), ("scope", "")])).await;
    assert_eq!(refusal(&reply, CALLBACK), "invalid_target");
}

#[tokio::test]
async fn loopback_redirects_take_any_port_and_keep_their_own() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    for redirect in ["http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", "http://127.0.0.1/callback"] {
        let reply = allow(&mut browser, &url("cli", &[("redirect_uri", redirect)])).await;
        let code = scene.code(&answer(&reply, redirect)["code"]).await;
        assert_eq!(code.redirect_uri, redirect);
    }
    let other = [("redirect_uri", "http://127.0.0.1:1/other")];
    assert_page(&browser.get(&url("cli", &other)).await, 400, "not its own");
}

#[tokio::test]
async fn an_unknown_organization_is_a_page() {
    let scene = Scene::new();
    let url = url("web", &[]).replace("/orgs/acme/", "/orgs/nobody/");
    assert_page(&scene.world.get(&url).await, 404, "no such organization");
    scene.world.authority.send_replace(None);
    assert_page(&scene.world.get(&self::url("web", &[])).await, 503, "Not ready");
}

/// Forms prove nothing about the request: it is read again, whole.
#[tokio::test]
async fn a_form_at_another_request_is_refused_like_that_request() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let page = browser.get(&url("web", &[])).await;
    let seen = proposal(&page);
    let fields = [("action", "allow"), ("proposal", seen.as_str())];
    assert_page(&browser.press(&url("web", &[("redirect_uri", EVIL)]), &fields).await, 400, "not its own");
    let plain = browser.press(&url("web", &[("code_challenge_method", "plain")]), &fields).await;
    assert_eq!(refusal(&plain, CALLBACK), "invalid_request");
    let more = browser.press(&url("web", &[("scope", "mcp:read mcp:write")]), &fields).await;
    assert_page(&more, 200, "mcp:write");
    let other_client = browser.press(&url("cli", &[]), &fields).await;
    assert_page(&other_client, 200, "Command line");
    assert_eq!(scene.consents(&ada).await, 0);
}

/// What it says of a name that leads inside is what it says of one that leads nowhere.
#[tokio::test]
async fn a_page_tells_nothing_of_the_network_inside() {
    let scene = Scene::new();
    let page = scene.world.get(&url("web", &[("client_id", "https://127.0.0.1/client.json")])).await;
    assert_page(
        &page,
        400,
        "The client cannot be used: its document cannot be fetched: its host has no public address.",
    );
}

/// Who makes the application reads why, on the page and in the log of whoever runs this.
#[tokio::test]
async fn a_document_that_is_refused_is_told_why() {
    const DOCUMENT: &str = "https://app.example/client.json";
    let scene = Scene::new();
    scene.world.set_org(|org| org.cimd.allowed_domains = vec!["other.example".to_owned()]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = std::sync::Arc::new(file.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let page = scene.world.get(&url("web", &[("client_id", DOCUMENT)])).await;
    drop(logging);
    assert_page(&page, 403, "The client cannot be used: documents from its host are not admitted here.");
    let logged = std::fs::read_to_string(file.path()).unwrap();
    for said in [DOCUMENT, "document_domain", "documents from its host are not admitted here"] {
        assert!(logged.contains(said), "{said}: {logged}");
    }
}
