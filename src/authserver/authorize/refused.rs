//! Why an authorization request is refused: before it is proven where a response may go, and after.

use lumoauth_core::uri::RedirectKind;

use crate::authserver::{
    clients::{ResolveError, Source},
    oauth::{Refusal as _, Told},
    pages::Problem,
    parameters::ParametersError,
    resource::NoTarget,
};

/// Told on a page and never by a redirect: client, redirect URI or `state` are not proven (RFC 6749 §4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproven {
    /// More than any client of good faith sends.
    #[error("the request is too long")]
    TooLong,
    /// The query cannot be read.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// No `client_id`.
    #[error("the parameter client_id is missing")]
    NoClient,
    /// It leads to no client.
    #[error(transparent)]
    Client(#[from] ResolveError),
    /// The client is not registered for authorization codes. It may have no redirect URI to be told that at.
    #[error("the client is not registered for authorization codes")]
    NotForPeople,
    /// No `redirect_uri`.
    #[error("the parameter redirect_uri is missing")]
    NoRedirect,
    /// Not one that the client registered.
    #[error("the redirect_uri is not registered for the client")]
    UnknownRedirect,
    /// `state` that no response could repeat.
    #[error("the parameter state is longer than accepted, or holds control or non-ASCII characters")]
    State,
}

impl Unproven {
    /// The page that says so.
    pub(super) fn problem(&self) -> Problem {
        match self {
            Self::TooLong | Self::Parameters(_) | Self::NoClient | Self::State => Problem::BadRequest,
            Self::Client(error) => unresolved(error),
            Self::NotForPeople => Problem::ClientNotForPeople,
            Self::NoRedirect => Problem::NoRedirect,
            Self::UnknownRedirect => Problem::Redirect,
        }
    }

    /// What was wrong with a client that cannot be had, in words from a closed list: for whoever makes it.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Client(error) => format!("The client cannot be used: {error}."),
            _ => String::new(),
        }
    }

    /// A stable word for logs and metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Parameters(ParametersError::NotAForm) => "not_a_form",
            Self::Parameters(ParametersError::TooMany) => "too_many_parameters",
            Self::Parameters(ParametersError::Duplicate) => "duplicate_parameter",
            Self::NoClient => "no_client",
            Self::Client(error) => error.reason(),
            Self::NotForPeople => "grant_not_registered",
            Self::NoRedirect => "no_redirect_uri",
            Self::UnknownRedirect => "unknown_redirect_uri",
            Self::State => "malformed_state",
        }
    }
}

/// The page about a client that cannot be had.
fn unresolved(error: &ResolveError) -> Problem {
    match error {
        ResolveError::Unknown => Problem::UnknownClient,
        ResolveError::Store => Problem::Unavailable,
        ResolveError::Disabled => Problem::ClientDisabled,
        ResolveError::Busy => Problem::ClientBusy,
        ResolveError::DocumentsOff | ResolveError::Domain | ResolveError::LocalOnly => Problem::ClientNotAdmitted,
        ResolveError::Url(_)
        | ResolveError::Unreachable(_)
        | ResolveError::Invalid(_)
        | ResolveError::KeySet
        | ResolveError::NoKeys => Problem::ClientDocument,
    }
}

/// Told the client. What it is told is [`Refused::error`] and [`Refused::description`];
/// [`Refused::reason`] is for the log and the metric, and may tell more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No `response_type`.
    NoResponseType,
    /// Not `code` (OAuth 2.1: nothing else is left).
    ResponseType,
    /// Not `query`.
    ResponseMode,
    /// `request` (RFC 9101).
    RequestObject,
    /// `request_uri` (RFC 9101).
    RequestUri,
    /// No `code_challenge`.
    NoChallenge,
    /// Not `S256`, which is also what an absent method is not (RFC 7636 §4.3).
    ChallengeMethod,
    /// No SHA-256.
    Challenge,
    /// More of them than one consent can be about.
    TooManyResources,
    /// There is no such server for the client.
    Resource(NoTarget),
    /// `scope` is no list of scope-tokens.
    MalformedScope,
    /// `prompt=none` beside other values.
    Prompt,
    /// Nothing that was asked for may be given to this person through this client.
    NothingGrantable,
    /// `prompt=none`, and nobody is logged in.
    LoginRequired,
    /// `prompt=none`, and the person has to be asked.
    ConsentRequired,
    /// The person said no.
    Denied,
    /// The person or the client was disabled while the request was under way.
    Disabled,
}

