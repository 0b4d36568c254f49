//! Signing in and out, the account page, and forms that are not ours.

use std::sync::{Arc, LazyLock};

use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header;
use lumoauth_core::{ClientId, IssuerUrl, ResourceUri, ScopeSet, UnixTime, digest, pkce::CodeChallenge};
use rstest::rstest;

use crate::{
    authserver::{
        Authority,
        artefact::Digest,
        people::{Password, hash},
        store::{Consent, NewCode, NewUser, PasswordHash, User, UserName},
        testing::{BASE, INVOICES, NOW, Reply, World, browser::Browser, id_of},
    },
    pki::signing::KeyRing,
    registry::OrgId,
};

pub(super) const ACCOUNT: &str = "/orgs/acme/api/v1/account";
const COOKIE: &str = "__Host-lumoauth-acme";
pub(super) const PASSWORD: &str = "correct horse battery";

static HASH: LazyLock<PasswordHash> = LazyLock::new(|| hash(&Password::parse(PASSWORD).unwrap()).unwrap());

pub(super) fn acme() -> OrgId {
    OrgId::parse("acme").unwrap()
}

pub(super) async fn add(world: &World, name: &str) -> User {
    add_to(world, &acme(), name).await
}

pub(super) async fn add_to(world: &World, org: &OrgId, name: &str) -> User {
    let user = NewUser { name: UserName::parse(name).unwrap(), password_hash: HASH.clone(), groups: Vec::new() };
    world.store.add_user(org, user, UnixTime(NOW)).await.unwrap()
}

pub(super) async fn world() -> (World, User) {
    let world = World::new();
    let alice = add(&world, "alice").await;
    (world, alice)
}

pub(super) fn login<'a>(name: &'a str, password: &'a str) -> [(&'a str, &'a str); 3] {
    [("action", "login"), ("username", name), ("password", password)]
}

#[rstest]
#[case("alice")]
#[case("Alice")]
#[case(" ALICE ")]
#[tokio::test]
async fn signing_in_leads_to_the_account(#[case] name: &str) {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    let page = browser.get(ACCOUNT).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Sign in to acme") && page.text().contains("auth.example"), "{}", page.text());
    let reply = browser.press(ACCOUNT, &login(name, PASSWORD)).await;
    assert_eq!((reply.status.as_u16(), reply.header(header::LOCATION)), (303, ACCOUNT));
    assert_eq!(reply.header(header::CACHE_CONTROL), "no-store");
    let page = browser.get(ACCOUNT).await;
    assert!(page.text().contains("signed in to acme as <strong><bdi>alice</bdi>"), "{}", page.text());
}

#[rstest]
#[case::wrong_password("alice", "correct horse batterY", false)]
#[case::unknown_user("mallory", PASSWORD, false)]
#[case::no_password("alice", "", false)]
#[case::no_name("", PASSWORD, false)]
#[case::no_name_at_all("<script>", PASSWORD, false)]
#[case::long_password("alice", &"x".repeat(2000), false)]
#[case::disabled("alice", PASSWORD, true)]
#[tokio::test]
async fn refused_logins_look_the_same(#[case] name: &str, #[case] password: &str, #[case] disabled: bool) {
    let (world, alice) = world().await;
    world.store.set_user_disabled(&acme(), &alice.id, disabled, UnixTime(NOW)).await.unwrap();
    let mut browser = Browser::new(&world);
    let reply = browser.sign_in(ACCOUNT, name, password).await;
    assert_eq!(reply.status, 403);
    let text = reply.text();
    assert!(text.contains("User name or password is wrong.") && !text.contains("<script>"), "{text}");
    assert!(reply.headers.get(header::SET_COOKIE).is_none());
    assert!(browser.get(ACCOUNT).await.text().contains("Sign in to acme"));
}

/// Made when hashes were cheaper, or by a setting of before: it is good, and the last time that it is asked for.
#[tokio::test]
async fn a_weaker_hash_signs_in_and_is_replaced() {
    let world = World::new();
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(1024, 1, 1, None).unwrap());
    let weak = weak.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).unwrap().to_string();
    let name = UserName::parse("alice").unwrap();
    let user = NewUser { name, password_hash: PasswordHash::new(weak), groups: Vec::new() };
    let alice = world.store.add_user(&acme(), user, UnixTime(NOW)).await.unwrap();
    assert_eq!(Browser::new(&world).sign_in(ACCOUNT, "alice", PASSWORD).await.status, 303);
    let stored = world.store.user(&acme(), &alice.id).await.unwrap().unwrap().password_hash;
    assert!(stored.as_str().starts_with("$argon2id$v=19$m=19456,"), "{}", stored.as_str());
    assert_eq!(Browser::new(&world).sign_in(ACCOUNT, "alice", PASSWORD).await.status, 303);
}

