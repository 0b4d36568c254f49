//! Manifests: YAML text in, McpServers and McpClients out, as strictly as kubectl and an API server would take them.

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::{CustomResourceExt, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{files::Source, schema};
use crate::api::{
    names::GROUP,
    v1alpha1::{McpClient, McpServer},
};

/// The version of our kinds that is read.
const API_VERSION: &str = "mcp.lumoauth.dev/v1alpha1";
/// The longest metadata.name.
const MAX_NAME: usize = 50;
/// Members of an object beside `spec`.
const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// Members of `metadata`: what people write, and what an API server adds.
const METADATA: [&str; 14] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    /// Counted from 1.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A manifest that cannot be used, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub(super) struct ManifestError {
    pub(super) place: Place,
    pub(super) message: String,
}

impl ManifestError {
    pub(super) fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { place: place.clone(), message: message.into() }
    }
}

/// An object and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) place: Place,
    pub(super) object: T,
}

/// Everything that was read, in the order of files and documents.
#[derive(Clone, Debug, Default)]
pub(super) struct Manifests {
    pub(super) servers: Vec<Located<McpServer>>,
    pub(super) clients: Vec<Located<McpClient>>,
    /// What is not ours, one line each.
    pub(super) skipped: Vec<String>,
}

/// Reads manifests. Gives every error, not only the first.
pub(super) fn parse(sources: &[Source]) -> Result<Manifests, Vec<ManifestError>> {
    let (mut manifests, mut errors) = (Manifests::default(), Vec::new());
    for source in sources {
        for (line, text) in documents(&source.text) {
            let document = Document { file: &source.file, line, text };
            match document.value() {
                Ok(Value::Null) => {}
                Ok(value) => read_object(&document, value, &mut manifests, &mut errors),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(manifests) } else { Err(errors) }
}

/// The documents of a YAML stream with the number of the line each begins on. A line that starts with `---` ends a
/// document wherever it stands (YAML 1.2 §9.1.2), so the text can be cut without being understood.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && at > start {
            documents.push((first_line, text.get(start..at).unwrap_or_default()));
            (start, first_line) = (at, number + 1);
        }
        at += line.len();
    }
    documents.push((first_line, text.get(start..).unwrap_or_default()));
    documents
}

struct Document<'a> {
    file: &'a str,
    line: usize,
    text: &'a str,
}

impl Document<'_> {
    fn place(&self, line_in_document: usize) -> Place {
        Place { file: self.file.to_owned(), line: self.line + line_in_document.saturating_sub(1) }
    }

    /// Where the object's text begins.
    fn start(&self) -> Place {
        let content = |line: &str| !line.is_empty() && !line.starts_with('#') && !line.starts_with("---");
        self.place(1 + self.text.lines().position(content).unwrap_or(0))
    }

    /// Where the member `name` is written first, else where the object begins.
    fn member(&self, name: &str) -> Place {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
        let written = |line: &str| {
            line.match_indices(name).any(|(at, _)| {
                let before = line.get(..at).unwrap_or_default();
                let after = line.get(at + name.len()..).unwrap_or_default();
                !name.is_empty()
                    && !before.ends_with(is_word)
                    && after.trim_start_matches(['"', '\'']).trim_start().starts_with(':')
            })
        };
        self.text.lines().position(written).map_or_else(|| self.start(), |at| self.place(at + 1))
    }

    fn value(&self) -> Result<Value, ManifestError> {
        // By way of YAML's own value, which refuses a key that is written twice.
        let yaml = serde_yaml::from_str::<serde_yaml::Value>(self.text).map_err(|error| {
            let place = error.location().map_or_else(|| self.start(), |location| self.place(location.line()));
            let text = error.to_string();
            let (message, _) = text.split_once(" at line ").unwrap_or((&text, ""));
            ManifestError::new(&place, format!("is not YAML: {message}"))
        })?;
        serde_json::to_value(yaml)
            .map_err(|error| ManifestError::new(&self.start(), format!("is not YAML that JSON can say: {error}")))
    }
}

