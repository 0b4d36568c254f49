//! MCP messages: a strict JSON-RPC reader, the agreement of headers and body, and the filtering of lists.

mod filter;
mod message;
mod reader;

pub use filter::{FilterError, ListFilter, SseFilter};
pub use message::{Era, Kind, McpHeaders, Message, Rejection, parse};

/// How deep JSON may nest.
pub const MAX_DEPTH: usize = 128;
