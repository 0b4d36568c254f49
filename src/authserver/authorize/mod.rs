//! The authorization endpoint (RFC 6749 §3.1 with PKCE, RFC 8707 and RFC 9207): a row of single-purpose steps, each of
//! which passes on what it proved or says why not.
//!
//! Nothing is kept between pages: the query of the request is all there is of it, every form is sent back to the same
//! URL, and every answer begins with all checks. [`Redirectable`] is the proof without which nobody is sent to a client.

mod answer;
mod page;
mod pkce;
mod prompt;
mod proposal;
mod redirectable;
mod refused;
mod request;
mod resources;
mod response_type;
mod scopes;
mod state;
#[cfg(test)]
mod tests;

use axum::{
    extract::{RawQuery, State as Extract, rejection::BytesRejection},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header::SET_COOKIE};
use lumoauth_core::{ResourceUri, uri::RedirectKind};

use self::{
    answer::{Answer, Asked, Sent, Stop, Trail, see_other},
    proposal::Proposal,
    redirectable::Redirectable,
    refused::{Refused, Unproven},
    request::Request,
};
use super::{
    artefact::{Artefact, Kind},
    org::{Org, OrgError, State},
    pages::{FormTarget, Problem, Shown},
    parameters::Parameters,
    people::{
        Action, Visitor,
        login::{self, Purpose},
    },
    store::{Consent, Reissued, User},
};

/// The longest query, in bytes: the longest `state`, percent-encoded. What is over 16 KiB with the rest of a request's head,
/// the connection refuses without a page.
const MAX_QUERY_BYTES: usize = 12 * 1024;

/// Answers `GET oauth/authorize`.
pub(super) async fn show(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let org = match org {
        Ok(org) => org,
        Err(error) => return Problem::from(error).into_response(),
    };
    let mut trail = Trail::default();
    let endpoint = Endpoint { state: &state, org: &org, query: query.as_deref().unwrap_or_default() };
    let result = endpoint.ask(&headers, &mut trail).await;
    trail.conclude(&org, Sent::Link, result)
}

/// Answers `POST oauth/authorize`: a form of the login page or the consent page.
pub(super) async fn act(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (org, body) = match (org, body) {
        (Ok(org), Ok(body)) => (org, body),
        (Err(error), _) => return Problem::from(error).into_response(),
        (_, Err(_)) => return Problem::TooLarge.into_response(),
    };
    let mut trail = Trail::default();
    let endpoint = Endpoint { state: &state, org: &org, query: query.as_deref().unwrap_or_default() };
    let result = endpoint.act(&headers, &body, &mut trail).await;
    trail.conclude(&org, Sent::Form, result)
}

/// What a request is answered from.
struct Endpoint<'a> {
    state: &'a State,
    org: &'a Org,
    query: &'a str,
}

