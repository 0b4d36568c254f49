//! Lists in single answers and in event streams.

use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    Scope, ScopeSet,
    policy::{DefaultRule, Effect, NamePattern, Policy, Rule, ScopeDeclaration, Selector},
};

fn set(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn filter(method: &str, granted: &str) -> ListFilter {
    let declared =
        ["read", "write"].map(|name| ScopeDeclaration { name: Scope::parse(name).unwrap(), implies: set("") });
    let name = |text: &str| vec![NamePattern::parse(text).unwrap()];
    let of = |method, names| Selector::Methods { methods: name(method), names: name(names) };
    let rules = vec![
        Rule { selector: Selector::Tools(name("write_*")), effect: Effect::Require(set("write")) },
        Rule { selector: Selector::Tools(name("delete")), effect: Effect::Deny },
        Rule { selector: of("prompts/get", "secret"), effect: Effect::Deny },
        Rule { selector: of("resources/read", "secret://*"), effect: Effect::Deny },
    ];
    let policy = Policy::new(declared.to_vec(), set("read"), rules, DefaultRule::RequireBase, None).unwrap();
    ListFilter::for_method(method, &Arc::new(policy), &set(granted)).unwrap()
}

fn json(granted: &str, body: &str) -> Result<String, FilterError> {
    filter("tools/list", granted).json(body.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn stream(chunks: &[&[u8]]) -> Result<String, FilterError> {
    let mut stream = filter("tools/list", "read").sse(4096);
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend(stream.push(chunk)?);
    }
    out.extend(stream.finish()?);
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn only_lists_are_filtered() {
    let policy = Arc::new(Policy::new(Vec::new(), set(""), Vec::new(), DefaultRule::Deny, None).unwrap());
    for method in ["tools/call", "resources/templates/list", "tasks/list", "Tools/list", ""] {
        assert!(ListFilter::for_method(method, &policy, &set("")).is_none());
    }
}

#[rstest]
#[case("read", r#"[{"name":"search"}]"#)]
#[case("read write", r#"[{"name":"search"},{ "x":1.0, "name":"write_a" }]"#)]
#[case("write", "[]")]
#[case("", "[]")]
fn a_list_shows_what_may_be_used(#[case] granted: &str, #[case] tools: &str) {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"search"},{ "x":1.0, "name":"write_a" },{"name":"delete"},{"name":"no such"}]}}"#;
    let expected = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{tools}}}}}"#);
    assert_eq!(json(granted, body).unwrap(), expected);
}

#[rstest]
#[case(
    "prompts/list",
    r#"{"id":1,"result":{"prompts":[{"name":"a b"},{"name":"secret"}]}}"#,
    r#"{"id":1,"result":{"prompts":[{"name":"a b"}]}}"#
)]
#[case(
    "resources/list",
    r#"{"id":1,"result":{"resources":[{"name":"n","uri":"a://b"},{"name":"n","uri":"SECRET://b"},{"name":"n","uri":"secret://b"},{"name":"n","uri":"%2573ecret://b"},{"name":"n","uri":"a://%ff"}]}}"#,
    r#"{"id":1,"result":{"resources":[{"name":"n","uri":"a://b"}]}}"#
)]
fn prompts_and_resources(#[case] method: &str, #[case] body: &str, #[case] expected: &str) {
    assert_eq!(filter(method, "read").json(body.as_bytes()).unwrap(), expected.as_bytes());
}

#[test]
fn everything_else_stays_as_it_was_spelt() {
    let body = r#" { "result" : {"nextCursor":"c\u0061","tools":[{"name":"search","n":1.50e3,"big":123456789012345678901}], "_meta":{"x":[ 1 ]}} , "id":"\u0061","jsonrpc":"2.0" } "#;
    let expected = r#"{"result":{"nextCursor":"c\u0061","tools":[{"name":"search","n":1.50e3,"big":123456789012345678901}],"_meta":{"x":[ 1 ]}},"id":"\u0061","jsonrpc":"2.0"}"#;
    assert_eq!(json("read", body).unwrap(), expected);
}

