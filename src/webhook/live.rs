//! One McpServer, read now: a pod and its McpServer are often created by the same command.

use std::future::Future;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};

use crate::{api::v1alpha1::McpServer, inject::Target, registry::ObjectKey};

/// An McpServer that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The API server took too long.
    #[error("the API server did not answer in time")]
    Timeout,
    /// The API server refused, or could not be asked.
    #[error(transparent)]
    Api(#[from] Box<kube::Error>),
}

/// Who can read one McpServer.
pub trait Lookup: Send + Sync + 'static {
    /// The target that `key` is; `None` if there is no such McpServer.
    fn read(&self, key: &ObjectKey) -> impl Future<Output = Result<Option<Target>, LookupError>> + Send;
}

impl Lookup for Client {
    async fn read(&self, key: &ObjectKey) -> Result<Option<Target>, LookupError> {
        let resource = ApiResource::erase::<McpServer>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.clone(), &key.namespace, &resource);
        let found = api.get_opt(&key.name).await.map_err(Box::new)?;
        // One that cannot be read is injected all the same, and its sidecar denies.
        Ok(found.map(|object| match object.try_parse::<McpServer>() {
            Ok(server) => Target::of_object(key.clone(), &server),
            Err(_) => Target::unreadable(key.clone()),
        }))
    }
}
