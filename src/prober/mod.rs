//! Asks the running pods what they enforce, from outside, as a caller would.
//!
//! [`Target`] says whom to ask and what the right answers are; [`Findings`] says what was answered. One task per
//! server asks each minute, and at once and often after a change, until the answers are right. Judging is pure
//! ([`verdict`]); asking is a plain HTTP/1.1 client with limits ([`Asker`]).

mod ask;
mod expectation;
mod forged;
mod rounds;
pub mod verdict;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lumoauth_core::config::Generation;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

pub use ask::{Answer, AskError, Asker, Ports};
pub use expectation::Expectation;
pub use forged::ForgedKey;
pub use verdict::{Running, Verdict, Wrong};

use crate::registry::ObjectKey;

/// Findings that may wait for the controller before probing pauses.
const REPORT_QUEUE: usize = 256;

/// Whom to ask about one server, and what the right answers are.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What every sidecar of the server should run.
    pub generation: Generation,
    /// What a caller should be answered.
    pub expectation: Arc<Expectation>,
    /// The Service's address and port; `None` while there is none to ask.
    pub service: Option<SocketAddr>,
    /// The pods that carry a sidecar.
    pub pods: Vec<PodTarget>,
}

/// One pod to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTarget {
    /// Its uid: a pod of the same name is another pod.
    pub uid: String,
    /// Its address.
    pub ip: IpAddr,
    /// Whether kubelet says it is ready. One that is not is asked what it runs, but not probed.
    pub ready: bool,
}

/// What was answered in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// What the round expected to be run; findings about another generation say nothing about this one.
    pub generation: Generation,
    /// By pod uid.
    pub pods: BTreeMap<String, PodFinding>,
    /// Through the Service; `None` when there was none to ask, or no pod behind it that is ready.
    pub service: Option<Verdict>,
}

/// What one pod answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFinding {
    /// What its sidecar runs.
    pub running: Running,
    /// Whether callers are answered rightly; `None` while it runs something else, or is not ready.
    pub enforcement: Option<Verdict>,
}

impl Findings {
    /// Whether everything that was asked answered as it should, so that asking again can wait.
    fn is_settled(&self, target: &Target) -> bool {
        let right = |verdict: &Option<Verdict>| matches!(verdict, Some(Verdict::Right));
        let pods = target.pods.iter().all(|pod| {
            self.pods.get(&pod.uid).is_some_and(|finding| {
                finding.running.is(&self.generation) && (!pod.ready || right(&finding.enforcement))
            })
        });
        pods && (self.service.is_none() || right(&self.service))
    }
}

/// Findings about a server, when they are new.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which server.
    pub key: ObjectKey,
    /// What was found.
    pub findings: Arc<Findings>,
}

/// The tasks that ask, one per server. Dropping it ends them.
pub struct Prober {
    asker: Arc<Asker>,
    reports: mpsc::Sender<Report>,
    tasks: HashMap<ObjectKey, Task>,
}

struct Task {
    target: watch::Sender<Arc<Target>>,
    _handle: AbortOnDropHandle<()>,
}

impl Prober {
    /// A prober without targets, and where its findings arrive.
    pub fn new(asker: Arc<Asker>) -> (Self, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(REPORT_QUEUE);
        (Self { asker, reports, tasks: HashMap::new() }, receiver)
    }

    /// Asks about `key` from now on. An equal target changes nothing.
    pub fn set(&mut self, key: &ObjectKey, target: Target) {
        if let Some(task) = self.tasks.get(key) {
            task.target.send_if_modified(|current| {
                let changed = **current != target;
                if changed {
                    *current = Arc::new(target);
                }
                changed
            });
            return;
        }
        let (sender, receiver) = watch::channel(Arc::new(target));
        let rounds = rounds::run(key.clone(), Arc::clone(&self.asker), receiver, self.reports.clone());
        let task = Task { target: sender, _handle: AbortOnDropHandle::new(tokio::spawn(rounds)) };
        self.tasks.insert(key.clone(), task);
    }

    /// Stops to ask about `key`.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.tasks.remove(key);
    }
}

#[cfg(test)]
mod tests;
