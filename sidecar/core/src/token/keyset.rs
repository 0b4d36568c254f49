//! Verification keys of one issuer (RFC 7517), bound to one algorithm each.

use serde::{Deserialize, Serialize};

use super::Algorithm;

/// A JWK Set document (RFC 7517 §5) as received: keys are judged one by one in [`KeySet::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonWebKeySet {
    /// The keys, unjudged.
    pub keys: Vec<serde_json::Value>,
}

/// One public key and the one algorithm it may be used with.
pub struct VerificationKey {
    pub(super) algorithm: Algorithm,
}

/// The usable keys of one issuer.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
}

/// What a key set says about a token's header.
pub enum KeyMatch<'a> {
    /// Verify with this key.
    Found(&'a VerificationKey),
    /// The set may be old: ask the issuer, at most once per interval.
    UnknownKid,
    /// No refresh would help: the key is there, for another algorithm, or the choice is ambiguous.
    Unusable,
}

impl KeySet {
    /// Keeps the keys that are safe to use (security.md C.1 rows 2, 16); the others are ignored.
    pub fn new(_document: &JsonWebKeySet) -> Self {
        Self::default()
    }

    /// The key for `kid` and `algorithm`.
    pub fn find(&self, _kid: Option<&str>, algorithm: Algorithm) -> KeyMatch<'_> {
        match self.keys.iter().find(|key| key.algorithm == algorithm) {
            Some(key) => KeyMatch::Found(key),
            None => KeyMatch::UnknownKid,
        }
    }
}
