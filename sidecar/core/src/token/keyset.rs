//! Verification keys of one issuer (RFC 7517), bound to one algorithm each.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Algorithm, MAX_KEYS, MAX_KID_BYTES};

/// A JWK Set document (RFC 7517 §5) as received: keys are judged one by one in [`KeySet::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonWebKeySet {
    /// The keys, unjudged.
    pub keys: Vec<Value>,
}

/// One public key and the one algorithm it may be used with.
pub struct VerificationKey {
    algorithm: Algorithm,
    id: Option<String>,
    key: DecodingKey,
    jwk: Value,
}

impl VerificationKey {
    /// The algorithm it may be used with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The JWK it was read from, as received.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// Whether `signature` (base64url) is this key's over `input`.
    pub(super) fn signed(&self, input: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, input.as_bytes(), &self.key, self.algorithm.backend()).unwrap_or(false)
    }

    /// The key of `jwk`, if it is one we may verify with.
    fn judge(jwk: &Value) -> Option<Self> {
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if (1..=MAX_KID_BYTES).contains(&id.len()) => Some(id.clone()),
            Some(_) => return None,
        };
        if !is_for_verification(jwk) {
            return None;
        }
        let (algorithm, key) = match member(jwk, "kty")? {
            "EC" => elliptic_curve(jwk)?,
            "RSA" => rsa(jwk)?,
            "OKP" => edwards(jwk)?,
            _ => return None,
        };
        Some(Self { algorithm, id, key, jwk: jwk.clone() })
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationKey({:?}, {:?})", self.algorithm, self.id)
    }
}

fn member<'a>(jwk: &'a Value, name: &str) -> Option<&'a str> {
    jwk.get(name)?.as_str()
}

fn bytes(jwk: &Value, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member(jwk, name)?).ok()
}

/// `use` and `key_ops` (RFC 7517 §4.2, §4.3), each of which may be absent.
fn is_for_verification(jwk: &Value) -> bool {
    let used = jwk.get("use").is_none_or(|value| value == "sig");
    let operations = jwk
        .get("key_ops")
        .is_none_or(|value| value.as_array().is_some_and(|all| all.iter().any(|operation| operation == "verify")));
    used && operations
}

/// The algorithm of `alg` where it is given, which must be one of `possible`; else the first of them.
fn bound_algorithm(jwk: &Value, possible: &[Algorithm]) -> Option<Algorithm> {
    match jwk.get("alg") {
        None => possible.first().copied(),
        Some(alg) => Algorithm::named(alg.as_str()?).filter(|algorithm| possible.contains(algorithm)),
    }
}

/// RFC 7518 §6.2: coordinates of the field's full length, and a point on the curve.
fn elliptic_curve(jwk: &Value) -> Option<(Algorithm, DecodingKey)> {
    let (curve, size, algorithm): (&'static EcdsaVerificationAlgorithm, _, _) = match member(jwk, "crv")? {
        "P-256" => (&ECDSA_P256_SHA256_FIXED, 32, Algorithm::ES256),
        "P-384" => (&ECDSA_P384_SHA384_FIXED, 48, Algorithm::ES384),
        _ => return None,
    };
    let algorithm = bound_algorithm(jwk, &[algorithm])?;
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != size || y.len() != size {
        return None;
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    ParsedPublicKey::new(curve, &point).ok()?;
    Some((algorithm, DecodingKey::from_ec_der(&point)))
}

/// RFC 7518 §6.3: 2048 to 8192 bits, an odd exponent of 3 to 33 bits, no leading zero octets.
fn rsa(jwk: &Value) -> Option<(Algorithm, DecodingKey)> {
    let algorithm = bound_algorithm(jwk, &[Algorithm::RS256, Algorithm::PS256])?;
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
    let exponent = e.iter().try_fold(0_u64, |sum, byte| Some((sum.checked_mul(256)?) | u64::from(*byte)))?;
    let sound = n.first() != Some(&0)
        && (2048..=8192).contains(&bits)
        && n.last().is_some_and(|low| low % 2 == 1)
        && e.first() != Some(&0)
        && exponent % 2 == 1
        && (3..1 << 33).contains(&exponent);
    if !sound {
        return None;
    }
    RsaPublicKeyComponents { n: &n, e: &e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
    Some((algorithm, DecodingKey::from_rsa_raw_components(&n, &e)))
}

/// RFC 8037 §2.
fn edwards(jwk: &Value) -> Option<(Algorithm, DecodingKey)> {
    let algorithm = bound_algorithm(jwk, &[Algorithm::EdDSA])?;
    let x = bytes(jwk, "x")?;
    if member(jwk, "crv")? != "Ed25519" || x.len() != 32 {
        return None;
    }
    Some((algorithm, DecodingKey::from_ed_der(&x)))
}

/// The usable keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
}

/// What a key set says about a token's header.
#[derive(Debug)]
pub enum KeyMatch<'a> {
    /// Verify with this key.
    Found(&'a VerificationKey),
    /// The set may be old: ask the issuer, at most once per interval.
    UnknownKid,
    /// No refresh would help: the key is there, for another algorithm, or the choice is ambiguous.
    Unusable,
}

impl KeySet {
    /// Keeps the keys that are safe to use (RFC 8725 §3.1, §3.5); the others, and all after the first
    /// [`MAX_KEYS`], are ignored.
    pub fn new(document: &JsonWebKeySet) -> Self {
        Self { keys: document.keys.iter().take(MAX_KEYS).filter_map(VerificationKey::judge).collect() }
    }

    /// How many keys are usable.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is usable.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key for `kid` and `algorithm`. Without a `kid`, the only key of that algorithm.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> KeyMatch<'_> {
        let named = |key: &&VerificationKey| kid.is_none() || key.id.as_deref() == kid;
        let mut candidates = self.keys.iter().filter(named).filter(|key| key.algorithm == algorithm);
        match (candidates.next(), candidates.next()) {
            (Some(key), None) => KeyMatch::Found(key),
            (Some(_), Some(_)) => KeyMatch::Unusable,
            (None, _) if kid.is_some() && self.keys.iter().any(|key| named(&key)) => KeyMatch::Unusable,
            (None, _) => KeyMatch::UnknownKid,
        }
    }
}
