//! Step 2: who asks (RFC 6749 §2.3.1).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use lumoauth_core::{ClientId, UnixTime};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::Refused;
use crate::{
    api::v1alpha1::ClientAuthenticationMethod,
    authserver::{artefact::Digest, org::Org, parameters::Parameters},
    registry::{Client, SecretDigest},
};

/// What a request presents, unjudged.
pub(super) struct Credentials {
    pub(super) id: ClientId,
    method: ClientAuthenticationMethod,
    secret: Zeroizing<String>,
}

/// A client that proved who it is. Only [`authenticate`] makes one.
pub(super) struct Authenticated<'a> {
    pub(super) id: ClientId,
    pub(super) client: &'a Client,
}

/// Reads the credentials of a request: by exactly one method.
pub(super) fn credentials(headers: &HeaderMap, parameters: &Parameters<'_>) -> Result<Credentials, Refused> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let (header, more) = (authorization.next(), authorization.next().is_some());
    let id = parameters.get("client_id");
    let secret = parameters.get("client_secret");
    let assertion = parameters.get("client_assertion").or_else(|| parameters.get("client_assertion_type"));
    let methods = [header.is_some(), secret.is_some(), assertion.is_some()];
    if more || methods.iter().filter(|used| **used).count() > 1 {
        return Err(Refused::SeveralCredentials);
    }
    if let Some(header) = header {
        let basic = basic(header).ok_or(Refused::UnreadableCredentials)?;
        return match id {
            Some(id) if id != basic.id.as_str() => Err(Refused::SeveralCredentials),
            _ => Ok(basic),
        };
    }
    let (Some(id), Some(secret)) = (id, secret) else { return Err(Refused::NoCredentials) };
    Ok(Credentials {
        id: ClientId::parse(id).map_err(|_| Refused::UnknownClient)?,
        method: ClientAuthenticationMethod::ClientSecretPost,
        secret: Zeroizing::new(secret.to_owned()),
    })
}

/// HTTP Basic (RFC 7617 §2), both halves form-encoded before they were joined (RFC 6749 §2.3.1).
fn basic(header: &HeaderValue) -> Option<Credentials> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
    let (id, secret) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    let secret = form_decode(secret)?;
    if secret.is_empty() {
        return None;
    }
    Some(Credentials {
        id: ClientId::parse(&form_decode(id)?).ok()?,
        method: ClientAuthenticationMethod::ClientSecretBasic,
        secret,
    })
}

fn form_decode(text: &str) -> Option<Zeroizing<String>> {
    let spaced = Zeroizing::new(text.replace('+', " "));
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Zeroizing::new(decoded.into_owned()))
}

/// Checks the credentials against the registered client. Every failure looks the same from outside.
pub(super) fn authenticate<'a>(org: &'a Org, credentials: &Credentials) -> Result<Authenticated<'a>, Refused> {
    // Before the look-up, so that an unknown client takes as long as a wrong secret.
    let presented = Digest::of(&credentials.secret);
    let (_, client) = org.client(&credentials.id).ok_or(Refused::UnknownClient)?;
    if client.authentication != credentials.method {
        return Err(Refused::WrongMethod);
    }
    if !is_current(&client.secrets, &presented, org.now) {
        return Err(Refused::WrongSecret);
    }
    Ok(Authenticated { id: credentials.id.clone(), client })
}

