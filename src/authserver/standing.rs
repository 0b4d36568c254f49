//! What an access token is still good for. By itself it proves what was true when it was issued.

use lumoauth_core::{ResourceUri, ScopeSet, token::AccessToken};

use super::{
    clients::may_be_known,
    org::{Org, State, Target},
    scopes,
    store::{StatusIndex, StoreError, User, UserId},
};
use crate::{api::v1alpha1::AuthMode, registry::Person};

/// Who takes the tokens for an audience.
pub(super) enum Taker {
    /// The sidecar of an MCP server.
    Server(Target),
    /// The registry API of the issuer.
    Registry,
    /// Nobody, by now.
    Nobody,
}

impl Taker {
    /// Who takes those for `audience`. A sidecar takes no audience but its server's resource to the letter.
    pub(super) fn find(org: &Org, audience: &ResourceUri) -> Self {
        if audience.is_named_by(org.issuer.as_str()) {
            return Self::Registry;
        }
        let target = org.server_of(audience);
        let to_the_letter = |target: &Target| target.server.resource.as_str() == audience.as_str();
        target.filter(to_the_letter).map_or(Self::Nobody, Self::Server)
    }
}

/// What is left of an access token.
pub(super) struct Standing {
    /// Whom it speaks for; `None`: its client.
    pub(super) user: Option<User>,
    /// Those of its scopes that nobody took back.
    pub(super) scopes: ScopeSet,
}

/// What is left of a token of this issuer that is for `taker`, and whose status is at `status`. `None`: nothing. That is so where
/// its sidecar would refuse every call, and where a refresh would give nothing any more (RFC 7662 §4).
pub(super) async fn standing(
    state: &State,
    org: &Org,
    token: &AccessToken,
    taker: &Taker,
    status: StatusIndex,
) -> Result<Option<Standing>, StoreError> {
    if !may_be_known(state, org, &token.client)
        || state.statuses.is_revoked(&state.store, &org.id, status, org.now).await?
    {
        return Ok(None);
    }
    let user = match UserId::parse(&token.subject) {
        None => None,
        Some(id) => {
            let Some(user) = state.store.user(&org.id, &id).await?.filter(|user| !user.disabled) else {
                return Ok(None);
            };
            Some(user)
        }
    };
    let scopes = left(token, taker, user.as_ref());
    Ok(scopes.map(|scopes| Standing { user, scopes }))
}

/// What its server, or the registry API, still lets it have.
fn left(token: &AccessToken, taker: &Taker, user: Option<&User>) -> Option<ScopeSet> {
    let server = match taker {
        Taker::Server(target) => &target.server,
        Taker::Registry => return user.is_none().then(|| token.scopes.clone()),
        Taker::Nobody => return None,
    };
    if server.auth_mode != AuthMode::OAuth || !server.policy.admits(&token.client) {
        return None;
    }
    let Some(user) = user else { return Some(token.scopes.clone()) };
    let person = Person { name: user.name.as_str(), groups: &user.groups };
    scopes::still(&token.scopes, &server.grantable(person, &token.client)?)
}
