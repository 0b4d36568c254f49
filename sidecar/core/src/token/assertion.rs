//! Client assertions (RFC 7523 §2.2, `private_key_jwt`): how a client proves with its own key who it is.

use super::{
    Algorithm, KeyMatch, KeySet, LEEWAY_SECONDS, MAX_TOKEN_BYTES, TokenError,
    claims::{self, Claims},
    jws::Jws,
};
use crate::{ClientId, UnixTime};

/// How far ahead the `exp` of an assertion may lie, in seconds: its `jti` must be remembered until then.
pub const MAX_ASSERTION_SECONDS: u64 = 300;
/// The longest `jti` of an assertion, in bytes.
pub const MAX_ASSERTION_ID_BYTES: usize = 128;
/// What clients may sign with.
pub const ASSERTION_ALGORITHMS: [Algorithm; 5] =
    [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::RS256, Algorithm::PS256];

/// Why an assertion is refused. For logs: a client is told no more than `invalid_client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Its form, header, signature or dates.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// Signed with a key that is not in the set, which may be old.
    #[error("assertion is signed by a key that the client has not published")]
    UnknownKey,
    /// `iss` and `sub` are not both the client.
    #[error("assertion is not by and about the client")]
    Client,
    /// `aud` is not one accepted name of this authorization server, and nothing else.
    #[error("assertion is for another audience")]
    Audience,
    /// `exp` lies more than [`MAX_ASSERTION_SECONDS`] ahead.
    #[error("assertion is valid for too long")]
    Lifetime,
    /// `jti` is missing, too long, or not plain text.
    #[error("assertion has no acceptable jti")]
    Identifier,
}

/// What an assertion must say to be one for us.
#[derive(Clone, Copy, Debug)]
pub struct AssertionExpectations<'a> {
    /// `iss` and `sub`.
    pub client: &'a ClientId,
    /// Names of this authorization server, of which `aud` must be one.
    pub audiences: &'a [&'a str],
    /// What the client may sign with.
    pub algorithms: &'a [Algorithm],
}

/// A verified assertion. To be accepted once: its `jti` must not have been seen from the same client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAssertion {
    id: String,
    expires_at: UnixTime,
}

impl ClientAssertion {
    /// Verifies `text`, an assertion signed with one of the client's `keys`, at `now`.
    pub fn verify(
        text: &str,
        keys: &KeySet,
        expect: &AssertionExpectations<'_>,
        now: UnixTime,
    ) -> Result<Self, AssertionError> {
        let jws = Jws::parse(text, MAX_TOKEN_BYTES)?;
        // RFC 8725 §3.11: whatever calls itself something else was signed for something else.
        if !jws.header.is_named(None) && !jws.header.is_named(Some("JWT")) && !jws.header.is_named(Some(TYPE)) {
            return Err(TokenError::WrongType.into());
        }
        if !expect.algorithms.contains(&jws.header.algorithm) {
            return Err(TokenError::UnsupportedAlgorithm.into());
        }
        match jws.find_key(keys) {
            KeyMatch::Found(key) => jws.check(key, expect.algorithms)?,
            KeyMatch::UnknownKid => return Err(AssertionError::UnknownKey),
            KeyMatch::Unusable => return Err(TokenError::UnknownKey.into()),
        }
        Self::judge(&jws.claims, expect, now)
    }

