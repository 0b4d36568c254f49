//! Integration tests, one binary so that there is one link step. Tests marked `needs a cluster` are run by `tests/run`
//! with `LUMOAUTH_TEST_KUBECONFIG` set.

// A test that panics has failed: that is what these are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// `json!({…})` as an argument reads best without a `&`.
#![allow(clippy::needless_pass_by_value)]

#[path = "support/mod.rs"]
mod support;

mod accounts;
mod client_cluster;
mod crds;
mod flows;
mod generated;
mod inject_cluster;
mod installed;
mod local;
mod server_cluster;
mod tokens;
