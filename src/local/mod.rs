//! The whole system in one process, from files: the authorization server, the registry, and a sidecar per McpServer.
//!
//! `files` and `manifest` read what `kubectl apply` would take, `plan` fits it to one machine, `world` runs it, and
//! `guide` says how to use it.

mod builtin;
mod data;
mod files;
mod guide;
mod manifest;
mod people;
mod plan;
mod schema;
mod world;

use std::{
    io,
    io::{IsTerminal as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use lumoauth_core::{IssuerUrl, ResourceUri, uri::UriError};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use self::{
    data::Data,
    files::{FilesError, Source, Watch},
    guide::{Scene, Step, Style},
    manifest::Manifests,
    plan::Ports,
    world::{ApplyError, World},
};
use crate::{
    api::names::SIDECAR_PORT,
    authserver::{self, Authority, Clock as _, SystemClock, people::Password, store::Store},
    demo,
    registry::OrgId,
    settings::{LocalSettings, Settings, Storage},
};

/// How often keys that are due are exchanged.
const KEYS_PERIOD: Duration = Duration::from_hours(1);

/// What to run.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// The demo.
    Demo,
    /// One server that runs already.
    Protect(Upstream),
    /// The McpServers and McpClients of a directory, which is watched.
    Directory(PathBuf),
}

/// An MCP server on this machine, as `--protect` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    port: u16,
    path: String,
}

impl FromStr for Upstream {
    type Err = String;

    /// Parses `http://127.0.0.1:<port><path>`, with an explanation for the one who wrote something else.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write it as http://127.0.0.1:8000/mcp";
        let resource = ResourceUri::parse(text).map_err(|error| match error {
            // The form that a cluster's URL has is not the one that is wanted here.
            UriError::NotAbsolute | UriError::NotHttps => {
                format!("it is not the URL of a server on this machine: {form}")
            }
            other => format!("it {other}: {form}"),
        })?;
        let address = plan::loopback(text).filter(|address| address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST));
        let address = address.ok_or_else(|| {
            format!("a sidecar guards a server on its own machine, at 127.0.0.1 and without TLS: {form}")
        })?;
        if resource.canonical().contains('?') {
            return Err(format!("it has a query: {form}"));
        }
        Ok(Self { port: address.port(), path: resource.path().to_owned() })
    }
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What.
    pub manifest: Manifest,
    /// Where authorization server and registry listen; loopback.
    pub listen: SocketAddr,
    /// Where keys and credentials are kept.
    pub data: PathBuf,
    /// What is different from the defaults.
    pub settings: LocalSettings,
    /// The first port of sidecars, [`SIDECAR_PORT`] by default.
    pub sidecar_port: u16,
}

impl Options {
    /// The default of `sidecar_port`.
    pub const SIDECAR_PORT: u16 = SIDECAR_PORT;
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// `--listen` is no loopback address.
    #[error("--listen {0}: local speaks plain HTTP and so listens on loopback only: write 127.0.0.1:{port}", port = .0.port())]
    NotLoopback(SocketAddr),
    /// `--listen` is not to be had.
    #[error("--listen {address} {}: stop what listens there, or write another port", world::in_use(.error))]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The manifests, their addresses or the data directory cannot be used. The text names file, field and fix.
    #[error(transparent)]
    Unusable(Box<dyn std::error::Error + Send + Sync>),
    /// The authorization server ended before it was asked to.
    #[error("the authorization server ended: its log says why")]
    Ended,
}

impl LocalError {
    fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unusable(Box::new(error))
    }
}

/// The organization of everything in a run.
pub const ORG: &str = plan::NAMESPACE;

/// Where a run with this data directory keeps its users, grants and tokens.
pub fn database(data: &Path) -> PathBuf {
    data.join(data::DATABASE)
}

