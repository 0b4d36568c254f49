//! URLs that are fetched because a stranger wrote them.

use std::fmt;

use lumoauth_core::{ResourceUri, uri::UriError};
use url::{Host, Position, Url};

/// The longest such URL, in bytes: that of a client identifier.
pub(crate) const MAX_BYTES: usize = lumoauth_core::client::MAX_CLIENT_ID_BYTES;

/// An absolute `https` URL without user info and fragment, and with nothing in it that one parser reads differently
/// from another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct HttpsUrl(Url);

/// Why a text is not such a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// Longer than [`MAX_BYTES`].
    #[error("is longer than {MAX_BYTES} characters")]
    TooLong,
    /// Another scheme.
    #[error("does not begin with https://")]
    NotHttps,
    /// Not a URL, or one that is read in different ways.
    #[error("is not a plain absolute URL without user name, fragment and dot segments")]
    Malformed,
    /// Written in another way than parsers write it (RFC 3986 §6.2.2): two spellings would be two clients.
    #[error("is not in its normal form: host in lower case, no :443, addresses as they are usually written")]
    NotNormal,
    /// The host ends in a dot.
    #[error("has a host that ends in a dot")]
    TrailingDot,
    /// Nothing after the host.
    #[error("has no path")]
    NoPath,
    /// A query.
    #[error("has a query")]
    Query,
}

impl HttpsUrl {
    /// Parses a URL.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_BYTES {
            return Err(UrlError::TooLong);
        }
        if !text.starts_with("https://") {
            return Err(UrlError::NotHttps);
        }
        // The rules of identifiers: no fragment, no user info, no dot segments (also not as %2e), nothing unclean.
        ResourceUri::parse(text).map_err(|_: UriError| UrlError::Malformed)?;
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        if !has_whole_escapes(text) || url.host().is_none() {
            return Err(UrlError::Malformed);
        }
        if url.host_str().is_some_and(|host| host.ends_with('.')) {
            return Err(UrlError::TrailingDot);
        }
        Ok(Self(url))
    }

    /// Parses the URL of a Client ID Metadata Document (section 3 of the draft): also with a path, without a query, and
    /// in the one spelling that every parser gives it, because clients are told apart by its bytes.
    pub(crate) fn document(text: &str) -> Result<Self, UrlError> {
        let this = Self::parse(text)?;
        let after_scheme = text.strip_prefix("https://").unwrap_or_default();
        if after_scheme.contains('?') {
            return Err(UrlError::Query);
        }
        if after_scheme.split_once('/').is_none_or(|(_, path)| path.is_empty()) {
            return Err(UrlError::NoPath);
        }
        if this.0.as_str() != text {
            return Err(UrlError::NotNormal);
        }
        Ok(this)
    }

    /// The URL in its normal form.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whom to ask.
    pub(super) fn host(&self) -> Host<&str> {
        // Every https URL has one.
        self.0.host().unwrap_or(Host::Domain(""))
    }

    /// The host without the port, an IPv6 address in brackets.
    pub(crate) fn host_str(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port to connect to.
    pub(super) fn port(&self) -> u16 {
        self.0.port().unwrap_or(443)
    }

    /// The host, and the port where it is not 443.
    pub(crate) fn authority(&self) -> String {
        match self.0.port() {
            None => self.host_str().to_owned(),
            Some(port) => format!("{}:{port}", self.host_str()),
        }
    }

    /// Path and query, as a request line has them.
    pub(super) fn target(&self) -> &str {
        &self.0[Position::BeforePath..Position::AfterQuery]
    }
}

/// Whether every `%` begins an escape (RFC 3986 §2.1).
fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

