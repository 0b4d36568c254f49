//! Names of people, as they type them and as `grants` name them.

use std::fmt;

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
}
