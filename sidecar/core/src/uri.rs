//! The URLs that identities are made of, parsed once and compared in one canonical form.

mod redirect;

use std::{fmt, str::FromStr};

pub use redirect::{MatchedRedirect, RedirectKind, RedirectUri};
use serde::{Deserialize, Serialize, de};
use url::{Host, Url};

/// The longest URL we accept anywhere, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// Why a string is not one of our URLs. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Longer than [`MAX_URL_BYTES`].
    #[error("is longer than {MAX_URL_BYTES} bytes: use a shorter URL")]
    TooLong,
    /// Not an absolute `http` or `https` URL.
    #[error("is not an absolute URL: write it as https://host/path")]
    NotAbsolute,
    /// Holds characters that a URL parser would silently change or drop.
    #[error("contains a space, a control character, a backslash or non-ASCII text: percent-encode it")]
    Unclean,
    /// Has a `#fragment` (RFC 8707 §2 forbids it).
    #[error("has a fragment: remove everything from the # on")]
    Fragment,
    /// Has a query, where none may stand.
    #[error("has a query: remove everything from the ? on")]
    Query,
    /// Has `user:password@`.
    #[error("has a user name or password: remove everything before the @")]
    UserInfo,
    /// Plain `http` to something other than loopback or a cluster Service.
    #[error("uses http: write https (http is only for loopback and .svc hosts)")]
    NotHttps,
    /// `.` or `..` segments, which a client or proxy may resolve differently.
    #[error("has a . or .. path segment: write the resolved path")]
    DotSegment,
    /// Plain `http` of a redirect URI to something other than loopback.
    #[error("uses http: write https (http is only for 127.0.0.1, [::1] and localhost)")]
    NotLoopback,
    /// A host or port that is not written the way it is read.
    #[error("has a host or port in an unusual form: write the host name or the address in full, without escapes")]
    Host,
    /// A scheme that no app can have for itself.
    #[error("has a scheme that no app has for itself: use https, loopback or a private-use scheme")]
    Scheme,
    /// A redirect URI whose query holds a parameter of the response that would be added to it.
    #[error("has a query parameter that the authorization response adds: rename it")]
    ResponseParameter,
}

/// An OAuth 2.0 resource identifier (RFC 8707 §2): what a token's `aud` and a PRM's `resource` hold, byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceUri(HttpUrl);

/// An authorization server's issuer identifier (RFC 8414 §2): no query, no fragment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerUrl(HttpUrl);

/// What both share: the bytes as written, and their canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct HttpUrl {
    verbatim: String,
    canonical: String,
    authority_at: usize,
    path_at: usize,
}

impl HttpUrl {
    fn parse(text: &str) -> Result<(Self, Url), UriError> {
        if text.len() > MAX_URL_BYTES {
            return Err(UriError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'"') {
            return Err(UriError::Unclean);
        }
        let url = Url::parse(text).map_err(|_| UriError::NotAbsolute)?;
        let lower = text.to_ascii_lowercase();
        if !(lower.starts_with("https://") || lower.starts_with("http://")) {
            return Err(UriError::NotAbsolute);
        }
        if url.fragment().is_some() {
            return Err(UriError::Fragment);
        }
        if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
            return Err(UriError::UserInfo);
        }
        if url.scheme() == "http" && !may_be_plain(&url) {
            return Err(UriError::NotHttps);
        }
        if has_dot_segment(text) {
            return Err(UriError::DotSegment);
        }
        let canonical = url.as_str().to_owned();
        let authority_at = url.scheme().len() + 3;
        let path_at = canonical
            .get(authority_at..)
            .and_then(|rest| rest.find('/'))
            .map_or(canonical.len(), |at| authority_at + at);
        let this = Self { verbatim: text.to_owned(), canonical, authority_at, path_at };
        Ok((this, url))
    }

    fn authority(&self) -> &str {
        self.canonical.get(self.authority_at..self.path_at).unwrap_or_default()
    }

    fn origin(&self) -> &str {
        self.canonical.get(..self.path_at).unwrap_or_default()
    }

