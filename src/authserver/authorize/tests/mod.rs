//! The endpoint over HTTP, as browsers meet it.

mod agreed;
mod consent;
mod onward;
mod refusals;
mod strangers;

use std::collections::BTreeMap;

use lumoauth_core::{ClientId, ResourceUri, UnixTime};
use serde_json::{Value, json};
use url::form_urlencoded::{self, Serializer};

use crate::{
    authserver::{
        artefact::{Artefact, Digest, Kind},
        people,
        store::{Code, NewDevice, NewSession, NewUser, PasswordHash, User, UserName},
        testing::{INVOICES, ISSUER, NOW, Reply, World, browser::Browser, client, id_of, invoices, server},
    },
    registry::OrgId,
};

const PATH: &str = "/orgs/acme/api/v1/oauth/authorize";
const CALLBACK: &str = "https://app.example/callback";
const LOOPBACK: &str = "http://127.0.0.1:49152/callback";
const EVIL: &str = "https://evil.example/callback";
const NOTES: &str = "https://notes.acme.example/mcp";
/// With characters that form-encoding changes.
const STATE: &str = "s t/a&t=e\"<b>";
/// RFC 7636 appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const PASSWORD: &str = "correct horse";

/// Organization `acme` with the clients `web` (confidential), `cli` (public, on loopback and a scheme of its own), and
/// the people `ada` (of group finance) and `bob`. Who is of finance may have mcp:write of Invoices; everybody may have
/// note:read of Notes.
struct Scene {
    world: World,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        world.put_server(server(
            "acme",
            "invoices",
            &granted(&json!([{"groups": ["finance"], "scopes": ["mcp:write"]}])),
        ));
        world.put_server(server(
            "acme",
            "notes",
            &json!({
                "resourceUri": NOTES, "port": 8000, "scopes": [{"name": "note:read", "description": "Read notes"}],
                "requiredScopes": ["note:read"],
            }),
        ));
        world.put_client(web(&json!({})));
        let (scopes, for_people) = (
            ["mcp:admin", "note:read"],
            json!({
                "displayName": "Command line", "grantTypes": ["AuthorizationCode", "RefreshToken"],
                "redirectUris": ["http://127.0.0.1/callback", "com.example.cli:/callback"],
            }),
        );
        world.put_client(client("acme", "cli", "None", &scopes, &for_people));
        world.publish();
        Self { world }
    }

    async fn add(&self, name: &str, groups: &[&str]) -> User {
        let new = NewUser {
            name: UserName::parse(name).unwrap(),
            password_hash: PasswordHash::new("none".to_owned()),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        self.world.store.add_user(&acme(), new, UnixTime(NOW)).await.unwrap()
    }

    async fn ada(&self) -> User {
        self.add("ada", &["finance"]).await
    }

    /// A browser in which `user` is signed in.
    async fn browser_of(&self, user: &User) -> Browser<'_> {
        let cookie = Artefact::generate(Kind::Session).unwrap();
        let session = NewSession {
            digest: cookie.digest(),
            user: user.id.clone(),
            verified: self.world.store.user(&acme(), &user.id).await.unwrap().unwrap().password_hash,
            expires_at: UnixTime(NOW + 3600),
            device: NewDevice {
                digest: Digest::of(&format!("device of {}", cookie.text())),
                replaces: None,
                expires_at: UnixTime(NOW + 3600),
            },
        };
        assert!(self.world.store.start_session(&acme(), &session, None, UnixTime(NOW)).await.unwrap());
        let mut browser = Browser::new(&self.world);
        browser.cookies.insert("__Host-lumoauth-acme".to_owned(), cookie.text().to_owned());
        browser
    }

    /// What a code is bound to.
    async fn code(&self, text: &str) -> Code {
        assert!(text.starts_with("lac_"), "{text}");
        self.world.store.code(&acme(), &Digest::of(text), UnixTime(NOW)).await.unwrap().unwrap()
    }

    /// How many consents a user has given.
    async fn consents(&self, user: &User) -> usize {
        self.world.store.consents(&acme(), &user.id).await.unwrap().len()
    }
}

fn acme() -> OrgId {
    OrgId::parse("acme").unwrap()
}

fn granted(grants: &Value) -> Value {
    let mut spec = invoices();
    spec["grants"] = grants.clone();
    spec["scopes"][0]["description"] = json!("Read <invoices>");
    spec
}

fn web(more: &Value) -> Value {
    let mut spec = json!({
        "displayName": "Web app", "grantTypes": ["AuthorizationCode", "RefreshToken"], "redirectUris": [CALLBACK],
    });
    json_patch::merge(&mut spec, more);
    client("acme", "web", "ClientSecretBasic", &["mcp:admin", "note:read"], &spec)
}

