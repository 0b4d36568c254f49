//! Whether a form comes from a page of ours (RFC 9700 §4.16): three checks, each enough on its own in some browser.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header::ORIGIN};
use lumoauth_core::digest;

use crate::authserver::{artefact::Digest, pages::Problem};

/// What the token is made for, so that no other digest of the cookie is one.
const PURPOSE: &[u8] = b"lumoauth form 1\n";

/// The token of the forms on the pages of a browser. Its cookie is a secret of 256 random bits, so whoever cannot read
/// the cookie cannot tell the token, and the token does not tell the cookie.
pub(super) fn token(cookie: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::sha256(&[PURPOSE, cookie.as_bytes()].concat()))
}

/// Whether a form of this browser may be acted upon. `origin` is our public one.
pub(super) fn check(headers: &HeaderMap, origin: &str, cookie: &str, presented: Option<&str>) -> Result<(), Problem> {
    if !same_site(headers, origin) {
        return Err(Problem::CrossSite);
    }
    let same = presented.is_some_and(|presented| Digest::of(presented) == Digest::of(&token(cookie)));
    if same { Ok(()) } else { Err(Problem::StaleForm) }
}

/// What browsers say themselves: `Origin` (RFC 6454 §7) and `Sec-Fetch-Site` (Fetch Metadata). Neither has to be there;
/// what is there has to be right.
fn same_site(headers: &HeaderMap, origin: &str) -> bool {
    let only = |name: &str, right: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(right))
    };
    only(ORIGIN.as_str(), &|value| value == origin)
        && only("sec-fetch-site", &|value| matches!(value, "same-origin" | "none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const COOKIE: &str = "lss_cookie";

    fn checked(sent: &[(&'static str, &str)], presented: Option<&str>) -> Result<(), Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        check(&headers, "https://auth.example", COOKIE, presented)
    }

    #[rstest]
    #[case(&[], true)]
    #[case(&[("origin", "https://auth.example")], true)]
    #[case(&[("sec-fetch-site", "same-origin"), ("origin", "https://auth.example")], true)]
    #[case(&[("sec-fetch-site", "none")], true)]
    #[case(&[("origin", "null")], false)]
    #[case(&[("origin", "")], false)]
    #[case(&[("origin", "https://auth.example.evil")], false)]
    #[case(&[("origin", "http://auth.example")], false)]
    #[case(&[("origin", "https://auth.example:8443")], false)]
    #[case(&[("origin", "https://auth.example"), ("origin", "https://evil.example")], false)]
    #[case(&[("sec-fetch-site", "cross-site")], false)]
    #[case(&[("sec-fetch-site", "same-site"), ("origin", "https://auth.example")], false)]
    #[case(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], false)]
    fn rfc9700_4_16_other_sites(#[case] sent: &[(&'static str, &str)], #[case] ours: bool) {
        let expected = if ours { Ok(()) } else { Err(Problem::CrossSite) };
        assert_eq!(checked(sent, Some(&token(COOKIE))), expected);
    }

    #[rstest]
    #[case(Some(token(COOKIE)), true)]
    #[case(Some(token("lss_other")), false)]
    #[case(Some(COOKIE.to_owned()), false)]
    #[case(Some(String::new()), false)]
    #[case(None, false)]
    fn rfc9700_4_16_tokens(#[case] presented: Option<String>, #[case] ours: bool) {
        let expected = if ours { Ok(()) } else { Err(Problem::StaleForm) };
        assert_eq!(checked(&[], presented.as_deref()), expected);
    }

    #[test]
    fn the_token_is_not_what_is_stored() {
        let stored = URL_SAFE_NO_PAD.encode(digest::sha256(COOKIE.as_bytes()));
        assert_ne!(token(COOKIE), stored);
    }
}
