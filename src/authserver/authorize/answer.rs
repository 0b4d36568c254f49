//! What a request comes to, as HTTP, and the audit line of it.

use axum::response::{IntoResponse as _, Response};
use lumoauth_core::{ClientId, uri::RedirectKind};

use super::{
    redirectable::Redirectable,
    refused::{Refused, Unproven},
};
use crate::authserver::{
    errors::Outcome,
    org::Org,
    pages::{self, GoBackPage, OnwardPage, Problem, Shown},
    store::UserId,
};

/// Why a request does not come to a code, or to a page that asks.
#[derive(Debug)]
pub(super) enum Stop {
    /// Told on a page.
    Page(Problem),
    /// Told on a page, with what the application's maker should know.
    Unproven(Unproven),
    /// Told the client: by a redirect, or by a link on a page.
    Client(Box<Redirectable>, Refused),
}

impl Stop {
    /// A refusal that the client is told. The proof that it may be is the receiver.
    pub(super) fn refused(to: &Redirectable, refused: Refused) -> Self {
        Self::Client(Box::new(to.clone()), refused)
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Page(problem) => problem.reason(),
            Self::Unproven(unproven) => unproven.reason(),
            Self::Client(_, refused) => refused.reason(),
        }
    }

    fn into_response(self, sent: Sent) -> Response {
        match self {
            Self::Page(problem) => problem.into_response(),
            Self::Unproven(unproven) => unproven.problem().explained(&unproven.detail()),
            Self::Client(to, refused) if refused.goes_by_itself(&to.client().source, to.redirect().kind()) => {
                onward(&to, &to.refused(refused), refused.reason(), sent)
            }
            Self::Client(to, refused) => go_back(&to, refused),
        }
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Page(problem)
    }
}

impl From<Unproven> for Stop {
    fn from(unproven: Unproven) -> Self {
        Self::Unproven(unproven)
    }
}

/// What a request comes to.
pub(super) enum Answer {
    /// A page that asks the person, or a step of ours in between. Not audited here.
    Ask(Response),
    /// Who is given a code, the URL that gives it, and whether the person was asked for it.
    Code(Box<Redirectable>, String, Asked),
}

/// How a person agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// On the page.
    Now,
    /// Before, to all of it.
    Before,
}

/// What the browser sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A link was followed.
    Link,
    /// A form of a page of ours.
    Form,
}

/// What the audit line of a request tells; filled as far as the request came. No code, and nothing else that was sent.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// A client that is known, or the URL of a document that was asked for.
    pub(super) client: Option<ClientId>,
    pub(super) user: Option<UserId>,
    pub(super) resource: String,
    pub(super) scope: String,
}

impl Trail {
    /// Writes the line, if something was decided, and gives the response.
    pub(super) fn conclude(&self, org: &Org, sent: Sent, result: Result<Answer, Stop>) -> Response {
        let (outcome, reason) = match &result {
            Ok(Answer::Ask(_)) => ("", ""),
            Ok(Answer::Code(.., Asked::Now)) => ("allowed", ""),
            Ok(Answer::Code(.., Asked::Before)) => ("allowed", "agreed_before"),
            Err(Stop::Client(_, Refused::Denied)) => ("denied", ""),
            Err(stop) => ("refused", stop.reason()),
        };
        // From closed lists: nothing that a document or a request said.
        let detail = match &result {
            Err(Stop::Unproven(unproven)) => unproven.detail(),
            _ => String::new(),
        };
        if !outcome.is_empty() {
            tracing::info!(
                target: "lumoauth::audit",
                event = "authorize",
                outcome,
                reason,
                detail,
                org = %org.id,
                client = self.client.as_ref().map_or("", ClientId::as_str),
                user = self.user.as_ref().map_or("", UserId::as_str),
                resource = self.resource,
                scope = self.scope,
            );
        }
        match result {
            Ok(Answer::Ask(response)) => response,
            Ok(Answer::Code(to, location, _)) => onward(&to, &location, "code", sent),
            Err(stop) => stop.into_response(sent),
        }
    }
}

/// To the client. Browsers hold `form-action` against every redirect that follows on a form, also those of the client's
/// own website or program, which nobody can list; so a form that leads to one is answered by a page that goes on by
/// itself. An app's scheme is the last hop, and some browsers open apps for what a person did alone.
fn onward(to: &Redirectable, location: &str, outcome: &'static str, sent: Sent) -> Response {
    if sent == Sent::Link || to.redirect().kind() == RedirectKind::PrivateUse {
        return see_other(location, outcome).unwrap_or_else(Problem::into_response);
    }
    let destination = Shown::whole(&to.redirect().destination());
    let mut response = pages::onward(&OnwardPage { location, destination });
    response.extensions_mut().insert(Outcome(outcome));
    response
}

/// The refusal on a page, from which the person goes to the client or does not.
fn go_back(to: &Redirectable, refused: Refused) -> Response {
    let mut response = pages::go_back(&GoBackPage {
        location: &to.refused(refused),
        destination: Shown::whole(&to.redirect().destination()),
        app: to.redirect().kind() == RedirectKind::PrivateUse,
        client: Shown::of(to.client().title()),
        error: refused.error(),
        description: refused.description(),
    });
    response.extensions_mut().insert(Outcome(refused.reason()));
    response
}

/// To another page, or to the client, without a trace of where from.
pub(super) fn see_other(location: &str, outcome: &'static str) -> Result<Response, Problem> {
    let mut response = pages::untraced(pages::see_other(location)?);
    response.extensions_mut().insert(Outcome(outcome));
    Ok(response)
}
