//! The CRDs: bounded, documented, and accepted (with every CEL rule) by a real API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    CustomResourceExt as _,
    api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use lumoauth::api::v1alpha1::{McpClient, McpServer};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support;

fn schemas() -> Vec<(String, Value)> {
    [McpServer::crd(), McpClient::crd()]
        .into_iter()
        .map(|crd| {
            let crd = serde_json::to_value(crd).unwrap();
            (
                crd["spec"]["names"]["kind"].as_str().unwrap().to_owned(),
                crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
            )
        })
        .collect()
}

/// Calls `check` with every schema of the tree and its path.
fn walk(schema: &Value, path: &str, check: &mut dyn FnMut(&str, &Value)) {
    check(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), check);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), check);
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], &format!("{path}{{}}"), check);
    }
}

#[test]
fn every_list_and_string_of_a_spec_is_bounded() {
    for (kind, schema) in schemas() {
        walk(&schema["properties"]["spec"], &format!("{kind}.spec"), &mut |path, schema| {
            let bounded = match schema["type"].as_str() {
                Some("string") => schema["maxLength"].is_u64() || schema["enum"].is_array(),
                Some("array") => schema["maxItems"].is_u64(),
                Some("object") => schema["additionalProperties"].is_null() || schema["maxProperties"].is_u64(),
                _ => true,
            };
            assert!(bounded, "{path} has no bound: {schema}");
        });
    }
}

#[test]
fn every_field_is_documented_and_in_camel_case() {
    for (kind, schema) in schemas() {
        walk(&schema["properties"]["spec"], &format!("{kind}.spec"), &mut |path, schema| {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                assert!(!name.contains('_') && !name.starts_with(char::is_uppercase), "{path}.{name}");
                let documented = property["description"].is_string() || path.ends_with("jwks");
                assert!(documented, "{path}.{name} has no description");
            }
        });
    }
}

/// Installs both CRDs.
pub(crate) async fn install(client: &kube::Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in [McpServer::crd(), McpClient::crd()] {
        let name = crd.metadata.name.clone().unwrap();
        let params = PatchParams::apply("lumoauth-test").force();
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let established = kube::runtime::conditions::is_crd_established();
        kube::runtime::wait::await_condition(api.clone(), &name, established).await.unwrap();
    }
}

