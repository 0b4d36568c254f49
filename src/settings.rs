//! Settings of the control plane: ConfigMap `lumoauth-config`, key `config.yaml`, mounted into operator and
//! authorization server.

mod local;
mod orgs;

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use lumoauth_core::IssuerUrl;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

pub use local::LocalSettings;
pub use orgs::{ClientDocuments, DynamicRegistration, LocalhostRedirects, OrgSettings, RegistrationMode};

use crate::registry::OrgId;

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
    /// Where the authorization server keeps what it must not forget.
    #[serde(default)]
    pub storage: Storage,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What differs from the defaults, by organization.
    #[serde(default)]
    pub orgs: BTreeMap<OrgId, OrgSettings>,
}

/// `storage`: one of its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StorageText", into = "StorageText")]
pub enum Storage {
    /// A file of this process; the authorization server has one replica.
    Sqlite {
        /// Which file; made when it is not there, its directory is not.
        path: PathBuf,
    },
    /// A server; the authorization server may have any number of replicas.
    Postgres {
        /// File that holds the connection URL (`postgres://user:password@host/database?sslmode=verify-full`).
        url_file: PathBuf,
    },
}

impl Default for Storage {
    fn default() -> Self {
        Self::Sqlite { path: "/var/lib/lumoauth/lumoauth.db".into() }
    }
}

/// `storage` as it is written: YAML has no enum with data.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StorageText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sqlite: Option<SqliteText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postgres: Option<PostgresText>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SqliteText {
    path: PathBuf,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostgresText {
    url_file: PathBuf,
}

impl TryFrom<StorageText> for Storage {
    type Error = &'static str;

    fn try_from(text: StorageText) -> Result<Self, Self::Error> {
        match (text.sqlite, text.postgres) {
            (Some(SqliteText { path }), None) => Ok(Self::Sqlite { path }),
            (None, Some(PostgresText { url_file })) => Ok(Self::Postgres { url_file }),
            _ => Err("storage needs exactly one of sqlite (path) and postgres (urlFile)"),
        }
    }
}

impl From<Storage> for StorageText {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::Sqlite { path } => Self { sqlite: Some(SqliteText { path }), postgres: None },
            Storage::Postgres { url_file } => Self { sqlite: None, postgres: Some(PostgresText { url_file }) },
        }
    }
}

/// `limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// How old a sidecar's Token Status List may become before it answers 503 to the tokens it speaks of. Between one
    /// minute and one day.
    pub status_max_age: SignedDuration,
}

impl Limits {
    /// [`Self::status_max_age`] in seconds.
    pub fn status_max_age_seconds(self) -> u64 {
        u64::try_from(self.status_max_age.as_secs()).unwrap_or(0)
    }

    fn check(self) -> Result<(), SettingsError> {
        let useful = (60..=86_400).contains(&self.status_max_age_seconds());
        if useful { Ok(()) } else { Err(SettingsError::StatusMaxAge) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { status_max_age: SignedDuration::from_mins(15) }
    }
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
    /// What the file holds cannot be used.
    #[error("{path}: {error}")]
    In {
        /// Which file.
        path: String,
        /// Why.
        error: Box<SettingsError>,
    },
    /// The file is not a settings file.
    #[error("the settings are not valid: {0}")]
    Parse(serde_yaml::Error),
    /// `publicUrl` has a path, and metadata is served at the root of its host (RFC 8414 §3).
    #[error("publicUrl must have no path, and {0} has one: give the authorization server a host of its own")]
    PublicUrlPath(IssuerUrl),
    /// `limits.statusMaxAge` is useless or unsafe.
    #[error("limits.statusMaxAge must be between 1m and 24h")]
    StatusMaxAge,
    /// What an organization has of its own.
    #[error("orgs.{org}.{member} {must}")]
    Org {
        /// Whose.
        org: OrgId,
        /// Which member, as a path below that of the organization.
        member: &'static str,
        /// What it must be.
        must: &'static str,
    },
}

impl Settings {
    /// Parses the text of `config.yaml`.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = serde_yaml::from_str(text).map_err(SettingsError::Parse)?;
        if settings.public_url.path() != "/" {
            return Err(SettingsError::PublicUrlPath(settings.public_url));
        }
        settings.limits.check()?;
        for (id, org) in &settings.orgs {
            org.check().map_err(|(member, must)| SettingsError::Org { org: id.clone(), member, must })?;
        }
        Ok(settings)
    }

