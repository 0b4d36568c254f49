//! A configuration made ready to run: what every call needs is computed once per configuration, not per call.

use std::{str::FromStr as _, sync::Arc};

use bytes::Bytes;
use http::uri::PathAndQuery;
use lumoauth_core::{
    ResourceUri,
    challenge::MetadataUrl,
    config::{Authorization, Enforce, Enforcement, Generation, LogLevel, OAuth, ServerRef, SidecarConfig},
    metadata::PROTECTED_RESOURCE_PATH,
    policy::Policy,
};

use crate::{
    authenticate::{IssuerLimits, Trust},
    fetch::FetchError,
    metrics::Metrics,
    upstream::Upstream,
};

/// A configuration that is well-formed and still cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// `upstream.path` is no absolute path.
    #[error("upstream.path {0:?} is not an absolute path without query")]
    UpstreamPath(String),
    /// An entry of `hosts` is no host.
    #[error("hosts entry {0:?} is not `host` or `host:port`")]
    Host(String),
    /// Keys or status lists of an issuer cannot be fetched as configured.
    #[error("issuer {issuer}: {error}")]
    Issuer {
        /// Which issuer.
        issuer: String,
        /// What is wrong.
        error: FetchError,
    },
}

/// What a sidecar runs.
pub(crate) struct Running {
    pub(crate) generation: Generation,
    pub(crate) version: u32,
    pub(crate) server: ServerRef,
    pub(crate) mode: Mode,
}

pub(crate) enum Mode {
    DenyAll { reason: String },
    Enforce(Box<Site>),
}

/// An enforced server.
pub(crate) struct Site {
    pub(crate) resource: ResourceUri,
    hosts: Vec<Host>,
    metadata_path: String,
    allowed_origins: Vec<String>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) upstream_path: PathAndQuery,
    pub(crate) max_body_bytes: usize,
    pub(crate) log_level: LogLevel,
    pub(crate) protected: Option<Box<Protected>>,
}

/// What a server that asks for tokens has beside.
pub(crate) struct Protected {
    pub(crate) metadata: Bytes,
    pub(crate) metadata_url: MetadataUrl,
    pub(crate) policy: Arc<Policy>,
    pub(crate) filter_lists: bool,
    pub(crate) trust: Arc<Trust>,
}

impl Running {
    /// Prepares `config`. What an unchanged part of `previous` has learnt (connections, fetched keys, verified tokens)
    /// is carried over.
    pub(crate) fn compile(
        config: SidecarConfig,
        generation: Generation,
        previous: Option<&Self>,
        limits: IssuerLimits,
        metrics: &Metrics,
    ) -> Result<Self, SiteError> {
        let mode = match config.enforcement {
            Enforcement::DenyAll { reason } => Mode::DenyAll { reason },
            Enforcement::Enforce(enforce) => {
                let site = Site::compile(*enforce, previous.and_then(Self::site), limits, metrics)?;
                Mode::Enforce(Box::new(site))
            }
        };
        Ok(Self { generation, version: config.version, server: config.server, mode })
    }

    /// The enforced server, unless everything is denied.
    pub(crate) fn site(&self) -> Option<&Site> {
        match &self.mode {
            Mode::DenyAll { .. } => None,
            Mode::Enforce(site) => Some(site),
        }
    }
}

impl Site {
    fn compile(
        enforce: Enforce,
        previous: Option<&Self>,
        limits: IssuerLimits,
        metrics: &Metrics,
    ) -> Result<Self, SiteError> {
        let upstream_path = PathAndQuery::from_str(&enforce.upstream.path)
            .ok()
            .filter(|path| path.as_str().starts_with('/') && path.query().is_none())
            .ok_or(SiteError::UpstreamPath(enforce.upstream.path))?;
        let mut hosts = vec![Host::of_resource(&enforce.resource)];
        for text in enforce.hosts {
            hosts.push(Host::parse(&text).ok_or(SiteError::Host(text))?);
        }
        let upstream = match previous {
            Some(previous) if previous.upstream.port() == enforce.upstream.port => Arc::clone(&previous.upstream),
            _ => Arc::new(Upstream::new(enforce.upstream.port)),
        };
        let protected = match enforce.authorization {
            Authorization::None => None,
            Authorization::OAuth(oauth) => {
                let previous = previous.and_then(|site| site.protected.as_deref());
                Some(Box::new(Protected::compile(*oauth, &enforce.resource, previous, limits, metrics)?))
            }
        };
        Ok(Self {
            hosts,
            metadata_path: enforce.resource.metadata_path(),
            allowed_origins: enforce.allowed_origins.into_iter().map(|origin| origin.to_ascii_lowercase()).collect(),
            upstream,
            upstream_path,
            max_body_bytes: enforce.max_body_bytes,
            log_level: enforce.log_level,
            protected,
            resource: enforce.resource,
        })
    }

    /// Whether a request for `host` is meant for this server.
    pub(crate) fn answers_for(&self, host: &Host) -> bool {
        self.hosts.iter().any(|ours| ours.admits(host))
    }

