//! `lumoauth user` and `lumoauth client` as administrators run them: what they say, what they log, and mistakes.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::local::BINARY;

const PASSWORD: &str = "correct horse battery staple";

/// What a command said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The settings and the database of an authorization server, with the user `alice` of organization `acme`.
struct Server(TempDir);

impl Server {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let database = this.path().join("lumoauth.db");
        let settings = json!({
            "publicUrl": "https://auth.example", "sidecarImage": "lumoauth:1", "storage": {"sqlite": {"path": database}},
        });
        fs::write(this.path().join("config.yaml"), settings.to_string()).unwrap();
        fs::write(this.path().join("broken.yaml"), ": [").unwrap();
        fs::create_dir(this.path().join("empty")).unwrap();
        this.done("user add alice --org acme --group finance", "");
        this
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `lumoauth` with these arguments and this standard input; with the server's settings, unless the arguments
    /// say otherwise.
    fn run(&self, arguments: &str, input: &[u8]) -> Said {
        let mut command = Command::new(BINARY);
        command.args(arguments.split(' ')).current_dir(self.path());
        if !arguments.contains("--config") && !arguments.contains("--data") {
            command.args(["--config", "config.yaml"]);
        }
        for variable in ["LUMOAUTH_CONFIG", "LUMOAUTH_ORG", "LUMOAUTH_LOG"] {
            command.env_remove(variable);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // What is refused before it is read closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs what has to succeed.
    fn done(&self, arguments: &str, input: &str) -> Said {
        let said = self.run(arguments, input.as_bytes());
        assert_eq!(said.code, Some(0), "{arguments}: {}", said.stderr);
        said
    }

    fn list(&self, what: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{what} list --org acme -o json"), "").stdout).unwrap()
    }
}

impl Said {
    /// The audit lines: what is in them besides the time.
    fn audited(&self) -> Vec<Value> {
        let lines = self.stderr.lines().filter(|line| line.contains("lumoauth::audit"));
        let line = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            for same in ["timestamp", "level", "target"] {
                line.as_object_mut().unwrap().remove(same).unwrap();
            }
            line
        };
        lines.map(line).collect()
    }
}

const TAKEN: &str = "user alice already exists in organization acme: lumoauth user passwd sets a new password";
const NAME: &str = "a user name is 1 to 128 of the characters a-z 0-9 . _ - + @";
const SHORT: &str = "the password is too short: use at least 8 characters, better 16";
const LONG: &str = "the password is too long: use at most 1024 bytes";

#[rstest]
#[case::taken("user add alice --org acme", b"", 1, TAKEN)]
#[case::taken_in_another_case("user add ALICE --org acme", b"", 1, TAKEN)]
#[case::no_name("user add  --org acme", b"", 2, NAME)]
#[case::name_with_a_slash("user add a/b --org acme", b"", 2, NAME)]
#[case::no_org("user add bob", b"", 2, "--org <ORG>")]
#[case::empty_org("user add bob --org ", b"", 2, "an organization is a DNS label, such as acme")]
#[case::bad_org("user add bob --org No_Org", b"", 2, "an organization is a DNS label, such as acme")]
#[case::empty_group("user add bob --org acme --group ", b"", 2, "a group is 1 to 128 bytes of text")]
#[case::disable_nobody("user disable bob --org acme", b"", 1, "user bob not found in organization acme")]
#[case::enable_nobody("user enable bob --org acme", b"", 1, "user bob not found in organization acme")]
#[case::of_another_org("user disable alice --org other", b"", 1, "user alice not found in organization other")]
#[case::groups_of_nobody("user set-groups bob --org acme --group a", b"", 1, "user bob not found in organization acme")]
#[case::groups_with_an_empty_one("user set-groups alice --org acme --group ", b"", 2, "a group is 1 to 128 bytes")]
#[case::password_of_nobody("user passwd bob --org acme", b"", 1, "user bob not found in organization acme")]
#[case::no_password("user add bob --org acme --password-stdin", b"", 1, SHORT)]
#[case::empty_line("user add bob --org acme --password-stdin", b"\n", 1, SHORT)]
#[case::short("user passwd alice --org acme --password-stdin", b"1234567\n", 1, SHORT)]
#[case::long("user passwd alice --org acme --password-stdin", &[b'x'; 1025], 1, LONG)]
#[case::endless("user add bob --org acme --password-stdin", &[b'x'; 10_000], 1, LONG)]
#[case::two_lines("user passwd alice --org acme --password-stdin", b"long enough\n\n", 1, "write one line")]
#[case::no_text(
    "user passwd alice --org acme --password-stdin",
    b"\xff\xfe12345678\n",
    1,
    "cannot read standard input"
)]
#[case::bad_output("user list --org acme -o xml", b"", 2, "[possible values: json, yaml, wide]")]
#[case::bad_output_of_clients("client list --org acme -o xml", b"", 2, "[possible values: json, yaml, wide]")]
#[case::no_client("client disable  --org acme", b"", 2, "a client_id is 1 to 512 printable ASCII characters")]
#[case::client_that_is_none(
    "client disable \u{e9} --org acme",
    b"",
    2,
    "a client_id is 1 to 512 printable ASCII characters"
)]
#[case::client_of_no_org("client disable mcpc_a", b"", 2, "--org <ORG>")]
#[case::no_settings("user add bob --org acme --config none.yaml", b"", 1, "cannot read the settings file none.yaml")]
#[case::broken_settings(
    "user add bob --org acme --config broken.yaml",
    b"",
    1,
    "broken.yaml: the settings are not valid"
)]
#[case::no_data("user add bob --data empty", b"", 1, "there is no lumoauth.db: run lumoauth local with this directory")]
#[case::data_and_org("user add bob --data . --org acme", b"", 1, "lumoauth local has one organization, default")]
#[case::data_and_settings(
    "user add bob --data . --config config.yaml",
    b"",
    2,
    "cannot be used with '--config <FILE>'"
)]
fn what_is_refused_changes_nothing(
    #[case] arguments: &str,
    #[case] input: &[u8],
    #[case] code: i32,
    #[case] told: &str,
) {
    let server = Server::new();
    let before = (server.list("user"), server.list("client"));
    let said = server.run(arguments, input);
    assert_eq!(said.code, Some(code), "{}", said.stderr);
    assert!(said.stderr.contains(told), "{}", said.stderr);
    assert!(said.stdout.is_empty() && said.audited().is_empty(), "{}{}", said.stdout, said.stderr);
    assert_eq!((server.list("user"), server.list("client")), before);
    assert!(!server.path().join("empty/lumoauth.db").exists(), "no database is made by mistake");
}

