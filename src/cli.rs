//! The command line: what can be asked for, and the wiring of each command.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{crds, demo, telemetry};

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
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,lumoauth=debug [default: info]
    #[arg(long, global = true, env = "LUMOAUTH_LOG", value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a small MCP server to be protected; it asks nobody who they are
    #[command(after_help = "Examples:\n  lumoauth demo-server --listen 127.0.0.1:8000\n\nIt answers at /mcp.")]
    DemoServer(DemoArgs),
    /// Print the CustomResourceDefinitions as YAML, or write a file for each
    #[command(
        after_help = "Examples:\n  lumoauth crds | kubectl apply --server-side -f -\n  lumoauth crds --dir crds/"
    )]
    Crds(CrdsArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Where it listens
    #[arg(long, env = "LUMOAUTH_DEMO_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
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
    let level = cli.log.log_level.as_deref().unwrap_or("info");
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

async fn run_demo(DemoArgs { listen }: DemoArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen} cannot be bound"))?;
    tracing::info!(address = %listener.local_addr()?, path = demo::PATH, "demo server listens");
    Ok(demo::serve(listener, shutdown).await?)
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

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
