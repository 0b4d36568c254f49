//! Introspection, revocation, and the Token Status Lists that tell sidecars.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, header};
use jiff::SignedDuration;
use lumoauth_core::{
    ClientId, IssuerUrl, ResourceUri, UnixTime,
    token::{Algorithm, KeySet, StatusExpectations, StatusListToken},
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    authserver::{
        Authority,
        store::Swept,
        testing::{
            BASE, INVOICES, ISSUER, NOW, REDIRECT, REPORTS, Reply, SECRET, Scene, VERIFIER, World, acme, claims,
            client, id_of, invoices, server, server_id, tokens_of,
        },
    },
    pki::signing::KeyRing,
    registry::ObjectKey,
    settings::Settings,
};

const TOKEN: &str = "/orgs/acme/api/v1/oauth/token";
const INTROSPECT: &str = "/orgs/acme/api/v1/oauth/introspect";
const REVOKE: &str = "/orgs/acme/api/v1/oauth/revoke";
const STATUS: &str = "/orgs/acme/api/v1/oauth/status/1800000000";

/// Whether the bit that `token` names is set, as a sidecar would see it.
async fn is_revoked(world: &World, token: &str, now: u64) -> bool {
    let jwks = world.get("/orgs/acme/api/v1/.well-known/jwks.json").await;
    let keys = KeySet::new(&serde_json::from_slice(&jwks.bytes).unwrap());
    let status = &claims(token)["status"]["status_list"];
    let uri = status["uri"].as_str().unwrap();
    let reply = world.get(uri.strip_prefix("https://auth.example").unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (issuer, list) = (IssuerUrl::parse(ISSUER).unwrap(), ResourceUri::parse(uri).unwrap());
    let expect = StatusExpectations { issuer: &issuer, list: &list, algorithms: &[Algorithm::ES256] };
    let list = StatusListToken::verify(&reply.text(), &keys, &expect, UnixTime(now)).unwrap();
    list.list.is_revoked(status["idx"].as_u64().unwrap())
}

async fn revoke(people: &Scene, token: &str) -> Reply {
    people.world.form_to(REVOKE, None, &[("client_id", &people.app), ("token", token)]).await
}

#[tokio::test]
async fn rfc7662_2_2_what_is_said_of_a_token() {
    let people = Scene::new().await;
    let (access, _) = people.tokens().await;
    let expected = json!({
        "active": true, "token_type": "Bearer", "iss": ISSUER, "client_id": people.app, "sub": people.ada.id.as_str(),
        "username": "ada", "aud": INVOICES, "scope": "mcp:write", "exp": NOW + 600, "iat": NOW,
        "jti": claims(&access)["jti"],
    });
    assert_eq!(people.introspect(&access).await, expected);
    let of_reader = people.world.token("reader", INVOICES, "mcp:read").await;
    let said = people.introspect(&of_reader).await;
    let reader = id_of("acme", "reader");
    assert_eq!((&said["active"], &said["sub"], said.get("username")), (&json!(true), &json!(reader), None));
    let own = people.world.form_to(INTROSPECT, Some((&reader, SECRET)), &[("token", &of_reader)]).await;
    assert_eq!(own.json(), said, "a client may look at its own");
}

/// One answer, to the byte, for all that is not the caller's business or no token at all.
#[tokio::test]
async fn security_83_uniform_otherwise() {
    let people = Scene::new().await;
    let (access, refresh) = people.tokens().await;
    let code = people.code("app", &[(REPORTS, "report:read")]).await;
    let (of_reports, _) = tokens_of(&people.redeem(&code, &[("resource", REPORTS)]).await);
    let (head, _) = access.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    let reader = id_of("other", "reader");
    let other = people.world.form_to(
        "/orgs/other/api/v1/oauth/token",
        Some((&reader, SECRET)),
        &[("grant_type", "client_credentials"), ("resource", INVOICES)],
    );
    let of_another_organization = tokens_of(&other.await).0;
    let (dead, _) = people.tokens().await;
    assert_eq!(revoke(&people, &dead).await.status, 200);
    let web = id_of("acme", "web");
    let mut seen = Vec::new();
    for token in [&*of_reports, &refresh, &forged, &of_another_organization, &dead, "x", "a.b.c", "lrt_x"] {
        let form = [("token", token), ("token_type_hint", "access_token")];
        let reply = people.world.form_to(INTROSPECT, Some((&web, SECRET)), &form).await;
        seen.push((reply.status, reply.headers.clone(), reply.text()));
    }
    assert_eq!(seen[0].2, r#"{"active":false}"#);
    assert_eq!(seen[0].1[header::CACHE_CONTROL], "no-store");
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:?}");
    people.world.set_time(NOW + 600 + 31);
    assert_eq!(people.introspect(&access).await, json!({"active": false}), "expired");
}

#[rstest]
#[case::nobody(None, &[("token", "x")], 401, "invalid_client")]
#[case::wrong_secret(Some("wrong"), &[("token", "x")], 401, "invalid_client")]
#[case::public(None, &[("token", "x"), ("client_id", "@app")], 401, "invalid_client")]
#[case::no_token(Some(SECRET), &[], 400, "invalid_request")]
#[case::twice(Some(SECRET), &[("token", "x"), ("token", "y")], 400, "invalid_request")]
#[tokio::test]
async fn rfc7662_2_1_who_may_ask(
    #[case] secret: Option<&str>,
    #[case] form: &[(&str, &str)],
    #[case] status: u16,
    #[case] error: &str,
) {
    let people = Scene::new().await;
    let web = id_of("acme", "web");
    let form: Vec<_> =
        form.iter().map(|(name, value)| (*name, if *value == "@app" { people.app.as_str() } else { value })).collect();
    let basic = secret.map(|secret| (web.as_str(), secret));
    people.world.form_to(INTROSPECT, basic, &form).await.assert_error(status, error);
}

#[tokio::test]
async fn a_refresh_token_is_shown_to_its_own_client() {
    let people = Scene::new().await;
    let code = people.code("web", &[(INVOICES, "mcp:read")]).await;
    let web = id_of("acme", "web");
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("resource", INVOICES),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let (_, refresh) = tokens_of(&people.world.form(Some((&web, SECRET)), &form).await);
    let said = people.introspect(&refresh).await;
    assert_eq!((&said["active"], &said["client_id"], &said["username"]), (&json!(true), &json!(web), &json!("ada")));
    assert_eq!(said.get("token_type"), None, "it is no access token");
}

/// RFC 7662 §4: what the sidecar would refuse is not active, and no scope that was taken back is told.
#[rstest]
#[case::as_before(json!({}), Some("mcp:read mcp:write"))]
#[case::client_allowed(json!({"allowedClients": ["app"]}), Some("mcp:read mcp:write"))]
#[case::client_not_allowed(json!({"allowedClients": ["web"]}), None)]
#[case::no_token_needed(json!({"authMode": "None"}), None)]
#[case::less_granted(json!({"grants": [{"users": ["ada"], "scopes": ["mcp:read"]}]}), Some("mcp:read"))]
#[case::granted_to_another(json!({"grants": [{"users": ["bob"], "scopes": ["mcp:write"]}]}), None)]
#[tokio::test]
async fn rfc7662_4_what_was_taken_back_is_not_active(#[case] change: Value, #[case] scope: Option<&str>) {
    let mut people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:read mcp:write")]).await;
    let (access, _) = tokens_of(&people.redeem(&code, &[]).await);
    let mut spec = invoices();
    spec["grants"] = json!([{"users": ["ada"], "scopes": ["mcp:write"]}]);
    spec["introspectionClients"] = json!(["web"]);
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    people.world.put_server(server("acme", "invoices", &spec));
    people.world.publish();
    let said = people.introspect(&access).await;
    assert_eq!((&said["active"], said["scope"].as_str()), (&json!(scope.is_some()), scope), "{said}");
}

#[rstest]
#[case::denies_all("requiredScopes", json!(["unknown"]))]
#[case::spelled_otherwise("resourceUri", json!("https://INVOICES.acme.example/mcp"))]
#[tokio::test]
async fn a_token_that_no_server_takes_any_more_is_not_active(#[case] member: &str, #[case] value: Value) {
    let mut world = World::new();
    let token = world.token("reader", INVOICES, "mcp:read").await;
    let reader = id_of("acme", "reader");
    let own =
        async |world: &World| world.form_to(INTROSPECT, Some((&reader, SECRET)), &[("token", &token)]).await.json();
    assert_eq!(own(&world).await["active"], true);
    let mut spec = invoices();
    spec[member] = value;
    world.put_server(server("acme", "invoices", &spec));
    world.publish();
    assert_eq!(own(&world).await, json!({"active": false}));
}

/// What is said of a refresh token that cannot be used: nothing.
#[rstest]
#[case::used(0, &["refresh"])]
#[case::expired(30 * 86_400, &[])]
#[case::revoked(0, &["revoke"])]
#[tokio::test]
async fn a_refresh_token_that_does_not_work_is_not_shown(#[case] later: u64, #[case] after: &[&str]) {
    let people = Scene::new().await;
    let web = id_of("acme", "web");
    let code = people.code("web", &[(REPORTS, "report:read")]).await;
    let post = async |path: &str, form: &[(&str, &str)]| {
        let reply = people.world.form_to(path, Some((&web, SECRET)), form).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply
    };
    let proof = [("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)];
    let redeem = [&[("grant_type", "authorization_code"), ("code", code.as_str())], &proof[..]].concat();
    let (_, refresh) = tokens_of(&post(TOKEN, &redeem).await);
    people.world.set_time(NOW + later.saturating_sub(1));
    assert_eq!(people.introspect(&refresh).await["active"], true);
    people.world.set_time(NOW + later);
    for what in after {
        match *what {
            "refresh" => post(TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await,
            _ => post(REVOKE, &[("token", &refresh)]).await,
        };
    }
    assert_eq!(people.introspect(&refresh).await, json!({"active": false}));
}

/// Before anybody has revoked what a deleted or rejected McpClient holds.
#[rstest]
#[case::deleted(None)]
#[case::rejected(Some(json!({"grantTypes": []})))]
#[tokio::test]
async fn a_token_of_a_client_that_is_not_accepted_any_more_is_not_shown(#[case] becomes: Option<Value>) {
    let mut people = Scene::new().await;
    let (access, _) = people.tokens().await;
    assert_eq!(people.introspect(&access).await["active"], true);
    match becomes {
        None => people.world.index.delete_client(&ObjectKey::new("acme", "app")),
        Some(change) => people.world.put_client(client("acme", "app", "None", &["mcp:write"], &change)),
    }
    people.world.publish();
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
}

/// A store that is away is no answer, and none that a server may act upon.
#[tokio::test]
async fn nothing_is_said_of_a_token_while_the_store_is_away() {
    let people = Scene::new().await;
    let (access, refresh) = people.tokens().await;
    people.world.store.close().await;
    people.world.set_time(NOW + 1);
    let web = id_of("acme", "web");
    for token in [&access, &refresh] {
        let reply = people.world.form_to(INTROSPECT, Some((&web, SECRET)), &[("token", token)]).await;
        reply.assert_error(503, "temporarily_unavailable");
    }
}

#[tokio::test]
async fn rfc7009_2_revoking_either_token_ends_the_grant() {
    for which in ["access", "refresh"] {
        let people = Scene::new().await;
        let (access, refresh) = people.tokens().await;
        assert!(!is_revoked(&people.world, &access, NOW).await);
        let reply = revoke(&people, if which == "access" { &access } else { &refresh }).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "{}"));
        assert_eq!(people.introspect(&access).await, json!({"active": false}), "{which}");
        assert!(is_revoked(&people.world, &access, NOW).await, "{which}");
        people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
        assert_eq!(revoke(&people, &refresh).await.status, 200, "again");
    }
}

#[tokio::test]
async fn a_token_that_a_client_got_for_itself_goes_alone() {
    let people = Scene::new().await;
    let world = &people.world;
    let one = world.token("reader", INVOICES, "mcp:read").await;
    let two = world.token("reader", INVOICES, "mcp:read").await;
    let reader = id_of("acme", "reader");
    let reply = world.form_to(REVOKE, Some((&reader, SECRET)), &[("token", &one)]).await;
    assert_eq!(reply.status, 200);
    let revoked = (is_revoked(world, &one, NOW).await, is_revoked(world, &two, NOW).await);
    assert_eq!(revoked, (true, false));
    let path = format!("/orgs/acme/api/v1/mcp/{}/challenge", server_id(INVOICES));
    world.get_with(&path, &one).await.assert_error(401, "invalid_token");
    assert_eq!(world.get_with(&path, &two).await.status, 200);
}

/// As long as a verifier lets it pass, whose clock is behind, and no longer: then nobody has to remember it.
#[tokio::test]
async fn a_revoked_token_is_remembered_until_it_has_ended_everywhere() {
    let world = World::new();
    let token = world.token("reader", INVOICES, "mcp:read").await;
    let reader = id_of("acme", "reader");
    assert_eq!(world.form_to(REVOKE, Some((&reader, SECRET)), &[("token", &token)]).await.status, 200);
    let swept = async |seconds: u64| world.store.sweep("a", UnixTime(NOW + seconds)).await.unwrap();
    // 600 s of life, 30 s of leeway, and 60 s that the sweep waits.
    assert_eq!(swept(600 + 30 + 59).await, Swept::Rows(0));
    assert_eq!(swept(600 + 30 + 60).await, Swept::Rows(1));
}

#[tokio::test]
async fn the_registry_refuses_revoked_tokens() {
    let world = World::new();
    let token = world.token("admin", ISSUER, "settings.manage").await;
    let path = "/orgs/acme/api/v1/mcp/servers";
    assert_eq!(world.get_with(path, &token).await.status, 200);
    let admin = id_of("acme", "admin");
    world.form_to(REVOKE, Some((&admin, SECRET)), &[("token", &token)]).await;
    world.get_with(path, &token).await.assert_error(401, "invalid_token");
}

#[rstest]
#[case::unknown("x")]
#[case::unknown_refresh("lrt_x")]
#[case::no_jwt("a.b.c")]
#[tokio::test]
async fn rfc7009_2_2_there_is_nothing_to_revoke(#[case] token: &str) {
    let people = Scene::new().await;
    let reply = revoke(&people, token).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "{}"));
}

