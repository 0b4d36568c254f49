//! Mounted Secrets: signing keys and certificate. Read again every few seconds and compared by content, because a
//! projected volume changes by swapping a link, which file notification does not see reliably.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use lumoauth_core::digest;
use zeroize::Zeroizing;

use super::Metrics;

/// The longest file we read, in bytes: what a ConfigMap or Secret may hold.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The content of a file; a private key may be in it.
pub(super) type Content = Zeroizing<Vec<u8>>;

type Parse<T> = fn(&[Content]) -> Result<T, String>;

/// Files of one mounted directory, and the newest good value they gave.
pub(super) struct Mounted<T> {
    name: &'static str,
    directory: PathBuf,
    files: Vec<String>,
    parse: Parse<T>,
    seen: Option<[u8; 32]>,
    failure: Option<String>,
    value: Option<T>,
}

impl<T> Mounted<T> {
    /// `files` of `directory`; `name` is for the log and the metric.
    pub(super) fn new(name: &'static str, directory: &Path, files: &[&str], parse: Parse<T>) -> Self {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        Self { name, directory: directory.to_owned(), files, parse, seen: None, failure: None, value: None }
    }

    /// The newest good value.
    pub(super) fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Reads the files; says whether they gave a new value. Files that cannot be used leave the last good value in
    /// place, and are told once.
    pub(super) fn poll(&mut self, metrics: &Metrics) -> bool {
        let contents = match read(&self.directory, &self.files) {
            Ok(contents) => contents,
            Err(error) => {
                self.fail(error.to_string(), metrics);
                return false;
            }
        };
        let digest = fingerprint(&contents);
        if self.seen == Some(digest) {
            return false;
        }
        self.seen = Some(digest);
        match (self.parse)(&contents) {
            Ok(value) => {
                tracing::info!(file = self.name, directory = %self.directory.display(), "read");
                self.failure = None;
                self.value = Some(value);
                true
            }
            Err(error) => {
                self.fail(error, metrics);
                false
            }
        }
    }

    fn fail(&mut self, error: String, metrics: &Metrics) {
        if self.failure.as_deref() != Some(&error) {
            let kept = self.value.is_some();
            tracing::warn!(file = self.name, directory = %self.directory.display(), error, kept, "cannot be used");
            metrics.rejected_file(self.name);
            self.failure = Some(error);
        }
    }
}

impl<T> fmt::Debug for Mounted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mounted({} in {})", self.name, self.directory.display())
    }
}

/// Reads all files from one version of the directory: kubelet swaps the link `..data` as a whole.
fn read(directory: &Path, files: &[String]) -> io::Result<Vec<Content>> {
    let version = fs::canonicalize(directory.join("..data")).unwrap_or_else(|_| directory.to_owned());
    files.iter().map(|file| read_file(&version.join(file))).collect()
}

fn read_file(path: &Path) -> io::Result<Content> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if fs::metadata(path).map_err(named)?.len() > MAX_FILE_BYTES {
        return Err(named(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    fs::read(path).map(Zeroizing::new).map_err(named)
}

fn fingerprint(contents: &[Content]) -> [u8; 32] {
    let digests: Vec<u8> = contents.iter().flat_map(|content| digest::sha256(content)).collect();
    digest::sha256(&digests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn number(contents: &[Content]) -> Result<Vec<u32>, String> {
        let parse = |content: &Content| str::from_utf8(content).unwrap().parse::<u32>();
        contents.iter().map(parse).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_good_value_stays() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::default();
        let mut mounted = Mounted::new("test", directory.path(), &["n"], number);
        let write = |text: &str| fs::write(directory.path().join("n"), text).unwrap();
        assert!(!mounted.poll(&metrics) && mounted.value().is_none());
        write("1");
        assert!(mounted.poll(&metrics));
        assert!(!mounted.poll(&metrics), "unchanged");
        write("one");
        assert!(!mounted.poll(&metrics));
        assert_eq!(mounted.value(), Some(&vec![1]));
        fs::remove_file(directory.path().join("n")).unwrap();
        assert!(!mounted.poll(&metrics));
        assert_eq!(mounted.value(), Some(&vec![1]));
        write("2");
        assert!(mounted.poll(&metrics));
        assert_eq!(mounted.value(), Some(&vec![2]));
    }

    #[test]
    fn files_are_read_from_one_version() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (version, a, b) in [("..v1", "1", "1"), ("..v2", "2", "2")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a"), a).unwrap();
            fs::write(at(version).join("b"), b).unwrap();
        }
        symlink("..v1", at("..data")).unwrap();
        let mut mounted = Mounted::new("test", directory.path(), &["a", "b"], number);
        assert!(mounted.poll(&Metrics::default()));
        symlink("..v2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert!(mounted.poll(&Metrics::default()));
        assert_eq!(mounted.value(), Some(&vec![2, 2]));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("n"), vec![b'1'; (1 << 20) + 1]).unwrap();
        let mut mounted = Mounted::new("test", directory.path(), &["n"], number);
        assert!(!mounted.poll(&Metrics::default()));
    }
}
