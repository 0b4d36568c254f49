//! Identifiers that the store gives.

use std::fmt;

use lumoauth_core::digest;

use crate::authserver::artefact::{RandomError, parse_hex, random};

/// A user: `usr_` and 24 lower-case hexadecimal digits; `sub` of the user's tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

/// A grant: `grt_` and 24 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(String);

macro_rules! identifier {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// A new one: 96 random bits.
            pub fn generate() -> Result<Self, RandomError> {
                Ok(Self(format!(concat!($prefix, "{}"), digest::hex(&random::<12>()?))))
            }

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

/// The longest user name, in bytes.
pub const MAX_USER_NAME_BYTES: usize = 128;

/// A text that cannot be the name of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user name is 1 to {MAX_USER_NAME_BYTES} of the characters a-z 0-9 . _ - + @")]
pub struct UserNameError;

/// What a person types to log in. Upper case is read as lower case, so that no two names differ by case alone; other
/// alphabets are refused, so that no two look alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, UserNameError> {
        let name = text.to_ascii_lowercase();
        let fits = !name.is_empty() && name.len() <= MAX_USER_NAME_BYTES;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-+@".contains(&byte);
        if fits && name.bytes().all(allowed) { Ok(Self(name)) } else { Err(UserNameError) }
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
    use rstest::rstest;

    #[rstest]
    #[case("Ada", Some("ada"))]
    #[case("ada.lovelace+1@acme.example", Some("ada.lovelace+1@acme.example"))]
    #[case("", None)]
    #[case("a b", None)]
    #[case("ada\0", None)]
    #[case("аda", None)]
    #[case("ada/..", None)]
    fn names(#[case] text: &str, #[case] name: Option<&str>) {
        assert_eq!(UserName::parse(text).ok().as_ref().map(UserName::as_str), name);
    }

    #[test]
    fn a_long_name() {
        assert!(UserName::parse(&"a".repeat(128)).is_ok());
        assert!(UserName::parse(&"a".repeat(129)).is_err());
    }

    #[test]
    fn identifiers() {
        let id = UserId::generate().unwrap();
        assert_eq!(UserId::parse(id.as_str()), Some(id.clone()));
        assert_ne!(UserId::generate().unwrap(), id);
        for text in ["", "usr_", "usr_0", "grt_0123456789abcdef01234567", "usr_0123456789ABCDEF01234567"] {
            assert_eq!(UserId::parse(text), None, "{text}");
        }
        assert!(GrantId::parse("grt_0123456789abcdef01234567").is_some());
    }
}
