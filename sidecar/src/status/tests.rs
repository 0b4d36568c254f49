use lumoauth_core::config::Issuer;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::jwks::JwksLimits;

const FOLDER: &str = "https://as.example/oauth/status/";
const SECOND: Duration = Duration::from_secs(1);

fn source() -> StatusSource {
    let settings: Issuer = serde_json::from_value(json!({
        "issuer": "https://as.example", "audience": "https://mcp.example/mcp", "tokenType": "accessToken",
        "algorithms": ["ES256"], "keys": {"keys": []},
        "status": {"uri": FOLDER, "fetch": FOLDER, "maxAgeSeconds": 900},
    }))
    .unwrap();
    let lists = settings.status.clone().unwrap();
    let metrics = Metrics::default();
    let keys = KeySource::new(settings, JwksLimits::default(), Arc::default(), &metrics).unwrap();
    StatusSource::new(Arc::new(keys), lists, StatusLimits::default(), &metrics).unwrap()
}

fn reference(name: &str, index: u64) -> StatusReference {
    StatusReference { list: ResourceUri::parse(&format!("{FOLDER}{name}")).unwrap(), index }
}

fn token(bits: u8, issued_at: u64) -> (StatusListToken, Option<HeaderValue>) {
    let list = StatusList::from_bytes(vec![bits]).unwrap();
    (StatusListToken { list, issued_at: UnixTime(issued_at), expires_at: UnixTime(issued_at + 900) }, None)
}

fn look(bit: &Bit, now: Instant) -> Result<(), StatusFault> {
    bit.list.check(bit.index, now)
}

#[test]
fn a_list_is_known_until_it_is_too_old() {
    let (source, start) = (source(), Instant::now());
    let valid = source.bit(&reference("0", 0)).unwrap();
    let revoked = source.bit(&reference("0", 1)).unwrap();
    assert!(Arc::ptr_eq(&valid.list, &revoked.list));
    assert_eq!(look(&valid, start), Err(StatusFault::Unknown), "never seen");
    valid.list.confirm(Some(token(0b10, 0)), start);
    assert_eq!((look(&valid, start), look(&revoked, start)), (Ok(()), Err(StatusFault::Revoked)));
    assert_eq!(look(&valid, start + 900 * SECOND), Ok(()));
    assert_eq!(look(&valid, start + 901 * SECOND), Err(StatusFault::Unknown));
    assert_eq!(look(&revoked, start + 901 * SECOND), Err(StatusFault::Revoked), "for good");
    valid.list.confirm(None, start + 901 * SECOND);
    assert_eq!(look(&valid, start + 1801 * SECOND), Ok(()));
    assert_eq!(look(&source.bit(&reference("0", 8)).unwrap(), start), Err(StatusFault::Revoked), "beyond its end");
}

#[rstest]
#[case::newer_forgets(0b01, 100, 0b10, 101, 0b10)]
#[case::same_second_adds(0b01, 100, 0b10, 100, 0b11)]
#[case::older_adds(0b01, 100, 0b10, 99, 0b11)]
fn a_replica_that_is_behind_unrevokes_nothing(
    #[case] first: u8,
    #[case] first_at: u64,
    #[case] second: u8,
    #[case] second_at: u64,
    #[case] expected: u8,
) {
    let (source, now) = (source(), Instant::now());
    let bit = source.bit(&reference("0", 0)).unwrap();
    bit.list.confirm(Some(token(first, first_at)), now);
    bit.list.confirm(Some(token(second, second_at)), now + SECOND);
    let held = bit.list.held.load_full().unwrap();
    assert_eq!((held.list.as_bytes(), held.confirmed), (&[expected][..], now + SECOND));
    assert_eq!(held.issued_at.0, first_at.max(second_at));
}

