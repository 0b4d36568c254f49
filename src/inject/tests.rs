use std::{fs, path::PathBuf, sync::Arc};

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::registry::{Index, NamespaceMeta, ObjectKey, Parsed};

fn settings() -> Settings {
    Settings::parse("{publicUrl: 'https://auth.example', sidecarImage: 'lumoauth/sidecar:0.1.0'}").unwrap()
}

fn snapshot() -> Snapshot {
    let mut index = Index::default();
    index.apply_namespace("acme".to_owned(), NamespaceMeta::default());
    let spec = |extra: Value| {
        let mut spec = json!({"resourceUri": "https://a.example/mcp", "port": 8000});
        json_patch::merge(&mut spec, &extra);
        spec
    };
    let sized =
        json!({"requests": {"memory": "256Mi", "ephemeral-storage": "1Gi"}, "limits": {"cpu": 0.5_f64.to_string()}});
    for (name, spec) in [
        ("invoices", spec(json!({}))),
        ("sized", spec(json!({"resourceUri": "https://b.example/mcp", "sidecar": {"resources": sized}}))),
        ("broken", spec(json!({"resourceUri": "https://c.example/mcp", "requireDpop": true}))),
        ("stdio", spec(json!({"resourceUri": "https://d.example/mcp", "transport": "Stdio"}))),
        (
            "crooked",
            spec(
                json!({"resourceUri": "https://e.example/mcp", "sidecar": {"resources": {"limits": {"cpu": "lots"}}}}),
            ),
        ),
    ] {
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"namespace": "acme", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec,
        });
        index.apply_server(Parsed::Object(Arc::new(serde_json::from_value(object).unwrap())));
    }
    index.apply_server(Parsed::Malformed { key: ObjectKey::new("acme", "malformed"), error: "no spec".to_owned() });
    index.snapshot()
}

fn admitted(pod: &Value) -> Result<Option<Injection>, Refusal> {
    admit(pod, "acme", &snapshot(), &settings())
}

fn plan() -> Plan {
    let snapshot = snapshot();
    let entry = snapshot.servers.get(&ObjectKey::new("acme", "invoices")).unwrap();
    Plan::new(&Target::of_entry(entry), &settings()).unwrap()
}

fn patched(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let injection = admitted(&pod).unwrap().unwrap();
    json_patch::patch(&mut pod, &injection.patch).unwrap();
    pod
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "invoices", "annotations": {"mcp.lumoauth.dev/server": "invoices"}},
        "spec": {"containers": [{"name": "app", "image": "example/invoices:1"}]},
    })
}

/// `pod()` with a JSON merge patch on top.
fn pod_with(change: &Value) -> Value {
    let mut pod = pod();
    json_patch::merge(&mut pod, change);
    pod
}

/// Each `testdata/x.yaml` becomes `testdata/x.injected.yaml`: the pod as patched, and the warnings.
/// `LUMOAUTH_UPDATE_GOLDEN=1` writes them anew, for review as code.
#[test]
fn golden_pairs() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/inject/testdata");
    let update = std::env::var_os("LUMOAUTH_UPDATE_GOLDEN").is_some();
    let mut seen = 0;
    for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let Some(stem) = name.strip_suffix(".yaml").filter(|stem| !stem.ends_with(".injected")) else { continue };
        let pod: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let injection = admitted(&pod).unwrap_or_else(|refusal| panic!("{stem}: {refusal}"));
        let mut after = pod.clone();
        let warnings = injection.map_or_else(Vec::new, |injection| {
            assert_only_adds(&injection, stem);
            json_patch::patch(&mut after, &injection.patch).unwrap();
            injection.warnings
        });
        let result = json!({"pod": after, "warnings": warnings});
        let golden = folder.join(format!("{stem}.injected.yaml"));
        if update {
            fs::write(&golden, serde_yaml::to_string(&result).unwrap()).unwrap();
        }
        let expected: Value = serde_yaml::from_str(&fs::read_to_string(&golden).unwrap_or_default()).unwrap();
        assert_eq!(result, expected, "{stem}");
        if let Some(again) = admitted(&after).unwrap() {
            assert!(again.patch.is_empty() && again.warnings.is_empty(), "{stem}: the second call changes something");
        }
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} golden pairs were found in {}", folder.display());
}

fn assert_only_adds(injection: &Injection, of: &str) {
    for operation in injection.patch.iter() {
        assert!(matches!(operation, json_patch::PatchOperation::Add(_)), "{of}: {operation}");
    }
}

