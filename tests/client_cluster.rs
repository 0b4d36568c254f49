//! The McpClient controller and the leader election against a real API server, with the rights of the operator.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{Namespace, Secret},
    events::v1::Event,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{Config, KubeConfigOptions, Kubeconfig},
};
use lumoauth::{
    api::v1alpha1::{
        McpClient,
        condition::{Finding, Type},
    },
    controller::{Context, Events, Metrics, leader, mcp_client},
    registry::{self, Issuing, ObjectKey},
    settings::Settings,
};
use lumoauth_core::{IssuerUrl, digest, token::JsonWebKeySet};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::support;

const CA: &str = "-----BEGIN CERTIFICATE-----\n";
const IN_CLUSTER: &str = "https://lumoauth-authserver.lumoauth-system.svc";

/// A namespace of its own, with a ServiceAccount that has the operator's rights; removed at the end.
struct Place {
    admin: Client,
    namespace: String,
}

impl Place {
    async fn new(name: &str) -> Self {
        let admin = support::client().await;
        crate::crds::install(&admin).await;
        let place = Self { admin, namespace: format!("{name}-{}", std::process::id()) };
        let namespace = serde_json::from_value(json!({"metadata": {"name": place.namespace}})).unwrap();
        Api::<Namespace>::all(place.admin.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        place.grant().await;
        place
    }

    /// What install.yaml gives the operator, as far as clients need it.
    async fn grant(&self) {
        let role: ClusterRole = serde_json::from_value(json!({
            "metadata": {"name": self.namespace},
            "rules": [
                {"apiGroups": ["mcp.lumoauth.dev"], "resources": ["mcpservers", "mcpclients"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
            ]
        }))
        .unwrap();
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": self.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.namespace},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": self.namespace}],
        }))
        .unwrap();
        Api::all(self.admin.clone()).create(&PostParams::default(), &role).await.unwrap();
        Api::all(self.admin.clone()).create(&PostParams::default(), &binding).await.unwrap();
        // Writes in this namespace only: other tests have objects in theirs.
        self.role("status", json!([
            {"apiGroups": ["mcp.lumoauth.dev"], "resources": ["mcpservers/status", "mcpclients/status"], "verbs": ["patch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        ]))
        .await;
    }

    /// The RoleBinding of lumoauth-credentials.
    async fn permit_credentials(&self) {
        self.role(
            "credentials",
            json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch"]}]),
        )
        .await;
    }

    async fn role(&self, name: &str, rules: Value) {
        let role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": self.namespace}],
        }))
        .unwrap();
        let api: Api<Role> = self.api();
        api.create(&PostParams::default(), &role).await.unwrap();
        self.api().create(&PostParams::default(), &binding).await.unwrap();
    }

    /// A client with the rights of the ServiceAccount.
    async fn operator(&self) -> Client {
        let mut config = config().await;
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{}:operator", self.namespace));
        Client::try_from(config).unwrap()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    async fn create_client(&self, name: &str, change: Value) {
        let mut object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient", "metadata": {"name": name},
            "spec": {
                "grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"},
                "credentialsSecretName": format!("{name}-oauth"), "scopes": ["mcp:read"],
            },
        });
        merge(&mut object, &change);
        self.api::<McpClient>().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Waits until a client is as `is` wants it.
    async fn client_that(&self, name: &str, what: &str, is: impl Fn(&McpClient) -> bool) -> McpClient {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let object = self.api::<McpClient>().get(name).await.unwrap();
            if is(&object) {
                return object;
            }
            assert!(Instant::now() < end, "{name} is never {what}: {:#?}", object.status);
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn merge_client(&self, name: &str, patch: Value) {
        self.api::<McpClient>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn remove(self) {
        let params = DeleteParams::default();
        Api::<ClusterRoleBinding>::all(self.admin.clone()).delete(&self.namespace, &params).await.unwrap();
        Api::<ClusterRole>::all(self.admin.clone()).delete(&self.namespace, &params).await.unwrap();
        Api::<Namespace>::all(self.admin.clone()).delete(&self.namespace, &params).await.unwrap();
    }
}

async fn config() -> Config {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(support::kubeconfig()).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

fn merge(object: &mut Value, change: &Value) {
    json_patch::merge(object, change);
}

fn settings(public_url: &str) -> Arc<Settings> {
    Arc::new(Settings::parse(&format!("publicUrl: {public_url}\nsidecarImage: lumoauth/sidecar:1")).unwrap())
}

fn issuing(public_url: &str) -> Arc<Issuing> {
    Arc::new(Issuing {
        public_url: IssuerUrl::parse(public_url).unwrap(),
        keys: JsonWebKeySet::default(),
        internal_url: None,
        ca_bundle: Some(CA.to_owned()),
        status_max_age: 900,
    })
}

/// The controller as it runs in the operator.
struct Running {
    settings: watch::Sender<Arc<Settings>>,
    issuing: watch::Sender<Option<Arc<Issuing>>>,
    leader: watch::Sender<bool>,
    shutdown: CancellationToken,
    context: Context,
}

async fn run(place: &Place) -> Running {
    let client = place.operator().await;
    let shutdown = CancellationToken::new();
    let (watched, follow) = registry::watch::start(&client, registry::watch::Metrics::default(), shutdown.clone());
    tokio::spawn(follow);
    let mut synced = watched.synced.clone();
    tokio::time::timeout(Duration::from_secs(10), synced.wait_for(|synced| *synced)).await.expect("synced").unwrap();
    let (settings, settings_seen) = watch::channel(settings(IN_CLUSTER));
    let (issuing, issuing_seen) = watch::channel(Some(issuing(IN_CLUSTER)));
    let (leader, leads) = watch::channel(true);
    let context = Context {
        client: client.clone(),
        snapshot: watched.snapshot,
        settings: settings_seen,
        issuing: issuing_seen,
        leader: leads,
        events: Events::new(client, "test".to_owned()),
        metrics: Metrics::default(),
    };
    tokio::spawn(mcp_client::run(context.clone(), shutdown.clone()));
    Running { settings, issuing, leader, shutdown, context }
}

fn condition<'a>(object: &'a McpClient, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = &object.status.as_ref()?.conditions;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&found.status, &found.reason, &found.message))
}

