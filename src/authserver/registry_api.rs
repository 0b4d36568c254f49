//! The registry API: what MCP servers an organization has, for who holds `settings.manage`.

use axum::{extract::State as Extract, response::Response};
use http::{HeaderMap, Uri};
use jiff::Timestamp;
use lumoauth_core::{
    ResourceUri, ScopeSet,
    challenge::{Challenge, MetadataUrl},
    metadata::AUTHORIZATION_SERVER_PATH,
};
use serde::Serialize;

use super::{
    REGISTRY_SCOPE,
    bearer::{Presented, Unusable, presented, verify},
    documents,
    errors::ApiError,
    org::{Org, ServerParameter, State, Target},
};
use crate::api::v1alpha1::{AuthMode, McpServer, Transport};

/// What list and details share.
#[derive(Serialize)]
struct Item<'a> {
    id: u32,
    server_id: &'a str,
    name: &'a str,
    description: Option<&'a str>,
    resource_uri: &'a str,
    endpoint_url: &'a str,
    transport: &'static str,
    auth_mode: &'static str,
    status: &'static str,
    scopes_supported: ScopeSet,
    require_pkce: bool,
    token_lifetime: u64,
    created_at: Option<String>,
}

#[derive(Serialize)]
struct ListItem<'a> {
    #[serde(flatten)]
    item: Item<'a>,
    require_resource_param: bool,
}

/// `servers` is the key that older clients read, `data` the one of newer clients.
#[derive(Serialize)]
struct List<'a> {
    servers: &'a [ListItem<'a>],
    data: &'a [ListItem<'a>],
    pagination: Pagination,
}

/// Everything is on the first page.
#[derive(Serialize)]
struct Pagination {
    total: usize,
    page: usize,
    limit: usize,
    total_pages: usize,
    has_next_page: bool,
    has_previous_page: bool,
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    item: Item<'a>,
    require_dpop: bool,
    updated_at: Option<String>,
    discovery: Discovery,
}

#[derive(Serialize)]
struct Discovery {
    authorization_server_metadata: String,
    protected_resource_metadata: String,
    /// `null` for a server that asks for no token.
    www_authenticate_example: Option<String>,
}

/// The servers of an organization: those that are enforced.
pub(super) async fn list(
    Extract(state): Extract<State>,
    org: Org,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    authorize(&state, &org, &headers, &uri).await?;
    let targets: Vec<_> = org.servers().collect();
    let items: Vec<_> = targets
        .iter()
        .map(|target| ListItem { item: item(target), require_resource_param: target.server.require_resource_param })
        .collect();
    let total = items.len();
    let pagination = Pagination {
        total,
        page: 1,
        limit: total.max(1),
        total_pages: total.min(1),
        has_next_page: false,
        has_previous_page: false,
    };
    let list = List { servers: &items, data: &items, pagination };
    Ok(documents::private(serde_json::to_vec(&list).unwrap_or_default()))
}

/// One server. Who may not read the registry is not told whether it is there.
pub(super) async fn details(
    Extract(state): Extract<State>,
    org: Org,
    ServerParameter(id): ServerParameter,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    authorize(&state, &org, &headers, &uri).await?;
    let target = org.server(&id).ok_or_else(ApiError::unknown_server)?;
    let metadata = MetadataUrl::of_registry(&org.issuer, target.id.as_str());
    let scope = target.server.policy.required_scopes();
    let example = match target.server.auth_mode {
        AuthMode::OAuth => Some(Challenge::Unauthenticated { metadata: &metadata, scope }.to_string()),
        AuthMode::None => None,
    };
    let details = Details {
        item: item(&target),
        require_dpop: false,
        updated_at: target.entry.updated_at().map(rfc3339),
        discovery: Discovery {
            authorization_server_metadata: format!("{}{AUTHORIZATION_SERVER_PATH}", org.issuer),
            protected_resource_metadata: metadata.as_str().to_owned(),
            www_authenticate_example: example,
        },
    };
    Ok(documents::private(serde_json::to_vec(&details).unwrap_or_default()))
}

/// Admits a token whose audience is the issuer, with `settings.manage`, of a client that may still hold it.
async fn authorize(state: &State, org: &Org, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let token = match presented(headers, uri) {
        Presented::Nothing => return Err(ApiError::registry_unauthorized()),
        Presented::Conflicting => return Err(ApiError::registry_invalid_request()),
        Presented::Token(token) => token,
    };
    // An issuer is an absolute URL without fragment, so it is a resource identifier too.
    let audience = ResourceUri::parse(org.issuer.as_str()).map_err(|_| ApiError::internal())?;
    let token = verify(state, org, token, &audience).await.map_err(|unusable| match unusable {
        Unusable::Token(error) => ApiError::registry_invalid_token(error),
        Unusable::Store => ApiError::unavailable(),
    })?;
    let still_held = org.client(&token.client).is_some_and(|(_, client)| client.scopes.contains(&REGISTRY_SCOPE));
    if token.scopes.contains(&REGISTRY_SCOPE) && still_held { Ok(()) } else { Err(ApiError::registry_forbidden()) }
}

fn item(target: &Target) -> Item<'_> {
    let server = &target.server;
    Item {
        id: target.id.number(),
        server_id: target.id.as_str(),
        name: &server.display_name,
        description: server.description.as_deref(),
        resource_uri: server.resource.as_str(),
        endpoint_url: server.endpoint.as_str(),
        transport: match server.transport {
            Transport::StreamableHttp => "http_streamable",
            Transport::HttpSse => "http_sse",
            Transport::Stdio => "stdio",
        },
        auth_mode: match server.auth_mode {
            AuthMode::OAuth => "oauth",
            AuthMode::None => "none",
        },
        status: "active",
        scopes_supported: server.policy.declared_scopes(),
        require_pkce: server.require_pkce,
        token_lifetime: server.token_lifetime,
        created_at: target.entry.object.as_deref().and_then(created_at).map(rfc3339),
    }
}

fn created_at(object: &McpServer) -> Option<Timestamp> {
    object.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// With a numeric offset, as LumoAuth's clients read it.
fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}
