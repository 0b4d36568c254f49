//! What a text is that somebody presents as a token of ours: for introspection and revocation.

use lumoauth_core::{
    ResourceUri,
    token::{AccessToken, Unverified, Verified},
};

use super::{
    artefact::Digest,
    org::{Org, State},
    status,
    store::{RefreshToken, StatusIndex, StoreError},
};

/// A token that this organization's issuer gave out.
pub(super) enum Issued {
    /// An access token that is valid now, unless it was revoked.
    Access {
        /// What it says.
        token: Verified<AccessToken>,
        /// Its one audience.
        audience: ResourceUri,
        /// Where it is revoked.
        status: StatusIndex,
    },
    /// A refresh token, whether it still works or not.
    Refresh(RefreshToken),
}

/// Finds out what `text` is; none of what we issued and can still be good for anything.
///
/// `token_type_hint` (RFC 7009 §2.1, RFC 7662 §2.1) is not needed: an access token has two dots, a refresh token none.
pub(super) async fn recognize(state: &State, org: &Org, text: &str) -> Result<Option<Issued>, StoreError> {
    if !text.contains('.') {
        let token = state.store.refresh_token(&org.id, &Digest::of(text)).await?;
        return Ok(token.map(Issued::Refresh));
    }
    Ok(access(org, text))
}

fn access(org: &Org, text: &str) -> Option<Issued> {
    let audience = ResourceUri::parse(Unverified::parse(text).ok()?.audience()?).ok()?;
    let token = org.authority.verify(text, &org.issuer, &audience, org.now).ok()?;
    let status = status::index_of(org, &token)?;
    Some(Issued::Access { token, audience, status })
}
