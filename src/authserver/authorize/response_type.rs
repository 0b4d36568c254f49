//! `response_type` and `response_mode`: a code, in the query.

use super::refused::Refused;
use crate::authserver::parameters::Parameters;

/// RFC 6749 §3.1.1: only `code` is left of it (RFC 9700 §2.1.2).
pub(super) fn response_type(parameters: &Parameters<'_>) -> Result<(), Refused> {
    match parameters.get("response_type") {
        Some("code") => Ok(()),
        Some(_) => Err(Refused::ResponseType),
        None => Err(Refused::NoResponseType),
    }
}

/// OAuth 2.0 Multiple Response Type Encoding Practices §2.1: `query`, which is also the default for a code.
pub(super) fn response_mode(parameters: &Parameters<'_>) -> Result<(), Refused> {
    match parameters.get("response_mode") {
        None | Some("query") => Ok(()),
        Some(_) => Err(Refused::ResponseMode),
    }
}

/// RFC 9101 §6.1: whoever sends parameters in a signed object means them to replace those of the query. They are not
/// read, so they must not be passed over.
pub(super) fn request_objects(parameters: &Parameters<'_>) -> Result<(), Refused> {
    match (parameters.get("request"), parameters.get("request_uri")) {
        (None, None) => Ok(()),
        (Some(_), _) => Err(Refused::RequestObject),
        (None, Some(_)) => Err(Refused::RequestUri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn of(query: &str) -> Parameters<'_> {
        Parameters::of_query(query).unwrap()
    }

    #[rstest]
    #[case("response_type=code", Ok(()))]
    #[case("", Err(Refused::NoResponseType))]
    #[case("response_type=", Err(Refused::NoResponseType))]
    #[case("response_type=token", Err(Refused::ResponseType))]
    #[case("response_type=id_token", Err(Refused::ResponseType))]
    #[case("response_type=code+token", Err(Refused::ResponseType))]
    #[case("response_type=code+", Err(Refused::ResponseType))]
    #[case("response_type=CODE", Err(Refused::ResponseType))]
    #[case("response_type=none", Err(Refused::ResponseType))]
    fn rfc6749_3_1_1(#[case] query: &str, #[case] expected: Result<(), Refused>) {
        assert_eq!(response_type(&of(query)), expected);
    }

    #[rstest]
    #[case("", Ok(()))]
    #[case("response_mode=query", Ok(()))]
    #[case("response_mode=fragment", Err(Refused::ResponseMode))]
    #[case("response_mode=form_post", Err(Refused::ResponseMode))]
    #[case("response_mode=query.jwt", Err(Refused::ResponseMode))]
    fn response_modes(#[case] query: &str, #[case] expected: Result<(), Refused>) {
        assert_eq!(response_mode(&of(query)), expected);
    }

    #[rstest]
    #[case("", Ok(()))]
    #[case("request=", Ok(()))]
    #[case("request=e30.e30.", Err(Refused::RequestObject))]
    #[case("request_uri=https://evil.example/", Err(Refused::RequestUri))]
    #[case("request_uri=urn:ietf:params:oauth:request_uri:x", Err(Refused::RequestUri))]
    fn rfc9101_6_1(#[case] query: &str, #[case] expected: Result<(), Refused>) {
        assert_eq!(request_objects(&of(query)), expected);
    }
}
