//! JSON that has one meaning: what is accepted here reads the same in every parser behind us.
//!
//! The grammar is that of `serde_json`. On top of it, at any depth and also in what nobody looks at: no duplicate keys after
//! unescaping (RFC 8259 §4 leaves their meaning open), no invalid UTF-8, no lone surrogates, nothing deeper than
//! [`MAX_DEPTH`]. At the levels where keys are looked for, no look-alikes of those keys, which a case-folding parser
//! would take for them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// How deep JSON may nest; the outermost object is level 1.
pub(crate) const MAX_DEPTH: usize = 128;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON (RFC 8259), or not UTF-8, or more than one value.
    #[error("not valid JSON")]
    Syntax,
    /// Something other than an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// Two keys of one object are the same.
    #[error("a key appears twice in one object")]
    DuplicateKey,
    /// A key that some parsers take for one we look for.
    #[error("a key looks like another one")]
    LookAlikeKey,
}

/// A key to look for at one level, where its value goes, and what to look for inside it.
pub(crate) struct Member {
    pub(crate) key: &'static str,
    pub(crate) slot: usize,
    pub(crate) inside: &'static [Member],
    /// Up to how many strings of an array are wanted.
    pub(crate) texts: usize,
}

impl Member {
    /// A key whose value is wanted for itself.
    pub(crate) const fn leaf(key: &'static str, slot: usize) -> Self {
        Self { key, slot, inside: &[], texts: 0 }
    }

    /// A key whose value is wanted if it is an object, for what is inside it.
    pub(crate) const fn object(key: &'static str, slot: usize, inside: &'static [Self]) -> Self {
        Self { key, slot, inside, texts: 0 }
    }

    /// A key whose value is wanted if it is an array of at most `texts` strings.
    pub(crate) const fn list(key: &'static str, slot: usize, texts: usize) -> Self {
        Self { key, slot, inside: &[], texts }
    }
}

/// What was found at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Seen<'de> {
    /// Nothing.
    #[default]
    Absent,
    /// A string, unescaped.
    Text(Cow<'de, str>),
    /// A whole number of 64 bits, in its only spelling.
    Integer(String),
    /// An object.
    Object,
    /// An array of strings, unescaped, where that is what is wanted.
    Texts(Vec<Cow<'de, str>>),
    /// Any other array.
    Array,
    /// `null`, a truth value, any other number.
    Other,
}

/// What was read.
pub(crate) struct Reading<'de, const N: usize> {
    /// By [`Member::slot`].
    pub(crate) values: [Seen<'de>; N],
    /// Why the text must be refused all the same. Kept apart from the errors so that a refusal can name the request.
    pub(crate) ambiguity: Option<JsonError>,
}

/// Reads one object and nothing after it.
pub(crate) fn read<'de, const N: usize>(
    bytes: &'de [u8],
    members: &'static [Member],
) -> Result<Reading<'de, N>, JsonError> {
    let mut state =
        State { values: std::array::from_fn(|_| Seen::Absent), keys: Vec::new(), ambiguity: None, too_deep: false };
    let mut from = serde_json::Deserializer::from_slice(bytes);
    // Every level is entered through `Node`, which counts.
    from.disable_recursion_limit();
    let seen = Node { state: &mut state, members, level: 1, wanted: false, texts: 0 }
        .deserialize(&mut from)
        .and_then(|seen| from.end().map(|()| seen));
    match seen {
        Ok(Seen::Object) => Ok(Reading { values: state.values, ambiguity: state.ambiguity }),
        Ok(_) => Err(JsonError::NotAnObject),
        Err(_) if state.too_deep => Err(JsonError::TooDeep),
        Err(_) => Err(JsonError::Syntax),
    }
}

/// Reads one object whole. No member of it, at any depth, occurs twice.
pub fn object(bytes: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, JsonError> {
    if let Some(ambiguity) = read::<0>(bytes, &[])?.ambiguity {
        return Err(ambiguity);
    }
    serde_json::from_slice(bytes).map_err(|_| JsonError::Syntax)
}

struct State<'de, const N: usize> {
    values: [Seen<'de>; N],
    /// The keys of all open objects, innermost last.
    keys: Vec<Cow<'de, str>>,
    ambiguity: Option<JsonError>,
    too_deep: bool,
}

impl<const N: usize> State<'_, N> {
    /// Closes the object whose keys begin at `start`.
    fn close(&mut self, start: usize) {
        let keys = self.keys.get_mut(start..).unwrap_or_default();
        if has_duplicates(keys) {
            self.ambiguity.get_or_insert(JsonError::DuplicateKey);
        }
        self.keys.truncate(start);
    }
}

