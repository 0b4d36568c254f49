use super::*;
use crate::authserver::store::{MAX_GRANTS, Reissued, rows::sql};

contract![
    one_of_100_redemptions,
    what_a_code_says_comes_back,
    a_code_that_cannot_be_redeemed,
    a_replay_ends_the_family,
    consent_is_remembered_with_the_code,
    a_code_upon_what_was_agreed_to_before,
    withdrawn_while_codes_are_issued_again,
    who_is_disabled_gets_no_code,
    revoking_a_grant,
    grants_are_bounded,
    nobody_with_grants_is_deleted,
];

async fn one_of_100_redemptions(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let code = new_code(&ada, "code");
    assert!(store.issue_code(&org(), &code, &[]).await.unwrap());
    let mut grants = Vec::new();
    for _ in 0..100 {
        grants.push(new_grant(&store).await);
    }
    let redeemed = together(grants.into_iter().enumerate().map(|(at, grant)| {
        let (store, code) = (store.clone(), code.digest);
        let refresh = Some((Digest::of(&format!("refresh {at}")), NOW.plus(DAY)));
        async move { store.redeem_code(&org(), &code, grant, refresh, NOW).await.unwrap() }
    }))
    .await;
    let fresh: Vec<_> =
        redeemed.iter().filter_map(|one| if let Redeemed::Fresh(grant) = one { Some(grant) } else { None }).collect();
    let [grant] = fresh[..] else { panic!("{} succeeded", fresh.len()) };
    assert_eq!(redeemed.iter().filter(|one| **one == Redeemed::Replayed(grant.id.clone())).count(), 99);
    assert!(is_revoked(&store, grant).await);
    for at in 0..100 {
        assert!(!is_live(&store, grant, &format!("refresh {at}"), "next", NOW).await);
    }
}

async fn what_a_code_says_comes_back(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let new = new_code(&ada, "code");
    assert!(store.issue_code(&org(), &new, &[]).await.unwrap());
    let code = store.code(&org(), &new.digest, NOW).await.unwrap().unwrap();
    assert_eq!((&code.client, &code.user, &code.redirect_uri), (&new.client, &new.user, &new.redirect_uri));
    assert_eq!((&code.challenge, &code.resources, code.offline), (&new.challenge, &new.resources, true));
    assert_eq!((code.issued_at, code.expires_at, code.grant), (new.issued_at, new.expires_at, None));

    let new_grant = new_grant(&store).await;
    let status = new_grant.status;
    let refresh = Some((Digest::of("refresh"), NOW.plus(30 * DAY)));
    let redeemed = store.redeem_code(&org(), &new.digest, new_grant, refresh, NOW.plus(5)).await.unwrap();
    let Redeemed::Fresh(grant) = redeemed else { panic!("{redeemed:?}") };
    assert_eq!((&grant.client, &grant.user, &grant.resources), (&new.client, &new.user, &new.resources));
    assert_eq!((grant.status, grant.created_at, grant.offline, grant.revoked), (status, NOW.plus(5), true, false));
    assert!(grant.keep_until > NOW.plus(31 * DAY), "access tokens outlive the refresh token");
    assert_eq!(store.grant(&org(), &grant.id).await.unwrap().as_ref(), Some(&grant));
    assert_eq!(store.grant_of_index(&org(), status).await.unwrap().as_ref(), Some(&grant.id));
    let token = store.refresh_token(&org(), &grant.id, &Digest::of("refresh")).await.unwrap().unwrap();
    assert_eq!((&token.grant, token.expires_at), (&grant, Some(NOW.plus(30 * DAY))));
    let code = store.code(&org(), &new.digest, NOW.plus(DAY)).await.unwrap().unwrap();
    assert_eq!(code.grant.as_ref(), Some(&grant.id), "so that a replay is known");

    for id in [&grant.id, &some_grant()] {
        assert_eq!(store.grant(&other_org(), id).await.unwrap(), None);
    }
    assert_eq!(store.grant_of_index(&other_org(), status).await.unwrap(), None);
    assert_eq!(store.refresh_token(&other_org(), &grant.id, &Digest::of("refresh")).await.unwrap(), None);
}

