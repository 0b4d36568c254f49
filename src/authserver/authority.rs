//! Who issues: public address and keys, swapped as one.

use std::sync::LazyLock;

use bytes::Bytes;
use lumoauth_core::{
    IssuerUrl, ResourceUri, Scope, UnixTime,
    token::{AccessToken, Algorithm, Expectations, KeyMatch, KeySet, TokenError, TokenType, Unverified, Verified},
};

use crate::{pki::signing::KeyRing, registry::Issuing, settings::Limits};

/// What a token needs to read the registry API of its organization.
pub static REGISTRY_SCOPE: LazyLock<Scope> = LazyLock::new(|| {
    // Letters and a dot: always a scope.
    Scope::parse("settings.manage").unwrap_or_else(|_| unreachable!("settings.manage is a scope"))
});

/// The authorization server's address and keys at one moment.
#[derive(Debug)]
pub struct Authority {
    /// Addresses and public keys, as the registry needs them.
    pub issuing: Issuing,
    /// The keys that sign.
    pub ring: KeyRing,
    jwks: Bytes,
    keys: KeySet,
}

impl Authority {
    /// An authority that is reached at `public_url` (without a `/` at its end) and signs with `ring`.
    pub fn new(public_url: IssuerUrl, ring: KeyRing) -> Self {
        let document = ring.jwks();
        // Values that were parsed from JSON: there is none serde_json could refuse.
        let jwks = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
        let keys = KeySet::new(&document);
        let issuing = Issuing {
            public_url,
            keys: document,
            internal_url: None,
            ca_bundle: None,
            status_max_age: Limits::default().status_max_age_seconds(),
        };
        Self { issuing, ring, jwks, keys }
    }

    /// The JWK Set document.
    pub(super) fn jwks(&self) -> &Bytes {
        &self.jwks
    }

    /// Verifies a token of `issuer` for `audience` as a sidecar would.
    pub(super) fn verify(
        &self,
        token: &str,
        issuer: &IssuerUrl,
        audience: &ResourceUri,
        now: UnixTime,
    ) -> Result<Verified<AccessToken>, TokenError> {
        let token = Unverified::parse(token)?;
        let KeyMatch::Found(key) = self.keys.find(token.key_id(), token.algorithm()) else {
            return Err(TokenError::UnknownKey);
        };
        let expect =
            Expectations { issuer, audience, algorithms: &[Algorithm::ES256], token_type: &TokenType::AccessToken };
        token.verify(key, &expect, now)
    }
}
