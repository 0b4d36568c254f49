//! RFC 8414, RFC 7517 and RFC 9728 documents.

use http::header;
use rstest::rstest;
use serde_json::json;

use crate::{
    authserver::testing::{INVOICES, ISSUER, REPORTS, SECRET, World, id_of, invoices, server, server_id},
    settings::RegistrationMode,
};

const METADATA: [&str; 4] = [
    "/.well-known/oauth-authorization-server/orgs/acme/api/v1",
    "/.well-known/openid-configuration/orgs/acme/api/v1",
    "/orgs/acme/api/v1/.well-known/oauth-authorization-server",
    "/orgs/acme/api/v1/.well-known/openid-configuration",
];

#[tokio::test]
async fn rfc8414_the_same_document_under_every_form() {
    let world = World::new();
    let methods = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
    let algorithms = ["ES256", "ES384", "RS256", "PS256", "EdDSA"];
    for path in METADATA {
        let reply = world.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(
            reply.json(),
            json!({
                "issuer": ISSUER,
                "authorization_endpoint": format!("{ISSUER}/oauth/authorize"),
                "token_endpoint": format!("{ISSUER}/oauth/token"),
                "jwks_uri": format!("{ISSUER}/.well-known/jwks.json"),
                "revocation_endpoint": format!("{ISSUER}/oauth/revoke"),
                "introspection_endpoint": format!("{ISSUER}/oauth/introspect"),
                "scopes_supported": ["offline_access"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                "token_endpoint_auth_methods_supported": methods,
                "token_endpoint_auth_signing_alg_values_supported": algorithms,
                "revocation_endpoint_auth_methods_supported": methods,
                "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
                "introspection_endpoint_auth_methods_supported": methods[1..],
                "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
                "client_id_metadata_document_supported": true,
            })
        );
    }
}

#[tokio::test]
async fn what_an_organization_does_not_offer_is_not_announced() {
    let world = World::new();
    let offered = async || {
        let document = world.get(METADATA[0]).await.json();
        (document.get("registration_endpoint").is_some(), document["client_id_metadata_document_supported"].clone())
    };
    for (mode, announced) in
        [(RegistrationMode::Off, false), (RegistrationMode::InitialAccessToken, true), (RegistrationMode::Open, true)]
    {
        world.set_org(|org| org.dcr.mode = mode);
        assert_eq!(offered().await, (announced, json!(true)));
    }
    world.set_org(|org| org.cimd.enabled = false);
    assert_eq!(offered().await.1, false);
}

/// SDKs ask for the first of: the challenge's scope, the resource's `scopes_supported`, the issuer's. A server that
/// requires none must not be asked for those of its neighbours.
#[tokio::test]
async fn a_server_without_required_scopes_is_asked_for_none() {
    let mut world = World::new();
    let plain = "https://plain.acme.example/mcp";
    world.put_server(server("acme", "plain", &json!({"resourceUri": plain, "port": 8000})));
    world.publish();
    let prm = format!("/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/{}", server_id(plain));
    let reply = world.get(&prm).await;
    assert_eq!((reply.status.as_u16(), reply.json().get("scopes_supported")), (200, None));
    let offered = world.get(METADATA[0]).await.json()["scopes_supported"].clone();
    for scope in ["", offered[0].as_str().unwrap()] {
        let parameters = [("grant_type", "client_credentials"), ("resource", plain), ("scope", scope)];
        let reply = world.form(Some((&id_of("acme", "reader"), SECRET)), &parameters).await;
        assert_eq!((reply.status.as_u16(), reply.json().get("scope")), (200, None), "{}", reply.text());
    }
}

#[tokio::test]
async fn documents_may_be_read_by_any_page_and_kept_for_an_hour() {
    let world = World::new();
    let prm = format!("/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/{}", server_id(INVOICES));
    let jwks = "/orgs/acme/api/v1/.well-known/jwks.json";
    for path in METADATA.into_iter().chain([prm.as_str(), jwks]) {
        let reply = world.get(path).await;
        assert_eq!(reply.header(header::CONTENT_TYPE), "application/json", "{path}");
        assert_eq!(reply.header(header::CACHE_CONTROL), "public, max-age=3600", "{path}");
        assert_eq!(reply.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*", "{path}");
        assert_eq!(reply.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(reply.header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "", "{path}");
    }
}

#[rstest]
#[case("/.well-known/oauth-authorization-server/orgs/nobody/api/v1", "invalid_tenant")]
#[case("/orgs/nobody/api/v1/.well-known/openid-configuration", "invalid_tenant")]
#[case("/orgs/Acme/api/v1/.well-known/oauth-authorization-server", "invalid_tenant")]
#[case("/orgs/nobody/api/v1/.well-known/jwks.json", "invalid_tenant")]
#[case("/orgs/%ff/api/v1/.well-known/jwks.json", "invalid_tenant")]
#[case("/orgs/nobody/api/v1/.well-known/oauth-protected-resource", "not_found")]
#[case("/orgs/nobody/api/v1/.well-known/oauth-protected-resource/mcp/mcp_x", "not_found")]
#[case("/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/mcp_x", "not_found")]
#[case("/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/%ff", "not_found")]
#[tokio::test]
async fn what_is_not_there(#[case] path: &str, #[case] error: &str) {
    World::new().get(path).await.assert_error(404, error);
}

#[tokio::test]
async fn rfc7517_the_keys_of_the_ring_and_no_private_part() {
    let world = World::new();
    let keys = world.get("/orgs/acme/api/v1/.well-known/jwks.json").await.json();
    let authority = world.authority.borrow().clone().unwrap();
    assert_eq!(keys, serde_json::to_value(authority.ring.jwks()).unwrap());
    assert!(keys["keys"][0].get("d").is_none());
}

#[tokio::test]
async fn rfc9728_the_bytes_the_sidecars_serve() {
    let world = World::new();
    let path = format!("/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/{}", server_id(INVOICES));
    assert_eq!(
        world.get(&path).await.text(),
        format!(
            r#"{{"resource":"{INVOICES}","authorization_servers":["{ISSUER}"],"bearer_methods_supported":["header"],"scopes_supported":["mcp:read"],"resource_documentation":"https://docs.example/"}}"#
        )
    );
}

#[tokio::test]
async fn a_server_without_authorization_has_no_metadata() {
    let world = World::new();
    let id = server_id("https://public.acme.example/mcp");
    let path = format!("/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/{id}");
    world.get(&path).await.assert_error(400, "not_applicable");
}

#[tokio::test]
async fn a_server_that_denies_all_and_one_of_another_organization_are_not_there() {
    let world = World::new();
    let other = world.get("/orgs/other/api/v1/.well-known/oauth-protected-resource").await.json();
    assert_eq!(other["authorization_servers"], json!(["https://auth.example/orgs/other/api/v1"]));
    let ids = world.index.snapshot();
    let foreign = ids.servers.values().find(|entry| entry.key.namespace == "other").unwrap().id.clone().unwrap();
    for id in [server_id("https://broken.acme.example/mcp"), foreign.to_string()] {
        let path = format!("/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/{id}");
        world.get(&path).await.assert_error(404, "not_found");
    }
}

/// A person's token for it would be one for the registry API.
#[tokio::test]
async fn a_server_that_takes_the_issuer_s_name_is_not_there() {
    let mut world = World::empty();
    let scopes = json!([{"name": "settings.manage"}]);
    let spec = json!({"resourceUri": ISSUER, "port": 8000, "scopes": scopes, "requiredScopes": ["settings.manage"]});
    world.put_server(server("acme", "registry", &spec));
    world.publish();
    let root = "/orgs/acme/api/v1/.well-known/oauth-protected-resource";
    world.get(root).await.assert_error(404, "not_found");
    world.get(&format!("{root}/mcp/{}", server_id(ISSUER))).await.assert_error(404, "not_found");
}

#[tokio::test]
async fn the_organization_s_document() {
    let root = "/orgs/acme/api/v1/.well-known/oauth-protected-resource";
    let mut world = World::empty();
    let public = json!({"resourceUri": "https://public.acme.example/mcp", "port": 8000, "authMode": "None"});
    world.put_server(server("acme", "public", &public));
    world.publish();
    world.get(root).await.assert_error(404, "not_found");

    world.put_server(server("acme", "invoices", &invoices()));
    world.publish();
    let reply = world.get(root).await;
    let own = world.get(&format!("{root}/mcp/{}", server_id(INVOICES))).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, own.text()));

    let reply = World::new().get(root).await;
    let entry = |resource: &str| {
        json!({
            "resource": resource, "authorization_servers": [ISSUER],
            "resource_metadata_url": format!("{ISSUER}/.well-known/oauth-protected-resource/mcp/{}", server_id(resource)),
        })
    };
    let resources = [INVOICES, "https://shell.acme.example/", REPORTS].map(entry);
    assert_eq!(reply.json(), json!({ "resources": resources }));
    assert_eq!(reply.header(header::CACHE_CONTROL), "public, max-age=3600");
}
