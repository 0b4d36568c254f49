//! `manifests/overlays/postgresql`: several authorization servers that know the same. The database is one of this
//! machine (`LUMOAUTH_TEST_POSTGRES`, the URL that `tests/postgresql up` prints), which pods reach at the node's address.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use url::Url;

use super::{install, wait_deployments};
use crate::support::{apply_text, eventually, kubectl, root, try_kubectl};

const NAMESPACE: &str = "lumoauth-system";
const PODS: &str = "app.kubernetes.io/name=lumoauth-authserver";

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
        this.query(&this.owner, &format!("CREATE DATABASE {name}"));
        this
    }

    fn query(&self, at: &Url, statement: &str) -> String {
        let output = Command::new("psql").args([at.as_str(), "-X", "-A", "-t", "-c", statement]).output().unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn ask(&self, statement: &str) -> String {
        let mut url = self.owner.clone();
        url.set_path(self.name);
        self.query(&url, statement)
    }

    fn drop_it(&self) {
        self.query(&self.owner, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
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
            "stringData": {"url": database.url},
        });
        apply_text(&["apply", "-f", "-"], &secret.to_string());
        let overlay = root().join("manifests/overlays/postgresql");
        let this = Self(database);
        apply_text(&["apply", "--server-side", "-f", "-"], &kubectl(&["kustomize", overlay.to_str().unwrap()]));
        wait_deployments();
        this
    }

    /// The names of the authorization servers.
    fn replicas() -> Vec<String> {
        let running = kubectl(&["get", "pods", "-n", NAMESPACE, "-l", PODS, "-o", "name"]);
        running.lines().map(str::to_owned).collect()
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

#[test]
#[ignore = "needs a cluster"]
fn two_authorization_servers_share_a_postgresql() {
    install();
    let overlay = Overlay::apply(Database::new("lumoauth_overlay"));
    // The Recreate of install.yaml's one replica has ended when exactly the two are left.
    let (replicas, _) = eventually("two replicas", Duration::from_secs(60), || match Overlay::replicas() {
        two if two.len() == 2 => Ok(two),
        others => Err(format!("{others:?}")),
    });
    let claims = kubectl(&[
        "get",
        "pods",
        "-n",
        NAMESPACE,
        "-l",
        PODS,
        "-o",
        "jsonpath={.items[*].spec.volumes[*].persistentVolumeClaim}",
    ]);
    assert_eq!(claims, "", "no volume keeps them from rolling");
    assert_eq!(overlay.0.ask("SELECT COUNT(*) = MAX(step) FROM schema_steps"), "t", "each step was taken once");
    let connected = "SELECT COUNT(*) >= 2 FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
    eventually("both are connected", Duration::from_secs(90), || match overlay.0.ask(connected).as_str() {
        "t" => Ok(()),
        other => Err(other.to_owned()),
    });

    let [one, other] = replicas.as_slice() else { panic!("{replicas:?}") };
    let in_pod = |pod: &str, arguments: &[&str], input: &str| {
        let exec = ["exec", "-i", pod, "-n", NAMESPACE, "--", "lumoauth"];
        apply_text(&[&exec[..], arguments].concat(), input)
    };
    in_pod(one, &["user", "add", "ada", "--org", "quickstart"], "correct horse battery staple\n");
    let seen = in_pod(other, &["user", "list", "--org", "quickstart"], "");
    assert!(seen.contains("ada"), "{seen}");
}
