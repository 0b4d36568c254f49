use super::*;
use rstest::rstest;

const T0: UnixTime = UnixTime(1_800_000_000);
const DAY: u64 = 86_400;

fn state() -> CaState {
    CaState::new(T0).unwrap()
}

/// What the Secret would hold, read back.
fn stored(state: &CaState) -> CaState {
    CaState::parse(&state.data().unwrap()).unwrap()
}

fn advance(state: &mut CaState, now: UnixTime, distributed: bool) -> Option<Step> {
    let step = state.advance(now, Observed { rotate: None, distributed }).unwrap();
    *state = stored(state);
    step
}

fn signer(state: &CaState) -> String {
    state.signer.certificate.fingerprint()
}

fn bundled(state: &CaState) -> usize {
    state.bundle().matches("BEGIN CERTIFICATE").count()
}

#[test]
fn a_state_survives_storage() {
    let mut state = state();
    let due = state.signer.certificate.renew_at();
    advance(&mut state, due, true);
    advance(&mut state, due, true);
    let again = stored(&state);
    assert_eq!(again.data().unwrap(), state.data().unwrap());
    assert_eq!(again.bundle().into_bytes(), state.data().unwrap()["ca.crt"]);
}

/// The life of two CAs, second by second where something changes.
#[test]
fn announced_known_promoted_dropped() {
    let mut state = state();
    let first = signer(&state);
    let due = state.signer.certificate.renew_at();
    assert!(due.0 > T0.0 + CA_LIFETIME / 3 * 2 - DAY && due < T0.plus(CA_LIFETIME / 3 * 2));

    assert_eq!(advance(&mut state, due.minus(1), true), None);
    assert_eq!(advance(&mut state, due, true), Some(Step::Announced));
    assert_eq!((signer(&state), bundled(&state)), (first.clone(), 2));
    assert_eq!(advance(&mut state, due.plus(100 * NOTICE / 100), false), None, "nobody has the bundle");
    let known = due.plus(5);
    assert_eq!(advance(&mut state, known, true), Some(Step::Known));
    assert_eq!(advance(&mut state, known.plus(NOTICE - 1), true), None);
    assert_eq!(advance(&mut state, known.plus(NOTICE), false), None, "somebody lost the bundle");
    assert_eq!(signer(&state), first);
    let promoted = known.plus(NOTICE);
    assert_eq!(advance(&mut state, promoted, true), Some(Step::Promoted));
    assert_ne!(signer(&state), first);
    assert_eq!(bundled(&state), 2);
    let last_leaf_ends = promoted.plus(LEAF_LIFETIME);
    assert_eq!(advance(&mut state, last_leaf_ends, true), None);
    assert_eq!(advance(&mut state, last_leaf_ends.plus(MARGIN), true), Some(Step::Dropped));
    assert_eq!(bundled(&state), 1);
    assert_eq!(advance(&mut state, last_leaf_ends.plus(MARGIN), true), None);
}

/// At every moment every leaf in use is signed by a CA of every bundle in use.
#[test]
fn no_moment_without_trust() {
    let mut state = state();
    let (mut leaves, mut now, end) = (Vec::new(), T0, T0.plus(3 * CA_LIFETIME));
    let mut rotations = 0;
    while now < end {
        let step = advance(&mut state, now, true);
        rotations += usize::from(step == Some(Step::Promoted));
        if step == Some(Step::Promoted) {
            // A replica that has not seen the new Secret yet signs once more with the old CA, some seconds ago.
            continue;
        }
        let authority = state.authority().unwrap();
        leaves.push(authority.leaf(&["a.svc"], now).unwrap().certificate);
        leaves.retain(|leaf: &Certificate| leaf.not_after > now);
        let previous = state.previous.iter().map(|previous| &previous.certificate);
        let trusted: Vec<_> = previous.chain([&state.signer.certificate]).collect();
        for leaf in &leaves {
            assert!(trusted.iter().any(|ca| leaf.is_signed_by(ca) && ca.not_after > now), "at {now:?}");
        }
        now = now.plus(5 * DAY);
    }
    assert!(rotations >= 3, "{rotations}");
}

#[test]
fn asked_for() {
    let mut state = state();
    let mut ask = |now: UnixTime, rotate, distributed| {
        let step = state.advance(now, Observed { rotate, distributed }).unwrap();
        state = stored(&state);
        (step, state.is_hurried())
    };
    assert_eq!(ask(T0, None, true), (None, false));
    assert_eq!(ask(T0, Some("1"), true), (Some(Step::Announced), true));
    assert_eq!(ask(T0, Some("1"), false), (None, true));
    assert_eq!(ask(T0.plus(3), Some("1"), true), (Some(Step::Known), true));
    assert_eq!(ask(T0.plus(3 + FORCED_NOTICE - 1), Some("1"), true), (None, true));
    assert_eq!(ask(T0.plus(3 + FORCED_NOTICE), Some("1"), true), (Some(Step::Promoted), false));
    assert_eq!(ask(T0.plus(60), Some("1"), true), (None, false), "one value asks once");
    assert_eq!(ask(T0.plus(61), None, true), (None, false));
    assert_eq!(ask(T0.plus(62), Some("2"), true).0, Some(Step::Announced));
}

