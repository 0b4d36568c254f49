//! Why a token request is refused.

/// `error` of RFC 6749 §5.2 and RFC 8707 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    InvalidRequest,
    InvalidClient,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidTarget,
    InvalidScope,
    Internal,
}

impl Error {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidScope => "invalid_scope",
            Self::Internal => "server_error",
        }
    }
}

/// One cause each. What the client is told is [`Refused::error`] and [`Refused::description`]; [`Refused::reason`] is
/// for the log and the metric, and may tell more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The body is longer than accepted, or broke off.
    TooLarge,
    /// Not `application/x-www-form-urlencoded`.
    NotAForm,
    /// Parameters in the URL, where they end up in logs (RFC 6749 §2.3.1).
    Query,
    /// More parameters than a token request has.
    TooManyParameters,
    /// A parameter twice (RFC 6749 §3.2).
    DuplicateParameter,
    /// No `grant_type`.
    NoGrantType,
    /// A grant that is not built.
    UnsupportedGrantType,
    /// More than one way of client authentication (RFC 6749 §2.3).
    SeveralCredentials,
    /// No client authentication.
    NoCredentials,
    /// An Authorization header that holds no Basic credentials.
    UnreadableCredentials,
    /// No accepted McpClient has this identifier.
    UnknownClient,
    /// Not the method the client is registered for.
    WrongMethod,
    /// Not a secret of the client, or one that expired.
    WrongSecret,
    /// The client is not registered for this grant.
    GrantNotRegistered,
    /// More than one resource, and a token has one audience.
    SeveralResources,
    /// No resource, and it cannot be told which is meant.
    NoResource,
    /// Not an absolute URL without fragment.
    MalformedResource,
    /// Nothing of this organization has that identifier.
    UnknownResource,
    /// `servers` of the client or `allowedClients` of the server do not name the other.
    ClientNotAllowed,
    /// The server asks for no tokens.
    PublicServer,
    /// `scope` is no list of scope-tokens.
    MalformedScope,
    /// Nothing is left of what was asked for.
    NoScopeLeft,
    /// The token could not be signed.
    Signing,
}

impl Refused {
    /// What the client is told.
    pub(crate) fn error(self) -> Error {
        self.texts().0
    }

    /// A stable word for logs and metrics.
    pub(crate) fn reason(self) -> &'static str {
        self.texts().1
    }

    /// What the client is told in words. The same for everything that would tell a stranger more than "no".
    pub(crate) fn description(self) -> &'static str {
        self.texts().2
    }

    fn texts(self) -> (Error, &'static str, &'static str) {
        const CLIENT: &str = "client authentication failed";
        const TARGET: &str = "the resource is not one this client may ask a token for";
        match self {
            Self::TooLarge => (Error::InvalidRequest, "too_large", "the request body is too long or incomplete"),
            Self::NotAForm => (
                Error::InvalidRequest,
                "not_a_form",
                "send the parameters as application/x-www-form-urlencoded in the request body",
            ),
            Self::Query => {
                (Error::InvalidRequest, "query", "send the parameters in the request body and none in the URL")
            }
            Self::TooManyParameters => (Error::InvalidRequest, "too_many_parameters", "too many parameters"),
            Self::DuplicateParameter => {
                (Error::InvalidRequest, "duplicate_parameter", "a parameter may be sent only once")
            }
            Self::NoGrantType => (Error::InvalidRequest, "no_grant_type", "the parameter grant_type is missing"),
            Self::UnsupportedGrantType => {
                (Error::UnsupportedGrantType, "unsupported_grant_type", "use grant_type client_credentials")
            }
            Self::SeveralCredentials => (
                Error::InvalidRequest,
                "several_credentials",
                "authenticate the client in one way and under one client_id",
            ),
            Self::NoCredentials => (Error::InvalidClient, "no_credentials", CLIENT),
            Self::UnreadableCredentials => (Error::InvalidClient, "unreadable_credentials", CLIENT),
            Self::UnknownClient => (Error::InvalidClient, "unknown_client", CLIENT),
            Self::WrongMethod => (Error::InvalidClient, "wrong_method", CLIENT),
            Self::WrongSecret => (Error::InvalidClient, "wrong_secret", CLIENT),
            Self::GrantNotRegistered => {
                (Error::UnauthorizedClient, "grant_not_registered", "this client may not use this grant_type")
            }
            Self::SeveralResources => {
                (Error::InvalidTarget, "several_resources", "ask for one resource at a time: a token has one audience")
            }
            Self::NoResource => (Error::InvalidTarget, "no_resource", "name the MCP server in the parameter resource"),
            Self::MalformedResource => (
                Error::InvalidTarget,
                "malformed_resource",
                "the parameter resource must be an absolute URL without fragment",
            ),
            Self::UnknownResource => (Error::InvalidTarget, "unknown_resource", TARGET),
            Self::ClientNotAllowed => (Error::InvalidTarget, "client_not_allowed", TARGET),
            Self::PublicServer => (Error::InvalidTarget, "public_server", "this MCP server asks for no tokens"),
            Self::MalformedScope => {
                (Error::InvalidScope, "malformed_scope", "separate scopes by single spaces, without quotes")
            }
            Self::NoScopeLeft => {
                (Error::InvalidScope, "no_scope_left", "this client may have none of these scopes on this resource")
            }
            Self::Signing => (Error::Internal, "signing", "the token could not be issued: try again"),
        }
    }
}
