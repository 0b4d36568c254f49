//! Lists show only what the token may use.

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{SseFilter, message::is_name};
use crate::{
    ScopeSet,
    json::{self, Member, RawObject, Reading, Seen},
    policy::{self, Operation, Policy},
};

/// A response that cannot be filtered is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's list could not be read")]
pub struct FilterError;

impl From<serde_json::Error> for FilterError {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// One kind of list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Tools,
    Prompts,
    Resources,
}

impl List {
    /// The member of the result that holds the entries.
    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
        }
    }

    /// The method that entries are used with.
    fn used_by(self) -> &'static str {
        match self {
            Self::Tools => "tools/call",
            Self::Prompts => "prompts/get",
            Self::Resources => "resources/read",
        }
    }

    /// What is read of a response.
    fn response(self) -> &'static [Member] {
        static TOOLS: [Member; 1] = response(&TOOLS_RESULT);
        static TOOLS_RESULT: [Member; 4] = result("tools");
        static PROMPTS: [Member; 1] = response(&PROMPTS_RESULT);
        static PROMPTS_RESULT: [Member; 4] = result("prompts");
        static RESOURCES: [Member; 1] = response(&RESOURCES_RESULT);
        static RESOURCES_RESULT: [Member; 4] = result("resources");
        match self {
            Self::Tools => &TOOLS,
            Self::Prompts => &PROMPTS,
            Self::Resources => &RESOURCES,
        }
    }

    /// What is read of an entry: what its user has to name.
    fn entry(self) -> &'static [Member] {
        static NAME: [Member; 1] = [Member::leaf("name", 0)];
        static URI: [Member; 1] = [Member::leaf("uri", 0)];
        match self {
            Self::Tools | Self::Prompts => &NAME,
            Self::Resources => &URI,
        }
    }
}

const fn response(inside: &'static [Member]) -> [Member; 1] {
    [Member::object("result", 0, inside)]
}

const fn result(list: &'static str) -> [Member; 4] {
    [Member::leaf(list, 1), Member::leaf("resultType", 2), Member::leaf("ttlMs", 3), Member::leaf(CACHE_SCOPE, 4)]
}

const CACHE_SCOPE: &str = "cacheScope";

/// Filters the answer to one list request for one token.
#[derive(Clone, Debug)]
pub struct ListFilter {
    policy: Arc<Policy>,
    granted: ScopeSet,
    list: List,
}

impl ListFilter {
    /// A filter by the policy in force when the request came, for a token with these scopes, if answers to `method` are
    /// lists that are filtered (`tools/list`, `prompts/list`, `resources/list`).
    pub fn for_method(method: &str, policy: &Arc<Policy>, granted: &ScopeSet) -> Option<Self> {
        let list = match method {
            "tools/list" => List::Tools,
            "prompts/list" => List::Prompts,
            "resources/list" => List::Resources,
            _ => return None,
        };
        Some(Self { policy: Arc::clone(policy), granted: granted.clone(), list })
    }

    /// Filters a JSON body. What carries no result (an error, a notification) comes back as it is.
    pub fn json(&self, body: &[u8]) -> Result<Vec<u8>, FilterError> {
        Ok(self.rewrite(body)?.unwrap_or_else(|| body.to_vec()))
    }

    /// A filter for an event stream; an event of more than `max_event_bytes` is refused.
    pub fn sse(self, max_event_bytes: usize) -> SseFilter {
        SseFilter::new(self, max_event_bytes)
    }

    /// The filtered message; `None` if there is nothing in it to filter.
    pub(super) fn rewrite(&self, message: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
        let Ok(Reading { values, ambiguity: None }) = json::read::<5>(message, self.list.response()) else {
            return Err(FilterError);
        };
        let [result, list, result_type, ttl, cache_scope] = values;
        match (&result, &list) {
            (Seen::Absent, _) => return Ok(None),
            (Seen::Object, Seen::Array) => {}
            // MCP 2026-07-28: the server asks back before it lists anything.
            (Seen::Object, Seen::Absent) if result_type == Seen::Text("input_required".into()) => return Ok(None),
            _ => return Err(FilterError),
        }
        // Only these results are cached; a list that depends on the token must not be shared.
        let modern = [result_type, ttl, cache_scope].iter().any(|seen| *seen != Seen::Absent);
        let RawObject(members) = serde_json::from_slice(message)?;
        let mut out = Vec::with_capacity(message.len());
        write_object(&mut out, members, |key, value| match key {
            "result" => self.result(value, modern).map(Some),
            _ => Ok(None),
        })?;
        Ok(Some(out))
    }

    fn result(&self, result: &RawValue, modern: bool) -> Result<Vec<u8>, FilterError> {
        let RawObject(mut members) = serde_json::from_str(result.get())?;
        if modern && !members.iter().any(|(key, _)| key == CACHE_SCOPE) {
            members.push((Cow::Borrowed(CACHE_SCOPE), RawValue::NULL));
        }
        let mut out = Vec::with_capacity(result.get().len());
        write_object(&mut out, members, |key, value| match key {
            CACHE_SCOPE => Ok(Some(br#""private""#.to_vec())),
            key if key == self.list.member() => self.entries(value).map(Some),
            _ => Ok(None),
        })?;
        Ok(out)
    }

    fn entries(&self, list: &RawValue) -> Result<Vec<u8>, FilterError> {
        let mut kept: Vec<&RawValue> = Vec::new();
        for entry in serde_json::from_str::<Vec<&RawValue>>(list.get())? {
            let Ok(Reading { values: [Seen::Text(name)], ambiguity: None }) =
                json::read(entry.get().as_bytes(), self.list.entry())
            else {
                return Err(FilterError);
            };
            if self.shows(&name) {
                kept.push(entry);
            }
        }
        Ok(serde_json::to_vec(&kept)?)
    }

    /// Whether using `name` would be permitted.
    fn shows(&self, name: &str) -> bool {
        let method = self.list.used_by();
        is_name(method, name)
            && policy::needed(&self.policy, Operation::Message { method, name: Some(name) })
                .is_ok_and(|needed| self.policy.hierarchy().satisfies(&self.granted, &needed))
    }
}

/// Writes an object with its members in order, each as it was spelt unless `replace` gives another text.
fn write_object(
    out: &mut Vec<u8>,
    members: Vec<(Cow<'_, str>, &RawValue)>,
    replace: impl Fn(&str, &RawValue) -> Result<Option<Vec<u8>>, FilterError>,
) -> Result<(), FilterError> {
    out.push(b'{');
    for (at, (key, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        key.serialize(&mut serde_json::Serializer::new(&mut *out))?;
        out.push(b':');
        match replace(&key, value)? {
            Some(text) => out.extend(text),
            None => out.extend(value.get().as_bytes()),
        }
    }
    out.push(b'}');
    Ok(())
}