#[test]
fn those_who_wait_are_woken_by_changes_alone() {
    let (source, start) = (source(), Instant::now());
    let bit = source.bit(&reference("0", 0)).unwrap();
    bit.list.confirm(Some(token(0, 100)), start);
    let mut changes = bit.changes();
    let mut woken = || {
        let news = changes.has_changed().unwrap();
        changes.mark_unchanged();
        news
    };
    bit.list.confirm(Some(token(0, 101)), start);
    bit.list.confirm(None, start);
    bit.list.complain(&RenewError::Expired, start + 900 * SECOND);
    assert!(!woken());
    bit.list.confirm(Some(token(1, 102)), start);
    assert!(woken(), "a bit has changed");
    bit.list.complain(&RenewError::Expired, start + 901 * SECOND);
    assert!(woken(), "it is too old");
}

#[test]
fn it_is_complained_about_once() {
    let (source, start) = (source(), Instant::now());
    let list = source.bit(&reference("0", 0)).unwrap().list;
    list.confirm(Some(token(0, 100)), start);
    let complained = |age: u32| {
        list.complain(&RenewError::Expired, start + age * SECOND);
        list.complained.load(Ordering::Relaxed)
    };
    assert!(!complained(59));
    assert!(complained(60));
    list.confirm(None, start + 61 * SECOND);
    assert!(!list.complained.load(Ordering::Relaxed));
}

#[test]
fn lists_are_used_by_calls_and_by_those_who_wait() {
    let (source, start) = (source(), Instant::now());
    let bit = source.bit(&reference("0", 0)).unwrap();
    bit.list.touch(start);
    assert!(!bit.list.is_unused(start + 599 * SECOND));
    assert!(bit.list.is_unused(start + 601 * SECOND));
    let waiting = bit.changes();
    assert!(!bit.list.is_unused(start + 6000 * SECOND));
    drop(waiting);
    bit.list.touch(start + 6000 * SECOND);
    assert!(!bit.list.is_unused(start + 6001 * SECOND));
}

#[test]
fn the_number_of_lists_is_limited_to_those_in_use() {
    let source = source();
    for at in 0..MAX_LISTS {
        let bit = source.bit(&reference(&at.to_string(), 0)).unwrap();
        bit.list.steady.store(at != 7, Ordering::Release);
    }
    let bit = source.bit(&reference("one-more", 0)).unwrap();
    assert!(!source.known.load().contains_key("7"));
    bit.list.steady.store(true, Ordering::Release);
    assert_eq!(source.bit(&reference("too-many", 0)).err(), Some(StatusFault::Unknown));
    assert!(source.bit(&reference("0", 0)).is_ok());
}

#[rstest]
#[case("https://as.example/oauth/status/a/b")]
#[case("https://as.example/oauth/status/")]
#[case("https://as.example/oauth/status2")]
#[case("https://other.example/oauth/status/0")]
fn other_places_are_foreign(#[case] uri: &str) {
    let reference = StatusReference { list: ResourceUri::parse(uri).unwrap(), index: 0 };
    let source = source();
    assert_eq!(source.bit(&reference).err(), Some(StatusFault::Foreign));
    assert!(source.known.load().is_empty());
}

#[test]
fn the_oldest_of_those_in_use_is_told() {
    let (source, start) = (source(), Instant::now());
    assert_eq!(source.oldest(start), None);
    for (name, at, steady) in [("a", 10, true), ("b", 5, true), ("c", 0, false)] {
        let list = source.bit(&reference(name, 0)).unwrap().list;
        list.confirm(Some(token(0, 100)), start + at * SECOND);
        list.steady.store(steady, Ordering::Release);
    }
    assert_eq!(source.oldest(start + 15 * SECOND), Some(10 * SECOND));
}

#[test]
fn a_new_configuration_forgets_no_revocation() {
    let (earlier, now) = (source(), Instant::now());
    earlier.bit(&reference("0", 0)).unwrap().list.confirm(Some(token(1, 100)), now);
    earlier.bit(&reference("never-seen", 0)).unwrap();
    let later = source();
    later.inherit(&earlier);
    assert_eq!(later.known.load().keys().collect::<Vec<_>>(), ["0"]);
    let bit = later.bit(&reference("0", 0)).unwrap();
    assert_eq!(look(&bit, now), Err(StatusFault::Revoked));
    assert!(!bit.list.steady.load(Ordering::Acquire), "it will be asked for before it is used");
}
