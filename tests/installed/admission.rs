//! The policies that hold the operator and everybody else, tried with the operator's own token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use super::{Namespace, install};
use crate::support::{Said, apply_text, eventually, kubectl, try_kubectl};

/// `kubectl` with the operator's own token and nothing else.
fn as_operator(arguments: &[&str], input: &str) -> Said {
    let token = kubectl(&["create", "token", "lumoauth-operator", "-n", "lumoauth-system"]);
    let server = kubectl(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let mut all =
        vec!["--kubeconfig", "/dev/null", "--server", &server, "--insecure-skip-tls-verify", "--token", &token];
    all.extend(arguments);
    try_kubectl(&all, input)
}

fn pod(namespace: &str, name: &str, image: &str, annotated: bool) -> String {
    let annotations = if annotated { json!({"mcp.lumoauth.dev/server": "invoices"}) } else { json!({"a": "b"}) };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "server", "image": image, "imagePullPolicy": "IfNotPresent",
                "args": ["demo-server", "--listen", "127.0.0.1:8000"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
    .to_string()
}

fn server(namespace: &str) -> String {
    json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
        "metadata": {"name": "invoices", "namespace": namespace},
        "spec": {"resourceUri": "https://a.example/mcp", "port": 8000},
    })
    .to_string()
}

const IMAGE: &str = "docker.io/lumoauth/lumoauth:0.1.0";

/// Creates a server and waits until the webhook injects its pods.
fn protected(namespace: &Namespace) {
    apply_text(&["apply", "-f", "-"], &server(namespace.0));
    apply_text(&["apply", "-f", "-"], &pod(namespace.0, "guarded", IMAGE, true));
}

