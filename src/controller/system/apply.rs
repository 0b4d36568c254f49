//! Writes of the control plane's own objects. Secrets with keys that cannot be made again are created, or changed in
//! exactly the version that was read; everything else is server-side applied.

use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use lumoauth_core::UnixTime;
use serde_json::json;

use super::{
    Place, SystemError,
    desired::{self, AUTHSERVER_NAMES, Data},
};
use crate::{
    api::names,
    controller::{Context, WriteError},
    pki::Authority,
};

/// Field manager of `caBundle`, which it owns alone.
const CA_BUNDLE_MANAGER: &str = "lumoauth-webhook-ca";

/// Creates a Secret. If another replica was faster, its Secret is the one: nothing is overwritten.
pub(super) async fn create(context: &Context, secret: &Secret) -> Result<Secret, SystemError> {
    let secrets = secrets(context, secret.namespace());
    context.check_leader()?;
    let params = PostParams { field_manager: Some(names::OPERATOR.to_owned()), ..PostParams::default() };
    match secrets.create(&params, secret).await {
        Ok(created) => {
            context.metrics.wrote("Secret", "written");
            Ok(created)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(secrets.get(&secret.name_any()).await?),
        Err(error) => {
            context.metrics.wrote("Secret", "failed");
            Err(error.into())
        }
    }
}

/// Changes the data of a Secret that is still as `live` was read; otherwise [`WriteError::Conflict`].
pub(super) async fn update(context: &Context, live: &Secret, data: Data) -> Result<Secret, SystemError> {
    let version = live.resource_version().ok_or(WriteError::Conflict)?;
    let patch = json!({"metadata": {"resourceVersion": version}, "data": data});
    let params = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
    context.check_leader()?;
    let written = secrets(context, live.namespace()).patch(&live.name_any(), &params, &Patch::Merge(patch)).await;
    context.metrics.wrote("Secret", if written.is_ok() { "written" } else { "failed" });
    Ok(written?)
}

/// Gives the bundle to everyone who trusts it: ConfigMap and webhook configuration. Whether all of them had it already.
/// A webhook configuration that is not there trusts nobody.
pub(super) async fn distribute(context: &Context, place: &Place, bundle: &str) -> Result<bool, SystemError> {
    let map = context.apply(&desired::bundle(place, bundle)).await?;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(context.client.clone());
    let live = webhooks.get_opt(&place.webhook).await?;
    if let Some(patch) = live.and_then(|live| desired::ca_bundle(&live, bundle)) {
        context.check_leader()?;
        let params = PatchParams::apply(CA_BUNDLE_MANAGER).force();
        let written = webhooks.patch(&place.webhook, &params, &Patch::Apply(patch)).await;
        let outcome = if written.is_ok() { "written" } else { "failed" };
        context.metrics.wrote("MutatingWebhookConfiguration", outcome);
        written?;
        return Ok(false);
    }
    context.metrics.wrote("MutatingWebhookConfiguration", "unchanged");
    Ok(matches!(map, crate::controller::Written::Unchanged(_)))
}

/// Makes sure that the authorization server has a certificate of the current CA with most of its life before it.
pub(super) async fn authserver_leaf(
    context: &Context,
    place: &Place,
    authority: &Authority,
    now: UnixTime,
) -> Result<(), SystemError> {
    let secrets = secrets(context, Some(place.namespace.clone()));
    let live = secrets.get_opt(names::AUTHSERVER_TLS).await?;
    let held = live.as_ref().map(desired::bytes).unwrap_or_default();
    let text = |key: &str| held.get(key).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    if authority.accepts(text("tls.crt"), text("tls.key"), &AUTHSERVER_NAMES, now) {
        return Ok(());
    }
    let leaf = authority.leaf(&AUTHSERVER_NAMES, now).map_err(SystemError::Leaf)?;
    tracing::info!(?leaf, "system: the authorization server gets a new certificate");
    context.apply(&desired::secret(place, names::AUTHSERVER_TLS, desired::TLS, desired::leaf(&leaf))).await?;
    Ok(())
}

fn secrets(context: &Context, namespace: Option<String>) -> Api<Secret> {
    Api::namespaced(context.client.clone(), &namespace.unwrap_or_default())
}
