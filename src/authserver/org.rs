//! What handlers are given: the state of the process, and of it what a request's path names.

use std::{fmt, sync::Arc};

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use lumoauth_core::{ClientId, IssuerUrl, ResourceUri, UnixTime};
use tokio::sync::watch;

use super::{Authority, Clients, Clock, DisabledClients, Metrics, People, Statuses, errors::ApiError, store::Store};
use crate::{
    registry::{Client, ClientEntry, OrgId, Server, ServerEntry, ServerId, Snapshot},
    settings::{OrgSettings, Settings},
};

/// What every request is answered from. Cheap to clone; everything in it is the newest value.
#[derive(Clone)]
pub struct State {
    /// What the custom resources mean.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Address and keys; until they are known, every request is answered 503.
    pub authority: watch::Receiver<Option<Arc<Authority>>>,
    /// What the administrator chose, by organization.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// What is kept in memory about documents and registrations of clients.
    pub clients: Clients,
    /// What is kept in memory about logins.
    pub people: People,
    /// What must not be forgotten.
    pub store: Store,
    /// Clients that get nothing.
    pub disabled: DisabledClients,
    /// What is kept in memory about the status of tokens.
    pub statuses: Statuses,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// The organization in a request's path, and everything that is known at the moment of the request.
pub(super) struct Org {
    pub(super) id: OrgId,
    pub(super) issuer: IssuerUrl,
    pub(super) authority: Arc<Authority>,
    pub(super) now: UnixTime,
    snapshot: Arc<Snapshot>,
}

impl Org {
    pub(super) fn find(state: &State, name: &str) -> Result<Self, OrgError> {
        let authority = state.authority.borrow().clone().ok_or(OrgError::NotReady)?;
        let snapshot = Arc::clone(&state.snapshot.borrow());
        let id = snapshot.org(name).ok_or(OrgError::Unknown)?.clone();
        let issuer = authority.issuing.issuer(&id);
        Ok(Self { id, issuer, authority, now: state.clock.now(), snapshot })
    }

    /// What the administrator chose for it.
    pub(super) fn settings(&self, state: &State) -> OrgSettings {
        state.settings.borrow().org(&self.id)
    }

    /// The enforced server with this identifier.
    pub(super) fn server(&self, id: &str) -> Option<Target> {
        let (entry, server) = self.snapshot.server(&self.id, id)?;
        self.target(entry, server)
    }

    /// The enforced server of this resource, named as RFC 8707 §2 parameters name it.
    pub(super) fn server_of(&self, resource: &ResourceUri) -> Option<Target> {
        self.server(ServerId::of(&self.id, resource).as_str())
    }

    /// The enforced servers, in the order of their keys.
    pub(super) fn servers(&self) -> impl Iterator<Item = Target> {
        self.snapshot.enforced(&self.id).filter_map(|(entry, server)| self.target(entry, server))
    }

    /// A token for the issuer opens the registry API: a server that takes its name gets none.
    fn target(&self, entry: &Arc<ServerEntry>, server: &Arc<Server>) -> Option<Target> {
        if server.resource.is_named_by(self.issuer.as_str()) {
            return None;
        }
        Some(Target { id: entry.id.clone()?, entry: Arc::clone(entry), server: Arc::clone(server) })
    }

    /// The accepted client with this identifier.
    pub(super) fn client(&self, id: &ClientId) -> Option<(&Arc<ClientEntry>, &Arc<Client>)> {
        self.snapshot.client(&self.id, id)
    }
}

/// An enforced server of the organization.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) id: ServerId,
    pub(super) entry: Arc<ServerEntry>,
    pub(super) server: Arc<Server>,
}

/// Why there is no organization to answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrgError {
    /// No object belongs to an organization of that name.
    Unknown,
    /// Address or keys are not known yet.
    NotReady,
}

impl FromRequestParts<State> for Org {
    type Rejection = OrgError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, OrgError> {
        let name = path_parameter(parts, state, "org").await.ok_or(OrgError::Unknown)?;
        Self::find(state, &name)
    }
}

/// The organization and the server in a request's path.
pub(super) struct OrgServer(pub(super) Org, pub(super) Target);

impl FromRequestParts<State> for OrgServer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let org = Org::from_request_parts(parts, state).await?;
        let id = ServerParameter::from_request_parts(parts, state).await?;
        let target = org.server(&id.0).ok_or_else(ApiError::unknown_server)?;
        Ok(Self(org, target))
    }
}

/// The server identifier in a request's path, unjudged: for handlers that ask for a token before they look.
pub(super) struct ServerParameter(pub(super) String);

impl FromRequestParts<State> for ServerParameter {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        path_parameter(parts, state, "server").await.map(Self).ok_or_else(ApiError::unknown_server)
    }
}

async fn path_parameter(parts: &mut Parts, state: &State, name: &str) -> Option<String> {
    let parameters = RawPathParams::from_request_parts(parts, state).await.ok()?;
    parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}
