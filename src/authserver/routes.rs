//! Which path is answered by what. Nothing here or below reads `Host` or `X-Forwarded-*`: URLs come from settings.

use std::{any::Any, collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request, State as Extract},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use bytes::BytesMut;
use futures::StreamExt as _;
use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use tokio::time::timeout;
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
    pages::Problem,
    people::account,
    prm, registry_api, revoke, status, token,
};

/// The longest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long everything may take.
const PATIENCE: Patience = Patience { body: Duration::from_secs(10), answer: Duration::from_secs(10) };

#[derive(Clone, Copy)]
struct Patience {
    /// For the body of a request.
    body: Duration,
    /// For the answer to a request that has arrived.
    answer: Duration,
}

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
        .layer(from_fn_with_state(PATIENCE, in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(counting, count))
        .layer(map_response(finish))
        .with_state(state)
}

/// HTTP clients send a request again by themselves that was answered 408, so this is said of one that nobody has looked
/// at yet, and of no other: a code that is presented twice ends its grant (RFC 9110 §15.5.9).
async fn in_time(Extract(patience): Extract<Patience>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = match timeout(patience.body, receive(body)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return ApiError::broken_off().into_response(),
        Err(_) => return ApiError::too_slow().into_response(),
    };
    match timeout(patience.answer, next.run(Request::from_parts(head, body))).await {
        Ok(response) => response,
        Err(_) => ApiError::unavailable().into_response(),
    }
}

/// All of a body, or more of it than [`DefaultBodyLimit`] will let through.
async fn receive(body: Body) -> Result<Body, axum::Error> {
    let mut chunks = body.into_data_stream();
    let mut all = BytesMut::new();
    while all.len() <= MAX_BODY_BYTES
        && let Some(chunk) = chunks.next().await
    {
        all.extend_from_slice(&chunk?);
    }
    Ok(Body::from(all.freeze()))
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
    let response = for_people(name, next.run(request).await);
    let outcome = response.extensions().get::<Outcome>().map_or("ok", |outcome| outcome.0);
    counting.metrics.request(name.unwrap_or("other"), outcome);
    response
}

/// The endpoints that people open in a browser.
const PAGES: [&str; 2] = ["authorize", "account"];

/// What is refused around the handlers, as a page where people would read it.
fn for_people(name: Option<&str>, response: Response) -> Response {
    if !name.is_some_and(|name| PAGES.contains(&name)) {
        return response;
    }
    if response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        return response;
    }
    let problem = match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => Problem::Method,
        StatusCode::REQUEST_TIMEOUT => Problem::TooSlow,
        StatusCode::SERVICE_UNAVAILABLE => Problem::NoAnswer,
        status if status.is_client_error() => Problem::BadForm,
        _ => Problem::Internal,
    };
    problem.into_response()
}

async fn finish(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::{future::pending, io};

    use axum::body;
    use futures::stream;
    use rstest::rstest;
    use tower::ServiceExt as _;

    use super::*;

    const QUICK: Patience = Patience { body: Duration::from_millis(50), answer: Duration::from_millis(50) };

    fn chunks(chunks: Vec<io::Result<&'static str>>, ends: bool) -> Body {
        let rest = stream::poll_fn(move |_| if ends { std::task::Poll::Ready(None) } else { std::task::Poll::Pending });
        Body::from_stream(stream::iter(chunks).chain(rest))
    }

    #[rstest]
    #[case::whole(chunks(vec![Ok("a"), Ok("b")], true), 200, "ab")]
    #[case::slow(chunks(vec![Ok("a")], false), 408, "invalid_request")]
    #[case::broken_off(chunks(vec![Ok("a"), Err(io::Error::other("reset"))], true), 400, "invalid_request")]
    #[case::too_long(Body::from(vec![b'a'; MAX_BODY_BYTES + 1]), 413, "")]
    #[case::longest(Body::from(vec![b'a'; MAX_BODY_BYTES]), 200, "aaa")]
    #[tokio::test]
    async fn a_body_that_does_not_arrive(#[case] sent: Body, #[case] status: u16, #[case] says: &str) {
        let router = Router::new()
            .route("/", post(async |body: bytes::Bytes| body))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(from_fn_with_state(QUICK, in_time));
        let response = router.oneshot(http::Request::post("/").body(sent).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
        let text = body::to_bytes(response.into_body(), MAX_BODY_BYTES).await.unwrap();
        assert!(String::from_utf8_lossy(&text).contains(says));
    }

    #[tokio::test]
    async fn rfc9110_15_5_9_an_answer_that_takes_too_long_is_not_sent_for_again() {
        let router = Router::new().route("/", post(pending::<()>)).layer(from_fn_with_state(QUICK, in_time));
        let response = router.oneshot(http::Request::post("/").body(Body::from("a")).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(RETRY_AFTER));
    }

    #[rstest]
    #[case::wrong_method(ApiError::method_not_allowed(), 405, "cannot be asked like that")]
    #[case::timeout(ApiError::too_slow(), 408, "took too long")]
    #[case::broken_off(ApiError::broken_off(), 400, "cannot be read")]
    #[case::no_answer(ApiError::unavailable(), 503, "No answer in time")]
    #[case::panic(ApiError::internal(), 500, "Something went wrong")]
    #[tokio::test]
    async fn people_are_told_on_a_page(#[case] refused: ApiError, #[case] status: u16, #[case] says: &str) {
        let page = for_people(Some("account"), refused.into_response());
        assert_eq!(page.status(), status);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        let text = axum::body::to_bytes(page.into_body(), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&text).contains(says));
        for program in [Some("token"), None] {
            let response = for_people(program, ApiError::too_slow().into_response());
            assert_eq!(response.headers()["content-type"], "application/json");
        }
    }
}
