//! What holds for every path.

use axum::body::Body;
use http::{Method, Request, header};
use prometheus_client::encoding::text::encode;
use rstest::rstest;

use crate::authserver::testing::{INVOICES, ISSUER, SECRET, World, id_of};

#[rstest]
#[case("/")]
#[case("/orgs/acme")]
#[case("/orgs/acme/api/v1/oauth/token/")]
#[case("/orgs/acme/api/v1/oauth/revoked")]
#[case("/.well-known/oauth-authorization-server")]
#[case("//orgs/acme/api/v1/.well-known/jwks.json")]
#[tokio::test]
async fn unknown_paths(#[case] path: &str) {
    World::new().get(path).await.assert_error(404, "not_found");
}

#[rstest]
#[case(Method::GET, "/orgs/acme/api/v1/oauth/token", "POST")]
#[case(Method::POST, "/orgs/acme/api/v1/.well-known/jwks.json", "GET,HEAD")]
#[case(Method::DELETE, "/orgs/acme/api/v1/mcp/servers/mcp_x", "GET,HEAD")]
#[case(Method::PUT, "/orgs/acme/api/v1/mcp/mcp_x/challenge", "GET,HEAD,POST")]
#[tokio::test]
async fn unknown_methods(#[case] method: Method, #[case] path: &str, #[case] allow: &str) {
    let world = World::new();
    let reply = world.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
    reply.assert_error(405, "method_not_allowed");
    assert_eq!(reply.header(header::ALLOW), allow);
}

#[tokio::test]
async fn urls_come_from_settings_alone() {
    let world = World::new();
    let request = Request::get("/orgs/acme/api/v1/.well-known/oauth-authorization-server")
        .header(header::HOST, "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "http")
        .header("forwarded", "host=evil.example");
    let reply = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.json()["issuer"], ISSUER);
    assert!(!reply.text().contains("evil"));
}

#[tokio::test]
async fn preflight_of_public_documents_only() {
    let world = World::new();
    let preflight = |path: &str| {
        Request::options(path)
            .header(header::ORIGIN, "https://inspector.example")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "mcp-protocol-version")
            .body(Body::empty())
            .unwrap()
    };
    let reply = world.send(preflight("/orgs/acme/api/v1/.well-known/jwks.json")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    assert_eq!(reply.header(header::ACCESS_CONTROL_ALLOW_HEADERS), "*");
    let reply = world.send(preflight("/orgs/acme/api/v1/mcp/servers")).await;
    assert_eq!(reply.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
}

#[tokio::test]
async fn before_address_and_keys_are_known() {
    let world = World::new();
    world.authority.send_replace(None);
    for path in ["/orgs/acme/api/v1/.well-known/jwks.json", "/orgs/acme/api/v1/mcp/servers"] {
        let reply = world.get(path).await;
        reply.assert_error(503, "temporarily_unavailable");
        assert_eq!(reply.header(header::RETRY_AFTER), "2");
    }
}

#[tokio::test]
async fn everything_is_counted_under_names_from_a_list() {
    let world = World::new();
    world.get("/orgs/acme/api/v1/.well-known/jwks.json").await;
    world.get("/orgs/nobody/api/v1/.well-known/jwks.json").await;
    world.get("/orgs/acme/anything-a-caller-likes").await;
    world.get("/orgs/acme/api/v1/oauth/token").await;
    world.form(None, &[("grant_type", "client_credentials")]).await;
    let mut text = String::new();
    encode(&mut text, &world.registry).unwrap();
    for line in [
        r#"lumoauth_as_requests_total{endpoint="jwks",outcome="ok"} 1"#,
        r#"lumoauth_as_requests_total{endpoint="jwks",outcome="invalid_tenant"} 1"#,
        r#"lumoauth_as_requests_total{endpoint="other",outcome="not_found"} 1"#,
        r#"lumoauth_as_requests_total{endpoint="token",outcome="method_not_allowed"} 1"#,
        r#"lumoauth_as_requests_total{endpoint="token",outcome="invalid_client"} 1"#,
        r#"lumoauth_as_tokens_refused_total{reason="no_credentials"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("likes"));
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_counted() {
    let world = World::new();
    let errors = || {
        let mut text = String::new();
        encode(&mut text, &world.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("lumoauth_store_errors_total")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(errors(), 0);
    world.store.close().await;
    let parameters = [("grant_type", "client_credentials"), ("resource", INVOICES)];
    let reply = world.form(Some((&id_of("acme", "reader"), SECRET)), &parameters).await;
    reply.assert_error(503, "temporarily_unavailable");
    assert_eq!(reply.header(header::RETRY_AFTER), "2");
    assert!(!reply.text().contains("pool"), "what failed is for the log: {}", reply.text());
    assert!(errors() > 0);
}
