//! The router as clients see it, endpoint by endpoint.

mod assertions;
mod challenge;
mod devices;
mod differential;
mod discovery;
mod grants;
mod http;
mod people;
mod registry_api;
mod revocation;
mod token;
