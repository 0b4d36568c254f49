//! Client authentication (RFC 6749 §2.3), the same at every endpoint that asks for it: what is presented, who that is,
//! and whether it is proven by the one method the client is registered for.

mod assertion;
mod presented;
mod secret;

use std::sync::Arc;

pub(super) use self::presented::Presented;
use self::presented::Proof;
use super::{
    clients::{Authentication, OAuthClient, ResolveError, resolve},
    oauth::{OAuthError, Refusal, Told},
    org::{Org, State},
    parameters::Parameters,
};

/// A client that proved who it is, as far as it can: a public client says so and no more. Only [`prove`] makes one.
pub(super) struct Authenticated(Arc<OAuthClient>);

impl Authenticated {
    /// Who it is.
    pub(super) fn client(&self) -> &OAuthClient {
        &self.0
    }
}

/// Why a client is not authenticated. Every cause looks the same from outside, but for requests that contradict
/// themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AuthenticationError {
    /// More than one method, or more than one client.
    Several,
    /// None.
    Nothing,
    /// An Authorization header that holds no Basic credentials, or an assertion that is none.
    Unreadable,
    /// A `client_id` that nobody can have.
    Malformed,
    /// Nobody is known under this `client_id`.
    Unresolved(ResolveError),
    /// The client is disabled.
    Disabled,
    /// Not the method the client is registered for.
    WrongMethod,
    /// Not a secret of the client, or one that expired.
    WrongSecret,
    /// The assertion proves nothing.
    WrongAssertion,
    /// The assertion was presented before.
    Replayed,
    /// The store does not answer.
    Store,
}

impl Refusal for AuthenticationError {
    fn told(&self) -> Told {
        let failed = |reason| Told(OAuthError::InvalidClient, reason, "client authentication failed");
        match self {
            Self::Several => Told(
                OAuthError::InvalidRequest,
                "several_credentials",
                "authenticate the client in one way and under one client_id",
            ),
            Self::Store => Told(OAuthError::Unavailable, "store", "the server cannot answer now: try again"),
            Self::Nothing => failed("no_credentials"),
            Self::Unreadable => failed("unreadable_credentials"),
            Self::Malformed => failed("malformed_client_id"),
            Self::Unresolved(error) => failed(error.reason()),
            Self::Disabled => failed("client_disabled"),
            Self::WrongMethod => failed("wrong_method"),
            Self::WrongSecret => failed("wrong_secret"),
            Self::WrongAssertion => failed("wrong_assertion"),
            Self::Replayed => failed("assertion_replayed"),
        }
    }
}

/// Who the client is said to be.
pub(super) async fn find(
    state: &State,
    org: &Org,
    presented: &Presented,
) -> Result<Arc<OAuthClient>, AuthenticationError> {
    resolve(state, org, &presented.id).await.map_err(|error| match error {
        // A client that was told it is unknown would forget its registration.
        ResolveError::Store => AuthenticationError::Store,
        error => AuthenticationError::Unresolved(error),
    })
}

/// Whether it is.
pub(super) async fn prove(
    state: &State,
    org: &Org,
    client: Arc<OAuthClient>,
    presented: &Presented,
) -> Result<Authenticated, AuthenticationError> {
    match (&client.authentication, &presented.proof) {
        (Authentication::None, Proof::Nothing) => {}
        (Authentication::SecretBasic, Proof::Basic(secret)) | (Authentication::SecretPost, Proof::Post(secret)) => {
            if !secret::is_current(&client.secrets, secret, org.now) {
                return Err(AuthenticationError::WrongSecret);
            }
        }
        (Authentication::PrivateKeyJwt(_), Proof::Assertion(text)) => {
            assertion::check(state, org, &client, text).await?;
        }
        _ => return Err(AuthenticationError::WrongMethod),
    }
    Ok(Authenticated(client))
}
