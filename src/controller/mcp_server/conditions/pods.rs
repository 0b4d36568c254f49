//! The conditions that follow from pods.

use std::collections::BTreeSet;

use super::{MAX_NAMED, Observed, listed, reason};
use crate::{
    api::{
        names,
        v1alpha1::condition::{Finding, Status, Type},
    },
    controller::mcp_server::{dereference::PodsRead, pods::PodView, validate::Role},
    inject::Comparison,
    prober::{Findings, PodFinding, Running, Verdict},
};

pub(super) fn injected(observed: &Observed<'_>) -> Finding {
    let kind = Type::Injected;
    let pods = match pods_or(observed, kind) {
        Ok(pods) => pods,
        Err(finding) => return finding,
    };
    let of =
        |wanted: fn(&Comparison) -> bool| -> Vec<&PodView> { pods.iter().filter(|pod| wanted(&pod.sidecar)).collect() };
    let tampered = of(|sidecar| matches!(sidecar, Comparison::Tampered { .. }));
    if let Some(first) = tampered.first() {
        let field = match &first.sidecar {
            Comparison::Tampered { field } => field.as_str(),
            _ => "",
        };
        return Finding::no(
            kind,
            reason::TAMPERED,
            format!(
                "the sidecar of {} is not as it was planned (in pod {}: {field}): remove what changes it, then {}",
                named(&tampered),
                first.key.name,
                restart(&tampered)
            ),
        );
    }
    let missing = of(|sidecar| *sidecar == Comparison::Missing);
    if !missing.is_empty() {
        return Finding::no(
            kind,
            reason::MISSING,
            format!(
                "{} without a sidecar, made before LumoAuth was installed or past its webhook: {}",
                named(&missing),
                restart(&missing)
            ),
        );
    }
    let outdated = of(|sidecar| matches!(sidecar, Comparison::Outdated { .. }));
    if !outdated.is_empty() {
        return Finding::yes(
            kind,
            reason::OUTDATED,
            format!(
                "every pod has its sidecar; {} by one of another version or with other resources than planned: {}",
                named(&outdated),
                restart(&outdated)
            ),
        );
    }
    Finding::yes(kind, reason::INJECTED, format!("{} of {} pods have the sidecar as planned", pods.len(), pods.len()))
}

/// Programmed, when what pods should run, or how they are reached, could not be written.
pub(super) fn unwritten(observed: &Observed<'_>) -> Option<Finding> {
    let kind = Type::Programmed;
    let taken = observed.applied.taken();
    if !taken.is_empty() {
        return Some(Finding::no(kind, reason::NAME_TAKEN, taken.join("; ")));
    }
    let failures = observed.applied.failures();
    if failures.is_empty() {
        return None;
    }
    let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Some(Finding::no(
        kind,
        reason::WRITE_FAILED,
        format!(
            "{}: pods run what they had; look at the quota and the admission policies of namespace {}, and delete ConfigMap {} if it is immutable; it is tried again",
            failures.join("; "),
            observed.server.key.namespace,
            names::config_map(&observed.server.key.name)
        ),
    ))
}

pub(super) fn programmed(observed: &Observed<'_>) -> Finding {
    let kind = Type::Programmed;
    if let Some(unwritten) = unwritten(observed) {
        return unwritten;
    }
    let pods = match pods_or(observed, kind) {
        Ok(pods) => pods,
        Err(finding) => return finding,
    };
    let unguarded: Vec<_> = pods.iter().filter(|pod| pod.sidecar == Comparison::Missing).collect();
    if !unguarded.is_empty() {
        return Finding::no(
            kind,
            reason::NOT_INJECTED,
            format!("{} without a sidecar to tell anything: see Injected", named(&unguarded)),
        );
    }
    let Some(findings) = current(observed) else {
        return kept(observed, kind).unwrap_or_else(|| {
            Finding::unknown(kind, reason::PENDING, "the pods have not been asked yet: wait a moment")
        });
    };
    let generation = observed.server.generation.as_str();
    let mut behind = Vec::new();
    let mut unreachable = Vec::new();
    for pod in pods {
        match findings.pods.get(&pod.uid).map(|finding| &finding.running) {
            Some(Running::Generation(running, _)) if running.as_str() == generation => {}
            Some(Running::Generation(_, Some(refusal)) | Running::NoConfig(Some(refusal))) => {
                return Finding::no(
                    kind,
                    reason::REFUSED,
                    format!(
                        "the sidecar of pod {} refuses configuration {generation} and stays with what it has: {refusal}: {}",
                        pod.key.name,
                        pod.restart.command(&pod.key.namespace)
                    ),
                );
            }
            Some(Running::Unreachable(why)) if pod.is_ready => unreachable.push((pod, why)),
            Some(Running::NotASidecar(what)) => {
                return Finding::no(
                    kind,
                    reason::NOT_INJECTED,
                    format!(
                        "port {} of pod {} answers with {what}, which is no sidecar of this version: {}",
                        names::SIDECAR_ADMIN_PORT,
                        pod.key.name,
                        pod.restart.command(&pod.key.namespace)
                    ),
                );
            }
            _ => behind.push(pod),
        }
    }
    if let Some((pod, why)) = unreachable.first() {
        return Finding::unknown(kind, reason::UNREACHABLE, cannot_ask(pod, why));
    }
    if !behind.is_empty() {
        return Finding::no(
            kind,
            reason::PROGRESSING,
            format!(
                "{} of {} pods run configuration {generation}; {} not yet: kubelet brings it within two minutes; if not, see whether they are starting",
                pods.len() - behind.len(),
                pods.len(),
                named(&behind)
            ),
        );
    }
    Finding::yes(kind, reason::PROGRAMMED, format!("every pod runs configuration {generation}"))
}

