//! The challenge endpoint.

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::json;

use crate::authserver::testing::{INVOICES, ISSUER, NOW, REPORTS, World, invoices, server, server_id};

fn path(resource: &str) -> String {
    format!("/orgs/acme/api/v1/mcp/{}/challenge", server_id(resource))
}

fn metadata(resource: &str) -> String {
    format!("{ISSUER}/.well-known/oauth-protected-resource/mcp/{}", server_id(resource))
}

#[tokio::test]
async fn rfc6750_3_1_no_token() {
    let world = World::new();
    for method in [Method::GET, Method::POST] {
        for authorization in [None, Some("Basic YTpi")] {
            let mut request = Request::builder().method(method.clone()).uri(path(INVOICES));
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let reply = world.send(request.body(Body::empty()).unwrap()).await;
            reply.assert_error(401, "unauthorized");
            let expected = format!(r#"Bearer resource_metadata="{}", scope="mcp:read""#, metadata(INVOICES));
            assert_eq!(reply.header(header::WWW_AUTHENTICATE), expected);
        }
    }
}

#[tokio::test]
async fn a_token_that_suffices() {
    let world = World::new();
    let token = world.token("reader", INVOICES, "mcp:read").await;
    let reply = world.get_with(&path(INVOICES), &token).await;
    let id = server_id(INVOICES);
    assert_eq!(reply.json(), json!({"status": "authenticated", "server": "Invoices", "server_id": id}));
    assert_eq!((reply.status.as_u16(), reply.header(header::CACHE_CONTROL)), (200, "no-store"));
}

#[tokio::test]
async fn a_token_that_cannot_be_used() {
    let world = World::new();
    let good = world.token("reader", INVOICES, "mcp:read").await;
    let for_another = world.token("single", REPORTS, "report:read").await;
    let for_the_registry = world.token("admin", ISSUER, "settings.manage").await;
    let (head, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    for token in [&for_another, &for_the_registry, &forged, "x", ""] {
        let reply = world.get_with(&path(INVOICES), token).await;
        reply.assert_error(401, "invalid_token");
        let expected = format!(
            r#"Bearer error="invalid_token", resource_metadata="{}", scope="mcp:read", error_description="{}""#,
            metadata(INVOICES),
            reply.json()["error_description"].as_str().unwrap()
        );
        assert_eq!(reply.header(header::WWW_AUTHENTICATE), expected);
    }
    world.set_time(NOW + 600 + 30);
    world.get_with(&path(INVOICES), &good).await.assert_error(401, "invalid_token");
}

#[tokio::test]
async fn a_token_that_lacks_scopes_is_told_which() {
    let mut world = World::new();
    let mut spec = invoices();
    spec["requiredScopes"] = json!(["mcp:read", "mcp:write"]);
    let token = world.token("reader", INVOICES, "mcp:read").await;
    world.put_server(server("acme", "invoices", &spec));
    world.publish();
    let reply = world.get_with(&path(INVOICES), &token).await;
    reply.assert_error(403, "insufficient_scope");
    assert_eq!(reply.json()["scope"], "mcp:read mcp:write");
    let header = reply.header(header::WWW_AUTHENTICATE);
    assert!(header.starts_with(r#"Bearer error="insufficient_scope", scope="mcp:read mcp:write", "#), "{header}");
}

#[tokio::test]
async fn a_client_that_is_no_longer_allowed() {
    let mut world = World::new();
    let token = world.token("single", REPORTS, "report:read").await;
    assert_eq!(world.get_with(&path(REPORTS), &token).await.status, 200);
    let spec = json!({
        "resourceUri": REPORTS, "port": 8000, "scopes": [{"name": "report:read"}], "requiredScopes": ["report:read"],
        "allowedClients": ["writer"],
    });
    world.put_server(server("tools", "reports", &spec));
    world.publish();
    let reply = world.get_with(&path(REPORTS), &token).await;
    reply.assert_error(403, "access_denied");
    assert_eq!(reply.header(header::WWW_AUTHENTICATE), "", "more scopes would not help");
}

#[tokio::test]
async fn a_token_in_two_places() {
    let world = World::new();
    let token = world.token("reader", INVOICES, "mcp:read").await;
    let reply = world.get_with(&format!("{}?access_token={token}", path(INVOICES)), &token).await;
    reply.assert_error(400, "invalid_request");
    let reply = world.get(&format!("{}?access_token={token}", path(INVOICES))).await;
    reply.assert_error(401, "unauthorized");
}

#[tokio::test]
async fn servers_that_cannot_be_challenged() {
    let world = World::new();
    world.get(&path("https://broken.acme.example/mcp")).await.assert_error(404, "not_found");
    world.get(&path("https://nowhere.example/")).await.assert_error(404, "not_found");
    world.get("/orgs/nobody/api/v1/mcp/mcp_x/challenge").await.assert_error(404, "not_found");
    world.get(&path("https://public.acme.example/mcp")).await.assert_error(400, "not_applicable");
}

/// The property the whole product rests on.
#[tokio::test]
async fn a_token_for_one_resource_is_never_accepted_for_another() {
    let mut world = World::new();
    let resources: Vec<_> =
        (0..6).map(|n| format!("https://s{}.acme.example/{}", n / 2, ["mcp", "mcp/"][n % 2])).collect();
    for (n, resource) in resources.iter().enumerate() {
        let spec = json!({
            "resourceUri": resource, "port": 8000, "scopes": [{"name": "mcp:read"}], "requiredScopes": ["mcp:read"],
        });
        world.put_server(server("acme", &format!("s{n}"), &spec));
    }
    world.publish();
    for issued_for in resources.iter().map(String::as_str).chain([INVOICES]) {
        let token = world.token("reader", issued_for, "mcp:read").await;
        for asked in resources.iter().map(String::as_str).chain([INVOICES]) {
            let status = world.get_with(&path(asked), &token).await.status.as_u16();
            assert_eq!(status, if asked == issued_for { 200 } else { 401 }, "{issued_for} at {asked}");
        }
    }
}
