//! Step 2: whether credentials can be made, and of what. Pure.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::ResourceExt as _;
use lumoauth_core::{ClientId, IssuerUrl};

use super::{
    credentials::ClientSecret,
    dereference::{Held, Seen},
};
use crate::{
    api::{
        names,
        v1alpha1::{
            McpClient,
            condition::{Finding, Type},
        },
    },
    registry::Client,
};

/// Reasons of the conditions of McpClients, beside those of [`crate::registry::Reason`].
pub(super) mod reasons {
    /// The spec is valid.
    pub(in super::super) const VALID: &str = "Valid";
    /// The Secret holds what works.
    pub(in super::super) const WRITTEN: &str = "Written";
    /// The client authenticates without a secret and names no Secret.
    pub(in super::super) const NOT_NEEDED: &str = "NotNeeded";
    /// Nothing is done for a spec that is not accepted.
    pub(in super::super) const NOT_ACCEPTED: &str = "NotAccepted";
    /// RBAC does not let the operator write Secrets in the namespace.
    pub(in super::super) const NOT_PERMITTED: &str = "NotPermitted";
    /// The Secret belongs to somebody else.
    pub(in super::super) const NAME_TAKEN: &str = "NameTaken";
    /// The authorization server cannot issue tokens yet.
    pub(in super::super) const NOT_ISSUING: &str = "NotIssuing";
    /// The API server refuses the Secret.
    pub(in super::super) const WRITE_FAILED: &str = "WriteFailed";
    /// The credentials are not ready.
    pub(in super::super) const CREDENTIALS_NOT_READY: &str = "CredentialsNotReady";
    /// All is well.
    pub(in super::super) const READY: &str = "Ready";
}

/// A client whose credentials can be made.
#[derive(Clone, Debug)]
pub(super) struct Valid {
    pub(super) object: Arc<McpClient>,
    /// What it means.
    pub(super) client: Arc<Client>,
    pub(super) client_id: ClientId,
    pub(super) issuer: IssuerUrl,
    /// Certificates the client needs to reach the authorization server.
    pub(super) ca: Option<String>,
    pub(super) secret_name: String,
    /// The Secret of that name.
    pub(super) held: Option<HeldSecret>,
}

/// The Secret as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldSecret {
    /// What it hands out to this very object.
    pub(super) value: Option<ClientSecret>,
    /// Its version.
    pub(super) version: Option<String>,
}

/// Why no credentials are made: two of the conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) accepted: Finding,
    pub(super) credentials: Finding,
}

pub(super) fn validate(seen: &Seen) -> Result<Valid, Stop> {
    let client = seen.state.as_ref().map_err(|problem| Stop {
        accepted: Finding::no(Type::Accepted, problem.reason.as_str(), problem.message.clone()),
        credentials: Finding::unknown(
            Type::CredentialsReady,
            reasons::NOT_ACCEPTED,
            "nothing is done for a client that is not accepted: see condition Accepted",
        ),
    })?;
    credentials(seen, client).map_err(|credentials| Stop { accepted: accepted(), credentials })
}

/// The condition of a spec that is valid.
pub(super) fn accepted() -> Finding {
    Finding::yes(Type::Accepted, reasons::VALID, "the authorization server knows this client")
}

fn credentials(seen: &Seen, client: &Arc<Client>) -> Result<Valid, Finding> {
    let Some(secret_name) = client.credentials_secret.clone() else {
        let message = "the client authenticates without a secret: what it needs is status.clientId";
        return Err(Finding::yes(Type::CredentialsReady, reasons::NOT_NEEDED, message));
    };
    let namespace = seen.object.metadata.namespace.as_deref().unwrap_or_default();
    let held = match &seen.held {
        Held::Forbidden(reply) => return Err(not_permitted(namespace, &secret_name, reply)),
        Held::Absent => None,
        Held::Present(secret) => Some(held_secret(secret, &seen.object)),
    };
    let (Some(issuing), Some(org), Some(client_id)) = (&seen.issuing, &seen.org, &seen.id) else {
        let message = "the signing keys of the authorization server do not exist yet: the operator makes them when it \
                       starts; if this stays, look at the operator's log";
        return Err(Finding::no(Type::CredentialsReady, reasons::NOT_ISSUING, message));
    };
    Ok(Valid {
        object: seen.object.clone(),
        client: Arc::clone(client),
        client_id: client_id.clone(),
        issuer: issuing.issuer(org),
        ca: issuing.ca_bundle.clone().filter(|_| seen.settings.is_in_cluster()),
        secret_name,
        held,
    })
}

/// A Secret of another owner, an earlier object of the same name among them, hands out nothing: what it holds may have
/// leaked, or was planted.
fn held_secret(secret: &Secret, object: &McpClient) -> HeldSecret {
    let owns = |owner: &OwnerReference| Some(&owner.uid) == object.metadata.uid.as_ref();
    let value = secret.owner_references().iter().any(owns).then(|| ClientSecret::of(secret)).flatten();
    HeldSecret { value, version: secret.metadata.resource_version.clone() }
}

/// The condition of a Secret that the operator may not read or write. Not every 403 is RBAC's: a quota or an
/// admission policy answers so too.
pub(super) fn not_permitted(namespace: &str, secret: &str, reply: &str) -> Finding {
    if !reply.contains(" cannot ") {
        return write_failed(secret, reply);
    }
    let message = format!(
        "the operator may not write Secret {secret:?} in namespace {namespace:?}; allow it with: kubectl create \
         rolebinding {role} -n {namespace} --clusterrole={role} --serviceaccount={system}:{operator}",
        role = names::CREDENTIALS_ROLE,
        system = names::SYSTEM_NAMESPACE,
        operator = names::OPERATOR,
    );
    Finding::no(Type::CredentialsReady, reasons::NOT_PERMITTED, message)
}

/// The condition of a Secret that the API server does not take.
pub(super) fn write_failed(secret: &str, reply: &str) -> Finding {
    let message = format!("Secret {secret:?} cannot be written and is tried again: {reply}");
    Finding::no(Type::CredentialsReady, reasons::WRITE_FAILED, message)
}
