//! Revocation (RFC 7009) of access and refresh tokens.
//!
//! A token of a user takes its whole grant with it: the refresh token and every access token. One that a client got for
//! itself goes alone.

use axum::{
    extract::{State as Extract, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use lumoauth_core::{ClientId, token::LEEWAY_SECONDS};

use super::{
    authenticate::{self, AuthenticationError, Presented},
    clients::OAuthClient,
    documents,
    errors::ApiError,
    form::{self, FormError},
    issued::{Issued, recognize},
    oauth::{OAuthError, Refusal, Told},
    org::{Org, OrgError, State},
    parameters::Parameters,
    store::{GrantId, StoreError},
};

/// Why nothing is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refused {
    /// The parameters cannot be read.
    Form(FormError),
    /// The client is not authenticated.
    Client(AuthenticationError),
    /// No `token`.
    NoToken,
    /// The token was issued to another client: RFC 7009 §2.1 has the request refused and the client told. Whoever holds
    /// a token learns nothing by it that using the token would not tell.
    OfAnotherClient,
    /// The store does not answer.
    Store,
}

impl From<StoreError> for Refused {
    /// The store has logged it.
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl Refusal for Refused {
    fn told(&self) -> Told {
        match self {
            Self::Form(error) => error.told(),
            Self::Client(error) => error.told(),
            Self::NoToken => Told(OAuthError::InvalidRequest, "no_token", "the parameter token is missing"),
            Self::OfAnotherClient => {
                Told(OAuthError::InvalidGrant, "token_of_another_client", "the token was issued to another client")
            }
            Self::Store => AuthenticationError::Store.told(),
        }
    }
}

/// What the audit line tells.
#[derive(Default)]
struct Trail {
    client: Option<ClientId>,
    grant: Option<GrantId>,
    token_id: Option<String>,
}

/// Answers `POST oauth/revoke`.
pub(super) async fn revoke(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let mut trail = Trail::default();
    let result = match form::read(&headers, &uri, body.as_ref()) {
        Ok(form) => withdraw(&state, &org, &headers, &form, &mut trail).await,
        Err(error) => Err(Refused::Form(error)),
    };
    let (outcome, reason) = match &result {
        Ok(true) => ("revoked", ""),
        Ok(false) => ("nothing", ""),
        Err(refused) => ("refused", refused.told().1),
    };
    tracing::info!(
        target: "lumoauth::audit",
        event = "revocation",
        outcome,
        reason,
        org = %org.id,
        client = trail.client.as_ref().map_or("", ClientId::as_str),
        grant = trail.grant.as_ref().map_or("", GrantId::as_str),
        jti = trail.token_id.as_deref().unwrap_or_default(),
    );
    // RFC 7009 §2.2: the same for a token that there is not.
    result.map(|_| documents::private("{}")).map_err(|refused| ApiError::refused(&refused))
}

/// Whether there was something to revoke.
async fn withdraw(
    state: &State,
    org: &Org,
    headers: &HeaderMap,
    form: &Parameters<'_>,
    trail: &mut Trail,
) -> Result<bool, Refused> {
    let presented = Presented::read(headers, form).map_err(Refused::Client)?;
    let client = authenticate::find(state, org, &presented).await.map_err(Refused::Client)?;
    trail.client = Some(client.id.clone());
    let authenticated = authenticate::prove(state, org, client, &presented).await.map_err(Refused::Client)?;
    let caller = authenticated.client();
    let text = form.get("token").ok_or(Refused::NoToken)?;
    let grant = match recognize(state, org, text).await? {
        None => return Ok(false),
        Some(Issued::Refresh(token)) => {
            issued_to(&token.grant.client, caller)?;
            token.grant.id
        }
        Some(Issued::Access { token, status, .. }) => {
            issued_to(&token.client, caller)?;
            trail.token_id.clone_from(&token.id);
            let Some(grant) = state.store.grant_of_index(&org.id, status).await? else {
                state.store.revoke_index(&org.id, status, token.expires_at.plus(LEEWAY_SECONDS)).await?;
                state.statuses.forget(&org.id);
                return Ok(true);
            };
            grant
        }
    };
    let revoked = state.store.revoke_grant(&org.id, &grant, org.now).await?;
    trail.grant = Some(grant);
    state.statuses.forget(&org.id);
    Ok(revoked)
}

fn issued_to(client: &ClientId, caller: &OAuthClient) -> Result<(), Refused> {
    if *client == caller.id { Ok(()) } else { Err(Refused::OfAnotherClient) }
}
