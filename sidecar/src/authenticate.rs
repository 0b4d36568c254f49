//! Step 4: from a token to a principal, through the keys of its issuer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lumoauth_core::{
    IssuerUrl, UnixTime,
    config::Issuer,
    digest::sha256,
    policy::{Identity, Principal},
    token::{Expectations, KeyMatch, TokenError, Unverified},
};
use quick_cache::sync::Cache;

use crate::{
    jwks::{JwksLimits, KeySource},
    metrics::Metrics,
    site::SiteError,
};

/// How many verified tokens are remembered.
const CACHED_TOKENS: usize = 4096;

/// The issuers of one configuration, their keys, and the tokens that were verified with them.
///
/// Tokens are remembered by SHA-256, until they expire or any key changes; never the tokens themselves.
pub(crate) struct Trust {
    sources: Vec<Arc<KeySource>>,
    verified: Cache<[u8; 32], Remembered>,
    /// Counts changes of keys: what was verified under an earlier count is verified again.
    epoch: Arc<AtomicU64>,
    metrics: Metrics,
}

#[derive(Clone)]
struct Remembered {
    principal: Principal,
    epoch: u64,
}

impl Trust {
    pub(crate) fn new(issuers: Vec<Issuer>, limits: JwksLimits, metrics: &Metrics) -> Result<Self, SiteError> {
        let epoch = Arc::new(AtomicU64::new(0));
        let source = |settings: Issuer| {
            let issuer = settings.issuer.to_string();
            KeySource::new(settings, limits, Arc::clone(&epoch), metrics)
                .map(Arc::new)
                .map_err(|error| SiteError::Jwks { issuer, error })
        };
        let sources = issuers.into_iter().map(source).collect::<Result<_, _>>()?;
        Ok(Self { sources, verified: Cache::new(CACHED_TOKENS), epoch, metrics: metrics.clone() })
    }

    /// Whether this is the trust in exactly these issuers, seeded keys included.
    pub(crate) fn is_for(&self, issuers: &[Issuer]) -> bool {
        self.sources.iter().map(|source| &source.settings).eq(issuers)
    }

    /// Whether what `caller`'s issuer signed for `self` would be accepted by `other`: the issuer is
    /// there with the same settings, and no seeded key was taken away.
    pub(crate) fn still_trusts(&self, other: &Self, caller: &Identity) -> bool {
        let (Some(before), Some(after)) = (self.settings(&caller.issuer), other.settings(&caller.issuer)) else {
            return false;
        };
        before.keys.keys.iter().all(|key| after.keys.keys.contains(key))
            && Issuer { keys: after.keys.clone(), ..before.clone() } == *after
    }

    fn settings(&self, issuer: &IssuerUrl) -> Option<&Issuer> {
        self.sources.iter().map(|source| &source.settings).find(|settings| settings.issuer == *issuer)
    }

    /// Whose token `raw` is, at `now`.
    pub(crate) async fn authenticate(&self, raw: &str, now: UnixTime) -> Result<Principal, TokenError> {
        self.sources.iter().for_each(KeySource::keep_fresh);
        let digest = sha256(raw.as_bytes());
        if let Some(principal) = self.recall(&digest, now) {
            return Ok(principal);
        }
        self.metrics.token_verified();
        let token = Unverified::parse(raw)?;
        let source = self
            .sources
            .iter()
            .find(|source| source.settings.issuer.as_str() == token.issuer())
            .ok_or(TokenError::WrongIssuer)?;
        let settings = &source.settings;
        // Before any key is looked for: a token that could never be accepted makes nobody fetch.
        if !settings.algorithms.contains(&token.algorithm()) {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        let expect = Expectations {
            issuer: &settings.issuer,
            audience: &settings.audience,
            algorithms: &settings.algorithms,
            token_type: &settings.token_type,
        };
        let mut asked = false;
        loop {
            let epoch = self.epoch.load(Ordering::Acquire);
            let keys = source.current();
            match keys.set.find(token.key_id(), token.algorithm()) {
                KeyMatch::Found(key) => {
                    let verified = token.verify(key, &expect, now)?;
                    let principal = Principal::new(&verified);
                    self.verified.insert(digest, Remembered { principal: principal.clone(), epoch });
                    return Ok(principal);
                }
                KeyMatch::UnknownKid if !asked => {
                    asked = true;
                    source.refresh_unknown().await;
                }
                KeyMatch::UnknownKid | KeyMatch::Unusable => return Err(TokenError::UnknownKey),
            }
        }
    }

    fn recall(&self, digest: &[u8; 32], now: UnixTime) -> Option<Principal> {
        let remembered = self.verified.get(digest)?;
        let current = remembered.epoch == self.epoch.load(Ordering::Acquire);
        if current && now < remembered.principal.expires_at() {
            return Some(remembered.principal);
        }
        self.verified.remove(digest);
        None
    }
}
