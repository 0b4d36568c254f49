//! `McpServer`: this workload is a protected resource.

// KubeSchema's derive repeats each struct inside a private scope of its own.
#![allow(unreachable_pub)]
// The contract has that many switches.
#![allow(clippy::struct_excessive_bools)]

mod authorization_server;
mod sidecar;
mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    authorization_server::{AuthorizationServerSpec, Introspection, ScopeMapping},
    sidecar::{LogLevelSpec, Resources, SidecarSpec},
    status::{McpServerStatus, PodCounts, ServerUrls},
};
use super::schema;

/// An MCP server whose calls are authorized: its RFC 8707 identifier, its scopes, and which tool needs which scope.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mcp.lumoauth.dev",
    version = "v1alpha1",
    kind = "McpServer",
    plural = "mcpservers",
    shortname = "mcps",
    category = "lumoauth",
    namespaced,
    derive = "PartialEq",
    status = "McpServerStatus",
    doc = "An MCP server whose calls are authorized.",
    printcolumn(name = "Resource", type_ = "string", json_path = ".spec.resourceUri"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Pods", type_ = "string", json_path = ".status.pods.summary"),
    printcolumn(
        name = "Enforced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="EnforcementVerified")].status"#
    ),
    printcolumn(
        name = "Bypass",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="BypassProtected")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    validation = crate::api::v1alpha1::schema::object_name()
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.requiredScopes.all(s, self.scopes.exists(d, d.name == s))")
        .message("every entry of requiredScopes must be declared in scopes: add it there"),
    validation = Rule::new("self.scopes.all(d, d.implies.all(s, self.scopes.exists(o, o.name == s)))")
        .message("every scope named in implies must be declared in scopes: add it there"),
    validation = Rule::new("self.rules.all(r, r.scopes.all(s, self.scopes.exists(d, d.name == s)))")
        .message("every scope a rule names must be declared in scopes: add it there")
)]
pub struct McpServerSpec {
    /// Name shown to people; default: metadata.name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,

    /// What the server is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,

    /// RFC 8707 identifier: the `aud` of its tokens. Unique in the organization; cannot be changed.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("resourceUri cannot be changed, tokens are bound to it: create a new McpServer"),
        validation = Rule::new("isURL(self) && self.matches('^https?://[^/?#@]+(/[^?#]*)?$')")
            .message("resourceUri must be an absolute URL without user name, query and fragment: write it as https://host/path"),
        validation = Rule::new(
            r"self.startsWith('https://') || self.matches('^http://(localhost|127[.][0-9]+[.][0-9]+[.][0-9]+|\\[::1\\]|[a-z0-9-]+[.][a-z0-9-]+[.]svc([.]cluster[.]local)?)(:[0-9]+)?([/?]|$)')"
        )
        .message("resourceUri must use https: http is only for loopback addresses and .svc hosts")
    )]
    pub resource_uri: String,

    /// Where clients connect; default: resourceUri.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("isURL(self) && self.matches('^https?://[^/?#@]+([/?][^#]*)?$')")
            .message("endpointUrl must be an absolute URL without user name and fragment: write it as https://host/path")
    )]
    pub endpoint_url: Option<String>,

    /// How clients speak to it. Stdio is a registry entry only.
    #[serde(default)]
    pub transport: Transport,

    /// Whether calls need a token.
    #[serde(default)]
    pub auth_mode: AuthMode,

    /// Where the server listens in its pod.
    #[x_kube(
        validation = Rule::new("self >= 1 && self <= 65535 && self != 16080 && self != 16081")
            .message("port must be between 1 and 65535 and not 16080 or 16081, which the sidecar uses: write the port the MCP server listens on")
    )]
    pub port: i32,

    /// Its MCP path; default: the path of resourceUri.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^/[!-~]*$') && !self.contains('?') && !self.contains('#')")
            .message("path must start with / and hold no query, fragment or space: write it as /mcp")
    )]
    pub path: Option<String>,

    /// All scopes the server knows.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))")
            .message("scopes declares a name twice: remove one of them")
    )]
    pub scopes: Vec<ScopeSpec>,

    /// Needed by every call; also the scope of the 401 challenge and the metadata's `scopes_supported`.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    pub required_scopes: Vec<String>,

    /// The first rule that matches decides what a call needs on top.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub rules: Vec<RuleSpec>,

    /// For operations no rule names: RequireBase (requiredScopes suffice) or Deny.
    #[serde(default)]
    pub default_rule: DefaultRuleSpec,

    /// Whether tools/list, prompts/list and resources/list show only what the token may use.
    #[serde(default = "yes")]
    pub filter_lists: bool,

    /// Lifetime of its access tokens in seconds, 60 to 86400.
    #[serde(default = "default_lifetime")]
    #[x_kube(
        validation = Rule::new("self >= 60 && self <= 86400")
            .message("tokenLifetimeSeconds must be between 60 and 86400 (one minute and one day)")
    )]
    pub token_lifetime_seconds: i64,

    /// McpClient references or client-id URLs that may use the server; empty: every client of the organization.
    #[serde(default)]
    #[schemars(length(max = 128), inner(length(min = 1, max = 512)))]
    pub allowed_clients: Vec<String>,

    /// McpClients that may introspect tokens of this server.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    pub introspection_clients: Vec<String>,

    /// Whether authorization requests need PKCE.
    #[serde(default = "yes")]
    pub require_pkce: bool,

    /// Whether every token request must name `resource`.
    #[serde(default = "yes")]
    pub require_resource_param: bool,

    /// Whether tokens must be sender-constrained.
    #[serde(default)]
    pub require_dpop: bool,

    /// Who issues tokens; empty: the built-in authorization server.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub authorization_servers: Vec<AuthorizationServerSpec>,

    /// What people may be given; empty: every user may consent to requiredScopes, nothing more. Otherwise what no entry
    /// gives is not given. Example:
    /// `[{groups: [finance], scopes: ["mcp:write"]}, {users: [ada], scopes: ["mcp:admin"]}]`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub grants: Vec<Grant>,

    /// More members of the protected resource metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::bounded_metadata")]
    #[x_kube(
        validation = Rule::new(
            "self.all(k, !(k in ['resource', 'authorization_servers', 'bearer_methods_supported', 'scopes_supported', 'signed_metadata', 'jwks_uri']) && !k.startsWith('dpop_') && !k.startsWith('tls_'))"
        )
        .message("metadata may not set resource, authorization_servers, bearer_methods_supported, scopes_supported, signed_metadata, jwks_uri, dpop_* or tls_*: remove that member"),
        validation = Rule::new("self.all(k, size(k) <= 64)").message("metadata member names may have at most 64 characters")
    )]
    pub metadata: BTreeMap<String, String>,

    /// Enforce, or (for roll-out) only observe.
    #[serde(default)]
    pub enforcement: EnforcementMode,

    /// The injected sidecar.
    #[serde(default)]
    pub sidecar: SidecarSpec,
}

