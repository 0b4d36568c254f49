//! Says loudly that documents may be fetched from inside the network: whoever can name a client can then make the
//! authorization server ask there.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{registry::OrgId, settings::Settings};

/// `cimd.allowedCidrs` of the organizations that have some.
type Ranges = BTreeMap<OrgId, Vec<IpNet>>;

/// Logs a warning for each organization with `cimd.allowedCidrs`, now and after every change, until `shutdown`.
pub async fn warn_of_allowed_ranges(mut settings: watch::Receiver<Arc<Settings>>, shutdown: CancellationToken) {
    let mut known = Ranges::new();
    loop {
        let newest = allowed(&settings.borrow_and_update());
        for (org, ranges) in new(&known, &newest) {
            tracing::warn!(%org, ?ranges, "unsafe: cimd.allowedCidrs lets strangers have documents fetched from there");
        }
        known = newest;
        if !matches!(shutdown.run_until_cancelled(settings.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

fn allowed(settings: &Settings) -> Ranges {
    let ranges = |(org, settings): (&OrgId, &crate::settings::OrgSettings)| {
        let ranges = &settings.cimd.allowed_cidrs;
        (!ranges.is_empty()).then(|| (org.clone(), ranges.clone()))
    };
    settings.orgs.iter().filter_map(ranges).collect()
}

/// What was not said yet.
fn new<'a>(known: &'a Ranges, newest: &'a Ranges) -> impl Iterator<Item = (&'a OrgId, &'a Vec<IpNet>)> {
    newest.iter().filter(|(org, ranges)| known.get(*org) != Some(*ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(orgs: &str) -> Ranges {
        allowed(&Settings::parse(&format!("publicUrl: https://as.example\nsidecarImage: a:1\norgs: {orgs}\n")).unwrap())
    }

    #[test]
    fn each_change_is_said_once() {
        let none = settings("{acme: {}, other: {cimd: {allowedCidrs: []}}}");
        let one = settings("{acme: {cimd: {allowedCidrs: [10.0.0.0/8]}}, other: {}}");
        let other = settings("{acme: {cimd: {allowedCidrs: [10.0.0.0/8, \"fd00::/8\"]}}}");
        let said = |known, newest| new(known, newest).map(|(org, _)| org.to_string()).collect::<Vec<_>>();
        assert!(none.is_empty());
        assert_eq!(said(&none, &one), ["acme"]);
        assert!(said(&one, &one).is_empty());
        assert_eq!(said(&one, &other), ["acme"]);
        assert!(said(&one, &none).is_empty());
    }
}
