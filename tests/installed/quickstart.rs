//! The quickstart on a cluster, as its users see it.

use std::{path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::support::{Answer, curl, eventually, kubectl, program, root};

pub(super) const NAMESPACE: &str = "quickstart";
pub(super) const HOST: &str = "invoices-mcp.quickstart.svc";
pub(super) const RESOURCE: &str = "http://invoices-mcp.quickstart.svc/mcp";
pub(super) const AS_HOST: &str = "lumoauth-authserver.lumoauth-system.svc";

/// A condition of an object as `status/reason: message`.
pub(super) fn condition(kind: &str, namespace: &str, name: &str, condition: &str) -> (String, String) {
    let path = format!(
        r#"jsonpath={{range .status.conditions[?(@.type=="{condition}")]}}{{.status}}{{"\t"}}{{.reason}}: {{.message}}{{end}}"#
    );
    let text = kubectl(&["get", kind, name, "-n", namespace, "-o", &path]);
    let (status, rest) = text.split_once('\t').unwrap_or((&text, ""));
    (status.to_owned(), rest.to_owned())
}

pub(super) fn wait_condition(kind: &str, name: &str, type_: &str, status: &str, limit: u64) -> Duration {
    let what = format!("{kind}/{name} {type_}={status}");
    let check = || {
        let (now, rest) = condition(kind, NAMESPACE, name, type_);
        if now == status { Ok(()) } else { Err(format!("{now} {rest}")) }
    };
    eventually(&what, Duration::from_secs(limit), check).1
}

pub(super) fn field(arguments: &[&str], path: &str) -> String {
    let path = format!("jsonpath={path}");
    let mut all = arguments.to_vec();
    all.extend(["-o", &path]);
    kubectl(&all)
}

pub(super) fn secret(name: &str, key: &str) -> String {
    let path = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
    kubectl(&["get", "secret", name, "-n", NAMESPACE, "-o", &path])
}

/// A client's credentials as files, as a pod would mount them.
pub(super) fn credentials(name: &str, directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    for key in ["client_id", "client_secret", "issuer", "token_endpoint", "ca.crt"] {
        std::fs::write(directory.join(key), secret(name, key)).unwrap();
    }
}

pub(super) struct Cluster {
    pub(super) service_ip: String,
    pub(super) authserver_ip: String,
    pub(super) directory: tempfile::TempDir,
}

impl Cluster {
    /// The addresses of the quickstart's Service and of the authorization server's.
    pub(super) fn find() -> Self {
        Self {
            service_ip: field(&["get", "service", "invoices-mcp", "-n", NAMESPACE], "{.spec.clusterIP}"),
            authserver_ip: field(
                &["get", "service", "lumoauth-authserver", "-n", "lumoauth-system"],
                "{.spec.clusterIP}",
            ),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// One MCP message through the Service.
    pub(super) fn call(&self, token: Option<&str>, method: &str, params: &Value) -> Answer {
        call_at(&self.service_ip, 80, token, method, params)
    }

    pub(super) fn tool(&self, token: &str, tool: &str) -> Answer {
        self.call(Some(token), "tools/call", &json!({"name": tool, "arguments": arguments(tool)}))
    }

    /// An access token, got as any OAuth client would.
    pub(super) fn token(&self, client: &str, resource: &str, scope: Option<&str>) -> Answer {
        let directory = self.directory.path().join(client);
        credentials(&format!("{client}-oauth"), &directory);
        let read = |key: &str| std::fs::read_to_string(directory.join(key)).unwrap();
        let user = format!("{}:{}", read("client_id"), read("client_secret"));
        let resolve = format!("{AS_HOST}:443:{}", self.authserver_ip);
        let ca = directory.join("ca.crt");
        let resource = format!("resource={resource}");
        let scope = scope.map(|scope| format!("scope={scope}"));
        let endpoint = read("token_endpoint");
        let mut arguments = vec![
            "--cacert",
            ca.to_str().unwrap(),
            "--resolve",
            &resolve,
            "-u",
            &user,
            "-d",
            "grant_type=client_credentials",
            "--data-urlencode",
            &resource,
        ];
        if let Some(scope) = &scope {
            arguments.extend(["--data-urlencode", scope]);
        }
        arguments.push(&endpoint);
        curl(&arguments)
    }

    pub(super) fn access_token(&self, client: &str, resource: &str) -> String {
        let answer = self.token(client, resource, None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// The official SDK client.
    pub(super) fn sdk(&self, client: &str, tool: &str) -> Value {
        let directory = self.directory.path().join(client);
        credentials(&format!("{client}-oauth"), &directory);
        let mut command = Command::new("unshare");
        command.args(self.resolving());
        command.arg(program::python()).arg(root().join("tests/sdk/call.py")).arg(RESOURCE);
        command.arg(&directory).args([tool, &arguments(tool).to_string()]);
        let output = program::finish(&mut command, Duration::from_mins(1));
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The arguments of `unshare` that run a program, which is appended, where names are resolved as in the cluster: in
    /// a mount namespace with the cluster's resolver.
    pub(super) fn resolving(&self) -> Vec<String> {
        let resolver = self.directory.path().join("resolv.conf");
        let dns = field(&["get", "nodes"], "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}");
        std::fs::write(&resolver, format!("nameserver {dns}\nsearch cluster.local\noptions ndots:5\n")).unwrap();
        let script = format!("mount --bind '{}' /etc/resolv.conf && exec \"$@\"", resolver.display());
        ["--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }
}

pub(super) fn arguments(tool: &str) -> Value {
    match tool {
        "search_invoices" => json!({"query": "acme"}),
        _ => json!({"invoice": "INV-1"}),
    }
}

pub(super) fn call_at(ip: &str, port: u16, token: Option<&str>, method: &str, params: &Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let authorization = token.map(|token| format!("Authorization: Bearer {token}"));
    let host = format!("Host: {HOST}");
    let url = format!("http://{ip}:{port}/mcp");
    let mut arguments = vec![
        "-H",
        &host,
        "-H",
        "Content-Type: application/json",
        "-H",
        "Accept: application/json, text/event-stream",
        "-H",
        "MCP-Protocol-Version: 2025-11-25",
        "-d",
        &body,
    ];
    if let Some(authorization) = &authorization {
        arguments.extend(["-H", authorization]);
    }
    arguments.push(&url);
    curl(&arguments)
}

/// The newest pod of the server: an older one may still be ending.
pub(super) fn pod() -> String {
    let pods = ["get", "pods", "-n", NAMESPACE, "-l", "app=invoices", "--sort-by=.metadata.creationTimestamp"];
    field(&pods, "{.items[-1:].metadata.name}")
}
