//! The OAuth 2.1 authorization server and the registry API.
//!
//! [`router`] answers every endpoint from a [`State`]: what the custom resources mean, who issues, and the time. It
//! does no I/O and writes nothing, so any number of replicas may run. [`serve`] puts it on a port: with TLS on a
//! cluster, without on the loopback of `lumoauth local`.

mod authority;
mod authorize;
mod bearer;
mod challenge;
mod clock;
mod documents;
mod errors;
mod metadata;
mod metrics;
mod org;
mod prm;
mod registry_api;
mod routes;
mod serve;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;

pub use authority::{Authority, REGISTRY_SCOPE};
pub use clock::{Clock, SystemClock};
pub use metrics::Metrics;
pub use org::State;
pub use routes::router;
pub use serve::serve;
