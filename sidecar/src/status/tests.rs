use std::sync::atomic::AtomicU32;

use http::HeaderValue;
use lumoauth_core::{
    config::Issuer,
    token::{LEEWAY_SECONDS, StatusList, StatusListToken},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{watched::RenewError, *};
use crate::jwks::JwksLimits;

const FOLDER: &str = "https://as.example/oauth/status/";
const SECOND: Duration = Duration::from_secs(1);
/// When the lists of these tests are issued.
const ISSUED: u64 = 1000;
const NEVER: UnixTime = UnixTime(u64::MAX);

fn source() -> StatusSource {
    source_with(&[])
}

/// One that was told of these keys.
fn source_with(keys: &[&str]) -> StatusSource {
    let keys: Vec<_> = keys.iter().map(|kid| key(kid)).collect();
    let settings: Issuer = serde_json::from_value(json!({
        "issuer": "https://as.example", "audience": "https://mcp.example/mcp", "tokenType": "accessToken",
        "algorithms": ["ES256"], "keys": {"keys": keys},
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

fn key(kid: &str) -> Value {
    json!({"kty": "EC", "kid": kid})
}

fn token(bits: u8, issued_at: u64) -> (StatusListToken, Option<HeaderValue>) {
    token_by("k1", bits, issued_at)
}

fn token_by(kid: &str, bits: u8, issued_at: u64) -> (StatusListToken, Option<HeaderValue>) {
    let (list, issued_at) = (StatusList::from_bytes(vec![bits]).unwrap(), UnixTime(issued_at));
    (StatusListToken { list, issued_at, expires_at: issued_at.plus(930), signed_by: key(kid) }, None)
}

/// The bit of a token that never ends.
fn bit(source: &StatusSource, name: &str, index: u64) -> Bit {
    source.bit(&reference(name, index), NEVER).unwrap()
}

/// A time in which both clocks go, from when lists are issued.
#[derive(Clone, Copy)]
struct Time(Instant);

impl Time {
    fn after(self, seconds: u32) -> Moment {
        Moment { steady: self.0 + seconds * SECOND, wall: UnixTime(ISSUED + u64::from(seconds)) }
    }
}

fn look(bit: &Bit, now: Moment) -> Result<(), StatusFault> {
    bit.list.check(bit.index, now)
}

#[test]
fn a_list_is_known_until_it_is_too_old() {
    let (source, time) = (source(), Time(Instant::now()));
    let (valid, revoked) = (bit(&source, "0", 0), bit(&source, "0", 1));
    assert!(Arc::ptr_eq(&valid.list, &revoked.list));
    assert_eq!(look(&valid, time.after(0)), Err(StatusFault::Unknown), "never seen");
    valid.list.confirm(Some(token(0b10, ISSUED)), time.after(0));
    assert_eq!((look(&valid, time.after(0)), look(&revoked, time.after(0))), (Ok(()), Err(StatusFault::Revoked)));
    assert_eq!(look(&valid, time.after(900)), Ok(()));
    assert_eq!(look(&valid, time.after(901)), Err(StatusFault::Unknown));
    assert_eq!(look(&revoked, time.after(901)), Err(StatusFault::Revoked), "for good");
    // Unchanged for as long as an issuer leaves a list as it is before it signs again.
    valid.list.confirm(None, time.after(30));
    assert_eq!(look(&valid, time.after(930)), Ok(()));
    assert_eq!(look(&valid, time.after(931)), Err(StatusFault::Unknown));
    assert_eq!(look(&bit(&source, "0", 8), time.after(0)), Err(StatusFault::Revoked), "beyond its end");
}

#[test]
fn a_list_ends_while_the_machine_sleeps() {
    let (source, time) = (source(), Time(Instant::now()));
    let (valid, revoked) = (bit(&source, "0", 0), bit(&source, "0", 1));
    valid.list.confirm(Some(token(0b10, ISSUED)), time.after(0));
    let awake = |seconds: u64| Moment { wall: UnixTime(ISSUED + seconds), ..time.after(1) };
    let end = 930 + LEEWAY_SECONDS;
    assert_eq!(look(&valid, awake(end - 1)), Ok(()));
    assert_eq!(look(&valid, awake(end)), Err(StatusFault::Unknown));
    assert_eq!(look(&revoked, awake(3 * 3600)), Err(StatusFault::Revoked));
    let mut changes = valid.changes();
    valid.list.complain(&RenewError::Expired, awake(end - 1));
    assert!(!changes.has_changed().unwrap());
    valid.list.complain(&RenewError::Expired, awake(end));
    assert!(changes.has_changed().unwrap(), "streams end");
    changes.mark_unchanged();
    valid.list.confirm(Some(token(0b10, ISSUED + end)), awake(end));
    assert_eq!(look(&valid, awake(end)), Ok(()));
}

#[rstest]
#[case::same_second(&[(0b01, 100), (0b10, 100)], 0b11)]
#[case::older(&[(0b01, 100), (0b10, 99)], 0b11)]
#[case::clock_ahead(&[(0b01, 100), (0b10, 159)], 0b11)]
#[case::settled(&[(0b01, 100), (0b10, 160), (0b10, 220)], 0b10)]
#[case::long_after(&[(0b01, 100), (0b10, 5000), (0b10, 5060)], 0b10)]
#[case::said_again(&[(0b01, 100), (0b01, 159), (0b10, 160), (0b10, 218)], 0b11)]
#[case::older_after_newer(&[(0b00, 160), (0b01, 100), (0b10, 219), (0b10, 220)], 0b11)]
#[case::every_half_minute(&[(0b01, 100), (0b10, 130), (0b10, 160), (0b10, 190), (0b10, 220)], 0b10)]
fn a_replica_that_is_behind_or_ahead_unrevokes_nothing(#[case] lists: &[(u8, u64)], #[case] expected: u8) {
    let (source, time) = (source(), Time(Instant::now()));
    let list = bit(&source, "0", 0).list;
    for (bits, issued_at) in lists {
        list.confirm(Some(token(*bits, *issued_at)), time.after(5));
    }
    let held = list.held.load_full().unwrap();
    assert_eq!((held.list.as_bytes(), held.confirmed), (&[expected][..], time.after(5).steady));
}

#[test]
fn those_who_wait_are_woken_by_changes_alone() {
    let (source, time) = (source(), Time(Instant::now()));
    let bit = bit(&source, "0", 0);
    bit.list.confirm(Some(token(0, ISSUED)), time.after(0));
    let mut changes = bit.changes();
    let mut woken = || {
        let news = changes.has_changed().unwrap();
        changes.mark_unchanged();
        news
    };
    bit.list.confirm(Some(token(0, ISSUED + 1)), time.after(0));
    bit.list.confirm(None, time.after(0));
    bit.list.complain(&RenewError::Expired, time.after(900));
    assert!(!woken());
    bit.list.confirm(Some(token(1, ISSUED + 2)), time.after(0));
    assert!(woken(), "a bit has changed");
    bit.list.complain(&RenewError::Expired, time.after(901));
    assert!(woken(), "it is too old");
}

#[test]
fn it_is_complained_about_once() {
    let (source, time) = (source(), Time(Instant::now()));
    let list = bit(&source, "0", 0).list;
    list.confirm(Some(token(0, ISSUED)), time.after(0));
    let complained = |age: u32| {
        list.complain(&RenewError::Expired, time.after(age));
        list.complained.load(Ordering::Relaxed)
    };
    assert!(!complained(59));
    assert!(complained(60));
    list.confirm(None, time.after(61));
    assert!(!list.complained.load(Ordering::Relaxed));
}

#[test]
fn a_list_is_needed_while_a_token_lives_or_somebody_waits() {
    let source = source();
    let until = |seconds: u64| source.bit(&reference("0", 0), UnixTime(seconds)).unwrap();
    let bit = until(5000);
    until(4000);
    assert!(bit.list.is_needed(UnixTime(4999)), "the longest counts, used or not");
    assert!(!bit.list.is_needed(UnixTime(5000)));
    let waiting = bit.changes();
    assert!(bit.list.is_needed(UnixTime(9000)));
    drop(waiting);
    assert!(!bit.list.is_needed(UnixTime(9000)));
    until(9001);
    assert!(bit.list.is_needed(UnixTime(9000)));
}

#[test]
fn polling_does_not_end_under_one_who_just_came() {
    let source = source();
    let list = source.bit(&reference("0", 0), UnixTime(5000)).unwrap().list;
    list.steady.store(true, Ordering::SeqCst);
    assert!(!list.retires(UnixTime(4999)), "needed again since it was looked at");
    assert!(list.is_steady());
    assert!(list.retires(UnixTime(5000)));
    assert!(!list.is_steady());
}

#[tokio::test]
async fn a_panic_does_not_end_polling() {
    let source = source();
    let list = bit(&source, "0", 0).list;
    list.steady.store(true, Ordering::SeqCst);
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let ask = move |_| {
        let counted = Arc::clone(&counted);
        async move { assert!(counted.fetch_add(1, Ordering::Relaxed) > 0, "the first one fails") }
    };
    let polling = tokio::spawn(Watched::poll(Arc::downgrade(&list), Duration::from_millis(5), ask));
    while asked.load(Ordering::Relaxed) < 3 {
        assert!(!polling.is_finished(), "it goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(list.is_steady());
    list.let_go();
    polling.await.unwrap();
    assert!(!list.is_steady());
}

#[test]
fn of_too_many_lists_the_one_that_is_worth_the_least_is_dropped() {
    let (source, time) = (source(), Time(Instant::now()));
    // One of them is needed by no token any more.
    let until = |at| if at == 9 { UnixTime(0) } else { NEVER };
    let bits: Vec<_> =
        (0..MAX_LISTS).map(|at| source.bit(&reference(&at.to_string(), 0), until(at)).unwrap()).collect();
    for (at, bit) in (0..).zip(&bits) {
        bit.list.confirm(Some(token(0, ISSUED)), time.after(0));
        bit.list.touch(now().plus(100 + at));
    }
    let waiting = bits[0].changes();
    let dropped = |source: &StatusSource| {
        let known = source.known.load();
        (0..MAX_LISTS).filter(|at| !known.contains_key(&at.to_string())).collect::<Vec<_>>()
    };
    bit(&source, "new", 0).list.touch(now().plus(1000));
    assert_eq!(dropped(&source), [9], "not needed");
    assert!(bits[9].is_gone());
    assert_eq!(look(&bits[9], time.after(0)), Err(StatusFault::Unknown));
    bit(&source, "newer", 0).list.touch(now().plus(1000));
    assert_eq!(dropped(&source), [1, 9], "0 is waited for; of the others, 1 was used the longest ago");
    assert!(!waiting.has_changed().unwrap());
    assert_eq!(look(&bits[0], time.after(0)), Ok(()));
    assert_eq!(source.known.load().len(), MAX_LISTS);
}

#[rstest]
#[case("https://as.example/oauth/status/a/b")]
#[case("https://as.example/oauth/status/")]
#[case("https://as.example/oauth/status2")]
#[case("https://other.example/oauth/status/0")]
fn other_places_are_foreign(#[case] uri: &str) {
    let reference = StatusReference { list: ResourceUri::parse(uri).unwrap(), index: 0 };
    let source = source();
    assert_eq!(source.bit(&reference, NEVER).err(), Some(StatusFault::Foreign));
    assert!(source.known.load().is_empty());
}

#[test]
fn the_oldest_of_those_in_use_is_told() {
    let (source, time) = (source(), Time(Instant::now()));
    assert_eq!(source.oldest(time.0), None);
    for (name, at, steady) in [("a", 10, true), ("b", 5, true), ("c", 0, false)] {
        let list = bit(&source, name, 0).list;
        list.confirm(Some(token(0, 100)), time.after(at));
        list.steady.store(steady, Ordering::SeqCst);
    }
    assert_eq!(source.oldest(time.0 + 15 * SECOND), Some(10 * SECOND));
}

#[test]
fn a_new_configuration_forgets_no_revocation() {
    let (earlier, time) = (source(), Time(Instant::now()));
    bit(&earlier, "0", 0).list.confirm(Some(token(1, ISSUED)), time.after(0));
    bit(&earlier, "never-seen", 0);
    let later = source();
    later.inherit(&earlier);
    assert_eq!(later.known.load().keys().collect::<Vec<_>>(), ["0"]);
    let list = Arc::clone(&later.known.load()["0"]);
    assert!(list.is_needed(UnixTime(ISSUED)), "by tokens that were seen before");
    let bit = bit(&later, "0", 0);
    assert_eq!(look(&bit, time.after(0)), Err(StatusFault::Revoked));
    assert!(!bit.list.is_steady(), "it will be asked for before it is used");
}

#[rstest]
#[case::another_key_is_retired(&["k1", "old"], &["k1"], true)]
#[case::its_key_is_retired(&["k1", "k2"], &["k2"], false)]
#[case::its_key_was_never_seeded(&["k2", "k3"], &["k2"], true)]
#[case::its_key_is_seeded_at_last(&["k2"], &["k1", "k2"], true)]
fn lists_of_retired_keys_are_forgotten(#[case] before: &[&str], #[case] after: &[&str], #[case] kept: bool) {
    let (earlier, time) = (source_with(before), Time(Instant::now()));
    bit(&earlier, "0", 0).list.confirm(Some(token_by("k1", 1, ISSUED)), time.after(0));
    let later = source_with(after);
    later.inherit(&earlier);
    assert_eq!(later.known.load().contains_key("0"), kept);
}
