//! The command line: what can be asked for, and the wiring of each command.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{crds, telemetry};

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
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,lumoauth=debug
    #[arg(long, global = true, env = "LUMOAUTH_LOG", default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions as YAML, or write a file for each
    #[command(
        after_help = "Examples:\n  lumoauth crds | kubectl apply --server-side -f -\n  lumoauth crds --dir crds/"
    )]
    Crds(CrdsArgs),
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
    let done = telemetry::init(&cli.log.log_level).map_err(anyhow::Error::from).and_then(|()| run(cli.command));
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
        Command::Crds(CrdsArgs { dir: None }) => Ok(std::io::stdout().write_all(crds::stream()?.as_bytes())?),
        Command::Crds(CrdsArgs { dir: Some(dir) }) => {
            for name in crds::write(&dir)? {
                writeln!(std::io::stdout(), "{}", dir.join(name).display())?;
            }
            Ok(())
        }
    }
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
