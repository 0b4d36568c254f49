//! The two cookies of a browser (RFC 6265): random texts, by which the store knows its session, if it has one, and the
//! user who signed in there last.

use http::{HeaderMap, HeaderValue, header::COOKIE, header::InvalidHeaderValue};
use lumoauth_core::IssuerUrl;

use crate::registry::OrgId;

/// Name and flags of a cookie of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    name: String,
    flags: String,
}

impl Cookie {
    /// The cookie of the session.
    pub(super) fn of_session(public_url: &IssuerUrl, org: &OrgId) -> Self {
        Self::named(public_url, org, format!("lumoauth-{org}"))
    }

    /// The cookie of the device. No organization has an underscore: its name is no session's.
    pub(super) fn of_device(public_url: &IssuerUrl, org: &OrgId) -> Self {
        Self::named(public_url, org, format!("lumoauth_device-{org}"))
    }

    /// On https its name has the prefix by which browsers make sure that no other host and no plain connection has set
    /// it; on plain http, which is loopback only, browsers refuse that prefix and `Secure`. To cookies all ports are one
    /// (RFC 6265 §8.5), and the programs of this machine have the others: there the path, which the prefix would not
    /// allow, keeps it from those that it is not for. A page of theirs at this very path still gets it.
    fn named(public_url: &IssuerUrl, org: &OrgId, name: String) -> Self {
        if public_url.origin().starts_with("https://") {
            Self { name: format!("__Host-{name}"), flags: "; Path=/; Secure; HttpOnly; SameSite=Lax".to_owned() }
        } else {
            Self { name, flags: format!("; Path=/orgs/{org}/api/v1; HttpOnly; SameSite=Lax") }
        }
    }

    /// The value that a request carries. One that comes twice counts as none: it cannot be told which is ours. How long
    /// the headers may be, the connection bounds.
    pub(super) fn find<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut ours = pairs.filter(|(name, _)| *name == self.name).map(|(_, value)| value);
        match (ours.next(), ours.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// `Set-Cookie`. Without `seconds` the browser forgets it when it is closed.
    pub(super) fn set(&self, value: &str, seconds: Option<u64>) -> Result<HeaderValue, InvalidHeaderValue> {
        let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        let mut header = HeaderValue::try_from(format!("{}={value}{}{age}", self.name, self.flags))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn cookie(url: &str) -> Cookie {
        Cookie::of_session(&IssuerUrl::parse(url).unwrap(), &OrgId::parse("acme").unwrap())
    }

    #[rstest]
    #[case(
        "https://auth.example",
        Some(60),
        "__Host-lumoauth-acme=v; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60"
    )]
    #[case("https://auth.example", None, "__Host-lumoauth-acme=v; Path=/; Secure; HttpOnly; SameSite=Lax")]
    #[case("http://127.0.0.1:8080", None, "lumoauth-acme=v; Path=/orgs/acme/api/v1; HttpOnly; SameSite=Lax")]
    fn flags(#[case] url: &str, #[case] seconds: Option<u64>, #[case] header: &str) {
        assert_eq!(cookie(url).set("v", seconds).unwrap().to_str().unwrap(), header);
    }

    #[rstest]
    #[case("https://auth.example", "__Host-lumoauth_device-acme=v; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60")]
    #[case(
        "http://127.0.0.1:8080",
        "lumoauth_device-acme=v; Path=/orgs/acme/api/v1; HttpOnly; SameSite=Lax; Max-Age=60"
    )]
    fn flags_of_the_device(#[case] url: &str, #[case] header: &str) {
        let cookie = Cookie::of_device(&IssuerUrl::parse(url).unwrap(), &OrgId::parse("acme").unwrap());
        assert_eq!(cookie.set("v", Some(60)).unwrap().to_str().unwrap(), header);
    }

    #[test]
    fn a_value_cannot_end_the_header() {
        assert!(cookie("https://auth.example").set("v\r\nset-cookie: a=b", None).is_err());
    }

    #[rstest]
    #[case(&[], None)]
    #[case(&["__Host-lumoauth-acme=v"], Some("v"))]
    #[case(&["a=b; __Host-lumoauth-acme=v; c=d"], Some("v"))]
    #[case(&["a=b", "__Host-lumoauth-acme=v=w"], Some("v=w"))]
    #[case::twice(&["__Host-lumoauth-acme=v; __Host-lumoauth-acme=v"], None)]
    #[case::twice_in_two_headers(&["__Host-lumoauth-acme=v", "__Host-lumoauth-acme=w"], None)]
    #[case::without_prefix(&["lumoauth-acme=v"], None)]
    #[case::other_org(&["__Host-lumoauth-acme2=v"], None)]
    #[case::of_the_device(&["__Host-lumoauth_device-acme=v"], None)]
    #[case::case(&["__host-lumoauth-acme=v"], None)]
    #[case::no_value(&["__Host-lumoauth-acme"], None)]
    #[case::not_text(&["__Host-lumoauth-acme=\u{e9}"], None)]
    fn the_one_of_this_organization(#[case] sent: &[&str], #[case] value: Option<&str>) {
        let mut headers = HeaderMap::new();
        for cookie in sent {
            headers.append(COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
        }
        assert_eq!(cookie("https://auth.example").find(&headers), value);
    }
}
