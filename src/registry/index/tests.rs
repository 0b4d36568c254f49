use super::*;
use serde_json::{Value, json};

fn server(namespace: &str, name: &str, created: &str, spec: &Value) -> Parsed<McpServer> {
    let object = json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created, "uid": "u"},
        "spec": spec,
    });
    Parsed::Object(Arc::new(serde_json::from_value(object).unwrap()))
}

fn client(namespace: &str, name: &str) -> Parsed<McpClient> {
    let object = json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"}, "credentialsSecretName": "c"},
    });
    Parsed::Object(Arc::new(serde_json::from_value(object).unwrap()))
}

fn spec() -> Value {
    json!({"resourceUri": "https://a.example/mcp", "port": 8000, "scopes": [{"name": "r"}], "requiredScopes": ["r"]})
}

fn index(namespaces: &[(&str, Option<&str>)]) -> Index {
    let mut index = Index::default();
    for (name, label) in namespaces {
        index.apply_namespace((*name).to_owned(), NamespaceMeta { org_label: label.map(str::to_owned) });
    }
    index
}

fn reason(snapshot: &Snapshot, namespace: &str, name: &str) -> Option<Reason> {
    match &snapshot.servers.get(&ObjectKey::new(namespace, name)).unwrap().state {
        ServerState::Enforced(_) => None,
        ServerState::DenyAll(problem) => Some(problem.reason),
    }
}

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

#[test]
fn a_valid_server_is_enforced() {
    let mut index = index(&[("acme", None)]);
    index.apply_server(server("acme", "a", T1, &spec()));
    let snapshot = index.snapshot();
    assert_eq!(reason(&snapshot, "acme", "a"), None);
    assert_eq!(snapshot.enforced(snapshot.org("acme").unwrap()).count(), 1);
}

#[test]
fn an_update_to_an_invalid_spec_denies() {
    let mut index = index(&[("acme", None)]);
    index.apply_server(server("acme", "a", T1, &spec()));
    let mut bad = spec();
    bad["requiredScopes"] = json!(["undeclared"]);
    index.apply_server(server("acme", "a", T1, &bad));
    assert_eq!(reason(&index.snapshot(), "acme", "a"), Some(Reason::Invalid));
}

#[test]
fn an_object_that_cannot_be_read_denies() {
    let mut index = index(&[("acme", None)]);
    index.apply_server(server("acme", "a", T1, &spec()));
    index.apply_server(Parsed::Malformed { key: ObjectKey::new("acme", "a"), error: "spec.port: text".to_owned() });
    assert_eq!(reason(&index.snapshot(), "acme", "a"), Some(Reason::Malformed));
}

#[test]
fn fields_nobody_enforces_are_refused() {
    for (field, value) in [
        ("transport", json!("HttpSse")),
        ("enforcement", json!("Observe")),
        ("requireDpop", json!(true)),
        ("authorizationServers", json!([{"issuer": "https://idp.example"}])),
        ("sidecar", json!({"tlsSecretName": "x"})),
        ("requirePkce", json!(false)),
    ] {
        let mut index = index(&[("acme", None)]);
        let mut spec = spec();
        spec[field] = value;
        index.apply_server(server("acme", "a", T1, &spec));
        assert_eq!(reason(&index.snapshot(), "acme", "a"), Some(Reason::NotImplemented), "{field}");
    }
}

#[test]
fn the_older_object_keeps_a_resource() {
    let mut index = index(&[("acme", None), ("acme-2", Some("acme"))]);
    index.apply_namespace("acme".to_owned(), NamespaceMeta { org_label: Some("acme".to_owned()) });
    index.apply_server(server("acme", "b", T1, &spec()));
    let mut same = spec();
    same["resourceUri"] = json!("https://a.example:443/mcp");
    index.apply_server(server("acme-2", "a", T2, &same));
    let snapshot = index.snapshot();
    assert_eq!(reason(&snapshot, "acme", "b"), None);
    assert_eq!(reason(&snapshot, "acme-2", "a"), Some(Reason::ResourceTaken));
    index.delete_server(&ObjectKey::new("acme", "b"));
    assert_eq!(reason(&index.snapshot(), "acme-2", "a"), None);
}

#[test]
fn organizations_do_not_share_resources() {
    let mut index = index(&[("one", None), ("two", None)]);
    index.apply_server(server("one", "a", T1, &spec()));
    index.apply_server(server("two", "a", T2, &spec()));
    let snapshot = index.snapshot();
    assert_eq!((reason(&snapshot, "one", "a"), reason(&snapshot, "two", "a")), (None, None));
}

