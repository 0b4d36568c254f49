//! Step 1: the parameters (RFC 6749 §3.2 and appendix B).

use std::borrow::Cow;

use http::{HeaderMap, Uri, header::CONTENT_TYPE};
use url::form_urlencoded;

use super::Refused;

/// More than any token request of ours has.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a token request. Each occurs once, `resource` (RFC 8707 §2) perhaps more often; parameters without
/// a value are left out, as RFC 6749 §3.2 says.
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Reads the body of a token request.
    pub(super) fn parse(headers: &HeaderMap, uri: &Uri, body: &'a [u8]) -> Result<Self, Refused> {
        if uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(Refused::Query);
        }
        if !is_form(headers) {
            return Err(Refused::NotAForm);
        }
        let mut seen: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if seen.len() == MAX_PARAMETERS {
                return Err(Refused::TooManyParameters);
            }
            if name != "resource" && seen.iter().any(|(known, _)| *known == name) {
                return Err(Refused::DuplicateParameter);
            }
            seen.push((name, value));
        }
        seen.retain(|(_, value)| !value.is_empty());
        Ok(Self(seen))
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of a parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let essence = one.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse<'a>(types: &[&str], uri: &str, body: &'a [u8]) -> Result<Parameters<'a>, Refused> {
        let mut headers = HeaderMap::new();
        for value in types {
            headers.append(CONTENT_TYPE, value.parse().unwrap());
        }
        Parameters::parse(&headers, &uri.parse().unwrap(), body)
    }

    const FORM: &[&str] = &["application/x-www-form-urlencoded"];

    #[rstest]
    #[case(&["Application/X-WWW-Form-Urlencoded ; charset=utf-8"], "/t", "a=1", None)]
    #[case(FORM, "/t?", "a=1", None)]
    #[case(FORM, "/t", "", None)]
    #[case(FORM, "/t", "resource=a&resource=b&resource=a", None)]
    #[case(&["application/json"], "/t", "{}", Some(Refused::NotAForm))]
    #[case(&["application/x-www-form-urlencoded-2"], "/t", "", Some(Refused::NotAForm))]
    #[case(&[], "/t", "a=1", Some(Refused::NotAForm))]
    #[case(&["application/x-www-form-urlencoded", "text/plain"], "/t", "a=1", Some(Refused::NotAForm))]
    #[case(FORM, "/t?client_secret=s", "a=1", Some(Refused::Query))]
    #[case(FORM, "/t", "scope=a&scope=a", Some(Refused::DuplicateParameter))]
    #[case(FORM, "/t", "scope=a&sc%6Fpe=b", Some(Refused::DuplicateParameter))]
    #[case(FORM, "/t", "scope=&scope=b", Some(Refused::DuplicateParameter))]
    #[case(FORM, "/t", "unknown=1&unknown=2", Some(Refused::DuplicateParameter))]
    fn rfc6749_3_2(#[case] types: &[&str], #[case] uri: &str, #[case] body: &str, #[case] refused: Option<Refused>) {
        assert_eq!(parse(types, uri, body.as_bytes()).err(), refused);
    }

    #[test]
    fn values() {
        let parameters = parse(FORM, "/t", b"scope=a+b%20c&empty=&resource=x&resource=y").unwrap();
        assert_eq!(parameters.get("scope"), Some("a b c"));
        assert_eq!(parameters.get("empty"), None);
        assert_eq!(parameters.get("missing"), None);
        assert_eq!(parameters.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn parameters_are_bounded() {
        let of = |count: usize| (0..count).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
        assert!(parse(FORM, "/t", of(32).as_bytes()).is_ok());
        assert_eq!(parse(FORM, "/t", of(33).as_bytes()).err(), Some(Refused::TooManyParameters));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        assert_eq!(parse(FORM, "/t", b"scope=\xff%ff").unwrap().get("scope"), Some("\u{fffd}\u{fffd}"));
    }
}
