//! Configuration as it comes and goes, and what the admin port says of it.

use std::{path::Path, time::Duration};

use lumoauth_sidecar::{ConfigReport, ReportedState};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, Bench, Client, config, deny_all, options, post, tool_call, until, with_oauth};

/// The admin port of `bench`.
pub(crate) struct Admin(pub(crate) std::net::SocketAddr);

impl Admin {
    pub(crate) async fn start(bench: &Bench) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(bench.sidecar.serve_admin(listener, CancellationToken::new()));
        Self(address)
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        let mut client = Client(TcpStream::connect(self.0).await.unwrap(), Vec::new());
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        Answer::parse(client.closed().await.as_bytes())
    }

    async fn report(&self) -> ConfigReport {
        serde_json::from_value(self.ask("GET", "/config").await.json()).unwrap()
    }
}

fn follow(bench: &Bench, path: &Path) {
    let (config, path) = (bench.config.clone(), path.to_owned());
    tokio::spawn(async move { config.follow(path, CancellationToken::new()).await });
}

#[tokio::test]
async fn a_file_is_followed_and_a_broken_one_changes_nothing() {
    let bench = Bench::start_without_config(options()).await;
    let admin = Admin::start(&bench).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    follow(&bench, &path);
    assert_eq!(admin.ask("GET", "/readyz").await.status, 503);
    assert_eq!(admin.ask("GET", "/livez").await.status, 200);
    assert_eq!(admin.report().await.state, ReportedState::NoConfig);

    let first = config(bench.upstream.port, &bench.key).to_string();
    std::fs::write(&path, &first).unwrap();
    until(|| bench.config.report().state == ReportedState::Enforce).await;
    assert_eq!(admin.ask("GET", "/readyz").await.status, 200);
    let running = admin.report().await;
    assert_eq!(running.config_version, Some(1));
    assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200);

    for broken in ["{", "", r#"{"version":99,"server":{},"enforcement":{}}"#] {
        std::fs::write(&path, broken).unwrap();
        until(|| {
            bench
                .config
                .report()
                .last_refusal
                .is_some_and(|refusal| refusal.generation != running.generation.clone().unwrap())
        })
        .await;
        let report = admin.report().await;
        assert_eq!((report.state, &report.generation), (ReportedState::Enforce, &running.generation));
        assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200, "the last good one stays");
        assert_eq!(bench.call("x", &tool_call("read")).await.status, 401);
        std::fs::write(&path, &first).unwrap();
        until(|| bench.config.report().last_refusal.is_none()).await;
    }

    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200, "nor does a missing one");

    std::fs::write(&path, deny_all().to_string()).unwrap();
    until(|| bench.config.report().state == ReportedState::DenyAll).await;
    let report = admin.report().await;
    assert_eq!(report.deny_reason.as_deref(), Some("Deleted"));
    assert_eq!(admin.ask("GET", "/readyz").await.status, 200, "denying is what it was told to do");
    assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 503);
}

#[cfg(unix)]
#[tokio::test]
async fn a_projected_volume_is_enforced_within_a_second() {
    use std::os::unix::fs::symlink;
    let bench = Bench::start_without_config(options()).await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let publish = |name: &str, config: &Value| {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("config.json"), config.to_string()).unwrap();
        symlink(name, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    symlink("..data/config.json", at("config.json")).unwrap();
    publish("..1", &config(bench.upstream.port, &bench.key));
    follow(&bench, &at("config.json"));
    until(|| bench.config.report().state == ReportedState::Enforce).await;
    assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200);
    let stricter = with_oauth(config(bench.upstream.port, &bench.key), |oauth| {
        oauth["policy"]["rules"] = json!([{"selector": {"tools": ["*"]}, "effect": "deny"}]);
    });
    let before = std::time::Instant::now();
    publish("..2", &stricter);
    while bench.call(&bench.token(), &tool_call("read")).await.status != 403 {
        assert!(before.elapsed() < Duration::from_secs(20), "a changed rule should be enforced");
    }
    // Four looks' time; a busy machine may be late, a forgotten look never comes.
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
}

#[tokio::test]
async fn the_generation_names_the_bytes_in_force() {
    let bench = Bench::start().await;
    let admin = Admin::start(&bench).await;
    let bytes = config(bench.upstream.port, &bench.key).to_string();
    let generation = lumoauth_core::config::Generation::of(bytes.as_bytes());
    assert_eq!(admin.report().await.generation, Some(generation));
    let later = with_oauth(config(bench.upstream.port, &bench.key), |oauth| oauth["filterLists"] = json!(false));
    bench.load(&later);
    let generation = lumoauth_core::config::Generation::of(later.to_string().as_bytes());
    assert_eq!(admin.report().await.generation, Some(generation));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let bench = Bench::start().await;
    let good = config(bench.upstream.port, &bench.key);
    for (pointer, value) in [
        ("/enforcement/enforce/upstream/path", json!("mcp")),
        ("/enforcement/enforce/upstream/path", json!("/a?b")),
        ("/enforcement/enforce/upstream/path", json!("/a b")),
        ("/enforcement/enforce/hosts", json!(["a/b"])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(bench.config.load(bad.to_string().as_bytes()).is_err(), "{pointer}");
        assert!(bench.config.report().last_refusal.is_some());
        assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200);
    }
}

#[tokio::test]
async fn the_admin_port_reads_only_and_tells_no_secret() {
    let bench = Bench::start().await;
    let admin = Admin::start(&bench).await;
    let token = bench.token();
    bench.call(&token, &tool_call("read")).await;
    for i in 0..20 {
        bench.call(&token, &tool_call(&format!("tool{i}"))).await;
        bench.call(&token, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x/{i}"}}"#)).await;
    }
    bench.raw(post(&[], "{}")).await;
    let metrics = admin.ask("GET", "/metrics").await;
    assert_eq!(metrics.status, 200);
    let series: Vec<_> =
        metrics.body.lines().filter(|line| line.starts_with("lumoauth_sidecar_decisions_total")).collect();
    assert_eq!(series.len(), 3, "{series:?}");
    assert!(
        series.iter().any(|line| line.ends_with(r#"{decision="allow",reason="permitted",method="tools/call"} 21"#)),
        "{series:?}"
    );
    assert!(
        series.iter().any(|line| line.ends_with(r#"{decision="challenge",reason="no_token",method="none"} 1"#)),
        "{series:?}"
    );
    for path in ["/config", "/metrics", "/readyz", "/livez"] {
        let answer = admin.ask("GET", path).await;
        assert!(!answer.body.contains(&token) && !answer.body.contains("tool1"), "{path}");
        assert_eq!(admin.ask("POST", path).await.status, 405);
    }
    assert_eq!(admin.ask("GET", "/").await.status, 404);
}

#[tokio::test]
async fn sidecars_in_one_process_share_nothing() {
    let (a, b) = (Bench::start().await, Bench::start().await);
    assert_eq!(a.call(&a.token(), &tool_call("read")).await.status, 200);
    assert_eq!(b.call(&a.token(), &tool_call("read")).await.status, 401);
    b.load(&deny_all());
    assert_eq!(a.call(&a.token(), &tool_call("read")).await.status, 200);
    assert_eq!(Admin::start(&a).await.report().await.state, ReportedState::Enforce);
}
