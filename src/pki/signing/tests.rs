use super::*;
use lumoauth_core::{
    IssuerUrl, ResourceUri,
    token::{
        KeySet, STATUS_LIST_TYPE, StatusError, StatusExpectations, StatusList, StatusListClaims, StatusListToken,
        TokenError,
    },
};
use rstest::rstest;
use serde_json::{Value, json};

const START: UnixTime = UnixTime(1_800_000_000);

/// When the first key of [`ring`] is due to be followed.
const DUE: UnixTime = UnixTime(START.0 + ROTATION_PERIOD - PUBLICATION_LEAD);

fn ring() -> KeyRing {
    KeyRing::new(START).unwrap()
}

/// A key in use, and one that waits for it.
fn two_keys() -> KeyRing {
    let mut ring = ring();
    assert!(ring.advance(DUE).unwrap());
    ring
}

fn ids(ring: &KeyRing) -> Vec<String> {
    ring.keys().map(|key| key.id.clone()).collect()
}

fn current(ring: &KeyRing, now: UnixTime) -> String {
    ring.current(now).id.clone()
}

#[test]
fn a_ring_survives_storage() {
    let ring = two_keys();
    let again = KeyRing::parse(ring.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(ids(&again), ids(&ring));
    assert_eq!(again.jwks(), ring.jwks());
    assert_eq!(again.to_json().unwrap(), ring.to_json().unwrap());
}

/// The whole life of two keys, second by second where something changes.
#[test]
fn a_key_is_published_before_use_and_kept_until_its_tokens_are_gone() {
    let mut ring = ring();
    let first = current(&ring, START);
    assert!(!ring.advance(START).unwrap());
    assert!(!ring.advance(DUE.minus(1)).unwrap());
    assert!(ring.advance(DUE).unwrap());
    assert!(!ring.advance(DUE).unwrap(), "one next key is enough");
    assert_eq!(ring.jwks().keys.len(), 2);
    let switch = DUE.plus(PUBLICATION_LEAD);
    assert_eq!(current(&ring, switch.minus(1)), first);
    let second = current(&ring, switch);
    assert_ne!(second, first);
    let gone = switch.plus(RETENTION);
    assert!(!ring.advance(gone.minus(1)).unwrap());
    assert_eq!(ids(&ring), [first.clone(), second.clone()]);
    assert!(ring.advance(gone).unwrap());
    assert_eq!(ids(&ring), [second]);
}

#[test]
fn an_operator_that_comes_late_still_publishes_first() {
    let mut ring = ring();
    let first = current(&ring, START);
    let late = START.plus(10 * ROTATION_PERIOD);
    assert!(ring.advance(late).unwrap());
    assert_eq!(current(&ring, late.plus(PUBLICATION_LEAD - 1)), first);
    assert_ne!(current(&ring, late.plus(PUBLICATION_LEAD)), first);
}

#[test]
fn the_last_token_of_a_key_outlives_no_key() {
    const { assert!(RETENTION >= 86_400 + LEEWAY_SECONDS) };
    const { assert!(PUBLICATION_LEAD >= 2 * 3600, "the JWKS is cached for an hour") };
    const { assert!(ROTATION_PERIOD > PUBLICATION_LEAD + RETENTION) };
}

#[test]
fn a_clock_before_every_key_uses_the_first() {
    let mut ring = two_keys();
    assert_eq!(current(&ring, UnixTime(0)), ids(&ring)[0]);
    assert!(!ring.advance(UnixTime(0)).unwrap());
}

#[test]
fn rfc7517_public_keys_only() {
    let ring = ring();
    let key = &ring.jwks().keys[0];
    let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!(
        (&key["alg"], &key["crv"], &key["kty"], &key["use"]),
        (&json!("ES256"), &json!("P-256"), &json!("EC"), &json!("sig"))
    );
    let (x, y) = (key["x"].as_str().unwrap(), key["y"].as_str().unwrap());
    let thumbprint =
        lumoauth_core::digest::sha256(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
    assert_eq!(key["kid"], json!(URL_SAFE_NO_PAD.encode(thumbprint)), "RFC 7638 §3");
}

#[test]
fn rfc9068_2_1_header_and_a_signature_the_jwk_verifies() {
    let ring = ring();
    let key = ring.current(START);
    let token = key.sign(&json!({"iss": "i", "exp": START.0})).unwrap();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!(header, json!({"typ": "at+jwt", "alg": "ES256", "kid": key.id()}));
    let jwk: Jwk = serde_json::from_value(key.public().clone()).unwrap();
    let verifier = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let verify = |message: &str| {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &verifier, Algorithm::ES256).unwrap()
    };
    assert!(verify(message));
    assert!(!verify(&format!("{message}x")));
}

#[test]
fn status_lists_are_signed_as_what_they_are() {
    let ring = ring();
    let key = ring.current(START);
    let list = StatusList::from_bytes(vec![0b10]).unwrap();
    let issuer = IssuerUrl::parse("https://as.example/orgs/acme/api/v1").unwrap();
    let uri = ResourceUri::parse("https://as.example/orgs/acme/api/v1/oauth/status/0").unwrap();
    let claims = StatusListClaims::new(issuer.clone(), uri.clone(), &list, START, 900, 2).unwrap();
    let algorithms = [lumoauth_core::token::Algorithm::ES256];
    let expect = StatusExpectations { issuer: &issuer, list: &uri, algorithms: &algorithms };
    let verify = |token: &str| StatusListToken::verify(token, &KeySet::new(&ring.jwks()), &expect, START);
    assert_eq!(verify(&key.sign_as(STATUS_LIST_TYPE, &claims).unwrap()).unwrap().list, list);
    assert_eq!(verify(&key.sign(&claims).unwrap()), Err(StatusError::Token(TokenError::WrongType)));
}

#[test]
fn debug_shows_no_key() {
    let ring = ring();
    let shown = format!("{ring:?}");
    let secret = STANDARD.encode(&*ring.newest.pkcs8);
    assert!(shown.contains(ring.newest.id()) && !shown.contains(&secret[..20]) && shown.len() < 200, "{shown}");
}

fn stored() -> Value {
    let ring = two_keys();
    serde_json::from_str(&ring.to_json().unwrap()).unwrap()
}

#[rstest]
#[case::not_json("/version", Value::Null, "cannot be read")]
#[case::other_version("/version", json!(2), "version 2")]
#[case::no_keys("/keys", json!([]), "holds 0 keys")]
#[case::kid_of_another_key("/keys/0/kid", json!("x"), "not the P-256 key")]
#[case::not_base64("/keys/0/pkcs8", json!("!"), "not the P-256 key")]
#[case::not_a_key("/keys/0/pkcs8", json!("AAAA"), "not the P-256 key")]
#[case::out_of_order("/keys/0/activeFrom", json!(u64::MAX), "order")]
fn bad_documents_are_refused(#[case] pointer: &str, #[case] value: Value, #[case] message: &str) {
    let mut document = stored();
    let secret = document["keys"][0]["pkcs8"].as_str().unwrap().to_owned();
    *document.pointer_mut(pointer).unwrap() = value;
    let error = KeyRing::parse(document.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains(message) && !error.contains(&secret), "{error}");
}

#[rstest]
#[case("/keys/0/activeFrom")]
#[case("/keys/0")]
#[case("/version")]
fn a_misplaced_key_is_not_quoted(#[case] pointer: &str) {
    let mut document = stored();
    let secret = document["keys"][0]["pkcs8"].clone();
    *document.pointer_mut(pointer).unwrap() = secret.clone();
    let text = document.to_string();
    let secret = secret.as_str().unwrap();
    let quoted = serde_json::from_str::<Document>(&text).err().unwrap().to_string();
    assert!(quoted.contains(secret), "serde would: {quoted}");
    let error = KeyRing::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(error, SigningError::Document { line: 1, .. }));
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn too_many_keys_are_refused() {
    let mut document = stored();
    let key = document["keys"][0].clone();
    document["keys"] = Value::Array(vec![key; MAX_KEYS + 1]);
    let error = KeyRing::parse(document.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, SigningError::Count(33)));
}
