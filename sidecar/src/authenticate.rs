//! Step 4: from a token to a principal, through the keys of its issuer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lumoauth_core::{
    IssuerUrl, UnixTime,
    config::Issuer,
    digest::sha256,
    policy::{Identity, Principal},
    token::{AccessToken, Expectations, KeyMatch, LEEWAY_SECONDS, TokenError, Unverified, Verified},
};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::{
    fetch::FetchError,
    jwks::{JwksLimits, KeySource},
    metrics::Metrics,
    refusal::Refusal,
    site::SiteError,
    status::{Bit, StatusFault, StatusLimits, StatusSource},
};

/// How many verified tokens are remembered.
const CACHED_TOKENS: usize = 4096;

/// How often issuers are asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IssuerLimits {
    pub(crate) jwks: JwksLimits,
    pub(crate) status: StatusLimits,
}

/// Who calls, and how it would be known that the token was revoked.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) status: Option<Bit>,
}

/// One issuer: its keys, and what it says of the tokens it has issued.
struct Source {
    keys: Arc<KeySource>,
    status: Option<StatusSource>,
}

/// The issuers of one configuration, their keys, and the tokens that were verified with them.
///
/// Tokens are remembered by SHA-256, until they expire or any key changes; never the tokens themselves.
pub(crate) struct Trust {
    sources: Vec<Source>,
    verified: Cache<[u8; 32], Remembered>,
    /// Counts changes of keys: what was verified under an earlier count is verified again.
    epoch: Arc<AtomicU64>,
    metrics: Metrics,
}

#[derive(Clone)]
struct Remembered {
    caller: Caller,
    epoch: u64,
}

impl Trust {
    /// What `previous` has learnt of revoked tokens is carried over.
    pub(crate) fn new(
        issuers: Vec<Issuer>,
        limits: IssuerLimits,
        metrics: &Metrics,
        previous: Option<&Self>,
    ) -> Result<Self, SiteError> {
        let epoch = Arc::new(AtomicU64::new(0));
        let source = |settings: Issuer| {
            let issuer = settings.issuer.to_string();
            Source::new(settings, limits, &epoch, metrics).map_err(|error| SiteError::Issuer { issuer, error })
        };
        let sources = issuers.into_iter().map(source).collect::<Result<_, _>>()?;
        let this = Self { sources, verified: Cache::new(CACHED_TOKENS), epoch, metrics: metrics.clone() };
        if let Some(previous) = previous {
            this.inherit(previous);
        }
        Ok(this)
    }

    fn inherit(&self, previous: &Self) {
        for source in &self.sources {
            let settings = source.settings();
            let earlier = previous.source(&settings.issuer).and_then(|source| source.status.as_ref());
            if let (Some(status), Some(earlier)) = (&source.status, earlier) {
                status.inherit(earlier);
            }
        }
    }

    /// Whether this is the trust in exactly these issuers, seeded keys included.
    pub(crate) fn is_for(&self, issuers: &[Issuer]) -> bool {
        self.sources.iter().map(Source::settings).eq(issuers)
    }

    /// Whether what `caller`'s issuer signed for `self` would be accepted by `other`: the issuer is
    /// there with the same settings, and no seeded key was taken away.
    pub(crate) fn still_trusts(&self, other: &Self, caller: &Identity) -> bool {
        let (Some(before), Some(after)) = (self.source(&caller.issuer), other.source(&caller.issuer)) else {
            return false;
        };
        let (earlier, later) = (before.settings(), after.settings());
        before.keys_remain_in(after) && Issuer { keys: later.keys.clone(), ..earlier.clone() } == *later
    }

    fn source(&self, issuer: &IssuerUrl) -> Option<&Source> {
        self.sources.iter().find(|source| source.settings().issuer == *issuer)
    }

    /// The age of the oldest status list that tokens name.
    pub(crate) fn oldest_status(&self) -> Option<Duration> {
        let now = Instant::now();
        self.sources.iter().filter_map(|source| source.status.as_ref()?.oldest(now)).max()
    }