#[tokio::test]
async fn what_was_typed_as_a_name_comes_back_and_no_more_of_it_than_a_name_has() {
    let (world, _) = world().await;
    let page = Browser::new(&world).sign_in(ACCOUNT, &"x".repeat(200), PASSWORD).await.text();
    assert!(page.contains(&format!("value=\"{}\"", "x".repeat(128))), "{page}");
}

#[tokio::test]
async fn guessing_makes_one_wait_and_locks_nobody_out() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.get(ACCOUNT).await;
    for _ in 0..10 {
        assert_eq!(browser.press(ACCOUNT, &login("alice", "a wrong password")).await.status, 403);
    }
    for password in ["a wrong password", PASSWORD] {
        let reply = browser.press(ACCOUNT, &login("alice", password)).await;
        assert_eq!((reply.status.as_u16(), reply.header(header::RETRY_AFTER)), (429, "30"));
        assert!(reply.text().contains("Try again in 30 seconds."), "{}", reply.text());
    }
    world.set_time(NOW + 30);
    assert_eq!(browser.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 303);
}

#[tokio::test]
async fn unknown_names_wait_as_known_ones_do() {
    let world = World::new();
    let mut browser = Browser::new(&world);
    browser.get(ACCOUNT).await;
    for _ in 0..10 {
        assert_eq!(browser.press(ACCOUNT, &login("nobody", PASSWORD)).await.status, 403);
    }
    assert_eq!(browser.press(ACCOUNT, &login("nobody", PASSWORD)).await.status, 429);
}

#[tokio::test]
async fn every_login_makes_a_new_cookie_and_ends_the_old_session() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.get(ACCOUNT).await;
    let before = browser.cookies[COOKIE].clone();
    assert_eq!(browser.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 303);
    let first = browser.cookies[COOKIE].clone();
    assert_ne!(before, first);
    browser.get(ACCOUNT).await;
    assert_eq!(browser.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 303);
    let second = browser.cookies[COOKIE].clone();
    assert_ne!(first, second);
    for (cookie, signed_in) in [(before, false), (first, false), (second, true)] {
        let mut other = Browser::new(&world);
        other.cookies.insert(COOKIE.to_owned(), cookie);
        assert_eq!(other.get(ACCOUNT).await.text().contains("Your account"), signed_in);
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_here_and_in_the_store() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    browser.get(ACCOUNT).await;
    let cookie = browser.cookies[COOKIE].clone();
    let reply = browser.press(ACCOUNT, &[("action", "logout")]).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("You are signed out"), "{}", reply.text());
    assert!(!browser.cookies.contains_key(COOKIE));
    browser.cookies.insert(COOKIE.to_owned(), cookie);
    assert!(browser.get(ACCOUNT).await.text().contains("Sign in to acme"));
}

#[tokio::test]
async fn a_session_lasts_eight_hours_whether_it_is_used_or_not() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    for (seconds, signed_in) in [(4 * 3600, true), (8 * 3600 - 1, true), (8 * 3600, false)] {
        world.set_time(NOW + seconds);
        assert_eq!(browser.get(ACCOUNT).await.text().contains("Your account"), signed_in, "{seconds}");
    }
}

#[tokio::test]
async fn a_disabled_user_is_signed_out() {
    let (world, alice) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    world.store.set_user_disabled(&acme(), &alice.id, true, UnixTime(NOW)).await.unwrap();
    assert!(browser.get(ACCOUNT).await.text().contains("Sign in to acme"));
    world.store.set_user_disabled(&acme(), &alice.id, false, UnixTime(NOW)).await.unwrap();
    assert!(browser.get(ACCOUNT).await.text().contains("Sign in to acme"), "the session does not come back");
}

#[tokio::test]
async fn a_session_is_of_one_organization() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    let cookie = browser.cookies[COOKIE].clone();
    browser.cookies.insert("__Host-lumoauth-other".to_owned(), cookie);
    assert!(browser.get("/orgs/other/api/v1/account").await.text().contains("Sign in to other"));
}

