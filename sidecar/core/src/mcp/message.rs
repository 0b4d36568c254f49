//! One MCP message over HTTP, in both eras.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::reader::{self, Envelope};
use crate::{
    json::{JsonError, Seen},
    policy::Operation,
};

/// The longest request identifier, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// The longest method, in bytes.
pub const MAX_METHOD_BYTES: usize = 128;
/// The longest name a method is applied to, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// The longest tool name, in bytes (MCP 2025-11-25, Tools, Tool Names).
pub const MAX_TOOL_NAME_BYTES: usize = 128;

/// The first protocol version of [`Era::Modern`].
const FIRST_MODERN: &str = "2026-07-28";
/// The protocol versions before it; no other was ever released.
const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The method that opens a stream of notifications, and says in `params.notifications` of what.
const LISTEN: &str = "subscriptions/listen";

const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const INVALID_PARAMS: i32 = -32_602;
const HEADER_MISMATCH: i32 = -32_020;
const UNSUPPORTED_VERSION: i32 = -32_022;

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
    /// The resource URIs that a `subscriptions/listen` asks to hear of; empty for every other method.
    pub heard_resources: Vec<String>,
    /// The tasks that a `subscriptions/listen` asks to hear of; empty for every other method.
    pub heard_tasks: Vec<String>,
}

impl Message {
    /// What the policy decides about.
    pub fn operation(&self) -> Operation<'_> {
        match self.kind {
            Kind::Response => Operation::Response,
            Kind::Request | Kind::Notification if self.method == LISTEN => {
                Operation::Listen { resources: &self.heard_resources, tasks: &self.heard_tasks }
            }
            Kind::Request | Kind::Notification => {
                Operation::Message { method: &self.method, name: self.name.as_deref() }
            }
        }
    }
}

/// A body or header that is refused: HTTP 400 with a JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The JSON-RPC code: -32700, -32600, -32602, -32020 or -32022.
    pub code: i32,
    /// A text of ours; nothing of the request is echoed.
    pub message: &'static str,
    /// The JSON-RPC `data`. With -32022 `supported` and `requested`, which are protocol versions; `None` with all others.
    pub data: Option<Value>,
    /// The request's `id` as JSON text, when it could be read.
    pub id: Option<String>,
}

/// Code and text of a [`Rejection`].
type Refusal = (i32, &'static str);

/// Reads `body` strictly and holds `headers` against it.
pub fn parse(body: &[u8], headers: &McpHeaders<'_>) -> Result<Message, Rejection> {
    let reject = |(code, message): Refusal, id| {
        let data = (code == UNSUPPORTED_VERSION).then(|| versions(headers));
        Rejection { code, message, data, id }
    };
    let (envelope, ambiguity) = reader::read(body).map_err(|error| reject(unreadable(error), None))?;
    ambiguity
        .map_or_else(|| judge(&envelope, headers), |error| Err(unreadable(error)))
        .map_err(|refusal| reject(refusal, id(&envelope.id)))
}

/// What a client needs to choose another version (MCP 2026-07-28, Versioning, Protocol Version Negotiation).
fn versions(headers: &McpHeaders<'_>) -> Value {
    let supported: Vec<_> = std::iter::once(FIRST_MODERN).chain(LEGACY.into_iter().rev()).collect();
    let requested: Vec<_> = headers.protocol_version.iter().map(|version| String::from_utf8_lossy(version)).collect();
    json!({"supported": supported, "requested": requested.concat()})
}

fn unreadable(error: JsonError) -> Refusal {
    match error {
        JsonError::Syntax => (PARSE_ERROR, "the body is not valid JSON"),
        JsonError::NotAnObject => (INVALID_REQUEST, "the body must be one JSON-RPC message, not a batch"),
        JsonError::TooDeep => (INVALID_REQUEST, "the body is nested too deeply"),
        JsonError::DuplicateKey => (INVALID_REQUEST, "a key appears twice in one object"),
        JsonError::LookAlikeKey => (INVALID_REQUEST, "a key differs from one of the protocol only in case"),
    }
}

fn judge(envelope: &Envelope<'_>, headers: &McpHeaders<'_>) -> Result<Message, Refusal> {
    if !matches!(&envelope.jsonrpc, Seen::Text(version) if version == "2.0") {
        return Err((INVALID_REQUEST, "jsonrpc must be \"2.0\""));
    }
    let (kind, method) = shape(envelope)?;
    let era = era(envelope, headers, kind)?;
    if era == Era::Modern && kind == Kind::Response {
        return Err((INVALID_REQUEST, "this protocol version has no responses of clients"));
    }
    let name = name(envelope, method)?;
    agree(headers, era, method, name)?;
    let (heard_resources, heard_tasks) = topics(envelope, method)?;
    Ok(Message {
        kind,
        era,
        id: id(&envelope.id),
        method: method.to_owned(),
        name: name.map(str::to_owned),
        heard_resources,
        heard_tasks,
    })
}

/// `id` as JSON text: a string or a whole number (JSON-RPC 2.0 §4; MCP allows no `null`).
fn id(id: &Seen<'_>) -> Option<String> {
    match id {
        Seen::Integer(number) => Some(number.clone()),
        Seen::Text(text) if text.len() <= MAX_ID_BYTES => serde_json::to_string(text).ok(),
        _ => None,
    }
}

/// Exactly one of the three shapes of JSON-RPC 2.0 §4 and §5, and the method (empty for a response).
fn shape<'a>(envelope: &'a Envelope<'_>) -> Result<(Kind, &'a str), Refusal> {
    let has_id = envelope.id != Seen::Absent;
    if has_id && id(&envelope.id).is_none() {
        return Err((INVALID_REQUEST, "id must be a string of at most 256 bytes or a whole number"));
    }
    let one_outcome = (envelope.result == Seen::Absent) != (envelope.error == Seen::Absent);
    match &envelope.method {
        Seen::Absent if has_id && one_outcome && envelope.params == Seen::Absent => Ok((Kind::Response, "")),
        Seen::Text(_) if envelope.result != Seen::Absent || envelope.error != Seen::Absent => {
            Err((INVALID_REQUEST, "a message is a request or a response, not both"))
        }
        Seen::Text(method) if !is_method(method) => Err((INVALID_REQUEST, "method is not a method name")),
        Seen::Text(_) if !matches!(envelope.params, Seen::Absent | Seen::Object) => {
            Err((INVALID_REQUEST, "params must be an object"))
        }
        Seen::Text(method) if has_id && method.starts_with("notifications/") => {
            Err((INVALID_REQUEST, "a notification has no id"))
        }
        Seen::Text(method) => Ok((if has_id { Kind::Request } else { Kind::Notification }, method)),
        _ => Err((INVALID_REQUEST, "the body is not a JSON-RPC request, notification or response")),
    }
}

