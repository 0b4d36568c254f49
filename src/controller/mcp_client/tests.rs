//! The pure steps: what is seen in, what is to be out.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use lumoauth_core::{IssuerUrl, digest, token::JsonWebKeySet};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    apply::Outcome,
    build::{self, Plan},
    credentials::{ClientSecret, keys},
    dereference::{Held, Seen},
    status,
    validate::{self, Valid},
};
use crate::{
    api::v1alpha1::{ClientSecretStatus, McpClient, condition::Status},
    registry::{ClientState, Index, Issuing, NamespaceMeta, ObjectKey, Parsed, Problem, Reason},
    settings::Settings,
};

const CA: &str = "-----BEGIN CERTIFICATE-----\n";

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn hours(count: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(count)).unwrap()
}

fn object(changes: &Value) -> McpClient {
    let mut object = json!({
        "apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient",
        "metadata": {"namespace": "acme", "name": "agent", "uid": "u", "resourceVersion": "7", "generation": 2},
        "spec": {
            "grantTypes": ["ClientCredentials"], "authentication": {"method": "ClientSecretBasic"},
            "credentialsSecretName": "agent-oauth",
        },
    });
    json_patch::merge(&mut object, changes);
    serde_json::from_value(object).unwrap()
}

fn seen(changes: &Value, held: Held) -> Seen {
    let mut index = Index::default();
    index.apply_namespace("acme".to_owned(), NamespaceMeta::default());
    index.apply_client(Parsed::Object(Arc::new(object(changes))));
    let snapshot = index.snapshot();
    let entry = &snapshot.clients[&ObjectKey::new("acme", "agent")];
    let public_url = IssuerUrl::parse("https://lumoauth-authserver.lumoauth-system.svc").unwrap();
    Seen {
        object: entry.object.clone().unwrap(),
        org: entry.org.clone(),
        id: entry.id.clone(),
        state: match &entry.state {
            ClientState::Accepted(client) => Ok(client.clone()),
            ClientState::Rejected(problem) => Err(problem.clone()),
        },
        held,
        issuing: Some(Arc::new(Issuing {
            public_url: public_url.clone(),
            keys: JsonWebKeySet::default(),
            internal_url: None,
            ca_bundle: Some(CA.to_owned()),
            status_max_age: 900,
        })),
        settings: Arc::new(
            Settings::parse(&format!("publicUrl: {public_url}\nsidecarImage: lumoauth/sidecar:1")).unwrap(),
        ),
    }
}

fn secret(value: &ClientSecret) -> Held {
    secret_of(
        value,
        &[json!({"apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient", "name": "agent", "uid": "u"})],
    )
}

fn secret_of(value: &ClientSecret, owners: &[Value]) -> Held {
    let metadata = json!({
        "resourceVersion": "3", "labels": {"app.kubernetes.io/managed-by": "lumoauth"}, "ownerReferences": owners,
    });
    let metadata = serde_json::from_value(metadata).unwrap();
    Held::Present(Box::new(Secret {
        metadata,
        data: Some(keys::data([(keys::CLIENT_SECRET, value.as_str())])),
        ..Secret::default()
    }))
}

fn valid(changes: &Value, held: Held) -> Valid {
    validate::validate(&seen(changes, held)).unwrap()
}

fn letter(letter: &str) -> ClientSecret {
    ClientSecret::for_test(letter)
}

fn hash(letter_of: &str) -> String {
    letter(letter_of).sha256()
}

fn plan(status: &Value, held: Held) -> Plan {
    build::build(&valid(&json!({"status": status}), held), &letter("n"), now())
}

/// Hash and end of each, by the letter of its secret.
fn hashes(secrets: &[ClientSecretStatus]) -> Vec<(String, Option<Timestamp>)> {
    let name = |sha256: &str| ["a", "b", "c", "n"].into_iter().find(|name| hash(name) == sha256).unwrap().to_owned();
    secrets.iter().map(|secret| (name(&secret.sha256), secret.not_after.as_ref().map(|end| end.0))).collect()
}

fn handed_out(plan: &Plan) -> String {
    let ByteString(bytes) = &plan.credentials.data.as_ref().unwrap()["client_secret"];
    digest::sha256_hex(bytes)
}

