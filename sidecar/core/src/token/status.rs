//! Token Status List (draft-ietf-oauth-status-list): one bit per token, published by the issuer, says which are revoked.
//!
//! Of the draft's statuses we use two: 0, valid, and 1, invalid (§7.1). A token names its bit in `status`.

use std::{fmt, io::Read as _, io::Write as _};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::Serialize;
use serde_json::Value;

use super::{
    Algorithm, KeyMatch, KeySet, LEEWAY_SECONDS, TokenError, VerificationKey,
    claims::{self, Claims},
    jws::Jws,
};
use crate::{IssuerUrl, ResourceUri, UnixTime};

/// How many tokens one list speaks of at most.
pub const MAX_STATUS_INDEXES: u32 = 1 << 17;
/// The longest status list token, in bytes: bits that do not compress at all, encoded twice in base64, and the rest.
pub const MAX_STATUS_TOKEN_BYTES: usize = 64 * 1024;
/// `typ` of a status list token (§5.1).
pub const STATUS_LIST_TYPE: &str = "statuslist+jwt";

const MAX_LIST_BYTES: usize = MAX_STATUS_INDEXES as usize / 8;
/// The longest name of a list, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Where a token's status stands (§6.2): the claim `status.status_list`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusReference {
    /// `uri`: names the list.
    pub list: ResourceUri,
    /// `idx`: which of its bits.
    pub index: u64,
}

impl StatusReference {
    /// Reads the claim `status`, if there is one. A status that we could not look up is refused: the token may be
    /// revoked.
    pub(super) fn of(claims: &Claims) -> Result<Option<Self>, TokenError> {
        claims.get("status").map(Self::read).transpose()
    }

    fn read(status: &Value) -> Result<Self, TokenError> {
        let status = status.as_object().ok_or(TokenError::Status)?;
        let list = status.get("status_list").and_then(Value::as_object).ok_or(TokenError::Status)?;
        // Of two ways to be revoked we would see one.
        if status.len() != 1 {
            return Err(TokenError::Status);
        }
        let index = list.get("idx").and_then(Value::as_u64).ok_or(TokenError::Status)?;
        let uri = list.get("uri").and_then(Value::as_str).ok_or(TokenError::Status)?;
        Ok(Self { list: ResourceUri::parse(uri).map_err(|_| TokenError::Status)?, index })
    }

    /// The list's name, if it is one of those that stand directly under `folder` (which ends in `/`): 1 to 64 letters,
    /// digits, `-` and `_`.
    pub fn name_under(&self, folder: &str) -> Option<&str> {
        let name = self.list.as_str().strip_prefix(folder)?;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        ((1..=MAX_NAME_BYTES).contains(&name.len()) && plain).then_some(name)
    }
}

/// Why a status list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Its form, header, signature or dates.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// Signed with a key that is not in the set, which may be old.
    #[error("status list is signed by an unknown key")]
    UnknownKey,
    /// `sub` is not the list that was asked for.
    #[error("status list is another one than was asked for")]
    Subject,
    /// `status_list` is not a compressed list of one bit per token, or `ttl` is not a number of seconds.
    #[error("status list is not zlib-compressed bits, one per token")]
    Encoding,
    /// No bit, or more than [`MAX_STATUS_INDEXES`].
    #[error("status list holds no bit, or more than {MAX_STATUS_INDEXES}")]
    Size,
}

/// The bits of one list (§4.1): one per token, the least significant of a byte first. Set: revoked.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusList(Box<[u8]>);

impl StatusList {
    /// A list of these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, StatusError> {
        if (1..=MAX_LIST_BYTES).contains(&bytes.len()) { Ok(Self(bytes.into())) } else { Err(StatusError::Size) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the token with this index is revoked. What the list says nothing of counts as revoked (§8.3).
    pub fn is_revoked(&self, index: u64) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.0.get(at));
        byte.is_none_or(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// What either of the two says is revoked.
    pub fn or(&self, other: &Self) -> Self {
        let (long, short) = if self.0.len() < other.0.len() { (other, self) } else { (self, other) };
        let mut bytes = long.0.clone();
        bytes.iter_mut().zip(&short.0).for_each(|(byte, more)| *byte |= more);
        Self(bytes)
    }

    /// `lst` (§4.2): zlib, then base64url.
    fn encode(&self) -> Result<String, StatusError> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        let compressed = zlib.write_all(&self.0).and_then(|()| zlib.finish());
        Ok(URL_SAFE_NO_PAD.encode(compressed.map_err(|_| StatusError::Encoding)?))
    }

