//! MCP messages: a strict JSON-RPC reader, the agreement of headers and body, and the filtering of lists.

mod filter;
#[cfg(test)]
mod filter_tests;
mod message;
#[cfg(test)]
mod message_tests;
mod reader;
mod sse;

pub use filter::{FilterError, ListFilter};
pub use message::{
    Era, Kind, MAX_ID_BYTES, MAX_METHOD_BYTES, MAX_NAME_BYTES, MAX_TOOL_NAME_BYTES, McpHeaders, Message, Rejection,
    parse,
};
pub use sse::SseFilter;

/// How deep JSON may nest.
pub const MAX_DEPTH: usize = crate::json::MAX_DEPTH;
