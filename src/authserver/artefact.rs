//! What the authorization server hands out to be presented again: random texts, stored only as their SHA-256.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lumoauth_core::digest;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Random bytes of an artefact.
const BYTES: usize = 32;
/// What refresh tokens begin with.
const REFRESH_TOKEN: &str = "lrt_";
/// Characters of a [`Family`].
const FAMILY_LENGTH: usize = REFRESH_TOKEN.len() + 24;
/// Characters of a refresh token; other artefacts have fewer.
const REFRESH_TOKEN_LENGTH: usize = FAMILY_LENGTH + 43;

/// What an artefact is for. Its prefix lets people and secret scanners tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An authorization code (RFC 6749 §4.1.2).
    Code,
    /// The cookie of a browser session.
    Session,
    /// The cookie of a browser in which a user has signed in.
    Device,
    /// A registration access token (RFC 7592 §3).
    RegistrationToken,
    /// The secret of a client that registered itself (RFC 7591 §3.2.1).
    ClientSecret,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Code => "lac_",
            Self::Session => "lss_",
            Self::Device => "ldc_",
            Self::RegistrationToken => "lrg_",
            Self::ClientSecret => "lcs_",
        }
    }

    /// Whether a text can be an artefact of this kind: the prefix and 256 bits in base64url. Others are not looked up.
    pub fn fits(self, text: &str) -> bool {
        let random = text.strip_prefix(self.prefix()).unwrap_or_default();
        random.len() == 43 && random.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    }
}

/// The system has no randomness.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random numbers: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// `N` random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The text of an artefact. It is shown to its holder once and wiped from memory when dropped.
#[derive(Clone)]
pub struct Artefact(Zeroizing<String>);

impl Artefact {
    /// A new artefact of 256 random bits.
    pub fn generate(kind: Kind) -> Result<Self, RandomError> {
        random().map(|bytes: [u8; BYTES]| Self::spell(kind.prefix(), &Zeroizing::new(bytes)))
    }

    fn spell<const N: usize>(beginning: &str, bytes: &[u8; N]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(REFRESH_TOKEN_LENGTH));
        text.push_str(beginning);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        Self(text)
    }

    /// What its holder presents.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What is stored.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

/// What all refresh tokens (RFC 6749 §6) of one grant begin with: a prefix and 144 random bits. By it a token tells its
/// grant, however long ago it was used. The grant's identifier is made of its digest, so whoever reads that in a log can
/// make no token up.
#[derive(Debug)]
pub struct Family(Artefact);

impl Family {
    /// The one of a new grant.
    pub fn generate() -> Result<Self, RandomError> {
        random().map(|bytes: [u8; 18]| Self(Artefact::spell(REFRESH_TOKEN, &Zeroizing::new(bytes))))
    }

    /// The one that a text belongs to, if it can be a refresh token.
    pub fn of(presented: &str) -> Option<Self> {
        let is_one = presented.len() == REFRESH_TOKEN_LENGTH && presented.starts_with(REFRESH_TOKEN);
        let family = presented.get(..FAMILY_LENGTH).filter(|_| is_one)?;
        Some(Self(Artefact(Zeroizing::new(family.to_owned()))))
    }

    /// The first refresh token.
    pub fn first(&self) -> Result<Artefact, RandomError> {
        random().map(|bytes: [u8; BYTES]| Artefact::spell(self.0.text(), &Zeroizing::new(bytes)))
    }

    /// The refresh token that follows on the presented one. Whoever holds `presented` and the stored salt can make it
    /// again, so a client that lost the answer gets the same successor; the store alone can not.
    pub fn successor(&self, salt: &[u8; BYTES], presented: &str) -> Artefact {
        let mut input = Zeroizing::new(Vec::with_capacity(salt.len() + presented.len()));
        input.extend_from_slice(salt);
        input.extend_from_slice(presented.as_bytes());
        Artefact::spell(self.0.text(), &Zeroizing::new(digest::sha256(&input)))
    }

