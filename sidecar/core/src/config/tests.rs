use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn document() -> Value {
    json!({
        "version": 1,
        "server": {"org": "acme", "namespace": "acme-corp", "name": "invoices", "serverId": "mcp_0"},
        "enforcement": {"enforce": {
            "resource": "https://invoices.acme.example/mcp",
            "hosts": ["invoices-mcp", "a.example:8443"],
            "allowedOrigins": [],
            "upstream": {"port": 8000, "path": "/mcp"},
            "maxBodyBytes": 4_194_304,
            "logLevel": "info",
            "authorization": {"oAuth": {
                "metadata": "{}",
                "policy": {
                    "scopes": [{"name": "mcp:read"}, {"name": "mcp:write", "implies": ["mcp:read"]}],
                    "requiredScopes": ["mcp:read"],
                    "rules": [
                        {"selector": {"tools": ["update_*", "x"]}, "effect": {"require": ["mcp:write"]}},
                        {"selector": {"methods": {"methods": ["tasks/*"], "names": ["*"]}}, "effect": "deny"},
                    ],
                    "defaultRule": "RequireBase",
                    "allowedClients": ["mcpc_a", "https://app.example/*"],
                },
                "filterLists": true,
                "issuers": [{
                    "issuer": "https://as.example/orgs/acme/api/v1",
                    "audience": "https://invoices.acme.example/mcp",
                    "tokenType": "accessToken",
                    "algorithms": ["ES256", "EdDSA"],
                    "keys": {"keys": [{"kty": "EC", "anything": [1.5]}]},
                    "jwksUri": "https://as.example/jwks.json",
                    "caBundle": "PEM",
                    "status": {
                        "uri": "https://as.example/orgs/acme/api/v1/oauth/status/",
                        "fetch": "https://lumoauth-authserver.lumoauth-system.svc/orgs/acme/api/v1/oauth/status/",
                        "maxAgeSeconds": 900,
                    },
                }],
            }},
        }},
    })
}

fn parse(document: &Value) -> Result<SidecarConfig, ConfigError> {
    SidecarConfig::parse(document.to_string().as_bytes())
}

/// Replaces what `pointer` points at, or adds it.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = document();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    document
}

#[test]
fn the_wire_form_is_the_contract() {
    let config = parse(&document()).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), document());
    assert_eq!(SidecarConfig::parse(config.to_json().as_bytes()).unwrap(), config);
}

#[test]
fn without_authorization() {
    let open = with("/enforcement/enforce/authorization", json!("none"));
    let config = parse(&open).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), open);
}

#[rstest]
#[case::current(json!({"version": 1, "server": document()["server"], "enforcement": {"denyAll": {"reason": "Deleted"}}}), "Deleted")]
#[case::later(
    json!({"version": 9, "server": {"id": 7}, "region": "x", "enforcement": {"denyAll": {"reason": "Invalid", "since": 1}}}),
    "Invalid"
)]
#[case::no_server(json!({"version": 9, "enforcement": {"denyAll": {"reason": "Invalid"}}}), "Invalid")]
#[case::no_reason(json!({"version": 9, "server": {}, "enforcement": {"denyAll": {}}}), "Unknown")]
#[case::empty(json!({"version": 9, "server": {}, "enforcement": {"denyAll": null}}), "Unknown")]
#[case::both(json!({"version": 1, "server": {}, "enforcement": {"denyAll": {}, "enforce": {}}}), "Unknown")]
fn every_version_can_read_deny_all(#[case] document: Value, #[case] reason: &str) {
    let enforcement = Enforcement::DenyAll { reason: reason.to_owned() };
    assert_eq!(parse(&document).unwrap().enforcement, enforcement);
}

#[test]
fn a_later_version_is_refused_unless_it_denies() {
    assert!(matches!(parse(&with("/version", json!(2))), Err(ConfigError::Version(2))));
}

#[rstest]
#[case("/extra", json!(1))]
#[case("/version", json!("1"))]
#[case("/version", json!(-1))]
#[case("/server/extra", json!(1))]
#[case("/server/name", json!(null))]
#[case("/enforcement", json!("enforce"))]
#[case("/enforcement", json!({"observe": {}}))]
#[case("/enforcement/enforce/extra", json!(1))]
#[case("/enforcement/enforce/resource", json!("http://a.example/"))]
#[case("/enforcement/enforce/upstream/port", json!(65_536))]
#[case("/enforcement/enforce/upstream/host", json!("10.0.0.1"))]
#[case("/enforcement/enforce/logLevel", json!("Info"))]
#[case("/enforcement/enforce/authorization", json!("None"))]
#[case("/enforcement/enforce/authorization/oAuth/extra", json!(1))]
#[case("/enforcement/enforce/authorization/oAuth/filterLists", json!("yes"))]
#[case("/enforcement/enforce/authorization/oAuth/policy/requiredScopes", json!(["mcp:other"]))]
#[case("/enforcement/enforce/authorization/oAuth/policy/defaultRule", json!("Allow"))]
#[case("/enforcement/enforce/authorization/oAuth/policy/extra", json!(1))]
#[case("/enforcement/enforce/authorization/oAuth/policy/rules/0/deny", json!(true))]
#[case("/enforcement/enforce/authorization/oAuth/policy/rules/0/effect", json!("permit"))]
#[case("/enforcement/enforce/authorization/oAuth/policy/rules/0/selector", json!({"tools": ["a*b"]}))]
#[case("/enforcement/enforce/authorization/oAuth/policy/allowedClients", json!(["*"]))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/algorithms", json!(["HS256"]))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/algorithms", json!(["none"]))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/tokenType", json!("JWT"))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/extra", json!(1))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/status", json!({}))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/status/extra", json!(1))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/status/uri", json!("https://as.example/oauth/status"))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/status/fetch", json!("https://as.example/?status/"))]
#[case("/enforcement/enforce/authorization/oAuth/issuers/0/status/maxAgeSeconds", json!("15m"))]
fn what_is_not_understood_is_refused(#[case] pointer: &str, #[case] value: Value) {
    assert!(matches!(parse(&with(pointer, value)), Err(ConfigError::Invalid(_))));
}

#[rstest]
#[case(b"")]
#[case(b"{")]
#[case(b"null")]
#[case(b"[]")]
#[case(b"{}")]
#[case(b"\xff\xfe")]
#[case(br#"{"version":1}"#)]
fn junk_is_refused(#[case] bytes: &[u8]) {
    assert!(matches!(SidecarConfig::parse(bytes), Err(ConfigError::Invalid(_))));
}

#[test]
fn size_is_limited() {
    let bytes = vec![b' '; MAX_CONFIG_BYTES + 1];
    assert!(matches!(SidecarConfig::parse(&bytes), Err(ConfigError::TooLarge)));
}

#[test]
fn a_generation_names_bytes() {
    assert_eq!(Generation::of(b"abc").as_str(), "ba7816bf8f01cfea");
    assert_ne!(Generation::of(b"abc"), Generation::of(b"abc "));
}
