//! The command line: what can be asked for, and the wiring of each command.

mod accounts;
mod client;
mod user;

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::names::{ADMIN_PORT, AUTHSERVER_PORT, WEBHOOK_PORT},
    authserver, crds, demo, local, operator,
    settings::LocalSettings,
    telemetry,
};

/// Authorizes calls to MCP servers, on Kubernetes and on your machine.
#[derive(Debug, Parser)]
#[command(name = "lumoauth", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    log: Log,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Log {
    /// What is logged: error, warn, info, debug, or a filter such as info,lumoauth=debug [default: info; local: decisions and warnings]
    #[arg(long, global = true, env = "LUMOAUTH_LOG", value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator of a cluster: reconcile McpServers and McpClients, inject sidecars, probe what they enforce
    #[command(after_help = OPERATOR_EXAMPLES)]
    Operator(OperatorArgs),
    /// Run the authorization server and registry of a cluster
    #[command(after_help = AUTHSERVER_EXAMPLES)]
    Authserver(AuthserverArgs),
    /// Run everything on this machine, without a cluster: authorization server, registry, and a sidecar per McpServer
    #[command(after_help = LOCAL_EXAMPLES)]
    Local(LocalArgs),
    /// Add, list and disable the people who may sign in
    User(user::UserArgs),
    /// List and disable the clients of an organization
    Client(client::ClientArgs),
    /// Run a small MCP server to be protected; it asks nobody who they are
    #[command(after_help = "Examples:\n  lumoauth demo-server --listen 127.0.0.1:8000\n\nIt answers at /mcp.")]
    DemoServer(DemoArgs),
    /// Print the CustomResourceDefinitions as YAML, or write a file for each
    #[command(
        after_help = "Examples:\n  lumoauth crds | kubectl apply --server-side -f -\n  lumoauth crds --dir crds/"
    )]
    Crds(CrdsArgs),
}

impl Command {
    /// What is logged unless something else is asked for.
    fn log_level(&self) -> &'static str {
        match self {
            // Between the lines that are printed, people want to see the decisions and nothing else.
            Self::Local(_) => "warn,audit=info",
            // What they did, they print; what they changed, they also log.
            Self::User(_) | Self::Client(_) => "warn,lumoauth::audit=info",
            _ => "info",
        }
    }
}

const LOCAL_EXAMPLES: &str = "Examples:
  lumoauth local                                        the demo, with a walk-through to paste
  lumoauth local --protect http://127.0.0.1:8000/mcp    guard a server that runs already
  lumoauth local --dir manifests/                       the YAML of a directory, as on a cluster

Everything listens on loopback. A resourceUri that is not on loopback is served as http://127.0.0.1:16080<path>,
the next as 16081, and so on. An edited manifest is enforced at once.";

const OPERATOR_EXAMPLES: &str = "Examples:
  lumoauth operator                                     in the pod of manifests/install.yaml
  lumoauth operator --config config.yaml --identity me  against the cluster of $KUBECONFIG";

const AUTHSERVER_EXAMPLES: &str = "Examples:
  lumoauth authserver                                   in the pod of manifests/install.yaml";

/// An address on every interface.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// Reads an address; whoever wrote a port alone is told the rest.
fn loopback_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.trim_start_matches(':').parse().unwrap_or(8080_u16);
        format!("it is not an address and a port: write 127.0.0.1:{port}")
    })
}

/// The name of this host, which in a pod is the pod's.
fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => anyhow::bail!("this host has no name: write --identity, a name that no other replica has"),
        name => Ok(name.to_owned()),
    }
}

#[derive(Debug, Args)]
struct ControlPlaneArgs {
    /// Settings: publicUrl, sidecarImage, imagePullPolicy, storage, limits, orgs
    #[arg(long, env = "LUMOAUTH_CONFIG", value_name = "FILE", default_value = "/etc/lumoauth/config.yaml")]
    config: PathBuf,
    /// Where /livez, /readyz and /metrics are
    #[arg(long, env = "LUMOAUTH_ADMIN", value_name = "ADDRESS", default_value_t = any(ADMIN_PORT))]
    admin: SocketAddr,
}

