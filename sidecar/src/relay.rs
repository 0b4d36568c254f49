//! Step 8: the server's response on its way to the client, for as long as the permission lasts.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::SizeHint;
use lumoauth_core::{
    UnixTime,
    mcp::{Message, SseFilter},
    policy::{Operation, Permit},
    token::{LEEWAY_SECONDS, TokenError},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    clock::now,
    config::ConfigHandle,
    framing::deadline_in,
    metrics::{Counted, Metrics},
    refusal::{Refusal, Unavailable},
    site::{Running, Site},
    status::{Bit, StatusFault},
    upstream::Exchange,
};

/// Why a response stops before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("the server's response broke off")]
    Upstream(#[source] hyper::Error),
    #[error("the server's list could not be filtered")]
    Filter,
    #[error("the permission ended")]
    Ended,
}

/// A permission in use: what was permitted, under which configuration, and until when.
pub(crate) struct Grant {
    pub(crate) permit: Permit,
    /// `None` for the end of a session.
    pub(crate) message: Option<Arc<Message>>,
    pub(crate) under: Arc<Running>,
    /// Where a revocation of the token would show.
    status: Option<Bit>,
    config: ConfigHandle,
}

/// Why a permission ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The token did.
    Expired,
    /// The configuration in force would not permit the call.
    Revoked,
    /// The token was revoked, or nobody knows any more.
    Status(StatusFault),
}

/// A call whose permission ended before its answer came.
impl From<End> for Refusal {
    fn from(end: End) -> Self {
        match end {
            End::Expired => Self::Token(TokenError::Expired),
            End::Revoked => Self::Unavailable(Unavailable::Revoked),
            End::Status(fault) => fault.into(),
        }
    }
}

impl Grant {
    pub(crate) fn new(
        permit: Permit,
        message: Option<Arc<Message>>,
        under: Arc<Running>,
        status: Option<Bit>,
        config: ConfigHandle,
    ) -> Self {
        Self { permit, message, under, status, config }
    }

    /// Resolves when the permission ends.
    async fn end(self: Arc<Self>, deadline: Option<Instant>) -> End {
        let expiry = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let revocation = async {
            // Subscribed before the first look: a change in between is seen by one or the other.
            let mut rules = self.config.changes();
            let mut status = self.status.as_ref().map(Bit::changes);
            loop {
                if let Some(end) = self.withdrawn() {
                    return end;
                }
                tokio::select! {
                    changed = rules.changed() => if changed.is_err() {
                        return End::Revoked;
                    },
                    () = next(&mut status) => {}
                }
            }
        };
        tokio::select! {
            () = expiry => End::Expired,
            end = revocation => end,
        }
    }

    /// Why the call would not be permitted now, before its token expires.
    fn withdrawn(&self) -> Option<End> {
        if !self.config.current().is_some_and(|running| self.holds_under(&running)) {
            return Some(End::Revoked);
        }
        self.status.as_ref()?.check().err().map(End::Status)
    }

    /// Whether the same call, by the same caller, would be forwarded to the same place under `running`.
    fn holds_under(&self, running: &Arc<Running>) -> bool {
        if Arc::ptr_eq(&self.under, running) {
            return true;
        }
        let (Some(before), Some(after)) = (self.under.site(), running.site()) else { return false };
        before.resource == after.resource
            && before.upstream.port() == after.upstream.port()
            && before.upstream_path == after.upstream_path
            && self.caller_holds_under(before, after)
    }

    fn caller_holds_under(&self, before: &Site, after: &Site) -> bool {
        match (&before.protected, &after.protected, self.permit.identity()) {
            (None, None, _) => true,
            (Some(before), Some(after), Some(caller)) => {
                let operation = self.message.as_ref().map_or(Operation::EndSession, |message| message.operation());
                before.trust.still_trusts(&after.trust, caller) && self.permit.holds_under(&after.policy, operation)
            }
            _ => false,
        }
    }
}

/// Resolves at the next change, if there is anything that can change.
async fn next(changes: &mut Option<watch::Receiver<()>>) {
    let came = match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => false,
    };
    if !came {
        std::future::pending::<()>().await;
    }
}

/// When streams of a token that ends at `expires_at` are cut: then, or, for one accepted within the leeway, at its end.
fn deadline(expires_at: UnixTime, now: UnixTime) -> Instant {
    let end = if now < expires_at { expires_at } else { expires_at.plus(LEEWAY_SECONDS) };
    deadline_in(Duration::from_secs(now.until(end)))
}