#[rstest]
#[case::public(
    r#"{"result":{"tools":[],"cacheScope":"public","ttlMs":1}}"#,
    r#"{"result":{"tools":[],"cacheScope":"private","ttlMs":1}}"#
)]
#[case::odd(r#"{"result":{"cacheScope":7,"tools":[]}}"#, r#"{"result":{"cacheScope":"private","tools":[]}}"#)]
#[case::absent(r#"{"result":{"tools":[],"ttlMs":1}}"#, r#"{"result":{"tools":[],"ttlMs":1,"cacheScope":"private"}}"#)]
#[case::modern(
    r#"{"result":{"resultType":"complete","tools":[]}}"#,
    r#"{"result":{"resultType":"complete","tools":[],"cacheScope":"private"}}"#
)]
#[case::next_page(
    r#"{"result":{"tools":[],"nextCursor":"2","cacheScope":"public"}}"#,
    r#"{"result":{"tools":[],"nextCursor":"2","cacheScope":"private"}}"#
)]
#[case::legacy(r#"{"result":{"tools":[]}}"#, r#"{"result":{"tools":[]}}"#)]
fn mcp_r22_filtered_lists_are_private(#[case] body: &str, #[case] expected: &str) {
    assert_eq!(json("read", body).unwrap(), expected);
}

#[rstest]
#[case(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#)]
#[case(r#" {"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"delete"}]}} "#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{}}}"#)]
fn what_is_no_list_passes(#[case] body: &str) {
    assert_eq!(json("read", body).unwrap(), body);
}

#[rstest]
#[case("")]
#[case("null")]
#[case("<html>")]
#[case(r#"[{"id":1,"result":{"tools":[]}}]"#)]
#[case(r#"{"result":{"tools":[]}}{}"#)]
#[case(r#"{"result":null}"#)]
#[case(r#"{"result":[]}"#)]
#[case(r#"{"result":{}}"#)]
#[case(r#"{"result":{"resultType":"complete"}}"#)]
#[case(r#"{"result":{"tools":null}}"#)]
#[case(r#"{"result":{"tools":{}}}"#)]
#[case(r#"{"result":{"tools":["search"]}}"#)]
#[case(r#"{"result":{"tools":[{}]}}"#)]
#[case(r#"{"result":{"tools":[{"name":1}]}}"#)]
#[case(r#"{"result":{"tools":[{"name":"search","Name":"delete"}]}}"#)]
#[case(r#"{"result":{"tools":[{"name":"search","name":"delete"}]}}"#)]
#[case(r#"{"result":{"tools":[],"tools":[{"name":"delete"}]}}"#)]
#[case(r#"{"result":{"tools":[],"Tools":[{"name":"delete"}]}}"#)]
#[case(r#"{"result":{"tools":[]},"Result":{"tools":[{"name":"delete"}]}}"#)]
#[case(r#"{"Result":{"tools":[{"name":"delete"}]}}"#)]
#[case(r#"{"result":{"resultType":"input_required","Tools":[{"name":"delete"}]}}"#)]
fn what_cannot_be_read_is_not_passed_on(#[case] body: &str) {
    assert_eq!(json("read", body), Err(FilterError));
    if !body.is_empty() {
        assert_eq!(stream(&[format!("data: {body}\n\n").as_bytes()]), Err(FilterError));
    }
}

const LIST: &str = r#"{"id":1,"result":{"tools":[{"name":"search"},{"name":"delete"}]}}"#;
const SHOWN: &str = r#"{"id":1,"result":{"tools":[{"name":"search"}]}}"#;

#[rstest]
#[case::lf("data: LIST\n\n", "data: SHOWN\n\n")]
#[case::crlf("data: LIST\r\n\r\n", "data: SHOWN\r\n\r\n")]
#[case::cr("data: LIST\r\r", "data: SHOWN\r\r")]
#[case::mixed("event: message\rid: 1\r\ndata:LIST\n\r\n", "event: message\rid: 1\r\ndata: SHOWN\n\r\n")]
#[case::fields(
    "id: 7\nevent: message\nretry: 5\n: note\ndata: LIST\nx: y\n\n",
    "id: 7\nevent: message\nretry: 5\n: note\ndata: SHOWN\nx: y\n\n"
)]
#[case::bom("\u{feff}data: LIST\n\n", "data: SHOWN\n\n")]
#[case::unfinished("data: LIST\n", "data: SHOWN\n")]
#[case::unfinished_line("data: LIST", "data: SHOWN\n")]
#[case::two("data: LIST\n\ndata: LIST\n\n", "data: SHOWN\n\ndata: SHOWN\n\n")]
#[case::second_data_line_empty("data: LIST\ndata\n\n", "data: SHOWN\n\n")]
#[case::other_event("event: other\ndata: LIST\n\n", "event: other\ndata: SHOWN\n\n")]
fn events_with_a_list_are_filtered(#[case] text: &str, #[case] expected: &str) {
    let expected = expected.replace("SHOWN", SHOWN);
    assert_eq!(stream(&[text.replace("LIST", LIST).as_bytes()]).unwrap(), expected);
}

