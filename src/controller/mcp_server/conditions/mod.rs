//! What is found out about an McpServer, condition by condition. Pure. Every reason is in [`reason`], and every message
//! of a condition that is not True says what to do.

mod pods;
pub(super) mod reason;

use std::fmt::Write as _;

pub(super) use self::pods::counts;
use self::pods::{enforcement_verified, injected, programmed, unwritten};
use super::{
    apply::Applied,
    dereference::PodsRead,
    published::Published,
    validate::{self, Role, Validated},
};
use crate::{
    api::{
        names,
        v1alpha1::{
            McpServerStatus,
            condition::{Finding, Status, Type},
        },
    },
    prober::Findings,
    registry::ServerEntry,
};

/// Names shown in a message; the rest is counted.
const MAX_NAMED: usize = 5;

/// All that conditions follow from.
pub(super) struct Observed<'a> {
    /// What should be.
    pub(super) server: &'a Validated,
    /// What was written.
    pub(super) applied: &'a Applied,
    /// Its pods.
    pub(super) pods: &'a PodsRead,
    /// What the authorization server publishes.
    pub(super) published: &'a Published,
    /// What the pods answered, if this replica has asked yet.
    pub(super) findings: Option<&'a Findings>,
    /// The status as it is.
    pub(super) old: &'a McpServerStatus,
}

/// The findings, in the order they are written.
pub(super) fn conditions(observed: &Observed<'_>) -> Vec<Finding> {
    let accepted = accepted(&observed.server.role, &observed.server.entry);
    let published = metadata_published(observed);
    let mut findings = vec![accepted, published];
    match observed.server.role {
        Role::RegistryOnly => {
            findings.extend(not_applicable(observed, "transport is Stdio: there are no pods to guard"));
        }
        Role::Open => {
            findings.extend(not_applicable(observed, "authMode is None: calls are forwarded without a token"));
        }
        Role::Protected | Role::Denied(_) => findings.extend([
            injected(observed),
            programmed(observed),
            bypass_protected(observed),
            enforcement_verified(observed),
        ]),
    }
    findings.push(ready(&findings, &observed.server.role));
    findings
}

/// The findings while the authorization server has no keys, so that no configuration can be made from `entry`.
pub(super) fn not_issuing(entry: &ServerEntry) -> [Finding; 4] {
    let unknown = |kind| {
        let message = format!(
            "there are no signing keys, so no configuration can be written, and pods run what they had: look at Secret {} in namespace {} and at the log of deployment/{}",
            names::SIGNING_KEYS,
            names::SYSTEM_NAMESPACE,
            names::OPERATOR
        );
        Finding::unknown(kind, reason::NOT_ISSUING, message)
    };
    let [programmed, verified] = [Type::Programmed, Type::EnforcementVerified].map(unknown);
    let role = validate::role(entry);
    let accepted = accepted(&role, entry);
    let ready = ready(&[accepted.clone(), programmed.clone(), verified.clone()], &role);
    [accepted, programmed, verified, ready]
}

/// That pods do not matter, unless what they run is not ours.
fn not_applicable(observed: &Observed<'_>, message: &str) -> [Finding; 4] {
    [Type::Injected, Type::Programmed, Type::BypassProtected, Type::EnforcementVerified].map(|kind| {
        let unwritten = if kind == Type::Programmed { unwritten(observed) } else { None };
        unwritten.unwrap_or_else(|| Finding::yes(kind, reason::NOT_APPLICABLE, message))
    })
}

fn accepted(role: &Role, entry: &ServerEntry) -> Finding {
    let kind = Type::Accepted;
    match role {
        Role::Denied(problem) => Finding::no(kind, problem.reason.as_str(), problem.message.clone()),
        _ if entry.unresolved.is_empty() => Finding::yes(kind, reason::ACCEPTED, "the spec is valid"),
        _ => Finding::yes(
            kind,
            reason::ACCEPTED,
            format!(
                "the spec is valid, but these are no McpClients of the organization and admit nobody: {}: create or remove them",
                listed(entry.unresolved.iter())
            ),
        ),
    }
}

