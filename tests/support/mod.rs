//! What several integration tests need.

use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};

/// A client of the test cluster.
///
/// # Panics
/// When `LUMOAUTH_TEST_KUBECONFIG` is not set: a cluster test that cannot run has failed.
pub(crate) async fn client() -> Client {
    let path = std::env::var("LUMOAUTH_TEST_KUBECONFIG")
        .expect("set LUMOAUTH_TEST_KUBECONFIG to the kubeconfig of a test cluster (tests/cluster/up prints one)");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(path).expect("a readable kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}
