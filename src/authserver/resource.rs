//! `resource` (RFC 8707 §2) at the authorization endpoint and the token endpoint: which MCP servers a client may ask for.

use lumoauth_core::ResourceUri;

use super::{
    clients::OAuthClient,
    oauth::{OAuthError, Refusal, Told},
    org::{Org, Target},
};
use crate::api::v1alpha1::AuthMode;

/// What a client is told of every resource that is not for it: the same of one that there is not.
pub(super) const NOT_FOR_CLIENT: &str = "the resource is not one this client may ask for";

/// Why there is no server that a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTarget {
    /// Not an absolute URL without fragment.
    Malformed,
    /// Nothing of this organization has that identifier.
    Unknown,
    /// `servers` of the client or `allowedClients` of the server do not name the other.
    ClientNotAllowed,
    /// The server asks for no tokens.
    PublicServer,
    /// None is named, and it cannot be told which is meant.
    NotNamed,
}

impl Refusal for NoTarget {
    fn told(&self) -> Told {
        let target = |reason, text| Told(OAuthError::InvalidTarget, reason, text);
        match self {
            Self::Malformed => {
                target("malformed_resource", "the parameter resource must be an absolute URL without fragment")
            }
            Self::Unknown => target("unknown_resource", NOT_FOR_CLIENT),
            Self::ClientNotAllowed => target("client_not_allowed", NOT_FOR_CLIENT),
            Self::PublicServer => target("public_server", "this MCP server asks for no tokens"),
            Self::NotNamed => target("no_resource", "name the MCP server in the parameter resource"),
        }
    }
}

/// Reads one `resource`.
pub(super) fn parse(text: &str) -> Result<ResourceUri, NoTarget> {
    ResourceUri::parse(text).map_err(|_| NoTarget::Malformed)
}

/// The server of this resource, if it enforces tokens and the client may use it.
pub(super) fn admitted(org: &Org, client: &OAuthClient, resource: &ResourceUri) -> Result<Target, NoTarget> {
    let target = org.server_of(resource).ok_or(NoTarget::Unknown)?;
    if !client.may_use(&target) {
        return Err(NoTarget::ClientNotAllowed);
    }
    match target.server.auth_mode {
        AuthMode::OAuth => Ok(target),
        AuthMode::None => Err(NoTarget::PublicServer),
    }
}

/// `resource` may be left out by a client that may use one server only, if that server says so.
pub(super) fn only_one(org: &Org, client: &OAuthClient) -> Result<Target, NoTarget> {
    let mut usable =
        org.servers().filter(|target| target.server.auth_mode == AuthMode::OAuth && client.may_use(target));
    match (usable.next(), usable.next()) {
        (Some(target), None) if !target.server.require_resource_param => Ok(target),
        _ => Err(NoTarget::NotNamed),
    }
}
