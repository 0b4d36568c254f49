//! The challenge endpoint: answers as the MCP server's protected endpoint would, so that a client, or a person, can
//! try a token.

use axum::{extract::State as Extract, response::Response};
use http::{HeaderMap, Method, Uri};
use lumoauth_core::{
    challenge::{Challenge, MetadataUrl},
    policy::{Decision, Operation, Principal, decide},
};
use serde::Serialize;

use super::{
    bearer::{Presented, Unusable, presented, verify},
    documents,
    errors::ApiError,
    org::{Org, OrgServer, State, Target},
};
use crate::api::v1alpha1::AuthMode;

#[derive(Serialize)]
struct Authenticated<'a> {
    status: &'static str,
    server: &'a str,
    server_id: &'a str,
}

/// GET and POST alike; the method is only recorded.
pub(super) async fn challenge(
    Extract(state): Extract<State>,
    OrgServer(org, target): OrgServer,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let answer = judge(&state, &org, &target, &headers, &uri).await;
    let outcome = answer.as_ref().map_or_else(ApiError::error, |()| "authenticated");
    tracing::info!(target: "lumoauth::audit", event = "mcp.challenge", org = %org.id, server = %target.id, %method, outcome);
    answer?;
    let body =
        Authenticated { status: "authenticated", server: &target.server.display_name, server_id: target.id.as_str() };
    Ok(documents::private(serde_json::to_vec(&body).unwrap_or_default()))
}

/// What the sidecar asks of every call that no rule speaks of: audience, client and the required scopes.
async fn judge(state: &State, org: &Org, target: &Target, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let server = &target.server;
    if server.auth_mode == AuthMode::None {
        return Err(ApiError::not_applicable());
    }
    let metadata = &MetadataUrl::of_registry(&org.issuer, target.id.as_str());
    let scope = server.policy.required_scopes();
    let token = match presented(headers, uri) {
        Presented::Nothing => return Err((&Challenge::Unauthenticated { metadata, scope }).into()),
        Presented::Conflicting => return Err((&Challenge::InvalidRequest { metadata }).into()),
        Presented::Token(token) => token,
    };
    let verified = verify(state, org, token, &server.resource).await.map_err(|unusable| match unusable {
        Unusable::Token(error) => {
            ApiError::from(&Challenge::InvalidToken { metadata, scope, description: error.description() })
        }
        Unusable::Store => ApiError::unavailable(),
    })?;
    match decide(&server.policy, &Principal::new(&verified), Operation::Message { method: "ping", name: None }) {
        Decision::Permit(_) => Ok(()),
        Decision::Challenge(scope) => Err((&Challenge::InsufficientScope { metadata, scope: &scope }).into()),
        Decision::Deny(_) => Err(ApiError::client_not_allowed()),
    }
}
