//! The registry: what the custom resources of a cluster (or of a directory) mean, as one immutable [`Snapshot`].
//!
//! Pure: objects go in through [`Index`], a snapshot comes out, and a snapshot turns into what sidecars run
//! ([`sidecar_config`]). An object that is not valid is an entry that denies everything, never a missing entry.

mod client;
mod grants;
mod ids;
mod index;
mod problem;
mod references;
mod server;
mod sidecar_config;
mod snapshot;
mod user_name;
pub mod watch;

pub use client::{Client, ClientKeys, SecretDigest};
pub use grants::{Grant, Person};
pub use ids::{ObjectKey, OrgId, ServerId, client_id};
pub use index::{Index, NamespaceMeta, Parsed};
pub use problem::{Problem, Reason};
pub use server::{Server, SidecarSettings};
pub use sidecar_config::{Issuing, deleted, denied, metadata, sidecar_config};
pub use snapshot::{ClientEntry, ClientState, ServerEntry, ServerState, Snapshot};
pub use user_name::{MAX_USER_NAME_BYTES, UserName, UserNameError};
