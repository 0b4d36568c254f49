//! Where an authorization response may go: redirect URIs, compared as RFC 9700 §2.1 and RFC 8252 §7 say.

use std::{borrow::Cow, ops::Deref};

use url::{Url, form_urlencoded};

use super::{MAX_URL_BYTES, UriError, authority, has_dot_segment};

/// What receives a response at a redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedirectKind {
    /// A web server, by `https`.
    Https,
    /// A program on the user's own machine, by `http` on a port it chose (RFC 8252 §7.3).
    Loopback,
    /// A program that the user's system starts for a scheme of its own (RFC 8252 §7.1).
    PrivateUse,
}

/// A redirect URI as registered for a client.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedirectUri {
    text: String,
    /// Where the scheme ends, without its colon.
    scheme_to: usize,
    /// Where the authority begins and its host ends; both `scheme_to` for [`RedirectKind::PrivateUse`].
    host: (usize, usize),
    /// Where the port, if there is one, has ended.
    path_at: usize,
}

/// Schemes that are no app's own: what a browser or the system handles itself, with powers or to purposes that are not
/// those of a client; an entry that ends in `*` stands for all that begin so. `http` and `https` have rules of their own.
#[rustfmt::skip]
const FOREIGN_SCHEMES: &[&str] = &[
    // Scripts, and documents made of text.
    "javascript", "vbscript", "livescript", "mocha", "jscript", "data", "about", "blob", "srcdoc", "view-source", "mhtml",
    "applescript", "x-help-*", "help",
    // Files, and parts of the browser.
    "file", "filesystem", "content", "resource", "jar", "res", "mk", "chrome", "chrome-untrusted", "devtools", "edge",
    "brave", "opera", "vivaldi", "chrome-extension", "moz-extension", "safari-extension", "safari-web-extension",
    "extension", "isolated-app",
    // Browsers and readers that open whatever website stands behind, and schemes that a website can take.
    "microsoft-edge*", "googlechrome*", "firefox*", "x-safari-*", "x-web-search", "opera-*", "touch-http*",
    "brave-*", "vivaldi-*", "ddgquicklink", "duckduckgo*", "yandexbrowser*", "ucbrowser*", "mttbrowser*", "samsunginternet*",
    "feed*", "rss", "pcast", "podcast", "webcal*", "web+*", "ext+*",
    // Doors to other programs. Windows names those to its own `ms-…`.
    "intent", "android-app", "market", "shell", "search", "search-ms", "shortcuts", "x-apple*", "hcp", "prefs",
    "app-settings", "app-prefs", "ms-*", "itms*", "itpc", "macappstore*", "x-man-page", "x-terminal*", "steam",
    // Protocols and messages.
    "ftp", "ftps", "sftp", "ssh", "telnet", "gopher", "ws", "wss", "ldap", "ldaps", "smb", "mailto", "tel", "sms",
    "smsto", "facetime*", "sip", "sips", "urn", "magnet", "afp", "cifs", "nfs", "vnc", "rdp", "callto", "message",
];

/// Parameters of an authorization response (RFC 6749 §4.1.2, RFC 9207 §2): each may occur once.
const RESPONSE_PARAMETERS: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

