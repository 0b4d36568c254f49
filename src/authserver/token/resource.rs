//! Step 4: for what (RFC 8707 §2). A token has one audience.

use std::borrow::Cow;

use lumoauth_core::{IssuerUrl, ResourceUri, ScopeSet, scope::Hierarchy};

use super::{Refused, scopes::Offer};
use crate::authserver::{
    REGISTRY_SCOPE,
    clients::OAuthClient,
    org::{Org, Target},
    parameters::Parameters,
    resource::{NoTarget, admitted, only_one, parse},
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
        Some(resource) => Ok(Audience::Server(admitted(org, client, &resource)?)),
        None => Ok(Audience::Server(only_one(org, client)?)),
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
        (None, _) => return Err(NoTarget::NotNamed.into()),
    };
    let target = admitted(org, client, resource)?;
    if name.is_none() && target.server.require_resource_param {
        return Err(NoTarget::NotNamed.into());
    }
    Ok((target, scopes))
}

/// The `resource` of a request: at most one, because a token has one audience.
fn named(form: &Parameters<'_>) -> Result<Option<ResourceUri>, Refused> {
    let mut named = form.all("resource");
    match (named.next(), named.next()) {
        (Some(_), Some(_)) => Err(Refused::SeveralResources),
        (Some(text), None) => Ok(Some(parse(text)?)),
        (None, _) => Ok(None),
    }
}
