//! The decision. Everything that may be forwarded passes through [`decide`] or [`decide_open`].

use std::sync::Arc;

use super::{
    model::{DefaultRule, Effect, Policy, Rule, Selector},
    readings::readings,
};
use crate::{
    ClientId, IssuerUrl, ScopeSet, UnixTime,
    token::{AccessToken, Verified},
};

/// Who is calling, as the upstream is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `sub` of the token.
    pub subject: String,
    /// The OAuth client.
    pub client: ClientId,
    /// The granted scopes, as in the token.
    pub scopes: ScopeSet,
    /// Who said so.
    pub issuer: IssuerUrl,
}

/// A caller whose token was verified for this server. Cheap to clone: it is, for every call of a cached token.
#[derive(Clone, Debug)]
pub struct Principal {
    identity: Arc<Identity>,
    expires_at: UnixTime,
}

impl Principal {
    /// The only way to a principal is through a verified token.
    pub fn new(token: &Verified<AccessToken>) -> Self {
        Self {
            identity: Arc::new(Identity {
                subject: token.subject.clone(),
                client: token.client.clone(),
                scopes: token.scopes.clone(),
                issuer: token.issuer.clone(),
            }),
            expires_at: token.expires_at,
        }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When the token ends, and with it every stream it opened.
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }
}

/// What is asked for, taken from the message body (never from headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A JSON-RPC request or notification.
    Message {
        /// Its method.
        method: &'a str,
        /// What the method is applied to: tool, prompt, resource URI or task.
        name: Option<&'a str>,
    },
    /// `subscriptions/listen`, which subscribes to all of these at once.
    Listen {
        /// Resource URIs, each judged as `resources/subscribe`.
        resources: &'a [String],
        /// Tasks, each judged as `tasks/get`.
        tasks: &'a [String],
    },
    /// A JSON-RPC response of a legacy client to a request of the server.
    Response,
    /// `DELETE`: the client ends its session.
    EndSession,
}

/// Proof that a request was decided and may be forwarded. Only this module can make one.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    principal: Option<Principal>,
}

impl Permit {
    /// Who is calling; `None` for a server that asks for no token.
    pub fn identity(&self) -> Option<&Identity> {
        self.principal.as_ref().map(Principal::identity)
    }

    /// Whether the same call would be permitted under `policy` too: asked of open streams when the rules change.
    pub fn holds_under(&self, policy: &Policy, operation: Operation<'_>) -> bool {
        let decide = |principal| matches!(decide(policy, principal, operation), Decision::Permit(_));
        self.principal.as_ref().is_some_and(decide)
    }

    /// When the permission ends; streams opened under it end then.
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.principal.as_ref().map(Principal::expires_at)
    }
}

/// Why more scopes would not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// `allowedClients` does not name the client.
    ClientNotAllowed,
    /// A rule says `deny: true`.
    DeniedByRule,
    /// No rule names the operation and `defaultRule` is Deny.
    NoRule,
    /// The method is in no table of ours, and the server has rules.
    UnknownMethod,
    /// The message lacks the name its method needs.
    MissingName,
    /// Rules name URIs, and it cannot be said which one a server would read in this.
    UnclearUri,
}

impl DenyReason {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientNotAllowed => "client_not_allowed",
            Self::DeniedByRule => "denied_by_rule",
            Self::NoRule => "no_rule",
            Self::UnknownMethod => "unknown_method",
            Self::MissingName => "missing_name",
            Self::UnclearUri => "unclear_uri",
        }
    }

    /// What the caller is told.
    pub fn message(self) -> &'static str {
        match self {
            Self::ClientNotAllowed => "this client may not use this server",
            Self::DeniedByRule | Self::NoRule => "this operation is not allowed on this server",
            Self::UnknownMethod => "this method is not allowed on this server",
            Self::MissingName => "the message does not say what the method is applied to",
            Self::UnclearUri => "the URI is percent-encoded too often, or is not UTF-8",
        }
    }
}

/// The answer to one call.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Forward it.
    Permit(Permit),
    /// More scopes would help: these are all that the operation needs.
    Challenge(ScopeSet),
    /// More scopes would not help.
    Deny(DenyReason),
}

/// How a method is treated, before any rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Rules apply, and the message must say what to.
    Ruled,
    /// Lifecycle, lists and notifications: the required scopes suffice.
    Base,
    /// Not a method of any MCP revision we know.
    Unknown,
}

const RULED: [&str; 5] = ["tools/call", "prompts/get", "resources/read", "resources/subscribe", "completion/complete"];
const BASE: [&str; 9] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/unsubscribe",
    "logging/setLevel",
];

