//! The certificate of this replica: signed here, kept in memory, exchanged without a restart.

use std::{sync::Arc, time::Duration};

use lumoauth_core::UnixTime;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::{
    pki::{Authority, PkiError},
    tls::{self, Certificate},
};

/// How often the wall clock is looked at: a machine that slept wakes up with an old certificate.
const LOOK: Duration = Duration::from_mins(1);

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] PkiError),
    /// rustls does not take it.
    #[error(transparent)]
    Load(#[from] rustls::Error),
}

/// Keeps a leaf of the newest authority in `certificate` until `shutdown`, for a server that is called by `names`
/// ([`super::NAMES`] on a cluster): another one when another CA signs, and in time before it expires. `clock` is the wall
/// clock.
pub async fn keep_certificate(
    certificate: Arc<Certificate>,
    names: &[&'static str],
    mut authority: watch::Receiver<Option<Arc<Authority>>>,
    clock: impl Fn() -> UnixTime,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let mut held = None;
    loop {
        let newest = authority.borrow_and_update().clone();
        let now = clock();
        if let Some(authority) = newest.filter(|authority| !is_fresh(held.as_ref(), authority, now)) {
            match exchange(&certificate, names, &authority, now) {
                Ok((renew_at, until)) => {
                    tracing::info!(?authority, "webhook: a new certificate is in use");
                    metrics.certificate_until(until.0);
                    held = Some(Held { signer: authority.certificate().fingerprint(), renew_at });
                }
                Err(error) => tracing::error!(%error, "webhook: cannot make a certificate"),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = authority.changed() => if changed.is_err() {
                // Who publishes authorities has ended; what is held is used to the end.
                return shutdown.cancelled().await;
            },
            () = sleep(LOOK) => {}
        }
    }
}

/// Signs and presents a new leaf. Gives when it is due to be renewed, and when it expires.
fn exchange(
    certificate: &Certificate,
    names: &[&'static str],
    authority: &Authority,
    now: UnixTime,
) -> Result<(UnixTime, UnixTime), CertificateError> {
    let leaf = authority.leaf(names, now)?;
    let times = (leaf.certificate.renew_at(), leaf.certificate.not_after);
    let (chain, key) = leaf.into_der();
    certificate.exchange(tls::certified_key(chain, key)?);
    Ok(times)
}

/// What is known of the leaf in use.
struct Held {
    signer: String,
    renew_at: UnixTime,
}

fn is_fresh(held: Option<&Held>, authority: &Authority, now: UnixTime) -> bool {
    held.is_some_and(|held| held.signer == authority.certificate().fingerprint() && now < held.renew_at)
}
