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
    authenticate,
    clients::OAuthClient,
    documents,
    errors::ApiError,
    form,
    issued::{Issued, Refused, recognize},
    oauth::{OAuthError, Refusal, Told},
    org::{Org, OrgError, State},
    parameters::Parameters,
    store::GrantId,
};

/// The token was issued to another client: RFC 7009 §2.1 has the request refused and the client told. Whoever holds a
/// token learns nothing by it that using the token would not tell.
struct OfAnotherClient;

impl Refusal for OfAnotherClient {
    fn told(&self) -> Told {
        Told(OAuthError::InvalidGrant, "token_of_another_client", "the token was issued to another client")
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
        Err(error) => Err(error.into()),
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
) -> Result<bool, Refused<OfAnotherClient>> {
    let authenticated = authenticate::caller(state, org, headers, form, &mut trail.client).await?;
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

fn issued_to(client: &ClientId, caller: &OAuthClient) -> Result<(), Refused<OfAnotherClient>> {
    if *client == caller.id { Ok(()) } else { Err(Refused::Rule(OfAnotherClient)) }
}
