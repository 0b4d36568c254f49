//! What the person sees and decides.

use rstest::rstest;
use serde_json::json;

use super::*;

#[tokio::test]
async fn login_consent_and_code() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    scene.world.store.set_password(&acme(), &ada.id, &hashed()).await.unwrap();
    let mut browser = Browser::new(&scene.world);
    let url = url("web", &[]);
    let page = browser.get(&url).await;
    assert_page(&page, 200, "Sign in to acme");
    assert!(page.text().contains("Web app"));
    let back = browser.press(&url, &[("action", "login"), ("username", "ada"), ("password", PASSWORD)]).await;
    let page = browser.get(&going_on(&back)).await;
    let escaped = "Read &#60;invoices&#62;";
    for said in ["Web app", "the administrators of acme", "app.example", "Invoices", escaped, "mcp:read"] {
        assert!(page.text().contains(said), "{said}: {}", page.text());
    }
    assert_page(&page, 200, "Stay connected");
    assert!(page.header("content-security-policy").contains("form-action 'self';"));

    let reply = browser.press(&url, &[("action", "allow"), ("proposal", &proposal(&page))]).await;
    let code = scene.code(&answer(&reply, CALLBACK)["code"]).await;
    assert_eq!((&code.client, &code.user), (&client_id_of("web"), &ada.id));
    assert_eq!((code.redirect_uri.as_str(), code.challenge.to_string().as_str()), (CALLBACK, CHALLENGE));
    assert_eq!(given(&code), [(INVOICES.to_owned(), "mcp:read".to_owned())]);
    assert_eq!((code.issued_at, code.expires_at, code.grant), (UnixTime(NOW), UnixTime(NOW + 60), None));
    assert!(code.offline);

    let again = answer(&browser.get(&url).await, CALLBACK);
    assert_ne!(again["code"], answer(&reply, CALLBACK)["code"]);
}

#[tokio::test]
async fn head_is_like_get() {
    let scene = Scene::new();
    let request = http::Request::head(url("web", &[])).body(axum::body::Body::empty()).unwrap();
    let reply = scene.world.send(request).await;
    assert_eq!((reply.status.as_u16(), reply.bytes.len()), (200, 0));
}

#[tokio::test]
async fn a_no_is_told_and_not_remembered() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[]);
    let page = browser.get(&url).await;
    let reply = browser.press(&url, &[("action", "deny"), ("proposal", &proposal(&page))]).await;
    assert_eq!(refusal(&reply, CALLBACK), "access_denied");
    assert_eq!(scene.consents(&ada).await, 0);
    assert_page(&browser.get(&url).await, 200, "Allow");
}

#[tokio::test]
async fn not_you_signs_out_and_comes_back_to_the_same_request() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[]);
    browser.get(&url).await;
    let reply = browser.press(&url, &[("action", "logout")]).await;
    assert_eq!(reply.status, 303);
    let back = reply.header("location").to_owned();
    assert!(back.starts_with(PATH), "{back}");
    assert_page(&browser.get(&back).await, 200, "Sign in to acme");
}

#[rstest]
#[case::stranger(None, "", Shown::Login)]
#[case::stranger_silently(None, "none", Shown::Error("login_required".to_owned()))]
#[case::stranger_consent(None, "consent", Shown::Login)]
#[case::for_the_first_time(Some(false), "", Shown::Consent)]
#[case::for_the_first_time_silently(Some(false), "none", Shown::Error("consent_required".to_owned()))]
#[case::for_the_first_time_login(Some(false), "login", Shown::Login)]
#[case::again(Some(true), "", Shown::Code)]
#[case::again_silently(Some(true), "none", Shown::Code)]
#[case::again_login(Some(true), "login", Shown::Login)]
#[case::again_account(Some(true), "select_account", Shown::Login)]
#[case::again_consent(Some(true), "consent", Shown::Consent)]
#[case::contradiction(Some(true), "none login", Shown::Error("invalid_request".to_owned()))]
#[tokio::test]
async fn openid_connect_3_1_2_1_prompt(#[case] agreed: Option<bool>, #[case] prompt: &str, #[case] expected: Shown) {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = match agreed {
        None => Browser::new(&scene.world),
        Some(_) => scene.browser_of(&ada).await,
    };
    if agreed == Some(true) {
        answer(&allow(&mut browser, &url("web", &[])).await, CALLBACK);
    }
    assert_eq!(shown(&browser.get(&url("web", &[("prompt", prompt)])).await), expected);
}

