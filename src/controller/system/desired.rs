//! What the control plane's own objects hold. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        core::v1::{ConfigMap, Secret},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

use super::Place;
use crate::{
    api::names,
    pki::{
        Leaf,
        signing::{DOCUMENT_KEY, KeyRing, SigningError},
    },
};

/// `type` of a Secret with `tls.crt` and `tls.key`.
pub(super) const TLS: &str = "kubernetes.io/tls";
/// `type` of a Secret with anything.
pub(super) const OPAQUE: &str = "Opaque";

/// The names of the authorization server's certificate.
pub(super) const AUTHSERVER_NAMES: [&str; 2] =
    ["lumoauth-authserver.lumoauth-system.svc", "lumoauth-authserver.lumoauth-system.svc.cluster.local"];

/// Where sidecars reach the authorization server.
pub(super) const AUTHSERVER_URL: &str = "https://lumoauth-authserver.lumoauth-system.svc";

pub(super) type Data = BTreeMap<String, ByteString>;

pub(super) fn data(bytes: BTreeMap<String, Vec<u8>>) -> Data {
    bytes.into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect()
}

pub(super) fn bytes(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect()
}

pub(super) fn keys(ring: &KeyRing) -> Result<Data, SigningError> {
    let document = ring.to_json()?;
    Ok(BTreeMap::from([(DOCUMENT_KEY.to_owned(), ByteString(document.as_bytes().to_vec()))]))
}

pub(super) fn leaf(leaf: &Leaf) -> Data {
    BTreeMap::from([
        ("tls.crt".to_owned(), ByteString(leaf.certificate.pem().as_bytes().to_vec())),
        ("tls.key".to_owned(), ByteString(leaf.key_pem().into_bytes())),
    ])
}

pub(super) fn secret(place: &Place, name: &str, type_: &str, data: Data) -> Secret {
    Secret { metadata: metadata(place, name), type_: Some(type_.to_owned()), data: Some(data), ..Secret::default() }
}

pub(super) fn bundle(place: &Place, bundle: &str) -> ConfigMap {
    let data = BTreeMap::from([("ca.crt".to_owned(), bundle.to_owned())]);
    ConfigMap { metadata: metadata(place, names::CA), data: Some(data), ..ConfigMap::default() }
}

fn metadata(place: &Place, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(place.namespace.clone()),
        labels: Some(BTreeMap::from([(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned())])),
        ..ObjectMeta::default()
    }
}

/// The server-side apply that sets `caBundle` of every webhook of `live`, and owns nothing else; `None`: it is so.
pub(super) fn ca_bundle(live: &MutatingWebhookConfiguration, bundle: &str) -> Option<Value> {
    let wanted = ByteString(bundle.as_bytes().to_vec());
    let webhooks = live.webhooks.as_deref().unwrap_or_default();
    if webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&wanted)) {
        return None;
    }
    let webhooks: Vec<_> =
        webhooks.iter().map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": wanted}})).collect();
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": live.metadata.name},
        "webhooks": webhooks,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: &[Option<&str>]) -> MutatingWebhookConfiguration {
        let webhooks: Vec<_> = bundles
            .iter()
            .enumerate()
            .map(|(at, bundle)| {
                json!({
                    "name": format!("{at}.example"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "failurePolicy": "Fail",
                    "clientConfig": {"service": {"name": "s", "namespace": "n"},
                        "caBundle": bundle.map(|text| ByteString(text.as_bytes().to_vec()))},
                })
            })
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "lumoauth-webhook"}, "webhooks": webhooks})).unwrap()
    }

    #[test]
    fn ca_bundle_of_every_webhook_and_nothing_else() {
        let patch = ca_bundle(&configuration(&[None, Some("old"), Some("new")]), "new").unwrap();
        let webhook = |at: usize| json!({"name": format!("{at}.example"), "clientConfig": {"caBundle": "bmV3"}});
        assert_eq!(patch["webhooks"], json!([webhook(0), webhook(1), webhook(2)]));
        assert_eq!(patch["metadata"], json!({"name": "lumoauth-webhook"}));
    }

    #[test]
    fn ca_bundle_that_is_so_is_not_written() {
        assert_eq!(ca_bundle(&configuration(&[Some("new"), Some("new")]), "new"), None);
        assert_eq!(ca_bundle(&configuration(&[]), "new"), None);
    }

    #[test]
    fn names_are_those_of_the_services() {
        let of = |service: &str| format!("{service}.{}.svc", names::SYSTEM_NAMESPACE);
        assert_eq!(AUTHSERVER_NAMES[0], of(names::AUTHSERVER));
        assert_eq!(AUTHSERVER_URL, format!("https://{}", AUTHSERVER_NAMES[0]));
        assert_eq!(crate::webhook::NAMES[0], of(names::WEBHOOK));
    }
}
