//! Another implementation as an oracle: the crate `oauth-as` is given the same grants and the same requests, and must
//! answer the same. Where it may differ, the case says why.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lumoauth_core::pkce::{CodeChallenge, CodeVerifier};
use oauth_as::{
    AuthorizationRequest, AuthorizationServer, Client, ClientAuth, ClientId, Clock, ErrorResponse, GrantType,
    MemoryStorage, ScopeSet, ServerConfig, TokenRequest, TokenResponse, pkce, server::UserApproval,
};
use rstest::rstest;

use crate::authserver::testing::{INVOICES, NOW, REDIRECT, Reply, Scene, VERIFIER};

const SCOPES: &str = "mcp:read mcp:write";

#[derive(Clone)]
struct OracleClock(Arc<AtomicU64>);

impl Clock for OracleClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Both servers, with one code each for the same grant, and what they gave since.
struct Both {
    ours: Scene,
    oracle: AuthorizationServer<MemoryStorage, OracleClock>,
    clock: OracleClock,
    codes: (String, String),
    refresh: Vec<(String, String)>,
}

/// One request to both, or a while.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Redeems the code, with this instead of that.
    Redeem(&'static [(&'static str, &'static str)]),
    /// Uses the refresh token that was given in this place, with `scope`.
    Refresh(usize, Option<&'static str>),
    /// A refresh token that nobody has.
    RefreshUnknown,
    /// The refresh token of this place, as another client.
    RefreshAsOther(usize),
    /// Seconds go by.
    Wait(u64),
}

impl Both {
    async fn new() -> Self {
        let mut ours = Scene::new().await;
        let more = serde_json::json!({"grantTypes": ["AuthorizationCode", "RefreshToken"], "redirectUris": [REDIRECT]});
        ours.world.put_client(crate::authserver::testing::client("acme", "other", "None", &["mcp:read"], &more));
        ours.world.publish();
        let clock = OracleClock(Arc::new(AtomicU64::new(NOW)));
        let mut config = ServerConfig::new("https://as.example", "https://as.example/device");
        config.refresh_retry_window = Duration::from_secs(30);
        config.refresh_token_ttl = Some(Duration::from_hours(30 * 24));
        let oracle = AuthorizationServer::with_clock(config, MemoryStorage::new(), clock.clone());
        for id in ["app", "other"] {
            let client = Client {
                client_id: ClientId::new(id),
                auth: ClientAuth::Public,
                grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
                redirect_uris: vec![REDIRECT.to_owned()],
                allowed_scopes: ScopeSet::parse(SCOPES).unwrap(),
                default_scopes: ScopeSet::parse("mcp:read").unwrap(),
                name: None,
                registration: None,
            };
            oracle.register_client(client).await.unwrap();
        }
        let challenge = pkce::code_challenge_s256(VERIFIER);
        let request = AuthorizationRequest::from_pairs([
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", REDIRECT),
            ("scope", SCOPES),
            ("state", "s"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("resource", INVOICES),
        ]);
        let valid = oracle.validate_authorization_request(&request).await.unwrap();
        let code = oracle.issue_authorization_code(UserApproval::granted(&valid, "ada")).await.unwrap().code;
        let codes = (ours.code("app", &[(INVOICES, SCOPES)]).await, code);
        Self { ours, oracle, clock, codes, refresh: Vec::new() }
    }

    async fn take(&mut self, step: Step) -> (String, String) {
        match step {
            Step::Wait(seconds) => {
                let now = self.clock.0.fetch_add(seconds, Ordering::Relaxed) + seconds;
                self.ours.world.set_time(now);
                (String::new(), String::new())
            }
            Step::Redeem(changes) => {
                let other = crate::authserver::testing::id_of("acme", "other");
                let value = |name: &str, usual: &str| {
                    let instead = changes.iter().find(|(of, _)| *of == name);
                    Some(instead.map_or(usual, |(_, value)| value).to_owned()).filter(|value| !value.is_empty())
                };
                let named: Vec<_> = changes
                    .iter()
                    .map(|(name, value)| (*name, if *value == "other" { &*other } else { *value }))
                    .collect();
                let ours = self.ours.redeem(&self.codes.0, &named).await;
                let request = TokenRequest::AuthorizationCode {
                    client_id: ClientId::new(value("client_id", "app").unwrap()),
                    client_secret: None,
                    code: value("code", &self.codes.1).unwrap(),
                    redirect_uri: value("redirect_uri", REDIRECT),
                    code_verifier: value("code_verifier", VERIFIER),
                };
                let resources: Vec<_> = value("resource", INVOICES).into_iter().collect();
                self.compare(&ours, self.oracle.token_with_resources(request, &resources).await)
            }
            Step::Refresh(at, scope) => {
                let (ours, oracle) = self.refresh[at].clone();
                let ours = self.ours.refresh(&ours, &[("scope", scope.unwrap_or_default())]).await;
                let theirs =
                    self.oracle.token_with_resources(refresh("app", &oracle, scope), &[INVOICES.to_owned()]).await;
                self.compare(&ours, theirs)
            }
            Step::RefreshUnknown => {
                let ours = self.ours.refresh("lrt_x", &[]).await;
                let theirs = self.oracle.token(refresh("app", "lrt_x", None)).await;
                self.compare(&ours, theirs)
            }
            Step::RefreshAsOther(at) => {
                let (ours, oracle) = self.refresh[at].clone();
                let other = crate::authserver::testing::id_of("acme", "other");
                let ours = self.ours.refresh(&ours, &[("client_id", &other)]).await;
                let theirs = self.oracle.token(refresh("other", &oracle, None)).await;
                self.compare(&ours, theirs)
            }
        }
    }

    /// What each says: the scopes it grants, or its error.
    fn compare(&mut self, ours: &Reply, theirs: Result<TokenResponse, ErrorResponse>) -> (String, String) {
        let body = ours.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let our_answer = if ours.status == 200 { format!("granted {}", text("scope")) } else { text("error") };
        let their_answer = match &theirs {
            Ok(response) => format!("granted {}", response.scope.as_deref().unwrap_or_default()),
            Err(error) => error.error.as_str().to_owned(),
        };
        if let (200, Ok(response)) = (ours.status.as_u16(), theirs) {
            self.refresh.push((text("refresh_token"), response.refresh_token.unwrap_or_default()));
        }
        (our_answer, their_answer)
    }
}

fn refresh(client: &str, token: &str, scope: Option<&str>) -> TokenRequest {
    TokenRequest::RefreshToken {
        client_id: ClientId::new(client),
        client_secret: None,
        refresh_token: token.to_owned(),
        scope: scope.map(|scope| ScopeSet::parse(scope).unwrap()),
    }
}

use Step::{Redeem, Refresh, RefreshAsOther, RefreshUnknown, Wait};

/// The same story told to both: every answer is the same.
#[rstest]
#[case::once(&[Redeem(&[])])]
#[case::twice(&[Redeem(&[]), Redeem(&[]), Refresh(0, None)])]
#[case::unknown_code(&[Redeem(&[("code", "x")])])]
#[case::no_verifier(&[Redeem(&[("code_verifier", "")])])]
#[case::malformed_verifier(&[Redeem(&[("code_verifier", "short")])])]
#[case::wrong_verifier(&[Redeem(&[("code_verifier", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")])])]
#[case::other_redirect_uri(&[Redeem(&[("redirect_uri", "http://127.0.0.1/callback/")])])]
#[case::other_port(&[Redeem(&[("redirect_uri", "http://127.0.0.1:1/callback")])])]
#[case::another_client(&[Redeem(&[("client_id", "other")]), Redeem(&[])])]
#[case::unknown_client(&[Redeem(&[("client_id", "nobody")])])]
#[case::just_in_time(&[Wait(59), Redeem(&[])])]
#[case::too_late(&[Wait(60), Redeem(&[])])]
#[case::another_resource(&[Redeem(&[("resource", "https://nowhere.example/mcp")])])]
#[case::refresh(&[Redeem(&[]), Refresh(0, None), Refresh(1, None)])]
#[case::narrower(&[Redeem(&[]), Refresh(0, Some("mcp:read"))])]
#[case::wider(&[Redeem(&[]), Refresh(0, Some("mcp:admin")), Refresh(0, None)])]
#[case::unknown_refresh_token(&[RefreshUnknown])]
#[case::of_another_client(&[Redeem(&[]), RefreshAsOther(0), Refresh(0, None)])]
#[case::retry_in_the_window(&[Redeem(&[]), Refresh(0, None), Wait(29), Refresh(0, None)])]
#[case::reuse_after_the_window(&[Redeem(&[]), Refresh(0, None), Wait(31), Refresh(0, None), Refresh(1, None)])]
#[case::refresh_token_expired(&[Redeem(&[]), Wait(30 * 86_400), Refresh(0, None)])]
#[tokio::test]
async fn the_same_answers(#[case] story: &[Step]) {
    let mut both = Both::new().await;
    for step in story {
        let (ours, theirs) = both.take(*step).await;
        assert_eq!(ours, theirs, "{step:?} of {story:?}");
    }
}

/// RFC 6749 §6: the scope of a new refresh token is that of the one that was presented, and a narrower `scope` is the
/// access token's alone. The oracle makes the new refresh token narrower too.
#[tokio::test]
async fn different_a_narrower_access_token_leaves_the_grant_as_it_is() {
    let mut both = Both::new().await;
    for step in [Redeem(&[]), Refresh(0, Some("mcp:read"))] {
        both.take(step).await;
    }
    let (ours, theirs) = both.take(Refresh(1, None)).await;
    assert_eq!((ours.as_str(), theirs.as_str()), ("granted mcp:read mcp:write", "granted mcp:read"));
}

/// draft-ietf-oauth-v2-1 §10.2: the parameter is compared where it is sent. The oracle asks for it, as RFC 6749 does.
#[tokio::test]
async fn different_redirect_uri_may_be_left_out() {
    let mut both = Both::new().await;
    let (ours, theirs) = both.take(Redeem(&[("redirect_uri", "")])).await;
    assert_eq!((ours.as_str(), theirs.as_str()), ("granted mcp:read mcp:write", "invalid_grant"));
}

/// RFC 7636 §4.1 and §4.6.
#[rstest]
#[case(VERIFIER)]
#[case("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case("a-._~aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case("+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=")]
#[case("\u{e9}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case("")]
fn the_same_verifiers(#[case] text: &str) {
    let verifier = CodeVerifier::parse(text);
    assert_eq!(verifier.is_ok(), pkce::verifier_is_valid(text));
    let challenge: CodeChallenge = pkce::code_challenge_s256(VERIFIER).parse().unwrap();
    if let Ok(verifier) = verifier {
        assert_eq!(challenge.is_met_by(&verifier), pkce::verify_s256(text, &challenge.to_string()));
    }
}
