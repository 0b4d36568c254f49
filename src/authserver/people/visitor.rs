//! Who is there: a browser, known by its cookie, and the user who signed in with it, if one did.

use std::future::Future;

use axum::response::Response;
use http::{HeaderMap, HeaderValue, header::SET_COOKIE};

use super::{cookie::Cookie, csrf};
use crate::authserver::{
    State,
    artefact::{Artefact, Digest, Kind},
    org::Org,
    pages::Problem,
    parameters::Parameters,
    store::{NewDevice, NewSession, StoreError, User, UserName},
};

/// How long a session lasts from the login on, in seconds: a working day. Using it does not make it longer.
pub(super) const SESSION_SECONDS: u64 = 8 * 3600;
/// How long a browser is known after the last login there, in seconds.
const DEVICE_SECONDS: u64 = 365 * 86_400;

/// A browser that asks for a page.
pub(crate) struct Visitor {
    cookie: Cookie,
    known: Known,
    user: Option<User>,
    /// The text of the device cookie, if it came with the request.
    device: Option<String>,
}

/// The text of the browser's cookie.
enum Known {
    /// It came with the request.
    Before(Digest, String),
    /// It goes out with the answer.
    FromNow(Artefact),
}

/// What a button on a page of ours asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Sign in with `username` and `password`.
    Login,
    /// Sign out.
    Logout,
    /// Let the client act for the user.
    Allow,
    /// Do not.
    Deny,
    /// Take back what was allowed to `client`.
    Withdraw,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "login" => Self::Login,
            "logout" => Self::Logout,
            "allow" => Self::Allow,
            "deny" => Self::Deny,
            "withdraw" => Self::Withdraw,
            _ => return None,
        })
    }
}

/// A form that this browser sent from a page of ours. [`Visitor::form`] alone makes one.
pub(crate) struct Form<'a> {
    /// The button.
    pub(crate) action: Action,
    /// The fields.
    pub(crate) fields: Parameters<'a>,
}

impl Visitor {
    /// Who sent a request. Users who were disabled have no session any more.
    pub(crate) async fn of(state: &State, org: &Org, headers: &HeaderMap) -> Result<Self, Problem> {
        let url = &org.authority.issuing.public_url;
        let device = Cookie::of_device(url, &org.id).find(headers).filter(|text| Kind::Device.fits(text));
        let device = device.map(str::to_owned);
        let cookie = Cookie::of_session(url, &org.id);
        let Some(text) = cookie.find(headers).filter(|text| Kind::Session.fits(text)) else {
            return Ok(Self { cookie, known: Known::FromNow(fresh(Kind::Session)?), user: None, device });
        };
        let digest = Digest::of(text);
        let session = answered(state.store.session(&org.id, &digest, org.now)).await?;
        let user = session.map(|(_, user)| user);
        Ok(Self { cookie, known: Known::Before(digest, text.to_owned()), user, device })
    }

    /// The user who signed in.
    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The text of the device cookie, if it was the user of this name who last signed in in this browser.
    pub(super) async fn device_of(&self, state: &State, org: &Org, name: &UserName) -> Result<Option<&str>, Problem> {
        let Some(text) = &self.device else { return Ok(None) };
        let whose = answered(state.store.device_user(&org.id, &Digest::of(text), org.now)).await?;
        Ok((whose.as_ref() == Some(name)).then_some(text))
    }

    /// The hidden field `csrf` of every form.
    pub(crate) fn csrf(&self) -> String {
        match &self.known {
            Known::Before(_, text) => csrf::token(text),
            Known::FromNow(fresh) => csrf::token(fresh.text()),
        }
    }