#[test]
fn a_new_client_gets_a_new_secret_and_its_hash() {
    let plan = plan(&json!({}), Held::Absent);
    assert!(plan.announces);
    assert_eq!(hashes(&plan.secrets), [("n".to_owned(), None)]);
    assert_eq!(handed_out(&plan), hash("n"));
    assert_eq!(plan.last_rotated.as_ref().unwrap().0, now());
}

#[test]
fn a_secret_without_a_status_is_hashed_not_rotated() {
    let plan = plan(&json!({}), secret(&letter("a")));
    assert!(plan.announces);
    assert_eq!(hashes(&plan.secrets), [("a".to_owned(), None)]);
    assert_eq!(handed_out(&plan), hash("a"));
}

#[rstest]
#[case::earlier_life(&[json!({"apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient", "name": "agent", "uid": "earlier"})])]
#[case::other_client(&[json!({"apiVersion": "mcp.lumoauth.dev/v1alpha1", "kind": "McpClient", "name": "other", "uid": "o"})])]
#[case::nobody(&[])]
fn a_secret_of_another_object_is_not_taken_over(#[case] owners: &[Value]) {
    let plan = plan(&json!({}), secret_of(&letter("a"), owners));
    assert!(plan.announces);
    assert_eq!(hashes(&plan.secrets), [("n".to_owned(), None)]);
    assert_eq!(handed_out(&plan), hash("n"));
    assert_eq!(plan.credentials.metadata.resource_version.as_deref(), Some("3"));
}

#[rstest]
#[case::for_the_first_time(None, 10)]
#[case::it_was_ready(Some(("True", 100_000)), 10)]
#[case::by_another_clock(Some(("False", -30)), 10)]
#[case::for_59_seconds(Some(("False", 59)), 10)]
#[case::for_a_minute(Some(("False", 60)), 60)]
#[case::for_two(Some(("False", 120)), 120)]
#[case::for_a_day(Some(("False", 86400)), 300)]
fn a_refusal_is_looked_at_less_and_less(#[case] before: Option<(&str, i64)>, #[case] expected: u64) {
    let conditions: Vec<_> = before
        .map(|(status, seconds)| {
            let since = now().checked_sub(SignedDuration::from_secs(seconds)).unwrap().to_string();
            json!({"type": "CredentialsReady", "status": status, "reason": "r", "message": "", "lastTransitionTime": since})
        })
        .into_iter()
        .collect();
    let seen = seen(&json!({"status": {"conditions": conditions}}), Held::Forbidden(RBAC.to_owned()));
    let outcome = Outcome::stopped(&seen, validate::validate(&seen).unwrap_err(), now());
    assert_eq!(outcome.again.as_secs(), expected);
}

#[test]
fn what_is_so_stays_so() {
    let last = "2026-02-01T00:00:00Z";
    let plan = plan(&json!({"secrets": [{"sha256": hash("a")}], "lastRotated": last}), secret(&letter("a")));
    assert!(!plan.announces);
    assert_eq!(handed_out(&plan), hash("a"));
    assert_eq!(plan.last_rotated.as_ref().unwrap().0.to_string(), last);
    assert_eq!(plan.credentials.metadata.resource_version.as_deref(), Some("3"));
    assert_eq!(plan.again, build::RESYNC);
}

#[rstest]
#[case::it_was_deleted(Held::Absent)]
#[case::it_was_emptied(Held::Present(Box::default()))]
#[case::somebody_changed_it(secret(&letter("b")))]
fn a_secret_that_is_not_the_newest_is_replaced(#[case] held: Held) {
    let plan = plan(&json!({"secrets": [{"sha256": hash("a")}]}), held);
    assert!(plan.announces);
    assert_eq!(handed_out(&plan), hash("n"));
    assert_eq!(hashes(&plan.secrets), [("n".to_owned(), None), ("a".to_owned(), Some(hours(24)))]);
}

#[test]
fn a_crash_after_the_status_and_before_the_secret_heals() {
    // "b" was announced and never handed out; "a" is what the client has.
    let status = json!({"secrets": [{"sha256": hash("b")}, {"sha256": hash("a"), "notAfter": hours(23).to_string()}]});
    let plan = plan(&status, secret(&letter("a")));
    assert!(plan.announces);
    assert_eq!(handed_out(&plan), hash("n"));
    let expected = [("n", None), ("b", Some(hours(24))), ("a", Some(hours(23)))];
    assert_eq!(hashes(&plan.secrets), expected.map(|(name, end)| (name.to_owned(), end)));
}

