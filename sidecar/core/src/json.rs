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
mod tests;