#[tokio::test]
async fn cookies_say_how_they_may_be_used() {
    let (world, _) = world().await;
    let flags = "; Path=/; Secure; HttpOnly; SameSite=Lax";
    let mut browser = Browser::new(&world);
    let before = browser.get(ACCOUNT).await;
    assert!(before.header(header::SET_COOKIE).starts_with("__Host-lumoauth-acme=lss_"));
    assert!(before.header(header::SET_COOKIE).ends_with(flags));
    let after = browser.press(ACCOUNT, &login("alice", PASSWORD)).await;
    assert!(after.header(header::SET_COOKIE).starts_with("__Host-lumoauth-acme=lss_"));
    assert!(after.header(header::SET_COOKIE).ends_with(&format!("{flags}; Max-Age=28800")));
    assert!(browser.get(ACCOUNT).await.headers.get(header::SET_COOKIE).is_none(), "nothing new");
}

#[tokio::test]
async fn on_plain_loopback_the_cookie_has_no_prefix() {
    let (world, _) = world().await;
    let url = "http://127.0.0.1:8080";
    let ring = KeyRing::new(UnixTime(NOW)).unwrap();
    world.authority.send_replace(Some(Arc::new(Authority::new(IssuerUrl::parse(url).unwrap(), ring))));
    let mut browser = Browser::new(&world);
    browser.says = vec![("origin", url.to_owned())];
    let reply = browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    assert!(reply.header(header::SET_COOKIE).starts_with("lumoauth-acme=lss_"));
    assert!(
        reply.header(header::SET_COOKIE).ends_with("; Path=/orgs/acme/api/v1; HttpOnly; SameSite=Lax; Max-Age=28800")
    );
    assert!(browser.get(ACCOUNT).await.text().contains("Your account"));
    browser.says = vec![("origin", BASE.to_owned())];
    assert_eq!(browser.press(ACCOUNT, &[("action", "logout")]).await.status, 403);
}

/// C.4 row 76: every action, by every sign that the form is not ours.
#[rstest]
#[case::origin(&[("origin", "https://evil.example")])]
#[case::null(&[("origin", "null")])]
#[case::other_scheme(&[("origin", "http://auth.example")])]
#[case::cross_site(&[("origin", BASE), ("sec-fetch-site", "cross-site")])]
#[case::same_site(&[("sec-fetch-site", "same-site")])]
#[tokio::test]
async fn rfc9700_4_16_other_sites_do_nothing(#[case] says: &[(&'static str, &str)]) {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    browser.get(ACCOUNT).await;
    browser.says = says.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let client = id_of("acme", "reader");
    for fields in
        [&login("alice", PASSWORD)[..], &[("action", "logout")], &[("action", "withdraw"), ("client", &client)]]
    {
        let reply = browser.press(ACCOUNT, fields).await;
        assert_eq!(reply.status, 403);
        assert!(reply.text().contains("came from another website"), "{}", reply.text());
        assert!(reply.headers.get(header::SET_COOKIE).is_none());
    }
    assert!(browser.get(ACCOUNT).await.text().contains("Your account"), "still signed in");
}

#[rstest]
#[case::none(None)]
#[case::empty(Some(""))]
#[case::wrong(Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))]
#[tokio::test]
async fn rfc9700_4_16_forms_need_their_token(#[case] token: Option<&str>) {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    let token = token.map(|token| format!("&csrf={token}")).unwrap_or_default();
    let reply = browser.post(ACCOUNT, format!("action=logout{token}")).await;
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("out of date"), "{}", reply.text());
    assert!(browser.get(ACCOUNT).await.text().contains("Your account"));
}

/// Where there is no cookie, there is nothing that a token could be made from: not even nothing.
#[rstest]
#[case::none(None)]
#[case::empty(Some(""))]
#[case::no_cookie_of_ours(Some("lss_x"))]
#[tokio::test]
async fn a_browser_without_our_cookie_has_no_token(#[case] cookie: Option<&str>) {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.cookies.extend(cookie.map(|cookie| (COOKIE.to_owned(), cookie.to_owned())));
    for of in ["", "lss_x"] {
        let made = digest::sha256(&[b"lumoauth form 1\n", of.as_bytes()].concat());
        browser.csrf = URL_SAFE_NO_PAD.encode(made);
        let reply = browser.press(ACCOUNT, &login("alice", PASSWORD)).await;
        assert_eq!(reply.status, 403, "{}", reply.text());
        assert!(browser.cookies.get(COOKIE).map(String::as_str) == cookie, "nobody is signed in");
    }
}