#[test]
fn what_has_ended_is_forgotten_and_the_next_end_is_waited_for() {
    let end = now().checked_add(SignedDuration::from_secs(90)).unwrap();
    let status = json!({"secrets": [
        {"sha256": hash("a")},
        {"sha256": hash("b"), "notAfter": end.to_string()},
        {"sha256": hash("c"), "notAfter": now().to_string()},
    ]});
    let plan = plan(&status, secret(&letter("a")));
    assert!(!plan.announces);
    assert_eq!(hashes(&plan.secrets), [("a".to_owned(), None), ("b".to_owned(), Some(end))]);
    assert_eq!(plan.again.as_secs(), 91);
}

#[test]
fn the_status_never_grows_beyond_its_limit() {
    let old: Vec<_> =
        (0..8).map(|at| json!({"sha256": format!("{at:064}"), "notAfter": hours(5).to_string()})).collect();
    let plan = plan(&json!({"secrets": old}), Held::Absent);
    assert_eq!(plan.secrets.len(), 8);
    assert_eq!(plan.secrets[0].sha256, hash("n"));
}

#[rstest]
#[case::never_asked(None, None, false)]
#[case::asked(Some("1"), None, true)]
#[case::done(Some("1"), Some("1"), false)]
#[case::asked_again(Some("2"), Some("1"), true)]
#[case::annotation_removed(None, Some("1"), false)]
fn a_new_value_of_the_annotation_rotates(
    #[case] asked: Option<&str>,
    #[case] done: Option<&str>,
    #[case] rotates: bool,
) {
    let changes = json!({
        "metadata": {"annotations": {"mcp.lumoauth.dev/rotate": asked}},
        "status": {"secrets": [{"sha256": hash("a")}], "rotatedFor": done},
    });
    let plan = build::build(&valid(&changes, secret(&letter("a"))), &letter("n"), now());
    assert_eq!(plan.announces, rotates);
    assert_eq!(handed_out(&plan), hash(if rotates { "n" } else { "a" }));
    if rotates {
        assert_eq!(plan.rotated_for.as_deref(), asked);
        assert_eq!(hashes(&plan.secrets), [("n".to_owned(), None), ("a".to_owned(), Some(hours(24)))]);
    }
}

#[test]
fn a_value_longer_than_the_status_can_hold_rotates_once() {
    let annotated = |done: Option<String>| {
        json!({
            "metadata": {"annotations": {"mcp.lumoauth.dev/rotate": "x".repeat(300)}},
            "status": {"secrets": [{"sha256": hash("a")}], "rotatedFor": done},
        })
    };
    let first = build::build(&valid(&annotated(None), secret(&letter("a"))), &letter("n"), now());
    assert_eq!((first.announces, first.rotated_for.as_ref().map(String::len)), (true, Some(256)));
    let then = build::build(&valid(&annotated(first.rotated_for), secret(&letter("a"))), &letter("n"), now());
    assert!(!then.announces);
}

#[test]
fn an_annotation_that_is_there_at_first_is_acted_on_by_the_first_secret() {
    let changes = json!({"metadata": {"annotations": {"mcp.lumoauth.dev/rotate": "1"}}});
    let plan = build::build(&valid(&changes, Held::Absent), &letter("n"), now());
    assert_eq!(plan.rotated_for.as_deref(), Some("1"));
}

#[rstest]
#[case::never(0, -10_000, false)]
#[case::not_yet(1, -23, false)]
#[case::due(1, -24, true)]
#[case::overdue(30, -1000, true)]
fn the_schedule_rotates(#[case] every_days: i32, #[case] last_hours: i64, #[case] rotates: bool) {
    let changes = json!({
        "spec": {"rotation": {"everyDays": every_days, "overlapHours": 2}},
        "status": {"secrets": [{"sha256": hash("a")}], "lastRotated": hours(last_hours).to_string()},
    });
    let plan = build::build(&valid(&changes, secret(&letter("a"))), &letter("n"), now());
    assert_eq!(plan.announces, rotates);
    if rotates {
        assert_eq!(hashes(&plan.secrets), [("n".to_owned(), None), ("a".to_owned(), Some(hours(2)))]);
        assert_eq!(plan.last_rotated.as_ref().unwrap().0, now());
    }
}

