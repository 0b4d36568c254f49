//! Authorization server metadata (RFC 8414) and keys (RFC 7517).

use axum::{extract::State as Extract, response::Response};
use lumoauth_core::{IssuerUrl, metadata::AuthorizationServer};

use super::{
    documents,
    errors::ApiError,
    org::{Org, OrgError, State},
};
use crate::settings::{OrgSettings, RegistrationMode};

/// The metadata of an organization's issuer, under each well-known form that clients try.
pub(super) async fn authorization_server(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    Ok(documents::public_json(&document(&org.issuer, &org.settings(&state))))
}

/// How a client may prove who it is.
const AUTHENTICATION: [&str; 4] = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
/// The same where a client that proves nothing has nothing to ask.
const PROVEN: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
/// `alg` of assertions: what [`lumoauth_core`] verifies, without the symmetric ones.
const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "RS256", "PS256", "EdDSA"];

fn document(issuer: &IssuerUrl, settings: &OrgSettings) -> AuthorizationServer {
    let may_register = settings.dcr.mode != RegistrationMode::Off;
    AuthorizationServer {
        issuer: issuer.clone(),
        authorization_endpoint: format!("{issuer}/oauth/authorize"),
        token_endpoint: format!("{issuer}/oauth/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        registration_endpoint: may_register.then(|| format!("{issuer}/connect/register")),
        revocation_endpoint: format!("{issuer}/oauth/revoke"),
        introspection_endpoint: format!("{issuer}/oauth/introspect"),
        scopes_supported: vec!["offline_access"],
        response_types_supported: vec!["code"],
        response_modes_supported: vec!["query"],
        grant_types_supported: vec!["authorization_code", "refresh_token", "client_credentials"],
        token_endpoint_auth_methods_supported: AUTHENTICATION.to_vec(),
        token_endpoint_auth_signing_alg_values_supported: ALGORITHMS.to_vec(),
        revocation_endpoint_auth_methods_supported: AUTHENTICATION.to_vec(),
        revocation_endpoint_auth_signing_alg_values_supported: ALGORITHMS.to_vec(),
        introspection_endpoint_auth_methods_supported: PROVEN.to_vec(),
        introspection_endpoint_auth_signing_alg_values_supported: ALGORITHMS.to_vec(),
        code_challenge_methods_supported: vec!["S256"],
        authorization_response_iss_parameter_supported: true,
        client_id_metadata_document_supported: settings.cimd.enabled,
    }
}

/// The keys of an organization's issuer.
pub(super) async fn jwks(org: Result<Org, OrgError>) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    Ok(documents::public(org.authority.jwks().clone()))
}