/// Runs everything until `shutdown`.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), LocalError> {
    // Whatever ends this function ends all that it started.
    let shutdown = shutdown.child_token();
    let _ends = shutdown.clone().drop_guard();
    let Options { manifest, listen, data, settings, sidecar_port } = options;
    if !listen.ip().is_loopback() {
        return Err(LocalError::NotLoopback(listen));
    }
    let cannot_bind = |error| LocalError::Bind { address: listen, error };
    let listener = TcpListener::bind(listen).await.map_err(cannot_bind)?;
    let address = listener.local_addr().map_err(cannot_bind)?;
    let ports = Ports { listen: address.port(), first: sidecar_port };

    let (manifests, mut watch) = match &manifest {
        Manifest::Demo => (builtin::demo(&start_demos(&shutdown).await?, ports).map_err(LocalError::unusable)?, None),
        Manifest::Protect(upstream) => (builtin::protect(upstream, ports).map_err(LocalError::unusable)?, None),
        Manifest::Directory(directory) => {
            let sources = files::read(directory).map_err(LocalError::unusable)?;
            let manifests = parse(&sources).map_err(LocalError::unusable)?;
            (manifests, Some(Watch::new(directory.clone(), sources)))
        }
    };
    let skipped = manifests.skipped.clone();
    let data = Data::open(&data).map_err(LocalError::unusable)?;
    let settings = settings.on(public_url(address)?);
    let authority = authority(&settings, &data)?;
    let mut world = World::new(ports, data.clone(), authority.issuing.clone(), shutdown.clone());
    world.apply(manifests).await.map_err(LocalError::unusable)?;
    let authority = watch::Sender::new(Some(Arc::new(authority)));
    let storage = Storage::Sqlite { path: data.database() };
    let metrics = authserver::Metrics::default();
    let store = Store::open(&storage, metrics.store_errors()).await.map_err(LocalError::unusable)?;
    let org = OrgId::parse(ORG).ok_or(LocalError::Ended)?;
    let password = people::first_user(&store, &org, SystemClock.now()).await.map_err(LocalError::unusable)?;
    let upkeep = tokio::spawn(authserver::upkeep(store.clone(), Arc::new(SystemClock), shutdown.clone()));
    let state = authserver::State {
        snapshot: world.snapshots(),
        authority: authority.subscribe(),
        settings: watch::Sender::new(Arc::new(settings.clone())).subscribe(),
        clients: authserver::Clients::default(),
        people: authserver::People::new(Arc::new(SystemClock)),
        store,
        disabled: authserver::DisabledClients::default(),
        statuses: authserver::Statuses::default(),
        clock: Arc::new(SystemClock),
        metrics,
    };
    tokio::spawn(authserver::warn_of_unsafe_settings(state.settings.clone(), shutdown.clone()));
    let following = tokio::spawn(authserver::follow_clients(state.clone(), shutdown.clone()));
    let mut authorization_server = serve(listener, state, &shutdown);

    let style = if io::stdout().is_terminal() { Style::Terminal } else { Style::Plain };
    say(&introduction(&manifest, &world, &data, &skipped, password.as_ref(), style));
    let mut renewal = time::interval_at(time::Instant::now() + KEYS_PERIOD, KEYS_PERIOD);
    loop {
        tokio::select! {
            // In this order: at the shutdown the authorization server ends too, and that is as it should be.
            biased;
            () = shutdown.cancelled() => break,
            _ = &mut authorization_server => return Err(LocalError::Ended),
            sources = changed(watch.as_mut()) => reload(&mut world, sources, style).await,
            _ = renewal.tick() => renew(&mut world, &settings, &authority, &data).await,
        }
    }
    world.drained().await;
    // It has nothing left but to end.
    let _ = tokio::join!(authorization_server, upkeep, following);
    Ok(())
}

fn parse(sources: &[Source]) -> Result<Manifests, ApplyError> {
    manifest::parse(sources).map_err(ApplyError::Manifests)
}

/// Starts the MCP servers of the demo on ports that are free, and gives the ports.
async fn start_demos(shutdown: &CancellationToken) -> Result<[u16; 2], LocalError> {
    let mut ports = [0; 2];
    for port in &mut ports {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |error| LocalError::Bind { address: any, error };
        let listener = TcpListener::bind(any).await.map_err(failed)?;
        *port = listener.local_addr().map_err(failed)?.port();
        tokio::spawn(demo::serve(listener, shutdown.clone()));
    }
    Ok(ports)
}

fn public_url(address: SocketAddr) -> Result<IssuerUrl, LocalError> {
    IssuerUrl::parse(&format!("http://{address}")).map_err(|_| LocalError::NotLoopback(address))
}

/// The authorization server's address and the keys that are due now.
fn authority(settings: &Settings, data: &Data) -> Result<Authority, LocalError> {
    let keys = data.keys(SystemClock.now()).map_err(LocalError::unusable)?;
    let mut authority = Authority::new(settings.public_url.clone(), keys);
    authority.issuing.status_max_age = settings.limits.status_max_age_seconds();
    Ok(authority)
}