    /// Whose token `raw` is, at `now`.
    pub(crate) async fn authenticate(&self, raw: &str, now: UnixTime) -> Result<Caller, Refusal> {
        self.sources.iter().for_each(|source| source.keys.keep_fresh());
        let digest = sha256(raw.as_bytes());
        let caller = match self.recall(&digest, now) {
            Some(caller) => caller,
            None => self.verify(raw, digest, now).await?,
        };
        if let Some(status) = &caller.status {
            status.ready().await;
            status.check()?;
        }
        Ok(caller)
    }

    /// Verifies a token and remembers it.
    async fn verify(&self, raw: &str, digest: [u8; 32], now: UnixTime) -> Result<Caller, Refusal> {
        self.metrics.token_verified();
        let token = Unverified::parse(raw).map_err(Refusal::Token)?;
        let source = self.sources.iter().find(|source| source.settings().issuer.as_str() == token.issuer());
        let source = source.ok_or(Refusal::Token(TokenError::WrongIssuer))?;
        let (verified, epoch) = self.verify_by(source, &token, now).await.map_err(Refusal::Token)?;
        let caller = Caller { principal: Principal::new(&verified), status: source.status_of(&verified)? };
        self.verified.insert(digest, Remembered { caller: caller.clone(), epoch });
        Ok(caller)
    }

    /// Verifies a token by the keys of `source`, and says under which count of changes.
    async fn verify_by(
        &self,
        source: &Source,
        token: &Unverified<'_>,
        now: UnixTime,
    ) -> Result<(Verified<AccessToken>, u64), TokenError> {
        let settings = source.settings();
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
            let keys = source.keys.current();
            match keys.set.find(token.key_id(), token.algorithm()) {
                KeyMatch::Found(key) => return Ok((token.verify(key, &expect, now)?, epoch)),
                KeyMatch::UnknownKid if !asked => {
                    asked = true;
                    source.keys.refresh_unknown().await;
                }
                KeyMatch::UnknownKid | KeyMatch::Unusable => return Err(TokenError::UnknownKey),
            }
        }
    }

    fn recall(&self, digest: &[u8; 32], now: UnixTime) -> Option<Caller> {
        let remembered = self.verified.get(digest)?;
        let gone = remembered.caller.status.as_ref().is_some_and(Bit::is_gone);
        let current = !gone && remembered.epoch == self.epoch.load(Ordering::Acquire);
        if current && now < remembered.caller.principal.expires_at() {
            return Some(remembered.caller);
        }
        self.verified.remove(digest);
        None
    }
}

impl Source {
    fn new(
        settings: Issuer,
        limits: IssuerLimits,
        epoch: &Arc<AtomicU64>,
        metrics: &Metrics,
    ) -> Result<Self, FetchError> {
        let lists = settings.status.clone();
        let keys = Arc::new(KeySource::new(settings, limits.jwks, Arc::clone(epoch), metrics)?);
        let status = lists.map(|lists| StatusSource::new(Arc::clone(&keys), lists, limits.status, metrics));
        Ok(Self { status: status.transpose()?, keys })
    }

    fn settings(&self) -> &Issuer {
        &self.keys.settings
    }

    /// Whether every key that was seeded here is seeded there.
    fn keys_remain_in(&self, other: &Self) -> bool {
        let remaining = &other.settings().keys.keys;
        self.settings().keys.keys.iter().all(|key| remaining.contains(key))
    }

    /// Where it is said whether `token` was revoked. One that names a place we do not know is refused.
    fn status_of(&self, token: &AccessToken) -> Result<Option<Bit>, StatusFault> {
        let Some(reference) = &token.status else { return Ok(None) };
        let until = token.expires_at.plus(LEEWAY_SECONDS);
        self.status.as_ref().ok_or(StatusFault::Foreign)?.bit(reference, until).map(Some)
    }
}