async fn a_code_that_cannot_be_redeemed(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let code = new_code(&ada, "code");
    assert!(store.issue_code(&org(), &code, &[]).await.unwrap());
    let redeem = async |org: OrgId, digest: Digest, now| {
        let grant = new_grant(&store).await;
        let redeemed = store.redeem_code(&org, &digest, grant.clone(), None, now).await.unwrap();
        assert_eq!(store.grant(&org, &grant.id).await.unwrap(), None);
        redeemed
    };
    assert_eq!(redeem(other_org(), code.digest, NOW).await, Redeemed::Unknown);
    assert_eq!(redeem(org(), Digest::of("another"), NOW).await, Redeemed::Unknown);
    assert_eq!(redeem(org(), code.digest, code.expires_at).await, Redeemed::Unknown);
    assert_eq!(store.code(&org(), &code.digest, code.expires_at).await.unwrap(), None);
    assert_eq!(store.code(&other_org(), &code.digest, NOW).await.unwrap(), None);
    let in_time =
        store.redeem_code(&org(), &code.digest, new_grant(&store).await, None, code.expires_at.minus(1)).await;
    assert!(matches!(in_time.unwrap(), Redeemed::Fresh(_)));
}

async fn a_replay_ends_the_family(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let (first, second) = (grant(&store, &ada, "first").await, grant(&store, &ada, "second").await);
    assert!(is_live(&store, &first, "first", "first 2", NOW).await);
    // From another organization, it is no replay.
    let code = Digest::of("code of first");
    let elsewhere = store.redeem_code(&other_org(), &code, new_grant(&store).await, None, NOW).await.unwrap();
    assert_eq!(elsewhere, Redeemed::Unknown);
    assert!(!is_revoked(&store, &first).await);

    let late = NOW.plus(20 * DAY);
    let replayed = store.redeem_code(&org(), &code, new_grant(&store).await, None, late).await.unwrap();
    assert_eq!(replayed, Redeemed::Replayed(first.id.clone()));
    assert!(is_revoked(&store, &first).await);
    assert!(!is_live(&store, &first, "first 2", "first 3", late).await);
    assert!(!is_revoked(&store, &second).await);
    assert!(is_live(&store, &second, "second", "second 2", late).await);
}

async fn consent_is_remembered_with_the_code(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let code = new_code(&ada, "code");
    assert!(store.issue_code(&org(), &code, &[(resource(), consent("mcp:read"))]).await.unwrap());
    let known = store.consent(&org(), &ada.id, &code.client, &resource()).await.unwrap();
    assert_eq!(known, Some(consent("mcp:read")));
    // One that fails remembers nothing.
    let again = store.issue_code(&org(), &code, &[(resource(), consent("mcp:admin"))]).await;
    assert!(matches!(again, Err(StoreError::Database(_))), "{again:?}");
    assert_eq!(store.consent(&org(), &ada.id, &code.client, &resource()).await.unwrap(), Some(consent("mcp:read")));
}

async fn a_code_upon_what_was_agreed_to_before(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let other = ResourceUri::parse("https://reports.acme.example/mcp").unwrap();
    let agreed = [(resource(), consent("mcp:read mcp:write")), (other.clone(), consent("report:read"))];
    let app = new_code(&ada, "first").client;
    assert!(store.issue_code(&org(), &new_code(&ada, "first"), &agreed).await.unwrap());
    let again = async |org: OrgId, resources: &[&ResourceUri], agreed: &[(ResourceUri, Consent)]| {
        let text = some_grant();
        let mut code = new_code(&ada, text.as_str());
        code.resources = resources.iter().map(|uri| ((*uri).clone(), ScopeSet::default())).collect();
        let issued = store.issue_code_again(&org, &code, agreed).await.unwrap();
        let known = store.code(&org, &code.digest, NOW).await.unwrap();
        assert_eq!(known.is_some(), issued == Reissued::Done);
        issued
    };
    assert_eq!(again(org(), &[&resource(), &other], &agreed).await, Reissued::Done);
    assert_eq!(again(org(), &[&other], &agreed).await, Reissued::Done);
    assert_eq!(again(other_org(), &[&other], &agreed).await, Reissued::Changed, "nobody agreed to anything there");
    assert_eq!(again(org(), &[&resource(), &other], &agreed[..1]).await, Reissued::Changed, "nothing was read of one");
    for otherwise in [
        Consent { fingerprint: Digest::of("another client"), ..consent("mcp:read mcp:write") },
        Consent { destination: Digest::of("another place"), ..consent("mcp:read mcp:write") },
        Consent { offline: false, ..consent("mcp:read mcp:write") },
        consent("mcp:read"),
    ] {
        let read = [(resource(), otherwise), agreed[1].clone()];
        assert_eq!(again(org(), &[&resource(), &other], &read).await, Reissued::Changed);
    }

    store.set_user_disabled(&org(), &ada.id, true, NOW).await.unwrap();
    assert_eq!(again(org(), &[&other], &agreed).await, Reissued::Refused);
    store.set_user_disabled(&org(), &ada.id, false, NOW).await.unwrap();
    store.withdraw_consent(&org(), &ada.id, &app, NOW).await.unwrap();
    assert_eq!(again(org(), &[&other], &agreed).await, Reissued::Changed);
    assert!(store.issue_code(&org(), &new_code(&ada, "one of two"), &agreed[..1]).await.unwrap());
    assert_eq!(again(org(), &[&resource()], &agreed).await, Reissued::Done);
    assert_eq!(again(org(), &[&resource(), &other], &agreed).await, Reissued::Changed);
}

