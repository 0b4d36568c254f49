//! Scopes: tokens of RFC 6749 §3.3, sets of them, and the hierarchy an `McpServer` declares (`implies`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize, de};

/// The longest scope we accept, in bytes.
pub const MAX_SCOPE_BYTES: usize = 128;

/// Why a string is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Empty.
    #[error("a scope may not be empty")]
    Empty,
    /// Longer than [`MAX_SCOPE_BYTES`].
    #[error("a scope may have at most {MAX_SCOPE_BYTES} characters")]
    TooLong,
    /// A character outside `%x21 / %x23-5B / %x5D-7E`.
    #[error("a scope may hold printable ASCII without space, \" and \\")]
    Character,
}

/// One scope-token (RFC 6749 §3.3). Case-sensitive; nothing in it has a meaning of its own, `*` included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// Parses one scope-token.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        if text.len() > MAX_SCOPE_BYTES {
            return Err(ScopeError::TooLong);
        }
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !text.bytes().all(allowed) {
            return Err(ScopeError::Character);
        }
        Ok(Self(text.into()))
    }

    /// The scope as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text)
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// A set of scopes. Its text form is sorted and separated by single spaces; as JSON it is a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// Parses the `scope` parameter or claim: scope-tokens delimited by single `%x20` (RFC 6749 §3.3). An empty string
    /// is the empty set; any other white space is a bad character.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(' ').map(Scope::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether no scope is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many scopes are in the set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `scope` itself is in the set; hierarchy is not considered.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// Whether every scope of `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The scopes in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// The scopes in either set.
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&scope.0)?;
        }
        Ok(())
    }
}

/// Scopes that imply each other in a circle, in order, the first repeated at the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scopes imply each other in a circle: {}", .0.iter().map(Scope::as_str).collect::<Vec<_>>().join(" -> "))]
pub struct ImpliesCycle(pub Vec<Scope>);

/// Which scope implies which, transitively closed. Built once per policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy(BTreeMap<Scope, ScopeSet>);

impl Hierarchy {
    /// Closes the declared `implies` relation. Fails on a circle.
    pub fn new<'a>(declared: impl IntoIterator<Item = (&'a Scope, &'a ScopeSet)>) -> Result<Self, ImpliesCycle> {
        let direct: BTreeMap<&Scope, &ScopeSet> = declared.into_iter().collect();
        let mut closed = BTreeMap::new();
        for scope in direct.keys() {
            close(scope, &direct, &mut closed, &mut Vec::new())?;
        }
        Ok(Self(closed))
    }

    /// `granted` and everything it implies.
    pub fn expand(&self, granted: &ScopeSet) -> ScopeSet {
        granted.0.iter().fold(granted.clone(), |all, scope| match self.0.get(scope) {
            Some(implied) => all.union(implied),
            None => all,
        })
    }

    /// Whether `granted`, with what it implies, covers `needed`.
    pub fn satisfies(&self, granted: &ScopeSet, needed: &ScopeSet) -> bool {
        needed.is_subset(granted) || needed.is_subset(&self.expand(granted))
    }
}

fn close(
    scope: &Scope,
    direct: &BTreeMap<&Scope, &ScopeSet>,
    closed: &mut BTreeMap<Scope, ScopeSet>,
    path: &mut Vec<Scope>,
) -> Result<ScopeSet, ImpliesCycle> {
    if let Some(done) = closed.get(scope) {
        return Ok(done.clone());
    }
    if let Some(start) = path.iter().position(|seen| seen == scope) {
        let mut circle = path.split_off(start);
        circle.push(scope.clone());
        return Err(ImpliesCycle(circle));
    }
    path.push(scope.clone());
    let mut all = ScopeSet::default();
    for implied in direct.get(scope).into_iter().flat_map(|implied| implied.iter()) {
        all = all.union(&ScopeSet::from_iter([implied.clone()])).union(&close(implied, direct, closed, path)?);
    }
    path.pop();
    closed.insert(scope.clone(), all.clone());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    #[rstest]
    #[case("mcp:read", true)]
    #[case("tool:*", true)]
    #[case(&"a".repeat(128), true)]
    #[case(&"a".repeat(129), false)]
    #[case("a b", false)]
    #[case("a\u{a0}b", false)]
    #[case("a\tb", false)]
    #[case("a\"", false)]
    #[case("a\\", false)]
    #[case("", false)]
    fn rfc6749_3_3_token(#[case] text: &str, #[case] ok: bool) {
        assert_eq!(Scope::parse(text).is_ok(), ok);
    }

    #[rstest]
    #[case("", Some(0))]
    #[case("a", Some(1))]
    #[case("a b a", Some(2))]
    #[case("a  b", None)]
    #[case(" a", None)]
    #[case("a ", None)]
    #[case("a\u{a0}b", None)]
    fn rfc6749_3_3_list(#[case] text: &str, #[case] count: Option<usize>) {
        assert_eq!(ScopeSet::parse(text).ok().map(|set| set.len()), count);
    }

    fn hierarchy(declared: &[(&str, &str)]) -> Result<Hierarchy, ImpliesCycle> {
        let declared: Vec<_> = declared.iter().map(|(s, i)| (Scope::parse(s).unwrap(), set(i))).collect();
        Hierarchy::new(declared.iter().map(|(s, i)| (s, i)))
    }

    #[test]
    fn implies_is_transitive_and_one_way() {
        let h = hierarchy(&[("admin", "write"), ("write", "read"), ("read", "")]).unwrap();
        assert!(h.satisfies(&set("admin"), &set("read write")));
        assert!(h.satisfies(&set("write"), &set("read")));
        assert!(!h.satisfies(&set("read"), &set("write")));
        assert!(!h.satisfies(&set("xadmin"), &set("read")));
        assert!(h.satisfies(&set(""), &set("")));
    }

    #[rstest]
    #[case(&[("a", "a")])]
    #[case(&[("a", "b"), ("b", "a")])]
    #[case(&[("a", "b"), ("b", "c"), ("c", "b")])]
    fn circles_are_found(#[case] declared: &[(&str, &str)]) {
        let ImpliesCycle(circle) = hierarchy(declared).unwrap_err();
        assert_eq!(circle.first(), circle.last());
    }
}
