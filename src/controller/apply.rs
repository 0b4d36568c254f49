//! Writes to the API server: server-side apply of our own fields, compared first, by the leader only.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::object::HasStatus,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Context,
    compare::{self, Difference},
};
use crate::api::names;

/// A write that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another replica writes.
    #[error("this replica is not the leader")]
    NotLeader,
    /// An object of that name exists that is not ours.
    #[error(
        "{kind} {name:?} exists and is not managed by LumoAuth for this resource: rename or delete it, or use another name"
    )]
    NameTaken {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// RBAC does not allow it.
    #[error("not permitted: {0}")]
    Forbidden(String),
    /// The object changed since it was read, or went away; what is to be written must be computed anew.
    #[error("the object changed meanwhile")]
    Conflict,
    /// The object to write has no JSON form.
    #[error("cannot encode: {0}")]
    Encode(#[from] serde_json::Error),
    /// The API server refused, or could not be asked.
    #[error(transparent)]
    Api(Box<kube::Error>),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden(status.message.clone()),
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            _ => Self::Api(Box::new(error)),
        }
    }
}

impl WriteError {
    /// A word for metrics.
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotLeader | Self::NameTaken { .. } | Self::Forbidden(_) => "refused",
            Self::Conflict | Self::Encode(_) | Self::Api(_) => "failed",
        }
    }
}

/// The object as the API server has it after an apply.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<K> {
    /// It was already so: nothing was sent.
    Unchanged(K),
    /// It is so now.
    Changed(K),
}

impl<K> Written<K> {
    /// The object.
    pub fn into_inner(self) -> K {
        match self {
            Self::Unchanged(object) | Self::Changed(object) => object,
        }
    }
}

impl Context {
    /// Makes `desired` so: creates it, or changes exactly the fields we own. It must carry the managed-by label. An
    /// object of that name without the label, or with it but owned by another object than `desired` names, is left
    /// alone ([`WriteError::NameTaken`]).
    pub async fn apply<K>(&self, desired: &K) -> Result<Written<K>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync,
    {
        let result = self.apply_uncounted(desired).await;
        let outcome = match &result {
            Ok(Written::Unchanged(_)) => "unchanged",
            Ok(Written::Changed(_)) => "written",
            Err(error) => error.outcome(),
        };
        self.metrics.wrote(&K::kind(&()), outcome);
        result
    }

    async fn apply_uncounted<K>(&self, desired: &K) -> Result<Written<K>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync,
    {
        let api = self.api::<K>(desired);
        let name = desired.name_any();
        let mut body = serde_json::to_value(desired)?;
        let live = api.get_opt(&name).await?;
        let mut params = PatchParams::apply(names::OPERATOR);
        if let Some(live) = live {
            match compare::difference(&serde_json::to_value(&live)?, &body, names::OPERATOR) {
                Difference::None => return Ok(Written::Unchanged(live)),
                Difference::NotOurs => return Err(WriteError::NameTaken { kind: K::kind(&()).into_owned(), name }),
                Difference::Fields => {}
            }
            // Ours, in the version compared: what others wrote into our fields is taken back.
            params = params.force();
            set_metadata(&mut body, "resourceVersion", live.resource_version());
        }
        self.check_leader()?;
        Ok(Written::Changed(api.patch(&name, &params, &Patch::Apply(&body)).await?))
    }

    /// Writes the status of `object`, unless it has exactly this one. Refused with [`WriteError::Conflict`] when the
    /// object is not in the version of `object` any more.
    pub async fn apply_status<K>(&self, object: &K, status: &K::Status) -> Result<Written<K>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + HasStatus
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync,
        K::Status: Serialize + Sync,
    {
        let result = self.apply_status_uncounted(object, status).await;
        let outcome = match &result {
            Ok(Written::Unchanged(_)) => "unchanged",
            Ok(Written::Changed(_)) => "written",
            Err(error) => error.outcome(),
        };
        self.metrics.wrote(&format!("{}/status", K::kind(&())), outcome);
        result
    }

    async fn apply_status_uncounted<K>(&self, object: &K, status: &K::Status) -> Result<Written<K>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + HasStatus
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync,
        K::Status: Serialize + Sync,
    {
        let desired = serde_json::to_value(status)?;
        if object.status().map(serde_json::to_value).transpose()?.as_ref() == Some(&desired) {
            return Ok(Written::Unchanged(object.clone()));
        }
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": object.name_any(), "uid": object.uid(), "resourceVersion": object.resource_version()},
            "status": desired,
        });
        self.check_leader()?;
        let params = PatchParams::apply(names::OPERATOR).force();
        let written = self.api::<K>(object).patch_status(&object.name_any(), &params, &Patch::Apply(&body)).await;
        written.map(Written::Changed).map_err(|error| match error {
            // Gone, or another object under that name: the watch tells.
            kube::Error::Api(reply) if reply.is_not_found() || reply.is_invalid() && is_about_uid(&reply.message) => {
                WriteError::Conflict
            }
            error => error.into(),
        })
    }

    /// Deletes `live`, if it is still in that version. One that is gone is no error.
    pub async fn delete<K>(&self, live: &K) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync,
    {
        if live.labels().get(names::MANAGED_BY).map(String::as_str) != Some(names::MANAGER) {
            return Err(WriteError::NameTaken { kind: K::kind(&()).into_owned(), name: live.name_any() });
        }
        self.check_leader()?;
        let version = Preconditions { resource_version: live.resource_version(), uid: live.uid() };
        let params = DeleteParams::background().preconditions(version);
        match self.api::<K>(live).delete(&live.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this replica may write now, as a step of a write.
    pub fn check_leader(&self) -> Result<(), WriteError> {
        if self.is_leader() { Ok(()) } else { Err(WriteError::NotLeader) }
    }

    fn api<K>(&self, object: &K) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), object.meta().namespace.as_deref().unwrap_or("default"))
    }
}

fn is_about_uid(message: &str) -> bool {
    message.contains("metadata.uid")
}

fn set_metadata(body: &mut Value, field: &str, value: Option<String>) {
    if let (Some(metadata), Some(value)) = (body.get_mut("metadata").and_then(Value::as_object_mut), value) {
        metadata.insert(field.to_owned(), Value::String(value));
    }
}
