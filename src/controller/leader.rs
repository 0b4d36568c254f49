//! Leader election: of all replicas, one writes.
//!
//! Clocks: a lease says when it was renewed by its holder's clock, and others compare that with theirs. Two replicas never
//! lead together while the clocks of their nodes differ by less than `LEASE - HOLD` (5 s); a leader that renews in time is
//! never replaced while they differ by less than `GRACE` (10 s).

use std::{future::Future, time::Duration};

use http::Method;
use kube::{Client, Config, client::Body};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::Metrics;
use crate::api::names;

/// How long a lease holds after its last renewal, in seconds. A leader that died is replaced after it.
const LEASE: u64 = 15;
/// How long before its end the leader renews it, in seconds: every five seconds, with room for failures.
const GRACE: u64 = 10;
/// How long one request about the lease may take.
const REQUEST: Duration = Duration::from_secs(4);
/// How long a leader leads after its last renewal. The rest of the lease is for the writes that are then under way, so
/// that a leader whose API server fails or hangs stops to write before another one starts.
const HOLD: Duration = Duration::from_secs(LEASE - REQUEST.as_secs() - 1);
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
    let (client, renewed) = observed(client);
    let candidate = Candidate { client, renewed, namespace, identity, leader, metrics };
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

/// `client`, and when the newest of its writes that succeeded began: what the lease itself says, by the clock that does
/// not jump.
fn observed(client: Client) -> (Client, watch::Receiver<Option<Instant>>) {
    let (renewed, is_renewed) = watch::channel(None);
    let namespace = client.default_namespace().to_owned();
    let send = move |request: http::Request<Body>| {
        let (client, renewed) = (client.clone(), renewed.clone());
        async move {
            let began = (request.method() == Method::PATCH).then(Instant::now);
            let response = client.send(request).await?;
            if began.is_some() && response.status().is_success() {
                renewed.send_replace(began);
            }
            Ok::<_, kube::Error>(response)
        }
    };
    (Client::new(service_fn(send), namespace), is_renewed)
}

struct Candidate {
    client: Client,
    renewed: watch::Receiver<Option<Instant>>,
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
        let held = async {
            tokio::select! {
                () = keep(&manager) => {}
                () = self.lead(HOLD) => {}
            }
        };
        let lost = shutdown.run_until_cancelled(held).await;
        self.publish(false);
        match lost {
            Some(()) => Ok(()),
            None => release(&manager).await,
        }
    }

    /// Leads from a renewal on, and until the newest one is `hold` old. The lease of an earlier life of this pod is not
    /// renewed yet when it is won.
    async fn lead(&self, hold: Duration) {
        let mut renewed = self.renewed.clone();
        let is_fresh = |at: &Option<Instant>| at.is_some_and(|at| at.elapsed() < hold);
        if !matches!(timeout(hold, renewed.wait_for(is_fresh)).await, Ok(Ok(_))) {
            return;
        }
        self.publish(true);
        loop {
            let Some(at) = *renewed.borrow_and_update() else { return };
            if !matches!(timeout_at(at + hold, renewed.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn publish(&self, leader: bool) {
        if self.leader.send_replace(leader) != leader {
            self.metrics.leads(leader);
            tracing::info!(leader, identity = self.identity, "leadership");
        }
    }
}

/// Renews the lease until another replica has it. A renewal that fails is tried again: for how long it may fail is for
/// [`Candidate::lead`] to say.
async fn keep(manager: &LeaseManager) {
    loop {
        match manager.changed().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "the lease is not renewed: tried again");
                sleep(RETRY).await;
            }
        }
    }
}

