//! People, their clients and their tokens on a real cluster. One test, because each step stands on those before it.

use std::time::{Duration, Instant};

use reqwest::{Certificate, Client};
use serde_json::json;

use super::{
    install,
    quickstart::{AS_HOST, Cluster, HOST, NAMESPACE, RESOURCE, call_at, field, wait_condition},
    wait_deployments,
};
use crate::{
    flows::{
        Visits, blocking, rmcp_client,
        sdk::{LIMIT, Sdk, registered, steps, went_through},
    },
    support::{
        apply_text, eventually, kubectl,
        login::{Person, builder},
        oauth::App,
        program, root, try_kubectl,
    },
};

const ISSUER: &str = "https://lumoauth-authserver.lumoauth-system.svc/orgs/quickstart/api/v1";
pub(super) const PASSWORD: &str = "correct horse battery staple";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn people_and_their_clients() {
    let start = Instant::now();
    install();
    open_registration();
    kubectl(&["apply", "-f", root().join("manifests/examples/quickstart.yaml").to_str().unwrap()]);
    wait_condition("mcpserver", "invoices", "Ready", "True", 120);
    kubectl(&["scale", "deployment", "invoices", "-n", NAMESPACE, "--replicas=2"]);
    add_alice(NAMESPACE);
    let cluster = Cluster::find();
    let ca = kubectl(&[
        "get",
        "configmap",
        "lumoauth-ca",
        "-n",
        "lumoauth-system",
        "-o",
        "go-template={{index .data \"ca.crt\"}}",
    ]);
    let bundle = cluster.directory.path().join("ca.crt");
    std::fs::write(&bundle, &ca).unwrap();
    say("installed, with a user and open registration", start);

    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let name = sdk.client();
        let visits = Visits::new(cluster.directory.path(), name, ("alice", PASSWORD), &steps(name));
        let (interpreter, script) = sdk.program();
        let mut command = visits.command("unshare");
        command.args(cluster.resolving()).arg(interpreter).arg(script).arg(RESOURCE);
        command.env("SSL_CERT_FILE", &bundle).env("NODE_EXTRA_CA_CERTS", &bundle);
        let output = blocking(move || program::finish(&mut command, LIMIT)).await;
        let seen = program::lines(&output);
        assert!(output.status.success(), "{seen:#?}\n{}", String::from_utf8_lossy(&output.stderr));
        went_through(&seen, &visits, "/orgs/quickstart/api/v1");
        assert!(registered(&seen));
        say(&format!("{name} went from the URL to a step-up"), start);
    }

    let http = || {
        let certificate = Certificate::from_pem(ca.as_bytes()).unwrap();
        let address = |ip: &str, port: u16| std::net::SocketAddr::new(ip.parse().unwrap(), port);
        builder()
            .tls_certs_only([certificate])
            .resolve(AS_HOST, address(&cluster.authserver_ip, 443))
            .resolve(HOST, address(&cluster.service_ip, 80))
            .build()
            .unwrap()
    };
    let chromium = format!("--host-resolver-rules=MAP {AS_HOST} {}", cluster.authserver_ip);
    let visits = Visits::new(cluster.directory.path(), "rmcp", ("alice", PASSWORD), &steps(rmcp_client::NAME));
    rmcp_client::run(RESOURCE, None, Some(http()), visits.chromium(&chromium)).await;
    say("rmcp went from the URL to a step-up", start);

    let mut person = Person::new(http(), "alice", PASSWORD);
    let app = App::register(http(), ISSUER, RESOURCE).await;
    let kept = app.tokens(&mut person, "mcp:read").await;
    let tokens = app.tokens(&mut person, "mcp:read").await;
    revoked_everywhere(&app, &tokens.text("access_token")).await;
    say("a revoked token is dead at every sidecar", start);
    restart(&app, http, &kept.text("refresh_token"), &tokens.text("refresh_token"), person).await;
    say("a restart of the authorization server keeps users, refresh tokens and revocations", start);
    deleted_client(&cluster);
    say("a deleted McpClient's tokens are dead", start);
}

fn say(step: &str, start: Instant) {
    println!("[{:6.1} s] {step}", start.elapsed().as_secs_f64());
}

