//! `lumoauth operator`: controllers, webhook and prober in one process. Every replica serves the webhook; the leader writes.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Admin},
    api::names,
    cluster,
    controller::{self, Context, Events, leader, mcp_client, mcp_server, system, system::Place},
    pki,
    prober::{Asker, ForgedKey, Ports},
    registry::{self, Snapshot, watch::Watched},
    settings,
    tls::Certificate,
    webhook::{self, Webhook},
};

/// How long whoever writes, and beside them the webhook, may take to end. The webhook drains for eleven seconds; kubelet
/// waits thirty.
const DRAIN: Duration = Duration::from_secs(16);
/// How long the lease may take to be given back, and then the watches to end.
const RELEASE: Duration = Duration::from_secs(5);

/// What the operator is told by its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The settings file.
    pub config: PathBuf,
    /// Name of this pod: who it is in the election and in Events.
    pub identity: String,
    /// Where the webhook listens.
    pub webhook: SocketAddr,
    /// Where the admin endpoints listen.
    pub admin: SocketAddr,
}

/// Runs the operator until `shutdown`. An error is something it cannot work without; kubelet then starts it anew.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut metrics = Registry::default();
    let controllers = controller::Metrics::register(&mut metrics);
    let watches = registry::watch::Metrics::register(&mut metrics);
    let reviews = webhook::Metrics::register(&mut metrics);
    let webhook_listener = bind(options.webhook, "--webhook").await?;
    let admin_listener = bind(options.admin, "--admin").await?;
    let api = cluster::config().await?;
    let client = Client::try_from(api.clone())?;

    // What others read from ends after them: first whoever writes, then the lease, and beside both the webhook; then the
    // watches.
    let (reading, leading) = (CancellationToken::new(), CancellationToken::new());
    let place = Place::default();
    let (settings, follow) = settings::follow(options.config, reading.clone())?;
    let (Watched { snapshot, synced }, watch) = registry::watch::start(&client, watches, reading.clone());
    let (published, publish) = system::publish(&client, &place, settings.clone(), reading.clone());
    let lease = leader::client(api)?;
    let identity = options.identity;
    let (is_leader, elect) =
        leader::start(lease, place.namespace.clone(), identity.clone(), controllers.clone(), leading.clone());

    let certificate = Arc::new(Certificate::default());
    let review = Webhook {
        snapshot: snapshot.clone(),
        settings: settings.clone(),
        lookup: client.clone(),
        metrics: reviews.clone(),
    };
    let context = Context {
        client: client.clone(),
        snapshot: snapshot.clone(),
        settings,
        issuing: published.issuing,
        leader: synced_leader(is_leader, synced.clone(), &reading),
        events: Events::new(client, identity),
        metrics: controllers.clone(),
    };
    let asker = Arc::new(Asker::new(Ports::default(), ForgedKey::generate().context("no key for the probes")?));
    let ready = readiness(synced, Arc::clone(&certificate));
    let admin = Admin { registry: Arc::new(metrics), ready };

    let mut readers = Tasks::default();
    readers.spawn("settings", follow);
    readers.spawn("watch", watch);
    readers.spawn("secrets", publish);
    readers.spawn("metrics", count(snapshot, controllers, reading.clone()));
    readers.spawn("admin", fallible(admin::serve(admin_listener, admin, reading.clone())));
    readers.spawn(
        "certificate",
        webhook::keep_certificate(
            Arc::clone(&certificate),
            &webhook::NAMES,
            published.authority.clone(),
            pki::wall_clock,
            reviews.clone(),
            reading.clone(),
        ),
    );
    let mut election = Tasks::default();
    election.spawn("election", elect);
    let mut writers = Tasks::default();
    writers
        .spawn("system", system::run(context.clone(), place, published.authority, pki::wall_clock, shutdown.clone()));
    writers.spawn("McpServer", mcp_server::run(context.clone(), asker, shutdown.clone()));
    writers.spawn("McpClient", mcp_client::run(context, shutdown.clone()));
    let mut webhook = Tasks::default();
    let serve = webhook::serve(webhook_listener, review.router(), certificate, reviews, shutdown.clone());
    webhook.spawn("webhook", fallible(serve));

    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = writers.first_end() => ended,
        ended = webhook.first_end() => ended,
        ended = election.first_end() => ended,
        ended = readers.first_end() => ended,
    };
    shutdown.cancel();
    tracing::info!("the operator ends");
    tokio::join!(hand_over(writers, election, &leading), webhook.end(DRAIN));
    reading.cancel();
    readers.end(RELEASE).await;
    ended
}

/// Ends whoever writes, then gives the lease back: the next leader need not wait for this replica's webhook.
async fn hand_over(writers: Tasks, election: Tasks, leading: &CancellationToken) {
    writers.end(DRAIN).await;
    leading.cancel();
    election.end(RELEASE).await;
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address} cannot be bound"))
}