impl From<NoTarget> for Refused {
    fn from(none: NoTarget) -> Self {
        Self::Resource(none)
    }
}

impl Refused {
    /// `error` of RFC 6749 §4.1.2.1, RFC 8707 §2, RFC 9101 §6.1 and OpenID Connect Core §3.1.2.6.
    pub(super) fn error(self) -> &'static str {
        self.texts().0
    }

    /// A stable word for logs and metrics.
    pub(super) fn reason(self) -> &'static str {
        self.texts().1
    }

    /// Whether the browser goes to the client with it by itself (RFC 9700 §4.11.2). Anybody can describe or register a
    /// client that is a website, or that has a scheme which some program takes for an address to open, and send people
    /// here with a request that is refused: they would be led there from an address that they trust, and nobody would
    /// have decided anything. So it is only done for clients of the organization's administrators, to the person's own
    /// machine, and after a person's own no.
    pub(super) fn goes_by_itself(self, source: &Source, to: RedirectKind) -> bool {
        self == Self::Denied || matches!(source, Source::Registered(_)) || to == RedirectKind::Loopback
    }

    /// What the client is told in words.
    pub(super) fn description(self) -> &'static str {
        self.texts().2
    }

    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NoResponseType => ("invalid_request", "no_response_type", "the parameter response_type is missing"),
            Self::ResponseType => ("unsupported_response_type", "response_type", "use response_type code"),
            Self::ResponseMode => ("invalid_request", "response_mode", "leave response_mode out: it is query"),
            Self::RequestObject => ("request_not_supported", "request_object", "send the parameters themselves"),
            Self::RequestUri => ("request_uri_not_supported", "request_uri", "send the parameters themselves"),
            Self::NoChallenge => ("invalid_request", "no_code_challenge", "use PKCE: code_challenge is missing"),
            Self::ChallengeMethod => ("invalid_request", "code_challenge_method", "code_challenge_method must be S256"),
            Self::Challenge => {
                ("invalid_request", "code_challenge", "code_challenge must be 43 characters of base64url")
            }
            Self::TooManyResources => ("invalid_target", "too_many_resources", "ask for fewer resources at a time"),
            Self::Resource(none) => {
                let Told(error, reason, text) = none.told();
                (error.as_str(), reason, text)
            }
            Self::MalformedScope => {
                ("invalid_scope", "malformed_scope", "separate scopes by single spaces, without quotes")
            }
            Self::Prompt => ("invalid_request", "prompt", "prompt none cannot be combined"),
            Self::NothingGrantable => {
                ("invalid_scope", "nothing_grantable", "this person may be given none of what was asked for")
            }
            Self::LoginRequired => ("login_required", "login_required", "nobody is logged in"),
            Self::ConsentRequired => ("consent_required", "consent_required", "the person has to be asked"),
            Self::Denied => ("access_denied", "denied", "the person refused"),
            Self::Disabled => ("access_denied", "disabled", "this person or client may not get tokens"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::ObjectKey;
    use rstest::rstest;

    #[rstest]
    #[case::administrators(Source::Registered(ObjectKey::new("acme", "web")), RedirectKind::Https, true)]
    #[case::document(Source::Document { host: "evil.example".to_owned() }, RedirectKind::Https, false)]
    #[case::dynamic(Source::Dynamic, RedirectKind::Https, false)]
    #[case::document_on_the_machine(Source::Document { host: "a.example".to_owned() }, RedirectKind::Loopback, true)]
    #[case::dynamic_on_the_machine(Source::Dynamic, RedirectKind::Loopback, true)]
    #[case::administrators_app(Source::Registered(ObjectKey::new("acme", "app")), RedirectKind::PrivateUse, true)]
    #[case::app(Source::Dynamic, RedirectKind::PrivateUse, false)]
    #[case::document_of_an_app(Source::Document { host: "a.example".to_owned() }, RedirectKind::PrivateUse, false)]
    fn rfc9700_4_11_2(#[case] source: Source, #[case] to: RedirectKind, #[case] by_itself: bool) {
        let unknown = Refused::Resource(NoTarget::Unknown);
        for refused in [Refused::ResponseType, unknown, Refused::LoginRequired, Refused::Disabled] {
            assert_eq!(refused.goes_by_itself(&source, to), by_itself, "{refused:?}");
        }
        assert!(Refused::Denied.goes_by_itself(&source, to));
    }
}
