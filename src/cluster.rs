//! How the processes of a cluster reach its API server.

use anyhow::anyhow;
use kube::Config;

/// The configuration of the pod's ServiceAccount, or of `KUBECONFIG`.
pub(crate) async fn config() -> anyhow::Result<Config> {
    // The error tells its own causes; as the source of another it would tell them again.
    Config::infer()
        .await
        .map_err(|error| anyhow!("no Kubernetes API server is configured: run in a pod, or set KUBECONFIG ({error})"))
}
