//! Leader election: of all replicas, one writes.

use std::{future::Future, time::Duration};

use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::api::names;

/// How long a lease holds after its last renewal, in seconds. A leader that died is replaced after it.
const LEASE: u64 = 15;
/// How long before its end the leader renews it, in seconds: every five seconds, with room for one failure.
const GRACE: u64 = 10;
/// How long one request about the lease may take. `LEASE - GRACE + REQUEST` is below `LEASE`: a leader whose API server
/// hangs stops to write before another one starts.
const REQUEST: Duration = Duration::from_secs(4);
/// How often a replica that does not lead looks at the lease, so that one that was given back is taken at once.
const LOOK: Duration = Duration::from_secs(3);
/// Pause after an error.
const RETRY: Duration = Duration::from_secs(1);

/// A client whose requests end in time; for the lease only, as it would end watches too.
pub fn client(mut config: Config) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(REQUEST);
    config.read_timeout = Some(REQUEST);
    config.write_timeout = Some(REQUEST);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// Prepares the election among the replicas that use the lease `lumoauth-operator` in `namespace`; `identity` is the
/// pod's name. It runs while the returned future is polled. On `shutdown` it gives the lease back; whoever writes must
/// have ended before.
pub fn start(
    client: Client,
    namespace: String,
    identity: String,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> (watch::Receiver<bool>, impl Future<Output = ()> + Send + 'static) {
    let (leader, is_leader) = watch::channel(false);
    let candidate = Candidate { client, namespace, identity, leader, metrics };
    let run = async move {
        while !shutdown.is_cancelled() {
            if let Err(error) = candidate.term(&shutdown).await {
                tracing::warn!(%error, "the lease cannot be read or written");
                let _ = shutdown.run_until_cancelled(sleep(RETRY)).await;
            }
        }
    };
    (is_leader, run)
}

struct Candidate {
    client: Client,
    namespace: String,
    identity: String,
    leader: watch::Sender<bool>,
    metrics: Metrics,
}

impl Candidate {
    /// One look at the lease by a replica that does not lead, or the whole time that it leads. Whenever it ends, for
    /// whatever reason, this replica does not lead.
    async fn term(&self, shutdown: &CancellationToken) -> Result<(), LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(self.client.clone(), names::OPERATOR)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_duration(LEASE)
            .with_grace(GRACE)
            .build()
            .await?;
        let won = shutdown.run_until_cancelled(timeout(LOOK, manager.changed())).await;
        let Some(Ok(won)) = won else { return Ok(()) };
        if !won? {
            return Ok(());
        }
        self.publish(true);
        let lost = shutdown.run_until_cancelled(manager.changed()).await;
        self.publish(false);
        match lost {
            Some(lost) => lost.map(|_| ()),
            None => release(&manager).await,
        }
    }

    fn publish(&self, leader: bool) {
        self.leader.send_replace(leader);
        self.metrics.leads(leader);
        tracing::info!(leader, identity = self.identity, "leadership");
    }
}

/// Gives the lease back, so that another replica need not wait for its end.
async fn release(manager: &LeaseManager) -> Result<(), LeaseManagerError> {
    timeout(REQUEST, manager.release()).await.unwrap_or(Ok(()))
}
