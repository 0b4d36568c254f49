//! Introspection (RFC 7662): for the client a token was issued to, and for the servers' `introspectionClients`.

use axum::{
    extract::{State as Extract, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use lumoauth_core::{ClientId, UnixTime};
use serde::Serialize;

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
    standing::{Taker, standing},
    store::RefreshToken,
};

/// The client cannot prove who it is, and anybody could ask in its name (RFC 7662 §2.1).
struct PublicClient;

impl Refusal for PublicClient {
    fn told(&self) -> Told {
        Told(OAuthError::InvalidClient, "public_client", "only clients that can prove who they are may ask")
    }
}

/// What is said of a token that is active (RFC 7662 §2.2).
#[derive(Serialize)]
struct Description<'a> {
    active: bool,
    /// How an access token is used (RFC 6749 §7.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    iss: &'a str,
    client_id: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    exp: u64,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
}

/// All that is said of any other: not why, nor whether it ever was one.
const INACTIVE: &[u8] = br#"{"active":false}"#;

/// Answers `POST oauth/introspect`.
pub(super) async fn introspect(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let answer = match form::read(&headers, &uri, body.as_ref()) {
        Ok(form) => answer(&state, &org, &headers, &form).await,
        Err(error) => Err(error.into()),
    };
    answer.map(documents::private).map_err(|refused| ApiError::refused(&refused))
}

async fn answer(
    state: &State,
    org: &Org,
    headers: &HeaderMap,
    form: &Parameters<'_>,
) -> Result<Vec<u8>, Refused<PublicClient>> {
    let authenticated = authenticate::caller(state, org, headers, form, &mut None).await?;
    let caller = authenticated.client();
    if !caller.is_confidential() {
        return Err(Refused::Rule(PublicClient));
    }
    let text = form.get("token").ok_or(Refused::NoToken)?;
    let said = match recognize(state, org, text).await? {
        Some(Issued::Access { token, audience, status }) => {
            let taker = Taker::find(org, &audience);
            let left = if may_see(&taker, caller, &token.client) {
                standing(state, org, &token, &taker, status).await?
            } else {
                None
            };
            left.map(|left| {
                serde_json::to_vec(&Description {
                    active: true,
                    token_type: Some("Bearer"),
                    iss: org.issuer.as_str(),
                    client_id: token.client.as_str(),
                    sub: &token.subject,
                    username: left.user.as_ref().map(|user| user.name.as_str()),
                    aud: Some(audience.as_str()),
                    scope: left.scopes.to_string(),
                    exp: token.expires_at.0,
                    iat: token.issued_at.0,
                    jti: token.id.as_deref(),
                })
            })
        }
        Some(Issued::Refresh(token)) => {
            let until = works_until(&token, caller, org);
            let user = match until {
                Some(_) => state.store.user(&org.id, &token.grant.user).await?.filter(|user| !user.disabled),
                None => None,
            };
            until.zip(user).map(|(until, user)| {
                serde_json::to_vec(&Description {
                    active: true,
                    token_type: None,
                    iss: org.issuer.as_str(),
                    client_id: token.grant.client.as_str(),
                    sub: token.grant.user.as_str(),
                    username: Some(user.name.as_str()),
                    aud: None,
                    scope: String::new(),
                    exp: until.0,
                    iat: token.grant.created_at.0,
                    jti: None,
                })
            })
        }
        _ => None,
    };
    // Strings and numbers: there is none serde_json could refuse.
    Ok(said.transpose().ok().flatten().unwrap_or_else(|| INACTIVE.to_vec()))
}

/// RFC 7662 §4: a token is shown to the client it was issued to, and to those that its server names.
fn may_see(taker: &Taker, caller: &OAuthClient, client: &ClientId) -> bool {
    let names_caller = match taker {
        Taker::Server(target) => target.server.introspection_clients.contains(&caller.id),
        Taker::Registry | Taker::Nobody => false,
    };
    caller.id == *client || names_caller
}

/// When a refresh token ends that works now. It is nobody's business but its client's.
fn works_until(token: &RefreshToken, caller: &OAuthClient, org: &Org) -> Option<UnixTime> {
    let works = token.grant.client == caller.id && !token.grant.revoked;
    token.expires_at.filter(|ends| works && org.now < *ends)
}
