//! Step 4: for what (RFC 8707 §2). A token has one audience.

use std::borrow::Cow;

use lumoauth_core::{IssuerUrl, ResourceUri, ScopeSet, scope::Hierarchy};

use super::{Refused, scopes::Offer};
use crate::{
    api::v1alpha1::AuthMode,
    authserver::{
        REGISTRY_SCOPE,
        clients::OAuthClient,
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
            Self::Server(target) => offer(target),
            Self::Registry(_) => {
                let only = ScopeSet::from_iter([REGISTRY_SCOPE.clone()]);
                Offer {
                    required: Cow::Owned(only.clone()),
                    declared: only,
                    hierarchy: Cow::Owned(Hierarchy::default()),
                    unlimited: false,
                }
            }
        }
    }
}

/// The scopes a server knows.
fn offer(target: &Target) -> Offer<'_> {
    let policy = &target.server.policy;
    Offer {
        required: Cow::Borrowed(policy.required_scopes()),
        declared: policy.declared_scopes(),
        hierarchy: Cow::Borrowed(policy.hierarchy()),
        unlimited: true,
    }
}

/// The resource that a client asks for, which acts for itself; or the only one it can mean.
pub(super) fn choose(org: &Org, form: &Parameters<'_>, client: &OAuthClient) -> Result<Audience, Refused> {
    match named(form)? {
        Some(resource) if resource.is_named_by(org.issuer.as_str()) => Ok(Audience::Registry(org.issuer.clone())),
        Some(resource) => admitted(org.server_of(&resource), client).map(Audience::Server),
        None => only_one(org, client),
    }
}

/// The resource that a client asks for, of those a user agreed to, with the scopes agreed to there; or the only one.
pub(super) fn granted<'a>(
    org: &Org,
    form: &Parameters<'_>,
    client: &OAuthClient,
    agreed: &'a [(ResourceUri, ScopeSet)],
) -> Result<(Target, &'a ScopeSet), Refused> {
    let name = named(form)?;
    let (resource, scopes) = match (&name, agreed) {
        (Some(name), _) => {
            let found = agreed.iter().find(|(resource, _)| resource.canonical() == name.canonical());
            found.ok_or(Refused::ResourceNotGranted)?
        }
        (None, [only]) => only,
        (None, _) => return Err(Refused::NoResource),
    };
    let target = admitted(org.server_of(resource), client)?;
    if name.is_none() && target.server.require_resource_param {
        return Err(Refused::NoResource);
    }
    Ok((target, scopes))
}

/// The `resource` of a request: at most one, because a token has one audience.
fn named(form: &Parameters<'_>) -> Result<Option<ResourceUri>, Refused> {
    let mut named = form.all("resource");
    match (named.next(), named.next()) {
        (Some(_), Some(_)) => Err(Refused::SeveralResources),
        (Some(resource), None) => ResourceUri::parse(resource).map(Some).map_err(|_| Refused::MalformedResource),
        (None, _) => Ok(None),
    }
}

/// A server that enforces tokens, and that the client may use.
fn admitted(target: Option<Target>, client: &OAuthClient) -> Result<Target, Refused> {
    let target = target.ok_or(Refused::UnknownResource)?;
    if !client.may_use(&target) {
        return Err(Refused::ClientNotAllowed);
    }
    match target.server.auth_mode {
        AuthMode::OAuth => Ok(target),
        AuthMode::None => Err(Refused::PublicServer),
    }
}

/// `resource` may be left out by a client that may use one server only, if that server says so.
fn only_one(org: &Org, client: &OAuthClient) -> Result<Audience, Refused> {
    let mut usable =
        org.servers().filter(|target| target.server.auth_mode == AuthMode::OAuth && client.may_use(target));
    match (usable.next(), usable.next()) {
        (Some(target), None) if !target.server.require_resource_param => Ok(Audience::Server(target)),
        _ => Err(Refused::NoResource),
    }
}