#[tokio::test]
async fn a_token_is_of_one_browser_and_one_session() {
    let (world, _) = world().await;
    let (mut alice, mut other) = (Browser::new(&world), Browser::new(&world));
    alice.get(ACCOUNT).await;
    other.get(ACCOUNT).await;
    std::mem::swap(&mut alice.csrf, &mut other.csrf);
    assert_nothing_was_done(&alice.press(ACCOUNT, &login("alice", PASSWORD)).await);
    assert!(alice.get(ACCOUNT).await.text().contains("Sign in to acme"));
    alice.sign_in(ACCOUNT, "alice", PASSWORD).await;
    let reply = alice.press(ACCOUNT, &[("action", "logout")]).await;
    assert_eq!(reply.status, 403, "the token of before the login");
}

/// To the same page, which knows who is there.
fn assert_nothing_was_done(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), reply.header(header::LOCATION)), (303, ACCOUNT));
    assert!(reply.headers.get(header::SET_COOKIE).is_none());
}

#[tokio::test]
async fn a_second_tab_sees_who_has_signed_in_at_the_first() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.get(ACCOUNT).await;
    let second = browser.csrf.clone();
    browser.press(ACCOUNT, &login("alice", PASSWORD)).await;
    let session = browser.cookies.clone();
    for password in [PASSWORD, "wrong"] {
        browser.csrf = second.clone();
        assert_nothing_was_done(&browser.press(ACCOUNT, &login("alice", password)).await);
        assert_eq!(browser.cookies, session);
        assert!(browser.get(ACCOUNT).await.text().contains("Your account"));
    }
}

#[tokio::test]
async fn a_browser_that_keeps_no_cookies_is_told() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.get(ACCOUNT).await;
    browser.cookies.clear();
    let reply = browser.press(ACCOUNT, &login("alice", PASSWORD)).await;
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("Cookies of this site must be allowed"), "{}", reply.text());
}

#[tokio::test]
async fn a_cookie_that_comes_twice_is_none() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    let cookie = format!("{COOKIE}={}", browser.cookies[COOKIE]);
    let get = async |cookies: &[&str]| {
        let mut request = http::Request::get(ACCOUNT);
        for cookie in cookies {
            request = request.header(header::COOKIE, *cookie);
        }
        world.send(request.body(axum::body::Body::empty()).unwrap()).await.text()
    };
    assert!(get(&[&cookie]).await.contains("Your account"));
    assert!(get(&[&cookie, &cookie]).await.contains("Sign in to acme"));
    assert!(get(&[&format!("{cookie}; {COOKIE}=x")]).await.contains("Sign in to acme"));
}

#[rstest]
#[case::unknown_action("action=delete", 400, "bad_form")]
#[case::no_action("", 400, "bad_form")]
#[case::foreign_action("action=allow", 400, "bad_form")]
#[case::duplicate("action=logout&action=login", 400, "bad_form")]
#[case::no_client("action=withdraw", 400, "bad_form")]
#[case::no_client_id("action=withdraw&client=%00", 400, "bad_form")]
#[tokio::test]
async fn forms_that_cannot_be_read(#[case] fields: &str, #[case] status: u16, #[case] outcome: &str) {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    browser.get(ACCOUNT).await;
    let body = format!("csrf={}&{fields}", browser.csrf);
    let reply = browser.post(ACCOUNT, body).await;
    assert_eq!(reply.status, status, "{}", reply.text());
    assert!(reply.text().contains("cannot be read"), "{}", reply.text());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &world.registry).unwrap();
    assert!(text.contains(&format!("endpoint=\"account\",outcome=\"{outcome}\"")), "{text}");
}

#[tokio::test]
async fn a_body_that_is_too_long() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    let reply = browser.post(ACCOUNT, "x".repeat(64 * 1024 + 1)).await;
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("too long"));
}

#[tokio::test]
async fn an_organization_that_is_not_there_is_a_page() {
    let reply = World::new().get("/orgs/nobody/api/v1/account").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("There is no such organization"));
}