pub(super) fn enforcement_verified(observed: &Observed<'_>) -> Finding {
    let kind = Type::EnforcementVerified;
    if let Some(unwritten) = unwritten(observed) {
        let message = "what is to be checked could not be written: see Programmed";
        return Finding::unknown(kind, unwritten.reason, message);
    }
    if let Role::Denied(_) = observed.server.role {
        return Finding::no(kind, reason::DENY_ALL, "every call is refused: see Accepted");
    }
    let pods = match pods_or(observed, kind) {
        Ok(pods) => pods,
        Err(finding) => return finding,
    };
    let Some(findings) = current(observed) else {
        return kept(observed, kind).unwrap_or_else(|| {
            Finding::unknown(kind, reason::PENDING, "the pods have not been asked yet: wait a moment")
        });
    };
    let of = |pod: &PodView| findings.pods.get(&pod.uid).and_then(|finding| finding.enforcement.as_ref());
    for pod in pods {
        if let Some(Verdict::Wrong(wrong)) = of(pod) {
            let name = &pod.key.name;
            return Finding::no(
                kind,
                reason::WRONG_ANSWER,
                format!(
                    "at pod {name}, {wrong}: see its log with kubectl -n {} logs {name} -c {}",
                    pod.key.namespace,
                    names::SIDECAR_CONTAINER
                ),
            );
        }
    }
    let service = names::service(&observed.server.key.name);
    if let Some(Verdict::Wrong(wrong)) = &findings.service {
        return Finding::no(
            kind,
            reason::WRONG_ANSWER,
            format!("through Service {service}, {wrong}: see that it selects only pods of this server"),
        );
    }
    for pod in pods {
        if let Some(Verdict::Unreachable(why)) = of(pod) {
            return Finding::unknown(kind, reason::UNREACHABLE, cannot_ask(pod, why));
        }
    }
    let verified = pods.iter().filter(|pod| of(pod) == Some(&Verdict::Right)).count();
    let ready = pods.iter().filter(|pod| pod.is_ready).count();
    if ready == 0 {
        return Finding::unknown(
            kind,
            reason::NOT_READY,
            "no pod is ready to be asked: see why with kubectl describe pod",
        );
    }
    if verified < ready {
        return Finding::unknown(
            kind,
            reason::NOT_PROGRAMMED,
            format!(
                "{verified} of {ready} ready pods have answered rightly, the others run another configuration: see Programmed"
            ),
        );
    }
    match &findings.service {
        Some(Verdict::Right) => Finding::yes(
            kind,
            reason::VERIFIED,
            format!(
                "{verified} pods and Service {service} refuse calls without a token and with a forged one, and serve the metadata"
            ),
        ),
        Some(Verdict::Unreachable(why)) => Finding::unknown(
            kind,
            reason::UNREACHABLE,
            format!(
                "Service {service} cannot be asked ({why}): allow port {} of the pods from namespace {}, and see that the Service has endpoints",
                names::SIDECAR_PORT,
                names::SYSTEM_NAMESPACE
            ),
        ),
        Some(Verdict::Wrong(_)) | None => Finding::unknown(
            kind,
            reason::PENDING,
            format!("Service {service} has not been asked yet: wait a moment, and see that it has a cluster IP"),
        ),
    }
}

