//! Step 5: the status.

use std::sync::Arc;

use jiff::Timestamp;

use super::{apply::Outcome, dereference::Seen, validate::reasons};
use crate::{
    api::v1alpha1::{
        McpClient, McpClientStatus,
        condition::{self, Finding, Status, Type},
    },
    controller::{Context, WriteError},
    registry::Problem,
};

/// Writes the status and tells about conditions that changed.
pub(super) async fn write(context: &Context, seen: &Seen, outcome: &Outcome, now: Timestamp) -> Result<(), WriteError> {
    let status = status(seen, outcome, now);
    context.apply_status(&*outcome.object, &status).await?;
    let old = seen.object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    context.events.conditions(&*seen.object, old, &status.conditions).await;
    Ok(())
}

/// Writes the hashes only: before the secret itself is handed out. Gives the object in its new version.
pub(super) async fn announce(context: &Context, seen: &Seen, outcome: &Outcome) -> Result<Arc<McpClient>, WriteError> {
    let old = seen.object.status.clone().unwrap_or_default();
    let status = McpClientStatus {
        org_id: seen.org.as_ref().map(ToString::to_string),
        client_id: seen.id.as_ref().map(|id| id.as_str().to_owned()),
        secrets: outcome.secrets.clone(),
        rotated_for: outcome.rotated_for.clone(),
        last_rotated: outcome.last_rotated.clone(),
        ..old
    };
    Ok(Arc::new(context.apply_status(&*seen.object, &status).await?.into_inner()))
}

/// The whole status.
pub(super) fn status(seen: &Seen, outcome: &Outcome, now: Timestamp) -> McpClientStatus {
    let generation = seen.object.metadata.generation;
    let old = seen.object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let findings =
        [outcome.accepted.clone(), outcome.credentials.clone(), ready(&outcome.accepted, &outcome.credentials)];
    McpClientStatus {
        observed_generation: generation,
        org_id: seen.org.as_ref().map(ToString::to_string),
        client_id: seen.id.as_ref().map(|id| id.as_str().to_owned()),
        secrets: outcome.secrets.clone(),
        rotated_for: outcome.rotated_for.clone(),
        last_rotated: outcome.last_rotated.clone(),
        conditions: condition::merge(old, &findings, generation, now),
    }
}

/// Ready: all of it.
fn ready(accepted: &Finding, credentials: &Finding) -> Finding {
    if accepted.status != Status::True {
        return Finding::no(Type::Ready, reasons::NOT_ACCEPTED, "see condition Accepted");
    }
    if credentials.status != Status::True {
        return Finding::no(Type::Ready, reasons::CREDENTIALS_NOT_READY, "see condition CredentialsReady");
    }
    Finding::yes(Type::Ready, reasons::READY, "the client can ask for tokens")
}

/// The conditions of an object that cannot be read.
pub(super) fn malformed(problem: &Problem) -> [Finding; 3] {
    let accepted = Finding::no(Type::Accepted, problem.reason.as_str(), problem.message.clone());
    let credentials = Finding::unknown(
        Type::CredentialsReady,
        reasons::NOT_ACCEPTED,
        "the object cannot be read: see condition Accepted",
    );
    let ready = ready(&accepted, &credentials);
    [accepted, credentials, ready]
}
