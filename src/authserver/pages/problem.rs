//! Every error a person can meet: what happened, and what to do about it.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};

use super::{FormTarget, respond};
use crate::authserver::{errors::Outcome, org::OrgError, parameters::ParametersError};

/// What a person cannot go on with. The texts are from a closed list: nothing of the request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No object belongs to the organization of the path.
    UnknownOrg,
    /// Address or keys are not known yet.
    NotReady,
    /// The store does not answer.
    Unavailable,
    /// So many people log in at once that this one cannot be served now.
    Busy,
    /// It is our fault.
    Internal,
    /// A form that another site sent.
    CrossSite,
    /// A form whose CSRF token is not that of this browser.
    StaleForm,
    /// A body that is none of our forms.
    BadForm,
    /// A body that is too long, or broke off.
    TooLarge,
    /// An authorization request that cannot be read: a parameter twice, or too many.
    BadRequest,
    /// No client has the `client_id` of the request.
    UnknownClient,
    /// The client's metadata document cannot be fetched, or is not valid.
    ClientDocument,
    /// The organization does not admit clients of this kind, or from this host.
    ClientNotAdmitted,
    /// An administrator disabled the client.
    ClientDisabled,
    /// Too many documents of clients are fetched now.
    ClientBusy,
    /// The client is not registered for logins of people.
    ClientNotForPeople,
    /// `redirect_uri` is none that the client registered.
    Redirect,
    /// `redirect_uri` is missing, and it cannot be told which is meant.
    NoRedirect,
    /// Neither a link nor a form.
    Method,
    /// The request did not arrive in time.
    TooSlow,
    /// It took us too long to answer.
    NoAnswer,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    title: &'static str,
    happened: &'static str,
    remedy: &'static str,
    detail: &'a str,
}

