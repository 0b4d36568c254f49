//! People's tokens over real HTTP, at `lumoauth local`: what must happen once happens once, what was revoked is dead,
//! and what was answered survives a process that is killed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use crate::support::{
    local::{Local, free_ports},
    login::{Person, http},
    oauth::{Answer, App},
};

const BOTH: &str = "mcp:read mcp:write";

/// A run of the demo, its user, and a client that registered itself.
struct World {
    local: Local,
    person: Person,
    app: App,
    directory: TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let local = Local::start(directory.path(), &[]);
        let (name, password) = local.user();
        let person = Person::new(http(), &name, &password);
        let app = App::register(http(), &local.issuer(), &local.resource()).await;
        Self { local, person, app, directory }
    }
}

/// What all of `requests` gave, sent at once.
async fn at_once<F>(requests: impl IntoIterator<Item = F>) -> Vec<Answer>
where
    F: Future<Output = reqwest::Result<Answer>> + Send + 'static,
{
    let requests: JoinSet<_> = requests.into_iter().collect();
    requests.join_all().await.into_iter().map(Result::unwrap).collect()
}

/// RFC 6749 section 4.1.2 and OAuth 2.1 section 4.1.3: a code is good for one request, and a second one takes back what
/// came of it.
#[tokio::test(flavor = "multi_thread")]
async fn of_100_redemptions_of_a_code_one_succeeds() {
    let World { mut person, app, local: _local, directory: _directory } = World::new().await;
    let code = app.code(&mut person, BOTH).await;
    let answers = at_once((0..100).map(|_| {
        let (app, code) = (app.clone(), code.clone());
        async move { app.redeem(&code).await }
    }))
    .await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(good.len(), 1, "{good:?}");
    assert!(bad.iter().all(|answer| answer.status == 400 && answer.error() == Some("invalid_grant")), "{bad:?}");
    let refreshed = app.refresh(&good[0].text("refresh_token")).await.unwrap();
    assert_eq!(refreshed.error(), Some("invalid_grant"), "the replay revoked the family: {refreshed:?}");
    dead(&app, &good[0].text("access_token"), "a replayed code").await;
}

/// RFC 9700 section 4.14: however often a client asks, there is one family and one successor in it; a token that comes
/// after its successor was used ends the family.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_leave_one_live_family() {
    let World { mut person, app, local: _local, directory: _directory } = World::new().await;
    let first = app.tokens(&mut person, BOTH).await.text("refresh_token");
    let answers = at_once((0..50).map(|_| {
        let (app, first) = (app.clone(), first.clone());
        async move { app.refresh(&first).await }
    }))
    .await;
    let successors: BTreeSet<_> = answers.iter().map(|answer| answer.text("refresh_token")).collect();
    assert_eq!(successors.len(), 1, "{successors:?}");
    let second = successors.first().unwrap();
    assert_ne!(*second, first);
    let third = app.refresh(second).await.unwrap();
    let (access, third) = (third.text("access_token"), third.text("refresh_token"));
    assert_eq!(app.call(&access, "search_invoices").await, 200);

    let reused = app.refresh(&first).await.unwrap();
    assert_eq!((reused.status, reused.error()), (400, Some("invalid_grant")), "{reused:?}");
    let ended = app.refresh(&third).await.unwrap();
    assert_eq!((ended.status, ended.error()), (400, Some("invalid_grant")), "{ended:?}");
    dead(&app, &access, "reuse of a refresh token").await;
}

/// RFC 7009, at the authorization server and at the sidecar, which is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_dead_in_the_sidecar() {
    let World { mut person, app, local: _local, directory: _directory } = World::new().await;
    let other = app.tokens(&mut person, BOTH).await;
    for revoked in ["access_token", "refresh_token"] {
        let tokens = app.tokens(&mut person, BOTH).await;
        let access = tokens.text("access_token");
        assert_eq!(app.call(&access, "send_reminder").await, 200);
        assert_eq!(app.revoke(&tokens.text(revoked)).await.unwrap(), 200);
        dead(&app, &access, &format!("a revoked {revoked}")).await;
        let refreshed = app.refresh(&tokens.text("refresh_token")).await.unwrap();
        assert_eq!(refreshed.error(), Some("invalid_grant"), "{refreshed:?}");
    }
    assert_eq!(app.call(&other.text("access_token"), "send_reminder").await, 200, "what nobody revoked lives");
}

