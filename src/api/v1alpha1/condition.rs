//! Conditions: their types, their reasons (a fixed list), and how they are written without noise.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// The word Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Condition types of both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// The spec is valid.
    Accepted,
    /// The AS serves the metadata we expect.
    MetadataPublished,
    /// Every annotated pod runs the sidecar as planned.
    Injected,
    /// Every pod runs the current configuration.
    Programmed,
    /// The app's port cannot be reached around the sidecar.
    BypassProtected,
    /// The probes got the right answers.
    EnforcementVerified,
    /// The credentials Secret holds what works.
    CredentialsReady,
    /// All that matter.
    Ready,
}

impl Type {
    /// The name in `status.conditions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::MetadataPublished => "MetadataPublished",
            Self::Injected => "Injected",
            Self::Programmed => "Programmed",
            Self::BypassProtected => "BypassProtected",
            Self::EnforcementVerified => "EnforcementVerified",
            Self::CredentialsReady => "CredentialsReady",
            Self::Ready => "Ready",
        }
    }
}

/// What a reconcile found out about one condition, before it is compared with what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which condition.
    pub kind: Type,
    /// Whether it holds.
    pub status: Status,
    /// One CamelCase word from the fixed list.
    pub reason: &'static str,
    /// What is so, and for False and Unknown what to do. At most 32768 bytes are kept.
    pub message: String,
}

impl Finding {
    /// It holds.
    pub fn yes(kind: Type, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: Status::True, reason, message: message.into() }
    }

    /// It does not; the message says what to do.
    pub fn no(kind: Type, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: Status::False, reason, message: message.into() }
    }

    /// It cannot be told; the message says what to do.
    pub fn unknown(kind: Type, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: Status::Unknown, reason, message: message.into() }
    }
}

/// The conditions to write: `lastTransitionTime` is kept unless the status flips, so that an unchanged finding is an
/// unchanged condition.
pub fn merge(old: &[Condition], findings: &[Finding], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    findings
        .iter()
        .map(|finding| {
            let before = old.iter().find(|condition| condition.type_ == finding.kind.as_str());
            let unchanged = before.filter(|condition| condition.status == finding.status.as_str());
            let mut message = finding.message.clone();
            let end = (0..=message.len().min(32768)).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
            Condition {
                type_: finding.kind.as_str().to_owned(),
                status: finding.status.as_str().to_owned(),
                reason: finding.reason.to_owned(),
                message,
                observed_generation: generation,
                last_transition_time: unchanged
                    .map_or_else(|| Time(now), |condition| condition.last_transition_time.clone()),
            }
        })
        .collect()
}
