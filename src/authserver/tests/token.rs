//! The token endpoint.

use std::sync::Arc;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, header};
use lumoauth_core::{
    IssuerUrl, ResourceUri, UnixTime,
    token::{AccessToken, Algorithm, Expectations, KeyMatch, KeySet, TokenType, Unverified, Verified},
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    authserver::{
        Authority,
        testing::{BASE, INVOICES, ISSUER, NOW, REPORTS, Reply, SECRET, World, client, id_of},
    },
    pki::signing::{KeyRing, PUBLICATION_LEAD, ROTATION_PERIOD},
};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// Verifies with what the JWKS endpoint serves, as a sidecar would.
async fn verify(world: &World, token: &str, audience: &str) -> Verified<AccessToken> {
    let jwks = world.get("/orgs/acme/api/v1/.well-known/jwks.json").await;
    let keys = KeySet::new(&serde_json::from_slice(&jwks.bytes).unwrap());
    let token = Unverified::parse(token).unwrap();
    let KeyMatch::Found(key) = keys.find(token.key_id(), token.algorithm()) else { panic!("no key") };
    let (issuer, audience) = (IssuerUrl::parse(ISSUER).unwrap(), ResourceUri::parse(audience).unwrap());
    let expect = Expectations {
        issuer: &issuer,
        audience: &audience,
        algorithms: &[Algorithm::ES256],
        token_type: &TokenType::AccessToken,
    };
    token.verify(key, &expect, UnixTime(NOW)).unwrap()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn basic(world: &World, client: (&str, &str), parameters: &[(&str, &str)]) -> Reply {
    world.form(Some((&id_of(client.0, client.1), SECRET)), parameters).await
}

#[tokio::test]
async fn the_audit_line_names_known_clients_alone() {
    let world = World::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file.reopen().unwrap())).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let reader = id_of("acme", "reader");
    let parameters = [GRANT, ("resource", INVOICES)];
    for (id, secret) in [(reader.as_str(), "wrong"), ("swapped-secret", &reader)] {
        world.form(Some((id, secret)), &parameters).await.assert_error(401, "invalid_client");
    }
    drop(logging);
    let logged = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(logged.matches("event=\"token\"").count(), 2, "{logged}");
    assert_eq!(logged.matches(&reader).count(), 1, "{logged}");
    assert!(!logged.contains("swapped-secret"), "{logged}");
}

#[tokio::test]
async fn rfc6749_2_3_1_nothing_in_the_url() {
    let world = World::new();
    let form = [GRANT, ("resource", INVOICES)];
    let credentials = (id_of("acme", "reader"), SECRET);
    let post = async |query: &str| {
        let path = format!("/orgs/acme/api/v1/oauth/token{query}");
        world.form_to(&path, Some((&credentials.0, credentials.1)), &form).await
    };
    post("?client_secret=s").await.assert_error(400, "invalid_request");
    assert_eq!(post("?").await.status, 200);
}

const READER: (&str, &str) = ("acme", "reader");
const SINGLE: (&str, &str) = ("acme", "single");

#[tokio::test]
async fn rfc6749_5_1_and_rfc9068_2_2() {
    let world = World::new();
    let reply = basic(&world, READER, &[GRANT, ("resource", INVOICES)]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header(header::CACHE_CONTROL), "no-store");
    assert_eq!(reply.header(header::PRAGMA), "no-cache");
    assert_eq!(reply.header(header::CONTENT_TYPE), "application/json");
    let body = reply.json();
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(body, json!({"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": "mcp:read"}));
    let id = id_of("acme", "reader");
    let claims = claims(token);
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "aud": INVOICES, "sub": id, "client_id": id, "iat": NOW, "exp": NOW + 600,
            "jti": claims["jti"], "scope": "mcp:read",
            "status": {"status_list": {"idx": 0, "uri": format!("{ISSUER}/oauth/status/1800000000")}},
        })
    );
    let verified = verify(&world, token, INVOICES).await;
    assert_eq!((verified.client.as_str(), verified.scopes.to_string()), (id.as_str(), "mcp:read".to_owned()));
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
}

#[tokio::test]
async fn every_token_has_its_own_identifier() {
    let world = World::new();
    let one = claims(&world.token("reader", INVOICES, "mcp:read").await);
    let two = claims(&world.token("reader", INVOICES, "mcp:read").await);
    assert_ne!(one["jti"], two["jti"]);
}