const SERVER: &str = "mcp.lumoauth.dev/server";

#[rstest]
#[case::unknown(json!({"metadata": {"annotations": {SERVER: "nope"}}}),
    r#"no McpServer "nope" in namespace "acme": create it first"#)]
#[case::empty_name(json!({"metadata": {"annotations": {SERVER: ""}}}),
    r#"annotation mcp.lumoauth.dev/server: "" is no name of an McpServer: write the metadata.name of one in the pod's namespace"#)]
#[case::other_namespace(json!({"metadata": {"annotations": {SERVER: "other/invoices"}}}),
    r#"annotation mcp.lumoauth.dev/server: "other/invoices" is no name of an McpServer: write the metadata.name of one in the pod's namespace"#)]
#[case::label_only(json!({"metadata": {"annotations": null, "labels": {SERVER: "invoices"}}}),
    "label mcp.lumoauth.dev/server is written by the webhook: remove the label from the pod template and write an annotation of that name")]
#[case::label_disagrees(json!({"metadata": {"labels": {SERVER: "other"}}}),
    r#"label mcp.lumoauth.dev/server: "other" is not what the annotation of that name says ("invoices"): remove the label, the webhook writes it"#)]
#[case::forged_marker(json!({"metadata": {"annotations": {"mcp.lumoauth.dev/injected": "0123456789abcdef"}}}),
    "annotation mcp.lumoauth.dev/injected is written by the webhook: remove it from the pod template")]
#[case::forged_marker_alone(json!({"metadata": {"annotations": {SERVER: null, "mcp.lumoauth.dev/injected": "0123456789abcdef"}}}),
    "annotation mcp.lumoauth.dev/injected is written by the webhook: remove it from the pod template")]
#[case::host_network(json!({"spec": {"hostNetwork": true}}),
    "the pod has hostNetwork: true, where a sidecar cannot guard its port: remove hostNetwork, or the annotation mcp.lumoauth.dev/server")]
#[case::static_pod(json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}),
    "a static pod cannot be protected, kubelet has already started it: run it as a Deployment, or remove the annotation mcp.lumoauth.dev/server")]
#[case::windows(json!({"spec": {"os": {"name": "windows"}}}),
    r#"spec.os.name is "windows" and the sidecar runs on Linux only: use linux, or remove the annotation mcp.lumoauth.dev/server"#)]
#[case::port(json!({"spec": {"containers": [{"name": "app", "ports": [{"containerPort": 16080}]}]}}),
    r#"container "app" declares port 16080, which the sidecar uses: let it listen on another port"#)]
#[case::admin_port_of_an_init_container(json!({"spec": {"initContainers": [{"name": "init", "ports": [{"containerPort": 16081, "protocol": "TCP"}]}]}}),
    r#"container "init" declares port 16081, which the sidecar uses: let it listen on another port"#)]
#[case::port_name(json!({"spec": {"containers": [{"name": "app", "ports": [{"name": "mcp-auth", "containerPort": 8000}]}]}}),
    r#"container "app" names a port "mcp-auth", which is the sidecar's: give that port another name"#)]
#[case::port_name_of_another_protocol(json!({"spec": {"containers": [{"name": "app", "ports": [{"name": "mcp-auth", "containerPort": 8000, "protocol": "UDP"}]}]}}),
    r#"container "app" names a port "mcp-auth", which is the sidecar's: give that port another name"#)]
#[case::our_name_among_containers(json!({"spec": {"containers": [{"name": "lumoauth-sidecar", "image": "x"}]}}),
    r#"container "lumoauth-sidecar" is not as planned (spec.containers[lumoauth-sidecar]): remove it from the pod template, the webhook writes it"#)]
#[case::our_name_among_init_containers(json!({"spec": {"initContainers": [{"name": "lumoauth-sidecar", "image": "lumoauth/sidecar:0.1.0"}]}}),
    r#"container "lumoauth-sidecar" is not as planned (spec.initContainers[lumoauth-sidecar].args): remove it from the pod template, the webhook writes it"#)]
#[case::volume_name(json!({"spec": {"volumes": [{"name": "lumoauth-config", "configMap": {"name": "mine"}}]}}),
    r#"volume "lumoauth-config" is the sidecar's: give that volume another name"#)]
#[case::stdio(json!({"metadata": {"annotations": {SERVER: "stdio"}}}),
    "McpServer acme/stdio has transport Stdio, which a sidecar cannot guard: remove the annotation mcp.lumoauth.dev/server, or use StreamableHttp")]
