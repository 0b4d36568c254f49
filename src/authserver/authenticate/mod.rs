//! Client authentication (RFC 6749 §2.3), the same at every endpoint that asks for it: what is presented, who that is,
//! and whether it is proven by the one method the client is registered for.

mod assertion;
mod presented;
mod secret;

use std::sync::Arc;

use http::HeaderMap;
use lumoauth_core::ClientId;

use self::presented::{Presented, Proof};
use super::{
    clients::{Authentication, OAuthClient, ResolveError, resolve},
    oauth::{OAuthError, Refusal, Told},
    org::{Org, State},
    parameters::Parameters,
};

/// A client that proved who it is, as far as it can: a public client says so and no more. Only [`caller`] makes one.
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
    /// Nobody is known under this `client_id`, or has keys; or that cannot be told now.
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
            // A client that is told it is unknown forgets its registration.
            Self::Unresolved(error) if error.is_passing() => Told(
                OAuthError::Unavailable,
                error.reason(),
                "what is known of the client cannot be looked up now: try again",
            ),
            Self::Unresolved(error) => failed(error.reason()),
            Self::Disabled => failed("client_disabled"),
            Self::WrongMethod => failed("wrong_method"),
            Self::WrongSecret => failed("wrong_secret"),
            Self::WrongAssertion => failed("wrong_assertion"),
            Self::Replayed => failed("assertion_replayed"),
        }
    }
}

/// The client that a request comes from. `claimed` becomes the client of that name, if there is one, before it is known
/// whether the request comes from it.
pub(super) async fn caller(
    state: &State,
    org: &Org,
    headers: &HeaderMap,
    form: &Parameters<'_>,
    claimed: &mut Option<ClientId>,
) -> Result<Authenticated, AuthenticationError> {
    let presented = Presented::read(headers, form)?;
    let client = resolve(state, org, &presented.id).await.map_err(AuthenticationError::Unresolved)?;
    *claimed = Some(client.id.clone());
    prove(state, org, client, &presented).await
}

async fn prove(
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::authserver::clients::FetchError;

    #[rstest]
    #[case::unknown(ResolveError::Unknown, OAuthError::InvalidClient)]
    #[case::disabled(ResolveError::Disabled, OAuthError::InvalidClient)]
    #[case::not_admitted(ResolveError::DocumentsOff, OAuthError::InvalidClient)]
    #[case::no_keys(ResolveError::NoKeys, OAuthError::InvalidClient)]
    #[case::its_document_is_gone(ResolveError::Unreachable(FetchError::Status(404)), OAuthError::InvalidClient)]
    #[case::its_document_is_none(ResolveError::Unreachable(FetchError::ContentType), OAuthError::InvalidClient)]
    #[case::store(ResolveError::Store, OAuthError::Unavailable)]
    #[case::busy(ResolveError::Busy, OAuthError::Unavailable)]
    #[case::no_address(ResolveError::Unreachable(FetchError::Resolve), OAuthError::Unavailable)]
    #[case::no_address_we_may_ask(ResolveError::Unreachable(FetchError::SpecialUse), OAuthError::Unavailable)]
    #[case::nobody_answers(ResolveError::Unreachable(FetchError::Connect), OAuthError::Unavailable)]
    #[case::too_slow(ResolveError::Unreachable(FetchError::Timeout), OAuthError::Unavailable)]
    #[case::broken(ResolveError::Unreachable(FetchError::Broken), OAuthError::Unavailable)]
    #[case::its_host_fails(ResolveError::Unreachable(FetchError::Status(500)), OAuthError::Unavailable)]
    #[case::its_host_is_busy(ResolveError::Unreachable(FetchError::Status(429)), OAuthError::Unavailable)]
    fn a_failure_that_passes_is_not_the_clients(#[case] error: ResolveError, #[case] told: OAuthError) {
        assert_eq!(AuthenticationError::Unresolved(error).told().0, told);
    }
}
