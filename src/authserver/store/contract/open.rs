//! How each database is opened: what only one of them has.

use std::{
    fs::Permissions,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use super::*;
use crate::authserver::store::rows::{Columns as _, sql};

async fn refused(storage: &Storage) -> String {
    Store::open(storage, Counter::default()).await.unwrap_err().to_string()
}

async fn url(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    refused(&Storage::Postgres { url_file: file.path().to_owned() }).await
}

mod sqlite {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn nobody_else_reads_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b%20?#ä.db");
        let storage = Storage::Sqlite { path: path.clone() };
        let store = Store::open(&storage, Counter::default()).await.unwrap();
        user(&store, "ada").await;
        let mut files = 0;
        for file in fs::read_dir(directory.path()).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
            files += 1;
        }
        assert_eq!(files, 3, "the database, its log and its index");
        store.close().await;
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let store = Store::open(&storage, Counter::default()).await.unwrap();
        assert_eq!(mode(&path), 0o600, "taken back");
        assert_eq!(store.users(&org()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.db");
        fs::write(directory.path().join("real.db"), "").unwrap();
        symlink("real.db", &path).unwrap();
        let store = Store::open(&Storage::Sqlite { path }, Counter::default()).await.unwrap();
        user(&store, "ada").await;
        assert!(directory.path().join("real.db-wal").exists());
    }

    #[tokio::test]
    async fn what_is_no_database_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let told = refused(&Storage::Sqlite { path: missing.join("lumoauth.db") }).await;
        assert!(
            told.contains(missing.to_str().unwrap()) && told.contains("make it, or mount a volume there"),
            "{told}"
        );
        assert!(!missing.exists());

        let told = refused(&Storage::Sqlite { path: directory.path().to_owned() }).await;
        assert!(told.contains("cannot open"), "{told}");

        let text = directory.path().join("text");
        fs::write(&text, "This is not a database, and it is longer than the header of one would be.".repeat(20))
            .unwrap();
        let before = fs::read(&text).unwrap();
        let told = refused(&Storage::Sqlite { path: text.clone() }).await;
        assert!(told.contains("not a database"), "{told}");
        assert_eq!(fs::read(&text).unwrap(), before);
    }

    #[tokio::test]
    async fn what_fails_is_counted() {
        let database = Database::sqlite();
        let errors = Counter::default();
        let store = Store::open(&database.storage, errors.clone()).await.unwrap();
        assert_eq!(errors.get(), 0);
        store.close().await;
        assert!(store.users(&org()).await.is_err());
        assert!(store.add_user(&org(), new_user("ada"), NOW).await.is_err());
        assert_eq!(errors.get(), 2);
    }

    #[tokio::test]
    async fn urls_of_postgresql() {
        let gone = refused(&Storage::Postgres { url_file: "/nowhere/url".into() }).await;
        assert!(gone.contains("cannot read /nowhere/url"), "{gone}");
        for text in
            ["", "host=localhost password=s3cret", "mysql://u:s3cret@localhost/d", "sqlite:///tmp/s3cret", "//s3cret"]
        {
            let told = url(text).await;
            assert!(
                told.contains("write postgres://user:password@host/database") && !told.contains("s3cret"),
                "{told}"
            );
        }
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let told = url(&format!("postgres://u:s3cret@{nobody}/d?sslmode=disable")).await;
        assert!(told.contains("refused") && !told.contains("s3cret"), "{told}");
    }
}

mod postgres {
    use std::time::Duration;

    use tokio::{
        io::copy_bidirectional,
        net::{TcpListener, TcpStream},
        sync::watch,
        time::{Instant, sleep, timeout},
    };

    use super::*;

