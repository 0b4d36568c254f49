//! What people read when `lumoauth local` has started: what runs where, and a walk through it to paste into a shell.
//!
//! The commands need curl, sed and a POSIX shell, and no more. Every line that starts with four spaces is a command.

use std::{fmt::Write as _, path::Path};

use lumoauth_core::{IssuerUrl, ResourceUri};

use super::{people::FIRST_USER, plan::Guarded};
use crate::authserver::people::Password;

/// How to write for whoever reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    /// A person at a terminal.
    Terminal,
    /// A file or a program.
    Plain,
}

impl Style {
    pub(super) fn bold(self, text: &str) -> String {
        match self {
            Self::Terminal => format!("\x1b[1m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }

    pub(super) fn dim(self, text: &str) -> String {
        match self {
            Self::Terminal => format!("\x1b[2m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// One thing to try.
pub(super) struct Step {
    title: &'static str,
    /// What the answer shows.
    shows: &'static str,
    commands: String,
}

/// What runs.
pub(super) struct Summary<'a> {
    pub(super) issuer: &'a IssuerUrl,
    /// Where the credentials are.
    pub(super) credentials: &'a Path,
    /// The data directory.
    pub(super) data: &'a Path,
    /// Of the first user, when there has just come to be one.
    pub(super) password: Option<&'a Password>,
    pub(super) clients: Vec<String>,
    pub(super) servers: Vec<(&'a str, &'a Guarded)>,
    /// Manifests that are not run, a line each.
    pub(super) skipped: &'a [String],
}

impl Summary<'_> {
    /// The text, with an empty line at its end.
    pub(super) fn text(&self, style: Style) -> String {
        let mut lines = self.skipped.to_vec();
        lines.push(style.bold("LumoAuth is running."));
        lines.push(format!("  issuer     {}", self.issuer.as_str()));
        for (name, Guarded { resource, written, .. }) in &self.servers {
            let instead = if resource == written { String::new() } else { format!(" in place of {written}") };
            lines.push(format!("  server     {name}: {resource}{instead}"));
        }
        for name in &self.clients {
            let file = self.credentials.join(format!("{name}.json"));
            lines.push(format!("  client     {name}: {}", file.display()));
        }
        let data = quoted(&self.data.display().to_string());
        match self.password {
            Some(password) => {
                lines.push(format!(
                    "  person     {FIRST_USER}, with the password {} (not shown again)",
                    password.text()
                ));
                lines.push(format!("             for another one: lumoauth user passwd {FIRST_USER} --data {data}"));
            }
            None => lines.push(format!("  people     lumoauth user list --data {data}")),
        }
        if let Some((name, Guarded { resource, .. })) = self.servers.first() {
            lines.push(format!("\n{}\n", style.bold("Connect an MCP client, and sign in as a person:")));
            lines.push(format!("    claude mcp add --transport http {} {}", quoted(name), quoted(resource)));
            lines.push(
                "\nThen /mcp and \"Authenticate\" in Claude Code. Any other MCP client needs that URL and nothing more: it finds\n\
                 the authorization server, registers itself, and opens your browser."
                    .to_owned(),
            );
        }
        lines.push("\nTo try it, paste into another shell, in this directory:\n\n".to_owned());
        lines.join("\n")
    }
}

/// What the commands speak to.
pub(super) struct Scene<'a> {
    /// The guarded server.
    resource: &'a ResourceUri,
    /// The authorization server's metadata.
    authorization_server_metadata: &'a str,
    /// Where the credentials are.
    credentials: &'a Path,
}

const HEADERS: &str = "-H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream'";

impl<'a> Scene<'a> {
    pub(super) fn new(
        resource: &'a ResourceUri,
        authorization_server_metadata: &'a str,
        credentials: &'a Path,
    ) -> Self {
        Self { resource, authorization_server_metadata, credentials }
    }

    /// The way to a server's authorization server.
    pub(super) fn discover(&self) -> Vec<Step> {
        vec![self.challenge(), self.discovery()]
    }

    /// The walk through the demo. `other` is the second server.
    pub(super) fn demo(&self, other: &ResourceUri) -> Vec<Step> {
        let mcp = quoted(self.resource.as_str());
        let call = format!(
            "call() {{ curl -si {mcp} -H \"Authorization: Bearer $TOKEN\" \\\n  {HEADERS} \\\n  -d \"{{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"id\\\":1,\\\"method\\\":\\\"tools/call\\\",\\\"params\\\":{{\\\"name\\\":\\\"$1\\\",\\\"arguments\\\":$2}}}}\"; echo; }}"
        );
        vec![
            self.challenge(),
            self.discovery(),
            self.token("reader", "mcp:read"),
            Step {
                title: "Call a tool with it",
                shows: "200, from the MCP server",
                commands: format!("{call}\ncall search_invoices '{{\"query\":\"northwind\"}}'"),
            },
            Step {
                title: "Call a tool that needs more",
                shows: "403 insufficient_scope, and the scope that is needed",
                commands: "call send_reminder '{\"invoice\":\"INV-1001\"}'".to_owned(),
            },
            Step {
                title: "Get that scope, as the client that may have it, and call again",
                shows: "200",
                commands: format!(
                    "TOKEN=$(token writer {mcp} mcp:write)\ncall send_reminder '{{\"invoice\":\"INV-1001\"}}'"
                ),
            },
            Step {
                title: "Call a tool that a rule denies",
                shows: "403, and no scope would help",
                commands: "call delete_invoice '{\"invoice\":\"INV-1001\"}'".to_owned(),
            },
            Step {
                title: "Come with a token for another server",
                shows: "401 invalid_token",
                commands: format!(
                    "TOKEN=$(token reader {} mcp:read)\ncall search_invoices '{{\"query\":\"northwind\"}}'",
                    quoted(other.as_str())
                ),
            },
        ]
    }

    /// The walk up to a server of which nothing is known but its address.
    pub(super) fn protect(&self) -> Vec<Step> {
        let mcp = quoted(self.resource.as_str());
        let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}"#;
        vec![
            self.challenge(),
            self.discovery(),
            self.token("client", "mcp:use"),
            Step {
                title: "Reach your server with it",
                shows: "your server's answer",
                commands: format!(
                    "curl -si {mcp} -H \"Authorization: Bearer $TOKEN\" \\\n  {HEADERS} \\\n  -d '{initialize}'; echo"
                ),
            },
        ]
    }

    fn challenge(&self) -> Step {
        Step {
            title: "Call without a token",
            shows: "401, and WWW-Authenticate says where to begin",
            commands: format!(
                "curl -si {} \\\n  {HEADERS} \\\n  -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}}'; echo",
                quoted(self.resource.as_str())
            ),
        }
    }

    fn discovery(&self) -> Step {
        Step {
            title: "Follow the metadata to the authorization server",
            shows: "the resource (RFC 9728) and its issuer (RFC 8414)",
            commands: format!(
                "curl -s {}; echo\ncurl -s {}; echo",
                quoted(&self.resource.metadata_url()),
                quoted(self.authorization_server_metadata)
            ),
        }
    }

    fn token(&self, client: &str, scope: &str) -> Step {
        let credentials = quoted(&self.credentials.display().to_string());
        let commands = [
            r#"member() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }"#.to_owned(),
            format!("credential() {{ member \"$2\" < {credentials}/\"$1\".json; }}"),
            "token() { curl -s \"$(credential \"$1\" token_endpoint)\" \\".to_owned(),
            "  -u \"$(credential \"$1\" client_id):$(credential \"$1\" client_secret)\" \\".to_owned(),
            "  -d grant_type=client_credentials --data-urlencode \"resource=$2\" -d \"scope=$3\" | member access_token; }"
                .to_owned(),
            format!("TOKEN=$(token {client} {} {scope})", quoted(self.resource.as_str())),
            "echo \"$TOKEN\"".to_owned(),
        ];
        Step { title: "Get a token for it", shows: "an access token (RFC 9068)", commands: commands.join("\n") }
    }
}

/// The steps as they are printed.
pub(super) fn walk_through(steps: &[Step], style: Style) -> String {
    let mut text = String::new();
    for (at, Step { title, shows, commands }) in steps.iter().enumerate() {
        let commands: Vec<_> = commands.lines().map(|line| format!("    {line}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} {}\n\n{}\n",
            style.bold(&format!("{}. {title}", at + 1)),
            style.dim(&format!("→ {shows}")),
            commands.join("\n")
        );
    }
    text + "Stop with Ctrl-C."
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://127.0.0.1:16080/mcp", "http://127.0.0.1:16080/mcp")]
    #[case("./a b", "'./a b'")]
    #[case("it's", "'it'\\''s'")]
    #[case("http://127.0.0.1/?a=$b&c", "'http://127.0.0.1/?a=$b&c'")]
    #[case("", "''")]
    fn words_of_a_shell(#[case] text: &str, #[case] word: &str) {
        assert_eq!(quoted(text), word);
    }

    #[test]
    fn only_a_terminal_gets_escapes() {
        let resource = ResourceUri::parse("http://127.0.0.1:16080/mcp").unwrap();
        let scene = Scene::new(&resource, "http://127.0.0.1:8080/x", Path::new("d"));
        assert!(!walk_through(&scene.demo(&resource), Style::Plain).contains('\x1b'));
        assert!(walk_through(&scene.protect(), Style::Terminal).contains('\x1b'));
    }
}
