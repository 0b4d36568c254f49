//! A world to test against: two organizations built from objects as the API server has them, and a clock that is told
//! the time.

pub(super) mod browser;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use axum::{Router, body::Body};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Request, StatusCode, header};
use lumoauth_core::{IssuerUrl, UnixTime, digest};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::{
    Authority, Clients, Clock, DisabledClients, Metrics, People, State, Statuses,
    artefact::{Artefact, Kind},
    router,
    store::{NewCode, NewUser, PasswordHash, Store, User, UserName},
};
use crate::{
    pki::signing::KeyRing,
    registry::{Index, NamespaceMeta, ObjectKey, OrgId, Parsed, Snapshot, client_id},
    settings::{OrgSettings, Settings, Storage},
};

pub(super) const BASE: &str = "https://auth.example";
pub(super) const ISSUER: &str = "https://auth.example/orgs/acme/api/v1";
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const INVOICES: &str = "https://invoices.acme.example/mcp";
pub(super) const REPORTS: &str = "https://reports.acme.example/mcp";

/// The secret of every client, with characters that form-encoding changes.
pub(super) const SECRET: &str = "s3cret+/ %=";

struct FakeClock(AtomicU64);

impl Clock for FakeClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

pub(super) struct World {
    pub(super) router: Router,
    pub(super) state: State,
    pub(super) index: Index,
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(super) authority: watch::Sender<Option<Arc<Authority>>>,
    pub(super) settings: watch::Sender<Arc<Settings>>,
    pub(super) registry: prometheus_client::registry::Registry,
    pub(super) store: Store,
    pub(super) disabled: DisabledClients,
    clock: Arc<FakeClock>,
    directory: TempDir,
}

/// An answer, its body read.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    pub(super) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and `error`.
    pub(super) fn outcome(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether the body is an error envelope with these members and no others.
    pub(super) fn assert_error(&self, status: u16, error: &str) {
        let body = self.json();
        assert_eq!(self.outcome(), (status, error.to_owned()), "{body}");
        let known = ["error", "error_description", "scope"];
        assert!(body.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{body}");
        assert!(!body["error_description"].as_str().unwrap().is_empty());
        assert_eq!(self.header(header::CONTENT_TYPE), "application/json");
        assert_eq!(self.header(header::CACHE_CONTROL), "no-store");
    }
}

pub(super) fn server(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": spec,
    })
}

pub(super) fn client(namespace: &str, name: &str, method: &str, scopes: &[&str], more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "grantTypes": ["ClientCredentials"], "authentication": {"method": method},
            "credentialsSecretName": name, "scopes": scopes,
        },
        "status": {"secrets": [{"sha256": digest::sha256_hex(SECRET.as_bytes())}]},
    });
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

pub(super) fn invoices() -> Value {
    json!({
        "displayName": "Invoices", "description": "Invoice search", "resourceUri": INVOICES, "port": 8000,
        "scopes": [
            {"name": "mcp:read"}, {"name": "mcp:write", "implies": ["mcp:read"]},
            {"name": "mcp:admin", "implies": ["mcp:write"]},
        ],
        "requiredScopes": ["mcp:read"], "tokenLifetimeSeconds": 600,
        "metadata": {"resource_documentation": "https://docs.example/"},
    })
}

impl World {
    /// Organization `acme` (namespaces acme and tools) and organization `other`.
    pub(super) fn new() -> Self {
        let mut world = Self::empty();
        let scopes = json!([{"name": "report:read"}]);
        let reports = json!({
            "resourceUri": REPORTS, "port": 8000, "scopes": scopes, "requiredScopes": ["report:read"],
            "allowedClients": ["writer", "acme/single"], "requireResourceParam": false,
        });
        let public = json!({"resourceUri": "https://public.acme.example/mcp", "port": 8000, "authMode": "None"});
        let broken = json!({"resourceUri": "https://broken.acme.example/mcp", "port": 8000, "requiredScopes": ["x"]});
        let shell = json!({"resourceUri": "https://shell.acme.example/", "port": 8000, "transport": "Stdio"});
        for (namespace, name, spec) in [
            ("acme", "invoices", invoices()),
            ("tools", "reports", reports),
            ("acme", "public", public),
            ("acme", "broken", broken),
            ("acme", "shell", shell),
            ("other", "invoices", invoices()),
        ] {
            world.put_server(server(namespace, name, &spec));
        }
        let basic = "ClientSecretBasic";
        for object in [
            client("acme", "reader", basic, &["mcp:read"], &json!({})),
            client("tools", "writer", "ClientSecretPost", &["mcp:write", "report:read"], &json!({})),
            client("acme", "single", basic, &["report:read", "mcp:read"], &json!({"servers": ["tools/reports"]})),
            client("acme", "admin", basic, &["settings.manage", "mcp:read"], &json!({})),
            client("acme", "person", basic, &[], &json!({"grantTypes": ["AuthorizationCode"]})),
            client("other", "reader", basic, &["mcp:read", "settings.manage"], &json!({})),
        ] {
            world.put_client(object);
        }
        world.publish();
        world
    }