#[derive(Debug, Args)]
struct OperatorArgs {
    #[command(flatten)]
    common: ControlPlaneArgs,
    /// Who this replica is in the election: the pod's name [default: the host's name]
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
    /// Where the webhook listens, with TLS
    #[arg(long, env = "LUMOAUTH_WEBHOOK", value_name = "ADDRESS", default_value_t = any(WEBHOOK_PORT))]
    webhook: SocketAddr,
}

#[derive(Debug, Args)]
struct AuthserverArgs {
    #[command(flatten)]
    common: ControlPlaneArgs,
    /// Where it listens, with TLS
    #[arg(long, env = "LUMOAUTH_LISTEN", value_name = "ADDRESS", default_value_t = any(AUTHSERVER_PORT))]
    listen: SocketAddr,
    /// Directory with tls.crt and tls.key
    #[arg(long, env = "LUMOAUTH_TLS", value_name = "DIR", default_value = "/run/secrets/lumoauth/tls")]
    tls: PathBuf,
    /// Directory with keys.json, the keys that sign tokens
    #[arg(
        long,
        env = "LUMOAUTH_SIGNING_KEYS",
        value_name = "DIR",
        default_value = "/run/secrets/lumoauth/signing-keys"
    )]
    signing_keys: PathBuf,
}

#[derive(Debug, Args)]
struct LocalArgs {
    /// Guard the MCP server that runs at this URL
    #[arg(long, env = "LUMOAUTH_LOCAL_PROTECT", value_name = "URL", conflicts_with = "dir")]
    protect: Option<local::Upstream>,
    /// Run the McpServers and McpClients in the YAML files of this directory, and follow their changes
    #[arg(long, env = "LUMOAUTH_LOCAL_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where authorization server and registry listen
    #[arg(long, env = "LUMOAUTH_LOCAL_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = loopback_address)]
    listen: SocketAddr,
    /// Where signing keys and client credentials are kept
    #[arg(long, env = "LUMOAUTH_LOCAL_DATA", value_name = "DIR", default_value = "./.lumoauth")]
    data: PathBuf,
    /// Settings that differ from the defaults: the members limits and orgs.default of a cluster's config.yaml
    #[arg(long, env = "LUMOAUTH_LOCAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The first port of sidecars
    #[arg(long, env = "LUMOAUTH_LOCAL_SIDECAR_PORT", value_name = "PORT", default_value_t = local::Options::SIDECAR_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    sidecar_port: u16,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Where it listens
    #[arg(long, env = "LUMOAUTH_DEMO_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = loopback_address)]
    listen: SocketAddr,
}

#[derive(Debug, Args)]
struct CrdsArgs {
    /// Write <group>_<plural>.yaml files into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command line. Exit code 0: done; 1: it failed; 2 (by clap): it was not understood.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = cli.log.log_level.as_deref().unwrap_or(cli.command.log_level());
    let done = telemetry::init(level).map_err(anyhow::Error::from).and_then(|()| run(cli.command));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is where this goes; if it is closed, the exit code still speaks.
            let _ = writeln!(std::io::stderr(), "lumoauth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Operator(arguments) => serve(|shutdown| run_operator(arguments, shutdown)),
        Command::Authserver(arguments) => serve(|shutdown| run_authserver(arguments, shutdown)),
        Command::Local(arguments) => serve(|shutdown| run_local(arguments, shutdown)),
        Command::User(arguments) => finish(user::run(arguments)),
        Command::Client(arguments) => finish(client::run(arguments)),
        Command::DemoServer(arguments) => serve(|shutdown| run_demo(arguments, shutdown)),
        Command::Crds(CrdsArgs { dir: None }) => Ok(std::io::stdout().write_all(crds::stream()?.as_bytes())?),
        Command::Crds(CrdsArgs { dir: Some(dir) }) => {
            for name in crds::write(&dir)? {
                writeln!(std::io::stdout(), "{}", dir.join(name).display())?;
            }
            Ok(())
        }
    }
}

