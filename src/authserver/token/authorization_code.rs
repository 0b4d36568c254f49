//! The authorization code grant (RFC 6749 §4.1.3) with PKCE (RFC 7636 §4.5) and resource indicators (RFC 8707 §2.2).
//!
//! A request that is refused does not use the code up: whoever does not know the verifier must not be able to take it
//! from whoever does. It may be tried again for as long as the code lives, a minute; a verifier has 256 bits.

use lumoauth_core::{
    ClientId,
    pkce::{CodeChallenge, CodeVerifier},
};

use super::{
    Parameters, REFRESH_TOKEN_SECONDS, Refused, Trail,
    mint::{self, Order},
    person,
    resource::{self, Audience},
};
use crate::authserver::{
    artefact::{Digest, Family},
    authenticate::Authenticated,
    org::{Org, State},
    store::{Code, GrantId, NewGrant, Redeemed, StoreError},
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
    let digest = Digest::of(form.get("code").ok_or(Refused::NoCode)?);
    let code = state.store.code(&org.id, &digest, org.now).await?.ok_or(Refused::UnknownCode)?;
    bound_to(&code, &client.id)?;
    trail.user = Some(code.user.clone());
    if let Some(grant) = code.grant {
        // Before anything else is looked at, and without a signature or an index of a status list: a second use must
        // be noticed whatever else is wrong with the request, and a code is no way to wear them out.
        return Err(replayed(state, org, grant, trail).await?);
    }
    same_redirect_uri(&code, form.get("redirect_uri"))?;
    verifier(&code.challenge, form.get("code_verifier"))?;
    let (target, agreed) = resource::granted(org, form, client, &code.resources)?;
    let audience = Audience::Server(target.clone());
    trail.resource = Some(audience.identifier().to_owned());
    let user = person::find(state, org, &code.user).await?;
    let scope = person::scopes(&user, client, &target, agreed, None)?;

    let status = state.statuses.index_for_grant(&state.store, &org.id, org.now).await?;
    let order = Order { subject: code.user.as_str(), client: &client.id, audience: &audience, scope: &scope, status };
    let minted = mint::mint(org, &order)?;
    // What the registration says now is not what the user was asked.
    let offline = code.offline && client.grants.refresh_token;
    let family = Family::generate().map_err(|_| Refused::Minting)?;
    let refresh = offline.then(|| family.first()).transpose().map_err(|_| Refused::Minting)?;
    let response = minted.response(refresh.as_ref())?;

    let grant = NewGrant { id: GrantId::of(&family), status };
    let stored = refresh.as_ref().map(|token| (token.digest(), org.now.plus(REFRESH_TOKEN_SECONDS)));
    match state.store.redeem_code(&org.id, &digest, grant, stored, org.now).await? {
        Redeemed::Fresh(grant) => {
            trail.grant = Some(grant.id);
            trail.minted(&minted);
            Ok(response)
        }
        Redeemed::Replayed(grant) => {
            trail.grant = Some(grant);
            state.statuses.forget(&org.id);
            Err(Refused::CodeReplayed)
        }
        Redeemed::Unknown => Err(Refused::UnknownCode),
    }
}

/// RFC 6749 §4.1.3: the code was issued to this client.
fn bound_to(code: &Code, client: &ClientId) -> Result<(), Refused> {
    if code.client == *client { Ok(()) } else { Err(Refused::CodeOfAnotherClient) }
}

/// RFC 6749 §4.1.2: what came of a code that is presented again is revoked, once.
async fn replayed(state: &State, org: &Org, grant: GrantId, trail: &mut Trail) -> Result<Refused, StoreError> {
    let found = state.store.grant(&org.id, &grant).await?;
    if found.is_some_and(|found| !found.revoked) {
        state.store.revoke_grant(&org.id, &grant, org.now).await?;
        state.statuses.forget(&org.id);
    }
    trail.grant = Some(grant);
    Ok(Refused::CodeReplayed)
}