    /// Path without the query; `/` when empty.
    fn path(&self) -> &str {
        let rest = self.canonical.get(self.path_at..).unwrap_or_default();
        rest.split('?').next().unwrap_or_default()
    }
}

/// `http` is allowed where the network is the machine itself or the cluster's own Service network.
fn may_be_plain(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || is_service_name(name),
        None => false,
    }
}

/// `<service>.<namespace>.svc` or the same under a cluster domain: `….svc.cluster.local`.
fn is_service_name(name: &str) -> bool {
    let mut labels = name.split('.');
    let named = labels.by_ref().take(2).filter(|label| !label.is_empty()).count() == 2;
    let service = labels.next() == Some("svc");
    let domain: Vec<_> = labels.collect();
    named && service && (domain.is_empty() || domain == ["cluster", "local"])
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn has_dot_segment(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    path.split('/').skip(1).any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    })
}

impl ResourceUri {
    /// Parses an absolute `https` URL without fragment or user info; `http` only for loopback and `.svc` hosts.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        HttpUrl::parse(text).map(|(url, _)| Self(url))
    }

    /// The identifier as its author wrote it: what tokens and metadata carry.
    pub fn as_str(&self) -> &str {
        &self.0.verbatim
    }

    /// Scheme and host in lower case, default port removed, empty path as `/`.
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// Whether a `resource` request parameter (RFC 8707 §2) names this resource. Compared in canonical form, because
    /// SDKs send `https://host/` for `https://host`.
    pub fn is_named_by(&self, parameter: &str) -> bool {
        Self::parse(parameter).is_ok_and(|other| other.0.canonical == self.0.canonical)
    }

    /// `host[:port]` in canonical form: what a request's Host must say.
    pub fn authority(&self) -> &str {
        self.0.authority()
    }

    /// `scheme://host[:port]` in canonical form.
    pub fn origin(&self) -> &str {
        self.0.origin()
    }

    /// The path without query; `/` when empty.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The path of the protected resource metadata on the resource's own origin: `/.well-known/oauth-protected-resource`
    /// inserted between host and path, a terminating `/` of the path removed first (RFC 9728 §3.1).
    pub fn metadata_path(&self) -> String {
        let path = self.path();
        format!("{}{}", crate::metadata::PROTECTED_RESOURCE_PATH, path.strip_suffix('/').unwrap_or(path))
    }

    /// The absolute URL of [`Self::metadata_path`].
    pub fn metadata_url(&self) -> String {
        format!("{}{}", self.origin(), self.metadata_path())
    }
}

impl IssuerUrl {
    /// Parses an absolute `https` URL without query, fragment or user info; `http` only for loopback and `.svc` hosts.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (url, parsed) = HttpUrl::parse(text)?;
        if parsed.query().is_some() {
            return Err(UriError::Query);
        }
        Ok(Self(url))
    }

    /// The identifier as configured: what `iss` carries, compared byte for byte (RFC 8414 §3.3, RFC 9207 §2.4).
    pub fn as_str(&self) -> &str {
        &self.0.verbatim
    }

    /// `scheme://host[:port]`.
    pub fn origin(&self) -> &str {
        self.0.origin()
    }

    /// The path; `/` when empty.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// `host[:port]`.
    pub fn authority(&self) -> &str {
        self.0.authority()
    }

    /// Whether the host is a cluster Service: `<service>.<namespace>.svc[.cluster.local]`.
    pub fn is_cluster_service(&self) -> bool {
        is_service_name(self.authority().split(':').next().unwrap_or_default())
    }
}

