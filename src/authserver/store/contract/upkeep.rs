use super::*;
use crate::authserver::store::{
    GRANT_TAIL_SECONDS, MAX_GRANTS, Registered, Swept,
    rows::{Columns as _, sql},
    sweep::{MARGIN_SECONDS, UNUSED_SECONDS},
};

contract![
    what_was_kept_is_there_after_a_restart,
    what_is_answered_is_kept_whoever_stopped_waiting,
    two_processes_on_one_database,
    processes_that_start_together,
    a_newer_schema_is_refused,
    what_cannot_be_made_out_is_counted,
    one_replica_sweeps,
    only_what_expired_is_swept,
    a_list_is_forgotten_with_its_last_token,
    redeemed_codes_go_with_their_grants,
    revoked_grants_stay_for_as_long_as_an_access_token,
    registrations_that_nobody_uses_are_forgotten,
];

async fn what_was_kept_is_there_after_a_restart(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let (live, dead) = (grant(&store, &ada, "live").await, grant(&store, &ada, "dead").await);
    store.revoke_grant(&org(), &dead.id, NOW).await.unwrap();
    store.close().await;
    assert!(matches!(store.users(&org()).await, Err(StoreError::Database(_))), "it is closed");
    let store = database.open().await;
    assert_eq!(store.users(&org()).await.unwrap(), [ada]);
    assert!(!is_revoked(&store, &live).await && is_revoked(&store, &dead).await);
    assert!(is_live(&store, &live, "live", "next", NOW).await && !is_live(&store, &dead, "dead", "x", NOW).await);
}

async fn what_is_answered_is_kept_whoever_stopped_waiting(database: &Database) {
    let store = database.open().await;
    abandon(&store).await;
    for at in 0..40 {
        user(&store, &format!("user{at}")).await;
    }
    assert_eq!(database.open().await.users(&org()).await.unwrap().len(), 40);
}

async fn two_processes_on_one_database(database: &Database) {
    let (server, command_line) = (database.open().await, database.open().await);
    let added = together((0..60).map(|at| {
        let store = if at % 2 == 0 { server.clone() } else { command_line.clone() };
        async move { store.add_user(&org(), new_user(&format!("user{at}")), NOW).await.map(drop) }
    }))
    .await;
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    let ada = user(&server, "ada").await;
    let grant = grant(&server, &ada, "refresh").await;
    assert!(command_line.set_user_disabled(&org(), &ada.id, true, NOW).await.unwrap());
    assert!(is_revoked(&server, &grant).await);
    assert_eq!(server.users(&org()).await.unwrap().len(), 61);
}

async fn processes_that_start_together(database: &Database) {
    let opened = together((0..8).map(|_| {
        let storage = database.storage.clone();
        async move { Store::open(&storage, Counter::default()).await }
    }))
    .await;
    let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    user(&stores[0], "ada").await;
    for store in stores {
        assert_eq!(store.users(&org()).await.unwrap().len(), 1);
    }
}

async fn a_newer_schema_is_refused(database: &Database) {
    let store = database.open().await;
    store.run(sql("INSERT INTO schema_steps (step) VALUES (7)")).await.unwrap();
    store.close().await;
    let refused = Store::open(&database.storage, Counter::default()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 7, known: 1 }), "{refused}");
    assert!(refused.to_string().contains("run the newer LumoAuth again"), "{refused}");
}

async fn what_cannot_be_made_out_is_counted(database: &Database) {
    let errors = Counter::default();
    let store = Store::open(&database.storage, errors.clone()).await.unwrap();
    let ada = user(&store, "ada").await;
    store.run(sql("UPDATE users SET member_of = 'staff'")).await.unwrap();
    assert!(store.user(&other_org(), &ada.id).await.unwrap().is_none());
    assert_eq!(errors.get(), 0);
    let one = store.user(&org(), &ada.id).await;
    assert!(matches!(one, Err(StoreError::Corrupt("member_of"))), "{one:?}");
    let all = store.users(&org()).await;
    assert!(matches!(all, Err(StoreError::Corrupt("member_of"))), "{all:?}");
    assert_eq!(errors.get(), 2);
}

