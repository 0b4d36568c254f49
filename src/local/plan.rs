//! What each McpServer becomes on one machine: its namespace, its address, and the resourceUri of this run. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use lumoauth_core::ResourceUri;

use super::manifest::{Located, ManifestError, Manifests, Place};
use crate::{
    api::v1alpha1::{McpClient, McpServer, Transport},
    registry::ObjectKey,
};

/// The namespace, and so the organization, of everything.
pub(super) const NAMESPACE: &str = "default";

/// Where a server is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guarded {
    /// Where its sidecar listens.
    pub(super) address: SocketAddr,
    /// The resourceUri of this run.
    pub(super) resource: String,
    /// The resourceUri that was written.
    pub(super) written: String,
}

/// Everything, ready for the registry.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) servers: Vec<Located<McpServer>>,
    pub(super) clients: Vec<Located<McpClient>>,
    /// The sidecars to run. A server whose resourceUri cannot be read, or that speaks Stdio, has none.
    pub(super) guarded: BTreeMap<ObjectKey, Guarded>,
}

/// The ports that are spoken for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// The authorization server's.
    pub(super) listen: u16,
    /// The first one for sidecars.
    pub(super) first: u16,
}

/// Plans a run. `before` is what already runs: it keeps its addresses, and its resourceUris cannot change.
pub(super) fn plan(
    manifests: Manifests,
    ports: Ports,
    before: &BTreeMap<ObjectKey, Guarded>,
) -> Result<Plan, Vec<ManifestError>> {
    let Manifests { servers, clients, .. } = manifests;
    let mut errors = Vec::new();
    clashes(servers.iter().map(|server| (&server.object.metadata.name, &server.place)), "McpServer", &mut errors);
    clashes(clients.iter().map(|client| (&client.object.metadata.name, &client.place)), "McpClient", &mut errors);
    let servers: Vec<_> = servers.into_iter().map(localize_server).collect();
    let clients = clients.into_iter().map(localize_client).collect();

    let upstreams = upstreams(&servers, ports, &mut errors);
    let guardable = || servers.iter().filter(|server| server.object.spec.transport != Transport::Stdio);
    let mut taken: BTreeSet<u16> = upstreams.keys().copied().chain([ports.listen]).collect();
    taken.extend(before.values().map(|guarded| guarded.address.port()));
    taken.extend(
        guardable().filter_map(|server| loopback(&server.object.spec.resource_uri)).map(|address| address.port()),
    );
    let mut free = (ports.first..=u16::MAX).filter(|port| !taken.contains(port));

    let mut guarded: BTreeMap<ObjectKey, Guarded> = BTreeMap::new();
    for server in guardable() {
        let key = key(&server.object);
        let written = server.object.spec.resource_uri.clone();
        let Ok(resource) = ResourceUri::parse(&written) else { continue };
        let new = match (before.get(&key), loopback(&written)) {
            (Some(old), _) if old.written == written => old.clone(),
            (Some(old), _) => {
                let message = format!(
                    "McpServer {}: spec.resourceUri cannot be changed from {}, tokens are bound to it: start lumoauth local again",
                    key.name, old.written
                );
                errors.push(ManifestError::new(&server.place, message));
                continue;
            }
            (None, Some(address)) => Guarded { address, resource: written.clone(), written },
            (None, None) => {
                let Some(port) = free.next() else {
                    errors.push(no_port(server, ports));
                    continue;
                };
                let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
                Guarded { address, resource: format!("http://{address}{}", resource.path()), written }
            }
        };
        let port = new.address.port();
        let holder = guarded.iter().find(|(_, other)| other.address.port() == port).map(|(key, _)| key.name.clone());
        let holder = holder.or_else(|| upstreams.get(&port).cloned()).map(|name| format!("McpServer {name}"));
        let holder = holder.or_else(|| (port == ports.listen).then(|| "--listen".to_owned()));
        if let Some(holder) = holder {
            let message = format!(
                "McpServer {}: port {port} of spec.resourceUri is taken by {holder}: give each its own port, or write the https URL it has on a cluster",
                key.name
            );
            errors.push(ManifestError::new(&server.place, message));
        }
        guarded.insert(key, new);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let servers = servers.into_iter().map(|server| rewrite(server, &guarded)).collect();
    Ok(Plan { servers, clients, guarded })
}

/// A server that would run without its sidecar.
pub(super) fn no_port(server: &Located<McpServer>, ports: Ports) -> ManifestError {
    let name = key(&server.object).name;
    let message = format!(
        "McpServer {name}: no port from {} on is left for its sidecar: write a lower --sidecar-port",
        ports.first
    );
    ManifestError::new(&server.place, message)
}

/// The key of an object in this run.
pub(super) fn key<K: kube::ResourceExt>(object: &K) -> ObjectKey {
    ObjectKey::new(NAMESPACE, object.name_any())
}

/// Names that two objects of a kind have, now that every namespace is one.
fn clashes<'a>(
    objects: impl Iterator<Item = (&'a Option<String>, &'a Place)>,
    kind: &str,
    errors: &mut Vec<ManifestError>,
) {
    let mut seen = BTreeMap::new();
    for (name, place) in objects {
        let name = name.as_deref().unwrap_or_default();
        if let Some(first) = seen.insert(name, place) {
            let message = format!(
                "{kind} {name} is also at {first}, and local reads every namespace as {NAMESPACE}: rename one of them"
            );
            errors.push(ManifestError::new(place, message));
        }
    }
}

