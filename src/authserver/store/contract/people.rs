use std::collections::BTreeSet;

use super::*;
use crate::authserver::store::{AddUser, MAX_SESSIONS, UserId};

contract![
    names_are_taken_once,
    users_are_found_in_their_organization,
    groups_are_replaced,
    a_new_password_ends_sessions,
    a_login_does_not_undo_a_new_password,
    sessions_begin_and_end,
    sessions_are_bounded,
    disabling_a_user_ends_everything,
    disabled_while_codes_are_redeemed,
    consents_are_replaced_listed_and_withdrawn,
    a_yes_to_another_client_ends_the_former,
];

async fn names_are_taken_once(database: &Database) {
    let store = database.open().await;
    let added = together((0..20).map(|at| {
        let store = store.clone();
        let name = if at % 2 == 0 { "ada" } else { "ADA" };
        async move { store.add_user(&org(), new_user(name), NOW).await }
    }))
    .await;
    assert_eq!(added.iter().filter(|one| one.is_ok()).count(), 1);
    assert_eq!(added.iter().filter(|one| matches!(one, Err(AddUser::NameTaken))).count(), 19);
    assert!(store.add_user(&other_org(), new_user("ada"), NOW).await.is_ok(), "another organization's ada");
    assert_eq!(store.users(&org()).await.unwrap().len(), 1);
}

async fn users_are_found_in_their_organization(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let zoe = user(&store, "zoe-b").await;
    let zed = user(&store, "zoe.a").await;
    assert_eq!(store.user(&org(), &ada.id).await.unwrap().as_ref(), Some(&ada));
    assert_eq!(store.user_by_name(&org(), &UserName::parse("Ada").unwrap()).await.unwrap().as_ref(), Some(&ada));
    assert_eq!(store.users(&org()).await.unwrap(), [ada.clone(), zoe, zed], "by the bytes of their names");
    assert_eq!(store.user(&other_org(), &ada.id).await.unwrap(), None);
    assert_eq!(store.user_by_name(&other_org(), &ada.name).await.unwrap(), None);
    assert_eq!(store.users(&other_org()).await.unwrap(), []);
    assert_eq!(store.user(&org(), &UserId::generate().unwrap()).await.unwrap(), None);
    assert_eq!(store.user_by_name(&org(), &UserName::parse("ad").unwrap()).await.unwrap(), None);
}

async fn groups_are_replaced(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    for groups in [&["finance".to_owned(), "q\"ä,".to_owned()][..], &[]] {
        assert!(!store.set_groups(&other_org(), &ada.id, groups).await.unwrap());
        assert!(!store.set_groups(&org(), &UserId::generate().unwrap(), groups).await.unwrap());
        assert_ne!(store.user(&org(), &ada.id).await.unwrap().unwrap().groups, groups);
        assert!(store.set_groups(&org(), &ada.id, groups).await.unwrap());
        assert_eq!(store.user(&org(), &ada.id).await.unwrap(), Some(User { groups: groups.to_vec(), ..ada.clone() }));
    }
    assert_eq!(store.user(&org(), &bob.id).await.unwrap(), Some(bob));
}

async fn a_new_password_ends_sessions(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    for (user, cookie) in [(&ada, "a"), (&bob, "b")] {
        assert!(store.start_session(&org(), &new_session(user, cookie), None, NOW).await.unwrap());
    }
    let hash = PasswordHash::new("$argon2id$y".to_owned());
    assert!(!store.set_password(&other_org(), &ada.id, &hash).await.unwrap());
    assert!(!store.set_password(&org(), &UserId::generate().unwrap(), &hash).await.unwrap());
    assert!(store.session(&org(), &Digest::of("a"), NOW).await.unwrap().is_some());
    assert!(store.set_password(&org(), &ada.id, &hash).await.unwrap());
    assert_eq!(store.user(&org(), &ada.id).await.unwrap().unwrap().password_hash, hash);
    assert_eq!(store.user(&org(), &bob.id).await.unwrap(), Some(bob));
    assert_eq!(store.session(&org(), &Digest::of("a"), NOW).await.unwrap(), None);
    assert!(store.session(&org(), &Digest::of("b"), NOW).await.unwrap().is_some());
}