fn metadata_published(observed: &Observed<'_>) -> Finding {
    let kind = Type::MetadataPublished;
    let url = observed.server.urls.as_ref().map(|urls| urls.resource_metadata.as_str()).unwrap_or_default();
    match (&observed.server.role, observed.published) {
        (Role::Denied(_), _) => {
            Finding::no(kind, reason::DENY_ALL, "a server that is not accepted is not published: see Accepted")
        }
        (Role::RegistryOnly, _) => {
            Finding::yes(kind, reason::NOT_APPLICABLE, "transport is Stdio: there is no metadata to publish")
        }
        (Role::Open, _) => {
            Finding::yes(kind, reason::NOT_APPLICABLE, "authMode is None: there is no metadata to publish")
        }
        (Role::Protected, Published::Equal) => {
            Finding::yes(kind, reason::PUBLISHED, format!("the authorization server publishes {url}"))
        }
        (Role::Protected, Published::Different(what)) => Finding::no(
            kind,
            reason::DIFFERENT,
            format!(
                "the authorization server answered {what} at {url}: it follows within seconds; if not, look at the log of deployment/{} in namespace {}",
                names::AUTHSERVER,
                names::SYSTEM_NAMESPACE
            ),
        ),
        (Role::Protected, Published::Unreachable(why)) => Finding::unknown(
            kind,
            reason::UNREACHABLE,
            format!(
                "the authorization server cannot be asked ({why}): see that deployment/{name} in namespace {namespace} is available and that the operator may reach Service {name}",
                name = names::AUTHSERVER,
                namespace = names::SYSTEM_NAMESPACE
            ),
        ),
        (Role::Protected, Published::Nothing) => {
            Finding::unknown(kind, reason::PENDING, "the authorization server has not been asked yet: wait a moment")
        }
    }
}

fn bypass_protected(observed: &Observed<'_>) -> Finding {
    let port = observed.server.object.spec.port;
    Finding::unknown(
        Type::BypassProtected,
        reason::NOT_CHECKED,
        format!(
            "this version does not check whether port {port} can be reached around the sidecar: let the server listen on 127.0.0.1, or admit only port {} by a NetworkPolicy",
            names::SIDECAR_PORT
        ),
    )
}

/// Ready is what its parts are: the first that is False, else the first that is Unknown. No pods comes before what only
/// pods can change.
fn ready(findings: &[Finding], role: &Role) -> Finding {
    let parts = [Type::Accepted, Type::MetadataPublished, Type::Injected, Type::Programmed, Type::EnforcementVerified];
    let part = |kind: Type| findings.iter().find(|finding| finding.kind == kind);
    let because = |finding: &Finding| Finding {
        kind: Type::Ready,
        message: format!("{}: {}", finding.kind.as_str(), finding.message),
        ..finding.clone()
    };
    let is = |status: Status| move |finding: &&Finding| finding.status == status;
    let no_pods = part(Type::Injected).filter(|finding| finding.reason == reason::NO_PODS);
    let unwritten = part(Type::Programmed).filter(|finding| reason::UNWRITTEN.contains(&finding.reason));
    let first = part(Type::Accepted)
        .filter(is(Status::False))
        .or(unwritten)
        .or(no_pods)
        .or_else(|| parts.into_iter().filter_map(part).find(is(Status::False)))
        .or_else(|| parts.into_iter().filter_map(part).find(is(Status::Unknown)));
    let message = match role {
        Role::RegistryOnly => "transport is Stdio: it is registered, and no call passes a sidecar",
        Role::Open => "authMode is None: calls are forwarded, and no token is asked for",
        Role::Protected | Role::Denied(_) => "every call is checked, and the checks were verified",
    };
    first.map_or_else(|| Finding::yes(Type::Ready, reason::READY, message), because)
}

fn listed<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let mut text = names.take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}
