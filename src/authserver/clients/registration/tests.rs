use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, header};
use lumoauth_core::{ClientId, UnixTime, digest, pkce::CodeChallenge, token::Algorithm};
use rstest::rstest;
use serde_json::{Value, json};

use super::super::{
    Authentication, OAuthClient, ResolveError, ScopeLimit, Source, key_set,
    resolve::{is_vouched_for, may_be_known, resolve},
};
use crate::{
    authserver::{
        artefact::{Digest, Family},
        org::Org,
        store::{GrantId, NewCode, NewGrant, NewUser, PasswordHash, Redeemed, StatusIndex, UserName},
        testing::{ISSUER, NOW, Reply, World, id_of, invoices, server},
    },
    registry::OrgId,
    settings::{ClientDocuments, DynamicRegistration, RegistrationMode},
};

const PATH: &str = "/orgs/acme/api/v1/connect/register";

fn world(change: impl FnOnce(&mut DynamicRegistration)) -> World {
    let world = World::new();
    world.set_org(|org| {
        org.dcr.mode = RegistrationMode::Open;
        change(&mut org.dcr);
    });
    world
}

fn minimal() -> Value {
    json!({"redirect_uris": ["http://127.0.0.1/callback"], "client_name": "Tool", "token_endpoint_auth_method": "none"})
}

