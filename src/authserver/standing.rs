//! What an access token is still good for. By itself it proves what was true when it was issued.

use lumoauth_core::{ResourceUri, ScopeSet, token::AccessToken};

use super::{
    clients::may_be_known,
    org::{Org, State},
    scopes,
    store::{StatusIndex, StoreError, User, UserId},
};
use crate::{api::v1alpha1::AuthMode, registry::Person};

/// What is left of an access token.
pub(super) struct Standing {
    /// Whom it speaks for; `None`: its client.
    pub(super) user: Option<User>,
    /// Those of its scopes that nobody took back.
    pub(super) scopes: ScopeSet,
}

/// What is left of a token of this issuer for `audience`, whose status is at `status`. `None`: nothing. That is so where
/// its sidecar would refuse every call, and where a refresh would give nothing any more (RFC 7662 §4).
pub(super) async fn standing(
    state: &State,
    org: &Org,
    token: &AccessToken,
    audience: &ResourceUri,
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
    let scopes = left(org, token, audience, user.as_ref());
    Ok(scopes.map(|scopes| Standing { user, scopes }))
}

/// What its server, or the registry API, still lets it have.
fn left(org: &Org, token: &AccessToken, audience: &ResourceUri, user: Option<&User>) -> Option<ScopeSet> {
    if audience.is_named_by(org.issuer.as_str()) {
        return user.is_none().then(|| token.scopes.clone());
    }
    let server = org.server_of(audience)?.server;
    if server.auth_mode != AuthMode::OAuth || !server.policy.admits(&token.client) {
        return None;
    }
    let Some(user) = user else { return Some(token.scopes.clone()) };
    let person = Person { name: user.name.as_str(), groups: &user.groups };
    scopes::still(&token.scopes, &server.grantable(person, &token.client)?)
}