#[tokio::test]
async fn rfc7009_2_1_of_another_client() {
    let people = Scene::new().await;
    let (access, refresh) = people.tokens().await;
    let web = id_of("acme", "web");
    for token in [&access, &refresh] {
        let reply = people.world.form_to(REVOKE, Some((&web, SECRET)), &[("token", token)]).await;
        reply.assert_error(400, "invalid_grant");
    }
    assert_eq!(people.introspect(&access).await["active"], true);
    let nobody = people.world.form_to(REVOKE, None, &[("token", &access)]).await;
    nobody.assert_error(401, "invalid_client");
}

#[tokio::test]
async fn disabling_a_client_revokes_its_block_and_a_new_one_is_leased_afterwards() {
    let world = World::new();
    let before = world.token("reader", INVOICES, "mcp:read").await;
    let reader = ClientId::parse(&id_of("acme", "reader")).unwrap();
    world.store.set_client_disabled(&acme(), &reader, true, UnixTime(NOW)).await.unwrap();
    world.set_time(NOW + 1);
    assert!(is_revoked(&world, &before, NOW + 1).await);
    let form = [("grant_type", "client_credentials"), ("resource", INVOICES)];
    world.form(Some((reader.as_str(), SECRET)), &form).await.assert_error(401, "invalid_client");
    world.store.set_client_disabled(&acme(), &reader, false, UnixTime(NOW + 1)).await.unwrap();
    let after = world.token("reader", INVOICES, "mcp:read").await;
    assert!(!is_revoked(&world, &after, NOW + 1).await);
}

