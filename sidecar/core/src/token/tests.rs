//! security.md C.1, row by row, and what C.6 says the backend lets through.

use std::sync::LazyLock;

use rstest::rstest;
use serde_json::{Value, json};

use super::{
    testing::{AUDIENCE, NOW, Signer, check, claims, encode, key_set},
    *,
};
use crate::UnixTime;

static ES256: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::ES256, "k1"));
static RS256: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::RS256, "r1"));

fn outcome(token: &str) -> Result<(), TokenError> {
    check(token, &key_set(&[&ES256.jwk]), NOW).map(|_| ())
}

/// A token of the good header and claims, with these members put in; `null` takes one out.
fn altered(header: Value, changes: Value) -> String {
    let (mut head, mut body) = (ES256.header(), claims());
    for (target, changes) in [(&mut head, header), (&mut body, changes)] {
        let target = target.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                target.remove(name)
            } else {
                target.insert(name.clone(), value.clone())
            };
        }
    }
    ES256.token(&head.to_string(), &body.to_string())
}

fn with_header(header: Value) -> Result<(), TokenError> {
    outcome(&altered(header, json!({})))
}

fn with_claims(changes: Value) -> Result<(), TokenError> {
    outcome(&altered(json!({}), changes))
}

#[rstest]
#[case(Algorithm::ES256)]
#[case(Algorithm::ES384)]
#[case(Algorithm::RS256)]
#[case(Algorithm::PS256)]
#[case(Algorithm::EdDSA)]
fn every_algorithm_verifies_its_own_and_nothing_else(#[case] algorithm: Algorithm) {
    let signer = Signer::new(algorithm, "k");
    let keys = key_set(&[&signer.jwk]);
    let token = signer.token(&signer.header().to_string(), &claims().to_string());
    let verified = check(&token, &keys, NOW).unwrap();
    assert_eq!((verified.subject.as_str(), verified.client.as_str()), ("mcpc_a", "mcpc_a"));
    assert_eq!((verified.scopes.to_string().as_str(), verified.id.as_deref()), ("mcp:read", Some("t1")));
    assert_eq!((verified.issued_at, verified.expires_at), (NOW.minus(10), NOW.plus(3600)));

    let stranger = Signer::new(algorithm, "k");
    let forged = stranger.token(&stranger.header().to_string(), &claims().to_string());
    assert_eq!(check(&forged, &keys, NOW), Err(TokenError::BadSignature));
}

#[rstest]
#[case::none(json!({"alg": "none"}))]
#[case::none_in_capitals(json!({"alg": "NoNe"}))]
#[case::empty(json!({"alg": ""}))]
#[case::absent(json!({"alg": null}))]
#[case::number(json!({"alg": 1}))]
#[case::list(json!({"alg": ["ES256"]}))]
#[case::lower_case(json!({"alg": "es256"}))]
#[case::hmac(json!({"alg": "HS256"}))]
#[case::hmac_512(json!({"alg": "HS512"}))]
#[case::rs512(json!({"alg": "RS512"}))]
fn c1_row_1_algorithms_outside_the_list(#[case] header: Value) {
    assert_eq!(with_header(header), Err(TokenError::UnsupportedAlgorithm));
}

