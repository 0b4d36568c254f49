use super::*;

contract![
    one_of_50_rotations,
    reuse_after_the_window,
    reuse_after_the_successor_was_used,
    a_token_that_cannot_be_used,
    a_family_lives_as_long_as_its_last_token,
    revoked_while_it_rotates,
];

async fn one_of_50_rotations(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    let rotated = together((0..50_u8).map(|salt| {
        let store = store.clone();
        async move { store.rotate(&org(), &rotation("first", &format!("second {salt}"), salt, NOW)).await.unwrap() }
    }))
    .await;
    let fresh: Vec<u8> =
        (0..50).zip(&rotated).filter(|(_, one)| **one == Rotated::Fresh).map(|(salt, _)| salt).collect();
    let [winner] = fresh[..] else { panic!("{} succeeded", fresh.len()) };
    assert_eq!(rotated.iter().filter(|one| **one == Rotated::Retry { salt: [winner; 32] }).count(), 49);
    assert!(!is_revoked(&store, &grant).await);
    for salt in (0..50).filter(|salt| *salt != winner) {
        assert_eq!(store.refresh_token(&org(), &Digest::of(&format!("second {salt}"))).await.unwrap(), None);
    }
    assert!(is_live(&store, &format!("second {winner}"), "third", NOW).await);
}

async fn reuse_after_the_window(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    assert!(is_live(&store, "first", "second", NOW).await);
    let again = async |seconds| store.rotate(&org(), &rotation("first", "x", 1, NOW.plus(seconds))).await.unwrap();
    assert_eq!(again(30).await, Rotated::Retry { salt: [9; 32] });
    assert!(!is_revoked(&store, &grant).await);
    assert_eq!(again(31).await, Rotated::Reused);
    assert!(is_revoked(&store, &grant).await);
    assert_eq!(again(31).await, Rotated::Unknown, "there is nothing more to revoke");
    assert_eq!(again(0).await, Rotated::Unknown);
    assert!(!is_live(&store, "second", "third", NOW.plus(32)).await);
}

async fn reuse_after_the_successor_was_used(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    assert!(is_live(&store, "first", "second", NOW).await);
    assert!(is_live(&store, "second", "third", NOW.plus(1)).await);
    assert_eq!(store.rotate(&org(), &rotation("first", "x", 1, NOW.plus(2))).await.unwrap(), Rotated::Reused);
    assert!(is_revoked(&store, &grant).await);
    assert!(!is_live(&store, "third", "fourth", NOW.plus(3)).await);
}

async fn a_token_that_cannot_be_used(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "first").await;
    let rotate = async |org: OrgId, old: &str, now| store.rotate(&org, &rotation(old, "x", 1, now)).await.unwrap();
    assert_eq!(rotate(other_org(), "first", NOW).await, Rotated::Unknown);
    assert_eq!(rotate(org(), "another", NOW).await, Rotated::Unknown);
    assert_eq!(rotate(org(), "first", NOW.plus(30 * DAY)).await, Rotated::Unknown);
    assert_eq!(store.refresh_token(&org(), &Digest::of("x")).await.unwrap(), None);
    assert!(!is_revoked(&store, &grant).await);
    assert!(is_live(&store, "first", "second", NOW.plus(30 * DAY - 1)).await);
}

async fn a_family_lives_as_long_as_its_last_token(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let first = grant(&store, &ada, "first").await;
    assert!(is_live(&store, "first", "second", NOW.plus(10 * DAY)).await);
    let later = store.grant(&org(), &first.id).await.unwrap().unwrap();
    assert_eq!(later.keep_until, first.keep_until.plus(10 * DAY));
    // A shorter token does not shorten the family.
    let short = Rotation { expires_at: NOW.plus(11 * DAY), ..rotation("second", "third", 1, NOW.plus(10 * DAY)) };
    assert_eq!(store.rotate(&org(), &short).await.unwrap(), Rotated::Fresh);
    assert_eq!(store.grant(&org(), &first.id).await.unwrap(), Some(later));
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
            let (store, grant, rotation) = (store.clone(), grant.clone(), rotation(first, second, 1, NOW));
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
        assert!(!is_live(&store, &first, "x", NOW).await && !is_live(&store, &second, "x", NOW).await);
    }
}
