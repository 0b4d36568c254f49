//! What a person agreed to before, and how far that goes.

use super::*;

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
