//! Judging answers. Pure: an answer and what it should be in, a verdict out.

use std::fmt;

use http::StatusCode;
use lumoauth_core::config::Generation;
use serde::Deserialize;

use super::{
    ask::{Answer, AskError},
    expectation::Challenged,
};

/// How much of a wrong answer is shown, in characters.
const MAX_SHOWN: usize = 160;

/// How old a Token Status List may be in a sidecar that asks every few seconds, in seconds.
const MAX_STATUS_LIST_AGE: u64 = 60;

/// What a sidecar runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Running {
    /// The configuration with this generation; with why it refuses a newer one, if it does.
    Generation(Generation, Option<String>),
    /// None yet; with why it refuses the one it was given, if it does.
    NoConfig(Option<String>),
    /// It could not be asked.
    Unreachable(String),
    /// Something answers on the admin port that is no sidecar of ours.
    NotASidecar(String),
}

impl Running {
    /// Whether it runs `generation`.
    pub fn is(&self, generation: &Generation) -> bool {
        matches!(self, Self::Generation(running, _) if running == generation)
    }
}

/// Whether callers are answered as they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are.
    Right,
    /// They are not.
    Wrong(Wrong),
    /// Nobody answered.
    Unreachable(String),
}

/// The first wrong answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What was asked.
    pub probe: Probe,
    /// What was answered instead.
    pub got: String,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A call without a token.
    NoToken,
    /// A call with a token that a key nobody knows has signed.
    ForgedToken,
    /// The protected resource metadata.
    Metadata,
    /// Anything, where everything is denied.
    Denied,
    /// What it knows of revoked tokens.
    Revocations,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "a call without a token",
            Self::ForgedToken => "a call with a token that an unknown key has signed",
            Self::Metadata => "the protected resource metadata",
            Self::Denied => "a call while everything is denied",
            Self::Revocations => "the question which tokens are revoked",
        })
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered with {}", self.probe, self.got)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigReport {
    generation: Option<Generation>,
    #[serde(default)]
    last_refusal: Option<LastRefusal>,
    #[serde(default)]
    status_list_age_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct LastRefusal {
    error: String,
}

/// What the answer of a sidecar's `/config` says.
pub fn running(answer: &Result<Answer, AskError>) -> Running {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Running::Unreachable(error.to_string()),
    };
    if answer.status != StatusCode::OK {
        return Running::NotASidecar(shown(&format!("status {}", answer.status)));
    }
    match serde_json::from_slice::<ConfigReport>(&answer.body) {
        Ok(ConfigReport { generation, last_refusal, .. }) => {
            let refusal = last_refusal.map(|refusal| shown(&refusal.error));
            match generation {
                Some(generation) => Running::Generation(generation, refusal),
                None => Running::NoConfig(refusal),
            }
        }
        Err(_) => Running::NotASidecar("a body that is no configuration report".to_owned()),
    }
}

/// Whether the answer of a sidecar's `/config` says that it has not heard of revocations for too long. Without the age,
/// which would make another message of every answer.
pub fn revocations(answer: &Result<Answer, AskError>) -> Option<Wrong> {
    let report = serde_json::from_slice::<ConfigReport>(&answer.as_ref().ok()?.body).ok()?;
    let late = report.status_list_age_seconds.is_some_and(|age| age > MAX_STATUS_LIST_AGE);
    late.then(|| Wrong { probe: Probe::Revocations, got: format!("a list older than {MAX_STATUS_LIST_AGE} s") })
}

/// RFC 6750 §3: no token, so 401 and exactly one challenge, byte for byte and without `error`.
pub fn no_token(answer: &Answer, expected: &Challenged) -> Option<Wrong> {
    let right =
        answer.status == StatusCode::UNAUTHORIZED && only(&answer.challenges) == Some(&*expected.unauthenticated);
    (!right).then(|| Wrong { probe: Probe::NoToken, got: shown_answer(answer) })
}

/// RFC 6750 §3.1: `invalid_token`, so 401 and exactly one challenge, byte for byte up to the text of
/// `error_description`.
pub fn forged_token(answer: &Answer, expected: &Challenged) -> Option<Wrong> {
    let description = only(&answer.challenges).and_then(|challenge| challenge.strip_prefix(&*expected.invalid_token));
    let closed = description.and_then(|text| text.strip_suffix('"')).is_some_and(|text| !text.contains('"'));
    let right = answer.status == StatusCode::UNAUTHORIZED && closed;
    (!right).then(|| Wrong { probe: Probe::ForgedToken, got: shown_answer(answer) })
}

/// RFC 9728 §3.2: the metadata as published, byte for byte, as JSON.
pub fn metadata(answer: &Answer, expected: &Challenged) -> Option<Wrong> {
    let json = answer.content_type.as_deref().is_some_and(|kind| kind.split(';').next() == Some("application/json"));
    let right = answer.status == StatusCode::OK && json && answer.body == expected.metadata.as_bytes();
    (!right).then(|| {
        let same = answer.status == StatusCode::OK && answer.body == expected.metadata.as_bytes();
        let got = if same { "another content type than application/json".to_owned() } else { shown_answer(answer) };
        Wrong { probe: Probe::Metadata, got }
    })
}

/// Everything is denied: 503, and no challenge that would send a client for a token.
pub fn denied(answer: &Answer) -> Option<Wrong> {
    let right = answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.challenges.is_empty();
    (!right).then(|| Wrong { probe: Probe::Denied, got: shown_answer(answer) })
}

fn only(challenges: &[String]) -> Option<&str> {
    match challenges {
        [challenge] => Some(challenge),
        _ => None,
    }
}

fn shown_answer(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    match (answer.challenges.as_slice(), answer.status.is_success()) {
        ([], true) => format!("status {status} and a body of {} bytes", answer.body.len()),
        ([], false) => format!("status {status}"),
        (challenges, _) => shown(&format!("status {status} and WWW-Authenticate: {}", challenges.join(", "))),
    }
}

/// What others sent us, made fit for a condition's message.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_SHOWN).collect()
}
