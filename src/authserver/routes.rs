//! Which path is answered by what. Nothing here or below reads `Host` or `X-Forwarded-*`: URLs come from settings.

use std::{any::Any, collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State as Extract},
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use http::{
    HeaderValue, Method,
    header::{RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, Any as AnyOrigin, CorsLayer},
};

use super::{
    Metrics, authorize, challenge,
    clients::registration,
    errors::{ApiError, Outcome},
    introspect, metadata,
    org::State,
    people::account,
    prm, registry_api, revoke, status, token,
};

/// The longest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Which pages of other origins may call an endpoint from a browser.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origins {
    /// None.
    None,
    /// Any may read it.
    Read,
    /// Any may post to it.
    Post,
}

impl Origins {
    /// Any origin and no credentials of the browser: these endpoints read no cookie, and what a request to them proves
    /// (a client secret, an assertion, a code with its verifier) a page either holds itself or does not have. So a page
    /// can do here what any program on the network can, and nothing in the name of whoever looks at it.
    fn layer(self) -> Option<CorsLayer> {
        let any = CorsLayer::new().allow_origin(AnyOrigin).max_age(Duration::from_hours(1));
        match self {
            Self::None => None,
            Self::Read => Some(any.allow_methods([Method::GET, Method::HEAD]).allow_headers(AnyOrigin)),
            // `*` does not stand for Authorization (Fetch, 4.9), where clients put their secret.
            Self::Post => Some(
                any.allow_methods([Method::POST])
                    .allow_headers(AllowHeaders::mirror_request())
                    .expose_headers([WWW_AUTHENTICATE, RETRY_AFTER]),
            ),
        }
    }
}

/// One endpoint: its path below the public URL, its name in metrics, who may call it from a browser.
struct Endpoint(&'static str, &'static str, Origins, MethodRouter<State>);

#[rustfmt::skip] // A table, an endpoint a line.
fn endpoints() -> Vec<Endpoint> {
    use Origins::{None, Post, Read};
    vec![
        Endpoint("/.well-known/oauth-authorization-server/orgs/{org}/api/v1", "metadata", Read, get(metadata::authorization_server)),
        Endpoint("/.well-known/openid-configuration/orgs/{org}/api/v1", "metadata", Read, get(metadata::authorization_server)),
        Endpoint("/orgs/{org}/api/v1/.well-known/oauth-authorization-server", "metadata", Read, get(metadata::authorization_server)),
        Endpoint("/orgs/{org}/api/v1/.well-known/openid-configuration", "metadata", Read, get(metadata::authorization_server)),
        Endpoint("/orgs/{org}/api/v1/.well-known/jwks.json", "jwks", Read, get(metadata::jwks)),
        Endpoint("/orgs/{org}/api/v1/.well-known/oauth-protected-resource", "org_prm", Read, get(prm::of_org)),
        Endpoint("/orgs/{org}/api/v1/.well-known/oauth-protected-resource/mcp/{server}", "server_prm", Read, get(prm::of_server)),
        Endpoint("/orgs/{org}/api/v1/mcp/servers", "registry_list", None, get(registry_api::list)),
        Endpoint("/orgs/{org}/api/v1/mcp/servers/{server}", "registry_details", None, get(registry_api::details)),
        Endpoint("/orgs/{org}/api/v1/mcp/{server}/challenge", "challenge", None, get(challenge::challenge).post(challenge::challenge)),
        Endpoint("/orgs/{org}/api/v1/connect/register", "register", Post, post(registration::register)),
        Endpoint("/orgs/{org}/api/v1/connect/register/{client}", "registration", None, get(registration::read).put(registration::update).delete(registration::delete)),
        Endpoint("/orgs/{org}/api/v1/oauth/token", "token", Post, post(token::token)),
        Endpoint("/orgs/{org}/api/v1/oauth/introspect", "introspect", None, post(introspect::introspect)),
        Endpoint("/orgs/{org}/api/v1/oauth/revoke", "revoke", Post, post(revoke::revoke)),
        Endpoint("/orgs/{org}/api/v1/oauth/status/{list}", "status_list", Read, get(status::status_list)),
        Endpoint("/orgs/{org}/api/v1/oauth/authorize", "authorize", None, get(authorize::show).post(authorize::act)),
        Endpoint("/orgs/{org}/api/v1/account", "account", None, get(account::show).post(account::act)),
    ]
}

/// The authorization server and the registry API.
pub fn router(state: State) -> Router {
    let endpoints = endpoints();
    let counting = Counting {
        metrics: state.metrics.clone(),
        names: Arc::new(endpoints.iter().map(|Endpoint(path, name, ..)| (*path, *name)).collect()),
    };
    endpoints
        .into_iter()
        .fold(Router::new(), |router, Endpoint(path, _, origins, methods)| {
            let methods = methods.fallback(async || ApiError::method_not_allowed());
            let methods = match origins.layer() {
                Some(cors) => methods.layer(cors),
                None => methods,
            };
            router.route(path, methods)
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
