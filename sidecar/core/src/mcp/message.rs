//! One MCP message over HTTP, in both eras.

use crate::policy::Operation;

/// The headers that speak about the body. Each is every value the request carries under that name, in order, as
/// received: more than one is refused.
#[derive(Clone, Debug, Default)]
pub struct McpHeaders<'a> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Vec<&'a [u8]>,
    /// `Mcp-Method`.
    pub method: Vec<&'a [u8]>,
    /// `Mcp-Name`.
    pub name: Vec<&'a [u8]>,
}

/// Which generation of the protocol a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2026-07-28 and later: stateless, `Mcp-Method` and `Mcp-Name` required.
    Modern,
    /// 2025-11-25 and earlier: `initialize`, sessions.
    Legacy,
}

/// What the message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Answers a request of the server (legacy only).
    Response,
}

/// A message that was read strictly. What it says is what every parser behind us will read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Request, notification or response.
    pub kind: Kind,
    /// Which generation.
    pub era: Era,
    /// The `id` as JSON text, for the error we may have to answer with.
    pub id: Option<String>,
    /// `method`; empty for a response.
    pub method: String,
    /// `params.name`, `params.uri`, `params.taskId` or `params.ref`'s name, as the method has it.
    pub name: Option<String>,
}

impl Message {
    /// What the policy decides about.
    pub fn operation(&self) -> Operation<'_> {
        match self.kind {
            Kind::Response => Operation::Response,
            _ => Operation::Message { method: &self.method, name: self.name.as_deref() },
        }
    }
}

/// A body or header that is refused: HTTP 400 with a JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The JSON-RPC code: -32700, -32600, -32602 or -32020.
    pub code: i32,
    /// A text of ours; nothing of the request is echoed.
    pub message: &'static str,
    /// The request's `id` as JSON text, when it could be read.
    pub id: Option<String>,
}

/// Reads `body` strictly and holds `headers` against it.
pub fn parse(_body: &[u8], _headers: &McpHeaders<'_>) -> Result<Message, Rejection> {
    Err(Rejection { code: -32700, message: "the body is not JSON", id: None })
}
