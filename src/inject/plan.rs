//! What a guarded pod has on top: one container, two volumes, a label and two annotations.
//!
//! Every value that the API server would default is spelled out, so that a pod read back is equal to its plan.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lumoauth_core::digest;
use serde_json::{Map, Value, json};

use super::{Refusal, Target, quantity::Quantity};
use crate::{
    api::names::{
        CONFIG_KEY, SIDECAR_ADMIN_PORT, SIDECAR_CONTAINER, SIDECAR_PORT, SIDECAR_PORT_NAME, SIDECAR_UID, config_map,
    },
    registry::ObjectKey,
    settings::Settings,
};

/// Volume with the ConfigMap of the McpServer.
pub(super) const CONFIG_VOLUME: &str = "lumoauth-config";
/// Empty volume where a ServiceAccount's token would be.
pub(super) const NO_TOKEN_VOLUME: &str = "lumoauth-no-token";

const CONFIG_PATH: &str = "/etc/lumoauth";
/// The ServiceAccount admission plugin leaves a container alone that has a mount here.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ADMIN_PORT_NAME: &str = "mcp-auth-admin";

const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "10m"), ("memory", "32Mi")];
const DEFAULT_LIMITS: [(&str, &str); 2] = [("cpu", "1"), ("memory", "128Mi")];

/// What a pod guarded as one McpServer has on top of its author's.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The McpServer: the value of the label.
    pub(super) server: ObjectKey,
    /// Where the app listens, for warnings.
    pub(super) port: Option<i32>,
    /// The native sidecar, as the API server would return it.
    pub(super) container: Value,
    /// Its volumes.
    pub(super) volumes: [Value; 2],
    hash: String,
}

impl Plan {
    /// The plan for pods guarded as `target`.
    pub fn new(target: &Target, settings: &Settings) -> Result<Self, Refusal> {
        if target.registry_only {
            return Err(Refusal::NothingToGuard(target.key.clone()));
        }
        let container = container(settings, &resources(target)?);
        let volumes = volumes(&target.key.name);
        let text = json!([target.key.name, container, volumes]).to_string();
        let mut hash = digest::sha256_hex(text.as_bytes());
        hash.truncate(16);
        Ok(Self { server: target.key.clone(), port: target.port, container, volumes, hash })
    }

    /// The value of the annotation `mcp.lumoauth.dev/injected`: 16 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

fn container(settings: &Settings, resources: &Value) -> Value {
    json!({
        "name": SIDECAR_CONTAINER,
        "image": settings.sidecar_image,
        "imagePullPolicy": settings.image_pull_policy.as_str(),
        // A native sidecar: up before the containers after it, down after them, and no obstacle to a Job's end.
        "restartPolicy": "Always",
        "args": [
            format!("--config={CONFIG_PATH}/{CONFIG_KEY}"),
            format!("--listen=0.0.0.0:{SIDECAR_PORT}"),
            format!("--admin=0.0.0.0:{SIDECAR_ADMIN_PORT}"),
        ],
        "ports": [
            {"name": SIDECAR_PORT_NAME, "containerPort": SIDECAR_PORT, "protocol": "TCP"},
            {"name": ADMIN_PORT_NAME, "containerPort": SIDECAR_ADMIN_PORT, "protocol": "TCP"},
        ],
        // Kubelet starts the app's containers once this one listens.
        "startupProbe": probe("/livez", 1, 1, 120),
        "readinessProbe": probe("/readyz", 2, 2, 3),
        // Lenient: a restart drops every stream of the pod.
        "livenessProbe": probe("/livez", 10, 5, 6),
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": SIDECAR_UID,
            "runAsNonRoot": true,
            "runAsUser": SIDECAR_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": CONFIG_PATH, "readOnly": true},
            {"name": NO_TOKEN_VOLUME, "mountPath": TOKEN_PATH, "readOnly": true},
        ],
    })
}

fn probe(path: &str, period: u32, timeout: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": SIDECAR_ADMIN_PORT, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "successThreshold": 1,
        "failureThreshold": failures,
    })
}

/// The ConfigMap is not optional: without it the pod waits instead of running unguarded.
fn volumes(server: &str) -> [Value; 2] {
    [
        json!({"name": CONFIG_VOLUME, "configMap": {"name": config_map(server), "defaultMode": 0o644}}),
        json!({"name": NO_TOKEN_VOLUME, "emptyDir": {}}),
    ]
}

/// Requests and limits, always both: a ResourceQuota refuses a pod with a container that lacks one. What the author
/// leaves out is the default, moved so far that no request is above its limit.
fn resources(target: &Target) -> Result<Value, Refusal> {
    let mut requests = written(target, &target.resources.requests)?;
    let mut limits = written(target, &target.resources.limits)?;
    for (resource, default) in DEFAULT_LIMITS {
        let limit = requests.get(resource).map_or(default, |request| larger(request, default)).to_owned();
        limits.entry(resource.to_owned()).or_insert(limit);
    }
    for (resource, limit) in &limits {
        let default =
            DEFAULT_REQUESTS.iter().find(|(name, _)| name == resource).map_or(limit.as_str(), |(_, text)| text);
        let request = if larger(default, limit) == default { limit.as_str() } else { default };
        requests.entry(resource.clone()).or_insert(request.to_owned());
    }
    let object = |map: BTreeMap<String, String>| -> Value {
        map.into_iter().map(|(resource, text)| (resource, Value::String(text))).collect::<Map<_, _>>().into()
    };
    Ok(json!({"requests": object(requests), "limits": object(limits)}))
}

fn written(target: &Target, map: &BTreeMap<String, IntOrString>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut texts = BTreeMap::new();
    for (resource, value) in map {
        let text = match value {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text.clone(),
        };
        if Quantity::parse(&text).is_none() {
            return Err(Refusal::Quantity { server: target.key.clone(), resource: resource.clone(), quantity: text });
        }
        texts.insert(resource.clone(), text);
    }
    Ok(texts)
}

/// The larger of two quantities; the first when they are equal.
fn larger<'a>(one: &'a str, other: &'a str) -> &'a str {
    if Quantity::parse(one) >= Quantity::parse(other) { one } else { other }
}
