//! The CustomResourceDefinitions, generated from the types in [`crate::api`].

use std::{fs, io, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::api::v1alpha1::{McpClient, McpServer};

/// Definitions that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A definition is no YAML.
    #[error("a definition cannot be written as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The name of a definition's file (`<group>_<plural>.yaml`) and its text, for every kind.
pub fn files() -> Result<Vec<(String, String)>, CrdError> {
    let file = |crd: CustomResourceDefinition| -> Result<_, CrdError> {
        Ok((format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural), serde_yaml::to_string(&crd)?))
    };
    [McpServer::crd(), McpClient::crd()].into_iter().map(file).collect()
}

/// Every definition as one YAML stream, to be piped into kubectl.
pub fn stream() -> Result<String, CrdError> {
    let texts: Vec<String> = files()?.into_iter().map(|(_, text)| text).collect();
    Ok(format!("---\n{}", texts.join("---\n")))
}

/// Writes a file per definition into `directory`, and gives their names.
pub fn write(directory: &Path) -> Result<Vec<String>, CrdError> {
    let failed = |path: &Path, source| CrdError::Write { path: path.display().to_string(), source };
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    let mut written = Vec::new();
    for (name, text) in files()? {
        let path = directory.join(&name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
        written.push(name);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_holds_every_definition() {
        let stream = stream().unwrap();
        assert_eq!(stream.matches("\nkind: CustomResourceDefinition\n").count(), 2);
        assert_eq!(stream.matches("---\n").count(), 2);
    }
}
