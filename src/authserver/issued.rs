//! What introspection and revocation have in common: what a text is that somebody presents as a token of ours, and why a
//! request about one is refused.

use lumoauth_core::{
    ResourceUri,
    token::{AccessToken, Unverified, Verified},
};

use super::{
    artefact::{Digest, Family},
    authenticate::AuthenticationError,
    form::FormError,
    oauth::{OAuthError, Refusal, Told},
    org::{Org, State},
    status,
    store::{GrantId, RefreshToken, StatusIndex, StoreError},
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

/// Why a request about a token is refused: for what is common to all of them, or by the `Rule` of one endpoint.
pub(super) enum Refused<Rule> {
    /// The parameters cannot be read.
    Form(FormError),
    /// The client is not authenticated.
    Client(AuthenticationError),
    /// No `token`.
    NoToken,
    /// The store does not answer.
    Store,
    /// What this endpoint alone refuses.
    Rule(Rule),
}

impl<Rule> From<FormError> for Refused<Rule> {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

impl<Rule> From<AuthenticationError> for Refused<Rule> {
    fn from(error: AuthenticationError) -> Self {
        Self::Client(error)
    }
}

impl<Rule> From<StoreError> for Refused<Rule> {
    /// The store has logged it.
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl<Rule: Refusal> Refusal for Refused<Rule> {
    fn told(&self) -> Told {
        match self {
            Self::Form(error) => error.told(),
            Self::Client(error) => error.told(),
            Self::NoToken => Told(OAuthError::InvalidRequest, "no_token", "the parameter token is missing"),
            Self::Store => AuthenticationError::Store.told(),
            Self::Rule(rule) => rule.told(),
        }
    }
}

/// Finds out what `text` is; none of what we issued and can still be good for anything.
///
/// `token_type_hint` (RFC 7009 §2.1, RFC 7662 §2.1) is not needed: refresh tokens have a prefix.
pub(super) async fn recognize(state: &State, org: &Org, text: &str) -> Result<Option<Issued>, StoreError> {
    let Some(family) = Family::of(text) else { return Ok(access(org, text)) };
    let token = state.store.refresh_token(&org.id, &GrantId::of(&family), &Digest::of(text)).await?;
    Ok(token.map(Issued::Refresh))
}

fn access(org: &Org, text: &str) -> Option<Issued> {
    let audience = ResourceUri::parse(Unverified::parse(text).ok()?.audience()?).ok()?;
    let token = org.authority.verify(text, &org.issuer, &audience, org.now).ok()?;
    let status = status::index_of(org, &token)?;
    Some(Issued::Access { token, audience, status })
}
