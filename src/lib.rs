//! LumoAuth's control plane: the operator, the authorization server and the command line.
//!
//! Dependencies point one way: `api` <- `registry` <- {`inject` <- `webhook`, `controller`, `prober`, `authserver`};
//! `pki` <- {`webhook`, `controller`, `authserver`}; `local` runs registry, authorization server and sidecars in one
//! process; `cli` wires all. `tls` and `connections` are what every server listens with.

pub mod admin;
pub mod api;
pub mod authserver;
pub mod cli;
mod cluster;
mod connections;
pub mod controller;
pub mod crds;
pub mod demo;
pub mod inject;
pub mod local;
pub mod operator;
pub mod pki;
pub mod prober;
pub mod registry;
pub mod settings;
pub mod telemetry;
pub mod tls;
pub mod webhook;
