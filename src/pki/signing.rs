//! The keys that sign access tokens: made, published, used, retired and forgotten, in that order.
//!
//! A [`KeyRing`] is one JSON document (Secret `lumoauth-signing-keys`, key [`DOCUMENT_KEY`]; a file for
//! `lumoauth local`). Which key signs is a function of the document and the clock, so replicas that hold the same
//! document switch at the same second without telling each other.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use lumoauth_core::{
    UnixTime,
    token::{JsonWebKeySet, LEEWAY_SECONDS},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Key of the Secret, and name of the file in its mount, that holds the document.
pub const DOCUMENT_KEY: &str = "keys.json";

/// How long a key signs: 30 days. Often enough that rotation is routine, rare enough that a ring holds two or three
/// keys.
pub const ROTATION_PERIOD: u64 = 30 * DAY;
/// How long a key is published before it signs: a day. A verifier may hold a JWKS for its `max-age` of an hour, kubelet
/// may take minutes to update a mounted Secret, and an operator may be down for a while between writing the Secret and
/// writing the sidecars' configurations.
pub const PUBLICATION_LEAD: u64 = DAY;
/// How long a key is published after it stopped to sign: the longest token lifetime (a day), the leeway of verifiers,
/// and an hour for a replica that still holds an older document.
pub const RETENTION: u64 = DAY + LEEWAY_SECONDS + 3600;

const DAY: u64 = 86_400;
const VERSION: u32 = 1;
/// More keys than the periods above can leave in a document.
const MAX_KEYS: usize = 32;

/// Why there is no usable key ring. No variant holds key material.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// Not a JSON document of this version. Only where it breaks off: serde quotes the value it did not expect, and that
    /// may be a key.
    #[error("the key document cannot be read: it is not what is expected at line {line} column {column}")]
    Document {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A version this build does not know.
    #[error("the key document has version {0}, and this version of LumoAuth reads {VERSION}")]
    Version(u32),
    /// No key, or more than a ring may hold.
    #[error("the key document holds {0} keys, and must hold 1 to {MAX_KEYS}")]
    Count(usize),
    /// A key that is no P-256 key in PKCS#8, or does not have the identifier the document gives it.
    #[error("key {0:?} is not the P-256 key its identifier says")]
    Key(String),
    /// The keys are not in the order in which they come into use.
    #[error("the keys are not in the order of activeFrom")]
    Order,
    /// The system gave no key, or no signature.
    #[error("the cryptographic library failed")]
    Crypto,
    /// Claims, or a key document, that are no JSON.
    #[error("the claims or the key document cannot be written as JSON")]
    Unwritable,
}

/// The stored form of a ring.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    keys: Vec<KeyDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyDocument {
    kid: String,
    /// For people; nothing depends on it.
    created: UnixTime,
    active_from: UnixTime,
    /// PKCS#8, base64.
    pkcs8: Zeroizing<String>,
}

/// One ES256 key. Its private part is never displayed and is wiped from memory when dropped.
pub struct SigningKey {
    id: String,
    created: UnixTime,
    active_from: UnixTime,
    pkcs8: Zeroizing<Vec<u8>>,
    pair: EcdsaKeyPair,
    public: serde_json::Value,
    /// The encoded JOSE header of every access token this key signs, with the dot after it.
    header: String,
}

impl SigningKey {
    /// Makes a key that may sign from `active_from` on.
    pub fn generate(now: UnixTime, active_from: UnixTime) -> Result<Self, SigningError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SigningError::Crypto)?;
        let pkcs8 = Zeroizing::new(pair.to_pkcs8v1().map_err(|_| SigningError::Crypto)?.as_ref().to_vec());
        Self::from_pkcs8(pkcs8, now, active_from).ok_or(SigningError::Crypto)
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>, created: UnixTime, active_from: UnixTime) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
        let mut jwk = Jwk::from_encoding_key(&EncodingKey::from_ec_der(&pkcs8), Algorithm::ES256).ok()?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let header = header(&id, "at+jwt").ok()?;
        Some(Self { id, created, active_from, pkcs8, pair, public: serde_json::to_value(jwk).ok()?, header })
    }

    fn read(document: KeyDocument) -> Result<Self, SigningError> {
        let KeyDocument { kid, created, active_from, pkcs8 } = document;
        let key = STANDARD.decode(pkcs8.as_bytes()).ok();
        match key.and_then(|bytes| Self::from_pkcs8(Zeroizing::new(bytes), created, active_from)) {
            Some(key) if key.id == kid => Ok(key),
            _ => Err(SigningError::Key(kid)),
        }
    }

    /// `kid`: the key's SHA-256 thumbprint (RFC 7638 §3).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it begins to sign.
    pub fn active_from(&self) -> UnixTime {
        self.active_from
    }

    /// The public key as a JWK (RFC 7517 §4) with `kid`, `use` and `alg`.
    pub fn public(&self) -> &serde_json::Value {
        &self.public
    }

    /// Signs an access token with these claims: a JWS in compact form (RFC 7515 §7.1), `typ` `at+jwt` (RFC 9068 §2.1).
    pub fn sign<C: Serialize>(&self, claims: &C) -> Result<String, SigningError> {
        self.sign_under(&self.header, claims)
    }

    /// Signs claims of another kind than an access token's: a JWS in compact form with this `typ` (RFC 8725 §3.11).
    pub fn sign_as<C: Serialize>(&self, typ: &str, claims: &C) -> Result<String, SigningError> {
        self.sign_under(&header(&self.id, typ)?, claims)
    }

    fn sign_under<C: Serialize>(&self, header: &str, claims: &C) -> Result<String, SigningError> {
        // jsonwebtoken would parse and check the PKCS#8 key anew for every token, a scalar multiplication beside the signature's own.
        let claims = serde_json::to_vec(claims).map_err(|_| SigningError::Unwritable)?;
        let mut token = String::with_capacity(header.len() + claims.len().div_ceil(3) * 4 + 87);
        token.push_str(header);
        URL_SAFE_NO_PAD.encode_string(&claims, &mut token);
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| SigningError::Crypto)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

