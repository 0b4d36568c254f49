use std::collections::BTreeSet;

use super::*;
use crate::authserver::store::{LIST_SIZE, rows::Columns as _, rows::sql, status::LIST, sweep::MARGIN_SECONDS};

/// The number of the list that begins at `NOW`.
const FIRST_LIST: u32 = 1_800_000_000;

contract![
    blocks_are_leased_once,
    a_new_database_reuses_no_index,
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
        async move { store.lease_block(&org(), client.as_ref(), NOW.plus(DAY), NOW).await.unwrap().unwrap() }
    }))
    .await;
    assert!(leased.iter().all(|block| block.len == BLOCK_SIZE && block.first % BLOCK_SIZE == 0));
    assert!(leased.iter().all(|block| block.first + block.len <= LIST_SIZE));
    let places: BTreeSet<_> = leased.iter().map(|block| (block.list, block.first)).collect();
    assert_eq!(places.len(), leased.len(), "no two overlap");
    let in_list = |list| places.iter().filter(|(of, _)| *of == list).count();
    assert_eq!((in_list(FIRST_LIST), in_list(FIRST_LIST + 1)), (per_list, 44), "a full list is followed by a new one");
    let elsewhere = one.lease_block(&other_org(), None, NOW.plus(DAY), NOW).await.unwrap().unwrap();
    assert_eq!((elsewhere.list, elsewhere.first), (FIRST_LIST, 0), "each organization has its own");
}

async fn a_new_database_reuses_no_index(database: &Database) {
    let store = database.open().await;
    let lease = async |seconds| {
        store.lease_block(&org(), None, NOW.plus(DAY), NOW.plus(seconds)).await.unwrap().map(|block| block.list)
    };
    assert_eq!(lease(0).await, Some(FIRST_LIST));
    assert_eq!(lease(DAY).await, Some(FIRST_LIST), "a list is filled before the next");
    store.run(sql("DELETE FROM orgs")).await.unwrap();
    assert_eq!(lease(1).await, Some(FIRST_LIST + 1), "the database was lost");
}

#[tokio::test]
async fn living_grants_are_not_visited_for_a_list() {
    let store = Database::sqlite();
    let store = store.open().await;
    let plan = format!("EXPLAIN QUERY PLAN {LIST}");
    let query = sqlx::query(AssertSqlSafe(plan)).bind("acme").bind(i64::from(FIRST_LIST));
    let steps: Vec<String> = store.rows(query, |step| step.get("detail")).await.unwrap();
    assert!(steps.iter().any(|step| step.contains("grants_revoked")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("SCAN grants")), "{steps:?}");
}

async fn one_token_is_revoked(database: &Database) {
    let store = database.open().await;
    let block = store.lease_block(&org(), Some(&client("mcpc_bot")), NOW.plus(DAY), NOW).await.unwrap().unwrap();
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
    store.sweep("a", NOW.plus(MARGIN_SECONDS + 19)).await.unwrap();
    assert!(store.is_revoked(&org(), index).await.unwrap());
    store.sweep("a", NOW.plus(MARGIN_SECONDS + 20)).await.unwrap();
    assert!(!store.is_revoked(&org(), index).await.unwrap());
}

async fn a_client_has_new_blocks_after_it_was_disabled(database: &Database) {
    let store = database.open().await;
    let bot = client("mcpc_bot");
    let lease = async || store.lease_block(&org(), Some(&bot), NOW.plus(DAY), NOW).await.unwrap();
    let old = lease().await.unwrap();
    store.set_client_disabled(&org(), &bot, true, NOW).await.unwrap();
    assert_eq!(lease().await, None);
    assert!(store.lease_block(&org(), None, NOW.plus(DAY), NOW).await.unwrap().is_some(), "grants go on");
    store.set_client_disabled(&org(), &bot, false, NOW).await.unwrap();
    let new = lease().await.unwrap();
    assert_ne!((old.list, old.first), (new.list, new.first));
    let bits = store.status_list(&org(), old.list).await.unwrap().unwrap();
    for at in 0..BLOCK_SIZE {
        assert!(bits.is_set(old.first + at) && !bits.is_set(new.first + at));
        let (old, new) = (old.first + at, new.first + at);
        if at % 100 == 0 {
            assert!(store.is_revoked(&org(), StatusIndex { list: FIRST_LIST, index: old }).await.unwrap());
            assert!(!store.is_revoked(&org(), StatusIndex { list: FIRST_LIST, index: new }).await.unwrap());
        }
    }
}

async fn lists_are_those_of_their_organization(database: &Database) {
    let store = database.open().await;
    assert_eq!(store.status_list(&org(), FIRST_LIST).await.unwrap(), None);
    let ada = user(&store, "ada").await;
    let grant = grant(&store, &ada, "refresh").await;
    assert!(!is_revoked(&store, &grant).await);
    assert_eq!(store.status_list(&other_org(), FIRST_LIST).await.unwrap(), None);
    assert_eq!(store.status_list(&org(), FIRST_LIST + 1).await.unwrap(), None);
    assert_eq!(store.status_list(&org(), u32::MAX).await.unwrap(), None);
}
