//! How often strangers may make us fetch something, so that they cannot use us to scan or flood others, and cannot keep
//! us from what people use.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::HttpsUrl;
use crate::registry::OrgId;

/// So many keys of a kind are remembered before those are forgotten that are full again. What is left is bounded by the
/// rates themselves.
const MANY: usize = 1024;

/// Who asks for a URL counts, and what is known of it, never what others ask for.
pub(super) struct Limits(Mutex<Inner>);

struct Inner {
    /// Of URLs nothing is known about: 60 at once, then one per second.
    orgs: Buckets<OrgId>,
    /// Of these, so many go to one host: 10 at once, then one every six seconds.
    hosts: Buckets<(OrgId, String)>,
    /// Of one URL that is known: 10 at once, then one every six seconds.
    urls: Buckets<(OrgId, String)>,
}

impl Default for Limits {
    fn default() -> Self {
        let a_minute = |most| Buckets::new(most, Duration::from_mins(1) / most);
        Self(Mutex::new(Inner {
            orgs: a_minute(60),
            hosts: Buckets::new(10, Duration::from_secs(6)),
            urls: Buckets::new(10, Duration::from_secs(6)),
        }))
    }
}

impl Limits {
    /// Whether `org` may have `url` fetched at `now`. One that is `known` is one that people use: others who ask its
    /// host for nonsense do not keep them from it. What is refused costs nothing.
    pub(super) fn allow(&self, org: &OrgId, url: &HttpsUrl, known: bool, now: Instant) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { orgs, hosts, urls } = &mut *inner;
        if known {
            return urls.take((org.clone(), url.as_str().to_owned()), now);
        }
        // In this order, and the host only where the organization has one left: what is refused is not remembered.
        let host = (org.clone(), url.host_str().to_owned());
        hosts.has(&host, now) && orgs.take(org.clone(), now) && hosts.take(host, now)
    }
}

/// A bucket of tokens for each key.
struct Buckets<K> {
    most: u32,
    interval: Duration,
    /// When each is full again; those that are not here are.
    full_at: HashMap<K, Instant>,
}

impl<K: Eq + Hash> Buckets<K> {
    /// Buckets of `most` tokens, refilled by one each `interval`.
    fn new(most: u32, interval: Duration) -> Self {
        Self { most, interval, full_at: HashMap::new() }
    }

    fn has(&self, key: &K, now: Instant) -> bool {
        let missing = self.full_at.get(key).map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        missing <= self.interval * self.most.saturating_sub(1)
    }

    fn take(&mut self, key: K, now: Instant) -> bool {
        if !self.has(&key, now) {
            return false;
        }
        if self.full_at.len() >= MANY {
            self.full_at.retain(|_, at| *at > now);
        }
        let at = self.full_at.entry(key).or_insert(now);
        *at = now.max(*at) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(name: &str) -> OrgId {
        OrgId::parse(name).unwrap()
    }

    fn url(rest: &str) -> HttpsUrl {
        HttpsUrl::parse(&format!("https://{rest}")).unwrap()
    }

    struct World {
        limits: Limits,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self { limits: Limits::default(), now: Instant::now() }
        }

        /// How many of 500 are allowed.
        fn allowed(&self, name: &str, known: bool, of: impl Fn(usize) -> String) -> usize {
            (0..500).filter(|n| self.limits.allow(&org(name), &url(&of(*n)), known, self.now)).count()
        }
    }

    #[test]
    fn a_stranger_keeps_nobody_from_a_document() {
        let mut world = World::new();
        assert_eq!(world.allowed("a", false, |n| format!("h.example/x{n}")), 10);
        assert_eq!(world.allowed("a", false, |n| format!("h.example:8443/x{n}")), 0, "on every port");
        assert_eq!(world.allowed("a", true, |_| "h.example/c".to_owned()), 10, "what is known has its own");
        assert_eq!(world.allowed("b", false, |_| "h.example/c".to_owned()), 10, "and other organizations have theirs");
        world.now += Duration::from_secs(6);
        assert_eq!(world.allowed("a", false, |n| format!("h.example/x{n}")), 1);
        world.now += Duration::from_mins(10);
        assert_eq!(world.allowed("a", false, |n| format!("h.example/x{n}")), 10);
    }

    #[test]
    fn an_organization_asks_a_few_hosts() {
        let mut world = World::new();
        assert_eq!(world.allowed("a", false, |n| format!("h{n}.example/c")), 60);
        let remembered = world.limits.0.lock().unwrap().hosts.full_at.len();
        assert_eq!(remembered, 60, "what was refused is not remembered");
        assert_eq!(world.allowed("b", false, |n| format!("h{n}.example/c")), 60);
        world.now += Duration::from_secs(1);
        assert_eq!(world.allowed("a", false, |n| format!("h{n}.example/c")), 1);
    }

    #[test]
    fn what_the_host_refuses_costs_the_organization_nothing() {
        let world = World::new();
        assert_eq!(world.allowed("a", false, |_| "one.example/c".to_owned()), 10);
        assert_eq!(world.allowed("a", false, |n| format!("h{n}.example/c")), 50);
    }

    #[test]
    fn what_is_full_again_is_forgotten() {
        let mut world = World::new();
        for minute in 0..40 {
            world.allowed("a", false, |n| format!("h{minute}-{n}.example/c"));
            world.now += Duration::from_mins(1);
        }
        assert!(world.limits.0.lock().unwrap().hosts.full_at.len() <= MANY + 60);
    }
}
