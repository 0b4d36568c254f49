//! What we read of a JSON-RPC message, and at which level: nothing else of it has a meaning for us.

use crate::json::{self, JsonError, Member, Reading, Seen};

/// Where a modern request repeats its protocol version.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

const SLOTS: usize = 18;

/// The most resources, and the most tasks, that one message may ask to hear of.
const MAX_TOPICS: usize = 64;

static MESSAGE: [Member; 6] = [
    Member::leaf("jsonrpc", 0),
    Member::leaf("id", 1),
    Member::leaf("method", 2),
    Member::object("params", 3, &PARAMS),
    Member::leaf("result", 4),
    Member::leaf("error", 5),
];

static PARAMS: [Member; 6] = [
    Member::leaf("name", 6),
    Member::leaf("uri", 7),
    Member::leaf("taskId", 8),
    Member::object("ref", 9, &REFERENCE),
    Member::object("_meta", 10, &META),
    Member::object("notifications", 15, &NOTIFICATIONS),
];

static REFERENCE: [Member; 3] = [Member::leaf("type", 11), Member::leaf("name", 12), Member::leaf("uri", 13)];

static META: [Member; 1] = [Member::leaf(VERSION_KEY, 14)];

static NOTIFICATIONS: [Member; 2] =
    [Member::list("resourceSubscriptions", 16, MAX_TOPICS), Member::list("taskIds", 17, MAX_TOPICS)];

/// The members of a message that we read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) jsonrpc: Seen<'a>,
    pub(super) id: Seen<'a>,
    pub(super) method: Seen<'a>,
    pub(super) params: Seen<'a>,
    pub(super) result: Seen<'a>,
    pub(super) error: Seen<'a>,
    /// `params.name`.
    pub(super) name: Seen<'a>,
    /// `params.uri`.
    pub(super) uri: Seen<'a>,
    /// `params.taskId`.
    pub(super) task: Seen<'a>,
    /// `params.ref`.
    pub(super) reference: Seen<'a>,
    /// `params._meta`.
    pub(super) meta: Seen<'a>,
    /// `params.ref.type`.
    pub(super) reference_type: Seen<'a>,
    /// `params.ref.name`.
    pub(super) reference_name: Seen<'a>,
    /// `params.ref.uri`.
    pub(super) reference_uri: Seen<'a>,
    /// The protocol version in `params._meta`.
    pub(super) version: Seen<'a>,
    /// `params.notifications`.
    pub(super) notifications: Seen<'a>,
    /// `params.notifications.resourceSubscriptions`.
    pub(super) heard_resources: Seen<'a>,
    /// `params.notifications.taskIds`.
    pub(super) heard_tasks: Seen<'a>,
}

/// Reads a message, and says why it must be refused although it could be read.
pub(super) fn read(body: &[u8]) -> Result<(Envelope<'_>, Option<JsonError>), JsonError> {
    let Reading { values, ambiguity } = json::read::<SLOTS>(body, &MESSAGE)?;
    // In the order of the slots.
    let [
        jsonrpc,
        id,
        method,
        params,
        result,
        error,
        name,
        uri,
        task,
        reference,
        meta,
        reference_type,
        reference_name,
        reference_uri,
        version,
        notifications,
        heard_resources,
        heard_tasks,
    ] = values;
    let envelope = Envelope {
        jsonrpc,
        id,
        method,
        params,
        result,
        error,
        name,
        uri,
        task,
        reference,
        meta,
        reference_type,
        reference_name,
        reference_uri,
        version,
        notifications,
        heard_resources,
        heard_tasks,
    };
    Ok((envelope, ambiguity))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each member's text is its own path, so that a slot in the wrong place shows.
    #[test]
    fn every_member_is_read_from_its_own_place() {
        let body = br#"{"jsonrpc":"jsonrpc","id":"id","method":"method","result":"result","error":"error","name":"no",
            "params":{"name":"params.name","uri":"params.uri","taskId":"params.taskId",
            "ref":{"type":"ref.type","name":"ref.name","uri":"ref.uri"},
            "_meta":{"io.modelcontextprotocol/protocolVersion":"version","name":"no"},
            "notifications":{"resourceSubscriptions":["resources"],"taskIds":["tasks"],"taskId":"no"},
            "arguments":{"name":"no","Name":"no","_meta":{"x":1}}}}"#;
        let text = |text: &'static str| Seen::Text(text.into());
        let expected = Envelope {
            jsonrpc: text("jsonrpc"),
            id: text("id"),
            method: text("method"),
            params: Seen::Object,
            result: text("result"),
            error: text("error"),
            name: text("params.name"),
            uri: text("params.uri"),
            task: text("params.taskId"),
            reference: Seen::Object,
            meta: Seen::Object,
            reference_type: text("ref.type"),
            reference_name: text("ref.name"),
            reference_uri: text("ref.uri"),
            version: text("version"),
            notifications: Seen::Object,
            heard_resources: Seen::Texts(vec!["resources".into()]),
            heard_tasks: Seen::Texts(vec!["tasks".into()]),
        };
        assert_eq!(read(body), Ok((expected, None)));
    }
}
