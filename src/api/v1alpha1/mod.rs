//! `mcp.lumoauth.dev/v1alpha1`.

pub mod condition;
mod mcp_client;
mod mcp_server;
pub(crate) mod schema;

pub use mcp_client::{
    ClientAuthentication, ClientAuthenticationMethod, ClientSecretStatus, GrantType, McpClient, McpClientSpec,
    McpClientStatus, Rotation,
};
pub use mcp_server::{
    AuthMode, AuthorizationServerSpec, DefaultRuleSpec, EnforcementMode, Grant, Introspection, LogLevelSpec, McpServer,
    McpServerSpec, McpServerStatus, PodCounts, Resources, RuleSpec, ScopeMapping, ScopeSpec, ServerUrls, SidecarSpec,
    Transport,
};
