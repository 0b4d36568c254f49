//! A token in which everything is right but the signature.

use std::{fmt, time::Duration};

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lumoauth_core::{UnixTime, config::OAuth};
use serde_json::{Value, json};

/// Who the forged token says it is; no client can have this identifier, they are all issued or URLs.
const NOBODY: &str = "lumoauth-probe";
/// How long the forged token says it is good.
const LIFETIME: Duration = Duration::from_mins(1);

/// A P-256 key that no issuer has published: made at start, kept in memory, never used for anything else.
pub struct ForgedKey(EcdsaKeyPair);

/// What a forged token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgedClaims {
    /// `kid` of a key the sidecar has, so that it must verify the signature and not only miss a key.
    kid: String,
    issuer: String,
    audience: String,
    scope: String,
}

impl ForgedClaims {
    /// The claims a token for this server would have.
    pub(super) fn of(oauth: &OAuth) -> Self {
        let issuer = oauth.issuers.first();
        let kid = issuer
            .and_then(|issuer| issuer.keys.keys.iter().find_map(|key| key.get("kid").and_then(Value::as_str)))
            .unwrap_or(NOBODY);
        Self {
            kid: kid.to_owned(),
            issuer: issuer.map(|issuer| issuer.issuer.to_string()).unwrap_or_default(),
            audience: issuer.map(|issuer| issuer.audience.to_string()).unwrap_or_default(),
            scope: oauth.policy.declared_scopes().to_string(),
        }
    }
}

impl ForgedKey {
    /// A new key.
    pub fn generate() -> Result<Self, Unspecified> {
        Ok(Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?))
    }

    /// An RFC 9068 access token with `claims` in compact form (RFC 7515 §3.1), signed by this key.
    pub(super) fn token(&self, claims: &ForgedClaims, now: UnixTime) -> Result<String, Unspecified> {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": claims.kid});
        let payload = json!({
            "iss": claims.issuer,
            "aud": claims.audience,
            "sub": NOBODY,
            "client_id": NOBODY,
            "scope": claims.scope,
            "iat": now.0,
            "exp": now.0 + LIFETIME.as_secs(),
            "jti": NOBODY,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&payload));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for ForgedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForgedKey")
    }
}
