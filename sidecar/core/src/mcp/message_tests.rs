//! One table per rule of reading a message; security.md C.3 rows 48-58.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::policy::Operation;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;

/// A legacy request without headers.
fn legacy(body: &str) -> Result<Message, Rejection> {
    parse(body.as_bytes(), &McpHeaders::default())
}

/// The code of a refusal; 0 for none.
fn code(outcome: &Result<Message, Rejection>) -> i32 {
    outcome.as_ref().map_or_else(|rejection| rejection.code, |_| 0)
}

fn headers<'a>(version: &'a [&'a str], method: &'a [&'a str], name: &'a [&'a str]) -> McpHeaders<'a> {
    let bytes = |values: &'a [&'a str]| values.iter().map(|value| value.as_bytes()).collect();
    McpHeaders { protocol_version: bytes(version), method: bytes(method), name: bytes(name) }
}

fn call(name: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{{}}}}}}"#)
}

#[test]
fn a_request_says_what_it_wants() {
    let message = legacy(&call(r#""search""#)).unwrap();
    assert_eq!(
        message,
        Message {
            kind: Kind::Request,
            era: Era::Legacy,
            id: Some("1".to_owned()),
            method: "tools/call".to_owned(),
            name: Some("search".to_owned()),
            heard_resources: Vec::new(),
            heard_tasks: Vec::new(),
        }
    );
    assert_eq!(message.operation(), Operation::Message { method: "tools/call", name: Some("search") });
}

#[rstest]
#[case::request(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Some(Kind::Request))]
#[case::request_with_params(r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#, Some(Kind::Request))]
#[case::extra_members(r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":[1]}"#, Some(Kind::Request))]
#[case::notification(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Some(Kind::Notification))]
#[case::result(r#"{"jsonrpc":"2.0","id":1,"result":{"name":"x"}}"#, Some(Kind::Response))]
#[case::null_result(r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Some(Kind::Response))]
#[case::error(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, Some(Kind::Response))]
#[case::result_and_method(r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, None)]
#[case::error_and_method(r#"{"jsonrpc":"2.0","method":"notifications/x","error":null}"#, None)]
#[case::result_and_error(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, None)]
#[case::result_and_params(r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#, None)]
#[case::result_without_id(r#"{"jsonrpc":"2.0","result":{}}"#, None)]
#[case::null_method(r#"{"jsonrpc":"2.0","id":1,"method":null,"result":{}}"#, None)]
#[case::nothing(r#"{"jsonrpc":"2.0","id":1}"#, None)]
#[case::empty("{}", None)]
#[case::version_missing(r#"{"id":1,"method":"ping"}"#, None)]
#[case::version_1(r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, None)]
#[case::version_number(r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, None)]
#[case::version_integer(r#"{"jsonrpc":2,"id":1,"method":"ping"}"#, None)]
#[case::method_number(r#"{"jsonrpc":"2.0","id":1,"method":1}"#, None)]
#[case::method_list(r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#, None)]
#[case::method_empty(r#"{"jsonrpc":"2.0","id":1,"method":""}"#, None)]
#[case::method_space(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call "}"#, None)]
#[case::method_nul(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000"}"#, None)]
#[case::method_fullwidth(r#"{"jsonrpc":"2.0","id":1,"method":"ｔools/call"}"#, None)]
#[case::notification_with_id(r#"{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled"}"#, None)]
#[case::notification_with_id_and_any_name(r#"{"jsonrpc":"2.0","id":"a","method":"notifications/x","params":{}}"#, None)]
#[case::notification_with_no_name(r#"{"jsonrpc":"2.0","id":1,"method":"notifications/"}"#, None)]
#[case::params_list(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":["x"]}"#, None)]
#[case::params_null(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, None)]
#[case::params_text(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"{}"}"#, None)]
fn jsonrpc_4_exactly_one_shape(#[case] body: &str, #[case] kind: Option<Kind>) {
    let outcome = legacy(body);
    assert_eq!(outcome.as_ref().ok().map(|message| message.kind), kind);
    assert_eq!(code(&outcome), if kind.is_some() { 0 } else { -32600 });
}

#[rstest]
#[case("0", Some("0"))]
#[case("-7", Some("-7"))]
#[case("18446744073709551615", Some("18446744073709551615"))]
#[case(r#""a""#, Some(r#""a""#))]
#[case(r#""""#, Some(r#""""#))]
#[case(r#""\u0061\"\n""#, Some(r#""a\"\n""#))]
#[case("null", None)]
#[case("1.0", None)]
#[case("1e2", None)]
#[case("-0", None)]
#[case("18446744073709551616", None)]
#[case("true", None)]
#[case("[1]", None)]
#[case("{}", None)]
fn mcp_id_is_a_string_or_a_whole_number(#[case] id: &str, #[case] expected: Option<&str>) {
    let outcome = legacy(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
    match expected {
        Some(text) => assert_eq!(outcome.unwrap().id.as_deref(), Some(text)),
        None => assert_eq!((code(&outcome), outcome.unwrap_err().id), (-32600, None)),
    }
}

#[test]
fn id_is_limited_in_size() {
    let with = |length| legacy(&format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "i".repeat(length)));
    assert_eq!((code(&with(256)), code(&with(257))), (0, -32600));
}

#[rstest]
#[case::not_json("{", -32700, None)]
#[case::two_documents(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#, -32700, None)]
#[case::bom("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", -32700, None)]
#[case::batch(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, None)]
#[case::text(r#""ping""#, -32600, None)]
#[case::duplicate_method(r#"{"jsonrpc":"2.0","method":"ping","method":"tools/call","id":1}"#, -32600, Some("1"))]
#[case::duplicate_id(r#"{"jsonrpc":"2.0","method":"ping","id":1,"id":2}"#, -32600, None)]
#[case::duplicate_params(r#"{"jsonrpc":"2.0","method":"tools/call","id":1,"params":{"name":"a"},"params":{}}"#, -32600, Some("1"))]
#[case::duplicate_name(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","n\u0061me":"b"},"id":"x"}"#, -32600, Some("\"x\""))]
#[case::duplicate_argument(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}},"id":1}"#, -32600, Some("1"))]
#[case::method_in_capitals(r#"{"jsonrpc":"2.0","METHOD":"tools/call","method":"ping","id":1}"#, -32600, Some("1"))]
#[case::params_look_alike("{\"jsonrpc\":\"2.0\",\"param\u{17f}\":{},\"method\":\"ping\",\"id\":1}", -32600, Some("1"))]
#[case::name_look_alike(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"b","name":"a"}}"#, -32600, Some("1"))]
#[case::task_look_alike("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"tas\u{212a}Id\":1}}", -32600, Some("1"))]
#[case::meta_look_alike(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_Meta":{}}}"#, -32600, Some("1"))]
#[case::reference_look_alike(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"ref":{"URI":"x"}}}"#, -32600, Some("1"))]
#[case::id_look_alike(r#"{"jsonrpc":"2.0","ID":1,"method":"ping"}"#, -32600, None)]
fn one_meaning_only(#[case] body: &str, #[case] expected: i32, #[case] id: Option<&str>) {
    let rejection = legacy(body).unwrap_err();
    assert_eq!((rejection.code, rejection.id.as_deref()), (expected, id));
}

#[test]
fn deep_bodies_are_refused_at_once() {
    for open in ["[", "{\"a\":"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{}"#, open.repeat(100_000));
        assert_eq!(code(&legacy(&body)), -32600);
    }
}

#[rstest]
#[case::escaped(
    r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/c\u0061ll","params":{"n\u0061me":"\u0061"}}"#,
    Some("a")
)]
#[case::prompt(r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"Größe 1"}}"#, Some("Größe 1"))]
#[case::read(
    r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"name":"no","uri":"a://b"}}"#,
    Some("a://b")
)]
#[case::subscribe(r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a://b"}}"#, Some("a://b"))]
#[case::unsubscribe(
    r#"{"jsonrpc":"2.0","id":1,"method":"resources/unsubscribe","params":{"uri":"a://b"}}"#,
    Some("a://b")
)]
#[case::task(r#"{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"t"}}"#, Some("t"))]
#[case::tasks(r#"{"jsonrpc":"2.0","id":1,"method":"tasks/list","params":{"taskId":"t"}}"#, None)]
#[case::complete_prompt(
    r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"}}}"#,
    Some("p")
)]
#[case::complete_resource(r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"a://{b}"}}}"#, Some("a://{b}"))]
#[case::list(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"name":"x"}}"#, None)]
#[case::notification(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#, Some("x"))]
#[case::unknown(r#"{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"name":"x"}}"#, None)]
fn the_name_stands_where_the_method_has_it(#[case] body: &str, #[case] name: Option<&str>) {
    assert_eq!(legacy(body).unwrap().name.as_deref(), name);
}

