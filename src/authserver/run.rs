//! The process on a cluster: mounted files and watched objects in, HTTPS out.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{net::TcpListener, sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    Authority, Clients, DisabledClients, Metrics, People, State, Statuses, SystemClock,
    files::{Content, Mounted},
    router, serve,
    store::Store,
    upkeep::{follow_clients, upkeep},
    warn_of_unsafe_settings,
};
use crate::{
    admin::{self, Admin},
    cluster,
    pki::signing::{DOCUMENT_KEY, KeyRing},
    registry::watch::{self as objects, Watched},
    settings::{self, Settings, Storage},
    tls::{self, Certificate},
};

/// How often mounted files are read again.
const POLL: Duration = Duration::from_secs(2);
/// How long after a failure the store is opened again.
const REOPEN: Duration = Duration::from_secs(3);
/// How long requests are still accepted after a shutdown began: endpoints take that long to reach every node.
const LAME_DUCK: Duration = Duration::from_secs(5);

/// Where the process listens, and what is mounted where.
#[derive(Clone, Debug)]
pub struct Options {
    /// HTTPS.
    pub listen: SocketAddr,
    /// /livez, /readyz and /metrics.
    pub admin: SocketAddr,
    /// The settings file (`config.yaml`).
    pub settings: PathBuf,
    /// Directory with `tls.crt` and `tls.key`.
    pub tls: PathBuf,
    /// Directory with `keys.json`.
    pub keys: PathBuf,
}

/// Runs the authorization server of a cluster until `shutdown`.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = kube::Client::try_from(cluster::config().await?).context("the Kubernetes API cannot be used")?;
    let mut registry = Registry::default();
    let (watched, watching) = objects::start(&client, objects::Metrics::register(&mut registry), shutdown.clone());
    let watching = tokio::spawn(watching);
    run_with(options, watched, registry, LAME_DUCK, shutdown).await?;
    watching.await.context("watching the custom resources failed")
}

async fn run_with(
    options: Options,
    watched: Watched,
    mut registry: Registry,
    lame_duck: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let (listener, admin_listener) = (bind(options.listen).await?, bind(options.admin).await?);
    let metrics = Metrics::register(&mut registry);
    let (settings, following_settings) = settings::follow(options.settings.clone(), shutdown.clone())?;
    let certificate = Arc::new(Certificate::default());
    let (sender, authority) = watch::channel(None);
    let files = Files::new(&options, settings.clone(), Arc::clone(&certificate), sender, metrics.clone());
    let warning = warn_of_unsafe_settings(settings.clone(), shutdown.clone());
    let following =
        [tokio::spawn(following_settings), tokio::spawn(files.follow(shutdown.clone())), tokio::spawn(warning)];

    // Why the store is not open; empty when it is.
    let (opening, closed) = watch::channel("it is being opened".to_owned());

    let admin = Admin {
        registry: Arc::new(registry),
        ready: Arc::new({
            let (synced, authority, certificate) = (watched.synced, authority.clone(), Arc::clone(&certificate));
            let shutdown = shutdown.clone();
            move || {
                let closed = closed.borrow();
                readiness([
                    (closed.is_empty(), &format!("the store is not open: {}", *closed)),
                    (*synced.borrow(), "the custom resources are not listed yet"),
                    (authority.borrow().is_some(), "the signing keys are not read yet"),
                    (certificate.is_loaded(), "the TLS certificate is not read yet"),
                    (!shutdown.is_cancelled(), "the process is shutting down"),
                ])
            }
        }),
    };
    let tls = tls::acceptor(certificate).context("TLS 1.2 and 1.3")?;
    // The admin port outlives the last request: it says "not ready" while the others are told to go elsewhere.
    let (closing, admin_shutdown) = (CancellationToken::new(), CancellationToken::new());
    let admin = tokio::spawn(admin::serve(admin_listener, admin, admin_shutdown.clone()));
    let _closing = tokio::spawn({
        let (shutdown, closing) = (shutdown.clone(), closing.clone());
        async move {
            shutdown.cancelled().await;
            time::sleep(lame_duck).await;
            closing.cancel();
        }
    });
    let storage = settings.borrow().storage.clone();
    if let Some(store) = open_store(&storage, &metrics, &opening, &shutdown).await {
        let sweeping = tokio::spawn(upkeep(store.clone(), Arc::new(SystemClock), shutdown.clone()));
        let state = State {
            snapshot: watched.snapshot,
            authority,
            settings,
            clients: Clients::default(),
            people: People::new(Arc::new(SystemClock)),
            store: store.clone(),
            disabled: DisabledClients::default(),
            statuses: Statuses::default(),
            clock: Arc::new(SystemClock),
            metrics: metrics.clone(),
        };
        let following_clients = tokio::spawn(follow_clients(state.clone(), shutdown.clone()));
        tracing::info!(address = %options.listen, "authorization server listens");
        serve(listener, router(state), Some(tls), metrics, closing).await;
        sweeping.await.context("the upkeep of the store failed")??;
        following_clients.await.context("following the clients failed")?;
        store.close().await;
    }
    admin_shutdown.cancel();
    admin.await.context("the admin endpoints failed")??;
    for task in following {
        task.await.context("following the mounted files failed")?;
    }
    Ok(())
}