async fn send(world: &World, method: Method, path: &str, token: Option<&str>, body: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn post(world: &World, body: &Value) -> Reply {
    send(world, Method::POST, PATH, None, &body.to_string()).await
}

async fn registered(world: &World, body: &Value) -> Value {
    let reply = post(world, body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()
}

async fn client(world: &World, id: &str) -> Result<Arc<OAuthClient>, ResolveError> {
    let org = Org::find(&world.state, "acme").unwrap();
    resolve(&world.state, &org, &ClientId::parse(id).unwrap()).await
}

/// Path and token of a registration's management.
fn management(document: &Value) -> (String, String) {
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    (text("registration_client_uri").replace("https://auth.example", ""), text("registration_access_token"))
}

#[tokio::test]
async fn rfc7591_3_2_1_a_public_client() {
    let world = world(|_| {});
    let reply = post(&world, &minimal()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.header(header::CACHE_CONTROL), "no-store");
    assert_eq!(reply.header(header::CONTENT_TYPE), "application/json");
    let document = reply.json();
    let id = document["client_id"].as_str().unwrap();
    assert!(id.len() == 28 && id.starts_with("dcr_"), "{id}");
    assert_eq!(document["client_id_issued_at"], NOW);
    assert_eq!(document["registration_client_uri"], format!("{ISSUER}/connect/register/{id}"));
    assert!(document["registration_access_token"].as_str().unwrap().starts_with("lrg_"));
    assert_eq!(document["redirect_uris"], json!(["http://127.0.0.1/callback"]));
    assert_eq!(document["grant_types"], json!(["authorization_code"]));
    assert_eq!(document["token_endpoint_auth_method"], "none");
    assert!(document.get("client_secret").is_none() && document.get("client_secret_expires_at").is_none());

    let client = client(&world, id).await.unwrap();
    assert_eq!((client.name.as_str(), &client.source), ("Tool", &Source::Dynamic));
    assert_eq!((&client.authentication, &client.scopes), (&Authentication::None, &ScopeLimit::Any));
    assert!(client.grants.authorization_code && !client.grants.refresh_token && client.secrets.is_empty());
}

#[rstest]
#[case(json!({}), "client_secret_basic", Authentication::SecretBasic)]
#[case(json!({"token_endpoint_auth_method": "client_secret_post"}), "client_secret_post", Authentication::SecretPost)]
#[tokio::test]
async fn rfc7591_3_2_1_a_secret(#[case] more: Value, #[case] method: &str, #[case] authentication: Authentication) {
    let world = world(|_| {});
    let mut body = more;
    body["redirect_uris"] = json!(["https://app.example/cb"]);
    body["grant_types"] =
        json!(["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]);
    body["scope"] = json!("mcp:read mcp:write");
    let document = registered(&world, &body).await;
    assert_eq!(document["token_endpoint_auth_method"], method);
    assert_eq!(
        document["grant_types"],
        json!(["authorization_code", "refresh_token"]),
        "what is not built is left out"
    );
    assert_eq!(document["client_secret_expires_at"], 0);
    let secret = document["client_secret"].as_str().unwrap();
    let client = client(&world, document["client_id"].as_str().unwrap()).await.unwrap();
    assert_eq!(client.authentication, authentication);
    assert_eq!(client.secrets.len(), 1);
    assert_eq!(client.secrets[0].sha256, digest::sha256_hex(secret.as_bytes()));
    assert_eq!((document.get("scope"), &client.scopes), (None, &ScopeLimit::Any), "it can step up");
    assert_eq!(client.name, client.id.as_str(), "it has no other");
}

#[rstest]
#[case("javascript:alert(1)")]
#[case("JAVASCRIPT:alert(1)")]
#[case("data:text/html,<script>")]
#[case("vbscript:msgbox")]
#[case("file:///etc/passwd")]
#[case("blob:https://app.example/x")]
#[case("about:blank")]
#[case("ws://app.example/")]
#[case("ftp://app.example/")]
#[case("mailto:a@app.example")]
#[case("microsoft-edge:https://evil.example/cb")]
#[case("http://app.example/cb")]
#[case("https://app.example/cb#x")]
#[case("https://u:p@app.example/cb")]
#[case("//app.example/cb")]
#[case("cb")]
#[case("")]
#[tokio::test]
async fn row_68_each_scheme(#[case] uri: &str) {
    let reply = post(&world(|_| {}), &json!({"redirect_uris": ["https://app.example/cb", uri]})).await;
    reply.assert_error(400, "invalid_redirect_uri");
    assert!(uri.len() < 3 || !reply.text().contains(uri), "nothing that was sent is repeated");
}

#[rstest]
#[case(json!({"redirect_uris": []}), "invalid_redirect_uri")]
#[case(json!({"redirect_uris": "https://app.example/cb"}), "invalid_redirect_uri")]
#[case(json!({"client_name": "no uris"}), "invalid_redirect_uri")]
#[case(json!({"redirect_uris": ["https://a.example/"], "grant_types": ["client_credentials"]}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "grant_types": ["authorization_code", "client_credentials"]}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "grant_types": ["implicit"]}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "response_types": ["token"]}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "tls_client_auth"}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "private_key_jwt"}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "jwks_uri": "http://169.254.169.254/"}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "logo_uri": "javascript:alert(1)"}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "scope": "a\tb"}), "invalid_client_metadata")]
#[case(json!({"redirect_uris": ["https://a.example/"], "application_type": "<script>"}), "invalid_client_metadata")]
#[case(json!([]), "invalid_client_metadata")]
#[tokio::test]
async fn rfc7591_3_2_2_errors(#[case] body: Value, #[case] error: &str) {
    post(&world(|_| {}), &body).await.assert_error(400, error);
}

/// What is fetched for a client that registered itself is bounded like what is fetched for one with a document.
#[tokio::test]
async fn keys_are_fetched_from_admitted_hosts_only() {
    let world = world(|_| {});
    let mut body = minimal();
    body["token_endpoint_auth_method"] = json!("private_key_jwt");
    body["jwks_uri"] = json!("https://keys.example/jwks.json");
    let document = registered(&world, &body).await;
    let known = client(&world, document["client_id"].as_str().unwrap()).await.unwrap();
    let restrictions: [(fn(&mut ClientDocuments), _); 2] = [
        (|cimd| cimd.allowed_domains = vec!["app.example".to_owned()], ResolveError::Domain),
        (|cimd| cimd.enabled = false, ResolveError::DocumentsOff),
    ];
    for (restrict, error) in restrictions {
        world.set_org(|org| restrict(&mut org.cimd));
        post(&world, &body).await.assert_error(400, "invalid_client_metadata");
        let (path, token) = management(&document);
        let mut update = body.clone();
        update["client_id"] = document["client_id"].clone();
        let reply = send(&world, Method::PUT, &path, Some(&token), &update.to_string()).await;
        reply.assert_error(400, "invalid_client_metadata");
        let org = Org::find(&world.state, "acme").unwrap();
        let keys = key_set(&world.state, &org, &known, (None, Algorithm::ES256)).await;
        assert_eq!(keys.err(), Some(error));
    }
    world.set_org(|org| {
        org.cimd.enabled = true;
        org.cimd.allowed_domains = vec!["*.example".to_owned()];
    });
    assert_eq!(post(&world, &body).await.status, 201);
}

#[rstest]
#[case::registered("@reader", true, &[], true)]
#[case::no_object("mcpc_000000000000000000000000", true, &[], false)]
#[case::dynamic("dcr_000000000000000000000000", true, &[], true)]
#[case::document("https://app.example/client", true, &[], true)]
#[case::document_of_an_admitted_host("https://app.example/client", true, &["app.example"], true)]
#[case::document_of_another_host("https://app.example/client", true, &["other.example"], false)]
#[case::documents_off("https://app.example/client", false, &[], false)]
#[tokio::test]
async fn who_may_still_be_a_client(
    #[case] id: &str,
    #[case] enabled: bool,
    #[case] domains: &[&str],
    #[case] may: bool,
) {
    let world = world(|_| {});
    world.set_org(|org| {
        org.cimd.enabled = enabled;
        org.cimd.allowed_domains = domains.iter().map(|&domain| domain.to_owned()).collect();
    });
    let id = if id == "@reader" { id_of("acme", "reader") } else { id.to_owned() };
    let (id, org) = (ClientId::parse(&id).unwrap(), Org::find(&world.state, "acme").unwrap());
    assert_eq!(may_be_known(&world.state, &org, &id), may);
    world.store.set_client_disabled(&org.id, &id, true, org.now).await.unwrap();
    world.disabled.refresh(&world.store).await.unwrap();
    assert!(!may_be_known(&world.state, &org, &id), "disabled");
}

/// A client that people use is not in the way of strangers, nor they in its.
#[tokio::test]
async fn a_client_that_is_named_or_in_use_is_vouched_for() {
    let mut world = world(|_| {});
    let org = Org::find(&world.state, "acme").unwrap();
    let id = |text: &str| ClientId::parse(text).unwrap();
    let used = id("https://app.example/used.json");
    assert!(!is_vouched_for(&world.state, &org, &used).await);
    redeem_a_code(&world, used.clone()).await;
    assert!(is_vouched_for(&world.state, &org, &used).await);
    assert!(!is_vouched_for(&world.state, &Org::find(&world.state, "other").unwrap(), &used).await);

    let (named, below) = (id("https://named.example/c.json"), id("https://host.example/c.json"));
    let mut spec = invoices();
    spec["allowedClients"] = json!([named, "https://host.example/*"]);
    world.put_server(server("acme", "invoices", &spec));
    world.publish();
    let org = Org::find(&world.state, "acme").unwrap();
    assert!(is_vouched_for(&world.state, &org, &named).await);
    assert!(!is_vouched_for(&world.state, &org, &below).await, "anybody can think of URLs of a host");
}

#[tokio::test]
async fn bodies_that_are_none() {
    let world = world(|_| {});
    for body in ["", "{", "{\"redirect_uris\": [], \"redirect_uris\": []}"] {
        send(&world, Method::POST, PATH, None, body).await.assert_error(400, "invalid_client_metadata");
    }
    let form = Request::post(PATH).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    world.send(form.body(Body::from("redirect_uris=x")).unwrap()).await.assert_error(400, "invalid_request");
    let long = format!("{{\"x\": \"{}\"}}", "x".repeat(64 * 1024));
    send(&world, Method::POST, PATH, None, &long).await.assert_error(413, "invalid_request");
    assert_eq!(send(&world, Method::GET, PATH, None, "").await.status, 405);
    let unknown = send(&world, Method::POST, "/orgs/nobody/api/v1/connect/register", None, "{}").await;
    unknown.assert_error(404, "invalid_tenant");
}

#[tokio::test]
async fn who_may_register() {
    let world = world(|dcr| {
        dcr.mode = RegistrationMode::InitialAccessToken;
        dcr.initial_access_tokens = vec![digest::sha256_hex(b"initial")];
    });
    let body = minimal().to_string();
    for token in [None, Some("other"), Some("")] {
        let reply = send(&world, Method::POST, PATH, token, &body).await;
        reply.assert_error(401, "invalid_token");
        assert!(reply.header(header::WWW_AUTHENTICATE).starts_with("Bearer "));
    }
    assert_eq!(send(&world, Method::POST, PATH, Some("initial"), &body).await.status, 201);
    world.set_org(|org| org.dcr.mode = RegistrationMode::Off);
    send(&world, Method::POST, PATH, Some("initial"), &body).await.assert_error(403, "access_denied");
    let other = "/orgs/other/api/v1/connect/register";
    send(&world, Method::POST, other, None, &body).await.assert_error(403, "access_denied");
}

/// Row 77, scaled: however many come, few are kept, and whoever is too many is told when to come again.
#[tokio::test]
async fn row_77_floods() {
    let world = world(|dcr| dcr.max_clients = 20);
    let mut accepted = 0;
    for _ in 0..200 {
        let reply = post(&world, &minimal()).await;
        if reply.status == 201 {
            accepted += 1;
        } else {
            reply.assert_error(429, "too_many_requests");
            assert!(reply.header(header::RETRY_AFTER).parse::<u64>().unwrap() >= 1);
        }
    }
    assert_eq!(accepted, 20);
}

#[tokio::test]
async fn those_that_nobody_used_make_room() {
    let world = world(|dcr| dcr.max_clients = 3);
    for status in [201, 201, 201, 429] {
        assert_eq!(post(&world, &minimal()).await.status, status);
    }
    world.set_time(NOW + 600);
    assert_eq!(post(&world, &minimal()).await.status, 201);
}

#[tokio::test]
async fn the_rate_is_limited_before_the_number() {
    let world = world(|_| {});
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(post(&world, &minimal()).await.status == 429);
    }
    assert!((30..=40).contains(&refused), "{refused}");
}

/// Each update is parsed and written as a registration is.
#[tokio::test]
async fn updates_have_the_rate_of_registrations() {
    let world = world(|_| {});
    let document = registered(&world, &minimal()).await;
    let (path, token) = management(&document);
    let mut body = minimal();
    body["client_id"] = document["client_id"].clone();
    let mut refused = 0;
    for _ in 0..100 {
        let reply = send(&world, Method::PUT, &path, Some(&token), &body.to_string()).await;
        refused += usize::from(reply.status == 429);
    }
    assert!((31..=41).contains(&refused), "{refused}");
    assert_eq!(send(&world, Method::GET, &path, Some(&token), "").await.status, 200, "reading has none");
}

/// Gives a client a grant.
async fn redeem_a_code(world: &World, client: ClientId) {
    let (org, now) = (OrgId::parse("acme").unwrap(), UnixTime(NOW));
    let name = UserName::parse("ada").unwrap();
    let user = NewUser { name, password_hash: PasswordHash::new(String::new()), groups: Vec::new() };
    let user = world.store.add_user(&org, user, now).await.unwrap().id;
    let code = NewCode {
        digest: Digest::of("code"),
        client,
        user,
        redirect_uri: "http://127.0.0.1/callback".to_owned(),
        challenge: CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", Some("S256")).unwrap(),
        resources: Vec::new(),
        offline: false,
        issued_at: now,
        expires_at: now.plus(60),
    };
    assert!(world.store.issue_code(&org, &code, &[]).await.unwrap());
    let grant = NewGrant { id: GrantId::of(&Family::generate().unwrap()), status: StatusIndex { list: 0, index: 0 } };
    let redeemed = world.store.redeem_code(&org, &code.digest, grant, None, now).await.unwrap();
    assert!(matches!(redeemed, Redeemed::Fresh(_)));
}

#[tokio::test]
async fn unused_registrations_expire() {
    let world = world(|dcr| dcr.unused_hours = 2);
    let (unused, used) = (registered(&world, &minimal()).await, registered(&world, &minimal()).await);
    let id = |document: &Value| document["client_id"].as_str().unwrap().to_owned();
    redeem_a_code(&world, ClientId::parse(&id(&used)).unwrap()).await;
    world.set_time(NOW + 2 * 3600 - 1);
    assert!(client(&world, &id(&unused)).await.is_ok());
    world.set_time(NOW + 2 * 3600);
    assert_eq!(client(&world, &id(&unused)).await, Err(ResolveError::Unknown));
    assert!(client(&world, &id(&used)).await.is_ok());
}

#[tokio::test]
async fn rfc7592_2_1_read() {
    let world = world(|_| {});
    let document = registered(&world, &json!({"redirect_uris": ["https://app.example/cb"]})).await;
    let (path, token) = management(&document);
    let reply = send(&world, Method::GET, &path, Some(&token), "").await;
    assert_eq!((reply.status.as_u16(), reply.header(header::CACHE_CONTROL)), (200, "no-store"));
    let mut expected = document.clone();
    for secret in ["client_secret", "client_secret_expires_at"] {
        expected.as_object_mut().unwrap().remove(secret);
    }
    assert_eq!(reply.json(), expected);
}

#[tokio::test]
async fn rfc7592_2_whoever_is_not_the_client() {
    let world = world(|_| {});
    let (one, two) = (registered(&world, &minimal()).await, registered(&world, &minimal()).await);
    let ((path, _), (_, other)) = (management(&one), management(&two));
    let unknown = format!("{PATH}/dcr_000000000000000000000000");
    let foreign = path.replace("/acme/", "/other/");
    let secret = one["client_id"].as_str();
    let mut replies = Vec::new();
    for (path, token) in [
        (&path, None),
        (&path, Some(&*other)),
        (&path, Some("")),
        (&path, secret),
        (&unknown, Some(&*other)),
        (&unknown, None),
        (&foreign, Some(&*management(&one).1)),
        (&format!("{PATH}/%00"), Some(&*other)),
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let reply = send(&world, method, path, token, &minimal().to_string()).await;
            reply.assert_error(401, "invalid_token");
            replies.push((reply.text(), reply.header(header::WWW_AUTHENTICATE).to_owned()));
        }
    }
    assert!(replies.windows(2).all(|pair| pair[0] == pair[1]), "all the same: {replies:?}");
    let (path, token) = management(&one);
    assert_eq!(send(&world, Method::GET, &path, Some(&token), "").await.status, 200, "nothing has happened to it");
}

#[tokio::test]
async fn paths_that_are_no_text() {
    let world = world(|_| {});
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        send(&world, method, &format!("{PATH}/%FF"), Some("x"), "{}").await.assert_error(404, "invalid_tenant");
    }
}

#[tokio::test]
async fn rfc7592_2_2_update() {
    let world = world(|_| {});
    let document = registered(&world, &json!({"redirect_uris": ["https://app.example/cb"]})).await;
    let (path, token) = management(&document);
    let id = document["client_id"].as_str().unwrap();
    let before = client(&world, id).await.unwrap();
    let new = json!({
        "client_id": id, "client_secret": document["client_secret"], "client_name": "New",
        "redirect_uris": ["https://app.example/new"], "grant_types": ["authorization_code", "refresh_token"],
    });
    let reply = send(&world, Method::PUT, &path, Some(&token), &new.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["redirect_uris"], json!(["https://app.example/new"]));
    assert_eq!((&reply.json()["client_id"], reply.json().get("client_secret")), (&document["client_id"], None));
    let after = client(&world, id).await.unwrap();
    assert_eq!((after.name.as_str(), &after.scopes, &after.secrets), ("New", &ScopeLimit::Any, &before.secrets));
    assert!(after.grants.refresh_token);
    assert_ne!(after.fingerprint(), before.fingerprint(), "people are asked again");
    assert_eq!(send(&world, Method::GET, &path, Some(&token), "").await.status, 200, "the token stays");
}

#[rstest]
#[case::no_id(json!({"client_id": null}), "invalid_client_metadata")]
#[case::other_id(json!({"client_id": "dcr_000000000000000000000000"}), "invalid_client_metadata")]
#[case::other_secret(json!({"client_secret": "mine"}), "invalid_client_metadata")]
#[case::public(json!({"token_endpoint_auth_method": "none"}), "invalid_client_metadata")]
#[case::other_method(json!({"token_endpoint_auth_method": "client_secret_post"}), "invalid_client_metadata")]
#[case::token(json!({"registration_access_token": "x"}), "invalid_client_metadata")]
#[case::uri(json!({"registration_client_uri": "https://evil.example/"}), "invalid_client_metadata")]
#[case::issued(json!({"client_id_issued_at": 0}), "invalid_client_metadata")]
#[case::expires(json!({"client_secret_expires_at": 0}), "invalid_client_metadata")]
#[case::privileged(json!({"grant_types": ["authorization_code", "client_credentials"]}), "invalid_client_metadata")]
#[case::script(json!({"redirect_uris": ["javascript:alert(1)"]}), "invalid_redirect_uri")]
#[tokio::test]
async fn rfc7592_2_2_refused(#[case] change: Value, #[case] error: &str) {
    let world = world(|_| {});
    let document = registered(&world, &json!({"redirect_uris": ["https://app.example/cb"]})).await;
    let (path, token) = management(&document);
    let mut body = json!({"client_id": document["client_id"], "redirect_uris": ["https://app.example/new"]});
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    send(&world, Method::PUT, &path, Some(&token), &body.to_string()).await.assert_error(400, error);
    let kept = send(&world, Method::GET, &path, Some(&token), "").await.json();
    assert_eq!(kept["redirect_uris"], json!(["https://app.example/cb"]));
}

#[tokio::test]
async fn rfc7592_2_3_delete() {
    let world = world(|_| {});
    let document = registered(&world, &minimal()).await;
    let (path, token) = management(&document);
    let reply = send(&world, Method::DELETE, &path, Some(&token), "").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (204, ""));
    for method in [Method::GET, Method::DELETE] {
        send(&world, method, &path, Some(&token), "").await.assert_error(401, "invalid_token");
    }
    assert_eq!(client(&world, document["client_id"].as_str().unwrap()).await, Err(ResolveError::Unknown));
}