#[rstest]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"uri":"x"}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":""}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"a\u0000"}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":{"x":1}}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:\n"}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":7}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"tasks/cancel","params":{}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":"p"}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"name":"p"}}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/x","name":"p"}}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","uri":"p"}}}"#)]
#[case(r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p","uri":"q"}}}"#)]
fn a_missing_or_odd_name_is_refused(#[case] body: &str) {
    let rejection = legacy(body).unwrap_err();
    assert_eq!((rejection.code, rejection.id.as_deref()), (-32602, Some("1")));
}

#[rstest]
#[case(r#""a""#, true)]
#[case(r#""admin.tools_list-2""#, true)]
#[case(r#""danger\u0000""#, false)]
#[case(r#""danger ""#, false)]
#[case(r#"" danger""#, false)]
#[case(r#""ｄanger""#, false)]
#[case(r#""a/b""#, false)]
#[case(r#""a*""#, false)]
#[case(r#""a:b""#, false)]
#[case(r#""""#, false)]
#[case("7", false)]
#[case("null", false)]
#[case(r#"["a"]"#, false)]
fn c3_row_56_tool_names(#[case] name: &str, #[case] ok: bool) {
    assert_eq!(code(&legacy(&call(name))), if ok { 0 } else { -32602 });
}

#[test]
fn names_are_limited_in_size() {
    let tool = |length: usize| code(&legacy(&call(&format!("{:?}", "t".repeat(length)))));
    assert_eq!((tool(128), tool(129)), (0, -32602));
    let read = |length: usize| {
        let uri = "u".repeat(length);
        code(&legacy(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{"uri":"{uri}"}}}}"#)))
    };
    assert_eq!((read(1024), read(1025)), (0, -32602));
}

