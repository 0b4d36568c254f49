//! The parameters of a request (RFC 6749 §3.1, §3.2 and appendix B): of the query, or of a form in the body.

use std::borrow::Cow;

use http::{HeaderMap, header::CONTENT_TYPE};
use url::form_urlencoded;

/// More than any request of ours has.
const MAX_PARAMETERS: usize = 32;

/// Why parameters are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParametersError {
    /// Not `application/x-www-form-urlencoded`.
    #[error("the body is no form")]
    NotAForm,
    /// More than 32.
    #[error("too many parameters")]
    TooMany,
    /// One twice (RFC 6749 §3.1, §3.2).
    #[error("a parameter occurs twice")]
    Duplicate,
}

/// The parameters of a request. Each occurs once, `resource` (RFC 8707 §2) perhaps more often; parameters without a
/// value are left out, as RFC 6749 §3.1 and §3.2 say.
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Reads a form.
    pub(super) fn of_form(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, ParametersError> {
        if is_form(headers) { Self::read(body) } else { Err(ParametersError::NotAForm) }
    }

    /// Reads the query of a URL.
    pub(super) fn of_query(query: &'a str) -> Result<Self, ParametersError> {
        Self::read(query.as_bytes())
    }

    fn read(text: &'a [u8]) -> Result<Self, ParametersError> {
        let mut seen: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text) {
            if seen.len() == MAX_PARAMETERS {
                return Err(ParametersError::TooMany);
            }
            if name != "resource" && seen.iter().any(|(known, _)| *known == name) {
                return Err(ParametersError::Duplicate);
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

    fn parse<'a>(types: &[&str], body: &'a [u8]) -> Result<Parameters<'a>, ParametersError> {
        let mut headers = HeaderMap::new();
        for value in types {
            headers.append(CONTENT_TYPE, value.parse().unwrap());
        }
        Parameters::of_form(&headers, body)
    }

    const FORM: &[&str] = &["application/x-www-form-urlencoded"];

    #[rstest]
    #[case(&["Application/X-WWW-Form-Urlencoded ; charset=utf-8"], true)]
    #[case(FORM, true)]
    #[case(&["application/json"], false)]
    #[case(&["application/x-www-form-urlencoded-2"], false)]
    #[case(&[], false)]
    #[case(&["application/x-www-form-urlencoded", "text/plain"], false)]
    fn only_forms_are_read(#[case] types: &[&str], #[case] read: bool) {
        assert_eq!(parse(types, b"a=1").err(), (!read).then_some(ParametersError::NotAForm));
    }

    #[rstest]
    #[case("", true)]
    #[case("a=1", true)]
    #[case("resource=a&resource=b&resource=a", true)]
    #[case("scope=a&scope=a", false)]
    #[case("scope=a&sc%6Fpe=b", false)]
    #[case("scope=&scope=b", false)]
    #[case("unknown=1&unknown=2", false)]
    fn rfc6749_3_1_and_3_2_each_once(#[case] text: &str, #[case] read: bool) {
        let refused = (!read).then_some(ParametersError::Duplicate);
        assert_eq!(parse(FORM, text.as_bytes()).err(), refused);
        assert_eq!(Parameters::of_query(text).err(), refused);
    }

    #[test]
    fn values() {
        let parameters = parse(FORM, b"scope=a+b%20c&empty=&resource=x&resource=y").unwrap();
        assert_eq!(parameters.get("scope"), Some("a b c"));
        assert_eq!(parameters.get("empty"), None);
        assert_eq!(parameters.get("missing"), None);
        assert_eq!(parameters.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn parameters_are_bounded() {
        let of = |count: usize| (0..count).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
        assert!(parse(FORM, of(32).as_bytes()).is_ok());
        assert_eq!(parse(FORM, of(33).as_bytes()).err(), Some(ParametersError::TooMany));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        assert_eq!(parse(FORM, b"scope=\xff%ff").unwrap().get("scope"), Some("\u{fffd}\u{fffd}"));
    }
}
