//! The access token of a request (RFC 6750 §2).

use http::{HeaderMap, Uri, header::AUTHORIZATION};
use lumoauth_core::{
    ResourceUri,
    token::{AccessToken, TokenError, Verified},
};
use url::form_urlencoded;

use super::org::{Org, State};

/// How a request presents its token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// It does not. A token in the query counts as none: queries end up in logs.
    Nothing,
    /// In the Authorization header.
    Token(&'a str),
    /// More than once, or in more than one place.
    Conflicting,
}

/// Finds the token of a request.
pub(super) fn presented<'a>(headers: &'a HeaderMap, uri: &Uri) -> Presented<'a> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, more) = (values.next(), values.next().is_some());
    let in_query =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).any(|(name, _)| name == "access_token");
    if more || (first.is_some() && in_query) {
        return Presented::Conflicting;
    }
    match first.and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Presented::Token(token.trim_matches(' ')),
        _ => Presented::Nothing,
    }
}

/// Why a token is not good for anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not valid, or was revoked.
    Token(TokenError),
    /// Nobody can say whether it was revoked.
    Store,
}

/// Verifies a token for `audience` as a sidecar would, and that it was not revoked.
pub(super) async fn verify(
    state: &State,
    org: &Org,
    token: &str,
    audience: &ResourceUri,
) -> Result<Verified<AccessToken>, Unusable> {
    let token = org.authority.verify(token, &org.issuer, audience, org.now).map_err(Unusable::Token)?;
    match state.statuses.is_good(&state.store, org, &token).await {
        Ok(true) => Ok(token),
        Ok(false) => Err(Unusable::Token(TokenError::Revoked)),
        Err(_) => Err(Unusable::Store),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], "/", Presented::Nothing)]
    #[case(&["Bearer abc"], "/", Presented::Token("abc"))]
    #[case(&["bEARER  abc"], "/", Presented::Token("abc"))]
    #[case(&["Bearer "], "/", Presented::Token(""))]
    #[case(&["Bearer"], "/", Presented::Nothing)]
    #[case(&["Basic abc"], "/", Presented::Nothing)]
    #[case(&["Bearerabc"], "/", Presented::Nothing)]
    #[case(&["Bearer a", "Bearer a"], "/", Presented::Conflicting)]
    #[case(&["Bearer a", "Basic b"], "/", Presented::Conflicting)]
    #[case(&[], "/?access_token=abc", Presented::Nothing)]
    #[case(&["Bearer a"], "/?access_token=abc", Presented::Conflicting)]
    #[case(&["Bearer a"], "/?x=1&acc%65ss_token", Presented::Conflicting)]
    fn rfc6750_2(#[case] authorization: &[&str], #[case] uri: &str, #[case] expected: Presented<'_>) {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        assert_eq!(presented(&headers, &uri.parse().unwrap()), expected);
    }
}
