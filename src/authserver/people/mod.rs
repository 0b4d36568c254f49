//! Local users: their passwords, their sessions, and the forms they send.
//!
//! A handler of a page asks [`Visitor::of`] who is there, reads a form by [`Visitor::form`] (which refuses what another
//! site sent), and gives every answer through [`Visitor::answer`] (which hands a new browser its cookie). Where somebody
//! has to sign in first, [`login::page`] asks and [`login::submit`] takes the answer.

pub(super) mod account;
mod cookie;
mod csrf;
pub(super) mod login;
mod password;
mod throttle;
mod visitor;

use std::{fmt, sync::Arc};

pub use self::password::{HashError, Password, PasswordError, hash};
pub(super) use self::visitor::{Action, Form, Visitor};
use self::{password::Passwords, throttle::Throttle};
use super::Clock;

/// What is kept in memory about logins. Cheap to clone.
#[derive(Clone)]
pub struct People(Arc<Inner>);

struct Inner {
    passwords: Passwords,
    throttle: Throttle,
}

impl People {
    /// Nobody has tried to log in yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { passwords: Passwords::new(), throttle: Throttle::new(clock) }))
    }
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").finish_non_exhaustive()
    }
}
