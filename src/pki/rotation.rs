//! The content of Secret `lumoauth-ca`, and how it changes with time.
//!
//! A CA is replaced in steps, each stored before the next: a new CA is announced (in the bundle, signing nothing); once
//! everyone who trusts has been given the bundle, a notice period runs; then the new CA signs; and the old one leaves
//! the bundle when its last leaf has expired. At every moment each leaf in use is signed by a CA of every bundle in use.

use std::collections::BTreeMap;

use lumoauth_core::UnixTime;
use serde::{Deserialize, Serialize};

use super::{
    Authority, Certificate, PkiError,
    authority::{Ca, LEAF_LIFETIME},
};

/// How long a CA holds: a year, of which two thirds are used.
pub const CA_LIFETIME: u64 = 365 * 86_400;
/// How long a new CA is in every bundle before it signs: a week. Programs that read `ca.crt` from a Secret read it late.
pub const NOTICE: u64 = 7 * 86_400;
/// The same when the rotation was asked for: long enough for API servers and sidecars, which are told at once.
pub const FORCED_NOTICE: u64 = 30;
/// How long after the last leaf of a CA has expired it stays in the bundle.
const MARGIN: u64 = 3_600;
/// Earlier CAs in a bundle, at most; a rotation that is asked for waits while there are as many.
const MAX_PREVIOUS: usize = 4;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const BUNDLE: &str = "ca.crt";
const RECORD: &str = "rotation.json";

/// The CA that signs, the one that will, and those that did.
pub struct CaState {
    signer: Ca,
    next: Option<Next>,
    previous: Vec<Previous>,
    asked: Option<String>,
}

/// A CA that is announced and signs nothing yet.
struct Next {
    ca: Ca,
    forced: bool,
    /// Since when everyone who trusts is known to have the bundle.
    known_since: Option<UnixTime>,
}

/// A CA that signs nothing any more.
struct Previous {
    certificate: Certificate,
    drop_after: UnixTime,
}

/// What [`CaState::advance`] has to know of the world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed<'a> {
    /// Value of the annotation `mcp.lumoauth.dev/rotate` of the Secret: each new one asks for one rotation.
    pub rotate: Option<&'a str>,
    /// Whether everyone whom we give the bundle has the current one.
    pub distributed: bool,
}

/// What [`CaState::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new CA is in the bundle.
    Announced,
    /// Everyone has the bundle: the notice period runs.
    Known,
    /// The new CA signs from now on.
    Promoted,
    /// The CA had expired: a new one signs at once.
    Replaced,
    /// A CA whose leaves have expired left the bundle.
    Dropped,
    /// The rotation under way was asked to be quick.
    Hurried,
}

/// The stored form of what is not in `tls.crt` and `tls.key`.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<NextRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    previous: Vec<PreviousRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NextRecord {
    certificate: String,
    key: String,
    forced: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known_since: Option<UnixTime>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PreviousRecord {
    certificate: String,
    drop_after: UnixTime,
}

impl CaState {
    /// The first CA.
    pub fn new(now: UnixTime) -> Result<Self, PkiError> {
        Ok(Self { signer: Ca::generate(now, CA_LIFETIME)?, next: None, previous: Vec::new(), asked: None })
    }

    /// Reads the data of the Secret.
    pub fn parse(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, PkiError> {
        let text = |key: &'static str| {
            let bytes = data.get(key).ok_or(PkiError::Missing(key))?;
            std::str::from_utf8(bytes).map_err(|_| PkiError::Certificate(key))
        };
        let signer = Ca::parse(text(CERTIFICATE)?, text(KEY)?)?;
        let record: Record =
            data.get(RECORD).map(|bytes| serde_json::from_slice(bytes)).transpose()?.unwrap_or_default();
        let next = record.next.map(|next| {
            let ca = Ca::parse(&next.certificate, &next.key)?;
            Ok::<_, PkiError>(Next { ca, forced: next.forced, known_since: next.known_since })
        });
        let previous = record.previous.into_iter().map(|previous| {
            let certificate = Certificate::parse(&previous.certificate, RECORD)?;
            Ok::<_, PkiError>(Previous { certificate, drop_after: previous.drop_after })
        });
        Ok(Self { signer, next: next.transpose()?, previous: previous.collect::<Result<_, _>>()?, asked: record.asked })
    }

