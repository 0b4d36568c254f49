//! What a person did before, at this page or in another tab, and how far that goes.

use rstest::rstest;

use super::*;
use crate::{authserver::revoker::Revoker, registry::ObjectKey};

/// Whoever comes first: what is withdrawn gives no code that is not withdrawn with it.
#[tokio::test]
async fn withdrawn_while_a_code_is_on_its_way() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let (url, web, acme) = (url("web", &[]), client_id_of("web"), acme());
    for _ in 0..20 {
        answer(&allow(&mut browser, &url).await, CALLBACK);
        let withdraw = scene.world.store.withdraw_consent(&acme, &ada.id, &web, UnixTime(NOW));
        let (reply, withdrawn) = tokio::join!(browser.get(&url), withdraw);
        withdrawn.unwrap();
        if reply.status == 303 {
            let code = Digest::of(&answer(&reply, CALLBACK)["code"]);
            assert_eq!(scene.world.store.code(&acme, &code, UnixTime(NOW)).await.unwrap(), None);
        } else {
            assert!(!reply.text().contains("you allowed this before"), "{}", reply.text());
            proposal(&reply);
        }
        assert_eq!(scene.consents(&ada).await, 0);
    }
}

/// The page said where the answer goes, and that is what was agreed to.
#[rstest]
#[case::to_a_website_after_a_program(LOOPBACK, EVIL, true)]
#[case::to_another_path(CALLBACK, "https://app.example/other", true)]
#[case::to_a_program_after_a_website(EVIL, LOOPBACK, true)]
#[case::to_another_port_of_the_machine(LOOPBACK, "http://127.0.0.1:50000/callback", false)]
#[case::to_the_same(CALLBACK, CALLBACK, false)]
#[tokio::test]
async fn a_yes_for_one_destination_is_none_for_another(
    #[case] first: &str,
    #[case] then: &str,
    #[case] asked: bool,
    #[values(INVOICES, NOTES)] resource: &str,
) {
    let mut scene = Scene::new();
    let registered = ["http://127.0.0.1/callback", CALLBACK, "https://app.example/other", EVIL];
    scene.world.put_client(web(&json!({"redirectUris": registered})));
    scene.world.publish();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let to = |redirect, more| url("web", &[("redirect_uri", redirect), ("resource", resource), ("scope", ""), more]);
    let usual = ("response_mode", "query");
    answer(&allow(&mut browser, &to(first, usual)).await, first);
    let silently = answer(&browser.get(&to(then, ("prompt", "none"))).await, then);
    assert_eq!(silently.get("error").map(String::as_str), asked.then_some("consent_required"));
    if asked {
        answer(&allow(&mut browser, &to(then, usual)).await, then);
        // The newest is remembered.
        proposal(&browser.get(&to(first, usual)).await);
    }
    scene.code(&answer(&browser.get(&to(then, usual)).await, then)["code"]).await;
}

/// What was on the page that was answered is also where the answer goes.
#[tokio::test]
async fn a_yes_on_the_page_of_one_destination_is_none_for_another() {
    let mut scene = Scene::new();
    scene.world.put_client(web(&json!({"redirectUris": [CALLBACK, EVIL]})));
    scene.world.publish();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let seen = proposal(&browser.get(&url("web", &[])).await);
    let elsewhere = url("web", &[("redirect_uri", EVIL)]);
    let page = browser.press(&elsewhere, &[("action", "allow"), ("proposal", &seen)]).await;
    assert_page(&page, 200, "evil.example");
    assert_eq!(scene.consents(&ada).await, 0);
}

#[tokio::test]
async fn a_second_tab_goes_on_after_the_login_at_the_first() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    scene.world.store.set_password(&acme(), &ada.id, &hashed()).await.unwrap();
    let mut browser = Browser::new(&scene.world);
    let (url, login) = (url("web", &[]), [("action", "login"), ("username", "ada"), ("password", PASSWORD)]);
    browser.get(&url).await;
    let second = browser.csrf.clone();
    going_on(&browser.press(&url, &login).await);
    browser.csrf = second.clone();
    let reply = browser.press(&url, &login).await;
    assert_eq!(reply.status, 303, "{}", reply.text());
    let back = reply.header("location").to_owned();
    assert!(back.starts_with(PATH), "{back}");
    proposal(&browser.get(&back).await);
    browser.csrf = second;
    assert_page(&browser.press(&url, &[("action", "allow")]).await, 403, "out of date");
}

#[tokio::test]
async fn a_client_that_is_made_again_asks_again() {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    answer(&allow(&mut scene.browser_of(&ada).await, &url("web", &[])).await, CALLBACK);
    let mut now = UnixTime(NOW + 600);
    scene.world.store.sweep("a", now).await.unwrap();
    assert_eq!(scene.consents(&ada).await, 1, "which is all that is left of it");
    scene.world.index.delete_client(&ObjectKey::new("acme", "web"));
    scene.world.publish();
    let snapshot = scene.world.snapshot.borrow().clone();
    let mut revoker = Revoker::default();
    for _ in 0..2 {
        revoker.look(&scene.world.store, &snapshot, now).await.unwrap();
        now = now.plus(60);
    }
    scene.world.put_client(web(&json!({})));
    scene.world.publish();
    let page = scene.browser_of(&ada).await.get(&url("web", &[])).await;
    assert_page(&page, 200, "name=\"proposal\"");
    assert!(!page.text().contains("you allowed this before"), "{}", page.text());
}