fn classify(method: &str) -> Class {
    if RULED.contains(&method) || method.starts_with("tasks/") {
        Class::Ruled
    } else if BASE.contains(&method) || method.starts_with("notifications/") {
        Class::Base
    } else {
        Class::Unknown
    }
}

/// Decides a call to a server that asks for no token (`authMode: None`): hygiene has been checked, nothing else is.
pub fn decide_open() -> Permit {
    Permit { principal: None }
}

/// Decides one call. Pure: the same policy, caller and operation give the same answer.
pub fn decide(policy: &Policy, principal: &Principal, operation: Operation<'_>) -> Decision {
    let identity = &principal.identity;
    if !policy.admits(&identity.client) {
        return Decision::Deny(DenyReason::ClientNotAllowed);
    }
    match needed(policy, operation) {
        Err(reason) => Decision::Deny(reason),
        Ok(needed) if policy.hierarchy().satisfies(&identity.scopes, &needed) => {
            Decision::Permit(Permit { principal: Some(principal.clone()) })
        }
        Ok(needed) => Decision::Challenge(needed),
    }
}

/// Every scope `operation` needs, or why no scope would do.
pub(crate) fn needed(policy: &Policy, operation: Operation<'_>) -> Result<ScopeSet, DenyReason> {
    let required = policy.required_scopes();
    let (method, name) = match operation {
        Operation::Message { method, name } => (method, name),
        Operation::Listen { resources, tasks } => {
            let resources = resources.iter().map(|uri| applied(policy, "resources/subscribe", uri));
            return union(policy, resources.chain(tasks.iter().map(|task| applied(policy, "tasks/get", task))));
        }
        Operation::Response | Operation::EndSession => return Ok(required.clone()),
    };
    match (classify(method), name) {
        (Class::Base, _) => Ok(required.clone()),
        (Class::Unknown, _) if policy.rules().is_empty() && policy.default_rule() == DefaultRule::RequireBase => {
            Ok(required.clone())
        }
        (Class::Unknown, _) => Err(DenyReason::UnknownMethod),
        // Applied to nothing; of the rules that restrict names, only `*` speaks of it.
        (Class::Ruled, None) if method == "tasks/list" => ruled(policy, method, ""),
        (Class::Ruled, None) => Err(DenyReason::MissingName),
        (Class::Ruled, Some(name)) => applied(policy, method, name),
    }
}

/// What `method` on `name` needs, whichever way a server reads a URI: every reading must be allowed.
fn applied(policy: &Policy, method: &str, name: &str) -> Result<ScopeSet, DenyReason> {
    let takes_uri = method.starts_with("resources/") || method == "completion/complete";
    if !(takes_uri && policy.rules().iter().any(|rule| chooses_names(rule, method))) {
        return ruled(policy, method, name);
    }
    let readings = readings(name).ok_or(DenyReason::UnclearUri)?;
    union(policy, readings.iter().map(|uri| ruled(policy, method, uri)))
}

/// What all `parts` together need, the required scopes in any case.
fn union(
    policy: &Policy,
    mut parts: impl Iterator<Item = Result<ScopeSet, DenyReason>>,
) -> Result<ScopeSet, DenyReason> {
    parts.try_fold(policy.required_scopes().clone(), |needed, part| Ok(needed.union(&part?)))
}

/// Whether the rule speaks of `method` on some names only: without such a rule, names make no difference.
fn chooses_names(rule: &Rule, method: &str) -> bool {
    match &rule.selector {
        Selector::Tools(_) => false,
        Selector::Methods { methods, names } => {
            !names.is_empty() && methods.iter().any(|pattern| pattern.matches(method))
        }
    }
}

/// What the first rule that speaks of `method` on `name` says, or the default.
fn ruled(policy: &Policy, method: &str, name: &str) -> Result<ScopeSet, DenyReason> {
    let required = policy.required_scopes();
    match policy.rules().iter().find(|rule| applies(rule, method, name)) {
        Some(Rule { effect: Effect::Deny, .. }) => Err(DenyReason::DeniedByRule),
        Some(Rule { effect: Effect::Require(scopes), .. }) => Ok(required.union(scopes)),
        None if policy.default_rule() == DefaultRule::Deny => Err(DenyReason::NoRule),
        None => Ok(required.clone()),
    }
}

fn applies(rule: &Rule, method: &str, name: &str) -> bool {
    match &rule.selector {
        Selector::Tools(tools) => method == "tools/call" && tools.iter().any(|tool| tool.matches(name)),
        Selector::Methods { methods, names } => {
            methods.iter().any(|pattern| pattern.matches(method))
                && (names.is_empty() || names.iter().any(|pattern| pattern.matches(name)))
        }
    }
}
