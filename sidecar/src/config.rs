//! Which configuration is in force, how it gets there, and how it stays when what follows it is broken.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use lumoauth_core::config::{ConfigError, Generation, LogLevel, MAX_CONFIG_BYTES, SidecarConfig};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    authenticate::IssuerLimits,
    metrics::{Metrics, ReloadResult},
    site::{Mode, Running, SiteError},
};

/// How often the configuration file is looked at. Projected volumes change by a symbolic link, which inotify misses.
const POLL: Duration = Duration::from_millis(250);

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read as a configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be run.
    #[error(transparent)]
    Site(#[from] SiteError),
}

/// The configuration of one sidecar: read by every call, replaced as a whole. Clones are handles to the same one.
#[derive(Clone)]
pub struct ConfigHandle(Arc<Inner>);

struct Inner {
    running: ArcSwapOption<Running>,
    /// Held while a configuration is loaded: one that comes later is never replaced by an earlier one.
    loading: Mutex<()>,
    changes: watch::Sender<()>,
    last_refusal: Mutex<Option<LastRefusal>>,
    limits: IssuerLimits,
    metrics: Metrics,
}

/// The configuration that was refused last, while an older one stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRefusal {
    /// Of the bytes that were refused.
    pub generation: Generation,
    /// Why.
    pub error: String,
}

/// What `/config` of the admin port says. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigReport {
    /// Version of the sidecar.
    pub version: String,
    /// What it does with calls.
    pub state: ReportedState,
    /// Names the bytes it runs.
    pub generation: Option<Generation>,
    /// Version of the configuration's format.
    pub config_version: Option<u32>,
    /// Why everything is denied, when it is.
    pub deny_reason: Option<String>,
    /// The newer configuration it would not take.
    pub last_refusal: Option<LastRefusal>,
    /// How old the oldest Token Status List is that tokens name, in seconds.
    #[serde(default)]
    pub status_list_age_seconds: Option<u64>,
}

/// The states of a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReportedState {
    /// Nothing was read yet: 503 to everything, not ready.
    NoConfig,
    /// 503 to everything, as configured.
    DenyAll,
    /// Calls are checked, or forwarded without tokens where `authMode` is None.
    Enforce,
}

impl ConfigHandle {
    pub(crate) fn new(limits: IssuerLimits, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            running: ArcSwapOption::empty(),
            loading: Mutex::new(()),
            changes: watch::Sender::new(()),
            last_refusal: Mutex::new(None),
            limits,
            metrics,
        }))
    }

    /// Puts the configuration in `bytes` in force, from the next call on. A refused one changes nothing but the report
    /// and its metric. The bytes already in force are not loaded again.
    pub fn load(&self, bytes: &[u8]) -> Result<Generation, LoadError> {
        let generation = Generation::of(bytes);
        let _alone = self.0.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.0.running.load_full();
        if previous.as_ref().is_some_and(|running| running.generation == generation) {
            self.set_refusal(None);
            return Ok(generation);
        }
        let running = SidecarConfig::parse(bytes).map_err(LoadError::from).and_then(|config| {
            let Inner { limits, metrics, .. } = &*self.0;
            Ok(Running::compile(config, generation.clone(), previous.as_deref(), *limits, metrics)?)
        });
        match running {
            Ok(running) => {
                self.0.running.store(Some(Arc::new(running)));
                self.set_refusal(None);
                self.0.metrics.reload(ReloadResult::Ok);
                self.0.changes.send_replace(());
                tracing::info!(generation = generation.as_str(), "configuration loaded");
                Ok(generation)
            }
            Err(error) => {
                self.0.metrics.reload(ReloadResult::Refused);
                tracing::error!(generation = generation.as_str(), %error, "configuration refused");
                self.set_refusal(Some(LastRefusal { generation, error: error.to_string() }));
                Err(error)
            }
        }
    }

    /// Puts `config` in force. For those who build it in the process.
    pub fn set(&self, config: &SidecarConfig) -> Result<Generation, LoadError> {
        self.load(config.to_json().as_bytes())
    }

    /// Follows the file at `path` until `shutdown`: its content is compared every 250 ms, and a file that cannot be
    /// read or understood leaves the last good configuration in force.
    pub async fn follow(&self, path: PathBuf, shutdown: CancellationToken) {
        let mut file = ConfigFile::new(path);
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            // On a worker of its own: a volume may be slow, and calls must not wait for it.
            let read = tokio::task::spawn_blocking(move || {
                let news = file.poll();
                (file, news)
            });
            let Ok((returned, news)) = read.await else { return };
            file = returned;
            match news {
                // A refusal has been logged, counted and kept for the report.
                Ok(Some(bytes)) => drop(self.load(&bytes)),
                Ok(None) => {}
                Err(error) => {
                    self.0.metrics.reload(ReloadResult::Unreadable);
                    tracing::warn!(%error, "configuration file cannot be read");
                }
            }
        }
    }

    /// What is in force, for `/config`.
    pub fn report(&self) -> ConfigReport {
        let running = self.current();
        let (state, deny_reason) = match running.as_deref().map(|running| &running.mode) {
            None => (ReportedState::NoConfig, None),
            Some(Mode::DenyAll { reason }) => (ReportedState::DenyAll, Some(reason.clone())),
            Some(Mode::Enforce(_)) => (ReportedState::Enforce, None),
        };
        ConfigReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state,
            generation: running.as_ref().map(|running| running.generation.clone()),
            config_version: running.as_ref().map(|running| running.version),
            deny_reason,
            last_refusal: self.0.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            status_list_age_seconds: self.status_list_age().map(|age| age.as_secs()),
        }
    }

    /// The age of the oldest status list in use, which is also what the metric shows from now on.
    pub(crate) fn status_list_age(&self) -> Option<Duration> {
        let running = self.current();
        let protected = running.as_deref().and_then(Running::site).and_then(|site| site.protected.as_deref());
        let age = protected.and_then(|protected| protected.trust.oldest_status());
        self.0.metrics.status_list_age(age.unwrap_or_default());
        age
    }

    /// The log level the configuration asks for; `None` while nothing is enforced.
    pub fn log_level(&self) -> Option<LogLevel> {
        self.current().and_then(|running| running.site().map(|site| site.log_level))
    }

    /// Resolves at every change after the call.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    pub(crate) fn current(&self) -> Option<Arc<Running>> {
        self.0.running.load_full()
    }

    fn set_refusal(&self, refusal: Option<LastRefusal>) {
        *self.0.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }
}