    /// A way to a server that can fall silent, without an end of the connections.
    async fn silenced(server: &Url) -> (Url, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("{}:{}", server.host_str().unwrap(), server.port().unwrap_or(5432));
        let mut here = server.clone();
        here.set_host(Some("127.0.0.1")).unwrap();
        here.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (silence, silent) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (there, mut silent) = (there.clone(), silent.clone());
                tokio::spawn(async move {
                    silent.wait_for(|silent| !*silent).await.unwrap();
                    let mut server = TcpStream::connect(there).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => return,
                        _ = silent.wait_for(|silent| *silent) => {}
                    }
                    // What was said is lost, and the sockets stay.
                    std::future::pending::<()>().await;
                });
            }
        });
        (here, silence)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[ignore = "needs PostgreSQL"]
    async fn a_server_that_falls_silent() {
        let database = Database::postgres().await;
        let Storage::Postgres { url_file } = &database.storage else { panic!() };
        let server = Url::parse(fs::read_to_string(url_file).unwrap().trim()).unwrap();
        let (url, silence) = silenced(&server).await;
        fs::write(url_file, url.as_str()).unwrap();
        let store = database.open().await;
        let ada = user(&store, "ada").await;
        let held = grant(&store, &ada, "refresh").await;
        // As many connections as there may be, in the pool and in the middle of something.
        together((0..40).map(|_| {
            let store = store.clone();
            async move { store.users(&org()).await.unwrap().len() }
        }))
        .await;
        silence.send_replace(true);
        let asked = Instant::now();
        let told = together((0..40).map(|at| {
            let (store, held) = (store.clone(), held.clone());
            async move {
                if at % 2 == 0 {
                    store.users(&org()).await.map(drop)
                } else {
                    store.revoke_grant(&org(), &held.id, NOW).await.map(drop)
                }
            }
        }))
        .await;
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        assert!(told.iter().all(Result::is_err), "{told:?}");
        silence.send_replace(false);
        let recovered = timeout(Duration::from_secs(20), async {
            while store.users(&org()).await.is_err() {
                sleep(Duration::from_millis(100)).await;
            }
        });
        recovered.await.unwrap();
        assert_eq!(store.users(&org()).await.unwrap(), [ada]);
        assert!(store.revoke_grant(&org(), &held.id, NOW).await.unwrap(), "nothing was done halfway");
        store.close().await;
        database.remove().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[ignore = "needs PostgreSQL"]
    async fn who_stops_waiting_leaves_no_transaction_open() {
        let database = Database::postgres().await;
        let store = database.open().await;
        abandon(&store).await;
        let idle = "SELECT COUNT(*) AS n FROM pg_stat_activity \
                    WHERE application_name = current_schema() AND state LIKE 'idle in transaction%'";
        let none = timeout(Duration::from_secs(4), async {
            while store.row(sql(idle), |row| row.number("n")).await.unwrap() != Some(0) {
                sleep(Duration::from_millis(100)).await;
            }
        });
        none.await.unwrap();
        store.close().await;
        database.remove().await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn the_server_proves_itself() {
        let server = Url::parse(&std::env::var("LUMOAUTH_TEST_POSTGRES").unwrap()).unwrap();
        let mut connection = AnyConnection::connect(server.as_str()).await.unwrap();
        let row = sql("SHOW ssl_ca_file").fetch_one(&mut connection).await.unwrap();
        let known = row.get::<String>("ssl_ca_file").unwrap();
        let another = tempfile::NamedTempFile::new().unwrap();
        let unknown = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(another.path(), unknown.cert.pem()).unwrap();
        let open = async |root: &str| {
            let mut trusting = server.clone();
            trusting.set_query(Some("sslmode=verify-full"));
            trusting.query_pairs_mut().append_pair("sslrootcert", root);
            let url_file = tempfile::NamedTempFile::new().unwrap();
            fs::write(url_file.path(), trusting.as_str()).unwrap();
            Store::open(&Storage::Postgres { url_file: url_file.path().to_owned() }, Counter::default()).await
        };
        let store = open(&known).await.unwrap();
        let encrypted = sql("SELECT COUNT(*) AS n FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()");
        assert_eq!(store.row(encrypted, |row| row.number("n")).await.unwrap(), Some(1));
        let told = open(another.path().to_str().unwrap()).await.unwrap_err().to_string();
        assert!(told.contains("UnknownIssuer"), "{told}");
    }
}
