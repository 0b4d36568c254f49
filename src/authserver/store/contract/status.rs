use std::collections::BTreeSet;

use super::*;
use crate::authserver::store::LIST_SIZE;

contract![
    blocks_are_leased_once,
    one_token_is_revoked,
    a_client_has_new_blocks_after_it_was_disabled,
    lists_are_those_of_their_organization,
];

async fn blocks_are_leased_once(database: &Database) {
    let (one, two) = (database.open().await, database.open().await);
    let per_list = (LIST_SIZE / BLOCK_SIZE) as usize;
    let leased = together((0..per_list + 44).map(|at| {
        let store = if at % 2 == 0 { one.clone() } else { two.clone() };
        let client = (at % 3 == 0).then(|| client("mcpc_bot"));
        async move { store.lease_block(&org(), client.as_ref(), NOW.plus(DAY)).await.unwrap().unwrap() }
    }))
    .await;
    assert!(leased.iter().all(|block| block.len == BLOCK_SIZE && block.first % BLOCK_SIZE == 0));
    assert!(leased.iter().all(|block| block.first + block.len <= LIST_SIZE));
    let places: BTreeSet<_> = leased.iter().map(|block| (block.list, block.first)).collect();
    assert_eq!(places.len(), leased.len(), "no two overlap");
    let in_list = |list| places.iter().filter(|(of, _)| *of == list).count();
    assert_eq!((in_list(0), in_list(1)), (per_list, 44), "a full list is followed by a new one");
    let elsewhere = one.lease_block(&other_org(), None, NOW.plus(DAY)).await.unwrap().unwrap();
    assert_eq!((elsewhere.list, elsewhere.first), (0, 0), "each organization has its own");
}

async fn one_token_is_revoked(database: &Database) {
    let store = database.open().await;
    let block = store.lease_block(&org(), Some(&client("mcpc_bot")), NOW.plus(DAY)).await.unwrap().unwrap();
    let index = StatusIndex { list: block.list, index: block.first + 7 };
    let neighbour = StatusIndex { index: index.index + 1, ..index };
    for until in [10, 20, 5] {
        store.revoke_index(&org(), index, NOW.plus(until)).await.unwrap();
    }
    assert!(store.is_revoked(&org(), index).await.unwrap());
    assert!(!store.is_revoked(&org(), neighbour).await.unwrap());
    assert!(!store.is_revoked(&other_org(), index).await.unwrap());
    let bits = store.status_list(&org(), index.list).await.unwrap().unwrap();
    let set: Vec<u32> = (0..LIST_SIZE).filter(|at| bits.is_set(*at)).collect();
    assert_eq!(set, [index.index]);
    // The longest of what was said holds.
    store.sweep("a", NOW.plus(19)).await.unwrap();
    assert!(store.is_revoked(&org(), index).await.unwrap());
    store.sweep("a", NOW.plus(20)).await.unwrap();
    assert!(!store.is_revoked(&org(), index).await.unwrap());
}

async fn a_client_has_new_blocks_after_it_was_disabled(database: &Database) {
    let store = database.open().await;
    let bot = client("mcpc_bot");
    let lease = async || store.lease_block(&org(), Some(&bot), NOW.plus(DAY)).await.unwrap();
    let old = lease().await.unwrap();
    store.set_client_disabled(&org(), &bot, true, NOW).await.unwrap();
    assert_eq!(lease().await, None);
    assert!(store.lease_block(&org(), None, NOW.plus(DAY)).await.unwrap().is_some(), "grants go on");
    store.set_client_disabled(&org(), &bot, false, NOW).await.unwrap();
    let new = lease().await.unwrap();
    assert_ne!((old.list, old.first), (new.list, new.first));
    let bits = store.status_list(&org(), 0).await.unwrap().unwrap();
    for at in 0..BLOCK_SIZE {
        assert!(bits.is_set(old.first + at) && !bits.is_set(new.first + at));
        let (old, new) = (old.first + at, new.first + at);
        if at % 100 == 0 {
            assert!(store.is_revoked(&org(), StatusIndex { list: 0, index: old }).await.unwrap());
            assert!(!store.is_revoked(&org(), StatusIndex { list: 0, index: new }).await.unwrap());
        }
    }
}

async fn lists_are_those_of_their_organization(database: &Database) {
    let store = database.open().await;
    assert_eq!(store.status_list(&org(), 0).await.unwrap(), None);
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "refresh").await;
    assert!(!is_revoked(&store, &grant).await);
    assert_eq!(store.status_list(&other_org(), 0).await.unwrap(), None);
    assert_eq!(store.status_list(&org(), 1).await.unwrap(), None);
    assert_eq!(store.status_list(&org(), u32::MAX).await.unwrap(), None);
}
