//! What nobody can use up: memory, connections, the admin port.

use std::{
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use lumoauth_sidecar::Limits;
use rstest::rstest;
use tokio::net::TcpStream;

use crate::{
    configuration::Admin,
    harness::{Bench, Client, Key, Recorder, config, options, post, request, tool_call, until},
    program::Program,
};

/// What the operator gives the container unless it is told otherwise.
const MEMORY_LIMIT: usize = 128 * 1024 * 1024;

/// Peak memory of a process, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Each case is what one connection sends and never finishes.
#[cfg(target_os = "linux")]
#[rstest]
#[case::a_line(0, 15_500, 0)]
#[case::many_lines(90, 155, 0)]
#[case::head_and_body(90, 130, 8_100)]
#[tokio::test]
async fn as_many_connections_as_are_served_fit_into_memory(
    #[case] lines: usize,
    #[case] length: usize,
    #[case] body: usize,
) {
    const CONNECTIONS: usize = 256;
    let upstream = Recorder::start().await;
    let key = Key::new("k1");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, config(upstream.port, &key).to_string()).unwrap();
    let program = Program::start(&path).await;
    program.ready().await;
    let authorization = format!("Bearer {}", key.token(|_| {}));
    assert_eq!(program.raw(post(&[("Authorization", &authorization)], &tool_call("read"))).await.status, 200);

    let lines: Vec<String> = (0..lines).map(|i| format!("X-{i}: {}\r\n", "x".repeat(length))).collect();
    let end = if body > 0 { format!("\r\n{}", " ".repeat(body)) } else { format!("X: {}", "x".repeat(length)) };
    let unfinished = format!(
        "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nContent-Type: application/json\r\n\
         Authorization: {authorization}\r\nContent-Length: 60000\r\n{}{end}",
        lines.concat()
    );

    let before = peak_memory(program.pid());
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = program.connect().await;
        client.send(&unfinished).await;
        open.push(client);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let connections = program.admin("/metrics").await.body;
    assert!(connections.contains(&format!("lumoauth_sidecar_connections {CONNECTIONS}")), "{connections}");
    let each = (peak_memory(program.pid()) - before) / CONNECTIONS;
    let limits = Limits::default();
    let most = before + each * limits.max_connections + limits.body_bytes;
    println!("{before} + {each} per connection: {most}");
    assert!(most < MEMORY_LIMIT, "{before} + {each} per connection: {most}");
}

#[tokio::test]
async fn bodies_that_do_not_end_leave_room_for_calls() {
    let mut options = options();
    options.limits.body_bytes = 112 * 1024;
    options.limits.body_idle = Duration::from_secs(1);
    let bench = Bench::start_with(options, |config| config).await;
    let token = format!("Bearer {}", bench.token());
    let large = format!("{}{}", tool_call("read"), " ".repeat(65_000));
    let whole = request("POST", "/mcp", &[("Authorization", &token)], &large);
    // Two such bodies are all there is room for; both go on, a byte at a time, and do not end.
    let (first, rest) = whole.split_at(whole.len() - 200);
    let mut holders = [bench.connect().await, bench.connect().await];
    for holder in &mut holders {
        holder.send(first).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let third = bench.raw(post(&[("Authorization", &token)], &large));
    let mut third = std::pin::pin!(third);
    let mut sent = 0;
    let refused = loop {
        tokio::select! {
            answer = third.as_mut() => break answer,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                for holder in &mut holders {
                    holder.send(&rest[sent..=sent]).await;
                }
                sent += 1;
            }
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200, "a small body needs no room");
    for holder in &mut holders {
        holder.send(&rest[sent..]).await;
        assert_eq!(holder.answer().await.status, 200);
    }
    // What was sent on holds no room.
    for _ in 0..3 {
        assert_eq!(bench.raw(post(&[("Authorization", &token)], &large)).await.status, 200);
    }
}

#[tokio::test]
async fn room_for_the_largest_body_is_always_there() {
    let mut options = options();
    options.limits.body_bytes = 0;
    let bench = Bench::start_with(options, |config| config).await;
    let token = bench.token();
    let large = format!("{}{}", tool_call("read"), " ".repeat(65_000));
    for _ in 0..3 {
        assert_eq!(bench.call(&token, &large).await.status, 200);
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_early_and_one_that_has_called_is_kept() {
    let mut options = options();
    options.limits.first_byte = Duration::from_millis(300);
    let bench = Bench::start_with(options, |config| config).await;
    let mut caller = bench.connect().await;
    caller.send(request("POST", "/mcp", &[], "{}")).await;
    assert_eq!(caller.answer().await.status, 401);
    assert_eq!(bench.connect().await.closed().await, "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    caller.send(request("POST", "/mcp", &[], "{}")).await;
    assert_eq!(caller.answer().await.status, 401);
}

#[tokio::test]
async fn the_admin_port_answers_whoever_else_is_connected() {
    let bench = Bench::start().await;
    let admin = Admin::start(&bench).await;
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(Client(TcpStream::connect(admin.0).await.unwrap(), Vec::new()));
    }
    let before = Instant::now();
    assert_eq!(admin.ask("GET", "/readyz").await.status, 200);
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    for mut client in silent {
        assert_eq!(client.closed().await, "");
    }
}

#[tokio::test]
async fn an_admin_connection_carries_one_request() {
    let bench = Bench::start().await;
    let admin = Admin::start(&bench).await;
    let mut client = Client(TcpStream::connect(admin.0).await.unwrap(), Vec::new());
    client.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.closed().await.matches("HTTP/1.1").count(), 1);
}

#[tokio::test]
async fn a_configuration_is_loaded_once_whoever_brings_it() {
    let bench = Bench::start_without_config(options()).await;
    let admin = Admin::start(&bench).await;
    let bytes = config(bench.upstream.port, &bench.key).to_string();
    let start = Arc::new(Barrier::new(8));
    let loading: Vec<_> = (0..8)
        .map(|_| {
            let (config, bytes, start) = (bench.config.clone(), bytes.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                config.load(bytes.as_bytes()).unwrap();
            })
        })
        .collect();
    until(|| loading.iter().all(std::thread::JoinHandle::is_finished)).await;
    let metrics = admin.ask("GET", "/metrics").await.body;
    assert!(metrics.contains(r#"lumoauth_sidecar_config_reloads_total{result="Ok"} 1"#), "{metrics}");
}
