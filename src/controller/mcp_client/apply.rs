//! Step 4: the hash into the status, then the secret into its Secret; in this order, so that no secret is handed out
//! that the authorization server does not know. A crash between the two leaves a hash whose secret nobody has: the next
//! reconcile makes a new one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::ResourceExt as _;

use super::{
    build::{self, Plan},
    dereference::Seen,
    status,
    validate::{self, Stop, reasons},
};
use crate::{
    api::v1alpha1::{
        ClientSecretStatus, McpClient,
        condition::{Finding, Status, Type},
    },
    controller::{Context, WriteError},
};

/// When to come back to what another write was in the way of.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// When to come back to a Secret that cannot be written, at first: a RoleBinding that is made right away is noticed so
/// soon.
const RETRY: Duration = Duration::from_secs(10);
/// How long that goes on.
const AT_FIRST: Duration = Duration::from_mins(1);

/// What was reached.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The object, in its newest version.
    pub(super) object: Arc<McpClient>,
    /// Hashes of what works, the newest first.
    pub(super) secrets: Vec<ClientSecretStatus>,
    /// Value of the rotate annotation that was last acted on.
    pub(super) rotated_for: Option<String>,
    /// When the newest secret was made.
    pub(super) last_rotated: Option<Time>,
    /// Condition Accepted.
    pub(super) accepted: Finding,
    /// Condition CredentialsReady.
    pub(super) credentials: Finding,
    /// When to look again.
    pub(super) again: Duration,
}

impl Outcome {
    /// Nothing was done, for that reason; what worked works on, unless a secret is not how the client authenticates.
    pub(super) fn stopped(seen: &Seen, stop: Stop, now: Timestamp) -> Self {
        let mut old = seen.object.status.clone().unwrap_or_default();
        if stop.credentials.reason == reasons::NOT_NEEDED {
            (old.secrets, old.rotated_for, old.last_rotated) = (Vec::new(), None, None);
        }
        let is_refused = stop.accepted.status == Status::True && stop.credentials.status != Status::True;
        let again = if is_refused { retry(&old.conditions, now) } else { build::RESYNC };
        Self {
            object: seen.object.clone(),
            secrets: build::unexpired(&old.secrets, now),
            rotated_for: old.rotated_for,
            last_rotated: old.last_rotated,
            accepted: stop.accepted,
            credentials: stop.credentials,
            again,
        }
    }
}

/// When to come back to a client whose credentials are refused: after as long again as they have been, which doubles each
/// time, so that refusals that stay cost next to nothing.
pub(super) fn retry(conditions: &[Condition], now: Timestamp) -> Duration {
    let is_refusal = |condition: &&Condition| {
        condition.type_ == Type::CredentialsReady.as_str() && condition.status == Status::False.as_str()
    };
    let since = conditions.iter().find(is_refusal).map_or(now, |condition| condition.last_transition_time.0);
    let refused = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    if refused < AT_FIRST { RETRY } else { refused.min(build::RESYNC) }
}

pub(super) async fn apply(context: &Context, seen: &Seen, plan: Plan, now: Timestamp) -> Result<Outcome, WriteError> {
    let mut outcome = Outcome {
        object: seen.object.clone(),
        secrets: plan.secrets,
        rotated_for: plan.rotated_for,
        last_rotated: plan.last_rotated,
        accepted: validate::accepted(),
        credentials: ready(&plan.credentials),
        again: plan.again,
    };
    if plan.announces {
        // A refusal must be known before the status names a secret that then is not handed out.
        if let Err(error) = context.would_apply(&plan.credentials).await {
            let old = seen.object.status.clone().unwrap_or_default();
            outcome.secrets = old.secrets;
            outcome.rotated_for = old.rotated_for;
            outcome.last_rotated = old.last_rotated;
            return refused(outcome, &plan.credentials.name_any(), error, now);
        }
        outcome.object = status::announce(context, seen, &outcome).await?;
    }
    match context.apply(&plan.credentials).await {
        Ok(_) => Ok(outcome),
        Err(error) => refused(outcome, &plan.credentials.name_any(), error, now),
    }
}

fn ready(secret: &Secret) -> Finding {
    let members: Vec<_> = secret.data.iter().flatten().map(|(name, _)| name.as_str()).collect();
    let message = format!("Secret {:?} holds {}", secret.name_any(), members.join(", "));
    Finding::yes(Type::CredentialsReady, reasons::WRITTEN, message)
}

/// A refusal as a condition; what is no refusal stays an error.
fn refused(mut outcome: Outcome, secret: &str, error: WriteError, now: Timestamp) -> Result<Outcome, WriteError> {
    let namespace = outcome.object.namespace().unwrap_or_default();
    outcome.credentials = match error {
        WriteError::NotLeader | WriteError::Conflict => return Err(error),
        WriteError::NameTaken { .. } => Finding::no(
            Type::CredentialsReady,
            reasons::NAME_TAKEN,
            format!(
                "Secret {secret:?} exists and was not written for this McpClient: delete it, or name another one in \
                 spec.credentialsSecretName"
            ),
        ),
        WriteError::Forbidden(reply) => validate::not_permitted(&namespace, secret, &reply),
        error @ (WriteError::Encode(_) | WriteError::Api(_)) => validate::write_failed(secret, &error.to_string()),
    };
    let old = outcome.object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    outcome.again = retry(old, now);
    Ok(outcome)
}
