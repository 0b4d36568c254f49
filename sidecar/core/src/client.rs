//! OAuth client identifiers, and the patterns that admit them.

use std::fmt;

use serde::{Deserialize, Serialize, de};

/// The longest client identifier we accept, in bytes.
pub const MAX_CLIENT_ID_BYTES: usize = 512;

/// A string that cannot be a client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client_id is 1 to {MAX_CLIENT_ID_BYTES} printable ASCII characters")]
pub struct ClientIdError;

/// An OAuth client identifier (RFC 6749 §2.2, `VSCHAR`): one we issued (`mcpc_…`) or the URL of a metadata document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// Parses a client identifier.
    pub fn parse(text: &str) -> Result<Self, ClientIdError> {
        let fits = !text.is_empty() && text.len() <= MAX_CLIENT_ID_BYTES;
        if fits && text.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
            Ok(Self(text.into()))
        } else {
            Err(ClientIdError)
        }
    }

    /// The identifier as issued.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// What an allow-list entry admits: one identifier exactly, or every metadata-document URL of one https host
/// (`https://host/*`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientPattern {
    /// This identifier, byte for byte.
    Exact(ClientId),
    /// Every identifier that starts with this `https://host/`.
    Host(Box<str>),
}

impl ClientPattern {
    /// Parses an allow-list entry. `*` may stand only as the whole path of an https URL.
    pub fn parse(text: &str) -> Result<Self, ClientIdError> {
        match text.strip_suffix('*') {
            None if !text.contains('*') => ClientId::parse(text).map(Self::Exact),
            Some(prefix) if is_https_root(prefix) => Ok(Self::Host(prefix.into())),
            _ => Err(ClientIdError),
        }
    }

    /// Whether `client` is admitted.
    pub fn admits(&self, client: &ClientId) -> bool {
        match self {
            Self::Exact(id) => id == client,
            Self::Host(prefix) => client.0.starts_with(&**prefix),
        }
    }
}

fn is_https_root(prefix: &str) -> bool {
    let Some(host) = prefix.strip_prefix("https://").and_then(|rest| rest.strip_suffix('/')) else { return false };
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:".contains(&b))
}

impl fmt::Display for ClientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => id.fmt(f),
            Self::Host(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl Serialize for ClientPattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClientPattern {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("mcpc_a", "mcpc_a", true)]
    #[case("mcpc_a", "mcpc_ab", false)]
    #[case("https://app.example/client.json", "https://app.example/client.json", true)]
    #[case("https://app.example/*", "https://app.example/client.json", true)]
    #[case("https://app.example/*", "https://app.example.evil/client.json", false)]
    #[case("https://app.example/*", "http://app.example/client.json", false)]
    fn admits(#[case] pattern: &str, #[case] id: &str, #[case] admitted: bool) {
        assert_eq!(ClientPattern::parse(pattern).unwrap().admits(&ClientId::parse(id).unwrap()), admitted);
    }

    #[rstest]
    #[case("*")]
    #[case("https://*")]
    #[case("https://*/x")]
    #[case("https://a.example/x*")]
    #[case("http://a.example/*")]
    #[case("https://u@a.example/*")]
    #[case("")]
    #[case("a\nb")]
    fn refused(#[case] pattern: &str) {
        assert_eq!(ClientPattern::parse(pattern), Err(ClientIdError));
    }
}