macro_rules! text_form {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({:?})"), self.as_str())
            }
        }
        impl FromStr for $type {
            type Err = UriError;
            fn from_str(text: &str) -> Result<Self, UriError> {
                Self::parse(text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(|error| de::Error::custom(format!("{text:?} {error}")))
            }
        }
    )*};
}
text_form!(ResourceUri, IssuerUrl, RedirectUri);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://a.example/mcp", None)]
    #[case("https://a.example", None)]
    #[case("https://a.example/mcp?x=1", None)]
    #[case("http://127.0.0.1:16080/mcp", None)]
    #[case("http://[::1]:1/mcp", None)]
    #[case("http://localhost/mcp", None)]
    #[case("http://invoices-mcp.acme.svc/mcp", None)]
    #[case("http://invoices-mcp.acme.svc.cluster.local/mcp", None)]
    #[case("http://svc/mcp", Some(UriError::NotHttps))]
    #[case("http://a.b.svc.evil.example/mcp", Some(UriError::NotHttps))]
    #[case("http://a.example/mcp", Some(UriError::NotHttps))]
    #[case("http://127.0.0.1.evil.example/", Some(UriError::NotHttps))]
    #[case("https://a.example/mcp#x", Some(UriError::Fragment))]
    #[case("https://a.example/mcp#", Some(UriError::Fragment))]
    #[case("https://u@a.example/mcp", Some(UriError::UserInfo))]
    #[case("https://@a.example/mcp", Some(UriError::UserInfo))]
    #[case("https://u:p@a.example/mcp", Some(UriError::UserInfo))]
    #[case("a.example/mcp", Some(UriError::NotAbsolute))]
    #[case("ftp://a.example/mcp", Some(UriError::NotAbsolute))]
    #[case("https:/a.example/mcp", Some(UriError::NotAbsolute))]
    #[case("https:a.example", Some(UriError::NotAbsolute))]
    #[case("", Some(UriError::NotAbsolute))]
    #[case("https://", Some(UriError::NotAbsolute))]
    #[case("https://a.example/m cp", Some(UriError::Unclean))]
    #[case("https://a.example\\mcp", Some(UriError::Unclean))]
    #[case("https://a.example/\"", Some(UriError::Unclean))]
    #[case("https://a.exämple/mcp", Some(UriError::Unclean))]
    #[case("https://a.example/a/../mcp", Some(UriError::DotSegment))]
    #[case("https://a.example/%2E%2e/mcp", Some(UriError::DotSegment))]
    fn resource(#[case] text: &str, #[case] error: Option<UriError>) {
        assert_eq!(ResourceUri::parse(text).err(), error);
    }

    #[rstest]
    #[case("https://a.example/mcp", "https://a.example/mcp", true)]
    #[case("https://a.example", "https://a.example/", true)]
    #[case("https://a.example/", "https://a.example", true)]
    #[case("https://a.example/mcp", "HTTPS://A.Example:443/mcp", true)]
    #[case("https://a.example/mcp", "https://a.example/mcp/", false)]
    #[case("https://a.example/mcp", "https://a.example/MCP", false)]
    #[case("https://a.example/mcp", "https://a.example/mcp#x", false)]
    #[case("https://a.example/mcp", "https://a.example:8443/mcp", false)]
    fn rfc8707_parameter(#[case] resource: &str, #[case] parameter: &str, #[case] same: bool) {
        assert_eq!(ResourceUri::parse(resource).unwrap().is_named_by(parameter), same);
    }

    #[rstest]
    #[case("https://a.example/mcp", "https://a.example/.well-known/oauth-protected-resource/mcp")]
    #[case("https://a.example/mcp/", "https://a.example/.well-known/oauth-protected-resource/mcp")]
    #[case("https://a.example", "https://a.example/.well-known/oauth-protected-resource")]
    #[case("https://A.example:443/", "https://a.example/.well-known/oauth-protected-resource")]
    #[case("http://127.0.0.1:16080/mcp", "http://127.0.0.1:16080/.well-known/oauth-protected-resource/mcp")]
    fn rfc9728_3_1_metadata_url(#[case] resource: &str, #[case] url: &str) {
        assert_eq!(ResourceUri::parse(resource).unwrap().metadata_url(), url);
    }

    #[test]
    fn issuer_has_no_query() {
        assert_eq!(IssuerUrl::parse("https://as.example/?a=b").err(), Some(UriError::Query));
        assert_eq!(IssuerUrl::parse("https://as.example/orgs/o/api/v1").unwrap().path(), "/orgs/o/api/v1");
    }
}