async fn a_login_does_not_undo_a_new_password(database: &Database) {
    let store = database.open().await;
    let mut ada = user(&store, "ada").await;
    let [better, new] = ["$argon2id$better", "$argon2id$new"].map(|hash| PasswordHash::new(hash.to_owned()));
    assert!(store.start_session(&org(), &new_session(&ada, "before"), None, NOW).await.unwrap());
    assert!(!store.replace_hash(&other_org(), &ada.id, &ada.password_hash, &new).await.unwrap());
    assert!(store.replace_hash(&org(), &ada.id, &ada.password_hash, &better).await.unwrap());
    assert!(store.session(&org(), &Digest::of("before"), NOW).await.unwrap().is_some(), "the password is the same");
    ada.password_hash = better.clone();

    assert!(store.set_password(&org(), &ada.id, &new).await.unwrap());
    // A login that verified the old password goes on.
    assert!(!store.replace_hash(&org(), &ada.id, &better, &better).await.unwrap());
    assert!(!store.start_session(&org(), &new_session(&ada, "late"), None, NOW).await.unwrap());
    assert_eq!(store.user(&org(), &ada.id).await.unwrap().unwrap().password_hash, new);
    assert_eq!(store.session(&org(), &Digest::of("late"), NOW).await.unwrap(), None);
}

async fn sessions_begin_and_end(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let one = new_session(&ada, "one");
    assert!(store.start_session(&org(), &one, None, NOW).await.unwrap());
    let (session, whose) = store.session(&org(), &one.digest, NOW).await.unwrap().unwrap();
    assert_eq!((session.digest, session.started_at, session.expires_at), (one.digest, NOW, one.expires_at));
    assert_eq!(whose, ada);
    assert_eq!(store.session(&other_org(), &one.digest, NOW).await.unwrap(), None);
    assert_eq!(store.session(&org(), &Digest::of("x"), NOW).await.unwrap(), None);
    assert_eq!(store.session(&org(), &one.digest, one.expires_at).await.unwrap(), None);

    let two = new_session(&ada, "two");
    assert!(store.start_session(&org(), &two, Some(&one.digest), NOW).await.unwrap());
    assert_eq!(store.session(&org(), &one.digest, NOW).await.unwrap(), None, "replaced");
    store.end_session(&other_org(), &two.digest).await.unwrap();
    assert!(store.session(&org(), &two.digest, NOW).await.unwrap().is_some());
    store.end_session(&org(), &two.digest).await.unwrap();
    assert_eq!(store.session(&org(), &two.digest, NOW).await.unwrap(), None);
    assert!(!store.start_session(&other_org(), &two, None, NOW).await.unwrap(), "ada is nobody there");
}

async fn sessions_are_bounded(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    assert!(store.start_session(&org(), &new_session(&bob, "bob"), None, NOW).await.unwrap());
    // All in one second.
    for at in 0..=MAX_SESSIONS {
        assert!(store.start_session(&org(), &new_session(&ada, &at.to_string()), None, NOW).await.unwrap());
    }
    assert_eq!(store.session(&org(), &Digest::of("0"), NOW).await.unwrap(), None, "the oldest made room");
    for at in 1..=MAX_SESSIONS {
        assert!(store.session(&org(), &Digest::of(&at.to_string()), NOW).await.unwrap().is_some(), "{at}");
    }
    assert!(store.session(&org(), &Digest::of("bob"), NOW).await.unwrap().is_some());
}

