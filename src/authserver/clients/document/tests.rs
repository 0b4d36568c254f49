use std::future::ready;

use axum::body::Body;
use http::Request;
use lumoauth_core::{RedirectUri, ScopeSet, UnixTime, uri::RedirectKind};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    parse::{may_come_from, parse},
    *,
};
use crate::{
    authserver::{
        clients::{
            Authentication, Clients, GrantTypes, Keys, ScopeLimit, Source,
            asking::{TO_AUTHORIZE, TO_GO_ON},
            fetch::FetchError,
            metadata::MetadataError,
            testing::{Answer, LOOPBACK, Names, Origin},
        },
        router,
        testing::World,
    },
    registry::OrgId,
    settings::LocalhostRedirects,
};

const URL: &str = "https://app.example/client.json";
const NOW: UnixTime = UnixTime(1_800_000_000);

fn minimal() -> Value {
    json!({"client_id": URL, "client_name": "App", "redirect_uris": ["https://app.example/cb"]})
}

fn read(document: &Value) -> Result<OAuthClient, DocumentError> {
    let url = HttpsUrl::document(document["client_id"].as_str().unwrap_or(URL)).unwrap();
    parse(&url, document.to_string().as_bytes())
}

fn with(change: Value) -> Result<OAuthClient, DocumentError> {
    let mut document = minimal();
    let Value::Object(change) = change else { panic!("{change}") };
    for (name, value) in change {
        document[&name] = value;
    }
    parse(&HttpsUrl::document(URL).unwrap(), document.to_string().as_bytes())
}

fn admits(client: &OAuthClient, uri: &str) -> bool {
    RedirectUri::matching(&client.redirect_uris, uri).is_some()
}

#[test]
fn the_least_a_document_says() {
    let client = read(&minimal()).unwrap();
    assert_eq!((client.id.as_str(), client.name.as_str()), (URL, "App"));
    assert_eq!(client.source, Source::Document { host: "app.example".to_owned() });
    assert_eq!(client.grants, GrantTypes { authorization_code: true, ..GrantTypes::default() });
    assert_eq!(client.authentication, Authentication::None);
    assert_eq!(client.scopes, ScopeLimit::Any);
    assert!(client.secrets.is_empty() && client.servers.is_empty() && !client.is_local_only());
}

