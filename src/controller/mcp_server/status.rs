//! Step five: what was found out, written where people look.

use jiff::Timestamp;

use super::{
    conditions::{self, Observed, conditions, counts},
    dereference::Dereferenced,
    error::Error,
    validate::{self, Role},
};
use crate::{
    api::v1alpha1::{McpServer, McpServerStatus, PodCounts, condition},
    controller::{Context, Written},
};

/// The status to write. Pure: the same observations give the same status, so that nothing is written twice.
pub(super) fn status(observed: &Observed<'_>, now: Timestamp) -> McpServerStatus {
    let server = observed.server;
    let found = conditions(observed);
    McpServerStatus {
        observed_generation: server.observed_generation,
        server_id: server.entry.id.as_ref().map(ToString::to_string),
        org_id: server.entry.org.as_ref().map(ToString::to_string),
        urls: server.urls.clone(),
        www_authenticate_example: server.challenge().map(str::to_owned),
        config_generation: (server.role != Role::RegistryOnly).then(|| server.generation.as_str().to_owned()),
        pods: pods(observed),
        conditions: condition::merge(&observed.old.conditions, &found, server.observed_generation, now),
    }
}

/// The status while no configuration can be made: the old one, with what it says about a configuration taken back.
/// `None` when it is about the same spec: sidecars run on with what was written then.
pub(super) fn not_issuing(read: &Dereferenced, now: Timestamp) -> Option<McpServerStatus> {
    let old = read.object.status.clone().unwrap_or_default();
    let generation = validate::observed(&read.entry, &read.object);
    if old.observed_generation.is_some() && old.observed_generation == generation {
        return None;
    }
    let mut found = condition::merge(&old.conditions, &conditions::not_issuing(&read.entry), generation, now);
    let is_found = |kind: &str| found.iter().any(|condition| condition.type_ == kind);
    let kept: Vec<_> = old.conditions.iter().filter(|condition| !is_found(&condition.type_)).cloned().collect();
    found.extend(kept);
    Some(McpServerStatus { observed_generation: generation, conditions: found, ..old })
}

fn pods(observed: &Observed<'_>) -> Option<PodCounts> {
    if observed.server.role == Role::RegistryOnly {
        return None;
    }
    let old = observed.old.pods.clone().unwrap_or_default();
    let same = observed.old.config_generation.as_deref() == Some(observed.server.generation.as_str());
    let Some(pods) = observed.pods.known() else { return observed.old.pods.clone() };
    let current = observed.findings.filter(|findings| findings.generation == observed.server.generation);
    let (injected, programmed, verified) = counts(pods, current);
    let count = |pods: usize| i32::try_from(pods).unwrap_or(i32::MAX);
    let selected = count(pods.len());
    let (mut programmed, mut verified) = (count(programmed), count(verified));
    if observed.findings.is_none() && same {
        (programmed, verified) = (old.programmed.min(selected), old.verified.min(selected));
    }
    let summary = format!("{programmed}/{selected}");
    Some(PodCounts { selected, injected: count(injected), programmed, verified, summary })
}

/// Writes `status`, if it is not so already, and tells people which conditions changed.
pub(super) async fn write(context: &Context, server: &McpServer, status: &McpServerStatus) -> Result<(), Error> {
    let written = context.apply_status(server, status).await.map_err(Error::write("the status"))?;
    if let Written::Changed(object) = written {
        let old = server.status.as_ref().map(|old| old.conditions.as_slice()).unwrap_or_default();
        context.events.conditions(&object, old, &status.conditions).await;
    }
    Ok(())
}