    /// The data of the Secret, private keys included. `ca.crt` is the bundle, for people and for mounts.
    pub fn data(&self) -> Result<BTreeMap<String, Vec<u8>>, PkiError> {
        let record = Record {
            asked: self.asked.clone(),
            next: self.next.as_ref().map(|next| NextRecord {
                certificate: next.ca.certificate.pem().to_owned(),
                key: next.ca.key_pem.clone(),
                forced: next.forced,
                known_since: next.known_since,
            }),
            previous: self
                .previous
                .iter()
                .map(|previous| PreviousRecord {
                    certificate: previous.certificate.pem().to_owned(),
                    drop_after: previous.drop_after,
                })
                .collect(),
        };
        Ok(BTreeMap::from([
            (CERTIFICATE.to_owned(), self.signer.certificate.pem().as_bytes().to_vec()),
            (KEY.to_owned(), self.signer.key_pem.as_bytes().to_vec()),
            (BUNDLE.to_owned(), self.bundle().into_bytes()),
            (RECORD.to_owned(), serde_json::to_vec(&record)?),
        ]))
    }

    /// Whoever signs leaves now.
    pub fn authority(&self) -> Result<Authority, PkiError> {
        self.signer.authority(self.bundle())
    }

    /// PEM of every CA to trust.
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| &next.ca.certificate);
        let previous = self.previous.iter().map(|previous| &previous.certificate);
        [&self.signer.certificate].into_iter().chain(next).chain(previous).map(Certificate::pem).collect()
    }

    /// Whether a rotation that was asked for is under way: who drives it should look often.
    pub fn is_hurried(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.forced)
    }

    /// Does the next thing that is due at `now`, if any. The caller stores the state before it acts on it, and calls
    /// again until nothing is due.
    pub fn advance(&mut self, now: UnixTime, observed: Observed<'_>) -> Result<Option<Step>, PkiError> {
        let before = self.previous.len();
        self.previous.retain(|previous| previous.drop_after > now);
        if self.previous.len() < before {
            return Ok(Some(Step::Dropped));
        }
        let asked = observed.rotate.filter(|value| self.asked.as_deref() != Some(*value));
        let expired = self.signer.certificate.not_after <= now;
        if let Some(next) = &mut self.next {
            if let Some(value) = asked {
                self.asked = Some(value.to_owned());
                next.forced = true;
                return Ok(Some(Step::Hurried));
            }
            let notice = if next.forced { FORCED_NOTICE } else { NOTICE };
            return match next.known_since {
                _ if expired => Ok(self.promote(now).then_some(Step::Replaced)),
                None if observed.distributed => {
                    next.known_since = Some(now);
                    Ok(Some(Step::Known))
                }
                Some(since) if observed.distributed && since.plus(notice) <= now => {
                    Ok(self.promote(now).then_some(Step::Promoted))
                }
                _ => Ok(None),
            };
        }
        let room = self.previous.len() < MAX_PREVIOUS;
        if !expired && self.signer.certificate.renew_at() > now && !(asked.is_some() && room) {
            return Ok(None);
        }
        self.asked = asked.map(str::to_owned).or_else(|| self.asked.take());
        let ca = Ca::generate(now, CA_LIFETIME)?;
        self.next = Some(Next { ca, forced: asked.is_some(), known_since: None });
        if expired {
            self.promote(now);
            return Ok(Some(Step::Replaced));
        }
        Ok(Some(Step::Announced))
    }

    /// Lets the next CA sign.
    fn promote(&mut self, now: UnixTime) -> bool {
        let Some(next) = self.next.take() else { return false };
        let old = std::mem::replace(&mut self.signer, next.ca).certificate;
        let drop_after = now.plus(LEAF_LIFETIME + MARGIN).min(old.not_after.plus(MARGIN));
        self.previous.push(Previous { certificate: old, drop_after });
        true
    }
}

#[cfg(test)]
mod tests {
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
}