fn has(object: &McpClient, kind: &str, status: &str, reason: &str) -> bool {
    condition(object, kind).is_some_and(|(is, why, _)| is == status && why == reason)
}

fn hashes(object: &McpClient) -> Vec<String> {
    object.status.as_ref().unwrap().secrets.iter().map(|secret| secret.sha256.clone()).collect()
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

fn hash_of(secret: &Secret) -> String {
    digest::sha256_hex(text(secret, "client_secret").as_bytes())
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_client_is_given_credentials_once_that_is_permitted() {
    let place = Place::new("clients").await;
    let running = run(&place).await;
    let secrets = place.api::<Secret>();

    place.create_client("agent", json!({})).await;
    let refused = place.client_that("agent", "refused", |object| condition(object, "Ready").is_some()).await;
    let (status, reason, message) = condition(&refused, "CredentialsReady").unwrap();
    assert_eq!((status, reason), ("False", "NotPermitted"));
    assert!(
        message.contains(&format!("kubectl create rolebinding lumoauth-credentials -n {}", place.namespace)),
        "{message}"
    );
    assert!(has(&refused, "Accepted", "True", "Valid") && has(&refused, "Ready", "False", "CredentialsNotReady"));
    assert!(hashes(&refused).is_empty(), "no hash of a secret that nobody has");

    place.permit_credentials().await;
    let ready = place.client_that("agent", "ready", |object| has(object, "Ready", "True", "Ready")).await;
    let secret = secrets.get("agent-oauth").await.unwrap();
    assert_eq!(hashes(&ready), [hash_of(&secret)]);
    assert_eq!(text(&secret, "client_id"), ready.status.as_ref().unwrap().client_id.clone().unwrap());
    let issuer = format!("{IN_CLUSTER}/orgs/{}/api/v1", place.namespace);
    assert_eq!(text(&secret, "issuer"), issuer);
    assert_eq!(text(&secret, "token_endpoint"), format!("{issuer}/oauth/token"));
    assert_eq!(text(&secret, "ca.crt"), CA);
    assert_eq!(secret.owner_references()[0].name, "agent");

    // Events follow on the status that they are about; this one is the last.
    let events: Api<Event> = place.api();
    let end = Instant::now() + Duration::from_secs(10);
    let reasons = loop {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let reasons: Vec<_> = all.into_iter().filter_map(|event| event.reason).collect();
        if reasons.iter().any(|reason| reason == "Ready") {
            break reasons;
        }
        assert!(Instant::now() < end, "{reasons:?}");
        sleep(Duration::from_millis(50)).await;
    };
    assert!(reasons.iter().any(|reason| reason == "NotPermitted"), "{reasons:?}");

    // Nothing changes: nothing is written.
    let before = place.api::<McpClient>().get("agent").await.unwrap();
    running.settings.send_replace(settings(IN_CLUSTER));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(place.api::<McpClient>().get("agent").await.unwrap().resource_version(), before.resource_version());
    assert_eq!(secrets.get("agent-oauth").await.unwrap().resource_version(), secret.resource_version());
    assert_eq!(events.list(&ListParams::default()).await.unwrap().items.len(), reasons.len());

    // A public URL: other addresses, no certificate, the same secret.
    running.issuing.send_replace(Some(issuing("https://as.example")));
    running.settings.send_replace(settings("https://as.example"));
    let end = Instant::now() + Duration::from_secs(10);
    let moved = loop {
        let moved = secrets.get("agent-oauth").await.unwrap();
        if text(&moved, "issuer").starts_with("https://as.example/")
            && !moved.data.as_ref().unwrap().contains_key("ca.crt")
        {
            break moved;
        }
        assert!(Instant::now() < end, "the Secret keeps the old addresses");
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(hash_of(&moved), hash_of(&secret));
    running.shutdown.cancel();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn secrets_rotate_heal_and_are_taken_over() {
    let place = Place::new("rotation").await;
    place.permit_credentials().await;
    let running = run(&place).await;
    let secrets = place.api::<Secret>();
    place.create_client("agent", json!({})).await;
    place.client_that("agent", "ready", |object| has(object, "Ready", "True", "Ready")).await;
    let first = secrets.get("agent-oauth").await.unwrap();

    place.merge_client("agent", json!({"metadata": {"annotations": {"mcp.lumoauth.dev/rotate": "1"}}})).await;
    let rotated = place.client_that("agent", "rotated", |object| hashes(object).len() == 2).await;
    place.client_that("agent", "at rest", |object| has(object, "Ready", "True", "Ready")).await;
    sleep(Duration::from_secs(1)).await;
    let second = secrets.get("agent-oauth").await.unwrap();
    assert_eq!(hashes(&rotated), [hash_of(&second), hash_of(&first)]);
    let ends: Vec<_> =
        rotated.status.as_ref().unwrap().secrets.iter().map(|secret| secret.not_after.is_some()).collect();
    assert_eq!(ends, [false, true]);

    // A Secret that was deleted: a new secret. The next look is minutes away; a change of the object is one.
    secrets.delete("agent-oauth", &DeleteParams::default()).await.unwrap();
    place.merge_client("agent", json!({"spec": {"displayName": "Agent"}})).await;
    place.client_that("agent", "healed", |object| hashes(object).len() == 3).await;
    sleep(Duration::from_secs(1)).await;
    let third = secrets.get("agent-oauth").await.unwrap();
    let healed = place.api::<McpClient>().get("agent").await.unwrap();
    assert_eq!(hashes(&healed), [hash_of(&third), hash_of(&second), hash_of(&first)]);

    // A status that was lost (a restored backup): the Secret is hashed, not rotated.
    let clients = place.api::<McpClient>();
    clients.patch_status("agent", &PatchParams::default(), &Patch::Merge(json!({"status": null}))).await.unwrap();
    let restored = place.client_that("agent", "restored", |object| has(object, "Ready", "True", "Ready")).await;
    assert_eq!(hashes(&restored), [hash_of(&third)]);
    assert_eq!(secrets.get("agent-oauth").await.unwrap().resource_version(), third.resource_version());

    running.shutdown.cancel();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_secret_of_an_earlier_client_and_one_that_was_planted_are_replaced() {
    let place = Place::new("lives").await;
    place.permit_credentials().await;
    let running = run(&place).await;
    let (clients, secrets) = (place.api::<McpClient>(), place.api::<Secret>());
    // The Secrets must outlast the garbage collector.
    let hold = |held: Value| Patch::Merge(json!({"metadata": {"finalizers": held}}));

    place.create_client("agent", json!({})).await;
    place.client_that("agent", "ready", |object| has(object, "Ready", "True", "Ready")).await;
    secrets.patch("agent-oauth", &PatchParams::default(), &hold(json!(["test.example/hold"]))).await.unwrap();
    let leaked = hash_of(&secrets.get("agent-oauth").await.unwrap());
    clients.delete("agent", &DeleteParams::background()).await.unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while clients.get_opt("agent").await.unwrap().is_some() {
        assert!(Instant::now() < end, "the McpClient is not deleted");
        sleep(Duration::from_millis(100)).await;
    }

    let planted: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": "planted-oauth", "labels": {"app.kubernetes.io/managed-by": "lumoauth"},
            "finalizers": ["test.example/hold"],
            "ownerReferences": [{
                "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient", "name": "planted", "uid": "guessed",
            }],
        },
        "stringData": {"client_secret": "a".repeat(43)},
    }))
    .unwrap();
    let known = hash_of(&secrets.create(&PostParams::default(), &planted).await.unwrap());

    for (name, old) in [("agent", leaked), ("planted", known)] {
        place.create_client(name, json!({})).await;
        let ready = place.client_that(name, "ready", |object| has(object, "Ready", "True", "Ready")).await;
        let secret = secrets.get(&format!("{name}-oauth")).await.unwrap();
        // Of an attempt that the garbage collector came in the way of, a hash may be left behind the newest.
        assert_eq!(hashes(&ready).first(), Some(&hash_of(&secret)), "{name}");
        assert!(!hashes(&ready).contains(&old), "{name}");
        let owners: Vec<_> = secret.owner_references().iter().map(|owner| owner.uid.clone()).collect();
        assert!(owners.contains(&ready.uid().unwrap()), "{name}: {owners:?}");
    }

    running.shutdown.cancel();
    for secret in ["agent-oauth", "planted-oauth"] {
        secrets.patch(secret, &PatchParams::default(), &hold(json!(null))).await.unwrap();
    }
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_is_not_ours_is_left_alone_and_what_is_not_valid_is_told() {
    let place = Place::new("strangers").await;
    place.permit_credentials().await;
    let running = run(&place).await;
    let secrets = place.api::<Secret>();
    let foreign = serde_json::from_value(
        json!({"metadata": {"name": "foreign"}, "stringData": {"client_secret": "a".repeat(43)}}),
    )
    .unwrap();
    let foreign: Secret = secrets.create(&PostParams::default(), &foreign).await.unwrap();

    place.create_client("one", json!({"spec": {"credentialsSecretName": "foreign"}})).await;
    let taken =
        place.client_that("one", "refused", |object| has(object, "CredentialsReady", "False", "NameTaken")).await;
    assert!(hashes(&taken).is_empty());
    assert_eq!(secrets.get("foreign").await.unwrap().resource_version(), foreign.resource_version());

    place.create_client("two", json!({})).await;
    place.client_that("two", "ready", |object| has(object, "Ready", "True", "Ready")).await;
    let of_two = secrets.get("two-oauth").await.unwrap();
    place.create_client("three", json!({"spec": {"credentialsSecretName": "two-oauth"}})).await;
    place.client_that("three", "refused", |object| has(object, "CredentialsReady", "False", "NameTaken")).await;
    assert_eq!(secrets.get("two-oauth").await.unwrap().resource_version(), of_two.resource_version());

    place.create_client("four", json!({"spec": {"grantTypes": ["DeviceCode"]}})).await;
    let four = place.client_that("four", "refused", |object| has(object, "Accepted", "False", "NotImplemented")).await;
    assert!(has(&four, "CredentialsReady", "Unknown", "NotAccepted") && has(&four, "Ready", "False", "NotAccepted"));

    // What a controller says of an object that it cannot read leaves the rest of the status.
    let findings = [Finding::no(Type::Accepted, "Malformed", "unknown variant")];
    running.leader.send_replace(false);
    let key = ObjectKey::new(place.namespace.as_str(), "two");
    assert!(running.context.report_malformed::<McpClient>(&key, &findings).await.is_err(), "only the leader writes");
    running.shutdown.cancel();
    running.leader.send_replace(true);
    running.context.report_malformed::<McpClient>(&key, &findings).await.unwrap();
    let two = place.client_that("two", "malformed", |object| has(object, "Accepted", "False", "Malformed")).await;
    assert_eq!(hashes(&two), [hash_of(&of_two)]);

    // Deleted with its client.
    place.api::<McpClient>().delete("two", &DeleteParams::default()).await.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while secrets.get_opt("two-oauth").await.unwrap().is_some() {
        assert!(Instant::now() < end, "the Secret outlives its client");
        sleep(Duration::from_millis(200)).await;
    }
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn one_replica_leads_and_another_takes_over() {
    let place = Place::new("leaders").await;
    let candidate = async |identity: &str| {
        let client = leader::client(config().await).unwrap();
        let shutdown = CancellationToken::new();
        let (leads, run) =
            leader::start(client, place.namespace.clone(), identity.to_owned(), Metrics::default(), shutdown.clone());
        (leads, tokio::spawn(run), shutdown)
    };
    let (mut first, first_run, _) = candidate("first").await;
    takes_over(&mut first, Duration::from_secs(5)).await;
    let (mut second, second_run, second_shutdown) = candidate("second").await;
    sleep(Duration::from_secs(7)).await;
    assert!(*first.borrow() && !*second.borrow(), "one leads, also after renewals");

    // The leader dies: nothing is given back.
    first_run.abort();
    let waited = takes_over(&mut second, Duration::from_secs(20)).await;
    println!("the survivor of a dead leader leads after {waited:?}");

    // The leader ends: the lease is given back.
    let (mut third, third_run, third_shutdown) = candidate("third").await;
    sleep(Duration::from_secs(1)).await;
    second_shutdown.cancel();
    let waited = takes_over(&mut third, Duration::from_secs(6)).await;
    println!("the successor of a leader that ended leads after {waited:?}");
    assert!(!*second.borrow());
    second_run.await.unwrap();
    third_shutdown.cancel();
    third_run.await.unwrap();
    place.remove().await;
}

async fn takes_over(leads: &mut watch::Receiver<bool>, limit: Duration) -> Duration {
    let start = Instant::now();
    tokio::time::timeout(limit, leads.wait_for(|leads| *leads)).await.expect("in time").unwrap();
    start.elapsed()
}
