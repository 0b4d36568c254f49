//! What a user who errs is told: always the name of the thing and of the fix.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Namespace, install};
use crate::support::{apply_text, eventually, kubectl, try_kubectl};

fn server(namespace: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
        "metadata": {"name": "invoices", "namespace": namespace}, "spec": spec,
    })
}

fn condition(kind: &str, namespace: &str, name: &str, type_: &str) -> String {
    let path = format!(
        r#"jsonpath={{range .status.conditions[?(@.type=="{type_}")]}}{{.status}} {{.reason}} {{.message}}{{end}}"#
    );
    kubectl(&["get", kind, name, "-n", namespace, "-o", &path])
}

fn expect_condition(kind: &str, namespace: &str, name: &str, type_: &str, starts: &str, contains: &str) {
    eventually(&format!("{kind} {type_} {starts}"), Duration::from_secs(40), || {
        let text = condition(kind, namespace, name, type_);
        if text.starts_with(starts) && text.contains(contains) { Ok(()) } else { Err(text) }
    });
}

#[test]
#[ignore = "needs a cluster"]
fn a_typo_in_a_field_is_refused_by_kubectl() {
    install();
    let namespace = Namespace::new("bad-typo");
    let object =
        server(namespace.0, json!({"resourceUri": "https://a.example/mcp", "port": 8000, "requiredScope": ["x"]}));
    let said = try_kubectl(&["apply", "-f", "-"], &object.to_string());
    assert!(!said.ok && said.text.contains(r#"unknown field "spec.requiredScope""#), "{}", said.text);
}

#[test]
#[ignore = "needs a cluster"]
fn an_invalid_object_is_refused_with_the_fix() {
    install();
    let namespace = Namespace::new("bad-object");
    let object = server(namespace.0, json!({"resourceUri": "http://a.example/mcp", "port": 16080}));
    let said = try_kubectl(&["apply", "-f", "-"], &object.to_string());
    assert!(!said.ok, "{}", said.text);
    assert!(
        said.text.contains("must use https") && said.text.contains("write the port the MCP server listens on"),
        "{}",
        said.text
    );
}

#[test]
#[ignore = "needs a cluster"]
fn what_only_the_operator_can_see_is_a_condition() {
    install();
    let namespace = Namespace::new("bad-circle");
    let circle = json!({
        "resourceUri": "https://a.example/mcp", "port": 8000,
        "scopes": [{"name": "a", "implies": ["b"]}, {"name": "b", "implies": ["a"]}],
    });
    apply_text(&["apply", "-f", "-"], &server(namespace.0, circle).to_string());
    expect_condition("mcpserver", namespace.0, "invoices", "Accepted", "False Invalid", "circle");
    expect_condition("mcpserver", namespace.0, "invoices", "EnforcementVerified", "False DenyAll", "");
    let unbuilt = json!({"resourceUri": "https://a.example/mcp", "port": 8000, "requireDpop": true, "scopes": []});
    apply_text(&["apply", "-f", "-"], &server(namespace.0, unbuilt).to_string());
    expect_condition("mcpserver", namespace.0, "invoices", "Accepted", "False NotImplemented", "requireDpop");
}

#[test]
#[ignore = "needs a cluster"]
fn a_wrong_annotation_is_refused_with_the_name() {
    install();
    let namespace = Namespace::new("bad-annotation");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": namespace.0, "annotations": {"mcp.lumoauth.dev/server": "invoicse"}},
        "spec": {"containers": [{"name": "a", "image": "docker.io/lumoauth/lumoauth:0.1.0"}]},
    });
    let said = try_kubectl(&["apply", "-f", "-"], &pod.to_string());
    let message = format!(r#"no McpServer "invoicse" in namespace "{}": create it first"#, namespace.0);
    assert!(!said.ok && said.text.contains(&message), "{}", said.text);
}

#[test]
#[ignore = "needs a cluster"]
fn a_missing_role_binding_is_a_condition_with_the_command() {
    install();
    let namespace = Namespace::new("bad-binding");
    let client = json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
        "metadata": {"name": "agent", "namespace": namespace.0},
        "spec": {
            "grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"},
            "credentialsSecretName": "agent-oauth",
        },
    });
    apply_text(&["apply", "-f", "-"], &client.to_string());
    let command = format!(
        "kubectl create rolebinding lumoauth-credentials -n {} --clusterrole=lumoauth-credentials",
        namespace.0
    );
    expect_condition("mcpclient", namespace.0, "agent", "CredentialsReady", "False NotPermitted", &command);
    let text = condition("mcpclient", namespace.0, "agent", "CredentialsReady");
    let start = text.find("kubectl create").unwrap();
    let said: String = text[start..].chars().take_while(|c| *c != '\n' && *c != '`' && *c != '"').collect();
    let words: Vec<_> =
        said.split_whitespace().skip(1).take_while(|word| !word.ends_with('.') || word.contains('=')).collect();
    kubectl(&words);
    expect_condition("mcpclient", namespace.0, "agent", "Ready", "True", "");
}
