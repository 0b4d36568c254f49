//! Clients that authenticate with a key of their own (`private_key_jwt`).

use lumoauth_core::UnixTime;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    authserver::testing::{INVOICES, ISSUER, NOW, Reply, World, client, id_of},
    pki::signing::SigningKey,
};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A world with the client `keyed`, and its key.
fn world() -> (World, SigningKey) {
    let key = SigningKey::generate(UnixTime(NOW), UnixTime(NOW)).unwrap();
    let authentication = json!({"method": "PrivateKeyJwt", "jwks": {"keys": [key.public()]}});
    let more = json!({"authentication": authentication, "credentialsSecretName": null});
    let mut world = World::new();
    world.put_client(client("acme", "keyed", "PrivateKeyJwt", &["mcp:read"], &more));
    world.publish();
    (world, key)
}

fn claims(jti: &str) -> Value {
    let id = id_of("acme", "keyed");
    json!({"iss": id, "sub": id, "aud": ISSUER, "jti": jti, "iat": NOW, "exp": NOW + 60})
}

async fn ask(world: &World, path: &str, assertion: &str, more: &[(&str, &str)]) -> Reply {
    let mut form = vec![("client_assertion_type", TYPE), ("client_assertion", assertion)];
    form.extend(more);
    world.form_to(&format!("/orgs/acme/api/v1/oauth/{path}"), None, &form).await
}

const GRANT: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("resource", INVOICES)];

#[tokio::test]
async fn security_80_an_assertion_is_good_once_wherever_it_is_shown() {
    let (world, key) = world();
    let first = key.sign_as("JWT", &claims("j1")).unwrap();
    let reply = ask(&world, "token", &first, &GRANT).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    ask(&world, "token", &first, &GRANT).await.assert_error(401, "invalid_client");
    ask(&world, "introspect", &first, &[("token", "x")]).await.assert_error(401, "invalid_client");
    let second = key.sign_as("JWT", &claims("j2")).unwrap();
    let token = reply.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(ask(&world, "introspect", &second, &[("token", &token)]).await.json()["active"], true);
    let third = key.sign_as("JWT", &claims("j3")).unwrap();
    assert_eq!(ask(&world, "revoke", &third, &[("token", &token)]).await.status, 200);
}

/// Nobody can say whether it was shown before.
#[tokio::test]
async fn security_80_an_assertion_proves_nothing_while_the_store_is_away() {
    let (world, key) = world();
    world.store.close().await;
    let assertion = key.sign_as("JWT", &claims("j1")).unwrap();
    let reply = ask(&world, "introspect", &assertion, &[("token", "a.b.c")]).await;
    reply.assert_error(503, "temporarily_unavailable");
}

#[rstest]
#[case::another_audience("aud", json!("https://other.example"))]
#[case::the_token_endpoint("aud", json!(format!("{ISSUER}/oauth/token")))]
#[case::two_audiences("aud", json!([ISSUER, "https://other.example"]))]
#[case::another_client("sub", json!("mcpc_000000000000000000000000"))]
#[case::expired("exp", json!(NOW - 31))]
#[case::too_long("exp", json!(NOW + 3600))]
#[case::no_jti("jti", Value::Null)]
#[tokio::test]
async fn security_80_rfc7523_3(#[case] name: &str, #[case] value: Value) {
    let (world, key) = world();
    let mut claims = claims("j1");
    claims[name] = value;
    let assertion = key.sign_as("JWT", &claims).unwrap();
    let id = id_of("acme", "keyed");
    let form: Vec<_> = GRANT.into_iter().chain([("client_id", id.as_str())]).collect();
    ask(&world, "token", &assertion, &form).await.assert_error(401, "invalid_client");
}

#[tokio::test]
async fn security_80_nothing_but_the_registered_method_and_key() {
    let (world, key) = world();
    let id = id_of("acme", "keyed");
    let stranger = SigningKey::generate(UnixTime(NOW), UnixTime(NOW)).unwrap();
    let forged = stranger.sign_as("JWT", &claims("j1")).unwrap();
    ask(&world, "token", &forged, &GRANT).await.assert_error(401, "invalid_client");
    let good = key.sign_as("JWT", &claims("j1")).unwrap();
    ask(&world, "token", &good, &[GRANT[0], GRANT[1], ("client_secret", "x")])
        .await
        .assert_error(400, "invalid_request");
    world.form(Some((&id, "x")), &GRANT).await.assert_error(401, "invalid_client");
    world.form(None, &[GRANT[0], GRANT[1], ("client_id", &id)]).await.assert_error(401, "invalid_client");
    let access_token = key.sign(&claims("j1")).unwrap();
    ask(&world, "token", &access_token, &GRANT).await.assert_error(401, "invalid_client");
    assert_eq!(ask(&world, "token", &good, &GRANT).await.status, 200, "what was refused claimed no jti");
}