#[test]
fn what_is_done_is_told_and_audited() {
    let server = Server::new();
    let id = server.list("user")[0]["id"].clone();
    let stdin = format!("{PASSWORD}\n");
    let (user, client) = ("of organization acme", "client mcpc_a of organization acme");
    for (arguments, input, told, outcome) in [
        ("user passwd alice --org acme --password-stdin", stdin.as_str(), "has a new password", "password_set"),
        ("user set-groups alice --org acme --group a --group b", "", "is in a, b", "groups_set"),
        ("user set-groups alice --org acme", "", "is in no group", "groups_set"),
        ("user disable alice --org acme", "", "disabled", "disabled"),
        ("user disable alice --org acme", "", "disabled", "disabled"),
        ("user enable alice --org acme", "", "enabled", "enabled"),
    ] {
        let said = server.done(arguments, input);
        assert_eq!(said.stdout, format!("user alice {user} {told}\n"));
        let line = json!({"event": "user", "outcome": outcome, "org": "acme", "user": id});
        assert_eq!(said.audited(), [line], "{arguments}");
        assert!(!said.stderr.contains(PASSWORD));
        assert_eq!(server.list("user")[0]["disabled"], outcome == "disabled");
    }
    for (command, what) in [("disable", "disabled"), ("disable", "disabled"), ("enable", "enabled")] {
        let said = server.done(&format!("client {command} mcpc_a --org acme"), "");
        assert_eq!(said.stdout, format!("{client} {what}\n"));
        let line = json!({"event": "client", "outcome": what, "org": "acme", "client": "mcpc_a"});
        assert_eq!(said.audited(), [line]);
        let listed = json!([{"id": "mcpc_a", "kind": "McpClient", "holdsAccess": false, "disabled": true}]);
        assert_eq!(server.list("client"), if what == "disabled" { listed } else { json!([]) });
    }
}

/// McpClients that hold nothing are not in the store, so a mistyped identifier cannot be told from one of theirs.
#[test]
fn a_client_nobody_has_heard_of_is_warned_of() {
    let server = Server::new();
    let warns = |command: &str| server.done(command, "").stderr.contains("warning: mcpc_a has not registered");
    assert!(warns("client enable mcpc_a --org acme"));
    assert!(warns("client disable mcpc_a --org acme"));
    assert!(!warns("client disable mcpc_a --org acme"), "it is disabled");
    assert!(!warns("client enable mcpc_a --org acme"), "it was disabled");
}

#[test]
fn a_new_password_is_told_once_and_never_logged() {
    let server = Server::new();
    for (arguments, told) in [
        ("user add bob --org acme --group finance --group on-call", "user bob of organization acme added"),
        ("user passwd bob --org acme", "user bob of organization acme has a new password"),
    ] {
        let said = server.done(arguments, "");
        let lines: Vec<_> = said.stdout.lines().collect();
        let [first, password, last] = lines[..] else { panic!("{}", said.stdout) };
        assert_eq!((first, last), (told, "It is not shown again."));
        let password = password.strip_prefix("password: ").unwrap();
        assert_eq!(password.len(), 20);
        assert!(!said.stderr.contains(password));
        assert_eq!(said.audited().len(), 1);
    }
    let users = server.list("user");
    assert_eq!((&users[1]["name"], &users[1]["groups"]), (&json!("bob"), &json!(["finance", "on-call"])));
    let members: BTreeSet<_> = users[1].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["name", "groups", "disabled", "created", "id"]), "and no hash of a password");
    let chosen = server.done("user add carol --org acme --password-stdin", PASSWORD);
    assert_eq!(chosen.stdout, "user carol of organization acme added\n", "who chose it knows it");
}
