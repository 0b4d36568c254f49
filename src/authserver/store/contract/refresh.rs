use super::*;
use crate::authserver::store::rows::{Columns as _, sql};

contract![
    one_of_50_rotations,
    reuse_after_the_window,
    reuse_after_the_successor_was_used,
    a_token_that_cannot_be_used,
    a_family_lives_as_long_as_its_last_token,
    two_rows_a_grant,
    revoked_while_it_rotates,
];

/// Whether a token is one of the grant that was not used.
async fn is_kept(store: &Store, grant: &Grant, text: &str) -> bool {
    store.refresh_token(&org(), &grant.id, &Digest::of(text)).await.unwrap().unwrap().expires_at.is_some()
}

async fn one_of_50_rotations(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    let rotated = together((0..50_u8).map(|salt| {
        let (store, grant) = (store.clone(), grant.clone());
        async move {
            store.rotate(&org(), &rotation(&grant, ("first", &format!("second {salt}")), salt, NOW)).await.unwrap()
        }
    }))
    .await;
    let fresh: Vec<u8> =
        (0..50).zip(&rotated).filter(|(_, one)| **one == Rotated::Fresh).map(|(salt, _)| salt).collect();
    let [winner] = fresh[..] else { panic!("{} succeeded", fresh.len()) };
    assert_eq!(rotated.iter().filter(|one| **one == Rotated::Retry { salt: [winner; 32] }).count(), 49);
    assert!(!is_revoked(&store, &grant).await);
    for salt in (0..50).filter(|salt| *salt != winner) {
        assert!(!is_kept(&store, &grant, &format!("second {salt}")).await);
    }
    assert!(is_live(&store, &grant, &format!("second {winner}"), "third", NOW).await);
}

async fn reuse_after_the_window(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    assert!(is_live(&store, &grant, "first", "second", NOW).await);
    let again =
        async |seconds| store.rotate(&org(), &rotation(&grant, ("first", "x"), 1, NOW.plus(seconds))).await.unwrap();
    assert_eq!(again(30).await, Rotated::Retry { salt: [9; 32] });
    assert!(!is_revoked(&store, &grant).await);
    assert_eq!(again(31).await, Rotated::Reused);
    assert!(is_revoked(&store, &grant).await);
    assert_eq!(again(31).await, Rotated::Unknown, "there is nothing more to revoke");
    assert_eq!(again(0).await, Rotated::Unknown);
    assert!(!is_live(&store, &grant, "second", "third", NOW.plus(32)).await);
}

async fn reuse_after_the_successor_was_used(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    assert!(is_live(&store, &grant, "first", "second", NOW).await);
    assert!(is_live(&store, &grant, "second", "third", NOW.plus(1)).await);
    assert_eq!(store.rotate(&org(), &rotation(&grant, ("first", "x"), 1, NOW.plus(2))).await.unwrap(), Rotated::Reused);
    assert!(is_revoked(&store, &grant).await);
    assert!(!is_live(&store, &grant, "third", "fourth", NOW.plus(3)).await);
}

async fn a_token_that_cannot_be_used(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    let elsewhere = Grant { id: some_grant(), ..grant.clone() };
    let rotate = async |org: OrgId, grant: &Grant, now| {
        store.rotate(&org, &rotation(grant, ("first", "x"), 1, now)).await.unwrap()
    };
    assert_eq!(rotate(other_org(), &grant, NOW).await, Rotated::Unknown);
    assert_eq!(rotate(org(), &elsewhere, NOW).await, Rotated::Unknown);
    assert_eq!(rotate(org(), &grant, NOW.plus(30 * DAY)).await, Rotated::Unknown);
    assert_eq!(store.refresh_token(&org(), &elsewhere.id, &Digest::of("first")).await.unwrap(), None);
    assert!(!is_kept(&store, &grant, "x").await);
    assert!(!is_revoked(&store, &grant).await);
    assert!(is_live(&store, &grant, "first", "second", NOW.plus(30 * DAY - 1)).await);
}

async fn a_family_lives_as_long_as_its_last_token(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let first = grant(&store, &ada, "first").await;
    assert!(is_live(&store, &first, "first", "second", NOW.plus(10 * DAY)).await);
    let later = store.grant(&org(), &first.id).await.unwrap().unwrap();
    assert_eq!(later.keep_until, first.keep_until.plus(10 * DAY));
    // A shorter token does not shorten the family.
    let short =
        Rotation { expires_at: NOW.plus(11 * DAY), ..rotation(&first, ("second", "third"), 1, NOW.plus(10 * DAY)) };
    assert_eq!(store.rotate(&org(), &short).await.unwrap(), Rotated::Fresh);
    assert_eq!(store.grant(&org(), &first.id).await.unwrap(), Some(later));
}

async fn two_rows_a_grant(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let (busy, other) = (grant(&store, &ada, "0").await, grant(&store, &ada, "other").await);
    for at in 0..40 {
        assert!(is_live(&store, &busy, &at.to_string(), &(at + 1).to_string(), NOW).await);
    }
    let rows = sql("SELECT COUNT(*) AS n FROM refresh_tokens");
    assert_eq!(store.row(rows, |row| row.number("n")).await.unwrap(), Some(3));
    let retry = store.rotate(&org(), &rotation(&busy, ("39", "x"), 1, NOW)).await.unwrap();
    assert_eq!(retry, Rotated::Retry { salt: [9; 32] });
    assert!(!is_revoked(&store, &busy).await);
    // The very first one tells its grant for as long as that lives.
    assert_eq!(store.rotate(&org(), &rotation(&busy, ("0", "x"), 1, NOW)).await.unwrap(), Rotated::Reused);
    assert!(is_revoked(&store, &busy).await);
    assert_eq!(store.rotate(&org(), &rotation(&busy, ("0", "x"), 1, NOW)).await.unwrap(), Rotated::Unknown);
    assert!(!is_live(&store, &busy, "40", "x", NOW).await);
    assert!(is_live(&store, &other, "other", "next", NOW).await);
}

async fn revoked_while_it_rotates(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let mut families = Vec::new();
    for at in 0..20 {
        families.push((
            grant(&store, &ada, &format!("first {at}")).await,
            format!("first {at}"),
            format!("second {at}"),
        ));
    }
    let both = families.iter().flat_map(|(grant, first, second)| {
        [0, 1].map(|what| {
            let (store, grant, rotation) = (store.clone(), grant.clone(), rotation(grant, (first, second), 1, NOW));
            async move {
                if what == 0 {
                    store.revoke_grant(&org(), &grant.id, NOW).await.unwrap();
                } else {
                    let rotated = store.rotate(&org(), &rotation).await.unwrap();
                    assert!(matches!(rotated, Rotated::Fresh | Rotated::Unknown), "{rotated:?}");
                }
            }
        })
    });
    together(both.collect::<Vec<_>>()).await;
    for (grant, first, second) in families {
        assert!(is_revoked(&store, &grant).await);
        assert!(!is_live(&store, &grant, &first, "x", NOW).await && !is_live(&store, &grant, &second, "x", NOW).await);
    }
}
