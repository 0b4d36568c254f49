//! McpClients: an identifier, credentials in a Secret, and the hashes that the authorization server compares with.

mod apply;
mod build;
mod credentials;
mod dereference;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::{apply::Outcome, credentials::ClientSecret, dereference::Dereferenced};
use super::{
    Context, WriteError,
    work::{self, Next, Queue},
};
use crate::{
    api::v1alpha1::McpClient,
    registry::{ClientEntry, ClientState, ObjectKey, Snapshot},
};

/// A reconcile that failed and is tried again.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Something the client depends on cannot be read.
    #[error("cannot read: {0}")]
    Read(Box<kube::Error>),
    /// A write failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The machine gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Read(Box::new(error))
    }
}

/// Reconciles every McpClient while this replica leads, until `shutdown`; then ends what is under way.
pub async fn run(context: Context, shutdown: CancellationToken) {
    let queue = Queue::default();
    let reconcile = |key: ObjectKey| {
        let context = context.clone();
        async move { reconcile(&context, &key).await }
    };
    tokio::select! {
        () = work::run("McpClient", &queue, &context.metrics, &shutdown, reconcile) => {}
        () = triggers(context.clone(), &queue) => {}
    }
}

/// Puts what changed into the queue. Ends when a channel of the context closes.
async fn triggers(mut context: Context, queue: &Queue) {
    let mut seen = context.snapshot.borrow_and_update().clone();
    queue.add_all(seen.clients.keys().cloned());
    loop {
        let (open, everything) = tokio::select! {
            changed = context.snapshot.changed() => (changed.is_ok(), false),
            changed = context.settings.changed() => (changed.is_ok(), true),
            changed = context.issuing.changed() => (changed.is_ok(), true),
            changed = context.leader.changed() => (changed.is_ok(), true),
        };
        if !open {
            return;
        }
        let snapshot = context.snapshot.borrow_and_update().clone();
        let keys = snapshot.clients.iter();
        let changed = keys.filter(|(key, entry)| everything || is_changed(&seen, key, entry));
        queue.add_all(changed.map(|(key, _)| key.clone()));
        seen = snapshot;
    }
}

/// Whether an entry means something else than in an earlier snapshot.
fn is_changed(before: &Snapshot, key: &ObjectKey, entry: &ClientEntry) -> bool {
    let Some(before) = before.clients.get(key) else { return true };
    let version =
        |entry: &ClientEntry| entry.object.as_ref().and_then(|object| object.metadata.resource_version.clone());
    let problem = |entry: &ClientEntry| match &entry.state {
        ClientState::Accepted(_) => None,
        ClientState::Rejected(problem) => Some(problem.clone()),
    };
    before.org != entry.org || version(before) != version(entry) || problem(before) != problem(entry)
}

async fn reconcile(context: &Context, key: &ObjectKey) -> Result<Next, Error> {
    match reconcile_once(context, key).await {
        // Whoever leads will do it; leadership is a trigger.
        Err(Error::Write(WriteError::NotLeader)) => Ok(Next::Wait),
        // Based on a version that is no more: the snapshot with the new one is under way, and is a trigger.
        Err(Error::Write(WriteError::Conflict)) => Ok(Next::After(apply::SOON)),
        result => result,
    }
}

/// The five steps.
async fn reconcile_once(context: &Context, key: &ObjectKey) -> Result<Next, Error> {
    context.check_leader()?;
    let seen = match dereference::dereference(context, key).await? {
        Dereferenced::Gone => return Ok(Next::Wait),
        Dereferenced::Malformed(problem) => {
            context.report_malformed::<McpClient>(key, &status::malformed(&problem)).await?;
            return Ok(Next::Wait);
        }
        Dereferenced::Found(seen) => *seen,
    };
    let now = Timestamp::now();
    let outcome = match validate::validate(&seen) {
        Err(stop) => Outcome::stopped(&seen, stop, now),
        Ok(valid) => {
            let plan = build::build(&valid, &ClientSecret::generate().map_err(Error::Random)?, now);
            apply::apply(context, &seen, plan, now).await?
        }
    };
    status::write(context, &seen, &outcome, now).await?;
    Ok(Next::After(outcome.again))
}
