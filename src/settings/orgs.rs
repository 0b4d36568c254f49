//! Settings of one organization.

use ipnet::IpNet;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// `orgs.<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OrgSettings {
    /// Dynamic Client Registration.
    pub dcr: DynamicRegistration,
    /// Client ID Metadata Documents.
    pub cimd: ClientDocuments,
}

impl OrgSettings {
    /// Whether they can be used as they are written. Gives what is wrong, as a member and what it must be.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        self.dcr.check()?;
        self.cimd.check()
    }
}

/// `dcr`: Dynamic Client Registration (RFC 7591, RFC 7592). Where nobody may register any more, clients that did go on:
/// `lumoauth client disable` ends one. A request counts against the rate of the organization before anything in it is
/// read, so that nonsense is limited as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DynamicRegistration {
    /// Who may register.
    pub mode: RegistrationMode,
    /// SHA-256 of the initial access tokens (RFC 7591 section 3), 64 lower-case hexadecimal digits each.
    pub initial_access_tokens: Vec<String>,
    /// The most registrations of the organization.
    pub max_clients: u32,
    /// After how many hours a registration that nobody has used is forgotten; where another one has no room, after ten
    /// minutes.
    pub unused_hours: u32,
}

impl DynamicRegistration {
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.initial_access_tokens.iter().all(|text| is_sha256(text)) {
            let must = "must hold the SHA-256 of each token, not the token: 64 hexadecimal digits in lower case";
            return Err(("dcr.initialAccessTokens", must));
        }
        if self.mode == RegistrationMode::InitialAccessToken && self.initial_access_tokens.is_empty() {
            return Err(("dcr.initialAccessTokens", "must not be empty where dcr.mode is InitialAccessToken"));
        }
        if self.max_clients == 0 {
            return Err(("dcr.maxClients", "must be at least 1: dcr.mode Off keeps clients from registering"));
        }
        if self.unused_hours == 0 {
            return Err(("dcr.unusedHours", "must be at least 1: a client would be forgotten before anybody uses it"));
        }
        Ok(())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Default for DynamicRegistration {
    fn default() -> Self {
        Self { mode: RegistrationMode::Off, initial_access_tokens: Vec::new(), max_clients: 1000, unused_hours: 24 }
    }
}

/// `dcr.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistrationMode {
    /// Nobody.
    #[default]
    Off,
    /// Whoever holds an initial access token.
    InitialAccessToken,
    /// Everybody.
    Open,
}

/// `cimd`: Client ID Metadata Documents. `enabled` and `allowedDomains` hold as well for the `jwks_uri` of clients that
/// registered themselves: it is fetched in the same way, and named by a stranger too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientDocuments {
    /// Whether a client may name itself by the URL of its document.
    pub enabled: bool,
    /// Hosts that documents may come from, exact or `*.example.com`; empty: any.
    pub allowed_domains: Vec<String>,
    /// What becomes of authorization requests of these clients whose redirect URI is on loopback, on the user's own
    /// machine: any program there can pass for the client. It does not apply to clients that registered themselves,
    /// which anybody can pass for anyway: `dcr.mode` is what keeps them out.
    pub localhost_redirects: LocalhostRedirects,
    /// Special-use address ranges that documents may be fetched from. Unsafe: whoever can name a client can then make
    /// the authorization server ask there.
    pub allowed_cidrs: Vec<IpNet>,
    /// PEM certificates trusted for documents beside the public ones. Unsafe: whoever holds one of their keys can pass
    /// for the host of any document.
    pub ca_bundle: String,
}

impl ClientDocuments {
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.allowed_domains.iter().all(|pattern| is_domain(pattern.strip_prefix("*.").unwrap_or(pattern))) {
            let must =
                "must hold hosts in lower case, such as app.example.com or *.example.com, without scheme and port";
            return Err(("cimd.allowedDomains", must));
        }
        if !self.ca_bundle.is_empty() && !holds_certificates(&self.ca_bundle) {
            return Err(("cimd.caBundle", "must hold PEM certificates"));
        }
        Ok(())
    }
}

/// Whether a text is a host as a URL has it.
fn is_domain(text: &str) -> bool {
    let url = Url::parse(&format!("https://{text}/")).ok();
    let host = url.as_ref().and_then(Url::host);
    let is_host = !matches!(host, None | Some(Host::Domain(""))) && !text.ends_with('.') && !text.contains('*');
    is_host && url.as_ref().is_some_and(|url| url.host_str() == Some(text) && url.as_str().len() == text.len() + 9)
}