    /// RFC 7523 §3.
    fn judge(claims: &Claims, expect: &AssertionExpectations<'_>, now: UnixTime) -> Result<Self, AssertionError> {
        if subject(claims) != Some(expect.client.as_str()) {
            return Err(AssertionError::Client);
        }
        if !claims::sole_audience(claims).is_some_and(|audience| expect.audiences.contains(&audience)) {
            return Err(AssertionError::Audience);
        }
        let expires_at = claims::date(claims, "exp")?.ok_or(TokenError::Dates)?;
        if now >= expires_at.plus(LEEWAY_SECONDS) {
            return Err(TokenError::Expired.into());
        }
        for start in [claims::date(claims, "iat")?, claims::date(claims, "nbf")?].into_iter().flatten() {
            if start > now.plus(LEEWAY_SECONDS) {
                return Err(TokenError::NotYetValid.into());
            }
            if start >= expires_at {
                return Err(TokenError::Dates.into());
            }
        }
        if now.until(expires_at) > MAX_ASSERTION_SECONDS + LEEWAY_SECONDS {
            return Err(AssertionError::Lifetime);
        }
        let id = claims::text(claims, "jti").filter(|id| claims::is_plain(id, MAX_ASSERTION_ID_BYTES));
        Ok(Self { id: id.ok_or(AssertionError::Identifier)?.to_owned(), expires_at })
    }

    /// Which client an assertion says it is by: for a request that names its client nowhere else. Proves nothing.
    pub fn peek_client_id(text: &str) -> Result<ClientId, AssertionError> {
        let jws = Jws::parse(text, MAX_TOKEN_BYTES)?;
        subject(&jws.claims).and_then(|id| ClientId::parse(id).ok()).ok_or(AssertionError::Client)
    }

    /// `jti`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `exp`.
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// From when on the same `jti` would be refused anyway, and need not be remembered.
    pub fn remember_until(&self) -> UnixTime {
        self.expires_at.plus(LEEWAY_SECONDS)
    }
}

/// draft-ietf-oauth-rfc7523bis §4.
const TYPE: &str = "client-authentication+jwt";