#[test]
fn c1_row_1_no_signature() {
    let claims = encode(claims().to_string());
    for signature in ["", "AA"] {
        let token = format!("{}.{claims}.{signature}", encode(r#"{"alg":"none","typ":"at+jwt"}"#));
        assert!(outcome(&token).is_err());
    }
    let unsigned = format!("{}.{claims}.", encode(ES256.header().to_string()));
    assert_eq!(outcome(&unsigned), Err(TokenError::Malformed));
}

#[test]
fn c1_row_2_a_public_key_is_no_hmac_secret() {
    let header = encode(r#"{"alg":"HS256","kid":"r1","typ":"at+jwt"}"#);
    let input = format!("{header}.{}", encode(claims().to_string()));
    for secret in [RS256.jwk.to_string(), RS256.jwk["n"].as_str().unwrap().to_owned()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let token = format!("{input}.{}", encode(aws_lc_rs::hmac::sign(&key, input.as_bytes())));
        assert_eq!(check(&token, &key_set(&[&RS256.jwk]), NOW), Err(TokenError::UnsupportedAlgorithm));
    }
}

#[test]
fn c1_row_2_a_key_has_one_algorithm() {
    let keys = key_set(&[&RS256.jwk]);
    let token = RS256.token(r#"{"alg":"PS256","kid":"r1","typ":"at+jwt"}"#, &claims().to_string());
    assert_eq!(check(&token, &keys, NOW), Err(TokenError::UnknownKey));
    assert!(matches!(keys.find(Some("r1"), Algorithm::PS256), KeyMatch::Unusable));

    let token = RS256.token(&RS256.header().to_string(), &claims().to_string());
    let unverified = Unverified::parse(&token).unwrap();
    let (issuer, audience) = (testing::ISSUER.parse().unwrap(), AUDIENCE.parse().unwrap());
    let KeyMatch::Found(key) = keys.find(unverified.key_id(), unverified.algorithm()) else { panic!("no key") };
    for (algorithms, expected) in
        [(&[Algorithm::RS256][..], Ok(())), (&[Algorithm::ES256], Err(TokenError::UnsupportedAlgorithm))]
    {
        let expect =
            Expectations { issuer: &issuer, audience: &audience, algorithms, token_type: &TokenType::AccessToken };
        assert_eq!(unverified.verify(key, &expect, NOW).map(|_| ()), expected);
    }
}

#[test]
fn c1_row_3_key_material_of_the_header_is_ignored() {
    let stranger = Signer::new(Algorithm::ES256, "k1");
    let header = json!({
        "alg": "ES256", "kid": "k1", "typ": "at+jwt", "jwk": stranger.jwk, "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/x5u", "x5c": ["MIIB"],
    });
    let forged = stranger.token(&header.to_string(), &claims().to_string());
    assert_eq!(outcome(&forged), Err(TokenError::BadSignature));
    let mut own = header;
    own["jwk"] = ES256.jwk.clone();
    assert_eq!(outcome(&ES256.token(&own.to_string(), &claims().to_string())), Ok(()));
}

#[rstest]
#[case::path(json!({"kid": "../../dev/null"}), TokenError::UnknownKey)]
#[case::sql(json!({"kid": "k1' OR '1'='1"}), TokenError::UnknownKey)]
#[case::longest(json!({"kid": "k".repeat(256)}), TokenError::UnknownKey)]
#[case::too_long(json!({"kid": "k".repeat(257)}), TokenError::KeyId)]
#[case::empty(json!({"kid": ""}), TokenError::KeyId)]
#[case::number(json!({"kid": 1}), TokenError::KeyId)]
#[case::list(json!({"kid": ["k1"]}), TokenError::KeyId)]
#[case::far_too_long(json!({"kid": "k".repeat(10_000)}), TokenError::TooLong)]
fn c1_row_4_kid(#[case] header: Value, #[case] error: TokenError) {
    assert_eq!(with_header(header), Err(error));
}

#[rstest]
#[case::no_aud(json!({"aud": null}), TokenError::WrongAudience)]
#[case::aud_number(json!({"aud": 1}), TokenError::WrongAudience)]
#[case::aud_empty_list(json!({"aud": []}), TokenError::WrongAudience)]
#[case::aud_list_of_null(json!({"aud": [null]}), TokenError::WrongAudience)]
#[case::aud_object(json!({"aud": {"0": AUDIENCE}}), TokenError::WrongAudience)]
#[case::two_audiences(json!({"aud": [AUDIENCE, "https://other.example/mcp"]}), TokenError::WrongAudience)]
#[case::twice_the_same(json!({"aud": [AUDIENCE, AUDIENCE]}), TokenError::WrongAudience)]
#[case::no_iss(json!({"iss": null}), TokenError::WrongIssuer)]
#[case::iss_list(json!({"iss": [testing::ISSUER]}), TokenError::WrongIssuer)]
#[case::iss_other(json!({"iss": "https://as.example/orgs/other/api/v1"}), TokenError::WrongIssuer)]
#[case::iss_slash(json!({"iss": format!("{}/", testing::ISSUER)}), TokenError::WrongIssuer)]
#[case::iss_case(json!({"iss": testing::ISSUER.to_uppercase()}), TokenError::WrongIssuer)]
#[case::no_sub(json!({"sub": null}), TokenError::Subject)]
#[case::sub_number(json!({"sub": 1}), TokenError::Subject)]
#[case::sub_empty(json!({"sub": ""}), TokenError::Subject)]
#[case::sub_control(json!({"sub": "a\r\nX: y"}), TokenError::Subject)]
#[case::sub_del(json!({"sub": "a\u{7f}"}), TokenError::Subject)]
#[case::sub_too_long(json!({"sub": "s".repeat(257)}), TokenError::Subject)]
#[case::no_client(json!({"client_id": null}), TokenError::Client)]
#[case::client_list(json!({"client_id": ["mcpc_a"]}), TokenError::Client)]
#[case::client_control(json!({"client_id": "a\nb"}), TokenError::Client)]
#[case::scope_list(json!({"scope": ["mcp:read"]}), TokenError::Scope)]
#[case::scope_tab(json!({"scope": "mcp:read\tmcp:admin"}), TokenError::Scope)]
#[case::scope_nbsp(json!({"scope": "mcp:read\u{a0}mcp:admin"}), TokenError::Scope)]
#[case::scope_two_spaces(json!({"scope": "a  b"}), TokenError::Scope)]
#[case::jti_number(json!({"jti": 7}), TokenError::TokenId)]
#[case::jti_empty(json!({"jti": ""}), TokenError::TokenId)]
#[case::status_false(json!({"status": false}), TokenError::Status)]
#[case::status_empty(json!({"status": {}}), TokenError::Status)]
fn c1_row_7_claims_of_other_types(#[case] changes: Value, #[case] error: TokenError) {
    assert_eq!(with_claims(changes), Err(error));
}

#[rstest]
#[case(json!({"aud": [AUDIENCE]}))]
#[case(json!({"scope": ""}))]
#[case(json!({"scope": null}))]
#[case(json!({"jti": null}))]
#[case(json!({"nbf": NOW.0}))]
#[case(json!({"sub": "s".repeat(256)}))]
#[case(json!({"status": {"status_list": {"idx": 1, "uri": "https://as.example/status/1"}}, "org": "acme"}))]
fn rfc9068_2_2_variations(#[case] changes: Value) {
    assert_eq!(with_claims(changes), Ok(()));
}

#[rstest]
#[case("https://mcp.example/mcp/")]
#[case("https://mcp.example/mcp/../mcp")]
#[case("https://mcp.example/mcp2")]
#[case("https://mcp.example")]
#[case("https://MCP.example/mcp")]
#[case("https://mcp.example:443/mcp")]
#[case("https://mcp.example/mcp ")]
#[case("")]
fn c1_row_8_audience_is_compared_byte_for_byte(#[case] audience: &str) {
    assert_eq!(with_claims(json!({"aud": audience})), Err(TokenError::WrongAudience));
    assert_eq!(with_claims(json!({"aud": [audience]})), Err(TokenError::WrongAudience));
}

#[rstest]
#[case(json!({"typ": "JWT"}), Err(TokenError::WrongType))]
#[case(json!({"typ": null}), Err(TokenError::WrongType))]
#[case(json!({"typ": ""}), Err(TokenError::WrongType))]
#[case(json!({"typ": "at+jwt "}), Err(TokenError::WrongType))]
#[case(json!({"typ": "text/at+jwt"}), Err(TokenError::WrongType))]
#[case(json!({"typ": "dpop+jwt"}), Err(TokenError::WrongType))]
#[case(json!({"typ": ["at+jwt"]}), Err(TokenError::WrongType))]
#[case(json!({"typ": "AT+JWT"}), Ok(()))]
#[case(json!({"typ": "application/at+jwt"}), Ok(()))]
fn c1_row_9_type(#[case] header: Value, #[case] expected: Result<(), TokenError>) {
    assert_eq!(with_header(header), expected);
}

#[rstest]
#[case(json!({"nonce": "n"}), TokenError::IdToken)]
#[case(json!({"at_hash": "h"}), TokenError::IdToken)]
#[case(json!({"cnf": {"jkt": "x"}}), TokenError::SenderConstrained)]
#[case(json!({"cnf": {}}), TokenError::SenderConstrained)]
#[case(json!({"cnf": false}), TokenError::SenderConstrained)]
fn c1_rows_9_and_21_tokens_for_other_uses(#[case] changes: Value, #[case] error: TokenError) {
    assert_eq!(with_claims(changes), Err(error));
}

#[rstest]
#[case(json!({"crit": ["bork"], "bork": true}))]
#[case(json!({"crit": []}))]
#[case(json!({"crit": ["exp"]}))]
#[case(json!({"b64": false}))]
#[case(json!({"b64": true}))]
#[case(json!({"b64": false, "crit": ["b64"]}))]
fn c1_row_10_critical_extensions(#[case] header: Value) {
    assert_eq!(with_header(header), Err(TokenError::CriticalHeader));
}

#[rstest]
#[case::absent(json!({"exp": null}))]
#[case::text(json!({"exp": (NOW.0 + 60).to_string()}))]
#[case::fraction(json!({"exp": 1_800_000_060.5}))]
#[case::whole_float(json!({"exp": 1_800_000_060.0}))]
#[case::negative(json!({"exp": -1}))]
#[case::huge(json!({"exp": 1e300}))]
#[case::largest(json!({"exp": u64::MAX}))]
#[case::beyond_dates(json!({"exp": 253_402_300_800_u64}))]
#[case::list(json!({"exp": [NOW.0 + 60]}))]
#[case::truth(json!({"exp": true}))]
#[case::no_iat(json!({"iat": null}))]
#[case::iat_text(json!({"iat": "now"}))]
#[case::iat_float(json!({"iat": 1.5}))]
#[case::nbf_text(json!({"nbf": "0"}))]
#[case::nbf_negative(json!({"nbf": -5}))]
#[case::nbf_float(json!({"nbf": 1.0}))]
#[case::ends_before_it_begins(json!({"iat": NOW.0, "exp": NOW.0}))]
fn c1_row_11_dates_are_whole_seconds(#[case] changes: Value) {
    assert_eq!(with_claims(changes), Err(TokenError::Dates));
}

#[rstest]
#[case::last_second(NOW.0 - 3000, NOW.0 - 29, None, Ok(()))]
#[case::expired(NOW.0 - 3000, NOW.0 - 30, None, Err(TokenError::Expired))]
#[case::long_expired(NOW.0 - 9000, NOW.0 - 4000, None, Err(TokenError::Expired))]
#[case::issued_by_a_fast_clock(NOW.0 + 30, NOW.0 + 600, None, Ok(()))]
#[case::issued_in_the_future(NOW.0 + 31, NOW.0 + 600, None, Err(TokenError::NotYetValid))]
#[case::issued_next_year(NOW.0 + 31_536_000, NOW.0 + 31_537_000, None, Err(TokenError::NotYetValid))]
#[case::begins_soon(NOW.0, NOW.0 + 600, Some(NOW.0 + 30), Ok(()))]
#[case::begins_later(NOW.0, NOW.0 + 600, Some(NOW.0 + 31), Err(TokenError::NotYetValid))]
#[case::longest(NOW.0, NOW.0 + 86_430, None, Ok(()))]
#[case::too_long(NOW.0, NOW.0 + 86_431, None, Err(TokenError::LifetimeTooLong))]
#[case::from_the_epoch(0, NOW.0 + 600, None, Err(TokenError::LifetimeTooLong))]
fn c1_row_12_leeway(
    #[case] iat: u64,
    #[case] exp: u64,
    #[case] nbf: Option<u64>,
    #[case] expected: Result<(), TokenError>,
) {
    assert_eq!(with_claims(json!({"iat": iat, "exp": exp, "nbf": nbf})), expected);
}

#[test]
fn c1_row_12_at_the_edges_of_time() {
    let token = altered(json!({}), json!({}));
    let keys = key_set(&[&ES256.jwk]);
    assert_eq!(check(&token, &keys, UnixTime(0)), Err(TokenError::NotYetValid));
    assert_eq!(check(&token, &keys, UnixTime(u64::MAX)), Err(TokenError::Expired));
}

#[test]
fn c1_row_13_every_segment_has_one_spelling() {
    let token = altered(json!({}), json!({}));
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three segments") };
    assert_eq!(outcome(&token), Ok(()));
    // 64 bytes take 86 characters: the last holds two bits, and four that must be zero.
    let last = signature.chars().last().unwrap();
    let stray = char::from(if last == 'Z' { b'a' } else { last as u8 + 1 });
    for bad in [
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{claims}.{signature}"),
        format!("{}{stray}", &token[..token.len() - 1]),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{header}. {claims}.{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{claims}"),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}.{claims}."),
        signature.to_owned(),
        String::new(),
        "..".to_owned(),
        format!("{header}.{claims}.+/{}", &signature[2..]),
        format!("{header}.{claims}.\u{fc}{}", &signature[1..]),
    ] {
        assert_eq!(outcome(&bad), Err(TokenError::Malformed), "{bad:?}");
    }
}

#[rstest]
#[case::duplicate_alg(r#"{"alg":"none","alg":"ES256","kid":"k1","typ":"at+jwt"}"#)]
#[case::duplicate_by_escape(r#"{"alg":"ES256","\u0061lg":"none","kid":"k1","typ":"at+jwt"}"#)]
#[case::array(r#"["ES256"]"#)]
#[case::text(r#""ES256""#)]
#[case::two_documents(r#"{"alg":"ES256"}{}"#)]
#[case::bom("\u{feff}{\"alg\":\"ES256\"}")]
#[case::comment(r#"{"alg":"ES256"/**/}"#)]
#[case::empty_text(" ")]
fn header_json_is_strict(#[case] header: &str) {
    assert_eq!(outcome(&ES256.token(header, &claims().to_string())), Err(TokenError::Malformed));
}

#[rstest]
#[case::duplicate(r#""aud":"https://other.example","#)]
#[case::duplicate_by_escape(r#""\u0061ud":"https://other.example","#)]
#[case::duplicate_inside(r#""x":{"a":1,"a":2},"#)]
#[case::lone_surrogate(r#""x":"\ud800","#)]
fn claims_json_is_strict(#[case] member: &str) {
    let text = claims().to_string().replacen('{', &format!("{{{member}"), 1);
    assert_eq!(outcome(&ES256.token(&ES256.header().to_string(), &text)), Err(TokenError::Malformed));
}

#[test]
fn claims_are_an_object() {
    for text in ["[]", "null", "\"x\"", "", "{", &"[".repeat(3000)] {
        assert_eq!(outcome(&ES256.token(&ES256.header().to_string(), text)), Err(TokenError::Malformed));
    }
}

#[test]
fn c1_row_14_encrypted_and_oversized_tokens() {
    let encrypted = format!("{}.{}.{}.{}.{}", encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#), "a", "b", "c", "d");
    assert_eq!(outcome(&encrypted), Err(TokenError::Malformed));
    assert_eq!(outcome(&"a".repeat(MAX_TOKEN_BYTES + 1)), Err(TokenError::TooLong));
    assert_eq!(outcome(&"a".repeat(MAX_TOKEN_BYTES)), Err(TokenError::Malformed));
}

#[test]
fn c1_row_15_signatures_that_are_none() {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&ORDER[2 * i..2 * i + 2], 16).unwrap()).collect();
    let zero = vec![0_u8; 32];
    let one = [vec![0_u8; 31], vec![1]].concat();
    let token = altered(json!({}), json!({}));
    let (input, _) = token.rsplit_once('.').unwrap();
    let good = ES256.sign(input);
    let der = [&[0x30, 6, 2, 1, 1, 2, 1, 1][..]].concat();
    for signature in [
        [&zero[..], &zero].concat(),
        [&zero[..], &one].concat(),
        [&one[..], &zero].concat(),
        [&one[..], &one].concat(),
        [&order[..], &order].concat(),
        [&order[..], &one].concat(),
        [&one[..], &order].concat(),
        vec![0xff; 64],
        good[..63].to_vec(),
        [&good[..], &[0]].concat(),
        [&[0], &good[..]].concat(),
        [&zero[..16], &good[..32], &zero[..16], &good[32..]].concat(),
        [&good[32..], &good[..32]].concat(),
        der,
        vec![0],
    ] {
        assert_eq!(outcome(&format!("{input}.{}", encode(&signature))), Err(TokenError::BadSignature));
    }
    assert_eq!(outcome(&format!("{input}.{}", encode(&good))), Ok(()));
}

#[test]
fn c1_row_15_the_signature_covers_header_and_claims() {
    let token = altered(json!({}), json!({}));
    let (_, signature) = token.rsplit_once('.').unwrap();
    for (header, changes) in [(json!({}), json!({"scope": "mcp:admin"})), (json!({"x": 1}), json!({}))] {
        let other = altered(header, changes);
        let (input, _) = other.rsplit_once('.').unwrap();
        assert_eq!(outcome(&format!("{input}.{signature}")), Err(TokenError::BadSignature));
    }
}

/// A JWK of ES256's with these members put in; `null` takes one out.
fn jwk(signer: &Signer, changes: &Value) -> Value {
    let mut jwk = signer.jwk.clone();
    for (name, value) in changes.as_object().unwrap() {
        let members = jwk.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    jwk
}

#[rstest]
#[case::encryption(json!({"use": "enc"}))]
#[case::use_number(json!({"use": 1}))]
#[case::signs_only(json!({"key_ops": ["sign"]}))]
#[case::no_operations(json!({"key_ops": []}))]
#[case::operations_text(json!({"key_ops": "verify"}))]
#[case::other_algorithm(json!({"alg": "ES384"}))]
#[case::rsa_algorithm(json!({"alg": "RS256"}))]
#[case::hmac(json!({"alg": "HS256"}))]
#[case::alg_number(json!({"alg": 256}))]
#[case::other_curve(json!({"crv": "P-384"}))]
#[case::bitcoin(json!({"crv": "secp256k1"}))]
#[case::no_curve(json!({"crv": null}))]
#[case::symmetric(json!({"kty": "oct", "k": "AAAA"}))]
#[case::other_kind(json!({"kty": "RSA"}))]
#[case::no_kind(json!({"kty": null}))]
#[case::kid_number(json!({"kid": 1}))]
#[case::kid_too_long(json!({"kid": "k".repeat(257)}))]
#[case::off_the_curve(json!({"x": encode([1; 32]), "y": encode([1; 32])}))]
#[case::infinity(json!({"x": encode([0; 32]), "y": encode([0; 32])}))]
#[case::not_in_the_field(json!({"x": encode([0xff; 32])}))]
#[case::short(json!({"x": encode([1; 31])}))]
#[case::padded(json!({"x": format!("{}=", encode([1; 32]))}))]
#[case::no_y(json!({"y": null}))]
fn c1_row_16_ec_keys_that_are_ignored(#[case] changes: Value) {
    assert!(key_set(&[&jwk(&ES256, &changes)]).is_empty());
}

#[rstest]
#[case::small(json!({"n": encode([&[0xc1; 127][..], &[1]].concat())}))]
#[case::a_bit_too_small(json!({"n": encode([&[0x7f][..], &[0xff; 255]].concat())}))]
#[case::large(json!({"n": encode([0xff; 1025])}))]
#[case::padded_to_size(json!({"n": encode([&[0; 129][..], &[0xff; 127]].concat())}))]
#[case::even(json!({"n": encode([&[0xc1; 255][..], &[2]].concat())}))]
#[case::exponent_one(json!({"e": "AQ"}))]
#[case::exponent_even(json!({"e": "Ag"}))]
#[case::exponent_zero(json!({"e": "AA"}))]
#[case::exponent_padded(json!({"e": "AAEAAQ"}))]
#[case::exponent_huge(json!({"e": encode([0xff; 32])}))]
#[case::no_exponent(json!({"e": null}))]
#[case::no_modulus(json!({"n": null}))]
#[case::empty_modulus(json!({"n": ""}))]
#[case::rs512(json!({"alg": "RS512"}))]
#[case::oaep(json!({"alg": "RSA-OAEP"}))]
fn c1_row_16_rsa_keys_that_are_ignored(#[case] changes: Value) {
    assert!(key_set(&[&jwk(&RS256, &changes)]).is_empty());
}

#[rstest]
#[case(json!({"use": null, "alg": null, "kid": null}))]
#[case(json!({"key_ops": ["verify"], "use": null}))]
#[case(json!({"key_ops": ["sign", "verify"], "d": "AAAA", "x5c": ["MIIB"], "x5t": "x"}))]
fn rfc7517_4_keys_that_are_used(#[case] changes: Value) {
    for (signer, algorithm) in [(&*ES256, Algorithm::ES256), (&*RS256, Algorithm::RS256)] {
        let keys = key_set(&[&jwk(signer, &changes)]);
        assert!(matches!(keys.find(None, algorithm), KeyMatch::Found(_)));
    }
}

#[test]
fn junk_in_a_key_set_does_not_hide_its_good_keys() {
    let junk = [json!(null), json!(1), json!("k"), json!([]), json!({}), json!({"kty": 1})];
    let keys = key_set(&[&junk[0], &junk[1], &junk[2], &junk[3], &junk[4], &junk[5], &ES256.jwk]);
    assert_eq!(keys.len(), 1);
    let many: Vec<Value> = (0..100).map(|i| jwk(&ES256, &json!({"kid": format!("k{i}")}))).collect();
    assert_eq!(KeySet::new(&JsonWebKeySet { keys: many }).len(), MAX_KEYS);
}

#[test]
fn keys_are_found_by_kid_and_algorithm() {
    let second = jwk(&ES256, &json!({"kid": "k2"}));
    let two = key_set(&[&ES256.jwk, &second, &RS256.jwk]);
    assert!(matches!(two.find(Some("k2"), Algorithm::ES256), KeyMatch::Found(_)));
    assert!(matches!(two.find(Some("k3"), Algorithm::ES256), KeyMatch::UnknownKid));
    assert!(matches!(two.find(Some("r1"), Algorithm::ES256), KeyMatch::Unusable));
    assert!(matches!(two.find(None, Algorithm::RS256), KeyMatch::Found(_)));
    assert!(matches!(two.find(None, Algorithm::ES256), KeyMatch::Unusable));
    assert!(matches!(two.find(None, Algorithm::EdDSA), KeyMatch::UnknownKid));
    let repeated = key_set(&[&ES256.jwk, &Signer::new(Algorithm::ES256, "k1").jwk]);
    assert!(matches!(repeated.find(Some("k1"), Algorithm::ES256), KeyMatch::Unusable));
    let nameless = key_set(&[&jwk(&ES256, &json!({"kid": null}))]);
    assert!(matches!(nameless.find(Some("k1"), Algorithm::ES256), KeyMatch::UnknownKid));
}

#[test]
fn c1_row_17_a_token_names_its_issuer_before_it_is_verified() {
    let token = altered(json!({}), json!({"iss": "https://b.example"}));
    let unverified = Unverified::parse(&token).unwrap();
    assert_eq!((unverified.issuer(), unverified.key_id()), ("https://b.example", Some("k1")));
    assert_eq!(outcome(&token), Err(TokenError::WrongIssuer));
}

#[test]
fn rfc6750_3_descriptions_need_no_escaping() {
    for error in [
        TokenError::TooLong,
        TokenError::Malformed,
        TokenError::CriticalHeader,
        TokenError::UnsupportedAlgorithm,
        TokenError::KeyId,
        TokenError::WrongType,
        TokenError::UnknownKey,
        TokenError::BadSignature,
        TokenError::WrongIssuer,
        TokenError::WrongAudience,
        TokenError::IdToken,
        TokenError::SenderConstrained,
        TokenError::Dates,
        TokenError::Expired,
        TokenError::NotYetValid,
        TokenError::LifetimeTooLong,
        TokenError::Subject,
        TokenError::Client,
        TokenError::Scope,
        TokenError::TokenId,
        TokenError::Status,
        TokenError::ForeignStatus,
        TokenError::Revoked,
    ] {
        assert!(error.description().bytes().all(|b| b.is_ascii_alphanumeric() || b == b' '));
        assert!(error.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    }
}
