//! Step 5: how much (RFC 6749 §3.3).

use std::borrow::Cow;

use lumoauth_core::{ScopeSet, scope::Hierarchy};

use super::Refused;

/// Asks that the access outlast the login.
const OFFLINE_ACCESS: &str = "offline_access";

/// The scopes of a resource.
pub(super) struct Offer<'a> {
    /// What a request without `scope` is for.
    pub(super) required: Cow<'a, ScopeSet>,
    /// All there are.
    pub(super) declared: ScopeSet,
    /// Which of them includes which.
    pub(super) hierarchy: Cow<'a, Hierarchy>,
}

/// What a client gets that asks for `asked` and may have `limit`: the part of it that the resource knows and the client
/// may have, itself or within a scope that implies it. Scopes beyond that are left out, and the response says so;
/// nothing at all is refused.
pub(super) fn grant(asked: Option<&str>, limit: &ScopeSet, offer: &Offer<'_>) -> Result<ScopeSet, Refused> {
    let wanted = asked.map(parse).transpose()?.flatten().unwrap_or_else(|| ScopeSet::clone(&offer.required));
    // Only what the resource declares can be implied: a foreign scope of the same name opens nothing here.
    let allowed = offer.hierarchy.expand(&limit.intersection(&offer.declared));
    let granted = wanted.intersection(&allowed).intersection(&offer.declared);
    if granted.is_empty() && !wanted.is_empty() { Err(Refused::NoScopeLeft) } else { Ok(granted) }
}

/// The scopes a request names; `None` if it names none. `offline_access` asks for a refresh token and names nothing a
/// resource has (OpenID Connect Core §11).
fn parse(asked: &str) -> Result<Option<ScopeSet>, Refused> {
    let all = ScopeSet::parse(asked).map_err(|_| Refused::MalformedScope)?;
    let wanted: ScopeSet = all.iter().filter(|scope| scope.as_str() != OFFLINE_ACCESS).cloned().collect();
    Ok((wanted.len() == all.len() || !wanted.is_empty()).then_some(wanted))
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
        assert_eq!(grant(asked, &set(limit), &offer(required)), expected);
    }

    #[rstest]
    #[case("read  write")]
    #[case(" read")]
    #[case("read\twrite")]
    #[case("\"read\"")]
    #[case("r\u{e9}ad")]
    fn rfc6749_3_3_syntax(#[case] asked: &str) {
        assert_eq!(grant(Some(asked), &set("read"), &offer("read")), Err(Refused::MalformedScope));
    }
}
