//! What a request presents to prove which client it comes from (RFC 6749 §2.3, RFC 7523 §2.2): by exactly one method.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use lumoauth_core::{ClientId, token::ClientAssertion};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::{AuthenticationError, Parameters};

/// `client_assertion_type` of RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request presents, unjudged.
pub(super) struct Presented {
    pub(super) id: ClientId,
    pub(super) proof: Proof,
}

/// How it says to prove it. Wiped from memory when dropped.
#[derive(PartialEq, Eq)]
pub(super) enum Proof {
    /// Not at all: as a public client does.
    Nothing,
    /// `client_secret_basic`.
    Basic(Zeroizing<String>),
    /// `client_secret_post`.
    Post(Zeroizing<String>),
    /// `private_key_jwt`.
    Assertion(Zeroizing<String>),
}

impl Presented {
    /// Reads what a request presents.
    pub(super) fn read(headers: &HeaderMap, form: &Parameters<'_>) -> Result<Self, AuthenticationError> {
        let mut authorization = headers.get_all(AUTHORIZATION).iter();
        let (header, more) = (authorization.next(), authorization.next().is_some());
        let (id, secret) = (form.get("client_id"), form.get("client_secret"));
        let assertion = (form.get("client_assertion_type"), form.get("client_assertion"));
        let methods = [header.is_some(), secret.is_some(), assertion != (None, None)];
        if more || methods.iter().filter(|used| **used).count() > 1 {
            return Err(AuthenticationError::Several);
        }
        let presented = match (header, secret, assertion) {
            (Some(header), ..) => Self::basic(header).ok_or(AuthenticationError::Unreadable)?,
            (_, Some(secret), _) => Self { id: known_by(id)?, proof: Proof::Post(Zeroizing::new(secret.to_owned())) },
            (_, _, (None, None)) => Self { id: known_by(id)?, proof: Proof::Nothing },
            (_, _, assertion) => Self::assertion(id, assertion)?,
        };
        match id {
            Some(id) if id != presented.id.as_str() => Err(AuthenticationError::Several),
            _ => Ok(presented),
        }
    }

    /// HTTP Basic (RFC 7617 §2), both halves form-encoded before they were joined (RFC 6749 §2.3.1).
    fn basic(header: &HeaderValue) -> Option<Self> {
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
        Some(Self { id: ClientId::parse(&form_decode(id)?).ok()?, proof: Proof::Basic(secret) })
    }

    /// An assertion; `client_id` may be left out, because the assertion says it (RFC 7521 §4.2).
    fn assertion(id: Option<&str>, assertion: (Option<&str>, Option<&str>)) -> Result<Self, AuthenticationError> {
        let (Some(JWT_BEARER), Some(text)) = assertion else { return Err(AuthenticationError::Unreadable) };
        let id = match id {
            Some(_) => known_by(id)?,
            None => ClientAssertion::peek_client_id(text).map_err(|_| AuthenticationError::Unreadable)?,
        };
        Ok(Self { id, proof: Proof::Assertion(Zeroizing::new(text.to_owned())) })
    }
}

fn known_by(id: Option<&str>) -> Result<ClientId, AuthenticationError> {
    ClientId::parse(id.ok_or(AuthenticationError::Nothing)?).map_err(|_| AuthenticationError::Malformed)
}