    /// The defaults, for an authorization server that is reached at `public_url` and injects no sidecar.
    pub fn of(public_url: IssuerUrl) -> Self {
        Self {
            public_url,
            sidecar_image: String::new(),
            image_pull_policy: ImagePullPolicy::default(),
            storage: Storage::default(),
            limits: Limits::default(),
            orgs: BTreeMap::new(),
        }
    }

    /// What holds for an organization.
    pub fn org(&self, id: &OrgId) -> OrgSettings {
        self.orgs.get(id).cloned().unwrap_or_default()
    }

    /// Reads a settings file.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        load(path, Self::parse)
    }

    /// Whether the public URL is the authorization server's own Service, so that clients need the operator's CA.
    pub fn is_in_cluster(&self) -> bool {
        self.public_url.is_cluster_service()
    }
}

/// Reads a file of settings. Every error names the file.
fn load<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, SettingsError>) -> Result<T, SettingsError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Read { path: name(), error })?;
    parse(&text).map_err(|error| SettingsError::In { path: name(), error: Box::new(error) })
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
    #[case::sqlite("publicUrl: https://as.example\nsidecarImage: a:1\nstorage: {sqlite: {path: /a}}\n", true)]
    #[case::postgres("publicUrl: https://as.example\nsidecarImage: a:1\nstorage: {postgres: {urlFile: /a}}\n", true)]
    #[case::two_stores(
        "publicUrl: https://as.example\nsidecarImage: a:1\nstorage: {sqlite: {path: /a}, postgres: {urlFile: /a}}\n",
        false
    )]
    #[case::no_store("publicUrl: https://as.example\nsidecarImage: a:1\nstorage: {}\n", false)]
    #[case::other_store("publicUrl: https://as.example\nsidecarImage: a:1\nstorage: {redis: {}}\n", false)]
    #[case::age("publicUrl: https://as.example\nsidecarImage: a:1\nlimits: {statusMaxAge: 1h}\n", true)]
    #[case::age_too_short("publicUrl: https://as.example\nsidecarImage: a:1\nlimits: {statusMaxAge: 59s}\n", false)]
    #[case::age_too_long("publicUrl: https://as.example\nsidecarImage: a:1\nlimits: {statusMaxAge: 25h}\n", false)]
    #[case::age_negative("publicUrl: https://as.example\nsidecarImage: a:1\nlimits: {statusMaxAge: -5m}\n", false)]
    #[case::age_number("publicUrl: https://as.example\nsidecarImage: a:1\nlimits: {statusMaxAge: 900}\n", false)]
    #[case::org("publicUrl: https://as.example\nsidecarImage: a:1\norgs: {acme: {dcr: {mode: Open}}}\n", true)]
    #[case::org_typo("publicUrl: https://as.example\nsidecarImage: a:1\norgs: {acme: {dcr: {modus: Open}}}\n", false)]
    #[case::org_name("publicUrl: https://as.example\nsidecarImage: a:1\norgs: {Acme: {}}\n", false)]
    fn only_settings_are_read(#[case] text: &str, #[case] good: bool) {
        assert_eq!(Settings::parse(text).is_ok(), good);
    }

    #[test]
    fn what_an_organization_has_of_its_own_is_judged() {
        let error = Settings::parse(&format!("{GOOD}orgs: {{good: {{}}, acme: {{dcr: {{unusedHours: 0}}}}}}\n"));
        let told = error.unwrap_err().to_string();
        assert!(told.starts_with("orgs.acme.dcr.unusedHours must be at least 1"), "{told}");
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
