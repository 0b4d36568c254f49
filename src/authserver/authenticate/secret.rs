//! Client secrets (RFC 6749 §2.3.1).

use lumoauth_core::UnixTime;

use crate::{authserver::artefact::Digest, registry::SecretDigest};

/// Whether `presented` is a secret that works at `now`. Takes the same time whichever of them it is.
pub(super) fn is_current(secrets: &[SecretDigest], presented: &str, now: UnixTime) -> bool {
    let presented = Digest::of(presented);
    let works = |secret: &SecretDigest| {
        secret.not_after.is_none_or(|end| u64::try_from(end.as_second()).is_ok_and(|end| now.0 < end))
    };
    secrets.iter().fold(false, |found, secret| {
        let is_it = Digest::parse(&secret.sha256).is_some_and(|digest| digest == presented);
        found | (is_it & works(secret))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lumoauth_core::digest;
    use rstest::rstest;

    #[rstest]
    #[case("new", 0, true)]
    #[case("old", 99, true)]
    #[case("old", 100, false)]
    #[case("gone", 0, false)]
    #[case("other", 0, false)]
    #[case("", 0, false)]
    fn secrets_work_until_they_expire(#[case] secret: &str, #[case] now: u64, #[case] works: bool) {
        let digest = |secret: &str, end: Option<i64>| SecretDigest {
            sha256: digest::sha256_hex(secret.as_bytes()),
            not_after: end.map(|end| jiff::Timestamp::from_second(end).unwrap()),
        };
        let secrets = [digest("new", None), digest("old", Some(100)), digest("gone", Some(-1))];
        assert_eq!(is_current(&secrets, secret, UnixTime(now)), works);
        assert!(!is_current(&[], secret, UnixTime(now)));
    }

    #[rstest]
    #[case::empty("")]
    #[case::upper_case("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD")]
    #[case::the_secret_itself("abc")]
    fn what_is_no_digest_is_no_secret(#[case] sha256: &str) {
        let secrets = [SecretDigest { sha256: sha256.to_owned(), not_after: None }];
        assert!(!is_current(&secrets, "abc", UnixTime(0)));
        assert!(!is_current(&secrets, "", UnixTime(0)));
    }
}
