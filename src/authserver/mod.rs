//! The OAuth 2.1 authorization server and the registry API.
//!
//! [`router`] answers every endpoint from a [`State`]: what the custom resources mean, who issues, and the time. It
//! keeps what must not be forgotten in a [`store`]; with PostgreSQL any number of replicas may run. [`run`] is the process on a cluster; `lumoauth
//! local` puts the same router on a loopback port with [`serve`].

pub mod artefact;
mod authenticate;
mod authority;
mod authorize;
mod bearer;
mod challenge;
mod clients;
mod clock;
mod disabled;
mod documents;
mod errors;
mod files;
mod form;
mod introspect;
mod issued;
mod metadata;
mod metrics;
mod oauth;
mod org;
mod pages;
mod parameters;
pub mod people;
mod prm;
mod registry_api;
mod resource;
mod revoke;
mod revoker;
mod routes;
mod run;
mod scopes;
mod serve;
mod standing;
mod status;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod upkeep;

pub use authority::{Authority, REGISTRY_SCOPE};
pub use clients::{Clients, warn_of_unsafe_settings};
pub use clock::{Clock, SystemClock};
pub use disabled::DisabledClients;
pub use metrics::Metrics;
pub use org::State;
pub use people::People;
pub use routes::router;
pub use run::{Options, run};
pub use serve::serve;
pub use status::Statuses;
pub use upkeep::{follow_clients, upkeep};