#[tokio::test]
async fn a_login_that_was_asked_for_is_asked_for_once() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    scene.world.store.set_password(&acme(), &ada.id, &hashed()).await.unwrap();
    let mut browser = scene.browser_of(&ada).await;
    let page = browser.get(&url("web", &[("prompt", "login consent")])).await;
    assert_page(&page, 200, "Sign in to acme");
    let text = page.text();
    let action = text.split_once("action=\"").unwrap().1.split('"').next().unwrap().replace("&#38;", "&");
    let back = browser.press(&action, &[("action", "login"), ("username", "ada"), ("password", PASSWORD)]).await;
    let back = going_on(&back);
    assert!(back.contains("prompt=consent"), "{back}");
    let reply = allow(&mut browser, &back).await;
    scene.code(&answer(&reply, CALLBACK)["code"]).await;
}

#[tokio::test]
async fn rfc8707_2_several_resources() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let both = [("resource", INVOICES), ("resource", NOTES), ("resource", INVOICES), ("scope", "mcp:read note:read")];
    let page = browser.get(&url("web", &both)).await;
    assert!(page.text().contains("Invoices") && page.text().contains("Read notes"), "{}", page.text());
    let reply = allow(&mut browser, &url("web", &both)).await;
    let code = scene.code(&answer(&reply, CALLBACK)["code"]).await;
    let expected = [(INVOICES, "mcp:read"), (NOTES, "note:read")].map(|(r, s)| (r.to_owned(), s.to_owned()));
    assert_eq!(given(&code), expected);
    assert_eq!(scene.consents(&ada).await, 2);
    assert_eq!(shown(&browser.get(&url("web", &[])).await), Shown::Code);
}

#[tokio::test]
async fn without_scope_it_is_what_each_server_requires() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let reply = allow(&mut browser, &url("web", &[("scope", ""), ("resource", INVOICES), ("resource", NOTES)])).await;
    let code = scene.code(&answer(&reply, CALLBACK)["code"]).await;
    let expected = [(INVOICES, "mcp:read"), (NOTES, "note:read")].map(|(r, s)| (r.to_owned(), s.to_owned()));
    assert_eq!(given(&code), expected);
}

#[tokio::test]
async fn a_second_request_for_more_keeps_what_was_granted() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    allow(&mut browser, &url("web", &[])).await;
    let more = url("web", &[("scope", "mcp:write")]);
    let page = browser.get(&more).await;
    assert!(page.text().contains("mcp:write") && page.text().contains("you allowed this before"), "{}", page.text());
    let reply = allow(&mut browser, &more).await;
    let code = scene.code(&answer(&reply, CALLBACK)["code"]).await;
    let both = [(INVOICES.to_owned(), "mcp:read mcp:write".to_owned())];
    assert_eq!(given(&code), both);
    let code = scene.code(&answer(&browser.get(&url("web", &[])).await, CALLBACK)["code"]).await;
    assert_eq!(given(&code), both);
}

#[tokio::test]
async fn what_nobody_granted_is_never_shown() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[("scope", "mcp:read mcp:admin other")]);
    let page = browser.get(&url).await;
    assert!(page.text().contains("mcp:read"));
    // The form's URL repeats the request; what is asked of the person does not.
    let shown = page.text().replace("mcp%3Aadmin", "");
    assert!(!shown.contains("mcp:admin") && !shown.contains("<code>other"), "{shown}");
    let code = scene.code(&answer(&allow(&mut browser, &url).await, CALLBACK)["code"]).await;
    assert_eq!(given(&code), [(INVOICES.to_owned(), "mcp:read".to_owned())]);
}