impl RedirectUri {
    /// Parses a redirect URI: `https`; `http` on `127.0.0.1`, `[::1]` or `localhost`; or a scheme of an app's own.
    /// Absolute and without fragment (RFC 6749 §3.1.2), without user info, dot segments and anything that one parser
    /// reads differently from another.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_URL_BYTES {
            return Err(UriError::TooLong);
        }
        // RFC 3986 §2: the characters of a URI.
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b)) {
            return Err(UriError::Unclean);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::NotAbsolute)?;
        let url = Url::parse(text).map_err(|_| UriError::NotAbsolute)?;
        if url.fragment().is_some() {
            return Err(UriError::Fragment);
        }
        if rest.starts_with("//") && authority(text).contains('@') {
            return Err(UriError::UserInfo);
        }
        if has_dot_segment(text) {
            return Err(UriError::DotSegment);
        }
        if url.query_pairs().any(|(name, _)| RESPONSE_PARAMETERS.contains(&&*name)) {
            return Err(UriError::ResponseParameter);
        }
        let scheme_to = scheme.len();
        let mut this = Self { text: text.to_owned(), scheme_to, host: (scheme_to, scheme_to), path_at: scheme_to };
        match url.scheme() {
            "https" | "http" => this.find_host(&url)?,
            own if rest.is_empty() || is_website(rest) || !may_be_private(own) => return Err(UriError::Scheme),
            _ => {}
        }
        if url.scheme() == "http" && !matches!(this.host(), Some("127.0.0.1" | "[::1]" | "localhost")) {
            return Err(UriError::NotLoopback);
        }
        Ok(this)
    }

    /// Finds host and port as they are written, if that is also how they were read.
    fn find_host(&mut self, url: &Url) -> Result<(), UriError> {
        let from = self.scheme_to + "://".len();
        let rest = self.text.get(self.scheme_to..).unwrap_or_default();
        if !rest.starts_with("://") {
            return Err(UriError::NotAbsolute);
        }
        let authority = authority(&self.text);
        let (host, port) = match authority.rfind(':') {
            Some(colon) if !authority.ends_with(']') => authority.split_at(colon),
            _ => (authority, ""),
        };
        // Other spellings of an address (127.1, 0x7f000001, %6c) are read by some programs and not by others.
        let as_read = url.host_str().is_some_and(|read| host.eq_ignore_ascii_case(read));
        let named = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if !as_read || !named || port == ":" {
            return Err(UriError::Host);
        }
        self.host = (from, from + host.len());
        self.path_at = from + authority.len();
        Ok(())
    }

    /// The URI as registered.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What receives the response.
    pub fn kind(&self) -> RedirectKind {
        match self.host() {
            None => RedirectKind::PrivateUse,
            Some(_) if self.scheme().eq_ignore_ascii_case("http") => RedirectKind::Loopback,
            Some(_) => RedirectKind::Https,
        }
    }

    /// The host as written, an IPv6 address in brackets; none for [`RedirectKind::PrivateUse`], where the part of that
    /// name means nothing to anybody but the app.
    pub fn host(&self) -> Option<&str> {
        let (from, to) = self.host;
        self.text.get(from..to).filter(|host| !host.is_empty())
    }

    /// The scheme as written.
    pub fn scheme(&self) -> &str {
        self.text.get(..self.scheme_to).unwrap_or_default()
    }

    /// Whom to show as the receiver of a response: the host, or the scheme with its colon.
    pub fn destination(&self) -> Cow<'_, str> {
        self.host().map_or_else(|| format!("{}:", self.scheme()).into(), Cow::Borrowed)
    }

    /// Whether a client that registered this URI may ask for `requested`: the same, byte for byte (RFC 9700 §2.1). On
    /// loopback any port of the same host, because a program takes the one it gets (RFC 8252 §7.3).
    pub fn admits(&self, requested: &str) -> bool {
        self.text == requested || Self::parse(requested).is_ok_and(|other| self.differs_in_port_only(&other))
    }

    fn differs_in_port_only(&self, other: &Self) -> bool {
        self.kind() == RedirectKind::Loopback && self.around_port() == other.around_port()
    }

    /// The URI without the port of loopback: the same for all that [`RedirectUri::admits`] takes for one another.
    pub fn without_loopback_port(&self) -> Cow<'_, str> {
        match (self.kind(), self.around_port()) {
            (RedirectKind::Loopback, (before, after)) => [before, after].concat().into(),
            _ => self.as_str().into(),
        }
    }

    /// What stands before and after the port.
    fn around_port(&self) -> (&str, &str) {
        (self.text.get(..self.host.1).unwrap_or_default(), self.text.get(self.path_at..).unwrap_or_default())
    }

    /// The redirect URI of a request, if it is one of those registered for its client.
    pub fn matching(registered: &[Self], requested: &str) -> Option<MatchedRedirect> {
        let admitted = registered.iter().any(|uri| uri.admits(requested));
        Self::parse(requested).ok().filter(|_| admitted).map(MatchedRedirect)
    }
}

/// Whether a scheme can be an app's own (RFC 8252 §7.1). That it be a domain name in reverse is only a SHOULD there, which
/// `cursor://` and `vscode://` do not keep. RFC 3986 §3.1 syntax was checked by the parser, which also wrote the scheme in
/// lower case.
fn may_be_private(scheme: &str) -> bool {
    !FOREIGN_SCHEMES.iter().any(|foreign| match foreign.strip_suffix('*') {
        Some(family) => scheme.starts_with(family),
        None => scheme == *foreign,
    })
}

/// Whether what stands behind a scheme is the address of a website, which some program would be asked to open.
fn is_website(rest: &str) -> bool {
    let rest = rest.trim_start_matches('/').to_ascii_lowercase();
    rest.starts_with("http:") || rest.starts_with("https:")
}

/// The redirect URI of a request, proven to be registered for its client: the only place a response may be sent to.
/// Made by [`RedirectUri::matching`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedRedirect(RedirectUri);

impl Deref for MatchedRedirect {
    type Target = RedirectUri;

    fn deref(&self) -> &RedirectUri {
        &self.0
    }
}

impl MatchedRedirect {
    /// The URI with these parameters added to its query (RFC 6749 §4.1.2), form-encoded. What it holds already is kept.
    pub fn with_parameters(&self, parameters: &[(&str, &str)]) -> String {
        let text = self.as_str();
        let separator = match text.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        let added = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        if added.is_empty() { text.to_owned() } else { format!("{text}{separator}{added}") }
    }
}

#[cfg(test)]
mod tests;