type Ending = Pin<Box<dyn Future<Output = End> + Send>>;

/// Watches a [`Grant`] while something waits. What does not have to wait never pays for timers and subscriptions.
pub(crate) struct Watch {
    grant: Arc<Grant>,
    deadline: Option<Instant>,
    ending: Option<Ending>,
}

impl Watch {
    pub(crate) fn new(grant: Grant) -> Self {
        let deadline = grant.permit.expires_at().map(|expires_at| deadline(expires_at, now()));
        Self { grant: Arc::new(grant), deadline, ending: None }
    }

    pub(crate) fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    /// Called by whoever has nothing else to do.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let ending = self.ending.get_or_insert_with(|| Box::pin(Arc::clone(&self.grant).end(self.deadline)));
        ending.as_mut().poll(cx)
    }

    /// Runs `work` unless the permission ends first. Work whose permission has ended is not begun.
    pub(crate) async fn guard<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Some(end) = self.ended() {
                return Poll::Ready(Err(end));
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(value) => Poll::Ready(Ok(value)),
                Poll::Pending => self.poll_end(cx).map(Err),
            }
        })
        .await
    }

    /// How the permission has ended, if it has, for those who do not wait.
    pub(crate) fn ended(&self) -> Option<End> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(End::Expired);
        }
        self.grant.withdrawn()
    }
}

/// A response body that ends with its permission.
pub(crate) struct Relay {
    exchange: Option<Exchange>,
    watch: Watch,
    filter: Option<SseFilter>,
    /// An event stream may end at any event; anything else that ends early must be seen to be incomplete.
    is_event_stream: bool,
    metrics: Metrics,
    _counted: Counted,
}

impl Relay {
    pub(crate) fn new(
        exchange: Exchange,
        watch: Watch,
        filter: Option<SseFilter>,
        is_event_stream: bool,
        metrics: Metrics,
    ) -> Self {
        let counted = metrics.stream();
        Self { exchange: Some(exchange), watch, filter, is_event_stream, metrics, _counted: counted }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RelayError>>> {
        loop {
            let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
            let data = match exchange.poll_data(cx) {
                Poll::Ready(Some(_)) if self.watch.ended().is_some() => return self.cut(),
                Poll::Ready(data) => data,
                Poll::Pending => {
                    ready!(self.watch.poll_end(cx));
                    return self.cut();
                }
            };
            match data {
                None => {
                    self.exchange = None;
                    let rest = self.filter.take().map(SseFilter::finish).transpose();
                    return Poll::Ready(match rest {
                        Err(_) => Some(Err(RelayError::Filter)),
                        Ok(rest) => rest.filter(|rest| !rest.is_empty()).map(|rest| Ok(Bytes::from(rest))),
                    });
                }
                Some(Err(error)) => {
                    self.exchange = None;
                    return Poll::Ready(Some(Err(RelayError::Upstream(error))));
                }
                Some(Ok(data)) => {
                    let Some(filter) = &mut self.filter else { return Poll::Ready(Some(Ok(data))) };
                    match filter.push(&data) {
                        Ok(kept) if kept.is_empty() => {}
                        Ok(kept) => return Poll::Ready(Some(Ok(Bytes::from(kept)))),
                        Err(_) => {
                            self.exchange = None;
                            return Poll::Ready(Some(Err(RelayError::Filter)));
                        }
                    }
                }
            }
        }
    }

    /// Ends the response here, and the server's with it.
    fn cut(&mut self) -> Poll<Option<Result<Bytes, RelayError>>> {
        self.exchange = None;
        self.filter = None;
        self.metrics.stream_ended();
        Poll::Ready(if self.is_event_stream { None } else { Some(Err(RelayError::Ended)) })
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match &self.exchange {
            None => true,
            Some(exchange) => self.filter.is_none() && exchange.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.exchange {
            Some(exchange) if self.filter.is_none() => exchange.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_end_when_the_token_does() {
        let left = |expires: u64, now: u64| {
            let until = deadline(UnixTime(expires), UnixTime(now)).duration_since(Instant::now());
            (until + Duration::from_millis(500)).as_secs()
        };
        assert_eq!(left(1005, 1000), 5);
        assert_eq!(left(1001, 1000), 1);
        // Accepted within the leeway: not cut before it began.
        assert_eq!(left(1000, 1000), LEEWAY_SECONDS);
        assert_eq!(left(995, 1000), LEEWAY_SECONDS - 5);
        let far = deadline(UnixTime(u64::MAX), UnixTime(1000));
        assert!(far > Instant::now());
    }
}
