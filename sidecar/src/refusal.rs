//! Every way a request is turned away, before it is spelled as HTTP in [`crate::respond`].

use lumoauth_core::{ScopeSet, mcp::Rejection, policy::DenyReason, token::TokenError};

/// Why a request was not forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no configuration, or it says to deny everything. 503.
    Unavailable(Unavailable),
    /// Malformed or ambiguous HTTP. 400, and the connection is closed.
    Malformed(Malformed),
    /// A Host that is not ours. 421 (RFC 9110 §15.5.20).
    Misdirected,
    /// An Origin that is not allowed. 403 (MCP Streamable HTTP, Security).
    Origin,
    /// A path that is not ours. 404.
    NotFound,
    /// A method the path does not take. 405 with `Allow`.
    Method(&'static str),
    /// An `Expect` other than `100-continue`. 417 (RFC 9110 §10.1.1).
    Expectation,
    /// A content coding, which would hide the body from us. 415.
    ContentCoding,
    /// A body that is not declared as `application/json`. 415.
    ContentType,
    /// A body over the limit. 413.
    TooLarge,
    /// A body that did not arrive in time. 408.
    Slow,
    /// No token. 401 without `error`.
    NoToken,
    /// A token presented in an impossible way. 400.
    TokenRequest,
    /// A token that cannot be used. 401.
    Token(TokenError),
    /// A body or MCP headers that are refused. 400.
    Message(Rejection),
    /// The token lacks scopes. 403 with the scopes this operation needs.
    Scope {
        /// Everything the operation needs.
        needed: ScopeSet,
        /// The request's `id` as JSON text.
        id: Option<String>,
    },
    /// No scope would help. 403 without a challenge.
    Denied {
        /// Why.
        reason: DenyReason,
        /// The request's `id` as JSON text.
        id: Option<String>,
    },
    /// The MCP server did not answer usably. 502.
    Upstream {
        /// What went wrong.
        fault: UpstreamFault,
        /// The request's `id` as JSON text.
        id: Option<String>,
    },
}

/// The states in which nothing is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// No configuration was ever read.
    NoConfig,
    /// The configuration denies everything.
    DenyAll,
    /// The call was permitted, and no longer is under the configuration that came while it waited.
    Revoked,
    /// Nobody knows whether the token was revoked: the issuer's status list was never seen, or is too old.
    Status,
    /// Other calls' bodies have used up what is held at a time.
    Busy,
}

/// What is wrong with the HTTP of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The messages are the documentation.
pub(crate) enum Malformed {
    Framing,
    Host,
    Target,
    Connection,
    HeaderName,
    RepeatedHeader,
    UnexpectedBody,
    TokenInQuery,
    Body,
}

impl Malformed {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Host => "host",
            Self::Target => "target",
            Self::Connection => "connection_header",
            Self::HeaderName => "header_name",
            Self::RepeatedHeader => "repeated_header",
            Self::UnexpectedBody => "unexpected_body",
            Self::TokenInQuery => "token_in_query",
            Self::Body => "body",
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Framing => "the message can be framed in more than one way",
            Self::Host => "send exactly one Host header with a host and an optional port",
            Self::Target => "the request target is not acceptable",
            Self::Connection => "the Connection header names a header that must not be removed",
            Self::HeaderName => "a header name with _ imitates another header",
            Self::RepeatedHeader => "a header that may appear once appears more than once",
            Self::UnexpectedBody => "this method takes no body",
            Self::TokenInQuery => "an access token may not be sent in the query",
            Self::Body => "the body could not be read",
        }
    }
}

/// What the MCP server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamFault {
    /// It could not be reached, or hung up.
    Unreachable,
    /// It answered 101 to a request that asked for no upgrade.
    Switched,
    /// It answered a list in a form that cannot be filtered.
    Unfilterable,
}

impl UpstreamFault {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "upstream_unreachable",
            Self::Switched => "upstream_switched_protocols",
            Self::Unfilterable => "upstream_list_unreadable",
        }
    }
}

impl Refusal {
    /// What audit lines and metrics call the outcome.
    pub(crate) fn decision(&self) -> &'static str {
        match self {
            Self::NoToken | Self::Token(_) | Self::Scope { .. } => "challenge",
            Self::Denied { .. } | Self::Unavailable(_) | Self::Origin => "deny",
            Self::Upstream { .. } => "error",
            _ => "refuse",
        }
    }

    /// A word from a closed list.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(Unavailable::NoConfig) => "no_config",
            Self::Unavailable(Unavailable::DenyAll) => "deny_all",
            Self::Unavailable(Unavailable::Revoked) => "revoked",
            Self::Unavailable(Unavailable::Status) => "status_unknown",
            Self::Unavailable(Unavailable::Busy) => "busy",
            Self::Malformed(what) => what.as_str(),
            Self::Misdirected => "foreign_host",
            Self::Origin => "foreign_origin",
            Self::NotFound => "unknown_path",
            Self::Method(_) => "http_method",
            Self::Expectation => "expectation",
            Self::ContentCoding => "content_coding",
            Self::ContentType => "content_type",
            Self::TooLarge => "body_too_large",
            Self::Slow => "body_timeout",
            Self::NoToken => "no_token",
            Self::TokenRequest => "token_request",
            Self::Token(error) => error.as_str(),
            Self::Message(rejection) if rejection.code == -32020 => "header_mismatch",
            Self::Message(_) => "message",
            Self::Scope { .. } => "insufficient_scope",
            Self::Denied { reason, .. } => reason.as_str(),
            Self::Upstream { fault, .. } => fault.as_str(),
        }
    }
}
