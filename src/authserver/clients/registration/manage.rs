//! What a client may do with its own registration (RFC 7592): read it, replace it, delete it.

use axum::{
    extract::{
        Path, State as Extract,
        rejection::{BytesRejection, PathRejection},
    },
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use lumoauth_core::ClientId;
use serde_json::{Map, Value};

use super::{Refused, audit, client::stored, information, private, request::Request};
use crate::authserver::{
    artefact::Digest,
    bearer::{self, Presented},
    errors::ApiError,
    org::{Org, OrgError, State},
    store::Registration,
};

/// Organization and client. What is no text names no client.
type PathNames = Result<Path<(String, String)>, PathRejection>;

/// Answers `GET connect/register/{client}`.
pub(crate) async fn read(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    names: PathNames,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let (registration, token) = held(&state, &org, &names, &headers).await?;
    let metadata = stored(&registration).ok_or(Refused::Internal)?;
    let Registration { id, created_at, .. } = &registration;
    Ok(private(&information(&org, id, *created_at, metadata.to_members(), token)))
}

/// Answers `PUT connect/register/{client}`.
pub(crate) async fn update(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    names: PathNames,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let result = replace(&state, &org, &names, &headers, body).await;
    audit(&org, "registration_update", result.as_ref().map(|(id, _)| id));
    Ok(private(&result?.1))
}

/// Answers `DELETE connect/register/{client}`.
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    names: PathNames,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let result = forget(&state, &org, &names, &headers).await;
    audit(&org, "registration_delete", result.as_ref());
    result?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn forget(state: &State, org: &Org, names: &PathNames, headers: &HeaderMap) -> Result<ClientId, Refused> {
    let (registration, _) = held(state, org, names, headers).await?;
    state.store.delete_registration(&org.id, &registration.id, org.now).await?;
    Ok(registration.id)
}

/// RFC 7592 §2.2. Whatever the client leaves out goes back to its default; identifier, secret and registration access
/// token stay.
async fn replace(
    state: &State,
    org: &Org,
    names: &PathNames,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(ClientId, Map<String, Value>), Refused> {
    let (registration, token) = held(state, org, names, headers).await?;
    state.clients.0.registrations.check(&org.id)?;
    let Request { members, metadata, method } = Request::read(headers, body, &org.settings(state).cimd)?;
    for fixed in
        ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"]
    {
        if members.has(fixed) {
            return Err(Refused::Fixed(fixed));
        }
    }
    if members.text("client_id")? != Some(registration.id.as_str()) {
        return Err(Refused::Other("client_id"));
    }
    let secret = members.text("client_secret")?.map(Digest::of);
    if secret.is_some() && secret != registration.secret {
        return Err(Refused::Other("client_secret"));
    }
    if stored(&registration).ok_or(Refused::Internal)?.method != Some(method) {
        return Err(Refused::MethodChange);
    }
    let new = metadata.to_members();
    let text = Value::Object(new.clone()).to_string();
    let secret = registration.secret.as_ref();
    if !state.store.update_registration(&org.id, &registration.id, &text, secret).await? {
        return Err(Refused::RegistrationToken);
    }
    let document = information(org, &registration.id, registration.created_at, new, token);
    Ok((registration.id, document))
}

/// The registration whose access token the request presents, and the token. A client that is not there is told from one
/// whose token is another by nothing.
async fn held<'a>(
    state: &State,
    org: &Org,
    names: &PathNames,
    headers: &'a HeaderMap,
) -> Result<(Registration, &'a str), Refused> {
    let Presented::Token(token) = bearer::presented(headers, &Uri::default()) else {
        return Err(Refused::RegistrationToken);
    };
    let presented = Digest::of(token);
    let Ok(Path((_, client))) = names else { return Err(Refused::RegistrationToken) };
    let id = ClientId::parse(client).map_err(|_| Refused::RegistrationToken)?;
    let found = state.store.registration(&org.id, &id, org.now).await?;
    let held = found.filter(|registration| registration.access_token == presented);
    held.map(|registration| (registration, token)).ok_or(Refused::RegistrationToken)
}