#[test]
fn claude_code() {
    let client = read(&json!({
        "client_id": "https://claude.ai/oauth/claude-code-client-metadata", "client_name": "Claude Code",
        "client_uri": "https://claude.ai", "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }))
    .unwrap();
    assert!(client.grants.refresh_token && client.is_local_only() && !client.is_confidential());
    assert!(admits(&client, "http://localhost:54321/callback") && admits(&client, "http://127.0.0.1:1/callback"));
    assert!(!admits(&client, "http://localhost:54321/other") && !admits(&client, "http://[::1]/callback"));
}

#[test]
fn chatgpt() {
    let client = read(&json!({
        "client_id": "https://chatgpt.com/oauth/client.json", "client_name": "ChatGPT",
        "client_uri": "https://chatgpt.com/", "logo_uri": "https://chatgpt.com/favicon.ico",
        "redirect_uris": ["https://chatgpt.com/connector/oauth/callback"], "application_type": "web",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "RS256",
        "jwks_uri": "https://chatgpt.com/oauth/jwks.json",
    }))
    .unwrap();
    let Authentication::PrivateKeyJwt(Keys::Uri(uri)) = &client.authentication else { panic!("{client:?}") };
    assert_eq!(uri.as_str(), "https://chatgpt.com/oauth/jwks.json");
    assert!(admits(&client, "https://chatgpt.com/connector/oauth/callback"));
    assert!(!admits(&client, "https://chatgpt.com:8443/connector/oauth/callback"));
}

#[test]
fn vs_code() {
    let client = read(&json!({
        "client_id": "https://vscode.dev/oauth/client-metadata.json", "client_name": "Visual Studio Code",
        "client_uri": "https://vscode.dev/product", "redirect_uris": ["http://127.0.0.1:33418/", "https://vscode.dev/redirect"],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"], "token_endpoint_auth_method": "none", "application_type": "native",
    }))
    .unwrap();
    assert!(client.grants.refresh_token && !client.is_local_only());
    assert!(admits(&client, "https://vscode.dev/redirect") && admits(&client, "http://127.0.0.1:40000/"));
    assert!(!admits(&client, "http://127.0.0.1:33418") && !admits(&client, "https://vscode.dev/redirect/"));
}

#[rstest]
#[case::other_id(json!({"client_id": "https://app.example/other.json"}), DocumentError::OtherClientId)]
#[case::other_case(json!({"client_id": "https://App.example/client.json"}), DocumentError::OtherClientId)]
#[case::with_slash(json!({"client_id": "https://app.example/client.json/"}), DocumentError::OtherClientId)]
#[case::with_port(json!({"client_id": "https://app.example:443/client.json"}), DocumentError::OtherClientId)]
#[case::id_number(json!({"client_id": 1}), MetadataError::Member("client_id").into())]
#[case::secret(json!({"client_secret": "s"}), DocumentError::Secret("client_secret"))]
#[case::no_secret(json!({"client_secret": null}), DocumentError::Secret("client_secret"))]
#[case::empty_secret(json!({"client_secret": ""}), DocumentError::Secret("client_secret"))]
#[case::null_id(json!({"client_id": null}), MetadataError::Missing("client_id").into())]
#[case::no_name(json!({"client_name": ""}), MetadataError::Missing("client_name").into())]
#[case::expiry(json!({"client_secret_expires_at": 0}), DocumentError::Secret("client_secret_expires_at"))]
#[case::basic(
    json!({"token_endpoint_auth_method": "client_secret_basic"}), DocumentError::SharedSecret("client_secret_basic")
)]
#[case::post(
    json!({"token_endpoint_auth_method": "client_secret_post"}), DocumentError::SharedSecret("client_secret_post")
)]
#[case::no_keys(json!({"token_endpoint_auth_method": "private_key_jwt"}), DocumentError::NoKeys)]
#[case::uris(json!({"redirect_uris": []}), MetadataError::RedirectUris.into())]
#[case::flow(json!({"grant_types": ["client_credentials"]}), MetadataError::Flow.into())]
fn section_4_refused(#[case] change: Value, #[case] error: DocumentError) {
    assert_eq!(with(change), Err(error));
}

#[test]
fn section_4_more_refusals() {
    let method = with(json!({"token_endpoint_auth_method": "client_secret_jwt"}));
    assert!(matches!(method, Err(DocumentError::Metadata(MetadataError::Method(_)))));
    for member in ["client_id", "client_name", "redirect_uris"] {
        let mut document = minimal();
        document.as_object_mut().unwrap().remove(member);
        assert!(parse(&HttpsUrl::document(URL).unwrap(), document.to_string().as_bytes()).is_err(), "{member}");
    }
    let twice = format!(
        "{{\"client_id\": \"{URL}\", \"client_id\": \"{URL}\", \"client_name\": \"A\", \"redirect_uris\": [\"https://a.example/\"]}}"
    );
    assert!(parse(&HttpsUrl::document(URL).unwrap(), twice.as_bytes()).is_err());
}

#[test]
fn what_a_document_may_say() {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let client = with(json!({"jwks": {"keys": [key]}})).unwrap();
    assert!(
        matches!(client.authentication, Authentication::PrivateKeyJwt(Keys::Inline(_))),
        "keys are there to be used"
    );
    let public = with(json!({"jwks": {"keys": [key]}, "token_endpoint_auth_method": "none"})).unwrap();
    assert_eq!(public.authentication, Authentication::None);
    let limited = with(json!({"scope": "mcp:read"})).unwrap();
    assert_eq!(limited.scopes, ScopeLimit::Only(ScopeSet::parse("mcp:read").unwrap()));
    let empty =
        json!({"client_uri": null, "logo_uri": "", "token_endpoint_auth_method": null, "jwks": null, "scope": ""});
    assert_eq!(with(empty).unwrap(), read(&minimal()).unwrap());
    let both = with(json!({"grant_types": ["authorization_code", "client_credentials"]})).unwrap();
    assert!(!both.grants.client_credentials, "only for clients an administrator vouches for");
}

