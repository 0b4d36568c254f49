//! Writes to the API server: server-side apply of our own fields, compared first, by the leader only.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::object::HasStatus,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Context,
    compare::{self, Difference},
};
use crate::{
    api::{
        names,
        v1alpha1::condition::{self, Finding},
    },
    registry::ObjectKey,
};

/// A namespaced kind that we write: every one of k8s-openapi.
pub trait Applicable:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync
{
}

impl<K> Applicable for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
{
}

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
    /// alone ([`WriteError::NameTaken`]). A `resourceVersion` in `desired` is the only one that is changed.
    pub async fn apply<K: Applicable>(&self, desired: &K) -> Result<Written<K>, WriteError> {
        let result = self.send(desired, false).await;
        self.count(&K::kind(&()), &result);
        result
    }

    /// What [`Self::apply`] would answer: asked of the API server with its admission, and nothing is changed.
    pub async fn would_apply<K: Applicable>(&self, desired: &K) -> Result<Written<K>, WriteError> {
        self.send(desired, true).await
    }

    async fn send<K: Applicable>(&self, desired: &K, dry_run: bool) -> Result<Written<K>, WriteError> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace_of(desired.meta()));
        let name = desired.name_any();
        let mut body = serde_json::to_value(desired)?;
        let live = api.get_opt(&name).await?;
        let version = live.as_ref().and_then(ResourceExt::resource_version);
        if desired.meta().resource_version.is_some() && desired.meta().resource_version != version {
            return Err(WriteError::Conflict);
        }
        let mut params = PatchParams { dry_run, ..PatchParams::apply(names::OPERATOR) };
        if let Some(live) = live {
            match compare::difference(&serde_json::to_value(&live)?, &body, names::OPERATOR) {
                Difference::None => return Ok(Written::Unchanged(live)),
                Difference::NotOurs => return Err(WriteError::NameTaken { kind: K::kind(&()).into_owned(), name }),
                Difference::Fields => {}
            }
            // Ours, in the version compared: what others wrote into our fields is taken back.
            params = params.force();
            set_metadata(&mut body, "resourceVersion", version);
        }
        self.check_leader()?;
        Ok(Written::Changed(api.patch(&name, &params, &Patch::Apply(&body)).await?))
    }

    /// Writes the status of `object`, unless it has exactly this one. Refused with [`WriteError::Conflict`] when the
    /// object is not in the version of `object` any more.
    pub async fn apply_status<K>(&self, object: &K, status: &K::Status) -> Result<Written<K>, WriteError>
    where
        K: Resource<DynamicType = ()> + HasStatus + Clone + DeserializeOwned + Send + Sync,
        K::Status: Serialize + Sync,
    {
        let desired = serde_json::to_value(status)?;
        if object.status().map(serde_json::to_value).transpose()?.as_ref() == Some(&desired) {
            return Ok(Written::Unchanged(object.clone()));
        }
        let written = self.send_status::<K>(object.meta(), &desired).await;
        self.count(&format!("{}/status", K::kind(&())), &written);
        Ok(Written::Changed(serde_json::from_value(serde_json::to_value(written?)?)?))
    }

    /// Puts `findings` into the conditions of an object that cannot be read as `K`, leaves the rest of its status, and
    /// tells about what changed. An object that is gone is no error.
    pub async fn report_malformed<K>(&self, key: &ObjectKey, findings: &[Finding]) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = ()>,
    {
        let Some(object) = self.dynamic::<K>(Some(&key.namespace)).get_opt(&key.name).await? else { return Ok(()) };
        let mut status = object.data.get("status").cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
        let conditions = status.get("conditions").cloned().unwrap_or_default();
        let old: Vec<Condition> = serde_json::from_value(conditions.clone()).unwrap_or_default();
        let new = condition::merge(&old, findings, object.metadata.generation, Timestamp::now());
        let written = serde_json::to_value(&new)?;
        if conditions == written {
            return Ok(());
        }
        if let Some(members) = status.as_object_mut() {
            members.insert("conditions".to_owned(), written);
        }
        let written = self.send_status::<K>(&object.metadata, &status).await;
        self.count(&format!("{}/status", K::kind(&())), &written);
        self.events.changes(&written?.object_ref(&ApiResource::erase::<K>(&())), &old, &new).await;
        Ok(())
    }

    async fn send_status<K>(&self, metadata: &ObjectMeta, status: &Value) -> Result<DynamicObject, WriteError>
    where
        K: Resource<DynamicType = ()>,
    {
        let name = metadata.name.as_deref().unwrap_or_default();
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "uid": metadata.uid, "resourceVersion": metadata.resource_version},
            "status": status,
        });
        self.check_leader()?;
        let params = PatchParams::apply(names::OPERATOR).force();
        let api = self.dynamic::<K>(metadata.namespace.as_deref());
        api.patch_status(name, &params, &Patch::Apply(&body)).await.map_err(|error| match error {
            // Gone: the watch tells.
            kube::Error::Api(reply) if reply.is_not_found() => WriteError::Conflict,
            error => error.into(),
        })
    }

    /// Deletes `live`, if it is still in that version. One that is gone is no error.
    pub async fn delete<K: Applicable>(&self, live: &K) -> Result<(), WriteError> {
        if live.labels().get(names::MANAGED_BY).map(String::as_str) != Some(names::MANAGER) {
            return Err(WriteError::NameTaken { kind: K::kind(&()).into_owned(), name: live.name_any() });
        }
        self.check_leader()?;
        let version = Preconditions { resource_version: live.resource_version(), uid: live.uid() };
        let params = DeleteParams::background().preconditions(version);
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace_of(live.meta()));
        match api.delete(&live.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this replica may write now, as a step of a write.
    pub fn check_leader(&self) -> Result<(), WriteError> {
        if self.is_leader() { Ok(()) } else { Err(WriteError::NotLeader) }
    }

    fn dynamic<K: Resource<DynamicType = ()>>(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<K>(&());
        Api::namespaced_with(self.client.clone(), namespace.unwrap_or_default(), &kind)
    }

    /// Counts a write of a `kind` that did not go through [`Self::apply`].
    pub(super) fn count<T>(&self, kind: &str, result: &Result<T, WriteError>) {
        self.metrics.wrote(kind, result.as_ref().err().map_or("done", WriteError::outcome));
    }
}

fn namespace_of(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or_default()
}

fn set_metadata(body: &mut Value, field: &str, value: Option<String>) {
    if let (Some(metadata), Some(value)) = (body.get_mut("metadata").and_then(Value::as_object_mut), value) {
        metadata.insert(field.to_owned(), Value::String(value));
    }
}
