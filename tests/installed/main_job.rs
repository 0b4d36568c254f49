//! The main job on a real cluster, as a platform team does it: install, protect a server, call it, change it, upgrade
//! it, delete it. One test, because each step stands on those before it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    quickstart::{Cluster, NAMESPACE, RESOURCE, call_at, condition, field, pod, wait_condition},
    wait_deployments,
};
use crate::support::{apply_text, eventually, kubectl, root, try_kubectl};

fn say(step: &str, start: Instant) {
    println!("[{:6.1} s] {step}", start.elapsed().as_secs_f64());
}

#[test]
#[ignore = "needs a cluster"]
fn the_main_job() {
    let start = Instant::now();
    let manifest = root().join("manifests/install.yaml");
    let manifest = manifest.to_str().unwrap();
    kubectl(&["apply", "--server-side", "-f", manifest]);
    wait_deployments();
    say("installed: both Deployments are available", start);

    let quickstart = root().join("manifests/examples/quickstart.yaml");
    let applied = Instant::now();
    kubectl(&["apply", "-f", quickstart.to_str().unwrap()]);
    wait_condition("mcpserver", "invoices", "Ready", "True", 120);
    println!("McpServer Ready after {:.1} s (target 15 s)", applied.elapsed().as_secs_f64());
    let first = "{.spec.initContainers[0].name} {.spec.initContainers[0].restartPolicy}";
    assert_eq!(field(&["get", "pod", &pod(), "-n", NAMESPACE], first), "lumoauth-sidecar Always");
    let table = kubectl(&["get", "mcpserver", "-n", NAMESPACE]);
    println!("{table}");
    assert!(table.contains("RESOURCE") && table.contains("1/1"), "{table}");

    let cluster = Cluster::find();
    for client in ["reader", "writer"] {
        wait_condition("mcpclient", client, "Ready", "True", 60);
    }
    challenge(&cluster);
    say("a call without a token is challenged", start);
    sdk_clients(&cluster);
    say("the official SDK discovers, gets tokens, lists and calls; and is stopped", start);
    foreign_token(&cluster);
    say("a token for another server is refused", start);
    rule_change(&cluster);
    say("a changed rule is enforced in the running pod", start);
    operator_killed(&cluster);
    say("calls go on without an operator, and its successor takes over", start);
    unprotected_pods(&cluster);
    say("pods that went around the webhook are no endpoints", start);
    upgrade(&cluster, manifest);
    say("an upgrade drops no call", start);
    deletion(&cluster);
    say("a deleted McpServer denies", start);
}

fn challenge(cluster: &Cluster) {
    let answer = cluster.call(None, "tools/list", &json!({}));
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(
        answer.header("www-authenticate"),
        Some(
            r#"Bearer resource_metadata="http://invoices-mcp.quickstart.svc/.well-known/oauth-protected-resource/mcp", scope="mcp:read""#
        )
    );
    let example = field(&["get", "mcpserver", "invoices", "-n", NAMESPACE], "{.status.wwwAuthenticateExample}");
    assert!(example.starts_with("Bearer resource_metadata="), "{example}");
}

