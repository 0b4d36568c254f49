//! An OAuth client that does by hand what SDKs do: for what no SDK does, as asking twice, or for what it must not.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::login::Person;

/// Where browsers are sent back to. Nobody listens there: the redirect is read, not followed.
pub(crate) const REDIRECT: &str = "http://127.0.0.1:9/callback";

/// A client and the endpoints it found.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) http: Client,
    /// The authorization server's metadata (RFC 8414).
    pub(crate) metadata: Value,
    /// The answer to its registration (RFC 7591); of a client that somebody else registered, its `client_id`.
    pub(crate) registration: Value,
    resource: String,
}

/// What a token request gave: status and JSON body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// A member of a successful answer.
    pub(crate) fn text(&self, member: &str) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member} in {self:?}")).to_owned()
    }

    /// The `error` member, of an answer that is one.
    pub(crate) fn error(&self) -> Option<&str> {
        self.body["error"].as_str()
    }
}

/// A code and what it takes to redeem it.
#[derive(Clone)]
pub(crate) struct Code {
    code: String,
    verifier: String,
}

impl App {
    /// Finds the authorization server of `issuer`, and registers there as a native client.
    pub(crate) async fn register(http: Client, issuer: &str, resource: &str) -> Self {
        let mut this = Self::known(http, issuer, resource, "").await;
        let answer = this.try_register().await.unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        this.registration = answer.body;
        this
    }

    /// Finds the authorization server of `issuer`, where `client` is a public client.
    pub(crate) async fn known(http: Client, issuer: &str, resource: &str, client: &str) -> Self {
        let issuer = Url::parse(issuer).unwrap();
        let metadata = issuer.join(&format!("/.well-known/oauth-authorization-server{}", issuer.path())).unwrap();
        let metadata: Value = http.get(metadata).send().await.unwrap().json().await.unwrap();
        Self { http, metadata, registration: json!({"client_id": client}), resource: resource.to_owned() }
    }

    /// The same client, on another way to the same server.
    pub(crate) fn by(&self, http: Client) -> Self {
        Self { http, ..self.clone() }
    }

    /// A registration; an error when there was no answer.
    pub(crate) async fn try_register(&self) -> reqwest::Result<Answer> {
        let wanted = json!({
            "client_name": "Test client",
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        });
        let response = self.http.post(self.endpoint("registration_endpoint")).json(&wanted).send().await?;
        Ok(Answer { status: response.status().as_u16(), body: response.json().await? })
    }

    /// A registration as it is stored now (RFC 7592); its status.
    pub(crate) async fn registered(&self, registration: &Value) -> u16 {
        let request = self.http.get(registration["registration_client_uri"].as_str().unwrap());
        let request = request.bearer_auth(registration["registration_access_token"].as_str().unwrap());
        request.send().await.unwrap().status().as_u16()
    }

    pub(crate) fn endpoint(&self, name: &str) -> String {
        self.metadata[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.metadata)).to_owned()
    }

    pub(crate) fn id(&self) -> &str {
        self.registration["client_id"].as_str().unwrap()
    }

    /// Has `person` allow `scope`.
    pub(crate) async fn code(&self, person: &mut Person, scope: &str) -> Code {
        let mut random = [0; 32];
        getrandom::fill(&mut random).unwrap();
        let verifier = URL_SAFE_NO_PAD.encode(random);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let mut url = Url::parse(&self.endpoint("authorization_endpoint")).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", self.id()),
            ("redirect_uri", REDIRECT),
            ("scope", scope),
            ("state", "s"),
            ("resource", &self.resource),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let answer = person.allow(&url).await;
        assert!(answer.as_str().starts_with(REDIRECT), "{answer}");
        let parameter =
            |name: &str| answer.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        assert_eq!(parameter("iss").as_deref(), self.metadata["issuer"].as_str(), "RFC 9207: {answer}");
        assert_eq!(parameter("state").as_deref(), Some("s"), "{answer}");
        Code { code: parameter("code").unwrap_or_else(|| panic!("no code in {answer}")), verifier }
    }

    /// Redeems a code; an error when there was no answer.
    pub(crate) async fn redeem(&self, Code { code, verifier }: &Code) -> reqwest::Result<Answer> {
        let code = ("code", code.as_str());
        self.token(&[
            ("grant_type", "authorization_code"),
            code,
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
        ])
        .await
    }

    /// Refreshes; an error when there was no answer.
    pub(crate) async fn refresh(&self, token: &str) -> reqwest::Result<Answer> {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn token(&self, form: &[(&str, &str)]) -> reqwest::Result<Answer> {
        let mut form = form.to_vec();
        form.extend([("client_id", self.id()), ("resource", &self.resource)]);
        let response = self.http.post(self.endpoint("token_endpoint")).form(&form).send().await?;
        Ok(Answer { status: response.status().as_u16(), body: response.json().await? })
    }

    /// Revokes (RFC 7009); an error when there was no answer.
    pub(crate) async fn revoke(&self, token: &str) -> reqwest::Result<u16> {
        let form = [("token", token), ("client_id", self.id())];
        let response = self.http.post(self.endpoint("revocation_endpoint")).form(&form).send().await?;
        Ok(response.status().as_u16())
    }

    /// A whole login of `person` for `scope`: the token endpoint's answer.
    pub(crate) async fn tokens(&self, person: &mut Person, scope: &str) -> Answer {
        let code = self.code(person, scope).await;
        let answer = self.redeem(&code).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// Calls a tool through the sidecar; the status.
    pub(crate) async fn call(&self, token: &str, tool: &str) -> u16 {
        let arguments = json!({"invoice": "INV-1001"});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let request = self.http.post(&self.resource).bearer_auth(token).json(&message);
        let request = request.header("accept", "application/json, text/event-stream");
        request.header("mcp-protocol-version", "2025-11-25").send().await.unwrap().status().as_u16()
    }
}
