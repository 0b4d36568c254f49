//! What every store keeps to, written once and run on SQLite and PostgreSQL. The latter needs a server where the tests
//! may make schemas: its URL is in LUMOAUTH_TEST_POSTGRES.

mod clients;
mod codes;
mod devices;
mod open;
mod people;
mod refresh;
mod status;
mod upkeep;

use std::{
    fs,
    future::Future,
    time::{Duration, Instant},
};

use lumoauth_core::{ClientId, ResourceUri, ScopeSet, UnixTime, pkce::CodeChallenge};
use prometheus_client::metrics::counter::Counter;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, raw_sql};
use tempfile::TempDir;
use url::Url;

use super::{
    BLOCK_SIZE, Consent, Grant, GrantId, NewCode, NewDevice, NewGrant, NewRegistration, NewSession, NewUser,
    PasswordHash, Redeemed, Rotated, Rotation, StatusIndex, Store, StoreError, User, UserName,
};
use crate::{
    authserver::artefact::{Digest, Family, random},
    registry::OrgId,
    settings::Storage,
};

const NOW: UnixTime = UnixTime(1_800_000_000);
const DAY: u64 = 86_400;

/// A database of one test's own.
struct Database {
    storage: Storage,
    directory: TempDir,
    /// PostgreSQL: the server, and the schema there.
    schema: Option<(String, String)>,
}

impl Store {
    /// Runs a statement that the program has none for.
    pub(in crate::authserver) async fn execute(&self, statement: &'static str) {
        self.run(super::rows::sql(statement)).await.unwrap();
    }
}

impl Database {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { storage: Storage::Sqlite { path: directory.path().join("lumoauth.db") }, directory, schema: None }
    }

    async fn postgres() -> Self {
        let server = std::env::var("LUMOAUTH_TEST_POSTGRES").expect("LUMOAUTH_TEST_POSTGRES is the URL of a server");
        let schema = format!("test_{}", lumoauth_core::digest::hex(&random::<8>().unwrap()));
        execute(&server, format!("CREATE SCHEMA {schema}")).await;
        let mut url = Url::parse(&server).unwrap();
        url.query_pairs_mut().append_pair("options[search_path]", &schema).append_pair("application_name", &schema);
        let directory = tempfile::tempdir().unwrap();
        let url_file = directory.path().join("url");
        fs::write(&url_file, format!("{url}\n")).unwrap();
        Self { storage: Storage::Postgres { url_file }, directory, schema: Some((server, schema)) }
    }

    async fn open(&self) -> Store {
        Store::open(&self.storage, Counter::default()).await.unwrap()
    }

    async fn remove(self) {
        if let Some((server, schema)) = self.schema {
            execute(&server, format!("DROP SCHEMA {schema} CASCADE")).await;
        }
        self.directory.close().unwrap();
    }
}

async fn execute(server: &str, statement: String) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(server).await.unwrap();
    raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Makes a test of each function for each database.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    let database = crate::authserver::store::contract::Database::sqlite();
                    super::$name(&database).await;
                    database.remove().await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                #[ignore = "needs PostgreSQL"]
                async fn $name() {
                    let database = crate::authserver::store::contract::Database::postgres().await;
                    super::$name(&database).await;
                    database.remove().await;
                }
            )*
        }
    };
}
use contract;

/// Runs all at once, and gives what each came to.
async fn together<T: Send + 'static>(
    all: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = all.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// Begins many transactions, and stops waiting for them at any point of it.
async fn abandon(store: &Store) {
    for micros in (0..1500).step_by(5) {
        let begun = tokio::spawn({
            let store = store.clone();
            async move {
                let mut writer = store.change(&org()).await.unwrap();
                writer.run(super::rows::sql("SELECT 1")).await.unwrap();
                std::future::pending::<()>().await;
            }
        });
        let until = Instant::now() + Duration::from_micros(micros);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        begun.abort();
        drop(begun.await);
    }
}

fn org() -> OrgId {
    OrgId::parse("acme").unwrap()
}

fn other_org() -> OrgId {
    OrgId::parse("other").unwrap()
}

fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

fn resource() -> ResourceUri {
    ResourceUri::parse("https://invoices.acme.example/mcp").unwrap()
}

fn granted() -> Vec<(ResourceUri, ScopeSet)> {
    vec![(resource(), ScopeSet::parse("mcp:read mcp:write").unwrap())]
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        name: UserName::parse(name).unwrap(),
        password_hash: PasswordHash::new("$argon2id$x".to_owned()),
        groups: vec!["staff".to_owned(), "ärzte, \"a\"".to_owned()],
    }
}

