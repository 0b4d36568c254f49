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
mod tests;
