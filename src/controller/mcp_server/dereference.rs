//! Step one: everything a reconcile needs to know, read.

use std::sync::Arc;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, ObjectMeta},
};
use serde_json::{Value, json};

use super::{Controller, error::Error, pods::PodView};
use crate::{
    api::v1alpha1::McpServer,
    inject::{Plan, Refusal, Target},
    registry::{Issuing, ObjectKey, ServerEntry},
};

/// What was read.
pub(super) struct Dereferenced {
    /// What the registry makes of the object.
    pub(super) entry: Arc<ServerEntry>,
    /// The object as it is now. If its spec cannot be read it is a stand-in, and the entry denies everything.
    pub(super) object: McpServer,
    /// Keys and addresses of the authorization server.
    pub(super) issuing: Option<Arc<Issuing>>,
    /// Its pods.
    pub(super) pods: PodsRead,
}

/// What is known of a server's pods.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PodsRead {
    /// These.
    Known(Vec<PodView>),
    /// They have not been listed yet.
    NotListed,
    /// There is no plan to judge them by, and so no pod can be injected.
    NoPlan(String),
    /// Pods have nothing to do with it.
    NotApplicable,
}

impl PodsRead {
    /// The pods, if they are known.
    pub(super) fn known(&self) -> Option<&[PodView]> {
        match self {
            Self::Known(pods) => Some(pods),
            Self::NotListed | Self::NoPlan(_) | Self::NotApplicable => None,
        }
    }
}

/// Whether the McpServer exists. Only the API server's own answer makes a server deleted: a snapshot may be young.
pub(super) enum Existing {
    /// It does.
    Server(Box<Dereferenced>),
    /// It does not.
    Gone,
}

/// Reads what is known of `key`.
pub(super) async fn dereference(controller: &Controller, key: &ObjectKey) -> Result<Existing, Error> {
    let context = &controller.context;
    let resource = ApiResource::erase::<McpServer>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &key.namespace, &resource);
    let Some(live) = api.get_opt(&key.name).await.map_err(Error::read("the McpServer"))? else {
        return Ok(Existing::Gone);
    };
    let entry = context.snapshot.borrow().servers.get(key).cloned().ok_or(Error::NotYetKnown)?;
    if entry.object.as_ref().is_some_and(|judged| is_older(&judged.metadata, &live.metadata)) {
        return Err(Error::NotYetKnown);
    }
    let pods = pods(controller, key, &entry).await?;
    let issuing = context.issuing.borrow().clone();
    Ok(Existing::Server(Box::new(Dereferenced { entry, object: readable(live)?, issuing, pods })))
}

/// Whether the registry `judged` an earlier spec than that of `live`, or another object: to write what follows from it
/// would take a newer policy back.
fn is_older(judged: &ObjectMeta, live: &ObjectMeta) -> bool {
    judged.uid != live.uid || judged.generation < live.generation
}

async fn pods(controller: &Controller, key: &ObjectKey, entry: &ServerEntry) -> Result<PodsRead, Error> {
    let settings = Arc::clone(&controller.context.settings.borrow());
    let plan = match Plan::new(&Target::of_entry(entry), &settings) {
        Ok(plan) => plan,
        Err(Refusal::NothingToGuard(_)) => return Ok(PodsRead::NotApplicable),
        Err(refusal) => return Ok(PodsRead::NoPlan(refusal.to_string())),
    };
    let pods = controller.pods.of_server(&controller.context.client, key, &plan).await?;
    Ok(pods.map_or(PodsRead::NotListed, PodsRead::Known))
}

/// The object with its status. A spec that cannot be read is replaced, because status must be written all the same; a
/// status that cannot be read is dropped, because it will be.
fn readable(live: DynamicObject) -> Result<McpServer, serde_json::Error> {
    let whole = serde_json::to_value(live)?;
    let stand_in = json!({"resourceUri": "", "port": 0});
    let with = |spec: Option<&Value>, keep_status: bool| {
        let mut object = whole.clone();
        if let Some(members) = object.as_object_mut() {
            if let Some(spec) = spec {
                members.insert("spec".to_owned(), spec.clone());
            }
            if !keep_status {
                members.remove("status");
            }
        }
        serde_json::from_value(object)
    };
    with(None, true)
        .or_else(|_| with(None, false))
        .or_else(|_| with(Some(&stand_in), true))
        .or_else(|_| with(Some(&stand_in), false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::same("u", Some(2), false)]
    #[case::edited_since("u", Some(3), true)]
    #[case::read_before_the_snapshot("u", Some(1), false)]
    #[case::made_anew("v", Some(1), true)]
    fn an_older_spec_is_not_written_over_a_newer_one(
        #[case] uid: &str,
        #[case] generation: Option<i64>,
        #[case] older: bool,
    ) {
        let meta =
            |uid: &str, generation| ObjectMeta { uid: Some(uid.to_owned()), generation, ..ObjectMeta::default() };
        assert_eq!(is_older(&meta("u", Some(2)), &meta(uid, generation)), older);
    }

    #[rstest]
    #[case::good(json!({"resourceUri": "https://a.example/mcp", "port": 1}), json!({"serverId": "x"}), "https://a.example/mcp", Some("x"))]
    #[case::bad_spec(json!({"port": "text"}), json!({"serverId": "x"}), "", Some("x"))]
    #[case::bad_status(json!({"resourceUri": "https://a.example/mcp", "port": 1}), json!({"serverId": 7}), "https://a.example/mcp", None)]
    #[case::both_bad(json!(7), json!([]), "", None)]
    fn status_can_be_written_whatever_the_spec(
        #[case] spec: Value,
        #[case] status: Value,
        #[case] resource: &str,
        #[case] server_id: Option<&str>,
    ) {
        let live = json!({
            "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": "a", "namespace": "acme", "uid": "u", "resourceVersion": "3", "generation": 2},
            "spec": spec, "status": status,
        });
        let server = readable(serde_json::from_value(live).unwrap()).unwrap();
        assert_eq!(server.spec.resource_uri, resource);
        assert_eq!(server.status.and_then(|status| status.server_id).as_deref(), server_id);
        assert_eq!(server.metadata.resource_version.as_deref(), Some("3"));
    }
}
