//! Bodies: reading a request's whole, to a limit, and what responses are made of.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use crate::{
    budget::Budget,
    refusal::{Malformed, Refusal, Unavailable},
    relay::{Relay, RelayError},
};

/// How long a request's body may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyTimes {
    /// Between two pieces of it.
    pub(crate) idle: Duration,
    /// From its beginning to its end.
    pub(crate) total: Duration,
}

/// Reads a request's body: at most `limit` bytes, in time (RFC 9110 §15.5.9, §15.5.14). Trailers are dropped. What it
/// has of `budget` is given back when the bytes are dropped.
pub(crate) async fn read(body: Incoming, limit: usize, times: BodyTimes, budget: &Budget) -> Result<Bytes, Refusal> {
    timeout(times.total, read_pieces(body, limit, times.idle, budget)).await.unwrap_or(Err(Refusal::Slow))
}

async fn read_pieces(mut body: Incoming, limit: usize, idle: Duration, budget: &Budget) -> Result<Bytes, Refusal> {
    let declared = body.size_hint().lower();
    if declared > limit as u64 {
        return Err(Refusal::TooLarge);
    }
    budget.cover(limit);
    let mut share = budget.share();
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(Refusal::Slow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::Malformed(Malformed::Body)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if so_far + data.len() > limit {
            return Err(Refusal::TooLarge);
        }
        share.grow(so_far + data.len()).await.map_err(|_| Refusal::Unavailable(Unavailable::Busy))?;
        // Most bodies arrive in one piece, which is then passed on without a copy.
        match &first {
            None => first = Some(data),
            Some(head) => {
                if rest.is_empty() {
                    rest.reserve(usize::try_from(declared).unwrap_or(0).clamp(head.len() + data.len(), limit));
                    rest.extend_from_slice(head);
                    first = Some(Bytes::new());
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(share.seal(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() }))
}

/// `application/json`, with no charset other than UTF-8 (RFC 8259 §8.1).
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// The body of a response.
pub(crate) enum Body {
    /// Ours, whole.
    Full(Option<Bytes>),
    /// The server's, as it comes.
    Relay(Box<Relay>),
}

impl Body {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relay(relay) => relay.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Relay(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relay(relay) => relay.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("application/json", true)]
    #[case("Application/JSON; charset=UTF-8", true)]
    #[case("application/json;charset=\"utf-8\"", true)]
    #[case("application/json; charset=utf-16", false)]
    #[case("application/json; charset=utf-8; charset=utf-16", false)]
    #[case("application/jsonx", false)]
    #[case("text/plain", false)]
    #[case("multipart/form-data; boundary=x", false)]
    #[case("application/json, text/plain", false)]
    #[case("", false)]
    fn rfc8259_8_1_content_type(#[case] value: &'static str, #[case] json: bool) {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(value))]);
        assert_eq!(is_json(&headers), json);
        assert!(!is_json(&HeaderMap::new()));
    }
}