#[test]
fn a_message_over_several_data_lines() {
    let text = "data: {\"result\":\ndata:  {\"tools\":[\r\ndata: {\"name\":\"delete\"},\ndata: {\"x\":\ndata: 1,\"name\":\"search\"}]}}\n\n";
    let expected = "data: {\"result\":{\"tools\":[{\"x\":\ndata: 1,\"name\":\"search\"}]}}\n\n";
    assert_eq!(stream(&[text.as_bytes()]).unwrap(), expected);
}

#[rstest]
#[case("")]
#[case("\n\n\r\n")]
#[case(": ping\n\n")]
#[case("id: 1\ndata:\n\n")]
#[case("id: 1\nretry: 100\n\n")]
#[case("event: ping\n\n")]
#[case("data: {\"method\":\"notifications/progress\",  \"params\":{}}\r\n\r\n")]
#[case("database: x\n\n")]
#[case(" data: x\n\n")]
#[case("data: {\"id\":1,\"error\":{}}")]
#[case("\u{feff}: hello\n\n")]
#[case("dat")]
fn other_events_pass_byte_for_byte(#[case] text: &str) {
    assert_eq!(stream(&[text.as_bytes()]).unwrap(), text);
}

#[test]
fn comments_and_finished_events_do_not_wait() {
    let mut open = filter("tools/list", "read").sse(4096);
    assert_eq!(open.push(b": ping\n").unwrap(), b": ping\n");
    assert_eq!(open.push(b"data: {\"method\":\"x\"}\n").unwrap(), b"");
    assert_eq!(open.push(b"\n").unwrap(), b"data: {\"method\":\"x\"}\n\n");
    assert_eq!(open.push(b": ping\r").unwrap(), b": ping\r");
    assert_eq!(open.push(b"\n").unwrap(), b"\n");
    assert_eq!(open.finish().unwrap(), b"");
}

#[test]
fn an_event_is_limited_in_size() {
    let mut open = filter("tools/list", "read").sse(64);
    for _ in 0..100 {
        assert!(open.push(b"data: {\"method\":\"notifications/x\"}\n\n").is_ok());
    }
    assert_eq!(open.push(&[b'x'; 65]), Err(FilterError));
    let mut open = filter("tools/list", "read").sse(64);
    assert!((0..100).any(|_| open.push(b"id: 1\r\n").is_err()));
}

/// The data a client dispatches, read the simple way.
fn dispatched(stream: &str) -> Vec<String> {
    let text = stream.strip_prefix('\u{feff}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
    let events = text.split("\n\n").map(|event| {
        let data = event.lines().filter(|line| line.split(':').next() == Some("data"));
        data.map(|line| line.strip_prefix("data:").unwrap_or_default().trim_start_matches(' ')).collect::<Vec<_>>()
    });
    events.map(|data| data.join("\n")).filter(|data| !data.is_empty()).collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same_stream(
        parts in proptest::collection::vec(proptest::sample::select(&[
            "\r", "\n", "\r\n", "\n\n", "data: ", "data:", ": c", "id: 1", "\u{feff}", LIST, "{\"method\":", "\"x\"}", "data",
        ][..]), 0..24),
        cuts in proptest::collection::vec(0_usize..2000, 0..6),
    ) {
        let text = parts.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let whole = stream(&[text.as_bytes()]);
        prop_assert_eq!(&stream(&chunks), &whole);
        prop_assert_eq!(&stream(&bytes), &whole);
        if let Ok(out) = whole {
            let (before, after) = (dispatched(&text), dispatched(&out));
            prop_assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(&after) {
                let expected = before.replace(LIST, SHOWN);
                prop_assert_eq!(after.trim(), expected.trim());
            }
        }
    }
}