#[test]
fn without_overlap_the_old_secret_ends_at_once() {
    let changes = json!({
        "metadata": {"annotations": {"mcp.lumoauth.dev/rotate": "1"}},
        "spec": {"rotation": {"overlapHours": 0}},
        "status": {"secrets": [{"sha256": hash("a")}]},
    });
    let plan = build::build(&valid(&changes, secret(&letter("a"))), &letter("n"), now());
    assert_eq!(hashes(&plan.secrets), [("n".to_owned(), None)]);
}

#[test]
fn a_secret_holds_what_a_client_needs_and_says_whose_it_is() {
    let plan = plan(&json!({}), Held::Absent);
    let text = |key: &str| {
        let ByteString(bytes) = &plan.credentials.data.as_ref().unwrap()[key];
        String::from_utf8(bytes.clone()).unwrap()
    };
    assert!(text("client_id").starts_with("mcpc_"));
    assert_eq!(text("issuer"), "https://lumoauth-authserver.lumoauth-system.svc/orgs/acme/api/v1");
    assert_eq!(text("token_endpoint"), "https://lumoauth-authserver.lumoauth-system.svc/orgs/acme/api/v1/oauth/token");
    assert_eq!(text("ca.crt"), CA);
    assert!(!plan.credentials.data.as_ref().unwrap().contains_key("authorization_endpoint"));
    let metadata = &plan.credentials.metadata;
    assert_eq!(metadata.labels.as_ref().unwrap()["app.kubernetes.io/managed-by"], "lumoauth");
    let owner = &metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()), ("McpClient", "agent", "u"));
}

/// A client that people use, without a secret of ours.
fn for_people(authentication: &Value, secret_name: Option<&str>, status: &Value) -> Value {
    json!({
        "spec": {
            "grantTypes": ["AuthorizationCode", "RefreshToken"], "redirectUris": ["http://127.0.0.1/callback"],
            "authentication": authentication, "credentialsSecretName": secret_name,
        },
        "status": status,
    })
}

/// RFC 7515 appendix A.3.
fn private_key_jwt() -> Value {
    let key = json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    json!({"method": "PrivateKeyJwt", "jwks": {"keys": [key]}})
}

#[rstest]
#[case::public(json!({"method": "None"}))]
#[case::with_keys(private_key_jwt())]
fn a_client_without_a_secret_is_ready_at_once(#[case] authentication: Value) {
    let before = json!({"secrets": [{"sha256": hash("a")}], "rotatedFor": "1", "lastRotated": hours(-1).to_string()});
    let seen = seen(&for_people(&authentication, None, &before), Held::Absent);
    let outcome = Outcome::stopped(&seen, validate::validate(&seen).unwrap_err(), now());
    let status = status::status(&seen, &outcome, now());
    assert!(status.client_id.is_some());
    assert_eq!((status.secrets, status.rotated_for, status.last_rotated), (vec![], None, None));
    let shown: Vec<_> = status.conditions.iter().map(|c| (c.status.as_str(), c.reason.as_str())).collect();
    assert_eq!(shown, [("True", "Valid"), ("True", "NotNeeded"), ("True", "Ready")]);
}

#[rstest]
#[case::public(json!({"method": "None"}))]
#[case::with_keys(private_key_jwt())]
fn a_named_secret_of_a_client_without_a_secret_holds_the_rest(#[case] authentication: Value) {
    let before = json!({"secrets": [{"sha256": hash("a")}]});
    let valid = valid(&for_people(&authentication, Some("agent-oauth"), &before), secret(&letter("a")));
    let plan = build::build(&valid, &letter("n"), now());
    assert!(!plan.announces && plan.secrets.is_empty());
    let data = plan.credentials.data.as_ref().unwrap();
    let names: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(names, ["authorization_endpoint", "ca.crt", "client_id", "issuer", "token_endpoint"]);
    let ByteString(endpoint) = &data["authorization_endpoint"];
    assert!(str::from_utf8(endpoint).unwrap().ends_with("/orgs/acme/api/v1/oauth/authorize"));
}

#[test]
fn a_client_of_people_with_a_secret_has_both() {
    let changes = for_people(&json!({"method": "ClientSecretPost"}), Some("agent-oauth"), &json!({}));
    let plan = build::build(&valid(&changes, Held::Absent), &letter("n"), now());
    let data = plan.credentials.data.as_ref().unwrap();
    assert!(data.contains_key("client_secret") && data.contains_key("authorization_endpoint"));
    assert_eq!(handed_out(&plan), hash("n"));
}