/// Which server is behind each port. Two on one are refused: on one machine they would be the same process.
fn upstreams(servers: &[Located<McpServer>], ports: Ports, errors: &mut Vec<ManifestError>) -> BTreeMap<u16, String> {
    let mut upstreams = BTreeMap::new();
    for server in servers.iter().filter(|server| server.object.spec.transport != Transport::Stdio) {
        let name = key(&server.object).name;
        // A port out of range is the registry's to refuse.
        let Ok(port) = u16::try_from(server.object.spec.port) else { continue };
        let holder = match upstreams.get(&port) {
            Some(other) => Some(format!("McpServer {other}")),
            None if port == ports.listen => Some("--listen".to_owned()),
            None => None,
        };
        if let Some(holder) = holder {
            let message = format!(
                "McpServer {name}: spec.port {port} is also that of {holder}: on one machine every server needs a port of its own"
            );
            errors.push(ManifestError::new(&server.place, message));
        }
        upstreams.insert(port, name);
    }
    upstreams
}

fn localize_server(mut server: Located<McpServer>) -> Located<McpServer> {
    server.object.metadata.namespace = Some(NAMESPACE.to_owned());
    let spec = &mut server.object.spec;
    // Clients connect to the sidecar, wherever the cluster's own address may point.
    spec.endpoint_url = None;
    let of_grants = spec.grants.iter_mut().flat_map(|grant| &mut grant.clients);
    let references = spec.allowed_clients.iter_mut().chain(&mut spec.introspection_clients).chain(of_grants);
    for reference in references.filter(|reference| !reference.contains("://")) {
        *reference = unqualified(reference);
    }
    server
}

fn localize_client(mut client: Located<McpClient>) -> Located<McpClient> {
    client.object.metadata.namespace = Some(NAMESPACE.to_owned());
    for reference in &mut client.object.spec.servers {
        *reference = unqualified(reference);
    }
    client
}

fn unqualified(reference: &str) -> String {
    reference.split_once('/').map_or(reference, |(_, name)| name).to_owned()
}

fn rewrite(mut server: Located<McpServer>, guarded: &BTreeMap<ObjectKey, Guarded>) -> Located<McpServer> {
    if let Some(guarded) = guarded.get(&key(&server.object)) {
        server.object.spec.resource_uri.clone_from(&guarded.resource);
    }
    server
}