#[rstest]
#[case::first(&[], Ok(Era::Legacy))]
#[case::oldest(&["2024-11-05"], Ok(Era::Legacy))]
#[case::march(&["2025-03-26"], Ok(Era::Legacy))]
#[case::june(&["2025-06-18"], Ok(Era::Legacy))]
#[case::november(&["2025-11-25"], Ok(Era::Legacy))]
#[case::never_released(&["2026-01-01"], Err(-32022))]
#[case::before_all(&["2023-01-01"], Err(-32022))]
#[case::long_before(&["1900-01-01"], Err(-32022))]
#[case::word(&["latest"], Err(-32022))]
#[case::draft(&["DRAFT-2026-v1"], Err(-32022))]
#[case::short(&["2026-7-28"], Err(-32022))]
#[case::long(&["2026-07-280"], Err(-32022))]
#[case::month(&["2026-13-01"], Err(-32022))]
#[case::day(&["2026-12-32"], Err(-32022))]
#[case::suffix(&["2026-07-28-x"], Err(-32022))]
#[case::year(&["10000-01-01"], Err(-32022))]
#[case::as_long_as_may_be(&["2026-07-28-456789012345678901234"], Err(-32022))]
#[case::too_long(&["2026-07-28-4567890123456789012345"], Err(-32600))]
#[case::twice(&["2025-11-25", "2025-11-25"], Err(-32600))]
#[case::unknown_twice(&["2026-01-01", "2026-01-01"], Err(-32600))]
#[case::list(&["2025-11-25, 2025-11-25"], Err(-32600))]
#[case::empty(&[""], Err(-32600))]
#[case::sign(&["+026-07-28"], Err(-32600))]
#[case::space(&["2025-11-25 "], Err(-32600))]
#[case::markup(&["<b>"], Err(-32600))]
#[case::letter(&["2026-07-2８"], Err(-32600))]
fn protocol_version_header(#[case] version: &[&str], #[case] era: Result<Era, i32>) {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}"#;
    let outcome = parse(body, &headers(version, &[], &[]));
    assert_eq!(outcome.as_ref().map(|message| message.era).map_err(|rejection| rejection.code), era);
    let data = outcome.err().and_then(|rejection| rejection.data);
    let supported = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
    let expected = (era == Err(-32022)).then(|| json!({"supported": supported, "requested": version[0]}));
    assert_eq!(data, expected);
}

