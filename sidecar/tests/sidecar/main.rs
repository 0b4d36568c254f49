//! The real sidecar on real sockets: a raw client before it, a server that records every byte behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do; clippy.toml speaks of test functions only"
)]

mod configuration;
mod harness;
mod http;
mod limits;
mod mcp;
mod program;
mod revocation;
mod servers;
mod streams;
mod tokens;