async fn one_replica_sweeps(database: &Database) {
    let store = database.open().await;
    let swept = together((0..10).map(|at| {
        let store = store.clone();
        async move { store.sweep(&format!("replica {at}"), NOW).await.unwrap() }
    }))
    .await;
    assert_eq!(swept.iter().filter(|one| **one != Swept::Elsewhere).count(), 1);
    let winner = swept.iter().position(|one| *one != Swept::Elsewhere).unwrap();
    let (winner, another) = (format!("replica {winner}"), "another");
    assert_eq!(store.sweep(another, NOW.plus(149)).await.unwrap(), Swept::Elsewhere);
    assert_eq!(store.sweep(&winner, NOW.plus(60)).await.unwrap(), Swept::Rows(0));
    assert_eq!(store.sweep(another, NOW.plus(209)).await.unwrap(), Swept::Elsewhere, "the lease was renewed");
    assert_eq!(store.sweep(another, NOW.plus(210)).await.unwrap(), Swept::Rows(0), "and ended");
    assert_eq!(store.sweep(&winner, NOW.plus(211)).await.unwrap(), Swept::Elsewhere);
}

async fn only_what_expired_is_swept(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let held = grant(&store, &ada, "refresh").await;
    assert!(store.start_session(&org(), &new_session(&ada, "cookie"), None, NOW).await.unwrap());
    assert!(store.issue_code(&org(), &new_code(&ada, "code"), &[(resource(), consent("mcp:read"))]).await.unwrap());
    assert!(store.claim_assertion(&org(), &held.client, &Digest::of("jti"), NOW.plus(60)).await.unwrap());
    for id in ["dcr_used", "dcr_unused"] {
        assert_eq!(store.register(&org(), &new_registration(id), 10, NOW).await.unwrap(), Registered::Done);
    }
    mark_used(&store, &org(), &client("dcr_used"), NOW).await;
    store.set_client_disabled(&org(), &client("mcpc_off"), true, NOW).await.unwrap();
    // What counts no more stays for a while: clocks disagree.
    let sweep_at = async |ended: UnixTime| store.sweep("a", ended.plus(MARGIN_SECONDS)).await.unwrap();
    let sweep = async |seconds| sweep_at(NOW.plus(seconds)).await;

    assert_eq!(sweep(59).await, Swept::Rows(0));
    assert!(!store.claim_assertion(&org(), &held.client, &Digest::of("jti"), NOW.plus(60)).await.unwrap());
    assert_eq!(sweep(60).await, Swept::Rows(2), "the code that nobody redeemed, and the assertion");
    assert!(store.claim_assertion(&org(), &held.client, &Digest::of("jti"), NOW.plus(60)).await.unwrap());
    sweep(60).await;
    assert_eq!(sweep(DAY - 1).await, Swept::Rows(0));
    assert!(store.session(&org(), &Digest::of("cookie"), NOW).await.unwrap().is_some());
    assert_eq!(sweep(DAY).await, Swept::Rows(3), "session, block and registration");
    assert_eq!(store.session(&org(), &Digest::of("cookie"), NOW).await.unwrap(), None);
    assert_eq!(store.registration(&org(), &client("dcr_unused"), NOW).await.unwrap(), None);
    assert!(store.registration(&org(), &client("dcr_used"), NOW).await.unwrap().is_some());

    assert_eq!(sweep(30 * DAY - 1).await, Swept::Rows(0));
    assert!(store.refresh_token(&org(), &held.id, &Digest::of("refresh")).await.unwrap().unwrap().expires_at.is_some());
    assert_eq!(sweep(30 * DAY).await, Swept::Rows(1), "the refresh token");
    // Until its last access token has ended, the grant can be revoked, and the replay of its code is known.
    let before = held.keep_until.minus(1);
    assert_eq!(sweep_at(before).await, Swept::Rows(0));
    assert!(store.code(&org(), &Digest::of("code of refresh"), before).await.unwrap().unwrap().grant.is_some());
    assert!(!is_revoked(&store, &held).await);
    assert_eq!(sweep_at(held.keep_until).await, Swept::Rows(2), "the grant and its code");
    assert_eq!(store.grant(&org(), &held.id).await.unwrap(), None);
    assert_eq!(store.code(&org(), &Digest::of("code of refresh"), NOW).await.unwrap(), None);

    assert_eq!(sweep(365 * DAY - 1).await, Swept::Rows(1), "the registration that was used");
    assert_eq!(device_user(&store, "cookie").await.as_ref(), Some(&ada.name));
    assert_eq!(sweep(365 * DAY).await, Swept::Rows(1), "the device");
    assert_eq!(device_user(&store, "cookie").await, None);

    assert_eq!(store.users(&org()).await.unwrap(), std::slice::from_ref(&ada));
    assert_eq!(store.consents(&org(), &ada.id).await.unwrap().len(), 1);
    assert_eq!(store.disabled_clients().await.unwrap().len(), 1);
}

