//! `manifests/overlays/postgresql`: several authorization servers that know the same. The database is one of this
//! machine (`LUMOAUTH_TEST_POSTGRES`, the URL that `tests/postgresql up` prints), which pods reach at the node's address.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use reqwest::Certificate;
use url::Url;

use super::{
    install,
    people::{PASSWORD, add_alice},
    tokens::{AS_HOST, REPLICAS, RESOURCE, TokenClient, replicas},
    wait_deployments,
};
use crate::support::{
    apply_text, eventually, kubectl,
    login::{Person, builder},
    oauth::App,
    root, try_kubectl,
};

const NAMESPACE: &str = "lumoauth-system";
/// The namespace and organization of this test's own objects.
const ORG: &str = "postgresql";

/// A database of this test's own; dropped at its end.
struct Database {
    owner: Url,
    name: &'static str,
    /// Its URL for pods.
    url: Url,
}

impl Database {
    fn new(name: &'static str) -> Self {
        let owner = std::env::var("LUMOAUTH_TEST_POSTGRES")
            .expect("set LUMOAUTH_TEST_POSTGRES to the URL of a PostgreSQL (tests/postgresql up prints one)");
        let owner = Url::parse(&owner).unwrap();
        let mut url = owner.clone();
        url.set_path(name);
        let address = forward(owner.host_str().unwrap(), owner.port().unwrap_or(5432));
        url.set_host(Some(&address.0)).unwrap();
        url.set_port(Some(address.1)).unwrap();
        let this = Self { owner, name, url };
        this.drop_it();
        query(&this.owner, &format!("CREATE DATABASE {name}"));
        this
    }

    fn ask(&self, statement: &str) -> String {
        let mut url = self.owner.clone();
        url.set_path(self.name);
        query(&url, statement)
    }

    fn drop_it(&self) {
        query(&self.owner, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// Runs one statement; gives its answer without a heading.
fn query(at: &Url, statement: &str) -> String {
    let output = Command::new("psql").args([at.as_str(), "-X", "-A", "-t", "-c", statement]).output().unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Lets pods reach a port of this machine's loopback; gives where.
fn forward(host: &str, port: u16) -> (String, u16) {
    let node =
        kubectl(&["get", "nodes", "-o", r#"jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#]);
    let listener = TcpListener::bind((node.as_str(), 0)).unwrap();
    let listens = listener.local_addr().unwrap().port();
    let host = host.to_owned();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect((host.as_str(), port)) else { continue };
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (node, listens)
}

/// The system as the overlay makes it; as install.yaml makes it again at the end.
struct Overlay(Database);

impl Overlay {
    fn apply(database: Database) -> Self {
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "lumoauth-postgresql", "namespace": NAMESPACE},
            "stringData": {"url": database.url.as_str()},
        });
        apply_text(&["apply", "-f", "-"], &secret.to_string());
        let overlay = root().join("manifests/overlays/postgresql");
        let this = Self(database);
        apply_text(&["apply", "--server-side", "-f", "-"], &kubectl(&["kustomize", overlay.to_str().unwrap()]));
        wait_deployments();
        this
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ =
            try_kubectl(&["apply", "--server-side", "-f", root().join("manifests/install.yaml").to_str().unwrap()], "");
        let _ = try_kubectl(
            &["rollout", "status", "deployment/lumoauth-authserver", "-n", NAMESPACE, "--timeout=120s"],
            "",
        );
        let _ = try_kubectl(&["delete", "secret", "lumoauth-postgresql", "-n", NAMESPACE], "");
        if !thread::panicking() {
            self.0.drop_it();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn two_authorization_servers_share_a_postgresql() {
    install();
    let overlay = Overlay::apply(Database::new("lumoauth_overlay"));
    let [(_, one), (_, other)] = replicas(2).try_into().unwrap();
    let claims = "jsonpath={.items[*].spec.volumes[*].persistentVolumeClaim}";
    let claims = kubectl(&["get", "pods", "-n", NAMESPACE, "-l", REPLICAS, "-o", claims]);
    assert_eq!(claims, "", "no volume keeps them from rolling");
    assert_eq!(overlay.0.ask("SELECT COUNT(*) = MAX(step) FROM schema_steps"), "t", "each step was taken once");

    let client = TokenClient::new(ORG);
    let (good, bad) = (client.token(&one), client.token(&other));
    for replica in [&one, &other] {
        assert!(client.is_active(replica, &good) && client.is_active(replica, &bad));
    }
    client.revoke(&one, &bad);
    // Each replica remembers the lists for a second.
    eventually("both replicas know what one revoked", Duration::from_secs(5), || {
        let active = [&one, &other].map(|replica| client.is_active(replica, &bad));
        if active == [false, false] { Ok(()) } else { Err(format!("{active:?}")) }
    });
    for replica in [&one, &other] {
        assert!(client.is_active(replica, &good));
    }
    a_person_meets_both(&client, &one, &other).await;

    // The database ends every connection, as when it fails over: they are made anew.
    overlay.0.ask(
        "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    for replica in [&one, &other] {
        assert!(client.is_active(replica, &good) && !client.is_active(replica, &bad));
    }
}

/// A browser and its client, whose requests a Service spreads over the replicas.
async fn a_person_meets_both(client: &TokenClient, one: &str, other: &str) {
    add_alice(ORG);
    let certificate = Certificate::from_pem(&std::fs::read(client.ca.path()).unwrap()).unwrap();
    let [at_one, at_other] = [one, other].map(|replica| {
        let address = SocketAddr::new(replica.parse().unwrap(), 8443);
        builder().tls_certs_only([certificate.clone()]).resolve(AS_HOST, address).build().unwrap()
    });
    let issuer = format!("https://{AS_HOST}/orgs/{ORG}/api/v1");
    let app = App::known(at_one.clone(), &issuer, RESOURCE, &client.desktop()).await;
    let by_other = app.by(at_other.clone());

    let mut person = Person::new(at_one, "alice", PASSWORD);
    let code = app.code(&mut person, "mcp:read").await;
    let mut person = person.by(at_other);
    let account = person.page(&format!("{issuer}/account")).await;
    assert!(account.contains("Desktop"), "the session of one is known at the other, and what was allowed: {account}");
    let tokens = by_other.redeem(&code).await.unwrap();
    let refreshed = app.refresh(&tokens.text("refresh_token")).await.unwrap().text("refresh_token");
    let replayed = app.redeem(&code).await.unwrap();
    assert_eq!(
        (replayed.status, replayed.error()),
        (400, Some("invalid_grant")),
        "redeemed at the other: {replayed:?}"
    );
    let ended = by_other.refresh(&refreshed).await.unwrap();
    assert_eq!((ended.status, ended.error()), (400, Some("invalid_grant")), "the replay ended the grant: {ended:?}");
}