/// The address of a resourceUri that this machine can serve as it is: plain http on loopback.
pub(super) fn loopback(resource: &str) -> Option<SocketAddr> {
    let resource = ResourceUri::parse(resource).ok()?;
    let url = url::Url::parse(resource.canonical()).ok()?;
    let ip = match url.host()? {
        url::Host::Domain("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        url::Host::Domain(_) => return None,
        url::Host::Ipv4(ip) => IpAddr::V4(ip),
        url::Host::Ipv6(ip) => IpAddr::V6(ip),
    };
    let port = url.port_or_known_default()?;
    (url.scheme() == "http" && ip.is_loopback()).then_some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const PORTS: Ports = Ports { listen: 8080, first: 16080 };

    fn server(name: &str, resource: &str, port: u16) -> Located<McpServer> {
        let object = serde_json::from_value(json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": name, "namespace": "acme"},
            "spec": {"resourceUri": resource, "port": port, "allowedClients": ["other/reader", "https://c.example/id"],
                "introspectionClients": ["other/reader"], "grants": [{"clients": ["other/reader", "https://c.example/id"], "scopes": ["r"]}]},
        }));
        Located { place: Place { file: format!("{name}.yaml"), line: 1 }, object: object.unwrap() }
    }

    fn client(name: &str) -> Located<McpClient> {
        let object = serde_json::from_value(json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient", "metadata": {"name": name, "namespace": "acme"},
            "spec": {"grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"}, "servers": ["acme/a", "b"]},
        }));
        Located { place: Place { file: format!("{name}.yaml"), line: 1 }, object: object.unwrap() }
    }

    fn planned(servers: Vec<Located<McpServer>>) -> Result<Plan, Vec<String>> {
        let told = |errors: Vec<ManifestError>| errors.iter().map(ToString::to_string).collect();
        plan(Manifests { servers, ..Manifests::default() }, PORTS, &BTreeMap::new()).map_err(told)
    }

    fn resources(plan: &Plan) -> Vec<&str> {
        plan.servers.iter().map(|server| server.object.spec.resource_uri.as_str()).collect()
    }

    #[test]
    fn each_server_gets_an_address() {
        let plan = planned(vec![
            server("a", "https://a.example/mcp", 8000),
            server("b", "http://127.0.0.1:16081/b", 8001),
            server("c", "http://c-mcp.acme.svc", 8002),
            server("d", "http://localhost:9000/mcp", 8003),
            server("e", "http://[::1]:9001/mcp", 8004),
            server("f", "https://localhost/mcp?x=1", 8005),
        ])
        .unwrap();
        let expected = [
            "http://127.0.0.1:16080/mcp",
            "http://127.0.0.1:16081/b",
            "http://127.0.0.1:16082/",
            "http://localhost:9000/mcp",
            "http://[::1]:9001/mcp",
            "http://127.0.0.1:16083/mcp",
        ];
        assert_eq!(resources(&plan), expected);
        let addresses: Vec<_> = plan.guarded.values().map(|guarded| guarded.address.to_string()).collect();
        assert_eq!(
            addresses,
            [
                "127.0.0.1:16080",
                "127.0.0.1:16081",
                "127.0.0.1:16082",
                "127.0.0.1:9000",
                "[::1]:9001",
                "127.0.0.1:16083"
            ]
        );
        for server in &plan.servers {
            assert_eq!(server.object.metadata.namespace.as_deref(), Some("default"));
            let spec = &server.object.spec;
            assert_eq!(spec.allowed_clients, ["reader", "https://c.example/id"]);
            assert_eq!(spec.grants[0].clients, ["reader", "https://c.example/id"]);
            assert_eq!(spec.introspection_clients, ["reader"]);
            assert!(ResourceUri::parse(&server.object.spec.resource_uri).is_ok());
        }
    }

    #[test]
    fn references_lose_their_namespace() {
        let manifests = Manifests { clients: vec![client("c")], ..Manifests::default() };
        let plan = plan(manifests, PORTS, &BTreeMap::new()).unwrap();
        assert_eq!(plan.clients[0].object.spec.servers, ["a", "b"]);
    }

    #[rstest]
    #[case("a", "https://b.example/mcp", 8001, "b.yaml:1: McpServer a is also at a.yaml:1")]
    #[case("b", "https://b.example/mcp", 8000, "McpServer b: spec.port 8000 is also that of McpServer a")]
    #[case("b", "https://b.example/mcp", 8080, "McpServer b: spec.port 8080 is also that of --listen")]
    #[case(
        "b",
        "http://127.0.0.1:16099/b",
        8001,
        "McpServer b: port 16099 of spec.resourceUri is taken by McpServer a"
    )]
    #[case("b", "http://127.0.0.1:8080/b", 8001, "McpServer b: port 8080 of spec.resourceUri is taken by --listen")]
    #[case("b", "http://127.0.0.1:8000/b", 8001, "McpServer b: port 8000 of spec.resourceUri is taken by McpServer a")]
    fn clashes_are_refused(#[case] name: &str, #[case] resource: &str, #[case] port: u16, #[case] told: &str) {
        let mut other = server(name, resource, port);
        other.place.file = "b.yaml".to_owned();
        let errors = planned(vec![server("a", "http://127.0.0.1:16099/a", 8000), other]).unwrap_err();
        assert!(errors.iter().any(|error| error.contains(told)), "{errors:?}");
    }

    #[test]
    fn a_server_that_no_port_is_left_for_is_refused() {
        let servers = [("a", 8000), ("b", 8001)]
            .map(|(name, port)| server(name, &format!("https://{name}.example/mcp"), port))
            .to_vec();
        let manifests = Manifests { servers, ..Manifests::default() };
        let ports = Ports { first: u16::MAX, ..PORTS };
        let errors = plan(manifests, ports, &BTreeMap::new()).unwrap_err();
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["b.yaml:1: McpServer b: no port from 65535 on is left for its sidecar: write a lower --sidecar-port"]
        );
    }

    #[test]
    fn clients_clash_too() {
        let manifests = Manifests { clients: vec![client("c"), client("c")], ..Manifests::default() };
        let errors = plan(manifests, PORTS, &BTreeMap::new()).unwrap_err();
        assert!(errors[0].to_string().contains("McpClient c is also at c.yaml:1"), "{errors:?}");
    }

    #[test]
    fn what_runs_keeps_its_address() {
        let first = planned(vec![server("b", "https://b.example/mcp", 8001)]).unwrap();
        let both = vec![server("a", "https://a.example/mcp", 8000), server("b", "https://b.example/mcp", 8001)];
        let manifests = Manifests { servers: both, ..Manifests::default() };
        let second = plan(manifests, PORTS, &first.guarded).unwrap();
        assert_eq!(resources(&second), ["http://127.0.0.1:16081/mcp", "http://127.0.0.1:16080/mcp"]);
        let changed =
            Manifests { servers: vec![server("b", "https://other.example/mcp", 8001)], ..Manifests::default() };
        let errors = plan(changed, PORTS, &second.guarded).unwrap_err();
        assert!(errors[0].to_string().contains("cannot be changed from https://b.example/mcp"), "{errors:?}");
    }

    #[test]
    fn a_server_on_stdio_is_an_entry_only() {
        let mut stdio = server("a", "https://a.example/mcp", 8000);
        stdio.object.spec.transport = Transport::Stdio;
        let plan = planned(vec![stdio, server("b", "https://b.example/mcp", 8000)]).unwrap();
        assert_eq!(resources(&plan), ["https://a.example/mcp", "http://127.0.0.1:16080/mcp"]);
    }
}
