//! `lumoauth client`.

use std::{collections::BTreeMap, io::Write as _};

use clap::{Args, Subcommand};
use lumoauth_core::ClientId;
use serde::Serialize;

use super::accounts::{Accounts, AccountsArgs, Output, print};

const EXAMPLES: &str = "Examples:
  lumoauth client list --org acme
  lumoauth client disable https://app.example/client.json --org acme
  kubectl exec -n lumoauth-system deploy/lumoauth-authserver -- lumoauth client list --org acme";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// List the clients that registered themselves, hold access, or are disabled; McpClients are listed by kubectl
    List {
        #[command(flatten)]
        accounts: AccountsArgs,
        /// How
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Disable a client of any kind: it gets nothing more, and every token it holds is refused within seconds
    Disable {
        /// client_id: mcpc_..., dcr_... or the URL of its document
        #[arg(value_parser = client)]
        id: ClientId,
        #[command(flatten)]
        accounts: AccountsArgs,
    },
    /// Enable a client again; what it held stays revoked
    Enable {
        /// client_id
        #[arg(value_parser = client)]
        id: ClientId,
        #[command(flatten)]
        accounts: AccountsArgs,
    },
}

fn client(text: &str) -> Result<ClientId, String> {
    ClientId::parse(text).map_err(|error| error.to_string())
}

/// A client as it is listed.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    kind: &'static str,
    holds_access: bool,
    disabled: bool,
}

pub(super) async fn run(ClientArgs { command }: ClientArgs) -> anyhow::Result<()> {
    match command {
        ClientCommand::List { accounts, output } => list(&Accounts::open(accounts).await?, output).await,
        ClientCommand::Disable { id, accounts } => set_disabled(&id, accounts, true).await,
        ClientCommand::Enable { id, accounts } => set_disabled(&id, accounts, false).await,
    }
}

async fn set_disabled(id: &ClientId, accounts: AccountsArgs, disabled: bool) -> anyhow::Result<()> {
    let accounts = Accounts::open(accounts).await?;
    let known = is_known(&accounts, id).await?;
    let Accounts { org, store, now } = accounts;
    store.set_client_disabled(&org, id, disabled, now).await?;
    let what = if disabled { "disabled" } else { "enabled" };
    tracing::info!(target: "lumoauth::audit", event = "client", outcome = what, %org, client = %id);
    writeln!(std::io::stdout(), "client {id} of organization {org} {what}")?;
    if !known {
        // McpClients and documents that have asked for nothing yet are not in the store: it may be right all the same.
        let hint = "lumoauth client list and kubectl get mcpclients tell the client_ids there are";
        writeln!(std::io::stderr(), "warning: {id} has not registered, holds nothing and was not disabled: {hint}")?;
    }
    Ok(())
}

/// Whether the store has heard of a client: it registered itself, holds access, or is disabled.
async fn is_known(Accounts { org, store, now }: &Accounts, id: &ClientId) -> anyhow::Result<bool> {
    Ok(store.is_client_disabled(org, id).await?
        || store.registration(org, id, *now).await?.is_some()
        || store.clients_holding(org).await?.contains(id))
}

async fn list(Accounts { org, store, now }: &Accounts, output: Option<Output>) -> anyhow::Result<()> {
    let mut rows: BTreeMap<ClientId, Row> = BTreeMap::new();
    for registration in store.registrations(org, *now).await? {
        rows.entry(registration.id).or_default();
    }
    for id in store.clients_holding(org).await? {
        rows.entry(id).or_default().holds_access = true;
    }
    for (of, id) in store.disabled_clients().await? {
        if of == *org {
            rows.entry(id).or_default().disabled = true;
        }
    }
    let rows: Vec<Row> = rows.into_iter().map(|(id, row)| Row { kind: kind(&id), id: id.to_string(), ..row }).collect();
    print(&rows, output, ["CLIENT ID", "KIND", "HOLDS ACCESS", "DISABLED"], |row| {
        [row.id.clone(), row.kind.to_owned(), row.holds_access.to_string(), row.disabled.to_string()]
    })
}

/// How the client became known: its identifier says so.
fn kind(id: &ClientId) -> &'static str {
    match id.as_str() {
        id if id.starts_with("https://") => "Document",
        id if id.starts_with("dcr_") => "Dynamic",
        _ => "McpClient",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://app.example/client.json", "Document")]
    #[case("dcr_0123456789abcdef01234567", "Dynamic")]
    #[case("mcpc_0123456789abcdef01234567", "McpClient")]
    fn kinds(#[case] id: &str, #[case] expected: &str) {
        assert_eq!(kind(&ClientId::parse(id).unwrap()), expected);
    }
}