/// Opens the store, as often as it takes; none at the shutdown. `opening` is told why it is not open yet.
async fn open_store(
    storage: &Storage,
    metrics: &Metrics,
    opening: &watch::Sender<String>,
    shutdown: &CancellationToken,
) -> Option<Store> {
    loop {
        let error = match shutdown.run_until_cancelled(Store::open(storage, metrics.store_errors())).await? {
            Ok(store) => {
                opening.send_replace(String::new());
                return Some(store);
            }
            Err(error) => error.to_string(),
        };
        tracing::error!(error, "the store is not open: see `storage` in the settings; trying again");
        opening.send_replace(error);
        shutdown.run_until_cancelled(time::sleep(REOPEN)).await?;
    }
}

/// Ready when every condition holds; else what is said of those that do not.
fn readiness<const N: usize>(conditions: [(bool, &str); N]) -> Result<(), String> {
    let missing: Vec<_> = conditions.into_iter().filter_map(|(holds, text)| (!holds).then_some(text)).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
}

/// The mounted Secrets, and who is told when they or the settings change.
struct Files {
    settings: watch::Receiver<Arc<Settings>>,
    keys: Mounted<KeyRing>,
    tls: Mounted<Arc<CertifiedKey>>,
    certificate: Arc<Certificate>,
    authority: watch::Sender<Option<Arc<Authority>>>,
    metrics: Metrics,
}

impl Files {
    fn new(
        options: &Options,
        settings: watch::Receiver<Arc<Settings>>,
        certificate: Arc<Certificate>,
        authority: watch::Sender<Option<Arc<Authority>>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings,
            keys: Mounted::new("signing_keys", &options.keys, &[DOCUMENT_KEY], key_ring),
            tls: Mounted::new("certificate", &options.tls, &["tls.crt", "tls.key"], certified_key),
            certificate,
            authority,
            metrics,
        }
    }

    fn poll(&mut self) {
        if self.tls.poll(&self.metrics)
            && let Some(newest) = self.tls.value()
        {
            self.certificate.exchange(Arc::clone(newest));
        }
        let new_keys = self.keys.poll(&self.metrics);
        let Some(ring) = self.keys.value() else { return };
        let url = self.settings.borrow().public_url.clone();
        let same_url = self.authority.borrow().as_ref().is_some_and(|now| now.issuing.public_url == url);
        if new_keys || !same_url {
            self.authority.send_replace(Some(Arc::new(Authority::new(url, ring.clone()))));
        }
    }

    async fn follow(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let polled = tokio::task::spawn_blocking(move || {
                self.poll();
                self
            });
            match polled.await {
                Ok(files) => self = files,
                // It panicked; what was read last stays in use, and the process is replaced.
                Err(_) => return shutdown.cancel(),
            }
            tokio::select! { () = shutdown.cancelled() => (), () = time::sleep(POLL) => () }
        }
    }
}

fn key_ring(contents: &[Content]) -> Result<KeyRing, String> {
    let [document] = contents else { return Err(format!("{DOCUMENT_KEY} is missing")) };
    KeyRing::parse(document).map_err(|error| error.to_string())
}

fn certified_key(contents: &[Content]) -> Result<Arc<CertifiedKey>, String> {
    let [chain, key] = contents else { return Err("tls.crt or tls.key is missing".to_owned()) };
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key: {error}"))?;
    tls::certified_key(chain, key).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
