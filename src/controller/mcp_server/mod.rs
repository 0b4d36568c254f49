//! McpServers in; ConfigMaps, Services and status out.
//!
//! A reconcile is five steps, a file each: [`dereference`] reads, [`validate`] and [`build`] are pure, [`apply`] and
//! [`status`] write. What makes one happen is in [`triggers`]. Only the leader does any of it.

mod apply;
mod build;
mod conditions;
mod dereference;
mod error;
mod pods;
mod published;
mod status;
mod triggers;
mod validate;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    apply::{Applied, Retired},
    conditions::Observed,
    dereference::{Dereferenced, Existing, PodsRead},
    error::Error,
    pods::Pods,
    published::Publications,
    validate::{Role, Validated},
};
use super::{
    Context,
    work::{self, Next, Queue},
};
use crate::{
    inject::Comparison,
    prober::{Asker, Findings, PodTarget, Prober, Report, Target},
    registry::ObjectKey,
};

/// The kind, in metrics.
const KIND: &str = "McpServer";
/// How often the pods of a server that is gone are counted.
const RETIRING: Duration = Duration::from_secs(5);

/// Everything a reconcile works with.
struct Controller {
    context: Context,
    pods: Pods,
    publications: Publications,
    prober: Mutex<Prober>,
    findings: Mutex<HashMap<ObjectKey, Arc<Findings>>>,
}

/// Reconciles every McpServer while this replica leads, until `shutdown`, and asks their pods by `asker`. Ends early only
/// when a reconcile has panicked: the process should then start anew.
pub async fn run(context: Context, asker: Arc<Asker>, shutdown: CancellationToken) {
    let mut leader = context.leader.clone();
    loop {
        tokio::select! {
            leads = leader.wait_for(|leads| *leads) => if leads.is_err() { return },
            () = shutdown.cancelled() => return,
        }
        tokio::select! {
            () = lead(&context, &asker, &shutdown) => return,
            _ = leader.wait_for(|leads| !*leads) => {}
        }
    }
}

/// One term of leadership.
async fn lead(context: &Context, asker: &Arc<Asker>, shutdown: &CancellationToken) {
    let (prober, reports) = Prober::new(Arc::clone(asker));
    let controller = Arc::new(Controller {
        context: context.clone(),
        pods: Pods::default(),
        publications: Publications::default(),
        prober: Mutex::new(prober),
        findings: Mutex::default(),
    });
    let queue = Arc::new(Queue::default());
    let _sources = triggers::start(context, &controller.pods, &queue);
    let reconcile = |key: ObjectKey| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await.or_else(|error| error.expected().ok_or(error)) }
    };
    tokio::select! {
        () = work::run(KIND, &queue, &context.metrics, shutdown, reconcile) => {}
        () = listen(&controller, reports, &queue) => {}
    }
}

/// Takes over what the prober finds.
async fn listen(controller: &Controller, mut reports: mpsc::Receiver<Report>, queue: &Queue) {
    while let Some(Report { key, findings }) = reports.recv().await {
        controller.findings().insert(key.clone(), findings);
        queue.add(key);
    }
}

impl Controller {
    /// The five steps.
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let read = match dereference::dereference(self, key).await? {
            Existing::Server(read) => read,
            Existing::Gone => return self.retire(key).await,
        };
        let server = match validate::validate(&read) {
            Ok(server) => server,
            Err(error) => {
                if let Some(status) = status::not_issuing(&read, Timestamp::now()) {
                    status::write(&self.context, &read.object, &status).await?;
                }
                return Err(error);
            }
        };
        let applied = match build::build(&server) {
            Some(prepared) => apply::apply(&self.context, prepared, &server.generation, read.pods.known()).await?,
            None => self.withdraw(key).await?,
        };
        self.probe(&server, &applied, &read);
        let (published, again) = self.publications.check(key, server.publication.as_ref()).await;
        let findings = self.findings().get(key).cloned();
        let observed = Observed {
            server: &server,
            applied: &applied,
            pods: &read.pods,
            published: &published,
            findings: findings.as_deref(),
            old: &server.object.status.clone().unwrap_or_default(),
        };
        let status = status::status(&observed, Timestamp::now());
        status::write(&self.context, &server.object, &status).await?;
        applied.into_failure().map_or(Ok(Next::After(again)), Err)
    }

    /// Tells the prober whom to ask about `server`.
    fn probe(&self, server: &Validated, applied: &Applied, read: &Dereferenced) {
        let mut prober = self.prober();
        if server.role == Role::RegistryOnly {
            prober.forget(&server.key);
            self.findings().remove(&server.key);
            return;
        }
        // Until the pods are listed there is nobody to ask, and findings about nobody would be findings.
        let PodsRead::Known(pods) = &read.pods else { return };
        let pods = pods.iter().filter(|pod| pod.is_labelled && pod.sidecar != Comparison::Missing);
        let target = Target {
            generation: server.generation.clone(),
            expectation: Arc::clone(&server.expectation),
            service: applied.service(),
            pods: pods
                .filter_map(|pod| Some(PodTarget { uid: pod.uid.clone(), ip: pod.ip?, ready: pod.is_ready }))
                .collect(),
        };
        prober.set(&server.key, target);
    }

    /// The server is gone: its sidecars refuse everything, and what is left of it goes with its last pod.
    async fn retire(&self, key: &ObjectKey) -> Result<Next, Error> {
        self.prober().forget(key);
        self.findings().remove(key);
        self.publications.forget(key);
        match apply::retire(&self.context, key).await? {
            Retired::Gone => Ok(Next::Wait),
            Retired::Denying => Ok(Next::After(RETIRING)),
        }
    }

    /// Pods have nothing to do with the server any more.
    async fn withdraw(&self, key: &ObjectKey) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        for result in
            [apply::remove_service(&self.context, key).await, apply::retire(&self.context, key).await.map(|_| ())]
        {
            result.or_else(|error| applied.fail(error))?;
        }
        Ok(applied)
    }

    fn prober(&self) -> std::sync::MutexGuard<'_, Prober> {
        self.prober.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn findings(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Arc<Findings>>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
