//! Identifiers that the store gives.

use std::fmt;

use lumoauth_core::digest;

use crate::authserver::artefact::{Family, RandomError, parse_hex, random};

/// A user: `usr_` and 24 lower-case hexadecimal digits; `sub` of the user's tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

impl UserId {
    /// A new one: 96 random bits.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self(format!("usr_{}", digest::hex(&random::<12>()?))))
    }
}

/// A grant: `grt_` and 24 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(String);

impl GrantId {
    /// The grant whose refresh tokens, if it has any, are of `family`: 96 bits of its digest.
    pub fn of(family: &Family) -> Self {
        let mut digits = family.digest().to_string();
        digits.truncate(24);
        Self(format!("grt_{digits}"))
    }
}

macro_rules! identifier {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// Parses an identifier.
            pub fn parse(text: &str) -> Option<Self> {
                let _: [u8; 12] = parse_hex(text.strip_prefix($prefix)?)?;
                Some(Self(text.to_owned()))
            }

            /// The identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(UserId, "usr_");
identifier!(GrantId, "grt_");

/// Where a token's status is kept: `status_list` of draft-ietf-oauth-status-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusIndex {
    /// The list, of its organization.
    pub list: u32,
    /// The bit in it.
    pub index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let id = UserId::generate().unwrap();
        assert_eq!(UserId::parse(id.as_str()), Some(id.clone()));
        assert_ne!(UserId::generate().unwrap(), id);
        for text in ["", "usr_", "usr_0", "grt_0123456789abcdef01234567", "usr_0123456789ABCDEF01234567"] {
            assert_eq!(UserId::parse(text), None, "{text}");
        }
        assert!(GrantId::parse("grt_0123456789abcdef01234567").is_some());
        let grant = GrantId::of(&Family::generate().unwrap());
        assert_eq!(GrantId::parse(grant.as_str()), Some(grant));
    }
}
