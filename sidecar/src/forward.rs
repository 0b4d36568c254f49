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
};

use crate::{
    body::Body,
    budget::{Budget, Share},
    headers::{self, Outbound},
    metrics::Metrics,
    refusal::{Refusal, Unavailable, UpstreamFault},
    relay::{Relay, Watch},
    site::Site,
    upstream::Exchange,
};

/// The longest list, or event of a stream that carries one, that is held back to be filtered.
const MAX_FILTERED_BYTES: usize = 8 * 1024 * 1024;

/// A request that was read and decided.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    /// Exactly as received.
    pub(crate) body: Bytes,
}

/// Forwards `call` to the server of `site` under the permission that `watch` watches, and relays the response.
pub(crate) async fn forward(
    mut watch: Watch,
    call: Call,
    site: &Site,
    budget: &Budget,
    metrics: &Metrics,
) -> Result<Response<Body>, Refusal> {
    let grant = Arc::clone(watch.grant());
    let filter = filter(&grant.permit, grant.message.as_deref(), site);
    let context = Outbound {
        host: site.upstream.host(),
        identity: grant.permit.identity(),
        org: &grant.under.server.org,
        filtered: filter.is_some(),
    };
    let request = request(call.head, call.body, site, &context)?;
    let failed = |fault: UpstreamFault| {
        metrics.upstream_failed(fault.as_str());
        Refusal::Upstream { fault, id: grant.message.as_ref().and_then(|message| message.id.clone()) }
    };
    let sent = watch.guard(site.upstream.send(request)).await?;
    let (mut parts, exchange) = sent.map_err(|_| failed(UpstreamFault::Unreachable))?;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(failed(UpstreamFault::Switched));
    }
    headers::inbound(&mut parts.headers);
    let Some(filter) = filter else {
        let is_event_stream = essence_is(&parts.headers, "text/event-stream");
        return Ok(Response::from_parts(parts, relay(exchange, watch, None, is_event_stream, metrics)));
    };
    // What described the server's bytes does not describe ours.
    for name in [CONTENT_LENGTH, ETAG, ACCEPT_RANGES] {
        parts.headers.remove(name);
    }
    let filtered = match Form::of(&parts.headers, &exchange) {
        Form::Events => Some(relay(exchange, watch, Some(filter.sse(MAX_FILTERED_BYTES)), true, metrics)),
        Form::Json => {
            let mut share = budget.share();
            let whole = watch.guard(collect(exchange, &mut share)).await??;
            whole.and_then(|whole| filter.json(&whole).ok()).map(|list| Body::full(share.seal(list.into())))
        }
        Form::Empty if parts.status.is_success() => Some(Body::empty()),
        Form::Empty | Form::Unreadable => None,
    };
    let body = match filtered {
        Some(body) => body,
        None if parts.status.is_success() => return Err(failed(UpstreamFault::Unfilterable)),
        // What an error says is in its status (404: no such session), and in its body there could be a list.
        None => {
            for name in [CONTENT_TYPE, CONTENT_ENCODING] {
                parts.headers.remove(name);
            }
            Body::empty()
        }
    };
    Ok(Response::from_parts(parts, body))
}

/// What a response to a list request is, as far as filtering goes.
enum Form {
    Json,
    Events,
    Empty,
    Unreadable,
}

impl Form {
    fn of(headers: &HeaderMap, exchange: &Exchange) -> Self {
        if exchange.is_end_stream() {
            Self::Empty
        } else if !is_plain(headers) || headers.get_all(CONTENT_TYPE).iter().count() != 1 {
            Self::Unreadable
        } else if essence_is(headers, "application/json") {
            Self::Json
        } else if essence_is(headers, "text/event-stream") {
            Self::Events
        } else {
            Self::Unreadable
        }
    }
}

/// Whether the body is what it says, without a content coding (RFC 9110 §8.4: every field line, every element).
fn is_plain(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().all(|value| {
        value.to_str().is_ok_and(|list| list.split(',').all(|coding| coding.trim().eq_ignore_ascii_case("identity")))
    })
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

/// The whole body, or `None` if it breaks off or is too long.
async fn collect(mut exchange: Exchange, share: &mut Share<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let mut whole = Vec::new();
    while let Some(data) = std::future::poll_fn(|cx| exchange.poll_data(cx)).await {
        let Ok(data) = data else { return Ok(None) };
        let length = whole.len() + data.len();
        if length > MAX_FILTERED_BYTES {
            return Ok(None);
        }
        share.grow(length).await.map_err(|_| Refusal::Unavailable(Unavailable::Busy))?;
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole))
}

fn essence_is(headers: &HeaderMap, essence: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|given| given.trim().eq_ignore_ascii_case(essence))
}