/// A file, as a projected volume or an editor changes it.
struct ConfigFile {
    path: PathBuf,
    /// Where `..data` pointed when the file was read: on a projected volume nothing changes while this stays.
    data: Option<PathBuf>,
    seen: Option<Generation>,
    failing: bool,
}

impl ConfigFile {
    fn new(path: PathBuf) -> Self {
        Self { path, data: None, seen: None, failing: false }
    }

    /// The content, if it is not what the last call gave. An error is told once until it passes.
    fn poll(&mut self) -> io::Result<Option<Vec<u8>>> {
        let data = self.path.parent().and_then(|directory| fs::read_link(directory.join("..data")).ok());
        if data.is_some() && data == self.data && !self.failing {
            return Ok(None);
        }
        match read(&self.path) {
            Ok(bytes) => {
                self.failing = false;
                self.data = data;
                let generation = Some(Generation::of(&bytes));
                if generation == self.seen {
                    return Ok(None);
                }
                self.seen = generation;
                Ok(Some(bytes))
            }
            Err(_) if self.failing => Ok(None),
            Err(error) => {
                self.failing = true;
                Err(error)
            }
        }
    }
}

/// One byte more than a configuration may have, so that a longer file is refused as too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_CONFIG_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_when_its_content_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let mut file = ConfigFile::new(path.clone());
        assert!(file.poll().is_err());
        assert_eq!(file.poll().unwrap(), None, "an error is told once");
        fs::write(&path, "a").unwrap();
        assert_eq!(file.poll().unwrap(), Some(b"a".to_vec()));
        assert_eq!(file.poll().unwrap(), None);
        fs::write(&path, "a").unwrap();
        assert_eq!(file.poll().unwrap(), None);
        fs::write(&path, "b").unwrap();
        assert_eq!(file.poll().unwrap(), Some(b"b".to_vec()));
        fs::remove_file(&path).unwrap();
        assert!(file.poll().is_err());
        fs::write(&path, "c").unwrap();
        assert_eq!(file.poll().unwrap(), Some(b"c".to_vec()));
    }

    #[cfg(unix)]
    #[test]
    fn a_projected_volume_is_read_when_its_link_moves() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (version, content) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("config.json"), content).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/config.json", at("config.json")).unwrap();
        let mut file = ConfigFile::new(at("config.json"));
        assert_eq!(file.poll().unwrap(), Some(b"one".to_vec()));
        assert_eq!(file.poll().unwrap(), None);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(file.poll().unwrap(), Some(b"two".to_vec()));
    }

    #[test]
    fn an_overlong_file_is_read_to_one_byte_past_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, vec![b' '; MAX_CONFIG_BYTES * 2]).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_CONFIG_BYTES + 1);
    }
}