/// OAuth 2.1 (draft-ietf-oauth-v2-1 §10.2) has no `redirect_uri` here any more, as PKCE does what it was for. A client
/// of RFC 6749 sends it, and then it is the authorization request's, byte for byte (§4.1.3).
fn same_redirect_uri(code: &Code, redirect_uri: Option<&str>) -> Result<(), Refused> {
    match redirect_uri {
        Some(uri) if uri != code.redirect_uri => Err(Refused::WrongRedirectUri),
        _ => Ok(()),
    }
}

/// RFC 7636 §4.6. There is no code without challenge, and so no request without verifier.
fn verifier(challenge: &CodeChallenge, verifier: Option<&str>) -> Result<(), Refused> {
    let verifier = verifier.and_then(|text| CodeVerifier::parse(text).ok()).ok_or(Refused::NoVerifier)?;
    if challenge.is_met_by(&verifier) { Ok(()) } else { Err(Refused::WrongVerifier) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authserver::store::UserId;
    use lumoauth_core::UnixTime;
    use rstest::rstest;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn code() -> Code {
        Code {
            client: ClientId::parse("mcpc_a").unwrap(),
            user: UserId::generate().unwrap(),
            redirect_uri: "http://127.0.0.1:4711/callback?x=1".to_owned(),
            challenge: CHALLENGE.parse().unwrap(),
            resources: Vec::new(),
            offline: false,
            issued_at: UnixTime(100),
            expires_at: UnixTime(160),
            grant: None,
        }
    }

    #[rstest]
    #[case("mcpc_a", Ok(()))]
    #[case("mcpc_b", Err(Refused::CodeOfAnotherClient))]
    #[case("MCPC_A", Err(Refused::CodeOfAnotherClient))]
    #[case("mcpc_a ", Err(Refused::CodeOfAnotherClient))]
    fn rfc6749_4_1_3_bound_to_the_client(#[case] client: &str, #[case] expected: Result<(), Refused>) {
        assert_eq!(bound_to(&code(), &ClientId::parse(client).unwrap()), expected);
    }

    #[rstest]
    #[case::same(Some("http://127.0.0.1:4711/callback?x=1"), true)]
    #[case::left_out_as_by_oauth_2_1(None, true)]
    #[case::other_port(Some("http://127.0.0.1:4712/callback?x=1"), false)]
    #[case::other_host(Some("http://localhost:4711/callback?x=1"), false)]
    #[case::longer(Some("http://127.0.0.1:4711/callback?x=1&y"), false)]
    #[case::prefix(Some("http://127.0.0.1:4711/callback"), false)]
    #[case::scheme(Some("HTTP://127.0.0.1:4711/callback?x=1"), false)]
    #[case::fragment(Some("http://127.0.0.1:4711/callback?x=1#"), false)]
    fn security_71_the_same_redirect_uri(#[case] uri: Option<&str>, #[case] same: bool) {
        assert_eq!(same_redirect_uri(&code(), uri), if same { Ok(()) } else { Err(Refused::WrongRedirectUri) });
    }

    #[rstest]
    #[case::right(Some(VERIFIER), Ok(()))]
    #[case::missing(None, Err(Refused::NoVerifier))]
    #[case::too_short(Some("short"), Err(Refused::NoVerifier))]
    #[case::not_unreserved(Some("dBjftJeZ4CVP+mB92K27uhbUJU1p1r/wW1gFWFOEjXk="), Err(Refused::NoVerifier))]
    #[case::the_challenge(Some(CHALLENGE), Err(Refused::WrongVerifier))]
    #[case::another(Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK"), Err(Refused::WrongVerifier))]
    #[case::longer(Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk0"), Err(Refused::WrongVerifier))]
    fn security_70_rfc7636_4_6(#[case] text: Option<&str>, #[case] expected: Result<(), Refused>) {
        assert_eq!(verifier(&code().challenge, text), expected);
    }
}
