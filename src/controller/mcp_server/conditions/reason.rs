//! The reasons of an McpServer's conditions, beside those of the registry ([`crate::registry::Reason`]). Each is
//! explained where it is given.

pub(in crate::controller::mcp_server) const ACCEPTED: &str = "Accepted";
pub(in crate::controller::mcp_server) const PUBLISHED: &str = "Published";
pub(in crate::controller::mcp_server) const DIFFERENT: &str = "Different";
pub(in crate::controller::mcp_server) const UNREACHABLE: &str = "Unreachable";
pub(in crate::controller::mcp_server) const DENY_ALL: &str = "DenyAll";
pub(in crate::controller::mcp_server) const NOT_APPLICABLE: &str = "NotApplicable";
pub(in crate::controller::mcp_server) const PENDING: &str = "Pending";
pub(in crate::controller::mcp_server) const NO_PODS: &str = "NoPods";
pub(in crate::controller::mcp_server) const NO_PLAN: &str = "NoPlan";
pub(in crate::controller::mcp_server) const INJECTED: &str = "Injected";
pub(in crate::controller::mcp_server) const OUTDATED: &str = "Outdated";
pub(in crate::controller::mcp_server) const MISSING: &str = "Missing";
pub(in crate::controller::mcp_server) const TAMPERED: &str = "Tampered";
pub(in crate::controller::mcp_server) const NAME_TAKEN: &str = "NameTaken";
pub(in crate::controller::mcp_server) const WRITE_FAILED: &str = "WriteFailed";
pub(in crate::controller::mcp_server) const NOT_ISSUING: &str = "NotIssuing";
pub(in crate::controller::mcp_server) const NOT_INJECTED: &str = "NotInjected";
pub(in crate::controller::mcp_server) const PROGRAMMED: &str = "Programmed";
pub(in crate::controller::mcp_server) const PROGRESSING: &str = "Progressing";
pub(in crate::controller::mcp_server) const REFUSED: &str = "Refused";
pub(in crate::controller::mcp_server) const NOT_CHECKED: &str = "NotChecked";
pub(in crate::controller::mcp_server) const VERIFIED: &str = "Verified";
pub(in crate::controller::mcp_server) const WRONG_ANSWER: &str = "WrongAnswer";
pub(in crate::controller::mcp_server) const NOT_PROGRAMMED: &str = "NotProgrammed";
pub(in crate::controller::mcp_server) const NOT_READY: &str = "PodsNotReady";
pub(in crate::controller::mcp_server) const READY: &str = "Ready";

/// All of them.
pub(in crate::controller::mcp_server) const ALL: [&str; 26] = [
    ACCEPTED,
    PUBLISHED,
    DIFFERENT,
    UNREACHABLE,
    DENY_ALL,
    NOT_APPLICABLE,
    PENDING,
    NO_PODS,
    NO_PLAN,
    INJECTED,
    OUTDATED,
    MISSING,
    TAMPERED,
    NAME_TAKEN,
    WRITE_FAILED,
    NOT_ISSUING,
    NOT_INJECTED,
    PROGRAMMED,
    PROGRESSING,
    REFUSED,
    NOT_CHECKED,
    VERIFIED,
    WRONG_ANSWER,
    NOT_PROGRAMMED,
    NOT_READY,
    READY,
];

/// Those that a write which has been done since makes untrue.
pub(in crate::controller::mcp_server) const UNWRITTEN: [&str; 3] = [NAME_TAKEN, WRITE_FAILED, NOT_ISSUING];