#[rstest]
#[case("app.example", &[], true)]
#[case("app.example", &["app.example"], true)]
#[case("app.example", &["APP.example"], true)]
#[case("app.example", &["other.example", "app.example"], true)]
#[case("app.example", &["*.example"], true)]
#[case("a.b.example", &["*.example"], true)]
#[case("app.example", &["example"], false)]
#[case("example", &["*.example"], false)]
#[case(".example", &["*.example"], false)]
#[case("evilexample", &["*.example"], false)]
#[case("app.example.evil", &["*.example", "app.example"], false)]
#[case("x.app.example", &["app.example"], false)]
#[case("app.example", &["*"], false)]
#[case("app.example", &[""], false)]
fn allowed_domains(#[case] host: &str, #[case] patterns: &[&str], #[case] admitted: bool) {
    let allowed_domains = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    let mut settings = ClientDocuments { allowed_domains, ..ClientDocuments::default() };
    assert_eq!(may_come_from(host, &settings), admitted);
    let url = HttpsUrl::parse(URL).unwrap();
    settings.allowed_domains = vec!["other.example".to_owned()];
    assert_eq!(is_admitted(&url, &settings), Err(ResolveError::Domain));
    settings.enabled = false;
    assert_eq!(is_admitted(&url, &settings), Err(ResolveError::DocumentsOff));
}

#[test]
fn localhost_redirects() {
    let (local, web) = (RedirectKind::Loopback, RedirectKind::Https);
    let document = with(json!({"redirect_uris": ["http://127.0.0.1/cb", "https://app.example/never"]})).unwrap();
    let dynamic = OAuthClient { source: Source::Dynamic, ..document.clone() };
    let mut settings = ClientDocuments::default();
    assert!(admits_redirect(&document, local, &settings));
    settings.localhost_redirects = LocalhostRedirects::Block;
    assert!(!admits_redirect(&document, local, &settings) && admits_redirect(&document, web, &settings));
    assert!(admits_redirect(&dynamic, local, &settings), "they are not what cimd is about");
}

#[rstest]
#[case(None, 300)]
#[case(Some(0), 60)]
#[case(Some(59), 60)]
#[case(Some(600), 600)]
#[case(Some(86_400), 3600)]
fn ages_are_bounded(#[case] max_age: Option<u64>, #[case] seconds: u64) {
    assert_eq!(age(max_age.map(Duration::from_secs)), seconds);
}

struct Site {
    origin: Origin,
    documents: Documents,
    id: ClientId,
    settings: ClientDocuments,
    org: OrgId,
}

impl Site {
    async fn new() -> Self {
        let origin = Origin::start(Answer::Silence).await;
        let id = ClientId::parse(&origin.url("/client.json")).unwrap();
        let fetcher = Fetcher::resolving(Names::new(&[&[LOOPBACK]]));
        let settings = origin.reachable();
        let site =
            Self { origin, documents: Documents::new(fetcher), id, settings, org: OrgId::parse("acme").unwrap() };
        site.origin.says(Answer::json(&site.document()));
        site
    }

    fn document(&self) -> Value {
        json!({"client_id": self.id.as_str(), "client_name": "App", "redirect_uris": ["http://127.0.0.1/cb"]})
    }

    async fn get_at(&self, now: u64) -> Result<Arc<OAuthClient>, ResolveError> {
        self.get(&self.id, (now, TO_GO_ON), false).await
    }

    async fn get(
        &self,
        id: &ClientId,
        (now, patience): (u64, u64),
        vouched: bool,
    ) -> Result<Arc<OAuthClient>, ResolveError> {
        let asking = Asking { org: &self.org, settings: &self.settings, now: NOW.plus(now), patience };
        self.documents.get(&asking, id, ready(vouched)).await
    }
}