#[tokio::test]
async fn client_secret_post() {
    let world = World::new();
    let id = id_of("tools", "writer");
    let of = |id: &'static str| [GRANT, ("client_id", id), ("client_secret", SECRET), ("resource", REPORTS)];
    let reply = world.form(None, &of(String::leak(id))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    verify(&world, reply.json()["access_token"].as_str().unwrap(), REPORTS).await;
}

#[rstest]
#[case::unknown_client(Some(("mcpc_000000000000000000000000", SECRET)), &[])]
#[case::wrong_secret(Some(("@acme/reader", "wrong")), &[])]
#[case::empty_secret(Some(("@acme/reader", "")), &[])]
#[case::client_of_another_organization(Some(("@other/reader", SECRET)), &[])]
#[case::not_accepted(Some(("@acme/person", SECRET)), &[])]
#[case::basic_for_a_post_client(Some(("@tools/writer", SECRET)), &[])]
#[case::post_for_a_basic_client(None, &[("client_id", "@acme/reader"), ("client_secret", SECRET)])]
#[case::no_credentials(None, &[])]
#[case::no_secret(None, &[("client_id", "@acme/reader")])]
#[tokio::test]
async fn rfc6749_5_2_invalid_client(#[case] credentials: Option<(&str, &str)>, #[case] more: &[(&str, &str)]) {
    let world = World::new();
    let id = |text: &str| match text.strip_prefix('@').and_then(|text| text.split_once('/')) {
        Some((namespace, name)) => id_of(namespace, name),
        None => text.to_owned(),
    };
    let mut parameters =
        vec![("grant_type".to_owned(), GRANT.1.to_owned()), ("resource".to_owned(), INVOICES.to_owned())];
    parameters.extend(more.iter().map(|(name, value)| ((*name).to_owned(), id(value))));
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let basic = credentials.map(|(name, secret)| (id(name), secret));
    let reply = world.form(basic.as_ref().map(|(id, secret)| (id.as_str(), *secret)), &parameters).await;
    reply.assert_error(401, "invalid_client");
    assert_eq!(reply.json()["error_description"], "client authentication failed", "the same for every cause");
    assert_eq!(reply.header(header::WWW_AUTHENTICATE), r#"Basic realm="lumoauth", charset="UTF-8""#);
}

#[tokio::test]
async fn security_80_two_methods_at_once() {
    let world = World::new();
    let id = id_of("acme", "reader");
    let both = [GRANT, ("resource", INVOICES), ("client_id", id.as_str()), ("client_secret", SECRET)];
    world.form(Some((&id, SECRET)), &both).await.assert_error(400, "invalid_request");
}

#[tokio::test]
async fn a_secret_that_was_rotated_out() {
    let mut world = World::new();
    let mut object = client("acme", "reader", "ClientSecretBasic", &["mcp:read"], &json!({}));
    object["status"]["secrets"] = json!([
        {"sha256": "0".repeat(64)},
        {"sha256": lumoauth_core::digest::sha256_hex(SECRET.as_bytes()), "notAfter": "2027-01-15T08:00:00Z"},
    ]);
    world.put_client(object);
    world.publish();
    let ask = async |now: u64| {
        world.set_time(now);
        basic(&world, READER, &[GRANT, ("resource", INVOICES)]).await.status.as_u16()
    };
    assert_eq!((ask(NOW - 1).await, ask(NOW).await), (200, 401));
}

#[rstest]
#[case::no_grant(&[("resource", INVOICES)], 400, "invalid_request")]
#[case::not_registered_for_it(&[("grant_type", "authorization_code"), ("code", "x")], 400, "unauthorized_client")]
#[case::nor_for_that(&[("grant_type", "refresh_token"), ("refresh_token", "x")], 400, "unauthorized_client")]
#[case::password(&[("grant_type", "password")], 400, "unsupported_grant_type")]
#[case::no_resource(&[GRANT], 400, "invalid_target")]
#[case::empty_resource(&[GRANT, ("resource", "")], 400, "invalid_target")]
#[case::unknown_resource(&[GRANT, ("resource", "https://nowhere.example/mcp")], 400, "invalid_target")]
#[case::fragment(&[GRANT, ("resource", "https://invoices.acme.example/mcp#x")], 400, "invalid_target")]
#[case::relative(&[GRANT, ("resource", "/mcp")], 400, "invalid_target")]
#[case::two_resources(&[GRANT, ("resource", INVOICES), ("resource", "https://x.example/")], 400, "invalid_target")]
#[case::the_same_twice(&[GRANT, ("resource", INVOICES), ("resource", INVOICES)], 400, "invalid_target")]
#[case::not_an_allowed_client(&[GRANT, ("resource", REPORTS)], 400, "invalid_target")]
#[case::a_server_that_denies_all(&[GRANT, ("resource", "https://broken.acme.example/mcp")], 400, "invalid_target")]
#[case::a_server_without_tokens(&[GRANT, ("resource", "https://public.acme.example/mcp")], 400, "invalid_target")]
#[case::more_than_it_may_have(&[GRANT, ("resource", INVOICES), ("scope", "mcp:write")], 400, "invalid_scope")]
#[case::malformed_scope(&[GRANT, ("resource", INVOICES), ("scope", "mcp:read  mcp:write")], 400, "invalid_scope")]
#[case::registry_without_the_right(&[GRANT, ("resource", ISSUER)], 400, "invalid_scope")]
#[case::scope_twice(&[GRANT, ("resource", INVOICES), ("scope", "mcp:read"), ("scope", "mcp:read")], 400, "invalid_request")]
#[tokio::test]
async fn rfc6749_5_2_and_rfc8707_2(#[case] parameters: &[(&str, &str)], #[case] status: u16, #[case] error: &str) {
    let world = World::new();
    let reply = basic(&world, READER, parameters).await;
    reply.assert_error(status, error);
    assert_eq!(reply.header(header::PRAGMA), "no-cache");
    assert_eq!(reply.header(header::WWW_AUTHENTICATE), "");
}

#[tokio::test]
async fn unknown_and_forbidden_resources_look_the_same() {
    let world = World::new();
    let unknown = basic(&world, READER, &[GRANT, ("resource", "https://nowhere.example/")]).await;
    for forbidden in [REPORTS, "https://broken.acme.example/mcp"] {
        assert_eq!(basic(&world, READER, &[GRANT, ("resource", forbidden)]).await.bytes, unknown.bytes);
    }
}

#[tokio::test]
async fn security_82_servers_of_the_client_are_a_limit() {
    let world = World::new();
    basic(&world, SINGLE, &[GRANT, ("resource", INVOICES)]).await.assert_error(400, "invalid_target");
    assert_eq!(basic(&world, SINGLE, &[GRANT, ("resource", REPORTS)]).await.status, 200);
}

/// SDKs send the parameter in several spellings; `aud` is always the author's.
#[rstest]
#[case(INVOICES)]
#[case("HTTPS://Invoices.Acme.Example:443/mcp")]
#[tokio::test]
async fn rfc8707_2_spellings_of_a_resource(#[case] spelling: &str) {
    let world = World::new();
    let token = world.token("reader", spelling, "mcp:read").await;
    assert_eq!(claims(&token)["aud"], INVOICES);
}

#[tokio::test]
async fn the_resource_may_be_left_out_only_where_it_can_be_told() {
    let mut world = World::new();
    let reply = basic(&world, SINGLE, &[GRANT]).await;
    assert_eq!(claims(reply.json()["access_token"].as_str().unwrap())["aud"], REPORTS);
    // One beside it asks for no tokens, and cannot be meant.
    let public = json!({"servers": ["tools/reports", "public"]});
    world.put_client(client("acme", "single", "ClientSecretBasic", &["report:read"], &public));
    world.publish();
    let reply = basic(&world, SINGLE, &[GRANT]).await;
    assert_eq!(claims(reply.json()["access_token"].as_str().unwrap())["aud"], REPORTS);
    // Two servers it may use: it must say which.
    let both = json!({"servers": ["tools/reports", "invoices"]});
    world.put_client(client("acme", "single", "ClientSecretBasic", &["report:read"], &both));
    world.publish();
    basic(&world, SINGLE, &[GRANT]).await.assert_error(400, "invalid_target");
    // One server, which insists.
    let one = json!({"servers": ["invoices"]});
    world.put_client(client("acme", "single", "ClientSecretBasic", &["mcp:read"], &one));
    world.publish();
    basic(&world, SINGLE, &[GRANT]).await.assert_error(400, "invalid_target");
}

#[tokio::test]
async fn rfc6749_3_3_the_response_says_what_was_granted() {
    let world = World::new();
    let reply = basic(&world, READER, &[GRANT, ("resource", INVOICES), ("scope", "mcp:admin mcp:read unknown")]).await;
    let body = reply.json();
    assert_eq!(body["scope"], "mcp:read");
    assert_eq!(claims(body["access_token"].as_str().unwrap())["scope"], "mcp:read");
}

#[tokio::test]
async fn no_scopes_no_member() {
    let world = World::new();
    let reply = basic(&world, READER, &[GRANT, ("resource", "https://shell.acme.example")]).await;
    let body = reply.json();
    let claims = claims(body["access_token"].as_str().unwrap());
    assert!(body.get("scope").is_none() && claims.get("scope").is_none());
    assert_eq!(claims["aud"], "https://shell.acme.example/");
}

#[tokio::test]
async fn the_registry_is_a_resource_for_one_scope() {
    let world = World::new();
    let admin = ("acme", "admin");
    for scope in ["", "settings.manage", "settings.manage mcp:read"] {
        let reply = basic(&world, admin, &[GRANT, ("resource", ISSUER), ("scope", scope)]).await;
        let body = reply.json();
        assert_eq!((&body["scope"], &body["expires_in"]), (&json!("settings.manage"), &json!(3600)));
        verify(&world, body["access_token"].as_str().unwrap(), ISSUER).await;
    }
    basic(&world, admin, &[GRANT, ("resource", ISSUER), ("scope", "mcp:read")])
        .await
        .assert_error(400, "invalid_scope");
    basic(&world, admin, &[GRANT, ("resource", INVOICES), ("scope", "settings.manage")])
        .await
        .assert_error(400, "invalid_scope");
    let other = format!("{BASE}/orgs/other/api/v1");
    basic(&world, admin, &[GRANT, ("resource", &other)]).await.assert_error(400, "invalid_target");
}

#[tokio::test]
async fn a_deleted_client_and_a_deleted_server_are_gone_at_once() {
    let mut world = World::new();
    let ask = [GRANT, ("resource", INVOICES)];
    assert_eq!(basic(&world, READER, &ask).await.status, 200);
    world.index.delete_server(&crate::registry::ObjectKey::new("acme", "invoices"));
    world.publish();
    basic(&world, READER, &ask).await.assert_error(400, "invalid_target");
    world.index.delete_client(&crate::registry::ObjectKey::new("acme", "reader"));
    world.publish();
    basic(&world, READER, &ask).await.assert_error(401, "invalid_client");
}

#[tokio::test]
async fn rotation_refuses_no_token() {
    let world = World::new();
    let hold = |ring: &KeyRing| {
        let authority = Authority::new(IssuerUrl::parse(BASE).unwrap(), ring.clone());
        world.authority.send_replace(Some(Arc::new(authority)));
    };
    let mut ring = KeyRing::new(UnixTime(NOW - (ROTATION_PERIOD - PUBLICATION_LEAD))).unwrap();
    hold(&ring);
    let before = world.token("reader", INVOICES, "mcp:read").await;
    assert!(ring.advance(UnixTime(NOW)).unwrap());
    hold(&ring);
    let published = world.token("reader", INVOICES, "mcp:read").await;
    let kid = |token: &str| Unverified::parse(token).unwrap().key_id().unwrap().to_owned();
    assert_eq!(kid(&before), kid(&published), "published, not yet used");
    verify(&world, &before, INVOICES).await;
    world.set_time(NOW + PUBLICATION_LEAD);
    let after = world.token("reader", INVOICES, "mcp:read").await;
    assert_ne!(kid(&before), kid(&after));
}

#[rstest]
#[case::json("application/json", r#"{"grant_type":"client_credentials"}"#.to_owned(), 400)]
#[case::too_long("application/x-www-form-urlencoded", "a".repeat(64 * 1024 + 1), 413)]
#[tokio::test]
async fn bodies_that_are_not_read(#[case] kind: &str, #[case] body: String, #[case] status: u16) {
    let world = World::new();
    let request = Request::post("/orgs/acme/api/v1/oauth/token").header(header::CONTENT_TYPE, kind);
    world.send(request.body(Body::from(body)).unwrap()).await.assert_error(status, "invalid_request");
}

#[tokio::test]
async fn an_organization_that_is_not_there() {
    let world = World::new();
    world.form_to("/orgs/nobody/api/v1/oauth/token", None, &[GRANT]).await.assert_error(404, "invalid_tenant");
}
