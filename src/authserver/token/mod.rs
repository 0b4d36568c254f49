//! The token endpoint (RFC 6749 §3.2) for client credentials (§4.4) with resource indicators (RFC 8707): a row of
//! single-purpose steps, each of which passes on what it proved or says why not.

mod client;
mod grant;
mod mint;
mod refused;
mod resource;
mod scopes;

use axum::{extract::State as Extract, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, header::PRAGMA};
use lumoauth_core::ClientId;

pub(super) use refused::{Error, Refused};

use self::{client::Authenticated, resource::Audience};
use super::{
    documents,
    errors::ApiError,
    org::{Org, OrgError, State},
    parameters::{Parameters, ParametersError},
};

/// What the audit line of a token request tells; filled as far as the request came. No secret and no token.
#[derive(Default)]
struct Trail {
    /// Which registered client the request claims to come from; proven only where a token was issued, or refused after
    /// authentication. Nothing else a caller writes there, as it may be a secret in the wrong place.
    client: Option<ClientId>,
    resource: Option<String>,
    scope: String,
    token_id: String,
}

/// Answers `POST oauth/token`.
pub(super) async fn token(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let mut trail = Trail::default();
    let result = body.map_err(|_| Refused::TooLarge).and_then(|body| issue(&org, &headers, &uri, &body, &mut trail));
    let (outcome, reason) = match &result {
        Ok(_) => ("issued", ""),
        Err(refused) => ("refused", refused.reason()),
    };
    tracing::info!(
        target: "lumoauth::audit",
        event = "token",
        outcome,
        reason,
        org = %org.id,
        client = trail.client.as_ref().map_or("", ClientId::as_str),
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
            state.metrics.refused(refused.reason());
            Err(refused.into())
        }
    }
}

/// The steps, in order.
fn issue(org: &Org, headers: &HeaderMap, uri: &Uri, body: &[u8], trail: &mut Trail) -> Result<Vec<u8>, Refused> {
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Refused::Query);
    }
    let parameters = Parameters::of_form(headers, body)?;
    let credentials = client::credentials(headers, &parameters)?;
    trail.client = org.client(&credentials.id).map(|_| credentials.id.clone());
    let authenticated: Authenticated<'_> = client::authenticate(org, &credentials)?;
    grant::check(&parameters, &authenticated)?;
    let audience: Audience = resource::choose(org, &parameters, &authenticated)?;
    trail.resource = Some(audience.identifier().to_owned());
    let scope = scopes::grant(parameters.get("scope"), &authenticated.client.scopes, &audience.offer())?;
    trail.scope = scope.to_string();
    let minted = mint::mint(org, &authenticated, &audience, &trail.scope)?;
    trail.token_id = minted.id;
    Ok(minted.response)
}

impl From<ParametersError> for Refused {
    fn from(error: ParametersError) -> Self {
        match error {
            ParametersError::NotAForm => Self::NotAForm,
            ParametersError::TooMany => Self::TooManyParameters,
            ParametersError::Duplicate => Self::DuplicateParameter,
        }
    }
}