#[test]
fn asked_for_during_a_scheduled_one() {
    let mut state = state();
    let due = state.signer.certificate.renew_at();
    advance(&mut state, due, true);
    advance(&mut state, due, true);
    let ask = Observed { rotate: Some("now"), distributed: true };
    assert_eq!(state.advance(due.plus(40), ask).unwrap(), Some(Step::Hurried));
    assert_eq!(state.advance(due.plus(40), ask).unwrap(), Some(Step::Promoted));
    assert_eq!(state.advance(due.plus(40), ask).unwrap(), None);
}

#[test]
fn asking_again_and_again_stays_bounded() {
    let mut state = state();
    let mut now = T0;
    for round in 0..20 {
        let value = round.to_string();
        for _ in 0..4 {
            state.advance(now, Observed { rotate: Some(&value), distributed: true }).unwrap();
            now = now.plus(FORCED_NOTICE);
        }
    }
    assert_eq!(bundled(&state), MAX_PREVIOUS + 1);
}

#[test]
fn an_expired_ca_is_replaced_at_once() {
    let mut state = state();
    let first = signer(&state);
    let late = T0.plus(CA_LIFETIME);
    assert_eq!(advance(&mut state, late, false), Some(Step::Replaced));
    assert_ne!(signer(&state), first);
    assert_eq!(advance(&mut state, late.plus(MARGIN), false), Some(Step::Dropped));
    assert_eq!(bundled(&state), 1);
}

#[test]
fn an_announced_ca_replaces_one_that_expires_meanwhile() {
    let mut state = state();
    let due = state.signer.certificate.renew_at();
    advance(&mut state, due, false);
    let next = state.next.as_ref().unwrap().ca.certificate.fingerprint();
    assert_eq!(advance(&mut state, T0.plus(CA_LIFETIME), false), Some(Step::Replaced));
    assert_eq!(signer(&state), next);
}

#[rstest]
#[case::no_certificate("tls.crt", None, "tls.crt is missing")]
#[case::no_key("tls.key", None, "tls.key is missing")]
#[case::not_a_certificate("tls.crt", Some("x"), "tls.crt is not a PEM certificate")]
#[case::not_a_key("tls.key", Some("x"), "tls.key is not the private key of its certificate")]
#[case::not_a_record("rotation.json", Some("{"), "rotation.json cannot be read")]
#[case::a_later_record("rotation.json", Some(r#"{"phase": 1}"#), "rotation.json cannot be read")]
fn bad_secrets_are_refused(#[case] key: &str, #[case] value: Option<&str>, #[case] message: &str) {
    let mut data = state().data().unwrap();
    match value {
        Some(value) => data.insert(key.to_owned(), value.as_bytes().to_vec()),
        None => data.remove(key),
    };
    let error = CaState::parse(&data).err().unwrap().to_string();
    assert!(error.starts_with(message), "{error}");
}

#[test]
fn the_key_of_another_ca_is_refused() {
    let mut data = state().data().unwrap();
    data.insert("tls.key".to_owned(), state().data().unwrap()["tls.key"].clone());
    assert!(matches!(CaState::parse(&data), Err(PkiError::Key("tls.key"))));
}

#[test]
fn a_leaf_is_no_ca() {
    let leaf = state().authority().unwrap().leaf(&["a.svc"], T0).unwrap();
    let mut data = state().data().unwrap();
    data.insert("tls.crt".to_owned(), leaf.certificate.pem().as_bytes().to_vec());
    data.insert("tls.key".to_owned(), leaf.key_pem().into_bytes());
    assert!(matches!(CaState::parse(&data), Err(PkiError::NotCa("tls.crt"))));
}

/// A Secret that another tool made, with nothing but a CA in it.
#[test]
fn a_record_is_not_needed() {
    let mut data = state().data().unwrap();
    data.remove("rotation.json");
    data.remove("ca.crt");
    assert_eq!(bundled(&CaState::parse(&data).unwrap()), 1);
}

#[test]
fn leaves() {
    let state = state();
    let authority = state.authority().unwrap();
    let names = ["b.svc", "a.svc"];
    let leaf = authority.leaf(&names, T0).unwrap();
    assert_eq!(leaf.certificate.names, ["a.svc", "b.svc"]);
    assert_eq!(leaf.certificate.not_after, T0.plus(LEAF_LIFETIME));
    assert!(leaf.certificate.not_before < T0 && !leaf.certificate.is_ca);
    let (pem, key) = (leaf.certificate.pem(), leaf.key_pem());
    assert!(authority.accepts(pem, &key, &names, T0));
    assert!(authority.accepts(pem, &key, &names, leaf.certificate.renew_at().minus(1)));
    assert!(!authority.accepts(pem, &key, &names, leaf.certificate.renew_at()), "due");
    assert!(!authority.accepts(pem, &key, &["a.svc"], T0), "other names");
    assert!(!authority.accepts(pem, &authority.leaf(&names, T0).unwrap().key_pem(), &names, T0), "other key");
    assert!(!authority.accepts("", &key, &names, T0));
    assert!(!CaState::new(T0).unwrap().authority().unwrap().accepts(pem, &key, &names, T0), "other CA");
    let late = authority.leaf(&names, T0.plus(CA_LIFETIME - DAY)).unwrap();
    assert_eq!(late.certificate.not_after, T0.plus(CA_LIFETIME), "no leaf outlives its CA");
}

#[test]
fn debug_shows_no_key() {
    let authority = state().authority().unwrap();
    let leaf = authority.leaf(&["a.svc"], T0).unwrap();
    assert!(format!("{authority:?} {leaf:?}").len() < 64);
}
