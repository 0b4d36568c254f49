//! What is done now and then, whoever asks for what.

use std::{sync::Arc, time::Duration};

use lumoauth_core::digest;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    Clock,
    artefact::{RandomError, random},
    store::{Store, Swept},
};

/// How often expired rows are deleted.
const SWEEP: Duration = Duration::from_mins(1);

/// Deletes what has expired from the store, every minute until `shutdown`.
pub async fn upkeep(store: Store, clock: Arc<dyn Clock>, shutdown: CancellationToken) -> Result<(), RandomError> {
    let replica = digest::hex(&random::<8>()?);
    let mut due = time::interval(SWEEP);
    due.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(due.tick()).await.is_some() {
        match store.sweep(&replica, clock.now()).await {
            Ok(Swept::Rows(rows)) if rows > 0 => tracing::debug!(rows, "expired rows are deleted"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "expired rows could not be deleted: trying again in a minute"),
        }
    }
    Ok(())
}
