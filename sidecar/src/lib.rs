//! The sidecar enforcer: answers the OAuth challenge for an MCP server and checks every call to it.
//!
//! A [`Sidecar`] is an ordinary value: several run in one process, each with its own configuration and metrics. What
//! decides is [`lumoauth_core`]; what is here reads bytes, keeps keys, and forwards.
//!
//! The path of a call through the modules: `framing` and `hygiene` (one meaning), `wellknown` (no token needed),
//! `credentials` and `authenticate` (whose token), `body` and [`lumoauth_core::mcp`] (what for),
//! [`lumoauth_core::policy`] (allowed?), `forward` (only with a permit), `relay` (only as long as it holds). Whatever
//! is turned away on the path is a `Refusal`, and `respond` is the one place that spells it as HTTP.
//!
//! ```no_run
//! # async fn run(config: lumoauth_core::config::SidecarConfig) -> anyhow::Result<()> {
//! use lumoauth_sidecar::{Options, Sidecar};
//!
//! let sidecar = Sidecar::new(Options::default());
//! sidecar.config().set(&config)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! println!("guarding on {}", listener.local_addr()?);
//! sidecar.serve(listener, tokio_util::sync::CancellationToken::new()).await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod audit;
mod authenticate;
mod body;
mod budget;
mod clock;
mod config;
mod credentials;
mod fetch;
mod forward;
mod framing;
mod gate;
mod headers;
mod hygiene;
mod jwks;
mod metrics;
mod refusal;
mod relay;
mod respond;
mod server;
mod site;
mod status;
mod upstream;
mod wellknown;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{ConfigHandle, ConfigReport, LastRefusal, LoadError, ReportedState};
pub use fetch::FetchError;
pub use jwks::JwksLimits;
pub use metrics::Metrics;
pub use server::Limits;
pub use site::SiteError;
pub use status::StatusLimits;

use crate::{authenticate::IssuerLimits, body::BodyTimes, budget::Budget, gate::Gate};

/// What a sidecar may be told from outside its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many clients, and how patiently.
    pub limits: Limits,
    /// How often issuers are asked for keys.
    pub jwks: JwksLimits,
    /// How often issuers are asked for status lists.
    pub status: StatusLimits,
}

/// One sidecar. Denies everything until its configuration is loaded.
pub struct Sidecar {
    limits: Limits,
    config: ConfigHandle,
    metrics: Metrics,
    gate: Arc<Gate>,
}

impl Sidecar {
    /// A sidecar without configuration.
    pub fn new(options: Options) -> Self {
        let Options { limits, jwks, status } = options;
        let metrics = Metrics::default();
        let config = ConfigHandle::new(IssuerLimits { jwks, status }, metrics.clone());
        let body_times = BodyTimes { idle: limits.body_idle, total: limits.body_total };
        let budget = Budget::new(limits.body_bytes, limits.body_idle);
        let gate = Arc::new(Gate::new(config.clone(), metrics.clone(), body_times, budget));
        Self { limits, config, metrics, gate }
    }

    /// The handle by which its configuration is set, followed and reported.
    pub fn config(&self) -> ConfigHandle {
        self.config.clone()
    }

    /// What it counts, to be registered where they are wanted; [`Self::serve_admin`] needs no registration.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Serves calls on `listener` until `shutdown`; then takes no new connection, lets requests in flight finish, and
    /// cuts what is left after [`Limits::drain`].
    pub fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        server::serve(Arc::clone(&self.gate), self.metrics.clone(), listener, self.limits, shutdown)
    }

    /// Serves the admin port on `listener` until `shutdown`: `/livez`, `/readyz`, `/metrics`, `/config`.
    pub fn serve_admin(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        admin::serve(self.config.clone(), Arc::new(registry), listener, shutdown)
    }
}