fn is_method(method: &str) -> bool {
    (1..=MAX_METHOD_BYTES).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_graphic())
}

/// The era that header and body agree on (MCP 2026-07-28, Streamable HTTP, Protocol Version Header).
fn era(envelope: &Envelope<'_>, headers: &McpHeaders<'_>, kind: Kind) -> Result<Era, Refusal> {
    let named = match headers.protocol_version.as_slice() {
        [] => None,
        [version] => match era_of(version) {
            Some(era) => Some((*version, era)),
            None if is_version(version) => return Err((UNSUPPORTED_VERSION, "this protocol version is not supported")),
            None => return Err((INVALID_REQUEST, "MCP-Protocol-Version is malformed")),
        },
        _ => return Err((INVALID_REQUEST, "MCP-Protocol-Version is repeated")),
    };
    if !matches!(envelope.meta, Seen::Absent | Seen::Object) {
        return Err((INVALID_PARAMS, "params._meta must be an object"));
    }
    match (&envelope.version, named) {
        (Seen::Text(body), Some((header, era))) if body.as_bytes() == header => Ok(era),
        (Seen::Text(_), Some(_)) => Err((HEADER_MISMATCH, "MCP-Protocol-Version differs from the body")),
        (Seen::Text(_), None) => Err((HEADER_MISMATCH, "MCP-Protocol-Version is missing")),
        // Only requests must repeat their version in the body.
        (Seen::Absent, Some((_, Era::Modern))) if kind == Kind::Request => {
            Err((INVALID_PARAMS, "params._meta lacks io.modelcontextprotocol/protocolVersion"))
        }
        (Seen::Absent, Some((_, era))) => Ok(era),
        // MCP 2025-06-18: a server that gets no header assumes 2025-03-26.
        (Seen::Absent, None) => Ok(Era::Legacy),
        _ => Err((INVALID_PARAMS, "io.modelcontextprotocol/protocolVersion must be a string")),
    }
}

fn era_of(version: &[u8]) -> Option<Era> {
    let version = std::str::from_utf8(version).ok()?;
    if LEGACY.contains(&version) {
        return Some(Era::Legacy);
    }
    (is_date(version) && version >= FIRST_MODERN).then_some(Era::Modern)
}

/// Whether this may be the name of some version, such as a date or `DRAFT-2026-v1`: short, and safe to repeat.
fn is_version(version: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=32).contains(&version.len()) && version.iter().all(plain)
}

/// `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |digits: usize, range: std::ops::RangeInclusive<u32>| {
        parts.next().is_some_and(|part| {
            part.len() == digits
                && part.bytes().all(|b| b.is_ascii_digit())
                && part.parse().is_ok_and(|number| range.contains(&number))
        })
    };
    let date = part(4, 2000..=9999) && part(2, 1..=12) && part(2, 1..=31);
    date && parts.next().is_none()
}

