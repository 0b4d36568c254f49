//! Why an object is not accepted.

use std::fmt;

/// The reasons of Accepted False: a fixed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A field has a value it may not have.
    Invalid,
    /// A field that is not enforced yet is set to other than its default.
    NotImplemented,
    /// The namespace's name is another namespace's organization label.
    OrgConflict,
    /// The namespace's organization label is not a DNS label.
    InvalidOrg,
    /// The namespace is not known (yet).
    NamespaceUnknown,
    /// Pods of the namespace never get a sidecar.
    SystemNamespace,
    /// An older object of the organization has the same resourceUri.
    ResourceTaken,
    /// The object could not be read at all.
    Malformed,
}

impl Reason {
    /// The word in the condition and in `denyAll.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::NotImplemented => "NotImplemented",
            Self::OrgConflict => "OrgConflict",
            Self::InvalidOrg => "InvalidOrg",
            Self::NamespaceUnknown => "NamespaceUnknown",
            Self::SystemNamespace => "SystemNamespace",
            Self::ResourceTaken => "ResourceTaken",
            Self::Malformed => "Malformed",
        }
    }
}

/// One reason an object is not accepted, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub reason: Reason,
    /// Names the field and the fix.
    pub message: String,
}

impl Problem {
    /// A problem.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Several problems as one: the reason of the first, every message.
    pub fn join(problems: &[Self]) -> Option<Self> {
        let first = problems.first()?;
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        Some(Self { reason: first.reason, message: messages.join("; ") })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}
