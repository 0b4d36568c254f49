//! Injection by a real API server: the webhook runs in this process, and the API server calls it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{ConfigMap, Namespace, Secret},
};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use lumoauth::{
    api::names,
    controller::{
        Context, Events, Metrics,
        system::{self, Place},
    },
    inject::{self, Comparison, Plan, Target},
    pki::{Certificate, wall_clock},
    registry::{Index, NamespaceMeta, ObjectKey, Parsed, Snapshot},
    settings::Settings,
    tls,
    webhook::{self, Webhook},
};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::support;

const SERVER: &str = "mcp.lumoauth.dev/server";

/// A webhook of this process, with a namespace it is called for and a control plane that keeps its CA there.
struct Fixture {
    client: Client,
    place: Place,
    snapshot: Arc<Snapshot>,
    settings: Arc<Settings>,
}

impl Fixture {
    /// Runs `test` with a webhook, and cleans up whatever becomes of it.
    async fn with<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Arc<Self>) -> F) {
        let client = support::client().await;
        let fixture = Arc::new(Self::new(client, name));
        fixture.clean_up().await;
        let shutdown = CancellationToken::new();
        fixture.start(&shutdown).await;
        let result = AssertUnwindSafe(test(Arc::clone(&fixture))).catch_unwind().await;
        shutdown.cancel();
        fixture.clean_up().await;
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }

    fn new(client: Client, name: &str) -> Self {
        let mut index = Index::default();
        index.apply_namespace(name.to_owned(), NamespaceMeta::default());
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"namespace": name, "name": "invoices", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "resourceUri": "https://a.example/mcp", "port": 8000,
                "sidecar": {"resources": {"limits": {"cpu": "1000m"}, "requests": {"memory": "65536Ki"}}},
            },
        });
        index.apply_server(Parsed::Object(Arc::new(serde_json::from_value(object).unwrap())));
        let settings = "{publicUrl: 'https://auth.example', sidecarImage: 'docker.io/lumoauth/sidecar:0.0.0'}";
        let place = Place { namespace: name.to_owned(), webhook: name.to_owned() };
        let snapshot = Arc::new(index.snapshot());
        Self { client, place, snapshot, settings: Arc::new(Settings::parse(settings).unwrap()) }
    }

    async fn start(&self, shutdown: &CancellationToken) {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.place.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        self.create::<Namespace>(Api::all(self.client.clone()), namespace).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/mutate/pods", listener.local_addr().unwrap());
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.place.webhook},
            "webhooks": [{
                "name": "pods.mcp.lumoauth.dev", "clientConfig": {"url": url}, "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded", "sideEffects": "None", "timeoutSeconds": 5,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.place.namespace}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            }],
        });
        self.create::<MutatingWebhookConfiguration>(Api::all(self.client.clone()), configuration).await;

        let snapshot = watch::channel(Arc::clone(&self.snapshot)).1;
        let settings = watch::channel(Arc::clone(&self.settings)).1;
        let (published, publishing) = system::publish(&self.client, &self.place, settings.clone(), shutdown.clone());
        tokio::spawn(publishing);
        let (leader, leads) = watch::channel(true);
        let context = Context {
            client: self.client.clone(),
            snapshot: snapshot.clone(),
            settings: settings.clone(),
            issuing: published.issuing,
            leader: leads,
            events: Events::new(self.client.clone(), "test".to_owned()),
            metrics: Metrics::register(&mut Registry::default()),
        };
        let authority = published.authority.clone();
        let running = system::run(context, self.place.clone(), authority, wall_clock, shutdown.clone());
        tokio::spawn(async move {
            running.await;
            drop(leader);
        });
        let metrics = webhook::Metrics::register(&mut Registry::default());
        let certificate = Arc::new(tls::Certificate::default());
        let (kept, counted) = (Arc::clone(&certificate), metrics.clone());
        let authority = published.authority;
        tokio::spawn(webhook::keep_certificate(kept, &["127.0.0.1"], authority, wall_clock, counted, shutdown.clone()));
        let webhook = Webhook { snapshot, settings, lookup: self.client.clone(), metrics: metrics.clone() };
        tokio::spawn(webhook::serve(listener, webhook.router(), certificate, metrics, shutdown.clone()));
        self.until("a pod is admitted", async || self.create_pod(&pod("warm-up"), true).await.is_ok()).await;
    }

    async fn create<K>(&self, api: Api<K>, object: Value)
    where
        K: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
    {
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    fn pods(&self) -> Api<DynamicObject> {
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        Api::namespaced_with(self.client.clone(), &self.place.namespace, &pods)
    }

    async fn create_pod(&self, pod: &Value, dry_run: bool) -> Result<Value, String> {
        let params = PostParams { dry_run, ..PostParams::default() };
        let created = self.pods().create(&params, &serde_json::from_value(pod.clone()).unwrap()).await;
        created.map(|pod| serde_json::to_value(pod).unwrap()).map_err(|error| error.to_string())
    }

    async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let start = Instant::now();
        while !done().await {
            assert!(start.elapsed() < Duration::from_secs(90), "{what}: it takes too long");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn bundle(&self) -> String {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let data = maps.get_opt(names::CA).await.unwrap().and_then(|map| map.data);
        data.and_then(|mut data| data.remove("ca.crt")).unwrap_or_default()
    }

    async fn signer(&self) -> Certificate {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let data = secrets.get(names::CA).await.unwrap().data.unwrap();
        Certificate::parse(std::str::from_utf8(&data["tls.crt"].0).unwrap(), "tls.crt").unwrap()
    }

    async fn configuration(&self) -> MutatingWebhookConfiguration {
        Api::<MutatingWebhookConfiguration>::all(self.client.clone()).get(&self.place.webhook).await.unwrap()
    }

    async fn clean_up(&self) {
        let delete = DeleteParams::default().grace_period(0);
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let _ = configurations.delete(&self.place.webhook, &delete).await;
        for name in ["invoices", "other"] {
            let _ = self.pods().delete(name, &delete).await;
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.place.namespace, &delete).await;
        self.until("the namespace goes", async || namespaces.get_opt(&self.place.namespace).await.unwrap().is_none())
            .await;
    }
}

/// A pod with a little of everything that an API server defaults or adds to.
fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": {SERVER: "invoices"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [container("migrate")],
            "containers": [container("app"), container("metrics")],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    })
}

