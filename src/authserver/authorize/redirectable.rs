//! Steps 1 to 4: who asks, where the answer goes, and what it must repeat. Until all of that is proven, an answer is a
//! page; from then on it is a redirect (RFC 6749 §4.1.2.1).

use std::sync::Arc;

use lumoauth_core::{
    ClientId, IssuerUrl, RedirectUri,
    uri::{MatchedRedirect, RedirectKind},
};

use super::{
    refused::{Refused, Unproven},
    state,
};
use crate::authserver::{
    artefact::Artefact,
    clients::{self, OAuthClient, ResolveError},
    org::{Org, State},
    parameters::Parameters,
};

/// Proof that a response may be a redirect: the client is known, the redirect URI is one it registered, and `state` is
/// fit to be repeated. [`Redirectable::prove`] alone makes one.
#[derive(Clone, Debug)]
pub(super) struct Redirectable {
    client: Arc<OAuthClient>,
    redirect: MatchedRedirect,
    state: Option<String>,
    issuer: IssuerUrl,
}

impl Redirectable {
    /// Proves it for a request, as far as it goes without a look at anything else in it.
    pub(super) async fn prove(state: &State, org: &Org, parameters: &Parameters<'_>) -> Result<Self, Unproven> {
        let client = clients::resolve_to_authorize(state, org, &client_id(parameters)?).await?;
        if !client.grants.authorization_code {
            return Err(Unproven::NotForPeople);
        }
        let redirect = redirect(&client.redirect_uris, parameters)?;
        clients::check_redirect(state, org, &client, redirect.kind())?;
        let state = state::state(parameters)?;
        Ok(Self { client, redirect, state, issuer: org.issuer.clone() })
    }

    /// Who asks.
    pub(super) fn client(&self) -> &OAuthClient {
        &self.client
    }

    /// Where the answer goes.
    pub(super) fn redirect(&self) -> &RedirectUri {
        &self.redirect
    }

    /// Whether any program of the person's machine could receive the answer in the client's place (RFC 8252 §8.6): it
    /// listens on loopback or claims a scheme, and the client does not prove who it is when it redeems the code.
    pub(super) fn may_be_impersonated(&self) -> bool {
        self.redirect.kind() != RedirectKind::Https && !self.client.is_confidential()
    }

    /// The URL that tells the client of a code.
    pub(super) fn granted(&self, code: &Artefact) -> String {
        self.location(&[("code", code.text())])
    }

    /// The URL that tells the client of a refusal.
    pub(super) fn refused(&self, refused: Refused) -> String {
        self.location(&[("error", refused.error()), ("error_description", refused.description())])
    }

    /// `state` as it was sent (RFC 6749 §4.1.2) and `iss` (RFC 9207 §2) belong to every response.
    fn location(&self, answer: &[(&str, &str)]) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let issuer = ("iss", self.issuer.as_str());
        let parameters: Vec<_> = answer.iter().copied().chain(state).chain([issuer]).collect();
        self.redirect.with_parameters(&parameters)
    }
}

/// The `client_id` of a request, if it is the URL of a document: a URL is no secret, and the log has to tell which document
/// could not be used.
pub(super) fn document(parameters: &Parameters<'_>) -> Option<ClientId> {
    client_id(parameters).ok().filter(|id| id.as_str().starts_with("https://"))
}

/// RFC 6749 §2.2.
fn client_id(parameters: &Parameters<'_>) -> Result<ClientId, Unproven> {
    let text = parameters.get("client_id").ok_or(Unproven::NoClient)?;
    ClientId::parse(text).map_err(|_| Unproven::Client(ResolveError::Unknown))
}

