//! How often strangers may make us fetch something, so that they cannot use us to scan or flood others.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::HttpsUrl;
use crate::registry::OrgId;

/// Fetches of one organization: this many at once, then one per second each.
const PER_ORG: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);
/// Fetches from one host, of all organizations: this many at once, then one every six seconds.
const PER_HOST: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// Fetches of one URL that gave something good before: this many at once, then one every six seconds.
const PER_URL: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// So many hosts or URLs are remembered before those are forgotten that may be asked again anyway. What is left is bounded by
/// the rate of the organizations.
const MANY: usize = 1024;

pub(super) struct Limits {
    orgs: DefaultKeyedRateLimiter<OrgId>,
    hosts: DefaultKeyedRateLimiter<String>,
    urls: DefaultKeyedRateLimiter<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            orgs: RateLimiter::keyed(Quota::per_minute(PER_ORG)),
            hosts: RateLimiter::keyed(Quota::per_minute(PER_HOST)),
            urls: RateLimiter::keyed(Quota::per_minute(PER_URL)),
        }
    }
}

impl Limits {
    /// Whether `org` may have `url` fetched now. One that is `known` to have given something good is one that people
    /// use: others who ask its host for nonsense do not keep them from it.
    pub(super) fn allow(&self, org: &OrgId, url: &HttpsUrl, known: bool) -> bool {
        for limiter in [&self.hosts, &self.urls] {
            if limiter.len() >= MANY {
                limiter.retain_recent();
            }
        }
        if known {
            return self.urls.check_key(&url.as_str().to_owned()).is_ok();
        }
        self.orgs.check_key(org).is_ok() && self.hosts.check_key(&url.host_str().to_owned()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(name: &str) -> OrgId {
        OrgId::parse(name).unwrap()
    }

    fn url(host: &str) -> HttpsUrl {
        HttpsUrl::parse(&format!("https://{host}/c")).unwrap()
    }

    #[test]
    fn a_host_is_asked_a_few_times() {
        let limits = Limits::default();
        let allowed = (0..50).filter(|_| limits.allow(&org("a"), &url("h.example"), false)).count();
        assert_eq!(allowed, 10);
        assert!(!limits.allow(&org("b"), &url("h.example:8443"), false), "whoever asks, and on every port");
        assert!(limits.allow(&org("b"), &url("other.example"), false));
        assert!(limits.allow(&org("b"), &url("h.example"), true), "what was good before is not kept back");
    }

    #[test]
    fn an_organization_asks_a_few_hosts() {
        let limits = Limits::default();
        let ask = |n: &usize| limits.allow(&org("a"), &url(&format!("h{n}.example")), false);
        let allowed = (0..500).filter(ask).count();
        assert!((60..70).contains(&allowed), "{allowed}");
        assert!(limits.hosts.len() < 70, "what was refused is not remembered");
        assert!(limits.allow(&org("b"), &url("h.example"), false));
    }

    #[test]
    fn what_was_good_is_not_asked_without_end_either() {
        let limits = Limits::default();
        assert_eq!((0..50).filter(|_| limits.allow(&org("a"), &url("h.example"), true)).count(), 10);
    }
}
