//! Signs tokens for the tests of this crate, with keys made on the spot and by other code than verifies them.
#![allow(clippy::disallowed_methods, reason = "making keys takes randomness")]

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{AccessToken, Algorithm, Expectations, JsonWebKeySet, KeyMatch, KeySet, TokenType, Unverified, Verified};
use crate::{IssuerUrl, ResourceUri, UnixTime};

pub(crate) const ISSUER: &str = "https://as.example/orgs/acme/api/v1";
pub(crate) const AUDIENCE: &str = "https://mcp.example/mcp";
pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key and its JWK.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) jwk: Value,
    key: Key,
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm, kid: &str) -> Self {
        let (key, mut jwk) = match algorithm {
            Algorithm::ES256 => ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), "P-256"),
            Algorithm::ES384 => ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(), "P-384"),
            Algorithm::RS256 | Algorithm::PS256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                (Key::Rsa(pair), json!({"kty": "RSA", "n": encode(public.n), "e": encode(public.e)}))
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let x = encode(pair.public_key());
                (Key::Ed25519(pair), json!({"kty": "OKP", "crv": "Ed25519", "x": x}))
            }
        };
        jwk["kid"] = json!(kid);
        jwk["alg"] = json!(format!("{algorithm:?}"));
        jwk["use"] = json!("sig");
        Self { algorithm, jwk, key }
    }

    pub(crate) fn sign(&self, input: &str) -> Vec<u8> {
        let (random, input) = (SystemRandom::new(), input.as_bytes());
        match &self.key {
            Key::Ecdsa(pair) => pair.sign(&random, input).unwrap().as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(input).as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = if self.algorithm == Algorithm::PS256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(encoding, &random, input, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token of exactly these bytes.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.sign(&input));
        format!("{input}.{signature}")
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.jwk["alg"], "kid": self.jwk["kid"], "typ": "at+jwt"})
    }
}

fn ecdsa(pair: EcdsaKeyPair, curve: &str) -> (Key, Value) {
    let point = pair.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)});
    (Key::Ecdsa(pair), jwk)
}

/// The claims of a token that is good at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "mcpc_a", "client_id": "mcpc_a", "scope": "mcp:read",
        "iat": NOW.0 - 10, "exp": NOW.0 + 3600, "jti": "t1",
    })
}

pub(crate) fn key_set(jwks: &[&Value]) -> KeySet {
    KeySet::new(&JsonWebKeySet { keys: jwks.iter().map(|jwk| (*jwk).clone()).collect() })
}

/// What [`claims`] fulfil.
pub(crate) fn check(token: &str, keys: &KeySet, now: UnixTime) -> Result<Verified<AccessToken>, super::TokenError> {
    let issuer = IssuerUrl::parse(ISSUER).unwrap();
    let audience = ResourceUri::parse(AUDIENCE).unwrap();
    let algorithms = [Algorithm::ES256, Algorithm::ES384, Algorithm::RS256, Algorithm::PS256, Algorithm::EdDSA];
    let token_type = TokenType::AccessToken;
    let expect =
        Expectations { issuer: &issuer, audience: &audience, algorithms: &algorithms, token_type: &token_type };
    let token = Unverified::parse(token)?;
    match keys.find(token.key_id(), token.algorithm()) {
        KeyMatch::Found(key) => token.verify(key, &expect, now),
        KeyMatch::UnknownKid | KeyMatch::Unusable => Err(super::TokenError::UnknownKey),
    }
}

/// A verified token of `client` with `scopes`, for the tests of what is decided by it.
pub(crate) fn verified(client: &str, scopes: &str) -> Verified<AccessToken> {
    static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::ES256, "k"));
    let mut claims = claims();
    claims["client_id"] = json!(client);
    claims["scope"] = json!(scopes);
    let token = SIGNER.token(&SIGNER.header().to_string(), &claims.to_string());
    check(&token, &key_set(&[&SIGNER.jwk]), NOW).unwrap()
}
