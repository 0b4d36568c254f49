//! Proof Key for Code Exchange (RFC 7636), `S256` only: RFC 9700 §2.1.1 leaves nothing else.

use std::{fmt, str::FromStr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de};

use crate::digest::sha256;

/// Why a challenge or a verifier is refused. Displays as an `error_description` (RFC 6749 §5.2) can carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    /// Any method but `S256`; an absent one means `plain` (RFC 7636 §4.3).
    #[error("code_challenge_method must be S256")]
    Method,
    /// Not the unpadded base64url of a SHA-256.
    #[error("code_challenge must be 43 characters of base64url")]
    Challenge,
    /// Not 43 to 128 unreserved characters (RFC 7636 §4.1).
    #[error("code_verifier must be 43 to 128 letters, digits, hyphens, periods, underscores or tildes")]
    Verifier,
}

/// A `code_challenge` by `S256`: the SHA-256 of a verifier that only the client knows. Its text form is base64url.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// Parses the `code_challenge` and `code_challenge_method` of an authorization request (RFC 7636 §4.3).
    pub fn parse(challenge: &str, method: Option<&str>) -> Result<Self, PkceError> {
        if method == Some("S256") { challenge.parse() } else { Err(PkceError::Method) }
    }

    /// Whether it was made from this verifier (RFC 7636 §4.6). Takes the same time whatever the answer.
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        verify_slices_are_equal(&self.0, &sha256(verifier.0.as_bytes())).is_ok()
    }
}

impl FromStr for CodeChallenge {
    type Err = PkceError;

    fn from_str(text: &str) -> Result<Self, PkceError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| PkceError::Challenge)?;
        bytes.try_into().map(Self).map_err(|_| PkceError::Challenge)
    }
}

impl fmt::Display for CodeChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for CodeChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeChallenge({self})")
    }
}

impl Serialize for CodeChallenge {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CodeChallenge {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// A `code_verifier` of acceptable form. Never displayed.
pub struct CodeVerifier(Box<str>);

impl CodeVerifier {
    /// Parses the `code_verifier` of a token request (RFC 7636 §4.1, §4.5).
    pub fn parse(text: &str) -> Result<Self, PkceError> {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if (43..=128).contains(&text.len()) && text.bytes().all(unreserved) {
            Ok(Self(text.into()))
        } else {
            Err(PkceError::Verifier)
        }
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeVerifier(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn rfc7636_appendix_b() {
        let challenge = CodeChallenge::parse(CHALLENGE, Some("S256")).unwrap();
        assert!(challenge.is_met_by(&CodeVerifier::parse(VERIFIER).unwrap()));
        assert!(!challenge.is_met_by(&CodeVerifier::parse(CHALLENGE).unwrap()), "as plain would have it");
    }

    #[rstest]
    #[case::absent(None)]
    #[case::plain(Some("plain"))]
    #[case::lower_case(Some("s256"))]
    #[case::empty(Some(""))]
    #[case::space(Some("S256 "))]
    #[case::stronger(Some("S512"))]
    fn rfc7636_4_3_s256_only(#[case] method: Option<&str>) {
        assert_eq!(CodeChallenge::parse(CHALLENGE, method), Err(PkceError::Method));
    }

    #[rstest]
    #[case::empty("")]
    #[case::short(&CHALLENGE[..42])]
    #[case::long("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cMA")]
    #[case::padded("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=")]
    #[case::stray_bits("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cN")]
    #[case::base64("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM")]
    #[case::space(" 9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")]
    #[case::line_feed("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\n")]
    #[case::hex("13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3")]
    fn rfc7636_4_2_challenge(#[case] text: &str) {
        assert_eq!(CodeChallenge::parse(text, Some("S256")), Err(PkceError::Challenge));
        assert!(serde_json::from_value::<CodeChallenge>(text.into()).is_err());
    }

    #[rstest]
    #[case::shortest(&"a".repeat(43), true)]
    #[case::longest(&"~".repeat(128), true)]
    #[case::all_kinds("ABCXYZabcxyz0189-._~-._~-._~-._~-._~-._~-._~", true)]
    #[case::empty("", false)]
    #[case::too_short(&"a".repeat(42), false)]
    #[case::too_long(&"a".repeat(129), false)]
    #[case::plus(&"+".repeat(43), false)]
    #[case::percent(&"%41".repeat(20), false)]
    #[case::space(&" ".repeat(43), false)]
    #[case::line_feed(&format!("{VERIFIER}\n"), false)]
    #[case::not_ascii(&"é".repeat(30), false)]
    #[case::nul(&format!("{VERIFIER}\0"), false)]
    fn rfc7636_4_1_verifier(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(CodeVerifier::parse(text).is_ok(), valid);
    }

    #[test]
    fn a_verifier_is_not_shown() {
        assert_eq!(format!("{:?}", CodeVerifier::parse(VERIFIER).unwrap()), "CodeVerifier(..)");
    }

    proptest! {
        #[test]
        fn only_its_own_verifier_meets_a_challenge(own in "[A-Za-z0-9._~-]{43,128}", other in "[A-Za-z0-9._~-]{43,128}") {
            let challenge = CodeChallenge(sha256(own.as_bytes()));
            prop_assert!(challenge.is_met_by(&CodeVerifier::parse(&own).unwrap()));
            prop_assert_eq!(challenge.is_met_by(&CodeVerifier::parse(&other).unwrap()), own == other);
        }

        #[test]
        fn a_challenge_survives_storage(bytes: [u8; 32]) {
            let challenge = CodeChallenge(bytes);
            let text = challenge.to_string();
            prop_assert_eq!(text.len(), 43);
            prop_assert_eq!(&CodeChallenge::parse(&text, Some("S256")).unwrap(), &challenge);
            let stored = serde_json::to_string(&challenge).unwrap();
            prop_assert_eq!(serde_json::from_str::<CodeChallenge>(&stored).unwrap(), challenge);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = CodeChallenge::parse(&text, Some(&text));
            let _ = CodeVerifier::parse(&text);
        }
    }
}
