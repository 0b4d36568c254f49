//! DATA: the signing keys and the clients' credentials of `lumoauth local`, readable by its user alone.

use std::{
    fs,
    fs::{DirBuilder, OpenOptions, Permissions},
    io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lumoauth_core::{ClientId, IssuerUrl, UnixTime, digest};
use serde::{Deserialize, Serialize};

use crate::{
    api::v1alpha1::GrantType,
    pki::signing::{KeyRing, SigningError},
    registry::Client,
};

/// The file in which the authorization server keeps what it must not forget.
pub(super) const DATABASE: &str = "lumoauth.db";
/// Random bytes of a client secret.
const SECRET_BYTES: usize = 32;

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DataError {
    /// A file or directory cannot be read or written.
    #[error("--data: cannot {what} {path}: {error}")]
    Io { what: &'static str, path: String, error: io::Error },
    /// The signing keys cannot be used.
    #[error("--data: {path} holds no usable signing keys ({error}): delete it to have new ones")]
    Keys { path: String, error: SigningError },
    /// A client's credentials cannot be read. Only where: serde would quote what it found, which may be the secret.
    #[error("--data: {path} holds no credentials (line {line} column {column}): delete it to have new ones")]
    Credentials { path: String, line: usize, column: usize },
    /// The system has no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// What a client needs to ask for tokens: the members of a cluster's credentials Secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Credentials {
    pub(super) client_id: String,
    /// Of a client that authenticates with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_secret: Option<String>,
    pub(super) issuer: String,
    pub(super) token_endpoint: String,
    /// For a client that people use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authorization_endpoint: Option<String>,
}

impl Credentials {
    /// SHA-256 of the secret, as the registry wants it.
    pub(super) fn sha256(&self) -> Option<String> {
        self.client_secret.as_ref().map(|secret| digest::sha256_hex(secret.as_bytes()))
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Data {
    directory: PathBuf,
}

impl Data {
    /// Opens the directory; one that is not there is made, and kept out of git.
    pub(super) fn open(directory: &Path) -> Result<Self, DataError> {
        let this = Self { directory: directory.to_owned() };
        let is_new = !directory.exists();
        make_directory(directory)?;
        make_directory(&this.credentials_directory())?;
        if is_new {
            write(&directory.join(".gitignore"), b"*\n")?;
        }
        Ok(this)
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the credentials are.
    pub(super) fn credentials_directory(&self) -> PathBuf {
        self.directory.join("credentials")
    }

    /// Where the authorization server keeps what it must not forget.
    pub(super) fn database(&self) -> PathBuf {
        self.directory.join(DATABASE)
    }

    /// The signing keys, as they are due at `now`; made when there are none.
    pub(super) fn keys(&self, now: UnixTime) -> Result<KeyRing, DataError> {
        let path = self.directory.join("keys.json");
        let failed = |error| DataError::Keys { path: path.display().to_string(), error };
        let (mut ring, is_new) = match read(&path)? {
            Some(bytes) => (KeyRing::parse(&bytes).map_err(failed)?, false),
            None => (KeyRing::new(now).map_err(failed)?, true),
        };
        if ring.advance(now).map_err(failed)? || is_new {
            write(&path, ring.to_json().map_err(failed)?.as_bytes())?;
        }
        Ok(ring)
    }

    /// The credentials of the client `name`: its secret, if it has one, is made once and stays; the rest is brought up to
    /// date.
    pub(super) fn credentials(
        &self,
        name: &str,
        client_id: &ClientId,
        client: &Client,
        issuer: &IssuerUrl,
    ) -> Result<Credentials, DataError> {
        let path = self.credentials_directory().join(format!("{name}.json"));
        let failed = |error: serde_json::Error| DataError::Credentials {
            path: path.display().to_string(),
            line: error.line(),
            column: error.column(),
        };
        let stored: Option<Credentials> =
            read(&path)?.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(failed)?;
        let client_secret = match &stored {
            _ if !client.has_secret() => None,
            Some(Credentials { client_secret: Some(secret), .. }) => Some(secret.clone()),
            _ => Some(new_secret()?),
        };
        let is_for_people = client.may_use(GrantType::AuthorizationCode);
        let credentials = Credentials {
            client_id: client_id.to_string(),
            client_secret,
            issuer: issuer.to_string(),
            token_endpoint: format!("{issuer}/oauth/token"),
            authorization_endpoint: is_for_people.then(|| format!("{issuer}/oauth/authorize")),
        };
        if stored.as_ref() != Some(&credentials) {
            let text = serde_json::to_string_pretty(&credentials).map_err(failed)?;
            write(&path, format!("{text}\n").as_bytes())?;
        }
        Ok(credentials)
    }
}

fn new_secret() -> Result<String, DataError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(DataError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn make_directory(path: &Path) -> Result<(), DataError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| failed("make the directory", path, error))
}

/// Reads a file of ours, and takes it back from everybody else.
fn read(path: &Path) -> Result<Option<Vec<u8>>, DataError> {
    match fs::read(path) {
        Ok(bytes) => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(|error| failed("set the permissions of", path, error))?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Replaces a file as a whole, so that whoever reads it sees the old or the new one.
fn write(path: &Path, content: &[u8]) -> Result<(), DataError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = (|| {
        // What a run that was killed left would keep its permissions.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.map_err(|error| failed("write", path, error))
}

fn failed(what: &'static str, path: &Path, error: io::Error) -> DataError {
    DataError::Io { what, path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::registry::{Index, NamespaceMeta, ObjectKey, Parsed};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn client(spec: &Value) -> Arc<Client> {
        let object = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
            "metadata": {"namespace": "default", "name": "reader"}, "spec": spec,
        });
        let mut index = Index::default();
        index.apply_namespace("default".to_owned(), NamespaceMeta::default());
        index.apply_client(Parsed::Object(Arc::new(serde_json::from_value(object).unwrap())));
        Arc::clone(index.snapshot().clients[&ObjectKey::new("default", "reader")].client().unwrap())
    }

    fn program() -> Arc<Client> {
        client(&json!({
            "grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"},
            "credentialsSecretName": "s",
        }))
    }

    fn credentials_of(data: &Data, client: &Client, issuer: &str) -> Result<Credentials, DataError> {
        let issuer = IssuerUrl::parse(issuer).unwrap();
        data.credentials("reader", &ClientId::parse("mcpc_1").unwrap(), client, &issuer)
    }

    fn credentials(data: &Data, issuer: &str) -> Result<Credentials, DataError> {
        credentials_of(data, &program(), issuer)
    }

    #[test]
    fn a_client_without_a_secret_is_told_the_rest() {
        let parent = tempfile::tempdir().unwrap();
        let data = Data::open(&parent.path().join("data")).unwrap();
        let issuer = "http://127.0.0.1:1/i";
        let secret = credentials(&data, issuer).unwrap().client_secret.unwrap();
        let people = client(&json!({
            "grantTypes": ["AuthorizationCode"], "authentication": {"method": "None"},
            "redirectUris": ["http://127.0.0.1/callback"],
        }));
        let told = credentials_of(&data, &people, issuer).unwrap();
        assert_eq!((told.sha256(), told.client_id.as_str()), (None, "mcpc_1"));
        assert_eq!(told.authorization_endpoint.as_deref(), Some("http://127.0.0.1:1/i/oauth/authorize"));
        let text = fs::read_to_string(parent.path().join("data/credentials/reader.json")).unwrap();
        assert!(!text.contains("client_secret") && !text.contains(&secret), "{text}");
        assert!(credentials(&data, issuer).unwrap().client_secret.is_some_and(|new| new != secret));
    }

    #[test]
    fn secrets_and_keys_stay() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/data");
        let data = Data::open(&directory).unwrap();
        let (keys, first) = (data.keys(NOW).unwrap().jwks(), credentials(&data, "http://127.0.0.1:1/i").unwrap());
        assert!(URL_SAFE_NO_PAD.decode(first.client_secret.as_ref().unwrap()).unwrap().len() == SECRET_BYTES);
        let again = Data::open(&directory).unwrap();
        assert_eq!(again.keys(NOW).unwrap().jwks(), keys);
        let second = credentials(&again, "http://127.0.0.1:2/i").unwrap();
        assert_eq!(second.client_secret, first.client_secret);
        assert_eq!(second.issuer, "http://127.0.0.1:2/i");
        let stored: Credentials =
            serde_json::from_slice(&fs::read(directory.join("credentials/reader.json")).unwrap()).unwrap();
        assert!(stored == second);
        assert_eq!(fs::read_to_string(directory.join(".gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn nobody_else_may_read() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        let data = Data::open(&directory).unwrap();
        data.keys(NOW).unwrap();
        credentials(&data, "http://127.0.0.1:1/i").unwrap();
        let (keys, reader) = (directory.join("keys.json"), directory.join("credentials/reader.json"));
        assert_eq!([mode(&directory), mode(&directory.join("credentials"))], [0o700, 0o700]);
        assert_eq!([mode(&keys), mode(&reader)], [0o600, 0o600]);
        fs::set_permissions(&keys, Permissions::from_mode(0o644)).unwrap();
        data.keys(NOW).unwrap();
        assert_eq!(mode(&keys), 0o600);
    }

    #[test]
    fn a_directory_that_was_there_keeps_its_permissions() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Data::open(directory.path()).unwrap();
        assert_eq!(mode(directory.path()), 0o755);
        assert!(!directory.path().join(".gitignore").exists());
    }

    #[test]
    fn broken_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data::open(directory.path()).unwrap();
        fs::write(directory.path().join("keys.json"), "{").unwrap();
        let told = data.keys(NOW).unwrap_err().to_string();
        assert!(
            told.contains("keys.json holds no usable signing keys") && told.ends_with("delete it to have new ones")
        );
        fs::write(directory.path().join("credentials/reader.json"), "{}").unwrap();
        let told = credentials(&data, "http://127.0.0.1:1/i").err().unwrap().to_string();
        assert!(told.contains("reader.json holds no credentials"), "{told}");
        fs::write(directory.path().join("credentials/reader.json"), "\"s3cret\"").unwrap();
        let told = credentials(&data, "http://127.0.0.1:1/i").err().unwrap();
        assert!(!format!("{told} {told:?}").contains("s3cret"), "{told}");
    }

    #[test]
    fn a_directory_that_cannot_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Data::open(&file.join("data")).unwrap_err();
        assert!(error.to_string().starts_with("--data: cannot make the directory"), "{error}");
        assert!(std::error::Error::source(&error).is_none(), "its cause is told once");
    }
}