/// A request of `client` for mcp:read of Invoices, with changes: a parameter that is named replaces those of its name,
/// and an empty value leaves it out.
fn url(client: &str, changes: &[(&str, &str)]) -> String {
    let id = id_of("acme", client);
    let redirect = if client == "web" { CALLBACK } else { LOOPBACK };
    let usual = [
        ("response_type", "code"),
        ("client_id", id.as_str()),
        ("redirect_uri", redirect),
        ("state", STATE),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", INVOICES),
        ("scope", "mcp:read"),
    ];
    let kept = usual.into_iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let added = changes.iter().copied().filter(|(_, value)| !value.is_empty());
    let query = Serializer::new(String::new()).extend_pairs(kept.chain(added)).finish();
    format!("{PATH}?{query}")
}

/// The parameters of a response that was sent to `redirect`, which always repeats `state` and names the issuer (RFC 9207).
fn answer(reply: &Reply, redirect: &str) -> BTreeMap<String, String> {
    assert_eq!((reply.header("cache-control"), reply.header("referrer-policy")), ("no-store", "no-referrer"));
    let location = if reply.status == 200 {
        going_on(reply)
    } else {
        assert_eq!(reply.status, 303, "{}", reply.text());
        reply.header("location").to_owned()
    };
    parameters(&location, redirect)
}

/// Where a page goes on to by itself, which its link says too.
fn going_on(reply: &Reply) -> String {
    let text = reply.text();
    assert_page(reply, 200, "Going on to");
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    assert!(reply.header("content-security-policy").contains("form-action 'self';"));
    let (_, rest) = text.split_once("http-equiv=\"refresh\" content=\"0;url=").unwrap();
    let location = rest.split('"').next().unwrap();
    assert!(text.contains(&format!("<a href=\"{location}\"")), "{text}");
    location.replace("&#38;", "&").replace("&#39;", "'")
}

/// The parameters of a response at `redirect`.
fn parameters(location: &str, redirect: &str) -> BTreeMap<String, String> {
    let (to, query) = location.split_once('?').unwrap();
    assert_eq!(to, redirect);
    let parameters: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!((parameters["state"].as_str(), parameters["iss"].as_str()), (STATE, ISSUER));
    parameters
}

/// The `error` of a refusal that was sent to the client's usual redirect URI, and no code.
fn refusal(reply: &Reply, redirect: &str) -> String {
    let parameters = answer(reply, redirect);
    assert!(!parameters.contains_key("code") && !parameters["error_description"].is_empty());
    parameters["error"].clone()
}

/// Where a page leads: nowhere by itself.
fn assert_page(reply: &Reply, status: u16, says: &str) {
    let text = reply.text();
    assert_eq!(reply.status, status, "{text}");
    assert!(text.contains(says), "{says}: {text}");
    assert_eq!(reply.header("location"), "");
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(reply.header("x-frame-options"), "DENY");
    let policy = reply.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
}

/// The hidden field `proposal` of a consent page.
fn proposal(reply: &Reply) -> String {
    let text = reply.text();
    let (_, rest) = text.split_once("name=\"proposal\" value=\"").unwrap_or_else(|| panic!("no consent page: {text}"));
    rest.split('"').next().unwrap().to_owned()
}

/// Opens a request, which has to ask, and allows it.
async fn allow(browser: &mut Browser<'_>, url: &str) -> Reply {
    let page = browser.get(url).await;
    browser.press(url, &[("action", "allow"), ("proposal", &proposal(&page))]).await
}

fn client_id_of(name: &str) -> ClientId {
    ClientId::parse(&id_of("acme", name)).unwrap()
}

/// What a browser is shown.
#[derive(Debug, PartialEq)]
enum Shown {
    Login,
    Consent,
    Code,
    Error(String),
}

fn shown(reply: &Reply) -> Shown {
    if reply.status == 200 {
        return if reply.text().contains("name=\"proposal\"") { Shown::Consent } else { Shown::Login };
    }
    let answer = answer(reply, CALLBACK);
    answer.get("error").map_or(Shown::Code, |error| Shown::Error(error.clone()))
}

/// Resources and scopes of a code, as text.
fn given(code: &Code) -> Vec<(String, String)> {
    let text = |(resource, scopes): &(ResourceUri, lumoauth_core::ScopeSet)| (resource.to_string(), scopes.to_string());
    code.resources.iter().map(text).collect()
}

/// One password's hash takes a moment: only where somebody logs in.
fn hashed() -> PasswordHash {
    people::hash(&people::Password::parse(PASSWORD).unwrap()).unwrap()
}