async fn withdrawn_while_codes_are_issued_again(database: &Database) {
    let store = database.open().await;
    let mut work = Vec::new();
    let mut codes = Vec::new();
    for at in 0..20 {
        let ada = user(&store, &format!("ada{at}")).await;
        let agreed = (resource(), consent("mcp:read"));
        let first = new_code(&ada, &format!("first {at}"));
        assert!(store.issue_code(&org(), &first, std::slice::from_ref(&agreed)).await.unwrap());
        let again = new_code(&ada, &format!("again {at}"));
        codes.push(again.digest);
        work.push((again.clone(), None));
        work.push((again, Some(agreed)));
    }
    together(work.into_iter().map(|(code, agreed)| {
        let store = store.clone();
        async move {
            match agreed {
                None => store.withdraw_consent(&org(), &code.user, &code.client, NOW).await.unwrap(),
                Some(agreed) => drop(store.issue_code_again(&org(), &code, &[agreed]).await.unwrap()),
            }
        }
    }))
    .await;
    for code in codes {
        assert_eq!(store.code(&org(), &code, NOW).await.unwrap(), None, "whoever came first, nothing lives");
    }
}

async fn who_is_disabled_gets_no_code(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    store.set_user_disabled(&org(), &bob.id, true, NOW).await.unwrap();
    let refused = async |code: &NewCode| {
        assert!(!store.issue_code(&org(), code, &[(resource(), consent("mcp:read"))]).await.unwrap());
        assert_eq!(store.code(&org(), &code.digest, NOW).await.unwrap(), None);
        assert_eq!(store.consent(&org(), &code.user, &code.client, &resource()).await.unwrap(), None);
    };
    refused(&new_code(&bob, "bob")).await;
    let code = new_code(&ada, "ada");
    assert!(!store.issue_code(&other_org(), &code, &[]).await.unwrap(), "ada is nobody there");
    store.set_client_disabled(&org(), &code.client, true, NOW).await.unwrap();
    refused(&code).await;
    store.set_client_disabled(&org(), &code.client, false, NOW).await.unwrap();
    assert!(store.issue_code(&org(), &code, &[]).await.unwrap());
}

async fn revoking_a_grant(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "refresh").await;
    assert!(!store.revoke_grant(&other_org(), &grant.id, NOW).await.unwrap());
    assert!(!store.revoke_grant(&org(), &some_grant(), NOW).await.unwrap());
    assert!(!is_revoked(&store, &grant).await);
    assert!(store.revoke_grant(&org(), &grant.id, NOW).await.unwrap());
    assert!(is_revoked(&store, &grant).await);
    assert!(!store.revoke_grant(&org(), &grant.id, NOW).await.unwrap(), "once");
    assert!(!is_live(&store, &grant, "refresh", "next", NOW).await);
}

async fn grants_are_bounded(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    let of_bob = grant(&store, &bob, "bob").await;
    let mut of_ada = Vec::new();
    // All in one second.
    for at in 0..=MAX_GRANTS {
        let code = new_code(&ada, &at.to_string());
        assert!(store.issue_code(&org(), &code, &[]).await.unwrap());
        let redeemed = store.redeem_code(&org(), &code.digest, new_grant(&store).await, None, NOW).await.unwrap();
        let Redeemed::Fresh(grant) = redeemed else { panic!("{redeemed:?}") };
        assert!(!is_revoked(&store, &grant).await);
        of_ada.push(grant);
    }
    assert!(is_revoked(&store, &of_ada[0]).await, "the oldest made room");
    for grant in &of_ada[1..] {
        assert!(!is_revoked(&store, grant).await);
    }
    assert!(!is_revoked(&store, &of_bob).await, "he has his own");
}

async fn nobody_with_grants_is_deleted(database: &Database) {
    let store = database.open().await;
    let (ada, _) = (user(&store, "ada").await, user(&store, "bob").await);
    let grant = grant(&store, &ada, "refresh").await;
    store.revoke_grant(&org(), &grant.id, NOW).await.unwrap();
    let refused = store.run(sql("DELETE FROM users WHERE name = 'ada'")).await;
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
    assert!(is_revoked(&store, &grant).await, "what revokes its tokens is there");
    assert_eq!(store.run(sql("DELETE FROM users WHERE name = 'bob'")).await.unwrap(), 1);
}
