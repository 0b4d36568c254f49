//! Which McpServer a pod asks for. Only the annotation asks; label and marker are ours to write.

use serde_json::Value;

use super::{Refusal, pod};
use crate::{
    api::names::{INJECTED, SERVER},
    registry::ObjectKey,
};

/// The McpServer that a pod in `namespace` asks to be guarded as; `None`: it asks for nothing and claims nothing.
pub fn selected(pod: &Value, namespace: &str) -> Result<Option<ObjectKey>, Refusal> {
    match (pod::annotation(pod, SERVER), pod::label(pod, SERVER)) {
        (None, None) if pod::annotation(pod, INJECTED).is_some() => Err(Refusal::ForgedMarker),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Refusal::LabelWithoutAnnotation),
        (Some(name), _) if !is_server_name(name) => Err(Refusal::InvalidName(shortened(name))),
        (Some(name), Some(label)) if label != name => {
            Err(Refusal::LabelDisagrees { label: label.to_owned(), annotation: name.to_owned() })
        }
        (Some(name), _) => Ok(Some(ObjectKey::new(namespace, name))),
    }
}

/// The rule for McpServer names: `^[a-z]([-a-z0-9]*[a-z0-9])?$`, at most 50 characters.
pub fn is_server_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=50).contains(&name.len())
        && name.bytes().all(inner)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
}

/// An annotation may be 256 KiB long; a message need not.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
