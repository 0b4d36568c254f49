//! An OAuth client of a namespace of its own, which chooses the replica it speaks to.

use std::time::Duration;

use super::Namespace;
use crate::support::{Answer, apply_text, curl, eventually, kubectl, oauth::REDIRECT, try_kubectl};

pub(super) const AS_HOST: &str = "lumoauth-authserver.lumoauth-system.svc";
/// The label of the authorization servers.
pub(super) const REPLICAS: &str = "app.kubernetes.io/name=lumoauth-authserver";
pub(super) const RESOURCE: &str = "https://ledger.example/mcp";

/// The client, and the server it may ask tokens for; beside it `desktop`, a public client for people.
pub(super) struct TokenClient {
    namespace: Namespace,
    user: String,
    pub(super) ca: tempfile::NamedTempFile,
}

impl TokenClient {
    pub(super) fn new(name: &'static str) -> Self {
        let namespace = Namespace::new(name);
        let account = "--serviceaccount=lumoauth-system:lumoauth-operator";
        kubectl(&["create", "rolebinding", "credentials", "--clusterrole=lumoauth-credentials", account, "-n", name]);
        let objects = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
                "metadata": {"name": "ledger", "namespace": name},
                "spec": {
                    "resourceUri": RESOURCE, "port": 8000,
                    "scopes": [{"name": "mcp:read"}], "requiredScopes": ["mcp:read"],
                },
            },
            {
                "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
                "metadata": {"name": "batch", "namespace": name},
                "spec": {
                    "grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"},
                    "scopes": ["mcp:read"], "credentialsSecretName": "batch-oauth",
                },
            },
            {
                "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
                "metadata": {"name": "desktop", "namespace": name},
                "spec": {
                    "displayName": "Desktop", "grantTypes": ["AuthorizationCode", "RefreshToken"],
                    "authentication": {"method": "None"}, "redirectUris": [REDIRECT], "scopes": ["mcp:read"],
                },
            },
        ]});
        apply_text(&["apply", "-f", "-"], &objects.to_string());
        let secret = |key: &str| {
            let path = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
            let read = || {
                let said = try_kubectl(&["get", "secret", "batch-oauth", "-n", name, "-o", &path], "");
                if said.ok { Ok(said.text) } else { Err(said.text) }
            };
            eventually("the client's credentials", Duration::from_mins(1), read).0
        };
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), secret("ca.crt")).unwrap();
        Self { namespace, user: format!("{}:{}", secret("client_id"), secret("client_secret")), ca }
    }

    fn post(&self, replica: &str, endpoint: &str, parameters: &[&str]) -> Answer {
        let resolve = format!("{AS_HOST}:8443:{replica}");
        let url = format!("https://{AS_HOST}:8443/orgs/{}/api/v1/oauth/{endpoint}", self.namespace.0);
        let mut arguments =
            vec!["--cacert", self.ca.path().to_str().unwrap(), "--resolve", &resolve, "-u", &self.user, &url];
        for parameter in parameters {
            arguments.extend(["--data-urlencode", parameter]);
        }
        curl(&arguments)
    }

    /// The identifier of `desktop`.
    pub(super) fn desktop(&self) -> String {
        let read = || {
            let path = ["-o", "jsonpath={.status.clientId}"];
            let id = kubectl(&[&["get", "mcpclient", "desktop", "-n", self.namespace.0], &path[..]].concat());
            if id.is_empty() { Err("no clientId yet".to_owned()) } else { Ok(id) }
        };
        eventually("the identifier of desktop", Duration::from_secs(30), read).0
    }

    /// A token of the replica with this address, as soon as it knows the client.
    pub(super) fn token(&self, replica: &str) -> String {
        let parameters = ["grant_type=client_credentials", &format!("resource={RESOURCE}")];
        let ask = || match self.post(replica, "token", &parameters) {
            answer if answer.status == 200 => Ok(answer.json()["access_token"].as_str().unwrap().to_owned()),
            other => Err(format!("{other:?}")),
        };
        eventually("a token", Duration::from_secs(30), ask).0
    }

    pub(super) fn revoke(&self, replica: &str, token: &str) {
        let answer = self.post(replica, "revoke", &[&format!("token={token}")]);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Whether a replica says that the token is good.
    pub(super) fn is_active(&self, replica: &str, token: &str) -> bool {
        let answer = self.post(replica, "introspect", &[&format!("token={token}")]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"].as_bool().unwrap()
    }
}

/// The addresses of the authorization servers, once there are exactly `count` and all are ready.
pub(super) fn replicas(count: usize) -> Vec<(String, String)> {
    let path = r#"jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    let look = || {
        let text = kubectl(&["get", "pods", "-n", "lumoauth-system", "-l", REPLICAS, "-o", path]);
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
        let ready = lines.iter().filter_map(|line| match line.as_slice() {
            [name, address, ready] if ready == "True" => Some((name.clone(), address.clone())),
            _ => None,
        });
        let ready: Vec<_> = ready.collect();
        if lines.len() == count && ready.len() == count { Ok(ready) } else { Err(text) }
    };
    eventually("the authorization servers", Duration::from_mins(2), look).0
}
