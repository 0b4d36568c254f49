//! `lumoauth user`.

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use super::accounts::{Accounts, AccountsArgs, Output, print, rfc3339};
use crate::authserver::{
    people::{Password, hash},
    store::{AddUser, NewUser, User, UserId, UserName},
};

/// The longest name of a group, in bytes.
const MAX_GROUP_BYTES: usize = 128;
/// More than any password: what is longer is refused before all of it is read.
const MAX_INPUT_BYTES: u64 = 4096;

const ADD_EXAMPLES: &str = "Examples:
  lumoauth user add alice --org acme               with a new password, which is printed once
  lumoauth user add alice --org acme --group finance --group on-call
  lumoauth user add alice --data ./.lumoauth       for `lumoauth local`
  kubectl exec -n lumoauth-system deploy/lumoauth-authserver -- \\
    lumoauth user add alice --org acme
  kubectl exec -i -n lumoauth-system deploy/lumoauth-authserver -- \\
    lumoauth user add alice --org acme --password-stdin < password.txt";

const PASSWD_EXAMPLES: &str = "Examples:
  lumoauth user passwd alice --org acme            makes a new password and prints it once
  lumoauth user passwd alice --org acme --password-stdin < password.txt";

const GROUPS_EXAMPLES: &str = "Examples:
  lumoauth user set-groups alice --org acme --group finance --group on-call
  lumoauth user set-groups alice --org acme        alice is in no group any more

Tokens that were issued before keep their scopes until they expire.";

const LIST_EXAMPLES: &str = "Examples:
  lumoauth user list --org acme
  lumoauth user list --org acme -o json";

const DISABLE_EXAMPLES: &str = "Examples:
  lumoauth user disable alice --org acme";

const ENABLE_EXAMPLES: &str = "Examples:
  lumoauth user enable alice --org acme";

const EXAMPLES: &str = "Examples:
  lumoauth user list --org acme
  lumoauth user add alice --org acme --group finance
  lumoauth user disable alice --org acme
  kubectl exec -n lumoauth-system deploy/lumoauth-authserver -- \\
    lumoauth user add alice --org acme";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user, who then signs in on the pages of the authorization server
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// What the user types to sign in: a-z 0-9 . _ - + @
        #[arg(value_parser = name)]
        name: UserName,
        #[command(flatten)]
        accounts: AccountsArgs,
        /// A group of the user, as grants of McpServers name it; may be repeated
        #[arg(long = "group", value_name = "GROUP", value_parser = group)]
        groups: Vec<String>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Set a new password; the user is signed out everywhere, and what the user allowed stays
    #[command(after_help = PASSWD_EXAMPLES)]
    Passwd {
        #[command(flatten)]
        who: WhoArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Replace the groups of a user; it counts from the next consent and the next refresh of a token on
    #[command(after_help = GROUPS_EXAMPLES)]
    SetGroups {
        #[command(flatten)]
        who: WhoArgs,
        /// A group, as grants of McpServers name it; may be repeated. Without this the user is in none
        #[arg(long = "group", value_name = "GROUP", value_parser = group)]
        groups: Vec<String>,
    },
    /// List the users
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        accounts: AccountsArgs,
        /// Format, instead of a table; wide is a table that also has identifiers
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Disable a user: signed out, and every token of the user refused within seconds
    #[command(after_help = DISABLE_EXAMPLES)]
    Disable {
        #[command(flatten)]
        who: WhoArgs,
    },
    /// Enable a user again, who then has to sign in and connect applications anew
    #[command(after_help = ENABLE_EXAMPLES)]
    Enable {
        #[command(flatten)]
        who: WhoArgs,
    },
}

// No doc comment: clap would take it for what the commands do.
#[derive(Debug, Args)]
struct WhoArgs {
    /// Who
    #[arg(value_parser = name)]
    name: UserName,
    #[command(flatten)]
    accounts: AccountsArgs,
}

#[derive(Debug, Args)]
struct PasswordArgs {
    /// Read the password from standard input; without this a new one is made and printed once
    #[arg(long)]
    password_stdin: bool,
}

fn name(text: &str) -> Result<UserName, String> {
    UserName::parse(text).map_err(|error| error.to_string())
}

fn group(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= MAX_GROUP_BYTES;
    let clean = text.trim() == text && !text.chars().any(char::is_control);
    if fits && clean { Ok(text.to_owned()) } else { Err(format!("a group is 1 to {MAX_GROUP_BYTES} bytes of text")) }
}

/// A user as it is listed. Without the hash of the password.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    groups: Vec<String>,
    disabled: bool,
    created: String,
    id: String,
}

impl From<User> for Row {
    fn from(user: User) -> Self {
        Self {
            name: user.name.to_string(),
            groups: user.groups,
            disabled: user.disabled,
            created: rfc3339(user.created_at),
            id: user.id.to_string(),
        }
    }
}