/// Registration is off on a cluster until an administrator opens it.
fn open_registration() {
    let config = kubectl(&[
        "get",
        "configmap",
        "lumoauth-config",
        "-n",
        "lumoauth-system",
        "-o",
        "go-template={{index .data \"config.yaml\"}}",
    ]);
    let config = format!("{config}\norgs:\n  quickstart:\n    dcr:\n      mode: Open\n");
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "lumoauth-config", "namespace": "lumoauth-system",
            "labels": {"app.kubernetes.io/part-of": "lumoauth"},
        },
        "data": {"config.yaml": config},
    });
    apply_text(&["apply", "--server-side", "-f", "-"], &object.to_string());
    kubectl(&["rollout", "restart", "deployment", "lumoauth-authserver", "-n", "lumoauth-system"]);
    wait_deployments();
}

/// As an administrator does, also where a run before this one has added her.
pub(super) fn add_alice(org: &str) {
    let user = |command: &str| {
        let program =
            ["exec", "-i", "-n", "lumoauth-system", "deployment/lumoauth-authserver", "--", "lumoauth", "user"];
        let arguments = [command, "alice", "--org", org, "--password-stdin"];
        try_kubectl(&[&program[..], &arguments[..]].concat(), &format!("{PASSWORD}\n"))
    };
    let mut said = user("add");
    if said.text.contains("already exists") {
        said = user("passwd");
    }
    assert!(said.ok, "{}", said.text);
}

/// The addresses of the pods that call themselves ready.
fn pods() -> Vec<String> {
    kubectl(&["rollout", "status", "deployment", "invoices", "-n", NAMESPACE, "--timeout=120s"]);
    let pods = ["get", "pods", "-n", NAMESPACE, "-l", "app=invoices", "--field-selector=status.phase=Running"];
    field(&pods, "{.items[*].status.podIP}").split(' ').map(str::to_owned).collect()
}

fn call(ip: &str, token: &str) -> u16 {
    let params = json!({"name": "search_invoices", "arguments": {"query": "acme"}});
    call_at(ip, 16080, Some(token), "tools/call", &params).status
}

async fn revoked_everywhere(app: &App, token: &str) {
    let pods = pods();
    assert_eq!(pods.len(), 2);
    for ip in &pods {
        assert_eq!(call(ip, token), 200);
    }
    assert_eq!(app.revoke(token).await.unwrap(), 200);
    dead("a revoked token (target 5 s)", || pods.iter().map(|ip| call(ip, token)).collect());
}

/// Waits until every sidecar refuses.
fn dead(what: &str, call: impl Fn() -> Vec<u16>) {
    let ((), took) = eventually(what, Duration::from_secs(20), || {
        let statuses = call();
        if statuses.iter().all(|status| *status == 401) { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
    println!("{what}: refused by every sidecar after {:.1} s", took.as_secs_f64());
}

/// The only replica is killed without a word.
async fn restart(app: &App, http: impl Fn() -> Client, kept: &str, revoked: &str, mut person: Person) {
    let pod = ["get", "pods", "-n", "lumoauth-system", "-l", "app.kubernetes.io/name=lumoauth-authserver"];
    let name = field(&pod, "{.items[0].metadata.name}");
    kubectl(&["delete", "pod", &name, "-n", "lumoauth-system", "--grace-period=0", "--force"]);
    wait_deployments();
    let (answer, took) = {
        let begin = Instant::now();
        loop {
            match app.refresh(kept).await {
                Ok(answer) => break (answer, begin.elapsed()),
                Err(error) => assert!(begin.elapsed() < Duration::from_mins(1), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    println!("answered {:.1} s after its Deployment was available", took.as_secs_f64());
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = app.refresh(revoked).await.unwrap();
    assert_eq!(answer.error(), Some("invalid_grant"), "{answer:?}");
    // A session, and an account.
    app.tokens(&mut person, "mcp:read").await;
    app.tokens(&mut Person::new(http(), "alice", PASSWORD), "mcp:read").await;
}

fn deleted_client(cluster: &Cluster) {
    let token = cluster.access_token("writer", RESOURCE);
    let pods = pods();
    for ip in &pods {
        assert_eq!(call(ip, &token), 200);
    }
    kubectl(&["delete", "mcpclient", "writer", "-n", NAMESPACE]);
    // The object has to be missing for 5 s: it may be made again.
    dead("a token of a deleted McpClient (target 15 s)", || pods.iter().map(|ip| call(ip, &token)).collect());
}
