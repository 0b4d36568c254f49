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
#[derive(Debug, Default)]
pub(super) struct Applied {
    service: Option<SocketAddr>,
    taken: Vec<String>,
    failures: Vec<Error>,
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

    /// What else could not be written.
    pub(super) fn failures(&self) -> &[Error] {
        &self.failures
    }

    /// Why the reconcile has to be done again: the first failure.
    pub(super) fn into_failure(self) -> Option<Error> {
        self.failures.into_iter().next()
    }

    /// Keeps `error` for the status. One that is part of normal life, or says nothing about a write, ends the reconcile.
    pub(super) fn fail(&mut self, error: Error) -> Result<(), Error> {
        if !matches!(error, Error::Write { .. }) || error.expected().is_some() {
            return Err(error);
        }
        self.failures.push(error);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn for_test(service: Option<SocketAddr>, taken: Vec<String>) -> Self {
        Self { service, taken, failures: Vec::new() }
    }
}

/// Writes what is `prepared` and touches `pods` that were told of another configuration. What cannot be written does not
/// keep the rest from being written, but nobody is sent to sidecars that run the ConfigMap of somebody else.
pub(super) async fn apply(
    context: &Context,
    prepared: Prepared,
    generation: &Generation,
    pods: Option<&[PodView]>,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    match context.apply(&prepared.config_map).await {
        Ok(_) => {}
        Err(taken @ WriteError::NameTaken { .. }) => {
            applied.taken.push(taken.to_string());
            return Ok(applied);
        }
        Err(error) => applied.fail(Error::write("the ConfigMap")(error))?,
    }
    let is_programmed = applied.failures.is_empty();
    match context.apply(&prepared.service).await {
        Ok(service) => applied.service = address(&service.into_inner()),
        Err(taken @ WriteError::NameTaken { .. }) => applied.taken.push(taken.to_string()),
        Err(error) => applied.fail(Error::write("the Service")(error))?,
    }
    if is_programmed {
        touch(context, generation, pods.unwrap_or_default()).await;
    }
    Ok(applied)
}

fn address(service: &Service) -> Option<SocketAddr> {
    let ip: IpAddr = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, SERVICE_PORT))
}

/// Makes kubelet read the ConfigMap now instead of within its sync period: any change of a pod makes it look. It is only
/// quicker: a pod that cannot be touched holds nothing up.
async fn touch(context: &Context, generation: &Generation, pods: &[PodView]) {
    let mut due = Vec::new();
    for pod in pods {
        if pod.is_labelled && pod.told.as_deref() != Some(generation.as_str()) {
            due.push((pod.key.clone(), pod.uid.clone()));
        }
    }
    let touches = stream::iter(due).for_each_concurrent(TOUCHES, |(pod, uid)| async move {
        let result = touch_one(context, generation, &pod, uid).await;
        context.count("Pod", &result);
        if let Err(error) = result {
            tracing::warn!(%pod, %error, "kubelet could not be told to look at once");
        }
    });
    touches.await;
}

/// The uid in the patch makes it fail on another pod of that name.
async fn touch_one(context: &Context, generation: &Generation, pod: &ObjectKey, uid: String) -> Result<(), WriteError> {
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

/// Makes the sidecars of a server that is gone refuse everything, also when its ConfigMap went with it, and removes what
/// it left once no pod carries its label. Objects that are not ours are left alone.
pub(super) async fn retire(context: &Context, key: &ObjectKey) -> Result<Retired, Error> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &key.namespace);
    let live = maps.get_opt(&names::config_map(&key.name)).await.map_err(Error::read("the ConfigMap"))?;
    if live.is_none() && labelled(context, key).await?.is_empty() {
        return Ok(Retired::Gone);
    }
    let data = live.as_ref().and_then(|live| live.data.as_ref());
    let current = data.and_then(|data| data.get(names::CONFIG_KEY)).map(String::as_str);
    let denying = build::deleted(key, current);
    let document = denying.data.as_ref().and_then(|data| data.get(names::CONFIG_KEY)).cloned().unwrap_or_default();
    let written = match context.apply(&denying).await {
        Ok(written) => written.into_inner(),
        Err(error @ WriteError::NameTaken { .. }) => {
            tracing::warn!(server = %key, %error, "the McpServer is gone, and pods that carry its label cannot be denied");
            return Ok(Retired::Gone);
        }
        Err(error) if is_ending(&error) => return Ok(Retired::Denying),
        Err(error) => return Err(Error::write("the ConfigMap")(error)),
    };
    let pods = labelled(context, key).await?;
    if pods.is_empty() {
        context.delete(&written).await.map_err(Error::write("the ConfigMap"))?;
        return Ok(Retired::Gone);
    }
    touch(context, &Generation::of(document.as_bytes()), &pods).await;
    Ok(Retired::Denying)
}

/// Whether the namespace is being deleted, which admits no new objects and ends the pods too.
fn is_ending(error: &WriteError) -> bool {
    matches!(error, WriteError::Forbidden(why) if why.contains("because it is being terminated"))
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

/// The pods that carry the label of `key` and may run, from the API server itself: one that a cache misses would run on.
async fn labelled(context: &Context, key: &ObjectKey) -> Result<Vec<PodView>, Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &key.namespace);
    let pods = api.list_metadata(&may_run(&key.name)).await.map_err(Error::read("pods"))?;
    Ok(pods.items.iter().map(PodView::of_metadata).collect())
}

/// Pods labelled `server` that have not ended: one that has never starts again, and may be kept for years.
fn may_run(server: &str) -> ListParams {
    ListParams::default()
        .labels(&format!("{}={server}", names::SERVER))
        .fields("status.phase!=Succeeded,status.phase!=Failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn pods_that_have_ended_keep_nothing() {
        let params = may_run("a");
        assert_eq!(params.label_selector.as_deref(), Some("mcp.lumoauth.dev/server=a"));
        assert_eq!(params.field_selector.as_deref(), Some("status.phase!=Succeeded,status.phase!=Failed"));
    }

    #[rstest]
    #[case::ending(WriteError::Forbidden("configmaps \"a\" is forbidden: unable to create new content in namespace acme because it is being terminated".to_owned()), true)]
    #[case::not_permitted(WriteError::Forbidden("User \"x\" cannot create resource".to_owned()), false)]
    #[case::conflict(WriteError::Conflict, false)]
    fn a_namespace_that_ends_is_told_from_a_right_that_is_missing(#[case] error: WriteError, #[case] ending: bool) {
        assert_eq!(is_ending(&error), ending);
    }

    #[rstest]
    #[case::quota(Error::write("the ConfigMap")(WriteError::Forbidden("exceeded quota".to_owned())), true)]
    #[case::changed(Error::write("the ConfigMap")(WriteError::Conflict), false)]
    #[case::deposed(Error::write("the Service")(WriteError::NotLeader), false)]
    #[case::read(Error::NotYetKnown, false)]
    fn a_write_that_failed_is_kept_for_the_status(#[case] error: Error, #[case] kept: bool) {
        let mut applied = Applied::default();
        assert_eq!(applied.fail(error).is_ok(), kept);
        assert_eq!(applied.into_failure().is_some(), kept);
    }
}
