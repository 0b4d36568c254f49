//! A client's secret, and the Secret it is handed out in.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use lumoauth_core::digest;

/// Keys of a credentials Secret.
pub(super) mod keys {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    /// The data of a Secret with these members.
    pub(in super::super) fn data<'a>(
        members: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> BTreeMap<String, ByteString> {
        let member = |(key, value): (&str, &str)| (key.to_owned(), ByteString(value.as_bytes().to_vec()));
        members.into_iter().map(member).collect()
    }

    /// OAuth client identifier.
    pub(in super::super) const CLIENT_ID: &str = "client_id";
    /// The secret.
    pub(in super::super) const CLIENT_SECRET: &str = "client_secret";
    /// Issuer identifier of the authorization server (RFC 8414).
    pub(in super::super) const ISSUER: &str = "issuer";
    /// Its token endpoint.
    pub(in super::super) const TOKEN_ENDPOINT: &str = "token_endpoint";
    /// Its authorization endpoint, for clients that people use.
    pub(in super::super) const AUTHORIZATION_ENDPOINT: &str = "authorization_endpoint";
    /// PEM certificates to trust for it, while its certificate is of the operator's CA.
    pub(in super::super) const CA: &str = "ca.crt";
}

/// The shortest secret that is taken over from an existing Secret, in characters. Ours have 43.
const MIN_LENGTH: usize = 32;

/// A client's secret: 256 random bits, in base64url.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClientSecret(String);

impl ClientSecret {
    /// A new one.
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The one in a Secret; `None` if there is none that could be ours.
    pub(super) fn of(secret: &Secret) -> Option<Self> {
        let ByteString(bytes) = secret.data.as_ref()?.get(keys::CLIENT_SECRET)?;
        let is_ours = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let text = String::from_utf8(bytes.clone()).ok()?;
        (text.len() >= MIN_LENGTH && text.len() <= 128 && text.bytes().all(|byte| is_ours(&byte))).then_some(Self(text))
    }

    /// What the status shows of it.
    pub(super) fn sha256(&self) -> String {
        digest::sha256_hex(self.0.as_bytes())
    }

    /// The secret itself, for the Secret that hands it out.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn for_test(seed: &str) -> Self {
        Self(seed.repeat(48).chars().take(43).collect())
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use rstest::rstest;

    #[test]
    fn a_secret_is_256_random_bits_and_is_not_shown() {
        let (one, two) = (ClientSecret::generate().unwrap(), ClientSecret::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(URL_SAFE_NO_PAD.decode(&one.0).unwrap().len(), 32);
        assert!(!format!("{one:?}").contains(&one.0));
    }

    #[rstest]
    #[case::ours("QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ0", true)]
    #[case::short("secret", false)]
    #[case::empty("", false)]
    #[case::long(&"a".repeat(129), false)]
    #[case::other_letters("QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ QQQQQQQQQQQQ", false)]
    fn what_could_be_ours_is_taken_over(#[case] text: &str, #[case] ours: bool) {
        let data = BTreeMap::from([("client_secret".to_owned(), ByteString(text.as_bytes().to_vec()))]);
        assert_eq!(ClientSecret::of(&Secret { data: Some(data), ..Secret::default() }).is_some(), ours);
    }

    #[test]
    fn a_secret_survives_its_secret() {
        let one = ClientSecret::generate().unwrap();
        let secret = Secret { data: Some(keys::data([(keys::CLIENT_SECRET, one.as_str())])), ..Secret::default() };
        assert_eq!(ClientSecret::of(&secret), Some(one));
        assert_eq!(ClientSecret::of(&Secret::default()), None);
    }
}