/// Gives the lease back, so that another replica need not wait for its end.
async fn release(manager: &LeaseManager) -> Result<(), LeaseManagerError> {
    timeout(REQUEST, manager.release()).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex},
    };

    use http::{Request, Response, StatusCode};
    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    use super::*;

    /// An API server with a lease of `me` that is due to be renewed; answers the next writes with `failures`.
    fn server(failures: &[StatusCode]) -> Client {
        let mut failures = failures.to_vec();
        failures.reverse();
        let state = Arc::new(Mutex::new((failures, 7)));
        let answer = move |request: Request<Body>| {
            let mut state = state.lock().unwrap();
            let mut status = StatusCode::OK;
            if request.method() == Method::PATCH {
                match state.0.pop() {
                    Some(failure) => status = failure,
                    None => state.1 = 0,
                }
            }
            let renewed = Timestamp::now().checked_sub(SignedDuration::from_secs(state.1)).unwrap();
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": names::OPERATOR},
                "spec": {"holderIdentity": "me", "leaseDurationSeconds": LEASE, "renewTime": format!("{renewed:.6}")},
            });
            let failure =
                json!({"kind": "Status", "status": "Failure", "message": "", "reason": "", "code": status.as_u16()});
            let body = if status.is_success() { lease } else { failure };
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            async move { Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()) }
        };
        Client::new(service_fn(answer), "default")
    }

    type Elected = (watch::Receiver<bool>, CancellationToken, tokio::task::JoinHandle<()>);

    fn elect(client: Client) -> Elected {
        let end = CancellationToken::new();
        let (leads, run) = start(client, "system".to_owned(), "me".to_owned(), Metrics::default(), end.clone());
        (leads, end, tokio::spawn(run))
    }

    fn candidate() -> (watch::Sender<Option<Instant>>, watch::Receiver<bool>, Candidate) {
        let (renewals, renewed) = watch::channel(None);
        let (leader, leads) = watch::channel(false);
        let (namespace, identity) = ("system".to_owned(), "me".to_owned());
        let candidate =
            Candidate { client: server(&[]), renewed, namespace, identity, leader, metrics: Metrics::default() };
        (renewals, leads, candidate)
    }

    #[tokio::test]
    async fn a_leader_leads_from_a_renewal_on_and_while_the_newest_is_young() {
        const HOLD: Duration = Duration::from_secs(1);
        let (renewals, mut leads, candidate) = candidate();
        let mut newest = Instant::now();
        let renew = async {
            sleep(Duration::from_millis(20)).await;
            assert!(!*leads.borrow(), "nothing is renewed yet");
            for _ in 0..3 {
                newest = Instant::now();
                renewals.send_replace(Some(newest));
                timeout(HOLD, leads.wait_for(|leads| *leads)).await.expect("it leads").unwrap();
                sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = candidate.lead(HOLD) => {}
            () = renew => {}
        }
        assert!(newest.elapsed() >= HOLD);
    }

    #[tokio::test]
    async fn the_renewal_of_an_earlier_term_does_not_count() {
        const HOLD: Duration = Duration::from_millis(50);
        let (renewals, leads, candidate) = candidate();
        renewals.send_replace(Some(Instant::now()));
        sleep(HOLD).await;
        candidate.lead(HOLD).await;
        assert!(!leads.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_renewal_that_fails_is_tried_again() {
        let start = Instant::now();
        let (mut leads, end, run) =
            elect(server(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE]));
        leads.wait_for(|leads| *leads).await.unwrap();
        assert!(start.elapsed() >= 2 * RETRY);
        end.cancel();
        run.await.unwrap();
        assert!(!*leads.borrow());
    }

    #[tokio::test]
    async fn only_writes_that_succeeded_are_renewals() {
        let (client, renewed) = observed(server(&[StatusCode::CONFLICT]));
        for (method, renews) in [(Method::GET, false), (Method::PATCH, false), (Method::PATCH, true)] {
            let request = Request::builder().method(&method).uri("/").body(Body::empty()).unwrap();
            client.send(request).await.unwrap();
            assert_eq!(renewed.borrow().is_some(), renews, "{method}");
        }
    }
}