#[test]
fn a_label_cannot_take_over_a_namespace() {
    let mut index = index(&[("acme", None), ("other", Some("acme")), ("odd", Some("Not_A.Label"))]);
    for namespace in ["acme", "other", "odd", "unknown"] {
        index.apply_server(server(namespace, "a", T1, &spec()));
    }
    let snapshot = index.snapshot();
    assert_eq!(reason(&snapshot, "acme", "a"), Some(Reason::OrgConflict));
    assert_eq!(reason(&snapshot, "other", "a"), None);
    assert_eq!(reason(&snapshot, "odd", "a"), Some(Reason::InvalidOrg));
    assert_eq!(reason(&snapshot, "unknown", "a"), Some(Reason::NamespaceUnknown));
}

#[test]
fn a_server_in_a_system_namespace_denies_and_takes_no_resource() {
    let mut index = index(&[("acme", Some("acme")), ("kube-system", Some("acme")), ("lumoauth-system", None)]);
    index.apply_server(server("kube-system", "a", T1, &spec()));
    index.apply_server(server("lumoauth-system", "a", T1, &spec()));
    index.apply_server(server("acme", "a", T2, &spec()));
    let snapshot = index.snapshot();
    assert_eq!(reason(&snapshot, "kube-system", "a"), Some(Reason::SystemNamespace));
    assert_eq!(reason(&snapshot, "lumoauth-system", "a"), Some(Reason::SystemNamespace));
    assert_eq!(reason(&snapshot, "acme", "a"), None);
}

#[test]
fn system_namespaces_are_those_the_webhook_is_not_asked_about() {
    let manifest = include_str!("../../../manifests/base/webhook.yaml");
    let (_, selector) = manifest.split_once("namespaceSelector:").unwrap();
    let (_, values) = selector.split_once("values:").unwrap();
    let (values, _) = values.split_once(']').unwrap();
    let values: Vec<_> = values.trim_start_matches([' ', '[']).split(',').map(str::trim).collect();
    assert_eq!(values, names::NEVER_INJECTED);
}

#[test]
fn references_that_lead_nowhere_admit_nobody() {
    let mut index = index(&[("acme", None), ("foreign", None)]);
    let mut spec = spec();
    spec["allowedClients"] = json!(["there", "missing", "foreign/there"]);
    spec["grants"] = json!([{"clients": ["there"], "scopes": ["r"]}]);
    spec["introspectionClients"] = json!(["there", "foreign/there"]);
    index.apply_server(server("acme", "a", T1, &spec));
    index.apply_client(client("foreign", "there"));
    let key = ObjectKey::new("acme", "a");
    let entry = index.snapshot().servers[&key].clone();
    let server = entry.server().unwrap();
    assert_eq!(server.policy.allowed_clients(), Some(&[][..]));
    assert_eq!((server.grants[0].clients.len(), server.introspection_clients.len()), (0, 0));
    let expected = [
        "spec.allowedClients acme/there",
        "spec.allowedClients acme/missing",
        "spec.allowedClients foreign/there",
        "spec.grants[0].clients acme/there",
        "spec.introspectionClients acme/there",
        "spec.introspectionClients foreign/there",
    ];
    assert_eq!(entry.unresolved, expected);
    index.apply_client(client("acme", "there"));
    let entry = index.snapshot().servers[&key].clone();
    let server = entry.server().unwrap();
    assert_eq!(server.policy.allowed_clients().unwrap().len(), 1);
    assert_eq!((server.grants[0].clients.len(), server.introspection_clients.len()), (1, 1));
    assert_eq!(entry.unresolved.len(), 3);
}

#[test]
fn bad_values_name_their_field() {
    for (field, value) in [
        ("resourceUri", json!("http://a.example/mcp")),
        ("resourceUri", json!("https://a.example/mcp?x=1")),
        ("endpointUrl", json!("ftp://a")),
        ("port", json!(16080)),
        ("path", json!("/a/../b")),
        ("tokenLifetimeSeconds", json!(59)),
        ("metadata", json!({"jwks_uri": "x"})),
        ("allowedClients", json!(["https://*"])),
        ("introspectionClients", json!(["https://app.example/id"])),
        ("grants[0]", json!([{"scopes": ["r"]}])),
        ("sidecar", json!({"allowedOrigins": ["https://A.example/"]})),
        ("scopes", json!([{"name": "r", "implies": ["r"]}])),
        ("rules", json!([{"tools": ["a"], "methods": ["b"], "scopes": ["r"]}])),
    ] {
        let mut index = index(&[("acme", None)]);
        let mut spec = spec();
        spec[field.split('[').next().unwrap()] = value;
        index.apply_server(server("acme", "a", T1, &spec));
        match &index.snapshot().servers[&ObjectKey::new("acme", "a")].state {
            ServerState::DenyAll(problem) => {
                assert_eq!(problem.reason, Reason::Invalid, "{field}");
                assert!(problem.message.contains(field), "{field}: {}", problem.message);
            }
            ServerState::Enforced(_) => panic!("{field} was accepted"),
        }
    }
}
