//! YAML in, objects and status out, without an API server.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Service},
    apimachinery::pkg::util::intstr::IntOrString,
};
use lumoauth_core::{
    IssuerUrl,
    config::{Enforcement, Generation, SidecarConfig},
    token::JsonWebKeySet,
};
use rstest::rstest;
use serde_json::json;

use super::{
    apply::Applied,
    build::{self, Prepared},
    conditions::{Observed, reason},
    dereference::{Dereferenced, PodsRead},
    error::Error,
    pods::{PodView, Restart},
    published::Published,
    status::{not_issuing, status},
    validate::{Role, Validated, validate},
};
use crate::{
    api::v1alpha1::{McpServer, McpServerStatus},
    controller::WriteError,
    inject::Comparison,
    prober::{Findings, PodFinding, Running, Verdict, Wrong, verdict::Probe},
    registry::{Index, Issuing, NamespaceMeta, ObjectKey, Parsed},
};

const INVOICES: &str = "
apiVersion: mcp.lumoauth.dev/v1alpha1
kind: McpServer
metadata: {name: invoices, namespace: acme, uid: server-uid, resourceVersion: '7', generation: 3}
spec:
  resourceUri: https://invoices.acme.example/mcp
  port: 8000
  scopes: [{name: mcp:read}, {name: mcp:write, implies: [mcp:read]}]
  requiredScopes: [mcp:read]
  rules: [{tools: [send_*], scopes: [mcp:write]}]
";
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn issuing() -> Issuing {
    Issuing {
        public_url: IssuerUrl::parse("https://auth.example").unwrap(),
        keys: JsonWebKeySet { keys: vec![json!({"kty": "EC", "kid": "k1"})] },
        internal_url: Some(IssuerUrl::parse("https://lumoauth-authserver.lumoauth-system.svc").unwrap()),
        ca_bundle: Some("PEM".to_owned()),
        status_max_age: 900,
    }
}

fn read(yaml: &str) -> Dereferenced {
    let object: McpServer = serde_yaml::from_str(yaml).unwrap();
    let mut index = Index::default();
    index.apply_namespace("acme".to_owned(), NamespaceMeta::default());
    index.apply_server(Parsed::Object(Arc::new(object.clone())));
    let entry = index.snapshot().servers.into_values().next().unwrap();
    Dereferenced { entry, object, issuing: Some(Arc::new(issuing())), pods: PodsRead::NotListed }
}

fn with(line: &str) -> String {
    format!("{INVOICES}  {line}\n")
}

fn validated(yaml: &str) -> Validated {
    validate(&read(yaml)).unwrap()
}

fn built(yaml: &str) -> Prepared {
    build::build(&validated(yaml)).unwrap()
}

fn config(map: &ConfigMap) -> SidecarConfig {
    SidecarConfig::parse(map.data.as_ref().unwrap()["config.json"].as_bytes()).unwrap()
}

fn label(labels: Option<&BTreeMap<String, String>>, name: &str) -> String {
    labels.and_then(|labels| labels.get(name)).cloned().unwrap_or_default()
}

#[test]
fn what_a_cluster_ends_up_with() {
    let Prepared { config_map, service } = built(INVOICES);
    assert_eq!(config_map.metadata.name.as_deref(), Some("invoices-mcp-sidecar"));
    assert_eq!(config_map.metadata.owner_references, None, "garbage collection would leave sidecars open");
    assert!(matches!(config(&config_map).enforcement, Enforcement::Enforce(_)));
    for metadata in [&config_map.metadata, &service.metadata] {
        assert_eq!(metadata.namespace.as_deref(), Some("acme"));
        assert_eq!(label(metadata.labels.as_ref(), "app.kubernetes.io/managed-by"), "lumoauth");
        assert_eq!(label(metadata.labels.as_ref(), "mcp.lumoauth.dev/server"), "invoices");
    }
    let Service { metadata, spec: Some(spec), .. } = service else { panic!("no spec") };
    assert_eq!(metadata.name.as_deref(), Some("invoices-mcp"));
    let owners = metadata.owner_references.unwrap();
    assert_eq!((owners[0].kind.as_str(), owners[0].uid.as_str()), ("McpServer", "server-uid"));
    assert_eq!(label(spec.selector.as_ref(), "mcp.lumoauth.dev/server"), "invoices");
    let port = &spec.ports.unwrap()[0];
    assert_eq!((port.port, port.target_port.clone()), (80, Some(IntOrString::String("mcp-auth".to_owned()))));
}