#[rstest]
#[case::required_only(&[("scope", "")])]
#[case::asked(&[])]
#[case::beyond_the_client(&[("scope", "settings.manage")])]
#[tokio::test]
async fn a_person_whom_no_grant_names_is_asked_nothing(#[case] changes: &[(&str, &str)]) {
    let scene = Scene::new();
    let bob = scene.add("bob", &["sales"]).await;
    let reply = scene.browser_of(&bob).await.get(&url("web", changes)).await;
    assert_eq!(refusal(&reply, CALLBACK), "invalid_scope");
}

#[tokio::test]
async fn of_several_resources_those_that_are_granted() {
    let scene = Scene::new();
    let bob = scene.add("bob", &[]).await;
    let mut browser = scene.browser_of(&bob).await;
    let both = url("web", &[("resource", INVOICES), ("resource", NOTES), ("scope", "")]);
    assert!(!browser.get(&both).await.text().contains("mcp:read"));
    let code = scene.code(&answer(&allow(&mut browser, &both).await, CALLBACK)["code"]).await;
    assert_eq!(given(&code), [(NOTES.to_owned(), "note:read".to_owned())]);
}

/// RFC 8252 §8.6: any program of the machine could ask in the name of such a client.
#[rstest]
#[case::loopback(LOOPBACK, "The access goes to a program on your computer")]
#[case::own_scheme("com.example.cli:/callback", "The access goes to an app on your device")]
#[tokio::test]
async fn a_public_client_on_the_machine_asks_each_time(#[case] redirect: &str, #[case] warning: &str) {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("cli", &[("redirect_uri", redirect)]);
    assert_page(&browser.get(&url).await, 200, warning);
    answer(&allow(&mut browser, &url).await, redirect);
    let page = browser.get(&url).await;
    assert_page(&page, 200, "you allowed this before");
    let silently = browser.get(&format!("{url}&prompt=none")).await;
    assert_eq!(refusal(&silently, redirect), "consent_required");
}

/// It proves who it is when it redeems the code: nobody else's program has its secret.
#[tokio::test]
async fn a_confidential_client_on_the_machine_asks_once() {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    scene.world.put_client(web(&json!({"redirectUris": [LOOPBACK]})));
    scene.world.publish();
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[("redirect_uri", LOOPBACK)]);
    answer(&allow(&mut browser, &url).await, LOOPBACK);
    assert!(answer(&browser.get(&url).await, LOOPBACK).contains_key("code"));
}

#[rstest]
#[case::name(json!({"displayName": "Web App"}))]
#[case::redirect_uris(json!({"redirectUris": [CALLBACK, "https://other.example/callback"]}))]
#[tokio::test]
async fn a_client_that_changed_is_asked_about_again(#[case] change: Value) {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    answer(&allow(&mut scene.browser_of(&ada).await, &url("web", &[])).await, CALLBACK);
    scene.world.put_client(web(&change));
    scene.world.publish();
    let page = scene.browser_of(&ada).await.get(&url("web", &[])).await;
    assert_eq!(shown(&page), Shown::Consent);
    assert!(!page.text().contains("you allowed this before"));
}

