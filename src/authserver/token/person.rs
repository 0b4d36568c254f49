//! The user a grant is of, and what the organization lets that user have now.

use lumoauth_core::ScopeSet;

use super::{Refused, scopes};
use crate::{
    authserver::{
        clients::OAuthClient,
        org::{Org, State, Target},
        scopes::{allowed, still},
        store::{User, UserId},
    },
    registry::Person,
};

/// The user, who is enabled.
pub(super) async fn find(state: &State, org: &Org, id: &UserId) -> Result<User, Refused> {
    let user = state.store.user(&org.id, id).await?;
    user.filter(|user| !user.disabled).ok_or(Refused::UserDisabled)
}

/// The scopes of a new token: of those `agreed` to, the ones `asked` for that this user, this client and this server
/// still admit. What the administrator took back since then is left out.
pub(super) fn scopes(
    user: &User,
    client: &OAuthClient,
    target: &Target,
    agreed: &ScopeSet,
    asked: Option<&str>,
) -> Result<ScopeSet, Refused> {
    let person = Person { name: user.name.as_str(), groups: &user.groups };
    let allowed = allowed(&target.server, person, client).ok_or(Refused::NothingGrantedAnyMore)?;
    let wanted = scopes::narrow(asked, agreed, target.server.policy.hierarchy())?;
    still(&wanted, &allowed).ok_or(Refused::NothingGrantedAnyMore)
}