/// `sub`, if it is also `iss`.
fn subject(claims: &Claims) -> Option<&str> {
    claims::text(claims, "sub").filter(|subject| claims::text(claims, "iss") == Some(subject))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::token::testing::{NOW, Signer, key_set};

    const ISSUER: &str = "https://as.example/orgs/acme/api/v1";
    const ENDPOINT: &str = "https://as.example/orgs/acme/api/v1/oauth/token";
    const CLIENT: &str = "https://app.example/client.json";

    static ES256: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::ES256, "c1"));

    fn check(text: &str, keys: &KeySet) -> Result<ClientAssertion, AssertionError> {
        let client = ClientId::parse(CLIENT).unwrap();
        let expect = AssertionExpectations {
            client: &client,
            audiences: &[ISSUER, ENDPOINT],
            algorithms: &[Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256, Algorithm::PS256],
        };
        ClientAssertion::verify(text, keys, &expect, NOW)
    }

    fn good() -> (Value, Value) {
        let header = json!({"alg": "ES256", "kid": "c1"});
        let claims = json!({"iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "j1", "exp": NOW.0 + 60, "iat": NOW.0});
        (header, claims)
    }

    /// A good assertion with these members put in; `null` takes one out.
    fn altered(header: &Value, claims: &Value) -> String {
        let (mut good_header, mut good_claims) = good();
        for (target, changes) in [(&mut good_header, header), (&mut good_claims, claims)] {
            let target = target.as_object_mut().unwrap();
            for (name, value) in changes.as_object().unwrap() {
                target.insert(name.clone(), value.clone());
            }
            target.retain(|_, value| !value.is_null());
        }
        ES256.token(&good_header.to_string(), &good_claims.to_string())
    }

    fn outcome(header: &Value, claims: &Value) -> Result<(), AssertionError> {
        check(&altered(header, claims), &key_set(&[&ES256.jwk])).map(|_| ())
    }

    #[rstest]
    #[case(Algorithm::ES256)]
    #[case(Algorithm::EdDSA)]
    #[case(Algorithm::RS256)]
    #[case(Algorithm::PS256)]
    fn rfc7523_2_2_a_client_proves_who_it_is(#[case] algorithm: Algorithm) {
        let signer = Signer::new(algorithm, "c1");
        let (mut header, claims) = good();
        header["alg"] = signer.jwk["alg"].clone();
        let token = signer.token(&header.to_string(), &claims.to_string());
        let assertion = check(&token, &key_set(&[&signer.jwk])).unwrap();
        assert_eq!((assertion.id(), assertion.expires_at()), ("j1", NOW.plus(60)));
        assert_eq!(assertion.remember_until(), NOW.plus(60 + LEEWAY_SECONDS));
        assert_eq!(ClientAssertion::peek_client_id(&token).unwrap().as_str(), CLIENT);
        let stranger = Signer::new(algorithm, "c1");
        assert_eq!(check(&token, &key_set(&[&stranger.jwk])), Err(TokenError::BadSignature.into()));
    }

    #[rstest]
    #[case::no_type(json!({"typ": null}), json!({}))]
    #[case::jwt(json!({"typ": "JWT"}), json!({}))]
    #[case::lower_case(json!({"typ": "jwt"}), json!({}))]
    #[case::explicit(json!({"typ": "client-authentication+jwt"}), json!({}))]
    #[case::media_type(json!({"typ": "application/client-authentication+jwt"}), json!({}))]
    #[case::no_kid(json!({"kid": null}), json!({}))]
    #[case::token_endpoint(json!({}), json!({"aud": ENDPOINT}))]
    #[case::list_of_one(json!({}), json!({"aud": [ISSUER]}))]
    #[case::no_iat(json!({}), json!({"iat": null}))]
    #[case::not_before(json!({}), json!({"nbf": NOW.0 + 30}))]
    #[case::five_minutes(json!({}), json!({"exp": NOW.0 + 330}))]
    #[case::within_the_leeway(json!({}), json!({"exp": NOW.0 - 29, "iat": NOW.0 - 60}))]
    #[case::longest_jti(json!({}), json!({"jti": "j".repeat(128)}))]
    fn c4_row_80_variations_of_real_clients(#[case] header: Value, #[case] claims: Value) {
        assert_eq!(outcome(&header, &claims), Ok(()));
    }

    #[rstest]
    #[case::access_token(json!({"typ": "at+jwt"}), json!({}), TokenError::WrongType.into())]
    #[case::status_list(json!({"typ": "statuslist+jwt"}), json!({}), TokenError::WrongType.into())]
    #[case::dpop_proof(json!({"typ": "dpop+jwt"}), json!({}), TokenError::WrongType.into())]
    #[case::empty_type(json!({"typ": ""}), json!({}), TokenError::WrongType.into())]
    #[case::none(json!({"alg": "none"}), json!({}), TokenError::UnsupportedAlgorithm.into())]
    #[case::hmac(json!({"alg": "HS256"}), json!({}), TokenError::UnsupportedAlgorithm.into())]
    #[case::not_allowed(json!({"alg": "ES384"}), json!({}), TokenError::UnsupportedAlgorithm.into())]
    #[case::other_algorithm(json!({"alg": "EdDSA"}), json!({}), TokenError::UnknownKey.into())]
    #[case::critical(json!({"crit": ["x"], "x": 1}), json!({}), TokenError::CriticalHeader.into())]
    #[case::other_key(json!({"kid": "c2"}), json!({}), AssertionError::UnknownKey)]
    #[case::iss_other(json!({}), json!({"iss": "mcpc_a"}), AssertionError::Client)]
    #[case::sub_other(json!({}), json!({"sub": "mcpc_a"}), AssertionError::Client)]
    #[case::both_other(json!({}), json!({"iss": "mcpc_a", "sub": "mcpc_a"}), AssertionError::Client)]
    #[case::no_iss(json!({}), json!({"iss": null}), AssertionError::Client)]
    #[case::no_sub(json!({}), json!({"sub": null}), AssertionError::Client)]
    #[case::neither(json!({}), json!({"sub": null, "iss": null}), AssertionError::Client)]
    #[case::sub_list(json!({}), json!({"sub": [CLIENT], "iss": [CLIENT]}), AssertionError::Client)]
    #[case::no_aud(json!({}), json!({"aud": null}), AssertionError::Audience)]
    #[case::aud_other(json!({}), json!({"aud": "https://other.example"}), AssertionError::Audience)]
    #[case::aud_slash(json!({}), json!({"aud": format!("{ISSUER}/")}), AssertionError::Audience)]
    #[case::aud_several(json!({}), json!({"aud": [ISSUER, ENDPOINT]}), AssertionError::Audience)]
    #[case::aud_other_beside(json!({}), json!({"aud": [ISSUER, "https://other.example"]}), AssertionError::Audience)]
    #[case::aud_empty(json!({}), json!({"aud": []}), AssertionError::Audience)]
    #[case::aud_number(json!({}), json!({"aud": 1}), AssertionError::Audience)]
    #[case::no_exp(json!({}), json!({"exp": null}), TokenError::Dates.into())]
    #[case::exp_text(json!({}), json!({"exp": "1800000060"}), TokenError::Dates.into())]
    #[case::exp_fraction(json!({}), json!({"exp": 1_800_000_060.5}), TokenError::Dates.into())]
    #[case::expired(json!({}), json!({"exp": NOW.0 - 30, "iat": NOW.0 - 60}), TokenError::Expired.into())]
    #[case::too_long(json!({}), json!({"exp": NOW.0 + 331}), AssertionError::Lifetime)]
    #[case::for_ever(json!({}), json!({"exp": 253_402_300_799_u64}), AssertionError::Lifetime)]
    #[case::iat_later(json!({}), json!({"iat": NOW.0 + 31}), TokenError::NotYetValid.into())]
    #[case::iat_text(json!({}), json!({"iat": "now"}), TokenError::Dates.into())]
    #[case::iat_after_exp(json!({}), json!({"iat": NOW.0 + 20, "exp": NOW.0 + 10}), TokenError::Dates.into())]
    #[case::iat_at_exp(json!({}), json!({"iat": NOW.0 + 10, "exp": NOW.0 + 10}), TokenError::Dates.into())]
    #[case::nbf_later(json!({}), json!({"nbf": NOW.0 + 31}), TokenError::NotYetValid.into())]
    #[case::nbf_negative(json!({}), json!({"nbf": -1}), TokenError::Dates.into())]
    #[case::no_jti(json!({}), json!({"jti": null}), AssertionError::Identifier)]
    #[case::jti_empty(json!({}), json!({"jti": ""}), AssertionError::Identifier)]
    #[case::jti_number(json!({}), json!({"jti": 1}), AssertionError::Identifier)]
    #[case::jti_control(json!({}), json!({"jti": "a\nb"}), AssertionError::Identifier)]
    #[case::jti_too_long(json!({}), json!({"jti": "j".repeat(129)}), AssertionError::Identifier)]
    fn c4_row_80_refused(#[case] header: Value, #[case] claims: Value, #[case] error: AssertionError) {
        assert_eq!(outcome(&header, &claims), Err(error));
    }

    #[rstest]
    #[case::empty("")]
    #[case::one_segment("a")]
    #[case::two_segments("e30.e30")]
    #[case::unsigned("eyJhbGciOiJub25lIn0.e30.")]
    #[case::not_json("YQ.YQ.YQ")]
    fn junk_is_refused(#[case] text: &str) {
        assert!(check(text, &key_set(&[&ES256.jwk])).is_err());
        assert!(ClientAssertion::peek_client_id(text).is_err());
    }

    #[test]
    fn size_is_limited() {
        let long = altered(&json!({}), &json!({"x": "x".repeat(MAX_TOKEN_BYTES)}));
        assert_eq!(check(&long, &key_set(&[&ES256.jwk])), Err(TokenError::TooLong.into()));
        assert_eq!(ClientAssertion::peek_client_id(&long), Err(TokenError::TooLong.into()));
    }

    #[test]
    fn only_one_who_says_so_twice_is_named() {
        for claims in
            [json!({"iss": "other"}), json!({"sub": null}), json!({"iss": null}), json!({"sub": "é", "iss": "é"})]
        {
            let text = altered(&json!({}), &claims);
            assert_eq!(ClientAssertion::peek_client_id(&text), Err(AssertionError::Client), "{claims}");
        }
    }
}
