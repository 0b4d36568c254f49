//! Dynamic Client Registration (RFC 7591) and its management (RFC 7592): clients that describe themselves to us, and
//! that nobody vouches for. Off unless an administrator opens it; then limited in rate and number, and forgotten when
//! nobody uses it.

mod admit;
mod client;
mod manage;
mod refused;
mod request;
#[cfg(test)]
mod tests;

use axum::{
    extract::{State as Extract, rejection::BytesRejection},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::PRAGMA};
use lumoauth_core::{ClientId, UnixTime, digest};
use serde_json::{Map, Value, json};

pub(super) use self::{admit::RegistrationRate, client::registered};
use self::{admit::admit, request::Request};
pub(crate) use self::{
    manage::{delete, read, update},
    refused::Refused,
};
use crate::authserver::{
    artefact::{Artefact, Kind, random},
    documents,
    errors::ApiError,
    org::{Org, OrgError, State},
    store::{NewRegistration, Registered},
};
use crate::settings::OrgSettings;

/// Begins the identifiers of these clients, so that nothing else is taken for one.
pub(super) const PREFIX: &str = "dcr_";

/// Answers `POST connect/register`.
pub(crate) async fn register(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let result = create(&state, &org, &headers, body).await;
    audit(&org, "registration", result.as_ref().map(|(id, _)| id));
    let (_, document) = result?;
    Ok((StatusCode::CREATED, private(&document)).into_response())
}

async fn create(
    state: &State,
    org: &Org,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(ClientId, Map<String, Value>), Refused> {
    let OrgSettings { dcr: settings, cimd } = org.settings(state);
    admit(&settings, headers)?;
    state.clients.0.registrations.check(&org.id)?;
    let Request { metadata, method, .. } = Request::read(headers, body, &cimd)?;
    let id = new_id()?;
    let secret = method.uses_secret().then(|| Artefact::generate(Kind::ClientSecret)).transpose()?;
    let token = Artefact::generate(Kind::RegistrationToken)?;
    let members = metadata.to_members();
    let registration = NewRegistration {
        id: id.clone(),
        metadata: Value::Object(members.clone()).to_string(),
        secret: secret.as_ref().map(Artefact::digest),
        access_token: token.digest(),
        expires_unused_at: org.now.plus(u64::from(settings.unused_hours) * 3600),
    };
    match state.store.register(&org.id, &registration, settings.max_clients, org.now).await? {
        Registered::Done => {}
        Registered::TooMany => return Err(Refused::TooMany),
    }
    let mut document = information(org, &id, org.now, members, token.text());
    if let Some(secret) = &secret {
        document.insert("client_secret".to_owned(), json!(secret.text()));
        document.insert("client_secret_expires_at".to_owned(), json!(0));
    }
    Ok((id, document))
}

fn new_id() -> Result<ClientId, Refused> {
    let text = format!("{PREFIX}{}", digest::hex(&random::<12>()?));
    ClientId::parse(&text).map_err(|_| Refused::Internal)
}

/// The client information response (RFC 7591 §3.2.1, RFC 7592 §3), without the secret.
fn information(
    org: &Org,
    id: &ClientId,
    issued_at: UnixTime,
    members: Map<String, Value>,
    token: &str,
) -> Map<String, Value> {
    let mut document = members;
    let uri = format!("{}/connect/register/{id}", org.issuer);
    for (name, value) in [
        ("client_id", json!(id)),
        ("client_id_issued_at", json!(issued_at)),
        ("registration_access_token", json!(token)),
        ("registration_client_uri", json!(uri)),
    ] {
        document.insert(name.to_owned(), value);
    }
    document
}

fn private(document: &Map<String, Value>) -> Response {
    // A map of JSON values: there is none serde_json could refuse.
    let mut response = documents::private(serde_json::to_vec(document).unwrap_or_default());
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn audit(org: &Org, event: &'static str, result: Result<&ClientId, &Refused>) {
    let (outcome, reason) = match &result {
        Ok(_) => ("done", ""),
        Err(refused) => ("refused", refused.reason()),
    };
    let client = result.map_or("", ClientId::as_str);
    tracing::info!(target: "lumoauth::audit", event, outcome, reason, org = %org.id, client);
}