/// An encoded JOSE header, with the dot after it.
fn header(kid: &str, typ: &str) -> Result<String, SigningError> {
    let header = Header { typ: Some(typ.to_owned()), kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    let json = serde_json::to_vec(&header).map_err(|_| SigningError::Unwritable)?;
    Ok(format!("{}.", URL_SAFE_NO_PAD.encode(json)))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} from {})", self.id, self.active_from.0)
    }
}

/// Every key that verifiers must know, in the order in which they come into use. Never empty.
#[derive(Clone, Debug)]
pub struct KeyRing {
    earlier: Vec<Arc<SigningKey>>,
    newest: Arc<SigningKey>,
}

impl KeyRing {
    /// A ring with one key, in use at once.
    pub fn new(now: UnixTime) -> Result<Self, SigningError> {
        Ok(Self { earlier: Vec::new(), newest: Arc::new(SigningKey::generate(now, now)?) })
    }

    /// Reads a stored document. Nothing in it is trusted: identifiers are computed again.
    pub fn parse(document: &[u8]) -> Result<Self, SigningError> {
        let Document { version, keys } = serde_json::from_slice(document)
            .map_err(|error| SigningError::Document { line: error.line(), column: error.column() })?;
        if version != VERSION {
            return Err(SigningError::Version(version));
        }
        let count = keys.len();
        if count > MAX_KEYS {
            return Err(SigningError::Count(count));
        }
        let mut earlier =
            keys.into_iter().map(|key| SigningKey::read(key).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        if !earlier.is_sorted_by_key(|key| key.active_from) {
            return Err(SigningError::Order);
        }
        let newest = earlier.pop().ok_or(SigningError::Count(count))?;
        Ok(Self { earlier, newest })
    }

    /// The document to store. It holds the private keys.
    pub fn to_json(&self) -> Result<Zeroizing<String>, SigningError> {
        let keys = self.keys().map(|key| KeyDocument {
            kid: key.id.clone(),
            created: key.created,
            active_from: key.active_from,
            pkcs8: Zeroizing::new(STANDARD.encode(&*key.pkcs8)),
        });
        let document = Document { version: VERSION, keys: keys.collect() };
        serde_json::to_string(&document).map(Zeroizing::new).map_err(|_| SigningError::Unwritable)
    }

    /// Does what is due at `now`: forgets keys whose last token is gone, and adds the next key in time to be published
    /// for [`PUBLICATION_LEAD`] before it signs. Says whether the ring changed and must be stored.
    ///
    /// To be called now and then; a call that comes late only delays the rotation, and never shortens the publication.
    pub fn advance(&mut self, now: UnixTime) -> Result<bool, SigningError> {
        let forgot = self.forget(now);
        let due = self.newest.active_from.plus(ROTATION_PERIOD - PUBLICATION_LEAD) <= now;
        if due {
            let next = Arc::new(SigningKey::generate(now, now.plus(PUBLICATION_LEAD))?);
            self.earlier.push(std::mem::replace(&mut self.newest, next));
        }
        Ok(forgot || due)
    }

    /// Every public key: the next, the current, and those whose tokens may still be in use.
    pub fn jwks(&self) -> JsonWebKeySet {
        JsonWebKeySet { keys: self.keys().map(|key| key.public.clone()).collect() }
    }

    /// The key that signs at `now`: the one that came into use last. If the clock stands before all of them, the first.
    pub fn current(&self, now: UnixTime) -> &SigningKey {
        let in_use = self.keys().rev().find(|key| key.active_from <= now);
        in_use.or_else(|| self.keys().next()).unwrap_or(&self.newest)
    }

    fn keys(&self) -> impl DoubleEndedIterator<Item = &SigningKey> {
        self.earlier.iter().chain([&self.newest]).map(|key| &**key)
    }

    /// A key is retired from the moment its successor signs.
    fn forget(&mut self, now: UnixTime) -> bool {
        let gone = self.keys().skip(1).take_while(|successor| successor.active_from.plus(RETENTION) <= now).count();
        self.earlier.drain(..gone);
        gone > 0
    }
}

#[cfg(test)]
mod tests;