impl Problem {
    /// Every problem.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 21] = [
        Self::UnknownOrg,
        Self::NotReady,
        Self::Unavailable,
        Self::Busy,
        Self::Internal,
        Self::CrossSite,
        Self::StaleForm,
        Self::BadForm,
        Self::TooLarge,
        Self::BadRequest,
        Self::UnknownClient,
        Self::ClientDocument,
        Self::ClientNotAdmitted,
        Self::ClientDisabled,
        Self::ClientBusy,
        Self::ClientNotForPeople,
        Self::Redirect,
        Self::NoRedirect,
        Self::Method,
        Self::TooSlow,
        Self::NoAnswer,
    ];

    /// A stable word for logs and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::UnknownOrg => "invalid_tenant",
            Self::NotReady | Self::Unavailable => "temporarily_unavailable",
            Self::Busy => "busy",
            Self::Internal => "server_error",
            Self::CrossSite => "cross_site",
            Self::StaleForm => "stale_form",
            Self::BadForm => "bad_form",
            Self::TooLarge => "too_large",
            Self::BadRequest => "invalid_request",
            Self::UnknownClient => "unknown_client",
            Self::ClientDocument => "client_document",
            Self::ClientNotAdmitted => "client_not_admitted",
            Self::ClientDisabled => "client_disabled",
            Self::ClientBusy => "document_rate",
            Self::ClientNotForPeople => "client_not_for_people",
            Self::Redirect => "redirect_uri",
            Self::NoRedirect => "no_redirect_uri",
            Self::Method => "method_not_allowed",
            Self::TooSlow => "too_slow",
            Self::NoAnswer => "no_answer",
        }
    }

    /// The status of the page.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::UnknownOrg => StatusCode::NOT_FOUND,
            Self::NotReady | Self::Unavailable | Self::Busy | Self::ClientBusy | Self::NoAnswer => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::CrossSite | Self::StaleForm | Self::ClientNotAdmitted | Self::ClientDisabled => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadForm
            | Self::BadRequest
            | Self::UnknownClient
            | Self::ClientDocument
            | Self::ClientNotForPeople
            | Self::Redirect
            | Self::NoRedirect => StatusCode::BAD_REQUEST,
        }
    }

    /// Title, what happened, what to do.
    #[allow(clippy::too_many_lines)] // A table with a row for each problem: cut in two, one could be missed.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        const AGAIN: &str =
            "Wait a moment, then reload this page. If it stays like this, tell whoever runs this system.";
        const APPLICATION: &str = "Start again in the application. If it happens again, tell whoever makes or runs it.";
        match self {
            Self::UnknownOrg => (
                "There is no such organization",
                "The address names an organization that this server does not know.",
                "Check the address you were given for the MCP server. If it is right, tell whoever gave it to you.",
            ),
            Self::NotReady => ("Not ready yet", "The authorization server is starting.", AGAIN),
            Self::Unavailable => (
                "Not available now",
                "The authorization server cannot reach the place where it keeps accounts. Nothing was changed.",
                AGAIN,
            ),
            Self::Busy => (
                "Very many people are signing in",
                "Your password was not checked, and nothing was changed.",
                "Wait a few seconds, then sign in again.",
            ),
            Self::Internal => {
                ("Something went wrong here", "The authorization server failed. It is not your fault.", AGAIN)
            }
            Self::CrossSite => (
                "This form came from another website",
                "Your browser says that another website sent this form in your name, or that you reached this page under \
                 another address than its own. Nothing was done.",
                "If you did not press a button on our page, close this window. Otherwise start again in the application.",
            ),
            Self::StaleForm => (
                "This page is out of date",
                "You have signed in or out since the page was opened, or your browser keeps no cookies. Nothing was done.",
                "Go back, reload the page, and try again. Cookies of this site must be allowed.",
            ),
            Self::BadForm => (
                "The form cannot be read",
                "What your browser sent is not the form of our page. Nothing was done.",
                "Go back, reload the page, and try again.",
            ),
            Self::TooLarge => (
                "The form is too long",
                "What your browser sent is longer than any form of ours, or broke off. Nothing was done.",
                "Go back, reload the page, and try again.",
            ),
            Self::BadRequest => (
                "The application's request cannot be read",
                "The application sent you here with a request that contradicts itself or is not complete.",
                APPLICATION,
            ),
            Self::UnknownClient => (
                "This application is not known here",
                "The application that sent you here is not registered with this organization, or its registration has \
                 ended.",
                "In the application, remove the connection and add it again. If it happens again, ask whoever runs the MCP \
                 server to admit the application.",
            ),
            Self::ClientDocument => (
                "The application's description cannot be read",
                "The application says that a web page describes it. That page cannot be read, or is not a valid \
                 description.",
                "Try again in a few minutes. If it happens again, tell whoever makes the application.",
            ),
            Self::ClientNotAdmitted => (
                "This application is not admitted",
                "The organization does not let applications of this kind, or from this website, ask for access.",
                "Ask whoever runs the MCP server to admit the application.",
            ),
            Self::ClientDisabled => (
                "This application has been disabled",
                "An administrator of the organization has disabled the application. It gets nothing.",
                "Ask whoever runs the MCP server why.",
            ),
            Self::ClientBusy => (
                "Very many applications are asking at once",
                "The web page that describes the application was not read. Nothing was changed.",
                "Wait a minute, then reload this page.",
            ),
            Self::ClientNotForPeople => (
                "This application cannot act for people",
                "The application is registered, but not to ask people for access.",
                "Ask whoever runs the MCP server to register it for the grant AuthorizationCode.",
            ),
            Self::Redirect => (
                "The application gave an address that is not its own",
                "The application asked to send you on to an address that it did not register. To keep your access from \
                 strangers, you are not sent there.",
                APPLICATION,
            ),
            Self::NoRedirect => (
                "The application gave no address to return to",
                "The application did not say where to send you on to.",
                APPLICATION,
            ),
            Self::Method => (
                "This page cannot be asked like that",
                "Pages here are opened by a link, or answer their own forms. Nothing was done.",
                APPLICATION,
            ),
            Self::TooSlow => (
                "That took too long",
                "Your browser's request did not arrive in time. Nothing was done.",
                "Go back, reload the page, and try again.",
            ),
            Self::NoAnswer => (
                "No answer in time",
                "The authorization server took too long. What you asked for may have been done all the same.",
                AGAIN,
            ),
        }
    }
}

impl Problem {
    /// The page, with a sentence for whoever makes the application. It must be from a closed list as well.
    pub(crate) fn explained(self, detail: &str) -> Response {
        let (title, happened, remedy) = self.texts();
        let page = ProblemPage { title, happened, remedy, detail };
        let mut response = respond(self.status(), &page, &FormTarget::own());
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response.extensions_mut().insert(Outcome(self.reason()));
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.explained("")
    }
}

impl From<OrgError> for Problem {
    fn from(error: OrgError) -> Self {
        match error {
            OrgError::Unknown => Self::UnknownOrg,
            OrgError::NotReady => Self::NotReady,
        }
    }
}

/// Of a form. What is wrong with a query, the authorization endpoint says.
impl From<ParametersError> for Problem {
    fn from(_: ParametersError) -> Self {
        Self::BadForm
    }
}
