//! Protected resource metadata (RFC 9728), on the authorization server's own origin.

use axum::response::Response;
use lumoauth_core::challenge::MetadataUrl;
use serde::Serialize;

use super::{
    documents,
    errors::ApiError,
    org::{Org, OrgServer, Target},
};
use crate::{api::v1alpha1::AuthMode, registry};

/// The metadata of one server: the bytes its sidecars serve too.
pub(super) async fn of_server(OrgServer(org, target): OrgServer) -> Result<Response, ApiError> {
    match target.server.auth_mode {
        AuthMode::OAuth => Ok(document(&org, &target)),
        AuthMode::None => Err(ApiError::not_applicable()),
    }
}

fn document(org: &Org, target: &Target) -> Response {
    documents::public(registry::metadata(&target.server, &org.id, &org.authority.issuing).to_json())
}

/// Where to find the metadata of each of several servers.
#[derive(Serialize)]
struct ResourceList {
    resources: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    resource: String,
    resource_metadata_url: String,
    authorization_servers: [String; 1],
}

/// The metadata of an organization: of its one protected server, or a list.
pub(super) async fn of_org(org: Org) -> Result<Response, ApiError> {
    let protected: Vec<_> = org.servers().filter(|target| target.server.auth_mode == AuthMode::OAuth).collect();
    match protected.as_slice() {
        [] => Err(ApiError::no_protected_server()),
        [only] => Ok(document(&org, only)),
        several => {
            let resources = several.iter().map(|target| Listed {
                resource: target.server.resource.to_string(),
                resource_metadata_url: MetadataUrl::of_registry(&org.issuer, target.id.as_str()).as_str().to_owned(),
                authorization_servers: [org.issuer.to_string()],
            });
            Ok(documents::public_json(&ResourceList { resources: resources.collect() }))
        }
    }
}
