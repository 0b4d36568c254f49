//! Authorization server metadata (RFC 8414) and keys (RFC 7517).

use axum::response::Response;
use lumoauth_core::metadata::AuthorizationServer;

use super::{
    documents,
    errors::ApiError,
    org::{Org, OrgError},
};

/// The metadata of an organization's issuer, under each well-known form that clients try.
pub(super) async fn authorization_server(org: Result<Org, OrgError>) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    Ok(documents::public_json(&document(&org)))
}

fn document(org: &Org) -> AuthorizationServer {
    let issuer = &org.issuer;
    AuthorizationServer {
        issuer: issuer.clone(),
        authorization_endpoint: format!("{issuer}/oauth/authorize"),
        token_endpoint: format!("{issuer}/oauth/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        response_types_supported: vec!["code"],
        grant_types_supported: vec!["client_credentials"],
        token_endpoint_auth_methods_supported: vec!["client_secret_basic", "client_secret_post"],
        code_challenge_methods_supported: vec!["S256"],
        authorization_response_iss_parameter_supported: true,
    }
}

/// The keys of an organization's issuer.
pub(super) async fn jwks(org: Result<Org, OrgError>) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    Ok(documents::public(org.authority.jwks().clone()))
}