/// Waits until the sidecar refuses a token.
async fn dead(app: &App, token: &str, what: &str) {
    let begin = Instant::now();
    loop {
        let status = app.call(token, "search_invoices").await;
        if status == 401 {
            println!("{what}: the sidecar refused after {:.1} s (target 5 s)", begin.elapsed().as_secs_f64());
            return;
        }
        assert_eq!(status, 200, "{what}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}: the sidecar still lets it through");
        sleep(Duration::from_millis(100)).await;
    }
}

/// What the authorization server said that it did, as its clients heard it.
#[derive(Default)]
struct Heard {
    /// The last refresh token of each family that nobody revoked.
    live: Vec<String>,
    /// Refresh tokens of families that were revoked.
    revoked: Vec<String>,
    registrations: Vec<Value>,
    /// How often it answered.
    answers: usize,
}

/// Whatever a process was doing when it was killed, what it had answered holds for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_kill_9() {
    const ROUNDS: usize = 6;
    const FAMILIES: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let ports = free_ports(3);
    let mut local = Local::start_on(directory.path(), &[], ports);
    let (name, password) = local.user();
    let app = App::register(http(), &local.issuer(), &local.resource()).await;
    let mut answers = 0;
    for round in 0..ROUNDS {
        // Somebody who has not been here yet: the user has to be there too.
        let mut person = Person::new(http(), &name, &password);
        let mut live = Vec::new();
        for _ in 0..2 * FAMILIES {
            live.push(app.tokens(&mut person, BOTH).await.text("refresh_token"));
        }
        let doomed = live.split_off(FAMILIES);
        let heard = Arc::new(Mutex::new(Heard { live, ..Heard::default() }));
        let mut work = JoinSet::new();
        for family in 0..FAMILIES {
            work.spawn(refreshing(app.clone(), heard.clone(), family));
        }
        work.spawn(revoking(app.clone(), heard.clone(), doomed));
        work.spawn(registering(app.clone(), heard.clone()));
        sleep(Duration::from_millis(20 + random() % 300)).await;
        assert_eq!(local.stop("-KILL"), None, "killed by a signal");
        work.join_all().await;
        local = Local::start_on(directory.path(), &[], ports);
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        for (family, token) in heard.live.iter().enumerate() {
            let answer = app.refresh(token).await.unwrap();
            assert_eq!(answer.status, 200, "round {round}, family {family}: {answer:?}");
        }
        for token in &heard.revoked {
            let answer = app.refresh(token).await.unwrap();
            assert_eq!((answer.status, answer.error()), (400, Some("invalid_grant")), "round {round}: {answer:?}");
        }
        for registration in &heard.registrations {
            assert_eq!(app.registered(registration).await, 200, "round {round}: {registration}");
        }
        answers += heard.answers;
    }
    println!("{answers} answers in {ROUNDS} lives, none of them lost");
    assert!(answers > ROUNDS, "it was killed while it worked: {answers}");
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// Notes an answer.
fn note(heard: &Mutex<Heard>, said: impl FnOnce(&mut Heard)) {
    let mut heard = heard.lock().unwrap();
    heard.answers += 1;
    said(&mut heard);
}

/// Refreshes a family until there is no answer any more.
async fn refreshing(app: App, heard: Arc<Mutex<Heard>>, family: usize) {
    loop {
        let token = heard.lock().unwrap().live[family].clone();
        let Ok(answer) = app.refresh(&token).await else { return };
        let next = answer.text("refresh_token");
        note(&heard, |heard| heard.live[family] = next);
    }
}

/// Revokes families until there is no answer any more.
async fn revoking(app: App, heard: Arc<Mutex<Heard>>, families: Vec<String>) {
    for token in families {
        let Ok(status) = app.revoke(&token).await else { return };
        assert_eq!(status, 200);
        note(&heard, |heard| heard.revoked.push(token));
        sleep(Duration::from_millis(random() % 40)).await;
    }
}

/// Registers clients until there is no answer any more, or there were too many.
async fn registering(app: App, heard: Arc<Mutex<Heard>>) {
    while let Ok(answer) = app.try_register().await
        && answer.status == 201
    {
        note(&heard, |heard| heard.registrations.push(answer.body));
        sleep(Duration::from_millis(random() % 40)).await;
    }
}
