//! Which path is answered by what. Nothing here or below reads `Host` or `X-Forwarded-*`: URLs come from settings.

use std::{any::Any, collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State as Extract},
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use http::{HeaderValue, Method, header::X_CONTENT_TYPE_OPTIONS};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any as AnyOrigin, CorsLayer},
};

use super::{
    Metrics, authorize, challenge,
    errors::{ApiError, Outcome},
    metadata,
    org::State,
    prm, registry_api, token,
};

/// The longest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Every endpoint: its path below the public URL, its name in metrics, and whether browsers of any origin may read it.
fn endpoints() -> [(&'static str, &'static str, bool, MethodRouter<State>); 12] {
    [
        (
            "/.well-known/oauth-authorization-server/orgs/{org}/api/v1",
            "metadata",
            true,
            get(metadata::authorization_server),
        ),
        ("/.well-known/openid-configuration/orgs/{org}/api/v1", "metadata", true, get(metadata::authorization_server)),
        (
            "/orgs/{org}/api/v1/.well-known/oauth-authorization-server",
            "metadata",
            true,
            get(metadata::authorization_server),
        ),
        ("/orgs/{org}/api/v1/.well-known/openid-configuration", "metadata", true, get(metadata::authorization_server)),
        ("/orgs/{org}/api/v1/.well-known/jwks.json", "jwks", true, get(metadata::jwks)),
        ("/orgs/{org}/api/v1/.well-known/oauth-protected-resource", "org_prm", true, get(prm::of_org)),
        (
            "/orgs/{org}/api/v1/.well-known/oauth-protected-resource/mcp/{server}",
            "server_prm",
            true,
            get(prm::of_server),
        ),
        ("/orgs/{org}/api/v1/mcp/servers", "registry_list", false, get(registry_api::list)),
        ("/orgs/{org}/api/v1/mcp/servers/{server}", "registry_details", false, get(registry_api::details)),
        (
            "/orgs/{org}/api/v1/mcp/{server}/challenge",
            "challenge",
            false,
            get(challenge::challenge).post(challenge::challenge),
        ),
        ("/orgs/{org}/api/v1/oauth/token", "token", false, post(token::token)),
        (
            "/orgs/{org}/api/v1/oauth/authorize",
            "authorize",
            false,
            get(authorize::authorize).post(authorize::authorize),
        ),
    ]
}

/// The authorization server and the registry API.
pub fn router(state: State) -> Router {
    // Documents without credentials: any page may read them, and may send the headers MCP clients send.
    let open = CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(AnyOrigin)
        .max_age(Duration::from_hours(1));
    let endpoints = endpoints();
    let counting = Counting {
        metrics: state.metrics.clone(),
        names: Arc::new(endpoints.iter().map(|(path, name, ..)| (*path, *name)).collect()),
    };
    endpoints
        .into_iter()
        .fold(Router::new(), |router, (path, _, public, methods)| {
            let methods = methods.fallback(async || ApiError::method_not_allowed());
            router.route(path, if public { methods.layer(open.clone()) } else { methods })
        })
        .fallback(async || ApiError::unknown_path())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(counting, count))
        .layer(map_response(finish))
        .with_state(state)
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::too_slow().into_response(),
    }
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request handler panicked");
    ApiError::internal().into_response()
}

/// What [`count`] needs: where to count, and under which name.
#[derive(Clone)]
struct Counting {
    metrics: Metrics,
    names: Arc<HashMap<&'static str, &'static str>>,
}

async fn count(
    Extract(counting): Extract<Counting>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let name = path.and_then(|path| counting.names.get(path.as_str()).copied());
    let response = next.run(request).await;
    let outcome = response.extensions().get::<Outcome>().map_or("ok", |outcome| outcome.0);
    counting.metrics.request(name.unwrap_or("other"), outcome);
    response
}

async fn finish(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