/// Whether `presented` is the digest of a secret that works at `now`. Takes the same time whichever secret it is.
fn is_current(secrets: &[SecretDigest], presented: &Digest, now: UnixTime) -> bool {
    let works = |secret: &SecretDigest| {
        secret.not_after.is_none_or(|end| u64::try_from(end.as_second()).is_ok_and(|end| now.0 < end))
    };
    secrets.iter().fold(false, |found, secret| {
        let matches = Digest::parse(&secret.sha256).is_some_and(|stored| stored == *presented);
        found | (matches & works(secret))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CONTENT_TYPE;
    use rstest::rstest;

    fn read(authorization: &[&str], body: &str) -> Result<(String, String, ClientAuthenticationMethod), Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        let parameters = Parameters::of_form(&headers, body.as_bytes()).unwrap();
        let credentials = credentials(&headers, &parameters)?;
        Ok((credentials.id.to_string(), credentials.secret.to_string(), credentials.method))
    }

    fn header(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[rstest]
    #[case("a:s", "a", "s")]
    #[case("a:s:t", "a", "s:t")]
    #[case("a%3Ab:s%2Bt+u%25", "a:b", "s+t u%")]
    #[case("a:abc==", "a", "abc==")]
    fn rfc6749_2_3_1_basic(#[case] pair: &str, #[case] id: &str, #[case] secret: &str) {
        for body in [String::new(), format!("client_id={}", id.replace(':', "%3A"))] {
            let expected = (id.to_owned(), secret.to_owned(), ClientAuthenticationMethod::ClientSecretBasic);
            assert_eq!(read(&[&header(pair)], &body), Ok(expected));
        }
    }

    #[test]
    fn rfc6749_2_3_1_post() {
        let expected = ("a".to_owned(), "s t".to_owned(), ClientAuthenticationMethod::ClientSecretPost);
        assert_eq!(read(&[], "client_id=a&client_secret=s+t"), Ok(expected));
    }

    #[rstest]
    #[case::two_headers(&["Basic YTpz", "Basic YTpz"], "", Refused::SeveralCredentials)]
    #[case::basic_and_post(&["Basic YTpz"], "client_id=a&client_secret=s", Refused::SeveralCredentials)]
    #[case::basic_and_assertion(&["Basic YTpz"], "client_assertion=x", Refused::SeveralCredentials)]
    #[case::post_and_assertion(&[], "client_id=a&client_secret=s&client_assertion_type=x", Refused::SeveralCredentials)]
    #[case::bearer_and_post(&["Bearer x"], "client_id=a&client_secret=s", Refused::SeveralCredentials)]
    #[case::another_id(&["Basic YTpz"], "client_id=b", Refused::SeveralCredentials)]
    #[case::nothing(&[], "", Refused::NoCredentials)]
    #[case::only_an_id(&[], "client_id=a", Refused::NoCredentials)]
    #[case::only_a_secret(&[], "client_secret=s", Refused::NoCredentials)]
    #[case::empty_secret(&[], "client_id=a&client_secret=", Refused::NoCredentials)]
    #[case::only_an_assertion(&[], "client_id=a&client_assertion=x", Refused::NoCredentials)]
    #[case::id_that_is_none(&[], "client_id=%00&client_secret=s", Refused::UnknownClient)]
    #[case::empty_basic_secret(&["Basic YTo="], "", Refused::UnreadableCredentials)]
    #[case::no_colon(&["Basic YQ=="], "", Refused::UnreadableCredentials)]
    #[case::not_base64(&["Basic !"], "", Refused::UnreadableCredentials)]
    #[case::not_utf8(&["Basic /zr/"], "", Refused::UnreadableCredentials)]
    #[case::not_utf8_inside(&["Basic YTolZmY="], "", Refused::UnreadableCredentials)]
    #[case::other_scheme(&["Bearer YTpz"], "", Refused::UnreadableCredentials)]
    #[case::no_credentials(&["Basic"], "", Refused::UnreadableCredentials)]
    fn exactly_one_method(#[case] authorization: &[&str], #[case] body: &str, #[case] refused: Refused) {
        assert_eq!(read(authorization, body), Err(refused));
    }

    #[rstest]
    #[case("new", 0, true)]
    #[case("old", 99, true)]
    #[case("old", 100, false)]
    #[case("other", 0, false)]
    #[case("", 0, false)]
    fn secrets_work_until_they_expire(#[case] secret: &str, #[case] now: u64, #[case] works: bool) {
        let digest = |secret: &str, end: Option<i64>| SecretDigest {
            sha256: Digest::of(secret).to_string(),
            not_after: end.map(|end| jiff::Timestamp::from_second(end).unwrap()),
        };
        let secrets = [digest("new", None), digest("old", Some(100)), digest("gone", Some(-1))];
        assert_eq!(is_current(&secrets, &Digest::of(secret), UnixTime(now)), works);
        assert!(!is_current(&secrets, &Digest::of("gone"), UnixTime(now)));
        assert!(!is_current(&[], &Digest::of(secret), UnixTime(now)));
        assert!(!is_current(
            &[SecretDigest { sha256: String::new(), not_after: None }],
            &Digest::of(""),
            UnixTime(now)
        ));
    }
}
