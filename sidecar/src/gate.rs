//! A call, step by step: from a request's head to a [`Permit`](lumoauth_core::policy::Permit) and on, or to a refusal.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::CONNECTION, request::Parts};
use hyper::body::Incoming;
use lumoauth_core::{
    mcp::{self, McpHeaders, Message},
    policy::{Decision, Operation, Permit, decide, decide_open},
};

use crate::{
    audit::{Line, RequestIds},
    authenticate::{Caller, Trust},
    body::{self, Body, BodyTimes},
    budget::Budget,
    clock::now,
    config::ConfigHandle,
    credentials,
    forward::{self, Call},
    framing::Framing,
    hygiene::{self, Route},
    metrics::{Metrics, method_class},
    refusal::{Malformed, Refusal, Unavailable},
    relay::{Grant, Watch},
    respond,
    site::{Mode, Protected, Running, Site},
    wellknown,
};

/// Answers every request of every connection of one sidecar.
pub(crate) struct Gate {
    config: ConfigHandle,
    metrics: Metrics,
    request_ids: RequestIds,
    body_times: BodyTimes,
    budget: Budget,
}

/// What is known about a request so far: for its audit line and for the headers of its answer.
struct Case {
    request_id: String,
    origin: Option<HeaderValue>,
    caller: Option<Caller>,
    subject: Subject,
    /// Whether the audit line is written: there is one per decision.
    decided: bool,
}

/// What a request is about.
#[derive(Clone)]
enum Subject {
    Unread,
    EndSession,
    Message(Arc<Message>),
}

impl Subject {
    /// JSON-RPC method and name, as the audit line has them.
    fn words(&self) -> (&str, &str) {
        match self {
            Self::Unread => ("", ""),
            Self::EndSession => ("DELETE", ""),
            Self::Message(message) => (&message.method, message.name.as_deref().unwrap_or_default()),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Unread => "none",
            Self::EndSession => "end_session",
            Self::Message(message) if message.kind == mcp::Kind::Response => "response",
            Self::Message(message) => method_class(&message.method),
        }
    }

    fn operation(&self) -> Operation<'_> {
        match self {
            Self::Message(message) => message.operation(),
            Self::Unread | Self::EndSession => Operation::EndSession,
        }
    }
}

impl Gate {
    pub(crate) fn new(config: ConfigHandle, metrics: Metrics, body_times: BodyTimes, budget: Budget) -> Self {
        Self { config, metrics, request_ids: RequestIds::new(), body_times, budget }
    }

    /// The answer to one request.
    pub(crate) async fn answer(&self, framing: &Framing, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let running = self.config.current();
        let mut case = Case {
            request_id: self.request_ids.name(&head.headers).into_owned(),
            origin: None,
            caller: None,
            subject: Subject::Unread,
            decided: false,
        };
        let answer = match running.as_ref().map(|running| (running, &running.mode)) {
            None => Err(Refusal::Unavailable(Unavailable::NoConfig)),
            Some((_, Mode::DenyAll { .. })) => Err(Refusal::Unavailable(Unavailable::DenyAll)),
            Some((running, Mode::Enforce(site))) => self.pass(framing, head, body, running, site, &mut case).await,
        };
        let protected = running.as_deref().and_then(Running::site).and_then(|site| site.protected.as_deref());
        let mut response = match answer {
            Ok(response) => response,
            Err(refusal) => {
                self.record(&mut case, running.as_deref(), refusal.decision(), refusal.reason());
                respond::refuse(&refusal, protected)
            }
        };
        if framing.is_ambiguous() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(origin) = case.origin {
            wellknown::expose_to(origin, response.headers_mut());
        }
        response
    }

