//! The directory of manifests: which files count, how large they may be, and their texts.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

/// The largest file, in bytes: as large as an object of a cluster may be.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The most files.
const MAX_FILES: usize = 256;

/// How often the directory is read.
const POLL: Duration = Duration::from_millis(200);

/// One file's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Its path, as people are told.
    pub(super) file: String,
    /// What is in it.
    pub(super) text: String,
}

/// A directory that cannot be read as manifests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FilesError {
    /// It is not there, or is no directory.
    #[error("--dir {path}: {why}: name a directory that holds McpServers and McpClients as YAML files")]
    Directory { path: String, why: String },
    /// A file in it cannot be read.
    #[error("{file}: cannot be read: {why}")]
    File { file: String, why: String },
    /// Nothing to read.
    #[error("--dir {path}: holds no file that ends in .yaml, .yml or .json: put your McpServers there")]
    Empty { path: String },
    /// Too much to read.
    #[error("--dir {path}: holds more than {MAX_FILES} manifests: give local a smaller directory")]
    TooMany { path: String },
}

/// Reads every manifest of `directory` in the order of names, without its subdirectories and hidden files.
pub(super) fn read(directory: &Path) -> Result<Vec<Source>, FilesError> {
    let path = || directory.display().to_string();
    let unusable = |error: io::Error| FilesError::Directory { path: path(), why: words(&error) };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        if is_manifest(&entry.path()) {
            paths.push(entry.path());
        }
        if paths.len() > MAX_FILES {
            return Err(FilesError::TooMany { path: path() });
        }
    }
    if paths.is_empty() {
        return Err(FilesError::Empty { path: path() });
    }
    paths.sort();
    paths.iter().map(read_one).collect()
}

/// A directory that is read again and again, and compared by content.
pub(super) struct Watch {
    directory: PathBuf,
    /// What was read last.
    seen: Result<Vec<Source>, FilesError>,
    /// What was told last.
    told: Result<Vec<Source>, FilesError>,
}

impl Watch {
    /// Watches a directory of which `sources` is known.
    pub(super) fn new(directory: PathBuf, sources: Vec<Source>) -> Self {
        Self { directory, seen: Ok(sources.clone()), told: Ok(sources) }
    }

    /// The directory's content once it is another than was told. It counts when it was read twice, so that a file that
    /// is still being written is not acted upon.
    pub(super) async fn changed(&mut self) -> Result<Vec<Source>, FilesError> {
        loop {
            sleep(POLL).await;
            let directory = self.directory.clone();
            let Ok(read) = spawn_blocking(move || read(&directory)).await else { continue };
            if read == self.seen && read != self.told {
                self.told.clone_from(&read);
                return read;
            }
            self.seen = read;
        }
    }
}

fn read_one(file: &PathBuf) -> Result<Source, FilesError> {
    let name = file.display().to_string();
    let failed = |why: String| FilesError::File { file: name.clone(), why };
    let open = fs::File::open(file).map_err(|error| failed(words(&error)))?;
    let mut text = String::new();
    open.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| failed(words(&error)))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(failed(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(Source { file: name, text })
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let ending = path.extension().and_then(|ending| ending.to_str());
    !hidden && matches!(ending, Some("yaml" | "yml" | "json")) && !path.is_dir()
}

/// What an error means, without the number of the system call's error.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::NotADirectory => "it is not a directory".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read by this user".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        directory
    }

    #[test]
    fn manifests_in_the_order_of_names() {
        let directory =
            directory(&[("b.yml", b"b"), ("a.yaml", b"a"), ("c.json", b"c"), ("d.txt", b"d"), (".e.yaml", b"e")]);
        fs::create_dir(directory.path().join("sub.yaml")).unwrap();
        let texts: Vec<_> = read(directory.path()).unwrap().into_iter().map(|source| source.text).collect();
        assert_eq!(texts, ["a", "b", "c"]);
    }

    #[test]
    fn unusable_directories() {
        let here = directory(&[("a.txt", b"")]);
        let told = |path: &Path| read(path).unwrap_err().to_string();
        assert!(told(&here.path().join("none")).contains("it does not exist"));
        assert!(told(&here.path().join("a.txt")).contains("it is not a directory"));
        assert!(told(here.path()).contains("holds no file that ends in .yaml"));
    }

    #[test]
    fn unreadable_files() {
        let binary = directory(&[("a.yaml", b"\xff\xfe")]);
        assert!(read(binary.path()).unwrap_err().to_string().ends_with("a.yaml: cannot be read: it is not UTF-8 text"));
        let large = directory(&[("a.yaml", &vec![b' '; 1024 * 1024 + 1])]);
        assert!(read(large.path()).unwrap_err().to_string().contains("larger than 1048576 bytes"));
    }

    #[test]
    fn too_many() {
        let many = tempfile::tempdir().unwrap();
        for number in 0..=MAX_FILES {
            fs::write(many.path().join(format!("{number}.yaml")), "").unwrap();
        }
        assert!(matches!(read(many.path()), Err(FilesError::TooMany { .. })));
    }
}
