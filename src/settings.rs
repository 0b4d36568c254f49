//! Settings of the control plane: ConfigMap `lumoauth-config`, key `config.yaml`, mounted into operator and
//! authorization server.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lumoauth_core::IssuerUrl;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at. Kubelet brings a changed ConfigMap after up to a minute anyway.
const LOOK: Duration = Duration::from_secs(2);

/// The settings file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Public base URL of the authorization server and registry.
    pub public_url: IssuerUrl,
    /// Image of the injected sidecar.
    pub sidecar_image: String,
    /// When kubelet pulls it.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
}

/// `imagePullPolicy` of the injected container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The words are Kubernetes' own.
pub enum ImagePullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    /// The word in a container spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not a settings file.
    #[error("the settings are not valid: {0}")]
    Parse(serde_yaml::Error),
    /// `publicUrl` has a path, and metadata is served at the root of its host (RFC 8414 §3).
    #[error("publicUrl must have no path, and {0} has one: give the authorization server a host of its own")]
    PublicUrlPath(IssuerUrl),
}

impl Settings {
    /// Parses the text of `config.yaml`.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = serde_yaml::from_str(text).map_err(SettingsError::Parse)?;
        match settings.public_url.path() {
            "/" => Ok(settings),
            _ => Err(SettingsError::PublicUrlPath(settings.public_url)),
        }
    }

    /// Reads a settings file.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| SettingsError::Read { path: path.display().to_string(), error })?;
        Self::parse(&text)
    }

    /// Whether the public URL is the authorization server's own Service, so that clients need the operator's CA.
    pub fn is_in_cluster(&self) -> bool {
        self.public_url.is_cluster_service()
    }
}

/// Reads the settings file at `path` and follows it: its content is compared, as no event of the file system is
/// reliable on a mounted ConfigMap. One that cannot be used later is logged, and the last good one stays. It is followed
/// while the returned future is polled, until `shutdown`.
pub fn follow(
    path: PathBuf,
    shutdown: CancellationToken,
) -> Result<(watch::Receiver<Arc<Settings>>, impl Future<Output = ()> + Send + 'static), SettingsError> {
    let (sender, receiver) = watch::channel(Arc::new(Settings::load(&path)?));
    let run = async move {
        let mut refused: Option<String> = None;
        while shutdown.run_until_cancelled(sleep(LOOK)).await.is_some() {
            refused = look(&path, &sender, refused.as_deref());
        }
    };
    Ok((receiver, run))
}

/// Takes over what changed. Gives the error that is known by now, so that it is logged once.
fn look(path: &Path, settings: &watch::Sender<Arc<Settings>>, refused: Option<&str>) -> Option<String> {
    match Settings::load(path) {
        Ok(newest) => {
            let changed = **settings.borrow() != newest;
            if changed {
                tracing::info!(public_url = %newest.public_url, sidecar_image = newest.sidecar_image, "new settings");
                settings.send_replace(Arc::new(newest));
            }
            None
        }
        Err(error) => {
            let error = error.to_string();
            if refused != Some(error.as_str()) {
                tracing::error!(error, "the settings cannot be used: the last good ones stay");
            }
            Some(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const GOOD: &str = "publicUrl: https://as.example\nsidecarImage: lumoauth/sidecar:1\n";

    #[rstest]
    #[case::good(GOOD, true)]
    #[case::policy("publicUrl: https://as.example\nsidecarImage: a:1\nimagePullPolicy: Always\n", true)]
    #[case::typo("publicURL: https://as.example\nsidecarImage: a:1\n", false)]
    #[case::unknown("publicUrl: https://as.example\nsidecarImage: a:1\nmore: 1\n", false)]
    #[case::no_url("publicUrl: as.example\nsidecarImage: a:1\n", false)]
    #[case::slash("publicUrl: https://as.example/\nsidecarImage: a:1\n", true)]
    #[case::path("publicUrl: https://as.example/auth\nsidecarImage: a:1\n", false)]
    #[case::path_of_slashes("publicUrl: https://as.example//\nsidecarImage: a:1\n", false)]
    #[case::policy_word("publicUrl: https://as.example\nsidecarImage: a:1\nimagePullPolicy: Sometimes\n", false)]
    #[case::empty("", false)]
    fn only_settings_are_read(#[case] text: &str, #[case] good: bool) {
        assert_eq!(Settings::parse(text).is_ok(), good);
    }

    #[test]
    fn a_changed_file_is_taken_over_and_a_bad_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), GOOD).unwrap();
        let (sender, mut receiver) = watch::channel(Arc::new(Settings::load(file.path()).unwrap()));
        assert_eq!(look(file.path(), &sender, None), None);
        assert!(!receiver.has_changed().unwrap(), "the same content is no change");

        std::fs::write(file.path(), "publicUrl: 1").unwrap();
        let refused = look(file.path(), &sender, None);
        assert!(refused.is_some());
        assert!(!receiver.has_changed().unwrap(), "the last good one stays");

        std::fs::write(file.path(), GOOD.replace(":1", ":2")).unwrap();
        assert_eq!(look(file.path(), &sender, refused.as_deref()), None);
        assert_eq!(receiver.borrow_and_update().sidecar_image, "lumoauth/sidecar:2");
    }
}