#[tokio::test]
async fn draft_8_1_lists_are_published_and_kept_for_a_moment() {
    let world = World::new();
    // The number of the first list is when it begins.
    let list = format!("/orgs/acme/api/v1/oauth/status/{}", NOW + 1);
    world.get(&list).await.assert_error(404, "not_found");
    world.set_time(NOW + 1);
    let token = world.token("reader", INVOICES, "mcp:read").await;
    let first = world.get(&list).await;
    assert_eq!(first.header(header::CONTENT_TYPE), "application/statuslist+jwt");
    assert_eq!(first.header(header::CACHE_CONTROL), "public, max-age=2");
    let tag = first.header(header::ETAG).to_owned();
    let again = async |tag: &str| {
        let request = Request::get(&list).header(header::IF_NONE_MATCH, tag);
        world.send(request.body(Body::empty()).unwrap()).await
    };
    let same = again(&tag).await;
    assert_eq!((same.status.as_u16(), same.bytes.len(), same.header(header::ETAG)), (304, 0, tag.as_str()));
    world.set_time(NOW + 2);
    assert_eq!(again(&tag).await.status, 304, "nothing changed");
    world.set_time(NOW + 40);
    let newer = again(&tag).await;
    assert_eq!(newer.status, 200, "it is signed again now and then");
    let reader = id_of("acme", "reader");
    let tag = newer.header(header::ETAG).to_owned();
    world.form_to(REVOKE, Some((&reader, SECRET)), &[("token", &token)]).await;
    assert_eq!(again(&tag).await.status, 200, "a bit changed");
    for list in ["1", "x", "00", "-1", "4294967296"] {
        let path = format!("/orgs/acme/api/v1/oauth/status/{list}");
        world.get(&path).await.assert_error(404, "not_found");
    }
}