async fn disabling_a_user_ends_everything(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    let (of_ada, of_bob) = (grant(&store, &ada, "ada").await, grant(&store, &bob, "bob").await);
    for (user, text) in [(&ada, "ada's"), (&bob, "bob's")] {
        assert!(store.start_session(&org(), &new_session(user, text), None, NOW).await.unwrap());
        assert!(store.issue_code(&org(), &new_code(user, text), &[]).await.unwrap());
    }
    assert!(!store.set_user_disabled(&other_org(), &ada.id, true, NOW).await.unwrap());
    assert!(!is_revoked(&store, &of_ada).await);
    assert!(store.set_user_disabled(&org(), &ada.id, true, NOW).await.unwrap());
    assert!(store.user(&org(), &ada.id).await.unwrap().unwrap().disabled);
    let ended = async || {
        assert!(is_revoked(&store, &of_ada).await);
        assert!(!is_live(&store, &of_ada, "ada", "x", NOW).await);
        assert_eq!(store.session(&org(), &Digest::of("ada's"), NOW).await.unwrap(), None);
        assert_eq!(store.code(&org(), &Digest::of("ada's"), NOW).await.unwrap(), None);
        let grant = new_grant(&store).await;
        let redeemed = store.redeem_code(&org(), &Digest::of("ada's"), grant, None, NOW).await.unwrap();
        assert_eq!(redeemed, Redeemed::Unknown);
    };
    ended().await;
    assert!(!store.start_session(&org(), &new_session(&ada, "new"), None, NOW).await.unwrap());
    assert_eq!(store.session(&org(), &Digest::of("new"), NOW).await.unwrap(), None);
    // Bob is not concerned, and what ended stays ended.
    assert!(store.set_user_disabled(&org(), &ada.id, false, NOW).await.unwrap());
    ended().await;
    assert!(store.start_session(&org(), &new_session(&ada, "new"), None, NOW).await.unwrap());
    assert!(!is_revoked(&store, &of_bob).await);
    assert!(is_live(&store, &of_bob, "bob", "bob 2", NOW).await);
    assert!(store.session(&org(), &Digest::of("bob's"), NOW).await.unwrap().is_some());
    assert!(store.code(&org(), &Digest::of("bob's"), NOW).await.unwrap().is_some());
}

async fn disabled_while_codes_are_redeemed(database: &Database) {
    let store = database.open().await;
    let mut work = Vec::new();
    let mut grants = Vec::new();
    for at in 0..20 {
        let ada = user(&store, &format!("ada{at}")).await;
        let code = new_code(&ada, &format!("code {at}"));
        assert!(store.issue_code(&org(), &code, &[]).await.unwrap());
        let grant = new_grant(&store).await;
        grants.push(grant.id.clone());
        work.push((ada.id.clone(), None));
        work.push((ada.id, Some((code.digest, grant))));
    }
    together(work.into_iter().map(|(user, redeem)| {
        let store = store.clone();
        async move {
            match redeem {
                None => assert!(store.set_user_disabled(&org(), &user, true, NOW).await.unwrap()),
                Some((code, grant)) => drop(store.redeem_code(&org(), &code, grant, None, NOW).await.unwrap()),
            }
        }
    }))
    .await;
    for id in grants {
        let grant = store.grant(&org(), &id).await.unwrap();
        assert!(grant.is_none_or(|grant| grant.revoked), "whoever came first, nothing lives");
    }
}

