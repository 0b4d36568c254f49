//! The client credentials grant (RFC 6749 §4.4): the client acts for itself.

use super::{
    Parameters, Refused, Trail,
    mint::{self, Order},
    resource, scopes,
};
use crate::authserver::{
    authenticate::Authenticated,
    org::{Org, State},
};

/// The steps, in order.
pub(super) async fn issue(
    state: &State,
    org: &Org,
    form: &Parameters<'_>,
    authenticated: &Authenticated,
    trail: &mut Trail,
) -> Result<Vec<u8>, Refused> {
    let client = authenticated.client();
    let audience = resource::choose(org, form, client)?;
    trail.resource = Some(audience.identifier().to_owned());
    let scope = scopes::grant(form.get("scope"), &client.scopes, &audience.offer())?;
    let expires_at = org.now.plus(audience.lifetime());
    let status = state.statuses.index_for_client(&state.store, &org.id, &client.id, expires_at, org.now).await?;
    // A client that acts for itself is its own subject (RFC 9068 §2.2).
    let order = Order { subject: client.id.as_str(), client: &client.id, audience: &audience, scope: &scope, status };
    let minted = mint::mint(org, &order)?;
    trail.minted(&minted);
    minted.response(None)
}
