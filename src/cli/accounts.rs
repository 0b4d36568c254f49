//! What `lumoauth user` and `lumoauth client` share: which storage, which organization, and how lists are written.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, ValueEnum, error::ErrorKind, parser::ValueSource};
use jiff::Timestamp;
use lumoauth_core::UnixTime;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use crate::{
    authserver::{Clock as _, SystemClock, store::Store},
    local,
    registry::OrgId,
    settings::{Settings, Storage},
};

#[derive(Debug, Args)]
struct Flags {
    /// Organization [default, with --data: default]
    #[arg(long, env = "LUMOAUTH_ORG", value_name = "ORG", value_parser = org, required_unless_present = "data")]
    org: Option<OrgId>,
    /// Settings of the authorization server: their storage is used
    #[arg(long, env = "LUMOAUTH_CONFIG", value_name = "FILE", default_value = "/etc/lumoauth/config.yaml")]
    config: PathBuf,
    /// Data directory of `lumoauth local`, to be used instead
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Which storage and which organization. What is written on the command line wins over the environment, which an image
/// or a profile may have set for other commands.
#[derive(Debug)]
pub(super) struct AccountsArgs {
    flags: Flags,
    /// What named the organization, if it was named.
    org_by: &'static str,
}

impl Args for AccountsArgs {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}

impl FromArgMatches for AccountsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let is_written = |flag: &str| matches.value_source(flag) == Some(ValueSource::CommandLine);
        // To clap, a flag whose variable is set was given: it would blame somebody who wrote --data alone for --config.
        if is_written("data") && is_written("config") {
            let told = "the argument '--data <DIR>' cannot be used with '--config <FILE>'\n";
            return Err(Error::raw(ErrorKind::ArgumentConflict, told));
        }
        let org_by = if is_written("org") { "--org " } else { "LUMOAUTH_ORG=" };
        Ok(Self { flags: Flags::from_arg_matches(matches)?, org_by })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn org(text: &str) -> Result<OrgId, String> {
    OrgId::parse(text).ok_or_else(|| "an organization is a DNS label, such as acme".to_owned())
}

/// The storage of an authorization server, opened beside it.
pub(super) struct Accounts {
    pub(super) org: OrgId,
    pub(super) store: Store,
    pub(super) now: UnixTime,
}

impl Accounts {
    pub(super) async fn open(arguments: AccountsArgs) -> anyhow::Result<Self> {
        let AccountsArgs { flags: Flags { org, config, data }, org_by } = arguments;
        let storage = match data {
            None => Settings::load(&config).context("write --config FILE or --data DIR")?.storage,
            Some(directory) => {
                if let Some(org) = org.as_ref().filter(|org| org.as_str() != local::ORG) {
                    let one = local::ORG;
                    anyhow::bail!("{org_by}{org}: lumoauth local has one organization, {one}: write --org {one}");
                }
                let path = local::database(&directory);
                // Made by mistake in the wrong directory, a database would look like one without users.
                anyhow::ensure!(
                    path.exists(),
                    "--data {}: there is no lumoauth.db: run lumoauth local with this directory once",
                    directory.display()
                );
                Storage::Sqlite { path }
            }
        };
        let org = org.or_else(|| OrgId::parse(local::ORG)).context("--org ORG is missing")?;
        let store = Store::open(&storage, Counter::default()).await?;
        Ok(Self { org, store, now: SystemClock.now() })
    }
}

/// How a list is written: for programs, or as a table with more columns.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Output {
    Json,
    Yaml,
    Wide,
}

/// Writes a list: as a table with these columns, or for programs.
pub(super) fn print<T: Serialize, const N: usize>(
    rows: &[T],
    output: Option<Output>,
    header: [&str; N],
    cells: impl Fn(&T) -> [String; N],
) -> anyhow::Result<()> {
    let text = match output {
        Some(Output::Json) => serde_json::to_string_pretty(rows)? + "\n",
        Some(Output::Yaml) => serde_yaml::to_string(rows)?,
        None | Some(Output::Wide) => table(header, rows.iter().map(cells).collect()),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Columns as kubectl writes them: as wide as needed, and three spaces.
fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let lines: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for (width, column) in widths.iter_mut().zip(0..) {
        *width = lines
            .iter()
            .filter_map(|line| line.get::<usize>(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0);
    }
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += padded.join("   ").trim_end();
        text.push('\n');
    }
    text
}

/// A time as RFC 3339.
pub(super) fn rfc3339(time: UnixTime) -> String {
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Reads a command line where the environment has a configuration, and the organization that `cargo` sets.
    fn read(arguments: &[&str]) -> Result<AccountsArgs, Error> {
        let command = AccountsArgs::augment_args(Command::new("lumoauth"));
        let command = command.mut_arg("config", |config| config.env("CARGO_MANIFEST_DIR"));
        let command = command.mut_arg("org", |org| org.env("CARGO_PKG_NAME"));
        let matches = command.try_get_matches_from([&["lumoauth"], arguments].concat())?;
        AccountsArgs::from_arg_matches(&matches)
    }

    #[rstest]
    #[case(&[])]
    #[case(&["--data", "d"])]
    #[case(&["--config", "c"])]
    fn the_environment_is_in_nobodys_way(#[case] arguments: &[&str]) {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the environment has a configuration");
        let flags = read(arguments).unwrap().flags;
        assert_eq!(flags.data.is_some(), arguments.contains(&"--data"));
        assert_eq!(flags.config.to_str() == Some("c"), arguments.contains(&"--config"));
    }

    #[test]
    fn two_storages_are_none() {
        let error = read(&["--data", "d", "--config", "c"]).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::ArgumentConflict, 2));
        assert!(error.to_string().contains("cannot be used with"), "{error}");
    }

    #[rstest]
    #[case(&["--data", "d"], "LUMOAUTH_ORG=lumoauth: ")]
    #[case(&["--data", "d", "--org", "acme"], "--org acme: ")]
    #[tokio::test]
    async fn an_organization_that_local_has_not(#[case] arguments: &[&str], #[case] blamed: &str) {
        let error = Accounts::open(read(arguments).unwrap()).await.err().unwrap().to_string();
        assert!(error.starts_with(blamed) && error.ends_with("write --org default"), "{error}");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = vec![["a".to_owned(), "<none>".to_owned()], ["alice@acme".to_owned(), "é".to_owned()]];
        assert_eq!(table(["NAME", "GROUPS"], rows), "NAME         GROUPS\na            <none>\nalice@acme   é\n");
        assert_eq!(table(["NAME"], Vec::new()), "NAME\n");
    }

    #[test]
    fn times() {
        assert_eq!(rfc3339(UnixTime(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(UnixTime(u64::MAX)), "");
    }
}