/// Starts the authorization server.
fn serve(listener: TcpListener, state: authserver::State, shutdown: &CancellationToken) -> JoinHandle<()> {
    let metrics = state.metrics.clone();
    tokio::spawn(authserver::serve(listener, authserver::router(state), None, metrics, shutdown.clone()))
}

/// The next change of a watched directory; never, where none is watched.
async fn changed(watch: Option<&mut Watch>) -> Result<Vec<Source>, FilesError> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Takes over edited manifests. While they cannot be read or run, everything is denied.
async fn reload(world: &mut World, sources: Result<Vec<Source>, FilesError>, style: Style) {
    let applied = match sources.map_err(ApplyError::from).and_then(|sources| parse(&sources)) {
        Ok(manifests) => world.apply(manifests).await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(()) => say(&style.bold("Changed: the new manifests are enforced.")),
        Err(error) => {
            say(&format!("{}\n{error}", style.bold("Every call is denied until this is mended:")));
            if let Err(error) = world.deny_all(&error.to_string()).await {
                tracing::error!(%error, "not everything could be denied");
            }
        }
    }
}

/// Exchanges the signing keys that are due, at the authorization server and at every sidecar.
async fn renew(world: &mut World, settings: &Settings, authority: &watch::Sender<Option<Arc<Authority>>>, data: &Data) {
    let renewed = match self::authority(settings, data) {
        // The sidecars first: a key is known before it signs.
        Ok(new) => world.set_issuing(new.issuing.clone()).await.map_err(LocalError::unusable).map(|()| new),
        Err(error) => Err(error),
    };
    match renewed {
        Ok(new) => drop(authority.send_replace(Some(Arc::new(new)))),
        Err(error) => tracing::error!(%error, "the signing keys cannot be renewed and stay"),
    }
}

/// What people read first.
fn introduction(
    manifest: &Manifest,
    world: &World,
    data: &Data,
    skipped: &[String],
    password: Option<&Password>,
    style: Style,
) -> String {
    let issuer = world.issuer();
    let metadata = format!("{}/.well-known/oauth-authorization-server{}", issuer.origin(), issuer.path());
    let credentials = data.credentials_directory();
    let summary = guide::Summary {
        issuer: &issuer,
        credentials: &credentials,
        data: data.directory(),
        password,
        clients: world.clients(),
        servers: world.guarded(),
        skipped,
    };
    let guarded = world.guarded().into_iter();
    let resources: Vec<_> = guarded.filter_map(|(_, guarded)| ResourceUri::parse(&guarded.resource).ok()).collect();
    let steps: Vec<Step> = match (manifest, resources.as_slice()) {
        (Manifest::Demo, [resource, other, ..]) => Scene::new(resource, &metadata, &credentials).demo(other),
        (Manifest::Protect(_), [resource, ..]) => Scene::new(resource, &metadata, &credentials).protect(),
        (Manifest::Directory(_), [resource, ..]) => Scene::new(resource, &metadata, &credentials).discover(),
        _ => Vec::new(),
    };
    format!("{}{}", summary.text(style), guide::walk_through(&steps, style))
}

/// Prints a text. That nobody reads it is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://127.0.0.1:8000/mcp", 8000, "/mcp")]
    #[case("http://localhost:9/", 9, "/")]
    #[case("http://127.0.0.1", 80, "/")]
    fn servers_that_can_be_protected(#[case] text: &str, #[case] port: u16, #[case] path: &str) {
        assert_eq!(text.parse(), Ok(Upstream { port, path: path.to_owned() }));
    }

    #[rstest]
    #[case("")]
    #[case("8000")]
    #[case("127.0.0.1:8000/mcp")]
    #[case("https://127.0.0.1:8000/mcp")]
    #[case("http://[::1]:8000/mcp")]
    #[case("http://127.0.0.2:8000/mcp")]
    #[case("http://mcp.example.com/mcp")]
    #[case("http://u@127.0.0.1:8000/mcp")]
    #[case("http://127.0.0.1:8000/mcp?x")]
    #[case("http://127.0.0.1:8000/mcp#x")]
    #[case("http://127.0.0.1:8000/a/../mcp")]
    fn others_are_explained(#[case] text: &str) {
        let told = text.parse::<Upstream>().unwrap_err();
        assert!(told.ends_with("write it as http://127.0.0.1:8000/mcp"), "{told}");
        assert!(!told.contains("https"), "one hint: {told}");
    }
}