/// Few keys are compared with each other, which is cheap because most differ in length; many are sorted first.
fn has_duplicates(mut keys: &mut [Cow<'_, str>]) -> bool {
    if keys.len() > 16 {
        keys.sort_unstable();
        return keys.array_windows().any(|[a, b]| a == b);
    }
    while let Some((first, rest)) = keys.split_first_mut() {
        if rest.contains(first) {
            return true;
        }
        keys = rest;
    }
    false
}

struct Node<'s, 'de, const N: usize> {
    state: &'s mut State<'de, N>,
    members: &'static [Member],
    level: usize,
    wanted: bool,
    texts: usize,
}

impl<const N: usize> Node<'_, '_, N> {
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.state.too_deep = self.level > MAX_DEPTH;
        if self.state.too_deep { Err(E::custom(JsonError::TooDeep)) } else { Ok(()) }
    }
}

impl<'de, const N: usize> DeserializeSeed<'de> for Node<'_, 'de, N> {
    type Value = Seen<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Seen<'de>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Node<'_, 'de, N> {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Seen<'de>, E> {
        Ok(Seen::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen<'de>, E> {
        Ok(Seen::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen<'de>, E> {
        Ok(Seen::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Seen<'de>, E> {
        Ok(if self.wanted { Seen::Integer(number.to_string()) } else { Seen::Other })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Seen<'de>, E> {
        Ok(if self.wanted { Seen::Integer(number.to_string()) } else { Seen::Other })
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Seen<'de>, E> {
        Ok(if self.wanted { Seen::Text(Cow::Borrowed(text)) } else { Seen::Other })
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen<'de>, E> {
        Ok(if self.wanted { Seen::Text(Cow::Owned(text.to_owned())) } else { Seen::Other })
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Seen<'de>, A::Error> {
        self.enter()?;
        let level = self.level + 1;
        let mut texts = (self.texts > 0).then(Vec::new);
        while let Some(item) = items.next_element_seed(Node {
            state: self.state,
            members: &[],
            level,
            wanted: texts.is_some(),
            texts: 0,
        })? {
            match (item, &mut texts) {
                (Seen::Text(text), Some(texts)) if texts.len() < self.texts => texts.push(text),
                _ => texts = None,
            }
        }
        Ok(texts.map_or(Seen::Array, Seen::Texts))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Seen<'de>, A::Error> {
        self.enter()?;
        let start = self.state.keys.len();
        while let Some(key) = entries.next_key_seed(Key)? {
            let member = self.members.iter().find(|member| member.key == key);
            if member.is_none() && self.members.iter().any(|member| look_alike(member.key, &key)) {
                self.state.ambiguity.get_or_insert(JsonError::LookAlikeKey);
            }
            self.state.keys.push(key);
            let value = entries.next_value_seed(Node {
                state: self.state,
                members: member.map_or(&[], |member| member.inside),
                level: self.level + 1,
                wanted: member.is_some(),
                texts: member.map_or(0, |member| member.texts),
            })?;
            if let Some(slot) = member.and_then(|member| self.state.values.get_mut(member.slot)) {
                // The second of two means nothing, and neither does the first.
                *slot = if *slot == Seen::Absent { value } else { Seen::Other };
            }
        }
        self.state.close(start);
        Ok(Seen::Object)
    }
}

/// Whether a case-folding parser would take `key` for `wanted`. Only two characters outside ASCII fold into it.
fn look_alike(wanted: &str, key: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    wanted.chars().map(fold).eq(key.chars().map(fold))
}

/// An unescaped key, borrowed where nothing had to be unescaped.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cow<'de, str>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// An object as its keys, in order, and its values as they were spelt. Only for text that [`read`] accepted.
pub(crate) struct RawObject<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = entries.next_key_seed(Key)? {
                    members.push((key, entries.next_value()?));
                }
                Ok(members)
            }
        }

        from.deserialize_map(Members).map(Self)
    }
}

#[cfg(test)]
mod tests {
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
}
