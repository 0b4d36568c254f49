use std::collections::BTreeSet;

use super::*;
use crate::authserver::store::{KEEPS_ITS_PLACE, Registered, sweep::MARGIN_SECONDS};

contract![
    registrations_come_and_go,
    registrations_are_bounded,
    what_was_agreed_to_ends_with_its_client,
    registrations_that_nobody_used_make_room,
    deleting_a_registration_revokes,
    deleted_while_it_refreshes,
    an_assertion_is_claimed_once,
    revoking_a_client,
    disabled_clients_are_known,
    disabled_while_blocks_are_leased,
];

async fn registrations_come_and_go(database: &Database) {
    let store = database.open().await;
    let id = client("dcr_1");
    let new = NewRegistration { secret: Some(Digest::of("secret")), ..new_registration("dcr_1") };
    assert_eq!(store.register(&org(), &new, 10, NOW).await.unwrap(), Registered::Done);
    let known = store.registration(&org(), &id, NOW).await.unwrap().unwrap();
    assert_eq!((&known.id, &known.metadata, known.secret), (&id, &new.metadata, new.secret));
    assert_eq!((known.access_token, known.created_at, known.used_at), (new.access_token, NOW, None));
    assert_eq!(store.registration(&other_org(), &id, NOW).await.unwrap(), None);
    assert_eq!(store.registration(&org(), &client("dcr_2"), NOW).await.unwrap(), None);

    assert!(!store.update_registration(&other_org(), &id, "{}", None).await.unwrap());
    assert!(store.update_registration(&org(), &id, "{}", None).await.unwrap());
    let updated = store.registration(&org(), &id, NOW).await.unwrap().unwrap();
    assert_eq!((updated.metadata.as_str(), updated.secret), ("{}", None));

    assert_eq!(store.registration(&org(), &id, new.expires_unused_at).await.unwrap(), None, "nobody used it");
    mark_used(&store, &other_org(), &id, NOW).await;
    assert_eq!(store.registration(&org(), &id, new.expires_unused_at).await.unwrap(), None);
    mark_used(&store, &org(), &id, NOW).await;
    assert!(store.registration(&org(), &id, NOW.plus(1000 * DAY)).await.unwrap().unwrap().used_at.is_some());
}

async fn registrations_are_bounded(database: &Database) {
    let store = database.open().await;
    let register = |at: u32, now| {
        let store = store.clone();
        async move { store.register(&org(), &new_registration(&format!("dcr_{at}")), 5, now).await.unwrap() }
    };
    let registered = together((0..20).map(|at| register(at, NOW))).await;
    assert_eq!(registered.iter().filter(|one| **one == Registered::Done).count(), 5);
    let elsewhere = store.register(&other_org(), &new_registration("dcr_0"), 5, NOW).await.unwrap();
    assert_eq!(elsewhere, Registered::Done, "the bound is each organization's own");
    assert_eq!(register(20, NOW).await, Registered::TooMany);
    assert_eq!(store.registrations(&org(), NOW).await.unwrap().len(), 5);
    assert_eq!(register(20, NOW.plus(DAY)).await, Registered::Done, "what nobody used is forgotten");
    assert_eq!(there(&store, org()).await, ["dcr_20"]);
    assert_eq!(store.register(&org(), &new_registration("dcr_30"), 0, NOW).await.unwrap(), Registered::TooMany);
}

async fn what_was_agreed_to_ends_with_its_client(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    for (id, used) in [("dcr_used", true), ("dcr_unused", false), ("dcr_swept", false)] {
        let mut registration = new_registration(id);
        if id == "dcr_swept" {
            registration.expires_unused_at = NOW.plus(2 * DAY);
        }
        assert_eq!(store.register(&org(), &registration, 10, NOW).await.unwrap(), Registered::Done);
        let mut code = new_code(&ada, id);
        code.client = client(id);
        assert!(store.issue_code(&org(), &code, &[(resource(), consent("mcp:read"))]).await.unwrap());
        if used {
            mark_used(&store, &org(), &code.client, NOW).await;
        }
    }
    let agreed = async || -> BTreeSet<String> {
        let all = store.consents(&org(), &ada.id).await.unwrap();
        all.into_iter().map(|(client, ..)| client.to_string()).collect()
    };
    let is = |ids: &[&str]| -> BTreeSet<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
    assert_eq!(agreed().await, is(&["dcr_used", "dcr_unused", "dcr_swept"]));
    store.register(&other_org(), &new_registration("dcr_new"), 10, NOW.plus(DAY)).await.unwrap();
    assert_eq!(agreed().await.len(), 3, "another organization's");
    store.register(&org(), &new_registration("dcr_new"), 10, NOW.plus(DAY)).await.unwrap();
    assert_eq!(agreed().await, is(&["dcr_used", "dcr_swept"]));
    store.sweep("a", NOW.plus(2 * DAY + MARGIN_SECONDS)).await.unwrap();
    assert_eq!(agreed().await, is(&["dcr_used"]));
}

