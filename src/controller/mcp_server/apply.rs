//! Step four: the objects written, and kubelet told to look.

use std::net::{IpAddr, SocketAddr};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use lumoauth_core::config::Generation;
use serde_json::json;

use super::{
    build::{self, Prepared, SERVICE_PORT},
    error::Error,
    pods::PodView,
};
use crate::{
    api::names,
    controller::{Context, WriteError},
    registry::ObjectKey,
};

/// How many pods are touched at one time.
const TOUCHES: usize = 8;

/// The objects as the API server has them. Only [`apply`] makes one, so that status speaks of what is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Applied {
    service: Option<SocketAddr>,
    taken: Vec<String>,
}

impl Applied {
    /// Where the Service is; `None` when it is not ours or has no address.
    pub(super) fn service(&self) -> Option<SocketAddr> {
        self.service
    }

    /// Which of our names are taken by objects that are not ours, and what to do.
    pub(super) fn taken(&self) -> &[String] {
        &self.taken
    }

    #[cfg(test)]
    pub(super) fn for_test(service: Option<SocketAddr>, taken: Vec<String>) -> Self {
        Self { service, taken }
    }
}

/// Writes what is `prepared` and touches `pods` that were told of another configuration.
pub(super) async fn apply(
    context: &Context,
    prepared: Prepared,
    generation: &Generation,
    pods: Option<&[PodView]>,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    match context.apply(&prepared.config_map).await {
        Ok(_) => touch(context, generation, pods.unwrap_or_default()).await?,
        Err(taken @ WriteError::NameTaken { .. }) => applied.taken.push(taken.to_string()),
        Err(error) => return Err(Error::write("the ConfigMap")(error)),
    }
    match context.apply(&prepared.service).await {
        Ok(service) => applied.service = address(&service.into_inner()),
        Err(taken @ WriteError::NameTaken { .. }) => applied.taken.push(taken.to_string()),
        Err(error) => return Err(Error::write("the Service")(error)),
    }
    Ok(applied)
}

fn address(service: &Service) -> Option<SocketAddr> {
    let ip: IpAddr = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, SERVICE_PORT))
}

/// Makes kubelet read the ConfigMap now instead of within its sync period: any change of a pod makes it look.
async fn touch(context: &Context, generation: &Generation, pods: &[PodView]) -> Result<(), Error> {
    let mut due = Vec::new();
    for pod in pods {
        if pod.is_labelled && pod.told.as_deref() != Some(generation.as_str()) {
            due.push((pod.key.clone(), pod.uid.clone()));
        }
    }
    let touches = stream::iter(due).map(|(pod, uid)| touch_one(context, generation, pod, uid));
    let mut touches = touches.buffer_unordered(TOUCHES);
    let mut first = Ok(());
    while let Some(result) = touches.next().await {
        first = first.and(result);
    }
    first.map_err(Error::write("the annotation on a pod"))
}

/// The uid in the patch makes it fail on another pod of that name.
async fn touch_one(context: &Context, generation: &Generation, pod: ObjectKey, uid: String) -> Result<(), WriteError> {
    context.check_leader()?;
    let patch = json!({"metadata": {"uid": uid, "annotations": {names::CONFIG: generation.as_str()}}});
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &pod.namespace);
    let params = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(&pod.name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        // Gone, or another pod by now: there is nothing to tell.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is left of a server that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retired {
    /// Nothing.
    Gone,
    /// Pods that still carry the label, and the ConfigMap that makes their sidecars refuse everything.
    Denying,
}

/// Makes the sidecars of a server that is gone refuse everything, and removes what it left once no pod carries its
/// label. Objects that are not ours are left alone.
pub(super) async fn retire(context: &Context, key: &ObjectKey) -> Result<Retired, Error> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &key.namespace);
    let live = maps.get_opt(&names::config_map(&key.name)).await.map_err(Error::read("the ConfigMap"))?;
    let Some(live) = live.filter(is_ours) else { return Ok(Retired::Gone) };
    let current = live.data.as_ref().and_then(|data| data.get(names::CONFIG_KEY)).map(String::as_str);
    let denying = build::deleted(key, current);
    let document = denying.data.as_ref().and_then(|data| data.get(names::CONFIG_KEY)).cloned().unwrap_or_default();
    let written = context.apply(&denying).await.map_err(Error::write("the ConfigMap"))?.into_inner();
    let pods = labelled(context, key).await?;
    if pods.is_empty() {
        context.delete(&written).await.map_err(Error::write("the ConfigMap"))?;
        return Ok(Retired::Gone);
    }
    touch(context, &Generation::of(document.as_bytes()), &pods).await?;
    Ok(Retired::Denying)
}

/// Removes the Service of a server that has become `transport: Stdio`. (Garbage collection removes that of a deleted one.)
pub(super) async fn remove_service(context: &Context, key: &ObjectKey) -> Result<(), Error> {
    let services: Api<Service> = Api::namespaced(context.client.clone(), &key.namespace);
    let live = services.get_opt(&names::service(&key.name)).await.map_err(Error::read("the Service"))?;
    match live.filter(is_ours) {
        Some(live) => context.delete(&live).await.map_err(Error::write("the Service")),
        None => Ok(()),
    }
}

fn is_ours<K: kube::Resource>(object: &K) -> bool {
    object.labels().get(names::MANAGED_BY).map(String::as_str) == Some(names::MANAGER)
        && object.labels().contains_key(names::SERVER)
}

/// The pods that carry the label of `key`, from the API server itself: one that a cache misses would run on.
async fn labelled(context: &Context, key: &ObjectKey) -> Result<Vec<PodView>, Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &key.namespace);
    let params = ListParams::default().labels(&format!("{}={}", names::SERVER, key.name));
    let pods = api.list_metadata(&params).await.map_err(Error::read("pods"))?;
    Ok(pods.items.iter().map(PodView::of_metadata).collect())
}