/// A refresh token lasts, and nobody has been asked about one.
#[tokio::test]
async fn what_was_allowed_while_the_person_is_there_is_not_allowed_for_longer() {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    let becomes = |scene: &mut Scene, grants: Value| {
        scene.world.put_client(web(&json!({"grantTypes": grants})));
        scene.world.publish();
    };
    let url = url("web", &[]);
    becomes(&mut scene, json!(["AuthorizationCode"]));
    let mut browser = scene.browser_of(&ada).await;
    let page = browser.get(&url).await;
    assert!(!page.text().contains("Stay connected"), "{}", page.text());
    let brief = [("action", "allow"), ("proposal", &proposal(&page))];
    answer(&browser.press(&url, &brief).await, CALLBACK);
    assert_eq!(shown(&browser.get(&url).await), Shown::Code);

    becomes(&mut scene, json!(["AuthorizationCode", "RefreshToken"]));
    let mut browser = scene.browser_of(&ada).await;
    assert_page(&browser.get(&url).await, 200, "Stay connected");
    let page = browser.press(&url, &brief).await;
    assert_page(&page, 200, "Stay connected");
    let reply = browser.press(&url, &[("action", "allow"), ("proposal", &proposal(&page))]).await;
    assert!(scene.code(&answer(&reply, CALLBACK)["code"]).await.offline);
    assert_eq!(shown(&browser.get(&url).await), Shown::Code);
}

#[tokio::test]
async fn a_yes_is_no_answer_about_a_client_that_has_changed() {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    let url = url("web", &[]);
    let seen = proposal(&scene.browser_of(&ada).await.get(&url).await);
    scene.world.put_client(web(&json!({"displayName": "Another app"})));
    scene.world.publish();
    let mut browser = scene.browser_of(&ada).await;
    browser.get(&url).await;
    let page = browser.press(&url, &[("action", "allow"), ("proposal", &seen)]).await;
    assert_page(&page, 200, "Another app");
    assert_eq!(scene.consents(&ada).await, 0);
}

/// A code that nobody was asked for says nothing new of when somebody was.
#[tokio::test]
async fn a_consent_is_as_old_as_the_yes() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    allow(&mut browser, &url("web", &[])).await;
    let given_at = async || scene.world.store.consents(&acme(), &ada.id).await.unwrap()[0].2.given_at;
    scene.world.set_time(NOW + 10);
    assert_eq!(shown(&browser.get(&url("web", &[])).await), Shown::Code);
    assert_eq!(given_at().await, UnixTime(NOW));
    allow(&mut browser, &url("web", &[("prompt", "consent")])).await;
    assert_eq!(given_at().await, UnixTime(NOW + 10));
}

#[tokio::test]
async fn a_yes_is_an_answer_to_what_was_shown() {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    let url = url("web", &[("scope", "mcp:read mcp:admin")]);
    let old = proposal(&scene.browser_of(&ada).await.get(&url).await);
    scene.world.put_server(server("acme", "invoices", &granted(&json!([{"users": ["ada"], "scopes": ["mcp:admin"]}]))));
    scene.world.publish();
    let mut browser = scene.browser_of(&ada).await;
    browser.get(&url).await;
    for presented in [old.as_str(), "", "x"] {
        let page = browser.press(&url, &[("action", "allow"), ("proposal", presented)]).await;
        assert_page(&page, 200, "mcp:admin");
        assert_ne!(proposal(&page), old);
    }
    assert_eq!(scene.consents(&ada).await, 0);
}

#[tokio::test]
async fn a_person_who_is_disabled_in_between_gives_nothing() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[]);
    let page = browser.get(&url).await;
    scene.world.store.set_user_disabled(&acme(), &ada.id, true, UnixTime(NOW)).await.unwrap();
    let reply = browser.press(&url, &[("action", "allow"), ("proposal", &proposal(&page))]).await;
    assert_page(&reply, 200, "Sign in to acme");
    assert_eq!(scene.consents(&ada).await, 0);
}

#[tokio::test]
async fn a_client_that_is_disabled_in_between_gets_nothing() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[]);
    let page = browser.get(&url).await;
    scene.world.store.set_client_disabled(&acme(), &client_id_of("web"), true, UnixTime(NOW)).await.unwrap();
    let allow = [("action", "allow"), ("proposal", &proposal(&page))];
    let reply = browser.press(&url, &allow).await;
    assert_eq!(refusal(&reply, CALLBACK), "access_denied", "the store knows it at once");
    scene.world.disabled.refresh(&scene.world.store).await.unwrap();
    assert_page(&browser.press(&url, &allow).await, 403, "has been disabled");
    assert_eq!(scene.consents(&ada).await, 0);
}