#[tokio::test]
async fn disabled_clients_are_none() {
    let world = world(|_| {});
    let document = registered(&world, &minimal()).await;
    let dynamic = document["client_id"].as_str().unwrap();
    let registry = id_of("acme", "reader");
    let org = OrgId::parse("acme").unwrap();
    for id in [dynamic, &registry, "https://app.example/client.json"] {
        world.store.set_client_disabled(&org, &ClientId::parse(id).unwrap(), true, UnixTime(NOW)).await.unwrap();
        world.disabled.refresh(&world.store).await.unwrap();
        assert_eq!(client(&world, id).await, Err(ResolveError::Disabled), "{id}");
    }
    let of_other = Org::find(&world.state, "other").unwrap();
    let reader = ClientId::parse(&id_of("other", "reader")).unwrap();
    assert!(resolve(&world.state, &of_other, &reader).await.is_ok());
}

#[tokio::test]
async fn identifiers_that_lead_nowhere() {
    let world = world(|_| {});
    for id in ["", "dcr_", "dcr_000000000000000000000000", "mcpc_000000000000000000000000", "http://app.example/c", "x"]
    {
        if let Ok(id) = ClientId::parse(id) {
            assert_eq!(client(&world, id.as_str()).await, Err(ResolveError::Unknown), "{id}");
        }
    }
    let registered = client(&world, &id_of("acme", "reader")).await.unwrap();
    assert!(matches!(&registered.source, Source::Registered(key) if key.name == "reader"));
    assert!(registered.grants.client_credentials && !registered.grants.authorization_code);
}