    /// The same organizations without servers and clients.
    pub(super) fn empty() -> Self {
        log_everywhere();
        let mut index = Index::default();
        for (namespace, org) in [("acme", "acme"), ("tools", "acme"), ("other", "other")] {
            index.apply_namespace(namespace.to_owned(), NamespaceMeta { org_label: Some(org.to_owned()) });
        }
        let ring = KeyRing::new(UnixTime(NOW)).unwrap();
        let authority = Authority::new(IssuerUrl::parse(BASE).unwrap(), ring);
        let (authority, authorities) = watch::channel(Some(Arc::new(authority)));
        let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let clock = Arc::new(FakeClock(AtomicU64::new(NOW)));
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Metrics::register(&mut registry);
        let directory = tempfile::tempdir().unwrap();
        let disabled = DisabledClients::default();
        let store = open_store(directory.path(), metrics.store_errors());
        let (settings, newest_settings) = watch::channel(Arc::new(Settings::of(IssuerUrl::parse(BASE).unwrap())));
        let state = State {
            snapshot: snapshots,
            authority: authorities,
            settings: newest_settings,
            clients: Clients::default(),
            people: People::new(Arc::clone(&clock) as Arc<dyn Clock>),
            store: store.clone(),
            disabled: disabled.clone(),
            statuses: Statuses::default(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            metrics,
        };
        Self {
            router: router(state.clone()),
            state,
            index,
            snapshot,
            authority,
            settings,
            registry,
            store,
            disabled,
            clock,
            directory,
        }
    }

    pub(super) fn put_server(&mut self, object: Value) {
        self.index.apply_server(Parsed::Object(Arc::new(serde_json::from_value(object).unwrap())));
    }

    pub(super) fn put_client(&mut self, object: Value) {
        self.index.apply_client(Parsed::Object(Arc::new(serde_json::from_value(object).unwrap())));
    }

    pub(super) fn publish(&self) {
        self.snapshot.send_replace(Arc::new(self.index.snapshot()));
    }

    /// Changes what the administrator chose for organization `acme`.
    pub(super) fn set_org(&self, change: impl FnOnce(&mut OrgSettings)) {
        self.settings.send_modify(|settings| {
            change(Arc::make_mut(settings).orgs.entry(OrgId::parse("acme").unwrap()).or_default());
        });
    }

    pub(super) fn set_time(&self, now: u64) {
        self.clock.0.store(now, Ordering::Relaxed);
    }

    /// The file of the store.
    pub(super) fn database(&self) -> PathBuf {
        self.directory.path().join("lumoauth.db")
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
        Reply { status: parts.status, headers: parts.headers, bytes }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// `GET` with an access token.
    pub(super) async fn get_with(&self, path: &str, token: &str) -> Reply {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A form to `acme`'s token endpoint, with HTTP Basic when credentials are given.
    pub(super) async fn form(&self, basic: Option<(&str, &str)>, parameters: &[(&str, &str)]) -> Reply {
        self.form_to("/orgs/acme/api/v1/oauth/token", basic, parameters).await
    }

    pub(super) async fn form_to(&self, path: &str, basic: Option<(&str, &str)>, parameters: &[(&str, &str)]) -> Reply {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some((id, secret)) = basic {
            let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
            request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// A token of a client in namespace `acme` that authenticates by HTTP Basic.
    pub(super) async fn token(&self, client: &str, resource: &str, scope: &str) -> String {
        let id = id_of("acme", client);
        let parameters = [("grant_type", "client_credentials"), ("resource", resource), ("scope", scope)];
        let reply = self.form(Some((&id, SECRET)), &parameters).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// Gives every thread a subscriber. A line that is met first where there is none is turned off for all, and a test that
/// reads the log beside that one would miss it.
fn log_everywhere() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(tracing::subscriber::set_global_default(tracing_subscriber::registry())));
}

/// A new store in `directory`. On a thread of its own, so that worlds are made without waiting.
pub(super) fn open_store(directory: &Path, errors: Counter) -> Store {
    let storage = Storage::Sqlite { path: directory.join("lumoauth.db") };
    let open = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Store::open(&storage, errors)).unwrap()
    };
    thread::spawn(open).join().unwrap()
}

/// The identifier of a client; its organization is `acme` unless its namespace is `other`.
pub(super) fn id_of(namespace: &str, name: &str) -> String {
    let org = if namespace == "other" { "other" } else { "acme" };
    client_id(&OrgId::parse(org).unwrap(), &ObjectKey::new(namespace, name)).to_string()
}

/// The identifier of the server of `resource` in `acme`.
pub(super) fn server_id(resource: &str) -> String {
    let resource = lumoauth_core::ResourceUri::parse(resource).unwrap();
    crate::registry::ServerId::of(&OrgId::parse("acme").unwrap(), &resource).to_string()
}

/// What a code's redemption must prove (RFC 7636, appendix B), and where it was sent.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(super) const REDIRECT: &str = "http://127.0.0.1/callback";

/// A world with a user, `ada`, who may have `mcp:write` on invoices and `report:read` on reports; a public client `app`
/// that she uses; and `web`, which has a secret and may introspect the tokens of invoices.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) ada: User,
    /// `client_id` of `app`.
    pub(super) app: String,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let mut world = World::new();
        let mut invoices = invoices();
        invoices["grants"] = json!([{"users": ["ada"], "scopes": ["mcp:write"]}]);
        invoices["introspectionClients"] = json!(["web"]);
        world.put_server(server("acme", "invoices", &invoices));
        let reports = json!({
            "resourceUri": REPORTS, "port": 8000, "requireResourceParam": false,
            "scopes": [{"name": "report:read"}], "requiredScopes": ["report:read"],
        });
        world.put_server(server("tools", "reports", &reports));
        let more = json!({"grantTypes": ["AuthorizationCode", "RefreshToken"], "redirectUris": [REDIRECT]});
        let scopes = ["mcp:read", "mcp:write", "report:read"];
        world.put_client(client("acme", "app", "None", &scopes, &more));
        world.put_client(client("acme", "web", "ClientSecretBasic", &scopes, &more));
        world.publish();
        let name = UserName::parse("ada").unwrap();
        let user = NewUser { name, password_hash: PasswordHash::new(String::new()), groups: Vec::new() };
        let ada = world.store.add_user(&acme(), user, UnixTime(NOW)).await.unwrap();
        Self { world, ada, app: id_of("acme", "app") }
    }

    /// A code for `client` of namespace `acme`.
    pub(super) async fn code(&self, client: &str, resources: &[(&str, &str)]) -> String {
        self.code_of(client, resources, true).await
    }

    /// A code for `client`; the page said that it stays connected if `offline`.
    pub(super) async fn code_of(&self, client: &str, resources: &[(&str, &str)], offline: bool) -> String {
        let code = Artefact::generate(Kind::Code).unwrap();
        let resource = |(uri, scope): &(&str, &str)| {
            (lumoauth_core::ResourceUri::parse(uri).unwrap(), lumoauth_core::ScopeSet::parse(scope).unwrap())
        };
        let new = NewCode {
            digest: code.digest(),
            client: lumoauth_core::ClientId::parse(&id_of("acme", client)).unwrap(),
            user: self.ada.id.clone(),
            redirect_uri: REDIRECT.to_owned(),
            challenge: CHALLENGE.parse().unwrap(),
            resources: resources.iter().map(resource).collect(),
            offline,
            issued_at: UnixTime(NOW),
            expires_at: UnixTime(NOW + 60),
        };
        assert!(self.world.store.issue_code(&acme(), &new, &[]).await.unwrap());
        code.text().to_owned()
    }

    /// `app` redeems a code for invoices; what is named in `changes` is sent instead, or left out where it is empty.
    pub(super) async fn redeem(&self, code: &str, changes: &[(&str, &str)]) -> Reply {
        let usual = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.app),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
            ("resource", INVOICES),
        ];
        self.world.form(None, &changed(&usual, changes)).await
    }

    /// `app` uses a refresh token for invoices.
    pub(super) async fn refresh(&self, token: &str, changes: &[(&str, &str)]) -> Reply {
        let usual = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.app),
            ("refresh_token", token),
            ("resource", INVOICES),
        ];
        self.world.form(None, &changed(&usual, changes)).await
    }

    /// Access and refresh token of a new grant of `app`, for `mcp:write` on invoices.
    pub(super) async fn tokens(&self) -> (String, String) {
        let code = self.code("app", &[(INVOICES, "mcp:write")]).await;
        tokens_of(&self.redeem(&code, &[]).await)
    }

    /// What `web` is told of a token.
    pub(super) async fn introspect(&self, token: &str) -> Value {
        let web = id_of("acme", "web");
        let path = "/orgs/acme/api/v1/oauth/introspect";
        self.world.form_to(path, Some((&web, SECRET)), &[("token", token)]).await.json()
    }
}

fn changed<'a>(usual: &[(&'a str, &'a str)], changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = usual.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    kept.chain(changes).copied().filter(|(_, value)| !value.is_empty()).collect()
}

/// Access and refresh token of a response.
pub(super) fn tokens_of(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("access_token"), text("refresh_token"))
}

pub(super) fn acme() -> OrgId {
    OrgId::parse("acme").unwrap()
}

/// The claims of a token, unverified.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
