//! What a person is told of clients that no administrator declared: of those that a document describes, and of those that
//! registered themselves.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::authserver::clients::testing::{Answer, Origin};

const CHECKED: &str = "Nobody has checked who this is";

/// A website that describes a client.
struct Site {
    origin: Origin,
    id: String,
}

impl Site {
    async fn new(scene: &Scene) -> Self {
        let origin = Origin::start(Answer::Silence).await;
        let id = format!("https://127.0.0.1:{}/client.json", origin.port);
        scene.world.set_org(|org| org.cimd = origin.reachable());
        let document = json!({"client_id": id, "client_name": "Stranger", "redirect_uris": [CALLBACK]});
        origin.says(Answer::json(&document));
        Self { origin, id }
    }

    fn asks(&self, changes: &[(&str, &str)]) -> String {
        let own = [("client_id", self.id.as_str())];
        url("web", &[&own[..], changes].concat())
    }
}

#[tokio::test]
async fn a_document_that_nobody_named_is_warned_of() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let site = Site::new(&scene).await;
    let page = scene.browser_of(&ada).await.get(&site.asks(&[])).await;
    for said in [CHECKED, "Described by", &site.id, "Stranger", "The access goes to another website"] {
        assert_page(&page, 200, said);
    }
    scene.world.set_org(|org| org.cimd.allowed_domains = vec!["127.0.0.1".to_owned()]);
    let page = scene.browser_of(&ada).await.get(&site.asks(&[])).await;
    assert_page(&page, 200, "Described by");
    assert!(!page.text().contains(CHECKED), "its host was named: {}", page.text());
}

/// That a host is admitted says nothing of who wrote a document there, nor does what another server's administrator says.
#[rstest]
#[case::by_neither(&[], &[], true)]
#[case::by_one_of_two(&["@"], &[], true)]
#[case::by_the_other(&[], &["@"], true)]
#[case::by_both(&["@"], &["writer", "@"], false)]
#[case::by_its_host_only(&["*"], &["*"], true)]
#[tokio::test]
async fn a_document_is_named_by_each_server_it_asks_for(
    #[case] invoices: &[&str],
    #[case] notes: &[&str],
    #[case] warned: bool,
) {
    let mut scene = Scene::new();
    let ada = scene.ada().await;
    let site = Site::new(&scene).await;
    let named = |list: &[&str]| {
        let host = site.id.replace("client.json", "*");
        json!(list.iter().map(|name| name.replace('*', &host).replace('@', &site.id)).collect::<Vec<_>>())
    };
    let mut of_invoices = granted(&json!([{"groups": ["finance"], "scopes": ["mcp:write"]}]));
    of_invoices["allowedClients"] = named(invoices);
    let of_notes = json!({
        "resourceUri": NOTES, "port": 8000, "scopes": [{"name": "note:read"}], "requiredScopes": ["note:read"],
        "allowedClients": named(notes),
    });
    for (name, spec) in [("invoices", of_invoices), ("notes", of_notes)] {
        scene.world.put_server(server("acme", name, &spec));
    }
    scene.world.publish();
    let both = site.asks(&[("resource", INVOICES), ("resource", NOTES), ("scope", "")]);
    let page = scene.browser_of(&ada).await.get(&both).await;
    assert_page(&page, 200, "note:read");
    assert_eq!(page.text().contains(CHECKED), warned, "{}", page.text());
}

/// What cannot be looked at again is shown as it was, and is no better known for it: for an hour to people, and to the
/// token endpoint for as long as a client needs that they agreed to.
#[tokio::test]
async fn a_document_whose_host_fails_is_shown_for_an_hour() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let site = Site::new(&scene).await;
    assert_page(&scene.browser_of(&ada).await.get(&site.asks(&[])).await, 200, CHECKED);
    site.origin.says(Answer::with(500, "", b""));
    let mut browser = scene.browser_of(&ada).await;
    scene.world.set_time(NOW + 3599);
    assert_page(&browser.get(&site.asks(&[])).await, 200, CHECKED);
    scene.world.set_time(NOW + 3600);
    assert_page(&browser.get(&site.asks(&[])).await, 400, "description cannot be read");
    assert_page(&browser.get(&site.asks(&[])).await, 400, "its host answers with status 500");
    let refresh = [("grant_type", "refresh_token"), ("client_id", site.id.as_str()), ("refresh_token", "lrt_x")];
    for (at, status, error) in [(86_399, 400, "unauthorized_client"), (86_400, 503, "temporarily_unavailable")] {
        scene.world.set_time(NOW + at);
        scene.world.form(None, &refresh).await.assert_error(status, error);
    }
}

#[tokio::test]
async fn a_client_that_registered_itself_is_warned_of() {
    let scene = Scene::new();
    let ada = scene.ada().await;
    let id = scene.dynamic(CALLBACK).await;
    let page = scene.browser_of(&ada).await.get(&url("web", &[("client_id", &id)])).await;
    for said in [CHECKED, "Registered by", "itself"] {
        assert_page(&page, 200, said);
    }
    let declared = scene.browser_of(&ada).await.get(&url("web", &[])).await;
    assert_page(&declared, 200, "the administrators of acme");
    assert!(!declared.text().contains(CHECKED), "{}", declared.text());
}