fn listen(notifications: &str) -> Result<Message, Rejection> {
    legacy(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{notifications}}}}}"#
    ))
}

#[rstest]
#[case::nothing("{}", &[], &[])]
#[case::lists_only(r#"{"toolsListChanged":true}"#, &[], &[])]
#[case::none(r#"{"resourceSubscriptions":[],"taskIds":[]}"#, &[], &[])]
#[case::resources(r#"{"resourceSubscriptions":["a://1","b"]}"#, &["a://1", "b"], &[])]
#[case::escaped(r#"{"resource\u0053ubscriptions":["\u0061://1"]}"#, &["a://1"], &[])]
#[case::tasks(r#"{"taskIds":["t"]}"#, &[], &["t"])]
#[case::both(r#"{"taskIds":["t"],"resourceSubscriptions":["a://1"]}"#, &["a://1"], &["t"])]
fn listen_says_of_what(#[case] notifications: &str, #[case] resources: &[&str], #[case] tasks: &[&str]) {
    let message = listen(notifications).unwrap();
    assert_eq!((&*message.heard_resources, &*message.heard_tasks), (&*owned(resources), &*owned(tasks)));
    let (resources, tasks) = (owned(resources), owned(tasks));
    assert_eq!(message.operation(), Operation::Listen { resources: &resources, tasks: &tasks });
}