/// The registered clients, by identifier.
async fn there(store: &Store, org: OrgId) -> Vec<String> {
    let registrations = store.registrations(&org, NOW).await.unwrap();
    registrations.iter().map(|registration| registration.id.to_string()).collect()
}

async fn registrations_that_nobody_used_make_room(database: &Database) {
    let store = database.open().await;
    let register = async |id: &str, most, now| store.register(&org(), &new_registration(id), most, now).await.unwrap();
    // All in one second, and not in the order of their identifiers.
    for id in ["dcr_5", "dcr_4", "dcr_3", "dcr_2"] {
        assert_eq!(register(id, 5, NOW).await, Registered::Done);
    }
    assert_eq!(register("dcr_1", 5, NOW.plus(1)).await, Registered::Done);
    assert_eq!(store.register(&other_org(), &new_registration("dcr_9"), 5, NOW).await.unwrap(), Registered::Done);
    mark_used(&store, &org(), &client("dcr_5"), NOW).await;
    let ada = user(&store, "ada").await;
    for id in ["dcr_4", "dcr_3"] {
        let code = NewCode { client: client(id), ..new_code(&ada, id) };
        assert!(store.issue_code(&org(), &code, &[(resource(), consent("mcp:read"))]).await.unwrap());
    }
    let later = NOW.plus(KEEPS_ITS_PLACE);
    assert_eq!(register("dcr_6", 5, NOW.plus(KEEPS_ITS_PLACE - 1)).await, Registered::TooMany, "somebody signs in");
    assert_eq!(register("dcr_6", 5, later).await, Registered::Done);
    assert_eq!(
        there(&store, org()).await,
        ["dcr_1", "dcr_2", "dcr_3", "dcr_5", "dcr_6"],
        "the oldest that nobody used"
    );
    let agreed = store.consents(&org(), &ada.id).await.unwrap();
    assert_eq!(agreed.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), ["dcr_3"], "nobody is left to use it");
    assert_eq!(register("dcr_7", 5, later).await, Registered::Done);
    assert_eq!(there(&store, org()).await, ["dcr_1", "dcr_2", "dcr_5", "dcr_6", "dcr_7"]);
    // An administrator lowered the number: one goes for the new one, and one for each there are too many.
    assert_eq!(register("dcr_8", 4, later).await, Registered::TooMany, "that of the next second keeps its place");
    assert_eq!(
        there(&store, org()).await,
        ["dcr_1", "dcr_2", "dcr_5", "dcr_6", "dcr_7"],
        "so nobody has gone for nothing"
    );
    assert_eq!(register("dcr_8", 4, later.plus(1)).await, Registered::Done);
    assert_eq!(there(&store, org()).await, ["dcr_5", "dcr_6", "dcr_7", "dcr_8"]);
    assert_eq!(there(&store, other_org()).await, ["dcr_9"]);
}

async fn deleting_a_registration_revokes(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "refresh").await;
    let id = grant.client.as_str();
    assert_eq!(store.register(&org(), &new_registration(id), 10, NOW).await.unwrap(), Registered::Done);
    assert!(!store.delete_registration(&other_org(), &grant.client, NOW).await.unwrap());
    assert!(!store.delete_registration(&org(), &client("dcr_x"), NOW).await.unwrap());
    assert!(!is_revoked(&store, &grant).await);
    assert!(store.delete_registration(&org(), &grant.client, NOW).await.unwrap());
    assert_eq!(store.registration(&org(), &grant.client, NOW).await.unwrap(), None);
    assert!(is_revoked(&store, &grant).await);
    assert!(!is_live(&store, &grant, "refresh", "x", NOW).await);
}

async fn deleted_while_it_refreshes(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let app = new_code(&ada, "").client;
    for round in 0..30 {
        assert_eq!(store.register(&org(), &new_registration(app.as_str()), 10, NOW).await.unwrap(), Registered::Done);
        let mut rotations = Vec::new();
        for at in 0..4 {
            let (old, new) = (format!("{round} {at}"), format!("{round} {at} next"));
            let grant = grant(&store, &ada, &old).await;
            rotations.push(rotation(&grant, (&old, &new), 1, NOW.plus(2 * DAY)));
        }
        let grants: Vec<_> = rotations.iter().map(|rotation| rotation.grant.clone()).collect();
        let all = rotations.into_iter().map(Some).chain([None]).map(|rotation| {
            let (store, app) = (store.clone(), app.clone());
            async move {
                match rotation {
                    Some(rotation) => store.rotate(&org(), &rotation).await.map(drop),
                    None => store.delete_registration(&org(), &app, NOW.plus(2 * DAY)).await.map(drop),
                }
            }
        });
        for result in together(all.collect::<Vec<_>>()).await {
            result.unwrap();
        }
        for grant in &grants {
            assert!(store.grant(&org(), grant).await.unwrap().unwrap().revoked);
        }
    }
}