/// Whether a text holds certificates, and each can be trusted.
fn holds_certificates(pem: &str) -> bool {
    let mut roots = RootCertStore::empty();
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    certificates.all(|certificate| certificate.is_ok_and(|der| roots.add(der).is_ok())) && !roots.is_empty()
}

impl Default for ClientDocuments {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed_domains: Vec::new(),
            localhost_redirects: LocalhostRedirects::Warn,
            allowed_cidrs: Vec::new(),
            ca_bundle: String::new(),
        }
    }
}

/// `cimd.localhostRedirects`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LocalhostRedirects {
    /// The consent page warns.
    #[default]
    Warn,
    /// They are refused.
    Block,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn wrong(settings: &Value) -> Option<&'static str> {
        serde_json::from_value::<OrgSettings>(settings.clone()).unwrap().check().err().map(|(member, _)| member)
    }

    fn certificate() -> String {
        rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap().cert.pem()
    }

    #[rstest]
    #[case::nothing(json!({}), None)]
    #[case::digest(json!({"initialAccessTokens": ["0123456789abcdef".repeat(4)]}), None)]
    #[case::digest_used(json!({"mode": "InitialAccessToken", "initialAccessTokens": ["0".repeat(64)]}), None)]
    #[case::token(json!({"initialAccessTokens": ["secret"]}), Some("dcr.initialAccessTokens"))]
    #[case::upper(json!({"initialAccessTokens": ["A".repeat(64)]}), Some("dcr.initialAccessTokens"))]
    #[case::no_digit(json!({"initialAccessTokens": ["g".repeat(64)]}), Some("dcr.initialAccessTokens"))]
    #[case::short(json!({"initialAccessTokens": ["0".repeat(63)]}), Some("dcr.initialAccessTokens"))]
    #[case::one_of_two(json!({"initialAccessTokens": ["0".repeat(64), ""]}), Some("dcr.initialAccessTokens"))]
    #[case::none(json!({"mode": "InitialAccessToken"}), Some("dcr.initialAccessTokens"))]
    #[case::hours(json!({"unusedHours": 0}), Some("dcr.unusedHours"))]
    #[case::clients(json!({"maxClients": 0}), Some("dcr.maxClients"))]
    #[case::clients_while_off(json!({"mode": "Off", "maxClients": 0}), Some("dcr.maxClients"))]
    fn registration(#[case] dcr: Value, #[case] member: Option<&str>) {
        assert_eq!(wrong(&json!({"dcr": dcr})), member);
    }

    #[rstest]
    #[case("app.example", true)]
    #[case("*.app.example", true)]
    #[case("localhost", true)]
    #[case("xn--exmple-cua.example", true)]
    #[case("192.0.2.1", true)]
    #[case("[2001:db8::1]", true)]
    #[case("", false)]
    #[case("*", false)]
    #[case("*.", false)]
    #[case("*.*.example", false)]
    #[case("a.*.example", false)]
    #[case("*app.example", false)]
    #[case("App.example", false)]
    #[case("app.example.", false)]
    #[case("https://app.example", false)]
    #[case("app.example:8443", false)]
    #[case("app.example:443", false)]
    #[case("app.example/c", false)]
    #[case("app.example?", false)]
    #[case("u@app.example", false)]
    #[case("ex\u{e4}mple.example", false)]
    #[case(" app.example", false)]
    #[case("a b", false)]
    fn allowed_domains(#[case] pattern: &str, #[case] good: bool) {
        let settings = json!({"cimd": {"allowedDomains": ["good.example", pattern]}});
        assert_eq!(wrong(&settings), (!good).then_some("cimd.allowedDomains"));
    }

    #[test]
    fn ca_bundle() {
        let of = |bundle: &str| wrong(&json!({"cimd": {"caBundle": bundle}}));
        let one = certificate();
        for good in [String::new(), one.clone(), format!("# comment\n{one}{}", certificate())] {
            assert_eq!(of(&good), None, "{good}");
        }
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["/etc/ca.pem", " ", broken, &format!("{one}{broken}"), &one.replace("CERTIFICATE", "PRIVATE KEY")] {
            assert_eq!(of(bad), Some("cimd.caBundle"), "{bad}");
        }
    }
}
