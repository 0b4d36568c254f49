//! The security kernel of LumoAuth: what decides who may call which MCP tool.
//!
//! Pure by construction: no I/O, no clock, no randomness. Time is an argument ([`UnixTime`]), and everything that
//! crosses the boundary is parsed into a type here once. The sidecar, the operator and the authorization server are
//! adapters around it.
//!
//! The path of a call through the types: [`mcp::parse`] gives an [`mcp::Message`], [`token`] gives a
//! `Verified<AccessToken>`, and [`policy::decide`] turns both into a [`policy::Permit`] (the only proof that a request
//! may be forwarded) or a refusal that [`challenge`] spells for the client.

pub mod challenge;
pub mod client;
pub mod config;
pub mod digest;
pub mod json;
pub mod mcp;
pub mod metadata;
pub mod pkce;
pub mod policy;
pub mod scope;
pub mod time;
pub mod token;
pub mod uri;

pub use client::ClientId;
pub use scope::{Scope, ScopeSet};
pub use time::UnixTime;
pub use uri::{IssuerUrl, RedirectUri, ResourceUri};