#[test]
#[ignore = "needs a cluster"]
fn the_operator_changes_one_annotation_of_our_pods_and_nothing_else() {
    install();
    let namespace = Namespace::new("policy-pods");
    let n = namespace.0;
    protected(&namespace);
    apply_text(&["apply", "-f", "-"], &pod(n, "plain", IMAGE, false));

    let touch = r#"{"metadata":{"annotations":{"mcp.lumoauth.dev/config":"0123"}}}"#;
    let said = as_operator(&["patch", "pod", "guarded", "-n", n, "--type=merge", "-p", touch], "");
    assert!(said.ok, "{}", said.text);

    for (pod, patch) in [
        ("plain", touch),
        ("guarded", r#"{"metadata":{"annotations":{"other":"x"}}}"#),
        ("guarded", r#"{"metadata":{"annotations":{"mcp.lumoauth.dev/server":null}}}"#),
        ("guarded", r#"{"metadata":{"annotations":{"mcp.lumoauth.dev/injected":"x"}}}"#),
        ("guarded", r#"{"metadata":{"labels":{"other":"x"}}}"#),
        ("guarded", r#"{"metadata":{"labels":{"mcp.lumoauth.dev/server":null}}}"#),
        ("guarded", r#"{"metadata":{"finalizers":["example.com/x"]}}"#),
        ("guarded", r#"{"spec":{"activeDeadlineSeconds":1}}"#),
    ] {
        let said = as_operator(&["patch", "pod", pod, "-n", n, "--type=merge", "-p", patch], "");
        assert!(!said.ok && said.text.contains("ValidatingAdmissionPolicy"), "{pod} {patch}: {}", said.text);
    }
    for arguments in [
        &["delete", "pod", "plain", "-n", n][..],
        &["create", "serviceaccount", "x", "-n", n],
        &["get", "secrets", "-n", n],
        &["get", "secrets", "-n", "lumoauth-system"],
        &["get", "deployments", "-n", n],
    ] {
        let said = as_operator(arguments, "");
        assert!(!said.ok && said.text.contains("orbidden"), "{arguments:?}: {}", said.text);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn the_operator_writes_only_objects_marked_as_its_own() {
    install();
    let namespace = Namespace::new("policy-objects");
    let n = namespace.0;
    kubectl(&["create", "configmap", "foreign", "-n", n, "--from-literal=a=b"]);
    kubectl(&["create", "service", "clusterip", "foreign", "-n", n, "--tcp=80"]);
    for arguments in [
        &["create", "configmap", "mine", "-n", n, "--from-literal=a=b"][..],
        &["create", "service", "clusterip", "mine", "-n", n, "--tcp=80"],
        &["patch", "configmap", "foreign", "-n", n, "--type=merge", "-p", r#"{"data":{"a":"c"}}"#],
        &[
            "patch",
            "configmap",
            "foreign",
            "-n",
            n,
            "--type=merge",
            "-p",
            r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":"lumoauth"}}}"#,
        ],
        &[
            "patch",
            "service",
            "foreign",
            "-n",
            n,
            "--type=merge",
            "-p",
            r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":"lumoauth"}}}"#,
        ],
        &["delete", "configmap", "foreign", "-n", n],
        &["delete", "service", "foreign", "-n", n],
    ] {
        let said = as_operator(arguments, "");
        assert!(!said.ok && said.text.contains("lumoauth"), "{arguments:?}: {}", said.text);
    }
    let own = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "own", "namespace": n, "labels": {"app.kubernetes.io/managed-by": "lumoauth"}},
    });
    let said = as_operator(&["create", "-f", "-"], &own.to_string());
    assert!(said.ok, "{}", said.text);
    let unmark = r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}"#;
    let said = as_operator(&["patch", "configmap", "own", "-n", n, "--type=merge", "-p", unmark], "");
    assert!(!said.ok && said.text.contains("managed-by"), "{}", said.text);
}

#[test]
#[ignore = "needs a cluster"]
fn nobody_marks_a_running_pod() {
    install();
    let namespace = Namespace::new("policy-marks");
    let n = namespace.0;
    protected(&namespace);
    apply_text(&["apply", "-f", "-"], &pod(n, "plain", IMAGE, false));
    for (pod, patch) in [
        ("plain", r#"{"metadata":{"labels":{"mcp.lumoauth.dev/server":"invoices"}}}"#),
        ("guarded", r#"{"metadata":{"labels":{"mcp.lumoauth.dev/server":"other"}}}"#),
        ("guarded", r#"{"metadata":{"labels":{"mcp.lumoauth.dev/server":null}}}"#),
        ("guarded", r#"{"metadata":{"annotations":{"mcp.lumoauth.dev/injected":"forged"}}}"#),
    ] {
        for subresource in [&[][..], &["--subresource=status"]] {
            let mut arguments = vec!["patch", "pod", pod, "-n", n, "--type=merge", "-p", patch];
            arguments.extend(subresource);
            let said = try_kubectl(&arguments, "");
            assert!(!said.ok && said.text.contains("ValidatingAdmissionPolicy"), "{arguments:?}: {}", said.text);
        }
    }
}

#[test]
#[ignore = "needs a cluster"]
fn no_other_way_to_the_service_leads_past_the_sidecar() {
    install();
    let namespace = Namespace::new("policy-port");
    let n = namespace.0;
    let mut fake: serde_json::Value = serde_json::from_str(&pod(n, "fake", IMAGE, false)).unwrap();
    fake["metadata"]["labels"] = json!({"mcp.lumoauth.dev/server": "invoices"});
    fake["spec"]["containers"][0]["ports"] = json!([{"name": "mcp-auth", "containerPort": 8000}]);
    kubectl(&["delete", "mutatingwebhookconfiguration", "lumoauth-webhook"]);
    let said = try_kubectl(&["apply", "-f", "-"], &fake.to_string());
    kubectl(&["apply", "--server-side", "-f", crate::support::root().join("manifests/install.yaml").to_str().unwrap()]);
    assert!(!said.ok && said.text.contains("rename that port"), "{}", said.text);

    let mut waiting: serde_json::Value = serde_json::from_str(&pod(n, "waiting", IMAGE, false)).unwrap();
    waiting["spec"]["schedulerName"] = json!("nobody");
    apply_text(&["apply", "-f", "-"], &waiting.to_string());
    for marks in [
        json!({"labels": {"mcp.lumoauth.dev/server": "invoices"}}),
        json!({"annotations": {"mcp.lumoauth.dev/injected": "x"}}),
    ] {
        let mut binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": marks,
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node1"},
        });
        binding["metadata"]["name"] = json!("waiting");
        let path = format!("/api/v1/namespaces/{n}/pods/waiting/binding");
        let said = try_kubectl(&["create", "--raw", &path, "-f", "-"], &binding.to_string());
        assert!(!said.ok && said.text.contains("a Binding may not carry"), "{}", said.text);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn the_ca_is_rotated_without_a_refused_pod() {
    install();
    let namespace = Namespace::new("ca-rotation");
    let n = namespace.0;
    protected(&namespace);
    let bundle = || {
        kubectl(&[
            "get",
            "mutatingwebhookconfiguration",
            "lumoauth-webhook",
            "-o",
            "jsonpath={.webhooks[0].clientConfig.caBundle}",
        ])
    };
    let before = bundle();
    let stop = Arc::new(AtomicBool::new(false));
    let creator = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let (mut admitted, mut refused) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let said = try_kubectl(&["create", "--dry-run=server", "-f", "-"], &pod(n, "another", IMAGE, true));
                if said.ok {
                    admitted += 1;
                } else {
                    refused.push(said.text);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            (admitted, refused)
        })
    };
    kubectl(&[
        "annotate",
        "secret",
        "lumoauth-ca",
        "-n",
        "lumoauth-system",
        "mcp.lumoauth.dev/rotate=now",
        "--overwrite",
    ]);
    eventually("caBundle holds the new certificate", Duration::from_mins(2), || {
        let now = bundle();
        if now != before && !now.is_empty() { Ok(()) } else { Err("unchanged".to_owned()) }
    });
    std::thread::sleep(Duration::from_secs(15));
    stop.store(true, Ordering::Relaxed);
    let (admitted, refused) = creator.join().unwrap();
    println!("{admitted} pods admitted during the rotation, {} refused", refused.len());
    assert!(admitted > 20 && refused.is_empty(), "{refused:?}");
}