fn read_object(document: &Document<'_>, value: Value, manifests: &mut Manifests, errors: &mut Vec<ManifestError>) {
    let start = document.start();
    let word = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (word("apiVersion"), word("kind"));
    if version.is_empty() || kind.is_empty() {
        errors.push(ManifestError::new(&start, "has no apiVersion and kind: it is no Kubernetes object"));
        return;
    }
    match (version, kind) {
        (API_VERSION, "McpServer") => match read_as::<McpServer>(document, value) {
            Ok(object) => manifests.servers.push(Located { place: start, object }),
            Err(found) => errors.extend(found),
        },
        (API_VERSION, "McpClient") => match read_as::<McpClient>(document, value) {
            Ok(object) => manifests.clients.push(Located { place: start, object }),
            Err(found) => errors.extend(found),
        },
        ("v1", "List") => {
            let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            for item in items {
                read_object(document, item, manifests, errors);
            }
        }
        _ if version.split('/').next() == Some(GROUP) => errors.push(ManifestError::new(
            &start,
            format!("{version} {kind} is not known: write apiVersion: {API_VERSION} and kind: McpServer or McpClient"),
        )),
        _ => {
            let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
            manifests
                .skipped
                .push(format!("{start}: {kind} {name} is skipped: local runs McpServers and McpClients only"));
        }
    }
}

