//! The refresh token grant (RFC 6749 §6) with rotation (RFC 9700 §4.14.2).
//!
//! Each use gives a new token and ends the old one. A client that lost the answer may ask again for 30 seconds, as long
//! as the new token was not used, and is given the same one: it is made from the old one and a stored salt. Anything
//! else is a second holder, and the grant ends, with its access tokens. A request that is refused for another reason
//! does not use the token up.

use lumoauth_core::{ClientId, UnixTime};

use super::{
    Parameters, REFRESH_TOKEN_SECONDS, Refused, Trail,
    mint::{self, Order},
    person,
    resource::{self, Audience},
};
use crate::authserver::{
    artefact::{Artefact, Digest, Family, random},
    authenticate::Authenticated,
    org::{Org, State},
    store::{GRANT_TAIL_SECONDS, GrantId, RefreshToken, Rotated, Rotation},
};

/// The steps, in order.
pub(super) async fn issue(
    state: &State,
    org: &Org,
    form: &Parameters<'_>,
    authenticated: &Authenticated,
    trail: &mut Trail,
) -> Result<Vec<u8>, Refused> {
    let client = authenticated.client();
    let presented = form.get("refresh_token").ok_or(Refused::NoRefreshToken)?;
    let family = Family::of(presented).ok_or(Refused::UnknownRefreshToken)?;
    let digest = Digest::of(presented);
    let token = state.store.refresh_token(&org.id, &GrantId::of(&family), &digest).await?;
    let token = token.ok_or(Refused::UnknownRefreshToken)?;
    bound_to(&token, &client.id)?;
    let grant = &token.grant;
    (trail.user, trail.grant) = (Some(grant.user.clone()), Some(grant.id.clone()));
    alive(&token, org.now)?;
    let exchange = Exchange { state, org, presented, digest, family };
    // A second use must be noticed whatever else is wrong with the request.
    let again = if token.expires_at.is_none() { Some(exchange.rotate().await?) } else { None };

    let (target, agreed) = resource::granted(org, form, client, &grant.resources)?;
    let audience = Audience::Server(target.clone());
    trail.resource = Some(audience.identifier().to_owned());
    let user = person::find(state, org, &grant.user).await?;
    let scope = person::scopes(&user, client, &target, agreed, form.get("scope"))?;
    let (subject, status) = (grant.user.as_str(), grant.status);
    let minted = mint::mint(org, &Order { subject, client: &client.id, audience: &audience, scope: &scope, status })?;
    let successor = match again {
        Some(successor) => successor,
        None => exchange.rotate().await?,
    };
    trail.minted(&minted);
    minted.response(Some(&successor))
}

/// One presented token.
struct Exchange<'a> {
    state: &'a State,
    org: &'a Org,
    presented: &'a str,
    digest: Digest,
    family: Family,
}

impl Exchange<'_> {
    /// The token that follows.
    async fn rotate(&self) -> Result<Artefact, Refused> {
        let (state, org) = (self.state, self.org);
        let salt = random::<32>().map_err(|_| Refused::Minting)?;
        let successor = self.family.successor(&salt, self.presented);
        let rotation = Rotation {
            grant: GrantId::of(&self.family),
            old: self.digest,
            salt,
            new: successor.digest(),
            expires_at: org.now.plus(REFRESH_TOKEN_SECONDS),
            now: org.now,
        };
        match state.store.rotate(&org.id, &rotation).await? {
            Rotated::Fresh => Ok(successor),
            Rotated::Retry { salt } => Ok(self.family.successor(&salt, self.presented)),
            Rotated::Reused => {
                state.statuses.forget(&org.id);
                Err(Refused::RefreshTokenReplayed)
            }
            Rotated::Unknown => Err(Refused::Revoked),
        }
    }
}

/// RFC 6749 §6: the token was issued to this client. Another one does no harm with it.
fn bound_to(token: &RefreshToken, client: &ClientId) -> Result<(), Refused> {
    if token.grant.client == *client { Ok(()) } else { Err(Refused::RefreshTokenOfAnotherClient) }
}

/// Whether the token can be good for anything. One that was used lives on in those that came of it.
fn alive(token: &RefreshToken, now: UnixTime) -> Result<(), Refused> {
    let ends = token.expires_at.unwrap_or(token.grant.keep_until.minus(GRANT_TAIL_SECONDS));
    match token {
        token if token.grant.revoked => Err(Refused::Revoked),
        token if !token.grant.offline => Err(Refused::NotOffline),
        _ if ends <= now => Err(Refused::RefreshTokenExpired),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authserver::store::{Grant, StatusIndex, UserId};
    use rstest::rstest;

    fn token(offline: bool, revoked: bool, used: bool) -> RefreshToken {
        RefreshToken {
            grant: Grant {
                id: GrantId::of(&Family::generate().unwrap()),
                user: UserId::generate().unwrap(),
                client: ClientId::parse("mcpc_a").unwrap(),
                resources: Vec::new(),
                offline,
                status: StatusIndex { list: 0, index: 0 },
                created_at: UnixTime(0),
                keep_until: UnixTime(200).plus(GRANT_TAIL_SECONDS),
                revoked,
            },
            expires_at: (!used).then_some(UnixTime(100)),
        }
    }

    #[rstest]
    #[case("mcpc_a", Ok(()))]
    #[case("mcpc_b", Err(Refused::RefreshTokenOfAnotherClient))]
    fn rfc6749_6_bound_to_the_client(#[case] client: &str, #[case] expected: Result<(), Refused>) {
        assert_eq!(bound_to(&token(true, false, false), &ClientId::parse(client).unwrap()), expected);
    }

    #[rstest]
    #[case::fresh(false, false, 99, Ok(()))]
    #[case::expired(false, false, 100, Err(Refused::RefreshTokenExpired))]
    #[case::revoked(true, false, 0, Err(Refused::Revoked))]
    #[case::used_is_for_the_store_to_judge(false, true, 60, Ok(()))]
    #[case::used_and_expired_too(false, true, 100, Ok(()))]
    #[case::used_before_the_last_that_lived(false, true, 199, Ok(()))]
    #[case::used_before_the_last_that_expired(false, true, 200, Err(Refused::RefreshTokenExpired))]
    #[case::used_and_revoked(true, true, 60, Err(Refused::Revoked))]
    fn what_a_token_can_be_good_for(
        #[case] revoked: bool,
        #[case] used: bool,
        #[case] now: u64,
        #[case] expected: Result<(), Refused>,
    ) {
        assert_eq!(alive(&token(true, revoked, used), UnixTime(now)), expected);
    }

    #[rstest]
    #[case::fresh(false, Err(Refused::NotOffline))]
    #[case::used(true, Err(Refused::NotOffline))]
    fn what_the_user_was_not_asked_about(#[case] used: bool, #[case] expected: Result<(), Refused>) {
        assert_eq!(alive(&token(false, false, used), UnixTime(60)), expected);
    }
}