fn sdk_clients(cluster: &Cluster) {
    let read = cluster.sdk("reader", "search_invoices");
    assert!(read["error"].is_null() && read["result"]["content"].is_array(), "{read}");
    assert!(read["statuses"][0][0] == 401, "the first call is challenged: {read}");
    let tools: Vec<_> = read["tools"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(tools, ["search_invoices"], "a list shows what the token may use");

    let refused = cluster.sdk("reader", "send_reminder");
    let statuses = refused["statuses"].as_array().unwrap();
    let insufficient = statuses.iter().any(|status| {
        status[0] == 403
            && status[1].as_str().is_some_and(|text| {
                text.starts_with(r#"Bearer error="insufficient_scope", scope="mcp:read mcp:write""#)
            })
    });
    assert!(insufficient && refused["result"].is_null(), "{refused}");

    let written = cluster.sdk("writer", "send_reminder");
    assert!(written["error"].is_null() && written["result"]["content"].is_array(), "{written}");
}

fn foreign_token(cluster: &Cluster) {
    let other = "https://other.example/mcp";
    apply_text(
        &["apply", "-f", "-"],
        &json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": "other", "namespace": NAMESPACE},
            "spec": {"resourceUri": other, "port": 9000, "scopes": [{"name": "mcp:read"}], "requiredScopes": ["mcp:read"]},
        })
        .to_string(),
    );
    let (token, _) = eventually("a token for the other server", Duration::from_secs(30), || {
        let answer = cluster.token("writer", other, None);
        if answer.status == 200 {
            Ok(answer.json()["access_token"].as_str().unwrap().to_owned())
        } else {
            Err(format!("{answer:?}"))
        }
    });
    let answer = cluster.call(Some(&token), "tools/list", &json!({}));
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.header("www-authenticate").unwrap().starts_with(r#"Bearer error="invalid_token""#), "{answer:?}");
    wait_condition("mcpserver", "other", "Ready", "Unknown", 30);
    kubectl(&["delete", "mcpserver", "other", "-n", NAMESPACE]);
    let answer = cluster.token("writer", "https://nowhere.example/mcp", None);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_target")), "{answer:?}");
}

fn generation() -> String {
    field(&["get", "mcpserver", "invoices", "-n", NAMESPACE], "{.status.configGeneration}")
}

fn set_rules(rules: &Value) {
    let patch = json!({"spec": {"rules": rules}}).to_string();
    kubectl(&["patch", "mcpserver", "invoices", "-n", NAMESPACE, "--type=merge", "-p", &patch]);
}

fn original_rules() -> Value {
    json!([{"tools": ["send_reminder"], "scopes": ["mcp:write"]}, {"tools": ["delete_*"], "deny": true}])
}

/// Changes a rule and waits until the running pod enforces it; gives how long that took.
fn enforce(cluster: &Cluster, token: &str, rules: &Value, status: u16) -> Duration {
    let changed = Instant::now();
    set_rules(rules);
    eventually("the rule is enforced", Duration::from_secs(20), || {
        let answer = cluster.tool(token, "search_invoices");
        if answer.status == status { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    changed.elapsed()
}

fn rule_change(cluster: &Cluster) {
    let token = cluster.access_token("reader", RESOURCE);
    assert_eq!(cluster.tool(&token, "search_invoices").status, 200);
    let before = generation();
    let took = enforce(cluster, &token, &json!([{"tools": ["*"], "scopes": ["mcp:write"]}]), 403);
    println!("a changed rule was enforced after {:.2} s (target 2 s)", took.as_secs_f64());
    let ((), programmed) = eventually("Programmed follows", Duration::from_secs(20), || {
        let (status, rest) = condition("mcpserver", NAMESPACE, "invoices", "Programmed");
        if status == "True" && generation() != before { Ok(()) } else { Err(format!("{status} {rest}")) }
    });
    println!("Programmed followed after another {:.2} s", programmed.as_secs_f64());
    enforce(cluster, &token, &original_rules(), 200);
}

fn leader() -> String {
    field(&["get", "lease", "lumoauth-operator", "-n", "lumoauth-system"], "{.spec.holderIdentity}")
}

fn operator_killed(cluster: &Cluster) {
    let token = cluster.access_token("reader", RESOURCE);
    let old = leader();
    kubectl(&["delete", "pod", &old, "-n", "lumoauth-system", "--grace-period=0", "--force"]);
    for _ in 0..20 {
        assert_eq!(cluster.tool(&token, "search_invoices").status, 200);
    }
    let (new, took) = eventually("another leader", Duration::from_mins(1), || {
        let now = leader();
        if now != old && !now.is_empty() { Ok(now) } else { Err(now) }
    });
    println!("{new} took over after {:.1} s", took.as_secs_f64());
    enforce(cluster, &token, &json!([{"tools": ["*"], "scopes": ["mcp:write"]}]), 403);
    enforce(cluster, &token, &original_rules(), 200);
    wait_deployments();
}

/// A pod as somebody would make it who knows our label.
fn labelled_pod(name: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"mcp.lumoauth.dev/server": "invoices"}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "server", "image": "docker.io/lumoauth/lumoauth:0.1.0", "imagePullPolicy": "IfNotPresent",
                "args": ["demo-server", "--listen", "0.0.0.0:8000"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
    .to_string()
}

/// Addresses that the Service sends calls to. Pods without the port are listed too, in a slice that has no ports.
fn endpoints() -> Vec<String> {
    let slices =
        ["get", "endpointslices", "-n", NAMESPACE, "-l", "kubernetes.io/service-name=invoices-mcp", "-o", "json"];
    let slices: Value = serde_json::from_str(&kubectl(&slices)).unwrap();
    let with_ports = slices["items"].as_array().unwrap().iter().filter(|slice| slice["ports"].is_array());
    let endpoints = with_ports.flat_map(|slice| slice["endpoints"].as_array().unwrap());
    endpoints.map(|endpoint| endpoint["addresses"][0].as_str().unwrap().to_owned()).collect()
}

fn unprotected_pods(cluster: &Cluster) {
    let forged = try_kubectl(&["apply", "-f", "-"], &labelled_pod("forged"));
    assert!(!forged.ok && forged.text.contains("annotation"), "{}", forged.text);

    kubectl(&["delete", "mutatingwebhookconfiguration", "lumoauth-webhook"]);
    apply_text(&["apply", "-f", "-"], &labelled_pod("around"));
    kubectl(&["apply", "--server-side", "-f", root().join("manifests/install.yaml").to_str().unwrap()]);
    kubectl(&["wait", "--for=condition=Ready", "pod/around", "-n", NAMESPACE, "--timeout=60s"]);
    let ip = field(&["get", "pod", "around", "-n", NAMESPACE], "{.status.podIP}");
    let endpoints = endpoints();
    assert!(endpoints.len() == 1 && !endpoints.contains(&ip), "{ip} is an endpoint: {endpoints:?}");
    for _ in 0..20 {
        assert_eq!(cluster.call(None, "tools/list", &json!({})).status, 401);
    }
    wait_condition("mcpserver", "invoices", "Injected", "False", 60);
    kubectl(&["delete", "pod", "around", "-n", NAMESPACE, "--grace-period=1"]);
    wait_condition("mcpserver", "invoices", "Injected", "True", 60);

    let plain = labelled_pod("plain").replace(r#""labels":{"mcp.lumoauth.dev/server":"invoices"},"#, "");
    eventually("the webhook answers again", Duration::from_secs(30), || {
        let said = try_kubectl(&["apply", "--dry-run=server", "-f", "-"], &labelled_pod("forged"));
        if said.text.contains("annotation") { Ok(()) } else { Err(said.text) }
    });
    apply_text(&["apply", "-f", "-"], &plain);
    let refused = try_kubectl(&["label", "pod", "plain", "-n", NAMESPACE, "mcp.lumoauth.dev/server=invoices"], "");
    assert!(!refused.ok && refused.text.contains("cannot be changed"), "{}", refused.text);
    kubectl(&["delete", "pod", "plain", "-n", NAMESPACE, "--grace-period=1"]);
    assert_eq!(cluster.tool(&cluster.access_token("reader", RESOURCE), "search_invoices").status, 200);
}

fn upgrade(cluster: &Cluster, manifest: &str) {
    let token = cluster.access_token("reader", RESOURCE);
    let stop = Arc::new(AtomicBool::new(false));
    let caller = {
        let (stop, token, ip) = (stop.clone(), token, cluster.service_ip.clone());
        std::thread::spawn(move || {
            let (mut calls, mut bad) = (0_u32, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let params = json!({"name": "search_invoices", "arguments": {"query": "acme"}});
                let answer = call_at(&ip, 80, Some(&token), "tools/call", &params);
                calls += 1;
                if answer.status != 200 {
                    bad.push(format!("{answer:?}"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            (calls, bad)
        })
    };
    let text = std::fs::read_to_string(manifest).unwrap();
    let changed = text.replace("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 31");
    assert_ne!(text, changed);
    apply_text(&["apply", "--server-side", "-f", "-"], &changed);
    wait_deployments();
    kubectl(&["rollout", "restart", "deployment", "invoices", "-n", NAMESPACE]);
    kubectl(&["rollout", "status", "deployment", "invoices", "-n", NAMESPACE, "--timeout=120s"]);
    stop.store(true, Ordering::Relaxed);
    let (calls, bad) = caller.join().unwrap();
    println!("{calls} calls during the upgrade, {} dropped", bad.len());
    assert!(calls > 50 && bad.is_empty(), "{} of {calls}: {:?}", bad.len(), bad.first());
    wait_condition("mcpserver", "invoices", "Ready", "True", 60);
}

/// What the app has logged so far: a line per request it got.
fn upstream_lines(pod: &str) -> usize {
    kubectl(&["logs", pod, "-n", NAMESPACE, "-c", "server"]).lines().count()
}

fn deletion(cluster: &Cluster) {
    let token = cluster.access_token("reader", RESOURCE);
    let pod = pod();
    let ip = field(&["get", "pod", &pod, "-n", NAMESPACE], "{.status.podIP}");
    let params = json!({"name": "search_invoices", "arguments": {"query": "acme"}});
    let call = || call_at(&ip, 16080, Some(&token), "tools/call", &params);
    let before = upstream_lines(&pod);
    assert_eq!(call().status, 200);
    assert!(upstream_lines(&pod) > before, "the app logs what it gets");

    // Deleted while no operator runs: calls go on; its successor denies.
    kubectl(&["scale", "deployment", "lumoauth-operator", "-n", "lumoauth-system", "--replicas=0"]);
    kubectl(&[
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/name=lumoauth-operator",
        "-n",
        "lumoauth-system",
        "--timeout=60s",
    ]);
    kubectl(&["delete", "mcpserver", "invoices", "-n", NAMESPACE]);
    assert_eq!(call().status, 200);
    kubectl(&["scale", "deployment", "lumoauth-operator", "-n", "lumoauth-system", "--replicas=2"]);
    let (answer, took) = eventually("the sidecar denies", Duration::from_mins(1), || {
        let answer = call();
        if answer.status == 503 { Ok(answer) } else { Err(format!("{answer:?}")) }
    });
    println!("denied {:.1} s after the operator came back", took.as_secs_f64());
    assert!(answer.header("www-authenticate").is_none() && answer.json()["error"]["code"].is_i64(), "{answer:?}");
    let seen = upstream_lines(&pod);
    for _ in 0..5 {
        assert_eq!(call().status, 503);
    }
    assert_eq!(upstream_lines(&pod), seen, "the upstream saw a denied call");

    kubectl(&["delete", "deployment", "invoices", "-n", NAMESPACE]);
    eventually("the ConfigMap goes with the last pod", Duration::from_secs(90), || {
        let said = try_kubectl(&["get", "configmap", "invoices-mcp-sidecar", "-n", NAMESPACE], "");
        if said.text.contains("NotFound") { Ok(()) } else { Err(said.text) }
    });
    wait_deployments();
}
