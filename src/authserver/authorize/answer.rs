//! What a request comes to, as HTTP, and the audit line of it.

use axum::response::{IntoResponse as _, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY},
};
use lumoauth_core::ClientId;

use super::{
    redirectable::Redirectable,
    refused::{Refused, Unproven},
};
use crate::authserver::{errors::Outcome, org::Org, pages::Problem, store::UserId};

/// Why a request does not come to a code, or to a page that asks.
#[derive(Debug)]
pub(super) enum Stop {
    /// Told on a page.
    Page(Problem, &'static str),
    /// Told the client, at this URL.
    Redirect(String, Refused),
}

impl Stop {
    /// A refusal that the client is told. The proof that it may be is the receiver.
    pub(super) fn refused(to: &Redirectable, refused: Refused) -> Self {
        Self::Redirect(to.refused(refused), refused)
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Page(_, reason) => reason,
            Self::Redirect(_, refused) => refused.reason(),
        }
    }

    fn into_response(self) -> Response {
        match self {
            Self::Page(problem, _) => problem.into_response(),
            Self::Redirect(location, refused) => see_other(&location, refused.reason()),
        }
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Page(problem, problem.reason())
    }
}

impl From<Unproven> for Stop {
    fn from(unproven: Unproven) -> Self {
        Self::Page(unproven.problem(), unproven.reason())
    }
}

/// What a request comes to.
pub(super) enum Answer {
    /// A page that asks the person, or a step of ours in between. Not audited here.
    Ask(Response),
    /// The URL that gives the client a code, and whether the person was asked for it.
    Code(String, Asked),
}

/// How a person agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// On the page.
    Now,
    /// Before, to all of it.
    Before,
}

/// What the audit line of a request tells; filled as far as the request came. No code, and nothing else that was sent.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// A client that is known.
    pub(super) client: Option<ClientId>,
    pub(super) user: Option<UserId>,
    pub(super) resource: String,
    pub(super) scope: String,
}

impl Trail {
    /// Writes the line, if something was decided, and gives the response.
    pub(super) fn conclude(&self, org: &Org, result: Result<Answer, Stop>) -> Response {
        let (outcome, reason) = match &result {
            Ok(Answer::Ask(_)) => ("", ""),
            Ok(Answer::Code(_, Asked::Now)) => ("allowed", ""),
            Ok(Answer::Code(_, Asked::Before)) => ("allowed", "agreed_before"),
            Err(Stop::Redirect(_, Refused::Denied)) => ("denied", ""),
            Err(stop) => ("refused", stop.reason()),
        };
        if !outcome.is_empty() {
            tracing::info!(
                target: "lumoauth::audit",
                event = "authorize",
                outcome,
                reason,
                org = %org.id,
                client = self.client.as_ref().map_or("", ClientId::as_str),
                user = self.user.as_ref().map_or("", UserId::as_str),
                resource = self.resource,
                scope = self.scope,
            );
        }
        match result {
            Ok(Answer::Ask(response)) => response,
            Ok(Answer::Code(location, _)) => see_other(&location, "code"),
            Err(stop) => stop.into_response(),
        }
    }
}

/// 303, so that nothing a person typed is sent on (RFC 9700 §4.12), and without a trace of where it came from (§4.2).
pub(super) fn see_other(location: &str, outcome: &'static str) -> Response {
    let Ok(mut location) = HeaderValue::try_from(location) else { return Problem::Internal.into_response() };
    location.set_sensitive(true);
    let headers = [
        (LOCATION, location),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let mut response = (StatusCode::SEE_OTHER, headers).into_response();
    response.extensions_mut().insert(Outcome(outcome));
    response
}
