//! Every name of ours that users and Kubernetes see, once.

/// API group of the custom resources.
pub const GROUP: &str = "mcp.lumoauth.dev";

/// Annotation on a pod template: protect this pod as the named McpServer. Label on the pod, written by the webhook: it is.
pub const SERVER: &str = "mcp.lumoauth.dev/server";
/// Annotation the webhook writes: the hash of the plan it injected.
pub const INJECTED: &str = "mcp.lumoauth.dev/injected";
/// Annotation the controller touches on pods so that kubelet re-reads the ConfigMap at once: the generation.
pub const CONFIG: &str = "mcp.lumoauth.dev/config";
/// Label on a namespace: which organization its objects belong to.
pub const ORG: &str = "mcp.lumoauth.dev/org";
/// Annotation on an McpClient: any new value rotates its secret.
pub const ROTATE: &str = "mcp.lumoauth.dev/rotate";

/// The label that says who manages an object, and our value of it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Our value of [`MANAGED_BY`].
pub const MANAGER: &str = "lumoauth";

/// Namespace of the control plane.
pub const SYSTEM_NAMESPACE: &str = "lumoauth-system";
/// Namespaces whose pods the webhook is never asked about (its `namespaceSelector`), so that it cannot keep a cluster or
/// itself from starting.
pub const NEVER_INJECTED: [&str; 2] = ["kube-system", SYSTEM_NAMESPACE];
/// Service of the authorization server.
pub const AUTHSERVER: &str = "lumoauth-authserver";
/// Service of the webhook, and name of its MutatingWebhookConfiguration.
pub const WEBHOOK: &str = "lumoauth-webhook";
/// Name of the operator's Deployment, ServiceAccount, Lease and field manager.
pub const OPERATOR: &str = "lumoauth-operator";
/// Secret with the CA's key; ConfigMap of the same name with its certificate (`ca.crt`).
pub const CA: &str = "lumoauth-ca";
/// Secret with the authorization server's certificate.
pub const AUTHSERVER_TLS: &str = "lumoauth-authserver-tls";
/// Secret with the keys that sign access tokens.
pub const SIGNING_KEYS: &str = "lumoauth-signing-keys";
/// ClusterRole that lets the operator write credentials Secrets; a namespace binds it.
pub const CREDENTIALS_ROLE: &str = "lumoauth-credentials";

/// Name of the injected container.
pub const SIDECAR_CONTAINER: &str = "lumoauth-sidecar";
/// Name of the sidecar's port; the Service targets this name.
pub const SIDECAR_PORT_NAME: &str = "mcp-auth";
/// Port the sidecar guards.
pub const SIDECAR_PORT: u16 = 16080;
/// Port of the sidecar's admin endpoints.
pub const SIDECAR_ADMIN_PORT: u16 = 16081;
/// User the sidecar runs as.
pub const SIDECAR_UID: i64 = 64320;
/// Key of the ConfigMap that the sidecar reads.
pub const CONFIG_KEY: &str = "config.json";

/// Port of the webhook.
pub const WEBHOOK_PORT: u16 = 9443;
/// Port of the authorization server.
pub const AUTHSERVER_PORT: u16 = 8443;
/// Port of the admin endpoints of operator and authorization server.
pub const ADMIN_PORT: u16 = 8081;

/// Service of an McpServer.
pub fn service(server: &str) -> String {
    format!("{server}-mcp")
}

/// ConfigMap of an McpServer.
pub fn config_map(server: &str) -> String {
    format!("{server}-mcp-sidecar")
}
