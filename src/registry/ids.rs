//! Names of things: objects, organizations, and the identifiers derived from them.

use std::{borrow::Borrow, fmt};

use lumoauth_core::{ClientId, ResourceUri, digest};
use serde::{Deserialize, Serialize, de};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Resolves a reference of an object in `namespace`: `name`, or `namespace/name`.
    pub fn resolve(reference: &str, namespace: &str) -> Self {
        match reference.split_once('/') {
            Some((other, name)) => Self::new(other, name),
            None => Self::new(namespace, reference),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An organization: a DNS label (RFC 1123).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct OrgId(String);

impl OrgId {
    /// Parses an organization; `None` if it is not a DNS label.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let label = bytes.len() <= 63 && bytes.iter().all(inner) && edge(bytes.first()) && edge(bytes.last());
        label.then(|| Self(text.to_owned()))
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for OrgId {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no organization: write a DNS label, such as acme")))
    }
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `mcp_` and 24 lower-case hexadecimal digits: a stable function of organization and resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(String);

impl ServerId {
    /// The identifier of `resource` in `org`.
    pub fn of(org: &OrgId, resource: &ResourceUri) -> Self {
        Self(format!("mcp_{}", stable(&["server", org.as_str(), resource.canonical()])))
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 31 bits, for API clients that want a number.
    pub fn number(&self) -> u32 {
        let digits = self.0.get(4..12).unwrap_or_default();
        u32::from_str_radix(digits, 16).unwrap_or_default() >> 1
    }
}

/// Compared and hashed like its text, so that maps can be asked with what a request says.
impl Borrow<str> for ServerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The OAuth client identifier of an McpClient: `mcpc_` and 24 lower-case hexadecimal digits.
pub fn client_id(org: &OrgId, key: &ObjectKey) -> ClientId {
    let text = format!("mcpc_{}", stable(&["client", org.as_str(), &key.namespace, &key.name]));
    // Letters, digits and an underscore, 29 of them: always a client identifier.
    ClientId::parse(&text).unwrap_or_else(|_| unreachable!("{text} is a client identifier"))
}

fn stable(parts: &[&str]) -> String {
    let mut text = digest::sha256_hex(parts.join("\n").as_bytes());
    text.truncate(24);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("acme", true)]
    #[case("acme-corp", true)]
    #[case("1a", true)]
    #[case("Acme", false)]
    #[case("-acme", false)]
    #[case("acme-", false)]
    #[case("a.b", false)]
    #[case("a_b", false)]
    #[case("", false)]
    fn organization(#[case] text: &str, #[case] ok: bool) {
        assert_eq!(OrgId::parse(text).is_some(), ok);
    }

    #[test]
    fn server_id_is_stable() {
        let resource = ResourceUri::parse("https://invoices.acme.example/mcp").unwrap();
        let id = ServerId::of(&OrgId::parse("acme").unwrap(), &resource);
        assert_eq!(id, ServerId::of(&OrgId::parse("acme").unwrap(), &resource));
        assert_ne!(id, ServerId::of(&OrgId::parse("other").unwrap(), &resource));
        assert!(id.as_str().len() == 28 && id.as_str().starts_with("mcp_"));
        assert!(id.number() < 1 << 31);
    }
}
