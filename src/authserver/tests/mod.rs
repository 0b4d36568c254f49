//! The router as clients see it, endpoint by endpoint.

mod challenge;
mod discovery;
mod http;
mod registry_api;
mod token;
