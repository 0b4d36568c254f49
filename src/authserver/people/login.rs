//! Signing in: the form, and what becomes of it. A step of every page that needs to know who is there.

use axum::response::Response;
use http::{
    HeaderValue, StatusCode,
    header::{RETRY_AFTER, SET_COOKIE},
};

use super::{
    Form, Visitor,
    password::{Busy, Checked},
    throttle::TryAgain,
    visitor::answered,
};
use crate::authserver::{
    State,
    errors::Outcome,
    org::Org,
    pages::{self, FormTarget, LoginPage, OnwardPage, Problem, Shown},
    store::{User, UserId, UserName},
};

/// For which page somebody signs in.
pub(crate) struct Purpose {
    /// Its path and query: where the form is sent to, and where it leads.
    pub(crate) page: String,
    /// The client that asks for access, if one does.
    pub(crate) client: Option<Shown>,
    /// Where that page may send the browser on to, when there is nothing more to ask.
    pub(crate) target: FormTarget,
    /// Whether it may send the browser on to a website or a program, whose own redirects no `form-action` can follow: then
    /// a page stands in between.
    pub(crate) leads_on: bool,
}

/// Why somebody is not signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// User name or password is wrong, or the user is disabled: strangers are not told which.
    Wrong(&'static str),
    /// Too many attempts.
    Throttled(TryAgain),
}

impl Refused {
    /// A stable word for logs and metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::Wrong(reason) => reason,
            Self::Throttled(_) => "throttled",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Wrong(_) => "User name or password is wrong.".to_owned(),
            Self::Throttled(TryAgain { seconds }) => {
                let unit = if seconds == 1 { "second" } else { "seconds" };
                format!("There were too many attempts. Try again in {seconds} {unit}.")
            }
        }
    }
}

/// Asks the visitor to sign in.
pub(crate) fn page(org: &Org, visitor: &Visitor, purpose: &Purpose) -> Response {
    visitor.answer(render(org, visitor, purpose, "", None))
}

/// Takes the login form: on to the page of its purpose with a new session, or the form again.
pub(crate) async fn submit(
    state: &State,
    org: &Org,
    visitor: &Visitor,
    form: &Form<'_>,
    purpose: &Purpose,
) -> Result<Response, Problem> {
    let username = form.fields.get("username").unwrap_or_default();
    let mut known = None;
    let password = form.fields.get("password").unwrap_or_default();
    let attempted = match attempt(state, org, visitor, (username, password), &mut known).await? {
        Ok((user, device)) => visitor.sign_in(state, org, &user, device).await?.ok_or(CHANGED),
        Err(refused) => Err(refused),
    };
    let (outcome, reason) = match &attempted {
        Ok(_) => ("ok", ""),
        Err(refused) => ("refused", refused.reason()),
    };
    state.metrics.login(if reason.is_empty() { outcome } else { reason });
    // The name that was typed is not told: it may be a password in the wrong field. An account that it names is.
    let user = known.as_ref().map_or("", UserId::as_str);
    tracing::info!(target: "lumoauth::audit", event = "login", outcome, reason, org = %org.id, user);
    match attempted {
        Ok(cookies) => {
            let mut response = if purpose.leads_on {
                let destination = Shown::of(org.authority.issuing.public_url.authority());
                pages::onward(&OnwardPage { location: &purpose.page, destination })
            } else {
                pages::see_other(&purpose.page)?
            };
            response.headers_mut().extend(cookies.map(|cookie| (SET_COOKIE, cookie)));
            Ok(response)
        }
        Err(refused) => Ok(render(org, visitor, purpose, username, Some(refused))),
    }
}

const DISABLED: Refused = Refused::Wrong("disabled");
/// Disabled, or given another password, while this one was checked.
const CHANGED: Refused = Refused::Wrong("changed_meanwhile");

/// Checks name and password. Names that nobody has take as long as others, and wait as others do. `known` becomes the
/// account of that name, if there is one. Gives with the user the cookie of the browser, if it is the user's device.
async fn attempt<'a>(
    state: &State,
    org: &Org,
    visitor: &'a Visitor,
    (name, password): (&str, &str),
    known: &mut Option<UserId>,
) -> Result<Result<(User, Option<&'a str>), Refused>, Problem> {
    let people = &state.people.0;
    let Ok(name) = UserName::parse(name.trim()) else { return Ok(Err(Refused::Wrong("malformed_name"))) };
    let device = visitor.device_of(state, org, &name).await?;
    if let Err(again) = people.throttle.attempt(&org.id, name.as_str(), device) {
        return Ok(Err(Refused::Throttled(again)));
    }
    let user = answered(state.store.user_by_name(&org.id, &name)).await?;
    *known = user.as_ref().map(|user| user.id.clone());
    let hash = user.as_ref().map(|user| &user.password_hash);
    let checked = people.passwords.check(password, hash, device.is_some()).await;
    let checked = checked.map_err(|Busy| {
        state.metrics.login("busy");
        Problem::Busy
    })?;
    match (user, checked) {
        (None, _) => Ok(Err(Refused::Wrong("unknown_user"))),
        (Some(_), Checked::Wrong) => Ok(Err(Refused::Wrong("wrong_password"))),
        (Some(user), Checked::Right { .. }) if user.disabled => Ok(Err(DISABLED)),
        (Some(mut user), Checked::Right { better }) => {
            // Where the password was changed meanwhile, the verified hash stays: it starts no session.
            if let Some(better) = better
                && answered(state.store.replace_hash(&org.id, &user.id, &user.password_hash, &better)).await?
            {
                user.password_hash = better;
            }
            Ok(Ok((user, device)))
        }
    }
}

fn render(org: &Org, visitor: &Visitor, purpose: &Purpose, username: &str, refused: Option<Refused>) -> Response {
    let status = match refused {
        None => StatusCode::OK,
        Some(Refused::Wrong(_)) => StatusCode::FORBIDDEN,
        Some(Refused::Throttled(_)) => StatusCode::TOO_MANY_REQUESTS,
    };
    let page = LoginPage {
        org: org.id.as_str(),
        host: org.authority.issuing.public_url.authority(),
        action: &purpose.page,
        csrf: &visitor.csrf(),
        client: purpose.client.clone(),
        username: username.get(..username.len().min(128)).unwrap_or_default(),
        refused: refused.map(Refused::text),
    };
    let mut response = pages::login(status, &page, &purpose.target);
    if let Some(Refused::Throttled(TryAgain { seconds })) = refused {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.extensions_mut().insert(Outcome(refused.map_or("login", Refused::reason)));
    response
}
