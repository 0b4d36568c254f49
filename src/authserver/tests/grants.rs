//! The grants of people: codes and refresh tokens at the token endpoint.

use futures::future::join_all;
use http::header;
use lumoauth_core::UnixTime;
use rstest::rstest;
use serde_json::json;

use crate::authserver::testing::{
    INVOICES, ISSUER, NOW, REDIRECT, REPORTS, Scene, acme, claims, client, id_of, invoices, server, tokens_of,
};

#[tokio::test]
async fn rfc6749_4_1_4_what_a_code_becomes() {
    let people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    let reply = people.redeem(&code, &[]).await;
    let (access, refresh) = tokens_of(&reply);
    assert_eq!(
        reply.json(),
        json!({
            "access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 600,
            "scope": "mcp:write",
        })
    );
    assert_eq!((reply.header(header::CACHE_CONTROL), reply.header(header::PRAGMA)), ("no-store", "no-cache"));
    assert!(refresh.starts_with("lrt_"));
    let claims = claims(&access);
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "aud": INVOICES, "sub": people.ada.id.as_str(), "client_id": people.app, "iat": NOW,
            "exp": NOW + 600, "jti": claims["jti"], "scope": "mcp:write",
            "status": {"status_list": {"idx": 0, "uri": format!("{ISSUER}/oauth/status/1800000000")}},
        })
    );
}