async fn a_list_is_forgotten_with_its_last_token(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let held = grant(&store, &ada, "refresh").await;
    store.revoke_grant(&org(), &held.id, NOW.plus(DAY)).await.unwrap();
    let held = store.grant(&org(), &held.id).await.unwrap().unwrap();
    store.sweep("a", NOW.plus(DAY + MARGIN_SECONDS)).await.unwrap();
    assert!(is_revoked(&store, &held).await, "its block has ended, its tokens have not");
    store.sweep("a", held.keep_until.plus(MARGIN_SECONDS - 1)).await.unwrap();
    assert!(is_revoked(&store, &held).await, "clocks disagree");
    store.sweep("a", held.keep_until.plus(MARGIN_SECONDS)).await.unwrap();
    assert_eq!(store.status_list(&org(), held.status.list).await.unwrap(), None);
    let next = store.lease_block(&org(), None, held.keep_until.plus(DAY), held.keep_until).await.unwrap().unwrap();
    assert!((next.list, next.first) > (held.status.list, held.status.index), "an index is never given again");
}

async fn redeemed_codes_go_with_their_grants(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let mut last = NOW;
    for at in 0..3 {
        last = grant(&store, &ada, &at.to_string()).await.keep_until;
    }
    // A database that lost its grants' codes still sweeps the grants.
    store.run(sql("DELETE FROM codes WHERE digest IN (SELECT digest FROM codes LIMIT 1)")).await.unwrap();
    store.sweep("a", last.plus(MARGIN_SECONDS)).await.unwrap();
    for table in [sql("SELECT COUNT(*) AS n FROM codes"), sql("SELECT COUNT(*) AS n FROM grants")] {
        assert_eq!(store.row(table, |row| row.number("n")).await.unwrap(), Some(0));
    }
}

async fn revoked_grants_stay_for_as_long_as_an_access_token(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    let app = new_code(&ada, "").client;
    for by in 0..6 {
        let of_bob = grant(&store, &bob, &format!("bob's {by}")).await;
        let held = grant(&store, &ada, &by.to_string()).await;
        let (id, later) = (&held.id, NOW.plus(DAY));
        match by {
            0 => drop(store.revoke_grant(&org(), id, later).await.unwrap()),
            1 => store.withdraw_consent(&org(), &ada.id, &app, later).await.unwrap(),
            2 => store.revoke_client(&org(), &app, later).await.unwrap(),
            3 => {
                for disabled in [true, false] {
                    store.set_user_disabled(&org(), &ada.id, disabled, later).await.unwrap();
                }
            }
            4 => {
                for more in 0..MAX_GRANTS {
                    grant(&store, &ada, &format!("more {more}")).await;
                }
            }
            _ => drop(store.redeem_code(&org(), &Digest::of("code of 5"), new_grant(&store).await, None, later).await),
        }
        let since = if by == 4 { NOW } else { later };
        let kept = store.grant(&org(), id).await.unwrap().unwrap();
        assert!(kept.revoked, "{by}");
        assert_eq!(kept.keep_until, since.plus(GRANT_TAIL_SECONDS), "{by}");
        let others = store.grant(&org(), &of_bob.id).await.unwrap().unwrap();
        assert_eq!((others.revoked, others.keep_until == of_bob.keep_until), (by == 2, by != 2), "{by}");
    }
    // Nothing that is about to end anyway is kept for longer.
    let last = grant(&store, &bob, "last").await;
    store.revoke_grant(&org(), &last.id, last.keep_until.minus(10)).await.unwrap();
    assert_eq!(store.grant(&org(), &last.id).await.unwrap().unwrap().keep_until, last.keep_until);

    store.sweep("a", NOW.plus(DAY + GRANT_TAIL_SECONDS + MARGIN_SECONDS)).await.unwrap();
    let left = sql("SELECT COUNT(*) AS n FROM grants WHERE revoked_at IS NOT NULL");
    assert_eq!(store.row(left, |row| row.number("n")).await.unwrap(), Some(1), "the last");
    for text in ["code of 0", "code of 5"] {
        assert_eq!(store.code(&org(), &Digest::of(text), NOW).await.unwrap(), None, "it went with its grant");
    }
}