/// RFC 9700 §2.1: exactly a registered one. It is never left out, as OAuth 2.1 has it: a client that registers a second
/// one must not change the meaning of requests that name none.
fn redirect(registered: &[RedirectUri], parameters: &Parameters<'_>) -> Result<MatchedRedirect, Unproven> {
    let requested = parameters.get("redirect_uri").ok_or(Unproven::NoRedirect)?;
    RedirectUri::matching(registered, requested).ok_or(Unproven::UnknownRedirect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("client_id=mcpc_1", Ok("mcpc_1"))]
    #[case("client_id=https://app.example/client.json", Ok("https://app.example/client.json"))]
    #[case("", Err(Unproven::NoClient))]
    #[case("client_id=", Err(Unproven::NoClient))]
    #[case("client_id=a%00b", Err(Unproven::Client(ResolveError::Unknown)))]
    #[case("client_id=%C3%A9", Err(Unproven::Client(ResolveError::Unknown)))]
    fn rfc6749_2_2(#[case] query: &str, #[case] expected: Result<&str, Unproven>) {
        let id = client_id(&Parameters::of_query(query).unwrap());
        assert_eq!(id.as_ref().map(ClientId::as_str).map_err(Clone::clone), expected);
    }

    /// Row 67 of the threat table.
    #[rstest]
    #[case::registered("https://app.example/callback", true)]
    #[case::registered_loopback("http://127.0.0.1/cb", true)]
    #[case::another_port_on_loopback("http://127.0.0.1:49152/cb", true)]
    #[case::private_use("com.example.app:/cb", true)]
    #[case::path_appended("https://app.example/callback/x", false)]
    #[case::path_cut("https://app.example/callbac", false)]
    #[case::path_parent("https://app.example/callback/../evil", false)]
    #[case::path_encoded("https://app.example/%63allback", false)]
    #[case::dot_encoded("https://app.example/x/%2e%2e/callback", false)]
    #[case::double_slash("https://app.example//callback", false)]
    #[case::query_added("https://app.example/callback?x=1", false)]
    #[case::empty_query("https://app.example/callback?", false)]
    #[case::fragment("https://app.example/callback#x", false)]
    #[case::empty_fragment("https://app.example/callback#", false)]
    #[case::port_added("https://app.example:443/callback", false)]
    #[case::other_port("https://app.example:8443/callback", false)]
    #[case::scheme("http://app.example/callback", false)]
    #[case::scheme_in_upper_case("HTTPS://app.example/callback", false)]
    #[case::host_in_upper_case("https://APP.example/callback", false)]
    #[case::trailing_dot("https://app.example./callback", false)]
    #[case::subdomain("https://x.app.example/callback", false)]
    #[case::suffix("https://app.example.evil/callback", false)]
    #[case::prefix("https://evilapp.example/callback", false)]
    #[case::user("https://app.example@evil.example/callback", false)]
    #[case::user_of_ours("https://evil@app.example/callback", false)]
    #[case::backslash("https://evil.example\\@app.example/callback", false)]
    #[case::idn("https://\u{430}pp.example/callback", false)]
    #[case::punycode("https://xn--pp-7kc.example/callback", false)]
    #[case::space("https://app.example/callback ", false)]
    #[case::new_line("https://app.example/callback\r\nSet-Cookie: a=b", false)]
    #[case::relative("/callback", false)]
    #[case::scheme_relative("//app.example/callback", false)]
    #[case::localhost_for_127("http://localhost/cb", false)]
    #[case::other_loopback("http://127.0.0.2/cb", false)]
    #[case::loopback_spelled_otherwise("http://127.1/cb", false)]
    #[case::loopback_other_path("http://127.0.0.1:49152/cb2", false)]
    #[case::loopback_suffix("http://127.0.0.1.evil.example/cb", false)]
    #[case::loopback_user("http://127.0.0.1:1@evil.example/cb", false)]
    #[case::script("javascript:alert(1)", false)]
    #[case::data("data:text/html,x", false)]
    #[case::other_private_use("com.example.app2:/cb", false)]
    #[case::wildcard("https://*/callback", false)]
    fn rfc9700_2_1(#[case] requested: &str, #[case] admitted: bool) {
        let registered = ["https://app.example/callback", "http://127.0.0.1/cb", "com.example.app:/cb"];
        let registered = registered.map(|uri| RedirectUri::parse(uri).unwrap());
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("redirect_uri", requested).finish();
        let result = redirect(&registered, &Parameters::of_query(&query).unwrap());
        match result {
            Ok(matched) => assert!(admitted && matched.as_str() == requested),
            Err(error) => assert_eq!((admitted, error), (false, Unproven::UnknownRedirect)),
        }
    }

    #[test]
    fn a_redirect_uri_is_never_left_out() {
        let registered = [RedirectUri::parse("https://app.example/callback").unwrap()];
        for query in ["", "redirect_uri="] {
            let result = redirect(&registered, &Parameters::of_query(query).unwrap());
            assert_eq!(result.err(), Some(Unproven::NoRedirect));
        }
    }
}
