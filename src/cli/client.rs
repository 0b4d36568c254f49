//! `lumoauth client`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use clap::{Args, Subcommand};
use lumoauth_core::{ClientId, RedirectUri};
use serde::{Deserialize, Serialize};

use super::accounts::{Accounts, AccountsArgs, Output, print, rfc3339};
use crate::authserver::store::Registration;

const LIST_EXAMPLES: &str = "Examples:
  lumoauth client list --org acme
  lumoauth client list --org acme -o wide          what dynamic clients are called, and since when
  lumoauth client list --data ./.lumoauth          for `lumoauth local`";

const DISABLE_EXAMPLES: &str = "Examples:
  lumoauth client disable https://app.example/client.json --org acme
  lumoauth client disable dcr_0123456789abcdef01234567 --org acme";

const ENABLE_EXAMPLES: &str = "Examples:
  lumoauth client enable https://app.example/client.json --org acme";

const EXAMPLES: &str = "Examples:
  lumoauth client list --org acme
  lumoauth client disable https://app.example/client.json --org acme
  kubectl exec -n lumoauth-system deploy/lumoauth-authserver -- \\
    lumoauth client list --org acme";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// List the clients that registered themselves, hold access, or are disabled; McpClients are listed by kubectl
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        accounts: AccountsArgs,
        /// Format, instead of a table; wide is a table that also tells what dynamic clients say of themselves
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Disable a client of any kind: it gets nothing more, and every token it holds is refused within seconds
    #[command(after_help = DISABLE_EXAMPLES)]
    Disable {
        /// client_id: mcpc_..., dcr_... or the URL of its document
        #[arg(value_parser = client)]
        id: ClientId,
        #[command(flatten)]
        accounts: AccountsArgs,
    },
    /// Enable a client again; what it held stays revoked
    #[command(after_help = ENABLE_EXAMPLES)]
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
    #[serde(flatten)]
    dynamic: Option<Dynamic>,
}

/// What only dynamic clients have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dynamic {
    /// What it calls itself.
    name: Option<String>,
    /// Where it lets people be sent: hosts, and schemes of its own.
    redirects: BTreeSet<String>,
    created: String,
    /// To the day.
    last_used: Option<String>,
}

/// The members of a registration's metadata that are listed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    client_name: Option<String>,
    redirect_uris: Vec<String>,
}

impl From<&Registration> for Dynamic {
    fn from(registration: &Registration) -> Self {
        // It is ours, and was read before it was stored; what cannot be read lists as nothing.
        let metadata: Metadata = serde_json::from_str(&registration.metadata).unwrap_or_default();
        let uris = metadata.redirect_uris.iter().filter_map(|uri| RedirectUri::parse(uri).ok());
        Self {
            name: metadata.client_name,
            redirects: uris.map(|uri| uri.destination().into_owned()).collect(),
            created: rfc3339(registration.created_at),
            last_used: registration.used_at.map(rfc3339),
        }
    }
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
        || store.clients_holding(org, id.as_str()).await?.contains(id))
}

async fn list(Accounts { org, store, now }: &Accounts, output: Option<Output>) -> anyhow::Result<()> {
    let mut rows: BTreeMap<ClientId, Row> = BTreeMap::new();
    for registration in store.registrations(org, *now).await? {
        rows.entry(registration.id.clone()).or_default().dynamic = Some(Dynamic::from(&registration));
    }
    for id in store.clients_holding(org, "").await? {
        rows.entry(id).or_default().holds_access = true;
    }
    for (of, id) in store.disabled_clients().await? {
        if of == *org {
            rows.entry(id).or_default().disabled = true;
        }
    }
    let rows: Vec<Row> = rows.into_iter().map(|(id, row)| Row { kind: kind(&id), id: id.to_string(), ..row }).collect();
    let narrow =
        |row: &Row| [row.id.clone(), row.kind.to_owned(), row.holds_access.to_string(), row.disabled.to_string()];
    let names = ["CLIENT ID", "KIND", "HOLDS ACCESS", "DISABLED"];
    if !matches!(output, Some(Output::Wide)) {
        return print(&rows, output, names, narrow);
    }
    let [id, kind, holds, disabled] = names;
    let names = [id, kind, holds, disabled, "NAME", "REDIRECTS", "CREATED", "LAST USED"];
    print(&rows, output, names, |row| {
        let [id, kind, holds, disabled] = narrow(row);
        let [name, redirects, created, used] = wide(row.dynamic.as_ref());
        [id, kind, holds, disabled, name, redirects, created, used]
    })
}

/// The columns that only dynamic clients fill.
fn wide(dynamic: Option<&Dynamic>) -> [String; 4] {
    let none = || "<none>".to_owned();
    let Some(Dynamic { name, redirects, created, last_used }) = dynamic else {
        return [none(), none(), none(), none()];
    };
    let redirects: Vec<_> = redirects.iter().map(String::as_str).collect();
    [name.clone().unwrap_or_else(none), redirects.join(","), created.clone(), last_used.clone().unwrap_or_else(none)]
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
    use crate::authserver::artefact::Digest;
    use lumoauth_core::UnixTime;
    use rstest::rstest;
    use serde_json::json;

    fn registration(metadata: &serde_json::Value, used_at: Option<UnixTime>) -> Registration {
        Registration {
            id: ClientId::parse("dcr_0123456789abcdef01234567").unwrap(),
            metadata: metadata.to_string(),
            secret: None,
            access_token: Digest::of("x"),
            created_at: UnixTime(0),
            expires_unused_at: UnixTime(1),
            used_at,
        }
    }

    #[test]
    fn what_a_dynamic_client_says_of_itself() {
        let uris = ["https://b.example/1", "https://b.example/2", "http://127.0.0.1/cb", "com.example.app:/cb"];
        let known = registration(&json!({"client_name": "App", "redirect_uris": uris}), Some(UnixTime(86_400)));
        let seen = wide(Some(&Dynamic::from(&known)));
        let redirects = "127.0.0.1,b.example,com.example.app:";
        assert_eq!(seen, ["App", redirects, "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"]);
        let bare = wide(Some(&Dynamic::from(&registration(&json!({"redirect_uris": ["https://a.example/"]}), None))));
        assert_eq!(bare, ["<none>", "a.example", "1970-01-01T00:00:00Z", "<none>"]);
        assert_eq!(wide(None), ["<none>"; 4]);
    }

    #[test]
    fn programs_read_it_flat() {
        let dynamic = Dynamic::from(&registration(&json!({"redirect_uris": ["https://a.example/"]}), None));
        let row = Row { id: "dcr_1".to_owned(), kind: "Dynamic", dynamic: Some(dynamic), ..Row::default() };
        let expected = json!({
            "id": "dcr_1", "kind": "Dynamic", "holdsAccess": false, "disabled": false, "name": null,
            "redirects": ["a.example"], "created": "1970-01-01T00:00:00Z", "lastUsed": null,
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
        let other = serde_json::to_value(Row { kind: "Document", ..Row::default() }).unwrap();
        assert_eq!(other, json!({"id": "", "kind": "Document", "holdsAccess": false, "disabled": false}));
    }

    #[rstest]
    #[case("https://app.example/client.json", "Document")]
    #[case("dcr_0123456789abcdef01234567", "Dynamic")]
    #[case("mcpc_0123456789abcdef01234567", "McpClient")]
    fn kinds(#[case] id: &str, #[case] expected: &str) {
        assert_eq!(kind(&ClientId::parse(id).unwrap()), expected);
    }
}