    /// What the grant's identifier is made of.
    pub fn digest(&self) -> Digest {
        self.0.digest()
    }
}

impl fmt::Debug for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Artefact")
    }
}

/// A SHA-256. Spelled as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a text that was presented.
    pub fn of(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    /// The digest of bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(digest::sha256(bytes))
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

/// Parses `2 * N` lower-case hexadecimal digits.
pub(super) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

/// The one comparison of secrets: of their SHA-256, and in constant time.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&digest::hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Kind::Code, "lac_")]
    #[case(Kind::Session, "lss_")]
    #[case(Kind::Device, "ldc_")]
    #[case(Kind::RegistrationToken, "lrg_")]
    #[case(Kind::ClientSecret, "lcs_")]
    fn artefacts_are_random_and_prefixed(#[case] kind: Kind, #[case] prefix: &str) {
        let (one, two) = (Artefact::generate(kind).unwrap(), Artefact::generate(kind).unwrap());
        assert_ne!(one.text(), two.text());
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.digest(), Digest::of(one.text()));
        let random = URL_SAFE_NO_PAD.decode(one.text().strip_prefix(prefix).unwrap()).unwrap();
        assert_eq!(random.len(), 32);
        assert!(!format!("{one:?}").contains(&one.text()[4..]));
        assert!(kind.fits(one.text()));
    }

    #[rstest]
    #[case::empty("")]
    #[case::prefix("ldc_")]
    #[case::other_kind("lss_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    #[case::no_prefix("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    #[case::short("ldc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    #[case::long("ldc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    #[case::not_base64url("ldc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+")]
    fn texts_that_no_device_has(#[case] text: &str) {
        assert!(!Kind::Device.fits(text));
    }

    #[test]
    fn a_successor_needs_salt_and_predecessor() {
        let family = Family::generate().unwrap();
        let second = family.successor(&[1; 32], "lrt_a");
        assert_eq!(second.text(), family.successor(&[1; 32], "lrt_a").text());
        assert_ne!(second.text(), family.successor(&[2; 32], "lrt_a").text());
        assert_ne!(second.text(), family.successor(&[1; 32], "lrt_b").text());
    }

    #[test]
    fn refresh_tokens_tell_their_family() {
        let (family, another) = (Family::generate().unwrap(), Family::generate().unwrap());
        assert_ne!(family.digest(), another.digest());
        let first = family.first().unwrap();
        assert_ne!(first.text(), family.first().unwrap().text());
        let second = family.successor(&[1; 32], first.text());
        for token in [&first, &second] {
            assert!(token.text().starts_with("lrt_") && token.text().len() == 71, "{}", token.text());
            assert_eq!(Family::of(token.text()).unwrap().digest(), family.digest());
            assert!(!format!("{:?}", Family::of(token.text())).contains(&token.text()[4..28]));
        }
    }

    #[rstest]
    #[case::empty("")]
    #[case::no_family("lrt_x")]
    #[case::short(&format!("lrt_{}", "a".repeat(66)))]
    #[case::long(&format!("lrt_{}", "a".repeat(68)))]
    #[case::of_another_kind(&format!("lac_{}", "a".repeat(67)))]
    #[case::within_a_character(&format!("lrt_{}\u{e9}{}", "a".repeat(23), "a".repeat(42)))]
    fn other_texts_have_no_family(#[case] text: &str) {
        assert!(Family::of(text).is_none(), "{text}");
    }

    #[test]
    fn digests_are_spelled_in_hexadecimal() {
        let digest = Digest::of("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::parse(text), Some(digest));
    }

    #[rstest]
    #[case::empty("")]
    #[case::upper("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD")]
    #[case::short("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a")]
    #[case::long("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad00")]
    #[case::sign("+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
    #[case::space(" a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
    #[case::letter("ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
    fn other_texts_are_no_digest(#[case] text: &str) {
        assert_eq!(Digest::parse(text), None);
    }

    #[test]
    fn one_different_bit_is_a_different_digest() {
        let digest = Digest([7; 32]);
        for bit in 0..256 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, other);
        }
    }
}
