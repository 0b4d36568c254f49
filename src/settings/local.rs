//! Settings of `lumoauth local`: what of a cluster's settings file means something on one machine.

use std::{collections::BTreeMap, path::Path};

use lumoauth_core::IssuerUrl;
use serde::Deserialize;

use super::{Limits, OrgSettings, RegistrationMode, Settings, SettingsError, load};
use crate::registry::OrgId;

/// The one organization.
const ORG: &str = "default";

/// The file of `--config`. On one's own machine any client may register unless the file says otherwise: that is what
/// trying one out needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSettings {
    limits: Limits,
    org: OrgSettings,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    limits: Limits,
    orgs: Orgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Orgs {
    default: OrgSettings,
}

impl LocalSettings {
    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let file: Option<File> = serde_yaml::from_str(text).map_err(SettingsError::Parse)?;
        let File { limits, orgs: Orgs { default: mut org } } = file.unwrap_or_default();
        limits.check()?;
        let written: serde_yaml::Value = serde_yaml::from_str(text).map_err(SettingsError::Parse)?;
        let mode = ["orgs", ORG, "dcr", "mode"].iter().try_fold(&written, |value, member| value.get(member));
        if mode.is_none() {
            org.dcr.mode = RegistrationMode::Open;
        }
        Ok(Self { limits, org })
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        load(path, Self::parse)
    }

    /// The settings of an authorization server that is reached at `public_url`.
    pub fn on(self, public_url: IssuerUrl) -> Settings {
        let orgs = OrgId::parse(ORG).map(|id| (id, self.org)).into_iter().collect::<BTreeMap<_, _>>();
        Settings { limits: self.limits, orgs, ..Settings::of(public_url) }
    }
}

impl Default for LocalSettings {
    fn default() -> Self {
        let mut org = OrgSettings::default();
        org.dcr.mode = RegistrationMode::Open;
        Self { limits: Limits::default(), org }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::empty("", RegistrationMode::Open)]
    #[case::comment("# nothing\n", RegistrationMode::Open)]
    #[case::other_member("orgs: {default: {dcr: {maxClients: 5}}}", RegistrationMode::Open)]
    #[case::said("orgs: {default: {dcr: {mode: Off}}}", RegistrationMode::Off)]
    #[case::token("orgs: {default: {dcr: {mode: InitialAccessToken}}}", RegistrationMode::InitialAccessToken)]
    fn registration_is_open_unless_the_file_says_otherwise(#[case] text: &str, #[case] mode: RegistrationMode) {
        assert_eq!(LocalSettings::parse(text).unwrap().org.dcr.mode, mode);
    }

    #[rstest]
    #[case::of_a_cluster("publicUrl: https://as.example")]
    #[case::image("sidecarImage: a:1")]
    #[case::storage("storage: {sqlite: {path: /a}}")]
    #[case::other_org("orgs: {acme: {}}")]
    #[case::typo("orgs: {default: {cimd: {allowedCidr: []}}}")]
    #[case::cidr("orgs: {default: {cimd: {allowedCidrs: [127.0.0.1/33]}}}")]
    #[case::age("limits: {statusMaxAge: 1s}")]
    #[case::list("[]")]
    #[case::twice("limits: {}\nlimits: {}")]
    fn others_are_refused(#[case] text: &str) {
        assert!(LocalSettings::parse(text).is_err());
    }

    #[test]
    fn they_become_those_of_the_one_organization() {
        let text = "limits: {statusMaxAge: 1m}\norgs: {default: {cimd: {allowedCidrs: [127.0.0.0/8], caBundle: x}}}";
        let url = IssuerUrl::parse("http://127.0.0.1:8080").unwrap();
        let settings = LocalSettings::parse(text).unwrap().on(url.clone());
        assert_eq!((&settings.public_url, settings.limits.status_max_age_seconds()), (&url, 60));
        let org = settings.org(&OrgId::parse("default").unwrap());
        assert_eq!((org.cimd.allowed_cidrs.len(), org.cimd.ca_bundle.as_str()), (1, "x"));
        assert!(org.cimd.enabled);
        assert_eq!(LocalSettings::parse("").unwrap(), LocalSettings::default());
    }
}