/// By another replica, or by the command line: nobody tells this process.
#[tokio::test]
async fn what_others_revoke_is_known_a_second_later() {
    let people = Scene::new().await;
    let (access, _) = people.tokens().await;
    assert_eq!(people.introspect(&access).await["active"], true);
    assert!(!is_revoked(&people.world, &access, NOW).await);
    let app = ClientId::parse(&people.app).unwrap();
    people.world.store.revoke_client(&acme(), &app, UnixTime(NOW)).await.unwrap();
    people.world.set_time(NOW + 1);
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
    assert!(is_revoked(&people.world, &access, NOW + 1).await);
}

/// Signed lists are kept for half a minute: not by another key, for another time, or from the future.
#[tokio::test]
async fn a_list_is_signed_again_when_it_has_to_say_something_else() {
    let world = World::new();
    let token = world.token("reader", INVOICES, "mcp:read").await;
    let said = async || {
        let list = claims(&world.get(STATUS).await.text());
        (list["iat"].as_u64().unwrap() - NOW, list["exp"].as_u64().unwrap() - NOW)
    };
    let age = |settings: &Settings| settings.limits.status_max_age_seconds();
    let usual = age(&world.settings.borrow());
    world.set_time(NOW + 20);
    assert_eq!(said().await, (20, 20 + usual + 30), "handed out for so long, and good for the whole age afterwards");
    world.set_time(NOW + 10);
    assert_eq!(said().await, (10, 10 + usual + 30));
    world.settings.send_modify(|settings| {
        Arc::make_mut(settings).limits.status_max_age = SignedDuration::from_secs(120);
    });
    assert_eq!(said().await, (10, 10 + 120 + 30));
    let ring = KeyRing::new(UnixTime(NOW)).unwrap();
    world.authority.send_replace(Some(Arc::new(Authority::new(IssuerUrl::parse(BASE).unwrap(), ring))));
    assert!(!is_revoked(&world, &token, NOW + 10).await, "it is signed with the key that is published");
}

