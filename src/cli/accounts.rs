//! What `lumoauth user` and `lumoauth client` share: which storage, which organization, and how lists are written.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
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
pub(super) struct AccountsArgs {
    /// Organization [default, with --data: default]
    #[arg(long, env = "LUMOAUTH_ORG", value_name = "ORG", value_parser = org, required_unless_present = "data")]
    org: Option<OrgId>,
    /// Settings of the authorization server: their storage is used
    #[arg(long, env = "LUMOAUTH_CONFIG", value_name = "FILE", default_value = "/etc/lumoauth/config.yaml")]
    config: PathBuf,
    /// Data directory of `lumoauth local`, to be used instead
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,
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
        let AccountsArgs { org, config, data } = arguments;
        let storage = match data {
            None => Settings::load(&config).context("write --config FILE or --data DIR")?.storage,
            Some(directory) => {
                if let Some(org) = org.as_ref().filter(|org| org.as_str() != local::ORG) {
                    anyhow::bail!("--org {org}: lumoauth local has one organization, {}: leave --org out", local::ORG);
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

/// How a list is written.
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