fn server(name: &str, change: Value) -> Value {
    let mut spec = json!({
        "resourceUri": "https://a.example/mcp", "port": 8000,
        "scopes": [{"name": "r"}, {"name": "w", "implies": ["r"]}], "requiredScopes": ["r"],
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": name}, "spec": spec})
}

fn client_object(change: Value) -> Value {
    let mut spec = json!({
        "grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"},
        "credentialsSecretName": "c",
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient", "metadata": {"name": "c"}, "spec": spec})
}

/// What the API server says to creating `object`, as a strict client (kubectl) would.
async fn create(client: &kube::Client, object: Value) -> Result<DynamicObject, String> {
    let kind = object["kind"].as_str().unwrap();
    let gvk = GroupVersionKind::gvk("mcp.lumoauth.dev", "v1alpha1", kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&gvk));
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let params = PostParams { dry_run: true, field_manager: None };
    api.create(&params, &object).await.map_err(|error| error.to_string())
}

#[rstest]
#[case::plain("a", json!({}))]
#[case::loopback("a", json!({"resourceUri": "http://127.0.0.1:16080/mcp"}))]
#[case::loopback6("a", json!({"resourceUri": "http://[::1]:16080/mcp"}))]
#[case::localhost("a", json!({"resourceUri": "http://localhost/mcp"}))]
#[case::service("a", json!({"resourceUri": "http://a-mcp.acme.svc/mcp"}))]
#[case::longest_name("a1234567890123456789012345678901234567890123456789", json!({}))]
#[case::rules("a", json!({"rules": [{"tools": ["x", "y_*"], "scopes": ["w"]}, {"methods": ["tasks/*"], "names": ["*"], "deny": true}]}))]
#[case::grants("a", json!({"grants": [{"groups": ["g"], "users": ["u"], "scopes": ["w"]}, {"clients": ["https://app.example/*"], "scopes": ["r"]}]}))]
#[case::everything("a", json!({"path": "/x", "endpointUrl": "https://b.example/mcp", "metadata": {"resource_documentation": "https://d.example"}, "sidecar": {"resources": {"limits": {"cpu": 1, "memory": "64Mi"}}, "allowedOrigins": ["https://app.example"], "allowedHosts": ["b.example:8443"]}}))]
#[tokio::test]
#[ignore = "needs a cluster"]
async fn good_servers_are_admitted(#[case] name: &str, #[case] change: Value) {
    let client = support::client().await;
    install(&client).await;
    create(&client, server(name, change)).await.unwrap();
}

#[rstest]
#[case::upper_case_name("A", json!({}), "must")]
#[case::digit_first("1a", json!({}), "must start with a letter")]
#[case::dot("a.b", json!({}), "must start with a letter")]
#[case::long_name("a12345678901234567890123456789012345678901234567890", json!({}), "at most 50 characters")]
#[case::relative("a", json!({"resourceUri": "/mcp"}), "write it as https://host/path")]
#[case::no_scheme("a", json!({"resourceUri": "a.example/mcp"}), "write it as https://host/path")]
#[case::fragment("a", json!({"resourceUri": "https://a.example/mcp#x"}), "without user name, query and fragment")]
#[case::query("a", json!({"resourceUri": "https://a.example/mcp?x=1"}), "without user name, query and fragment")]
#[case::userinfo("a", json!({"resourceUri": "https://u@a.example/mcp"}), "without user name, query and fragment")]
#[case::http("a", json!({"resourceUri": "http://a.example/mcp"}), "must use https")]
#[case::http_lookalike("a", json!({"resourceUri": "http://127.0.0.1.evil.example/mcp"}), "must use https")]
#[case::port_zero("a", json!({"port": 0}), "write the port the MCP server listens on")]
#[case::port_high("a", json!({"port": 65536}), "write the port the MCP server listens on")]
#[case::port_ours("a", json!({"port": 16080}), "which the sidecar uses")]
#[case::port_admin("a", json!({"port": 16081}), "which the sidecar uses")]
#[case::short_lifetime("a", json!({"tokenLifetimeSeconds": 59}), "between 60 and 86400")]
#[case::long_lifetime("a", json!({"tokenLifetimeSeconds": 86401}), "between 60 and 86400")]
#[case::undeclared_required("a", json!({"requiredScopes": ["x"]}), "must be declared in scopes")]
#[case::undeclared_rule("a", json!({"rules": [{"tools": ["t"], "scopes": ["x"]}]}), "must be declared in scopes")]
#[case::undeclared_implies("a", json!({"scopes": [{"name": "r", "implies": ["x"]}]}), "must be declared in scopes")]
#[case::scope_twice("a", json!({"scopes": [{"name": "r"}, {"name": "r"}]}), "twice")]
#[case::scope_space("a", json!({"scopes": [{"name": "r"}, {"name": "a b"}]}), "printable ASCII")]
#[case::both("a", json!({"rules": [{"tools": ["t"], "methods": ["m"], "scopes": ["r"]}]}), "exactly one of tools and methods")]
#[case::neither("a", json!({"rules": [{"scopes": ["r"]}]}), "exactly one of tools and methods")]
#[case::names_with_tools("a", json!({"rules": [{"tools": ["t"], "names": ["n"], "scopes": ["r"]}]}), "names goes with methods")]
#[case::deny_and_scopes("a", json!({"rules": [{"tools": ["t"], "deny": true, "scopes": ["r"]}]}), "either scopes or deny")]
#[case::no_effect("a", json!({"rules": [{"tools": ["t"]}]}), "either scopes or deny")]
#[case::star_inside("a", json!({"rules": [{"tools": ["a*b"], "scopes": ["r"]}]}), "should match")]
#[case::transport("a", json!({"transport": "Http"}), "supported values")]
#[case::metadata("a", json!({"metadata": {"jwks_uri": "https://evil.example"}}), "metadata may not set")]
#[case::metadata_dpop("a", json!({"metadata": {"dpop_x": "y"}}), "metadata may not set")]
#[case::path("a", json!({"path": "mcp"}), "write it as /mcp")]
#[case::origin("a", json!({"sidecar": {"allowedOrigins": ["https://a.example/"]}}), "without path")]
#[case::host("a", json!({"sidecar": {"allowedHosts": ["https://a.example"]}}), "host or host:port")]
#[case::body("a", json!({"sidecar": {"maxBodyBytes": 1}}), "maxBodyBytes must be between")]
#[case::grant_for_nobody("a", json!({"grants": [{"scopes": ["r"]}]}), "names people (groups, users) or clients")]
#[case::grant_for_both("a", json!({"grants": [{"users": ["a"], "clients": ["c"], "scopes": ["r"]}]}), "write two entries for both")]
#[case::grant_of_nothing("a", json!({"grants": [{"users": ["a"], "scopes": []}]}), "at least 1")]
#[tokio::test]
#[ignore = "needs a cluster"]
async fn bad_servers_are_refused(#[case] name: &str, #[case] change: Value, #[case] message: &str) {
    let client = support::client().await;
    install(&client).await;
    let error = create(&client, server(name, change)).await.unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[rstest]
#[case::no_secret_name(json!({"credentialsSecretName": ""}), "name the Secret")]
#[case::secret_name(json!({"credentialsSecretName": "A b"}), "must be the name of a Secret")]
#[case::no_grant(json!({"grantTypes": []}), "at least 1")]
#[case::unknown_grant(json!({"grantTypes": ["Password"]}), "supported values")]
#[case::overlap(json!({"rotation": {"overlapHours": 721}}), "between 0 and 720")]
#[case::nowhere_to_return_to(json!({"grantTypes": ["AuthorizationCode"]}), "redirectUris is needed")]
#[case::refresh_of_nothing(json!({"grantTypes": ["RefreshToken"]}), "RefreshToken goes with AuthorizationCode")]
#[case::public_program(json!({"authentication": {"method": "None"}}), "None cannot be used with ClientCredentials")]
#[case::no_keys(json!({"authentication": {"method": "PrivateKeyJwt"}}), "exactly one of authentication.jwks")]
#[case::keys_twice(json!({"authentication": {"method": "PrivateKeyJwt", "jwks": {"keys": []}, "jwksUri": "https://a.example/"}}), "exactly one of authentication.jwks")]
#[case::keys_of_another_method(json!({"authentication": {"method": "ClientSecretPost", "jwksUri": "https://a.example/"}}), "the other methods have neither")]
#[tokio::test]
#[ignore = "needs a cluster"]
async fn bad_clients_are_refused(#[case] change: Value, #[case] message: &str) {
    let client = support::client().await;
    install(&client).await;
    create(&client, client_object(json!({}))).await.unwrap();
    let error = create(&client, client_object(change)).await.unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[rstest]
#[case::public(json!({"grantTypes": ["AuthorizationCode", "RefreshToken"], "authentication": {"method": "None"}, "redirectUris": ["http://127.0.0.1/callback"]}))]
#[case::keys(json!({"authentication": {"method": "PrivateKeyJwt", "jwks": {"keys": [{"kty": "EC"}]}}}))]
#[case::keys_elsewhere(json!({"authentication": {"method": "PrivateKeyJwt", "jwksUri": "https://a.example/jwks.json"}}))]
#[tokio::test]
#[ignore = "needs a cluster"]
async fn good_clients_are_admitted(#[case] change: Value) {
    let client = support::client().await;
    install(&client).await;
    create(&client, client_object(change)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn the_resource_cannot_be_changed() {
    let client = support::client().await;
    install(&client).await;
    let api: Api<McpServer> = Api::namespaced(client.clone(), "default");
    let name = "immutable";
    let _ = api.delete(name, &DeleteParams::default()).await;
    let object: McpServer = serde_json::from_value(server(name, json!({}))).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"resourceUri": "https://b.example/mcp"}}));
    let error = api.patch(name, &PatchParams::default(), &patch).await.unwrap_err().to_string();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    assert!(error.contains("cannot be changed") && error.contains("create a new McpServer"), "{error}");
}
