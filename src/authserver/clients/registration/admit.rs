//! Who may register, and how often.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use http::{HeaderMap, Uri};

use super::Refused;
use crate::{
    authserver::{
        artefact::Digest,
        bearer::{self, Presented},
    },
    registry::OrgId,
    settings::{DynamicRegistration, RegistrationMode},
};

/// Registrations of one organization: this many at once, then one per second.
const PER_ORG: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

/// Whether a request may register a client (RFC 7591 §3).
pub(super) fn admit(settings: &DynamicRegistration, headers: &HeaderMap) -> Result<(), Refused> {
    match settings.mode {
        RegistrationMode::Off => Err(Refused::Off),
        RegistrationMode::Open => Ok(()),
        RegistrationMode::InitialAccessToken => {
            let Presented::Token(token) = bearer::presented(headers, &Uri::default()) else {
                return Err(Refused::InitialToken);
            };
            let presented = Digest::of(token);
            // All of them are compared, so that the time tells nothing.
            let tokens = settings.initial_access_tokens.iter().filter_map(|text| Digest::parse(text));
            if tokens.filter(|token| *token == presented).count() > 0 { Ok(()) } else { Err(Refused::InitialToken) }
        }
    }
}

/// How often clients may register, whoever asks.
pub(crate) struct RegistrationRate(DefaultKeyedRateLimiter<OrgId>);

impl Default for RegistrationRate {
    fn default() -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(PER_ORG)))
    }
}

impl RegistrationRate {
    /// Takes one registration off what the organization may have now.
    pub(super) fn check(&self, org: &OrgId) -> Result<(), Refused> {
        let wait = |until: governor::NotUntil<_>| until.wait_time_from(self.0.clock().now());
        self.0.check_key(org).map_err(|until| Refused::TooOften { seconds: wait(until).as_secs() + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::AUTHORIZATION;
    use lumoauth_core::digest;
    use rstest::rstest;

    fn tokens(mode: RegistrationMode) -> DynamicRegistration {
        let initial_access_tokens = vec![
            digest::sha256_hex(b"one"),
            "not a digest".to_owned(),
            digest::sha256_hex(b"two"),
            digest::sha256_hex(b"three").to_ascii_uppercase(),
        ];
        DynamicRegistration { mode, initial_access_tokens, ..DynamicRegistration::default() }
    }

    #[rstest]
    #[case(&["Bearer one"], true)]
    #[case(&["bearer two"], true)]
    #[case(&["Bearer three"], false)]
    #[case(&["Bearer other"], false)]
    #[case(&["Bearer "], false)]
    #[case(&["Basic one"], false)]
    #[case(&["Bearer one", "Bearer one"], false)]
    #[case(&[], false)]
    fn rfc7591_3_initial_access_token(#[case] headers: &[&str], #[case] admitted: bool) {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(AUTHORIZATION, value.parse().unwrap());
        }
        assert_eq!(admit(&tokens(RegistrationMode::InitialAccessToken), &map).is_ok(), admitted);
        assert!(admit(&tokens(RegistrationMode::Open), &map).is_ok());
        assert!(matches!(admit(&tokens(RegistrationMode::Off), &map), Err(Refused::Off)));
    }

    #[test]
    fn no_token_is_configured() {
        let settings = DynamicRegistration {
            mode: RegistrationMode::InitialAccessToken,
            initial_access_tokens: vec![String::new()],
            ..DynamicRegistration::default()
        };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer ".parse().unwrap())]);
        assert!(admit(&settings, &headers).is_err());
    }
}
