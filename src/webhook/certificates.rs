//! The certificate of this replica: signed here, kept in memory, exchanged without a restart.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use lumoauth_core::UnixTime;
use rustls::{
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::pki::{Authority, PkiError};

/// How often the wall clock is looked at: a machine that slept wakes up with an old certificate.
const LOOK: Duration = Duration::from_mins(1);

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] PkiError),
    /// rustls does not take it.
    #[error(transparent)]
    Load(#[from] rustls::Error),
}

/// What TLS handshakes present: nothing, or the newest leaf.
#[derive(Debug)]
pub struct Certificates {
    names: Vec<&'static str>,
    current: ArcSwapOption<CertifiedKey>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

impl Certificates {
    /// For a server that is called by these names ([`super::NAMES`] on a cluster). Without a certificate yet: every
    /// handshake fails.
    pub fn new(names: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { names: names.to_vec(), current: ArcSwapOption::empty() })
    }

    /// Whether there is a certificate; readiness waits for it.
    pub fn is_loaded(&self) -> bool {
        self.current.load().is_some()
    }

    /// What handshakes present now.
    #[cfg(test)]
    pub(super) fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }

    /// Keeps a leaf of the newest authority until `shutdown`: another one when another CA signs, and in time before it
    /// expires. `clock` is the wall clock.
    pub async fn keep(
        self: Arc<Self>,
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
                match self.exchange(&authority, now) {
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

    fn exchange(&self, authority: &Authority, now: UnixTime) -> Result<(UnixTime, UnixTime), CertificateError> {
        let leaf = authority.leaf(&self.names, now)?;
        let times = (leaf.certificate.renew_at(), leaf.certificate.not_after);
        let (chain, key) = leaf.into_der();
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        self.current.store(Some(Arc::new(certified)));
        Ok(times)
    }
}

/// What is known of the leaf in use.
struct Held {
    signer: String,
    renew_at: UnixTime,
}

fn is_fresh(held: Option<&Held>, authority: &Authority, now: UnixTime) -> bool {
    held.is_some_and(|held| held.signer == authority.certificate().fingerprint() && now < held.renew_at)
}
