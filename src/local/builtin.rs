//! The manifests of a run that is given none: the demo, and `--protect`.

use super::{
    Upstream,
    files::Source,
    manifest::{self, Manifests},
    plan::{self, Ports},
    world::ApplyError,
};
use crate::{api::v1alpha1::McpServer, demo};

/// The demo, with its MCP servers on these ports.
pub(super) fn demo(upstreams: &[u16], ports: Ports) -> Result<Manifests, ApplyError> {
    let mut manifests = parse("the demo", include_str!("demo.yaml"))?;
    let mut sidecars = ports.first..=u16::MAX;
    for (server, upstream) in manifests.servers.iter_mut().zip(upstreams) {
        let sidecar = sidecars.next().ok_or_else(|| ApplyError::Manifests(vec![plan::no_port(server, ports)]))?;
        place(&mut server.object, *upstream, demo::PATH, sidecar);
    }
    Ok(manifests)
}

/// One server, guarded at its own path on the first port of sidecars.
pub(super) fn protect(upstream: &Upstream, ports: Ports) -> Result<Manifests, ApplyError> {
    let mut manifests = parse("--protect", include_str!("protect.yaml"))?;
    for server in &mut manifests.servers {
        place(&mut server.object, upstream.port, &upstream.path, ports.first);
    }
    Ok(manifests)
}

fn parse(name: &str, text: &str) -> Result<Manifests, ApplyError> {
    let source = Source { file: name.to_owned(), text: text.to_owned() };
    manifest::parse(&[source]).map_err(ApplyError::Manifests)
}

fn place(server: &mut McpServer, upstream: u16, path: &str, sidecar: u16) {
    server.spec.resource_uri = format!("http://127.0.0.1:{sidecar}{path}");
    server.spec.port = i32::from(upstream);
    server.spec.path = Some(path.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { listen: 8080, first: 20000 };

    #[test]
    fn the_demo_is_valid() {
        let manifests = demo(&[30000, 30001], PORTS).unwrap();
        let seen: Vec<_> = manifests.servers.iter().map(|server| &server.object.spec).collect();
        let resources: Vec<_> = seen.iter().map(|spec| spec.resource_uri.as_str()).collect();
        assert_eq!(resources, ["http://127.0.0.1:20000/mcp", "http://127.0.0.1:20001/mcp"]);
        assert_eq!(seen.iter().map(|spec| spec.port).collect::<Vec<_>>(), [30000, 30001]);
        assert_eq!(manifests.clients.len(), 2);
    }

    #[test]
    fn the_demo_needs_a_port_for_each_server() {
        let last = |first| demo(&[30000, 30001], Ports { first, ..PORTS });
        assert!(last(u16::MAX - 1).is_ok());
        assert!(last(u16::MAX).unwrap_err().to_string().contains("--sidecar-port"));
    }

    #[test]
    fn protect_keeps_the_path() {
        let upstream: Upstream = "http://127.0.0.1:9000/tools/mcp".parse().unwrap();
        let manifests = protect(&upstream, PORTS).unwrap();
        let spec = &manifests.servers[0].object.spec;
        assert_eq!((spec.resource_uri.as_str(), spec.port), ("http://127.0.0.1:20000/tools/mcp", 9000));
    }
}
