//! The pages people meet: HTML that needs no script, no frame and nothing from elsewhere.
//!
//! Whatever a page shows of a client or of a request is text that a template escapes, in `<bdi>`, without control and
//! direction characters ([`Shown`]): it cannot reorder or imitate what we say ourselves. The name that a client gave itself
//! stands in `<q>`, in quotes and a frame, wherever a sentence of ours has it.

mod problem;
mod security;
mod shown;
#[cfg(test)]
mod tests;

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, LOCATION},
};
use lumoauth_core::uri::{RedirectKind, RedirectUri};

pub(super) use self::{
    problem::Problem,
    security::{FormTarget, untraced},
    shown::Shown,
};
use super::errors::ApiError;

/// The one style sheet, inlined into every page. Its hash is in every page's Content-Security-Policy.
const STYLE: &str = include_str!("templates/style.css");

/// The login form.
#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage<'a> {
    /// Where the user has an account.
    pub(super) org: &'a str,
    /// Host of the authorization server.
    pub(super) host: &'a str,
    /// Path and query that the form is sent to.
    pub(super) action: &'a str,
    /// Of [`super::people::Visitor::csrf`].
    pub(super) csrf: &'a str,
    /// The client that asks for access, if one does.
    pub(super) client: Option<Shown>,
    /// What was typed before.
    pub(super) username: &'a str,
    /// Why the last attempt failed.
    pub(super) refused: Option<String>,
}

/// The question whether a client may act for a user.
#[derive(Template)]
#[template(path = "consent.html")]
pub(super) struct ConsentPage<'a> {
    /// Organization of the user.
    pub(super) org: &'a str,
    /// Name of the user.
    pub(super) user: &'a str,
    /// Path and query that the form is sent to.
    pub(super) action: &'a str,
    /// Path of the account page.
    pub(super) account: &'a str,
    /// Of [`super::people::Visitor::csrf`].
    pub(super) csrf: &'a str,
    /// The hidden field `proposal`: what the answer is an answer to.
    pub(super) proposal: &'a str,
    /// Who asks.
    pub(super) client: ClientView,
    /// Host, or scheme with its colon, that the browser goes on to ([`RedirectUri::destination`]).
    pub(super) destination: Shown,
    /// What the user should know before.
    pub(super) warnings: Vec<Warning>,
    /// What for.
    pub(super) servers: Vec<ServerView>,
    /// Whether the client asks to stay connected (`offline_access`).
    pub(super) offline: bool,
}

/// Who asks.
pub(super) struct ClientView {
    /// What it calls itself.
    pub(super) name: Shown,
    /// How it became known, before [`ClientView::by`].
    pub(super) known: &'static str,
    /// By whom.
    pub(super) by: Shown,
}

/// An MCP server in a question or in a list.
pub(super) struct ServerView {
    /// Its display name.
    pub(super) name: Shown,
    /// Its resource identifier.
    pub(super) resource: Shown,
    /// What the client may do there.
    pub(super) scopes: Vec<ScopeView>,
    /// Whether the client stays connected. Read by the account page alone.
    pub(super) offline: bool,
}

/// A scope in words.
pub(super) struct ScopeView {
    /// `scopes[].name`.
    pub(super) name: Shown,
    /// `scopes[].description`.
    pub(super) description: Option<Shown>,
    /// Whether the user allowed it before.
    pub(super) already: bool,
}

/// What a user should know before allowing a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Warning {
    /// A dynamic registration, or a document that no administrator named: nobody vouches for the name.
    Unverified,
    /// The answer goes to a program on the user's machine.
    Loopback,
    /// The answer goes to whatever program the user's system starts for a scheme.
    PrivateUse,
    /// The client's document is at one host, and the answer goes to another.
    OtherHost {
        /// Of the document.
        document: Shown,
        /// Of the redirect URI.
        redirect: Shown,
    },
}

impl Warning {
    /// What a redirect URI of a client gives reason to say. `document` is the host of the client's metadata document,
    /// with its port where it has one; `unverified` says that nobody vouches for the client.
    pub(super) fn of(redirect: &RedirectUri, document: Option<&str>, unverified: bool) -> Vec<Self> {
        let mut warnings = Vec::new();
        if unverified {
            warnings.push(Self::Unverified);
        }
        match (redirect.kind(), document, redirect.host()) {
            (RedirectKind::Loopback, ..) => warnings.push(Self::Loopback),
            (RedirectKind::PrivateUse, ..) => warnings.push(Self::PrivateUse),
            (RedirectKind::Https, Some(document), Some(host)) if !same_host(document, host) => {
                warnings.push(Self::OtherHost { document: Shown::whole(document), redirect: Shown::whole(host) });
            }
            (RedirectKind::Https, ..) => {}
        }
        warnings
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Unverified => "Nobody has checked who this is",
            Self::Loopback => "The access goes to a program on your computer",
            Self::PrivateUse => "The access goes to an app on your device",
            Self::OtherHost { .. } => "The access goes to another website",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Unverified => {
                "The application chose its name itself, and no administrator has named it. Go on only if you have \
                 just started to connect it yourself."
                    .to_owned()
            }
            Self::Loopback => "Any program that runs there may receive it and use this name. Go on only if you have \
                               just started such a program yourself."
                .to_owned(),
            Self::PrivateUse => {
                "Another app may have claimed the same address. Go on only if you have just started to \
                                 connect the app yourself."
                    .to_owned()
            }
            Self::OtherHost { document, redirect } => {
                format!("The application is described by {document}, and the access goes to {redirect}.")
            }
        }
    }
}

