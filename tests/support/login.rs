//! A person at the pages of the authorization server, without a browser: forms are read, filled and sent as they are.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Client, ClientBuilder, Response, StatusCode, Url,
    header::{COOKIE, LOCATION, SET_COOKIE},
    redirect::Policy,
};

/// An HTTP client that follows nothing by itself, to be built further.
pub(crate) fn builder() -> ClientBuilder {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder().redirect(Policy::none()).no_proxy().timeout(Duration::from_secs(30))
}

/// An HTTP client that follows nothing by itself.
pub(crate) fn http() -> Client {
    builder().build().unwrap()
}

/// Somebody with a name, a password and a cookie jar.
pub(crate) struct Person {
    http: Client,
    name: String,
    password: String,
    cookies: BTreeMap<String, String>,
}

impl Person {
    /// Somebody who has not logged in yet.
    pub(crate) fn new(http: Client, name: &str, password: &str) -> Self {
        Self { http, name: name.to_owned(), password: password.to_owned(), cookies: BTreeMap::new() }
    }

    /// The same person and browser, on another way to the same server.
    pub(crate) fn by(self, http: Client) -> Self {
        Self { http, ..self }
    }

    /// The page at `url`, as this browser is shown it.
    pub(crate) async fn page(&mut self, url: &str) -> String {
        self.send(self.http.get(url)).await.text().await.unwrap()
    }

    /// Opens `url`, logs in and allows, wherever it is asked; gives where the last redirect leads, which is not followed.
    ///
    /// # Panics
    /// When a page is neither a login nor a consent, or there is no end of them.
    pub(crate) async fn allow(&mut self, url: &Url) -> Url {
        let mut response = self.send(self.http.get(url.clone())).await;
        for _ in 0..6 {
            let status = response.status();
            let location = response.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned());
            if location.is_some() {
                assert_eq!(status, StatusCode::SEE_OTHER, "OAuth 2.1: a redirect keeps no method and no body");
            }
            let page = response.text().await.unwrap();
            if let Some(target) = location.or_else(|| going_on(&page)) {
                let target = url.join(&target).unwrap();
                if target.origin() != url.origin() || target.path() != url.path() {
                    return target;
                }
                response = self.send(self.http.get(target)).await;
                continue;
            }
            let form = Form::read(&page).unwrap_or_else(|| panic!("{status}, and no form to go on with: {page}"));
            let target = form.action.as_deref().map_or_else(|| url.clone(), |action| url.join(action).unwrap());
            let fields = form.filled(&self.name, &self.password);
            let origin = url.origin().ascii_serialization();
            response = self.send(self.http.post(target).header("origin", origin).form(&fields)).await;
        }
        panic!("the pages of {url} have no end");
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Response {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = request.header(COOKIE, cookies.join("; ")).send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }
}

/// Where a page goes on to by itself, if it does.
fn going_on(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<meta http-equiv=\"refresh\"")?;
    attribute(rest.split('>').next()?, "content")?.strip_prefix("0;url=").map(str::to_owned)
}

/// The first form of a page that is a login, or that has a button to allow.
#[derive(Debug, Default)]
struct Form {
    action: Option<String>,
    /// Name, type and value of each input and button, and a button's text.
    controls: Vec<Control>,
}

#[derive(Debug)]
struct Control {
    name: Option<String>,
    kind: String,
    value: String,
    text: String,
}

impl Form {
    fn read(page: &str) -> Option<Self> {
        page.split("<form")
            .skip(1)
            .map(|rest| rest.split("</form>").next().unwrap_or(rest))
            .map(Self::parse)
            .find(|form| form.controls.iter().any(|control| control.kind == "password" || control.text == "Allow"))
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once('>').unwrap_or((text, ""));
        let mut form = Self { action: attribute(head, "action"), controls: Vec::new() };
        for part in body.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap_or((part, ""));
            let element = tag.split_whitespace().next().unwrap_or_default();
            if element == "input" || element == "button" {
                form.controls.push(Control {
                    name: attribute(tag, "name"),
                    kind: attribute(tag, "type").unwrap_or_else(|| element.to_owned()),
                    value: attribute(tag, "value").unwrap_or_default(),
                    text: if element == "button" { text.trim().to_owned() } else { String::new() },
                });
            }
        }
        form
    }

    /// What is sent: hidden fields as they are, name and password, boxes as they are, and the button that allows.
    fn filled(&self, name: &str, password: &str) -> Vec<(String, String)> {
        let mut sent = Vec::new();
        let login = self.controls.iter().any(|control| control.kind == "password");
        for control in &self.controls {
            let value = match control.kind.as_str() {
                "password" => password.to_owned(),
                "hidden" => control.value.clone(),
                "button" | "submit" if control.text == "Allow" || login => control.value.clone(),
                "button" | "submit" | "checkbox" => continue,
                _ => name.to_owned(),
            };
            if let Some(field) = &control.name {
                sent.push((field.clone(), value));
            }
        }
        sent
    }
}

/// The value of an attribute, with the entities that templates write.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\"")).or_else(|| tag.find(&format!("\n{name}=\"")))? + name.len() + 3;
    let value = tag.get(start..)?.split('"').next()?;
    let entities = [
        ("&#38;", "&"),
        ("&amp;", "&"),
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
    ];
    Some(entities.iter().fold(value.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
}

#[test]
fn pages_that_go_on_are_read() {
    let page =
        r#"<head><meta name="robots" content="noindex"><meta http-equiv="refresh" content="0;url=/a?x=1&#38;y=2">"#;
    assert_eq!(going_on(page).as_deref(), Some("/a?x=1&y=2"));
    assert_eq!(going_on(r#"<meta name="robots" content="0;url=/a">"#), None);
}

#[test]
fn forms_are_read() {
    let page = r#"<p><form method="post"><button>Log out</button></form><form action="/a?x=1&#38;y=2" method="post">
        <input type="hidden" name="csrf" value="a&#34;b"><label>Name <input name="user"></label>
        <input name="password" type="password"><button name="do" value="in">Sign in</button></form>"#;
    let form = Form::read(page).unwrap();
    assert_eq!(form.action.as_deref(), Some("/a?x=1&y=2"));
    let sent = form.filled("alice", "secret");
    let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(sent, [("csrf", "a\"b"), ("user", "alice"), ("password", "secret"), ("do", "in")]);
}

#[test]
fn the_button_that_allows_is_pressed() {
    let page = r#"<form method="post"><button name="action" value="logout">Not you?</button></form><form method="post">
        <input type="hidden" name="csrf" value="c"><button name="action" value="deny">Do not allow</button>
        <button class="main" name="action" value="allow">Allow</button></form>"#;
    let sent = Form::read(page).unwrap().filled("alice", "secret");
    let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(sent, [("csrf", "c"), ("action", "allow")]);
}
