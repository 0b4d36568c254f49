//! Step 5: how much (RFC 6749 §3.3).

use std::borrow::Cow;

use lumoauth_core::{ScopeSet, scope::Hierarchy};

use super::Refused;
use crate::authserver::{
    clients::ScopeLimit,
    scopes::{self, within},
};

/// The scopes of a resource.
pub(super) struct Offer<'a> {
    /// What a request without `scope` is for.
    pub(super) required: Cow<'a, ScopeSet>,
    /// All there are.
    pub(super) declared: ScopeSet,
    /// Which of them includes which.
    pub(super) hierarchy: Cow<'a, Hierarchy>,
    /// Whether a client without a limit of its own may have them.
    pub(super) unlimited: bool,
}

impl Offer<'_> {
    /// The part of it that a client with this limit may have.
    fn within(&self, limit: &ScopeLimit) -> ScopeSet {
        match limit {
            ScopeLimit::Any if !self.unlimited => ScopeSet::default(),
            limit => within(limit, &self.declared, &self.hierarchy),
        }
    }
}

/// What a client gets that asks for `asked` and may have `limit`. Scopes beyond that are left out, and the response says
/// so; nothing at all is refused.
pub(super) fn grant(asked: Option<&str>, limit: &ScopeLimit, offer: &Offer<'_>) -> Result<ScopeSet, Refused> {
    let wanted = parse(asked)?.unwrap_or_else(|| ScopeSet::clone(&offer.required));
    let granted = wanted.intersection(&offer.within(limit));
    if granted.is_empty() && !wanted.is_empty() { Err(Refused::NoScopeLeft) } else { Ok(granted) }
}

/// What of the scopes that a user agreed to is asked for: all, or as few as named, and never more (RFC 6749 §6).
/// A scope may be asked for that one agreed to implies.
pub(super) fn narrow(asked: Option<&str>, agreed: &ScopeSet, hierarchy: &Hierarchy) -> Result<ScopeSet, Refused> {
    let Some(wanted) = parse(asked)? else { return Ok(agreed.clone()) };
    if wanted.is_subset(&hierarchy.expand(agreed)) { Ok(wanted) } else { Err(Refused::ScopeNotGranted) }
}

fn parse(scope: Option<&str>) -> Result<Option<ScopeSet>, Refused> {
    scopes::asked(scope).map_err(|scopes::Malformed| Refused::MalformedScope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lumoauth_core::Scope;
    use rstest::rstest;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    /// read < write < admin, and one on its own.
    fn offer(required: &str) -> Offer<'static> {
        let declared = [("admin", "write"), ("write", "read"), ("read", ""), ("export", "")]
            .map(|(scope, implies)| (Scope::parse(scope).unwrap(), set(implies)));
        Offer {
            required: Cow::Owned(set(required)),
            declared: declared.iter().map(|(scope, _)| scope.clone()).collect(),
            hierarchy: Cow::Owned(Hierarchy::new(declared.iter().map(|(scope, implies)| (scope, implies))).unwrap()),
            unlimited: true,
        }
    }

    #[rstest]
    #[case::what_it_may_have(Some("read"), "read", "read", Some("read"))]
    #[case::narrowed_to_the_client(Some("read write"), "read", "read", Some("read"))]
    #[case::narrowed_to_the_server(Some("read other"), "read other", "read", Some("read"))]
    #[case::within_a_wider_scope(Some("read"), "admin", "read", Some("read"))]
    #[case::never_wider_than_asked(Some("read"), "admin write", "read", Some("read"))]
    #[case::never_wider_than_the_client(Some("admin"), "write", "read", None)]
    #[case::absent_is_required(None, "read write export", "read", Some("read"))]
    #[case::absent_within_the_client(None, "read", "read export", Some("read"))]
    #[case::absent_through_hierarchy(None, "write", "read", Some("read"))]
    #[case::absent_and_nothing_left(None, "export", "read", None)]
    #[case::absent_and_nothing_required(None, "", "", Some(""))]
    #[case::nothing_left(Some("write"), "read", "read", None)]
    #[case::unknown(Some("nothing"), "read", "read", None)]
    #[case::foreign_scope_of_the_client(Some("settings.manage"), "settings.manage", "read", None)]
    #[case::client_without_scopes(Some("read"), "", "read", None)]
    #[case::offline_access_is_no_scope_of_a_resource(Some("offline_access"), "read", "read", Some("read"))]
    #[case::offline_access_beside_others(Some("offline_access write"), "write", "read", Some("write"))]
    #[case::case_matters(Some("READ"), "read", "read", None)]
    fn rfc6749_3_3_narrowing(
        #[case] asked: Option<&str>,
        #[case] limit: &str,
        #[case] required: &str,
        #[case] granted: Option<&str>,
    ) {
        let expected = granted.map(set).ok_or(Refused::NoScopeLeft);
        assert_eq!(grant(asked, &ScopeLimit::Only(set(limit)), &offer(required)), expected);
    }

    #[rstest]
    #[case("read  write")]
    #[case(" read")]
    #[case("read\twrite")]
    #[case("\"read\"")]
    #[case("r\u{e9}ad")]
    fn rfc6749_3_3_syntax(#[case] asked: &str) {
        assert_eq!(grant(Some(asked), &ScopeLimit::Any, &offer("read")), Err(Refused::MalformedScope));
    }

    #[test]
    fn a_client_without_a_limit() {
        let mut offer = offer("read");
        assert_eq!(grant(Some("read admin other"), &ScopeLimit::Any, &offer), Ok(set("admin read")));
        offer.unlimited = false;
        assert_eq!(grant(None, &ScopeLimit::Any, &offer), Err(Refused::NoScopeLeft));
    }

    #[rstest]
    #[case::all(None, "read write", Ok("read write"))]
    #[case::fewer(Some("read"), "read export", Ok("read"))]
    #[case::an_implied_one(Some("read"), "admin", Ok("read"))]
    #[case::never_more(Some("read write"), "read", Err(Refused::ScopeNotGranted))]
    #[case::not_what_implies_it(Some("admin"), "write", Err(Refused::ScopeNotGranted))]
    #[case::offline_access_says_nothing(Some("offline_access"), "read", Ok("read"))]
    #[case::malformed(Some("read  write"), "read write", Err(Refused::MalformedScope))]
    #[case::nothing_was_agreed(None, "", Ok(""))]
    #[case::something_of_nothing(Some("read"), "", Err(Refused::ScopeNotGranted))]
    fn rfc6749_6_never_more_than_granted(
        #[case] asked: Option<&str>,
        #[case] agreed: &str,
        #[case] expected: Result<&str, Refused>,
    ) {
        assert_eq!(narrow(asked, &set(agreed), &offer("").hierarchy), expected.map(set));
    }
}
