//! Tests of LumoAuth as installed by `manifests/install.yaml`. `tests/run` runs them after all others, because the
//! installed operator would answer for objects that other tests make.

use std::sync::Once;

use crate::support::{kubectl, root};

mod admission;
mod bad_input;
mod main_job;
mod people;
mod postgresql;
mod quickstart;
mod rbac;
mod restart;
mod tokens;

/// Applies install.yaml and waits for its Deployments; once for all tests.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        kubectl(&["apply", "--server-side", "-f", root().join("manifests/install.yaml").to_str().unwrap()]);
        wait_deployments();
    });
}

fn wait_deployments() {
    for deployment in ["lumoauth-operator", "lumoauth-authserver"] {
        kubectl(&["rollout", "status", "deployment", deployment, "-n", "lumoauth-system", "--timeout=180s"]);
        kubectl(&[
            "wait",
            "--for=condition=Available",
            "deployment",
            deployment,
            "-n",
            "lumoauth-system",
            "--timeout=60s",
        ]);
    }
}

/// A namespace of a test's own, under the restricted Pod Security Standard; deleted at the end.
struct Namespace(&'static str);

impl Namespace {
    fn new(name: &'static str) -> Self {
        kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait=true"]);
        kubectl(&["create", "namespace", name]);
        kubectl(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]);
        let account = || crate::support::try_kubectl(&["get", "serviceaccount", "default", "-n", name], "");
        crate::support::eventually("the default ServiceAccount", std::time::Duration::from_secs(20), || {
            let said = account();
            if said.ok { Ok(()) } else { Err(said.text) }
        });
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = crate::support::try_kubectl(&["delete", "namespace", self.0, "--wait=false"], "");
    }
}