/// The pods, or why `kind` cannot be told for want of them.
fn pods_or<'a>(observed: &Observed<'a>, kind: Type) -> Result<&'a [PodView], Finding> {
    let server = &observed.server.key;
    match observed.pods {
        PodsRead::Known(pods) if pods.is_empty() => Err(Finding::unknown(
            kind,
            reason::NO_PODS,
            format!(
                "no pod of namespace {} is guarded as {name}: write the annotation {annotation}: {name} into the pod template of the workload",
                server.namespace,
                name = server.name,
                annotation = names::SERVER
            ),
        )),
        PodsRead::Known(pods) => Ok(pods),
        PodsRead::NoPlan(why) => {
            Err(Finding::no(kind, reason::NO_PLAN, format!("no pod can be given a sidecar: {why}")))
        }
        PodsRead::NotListed | PodsRead::NotApplicable => Err(kept(observed, kind).unwrap_or_else(|| {
            Finding::unknown(
                kind,
                reason::PENDING,
                format!(
                    "the pods of namespace {} have not been listed yet: wait a moment; if it stays so, see that ServiceAccount {} may list pods",
                    server.namespace,
                    names::OPERATOR
                ),
            )
        })),
    }
}

/// The findings, if they are about what should run now.
fn current<'a>(observed: &Observed<'a>) -> Option<&'a Findings> {
    observed.findings.filter(|findings| findings.generation == observed.server.generation)
}

/// The condition as it is, while this replica has no answer of its own about the same configuration. That something
/// could not be written is this replica's to know.
fn kept(observed: &Observed<'_>, kind: Type) -> Option<Finding> {
    let same = observed.old.config_generation.as_deref() == Some(observed.server.generation.as_str());
    if !same || observed.findings.is_some() {
        return None;
    }
    let old = observed.old.conditions.iter().find(|condition| condition.type_ == kind.as_str())?;
    let reason = reason::ALL.into_iter().find(|it| *it == old.reason && !reason::UNWRITTEN.contains(it))?;
    let status = [Status::True, Status::False, Status::Unknown].into_iter().find(|it| it.as_str() == old.status)?;
    Some(Finding { kind, status, reason, message: old.message.clone() })
}

fn cannot_ask(pod: &PodView, why: &str) -> String {
    let ip = pod.ip.map(|ip| format!(" ({ip})")).unwrap_or_default();
    format!(
        "pod {}{ip} cannot be asked ({why}): allow ports {} and {} of the pods of this server from namespace {} in the NetworkPolicies of namespace {}",
        pod.key.name,
        names::SIDECAR_PORT,
        names::SIDECAR_ADMIN_PORT,
        names::SYSTEM_NAMESPACE,
        pod.key.namespace
    )
}

/// How many of `pods` are, as far as is known: injected, programmed, verified.
pub(in crate::controller::mcp_server) fn counts(
    pods: &[PodView],
    findings: Option<&Findings>,
) -> (usize, usize, usize) {
    let injected =
        pods.iter().filter(|pod| matches!(pod.sidecar, Comparison::Injected | Comparison::Outdated { .. })).count();
    let asked = |is: fn(&Findings, &PodFinding) -> bool| {
        let of = |pod: &&PodView| {
            pod.sidecar != Comparison::Missing
                && findings.is_some_and(|findings| findings.pods.get(&pod.uid).is_some_and(|found| is(findings, found)))
        };
        pods.iter().filter(of).count()
    };
    let programmed = asked(|findings, found| found.running.is(&findings.generation));
    let verified = asked(|_, found| found.enforcement == Some(Verdict::Right));
    (injected, programmed, verified)
}

fn named(pods: &[&PodView]) -> String {
    let (noun, verb) = if pods.len() == 1 { ("pod", "is") } else { ("pods", "are") };
    format!("{noun} {} {verb}", listed(pods.iter().map(|pod| &pod.key.name)))
}

fn restart(pods: &[&PodView]) -> String {
    let commands: BTreeSet<String> = pods.iter().map(|pod| pod.restart.command(&pod.key.namespace)).collect();
    let shown: Vec<&str> = commands.iter().take(MAX_NAMED).map(String::as_str).collect();
    let rest = if commands.len() > MAX_NAMED { " and the like" } else { "" };
    format!("restart with {}{rest}", shown.join("; "))
}
