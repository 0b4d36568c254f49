//! Step 4: for what (RFC 8707 §2). A token has one audience.

use std::borrow::Cow;

use lumoauth_core::{IssuerUrl, ResourceUri, ScopeSet, scope::Hierarchy};

use super::{Refused, client::Authenticated, scopes::Offer};
use crate::{
    api::v1alpha1::AuthMode,
    authserver::{
        REGISTRY_SCOPE,
        org::{Org, Target},
        parameters::Parameters,
    },
};

/// Lifetime of a token for the registry API, in seconds: that of a server by default.
const REGISTRY_TOKEN_LIFETIME: u64 = 3600;

/// What a token will be for.
pub(super) enum Audience {
    /// An MCP server.
    Server(Target),
    /// The registry API of the issuer.
    Registry(IssuerUrl),
}

impl Audience {
    /// `aud`, as its author wrote it.
    pub(super) fn identifier(&self) -> &str {
        match self {
            Self::Server(target) => target.server.resource.as_str(),
            Self::Registry(issuer) => issuer.as_str(),
        }
    }

    /// How long a token for it lasts, in seconds.
    pub(super) fn lifetime(&self) -> u64 {
        match self {
            Self::Server(target) => target.server.token_lifetime,
            Self::Registry(_) => REGISTRY_TOKEN_LIFETIME,
        }
    }

    /// The scopes it knows.
    pub(super) fn offer(&self) -> Offer<'_> {
        match self {
            Self::Server(target) => {
                let policy = &target.server.policy;
                Offer {
                    required: Cow::Borrowed(policy.required_scopes()),
                    declared: policy.declared_scopes(),
                    hierarchy: Cow::Borrowed(policy.hierarchy()),
                }
            }
            Self::Registry(_) => {
                let only = ScopeSet::from_iter([REGISTRY_SCOPE.clone()]);
                Offer {
                    required: Cow::Owned(only.clone()),
                    declared: only,
                    hierarchy: Cow::Owned(Hierarchy::default()),
                }
            }
        }
    }
}

/// The resource a request names, or the only one it can mean.
pub(super) fn choose(
    org: &Org,
    parameters: &Parameters<'_>,
    authenticated: &Authenticated<'_>,
) -> Result<Audience, Refused> {
    let mut named = parameters.all("resource");
    match (named.next(), named.next()) {
        (Some(_), Some(_)) => Err(Refused::SeveralResources),
        (Some(resource), None) => find(org, resource, authenticated),
        (None, _) => only_one(org, authenticated),
    }
}

fn find(org: &Org, resource: &str, authenticated: &Authenticated<'_>) -> Result<Audience, Refused> {
    let resource = ResourceUri::parse(resource).map_err(|_| Refused::MalformedResource)?;
    if resource.is_named_by(org.issuer.as_str()) {
        return Ok(Audience::Registry(org.issuer.clone()));
    }
    let target = org.server_of(&resource).ok_or(Refused::UnknownResource)?;
    if !may_use(authenticated, &target) {
        return Err(Refused::ClientNotAllowed);
    }
    match target.server.auth_mode {
        AuthMode::OAuth => Ok(Audience::Server(target)),
        AuthMode::None => Err(Refused::PublicServer),
    }
}

/// `resource` may be left out by a client that may use one server only, if that server says so.
fn only_one(org: &Org, authenticated: &Authenticated<'_>) -> Result<Audience, Refused> {
    let mut usable =
        org.servers().filter(|target| target.server.auth_mode == AuthMode::OAuth && may_use(authenticated, target));
    match (usable.next(), usable.next()) {
        (Some(target), None) if !target.server.require_resource_param => Ok(Audience::Server(target)),
        _ => Err(Refused::NoResource),
    }
}

/// Whether client and server admit each other: `servers` of the one, `allowedClients` of the other.
fn may_use(authenticated: &Authenticated<'_>, target: &Target) -> bool {
    let servers = &authenticated.client.servers;
    let allowed = target.server.policy.allowed_clients();
    (servers.is_empty() || servers.contains(&target.entry.key))
        && allowed.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.admits(&authenticated.id)))
}