fn yes() -> bool {
    true
}

fn default_lifetime() -> i64 {
    3600
}

/// How clients speak to a server.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// MCP Streamable HTTP.
    #[default]
    StreamableHttp,
    /// The older HTTP+SSE transport.
    HttpSse,
    /// A local process: nothing to enforce on a cluster.
    Stdio,
}

/// Whether calls need a token.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// Every call needs an access token.
    #[default]
    OAuth,
    /// Calls are forwarded without a token; only hygiene is checked.
    None,
}

/// For operations no rule names.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultRuleSpec {
    /// The required scopes suffice.
    #[default]
    RequireBase,
    /// They are denied.
    Deny,
}

/// Whether decisions are enforced.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnforcementMode {
    /// They are.
    #[default]
    Enforce,
    /// They are only logged and counted.
    Observe,
}

/// A scope the server knows.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScopeSpec {
    /// The scope (RFC 6749 section 3.3).
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^[!#-\\[\\]-~]+$')")
            .message("a scope may hold printable ASCII without space, \" and \\")
    )]
    pub name: String,
    /// Shown to people who are asked to consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// Scopes that holding this one includes.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub implies: Vec<String>,
}

/// What some operations need.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(size(self.tools) > 0) != (size(self.methods) > 0)")
        .message("a rule needs exactly one of tools and methods: write two rules to cover both"),
    validation = Rule::new("size(self.names) == 0 || size(self.methods) > 0")
        .message("names goes with methods: for tools write the tool names in tools"),
    validation = Rule::new("self.deny != (size(self.scopes) > 0)")
        .message("a rule needs either scopes or deny: true")
)]
pub struct RuleSpec {
    /// Tools, by exact name or prefix*.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = r"^[^*]*[*]?$")))]
    pub tools: Vec<String>,
    /// JSON-RPC methods, by exact name or prefix*.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128), regex(pattern = r"^[^*]*[*]?$")))]
    pub methods: Vec<String>,
    /// What the methods are applied to, by exact name or prefix*; empty: anything.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512), regex(pattern = r"^[^*]*[*]?$")))]
    pub names: Vec<String>,
    /// Scopes needed on top of requiredScopes.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub scopes: Vec<String>,
    /// Nobody may.
    #[serde(default)]
    pub deny: bool,
}

/// What people may be given: those of groups or users, or whoever uses one of clients.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(size(self.groups) > 0 || size(self.users) > 0) != (size(self.clients) > 0)")
        .message("an entry of grants names people (groups, users) or clients: write two entries for both")
)]
pub struct Grant {
    /// Groups of people; not beside clients.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
    /// People, by their name; not beside clients.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub users: Vec<String>,
    /// McpClient references or client-id URLs (exact or https://host/*); not beside groups and users.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub clients: Vec<String>,
    /// Which scopes, all of them declared by the server. What they imply is included.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub scopes: Vec<String>,
}
