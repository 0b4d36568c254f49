use super::*;
use rstest::rstest;

static WANTED: [Member; 2] = [Member::object("task", 0, &[Member::leaf("name", 1)]), Member::leaf("name", 2)];

fn outcome(bytes: &[u8]) -> Result<[Seen<'_>; 3], JsonError> {
    let reading = read(bytes, &WANTED)?;
    reading.ambiguity.map_or(Ok(reading.values), Err)
}

#[test]
fn finds_what_is_wanted_where_it_is_wanted() {
    let text = br#"{"other":{"name":"no"},"task":{"name":7},"name":"\u0079es","list":[{"name":"no"}]}"#;
    assert_eq!(outcome(text), Ok([Seen::Object, Seen::Integer("7".into()), Seen::Text("yes".into())]));
}

#[rstest]
#[case("[]", Seen::Texts(vec![]))]
#[case(r#"["a"]"#, Seen::Texts(vec!["a".into()]))]
#[case(r#"["a","\u0062"]"#, Seen::Texts(vec!["a".into(), "b".into()]))]
#[case(r#"["a","b","c"]"#, Seen::Array)]
#[case(r#"["a",1]"#, Seen::Array)]
#[case(r#"[1,"a"]"#, Seen::Array)]
#[case(r#"["a",null]"#, Seen::Array)]
#[case(r#"["a",["b"]]"#, Seen::Array)]
#[case(r#"[{"list":["a"]}]"#, Seen::Array)]
#[case(r#""a""#, Seen::Text("a".into()))]
#[case(r#"{"0":"a"}"#, Seen::Object)]
#[case("null", Seen::Other)]
fn a_list_is_of_strings_and_not_too_long(#[case] list: &str, #[case] expected: Seen<'_>) {
    static LIST: [Member; 1] = [Member::list("list", 0, 2)];
    let text = format!(r#"{{"list":{list}}}"#);
    assert_eq!(read::<1>(text.as_bytes(), &LIST).map(|reading| reading.values), Ok([expected]));
}

#[rstest]
#[case(br"", JsonError::Syntax)]
#[case(br" ", JsonError::Syntax)]
#[case(br#"{"a":1"#, JsonError::Syntax)]
#[case(br#"{"a":1,}"#, JsonError::Syntax)]
#[case(br"{'a':1}", JsonError::Syntax)]
#[case(br"{a:1}", JsonError::Syntax)]
#[case(br#"{"a":NaN}"#, JsonError::Syntax)]
#[case(br#"{"a":-Infinity}"#, JsonError::Syntax)]
#[case(br#"{"a":01}"#, JsonError::Syntax)]
#[case(br#"{"a":+1}"#, JsonError::Syntax)]
#[case(br#"{"a":.5}"#, JsonError::Syntax)]
#[case(br#"{"a":1e999}"#, JsonError::Syntax)]
#[case(br#"{"a":0x1}"#, JsonError::Syntax)]
#[case(br#"{"a":1}{"b":2}"#, JsonError::Syntax)]
#[case(br#"{"a":1} x"#, JsonError::Syntax)]
#[case(b"{\"a\":1}\0", JsonError::Syntax)]
#[case(br#"{"a":1}//"#, JsonError::Syntax)]
#[case(br#"/**/{"a":1}"#, JsonError::Syntax)]
#[case(b"\xef\xbb\xbf{}", JsonError::Syntax)]
#[case(b"\xff\xfe{\0}\0", JsonError::Syntax)]
#[case(b"{\"a\":\"\xff\"}", JsonError::Syntax)]
#[case(b"{\"a\":{\"b\":[\"\xc0\xaf\"]}}", JsonError::Syntax)]
#[case(b"{\"\xed\xa0\x80\":1}", JsonError::Syntax)]
#[case(b"{\"a\":\"\n\"}", JsonError::Syntax)]
#[case(b"{\"a\x0b\":1}", JsonError::Syntax)]
#[case(b"{\x0c\"a\":1}", JsonError::Syntax)]
#[case(b"{\"a\":\xc2\xa01}", JsonError::Syntax)]
#[case(br#"{"a":"\x41"}"#, JsonError::Syntax)]
#[case(br#"{"a":"\ud800"}"#, JsonError::Syntax)]
#[case(br#"{"a":"\udc00"}"#, JsonError::Syntax)]
#[case(br#"{"a":["\ud800\u0041"]}"#, JsonError::Syntax)]
#[case(br#"{"\ud800":1}"#, JsonError::Syntax)]
#[case(br"[]", JsonError::NotAnObject)]
#[case(br#"[{"name":"a"}]"#, JsonError::NotAnObject)]
#[case(br#""a""#, JsonError::NotAnObject)]
#[case(br"null", JsonError::NotAnObject)]
#[case(br#"{"a":1,"a":1}"#, JsonError::DuplicateKey)]
#[case(br#"{"a":1,"b":2,"\u0061":3}"#, JsonError::DuplicateKey)]
#[case(br#"{"x":[[{"y":{"a":1,"c":0,"a":2}}]]}"#, JsonError::DuplicateKey)]
#[case(br#"{"":1,"":1}"#, JsonError::DuplicateKey)]
#[case(br#"{"name":1,"name":1}"#, JsonError::DuplicateKey)]
#[case(br#"{"Name":1}"#, JsonError::LookAlikeKey)]
#[case(br#"{"name":1,"NAME":1}"#, JsonError::LookAlikeKey)]
#[case(br#"{"task":{"naMe":1}}"#, JsonError::LookAlikeKey)]
#[case("{\"ta\u{17f}k\":1}".as_bytes(), JsonError::LookAlikeKey)]
#[case("{\"tas\u{212a}\":1}".as_bytes(), JsonError::LookAlikeKey)]
#[case(br#"{"ta\u017Fk":1}"#, JsonError::LookAlikeKey)]
fn rfc8259_refused(#[case] text: &[u8], #[case] error: JsonError) {
    assert_eq!(outcome(text), Err(error));
}

#[rstest]
#[case(br"{}")]
#[case(b" \t\r\n{ } \n")]
#[case(br#"{"a":{"x":1},"b":{"x":1}}"#)]
#[case(br#"{"other":{"Name":1,"NAME":2}}"#)]
#[case(br#"{"a":[{"x":1},{"x":1}],"x":1}"#)]
#[case(br#"{"a":"\ud83d\ude00","b":"\u0000","c":-0.0,"d":1e300,"e":123456789012345678901234567890}"#)]
fn rfc8259_accepted(#[case] text: &[u8]) {
    assert!(outcome(text).is_ok());
}

#[rstest]
#[case("[", "]")]
#[case("{\"a\":", "}")]
fn depth_is_counted_from_the_outermost_object(#[case] open: &str, #[case] close: &str) {
    let nested = |levels: usize, close: &str| {
        let inner = levels - 1;
        format!("{{\"a\":{}1{}}}", open.repeat(inner), close.repeat(inner)).into_bytes()
    };
    assert!(outcome(&nested(MAX_DEPTH, close)).is_ok());
    assert_eq!(outcome(&nested(MAX_DEPTH + 1, close)), Err(JsonError::TooDeep));
    assert_eq!(outcome(&nested(100_000, "")), Err(JsonError::TooDeep));
}

#[test]
fn duplicates_are_found_among_few_keys_and_many() {
    for count in 1..40 {
        for again in 0..count {
            let keys = (0..count).chain([again]).map(|key| format!("\"k{key}\":0")).collect::<Vec<_>>();
            let (last, distinct) = keys.split_last().unwrap();
            assert!(outcome(format!("{{{}}}", distinct.join(",")).as_bytes()).is_ok());
            let text = format!("{{{},{last}}}", distinct.join(","));
            assert_eq!(outcome(text.as_bytes()), Err(JsonError::DuplicateKey));
        }
    }
}

#[test]
fn an_ambiguous_text_still_says_what_was_unambiguous() {
    let reading = read::<3>(br#"{"x":{"a":1,"a":2},"name":"n"}"#, &WANTED).unwrap();
    assert_eq!(reading.values, [Seen::Absent, Seen::Absent, Seen::Text("n".into())]);
    assert_eq!(reading.ambiguity, Some(JsonError::DuplicateKey));
    let reading = read::<3>(br#"{"name":"n","name":"m"}"#, &WANTED).unwrap();
    assert_eq!(reading.values, [Seen::Absent, Seen::Absent, Seen::Other]);
}
