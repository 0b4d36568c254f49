//! The metadata of a registration request (RFC 7591 §3.1), judged. Pure.

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::HeaderMap;

use super::{
    super::{
        Keys,
        document::is_admitted,
        fetch::is_json,
        metadata::{Members, Metadata, MetadataError, Method},
    },
    Refused,
};
use crate::settings::ClientDocuments;

/// What a client asks for, and may have.
pub(super) struct Request {
    /// All members, for those that only an update has.
    pub(super) members: Members,
    /// What is registered; it names a method.
    pub(super) metadata: Metadata,
    /// That method.
    pub(super) method: Method,
}

impl Request {
    /// Reads and judges a request.
    pub(super) fn read(
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
        settings: &ClientDocuments,
    ) -> Result<Self, Refused> {
        if !is_json(headers) {
            return Err(Refused::NotJson);
        }
        let members = Members::parse(&body.map_err(|_| Refused::TooLarge)?)?;
        let mut metadata = Metadata::read(&members)?;
        if metadata.wants_client_credentials {
            return Err(MetadataError::Privileged.into());
        }
        // RFC 7591 §2: the default.
        let method = *metadata.method.get_or_insert(Method::SecretBasic);
        if method == Method::PrivateKeyJwt && metadata.keys.is_none() {
            return Err(Refused::NoKeys);
        }
        if let Some(Keys::Uri(url)) = &metadata.keys {
            is_admitted(url, settings).map_err(|_| Refused::JwksUri)?;
        }
        // SDKs register with the scopes of the first challenge and never update it: taken as a limit, a client could not
        // step up. What a person allows, and what the server grants them, is the limit.
        metadata.scope = None;
        Ok(Self { members, metadata, method })
    }
}