/// None that this issuer gave out is without an index of a list that it keeps. Row 83.
#[rstest]
#[case::none(Value::Null)]
#[case::unknown_list(json!({"status_list": {"idx": 0, "uri": format!("{ISSUER}/oauth/status/7")}}))]
#[case::of_another_organization(json!({"status_list": {"idx": 0, "uri": "https://auth.example/orgs/other/api/v1/oauth/status/30000000"}}))]
#[case::of_another_issuer(json!({"status_list": {"idx": 0, "uri": "https://other.example/status/30000000"}}))]
#[tokio::test]
async fn a_token_whose_status_nobody_knows_is_refused(#[case] status: Value) {
    let people = Scene::new().await;
    let good = people.world.token("reader", INVOICES, "mcp:read").await;
    let mut said = claims(&good);
    let path = format!("/orgs/acme/api/v1/mcp/{}/challenge", server_id(INVOICES));
    let authority = people.world.authority.borrow().clone().unwrap();
    let signed = |claims: &Value| authority.ring.current(UnixTime(NOW)).sign(claims).unwrap();
    assert_eq!(people.world.get_with(&path, &signed(&said)).await.status, 200, "what is signed here is good");
    if status.is_null() {
        said.as_object_mut().unwrap().remove("status").unwrap();
    } else {
        said["status"] = status;
    }
    let token = signed(&said);
    people.world.get_with(&path, &token).await.assert_error(401, "invalid_token");
    assert_eq!(people.introspect(&token).await, json!({"active": false}));
}

#[tokio::test]
async fn browser_clients_of_any_origin_may_ask_for_tokens_and_nothing_of_the_browser_is_used() {
    let world = World::new();
    for (path, open) in [("/orgs/acme/api/v1/oauth/token", true), (REVOKE, true), (INTROSPECT, false)] {
        let request = Request::builder().method("OPTIONS").uri(path).header(header::ORIGIN, "https://app.example");
        let request = request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
        let request = request.header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type");
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        let expected = if open { ("*", "authorization,content-type") } else { ("", "") };
        let allowed =
            (reply.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), reply.header(header::ACCESS_CONTROL_ALLOW_HEADERS));
        assert_eq!(allowed, expected, "{path}");
        assert_eq!(reply.header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "", "{path}");
    }
}