#[case::quantity(json!({"metadata": {"annotations": {SERVER: "crooked"}}}),
    r#"McpServer acme/crooked has spec.sidecar.resources cpu: "lots", which is no quantity: write one like 100m or 64Mi"#)]
fn refused(#[case] change: Value, #[case] message: &str) {
    assert_eq!(admitted(&pod_with(&change)).unwrap_err().to_string(), message);
}

#[rstest]
#[case("A")]
#[case("1a")]
#[case("-a")]
#[case("a-")]
#[case("a.b")]
#[case("a b")]
#[case("ä")]
#[case("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
fn no_server_name(#[case] name: &str) {
    let refusal = admitted(&pod_with(&json!({"metadata": {"annotations": {SERVER: name}}}))).unwrap_err();
    assert_eq!(refusal, Refusal::InvalidName(name.to_owned()));
}

#[test]
fn a_server_is_looked_up_in_the_namespace_of_the_request() {
    let forged = pod_with(&json!({"metadata": {"namespace": "acme"}}));
    let refusal = admit(&forged, "other", &snapshot(), &settings()).unwrap_err();
    assert_eq!(refusal, Refusal::UnknownServer(ObjectKey::new("other", "invoices")));
}

#[test]
fn a_malformed_server_is_injected() {
    let pod = pod_with(&json!({"metadata": {"annotations": {SERVER: "malformed"}}}));
    assert!(!admitted(&pod).unwrap().unwrap().patch.is_empty());
}

#[test]
fn the_marker_of_another_plan_is_forged() {
    let mut pod = patched(&pod());
    *pod.pointer_mut("/metadata/annotations/mcp.lumoauth.dev~1injected").unwrap() = json!("0123456789abcdef");
    assert_eq!(admitted(&pod).unwrap_err(), Refusal::ForgedMarker);
}

