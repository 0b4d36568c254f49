//! Step 1: everything a client's credentials depend on, read.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use lumoauth_core::ClientId;

use crate::{
    api::v1alpha1::McpClient,
    controller::Context,
    registry::{Client, ClientState, Issuing, ObjectKey, OrgId, Problem},
    settings::Settings,
};

/// What there is of a client.
pub(super) enum Dereferenced {
    /// Nothing.
    Gone,
    /// An object that cannot be read.
    Malformed(Problem),
    /// All of it.
    Found(Box<Seen>),
}

/// A client and what it depends on.
#[derive(Clone)]
pub(super) struct Seen {
    /// The object, in the version that `state` speaks of.
    pub(super) object: Arc<McpClient>,
    /// Its organization.
    pub(super) org: Option<OrgId>,
    /// Its OAuth client identifier.
    pub(super) id: Option<ClientId>,
    /// What it means.
    pub(super) state: Result<Arc<Client>, Problem>,
    /// The Secret it is to have.
    pub(super) held: Held,
    /// The authorization server.
    pub(super) issuing: Option<Arc<Issuing>>,
    /// Settings of the control plane.
    pub(super) settings: Arc<Settings>,
}

/// The credentials Secret of a client, as it is.
#[derive(Clone)]
pub(super) enum Held {
    /// There is none, or none is wanted.
    Absent,
    /// It exists; perhaps it is not ours.
    Present(Box<Secret>),
    /// The operator may not read it: what the API server says.
    Forbidden(String),
}

pub(super) async fn dereference(context: &Context, key: &ObjectKey) -> Result<Dereferenced, kube::Error> {
    let Some(entry) = context.snapshot.borrow().clients.get(key).cloned() else {
        return Ok(Dereferenced::Gone);
    };
    let state = match &entry.state {
        ClientState::Accepted(client) => Ok(client.clone()),
        ClientState::Rejected(problem) => Err(problem.clone()),
    };
    let object = match (&entry.object, &state) {
        (Some(object), _) if object.metadata.deletion_timestamp.is_none() => object.clone(),
        (None, Err(problem)) => return Ok(Dereferenced::Malformed(problem.clone())),
        _ => return Ok(Dereferenced::Gone),
    };
    let name = state.as_ref().ok().and_then(|client| client.credentials_secret.clone());
    let held = match name {
        Some(name) => held(context, key, &name).await?,
        None => Held::Absent,
    };
    Ok(Dereferenced::Found(Box::new(Seen {
        object,
        org: entry.org.clone(),
        id: entry.id.clone(),
        state,
        held,
        issuing: context.issuing.borrow().clone(),
        settings: context.settings.borrow().clone(),
    })))
}

async fn held(context: &Context, key: &ObjectKey, name: &str) -> Result<Held, kube::Error> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &key.namespace);
    match api.get_opt(name).await {
        Ok(Some(secret)) => Ok(Held::Present(Box::new(secret))),
        Ok(None) => Ok(Held::Absent),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Held::Forbidden(status.message.clone())),
        Err(error) => Err(error),
    }
}
