//! Integration tests, one binary so that there is one link step. Tests marked `needs a cluster` are run by `tests/run`
//! with `LUMOAUTH_TEST_KUBECONFIG` set.

#[path = "support/mod.rs"]
mod support;

mod crds;
