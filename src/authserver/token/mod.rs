//! The token endpoint (RFC 6749 §3.2). What a grant is exchanged for is decided by a row of single-purpose steps, each of
//! which passes on what it proved or says why not; each grant is a file.

mod authorization_code;
mod client_credentials;
mod grant;
mod mint;
mod person;
mod refresh_token;
mod refused;
mod resource;
mod scopes;

use axum::{
    extract::{State as Extract, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, header::PRAGMA};
use lumoauth_core::ClientId;

use self::{grant::Kind, mint::Minted, refused::Refused};
use super::{
    authenticate, documents,
    errors::ApiError,
    form,
    oauth::Refusal as _,
    org::{Org, OrgError, State},
    parameters::Parameters,
    store::{GrantId, UserId},
};

/// How long a refresh token lasts, from its issue, in seconds: 30 days.
const REFRESH_TOKEN_SECONDS: u64 = 30 * 86_400;

/// What the audit line of a token request tells; filled as far as the request came. No secret and no token.
#[derive(Default)]
struct Trail {
    /// Which client the request claims to come from, if there is one of that name; proven only where a token was issued,
    /// or refused after authentication. Nothing else a caller writes there, as it may be a secret in the wrong place.
    client: Option<ClientId>,
    kind: &'static str,
    user: Option<UserId>,
    grant: Option<GrantId>,
    resource: Option<String>,
    scope: String,
    token_id: String,
}

impl Trail {
    fn minted(&mut self, minted: &Minted) {
        self.scope.clone_from(&minted.scope);
        self.token_id.clone_from(&minted.id);
    }
}

/// Answers `POST oauth/token`.
pub(super) async fn token(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let mut trail = Trail::default();
    let result = match form::read(&headers, &uri, body.as_ref()) {
        Ok(form) => issue(&state, &org, &headers, &form, &mut trail).await,
        Err(error) => Err(error.into()),
    };
    let (outcome, reason) = match &result {
        Ok(_) => ("issued", ""),
        Err(refused) => ("refused", refused.told().1),
    };
    tracing::info!(
        target: "lumoauth::audit",
        event = "token",
        outcome,
        reason,
        org = %org.id,
        grant_type = trail.kind,
        client = trail.client.as_ref().map_or("", ClientId::as_str),
        user = trail.user.as_ref().map_or("", UserId::as_str),
        grant = trail.grant.as_ref().map_or("", GrantId::as_str),
        resource = trail.resource.as_deref().unwrap_or_default(),
        scope = trail.scope,
        jti = trail.token_id,
    );
    match result {
        Ok(json) => {
            state.metrics.issued();
            let mut response = documents::private(json);
            response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
            Ok(response)
        }
        Err(refused) => {
            state.metrics.refused(reason);
            Err(ApiError::refused(&refused))
        }
    }
}

/// Who asks, and for which grant; then the steps of that grant.
async fn issue(
    state: &State,
    org: &Org,
    headers: &HeaderMap,
    form: &Parameters<'_>,
    trail: &mut Trail,
) -> Result<Vec<u8>, Refused> {
    let authenticated = authenticate::caller(state, org, headers, form, &mut trail.client).await?;
    let kind = grant::kind(form, authenticated.client())?;
    trail.kind = kind.as_str();
    match kind {
        Kind::AuthorizationCode => authorization_code::issue(state, org, form, &authenticated, trail).await,
        Kind::RefreshToken => refresh_token::issue(state, org, form, &authenticated, trail).await,
        Kind::ClientCredentials => client_credentials::issue(state, org, form, &authenticated, trail).await,
    }
}
