//! Generated files are committed; these fail when they drift from what they are generated from.

use crate::support::{kubectl, root};

#[test]
fn the_crds_are_those_of_the_types() {
    let directory = tempfile::tempdir().unwrap();
    for name in lumoauth::crds::write(directory.path()).unwrap() {
        let committed = std::fs::read_to_string(root().join("crds").join(&name)).unwrap_or_default();
        let generated = std::fs::read_to_string(directory.path().join(&name)).unwrap();
        assert!(committed == generated, "{name} has drifted: run `cargo run -- crds --dir crds`");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn install_yaml_is_the_base() {
    let directory = |name: &str| root().join("manifests").join(name).display().to_string();
    let generated = kubectl(&["kustomize", &directory("base")]);
    let committed = std::fs::read_to_string(directory("install.yaml")).unwrap();
    assert!(
        committed.trim() == generated,
        "manifests/install.yaml has drifted: run `kubectl kustomize manifests/base > manifests/install.yaml`"
    );
    for overlay in ["overlays/ingress", "overlays/credentials-everywhere"] {
        assert!(kubectl(&["kustomize", &directory(overlay)]).contains("lumoauth-operator"), "{overlay}");
    }
}

#[test]
fn every_manifest_names_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for file in [
        "base/operator.yaml",
        "base/authserver.yaml",
        "base/config.yaml",
        "overlays/ingress/kustomization.yaml",
        "examples/quickstart.yaml",
    ] {
        let text = std::fs::read_to_string(root().join("manifests").join(file)).unwrap();
        for tag in text.split("docker.io/lumoauth/").skip(1) {
            let tag = tag.split_whitespace().next().unwrap_or_default();
            assert!(tag.ends_with(&format!(":{version}")), "{file}: {tag}");
        }
    }
}