#[tokio::test]
async fn a_document_is_fetched_once_while_it_is_fresh() {
    let site = Site::new().await;
    let client = site.get_at(0).await.unwrap();
    assert_eq!(client.source, Source::Document { host: format!("app.example:{}", site.origin.port) });
    assert!(site.get_at(299).await.is_ok());
    assert_eq!(site.origin.connections(), 1);
    assert!(site.get_at(300).await.is_ok());
    assert_eq!(site.origin.connections(), 2);
}

/// Section 6.6 of the draft.
#[tokio::test]
async fn a_document_has_five_kibibytes_at_most() {
    let site = Site::new().await;
    let mut document = site.document();
    document["x"] = json!("");
    let filling = 5 * 1024 - document.to_string().len();
    document["x"] = json!("x".repeat(filling + 1));
    site.origin.says(Answer::json(&document));
    assert_eq!(site.get_at(0).await, Err(ResolveError::Unreachable(FetchError::TooLarge)));
    document["x"] = json!("x".repeat(filling));
    site.origin.says(Answer::json(&document));
    assert!(site.get_at(0).await.is_ok());
}

#[tokio::test]
async fn fifty_at_once_are_one_fetch() {
    let site = Site::new().await;
    let all = futures::future::join_all((0..50).map(|_| site.get_at(0))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(site.origin.connections(), 1);
}

#[tokio::test]
async fn neither_errors_nor_invalid_documents_are_kept() {
    let site = Site::new().await;
    site.origin.says(Answer::with(404, "Content-Type: application/json\r\nCache-Control: max-age=600\r\n", b"{}"));
    assert_eq!(site.get_at(0).await, Err(ResolveError::Unreachable(FetchError::Status(404))));
    let mut other = site.document();
    other["client_id"] = json!("https://app.example/other.json");
    site.origin.says(Answer::json(&other));
    assert_eq!(site.get_at(0).await, Err(ResolveError::Invalid(DocumentError::OtherClientId)));
    site.origin.says(Answer::json(&site.document()));
    assert!(site.get_at(0).await.is_ok());
    assert_eq!(site.origin.connections(), 3);
    site.origin.says(Answer::with(410, "", b""));
    assert!(site.get_at(299).await.is_ok());
    assert!(site.get_at(300).await.is_err(), "a document that has gone is not used any longer");
}

#[tokio::test]
async fn the_last_good_document_outlives_a_failing_host() {
    let site = Site::new().await;
    assert!(site.get_at(0).await.is_ok());
    site.origin.says(Answer::with(500, "", b""));
    let failed = Err(ResolveError::Unreachable(FetchError::Status(500)));
    assert!(site.get_at(300).await.is_ok() && site.get_at(329).await.is_ok());
    assert_eq!(site.origin.connections(), 2, "it is given time to recover");
    for (patience, last) in [(TO_AUTHORIZE, 3599), (TO_GO_ON, 86_399)] {
        assert!(site.get(&site.id, (last, patience), false).await.is_ok());
        assert_eq!(site.get(&site.id, (last + 1, patience), false).await, failed);
    }
    let mut invalid = site.document();
    invalid["redirect_uris"] = json!([]);
    for ends in [Answer::with(404, "", b""), Answer::with(410, "", b""), Answer::json(&invalid)] {
        site.origin.says(Answer::json(&site.document()));
        assert!(site.get_at(100_000).await.is_ok());
        site.origin.says(ends);
        assert!(site.get_at(100_300).await.is_err());
        site.origin.says(Answer::with(500, "", b""));
        assert_eq!(site.get_at(100_300).await, failed, "it does not come back");
    }
}

#[tokio::test]
async fn strangers_do_not_take_a_client_offline() {
    let site = Site::new().await;
    for n in 0..20 {
        let nonsense = ClientId::parse(&site.origin.url(&format!("/x{n}"))).unwrap();
        assert!(site.get(&nonsense, (0, TO_AUTHORIZE), false).await.is_err());
    }
    assert_eq!(site.get_at(0).await, Err(ResolveError::Busy));
    assert!(site.get(&site.id, (0, TO_AUTHORIZE), true).await.is_ok(), "somebody vouches for it");
}

#[tokio::test]
async fn strangers_cannot_make_us_ask_without_end() {
    let site = Site::new().await;
    site.origin.says(Answer::with(404, "", b""));
    for _ in 0..50 {
        assert!(site.get_at(0).await.is_err());
    }
    assert_eq!(site.get_at(0).await, Err(ResolveError::Busy));
    assert_eq!(site.origin.connections(), 10);
}

#[tokio::test]
async fn settings_hold_at_once() {
    let mut site = Site::new().await;
    assert!(site.get_at(0).await.is_ok());
    site.settings.localhost_redirects = LocalhostRedirects::Block;
    assert_eq!(site.get_at(0).await, Err(ResolveError::LocalOnly));
    site.settings.allowed_domains = vec!["other.example".to_owned()];
    assert_eq!(site.get_at(0).await, Err(ResolveError::Domain));
    site.settings = ClientDocuments { allowed_cidrs: Vec::new(), ..site.origin.reachable() };
    assert_eq!(site.get_at(0).await, Err(ResolveError::Unreachable(FetchError::SpecialUse)));
    site.settings.enabled = false;
    assert_eq!(site.get_at(0).await, Err(ResolveError::DocumentsOff));
}

#[tokio::test]
async fn what_is_refused_before_it_is_fetched() {
    let mut site = Site::new().await;
    site.id = ClientId::parse(&site.origin.url("/a/../client.json")).unwrap();
    assert!(matches!(site.get_at(0).await, Err(ResolveError::Url(_))));
    site.id = ClientId::parse(&site.origin.url("/client.json")).unwrap();
    site.settings.allowed_domains = vec!["*.app.example".to_owned()];
    assert_eq!(site.get_at(0).await, Err(ResolveError::Domain));
    assert_eq!(site.origin.connections(), 0);
}

#[tokio::test]
async fn organizations_do_not_share_documents() {
    let site = Site::new().await;
    assert!(site.get_at(0).await.is_ok());
    let other = OrgId::parse("other").unwrap();
    let settings = ClientDocuments::default();
    let asking = Asking { org: &other, settings: &settings, now: NOW, patience: TO_GO_ON };
    assert!(site.documents.get(&asking, &site.id, ready(false)).await.is_err());
}

/// A document that lists an https URI beside those on loopback is asked for a response on loopback.
#[tokio::test]
async fn a_dummy_redirect_uri_does_not_lift_the_block() {
    let site = Site::new().await;
    let mut document = site.document();
    document["redirect_uris"] = json!(["http://127.0.0.1/cb", "https://app.example/never"]);
    site.origin.says(Answer::json(&document));
    let mut world = World::new();
    world.state.clients = Clients::new(Fetcher::resolving(Names::new(&[&[LOOPBACK]])));
    world.router = router(world.state.clone());
    let status = async |redirect: &str| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", site.id.as_str()), ("redirect_uri", redirect)])
            .finish();
        let path = format!("/orgs/acme/api/v1/oauth/authorize?{query}");
        world.send(Request::get(path).body(Body::empty()).unwrap()).await.status.as_u16()
    };
    let (local, web) = ("http://127.0.0.1:4000/cb", "https://app.example/never");
    for (block, of_local) in [(LocalhostRedirects::Warn, 303), (LocalhostRedirects::Block, 403)] {
        let cimd = ClientDocuments { localhost_redirects: block, ..site.settings.clone() };
        world.set_org(|org| org.cimd = cimd);
        // The website is nobody's the organization vouches for: people are told on a page and go back themselves.
        assert_eq!((status(local).await, status(web).await), (of_local, 400), "{block:?}");
    }
}
