//! `lumoauth local` as people use it: the real binary, the commands it prints, files that are edited, and mistakes.

use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use tempfile::TempDir;

use crate::support::local::{BINARY, Local, START, Upstream, free_ports};

/// A run that is expected to fail: its exit code and what it said.
fn failing(directory: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(BINARY)
        .arg("local")
        .args(flags)
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > START {
            child.kill().unwrap();
            panic!("it runs: {flags:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::Builder::new().prefix("lumoauth local's ").tempdir().unwrap();
    fs::create_dir(directory.path().join("mcp")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join("mcp").join(name), text).unwrap();
    }
    directory
}

/// Every command of the walk-through, pasted one step after another into one shell, does what its heading says.
#[test]
fn the_walk_through_works_as_printed() {
    let directory = directory(&[]);
    let local = Local::start(directory.path(), &["--data", "its data"]);
    let steps = local.steps();
    let mark = "-- next step --";
    let script: Vec<_> = steps.iter().map(|(_, commands)| commands.as_str()).collect();
    let printed = local.shell(&script.join(&format!("echo '{mark}'\n")));
    let answers: Vec<_> = printed.split(mark).collect();
    let resource = format!("http://127.0.0.1:{}/mcp", local.sidecar);
    let issuer = format!("http://127.0.0.1:{}/orgs/default/api/v1", local.listen);
    let metadata = format!("http://127.0.0.1:{}/.well-known/oauth-protected-resource/mcp", local.sidecar);
    let expected: [(&str, &[&str]); 8] = [
        ("Call without a token", &["HTTP/1.1 401", &format!("resource_metadata=\"{metadata}\""), "scope=\"mcp:read\""]),
        (
            "Follow the metadata",
            &[&format!("\"{resource}\""), &format!("\"{issuer}\""), &format!("\"{issuer}/oauth/token\"")],
        ),
        ("Get a token", &["eyJ"]),
        ("Call a tool with it", &["HTTP/1.1 200", "INV-1001", "INV-1003"]),
        (
            "Call a tool that needs more",
            &["HTTP/1.1 403", "error=\"insufficient_scope\"", "scope=\"mcp:read mcp:write\""],
        ),
        ("Get that scope", &["HTTP/1.1 200", "reminder of INV-1001 sent"]),
        ("Call a tool that a rule denies", &["HTTP/1.1 403"]),
        ("Come with a token for another server", &["HTTP/1.1 401", "error=\"invalid_token\""]),
    ];
    assert_eq!((steps.len(), answers.len()), (expected.len(), expected.len()), "{}\n{printed}", local.printed);
    for (((title, _), answer), (heading, parts)) in steps.iter().zip(&answers).zip(expected) {
        assert!(title.contains(heading), "{title}");
        let answer = answer.to_lowercase();
        for part in parts {
            assert!(answer.contains(&part.to_lowercase()), "{title}: no {part} in\n{answer}");
        }
    }
    let (no_token, denied) = (answers[0].to_lowercase(), answers[6].to_lowercase());
    assert!(!no_token.contains("error="), "no token, no error (RFC 6750 section 3.1):\n{no_token}");
    assert!(!denied.contains("insufficient_scope") && !denied.contains("deleted"), "{denied}");
    assert!(!local.printed.contains('\x1b'), "no escapes into a pipe");
    let data = directory.path().join("its data");
    for file in ["keys.json", "credentials/reader.json", "credentials/writer.json"] {
        assert_eq!(fs::metadata(data.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(local.stop("-INT"), Some(0));
}

fn server(port: u16) -> String {
    format!(
        "apiVersion: mcp.lumoauth.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: invoices, namespace: acme}}\nspec:\n  resourceUri: https://invoices.acme.example/mcp\n  port: {port}\n  scopes: [{{name: \"mcp:read\"}}, {{name: \"mcp:write\"}}]\n  requiredScopes: [\"mcp:read\"]\n  rules:\n  - {{tools: [\"send_*\"], scopes: [\"mcp:write\"]}}\n"
    )
}

const CLIENT: &str = "---\napiVersion: mcp.lumoauth.dev/v1alpha1\nkind: McpClient\nmetadata: {name: agent, namespace: acme}\nspec:\n  grantTypes: [ClientCredentials]\n  authentication: {method: ClientSecretBasic}\n  scopes: [\"mcp:read\"]\n  servers: [\"acme/invoices\"]\n  credentialsSecretName: agent-oauth\n";
const OTHER: &str = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: acme}\n";

/// Calls until the answer is `status`, for at most a second and what a busy machine adds.
fn until(local: &Local, script: &str, status: &str) {
    let begin = Instant::now();
    loop {
        let answer = local.shell(script);
        if answer.trim() == status {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "still {answer} instead of {status}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The manifests of a cluster run here; an edited rule holds at once, a broken file denies, a removed server is gone.
#[test]
fn edited_files_are_enforced() {
    let (upstream, _) = free_ports(1);
    let _upstream = Upstream::start(upstream);
    let manifest = format!("{}{CLIENT}{OTHER}", server(upstream));
    let directory = directory(&[("invoices.yaml", &manifest)]);
    let mut local = Local::start(directory.path(), &["--dir", "mcp"]);
    let resource = format!("http://127.0.0.1:{}/mcp", local.sidecar);
    assert!(
        local.printed.contains(&format!("{resource} in place of https://invoices.acme.example/mcp")),
        "{}",
        local.printed
    );
    assert!(local.printed.contains("Namespace acme is skipped"), "{}", local.printed);

    let token = local.token("agent", &resource, "mcp:read");
    let calling = |tool: &str| call(&resource, &token, tool);
    assert_eq!(local.shell(&calling("search_invoices")).trim(), "200");
    assert_eq!(local.shell(&calling("send_reminder")).trim(), "403");

    let file = directory.path().join("mcp/invoices.yaml");
    fs::write(&file, manifest.replace("send_*", "search_*")).unwrap();
    until(&local, &calling("search_invoices"), "403");
    assert_eq!(local.shell(&calling("send_reminder")).trim(), "200");

    fs::write(&file, manifest.replace("rules", "rulez")).unwrap();
    until(&local, &calling("send_reminder"), "503");
    let told = local.printed_until("did you mean rules?");
    assert!(told.contains("mcp/invoices.yaml:9: McpServer invoices: spec.rulez"), "{told}");

    fs::write(&file, &manifest).unwrap();
    until(&local, &calling("search_invoices"), "200");

    let changed = manifest.replace("invoices.acme.example", "bills.acme.example");
    fs::write(&file, changed).unwrap();
    until(&local, &calling("search_invoices"), "503");
    local.printed_until("spec.resourceUri cannot be changed");

    fs::write(&file, CLIENT).unwrap();
    until(&local, &calling("search_invoices"), "503");
    assert_eq!(local.stop("-TERM"), Some(0));
}

/// Calls a tool, and prints the status.
fn call(resource: &str, token: &str, tool: &str) -> String {
    format!(
        r#"curl -s -o /dev/null -w '%{{http_code}}' {resource} -H 'Authorization: Bearer {token}' \
  -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
  -d '{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"invoice":"INV-1001"}}}}}}'"#
    )
}

/// Whoever configured a client with its credentials, and whoever holds a token, need not care about a restart.
#[test]
fn a_restart_keeps_credentials_and_keys() {
    let (upstream, _) = free_ports(1);
    let _upstream = Upstream::start(upstream);
    let directory = directory(&[("all.yaml", &format!("{}{CLIENT}", server(upstream)))]);
    let ports = free_ports(1);
    let local = Local::start_on(directory.path(), &["--dir", "mcp"], ports);
    let resource = format!("http://127.0.0.1:{}/mcp", local.sidecar);
    let token = local.token("agent", &resource, "mcp:read");
    let file = directory.path().join(".lumoauth/credentials/agent.json");
    let credentials = fs::read_to_string(&file).unwrap();
    assert_eq!(local.stop("-TERM"), Some(0));

    let local = Local::start_on(directory.path(), &["--dir", "mcp"], ports);
    assert_eq!(fs::read_to_string(&file).unwrap(), credentials);
    assert_eq!(local.shell(&call(&resource, &token, "search_invoices")), "200");
}

/// `--protect`: the walk-through ends at the server that was there before.
#[test]
fn protect_guards_a_server_that_runs() {
    let (upstream, _) = free_ports(1);
    let _upstream = Upstream::start(upstream);
    let directory = directory(&[]);
    let local = Local::start(directory.path(), &["--protect", &format!("http://127.0.0.1:{upstream}/mcp")]);
    let script: Vec<_> = local.steps().into_iter().map(|(_, commands)| commands).collect();
    let printed = local.shell(&script.join(""));
    assert!(printed.contains("HTTP/1.1 401") && printed.contains("HTTP/1.1 200"), "{printed}");
    assert!(printed.contains("\"serverInfo\""), "{printed}");
}

#[rstest]
#[case(&["--dir", "none"], 1, "--dir none: it does not exist")]
#[case(&["--dir", "empty"], 1, "--dir empty: holds no file that ends in .yaml")]
#[case(&["--dir", "mcp", "--protect", "http://127.0.0.1:1/mcp"], 2, "cannot be used with")]
#[case(&["--protect", "ftp://x"], 2, "write it as http://127.0.0.1:8000/mcp")]
#[case(&["--protect", "https://mcp.example.com/mcp"], 2, "a sidecar guards a server on its own machine")]
#[case(&["--protect", "http://127.0.0.1:8000/mcp?x=1"], 2, "it has a query")]
#[case(&["--protect", "http://127.0.0.1:{listen}/mcp"], 1, "is also that of --listen")]
#[case(&["--listen", "0.0.0.0:{free}"], 1, "loopback only: write 127.0.0.1:")]
#[case(&["--listen", "8080"], 2, "write 127.0.0.1:8080")]
#[case(&["--sidecar-port", "65535"], 1, "no port from 65535 on is left for its sidecar: write a lower --sidecar-port")]
#[case(&["--data", "mcp/file/data"], 1, "--data: cannot make the directory mcp/file/data")]
#[case(&["--lisen", "127.0.0.1:1"], 2, "--listen")]
#[case(&["--log-level", "inf"], 1, "write error, warn, info, debug")]
fn mistakes_on_the_command_line(#[case] flags: &[&str], #[case] code: i32, #[case] told: &str) {
    let directory = directory(&[("file", "")]);
    fs::create_dir(directory.path().join("empty")).unwrap();
    let (listen, sidecar) = free_ports(2);
    let mut all = Vec::new();
    if !flags.contains(&"--sidecar-port") {
        all.extend(["--sidecar-port".to_owned(), sidecar.to_string()]);
    }
    if !flags.contains(&"--listen") {
        all.extend(["--listen".to_owned(), format!("127.0.0.1:{listen}")]);
    }
    let fill = |flag: &&str| flag.replace("{listen}", &listen.to_string()).replace("{free}", &listen.to_string());
    all.extend(flags.iter().map(fill));
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let (exit, said) = failing(directory.path(), &all);
    assert!(exit == Some(code) && said.contains(told), "{exit:?}: {said}");
}

#[rstest]
#[case("a: [1\n", "mcp/a.yaml:")]
#[case("apiVersion: mcp.lumoauth.dev/v1alpha1\nkind: McpServers\nmetadata: {name: a}\n", "McpServers is not known")]
#[case(
    "{server}  requiredScope: [x]\n",
    "mcp/a.yaml:11: McpServer invoices: spec.requiredScope is not a field of spec: did you mean requiredScopes?"
)]
#[case("{server}  endpointUrl: ftp://x\n{server}", "duplicate")]
#[case("{server}---\n{server}", "McpServer invoices is also at mcp/a.yaml:1")]
#[case("{server}---\n{twin}", "McpServer twin: spec.port 8000 is also that of McpServer invoices")]
#[case("{server}  tokenLifetimeSeconds: 5\n", "spec.tokenLifetimeSeconds must be between 60 and 86400")]
#[case("{server}  requireDpop: true\n", "spec.requireDpop: true is not enforced by this version")]
#[case("{server}  allowedClients: [nobody]\n", "names no McpClient that is here: spec.allowedClients default/nobody")]
#[case("{badurl}", "spec.resourceUri")]
#[case("{undeclared}", "spec.requiredScopes names scope \"mcp:other\", which spec.scopes does not declare")]
fn mistakes_in_manifests(#[case] text: &str, #[case] told: &str) {
    let server = server(8000);
    let text = text
        .replace("{server}", &server)
        .replace("{twin}", &server.replace("name: invoices", "name: twin").replace("invoices.acme", "twin.acme"))
        .replace("{badurl}", &server.replace("https://invoices.acme.example/mcp", "invoices"))
        .replace("{undeclared}", &server.replace("requiredScopes: [\"mcp:read\"]", "requiredScopes: [\"mcp:other\"]"));
    let directory = directory(&[("a.yaml", &text)]);
    let (listen, sidecar) = free_ports(2);
    let flags = ["--dir", "mcp", "--listen", &format!("127.0.0.1:{listen}"), "--sidecar-port", &sidecar.to_string()];
    let (exit, said) = failing(directory.path(), &flags);
    assert!(exit == Some(1) && said.contains(told), "{exit:?}: {said}");
}

#[test]
fn ports_in_use() {
    let directory = directory(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (free, _) = free_ports(1);
    let (exit, said) = failing(directory.path(), &["--listen", &format!("127.0.0.1:{port}")]);
    assert!(exit == Some(1) && said.contains(&format!("--listen 127.0.0.1:{port} is in use")), "{exit:?}: {said}");
    let flags = ["--listen", &format!("127.0.0.1:{free}"), "--sidecar-port", &port.to_string()];
    let (exit, said) = failing(directory.path(), &flags);
    assert!(exit == Some(1) && said.contains("is in use") && said.contains("--sidecar-port"), "{exit:?}: {said}");
}

/// Without a command, and with one that does not exist, people are told what there is.
#[test]
fn help_shows_examples() {
    let output = Command::new(BINARY).args(["local", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in ["--protect", "--dir", "--listen", "--data", "LUMOAUTH_LOCAL_LISTEN", "Examples:"] {
        assert!(help.contains(part), "no {part} in {help}");
    }
    assert_eq!(Command::new(BINARY).arg("lokal").stderr(Stdio::null()).status().unwrap().code(), Some(2));
    let mut stdout = String::new();
    let mut bare = Command::new(BINARY).stderr(Stdio::piped()).spawn().unwrap();
    bare.stderr.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(stdout.contains("demo-server") && bare.wait().unwrap().code() == Some(2), "{stdout}");
}
