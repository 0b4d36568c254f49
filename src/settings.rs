//! Settings of the control plane: ConfigMap `lumoauth-config`, key `config.yaml`, mounted into operator and
//! authorization server.

use std::path::Path;

use lumoauth_core::IssuerUrl;
use serde::{Deserialize, Serialize};

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
    #[error("cannot read the settings file {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a settings file.
    #[error("the settings are not valid: {0}")]
    Parse(#[from] serde_yaml::Error),
}

impl Settings {
    /// Parses the text of `config.yaml`.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        Ok(serde_yaml::from_str(text)?)
    }

    /// Reads a settings file.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Whether the public URL is the authorization server's own Service, so that clients need the operator's CA.
    pub fn is_in_cluster(&self) -> bool {
        self.public_url.is_cluster_service()
    }
}
