//! `lumoauth-sidecar`: arguments, logging, signals; everything else is the library.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use lumoauth_sidecar::{ConfigHandle, Limits, Options, Sidecar};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

/// glibc's allocator never gives memory back after a burst of streams; jemalloc does.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

/// Checks every call to an MCP server: LumoAuth's sidecar.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file; read again whenever its content changes
    #[arg(long, env = "LUMOAUTH_SIDECAR_CONFIG", default_value = "/etc/lumoauth/config.json")]
    config: PathBuf,
    /// Where calls arrive
    #[arg(long, env = "LUMOAUTH_SIDECAR_LISTEN", default_value = "0.0.0.0:16080")]
    listen: SocketAddr,
    /// Where /livez, /readyz, /metrics and /config are served
    #[arg(long, env = "LUMOAUTH_SIDECAR_ADMIN", default_value = "0.0.0.0:16081")]
    admin: SocketAddr,
    /// How long requests in flight may take to finish at shutdown
    #[arg(long, env = "LUMOAUTH_SIDECAR_DRAIN_SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(0..=3600))]
    drain_seconds: u64,
    /// Connections served at a time
    #[arg(long, env = "LUMOAUTH_SIDECAR_MAX_CONNECTIONS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// Worker threads; by default one per CPU, at most 4
    #[arg(long, env = "LUMOAUTH_SIDECAR_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lumoauth-sidecar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let workers = arguments
        .workers
        .map_or_else(|| std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(4)), usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (filter, level) = reload::Layer::new(filter("info"));
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false))
        .init();
    let listener = bind("--listen", arguments.listen).await?;
    let admin = bind("--admin", arguments.admin).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %listener.local_addr()?,
        admin = %admin.local_addr()?,
        "listening"
    );
    let drain = Duration::from_secs(arguments.drain_seconds);
    let max_connections = usize::try_from(arguments.max_connections).context("--max-connections")?;
    let limits = Limits { drain, max_connections, ..Limits::default() };
    let sidecar = Sidecar::new(Options { limits, ..Options::default() });
    let shutdown = CancellationToken::new();
    tokio::spawn(follow_log_level(sidecar.config(), level));
    let config = sidecar.config();
    let following = shutdown.clone();
    tokio::spawn(async move { config.follow(arguments.config, following).await });
    // The admin port answers during the drain, and ends with the process.
    tokio::spawn(sidecar.serve_admin(admin, CancellationToken::new()));
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    sidecar.serve(listener, shutdown).await;
    Ok(())
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address} cannot be bound"))
}

/// Our own log at `level`; audit lines always.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("audit=info,lumoauth_sidecar={level}"))
}

async fn follow_log_level(config: ConfigHandle, handle: reload::Handle<EnvFilter, Registry>) {
    let mut changes = config.changes();
    let mut current = None;
    loop {
        let wanted = config.log_level();
        if wanted != current {
            current = wanted;
            if let Err(error) = handle.reload(filter(wanted.unwrap_or_default().as_str())) {
                tracing::warn!(%error, "log level cannot be changed");
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn cancel_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    shutdown.cancel();
}