/// Row 75: whoever opens what an attacker captured is asked, and the answer is bound to the own browser.
#[tokio::test]
async fn a_captured_request_asks_its_victim() {
    let scene = Scene::new();
    let (ada, bob) = (scene.ada().await, scene.add("bob", &["finance"]).await);
    let mut attacker = scene.browser_of(&bob).await;
    let url = url("web", &[]);
    let seen = proposal(&attacker.get(&url).await);
    let token = attacker.csrf.clone();
    answer(&attacker.press(&url, &[("action", "allow"), ("proposal", &seen)]).await, CALLBACK);

    let mut victim = scene.browser_of(&ada).await;
    assert_eq!(shown(&victim.get(&url).await), Shown::Consent);
    let own = std::mem::replace(&mut victim.csrf, token);
    let reply = victim.press(&url, &[("action", "allow"), ("proposal", &seen)]).await;
    assert_page(&reply, 403, "out of date");
    victim.csrf = own;
    let reply = victim.press(&url, &[("action", "allow"), ("proposal", &seen)]).await;
    assert_page(&reply, 200, "Allow");
    assert_eq!(scene.consents(&ada).await, 0);
}

/// Row 76.
#[rstest]
#[case::other_origin(&[("origin", "https://evil.example")])]
#[case::null_origin(&[("origin", "null")])]
#[case::cross_site(&[("sec-fetch-site", "cross-site")])]
#[case::same_site(&[("sec-fetch-site", "same-site")])]
#[tokio::test]
async fn a_form_of_another_site_does_nothing(#[case] says: &[(&'static str, &str)]) {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[]);
    let page = browser.get(&url).await;
    browser.says = says.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    for action in ["allow", "deny", "logout", "login"] {
        let reply = browser.press(&url, &[("action", action), ("proposal", &proposal(&page))]).await;
        assert_page(&reply, 403, "another website");
    }
    assert_eq!(scene.consents(&ada).await, 0);
}

#[rstest]
#[case::no_token("action=allow", 403)]
#[case::wrong_token("action=allow&csrf=x", 403)]
#[case::no_form("", 403)]
#[tokio::test]
async fn a_form_without_the_browsers_token_does_nothing(#[case] body: &str, #[case] status: u16) {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[]);
    browser.get(&url).await;
    assert_page(&browser.post(&url, body.to_owned()).await, status, "out of date");
}

#[tokio::test]
async fn buttons_of_other_pages_do_nothing() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let mut browser = scene.browser_of(&ada).await;
    let url = url("web", &[]);
    browser.get(&url).await;
    for action in ["withdraw", "approve", ""] {
        assert_page(&browser.press(&url, &[("action", action)]).await, 400, "cannot be read");
    }
}

#[tokio::test]
async fn the_audit_line_tells_who_what_and_nothing_secret() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = std::sync::Arc::new(file.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let mut browser = scene.browser_of(&ada).await;
    let reply = allow(&mut browser, &url("web", &[("scope", "mcp:read mcp:write")])).await;
    browser.get(&url("web", &[("response_type", "token")])).await;
    browser.get(&url("web", &[("client_id", "s3cret")])).await;
    drop(logging);
    let logged = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(logged.matches("event=\"authorize\"").count(), 3, "{logged}");
    for said in [ada.id.as_str(), client_id_of("web").as_str(), INVOICES, "mcp:read mcp:write", "unknown_client"] {
        assert!(logged.contains(said), "{said}: {logged}");
    }
    let code = &answer(&reply, CALLBACK)["code"];
    for secret in [code.as_str(), "s3cret", CHALLENGE, browser.csrf.as_str(), "s t/a"] {
        assert!(!logged.contains(secret), "{secret}: {logged}");
    }
}