/// Whether `document`, which may have a port, is at `host`.
fn same_host(document: &str, host: &str) -> bool {
    let name = match document.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => document,
    };
    name.eq_ignore_ascii_case(host)
}

/// What a user allowed.
#[derive(Template)]
#[template(path = "account.html")]
pub(super) struct AccountPage<'a> {
    /// Organization of the user.
    pub(super) org: &'a str,
    /// Name of the user.
    pub(super) user: &'a str,
    /// Path that the forms are sent to.
    pub(super) action: &'a str,
    /// Of [`super::people::Visitor::csrf`].
    pub(super) csrf: &'a str,
    /// What has just been done.
    pub(super) done: Option<&'static str>,
    /// Clients with what they are allowed, the newest first.
    pub(super) clients: Vec<AllowedClientView<'a>>,
    /// Whether there are more than are shown.
    pub(super) more: bool,
}

/// A client in the list of the account page.
pub(super) struct AllowedClientView<'a> {
    /// Its `client_id`, which is not shortened: it goes back in the form. The template escapes it.
    pub(super) id: &'a str,
    /// What it calls itself.
    pub(super) name: Shown,
    /// What it is allowed.
    pub(super) servers: Vec<ServerView>,
}

impl AllowedClientView<'_> {
    fn shown_id(&self) -> Shown {
        Shown::whole(self.id)
    }
}

/// After the logout.
#[derive(Template)]
#[template(path = "signed_out.html")]
pub(super) struct SignedOutPage<'a> {
    /// Organization of the user.
    pub(super) org: &'a str,
    /// Path of the account page.
    pub(super) account: &'a str,
}

/// A page that goes on by itself.
#[derive(Template)]
#[template(path = "onward.html")]
pub(super) struct OnwardPage<'a> {
    /// The URL that the browser goes on to.
    pub(super) location: &'a str,
    /// Its host.
    pub(super) destination: Shown,
}

/// A request of a client that was refused, and the way back to the client.
#[derive(Template)]
#[template(path = "go_back.html")]
pub(super) struct GoBackPage<'a> {
    /// The URL that tells the client.
    pub(super) location: &'a str,
    /// Host of it, or scheme with its colon ([`RedirectUri::destination`]).
    pub(super) destination: Shown,
    /// Whether it is the scheme of an app.
    pub(super) app: bool,
    /// What the client calls itself.
    pub(super) client: Shown,
    /// `error` of the response.
    pub(super) error: &'static str,
    /// `error_description` of the response.
    pub(super) description: &'static str,
}

/// The login form. `status` tells programs what people read in it; `target` is where a login may lead at once, when the
/// user has allowed the client before.
pub(super) fn login(status: StatusCode, page: &LoginPage<'_>, target: &FormTarget) -> Response {
    respond(status, page, target)
}

/// The question whether a client may act for a user. `target` is where the answer goes.
pub(super) fn consent(page: &ConsentPage<'_>, target: &FormTarget) -> Response {
    respond(StatusCode::OK, page, target)
}

/// What a user allowed.
pub(super) fn account(page: &AccountPage<'_>) -> Response {
    security::alone(respond(StatusCode::OK, page, &FormTarget::own()))
}

/// After the logout.
pub(super) fn signed_out(page: &SignedOutPage<'_>) -> Response {
    security::alone(respond(StatusCode::OK, page, &FormTarget::own()))
}

/// A page that goes on by itself, and tells nobody where from.
pub(super) fn onward(page: &OnwardPage<'_>) -> Response {
    untraced(respond(StatusCode::OK, page, &FormTarget::own()))
}

/// A refusal with the way back to the client.
pub(super) fn go_back(page: &GoBackPage<'_>) -> Response {
    untraced(respond(StatusCode::BAD_REQUEST, page, &FormTarget::own()))
}

/// In place of a page, the way to another: 303 and never 307, so that nothing a person typed is sent on (RFC 9700 §4.12).
pub(super) fn see_other(location: &str) -> Result<Response, Problem> {
    let mut location = HeaderValue::try_from(location).map_err(|_| Problem::Internal)?;
    location.set_sensitive(true);
    let headers = [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// The page as a response with the headers that every page has.
fn respond(status: StatusCode, page: &impl Template, target: &FormTarget) -> Response {
    let (Ok(text), Ok(headers)) = (page.render(), security::headers(target)) else {
        // Templates write to memory and policies are built of checked parts. If one fails, nothing of it is shown.
        tracing::error!("a page could not be rendered");
        return ApiError::internal().into_response();
    };
    (status, headers, text).into_response()
}