#[rstest]
#[case::no_code(&[("code", "")], 400, "invalid_request")]
#[case::unknown_code(&[("code", "lac_x")], 400, "invalid_grant")]
#[case::security_70_no_verifier(&[("code_verifier", "")], 400, "invalid_grant")]
#[case::security_70_wrong_verifier(&[("code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")], 400, "invalid_grant")]
#[case::security_70_malformed_verifier(&[("code_verifier", "x")], 400, "invalid_grant")]
#[case::security_71_other_port(&[("redirect_uri", "http://127.0.0.1:1/callback")], 400, "invalid_grant")]
#[case::security_72_another_client(&[("client_id", "@other")], 400, "invalid_grant")]
#[case::security_81_twice(&[("code", "a"), ("code", "b")], 400, "invalid_request")]
#[case::security_82_a_resource_nobody_agreed_to(&[("resource", REPORTS)], 400, "invalid_target")]
#[case::security_82_the_registry(&[("resource", ISSUER)], 400, "invalid_target")]
#[case::several_resources(&[("resource", INVOICES), ("resource", REPORTS)], 400, "invalid_target")]
#[case::no_resource(&[("resource", "")], 400, "invalid_target")]
#[case::malformed_resource(&[("resource", "/mcp")], 400, "invalid_target")]
#[case::unknown_client(&[("client_id", "mcpc_000000000000000000000000")], 401, "invalid_client")]
#[case::no_client(&[("client_id", "")], 401, "invalid_client")]
#[case::a_secret_nobody_has(&[("client_secret", "x")], 401, "invalid_client")]
#[case::acting_for_itself(&[("grant_type", "client_credentials")], 400, "unauthorized_client")]
#[tokio::test]
async fn what_is_refused_does_not_use_the_code_up(
    #[case] changes: &[(&str, &str)],
    #[case] status: u16,
    #[case] error: &str,
) {
    let mut people = Scene::new().await;
    let more = json!({"grantTypes": ["AuthorizationCode"], "redirectUris": ["http://127.0.0.1/callback"]});
    people.world.put_client(client("acme", "other", "None", &["mcp:read"], &more));
    people.world.publish();
    let other = id_of("acme", "other");
    let changes: Vec<_> =
        changes.iter().map(|(name, value)| (*name, if *value == "@other" { other.as_str() } else { value })).collect();
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    people.redeem(&code, &changes).await.assert_error(status, error);
    assert_eq!(people.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn rfc6749_4_1_2_a_code_lives_a_minute() {
    let people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    people.world.set_time(NOW + 60);
    people.redeem(&code, &[]).await.assert_error(400, "invalid_grant");
    people.world.set_time(NOW + 59);
    assert_eq!(people.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn security_72_a_replayed_code_revokes_what_came_of_it() {
    let people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    let (access, refresh) = tokens_of(&people.redeem(&code, &[]).await);
    assert_eq!(people.introspect(&access).await["active"], true);
    let web = id_of("acme", "web");
    let by_another = [("client_id", web.as_str()), ("client_secret", "x")];
    assert_ne!(people.redeem(&code, &by_another).await.status, 200);
    assert_eq!(people.introspect(&access).await["active"], true, "a stranger does no harm");
    people.redeem(&code, &[]).await.assert_error(400, "invalid_grant");
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
}

/// RFC 6749 §4.1.2: whatever else is wrong with the request.
#[rstest]
#[case::no_verifier(&[("code_verifier", "")])]
#[case::another_redirect_uri(&[("redirect_uri", "http://127.0.0.1:1/callback")])]
#[case::a_resource_nobody_agreed_to(&[("resource", REPORTS)])]
#[case::no_resource(&[("resource", "")])]
#[case::several_resources(&[("resource", INVOICES), ("resource", REPORTS)])]
#[tokio::test]
async fn security_72_a_replay_is_noticed_in_any_request(#[case] changes: &[(&str, &str)]) {
    let people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    let (access, refresh) = tokens_of(&people.redeem(&code, &[]).await);
    people.redeem(&code, changes).await.assert_error(400, "invalid_grant");
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn security_72_a_replay_is_noticed_when_the_user_may_have_nothing_any_more() {
    let mut people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    let (access, _) = tokens_of(&people.redeem(&code, &[]).await);
    let grant_to = |people: &mut Scene, user: &str| {
        let mut spec = invoices();
        spec["grants"] = json!([{"users": [user], "scopes": ["mcp:write"]}]);
        spec["introspectionClients"] = json!(["web"]);
        people.world.put_server(server("acme", "invoices", &spec));
        people.world.publish();
    };
    grant_to(&mut people, "bob");
    people.redeem(&code, &[]).await.assert_error(400, "invalid_grant");
    grant_to(&mut people, "ada");
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
}

#[tokio::test]
async fn security_72_replays_use_no_index_up() {
    let people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    people.redeem(&code, &[]).await;
    for _ in 0..10 {
        people.redeem(&code, &[]).await.assert_error(400, "invalid_grant");
    }
    let (access, _) = people.tokens().await;
    assert_eq!(claims(&access)["status"]["status_list"]["idx"], 1);
}

/// draft-ietf-oauth-v2-1 §10.2.
#[tokio::test]
async fn oauth_2_1_clients_send_no_redirect_uri() {
    let people = Scene::new().await;
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    assert_eq!(people.redeem(&code, &[("redirect_uri", "")]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn security_72_a_hundred_redeem_one_code() {
    let people = Scene::new().await;
    // What the list says is known for this second, before a grant on it is revoked.
    let (before, _) = people.tokens().await;
    assert_eq!(people.introspect(&before).await["active"], true);
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    let replies = join_all((0..100).map(|_| people.redeem(&code, &[]))).await;
    let issued: Vec<_> = replies.iter().filter(|reply| reply.status == 200).map(tokens_of).collect();
    let [(access, refresh)] = &issued[..] else { panic!("{} succeeded", issued.len()) };
    assert_eq!(people.introspect(access).await, json!({"active": false}), "dead at once");
    people.refresh(refresh, &[]).await.assert_error(400, "invalid_grant");
    assert!(
        replies
            .iter()
            .filter(|reply| reply.status != 200)
            .all(|reply| reply.outcome() == (400, "invalid_grant".to_owned()))
    );
}

#[tokio::test]
async fn one_code_for_two_resources() {
    let people = Scene::new().await;
    let both = [(REPORTS, "report:read"), (INVOICES, "mcp:write")];
    let code = people.code("app", &both).await;
    people.redeem(&code, &[("resource", "")]).await.assert_error(400, "invalid_target");
    let (access, refresh) = tokens_of(&people.redeem(&code, &[]).await);
    assert_eq!(claims(&access)["aud"], INVOICES);
    let (access, refresh) = tokens_of(&people.refresh(&refresh, &[("resource", REPORTS)]).await);
    assert_eq!((&claims(&access)["aud"], &claims(&access)["scope"]), (&json!(REPORTS), &json!("report:read")));
    let (access, _) = tokens_of(&people.refresh(&refresh, &[]).await);
    assert_eq!(claims(&access)["aud"], INVOICES);
}

#[tokio::test]
async fn the_resource_may_be_left_out_where_there_is_one_that_allows_it() {
    let people = Scene::new().await;
    let code = people.code("app", &[(REPORTS, "report:read")]).await;
    let (access, refresh) = tokens_of(&people.redeem(&code, &[("resource", "")]).await);
    assert_eq!(claims(&access)["aud"], REPORTS);
    assert_eq!(people.refresh(&refresh, &[("resource", "")]).await.status, 200);
}

#[tokio::test]
async fn no_refresh_token_for_clients_that_are_not_registered_for_it() {
    let mut people = Scene::new().await;
    let more = json!({"grantTypes": ["AuthorizationCode"], "redirectUris": ["http://127.0.0.1/callback"]});
    people.world.put_client(client("acme", "app", "None", &["mcp:write"], &more));
    people.world.publish();
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    let reply = people.redeem(&code, &[]).await;
    assert_eq!((reply.status.as_u16(), reply.json().get("refresh_token")), (200, None));
}

/// Whoever declares a client may change its registration after the user agreed.
#[tokio::test]
async fn no_refresh_token_that_the_user_was_not_asked_about() {
    let people = Scene::new().await;
    let code = people.code_of("app", &[(INVOICES, "mcp:write")], false).await;
    let reply = people.redeem(&code, &[]).await;
    assert_eq!((reply.status.as_u16(), reply.json().get("refresh_token")), (200, None));
}

#[rstest]
#[case::all(&[], "mcp:write")]
#[case::fewer(&[("scope", "mcp:read")], "mcp:read")]
#[case::offline_access(&[("scope", "mcp:write offline_access")], "mcp:write")]
#[tokio::test]
async fn rfc6749_6_scopes_of_a_refresh(#[case] changes: &[(&str, &str)], #[case] scope: &str) {
    let people = Scene::new().await;
    let (_, refresh) = people.tokens().await;
    let (access, refresh) = tokens_of(&people.refresh(&refresh, changes).await);
    assert_eq!(claims(&access)["scope"], scope);
    let (access, _) = tokens_of(&people.refresh(&refresh, &[]).await);
    assert_eq!(claims(&access)["scope"], "mcp:write", "the grant is as wide as before");
}

#[rstest]
#[case::wider(&[("scope", "mcp:admin")], 400, "invalid_scope")]
#[case::malformed_scope(&[("scope", "mcp:read  mcp:write")], 400, "invalid_scope")]
#[case::no_token(&[("refresh_token", "")], 400, "invalid_request")]
#[case::unknown_token(&[("refresh_token", "lrt_x")], 400, "invalid_grant")]
#[case::no_resource(&[("resource", "")], 400, "invalid_target")]
#[case::another_resource(&[("resource", REPORTS)], 400, "invalid_target")]
#[tokio::test]
async fn what_is_refused_does_not_use_the_refresh_token_up(
    #[case] changes: &[(&str, &str)],
    #[case] status: u16,
    #[case] error: &str,
) {
    let people = Scene::new().await;
    let (_, refresh) = people.tokens().await;
    people.refresh(&refresh, changes).await.assert_error(status, error);
    people.world.set_time(NOW + 3600);
    assert_eq!(people.refresh(&refresh, &[]).await.status, 200, "nobody has used it");
}

#[tokio::test]
async fn a_refresh_token_of_another_client_is_left_alone() {
    let people = Scene::new().await;
    let (access, refresh) = people.tokens().await;
    let web = id_of("acme", "web");
    let path = "/orgs/acme/api/v1/oauth/token";
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("resource", INVOICES)];
    let credentials = Some((web.as_str(), crate::authserver::testing::SECRET));
    people.world.form_to(path, credentials, &form).await.assert_error(400, "invalid_grant");
    assert_eq!(people.introspect(&access).await["active"], true);
    assert_eq!(people.refresh(&refresh, &[]).await.status, 200);
}

/// RFC 9700 §4.14.2, with the window for clients that lost the answer.
#[tokio::test]
async fn security_73_a_lost_answer_is_given_again_for_half_a_minute() {
    let people = Scene::new().await;
    let (_, first) = people.tokens().await;
    let (_, second) = tokens_of(&people.refresh(&first, &[]).await);
    people.world.set_time(NOW + 30);
    assert_eq!(tokens_of(&people.refresh(&first, &[]).await).1, second, "the same again");
    let (access, third) = tokens_of(&people.refresh(&second, &[]).await);
    assert_ne!(third, second);
    people.refresh(&first, &[]).await.assert_error(400, "invalid_grant");
    people.refresh(&third, &[]).await.assert_error(400, "invalid_grant");
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
}

#[rstest]
#[case::late(NOW + 31, &[])]
#[case::late_with_a_wrong_resource(NOW + 31, &[("resource", REPORTS)])]
#[tokio::test]
async fn security_73_a_second_use_ends_the_family(#[case] later: u64, #[case] changes: &[(&str, &str)]) {
    let people = Scene::new().await;
    let (_, first) = people.tokens().await;
    let (access, second) = tokens_of(&people.refresh(&first, &[]).await);
    people.world.set_time(later);
    assert_eq!(people.introspect(&access).await["active"], true);
    people.refresh(&first, changes).await.assert_error(400, "invalid_grant");
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
    people.refresh(&second, &[]).await.assert_error(400, "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn security_73_fifty_refreshes_at_once_leave_one_family() {
    let people = Scene::new().await;
    let (_, first) = people.tokens().await;
    let replies = join_all((0..50).map(|_| people.refresh(&first, &[]))).await;
    let mut successors: Vec<_> = replies.iter().map(|reply| tokens_of(reply).1).collect();
    successors.dedup();
    assert_eq!(successors.len(), 1, "every answer carries the one successor");
    assert_eq!(people.refresh(&successors[0], &[]).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_lasts_thirty_days_from_its_issue() {
    let people = Scene::new().await;
    let (_, first) = people.tokens().await;
    let days = 30 * 86_400;
    people.world.set_time(NOW + days - 1);
    let (_, second) = tokens_of(&people.refresh(&first, &[]).await);
    people.world.set_time(NOW + 2 * days - 1);
    people.refresh(&second, &[]).await.assert_error(400, "invalid_grant");
}

/// Of what was agreed to, the part that is taken back is left out, and the rest is given.
#[tokio::test]
async fn what_is_still_allowed_is_given() {
    let mut people = Scene::new().await;
    let agreed = [(INVOICES, "mcp:read mcp:write")];
    let (code, unredeemed) = (people.code("app", &agreed).await, people.code("app", &agreed).await);
    let (access, refresh) = tokens_of(&people.redeem(&code, &[]).await);
    assert_eq!(claims(&access)["scope"], "mcp:read mcp:write");
    let mut spec = invoices();
    spec["grants"] = json!([{"users": ["ada"], "scopes": ["mcp:read"]}]);
    people.world.put_server(server("acme", "invoices", &spec));
    people.world.publish();
    for reply in [people.redeem(&unredeemed, &[]).await, people.refresh(&refresh, &[]).await] {
        assert_eq!(claims(&tokens_of(&reply).0)["scope"], "mcp:read");
    }
}

/// What the administrator changes holds from the next exchange on.
#[tokio::test]
async fn every_refresh_asks_again() {
    let mut people = Scene::new().await;
    let (_, refresh) = people.tokens().await;
    let set = |people: &mut Scene, change: &[(&str, serde_json::Value)]| {
        let mut spec = invoices();
        spec["grants"] = json!([{"users": ["ada"], "scopes": ["mcp:write"]}]);
        for (name, value) in change {
            spec[*name] = value.clone();
        }
        people.world.put_server(server("acme", "invoices", &spec));
        people.world.publish();
    };
    set(&mut people, &[("grants", json!([{"users": ["bob"], "scopes": ["mcp:write"]}]))]);
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
    set(&mut people, &[("allowedClients", json!(["reader"]))]);
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_target");
    set(&mut people, &[("authMode", json!("None"))]);
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_target");
    set(&mut people, &[("grants", json!([{"users": ["ada"], "scopes": ["mcp:admin"]}]))]);
    let (access, refresh) = tokens_of(&people.refresh(&refresh, &[]).await);
    assert_eq!(claims(&access)["scope"], "mcp:write", "no more than was agreed to");
    let more = json!({"grantTypes": ["AuthorizationCode", "RefreshToken"], "redirectUris": [REDIRECT]});
    let limit = |people: &mut Scene, scopes: &[&str]| {
        people.world.put_client(client("acme", "app", "None", scopes, &more));
        people.world.publish();
    };
    limit(&mut people, &["mcp:read"]);
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
    limit(&mut people, &["mcp:write"]);
    let world = &people.world;
    world.store.set_user_disabled(&acme(), &people.ada.id, true, UnixTime(NOW)).await.unwrap();
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
}

/// Who leaves a group loses what it may do, and who comes back has it again.
#[tokio::test]
async fn groups_count_at_every_refresh() {
    let mut people = Scene::new().await;
    let (_, refresh) = people.tokens().await;
    let mut spec = invoices();
    spec["grants"] = json!([{"groups": ["finance"], "scopes": ["mcp:write"]}]);
    people.world.put_server(server("acme", "invoices", &spec));
    people.world.publish();
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
    let (store, ada) = (&people.world.store, &people.ada.id);
    assert!(store.set_groups(&acme(), ada, &["staff".to_owned(), "finance".to_owned()]).await.unwrap());
    let (access, refresh) = tokens_of(&people.refresh(&refresh, &[]).await);
    assert_eq!(claims(&access)["scope"], "mcp:write");
    assert!(store.set_groups(&acme(), ada, &[]).await.unwrap());
    people.refresh(&refresh, &[]).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_disabled_client_gets_nothing() {
    let people = Scene::new().await;
    let (access, refresh) = people.tokens().await;
    let app = lumoauth_core::ClientId::parse(&people.app).unwrap();
    let code = people.code("app", &[(INVOICES, "mcp:write")]).await;
    people.world.store.set_client_disabled(&acme(), &app, true, UnixTime(NOW)).await.unwrap();
    people.redeem(&code, &[]).await.assert_error(400, "invalid_grant");
    people.world.disabled.refresh(&people.world.store).await.unwrap();
    people.refresh(&refresh, &[]).await.assert_error(401, "invalid_client");
    people.world.set_time(NOW + 1);
    assert_eq!(people.introspect(&access).await, json!({"active": false}));
}
