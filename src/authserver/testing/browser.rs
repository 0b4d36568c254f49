//! A browser: it keeps one cookie per name, sends it back, and says where its forms come from.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Request, header};
use url::form_urlencoded::Serializer;

use super::{BASE, Reply, World};

pub(crate) struct Browser<'a> {
    world: &'a World,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Of the last page that had one.
    pub(crate) csrf: String,
    /// What it says of its forms.
    pub(crate) says: Vec<(&'static str, String)>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let says = vec![("origin", BASE.to_owned()), ("sec-fetch-site", "same-origin".to_owned())];
        Self { world, cookies: BTreeMap::new(), csrf: String::new(), says }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(Request::get(path), Body::empty()).await
    }

    /// Presses a button of the last page: `csrf` is filled in.
    pub(crate) async fn press(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let csrf = self.csrf.clone();
        let body = Serializer::new(String::new()).append_pair("csrf", &csrf).extend_pairs(fields).finish();
        self.post(path, body).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: String) -> Reply {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in &self.says {
            request = request.header(*name, value);
        }
        self.send(request, Body::from(body)).await
    }

    /// Opens the page and signs in there.
    pub(crate) async fn sign_in(&mut self, path: &str, name: &str, password: &str) -> Reply {
        self.get(path).await;
        self.press(path, &[("action", "login"), ("username", name), ("password", password)]).await
    }

    async fn send(&mut self, mut request: http::request::Builder, body: Body) -> Reply {
        for (name, value) in &self.cookies {
            request = request.header(header::COOKIE, format!("{name}={value}"));
        }
        let reply = self.world.send(request.body(body).unwrap()).await;
        for cookie in reply.headers.get_all(header::SET_COOKIE) {
            let (pair, flags) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if flags.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some((_, rest)) = String::from_utf8_lossy(&reply.bytes).split_once("name=\"csrf\" value=\"") {
            self.csrf = rest.split('"').next().unwrap().to_owned();
        }
        reply
    }
}
