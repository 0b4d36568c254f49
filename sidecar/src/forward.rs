//! Step 7: the only way to the MCP server, for requests that hold a [`Permit`].

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    request,
    uri::PathAndQuery,
};
use http_body_util::Full;
use lumoauth_core::{
    mcp::{ListFilter, Message},
    policy::Permit,
    token::TokenError,
};

use crate::{
    body::Body,
    config::ConfigHandle,
    headers::{self, Outbound},
    metrics::Metrics,
    refusal::{Refusal, Unavailable, UpstreamFault},
    relay::{End, Grant, Relay, Watch},
    site::{Running, Site},
    upstream::Exchange,
};

/// The longest list, or event of a stream that carries one, that is held back to be filtered.
const MAX_FILTERED_BYTES: usize = 8 * 1024 * 1024;

/// A request that was read and decided.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    /// Exactly as received.
    pub(crate) body: Bytes,
    /// What `body` says; `None` for the end of a session.
    pub(crate) message: Option<Arc<Message>>,
}

/// Forwards `call` to the server of `site`, which is that of `running`, and relays its response.
pub(crate) async fn forward(
    permit: Permit,
    call: Call,
    running: &Arc<Running>,
    site: &Site,
    config: &ConfigHandle,
    metrics: &Metrics,
) -> Result<Response<Body>, Refusal> {
    let id = call.message.as_ref().and_then(|message| message.id.clone());
    let filter = filter(&permit, call.message.as_deref(), site);
    let context = Outbound {
        host: site.upstream.host(),
        identity: permit.identity(),
        org: &running.server.org,
        filtered: filter.is_some(),
    };
    let request = request(call.head, call.body, site, &context)?;
    let grant = Grant::new(permit, call.message, Arc::clone(running), config.clone());
    let mut watch = Watch::new(grant);
    let failed = |fault: UpstreamFault| {
        metrics.upstream_failed(fault.as_str());
        Refusal::Upstream { fault, id: id.clone() }
    };
    let (mut parts, exchange) = watch
        .guard(site.upstream.send(request))
        .await
        .map_err(ended)?
        .map_err(|_| failed(UpstreamFault::Unreachable))?;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(failed(UpstreamFault::Switched));
    }
    headers::inbound(&mut parts.headers);
    let is_event_stream = essence_is(&parts.headers, "text/event-stream");
    let body = match filter {
        None => relay(exchange, watch, None, is_event_stream, metrics),
        Some(filter) => {
            let form = Form::of(&parts.headers, parts.status, &exchange);
            // What described the server's bytes does not describe ours.
            for name in [CONTENT_LENGTH, ETAG, ACCEPT_RANGES] {
                parts.headers.remove(name);
            }
            match form {
                Form::Events => relay(exchange, watch, Some(filter.sse(MAX_FILTERED_BYTES)), true, metrics),
                Form::Nothing => relay(exchange, watch, None, false, metrics),
                Form::Json => {
                    let whole = watch.guard(collect(exchange)).await.map_err(ended)?;
                    let filtered = whole.and_then(|whole| filter.json(&whole).ok());
                    Body::full(filtered.ok_or_else(|| failed(UpstreamFault::Unfilterable))?.into())
                }
                Form::Unreadable => return Err(failed(UpstreamFault::Unfilterable)),
            }
        }
    };
    Ok(Response::from_parts(parts, body))
}

/// What a response to a list request is, as far as filtering goes.
enum Form {
    Json,
    Events,
    /// An error in some other form, or no body: there is no list in it.
    Nothing,
    Unreadable,
}

impl Form {
    fn of(headers: &HeaderMap, status: StatusCode, exchange: &Exchange) -> Self {
        let plain = headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
        if exchange.is_end_stream() {
            Self::Nothing
        } else if plain && essence_is(headers, "application/json") {
            Self::Json
        } else if plain && essence_is(headers, "text/event-stream") {
            Self::Events
        } else if status.is_success() || !plain {
            Self::Unreadable
        } else {
            Self::Nothing
        }
    }
}

fn filter(permit: &Permit, message: Option<&Message>, site: &Site) -> Option<ListFilter> {
    let protected = site.protected.as_ref().filter(|protected| protected.filter_lists)?;
    ListFilter::for_method(&message?.method, &protected.policy, &permit.identity()?.scopes)
}

fn request(
    head: request::Parts,
    body: Bytes,
    site: &Site,
    context: &Outbound<'_>,
) -> Result<Request<Full<Bytes>>, Refusal> {
    let target = match head.uri.query() {
        None => site.upstream_path.clone(),
        Some(query) => PathAndQuery::try_from(format!("{}?{query}", site.upstream_path))
            .map_err(|_| Refusal::Malformed(crate::refusal::Malformed::Target))?,
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method;
    *request.uri_mut() = target.into();
    *request.headers_mut() = headers::outbound(head.headers, context);
    Ok(request)
}

fn relay(
    exchange: Exchange,
    watch: Watch,
    filter: Option<lumoauth_core::mcp::SseFilter>,
    is_event_stream: bool,
    metrics: &Metrics,
) -> Body {
    Body::Relay(Box::new(Relay::new(exchange, watch, filter, is_event_stream, metrics.clone())))
}

/// The whole body, unless it breaks off or is too long.
async fn collect(mut exchange: Exchange) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(data) = std::future::poll_fn(|cx| exchange.poll_data(cx)).await {
        let data = data.ok()?;
        if whole.len() + data.len() > MAX_FILTERED_BYTES {
            return None;
        }
        whole.extend_from_slice(&data);
    }
    Some(whole)
}

/// A call whose permission ended while the server was thinking.
fn ended(end: End) -> Refusal {
    match end {
        End::Expired => Refusal::Token(TokenError::Expired),
        End::Revoked => Refusal::Unavailable(Unavailable::Revoked),
    }
}

fn essence_is(headers: &HeaderMap, essence: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|given| given.trim().eq_ignore_ascii_case(essence))
}
