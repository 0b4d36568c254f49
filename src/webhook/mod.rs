//! TLS server for the mutation of pods.
//!
//! It writes nothing: a request is answered from the snapshot, from the settings, and at most from one read of the API
//! server, so that a dry run is a run.

mod certificate;
mod live;
mod metrics;
mod review;
mod serve;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::{sync::watch, time::timeout};
use tower_http::timeout::TimeoutLayer;

pub use certificate::keep_certificate;
pub use live::{Lookup, LookupError};
pub use metrics::Metrics;
pub use serve::serve;

use self::review::{Request, Verdict};
use crate::{
    inject::{self, Injection, Refusal},
    registry::{ObjectKey, Snapshot},
    settings::Settings,
};

/// The names its certificate carries: how API servers reach it, and how people look for it.
pub const NAMES: [&str; 2] =
    ["lumoauth-webhook.lumoauth-system.svc", "lumoauth-webhook.lumoauth-system.svc.cluster.local"];

/// An API object has at most 1.5 MiB in etcd; an AdmissionReview holds one, escaped, and something around it.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// How long a request may take. API servers wait 5 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the API server is asked for an McpServer that the snapshot does not have.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// What decides about pods.
pub struct Webhook<L> {
    /// What all McpServers mean.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Image of the sidecar.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Reads one McpServer live: it may be seconds younger than the snapshot.
    pub lookup: L,
    /// What is counted.
    pub metrics: Metrics,
}

impl<L: Lookup> Webhook<L> {
    /// `POST /mutate/pods`, with its limits.
    pub fn router(self) -> Router {
        Router::new()
            .route("/mutate/pods", post(mutate_pods::<L>))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
            .with_state(Arc::new(self))
    }

    async fn decide(&self, request: &Request) -> Verdict {
        if !request.creates_pod() {
            return Verdict::unchanged();
        }
        let Some(pod) = &request.object else { return Verdict::malformed("the request holds no object") };
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let settings = Arc::clone(&self.settings.borrow());
        match inject::admit(pod, &request.namespace, &snapshot, &settings) {
            Ok(None) => Verdict::unchanged(),
            Ok(Some(injection)) => Verdict::admitted(injection),
            Err(Refusal::UnknownServer(key)) => match self.inject_live(pod, key, &settings).await {
                Ok(injection) => Verdict::admitted(injection),
                Err(verdict) => verdict,
            },
            Err(refusal) => Verdict::refused(&refusal),
        }
    }

    async fn inject_live(
        &self,
        pod: &serde_json::Value,
        key: ObjectKey,
        settings: &Settings,
    ) -> Result<Injection, Verdict> {
        let found = timeout(LOOKUP_TIMEOUT, self.lookup.read(&key)).await.unwrap_or(Err(LookupError::Timeout));
        match found {
            Ok(Some(target)) => inject::inject(pod, &target, settings).map_err(|refusal| Verdict::refused(&refusal)),
            Ok(None) => Err(Verdict::refused(&Refusal::UnknownServer(key))),
            Err(error) => {
                tracing::warn!(server = %key, %error, "webhook: cannot read the McpServer of a pod");
                Err(Verdict::unavailable(&key))
            }
        }
    }
}

async fn mutate_pods<L: Lookup>(State(webhook): State<Arc<Webhook<L>>>, body: Bytes) -> Response {
    let request = match Request::parse(&body) {
        Ok(request) => request,
        Err(error) => {
            webhook.metrics.answered("error", "not_a_review");
            tracing::warn!(%error, "webhook: not an AdmissionReview");
            return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
    };
    let verdict = webhook.decide(&request).await;
    webhook.metrics.answered(verdict.outcome(), verdict.reason);
    if let Some(denial) = &verdict.denial {
        tracing::info!(
            namespace = request.namespace,
            pod = request.name(),
            message = denial.message,
            "webhook: pod refused"
        );
    }
    ([(CONTENT_TYPE, "application/json")], verdict.review(&request.uid).to_string()).into_response()
}
