//! `WWW-Authenticate: Bearer` challenges (RFC 6750 §3, RFC 9728 §5.1), built from parsed values only.
//!
//! Clients read the header with unanchored regular expressions, so the order is fixed, every value is quoted, no value
//! needs escaping by construction, and descriptions come from a closed list that holds no `=`.

use std::fmt;

use crate::ScopeSet;

/// Where the protected resource metadata is: an absolute URL built from configuration, never from a request.
///
/// Its text holds no `"`, `\`, space or control character, because it is built from a [`crate::ResourceUri`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataUrl(String);

impl MetadataUrl {
    /// The path-inserted URL on the resource's own origin (RFC 9728 §3.1).
    pub fn of_resource(resource: &crate::ResourceUri) -> Self {
        Self(resource.metadata_url())
    }

    /// The URL of a server's metadata under an issuer: `<issuer>/.well-known/oauth-protected-resource/mcp/<server id>`.
    pub fn of_registry(issuer: &crate::IssuerUrl, server_id: &str) -> Self {
        let clean: String = server_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        Self(format!("{issuer}{}/mcp/{clean}", crate::metadata::PROTECTED_RESOURCE_PATH))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a request is challenged; displays as the header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// No token was presented: no `error` (RFC 6750 §3.1). HTTP 401.
    Unauthenticated {
        /// Where to discover.
        metadata: &'a MetadataUrl,
        /// The server's required scopes.
        scope: &'a ScopeSet,
    },
    /// The token cannot be used. HTTP 401.
    InvalidToken {
        /// Where to discover.
        metadata: &'a MetadataUrl,
        /// The server's required scopes.
        scope: &'a ScopeSet,
        /// What is wrong, from a closed list of texts.
        description: &'static str,
    },
    /// The token is good, but lacks scopes. HTTP 403.
    InsufficientScope {
        /// Where to discover.
        metadata: &'a MetadataUrl,
        /// Everything this operation needs.
        scope: &'a ScopeSet,
    },
    /// The request presents its token in an impossible way. HTTP 400.
    InvalidRequest {
        /// Where to discover.
        metadata: &'a MetadataUrl,
    },
}

impl Challenge<'_> {
    /// The HTTP status that goes with the challenge (RFC 6750 §3.1).
    pub fn status(&self) -> u16 {
        match self {
            Self::Unauthenticated { .. } | Self::InvalidToken { .. } => 401,
            Self::InsufficientScope { .. } => 403,
            Self::InvalidRequest { .. } => 400,
        }
    }

    /// The `error` member of the JSON body that accompanies the challenge.
    pub fn error(&self) -> &'static str {
        match self {
            Self::Unauthenticated { .. } => "unauthorized",
            Self::InvalidToken { .. } => "invalid_token",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::InvalidRequest { .. } => "invalid_request",
        }
    }

    /// The `error_description` member of the JSON body.
    pub fn description(&self) -> &'static str {
        match self {
            Self::Unauthenticated { .. } => "an access token is required",
            Self::InvalidToken { description, .. } => description,
            Self::InsufficientScope { .. } => "the access token lacks scopes this operation needs",
            Self::InvalidRequest { .. } => "send exactly one access token, in one Authorization header",
        }
    }
}

struct ScopeMember<'a>(&'a ScopeSet);

impl fmt::Display for ScopeMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", scope=\"{}\"", self.0) }
    }
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated { metadata, scope } => {
                write!(f, "Bearer resource_metadata=\"{}\"{}", metadata.0, ScopeMember(scope))
            }
            Self::InvalidToken { metadata, scope, description } => write!(
                f,
                "Bearer error=\"invalid_token\", resource_metadata=\"{}\"{}, error_description=\"{description}\"",
                metadata.0,
                ScopeMember(scope),
            ),
            Self::InsufficientScope { metadata, scope } => write!(
                f,
                "Bearer error=\"insufficient_scope\"{}, resource_metadata=\"{}\", error_description=\"{}\"",
                ScopeMember(scope),
                metadata.0,
                self.description(),
            ),
            Self::InvalidRequest { metadata } => {
                write!(f, "Bearer error=\"invalid_request\", resource_metadata=\"{}\"", metadata.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IssuerUrl, ResourceUri};

    #[test]
    fn rfc6750_3_bytes() {
        let metadata = MetadataUrl::of_resource(&ResourceUri::parse("https://mcp.example.com/mcp").unwrap());
        let metadata = &metadata;
        let scope = &ScopeSet::parse("files:read").unwrap();
        let none = &ScopeSet::default();
        let url = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
        for (challenge, text) in [
            (
                Challenge::Unauthenticated { metadata, scope },
                format!(r#"Bearer resource_metadata="{url}", scope="files:read""#),
            ),
            (Challenge::Unauthenticated { metadata, scope: none }, format!(r#"Bearer resource_metadata="{url}""#)),
            (
                Challenge::InvalidToken { metadata, scope, description: "token expired" },
                format!(
                    r#"Bearer error="invalid_token", resource_metadata="{url}", scope="files:read", error_description="token expired""#
                ),
            ),
            (
                Challenge::InsufficientScope { metadata, scope },
                format!(
                    r#"Bearer error="insufficient_scope", scope="files:read", resource_metadata="{url}", error_description="the access token lacks scopes this operation needs""#
                ),
            ),
            (
                Challenge::InvalidRequest { metadata },
                format!(r#"Bearer error="invalid_request", resource_metadata="{url}""#),
            ),
        ] {
            assert_eq!(challenge.to_string(), text);
        }
    }

    #[test]
    fn registry_url_takes_nothing_but_an_identifier() {
        let issuer = IssuerUrl::parse("https://as.example/orgs/o/api/v1").unwrap();
        assert_eq!(
            MetadataUrl::of_registry(&issuer, "mcp_a\"\r\n").as_str(),
            "https://as.example/orgs/o/api/v1/.well-known/oauth-protected-resource/mcp/mcp_a"
        );
    }
}
