//! Client assertions (`private_key_jwt`, RFC 7523 §3).

use lumoauth_core::token::{ASSERTION_ALGORITHMS, AssertionExpectations, ClientAssertion, Unverified};

use super::{AuthenticationError, OAuthClient, Org, State};
use crate::authserver::{artefact::Digest, clients::key_set};

/// Whether `text` is signed by one of the client's keys, for this issuer, and presented for the first time.
///
/// `aud` is the issuer and nothing else: the address of an endpoint is what another authorization server could announce
/// as its own, to be given assertions that are good here (draft-ietf-oauth-rfc7523bis §4).
pub(super) async fn check(
    state: &State,
    org: &Org,
    client: &OAuthClient,
    text: &str,
) -> Result<(), AuthenticationError> {
    let wrong = || AuthenticationError::WrongAssertion;
    let named = Unverified::parse(text).map_err(|_| wrong())?;
    let keys = key_set(state, org, client, (named.key_id(), named.algorithm())).await;
    let keys = keys.map_err(AuthenticationError::Unresolved)?;
    let expect = AssertionExpectations {
        client: &client.id,
        audiences: &[org.issuer.as_str()],
        algorithms: &ASSERTION_ALGORITHMS,
    };
    let assertion = ClientAssertion::verify(text, &keys, &expect, org.now).map_err(|error| {
        tracing::debug!(client = %client.id, %error, "a client assertion is refused");
        wrong()
    })?;
    let jti = Digest::of(assertion.id());
    let claimed = state.store.claim_assertion(&org.id, &client.id, &jti, assertion.remember_until()).await;
    match claimed {
        Ok(true) => Ok(()),
        Ok(false) => Err(AuthenticationError::Replayed),
        Err(_) => Err(AuthenticationError::Store),
    }
}
