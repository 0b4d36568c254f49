//! Step 3: which secrets work from now on, and the Secret that hands out the newest. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource as _;

use super::{
    credentials::{ClientSecret, keys},
    validate::Valid,
};
use crate::api::{
    names,
    v1alpha1::{ClientSecretStatus, GrantType, McpClientStatus},
};

/// How many hashes the status holds at most.
const MAX_SECRETS: usize = 8;
/// How many characters of the rotate annotation count.
const MAX_ROTATE: usize = 256;
/// A Secret cannot be watched with the rights we have: it is looked at so often.
pub(super) const RESYNC: Duration = Duration::from_mins(5);

/// What is to be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Hashes of what works, the newest first.
    pub(super) secrets: Vec<ClientSecretStatus>,
    /// Whether `secrets` names one that the status does not: it must be there before the Secret is.
    pub(super) announces: bool,
    /// Value of the rotate annotation that this acts on.
    pub(super) rotated_for: Option<String>,
    /// When the newest was made.
    pub(super) last_rotated: Option<Time>,
    /// The Secret.
    pub(super) credentials: Secret,
    /// When to look again.
    pub(super) again: Duration,
}

/// Plans; `fresh` is the secret to use if a new one is needed.
pub(super) fn build(valid: &Valid, fresh: &ClientSecret, now: Timestamp) -> Plan {
    if valid.client.has_secret() { with_secret(valid, fresh, now) } else { without_secret(valid) }
}

/// No hash stays of a client that once had a secret: it does not open anything any more.
fn without_secret(valid: &Valid) -> Plan {
    Plan {
        secrets: Vec::new(),
        announces: false,
        rotated_for: None,
        last_rotated: None,
        credentials: credentials(valid, None),
        again: RESYNC,
    }
}

fn with_secret(valid: &Valid, fresh: &ClientSecret, now: Timestamp) -> Plan {
    let empty = McpClientStatus::default();
    let old = valid.object.status.as_ref().unwrap_or(&empty);
    let held = valid.held.as_ref().and_then(|held| held.value.as_ref());
    let annotation = rotate_annotation(valid);
    let working = unexpired(&old.secrets, now);

    let is_handed_out = |secret: &ClientSecret| working.first().is_some_and(|newest| newest.sha256 == secret.sha256());
    let kept = match held {
        // A Secret without a status: hashed, not rotated.
        Some(secret) if working.is_empty() => Some(secret),
        Some(secret) if is_handed_out(secret) && !is_rotation_due(valid, old, annotation.as_deref(), now) => {
            Some(secret)
        }
        _ => None,
    };
    let value = kept.unwrap_or(fresh);
    let announces = !is_handed_out(value);
    let secrets =
        if announces { replaced(value, working, valid.object.spec.rotation.overlap_hours, now) } else { working };
    let (rotated_for, last_rotated) =
        if announces { (annotation, Some(Time(now))) } else { (old.rotated_for.clone(), old.last_rotated.clone()) };
    let again = again(valid, &secrets, last_rotated.as_ref(), now);
    Plan { credentials: credentials(valid, Some(value)), secrets, announces, rotated_for, last_rotated, again }
}

/// The hashes that still work.
pub(super) fn unexpired(secrets: &[ClientSecretStatus], now: Timestamp) -> Vec<ClientSecretStatus> {
    secrets.iter().filter(|secret| secret.not_after.as_ref().is_none_or(|end| end.0 > now)).cloned().collect()
}

/// The rotate annotation, as far as it counts.
fn rotate_annotation(valid: &Valid) -> Option<String> {
    let value = valid.object.metadata.annotations.as_ref()?.get(names::ROTATE)?;
    Some(value.chars().take(MAX_ROTATE).collect())
}

fn is_rotation_due(valid: &Valid, old: &McpClientStatus, annotation: Option<&str>, now: Timestamp) -> bool {
    let asked = annotation.is_some() && annotation != old.rotated_for.as_deref();
    asked || rotation_time(valid, old.last_rotated.as_ref()).is_some_and(|time| time <= now)
}

/// When the schedule replaces a secret made at `last`.
fn rotation_time(valid: &Valid, last: Option<&Time>) -> Option<Timestamp> {
    let days = i64::from(valid.object.spec.rotation.every_days);
    let last = last.filter(|_| days > 0)?;
    last.0.checked_add(SignedDuration::from_hours(days.saturating_mul(24))).ok()
}

/// `new` in front; what worked works on for the overlap, or shorter if its end is set already.
fn replaced(
    new: &ClientSecret,
    working: Vec<ClientSecretStatus>,
    overlap_hours: i32,
    now: Timestamp,
) -> Vec<ClientSecretStatus> {
    let end = now.checked_add(SignedDuration::from_hours(i64::from(overlap_hours.max(0)))).unwrap_or(now);
    let new = ClientSecretStatus { sha256: new.sha256(), not_after: None };
    let older = working.into_iter().filter(|old| old.sha256 != new.sha256).map(|old| ClientSecretStatus {
        not_after: Some(Time(old.not_after.map_or(end, |set| set.0.min(end)))),
        ..old
    });
    let older: Vec<_> = older.filter(|old| old.not_after.as_ref().is_some_and(|end| end.0 > now)).collect();
    std::iter::once(new).chain(older).take(MAX_SECRETS).collect()
}

/// When something is due: the next end of a secret, the next rotation, or a look at the Secret.
fn again(valid: &Valid, secrets: &[ClientSecretStatus], last: Option<&Time>, now: Timestamp) -> Duration {
    let ends = secrets.iter().filter_map(|secret| secret.not_after.as_ref().map(|end| end.0));
    let next = ends.chain(rotation_time(valid, last)).min();
    let left = next.and_then(|time| Duration::try_from(time.duration_since(now)).ok());
    // A second more, so that the time has come.
    left.map_or(RESYNC, |left| (left + Duration::from_secs(1)).min(RESYNC))
}

fn credentials(valid: &Valid, secret: Option<&ClientSecret>) -> Secret {
    let token_endpoint = format!("{}/oauth/token", valid.issuer);
    let authorization_endpoint = format!("{}/oauth/authorize", valid.issuer);
    let is_for_people = valid.client.may_use(GrantType::AuthorizationCode);
    let members = [
        Some((keys::CLIENT_ID, valid.client_id.as_str())),
        secret.map(|secret| (keys::CLIENT_SECRET, secret.as_str())),
        Some((keys::ISSUER, valid.issuer.as_str())),
        Some((keys::TOKEN_ENDPOINT, token_endpoint.as_str())),
        is_for_people.then_some((keys::AUTHORIZATION_ENDPOINT, authorization_endpoint.as_str())),
        valid.ca.as_deref().map(|ca| (keys::CA, ca)),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(valid.secret_name.clone()),
            namespace: valid.object.metadata.namespace.clone(),
            // The version this was planned for.
            resource_version: valid.held.as_ref().and_then(|held| held.version.clone()),
            labels: Some([(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned())].into()),
            owner_references: valid.object.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(keys::data(members.into_iter().flatten())),
        ..Secret::default()
    }
}