impl Endpoint<'_> {
    /// Puts the request to whoever sits at the browser, if there is anything to ask.
    async fn ask(&self, headers: &HeaderMap, trail: &mut Trail) -> Result<Answer, Stop> {
        let request = self.read(trail).await?;
        let visitor = Visitor::of(self.state, self.org, headers).await?;
        let prompt = request.prompt;
        let Some(user) = visitor.user().filter(|_| !prompt.login) else {
            if prompt.none {
                return Err(Stop::refused(&request.to, Refused::LoginRequired));
            }
            return Ok(Answer::Ask(login::page(self.org, &visitor, &self.purpose(&request))));
        };
        let mut proposal = self.propose(&request, user, trail).await?;
        if proposal.was_agreed_to() && !prompt.consent && !request.to.may_be_impersonated() {
            if let Some(answer) = self.issue_again(&request, &proposal).await? {
                return Ok(answer);
            }
            proposal = self.propose(&request, user, trail).await?;
        }
        if prompt.none {
            return Err(Stop::refused(&request.to, Refused::ConsentRequired));
        }
        Ok(Answer::Ask(page::consent((self.state, self.org), &visitor, user, (&request, &proposal), &self.page())))
    }

    /// Does what a button of a page asks for, after all checks of the request that the page was about.
    async fn act(&self, headers: &HeaderMap, body: &[u8], trail: &mut Trail) -> Result<Answer, Stop> {
        let visitor = Visitor::of(self.state, self.org, headers).await?;
        let Some(form) = visitor.form(self.org, headers, body)? else {
            return Ok(Answer::Ask(see_other(&self.page(), "overtaken")?));
        };
        let request = self.read(trail).await?;
        match (form.action, visitor.user()) {
            (Action::Login, _) => {
                let purpose = self.purpose(&request);
                Ok(Answer::Ask(login::submit(self.state, self.org, &visitor, &form, &purpose).await?))
            }
            (Action::Logout, _) => {
                let cookie = visitor.sign_out(self.state, self.org).await?;
                let mut response = see_other(&self.page(), "logout")?;
                response.headers_mut().append(SET_COOKIE, cookie);
                Ok(Answer::Ask(response))
            }
            (Action::Deny, user) => {
                trail.user = user.map(|user| user.id.clone());
                Err(Stop::refused(&request.to, Refused::Denied))
            }
            (Action::Allow, None) => Ok(Answer::Ask(login::page(self.org, &visitor, &self.purpose(&request)))),
            (Action::Allow, Some(user)) => {
                let proposal = self.propose(&request, user, trail).await?;
                if form.fields.get("proposal") != Some(proposal.digest().to_string().as_str()) {
                    // Grants, scopes or the client have changed since: the person agrees to what is shown, or to nothing.
                    let asked = (&request, &proposal);
                    return Ok(Answer::Ask(page::consent((self.state, self.org), &visitor, user, asked, &self.page())));
                }
                self.issue(&request, &proposal).await
            }
            (Action::Withdraw, _) => Err(Problem::BadForm.into()),
        }
    }

    /// All steps that do not depend on who sits at the browser.
    async fn read(&self, trail: &mut Trail) -> Result<Request, Stop> {
        if self.query.len() > MAX_QUERY_BYTES {
            return Err(Unproven::TooLong.into());
        }
        let parameters = Parameters::of_query(self.query).map_err(Unproven::Parameters)?;
        trail.client = redirectable::document(&parameters);
        let to = Redirectable::prove(self.state, self.org, &parameters).await?;
        trail.client = Some(to.client().id.clone());
        let request = Request::parse(self.org, &to, &parameters).map_err(|refused| Stop::refused(&to, refused))?;
        let resources: Vec<_> = request.targets.iter().map(|target| target.server.resource.as_str()).collect();
        trail.resource = resources.join(" ");
        Ok(request)
    }

    /// What the request comes to for a person.
    async fn propose(&self, request: &Request, user: &User, trail: &mut Trail) -> Result<Proposal, Stop> {
        trail.user = Some(user.id.clone());
        let mut before = Vec::with_capacity(request.targets.len());
        for target in &request.targets {
            before.push(self.consent(request, user, &target.server.resource).await?);
        }
        let proposal =
            Proposal::of(request, user, before).ok_or_else(|| Stop::refused(&request.to, Refused::NothingGrantable))?;
        trail.resource = proposal.resources();
        trail.scope = proposal.scopes();
        Ok(proposal)
    }

    async fn consent(
        &self,
        request: &Request,
        user: &User,
        resource: &ResourceUri,
    ) -> Result<Option<Consent>, Problem> {
        let client = &request.to.client().id;
        let found = self.state.store.consent(&self.org.id, &user.id, client, resource).await;
        found.map_err(|_| Problem::Unavailable)
    }

    /// Gives the client a code, and remembers the yes that was given now.
    async fn issue(&self, request: &Request, proposal: &Proposal) -> Result<Answer, Stop> {
        let code = new_code()?;
        let new = proposal.code(request, code.digest(), self.org.now);
        let issued = self.state.store.issue_code(&self.org.id, &new, &proposal.consents(self.org.now)).await;
        if issued.map_err(|_| Problem::Unavailable)? {
            Ok(Answer::Code(Box::new(request.to.clone()), request.to.granted(&code), Asked::Now))
        } else {
            Err(Stop::refused(&request.to, Refused::Disabled))
        }
    }

    /// Gives the client a code upon what was agreed to before. `None`: that has changed since it was read.
    async fn issue_again(&self, request: &Request, proposal: &Proposal) -> Result<Option<Answer>, Stop> {
        let code = new_code()?;
        let new = proposal.code(request, code.digest(), self.org.now);
        let issued = self.state.store.issue_code_again(&self.org.id, &new, &proposal.agreed_before()).await;
        match issued.map_err(|_| Problem::Unavailable)? {
            Reissued::Done => {
                Ok(Some(Answer::Code(Box::new(request.to.clone()), request.to.granted(&code), Asked::Before)))
            }
            Reissued::Changed => Ok(None),
            Reissued::Refused => Err(Stop::refused(&request.to, Refused::Disabled)),
        }
    }

    /// Path and query of this request, without a login that was asked for: whoever sees a page of ours at it has just
    /// logged in, or is about to.
    fn page(&self) -> String {
        format!("/orgs/{}/api/v1/oauth/authorize?{}", self.org.id, prompt::without_login(self.query))
    }

    fn purpose(&self, request: &Request) -> Purpose {
        Purpose {
            page: self.page(),
            client: Some(Shown::of(request.to.client().title())),
            target: FormTarget::redirect(request.to.redirect()),
            leads_on: request.to.redirect().kind() != RedirectKind::PrivateUse,
        }
    }
}

fn new_code() -> Result<Artefact, Problem> {
    Artefact::generate(Kind::Code).map_err(|error| {
        tracing::error!(%error, "no code can be made");
        Problem::Internal
    })
}