/// Remembers a consent as the authorization endpoint does: with a code.
async fn consent(world: &World, user: &User, client: &str, resource: &str, scopes: &str) {
    let scopes = ScopeSet::parse(scopes).unwrap();
    let resource = ResourceUri::parse(resource).unwrap();
    let consent = Consent {
        scopes: scopes.clone(),
        offline: true,
        fingerprint: Digest::of("x"),
        destination: Digest::of("y"),
        given_at: UnixTime(NOW),
    };
    let code = NewCode {
        digest: Digest::of(&format!("{client}{resource}")),
        client: ClientId::parse(client).unwrap(),
        user: user.id.clone(),
        redirect_uri: "https://app.example/".to_owned(),
        challenge: CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", Some("S256")).unwrap(),
        resources: vec![(resource.clone(), scopes)],
        offline: true,
        issued_at: UnixTime(NOW),
        expires_at: UnixTime(NOW + 60),
    };
    world.store.issue_code(&acme(), &code, &[(resource, consent)]).await.unwrap();
}

#[tokio::test]
async fn what_was_allowed_is_listed_and_can_be_withdrawn() {
    let (world, alice) = world().await;
    let reader = id_of("acme", "reader");
    let document = "https://app.example/<script>";
    consent(&world, &alice, &reader, INVOICES, "mcp:read mcp:write").await;
    consent(&world, &alice, document, "https://gone.example/mcp", "x").await;
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    let text = browser.get(ACCOUNT).await.text();
    for shown in ["reader", "Invoices", "<code>mcp:write</code>", "while you are away", "https://gone.example/mcp"] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    assert!(text.contains("https://app.example/&#60;script&#62;") && !text.contains("<script>"), "{text}");

    let reply = browser.press(ACCOUNT, &[("action", "withdraw"), ("client", &reader)]).await;
    assert_eq!((reply.status.as_u16(), reply.header(header::LOCATION)), (303, "/orgs/acme/api/v1/account?withdrawn"));
    let text = browser.get(reply.header(header::LOCATION)).await.text();
    assert!(text.contains("The access is withdrawn.") && !text.contains("Invoices"), "{text}");
    assert!(text.contains("gone.example"), "the other stays");
    let resource = ResourceUri::parse(INVOICES).unwrap();
    let left = world.store.consent(&acme(), &alice.id, &ClientId::parse(&reader).unwrap(), &resource).await.unwrap();
    assert!(left.is_none());
}

#[tokio::test]
async fn of_very_many_the_newest_are_listed() {
    let (world, alice) = world().await;
    for at in 0..51 {
        consent(&world, &alice, &format!("https://app{at:02}.example/c"), INVOICES, "mcp:read").await;
    }
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    let text = browser.get(ACCOUNT).await.text();
    let listed = (0..51).filter(|at| text.contains(&format!("<bdi>https://app{at:02}.example/c</bdi>"))).count();
    assert_eq!(listed, 50, "{text}");
}

#[tokio::test]
async fn nobody_withdraws_for_another() {
    let (world, alice) = world().await;
    add(&world, "bob").await;
    let reader = id_of("acme", "reader");
    consent(&world, &alice, &reader, INVOICES, "mcp:read").await;
    let mut bob = Browser::new(&world);
    bob.sign_in(ACCOUNT, "bob", PASSWORD).await;
    assert!(!bob.get(ACCOUNT).await.text().contains("Invoices"));
    assert_eq!(bob.press(ACCOUNT, &[("action", "withdraw"), ("client", &reader)]).await.status, 303);
    assert_eq!(world.store.consents(&acme(), &alice.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_audit_names_users_and_never_what_was_typed() {
    let (world, alice) = world().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file.reopen().unwrap())).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let mut browser = Browser::new(&world);
    browser.sign_in(ACCOUNT, "hunter2-in-the-wrong-field", "x").await;
    browser.sign_in(ACCOUNT, "alice", "guessed-it").await;
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    browser.get(ACCOUNT).await;
    browser.press(ACCOUNT, &[("action", "logout")]).await;
    world.store.set_user_disabled(&acme(), &alice.id, true, UnixTime(NOW)).await.unwrap();
    browser.sign_in(ACCOUNT, "alice", PASSWORD).await;
    drop(logging);
    let logged = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(logged.matches("event=\"login\"").count(), 4, "{logged}");
    assert_eq!(logged.matches("reason=\"disabled\"").count(), 1, "its owner was right, and is told no more: {logged}");
    let wrong = logged.lines().find(|line| line.contains("wrong_password")).unwrap();
    assert!(wrong.contains(alice.id.as_str()), "{wrong}");
    assert_eq!(logged.matches("event=\"logout\"").count(), 1, "{logged}");
    assert!(logged.contains(alice.id.as_str()) && logged.contains("unknown_user"), "{logged}");
    for secret in ["hunter2", "guessed-it", PASSWORD, "lss_", "ldc_", &browser.csrf] {
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}
