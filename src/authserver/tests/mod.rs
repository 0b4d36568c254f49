//! The router as clients see it, endpoint by endpoint.

mod challenge;
mod discovery;
mod http;
mod people;
mod registry_api;
mod token;