    /// Reads no more than a list may hold, whatever the compressed bytes would expand to.
    fn decode(text: &str) -> Result<Self, StatusError> {
        let compressed = URL_SAFE_NO_PAD.decode(text).map_err(|_| StatusError::Encoding)?;
        let mut bytes = Vec::new();
        let mut zlib = ZlibDecoder::new(compressed.as_slice());
        (&mut zlib).take(MAX_LIST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|_| StatusError::Encoding)?;
        let list = Self::from_bytes(bytes)?;
        if zlib.total_in() == compressed.len() as u64 { Ok(list) } else { Err(StatusError::Encoding) }
    }
}

impl fmt::Debug for StatusList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revoked: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        write!(f, "StatusList({revoked} of {} revoked)", self.0.len() * 8)
    }
}

/// The claims of a status list token (§5.1), to be signed with `typ` [`STATUS_LIST_TYPE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusListClaims {
    iss: IssuerUrl,
    sub: ResourceUri,
    iat: UnixTime,
    exp: UnixTime,
    ttl: u64,
    status_list: Compressed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Compressed {
    bits: u8,
    lst: String,
}

impl StatusListClaims {
    /// What `issuer` says at `now` about the tokens whose status stands in `list` at `uri`: true for `lifetime`
    /// seconds, to be asked again after `ttl` seconds.
    pub fn new(
        issuer: IssuerUrl,
        uri: ResourceUri,
        list: &StatusList,
        now: UnixTime,
        lifetime: u64,
        ttl: u64,
    ) -> Result<Self, StatusError> {
        let status_list = Compressed { bits: 1, lst: list.encode()? };
        Ok(Self { iss: issuer, sub: uri, iat: now, exp: now.plus(lifetime), ttl, status_list })
    }
}

/// What a status list token must say to be one for us.
#[derive(Clone, Copy, Debug)]
pub struct StatusExpectations<'a> {
    /// `iss`, byte for byte.
    pub issuer: &'a IssuerUrl,
    /// `sub`, byte for byte: the list that was asked for.
    pub list: &'a ResourceUri,
    /// Which algorithms the issuer may use.
    pub algorithms: &'a [Algorithm],
}

/// A verified status list token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusListToken {
    /// The bits.
    pub list: StatusList,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires_at: UnixTime,
    /// The JWK it was verified with, as received.
    pub signed_by: Value,
}

impl StatusListToken {
    /// Verifies `text`, an answer to a request for a list, at `now` (§8.3). `iss`, `iat` and `exp` must be there.
    pub fn verify(
        text: &str,
        keys: &KeySet,
        expect: &StatusExpectations<'_>,
        now: UnixTime,
    ) -> Result<Self, StatusError> {
        let jws = Jws::parse(text, MAX_STATUS_TOKEN_BYTES)?;
        if !jws.header.is_named(Some(STATUS_LIST_TYPE)) {
            return Err(TokenError::WrongType.into());
        }
        if !expect.algorithms.contains(&jws.header.algorithm) {
            return Err(TokenError::UnsupportedAlgorithm.into());
        }
        let key = match jws.find_key(keys) {
            KeyMatch::Found(key) => key,
            KeyMatch::UnknownKid => return Err(StatusError::UnknownKey),
            KeyMatch::Unusable => return Err(TokenError::UnknownKey.into()),
        };
        jws.check(key, expect.algorithms)?;
        Self::judge(&jws.claims, key, expect, now)
    }

    fn judge(
        claims: &Claims,
        key: &VerificationKey,
        expect: &StatusExpectations<'_>,
        now: UnixTime,
    ) -> Result<Self, StatusError> {
        if claims::text(claims, "iss") != Some(expect.issuer.as_str()) {
            return Err(TokenError::WrongIssuer.into());
        }
        if claims::text(claims, "sub") != Some(expect.list.as_str()) {
            return Err(StatusError::Subject);
        }
        let issued_at = claims::date(claims, "iat")?.ok_or(TokenError::Dates)?;
        let expires_at = claims::date(claims, "exp")?.ok_or(TokenError::Dates)?;
        if expires_at <= issued_at {
            return Err(TokenError::Dates.into());
        }
        if now >= expires_at.plus(LEEWAY_SECONDS) {
            return Err(TokenError::Expired.into());
        }
        if issued_at > now.plus(LEEWAY_SECONDS) {
            return Err(TokenError::NotYetValid.into());
        }
        let list = claims.get("status_list").and_then(Value::as_object).ok_or(StatusError::Encoding)?;
        let ttl_is_sound = claims.get("ttl").is_none_or(|ttl| ttl.as_u64().is_some_and(|ttl| ttl > 0));
        if list.get("bits").and_then(Value::as_u64) != Some(1) || !ttl_is_sound {
            return Err(StatusError::Encoding);
        }
        let list = StatusList::decode(list.get("lst").and_then(Value::as_str).ok_or(StatusError::Encoding)?)?;
        Ok(Self { list, issued_at, expires_at, signed_by: key.jwk().clone() })
    }
}

#[cfg(test)]
mod tests;