async fn user(store: &Store, name: &str) -> User {
    store.add_user(&org(), new_user(name), NOW).await.unwrap()
}

/// A session, and with it the device whose cookie is `device of` that of the session.
fn new_session(user: &User, cookie: &str) -> NewSession {
    NewSession {
        digest: Digest::of(cookie),
        user: user.id.clone(),
        verified: user.password_hash.clone(),
        expires_at: NOW.plus(DAY),
        device: NewDevice {
            digest: Digest::of(&format!("device of {cookie}")),
            replaces: None,
            expires_at: NOW.plus(365 * DAY),
        },
    }
}

/// Whose device it is, with which `cookie` was started.
async fn device_user(store: &Store, cookie: &str) -> Option<UserName> {
    store.device_user(&org(), &Digest::of(&format!("device of {cookie}")), NOW).await.unwrap()
}

fn consent(scopes: &str) -> Consent {
    Consent {
        scopes: ScopeSet::parse(scopes).unwrap(),
        offline: true,
        fingerprint: Digest::of("what was shown"),
        destination: Digest::of("where the answer went"),
        given_at: NOW,
    }
}

fn new_code(user: &User, text: &str) -> NewCode {
    NewCode {
        digest: Digest::of(text),
        client: client("https://app.example/client.json"),
        user: user.id.clone(),
        redirect_uri: "http://127.0.0.1:4242/callback?x=%20y".to_owned(),
        challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".parse::<CodeChallenge>().unwrap(),
        resources: granted(),
        offline: true,
        issued_at: NOW,
        expires_at: NOW.plus(60),
    }
}

fn some_grant() -> GrantId {
    GrantId::of(&Family::generate().unwrap())
}

/// A grant's identifier, and a status index of a block of its own.
async fn new_grant(store: &Store) -> NewGrant {
    let block = store.lease_block(&org(), None, NOW.plus(DAY), NOW).await.unwrap().unwrap();
    NewGrant { id: some_grant(), status: StatusIndex { list: block.list, index: block.first } }
}

/// A grant of `user` to the client of [`new_code`], with the refresh token `text` of 30 days.
async fn grant(store: &Store, user: &User, text: &str) -> Grant {
    let code = new_code(user, &format!("code of {text}"));
    assert!(store.issue_code(&org(), &code, &[]).await.unwrap());
    let refresh = Some((Digest::of(text), NOW.plus(30 * DAY)));
    match store.redeem_code(&org(), &code.digest, new_grant(store).await, refresh, NOW).await.unwrap() {
        Redeemed::Fresh(grant) => grant,
        other => panic!("{other:?}"),
    }
}

fn rotation(grant: &Grant, (old, new): (&str, &str), salt: u8, now: UnixTime) -> Rotation {
    let (old, new, expires_at) = (Digest::of(old), Digest::of(new), now.plus(30 * DAY));
    Rotation { grant: grant.id.clone(), old, salt: [salt; 32], new, expires_at, now }
}

async fn mark_used(store: &Store, org: &OrgId, id: &ClientId, now: UnixTime) {
    let mut writer = store.begin().await.unwrap();
    writer.mark_used(org, id, now).await.unwrap();
    writer.commit().await.unwrap();
}

/// Whether the refresh token `text` of a grant gives another one; `next` is what it would give.
async fn is_live(store: &Store, grant: &Grant, text: &str, next: &str, now: UnixTime) -> bool {
    store.rotate(&org(), &rotation(grant, (text, next), 9, now)).await.unwrap() == Rotated::Fresh
}

async fn is_revoked(store: &Store, grant: &Grant) -> bool {
    let revoked = store.grant(&org(), &grant.id).await.unwrap().unwrap().revoked;
    // However it is asked, the answer is the same.
    let bits = store.status_list(&org(), grant.status.list).await.unwrap().unwrap();
    assert_eq!(bits.is_set(grant.status.index), revoked);
    assert_eq!(store.is_revoked(&org(), grant.status).await.unwrap(), revoked);
    revoked
}

fn new_registration(id: &str) -> NewRegistration {
    NewRegistration {
        id: client(id),
        metadata: r#"{"client_name":"Größe"}"#.to_owned(),
        secret: None,
        access_token: Digest::of("lrg_"),
        expires_unused_at: NOW.plus(DAY),
    }
}