impl fmt::Debug for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpsUrl({:?})", self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://app.example/client.json", None)]
    #[case("https://app.example/a/b", None)]
    #[case("https://app.example/a/", None)]
    #[case("https://app.example//", None)]
    #[case("https://app.example:8443/client", None)]
    #[case("https://app.example/%41", None)]
    #[case("https://app.example/...", None)]
    #[case("https://192.0.2.1/c", None)]
    #[case("https://[2001:db8::1]/c", None)]
    #[case("https://xn--exmple-cua.example/c", None)]
    #[case("http://app.example/c", Some(UrlError::NotHttps))]
    #[case("HTTPS://app.example/c", Some(UrlError::NotHttps))]
    #[case("https:/app.example/c", Some(UrlError::NotHttps))]
    #[case("https:app.example/c", Some(UrlError::NotHttps))]
    #[case("ftp://app.example/c", Some(UrlError::NotHttps))]
    #[case("", Some(UrlError::NotHttps))]
    #[case("https://app.example", Some(UrlError::NoPath))]
    #[case("https://app.example/", Some(UrlError::NoPath))]
    #[case("https://app.example/c?", Some(UrlError::Query))]
    #[case("https://app.example/c?a=b", Some(UrlError::Query))]
    #[case("https://app.example?/c", Some(UrlError::Query))]
    #[case("https://app.example/c#", Some(UrlError::Malformed))]
    #[case("https://app.example/c#f", Some(UrlError::Malformed))]
    #[case("https://u@app.example/c", Some(UrlError::Malformed))]
    #[case("https://@app.example/c", Some(UrlError::Malformed))]
    #[case("https://u:p@app.example/c", Some(UrlError::Malformed))]
    #[case("https://app.example/./c", Some(UrlError::Malformed))]
    #[case("https://app.example/a/../c", Some(UrlError::Malformed))]
    #[case("https://app.example/a/..", Some(UrlError::Malformed))]
    #[case("https://app.example/a/%2e%2E/c", Some(UrlError::Malformed))]
    #[case("https://app.example/a/.%2e/c", Some(UrlError::Malformed))]
    #[case("https://app.example/%", Some(UrlError::Malformed))]
    #[case("https://app.example/%4", Some(UrlError::Malformed))]
    #[case("https://app.example/%zz", Some(UrlError::Malformed))]
    #[case("https://app.example\\c", Some(UrlError::Malformed))]
    #[case("https://app.example/a b", Some(UrlError::Malformed))]
    #[case("https://app.example/a\tb", Some(UrlError::Malformed))]
    #[case("https://app.example/\u{e9}", Some(UrlError::Malformed))]
    #[case("https://exämple.example/c", Some(UrlError::Malformed))]
    #[case("https://app.example:99999/c", Some(UrlError::Malformed))]
    #[case("https://app.example./c", Some(UrlError::TrailingDot))]
    #[case("https://App.example/c", Some(UrlError::NotNormal))]
    #[case("https://app.example:443/c", Some(UrlError::NotNormal))]
    #[case("https://app.example:/c", Some(UrlError::NotNormal))]
    #[case("https://app.example:0443/c", Some(UrlError::NotNormal))]
    #[case("https://%61pp.example/c", Some(UrlError::NotNormal))]
    #[case("https://127.1/c", Some(UrlError::NotNormal))]
    #[case("https://0x7f000001/c", Some(UrlError::NotNormal))]
    #[case("https://2130706433/c", Some(UrlError::NotNormal))]
    #[case("https://0177.0.0.1/c", Some(UrlError::NotNormal))]
    #[case("https://[::FFFF:127.0.0.1]/c", Some(UrlError::NotNormal))]
    #[case("https:///app.example/c", Some(UrlError::NotNormal))]
    fn section_3_client_identifier_url(#[case] text: &str, #[case] error: Option<UrlError>) {
        assert_eq!(HttpsUrl::document(text).err(), error);
    }

    #[test]
    fn length_is_bounded() {
        let of = |len: usize| format!("{:a<len$}", "https://a.example/");
        assert!(HttpsUrl::document(&of(MAX_BYTES)).is_ok());
        assert_eq!(HttpsUrl::document(&of(MAX_BYTES + 1)), Err(UrlError::TooLong));
    }

    #[test]
    fn other_urls_may_have_a_query_and_no_path() {
        let url = HttpsUrl::parse("https://Keys.example:443?set=1").unwrap();
        assert_eq!((url.host_str(), url.port(), url.target()), ("keys.example", 443, "/?set=1"));
        assert_eq!(url.authority(), "keys.example");
        let url = HttpsUrl::parse("https://[2001:db8::1]:8443/jwks").unwrap();
        assert_eq!((url.authority().as_str(), url.target()), ("[2001:db8::1]:8443", "/jwks"));
    }
}
