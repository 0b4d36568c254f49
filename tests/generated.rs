//! Generated files are committed; these fail when they drift from what they are generated from.

use lumoauth::settings::{Limits, OrgSettings, Settings, Storage};

use crate::support::{kubectl, root};

const OVERLAYS: [&str; 3] = ["ingress", "credentials-everywhere", "postgresql"];

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
    for overlay in OVERLAYS {
        let built = kubectl(&["kustomize", &directory(&format!("overlays/{overlay}"))]);
        assert!(built.contains("lumoauth-operator"), "{overlay}");
        // One file is for one process; without one, no upgrade has to stop what runs.
        let file = built.contains("kind: PersistentVolumeClaim");
        let several = built.matches("replicas: 2\n").count() == 2;
        assert!(file != several && several == (overlay == "postgresql"), "{overlay}");
    }
}

/// `config.yaml` of a ConfigMap, or of the patch that replaces it.
fn settings_in(file: &str) -> String {
    let text = std::fs::read_to_string(root().join("manifests").join(file)).unwrap();
    let settings =
        text.lines().skip_while(|line| !line.contains("publicUrl:") && !line.contains("# Where clients reach"));
    let indent = settings.clone().next().unwrap().find(|letter: char| letter != ' ').unwrap();
    settings.flat_map(|line| [line.get(indent..).unwrap_or_default(), "\n"]).collect()
}

#[test]
fn every_manifest_has_settings_that_are_read() {
    for file in ["base/config.yaml", "overlays/ingress/kustomization.yaml", "overlays/postgresql/kustomization.yaml"] {
        let settings = Settings::parse(&settings_in(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(settings.limits, Limits::default(), "{file}");
        assert_eq!(settings.storage == Storage::default(), !file.contains("postgresql"), "{file}");
    }
}

#[test]
fn the_defaults_that_are_shown_are_the_defaults() {
    let settings = settings_in("base/config.yaml");
    let shown = settings.replace("\n# ", "\n");
    let shown = shown.split_once("\norgs:").unwrap().1;
    let shown = format!("publicUrl: https://a.example\nsidecarImage: a\norgs:{shown}");
    let orgs = Settings::parse(&shown).unwrap().orgs;
    assert_eq!(orgs.into_values().collect::<Vec<_>>(), [OrgSettings::default()]);
}

#[test]
fn every_manifest_names_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for file in [
        "base/operator.yaml",
        "base/authserver.yaml",
        "base/config.yaml",
        "overlays/ingress/kustomization.yaml",
        "overlays/postgresql/kustomization.yaml",
        "examples/quickstart.yaml",
    ] {
        let text = std::fs::read_to_string(root().join("manifests").join(file)).unwrap();
        for tag in text.split("docker.io/lumoauth/").skip(1) {
            let tag = tag.split_whitespace().next().unwrap_or_default();
            assert!(tag.ends_with(&format!(":{version}")), "{file}: {tag}");
        }
    }
}
