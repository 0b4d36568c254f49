//! Settings of one organization.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// `orgs.<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OrgSettings {
    /// Dynamic Client Registration.
    pub dcr: DynamicRegistration,
    /// Client ID Metadata Documents.
    pub cimd: ClientDocuments,
}

/// `dcr`: Dynamic Client Registration (RFC 7591, RFC 7592).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DynamicRegistration {
    /// Who may register.
    pub mode: RegistrationMode,
    /// SHA-256 of the initial access tokens (RFC 7591 section 3), 64 lower-case hexadecimal digits each.
    pub initial_access_tokens: Vec<String>,
    /// The most registrations of the organization.
    pub max_clients: u32,
    /// After how many hours a registration that nobody has used is forgotten.
    pub unused_hours: u32,
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

/// `cimd`: Client ID Metadata Documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientDocuments {
    /// Whether a client may name itself by the URL of its document.
    pub enabled: bool,
    /// Hosts that documents may come from, exact or `*.example.com`; empty: any.
    pub allowed_domains: Vec<String>,
    /// What becomes of clients whose redirect URIs are all on the user's own machine: any program there can pass for
    /// them.
    pub localhost_redirects: LocalhostRedirects,
    /// Special-use address ranges that documents may be fetched from. Unsafe: whoever can name a client can then make
    /// the authorization server ask there.
    pub allowed_cidrs: Vec<IpNet>,
    /// PEM certificates trusted for documents beside the public ones.
    pub ca_bundle: String,
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