    /// Whether a page of `origin` may call (RFC 6454 §6.2: compared as text, lower case).
    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        origin == self.resource.origin() || self.allowed_origins.iter().any(|allowed| allowed == origin)
    }

    /// The metadata is served path-inserted and at the root (RFC 9728 §3.1); a server without tokens has none.
    pub(crate) fn serves_metadata_at(&self, path: &str) -> bool {
        self.protected.is_some() && (path == self.metadata_path || path == PROTECTED_RESOURCE_PATH)
    }
}

impl Protected {
    fn compile(
        oauth: OAuth,
        resource: &ResourceUri,
        previous: Option<&Self>,
        limits: IssuerLimits,
        metrics: &Metrics,
    ) -> Result<Self, SiteError> {
        let trust = match previous {
            Some(previous) if previous.trust.is_for(&oauth.issuers) => Arc::clone(&previous.trust),
            _ => Arc::new(Trust::new(oauth.issuers, limits, metrics, previous.map(|previous| &*previous.trust))?),
        };
        Ok(Self {
            metadata: Bytes::from(oauth.metadata),
            metadata_url: MetadataUrl::of_resource(resource),
            policy: Arc::new(oauth.policy),
            filter_lists: oauth.filter_lists,
            trust,
        })
    }
}

/// A `Host` value: `uri-host [ ":" port ]` (RFC 9112 §3.2), lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    name: String,
    port: Option<u16>,
    /// A port that may be left out, because the scheme implies it.
    default_port: Option<u16>,
}

impl Host {
    /// Parses a registered name, an IPv4 address or an IPv6 literal, with an optional port.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = match text.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, rest) = text.split_at_checked(end)?;
        let acceptable = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            None if rest.is_empty() => None,
            _ => return None,
        };
        (acceptable && !name.is_empty()).then(|| Self { name: name.to_ascii_lowercase(), port, default_port: None })
    }

    /// The authority of a resource; its scheme's default port may be written or not.
    fn of_resource(resource: &ResourceUri) -> Self {
        let default = if resource.origin().starts_with("https:") { 443 } else { 80 };
        // A resource's authority always parses: it is the `host[:port]` of a URL.
        let parsed = Self::parse(resource.authority());
        let port = parsed.as_ref().and_then(|host| host.port).unwrap_or(default);
        let name = parsed.map_or_else(|| resource.authority().to_owned(), |host| host.name);
        Self { name, port: Some(port), default_port: Some(default) }
    }

    /// Whether a request for `other` is one for `self`; without a port, `self` admits every port.
    fn admits(&self, other: &Self) -> bool {
        let port = other.port.or(self.default_port);
        self.name == other.name && (self.port.is_none() || self.port == port)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// `https://mcp.example.com/mcp`, also as `invoices-mcp.acme` and `ported.example:8443`.
    pub(crate) fn site() -> Site {
        let config = serde_json::json!({
            "resource": "https://mcp.example.com/mcp",
            "hosts": ["invoices-mcp.acme", "ported.example:8443"],
            "allowedOrigins": ["https://app.example"],
            "upstream": {"port": 8000, "path": "/"},
            "maxBodyBytes": 1024,
            "logLevel": "info",
            "authorization": {"oAuth": {
                "metadata": "{}",
                "policy": {"scopes": [], "requiredScopes": [], "rules": [], "defaultRule": "RequireBase"},
                "filterLists": true,
                "issuers": [],
            }},
        });
        let enforce = serde_json::from_value(config).unwrap();
        Site::compile(enforce, None, IssuerLimits::default(), &Metrics::default()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a.example", true)]
    #[case("A.Example:80", true)]
    #[case("127.0.0.1:1", true)]
    #[case("[::1]:1", true)]
    #[case("[::1]", true)]
    #[case("", false)]
    #[case(":80", false)]
    #[case("a:", true)]
    #[case("a:b", false)]
    #[case("a:+1", false)]
    #[case("a:65536", false)]
    #[case("::1", false)]
    #[case("[::1", false)]
    #[case("[x]", false)]
    #[case("[::1]x", false)]
    #[case("a/b", false)]
    #[case("a b", false)]
    #[case("u@a", false)]
    #[case("a%2e", false)]
    #[case("é", false)]
    fn rfc9112_3_2_host_grammar(#[case] text: &str, #[case] parses: bool) {
        // `a:` is grammatical (the port may be empty), and refused: nobody sends it innocently.
        let parses = parses && !text.ends_with(':');
        assert_eq!(Host::parse(text).is_some(), parses);
    }

    #[rstest]
    #[case("https://mcp.example.com", true)]
    #[case("https://app.example", true)]
    #[case("https://app.example:443", false)]
    #[case("http://mcp.example.com", false)]
    #[case("https://mcp.example.com.evil.example", false)]
    #[case("null", false)]
    #[case("", false)]
    fn origins(#[case] origin: &str, #[case] allowed: bool) {
        assert_eq!(testing::site().allows_origin(origin), allowed);
    }
}
