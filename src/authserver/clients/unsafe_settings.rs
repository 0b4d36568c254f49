//! Says aloud which organizations have documents of clients fetched with less care than there is by default.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{registry::OrgId, settings::Settings};

/// What there is to warn of, of one organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unsafe {
    /// `cimd.allowedCidrs`: whoever can name a client can then make the authorization server ask there.
    ranges: Vec<IpNet>,
    /// `cimd.caBundle`: whoever holds its keys can then pass for the host of any document.
    ca_bundle: String,
}

/// Logs a warning for each organization with `cimd.allowedCidrs` or `cimd.caBundle`, now and after every change, until
/// `shutdown`.
pub async fn warn_of_unsafe_settings(mut settings: watch::Receiver<Arc<Settings>>, shutdown: CancellationToken) {
    let mut known = BTreeMap::new();
    loop {
        let newest = unsafe_settings(&settings.borrow_and_update());
        for (org, change) in changes(&known, &newest) {
            match change {
                Change::Ranges(ranges) => tracing::warn!(
                    %org, ?ranges, "unsafe: cimd.allowedCidrs lets strangers have documents fetched from there"
                ),
                Change::CaBundle => tracing::warn!(
                    %org, "unsafe: whoever holds a key of cimd.caBundle can pass for the host of any client's document"
                ),
            }
        }
        known = newest;
        if !matches!(shutdown.run_until_cancelled(settings.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change<'a> {
    Ranges(&'a [IpNet]),
    CaBundle,
}

fn unsafe_settings(settings: &Settings) -> BTreeMap<OrgId, Unsafe> {
    let of = |settings: &crate::settings::OrgSettings| Unsafe {
        ranges: settings.cimd.allowed_cidrs.clone(),
        ca_bundle: settings.cimd.ca_bundle.clone(),
    };
    settings.orgs.iter().map(|(org, settings)| (org.clone(), of(settings))).collect()
}

/// What was not said yet.
fn changes<'a>(known: &BTreeMap<OrgId, Unsafe>, newest: &'a BTreeMap<OrgId, Unsafe>) -> Vec<(&'a OrgId, Change<'a>)> {
    let mut changes = Vec::new();
    for (org, Unsafe { ranges, ca_bundle }) in newest {
        let before = known.get(org);
        if !ranges.is_empty() && before.is_none_or(|before| before.ranges != *ranges) {
            changes.push((org, Change::Ranges(ranges)));
        }
        if !ca_bundle.is_empty() && before.is_none_or(|before| before.ca_bundle != *ca_bundle) {
            changes.push((org, Change::CaBundle));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::OrgSettings;
    use lumoauth_core::IssuerUrl;

    fn settings(orgs: &[(&str, &[&str], &str)]) -> BTreeMap<OrgId, Unsafe> {
        let mut settings = Settings::of(IssuerUrl::parse("https://as.example").unwrap());
        for (org, ranges, bundle) in orgs {
            let mut own = OrgSettings::default();
            own.cimd.allowed_cidrs = ranges.iter().map(|range| range.parse().unwrap()).collect();
            own.cimd.ca_bundle = (*bundle).to_owned();
            settings.orgs.insert(OrgId::parse(org).unwrap(), own);
        }
        unsafe_settings(&settings)
    }

    #[test]
    fn each_change_is_said_once() {
        let nothing = BTreeMap::new();
        let none = settings(&[("acme", &[], ""), ("other", &[], "")]);
        let range = settings(&[("acme", &["10.0.0.0/8"], ""), ("other", &[], "")]);
        let ranges = settings(&[("acme", &["10.0.0.0/8", "fd00::/8"], "")]);
        let bundle = settings(&[("acme", &["10.0.0.0/8"], "one")]);
        let other_bundle = settings(&[("acme", &["10.0.0.0/8"], "two")]);
        let said = |known, newest| {
            let changes = changes(known, newest);
            changes.iter().map(|(org, change)| (org.to_string(), *change == Change::CaBundle)).collect::<Vec<_>>()
        };
        let acme = |is_bundle: bool| vec![("acme".to_owned(), is_bundle)];
        assert_eq!(said(&none, &none), []);
        assert_eq!(said(&nothing, &none), []);
        assert_eq!(said(&none, &range), acme(false));
        assert_eq!(said(&range, &range), []);
        assert_eq!(said(&range, &ranges), acme(false));
        assert_eq!(said(&range, &bundle), acme(true));
        assert_eq!(said(&bundle, &bundle), []);
        assert_eq!(said(&bundle, &other_bundle), acme(true));
        assert_eq!(said(&bundle, &none), []);
        assert_eq!(said(&nothing, &bundle).len(), 2);
    }
}
