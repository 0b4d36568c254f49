//! (raw Pod JSON, McpServer, settings) -> plan -> JSON patch. Pure.
//!
//! A pod is never read into a type and written back: it stays the JSON the API server sent, and the patch only adds.
//! The same comparison says whether a running pod is injected ([`compare`]) and makes a second call for a pod that
//! is already injected an empty patch.

mod compare;
mod conflict;
mod patch;
mod plan;
mod pod;
mod probes;
mod quantity;
mod refusal;
mod selection;
mod target;

#[cfg(test)]
mod tests;

pub use compare::{Comparison, compare};
pub use patch::Injection;
pub use plan::Plan;
pub use refusal::Refusal;
pub use selection::{is_server_name, selected};
pub use target::Target;

use serde_json::Value;

use crate::{registry::Snapshot, settings::Settings};

/// What is to be done to a pod that is created in `namespace`: nothing (`None`: it asks for nothing), a patch, or a
/// refusal. [`Refusal::UnknownServer`] speaks of this snapshot only.
pub fn admit(
    pod: &Value,
    namespace: &str,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Result<Option<Injection>, Refusal> {
    let Some(key) = selected(pod, namespace)? else { return Ok(None) };
    let Some(entry) = snapshot.servers.get(&key) else { return Err(Refusal::UnknownServer(key)) };
    inject(pod, &Target::of_entry(entry), settings).map(Some)
}

/// The patch that puts the sidecar of `target` into `pod`; empty when it is there.
pub fn inject(pod: &Value, target: &Target, settings: &Settings) -> Result<Injection, Refusal> {
    let plan = Plan::new(target, settings)?;
    patch::injection(pod, &plan)
}