    /// Reads a form, if this browser sent it from a page of ours (RFC 9700 §4.16). `None`: it is a login form which another
    /// login of this browser has overtaken, as in a second tab. Nothing is done; the page, seen again, knows who is there.
    pub(crate) fn form<'a>(&self, org: &Org, headers: &HeaderMap, body: &'a [u8]) -> Result<Option<Form<'a>>, Problem> {
        let fields = Parameters::of_form(headers, body)?;
        let action = fields.get("action").and_then(Action::parse);
        let origin = org.authority.issuing.public_url.origin();
        let (cookie, is_known) = match &self.known {
            Known::Before(_, text) => (text.as_str(), true),
            // Nobody but we know it yet: no token is right, and what the browser says decides what the page says.
            Known::FromNow(fresh) => (fresh.text(), false),
        };
        match csrf::check(headers, origin, cookie, fields.get("csrf")) {
            Err(Problem::StaleForm) if is_known && action == Some(Action::Login) => return Ok(None),
            checked => checked?,
        }
        Ok(Some(Form { action: action.ok_or(Problem::BadForm)?, fields }))
    }

    /// The answer to this visitor: a browser without a cookie gets one.
    pub(crate) fn answer(&self, mut response: Response) -> Response {
        if let Known::FromNow(fresh) = &self.known {
            match self.cookie.set(fresh.text(), None) {
                Ok(header) => drop(response.headers_mut().append(SET_COOKIE, header)),
                // The next form says that the browser keeps no cookies.
                Err(error) => tracing::error!(%error, "a cookie could not be set"),
            }
        }
        response
    }

    /// Starts a session for `user`, whose password was verified, in place of the one this browser had. The cookies to be
    /// set; none when the user was disabled or given another password in the meantime.
    ///
    /// `device` is what [`Self::device_of`] said of the user: that cookie is kept, so that who has signed in cannot
    /// begin again with a throttle without debt. No other text is adopted: it may be one that somebody else knows.
    pub(super) async fn sign_in(
        &self,
        state: &State,
        org: &Org,
        user: &User,
        device: Option<&str>,
    ) -> Result<Option<[HeaderValue; 2]>, Problem> {
        let (fresh_session, fresh_device) = (fresh(Kind::Session)?, fresh(Kind::Device)?);
        let device = device.unwrap_or(fresh_device.text());
        let session = NewSession {
            digest: fresh_session.digest(),
            user: user.id.clone(),
            verified: user.password_hash.clone(),
            expires_at: org.now.plus(SESSION_SECONDS),
            device: NewDevice {
                digest: Digest::of(device),
                replaces: self.device.as_deref().map(Digest::of),
                expires_at: org.now.plus(DEVICE_SECONDS),
            },
        };
        let replaces = self.digest();
        if !answered(state.store.start_session(&org.id, &session, replaces.as_ref(), org.now)).await? {
            return Ok(None);
        }
        let of_session = self.cookie.set(fresh_session.text(), Some(SESSION_SECONDS));
        let of_device = Cookie::of_device(&org.authority.issuing.public_url, &org.id).set(device, Some(DEVICE_SECONDS));
        of_session.and_then(|session| Ok(Some([session, of_device?]))).map_err(|_| Problem::Internal)
    }

    /// Ends the session. The cookie to be set, which makes the browser forget it; that it is the user's device stays
    /// known.
    pub(crate) async fn sign_out(&self, state: &State, org: &Org) -> Result<HeaderValue, Problem> {
        if let (Some(digest), Some(user)) = (self.digest(), self.user()) {
            answered(state.store.end_session(&org.id, &digest)).await?;
            tracing::info!(target: "lumoauth::audit", event = "logout", org = %org.id, user = %user.id);
        }
        self.cookie.set("", Some(0)).map_err(|_| Problem::Internal)
    }

    fn digest(&self) -> Option<Digest> {
        match &self.known {
            Known::Before(digest, _) => Some(*digest),
            Known::FromNow(_) => None,
        }
    }
}

/// What the store says. It has logged and counted why it could not.
pub(super) async fn answered<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, Problem> {
    asked.await.map_err(|_| Problem::Unavailable)
}

/// The text of a new cookie.
fn fresh(kind: Kind) -> Result<Artefact, Problem> {
    Artefact::generate(kind).map_err(|error| {
        tracing::error!(%error, "no cookie can be made");
        Problem::Internal
    })
}