    async fn pass(
        &self,
        framing: &Framing,
        head: Parts,
        body: Incoming,
        running: &Arc<Running>,
        site: &Site,
        case: &mut Case,
    ) -> Result<Response<Body>, Refusal> {
        unambiguous(framing)?;
        let route = hygiene::check(&head, site)?;
        match (route, &site.protected) {
            (Route::Metadata, Some(protected)) => return Ok(wellknown::metadata(&head.method, protected)),
            (Route::Metadata, None) => return Err(Refusal::NotFound),
            (Route::MetadataOptions, _) => return Ok(wellknown::metadata_options()),
            _ => {}
        }
        case.origin = wellknown::origin(&head.headers, site)?.cloned();
        if route == Route::Options {
            return Ok(wellknown::options(&head.headers, case.origin.is_some()));
        }
        case.caller = match &site.protected {
            Some(protected) => Some(authenticate(&head, &protected.trust).await?),
            None if credentials::in_query(head.uri.query().unwrap_or_default()) => {
                return Err(Refusal::Malformed(Malformed::TokenInQuery));
            }
            None => None,
        };
        let bytes = if route == Route::Message {
            let bytes = self.read_message(framing, &head.headers, body, site).await?;
            let message = mcp::parse(&bytes, &mcp_headers(&head.headers)).map_err(Refusal::Message)?;
            case.subject = Subject::Message(Arc::new(message));
            bytes
        } else {
            case.subject = Subject::EndSession;
            Bytes::new()
        };
        let permit = permit(site.protected.as_deref(), case)?;
        let message = match &case.subject {
            Subject::Message(message) => Some(Arc::clone(message)),
            Subject::Unread | Subject::EndSession => None,
        };
        let status = case.caller.as_ref().and_then(|caller| caller.status.clone());
        let watch = Watch::new(Grant::new(permit, message, Arc::clone(running), status, self.config.clone()));
        // The body may have taken its time: what was true of the head may not be any more.
        if let Some(end) = watch.ended() {
            return Err(end.into());
        }
        self.record(case, Some(running), "allow", "permitted");
        forward::forward(watch, Call { head, body: bytes }, site, &self.budget, &self.metrics).await
    }

    async fn read_message(
        &self,
        framing: &Framing,
        headers: &HeaderMap,
        body: Incoming,
        site: &Site,
    ) -> Result<Bytes, Refusal> {
        if !body::is_json(headers) {
            return Err(Refusal::ContentType);
        }
        let bytes = body::read(body, site.max_body_bytes, self.body_times, &self.budget).await;
        // The framing of a chunked body is known to be unambiguous only at its end.
        unambiguous(framing)?;
        bytes
    }

    /// Writes the audit line and counts the decision, once per request.
    fn record(&self, case: &mut Case, running: Option<&Running>, decision: &'static str, reason: &'static str) {
        if std::mem::replace(&mut case.decided, true) {
            return;
        }
        let (method, name) = case.subject.words();
        let caller = case.caller.as_ref().map(|caller| caller.principal.identity());
        let server = running.map(|running| &running.server);
        Line { server, caller, method, name, decision, reason, request_id: &case.request_id }.write();
        self.metrics.decided(decision, reason, case.subject.class());
    }
}

fn unambiguous(framing: &Framing) -> Result<(), Refusal> {
    if framing.is_ambiguous() { Err(Refusal::Malformed(Malformed::Framing)) } else { Ok(()) }
}

async fn authenticate(head: &Parts, trust: &Trust) -> Result<Caller, Refusal> {
    trust.authenticate(credentials::bearer(head)?, now()).await
}

fn mcp_headers(headers: &HeaderMap) -> McpHeaders<'_> {
    let all = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    McpHeaders { protocol_version: all("mcp-protocol-version"), method: all("mcp-method"), name: all("mcp-name") }
}

/// Step 6.
fn permit(protected: Option<&Protected>, case: &Case) -> Result<Permit, Refusal> {
    let (protected, caller) = match (protected, &case.caller) {
        (None, _) => return Ok(decide_open()),
        (Some(protected), Some(caller)) => (protected, caller),
        (Some(_), None) => return Err(Refusal::NoToken),
    };
    let id = || match &case.subject {
        Subject::Message(message) => message.id.clone(),
        Subject::Unread | Subject::EndSession => None,
    };
    match decide(&protected.policy, &caller.principal, case.subject.operation()) {
        Decision::Permit(permit) => Ok(permit),
        Decision::Challenge(needed) => Err(Refusal::Scope { needed, id: id() }),
        Decision::Deny(reason) => Err(Refusal::Denied { reason, id: id() }),
    }
}