fn read_as<K>(document: &Document<'_>, mut value: Value) -> Result<K, Vec<ManifestError>>
where
    K: Resource<DynamicType = ()> + CustomResourceExt + DeserializeOwned,
{
    let start = document.start();
    let kind = K::kind(&());
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let told = |place: &Place, message: String| ManifestError::new(place, format!("{kind} {name}: {message}"));
    let mut errors = Vec::new();
    if !is_name(&name) {
        errors.push(ManifestError::new(
            &document.member("name"),
            format!(
                "{kind} {name:?}: metadata.name must start with a letter, hold only lower-case letters, digits and -, not end in -, and have at most {MAX_NAME} characters"
            ),
        ));
    }
    let none = Map::new();
    let known = [
        ("", value.as_object().unwrap_or(&none), &TOP_LEVEL[..]),
        ("metadata.", value.get("metadata").and_then(Value::as_object).unwrap_or(&none), &METADATA[..]),
    ];
    for (path, members, known) in known {
        for member in members.keys().filter(|member| !known.contains(&member.as_str())) {
            errors.push(told(&document.member(member), format!("{path}{member} is not a field: remove it")));
        }
    }
    if let Some(object) = value.as_object_mut() {
        // What a cluster observed says nothing here, and clients' secrets come from DATA.
        object.remove("status");
    }
    match (value.get("spec"), spec_schema::<K>()) {
        (Some(spec), Some(schema)) => {
            for misfit in schema::check(&schema, spec, "spec") {
                let place = misfit.unknown.as_ref().map_or_else(|| start.clone(), |member| document.member(member));
                errors.push(told(&place, format!("{} {}", misfit.field, misfit.message)));
            }
        }
        _ => errors.push(told(&start, "spec is missing: add it".to_owned())),
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    serde_json::from_value(value).map_err(|error| vec![told(&start, error.to_string())])
}

fn spec_schema<K: CustomResourceExt>() -> Option<JSONSchemaProps> {
    let version = K::crd().spec.versions.into_iter().next()?;
    version.schema?.open_api_v3_schema?.properties?.remove("spec")
}

/// The rule of the CRDs for metadata.name.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= MAX_NAME
        && name.bytes().all(inner)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SERVER: &str = "apiVersion: mcp.lumoauth.dev/v1alpha1\nkind: McpServer\nmetadata: {name: a}\nspec:\n  resourceUri: https://a.example/mcp\n  port: 8000\n";
    const CLIENT: &str = "apiVersion: mcp.lumoauth.dev/v1alpha1\nkind: McpClient\nmetadata: {name: c, namespace: x}\nspec:\n  grantTypes: [ClientCredentials]\n  authentication: {method: ClientSecretBasic}\n  credentialsSecretName: c\n";

    fn read(text: &str) -> Result<Manifests, Vec<String>> {
        let source = Source { file: "f.yaml".to_owned(), text: text.to_owned() };
        parse(&[source]).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn several_documents() {
        let other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
        let manifests = read(&format!("# first\n---\n{SERVER}---\n\n---\n# comment\n{CLIENT}---\n{other}")).unwrap();
        assert_eq!((manifests.servers.len(), manifests.clients.len()), (1, 1));
        assert_eq!(manifests.servers[0].place.line, 3);
        assert_eq!(manifests.clients[0].place.line, 13);
        assert_eq!(manifests.skipped, ["f.yaml:21: Namespace x is skipped: local runs McpServers and McpClients only"]);
    }

    #[test]
    fn what_a_cluster_gave() {
        let list = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}\n",
            SERVER.trim_end().replace('\n', "\n  ") + "\n  status: {conditions: [], new: 1}"
        );
        assert_eq!(read(&list).unwrap().servers.len(), 1);
        let json = r#"{"apiVersion":"mcp.lumoauth.dev/v1alpha1","kind":"McpServer","metadata":{"name":"a"},"spec":{"resourceUri":"https://a.example/","port":1}}"#;
        assert_eq!(read(json).unwrap().servers.len(), 1);
    }

    #[test]
    fn a_marker_inside_text_is_no_marker() {
        let text = SERVER.to_owned() + "  description: |\n    ---\n    b\n";
        assert_eq!(read(&text).unwrap().servers[0].object.spec.description.as_deref(), Some("---\nb\n"));
    }

    #[rstest]
    #[case("a: [1\n", "f.yaml:2: is not YAML")]
    #[case("---\n---\na: b: c\n", "f.yaml:3: is not YAML")]
    #[case("a: 1\na: 2\n", "duplicate entry")]
    #[case("? [a]\n: b\n", "f.yaml:1: ")]
    #[case("just words\n", "f.yaml:1: has no apiVersion and kind")]
    #[case("\n\nkind: McpServer\n", "f.yaml:3: has no apiVersion and kind")]
    #[case(
        "apiVersion: mcp.lumoauth.dev/v1\nkind: McpServer\n",
        "mcp.lumoauth.dev/v1 McpServer is not known: write apiVersion"
    )]
    #[case("apiVersion: mcp.lumoauth.dev/v1alpha1\nkind: McpSever\n", "McpSever is not known")]
    fn unreadable(#[case] text: &str, #[case] told: &str) {
        let errors = read(text).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(told), "{errors:?}");
    }

    #[rstest]
    #[case("{name: a}", "{name: A}", "f.yaml:3: McpServer \"A\": metadata.name must start with a letter")]
    #[case("{name: a}", "{name: a-}", "metadata.name must start with a letter")]
    #[case("{name: a}", "{}", "McpServer \"\": metadata.name")]
    #[case("{name: a}", "{name: a, label: {}}", "McpServer a: metadata.label is not a field")]
    #[case(
        "  port: 8000",
        "  prot: 8000\n  port: 8000",
        "f.yaml:6: McpServer a: spec.prot is not a field of spec: did you mean port?"
    )]
    #[case(
        "  port: 8000",
        "  rules:\n  - tool: [x]\n    deny: true\n  port: 8000",
        "f.yaml:7: McpServer a: spec.rules[0].tool is not"
    )]
    #[case("  port: 8000\n", "", "f.yaml:1: McpServer a: spec.port is missing: add port")]
    #[case("spec:", "speck:", "f.yaml:4: McpServer a: speck is not a field: remove it")]
    #[case("8000", "many", "McpServer a: spec.port must be a whole number")]
    #[case("8000", "99999999999", "McpServer a: invalid value")]
    fn wrong_objects(#[case] from: &str, #[case] to: &str, #[case] told: &str) {
        let errors = read(&SERVER.replace(from, to)).unwrap_err();
        assert!(errors.iter().any(|error| error.contains(told)), "{errors:?}");
    }

    #[test]
    fn every_error_of_every_document() {
        let text = format!("{}---\n{}", SERVER.replace("port", "prot"), CLIENT.replace("grantTypes", "grants"));
        let errors = read(&text).unwrap_err();
        assert_eq!(errors.len(), 4, "{errors:?}");
    }
}