/// What `method` is applied to, from the one place where it stands.
fn name<'a>(envelope: &'a Envelope<'_>, method: &str) -> Result<Option<&'a str>, Refusal> {
    let seen = match method {
        "tools/call" | "prompts/get" => &envelope.name,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => &envelope.uri,
        "completion/complete" => reference(envelope)?,
        "tasks/list" => return Ok(None),
        task if task.starts_with("tasks/") => &envelope.task,
        _ => return Ok(None),
    };
    match seen {
        Seen::Text(name) if is_name(method, name) => Ok(Some(name)),
        Seen::Text(_) => Err((INVALID_PARAMS, "params holds a name that is not acceptable")),
        Seen::Absent => Err((INVALID_PARAMS, "params lacks the name that the method needs")),
        _ => Err((INVALID_PARAMS, "params holds a name that is not a string")),
    }
}

/// A prompt's name or a resource template's URI. One that holds both could be read as either.
fn reference<'a, 'b>(envelope: &'a Envelope<'b>) -> Result<&'a Seen<'b>, Refusal> {
    let Envelope { reference_type, reference_name, reference_uri, .. } = envelope;
    match reference_type {
        Seen::Text(kind) if kind == "ref/prompt" && *reference_uri == Seen::Absent => Ok(reference_name),
        Seen::Text(kind) if kind == "ref/resource" && *reference_name == Seen::Absent => Ok(reference_uri),
        _ => Err((INVALID_PARAMS, "params.ref is neither a ref/prompt with a name nor a ref/resource with a uri")),
    }
}

/// The resources and tasks of `subscriptions/listen` (MCP 2026-07-28, Subscriptions).
fn topics(envelope: &Envelope<'_>, method: &str) -> Result<(Vec<String>, Vec<String>), Refusal> {
    if method != LISTEN {
        return Ok((Vec::new(), Vec::new()));
    }
    if !matches!(envelope.notifications, Seen::Absent | Seen::Object) {
        return Err((INVALID_PARAMS, "params.notifications must be an object"));
    }
    let names = |seen: &Seen<'_>, method| match seen {
        Seen::Absent => Ok(Vec::new()),
        Seen::Texts(names) if names.iter().all(|name| is_name(method, name)) => {
            Ok(names.iter().map(|name| name.clone().into_owned()).collect())
        }
        Seen::Texts(_) => Err((INVALID_PARAMS, "params.notifications holds a name that is not acceptable")),
        _ => Err((INVALID_PARAMS, "params.notifications must name its topics as lists of at most 64 strings")),
    };
    Ok((names(&envelope.heard_resources, "resources/subscribe")?, names(&envelope.heard_tasks, "tasks/get")?))
}

/// Whether `method` may be applied to `name`. Tool names are held to the specification's character set, so that no two
/// of them look alike or differ by what a server trims.
pub(super) fn is_name(method: &str, name: &str) -> bool {
    if method == "tools/call" {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        (1..=MAX_TOOL_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
    } else {
        (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
    }
}

/// The headers must say what the body says (SEP-2243). Legacy requests need not carry them.
fn agree(headers: &McpHeaders<'_>, era: Era, method: &str, name: Option<&str>) -> Result<(), Refusal> {
    match headers.method.as_slice() {
        [] if era == Era::Legacy => {}
        [] => return Err((HEADER_MISMATCH, "Mcp-Method is missing")),
        [value] if *value == method.as_bytes() => {}
        [_] => return Err((HEADER_MISMATCH, "Mcp-Method differs from the body")),
        _ => return Err((HEADER_MISMATCH, "Mcp-Method is repeated")),
    }
    match headers.name.as_slice() {
        [] if era == Era::Modern && needs_name_header(method) => Err((HEADER_MISMATCH, "Mcp-Name is missing")),
        [] => Ok(()),
        [value] => match decode(value) {
            None => Err((HEADER_MISMATCH, "Mcp-Name is malformed")),
            decoded if decoded.as_deref() == name => Ok(()),
            Some(_) => Err((HEADER_MISMATCH, "Mcp-Name differs from the body")),
        },
        _ => Err((HEADER_MISMATCH, "Mcp-Name is repeated")),
    }
}

/// The methods for which the specification requires `Mcp-Name`; for others it is only compared.
fn needs_name_header(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read" | "tasks/get" | "tasks/update" | "tasks/cancel")
}

/// A header's text: printable ASCII as it stands, or the base64 of UTF-8 between `=?base64?` and `?=`.
fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    match text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned),
        None if text.bytes().all(|b| matches!(b, 0x20..=0x7e)) => Some(Cow::Borrowed(text)),
        None => None,
    }
}
