//! The control plane's own objects: the CA and what follows from it, and the keys that sign access tokens.
//!
//! Every replica follows the two Secrets through the API ([`publish`]); the leader makes and rotates them ([`run`]):
//!
//! | object | content |
//! |---|---|
//! | Secret `lumoauth-ca` | the CA, made if absent, never overwritten, rotated in steps ([`CaState`]) |
//! | ConfigMap `lumoauth-ca` | `ca.crt`: the bundle |
//! | MutatingWebhookConfiguration `lumoauth-webhook` | `caBundle` of each webhook, and nothing else of it |
//! | Secret `lumoauth-authserver-tls` | the authorization server's certificate |
//! | Secret `lumoauth-signing-keys` | the keys that sign access tokens |

mod apply;
mod desired;
mod publish;

use std::{future::Future, sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use lumoauth_core::UnixTime;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use publish::{Published, publish};

use super::{Context, WriteError};
use crate::{
    api::names,
    pki::{Authority, CaState, Observed, PkiError, signing},
};

/// How often the wall clock is looked at. Not how long is slept until something is due: a machine may be suspended.
const LOOK: Duration = Duration::from_mins(1);
/// The same during a rotation that was asked for.
const HURRIED: Duration = Duration::from_secs(2);
/// Pause after an error.
const RETRY: Duration = Duration::from_secs(3);
/// How long one round may take; a stalled API server must not stop the clock.
const ROUND: Duration = Duration::from_secs(30);
/// Steps of a rotation in one round: more than can be due at once.
const MAX_STEPS: usize = 8;

/// Where the control plane lives. Tests have a place of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Name of the MutatingWebhookConfiguration.
    pub webhook: String,
}

impl Default for Place {
    fn default() -> Self {
        Self { namespace: names::SYSTEM_NAMESPACE.to_owned(), webhook: names::WEBHOOK.to_owned() }
    }
}

/// A round that did not end well. The next one starts from what is stored.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A write did not happen.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The CA cannot be read or made.
    #[error("Secret lumoauth-ca: {0}: repair it, or delete it to have a new CA made")]
    Ca(PkiError),
    /// A certificate cannot be made.
    #[error(transparent)]
    Leaf(PkiError),
    /// The signing keys cannot be read or made.
    #[error("Secret lumoauth-signing-keys: {0}: repair it, or delete it to have new keys made, which ends every token")]
    Keys(#[from] signing::SigningError),
    /// The round took too long.
    #[error("the API server did not answer in time")]
    Timeout,
}

impl From<kube::Error> for SystemError {
    fn from(error: kube::Error) -> Self {
        Self::Write(error.into())
    }
}

/// Makes, distributes and rotates, whenever this replica leads, until `shutdown`. `authority` is the published one: it
/// tells that the Secret changed. `clock` is the wall clock.
pub async fn run(
    context: Context,
    place: Place,
    mut authority: watch::Receiver<Option<Arc<Authority>>>,
    clock: impl Fn() -> UnixTime,
    shutdown: CancellationToken,
) {
    let mut leader = context.leader.clone();
    let mut webhook = std::pin::pin!(watched_webhook(&context, &place));
    let mut changes_end = false;
    loop {
        let pause = if *leader.borrow_and_update() {
            // Boxed: a round holds whole objects, and lives in every future that waits for this one.
            let (ca, keys) = tokio::join!(
                bounded(Box::pin(certificates(&context, &place, clock()))),
                bounded(Box::pin(signing_keys(&context, &place, clock())))
            );
            let keys = settle(&context, "SigningKeys", keys.map(|()| LOOK));
            settle(&context, "Certificates", ca).min(keys)
        } else {
            LOOK
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = leader.changed() => if changed.is_err() { return },
            changed = authority.changed(), if !changes_end => changes_end = changed.is_err(),
            _ = webhook.next() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Tells of changes to the webhook configuration, so that a `caBundle` that was taken away is back at once.
fn watched_webhook(context: &Context, place: &Place) -> impl futures::Stream<Item = ()> + use<> {
    let api: Api<PartialObjectMeta<MutatingWebhookConfiguration>> = Api::all(context.client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={}", place.webhook));
    let events = watcher(api, config).default_backoff();
    events.filter_map(async |event| match event {
        Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => Some(()),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%error, "system: the watch of the webhook configuration failed");
            None
        }
    })
}

async fn bounded<T>(round: impl Future<Output = Result<T, SystemError>>) -> Result<T, SystemError> {
    timeout(ROUND, round).await.unwrap_or(Err(SystemError::Timeout))
}

/// Counts and logs the end of a round; gives the pause before the next.
fn settle(context: &Context, kind: &'static str, result: Result<Duration, SystemError>) -> Duration {
    match result {
        Ok(pause) => {
            context.metrics.reconciled(kind, "done");
            pause
        }
        Err(SystemError::Write(WriteError::NotLeader)) => LOOK,
        Err(error) => {
            context.metrics.reconciled(kind, if matches!(error, SystemError::Timeout) { "timeout" } else { "failed" });
            tracing::error!(%error, kind, "system: this round failed");
            RETRY
        }
    }
}

/// One round of the CA: read or make it, distribute its bundle, do what is due, sign the authorization server's leaf.
async fn certificates(context: &Context, place: &Place, now: UnixTime) -> Result<Duration, SystemError> {
    let (mut live, mut state) = ca(context, place, now).await?;
    for _ in 0..MAX_STEPS {
        let distributed = apply::distribute(context, place, &state.bundle()).await?;
        let rotate = live.annotations().get(names::ROTATE).cloned();
        let observed = Observed { rotate: rotate.as_deref(), distributed };
        let Some(step) = state.advance(now, observed).map_err(SystemError::Ca)? else { break };
        tracing::info!(?step, "system: the CA rotates");
        live = apply::update(context, &live, desired::data(state.data().map_err(SystemError::Ca)?)).await?;
    }
    let authority = state.authority().map_err(SystemError::Ca)?;
    apply::authserver_leaf(context, place, &authority, now).await?;
    Ok(if state.is_hurried() { HURRIED } else { LOOK })
}

async fn ca(context: &Context, place: &Place, now: UnixTime) -> Result<(Secret, CaState), SystemError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &place.namespace);
    let live = if let Some(live) = secrets.get_opt(names::CA).await? {
        live
    } else {
        let state = CaState::new(now).map_err(SystemError::Ca)?;
        let data = desired::data(state.data().map_err(SystemError::Ca)?);
        tracing::info!("system: a new CA is made");
        apply::create(context, &desired::secret(place, names::CA, desired::TLS, data)).await?
    };
    let state = CaState::parse(&desired::bytes(&live)).map_err(SystemError::Ca)?;
    Ok((live, state))
}

/// One round of the signing keys: read or make them, and do what is due.
async fn signing_keys(context: &Context, place: &Place, now: UnixTime) -> Result<(), SystemError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &place.namespace);
    let Some(live) = secrets.get_opt(names::SIGNING_KEYS).await? else {
        tracing::info!("system: new signing keys are made");
        let data = desired::keys(&signing::KeyRing::new(now)?)?;
        apply::create(context, &desired::secret(place, names::SIGNING_KEYS, desired::OPAQUE, data)).await?;
        return Ok(());
    };
    let document = desired::bytes(&live).remove(signing::DOCUMENT_KEY).unwrap_or_default();
    let mut ring = signing::KeyRing::parse(&document)?;
    if ring.advance(now)? {
        tracing::info!("system: the signing keys rotate");
        apply::update(context, &live, desired::keys(&ring)?).await?;
    }
    Ok(())
}
