//! The headers of a page.

use std::sync::LazyLock;

use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, InvalidHeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use lumoauth_core::{
    digest,
    uri::{RedirectKind, RedirectUri},
};

use super::STYLE;

/// What every page is sent with, besides its policy: no frame, no type but this, nothing kept.
///
/// `Referrer-Policy: same-origin` and not `no-referrer`: with the latter browsers send `Origin: null` with a form (Fetch,
/// "append a request Origin header"), and the check of `Origin` could not tell our pages from others. Either way no other
/// site is told where its visitors come from.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// `style-src` of every page.
static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(digest::sha256(STYLE.as_bytes()))));

/// Where the forms of a page may lead, by redirects too: browsers hold `form-action` against every redirect that follows
/// on a form. A website, or a program on loopback, may redirect on to who knows where, so no form leads to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FormTarget(Option<String>);

impl FormTarget {
    /// To this server alone.
    pub(crate) fn own() -> Self {
        Self(None)
    }

    /// To this server, and from it to the app of a redirect URI's scheme.
    pub(crate) fn redirect(to: &RedirectUri) -> Self {
        let app = to.kind() == RedirectKind::PrivateUse;
        Self(app.then(|| format!("{}:", to.scheme().to_ascii_lowercase())))
    }
}

/// A page apart from whoever opened it. Pages for clients are not: a client that opened a window waits for what its own
/// website says there in the end.
pub(super) fn alone(mut response: Response) -> Response {
    let policy = HeaderName::from_static("cross-origin-opener-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    response
}

/// A redirect that tells nobody where from, or a page whose links do not (RFC 9700 §4.2.4). Such a page has no form.
pub(crate) fn untraced(mut response: Response) -> Response {
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// All headers of a page.
pub(super) fn headers(target: &FormTarget) -> Result<HeaderMap, InvalidHeaderValue> {
    let elsewhere = target.0.as_ref().map(|source| format!(" {source}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src {}; form-action 'self'{elsewhere}; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_SOURCE
    );
    let mut headers: HeaderMap = HEADERS.into_iter().collect();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy)?);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("com.example.app:/callback", "com.example.app:")]
    #[case("Cursor://anysphere.cursor-retrieval/oauth", "cursor:")]
    fn form_action_lets_an_app_through_and_nothing_else(#[case] redirect: &str, #[case] source: &str) {
        let target = FormTarget::redirect(&RedirectUri::parse(redirect).unwrap());
        let headers = headers(&target).unwrap();
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains(&format!("; form-action 'self' {source}; ")), "{policy}");
    }

    /// Claude's callback goes on to `claude://`, a program's to its other ports: no policy of ours could know that.
    #[rstest]
    #[case("https://app.example/callback?a=b")]
    #[case("https://[2001:db8::1]/callback")]
    #[case("http://127.0.0.1:49152/callback")]
    #[case("http://localhost/callback")]
    #[case("http://[::1]:49152/callback")]
    fn no_form_leads_to_a_website_or_a_program(#[case] redirect: &str) {
        assert_eq!(FormTarget::redirect(&RedirectUri::parse(redirect).unwrap()), FormTarget::own());
    }

    /// A host or scheme with `;`, `,` or a space would end the directive or add a source to it.
    #[rstest]
    #[case("https://a;script-src/")]
    #[case("https://a,b/")]
    #[case("https://a b/")]
    #[case("x;y:/")]
    #[case("https://*/")]
    #[case("https://'self'/")]
    fn nothing_gets_out_of_the_directive(#[case] redirect: &str) {
        let source = RedirectUri::parse(redirect).ok().and_then(|uri| FormTarget::redirect(&uri).0);
        let clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/+".contains(&byte));
        assert!(source.as_deref().is_none_or(clean), "{source:?}");
    }

    #[test]
    fn pages_without_a_redirect_lead_nowhere_else() {
        let headers = headers(&FormTarget::own()).unwrap();
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        let hash = STANDARD.encode(digest::sha256(STYLE.as_bytes()));
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; \
                 frame-ancestors 'none'"
            )
        );
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert!(!headers.contains_key("cross-origin-opener-policy"), "clients that open a window wait for it");
    }
}