#[test]
fn requests_stay_below_limits() {
    let low = json!({"limits": {"cpu": "5m", "memory": "16Mi"}});
    let target = Target {
        key: ObjectKey::new("acme", "a"),
        port: None,
        resources: serde_json::from_value(low).unwrap(),
        registry_only: false,
    };
    let plan = Plan::new(&target, &settings()).unwrap();
    assert_eq!(
        plan.container.pointer("/resources").unwrap(),
        &json!({"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"cpu": "5m", "memory": "16Mi"}})
    );
}

fn compared(change: impl FnOnce(&mut Value)) -> Comparison {
    let mut pod = patched(&pod());
    change(&mut pod);
    compare(&pod, &plan())
}

fn set(pointer: &'static str, key: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |pod| {
        pod.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
    }
}

const OURS: &str = "/spec/initContainers/0";

#[test]
fn compare_injected() {
    assert_eq!(compared(|_| ()), Comparison::Injected);
    assert_eq!(compared(set(OURS, "imagePullPolicy", json!("Always"))), Comparison::Injected);
    let same =
        json!({"requests": {"cpu": "0.010", "memory": "32768Ki"}, "limits": {"cpu": "1000m", "memory": "128Mi"}});
    assert_eq!(compared(set(OURS, "resources", same)), Comparison::Injected);
    let moved = |pod: &mut Value| {
        let list = pod.pointer_mut("/spec/initContainers").unwrap().as_array_mut().unwrap();
        list.insert(0, json!({"name": "first", "image": "x"}));
    };
    assert_eq!(compared(moved), Comparison::Injected);
    let marker = set("/metadata/annotations", "mcp.lumoauth.dev/injected", json!("0123456789abcdef"));
    assert_eq!(compared(marker), Comparison::Injected);
}

#[test]
fn compare_missing() {
    assert_eq!(compare(&pod(), &plan()), Comparison::Missing);
    let labelled = json!({"metadata": {"labels": {SERVER: "invoices"}, "annotations": {"mcp.lumoauth.dev/injected": plan().hash()}}});
    assert_eq!(compare(&pod_with(&labelled), &plan()), Comparison::Missing);
}

#[rstest]
#[case("lumoauth/sidecar:0.0.9")]
#[case("lumoauth/sidecar")]
#[case("lumoauth/sidecar:0.1.0@sha256:0000000000000000000000000000000000000000000000000000000000000000")]
fn compare_outdated_image(#[case] image: &str) {
    let expected = Comparison::Outdated { image: Some(image.to_owned()), resources: false };
    assert_eq!(compared(set(OURS, "image", json!(image))), expected);
}

#[rstest]
#[case(json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "2", "memory": "128Mi"}}))]
#[case(json!({"requests": {"cpu": "10m", "memory": "32Mi"}}))]
#[case(json!({}))]
fn compare_outdated_resources(#[case] resources: Value) {
    let expected = Comparison::Outdated { image: None, resources: true };
    assert_eq!(compared(set(OURS, "resources", resources)), expected);
}

/// The webhook leaves to others what `compare` calls outdated.
#[test]
fn changed_resources_are_no_second_patch() {
    let mut pod = patched(&pod());
    set(OURS, "resources", json!({"limits": {"cpu": "2"}}))(&mut pod);
    let again = admitted(&pod).unwrap().unwrap();
    assert!(again.patch.is_empty() && again.warnings.is_empty());
    set(OURS, "image", json!("lumoauth/sidecar:9"))(&mut pod);
    let again = admitted(&pod).unwrap().unwrap();
    assert!(again.patch.is_empty());
    assert_eq!(again.warnings.len(), 1);
}

#[rstest]
#[case::command("command", json!(["/bin/true"]))]
#[case::args("args", json!(["--config=/tmp/open.json"]))]
#[case::env("env", json!([{"name": "LUMOAUTH_SIDECAR_CONFIG", "value": "/tmp/open.json"}]))]
#[case::env_from("envFrom", json!([{"configMapRef": {"name": "x"}}]))]
#[case::lifecycle("lifecycle", json!({"preStop": {"exec": {"command": ["/x"]}}}))]
#[case::ports("ports", json!([{"name": "mcp-auth", "containerPort": 8000, "protocol": "TCP"}]))]
#[case::security_context("securityContext", json!({"privileged": true}))]
#[case::mounts("volumeMounts", json!([]))]
#[case::restart_policy("restartPolicy", Value::Null)]
#[case::startup_probe("startupProbe", json!({"exec": {"command": ["/bin/true"]}}))]
#[case::image("image", json!("example/open:0.1.0"))]
#[case::image_of_another_registry("image", json!("registry.example:5000/lumoauth/sidecar:0.1.0"))]
#[case::unknown("restartPolicyRules", json!([]))]
fn compare_tampered_container(#[case] field: &'static str, #[case] value: Value) {
    let Comparison::Tampered { field: found } = compared(set(OURS, field, value)) else {
        panic!("{field} is accepted")
    };
    let prefix = format!("spec.initContainers[lumoauth-sidecar].{field}");
    assert!(found.starts_with(&prefix), "{found}");
}

#[rstest]
#[case::one_more_port(OURS, "ports", json!({"name": "x", "containerPort": 1, "protocol": "TCP"}))]
#[case::one_more_mount(OURS, "volumeMounts", json!({"name": "x", "mountPath": "/x"}))]
#[case::one_more_argument(OURS, "args", json!("--listen=127.0.0.1:1"))]
fn compare_tampered_list(#[case] at: &'static str, #[case] list: &'static str, #[case] entry: Value) {
    let added = |pod: &mut Value| {
        pod.pointer_mut(&format!("{at}/{list}")).unwrap().as_array_mut().unwrap().push(entry);
    };
    assert_eq!(
        compared(added),
        Comparison::Tampered { field: format!("spec.initContainers[lumoauth-sidecar].{list}") }
    );
}

#[rstest]
#[case::optional_config_map("/spec/volumes/0/configMap", "optional", json!(true), "spec.volumes[lumoauth-config].configMap.optional")]
#[case::other_config_map("/spec/volumes/0/configMap", "name", json!("open"), "spec.volumes[lumoauth-config].configMap.name")]
#[case::a_token_after_all("/spec/volumes/1", "projected", json!({}), "spec.volumes[lumoauth-no-token].projected")]
#[case::no_volume("/spec/volumes/1", "name", json!("x"), "spec.volumes[lumoauth-no-token]")]
#[case::no_label("/metadata/labels", SERVER, Value::Null, "metadata.labels[mcp.lumoauth.dev/server]")]
#[case::other_label("/metadata/labels", SERVER, json!("other"), "metadata.labels[mcp.lumoauth.dev/server]")]
fn compare_tampered_pod(
    #[case] at: &'static str,
    #[case] key: &'static str,
    #[case] value: Value,
    #[case] field: &str,
) {
    assert_eq!(compared(set(at, key, value)), Comparison::Tampered { field: field.to_owned() });
}

#[rstest]
#[case::port_name("/spec/containers/0", "ports", json!([{"name": "mcp-auth", "containerPort": 8000}]), "spec.containers[app].ports")]
#[case::port("/spec/containers/0", "ports", json!([{"containerPort": 16080}]), "spec.containers[app].ports")]
#[case::host_network("/spec", "hostNetwork", json!(true), "spec.hostNetwork")]
#[case::windows("/spec", "os", json!({"name": "windows"}), "spec.os.name")]
#[case::mirror("/metadata/annotations", "kubernetes.io/config.mirror", json!("x"), "metadata.annotations[kubernetes.io/config.mirror]")]
fn compare_tampered_by_what_is_beside_it(
    #[case] at: &'static str,
    #[case] key: &'static str,
    #[case] value: Value,
    #[case] field: &str,
) {
    assert_eq!(compared(set(at, key, value)), Comparison::Tampered { field: field.to_owned() });
}

#[test]
fn compare_tampered_by_a_second_one() {
    let twice = |pod: &mut Value| {
        let ours = pod.pointer(OURS).unwrap().clone();
        pod.pointer_mut("/spec/containers").unwrap().as_array_mut().unwrap().push(ours);
    };
    let field = "spec.containers[lumoauth-sidecar]".to_owned();
    assert_eq!(compared(twice), Comparison::Tampered { field });
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(".{0,8}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether everything of `before` is in `after`, lists in their order.
fn survives(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            before.iter().all(|(key, value)| after.get(key).is_some_and(|other| survives(value, other)))
        }
        (Value::Array(before), Value::Array(after)) => {
            let mut rest = after.iter();
            before.iter().all(|value| rest.any(|other| survives(value, other)))
        }
        _ => before == after,
    }
}

proptest! {
    /// Whatever else a pod holds, nothing of it disappears, and the second call changes nothing.
    #[test]
    fn nothing_disappears(
        metadata in prop::collection::hash_map("x[a-zA-Z/~.]{0,6}", any_json(), 0..4),
        spec in prop::collection::hash_map("x[a-zA-Z/~.]{0,6}", any_json(), 0..4),
        container in prop::collection::hash_map("x[a-zA-Z/~.]{0,6}", any_json(), 0..4),
        annotations in prop::collection::hash_map("[a-z]{1,4}[/~]?[a-z]{1,4}", ".{0,8}", 0..4),
        labels in prop::option::of(prop::collection::hash_map("[a-z]{1,4}[/~]?[a-z]{1,4}", ".{0,8}", 0..4)),
        init in prop::option::of(prop::collection::vec("[a-z]{1,8}", 0..3)),
        volumes in prop::option::of(prop::collection::vec(any_json(), 0..3)),
    ) {
        let mut before = pod();
        let mut extend = |at: &str, more: Vec<(String, Value)>| {
            before.pointer_mut(at).unwrap().as_object_mut().unwrap().extend(more);
        };
        extend("/metadata", metadata.into_iter().collect());
        extend("/spec", spec.into_iter().collect());
        extend("/spec/containers/0", container.into_iter().collect());
        let strings = |map: std::collections::HashMap<String, String>| {
            map.into_iter().map(|(key, value)| (key, Value::from(value))).collect::<Vec<_>>()
        };
        extend("/metadata/annotations", strings(annotations));
        if let Some(labels) = labels {
            extend("/metadata", vec![("labels".to_owned(), Value::Object(strings(labels).into_iter().collect()))]);
        }
        if let Some(init) = init {
            let list: Vec<_> = init.into_iter().map(|name| json!({"name": name, "future": 1})).collect();
            extend("/spec", vec![("initContainers".to_owned(), list.into())]);
        }
        if let Some(volumes) = volumes {
            extend("/spec", vec![("volumes".to_owned(), volumes.into())]);
        }
        let injection = admitted(&before).unwrap().unwrap();
        assert_only_adds(&injection, "generated");
        let after = patched(&before);
        prop_assert!(survives(&before, &after), "before {before}\nafter {after}");
        prop_assert_eq!(compare(&after, &plan()), Comparison::Injected);
        prop_assert!(admitted(&after).unwrap().unwrap().patch.is_empty());
    }

    /// No pod at all, however wrong, is more than refused or patched.
    #[test]
    fn arbitrary_json_is_survived(pod in any_json()) {
        let _ = admitted(&pod);
        let _ = compare(&pod, &plan());
    }
}