#[test]
fn the_generation_names_the_bytes_that_are_written() {
    let server = validated(INVOICES);
    let Prepared { config_map, .. } = build::build(&server).unwrap();
    assert_eq!(Generation::of(config_map.data.unwrap()["config.json"].as_bytes()), server.generation);
    assert_ne!(validated(&with("filterLists: false")).generation, server.generation);
}

#[rstest]
#[case::not_built("requireDpop: true", "NotImplemented")]
#[case::not_valid("path: /a/../b", "Invalid")]
fn an_entry_that_is_not_accepted_still_gets_its_configmap_and_denies(#[case] line: &str, #[case] reason: &str) {
    let expected = Enforcement::DenyAll { reason: reason.to_owned() };
    assert_eq!(config(&built(&with(line)).config_map).enforcement, expected);
    // Not even without signing keys does an older configuration stay.
    let mut without_keys = read(&with(line));
    without_keys.issuing = None;
    let server = validate(&without_keys).unwrap();
    assert_eq!(config(&build::build(&server).unwrap().config_map).enforcement, expected);
}

#[test]
fn without_signing_keys_nothing_is_opened() {
    let mut read = read(INVOICES);
    read.issuing = None;
    assert!(matches!(validate(&read), Err(Error::NoSigningKeys)));
}

#[test]
fn a_server_that_pods_have_nothing_to_do_with_has_no_objects() {
    let server = validated(&with("transport: Stdio"));
    assert_eq!((server.role.clone(), build::build(&server)), (Role::RegistryOnly, None));
}

#[test]
fn a_server_that_is_gone_denies_under_its_own_name() {
    let key = ObjectKey::new("acme", "invoices");
    let current = built(INVOICES).config_map.data.unwrap().remove("config.json").unwrap();
    for (text, id) in [(Some(current.as_str()), true), (Some("{"), false), (None, false)] {
        let denying = build::deleted(&key, text);
        let config = config(&denying);
        assert_eq!(config.enforcement, Enforcement::DenyAll { reason: "Deleted".to_owned() });
        assert_eq!((config.server.namespace.as_str(), config.server.name.as_str()), ("acme", "invoices"));
        assert_eq!(config.server.server_id.starts_with("mcp_"), id);
        // Once written it is not written again.
        let written = denying.data.as_ref().unwrap()["config.json"].clone();
        assert_eq!(build::deleted(&key, Some(&written)), denying);
    }
}