async fn run_operator(arguments: OperatorArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let OperatorArgs { common: ControlPlaneArgs { config, admin }, identity, webhook } = arguments;
    let identity = identity.map_or_else(host_name, Ok)?;
    operator::run(operator::Options { config, identity, webhook, admin }, shutdown).await
}

async fn run_authserver(arguments: AuthserverArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let AuthserverArgs { common: ControlPlaneArgs { config, admin }, listen, tls, signing_keys } = arguments;
    let options = authserver::Options { listen, admin, settings: config, tls, keys: signing_keys };
    authserver::run(options, shutdown).await
}

async fn run_local(arguments: LocalArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let LocalArgs { protect, dir, listen, data, config, sidecar_port } = arguments;
    let settings = config.map_or_else(|| Ok(LocalSettings::default()), |path| LocalSettings::load(&path))?;
    let manifest = match (protect, dir) {
        (Some(upstream), _) => local::Manifest::Protect(upstream),
        (None, Some(directory)) => local::Manifest::Directory(directory),
        (None, None) => local::Manifest::Demo,
    };
    Ok(local::run(local::Options { manifest, listen, data, settings, sidecar_port }, shutdown).await?)
}

async fn run_demo(DemoArgs { listen }: DemoArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let cannot_bind = |error| local::LocalError::Bind { address: listen, error };
    let listener = TcpListener::bind(listen).await.map_err(cannot_bind)?;
    tracing::info!(address = %listener.local_addr()?, path = demo::PATH, "demo server listens");
    Ok(demo::serve(listener, shutdown).await?)
}

/// Runs a command that ends by itself. A signal ends it as it ends any program.
fn finish(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(command)
}

/// Runs a server until it ends, or until SIGTERM or SIGINT asks it to.
fn serve<F>(server: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let asked = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            asked.cancel();
        });
        server(shutdown).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use rstest::rstest;

    #[rstest]
    #[case("127.0.0.1:18081", Ok("127.0.0.1:18081"))]
    #[case("[::1]:1", Ok("[::1]:1"))]
    #[case("18081", Err("write 127.0.0.1:18081"))]
    #[case(":18081", Err("write 127.0.0.1:18081"))]
    #[case("localhost:18081", Err("write 127.0.0.1:8080"))]
    #[case("65536", Err("write 127.0.0.1:8080"))]
    #[case("", Err("write 127.0.0.1:8080"))]
    fn addresses_have_a_host(#[case] text: &str, #[case] expected: Result<&str, &str>) {
        match (loopback_address(text), expected) {
            (Ok(address), Ok(expected)) => assert_eq!(address.to_string(), expected),
            (Err(told), Err(expected)) => assert!(told.ends_with(expected), "{told}"),
            (seen, _) => panic!("{seen:?}"),
        }
    }

    #[test]
    fn an_operator_outside_a_pod_is_called_as_its_host() {
        assert!(!host_name().unwrap().is_empty());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Every command below `command` that does something, with how it is called.
    fn leaves(command: &clap::Command, called: &str) -> Vec<(String, clap::Command)> {
        let called = format!("{called}{}", command.get_name());
        let mut below = command.get_subcommands().filter(|command| command.get_name() != "help").peekable();
        if below.peek().is_none() {
            return vec![(called, command.clone())];
        }
        below.flat_map(|command| leaves(command, &format!("{called} "))).collect()
    }

    /// The help wraps what is longer than its lines: a wrapped command cannot be pasted.
    #[test]
    fn every_command_has_examples_to_paste() {
        let mut command = Cli::command();
        command.build();
        let leaves = leaves(&command, "");
        assert!(leaves.len() >= 14, "{}", leaves.len());
        for (called, mut command) in leaves {
            let written = command.get_after_help().unwrap_or_else(|| panic!("{called}: no examples")).to_string();
            let shown = command.render_help().to_string();
            assert!(written.starts_with("Examples:\n  ") && written.contains(&called), "{called}: {written}");
            for line in written.lines().filter(|line| line.starts_with("  ")) {
                assert!(shown.lines().any(|shown| shown == line), "{called}: {line}");
            }
        }
    }
}