fn form_decode(text: &str) -> Option<Zeroizing<String>> {
    let spaced = Zeroizing::new(text.replace('+', " "));
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Zeroizing::new(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use http::header::CONTENT_TYPE;
    use rstest::rstest;

    /// The client, the method and what proves it.
    fn read(authorization: &[&str], body: &str) -> Result<(String, &'static str, String), AuthenticationError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        let form = Parameters::of_form(&headers, body.as_bytes()).unwrap();
        let Presented { id, proof } = Presented::read(&headers, &form)?;
        let (method, proof) = match proof {
            Proof::Nothing => ("none", String::new()),
            Proof::Basic(secret) => ("basic", secret.to_string()),
            Proof::Post(secret) => ("post", secret.to_string()),
            Proof::Assertion(text) => ("assertion", text.to_string()),
        };
        Ok((id.to_string(), method, proof))
    }

    fn header(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn read_as(id: &str, method: &'static str, proof: &str) -> (String, &'static str, String) {
        (id.to_owned(), method, proof.to_owned())
    }

    #[rstest]
    #[case("a:s", "a", "s")]
    #[case("a:s:t", "a", "s:t")]
    #[case("a%3Ab:s%2Bt+u%25", "a:b", "s+t u%")]
    #[case("a:abc==", "a", "abc==")]
    fn rfc6749_2_3_1_basic(#[case] pair: &str, #[case] id: &str, #[case] secret: &str) {
        for body in [String::new(), format!("client_id={}", id.replace(':', "%3A"))] {
            assert_eq!(read(&[&header(pair)], &body), Ok(read_as(id, "basic", secret)));
        }
    }

    #[test]
    fn rfc6749_2_3_1_post() {
        assert_eq!(read(&[], "client_id=a&client_secret=s+t"), Ok(read_as("a", "post", "s t")));
    }

    #[test]
    fn rfc6749_3_2_1_public() {
        assert_eq!(read(&[], "client_id=a"), Ok(read_as("a", "none", "")));
        assert_eq!(read(&[], "client_id=a&client_secret="), Ok(read_as("a", "none", "")), "empty is not sent");
    }

    #[test]
    fn rfc7523_2_2_assertion() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let text = format!("{}.{}.AA", part(r#"{"alg":"ES256"}"#), part(r#"{"iss":"a","sub":"a"}"#));
        let body = format!("client_assertion_type={}&client_assertion={text}", JWT_BEARER.replace(':', "%3A"));
        assert_eq!(read(&[], &body), Ok(read_as("a", "assertion", &text)));
        assert_eq!(read(&[], &format!("{body}&client_id=b")), Ok(read_as("b", "assertion", &text)), "judged later");
        let other = body.replace("jwt-bearer", "saml2-bearer");
        assert_eq!(read(&[], &other), Err(AuthenticationError::Unreadable));
    }

    #[rstest]
    #[case::two_headers(&["Basic YTpz", "Basic YTpz"], "", AuthenticationError::Several)]
    #[case::basic_and_post(&["Basic YTpz"], "client_id=a&client_secret=s", AuthenticationError::Several)]
    #[case::basic_and_assertion(&["Basic YTpz"], "client_assertion=x", AuthenticationError::Several)]
    #[case::post_and_assertion(&[], "client_id=a&client_secret=s&client_assertion_type=x", AuthenticationError::Several)]
    #[case::bearer_and_post(&["Bearer x"], "client_id=a&client_secret=s", AuthenticationError::Several)]
    #[case::another_id(&["Basic YTpz"], "client_id=b", AuthenticationError::Several)]
    #[case::nothing(&[], "", AuthenticationError::Nothing)]
    #[case::only_a_secret(&[], "client_secret=s", AuthenticationError::Nothing)]
    #[case::no_type(&[], "client_id=a&client_assertion=x", AuthenticationError::Unreadable)]
    #[case::no_assertion(&[], "client_id=a&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer", AuthenticationError::Unreadable)]
    #[case::assertion_of_nobody(&[], "client_assertion=x&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer", AuthenticationError::Unreadable)]
    #[case::id_that_is_none(&[], "client_id=%00&client_secret=s", AuthenticationError::Malformed)]
    #[case::empty_basic_secret(&["Basic YTo="], "", AuthenticationError::Unreadable)]
    #[case::no_colon(&["Basic YQ=="], "", AuthenticationError::Unreadable)]
    #[case::not_base64(&["Basic !"], "", AuthenticationError::Unreadable)]
    #[case::not_utf8(&["Basic /zr/"], "", AuthenticationError::Unreadable)]
    #[case::not_utf8_inside(&["Basic YTolZmY="], "", AuthenticationError::Unreadable)]
    #[case::other_scheme(&["Bearer YTpz"], "", AuthenticationError::Unreadable)]
    #[case::no_credentials(&["Basic"], "", AuthenticationError::Unreadable)]
    fn security_80_exactly_one_method(
        #[case] authorization: &[&str],
        #[case] body: &str,
        #[case] refused: AuthenticationError,
    ) {
        assert_eq!(read(authorization, body), Err(refused));
    }
}