#[test]
fn urls_are_those_of_the_public_authorization_server_and_checks_go_inside() {
    let server = validated(INVOICES);
    let id = server.entry.id.clone().unwrap();
    let urls = server.urls.clone().unwrap();
    let base = "https://auth.example/orgs/acme/api/v1";
    assert_eq!(urls.resource_metadata, format!("{base}/.well-known/oauth-protected-resource/mcp/{id}"));
    assert_eq!(urls.registry, format!("{base}/mcp/servers/{id}"));
    assert_eq!(urls.challenge, format!("{base}/mcp/{id}/challenge"));
    assert_eq!(
        urls.authorization_server_metadata,
        "https://auth.example/.well-known/oauth-authorization-server/orgs/acme/api/v1"
    );
    let publication = server.publication.unwrap();
    assert_eq!(
        publication.url,
        format!(
            "https://lumoauth-authserver.lumoauth-system.svc/orgs/acme/api/v1/.well-known/oauth-protected-resource/mcp/{id}"
        )
    );
    assert_eq!(publication.ca_bundle.as_deref(), Some("PEM"));
    assert!(publication.document.starts_with(r#"{"resource":"https://invoices.acme.example/mcp""#));
}

fn pod(name: &str, sidecar: Comparison) -> PodView {
    PodView {
        key: ObjectKey::new("acme", name),
        uid: format!("{name}-uid"),
        is_labelled: sidecar != Comparison::Missing,
        told: None,
        ip: Some("10.0.0.7".parse::<IpAddr>().unwrap()),
        is_ready: true,
        sidecar,
        restart: Restart::Rollout { kind: "deployment", name: "invoices".to_owned() },
    }
}

fn good(generation: &Generation) -> PodFinding {
    PodFinding { running: Running::Generation(generation.clone(), None), enforcement: Some(Verdict::Right) }
}

/// A whole observation in which everything is right, to be changed by a test.
struct Case {
    server: Validated,
    applied: Applied,
    pods: Vec<PodView>,
    published: Published,
    findings: Option<Findings>,
    old: McpServerStatus,
}

impl Case {
    fn of(yaml: &str) -> Self {
        let server = validated(yaml);
        let findings = Findings {
            generation: server.generation.clone(),
            pods: BTreeMap::from([("a-uid".to_owned(), good(&server.generation))]),
            service: Some(Verdict::Right),
        };
        Self {
            applied: Applied::for_test(Some("10.96.0.9:80".parse().unwrap()), Vec::new()),
            pods: vec![pod("a", Comparison::Injected)],
            published: Published::Equal,
            findings: Some(findings),
            old: McpServerStatus::default(),
            server,
        }
    }

    fn good() -> Self {
        Self::of(INVOICES)
    }

    fn status_at(&self, pods: &PodsRead, now: Timestamp) -> McpServerStatus {
        let observed = Observed {
            server: &self.server,
            applied: &self.applied,
            pods,
            published: &self.published,
            findings: self.findings.as_ref(),
            old: &self.old,
        };
        status(&observed, now)
    }

    fn status(&self) -> McpServerStatus {
        self.status_at(&PodsRead::Known(self.pods.clone()), NOW)
    }

    fn finding(&mut self) -> &mut PodFinding {
        self.findings.as_mut().unwrap().pods.get_mut("a-uid").unwrap()
    }
}

/// The ConfigMap could not be written.
fn fail(case: &mut Case) {
    let quota = WriteError::Forbidden("exceeded quota".to_owned());
    case.applied.fail(Error::write("the ConfigMap")(quota)).unwrap();
}

/// `status/reason` and message of a condition.
fn condition(status: &McpServerStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
    (format!("{}/{}", found.status, found.reason), found.message.clone())
}

#[test]
fn everything_is_right() {
    let case = Case::good();
    let status = case.status();
    let found: Vec<String> =
        status.conditions.iter().map(|found| format!("{}={}/{}", found.type_, found.status, found.reason)).collect();
    assert_eq!(
        found,
        [
            "Accepted=True/Accepted",
            "MetadataPublished=True/Published",
            "Injected=True/Injected",
            "Programmed=True/Programmed",
            "BypassProtected=Unknown/NotChecked",
            "EnforcementVerified=True/Verified",
            "Ready=True/Ready",
        ]
    );
    assert_eq!((status.observed_generation, status.org_id.as_deref()), (Some(3), Some("acme")));
    assert_eq!(status.config_generation.as_deref(), Some(case.server.generation.as_str()));
    assert_eq!(
        status.www_authenticate_example.as_deref(),
        Some(
            r#"Bearer resource_metadata="https://invoices.acme.example/.well-known/oauth-protected-resource/mcp", scope="mcp:read""#
        )
    );
    let pods = status.pods.unwrap();
    assert_eq!((pods.selected, pods.injected, pods.programmed, pods.verified), (1, 1, 1, 1));
    assert_eq!(pods.summary, "1/1");
}

#[test]
fn the_same_observation_is_the_same_status_at_any_time() {
    let mut case = Case::good();
    case.old = case.status();
    let later = Timestamp::from_second(1_000).unwrap();
    assert_eq!(case.status_at(&PodsRead::Known(case.pods.clone()), later), case.old);
}

type Change = fn(&mut Case);

#[rstest]
#[case::other_document(|case: &mut Case| case.published = Published::Different("status 404".to_owned()), "MetadataPublished", "False/Different", "status 404", "False/Different")]
#[case::as_away(|case: &mut Case| case.published = Published::Unreachable("refused".to_owned()), "MetadataPublished", "Unknown/Unreachable", "lumoauth-authserver", "Unknown/Unreachable")]
#[case::no_pods(|case: &mut Case| case.pods.clear(), "Injected", "Unknown/NoPods", "write the annotation mcp.lumoauth.dev/server: invoices", "Unknown/NoPods")]
#[case::no_pods_programmed(|case: &mut Case| case.pods.clear(), "Programmed", "Unknown/NoPods", "annotation", "Unknown/NoPods")]
#[case::no_pods_beside_metadata(|case: &mut Case| { case.pods.clear(); case.published = Published::Different("status 404".to_owned()); }, "Injected", "Unknown/NoPods", "", "Unknown/NoPods")]
#[case::missing(|case: &mut Case| case.pods.push(pod("b", Comparison::Missing)), "Injected", "False/Missing", "kubectl -n acme rollout restart deployment/invoices", "False/Missing")]
#[case::missing_programmed(|case: &mut Case| case.pods.push(pod("b", Comparison::Missing)), "Programmed", "False/NotInjected", "pod b is", "False/Missing")]
#[case::tampered(|case: &mut Case| case.pods[0].sidecar = Comparison::Tampered { field: "spec.x".to_owned() }, "Injected", "False/Tampered", "in pod a: spec.x", "False/Tampered")]
#[case::outdated(|case: &mut Case| case.pods[0].sidecar = Comparison::Outdated { image: None, resources: true }, "Injected", "True/Outdated", "pod a is by one of another version or with other resources than planned: restart with kubectl -n acme rollout restart deployment/invoices", "True/Ready")]
#[case::tampered_before_missing(|case: &mut Case| { case.pods.push(pod("b", Comparison::Missing)); case.pods[0].sidecar = Comparison::Tampered { field: "f".to_owned() }; }, "Injected", "False/Tampered", "pod a", "False/Tampered")]
#[case::name_taken(|case: &mut Case| case.applied = Applied::for_test(None, vec!["Service \"invoices-mcp\" exists".to_owned()]), "Programmed", "False/NameTaken", "invoices-mcp", "False/NameTaken")]
#[case::not_written(|case: &mut Case| fail(case), "Programmed", "False/WriteFailed", "cannot write the ConfigMap: not permitted: exceeded quota", "False/WriteFailed")]
#[case::not_written_says_what_to_do(|case: &mut Case| fail(case), "Programmed", "False/WriteFailed", "delete ConfigMap invoices-mcp-sidecar if it is immutable", "False/WriteFailed")]
#[case::not_written_without_pods(|case: &mut Case| { fail(case); case.pods.clear(); }, "Injected", "Unknown/NoPods", "", "False/WriteFailed")]
#[case::not_written_verified(|case: &mut Case| fail(case), "EnforcementVerified", "Unknown/WriteFailed", "see Programmed", "False/WriteFailed")]
#[case::older(|case: &mut Case| case.finding().running = Running::Generation(Generation::of(b"old"), None), "Programmed", "False/Progressing", "0 of 1 pods", "False/Progressing")]
#[case::older_verified(|case: &mut Case| { case.finding().running = Running::Generation(Generation::of(b"old"), None); case.finding().enforcement = None; }, "EnforcementVerified", "Unknown/NotProgrammed", "see Programmed", "False/Progressing")]
#[case::refused(|case: &mut Case| case.finding().running = Running::Generation(Generation::of(b"old"), Some("version 9".to_owned())), "Programmed", "False/Refused", "version 9", "False/Refused")]
#[case::no_config(|case: &mut Case| case.finding().running = Running::NoConfig(None), "Programmed", "False/Progressing", "pod a is not yet", "False/Progressing")]
#[case::unreachable(|case: &mut Case| case.finding().running = Running::Unreachable("no connection within 1 s".to_owned()), "Programmed", "Unknown/Unreachable", "allow ports 16080 and 16081 of the pods of this server from namespace lumoauth-system", "Unknown/Unreachable")]
#[case::starting(|case: &mut Case| { case.pods[0].is_ready = false; case.finding().running = Running::Unreachable("refused".to_owned()); }, "Programmed", "False/Progressing", "starting", "False/Progressing")]
#[case::another_program(|case: &mut Case| case.finding().running = Running::NotASidecar("status 404".to_owned()), "Programmed", "False/NotInjected", "status 404", "False/NotInjected")]
#[case::new_pod(|case: &mut Case| case.pods.push(pod("b", Comparison::Injected)), "Programmed", "False/Progressing", "1 of 2 pods", "False/Progressing")]
#[case::wrong_answer(|case: &mut Case| case.finding().enforcement = Some(Verdict::Wrong(Wrong { probe: Probe::NoToken, got: "status 200".to_owned() })), "EnforcementVerified", "False/WrongAnswer", "at pod a, a call without a token was answered with status 200", "False/WrongAnswer")]
#[case::wrong_service(|case: &mut Case| case.findings.as_mut().unwrap().service = Some(Verdict::Wrong(Wrong { probe: Probe::ForgedToken, got: "status 200".to_owned() })), "EnforcementVerified", "False/WrongAnswer", "through Service invoices-mcp", "False/WrongAnswer")]
#[case::service_away(|case: &mut Case| case.findings.as_mut().unwrap().service = Some(Verdict::Unreachable("refused".to_owned())), "EnforcementVerified", "Unknown/Unreachable", "Service invoices-mcp cannot be asked", "Unknown/Unreachable")]
#[case::service_not_asked(|case: &mut Case| case.findings.as_mut().unwrap().service = None, "EnforcementVerified", "Unknown/Pending", "invoices-mcp", "Unknown/Pending")]
#[case::guarded_port_away(|case: &mut Case| case.finding().enforcement = Some(Verdict::Unreachable("refused".to_owned())), "EnforcementVerified", "Unknown/Unreachable", "pod a (10.0.0.7)", "Unknown/Unreachable")]
#[case::not_ready(|case: &mut Case| { case.pods[0].is_ready = false; case.finding().enforcement = None; }, "EnforcementVerified", "Unknown/PodsNotReady", "kubectl describe pod", "Unknown/PodsNotReady")]
#[case::not_asked_yet(|case: &mut Case| case.findings = None, "Programmed", "Unknown/Pending", "wait", "Unknown/Pending")]
#[case::findings_about_another_configuration(|case: &mut Case| case.findings.as_mut().unwrap().generation = Generation::of(b"old"), "EnforcementVerified", "Unknown/Pending", "wait", "Unknown/Pending")]
fn one_thing_is_wrong(
    #[case] change: Change,
    #[case] kind: &str,
    #[case] expected: &str,
    #[case] says: &str,
    #[case] ready: &str,
) {
    let mut case = Case::good();
    change(&mut case);
    let status = case.status();
    let (found, message) = condition(&status, kind);
    assert_eq!(found, expected, "{message}");
    assert!(message.contains(says), "{message}");
    assert_eq!(condition(&status, "Ready").0, ready);
    for condition in &status.conditions {
        assert!(reason::ALL.contains(&condition.reason.as_str()), "{}", condition.reason);
        assert!(!condition.message.is_empty());
    }
}

#[test]
fn a_server_that_is_not_accepted_denies_and_says_why() {
    let mut case = Case::of(&with("requireDpop: true"));
    case.published = Published::Nothing;
    let status = case.status();
    let (accepted, message) = condition(&status, "Accepted");
    assert_eq!(accepted, "False/NotImplemented");
    assert!(message.contains("spec.requireDpop"), "{message}");
    assert_eq!(condition(&status, "MetadataPublished").0, "False/DenyAll");
    assert_eq!(condition(&status, "Programmed").0, "True/Programmed", "its pods run the denial");
    assert_eq!(condition(&status, "EnforcementVerified").0, "False/DenyAll");
    assert_eq!(condition(&status, "Ready").0, "False/NotImplemented");
    assert_eq!((status.urls, status.www_authenticate_example), (None, None));
    assert!(status.server_id.is_none() && status.org_id.is_some());
}

#[test]
fn a_denial_that_could_not_be_written_is_not_said_to_be_in_force() {
    let mut case = Case::of(&with("requireDpop: true"));
    fail(&mut case);
    let status = case.status();
    assert_eq!(condition(&status, "Programmed").0, "False/WriteFailed");
    assert_eq!(condition(&status, "EnforcementVerified").0, "Unknown/WriteFailed");
}

#[rstest]
#[case::stdio("transport: Stdio", fail, "False/WriteFailed")]
#[case::open("authMode: None", fail, "False/WriteFailed")]
#[case::open_with_a_foreign_config_map("authMode: None", |case: &mut Case| case.applied = Applied::for_test(None, vec!["ConfigMap exists".to_owned()]), "False/NameTaken")]
fn what_is_not_written_matters_where_pods_do_not(#[case] line: &str, #[case] change: Change, #[case] expected: &str) {
    let mut case = Case::of(&with(line));
    case.published = Published::Nothing;
    change(&mut case);
    let status = case.status();
    assert_eq!(condition(&status, "Programmed").0, expected);
    assert_eq!(condition(&status, "Injected").0, "True/NotApplicable");
    assert_eq!(condition(&status, "Ready").0, expected);
}

#[test]
fn an_edit_without_signing_keys_is_not_ready() {
    let mut case = Case::good();
    case.old = case.status();
    let mut read = read(&INVOICES.replace("generation: 3", "generation: 4"));
    read.object.status = Some(case.old.clone());
    read.issuing = None;
    let status = not_issuing(&read, NOW).unwrap();
    for kind in ["Programmed", "EnforcementVerified", "Ready"] {
        let (found, message) = condition(&status, kind);
        assert_eq!(found, "Unknown/NotIssuing", "{kind}");
        assert!(message.contains("Secret lumoauth-signing-keys in namespace lumoauth-system"), "{message}");
    }
    assert_eq!(condition(&status, "Accepted").0, "True/Accepted");
    assert_eq!(condition(&status, "Injected").0, "True/Injected", "what has nothing to do with it stays");
    assert_eq!((status.observed_generation, status.conditions.len()), (Some(4), 7));

    // Written once; and once there are keys it is not kept.
    read.object.status = Some(status.clone());
    assert_eq!(not_issuing(&read, NOW), None);
    case.old = status;
    case.findings = None;
    assert_eq!(condition(&case.status(), "Programmed").0, "Unknown/Pending");
}

#[test]
fn a_spec_that_is_in_force_stays_so_without_signing_keys() {
    let mut read = read(INVOICES);
    read.object.status = Some(Case::good().status());
    assert_eq!(not_issuing(&read, NOW), None);
    read.object.status = None;
    assert_eq!(condition(&not_issuing(&read, NOW).unwrap(), "Ready").0, "Unknown/NotIssuing");
}

#[rstest]
#[case("transport: Stdio", "no call passes a sidecar")]
#[case("authMode: None", "no token is asked for")]
fn pods_do_not_matter(#[case] line: &str, #[case] says: &str) {
    let mut case = Case::of(&with(line));
    case.published = Published::Nothing;
    case.pods.clear();
    case.findings = None;
    let status = case.status();
    for kind in ["MetadataPublished", "Injected", "Programmed", "BypassProtected", "EnforcementVerified"] {
        assert_eq!(condition(&status, kind).0, "True/NotApplicable", "{kind}");
    }
    let (ready, message) = condition(&status, "Ready");
    assert_eq!(ready, "True/Ready");
    assert!(message.contains(says) && !message.contains("checked"), "{message}");
}

#[test]
fn allowed_clients_that_lead_nowhere_are_named() {
    let status = Case::of(&with("allowedClients: [ghost]")).status();
    let (accepted, message) = condition(&status, "Accepted");
    assert_eq!(accepted, "True/Accepted");
    assert!(message.contains("acme/ghost"), "{message}");
}

#[test]
fn a_new_leader_keeps_what_it_has_not_asked_yet() {
    let mut case = Case::good();
    case.old = case.status();
    case.findings = None;
    assert_eq!(case.status(), case.old);
    assert_eq!(case.status_at(&PodsRead::NotListed, NOW), case.old);

    // But not about another configuration, and not what it sees otherwise.
    let mut edited = Case::of(&with("filterLists: false"));
    edited.old = case.old.clone();
    edited.findings = None;
    assert_eq!(condition(&edited.status(), "Programmed").0, "Unknown/Pending");
    assert_eq!(edited.status().pods.unwrap().summary, "0/1");
    case.pods[0].sidecar = Comparison::Missing;
    assert_eq!(condition(&case.status(), "Injected").0, "False/Missing");
    assert_eq!(condition(&case.status(), "Programmed").0, "False/NotInjected");
}

#[test]
fn many_pods_are_counted_not_listed() {
    let mut case = Case::good();
    case.pods = (0..9).map(|at| pod(&format!("p{at}"), Comparison::Missing)).collect();
    let (_, message) = condition(&case.status(), "Injected");
    assert!(message.contains("p4 and 4 more") && !message.contains("p5"), "{message}");
}
