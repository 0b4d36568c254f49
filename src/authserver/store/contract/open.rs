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
    use super::*;

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
        let row = store.row(sql("SELECT COUNT(*) AS n FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()")).await;
        assert_eq!(row.unwrap().unwrap().number("n").unwrap(), 1);
        let told = open(another.path().to_str().unwrap()).await.unwrap_err().to_string();
        assert!(told.contains("UnknownIssuer"), "{told}");
    }
}
