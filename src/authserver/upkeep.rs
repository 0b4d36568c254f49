//! What is done now and then, whoever asks for what.

use std::{sync::Arc, time::Duration};

use lumoauth_core::digest;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    Clock, State,
    artefact::{RandomError, random},
    revoker::Revoker,
    store::{Store, Swept},
};

/// How often expired rows are deleted.
const SWEEP: Duration = Duration::from_mins(1);
/// How long that may take: what is left is deleted the next time.
const LIMIT: Duration = Duration::from_secs(50);

/// How often it is asked which clients are disabled: for as long one of them is still answered.
const FOLLOW: Duration = Duration::from_secs(1);
/// How often it is looked for deleted McpClients.
const LOOK: Duration = Duration::from_secs(3);

/// Follows which clients are disabled, and revokes what deleted ones hold, until `shutdown`.
pub async fn follow_clients(state: State, shutdown: CancellationToken) {
    let disabled = async {
        let mut due = time::interval(FOLLOW);
        due.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(error) = state.disabled.refresh(&state.store).await {
                tracing::warn!(%error, "it cannot be told which clients are disabled: trying again");
            }
        }
    };
    let deleted = async {
        let mut revoker = Revoker::default();
        let mut due = time::interval(LOOK);
        due.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let snapshot = Arc::clone(&state.snapshot.borrow());
            if let Err(error) = revoker.look(&state.store, &snapshot, state.clock.now()).await {
                tracing::warn!(%error, "it cannot be told what deleted clients hold: trying again");
            }
        }
    };
    let both = async { tokio::join!(disabled, deleted) };
    shutdown.run_until_cancelled(both).await;
}

/// Deletes what has expired from the store, every minute until `shutdown`.
pub async fn upkeep(store: Store, clock: Arc<dyn Clock>, shutdown: CancellationToken) -> Result<(), RandomError> {
    let replica = digest::hex(&random::<8>()?);
    let mut due = time::interval(SWEEP);
    due.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(due.tick()).await.is_some() {
        // Each of its statements is whole, so it may end between any two.
        let sweep = time::timeout(LIMIT, store.sweep(&replica, clock.now()));
        match shutdown.run_until_cancelled(sweep).await {
            None => break,
            Some(Ok(Ok(Swept::Rows(rows)))) if rows > 0 => tracing::debug!(rows, "expired rows are deleted"),
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => {
                tracing::warn!(%error, "expired rows could not be deleted: trying again in a minute");
            }
            Some(Err(_)) => tracing::warn!("deleting expired rows takes long: going on in a minute"),
        }
    }
    Ok(())
}