pub(super) async fn run(UserArgs { command }: UserArgs) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { name, accounts, groups, password } => {
            let accounts = Accounts::open(accounts).await?;
            let chosen = password.choose()?;
            let new = NewUser { name: name.clone(), password_hash: hash(&chosen.password)?, groups };
            let user =
                accounts.store.add_user(&accounts.org, new, accounts.now).await.map_err(|error| match error {
                    AddUser::NameTaken => anyhow::anyhow!(
                        "user {name} already exists in organization {org}: lumoauth user passwd sets a new password",
                        org = accounts.org
                    ),
                    AddUser::Store(error) => error.into(),
                })?;
            audit(&accounts, &user.id, "added");
            done(&name, &accounts, "added")?;
            chosen.tell()
        }
        UserCommand::Passwd { who, password } => {
            let (accounts, user) = who.find().await?;
            let chosen = password.choose()?;
            accounts.store.set_password(&accounts.org, &user.id, &hash(&chosen.password)?).await?;
            audit(&accounts, &user.id, "password_set");
            done(&user.name, &accounts, "has a new password")?;
            chosen.tell()
        }
        UserCommand::SetGroups { who, groups } => {
            let (accounts, user) = who.find().await?;
            accounts.store.set_groups(&accounts.org, &user.id, &groups).await?;
            audit(&accounts, &user.id, "groups_set");
            let what =
                if groups.is_empty() { "is in no group".to_owned() } else { format!("is in {}", groups.join(", ")) };
            done(&user.name, &accounts, &what)
        }
        UserCommand::List { accounts, output } => list(accounts, output).await,
        UserCommand::Disable { who } => set_disabled(who, true).await,
        UserCommand::Enable { who } => set_disabled(who, false).await,
    }
}

async fn set_disabled(who: WhoArgs, disabled: bool) -> anyhow::Result<()> {
    let (accounts, user) = who.find().await?;
    accounts.store.set_user_disabled(&accounts.org, &user.id, disabled, accounts.now).await?;
    let what = if disabled { "disabled" } else { "enabled" };
    audit(&accounts, &user.id, what);
    done(&user.name, &accounts, what)
}

async fn list(accounts: AccountsArgs, output: Option<Output>) -> anyhow::Result<()> {
    let accounts = Accounts::open(accounts).await?;
    let rows: Vec<Row> = accounts.store.users(&accounts.org).await?.into_iter().map(Row::from).collect();
    let groups = |row: &Row| if row.groups.is_empty() { "<none>".to_owned() } else { row.groups.join(",") };
    match output {
        Some(Output::Wide) => print(&rows, output, ["NAME", "GROUPS", "DISABLED", "CREATED", "ID"], |row| {
            [row.name.clone(), groups(row), row.disabled.to_string(), row.created.clone(), row.id.clone()]
        }),
        _ => print(&rows, output, ["NAME", "GROUPS", "DISABLED", "CREATED"], |row| {
            [row.name.clone(), groups(row), row.disabled.to_string(), row.created.clone()]
        }),
    }
}

impl WhoArgs {
    /// The user, and the storage that knows the user.
    async fn find(self) -> anyhow::Result<(Accounts, User)> {
        let Self { name, accounts } = self;
        let accounts = Accounts::open(accounts).await?;
        let user = accounts.store.user_by_name(&accounts.org, &name).await?;
        let user = user.with_context(|| format!("user {name} not found in organization {}", accounts.org))?;
        Ok((accounts, user))
    }
}

fn audit(accounts: &Accounts, user: &UserId, outcome: &str) {
    tracing::info!(target: "lumoauth::audit", event = "user", outcome, org = %accounts.org, %user);
}

fn done(name: &UserName, accounts: &Accounts, what: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "user {name} of organization {} {what}", accounts.org)?)
}

/// The password to be set.
struct Chosen {
    password: Password,
    /// Whether we made it, so that somebody has to be told.
    is_new: bool,
}

impl PasswordArgs {
    fn choose(&self) -> anyhow::Result<Chosen> {
        if !self.password_stdin {
            return Ok(Chosen { password: Password::generate()?, is_new: true });
        }
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut text).context("cannot read standard input")?;
        Ok(Chosen { password: Password::parse(line(&text))?, is_new: false })
    }
}

/// What an editor or `echo` wrote, without the end of its line.
fn line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

impl Chosen {
    fn tell(&self) -> anyhow::Result<()> {
        if self.is_new {
            writeln!(std::io::stdout(), "password: {}\nIt is not shown again.", self.password.text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("secret\n", "secret")]
    #[case("secret\r\n", "secret")]
    #[case("secret", "secret")]
    #[case("two\nlines\n", "two\nlines")]
    #[case(" spaces \n\n", " spaces \n")]
    fn the_end_of_a_line_is_no_part_of_a_password(#[case] text: &str, #[case] password: &str) {
        assert_eq!(line(text), password);
    }

    #[rstest]
    #[case("finance", true)]
    #[case("Sales EMEA", true)]
    #[case("", false)]
    #[case(" a", false)]
    #[case("a\nb", false)]
    fn groups(#[case] text: &str, #[case] fits: bool) {
        assert_eq!(group(text).is_ok(), fits);
    }
}
