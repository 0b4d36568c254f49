//! How much a person is asked for.

use lumoauth_core::ScopeSet;

use crate::registry::Server;

/// What the person is asked about: of what the client asks for, and of what the person already lets it do there, the part
/// that is allowed. So a second request for more keeps what was granted. `None`: nothing that was asked for is left.
pub(super) fn proposed(
    server: &Server,
    asked: Option<&ScopeSet>,
    held: &ScopeSet,
    allowed: &ScopeSet,
) -> Option<ScopeSet> {
    let wanted = asked.unwrap_or_else(|| server.policy.required_scopes());
    let granted = wanted.intersection(allowed);
    if granted.is_empty() && !wanted.is_empty() {
        return None;
    }
    Some(granted.union(&held.intersection(allowed)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::authserver::scopes::tests::{server, set};

    #[rstest]
    #[case::asked(Some("read"), "", "read write", Some("read"))]
    #[case::narrowed(Some("read admin"), "", "read write", Some("read"))]
    #[case::absent_is_required(None, "", "read write", Some("read"))]
    #[case::nothing_left(Some("admin"), "", "read write", None)]
    #[case::nothing_left_of_the_required(None, "", "export", None)]
    #[case::unknown(Some("nothing"), "", "read", None)]
    #[case::step_up(Some("write"), "read export", "read write export", Some("export read write"))]
    #[case::what_was_held_and_is_no_longer_allowed(Some("read"), "write", "read", Some("read"))]
    #[case::what_is_held_is_no_answer_to_another_question(Some("admin"), "read", "read write", None)]
    fn step_up_keeps_what_was_granted(
        #[case] asked: Option<&str>,
        #[case] held: &str,
        #[case] allowed: &str,
        #[case] expected: Option<&str>,
    ) {
        let server = server(&json!([]), &["read"]);
        let result = proposed(&server, asked.map(set).as_ref(), &set(held), &set(allowed));
        assert_eq!(result, expected.map(set));
    }

    #[test]
    fn a_server_that_requires_no_scope_gives_a_token_without() {
        let server = server(&json!([]), &[]);
        assert_eq!(proposed(&server, None, &set(""), &set("")), Some(set("")));
    }
}
