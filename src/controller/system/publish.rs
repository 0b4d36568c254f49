//! The two Secrets as every replica sees them: watched through the API, parsed, and handed out by channel.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher, watcher::watch_object},
};
use lumoauth_core::IssuerUrl;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Place, desired};
use crate::{
    api::names,
    pki::{
        Authority,
        signing::{DOCUMENT_KEY, KeyRing},
    },
    registry::Issuing,
    settings::Settings,
};

/// What the control plane's Secrets mean now. `None` until there are any; the last good value while they are gone or
/// cannot be read.
#[derive(Clone, Debug)]
pub struct Published {
    /// Who signs certificates, and the bundle to trust.
    pub authority: watch::Receiver<Option<Arc<Authority>>>,
    /// Keys and addresses of the authorization server, for registry entries.
    pub issuing: watch::Receiver<Option<Arc<Issuing>>>,
}

/// Follows the Secrets of `place` while the returned future is polled, until `shutdown`.
pub fn publish(
    client: &Client,
    place: &Place,
    settings: watch::Receiver<Arc<Settings>>,
    shutdown: CancellationToken,
) -> (Published, impl Future<Output = ()> + Send + use<>) {
    let (authority, authorities) = watch::channel(None);
    let (issuing, issuings) = watch::channel(None);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let ca = watch_object(secrets.clone(), names::CA).default_backoff();
    let keys = watch_object(secrets, names::SIGNING_KEYS).default_backoff();
    let publisher = Publisher { authority, issuing, ring: None, settings };
    let run = async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = publisher.run(ca, keys) => {}
        }
    };
    (Published { authority: authorities, issuing: issuings }, run)
}

type Watched = watcher::Result<Option<Secret>>;

struct Publisher {
    authority: watch::Sender<Option<Arc<Authority>>>,
    issuing: watch::Sender<Option<Arc<Issuing>>>,
    ring: Option<KeyRing>,
    settings: watch::Receiver<Arc<Settings>>,
}

impl Publisher {
    async fn run(mut self, ca: impl Stream<Item = Watched>, keys: impl Stream<Item = Watched>) {
        let (mut ca, mut keys) = (std::pin::pin!(ca), std::pin::pin!(keys));
        let mut settings = self.settings.clone();
        let mut settings_end = false;
        loop {
            tokio::select! {
                Some(event) = ca.next() => if let Some(data) = content(names::CA, event) {
                    self.take_ca(&data);
                },
                Some(event) = keys.next() => if let Some(data) = content(names::SIGNING_KEYS, event) {
                    self.take_keys(&data);
                },
                changed = settings.changed(), if !settings_end => settings_end = changed.is_err(),
                else => return,
            }
            self.publish_issuing();
        }
    }

    fn take_ca(&self, data: &BTreeMap<String, Vec<u8>>) {
        match Authority::parse(data) {
            Ok(authority) => {
                tracing::info!(?authority, "system: this CA is in use");
                self.authority.send_replace(Some(Arc::new(authority)));
            }
            Err(error) => tracing::error!(%error, "system: Secret {} cannot be used", names::CA),
        }
    }

    fn take_keys(&mut self, data: &BTreeMap<String, Vec<u8>>) {
        match KeyRing::parse(data.get(DOCUMENT_KEY).map(Vec::as_slice).unwrap_or_default()) {
            Ok(ring) => self.ring = Some(ring),
            Err(error) => tracing::error!(%error, "system: Secret {} cannot be used", names::SIGNING_KEYS),
        }
    }

    fn publish_issuing(&mut self) {
        let newest = {
            let authority = self.authority.borrow();
            let (Some(authority), Some(ring)) = (authority.as_ref(), self.ring.as_ref()) else { return };
            let settings = self.settings.borrow();
            Issuing {
                public_url: settings.public_url.clone(),
                keys: ring.jwks(),
                internal_url: IssuerUrl::parse(desired::AUTHSERVER_URL).ok(),
                ca_bundle: Some(authority.bundle_pem().to_owned()),
                status_max_age: settings.limits.status_max_age_seconds(),
            }
        };
        self.issuing.send_if_modified(|current| {
            let changed = current.as_deref() != Some(&newest);
            if changed {
                *current = Some(Arc::new(newest));
            }
            changed
        });
    }
}

/// The data of a Secret that is there; what is gone or unreadable changes nothing.
fn content(name: &str, event: Watched) -> Option<BTreeMap<String, Vec<u8>>> {
    match event {
        Ok(Some(secret)) => Some(desired::bytes(&secret)),
        Ok(None) => {
            tracing::info!("system: Secret {name} does not exist");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "system: the watch of Secret {name} failed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{CaState, Observed, wall_clock};
    use futures::channel::mpsc;
    use tokio::time::{Duration, timeout};

    fn secret(data: desired::Data) -> Secret {
        desired::secret(&Place::default(), "x", desired::OPAQUE, data)
    }

    fn settings(url: &str) -> Arc<Settings> {
        let text = format!("{{publicUrl: '{url}', sidecarImage: 'x'}}");
        Arc::new(Settings::parse(&text).unwrap())
    }

    #[tokio::test]
    async fn secrets_and_settings_become_issuing() {
        let (authority, authorities) = watch::channel(None);
        let (issuing, mut issuings) = watch::channel(None);
        let (sender, receiver) = watch::channel(settings("https://one.example"));
        let (ca, ca_events) = mpsc::unbounded();
        let (keys, key_events) = mpsc::unbounded();
        let publisher = Publisher { authority, issuing, ring: None, settings: receiver };
        tokio::spawn(publisher.run(ca_events, key_events));
        let mut next = async || {
            timeout(Duration::from_secs(5), issuings.changed()).await.unwrap().unwrap();
            issuings.borrow_and_update().clone().unwrap()
        };

        let mut state = CaState::new(wall_clock()).unwrap();
        let ring = KeyRing::new(wall_clock()).unwrap();
        ca.unbounded_send(Ok(None)).unwrap();
        ca.unbounded_send(Ok(Some(secret(desired::data(state.data().unwrap()))))).unwrap();
        keys.unbounded_send(Ok(Some(secret(desired::keys(&ring).unwrap())))).unwrap();
        let first = next().await;
        assert_eq!((&first.keys, first.ca_bundle.as_deref()), (&ring.jwks(), Some(state.bundle().as_str())));
        assert_eq!(first.internal_url.as_ref().unwrap().as_str(), desired::AUTHSERVER_URL);
        assert_eq!(authorities.borrow().as_ref().unwrap().bundle_pem(), state.bundle());

        sender.send_replace(settings("https://two.example"));
        assert!(next().await.public_url.as_str().starts_with("https://two.example"));

        let mut longer = Settings::clone(&settings("https://two.example"));
        longer.limits.status_max_age = jiff::SignedDuration::from_hours(1);
        sender.send_replace(Arc::new(longer));
        assert_eq!(next().await.status_max_age, 3600);

        ca.unbounded_send(Ok(Some(secret(desired::Data::new())))).unwrap();
        keys.unbounded_send(Ok(None)).unwrap();
        state.advance(wall_clock(), Observed { rotate: Some("1"), distributed: true }).unwrap();
        ca.unbounded_send(Ok(Some(secret(desired::data(state.data().unwrap()))))).unwrap();
        let last = next().await;
        assert_eq!(last.ca_bundle.as_ref().unwrap().matches("BEGIN").count(), 2, "the last good keys stay");
    }
}