fn container(name: &str) -> Value {
    json!({
        "name": name, "image": "docker.io/example/none:1", "imagePullPolicy": "Never",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "readinessProbe": if name == "app" { json!({"tcpSocket": {"port": 8000}}) } else { Value::Null },
    })
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_pod_read_back_is_as_planned() {
    Fixture::with("lumoauth-test-inject", |fixture| async move {
        let key = ObjectKey::new(fixture.place.namespace.clone(), "invoices");
        let target = Target::of_entry(fixture.snapshot.servers.get(&key).unwrap());
        let plan = Plan::new(&target, &fixture.settings).unwrap();

        fixture.create_pod(&pod("invoices"), false).await.unwrap();
        let live = serde_json::to_value(fixture.pods().get("invoices").await.unwrap()).unwrap();
        assert_eq!(inject::compare(&live, &plan), Comparison::Injected, "{live:#}");
        assert_eq!(live["spec"]["initContainers"][0]["name"], names::SIDECAR_CONTAINER);
        assert_eq!(live["metadata"]["labels"][SERVER], "invoices");
        let again = inject::inject(&live, &target, &fixture.settings).unwrap();
        assert!(again.patch.is_empty(), "{}", again.patch);

        let mut copy = live.clone();
        for server_side in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
            copy["metadata"].as_object_mut().unwrap().remove(server_side);
        }
        copy["metadata"]["name"] = json!("other");
        copy["spec"].as_object_mut().unwrap().remove("nodeName");
        fixture.create_pod(&copy, true).await.expect("a copy of an injected pod is admitted as it is");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn refusals_reach_the_author() {
    Fixture::with("lumoauth-test-refuse", |fixture| async move {
        let mut unknown = pod("other");
        unknown["metadata"]["annotations"][SERVER] = json!("nope");
        let error = fixture.create_pod(&unknown, true).await.unwrap_err();
        let namespace = &fixture.place.namespace;
        let message = format!(r#"denied the request: no McpServer "nope" in namespace "{namespace}": create it first"#);
        assert!(error.contains(&message), "{error}");

        let mut forged = pod("other");
        forged["metadata"]["labels"] = json!({SERVER: "invoices"});
        forged["metadata"]["annotations"] = json!({});
        let error = fixture.create_pod(&forged, true).await.unwrap_err();
        assert!(error.contains("is written by the webhook: remove the label"), "{error}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn the_ca_rotates_without_a_refused_pod() {
    Fixture::with("lumoauth-test-rotate", |fixture| async move {
        let first = fixture.signer().await;
        let stop = CancellationToken::new();
        let creating = tokio::spawn({
            let (fixture, stop) = (Arc::clone(&fixture), stop.clone());
            async move {
                let (mut admitted, mut refused) = (0, Vec::new());
                while !stop.is_cancelled() {
                    match fixture.create_pod(&pod("other"), true).await {
                        Ok(_) => admitted += 1,
                        Err(error) => refused.push(error),
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                (admitted, refused)
            }
        });

        let secrets: Api<Secret> = Api::namespaced(fixture.client.clone(), &fixture.place.namespace);
        let ask = json!({"metadata": {"annotations": {names::ROTATE: "1"}}});
        secrets.patch(names::CA, &PatchParams::default(), &Patch::Merge(ask)).await.unwrap();
        fixture.until("both CAs are published", async || fixture.bundle().await.matches("BEGIN").count() == 2).await;
        assert_eq!(fixture.signer().await, first, "the new CA is published before it signs");
        fixture.until("the new CA signs", async || fixture.signer().await != first).await;
        sleep(Duration::from_secs(3)).await;

        let lost = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
        let lost: json_patch::Patch = serde_json::from_value(lost).unwrap();
        stop.cancel();
        let (admitted, refused) = creating.await.unwrap();
        assert!(refused.is_empty(), "{} of {} pods were refused: {refused:?}", refused.len(), admitted + refused.len());
        assert!(admitted > 50, "{admitted}");

        let owned = fixture.configuration().await.metadata.managed_fields.unwrap();
        let ours = owned.iter().find(|entry| entry.manager.as_deref() == Some("lumoauth-webhook-ca")).unwrap();
        assert_eq!(
            ours.fields_v1.as_ref().unwrap().0,
            json!({"f:webhooks": {r#"k:{"name":"pods.mcp.lumoauth.dev"}"#: {
                ".": {}, "f:name": {}, "f:clientConfig": {"f:caBundle": {}},
            }}})
        );
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(fixture.client.clone());
        let params = PatchParams::default();
        configurations.patch(&fixture.place.webhook, &params, &Patch::Json::<()>(lost)).await.unwrap();
        fixture
            .until("a lost caBundle is back", async || {
                let webhooks = fixture.configuration().await.webhooks.unwrap();
                webhooks[0].client_config.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
            })
            .await;
    })
    .await;
}