#[test]
fn a_public_url_needs_no_certificate_of_ours() {
    let mut seen = seen(&json!({}), Held::Absent);
    seen.settings = Arc::new(Settings::parse("publicUrl: https://as.example\nsidecarImage: a:1").unwrap());
    let plan = build::build(&validate::validate(&seen).unwrap(), &letter("n"), now());
    assert!(!plan.credentials.data.as_ref().unwrap().contains_key("ca.crt"));
}

const RBAC: &str = r#"secrets "agent-oauth" is forbidden: User "x" cannot get resource "secrets" in API group "" in the namespace "acme""#;

#[rstest]
#[case::rbac(RBAC, "NotPermitted")]
#[case::quota(r#"secrets "agent-oauth" is forbidden: exceeded quota: q"#, "WriteFailed")]
fn a_missing_role_binding_is_told_with_the_command(#[case] reply: &str, #[case] reason: &str) {
    let stop = validate::validate(&seen(&json!({}), Held::Forbidden(reply.to_owned()))).unwrap_err();
    assert_eq!(stop.accepted.status, Status::True);
    assert_eq!((stop.credentials.status, stop.credentials.reason), (Status::False, reason));
    let command = "kubectl create rolebinding lumoauth-credentials -n acme --clusterrole=lumoauth-credentials \
                   --serviceaccount=lumoauth-system:lumoauth-operator";
    assert_eq!(stop.credentials.message.ends_with(command), reason == "NotPermitted");
}

#[test]
fn without_signing_keys_nothing_is_made() {
    let seen = Seen { issuing: None, ..seen(&json!({}), Held::Absent) };
    assert_eq!(validate::validate(&seen).unwrap_err().credentials.reason, "NotIssuing");
}

#[test]
fn a_client_that_is_not_accepted_gets_nothing_and_says_why() {
    let changes = json!({"spec": {"grantTypes": ["DeviceCode"]}});
    let stop = validate::validate(&seen(&changes, Held::Absent)).unwrap_err();
    assert_eq!((stop.accepted.status, stop.accepted.reason), (Status::False, "NotImplemented"));
    assert_eq!((stop.credentials.status, stop.credentials.reason), (Status::Unknown, "NotAccepted"));
}

#[test]
fn a_client_that_is_no_longer_accepted_keeps_its_hashes() {
    let changes = json!({
        "spec": {"grantTypes": ["DeviceCode"]},
        "status": {"secrets": [{"sha256": hash("a")}], "rotatedFor": "1"},
    });
    let seen = seen(&changes, Held::Absent);
    let stop = validate::validate(&seen).unwrap_err();
    let outcome = Outcome::stopped(&seen, stop, now());
    let status = status::status(&seen, &outcome, now());
    assert_eq!(hashes(&status.secrets), [("a".to_owned(), None)]);
    assert_eq!(status.rotated_for.as_deref(), Some("1"));
}

#[test]
fn the_status_says_it_all_and_says_it_the_same_way_again() {
    let seen = seen(&json!({}), Held::Forbidden(RBAC.to_owned()));
    let outcome = Outcome::stopped(&seen, validate::validate(&seen).unwrap_err(), now());
    let first = status::status(&seen, &outcome, now());
    assert_eq!(first.observed_generation, Some(2));
    assert_eq!(first.org_id.as_deref(), Some("acme"));
    assert!(first.client_id.as_ref().unwrap().starts_with("mcpc_"));
    let shown: Vec<_> =
        first.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
    let expected = [
        ("Accepted", "True", "Valid"),
        ("CredentialsReady", "False", "NotPermitted"),
        ("Ready", "False", "CredentialsNotReady"),
    ];
    assert_eq!(shown, expected);

    let mut again = seen.clone();
    Arc::make_mut(&mut again.object).status = Some(first.clone());
    assert_eq!(status::status(&again, &outcome, hours(1)), first);
}

#[test]
fn an_object_that_cannot_be_read_says_so() {
    let findings = status::malformed(&Problem::new(Reason::Malformed, "missing field"));
    let shown: Vec<_> = findings.iter().map(|finding| (finding.kind.as_str(), finding.reason)).collect();
    assert_eq!(shown, [("Accepted", "Malformed"), ("CredentialsReady", "NotAccepted"), ("Ready", "NotAccepted")]);
}
