//! How the browser gets to the client: by itself, by a page that goes on, or by a link that somebody has to follow.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::authserver::store::{NewRegistration, Registered};

impl Scene {
    /// A client that registered itself, whoever did that.
    pub(super) async fn dynamic(&self, redirect: &str) -> String {
        let id = "dcr_0123456789abcdef01234567";
        let metadata = json!({
            "client_name": "Your <bank>", "redirect_uris": [redirect], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"],
        });
        let registration = NewRegistration {
            id: ClientId::parse(id).unwrap(),
            metadata: metadata.to_string(),
            secret: None,
            access_token: Digest::of("x"),
            expires_unused_at: UnixTime(NOW + 3600),
        };
        let registered = self.world.store.register(&acme(), &registration, 10, UnixTime(NOW)).await.unwrap();
        assert_eq!(registered, Registered::Done);
        id.to_owned()
    }
}

fn of<'a>(id: &'a str, redirect: &'a str, more: &[(&'a str, &'a str)]) -> String {
    let changes: Vec<_> =
        [("client_id", id), ("redirect_uri", redirect)].into_iter().chain(more.iter().copied()).collect();
    url("web", &changes)
}

/// Where the link of the page leads to that says what was refused; the page says that it is `destination`.
fn link(reply: &Reply, destination: &str) -> String {
    assert_page(reply, 400, "was refused");
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    let text = reply.text();
    assert!(!text.contains("http-equiv"), "{text}");
    for said in ["Go back to <bdi>Your &#60;bank&#62;</bdi>", &format!("<bdi>{destination}</bdi>")] {
        assert!(text.contains(said), "{said}: {text}");
    }
    text.split_once("<a href=\"").unwrap().1.split('"').next().unwrap().replace("&#38;", "&")
}

#[rstest]
#[case::fault(&[("response_type", "token")], "unsupported_response_type")]
#[case::resource(&[("resource", "https://unknown.example/mcp")], "invalid_target")]
#[case::scope(&[("scope", "mcp:read  mcp:write")], "invalid_scope")]
#[case::silently(&[("prompt", "none")], "")]
#[tokio::test]
async fn rfc9700_4_11_2_nobody_is_sent_to_a_stranger_unasked(
    #[case] changes: &[(&str, &str)],
    #[case] error: &str,
    #[values((EVIL, "evil.example"), ("com.example.cli:/callback", "com.example.cli:"))] to: (&str, &str),
) {
    let (redirect, destination) = to;
    let scene = Scene::new();
    let ada = scene.ada().await;
    let id = scene.dynamic(redirect).await;
    for (mut browser, silently) in
        [(Browser::new(&scene.world), "login_required"), (scene.browser_of(&ada).await, "consent_required")]
    {
        let reply = browser.get(&of(&id, redirect, changes)).await;
        let told = parameters(&link(&reply, destination), redirect);
        assert_eq!(told["error"], if error.is_empty() { silently } else { error });
    }
}

#[tokio::test]
async fn a_form_of_a_refused_request_is_refused_on_a_page_too() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let id = scene.dynamic(EVIL).await;
    let mut browser = scene.browser_of(&ada).await;
    browser.get(&of(&id, EVIL, &[])).await;
    let fault = of(&id, EVIL, &[("code_challenge", "")]);
    let reply = browser.press(&fault, &[("action", "allow")]).await;
    assert_eq!(parameters(&link(&reply, "evil.example"), EVIL)["error"], "invalid_request");
}

#[tokio::test]
async fn a_no_or_a_yes_of_the_person_goes_on() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let id = scene.dynamic(EVIL).await;
    let mut browser = scene.browser_of(&ada).await;
    let url = of(&id, EVIL, &[]);
    browser.get(&url).await;
    let no = browser.press(&url, &[("action", "deny")]).await;
    assert_eq!(parameters(&going_on(&no), EVIL)["error"], "access_denied");
    let yes = allow(&mut browser, &url).await;
    scene.code(&parameters(&going_on(&yes), EVIL)["code"]).await;
}