async fn an_assertion_is_claimed_once(database: &Database) {
    let store = database.open().await;
    let jti = Digest::of("jti");
    let claim = |org: OrgId, id: &'static str| {
        let store = store.clone();
        async move { store.claim_assertion(&org, &client(id), &jti, NOW.plus(60)).await.unwrap() }
    };
    let claimed = together((0..50).map(|_| claim(org(), "a"))).await;
    assert_eq!(claimed.iter().filter(|one| **one).count(), 1);
    assert!(claim(org(), "b").await && claim(other_org(), "a").await, "a jti is unique to its issuer");
    assert!(!claim(org(), "b").await);
}

async fn revoking_a_client(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let held = grant(&store, &ada, "refresh").await;
    let (app, bot) = (held.client.clone(), client("mcpc_bot"));
    assert!(store.issue_code(&org(), &new_code(&ada, "code"), &[(resource(), consent("mcp:read"))]).await.unwrap());
    let block = store.lease_block(&org(), Some(&bot), NOW.plus(DAY), NOW).await.unwrap().unwrap();
    let of_bot = StatusIndex { list: block.list, index: block.first + BLOCK_SIZE - 1 };
    assert_eq!(store.clients_holding(&org(), "").await.unwrap(), BTreeSet::from([app.clone(), bot.clone()]));
    assert_eq!(store.clients_holding(&org(), "mcpc_").await.unwrap(), BTreeSet::from([bot.clone()]));
    assert!(store.clients_holding(&other_org(), "").await.unwrap().is_empty());
    for (org, client, in_use) in [(org(), &app, true), (org(), &bot, false), (other_org(), &app, false)] {
        assert_eq!(store.is_client_in_use(&org, client).await.unwrap(), in_use);
    }

    for id in [&app, &bot] {
        store.revoke_client(&other_org(), id, NOW).await.unwrap();
    }
    assert!(!is_revoked(&store, &held).await && !store.is_revoked(&org(), of_bot).await.unwrap());
    store.revoke_client(&org(), &app, NOW).await.unwrap();
    assert!(is_revoked(&store, &held).await && !store.is_revoked(&org(), of_bot).await.unwrap());
    assert_eq!(store.code(&org(), &Digest::of("code"), NOW).await.unwrap(), None);
    assert_eq!(store.consents(&org(), &ada.id).await.unwrap(), []);
    assert!(!store.is_client_in_use(&org(), &app).await.unwrap());
    assert_eq!(store.clients_holding(&org(), "").await.unwrap(), BTreeSet::from([bot.clone()]));
    store.revoke_client(&org(), &bot, NOW).await.unwrap();
    assert!(store.is_revoked(&org(), of_bot).await.unwrap());
    assert!(store.clients_holding(&org(), "").await.unwrap().is_empty());
    // It is not disabled: what it gets from now on lives.
    assert!(!is_revoked(&store, &grant(&store, &ada, "new").await).await);
}

async fn disabled_clients_are_known(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let held = grant(&store, &ada, "refresh").await;
    let app = held.client.clone();
    assert!(store.issue_code(&org(), &new_code(&ada, "code"), &[]).await.unwrap());
    for org in [other_org(), org(), org()] {
        store.set_client_disabled(&org, &app, true, NOW).await.unwrap();
    }
    let both = BTreeSet::from([(org(), app.clone()), (other_org(), app.clone())]);
    assert_eq!(store.disabled_clients().await.unwrap(), both);
    assert!(is_revoked(&store, &held).await);
    let late = store.redeem_code(&org(), &Digest::of("code"), new_grant(&store).await, None, NOW).await.unwrap();
    assert_eq!(late, Redeemed::Unknown);
    store.set_client_disabled(&org(), &app, false, NOW).await.unwrap();
    assert_eq!(store.disabled_clients().await.unwrap(), BTreeSet::from([(other_org(), app)]));
    assert!(is_revoked(&store, &held).await, "what was revoked stays so");
}

async fn disabled_while_blocks_are_leased(database: &Database) {
    let store = database.open().await;
    let bot = client("mcpc_bot");
    let leased = together((0..21).map(|at| {
        let (store, bot) = (store.clone(), bot.clone());
        async move {
            if at == 10 {
                store.set_client_disabled(&org(), &bot, true, NOW).await.unwrap();
                return None;
            }
            store.lease_block(&org(), Some(&bot), NOW.plus(DAY), NOW).await.unwrap()
        }
    }))
    .await;
    for block in leased.into_iter().flatten() {
        let index = StatusIndex { list: block.list, index: block.first };
        assert!(store.is_revoked(&org(), index).await.unwrap(), "leased before, so revoked with the rest");
    }
    assert_eq!(store.lease_block(&org(), Some(&bot), NOW.plus(DAY), NOW).await.unwrap(), None);
}