async fn registrations_that_nobody_uses_are_forgotten(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let (idle, off) = (client("dcr_idle"), client("dcr_off"));
    for id in [&idle, &off] {
        assert_eq!(store.register(&org(), &new_registration(id.as_str()), 10, NOW).await.unwrap(), Registered::Done);
        mark_used(&store, &org(), id, NOW).await;
    }
    for org in [org(), other_org()] {
        store.set_client_disabled(&org, &off, true, NOW).await.unwrap();
    }
    let mut code = new_code(&ada, "code of idle");
    code.client = idle.clone();
    assert!(store.issue_code(&org(), &code, &[(resource(), consent("mcp:read"))]).await.unwrap());
    let known = async |id: &ClientId| store.registration(&org(), id, NOW).await.unwrap().is_some();
    let sweep = async |at: UnixTime| {
        store.sweep("a", at).await.unwrap();
    };

    mark_used(&store, &org(), &idle, NOW.plus(DAY - 1)).await;
    mark_used(&store, &org(), &idle, NOW.plus(DAY)).await;
    sweep(NOW.plus(UNUSED_SECONDS + DAY - 1)).await;
    assert!(known(&idle).await, "it was used a day later");
    sweep(NOW.plus(UNUSED_SECONDS + DAY)).await;
    assert!(!known(&idle).await);
    assert_eq!(store.consent(&org(), &ada.id, &idle, &resource()).await.unwrap(), None);
    assert!(!known(&off).await);
    let left: Vec<_> = store.disabled_clients().await.unwrap().into_iter().collect();
    assert_eq!(left, [(other_org(), off)], "another organization's is not concerned");
}

/// More than one statement deletes.
#[tokio::test]
async fn all_that_expired_is_swept_at_once() {
    let database = Database::sqlite();
    let store = database.open().await;
    for at in 0..501 {
        let jti = Digest::of(&at.to_string());
        assert!(store.claim_assertion(&org(), &client("mcpc_bot"), &jti, NOW).await.unwrap());
    }
    assert_eq!(store.sweep("a", NOW.plus(MARGIN_SECONDS)).await.unwrap(), Swept::Rows(501));
}

#[tokio::test]
async fn a_registration_is_used_by_refreshing() {
    let database = Database::sqlite();
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let held = grant(&store, &ada, "0").await;
    let id = held.client.as_str();
    assert_eq!(store.register(&org(), &new_registration(id), 10, NOW).await.unwrap(), Registered::Done);
    mark_used(&store, &org(), &held.client, NOW).await;
    for at in 0..10 {
        assert!(is_live(&store, &held, &at.to_string(), &(at + 1).to_string(), NOW.plus(at * 20 * DAY)).await);
    }
    let last = NOW.plus(180 * DAY);
    let known = async || store.registration(&org(), &held.client, NOW).await.unwrap().is_some();
    store.sweep("a", last.plus(UNUSED_SECONDS - 1)).await.unwrap();
    assert!(known().await);
    store.sweep("a", last.plus(UNUSED_SECONDS)).await.unwrap();
    assert!(!known().await);
}