/// The person's own machine: there is nobody else to be sent to.
#[tokio::test]
async fn programs_of_the_machine_are_told_by_a_redirect() {
    let scene = Scene::new();
    let id = scene.dynamic(LOOPBACK).await;
    let reply = scene.world.get(&of(&id, LOOPBACK, &[("response_type", "token")])).await;
    assert_eq!(reply.status, 303);
    assert_eq!(refusal(&reply, LOOPBACK), "unsupported_response_type");
}

/// An administrator named the scheme.
#[tokio::test]
async fn apps_of_the_organization_are_told_by_a_redirect() {
    let scene = Scene::new();
    let own = "com.example.cli:/callback";
    let reply = scene.world.get(&url("cli", &[("redirect_uri", own), ("prompt", "none")])).await;
    assert_eq!(reply.status, 303);
    assert_eq!(refusal(&reply, own), "login_required");
}

/// CSP 3 §4.2.4: the browser holds `form-action` against each redirect after a form, those of the client's website too.
#[rstest]
#[tokio::test]
async fn a_form_leads_on_by_a_page_and_a_link_by_a_redirect(
    #[values(CALLBACK, LOOPBACK, "http://[::1]:49152/callback")] redirect: &str,
) {
    let mut scene = Scene::new();
    let registered = [CALLBACK, "http://127.0.0.1/callback", "http://[::1]/callback"];
    scene.world.put_client(web(&json!({"redirectUris": registered})));
    scene.world.publish();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[("redirect_uri", redirect)]);
    let page = browser.get(&url).await;
    assert!(page.header("content-security-policy").contains("form-action 'self';"));
    let form = browser.press(&url, &[("action", "allow"), ("proposal", &proposal(&page))]).await;
    scene.code(&parameters(&going_on(&form), redirect)["code"]).await;
    let link = browser.get(&url).await;
    assert_eq!(link.status, 303);
    scene.code(&answer(&link, redirect)["code"]).await;
}

#[tokio::test]
async fn a_form_leads_to_an_app_by_a_redirect() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let redirect = "com.example.cli:/callback";
    let url = url("cli", &[("redirect_uri", redirect)]);
    let page = browser.get(&url).await;
    assert!(page.header("content-security-policy").contains("form-action 'self' com.example.cli:;"));
    let reply = browser.press(&url, &[("action", "allow"), ("proposal", &proposal(&page))]).await;
    assert_eq!(reply.status, 303);
    scene.code(&answer(&reply, redirect)["code"]).await;
}

/// Who logs in at a request that was agreed to before goes on to the client: not as an answer to the form.
#[tokio::test]
async fn a_login_leads_on_by_a_page() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    scene.world.store.set_password(&acme(), &ada.id, &hashed()).await.unwrap();
    allow(&mut scene.browser_of(&ada).await, &url("web", &[])).await;
    let mut browser = Browser::new(&scene.world);
    let page = browser.sign_in(&url("web", &[]), "ada", PASSWORD).await;
    let back = going_on(&page);
    assert!(back.starts_with(PATH), "{back}");
    scene.code(&answer(&browser.get(&back).await, CALLBACK)["code"]).await;
    let mut browser = Browser::new(&scene.world);
    assert!(going_on(&browser.sign_in(&url("cli", &[]), "ada", PASSWORD).await).starts_with(PATH));
    let mut browser = Browser::new(&scene.world);
    let app = url("cli", &[("redirect_uri", "com.example.cli:/callback")]);
    assert_eq!(browser.sign_in(&app, "ada", PASSWORD).await.status, 303);
}

/// The end of a host tells whose it is, the beginning is whatever somebody would like to be.
#[tokio::test]
async fn destinations_are_shown_whole() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let host = format!("{}evil.example", "accounts.google.com.".repeat(12));
    let redirect = format!("https://{host}/callback");
    let id = scene.dynamic(&redirect).await;
    let mut browser = scene.browser_of(&ada).await;
    let url = of(&id, &redirect, &[]);
    let page = browser.get(&url).await;
    assert!(page.text().contains(&format!("<dd>{host}</dd>")), "{}", page.text());
    let refused = browser.get(&of(&id, &redirect, &[("prompt", "none")])).await;
    parameters(&link(&refused, &host), &redirect);
    let yes = browser.press(&url, &[("action", "allow"), ("proposal", &proposal(&page))]).await;
    assert!(yes.text().contains(&format!("<bdi>{host}</bdi>")), "{}", yes.text());
}