/// Leadership counts only once the caches are synced: an object that was not seen yet is not one that is gone.
fn synced_leader(
    mut leader: watch::Receiver<bool>,
    mut synced: watch::Receiver<bool>,
    end: &CancellationToken,
) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let end = end.clone();
    tokio::spawn(async move {
        let follow = async {
            if synced.wait_for(|synced| *synced).await.is_err() {
                return;
            }
            loop {
                let leads = *leader.borrow_and_update();
                sender.send_if_modified(|current| std::mem::replace(current, leads) != leads);
                if leader.changed().await.is_err() {
                    sender.send_replace(false);
                    return;
                }
            }
        };
        let _ = end.run_until_cancelled(follow).await;
    });
    receiver
}

type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

fn readiness(synced: watch::Receiver<bool>, certificate: Arc<Certificate>) -> Ready {
    Arc::new(move || {
        if !*synced.borrow() {
            return Err("McpServers, McpClients and Namespaces are not listed yet".to_owned());
        }
        if !certificate.is_loaded() {
            return Err(format!("no certificate yet: Secret {} is missing or cannot be used", names::CA));
        }
        Ok(())
    })
}

/// Keeps the metrics of the registry at the newest snapshot.
async fn count(mut snapshot: watch::Receiver<Arc<Snapshot>>, metrics: controller::Metrics, end: CancellationToken) {
    while let Some(Ok(())) = end.run_until_cancelled(snapshot.changed()).await {
        metrics.observe(&snapshot.borrow_and_update());
    }
}

async fn fallible<E: std::fmt::Display>(task: impl Future<Output = Result<(), E>>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a server failed");
    }
}

/// Tasks that run as long as the process: that one ends by itself is an error.
#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    async fn first_end(&mut self) -> anyhow::Result<()> {
        match self.0.join_next().await {
            Some(Ok(name)) => bail!("the task {name} ended"),
            Some(Err(error)) => Err(panicked(&error)),
            None => std::future::pending().await,
        }
    }

    /// Waits for all, at most `limit`; what takes longer is cut off, so that nothing runs on beside what ends next.
    async fn end(mut self, limit: Duration) {
        let all = async {
            while let Some(ended) = self.0.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(error = %panicked(&error), "while ending");
                }
            }
        };
        if timeout(limit, all).await.is_err() {
            tracing::warn!(tasks = self.0.len(), "what did not end in time is cut off");
            self.0.shutdown().await;
        }
    }
}

fn panicked(error: &JoinError) -> anyhow::Error {
    anyhow::anyhow!("a task panicked: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_or_panics_is_an_error() {
        let mut tasks = Tasks::default();
        tasks.spawn("good", std::future::pending());
        tasks.spawn("short", async {});
        assert_eq!(tasks.first_end().await.unwrap_err().to_string(), "the task short ended");
        tasks.spawn("bad", async { panic!("on purpose") });
        assert!(tasks.first_end().await.unwrap_err().to_string().contains("on purpose"));
    }

    #[tokio::test]
    async fn ending_waits_and_then_cuts_off() {
        let mut tasks = Tasks::default();
        let end = CancellationToken::new();
        let (done, mut is_done) = watch::channel(false);
        let (running, is_running) = watch::channel(());
        let told = end.clone();
        tasks.spawn("clean", async move {
            told.cancelled().await;
            done.send_replace(true);
        });
        tasks.spawn("stuck", async move {
            let _kept = is_running;
            std::future::pending::<()>().await;
        });
        end.cancel();
        tasks.end(Duration::from_millis(50)).await;
        assert!(*is_done.borrow_and_update());
        assert!(running.is_closed(), "what is stuck does not run on");
    }

    #[tokio::test]
    async fn the_lease_is_given_back_after_the_last_write() {
        let (leading, written) = (CancellationToken::new(), CancellationToken::new());
        let (mut writers, mut election) = (Tasks::default(), Tasks::default());
        let (last, given_back) = (written.clone(), leading.clone());
        writers.spawn("writer", async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            last.cancel();
        });
        let (told, is_told) = tokio::sync::oneshot::channel();
        election.spawn("election", async move {
            given_back.cancelled().await;
            let _ = told.send(written.is_cancelled());
        });
        hand_over(writers, election, &leading).await;
        assert_eq!(is_told.await, Ok(true));
    }

    #[tokio::test]
    async fn nobody_leads_before_everything_is_listed_or_after_the_election_ended() {
        let (elected, leader) = watch::channel(true);
        let (synced, is_synced) = watch::channel(false);
        let mut leads = synced_leader(leader, is_synced, &CancellationToken::new());
        tokio::task::yield_now().await;
        assert!(!*leads.borrow());
        synced.send_replace(true);
        leads.wait_for(|leads| *leads).await.unwrap();
        elected.send_replace(false);
        leads.wait_for(|leads| !*leads).await.unwrap();
        elected.send_replace(true);
        leads.wait_for(|leads| *leads).await.unwrap();
        drop(elected);
        leads.wait_for(|leads| !*leads).await.unwrap();
    }

    #[test]
    fn ready_is_everything_listed_and_a_certificate() {
        let (synced, is_synced) = watch::channel(false);
        let ready = readiness(is_synced, Arc::new(Certificate::default()));
        assert!(ready().unwrap_err().contains("not listed yet"));
        synced.send_replace(true);
        assert!(ready().unwrap_err().contains("no certificate yet"));
    }
}