fn owned(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

#[rstest]
#[case::no_object("[]", -32602)]
#[case::null("null", -32602)]
#[case::text(r#""resourceSubscriptions""#, -32602)]
#[case::one(r#"{"resourceSubscriptions":"a://1"}"#, -32602)]
#[case::null_list(r#"{"resourceSubscriptions":null}"#, -32602)]
#[case::object(r#"{"resourceSubscriptions":{"0":"a://1"}}"#, -32602)]
#[case::objects(r#"{"resourceSubscriptions":[{"uri":"a://1"}]}"#, -32602)]
#[case::mixed(r#"{"resourceSubscriptions":["a://1",["a://2"]]}"#, -32602)]
#[case::number(r#"{"resourceSubscriptions":["a://1",2]}"#, -32602)]
#[case::empty(r#"{"resourceSubscriptions":[""]}"#, -32602)]
#[case::control(r#"{"resourceSubscriptions":["a://1","a://\n"]}"#, -32602)]
#[case::task(r#"{"taskIds":"t"}"#, -32602)]
#[case::task_number(r#"{"taskIds":[1]}"#, -32602)]
#[case::task_empty(r#"{"taskIds":["t",""]}"#, -32602)]
#[case::twice(r#"{"taskIds":[],"taskIds":["t"]}"#, -32600)]
#[case::look_alike(r#"{"ResourceSubscriptions":["a://1"]}"#, -32600)]
#[case::look_alike_fold("{\"tas\u{212a}Ids\":[\"t\"]}", -32600)]
#[case::look_alike_outside(r#"{},"Notifications":{"taskIds":["t"]}"#, -32600)]
fn listen_names_its_topics_in_lists_of_strings(#[case] notifications: &str, #[case] expected: i32) {
    let rejection = listen(notifications).unwrap_err();
    assert_eq!((rejection.code, rejection.id.as_deref()), (expected, Some("1")));
}

#[rstest]
#[case("resourceSubscriptions")]
#[case("taskIds")]
fn listen_is_limited_in_size(#[case] list: &str) {
    let topics = |count: usize| code(&listen(&format!(r#"{{"{list}":[{}]}}"#, vec![r#""t""#; count].join(","))));
    assert_eq!((topics(64), topics(65)), (0, -32602));
    let length = |length: usize| code(&listen(&format!(r#"{{"{list}":["{}"]}}"#, "t".repeat(length))));
    assert_eq!((length(1024), length(1025)), (0, -32602));
}

#[rstest]
#[case::without_params(r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}"#)]
#[case::other_method(
    r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"notifications":{"resourceSubscriptions":["a://1"]}}}"#
)]
#[case::odd_in_other_method(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"notifications":[1]}}"#)]
fn only_listen_has_topics(#[case] body: &str) {
    let message = legacy(body).unwrap();
    assert!(message.heard_resources.is_empty() && message.heard_tasks.is_empty());
}

#[rstest]
#[case::agree(&["2026-07-28"], r#""2026-07-28""#, Ok(Era::Modern))]
#[case::later(&["2027-01-31"], r#""2027-01-31""#, Ok(Era::Modern))]
#[case::legacy_body(&["2025-11-25"], r#""2025-11-25""#, Ok(Era::Legacy))]
#[case::differ(&["2026-07-28"], r#""2025-11-25""#, Err(-32020))]
#[case::differ_the_other_way(&["2025-11-25"], r#""2026-07-28""#, Err(-32020))]
#[case::differ_both_modern(&["2026-07-28"], r#""2027-01-31""#, Err(-32020))]
#[case::no_header(&[], r#""2026-07-28""#, Err(-32020))]
#[case::no_header_legacy(&[], r#""2025-11-25""#, Err(-32020))]
#[case::body_number(&["2026-07-28"], "20260728", Err(-32602))]
#[case::body_null(&[], "null", Err(-32602))]
fn era_is_what_header_and_body_agree_on(#[case] version: &[&str], #[case] body: &str, #[case] era: Result<Era, i32>) {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":{body}}}}}}}"#
    );
    let outcome = parse(body.as_bytes(), &headers(version, &["ping"], &[]));
    assert_eq!(outcome.map(|message| message.era).map_err(|rejection| rejection.code), era);
}

#[rstest]
#[case::no_params(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, -32602)]
#[case::no_meta(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}"#, -32602)]
#[case::meta_list(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":[]}}"#, -32602)]
#[case::meta_look_alike(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}}}"#, -32600)]
#[case::response(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, -32600)]
#[case::notification(r#"{"jsonrpc":"2.0","method":"ping"}"#, 0)]
fn modern_messages_carry_their_version(#[case] body: &str, #[case] expected: i32) {
    assert_eq!(code(&parse(body.as_bytes(), &headers(&["2026-07-28"], &["ping"], &[]))), expected);
}

/// Asks with the version header of `era`, and a body that agrees with it.
fn with_headers(era: Era, method: &str, params: &str, methods: &[&str], names: &[&str]) -> i32 {
    let (version, params) = match era {
        Era::Modern => (&["2026-07-28"][..], format!("{params}{}{META}", if params.is_empty() { "" } else { "," })),
        Era::Legacy => (&[][..], params.to_owned()),
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}"#);
    let outcome = parse(body.as_bytes(), &headers(version, methods, names));
    assert!(outcome.as_ref().err().is_none_or(|rejection| rejection.id.as_deref() == Some("7")));
    code(&outcome)
}

const TOOL: &str = r#""name":"search""#;

#[rstest]
#[case::agree(TOOL, &["tools/call"], &["search"], 0, 0)]
#[case::encoded(TOOL, &["tools/call"], &["=?base64?c2VhcmNo?="], 0, 0)]
#[case::neither(TOOL, &[], &[], -32020, 0)]
#[case::no_method(TOOL, &[], &["search"], -32020, 0)]
#[case::no_name(TOOL, &["tools/call"], &[], -32020, 0)]
#[case::other_method(TOOL, &["tools/list"], &["search"], -32020, -32020)]
#[case::method_case(TOOL, &["Tools/Call"], &["search"], -32020, -32020)]
#[case::encoded_method(TOOL, &["=?base64?dG9vbHMvY2FsbA==?="], &["search"], -32020, -32020)]
#[case::empty_method(TOOL, &[""], &["search"], -32020, -32020)]
#[case::two_methods(TOOL, &["tools/call", "tools/call"], &["search"], -32020, -32020)]
#[case::other_name(TOOL, &["tools/call"], &["delete"], -32020, -32020)]
#[case::name_case(TOOL, &["tools/call"], &["Search"], -32020, -32020)]
#[case::empty_name(TOOL, &["tools/call"], &[""], -32020, -32020)]
#[case::two_names(TOOL, &["tools/call"], &["search", "search"], -32020, -32020)]
#[case::two_names_in_one(TOOL, &["tools/call"], &["search, search"], -32020, -32020)]
#[case::encoded_other(TOOL, &["tools/call"], &["=?base64?ZGVsZXRl?="], -32020, -32020)]
#[case::sentinel_in_capitals(TOOL, &["tools/call"], &["=?BASE64?c2VhcmNo?="], -32020, -32020)]
#[case::not_base64(TOOL, &["tools/call"], &["=?base64?c2Vh*mNo?="], -32020, -32020)]
#[case::not_canonical(r#""name":"a""#, &["tools/call"], &["=?base64?YR==?="], -32020, -32020)]
#[case::unpadded(r#""name":"a""#, &["tools/call"], &["=?base64?YQ?="], -32020, -32020)]
#[case::not_utf8(r#""name":"a""#, &["tools/call"], &["=?base64?/w==?="], -32020, -32020)]
#[case::control(TOOL, &["tools/call"], &["search\t"], -32020, -32020)]
fn sep_2243_headers_agree_with_the_body(
    #[case] params: &str,
    #[case] methods: &[&str],
    #[case] names: &[&str],
    #[case] modern: i32,
    #[case] legacy: i32,
) {
    assert_eq!(with_headers(Era::Modern, "tools/call", params, methods, names), modern);
    assert_eq!(with_headers(Era::Legacy, "tools/call", params, methods, names), legacy);
}

#[rstest]
#[case::prompt("prompts/get", r#""name":"日本""#, &["=?base64?5pel5pys?="], 0)]
#[case::prompt_missing("prompts/get", r#""name":"p""#, &[], -32020)]
#[case::looks_encoded("prompts/get", r#""name":"=?base64?YQ==?=""#, &["=?base64?PT9iYXNlNjQ/WVE9PT89?="], 0)]
#[case::looks_encoded_but_is_not("prompts/get", r#""name":"=?base64?YQ==?=""#, &["=?base64?YQ==?="], -32020)]
#[case::resource("resources/read", r#""uri":"a://b""#, &["a://b"], 0)]
#[case::resource_missing("resources/read", r#""uri":"a://b""#, &[], -32020)]
#[case::task("tasks/get", r#""taskId":"t""#, &["t"], 0)]
#[case::task_missing("tasks/cancel", r#""taskId":"t""#, &[], -32020)]
#[case::subscribe_need_not("resources/subscribe", r#""uri":"a://b""#, &[], 0)]
#[case::subscribe_must_agree("resources/subscribe", r#""uri":"a://b""#, &["a://c"], -32020)]
#[case::completion_need_not("completion/complete", r#""ref":{"type":"ref/prompt","name":"p"}"#, &[], 0)]
#[case::list("tools/list", "", &[], 0)]
#[case::list_with_name("tools/list", "", &["search"], -32020)]
fn sep_2243_name_by_method(#[case] method: &str, #[case] params: &str, #[case] names: &[&str], #[case] expected: i32) {
    assert_eq!(with_headers(Era::Modern, method, params, &[method], names), expected);
}

#[test]
fn headers_that_are_no_text_are_refused() {
    let body = call(r#""search""#);
    for bad in [&b"\xff"[..], b"search\x00", "sеarch".as_bytes()] {
        let headers = McpHeaders { name: vec![bad], ..McpHeaders::default() };
        assert_eq!(code(&parse(body.as_bytes(), &headers)), -32020);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_ne!(code(&parse(&body, &McpHeaders::default())), 0);
    }

    /// What is accepted, a last-wins parser reads as we did.
    #[test]
    fn an_accepted_message_means_the_same_to_serde_json(
        keys in proptest::collection::vec(proptest::sample::select(&["jsonrpc", "id", "method", "params", "Method", "x"][..]), 0..7),
        methods in proptest::collection::vec(proptest::sample::select(&["tools/call", "tools/list"][..]), 8),
        names in proptest::collection::vec(proptest::sample::select(&[r#""name":"a""#, r#""name":"a","name":"b""#, r#""Name":"b""#, r#""n\u0061me":"c""#][..]), 8),
    ) {
        let members: Vec<String> = keys.iter().enumerate().map(|(at, key)| match *key {
            "jsonrpc" => r#""jsonrpc":"2.0""#.to_owned(),
            "id" => format!(r#""id":{at}"#),
            "params" => format!(r#""params":{{{}}}"#, names[at]),
            key => format!(r#""{key}":"{}""#, methods[at]),
        }).collect();
        let body = format!("{{{}}}", members.join(","));
        if let Ok(message) = legacy(&body) {
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(value["method"].as_str(), Some(message.method.as_str()));
            prop_assert_eq!(value.get("id").map(ToString::to_string), message.id);
            if let Some(name) = message.name {
                prop_assert_eq!(value["params"]["name"].as_str(), Some(name.as_str()));
            }
            prop_assert!(!keys.contains(&"Method"));
        }
    }
}
