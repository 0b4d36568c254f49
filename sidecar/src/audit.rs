//! Step 9: one line per decision, under the tracing target `audit`. No token, no claim beyond subject and client, no
//! argument of a call.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

use http::HeaderMap;
use lumoauth_core::{config::ServerRef, policy::Identity};

/// The longest text of a client's that a line repeats, in bytes.
const MAX_FIELD_BYTES: usize = 256;

/// Names requests that carry no usable `X-Request-Id` themselves.
pub(crate) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let mut random = [0_u8; 6];
        // Without randomness the names are still unique within the process.
        let _ = aws_lc_rs::rand::fill(&mut random);
        Self { prefix: lumoauth_core::digest::hex(&random), next: AtomicU64::new(0) }
    }

    /// The request's own identifier where it is plain, else a new one.
    pub(crate) fn name<'a>(&self, headers: &'a HeaderMap) -> Cow<'a, str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
        match given.filter(|id| !id.is_empty() && id.len() <= 128 && id.bytes().all(plain)) {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))),
        }
    }
}

/// What a line says.
#[derive(Default)]
pub(crate) struct Line<'a> {
    pub(crate) server: Option<&'a ServerRef>,
    pub(crate) caller: Option<&'a Identity>,
    pub(crate) method: &'a str,
    pub(crate) name: &'a str,
    pub(crate) decision: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) request_id: &'a str,
}

impl Line<'_> {
    pub(crate) fn write(&self) {
        let (namespace, server) = self.server.map_or(("", ""), |server| (&*server.namespace, &*server.name));
        let (client, subject) =
            self.caller.map_or(("", ""), |caller| (caller.client.as_str(), caller.subject.as_str()));
        tracing::info!(
            target: "audit",
            namespace,
            server,
            client,
            subject = &*clean(subject),
            method = &*clean(self.method),
            name = &*clean(self.name),
            decision = self.decision,
            reason = self.reason,
            request_id = self.request_id,
        );
    }
}

/// `text` without control characters and other invisible ones, at most [`MAX_FIELD_BYTES`] long.
fn clean(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_FIELD_BYTES && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for c in text.chars() {
        let visible = !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        let c = if visible { c } else { '\u{fffd}' };
        if out.len() + c.len_utf8() > MAX_FIELD_BYTES {
            break;
        }
        out.push(c);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tools/call", "tools/call")]
    #[case("a\nb\u{1b}[31m", "a\u{fffd}b\u{fffd}[31m")]
    #[case("a\u{202e}b", "a\u{fffd}b")]
    #[case("müller", "müller")]
    fn fields_cannot_forge_lines(#[case] text: &str, #[case] written: &str) {
        assert_eq!(clean(text), written);
    }

    #[test]
    fn fields_are_bounded() {
        assert!(clean(&"ü".repeat(1000)).len() <= MAX_FIELD_BYTES);
        assert!(clean(&"a".repeat(1000)).len() <= MAX_FIELD_BYTES);
    }

    #[test]
    fn request_ids() {
        let ids = RequestIds::new();
        let with = |value: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static("x-request-id"),
                http::HeaderValue::from_static(value),
            )])
        };
        assert_eq!(ids.name(&with("abc-1")), "abc-1");
        assert_ne!(ids.name(&with("a b")), "a b");
        assert_ne!(ids.name(&HeaderMap::new()), ids.name(&HeaderMap::new()));
    }
}