async fn consents_are_replaced_listed_and_withdrawn(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    let (of_ada, of_bob) = (grant(&store, &ada, "ada").await, grant(&store, &bob, "bob").await);
    let app = of_ada.client.clone();
    let other = ResourceUri::parse("https://reports.acme.example/mcp").unwrap();
    let later = Consent { given_at: NOW.plus(1), ..consent("") };
    let mut code = new_code(&ada, "1");
    let remembered = [(resource(), consent("mcp:read")), (other.clone(), later.clone())];
    assert!(store.issue_code(&org(), &code, &remembered).await.unwrap());
    code.digest = Digest::of("2");
    assert!(store.issue_code(&org(), &code, &[(resource(), consent("mcp:read mcp:write"))]).await.unwrap());
    let mut of_another = new_code(&ada, "3");
    of_another.client = client("mcpc_other");
    assert!(store.issue_code(&org(), &of_another, &[(resource(), consent("mcp:read"))]).await.unwrap());
    assert!(store.issue_code(&org(), &new_code(&bob, "4"), &[(resource(), consent("mcp:read"))]).await.unwrap());

    let listed = store.consents(&org(), &ada.id).await.unwrap();
    assert_eq!(listed[0], (app.clone(), other.clone(), later), "the newest first");
    assert_eq!(
        listed[1..],
        [
            (app.clone(), resource(), consent("mcp:read mcp:write")),
            (client("mcpc_other"), resource(), consent("mcp:read")),
        ]
    );
    assert_eq!(store.consents(&other_org(), &ada.id).await.unwrap(), []);
    assert_eq!(store.consent(&other_org(), &ada.id, &app, &resource()).await.unwrap(), None);
    assert_eq!(store.consent(&org(), &bob.id, &app, &other).await.unwrap(), None);

    store.withdraw_consent(&other_org(), &ada.id, &app, NOW).await.unwrap();
    assert_eq!(store.consents(&org(), &ada.id).await.unwrap().len(), 3);
    store.withdraw_consent(&org(), &ada.id, &app, NOW).await.unwrap();
    let left: BTreeSet<_> = store.consents(&org(), &ada.id).await.unwrap().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(left, BTreeSet::from([client("mcpc_other")]));
    assert!(is_revoked(&store, &of_ada).await);
    assert_eq!(store.code(&org(), &Digest::of("2"), NOW).await.unwrap(), None);
    assert!(store.code(&org(), &Digest::of("3"), NOW).await.unwrap().is_some());
    assert!(store.code(&org(), &Digest::of("4"), NOW).await.unwrap().is_some());
    assert!(!is_revoked(&store, &of_bob).await);
}

async fn a_yes_to_another_client_ends_the_former(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    let other = ResourceUri::parse("https://reports.acme.example/mcp").unwrap();
    let agreed = [(resource(), consent("mcp:read mcp:write")), (other.clone(), consent("report:read"))];
    for (user, text) in [(&ada, "ada"), (&bob, "bob")] {
        assert!(store.issue_code(&org(), &new_code(user, text), &agreed).await.unwrap());
    }
    let (of_ada, of_bob) = (grant(&store, &ada, "of ada").await, grant(&store, &bob, "of bob").await);
    let app = of_ada.client.clone();
    let live = async |text: &str| store.code(&org(), &Digest::of(text), NOW).await.unwrap().is_some();

    let more = [(resource(), consent("mcp:read mcp:write mcp:admin"))];
    assert!(store.issue_code(&org(), &new_code(&ada, "more"), &more).await.unwrap());
    assert!(!is_revoked(&store, &of_ada).await && live("ada").await, "a step-up of the same client");
    let mut of_another = new_code(&ada, "of another");
    of_another.client = client("mcpc_other");
    let changed = Consent { fingerprint: Digest::of("what is shown now"), ..consent("mcp:read") };
    assert!(store.issue_code(&org(), &of_another, &[(resource(), changed.clone())]).await.unwrap());
    assert!(!is_revoked(&store, &of_ada).await && live("ada").await, "another client");

    let code = new_code(&ada, "changed");
    assert!(!store.issue_code(&other_org(), &code, &[(resource(), changed.clone())]).await.unwrap());
    assert!(!is_revoked(&store, &of_ada).await, "another organization");
    assert!(store.issue_code(&org(), &code, &[(resource(), changed.clone())]).await.unwrap());
    assert!(is_revoked(&store, &of_ada).await);
    assert!(!live("ada").await && !live("more").await && live("changed").await);
    assert_eq!(store.consent(&org(), &ada.id, &app, &resource()).await.unwrap(), Some(changed));
    assert_eq!(store.consent(&org(), &ada.id, &app, &other).await.unwrap(), None, "that was to the former, too");
    assert!(!is_revoked(&store, &of_bob).await && live("bob").await && live("of another").await);
}
