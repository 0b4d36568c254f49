//! The registry API.

use http::header;
use serde_json::{Value, json};

use crate::authserver::testing::{INVOICES, ISSUER, NOW, World, client, invoices, server, server_id};

const LIST: &str = "/orgs/acme/api/v1/mcp/servers";

async fn manager(world: &World) -> String {
    world.token("admin", ISSUER, "settings.manage").await
}

#[tokio::test]
async fn the_list() {
    let world = World::new();
    let reply = world.get_with(LIST, &manager(&world).await).await;
    assert_eq!((reply.status.as_u16(), reply.header(header::CACHE_CONTROL)), (200, "no-store"));
    let body = reply.json();
    assert_eq!(body["servers"], body["data"]);
    assert_eq!(
        body["pagination"],
        json!({"total": 4, "page": 1, "limit": 4, "total_pages": 1, "has_next_page": false, "has_previous_page": false})
    );
    let id = server_id(INVOICES);
    let number = u32::from_str_radix(&id[4..12], 16).unwrap() >> 1;
    assert_eq!(
        body["data"][0],
        json!({
            "id": number, "server_id": id, "name": "Invoices", "description": "Invoice search",
            "resource_uri": INVOICES, "endpoint_url": INVOICES, "transport": "http_streamable", "auth_mode": "oauth",
            "status": "active", "scopes_supported": ["mcp:admin", "mcp:read", "mcp:write"], "require_pkce": true,
            "require_resource_param": true, "token_lifetime": 600, "created_at": "2026-01-02T03:04:05+00:00",
        })
    );
    let of = |name: &str| body["data"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone();
    assert_eq!(of("public")["auth_mode"], "none");
    assert_eq!((&of("shell")["transport"], &of("shell")["description"]), (&json!("stdio"), &Value::Null));
    assert_eq!(of("reports")["require_resource_param"], false);
}

#[tokio::test]
async fn the_details() {
    let mut world = World::new();
    let mut object = server("acme", "invoices", &invoices());
    object["metadata"]["managedFields"] = json!([
        {"manager": "kubectl", "time": "2026-02-02T00:00:00Z", "fieldsV1": {"f:spec": {}}},
        {"manager": "kubectl", "time": "2026-02-03T00:00:00Z", "fieldsV1": {"f:spec": {"f:port": {}}}},
    ]);
    world.put_server(object);
    world.publish();
    let token = manager(&world).await;
    let id = server_id(INVOICES);
    let body = world.get_with(&format!("{LIST}/{id}"), &token).await.json();
    let prm = format!("{ISSUER}/.well-known/oauth-protected-resource/mcp/{id}");
    assert_eq!(
        body,
        json!({
            "id": body["id"], "server_id": id, "name": "Invoices", "description": "Invoice search",
            "resource_uri": INVOICES, "endpoint_url": INVOICES, "transport": "http_streamable", "auth_mode": "oauth",
            "status": "active", "scopes_supported": ["mcp:admin", "mcp:read", "mcp:write"], "require_pkce": true,
            "require_dpop": false, "token_lifetime": 600, "created_at": "2026-01-02T03:04:05+00:00",
            "updated_at": "2026-02-03T00:00:00+00:00",
            "discovery": {
                "authorization_server_metadata": format!("{ISSUER}/.well-known/oauth-authorization-server"),
                "protected_resource_metadata": prm,
                "www_authenticate_example": format!(r#"Bearer resource_metadata="{prm}", scope="mcp:read""#),
            },
        })
    );
    let shell = format!("{LIST}/{}", server_id("https://shell.acme.example/"));
    let body = world.get_with(&shell, &token).await.json();
    assert_eq!(body["updated_at"], body["created_at"], "nobody wrote the spec since");
}

#[tokio::test]
async fn servers_that_are_not_listed() {
    let world = World::new();
    let token = manager(&world).await;
    for id in [server_id("https://broken.acme.example/mcp"), "mcp_x".to_owned(), "%ff".to_owned()] {
        world.get_with(&format!("{LIST}/{id}"), &token).await.assert_error(404, "not_found");
    }
}

#[tokio::test]
async fn no_token_bad_token_wrong_token() {
    let world = World::new();
    for path in [LIST.to_owned(), format!("{LIST}/{}", server_id(INVOICES)), format!("{LIST}/mcp_x")] {
        let reply = world.get(&path).await;
        reply.assert_error(401, "unauthorized");
        assert_eq!(reply.header(header::WWW_AUTHENTICATE), r#"Bearer scope="settings.manage""#);

        let of_a_server = world.token("reader", INVOICES, "mcp:read").await;
        for token in ["x", &of_a_server] {
            let reply = world.get_with(&path, token).await;
            reply.assert_error(401, "invalid_token");
            let challenge = reply.header(header::WWW_AUTHENTICATE);
            assert!(challenge.starts_with(r#"Bearer error="invalid_token", scope="settings.manage", "#), "{challenge}");
        }
        let reply = world.get_with(&format!("{path}?access_token=x"), "x").await;
        reply.assert_error(400, "invalid_request");
    }
    let token = manager(&world).await;
    world.set_time(NOW + 3600 + 30);
    world.get_with(LIST, &token).await.assert_error(401, "invalid_token");
}

#[tokio::test]
async fn a_client_that_may_no_longer_manage() {
    let mut world = World::new();
    let token = manager(&world).await;
    world.put_client(client("acme", "admin", "ClientSecretBasic", &["mcp:read"], &json!({})));
    world.publish();
    let reply = world.get_with(LIST, &token).await;
    reply.assert_error(403, "insufficient_scope");
    assert_eq!(reply.json()["scope"], "settings.manage");
    assert_eq!(reply.header(header::WWW_AUTHENTICATE), r#"Bearer error="insufficient_scope", scope="settings.manage""#);
}

#[tokio::test]
async fn organizations_do_not_see_each_other() {
    let world = World::new();
    let token = manager(&world).await;
    world.get_with("/orgs/other/api/v1/mcp/servers", &token).await.assert_error(401, "invalid_token");
    world.get_with("/orgs/nobody/api/v1/mcp/servers", &token).await.assert_error(404, "not_found");
}
