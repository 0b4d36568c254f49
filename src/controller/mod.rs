//! Controllers: custom resources in, cluster objects and status out. Each reconcile is five steps, a file each:
//! dereference -> validate -> build -> apply -> status.

pub mod apply;
mod compare;
pub mod events;
pub mod leader;
pub mod mcp_client;
pub mod mcp_server;
pub mod metrics;
pub mod system;
pub mod work;

use std::sync::Arc;

use tokio::sync::watch;

pub use self::{
    apply::{Applicable, WriteError, Written},
    events::Events,
    metrics::Metrics,
};
use crate::{
    registry::{Issuing, Snapshot},
    settings::Settings,
};

/// What every controller is given. Cheap to clone; everything in it is the newest value.
#[derive(Clone)]
pub struct Context {
    /// Kubernetes API client.
    pub client: kube::Client,
    /// What all custom resources mean; updated within milliseconds of a watch event.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Settings of the control plane, re-read when the file changes.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Keys and addresses of the authorization server; `None` until the signing keys exist.
    pub issuing: watch::Receiver<Option<Arc<Issuing>>>,
    /// Whether this replica may write. Checked before every write.
    pub leader: watch::Receiver<bool>,
    /// Tells people about conditions that changed.
    pub events: Events,
    /// What the controllers count.
    pub metrics: Metrics,
}

impl Context {
    /// Whether this replica may write now.
    pub fn is_leader(&self) -> bool {
        *self.leader.borrow()
    }
}
