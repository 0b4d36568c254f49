//! security.md C.1: what is no access token for this server is answered 401, and the server never hears of it.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Bench, ISSUER, JwksServer, Key, PATIENCE, PRM_URL, RESOURCE, config, encode, good_claims, jwks, jwks_limits, now,
    options, tool_call, until, with_oauth,
};

/// Makes a bad token from the issuer's key.
type Forge = fn(&Key) -> String;

fn header(name: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |header| header[name] = value
}

fn hs256(secret: &[u8], kid: &str) -> String {
    let signed =
        format!("{}.{}", encode(&json!({"alg": "HS256", "typ": "at+jwt", "kid": kid})), encode(&good_claims()));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

fn without(claim: &'static str) -> impl FnOnce(&mut Value) {
    move |claims| {
        claims.as_object_mut().unwrap().remove(claim);
    }
}

/// A token that was good until some seconds ago.
fn ended(key: &Key, seconds: u64) -> String {
    key.token(|claims| {
        claims["iat"] = json!(now() - 300);
        claims["exp"] = json!(now() - seconds);
    })
}

fn claim(key: &Key, name: &'static str, value: Value) -> String {
    key.token(move |claims| claims[name] = value)
}

#[rstest]
#[case::r1_none(|k: &Key| k.token_with_header(header("alg", json!("none")), |_| {}))]
#[case::r1_none_unsigned(|k: &Key| {
    format!("{}.{}.", encode(&json!({"alg": "none", "typ": "at+jwt", "kid": k.kid})), encode(&good_claims()))
})]
#[case::r1_case(|k: &Key| k.token_with_header(header("alg", json!("NoNe")), |_| {}))]
#[case::r1_empty(|k: &Key| k.token_with_header(header("alg", json!("")), |_| {}))]
#[case::r2_hmac_with_pem(|k: &Key| hs256(k.public_pem().as_bytes(), &k.kid))]
#[case::r2_hmac_with_jwk(|k: &Key| hs256(k.jwk().to_string().as_bytes(), &k.kid))]
#[case::r2_other_algorithm(|k: &Key| k.token_with_header(header("alg", json!("RS256")), |_| {}))]
#[case::r3_embedded_jwk(|k: &Key| {
    let evil = Key::new(&k.kid);
    let jwk = evil.jwk();
    evil.token_with_header(header("jwk", jwk), |_| {})
})]
#[case::r4_kid_path(|k: &Key| k.token_with_header(header("kid", json!("../../dev/null")), |_| {}))]
#[case::r4_kid_sql(|k: &Key| k.token_with_header(header("kid", json!("' or 1=1 --")), |_| {}))]
#[case::r4_kid_long(|k: &Key| k.token_with_header(header("kid", json!("k".repeat(5000))), |_| {}))]
#[case::r4_kid_number(|k: &Key| k.token_with_header(header("kid", json!(1)), |_| {}))]
#[case::r7_no_aud(|k: &Key| k.token(without("aud")))]
#[case::r7_aud_null(|k: &Key| claim(k, "aud", json!(null)))]
#[case::r7_aud_number(|k: &Key| claim(k, "aud", json!(1)))]
#[case::r7_aud_empty(|k: &Key| claim(k, "aud", json!([])))]
#[case::r7_iss_array(|k: &Key| claim(k, "iss", json!([ISSUER])))]
#[case::r7_no_iss(|k: &Key| k.token(without("iss")))]
#[case::r7_no_sub(|k: &Key| k.token(without("sub")))]
#[case::r7_no_client(|k: &Key| k.token(without("client_id")))]
#[case::r7_no_exp(|k: &Key| k.token(without("exp")))]
#[case::r8_other_audience(|k: &Key| claim(k, "aud", json!("https://other.example/mcp")))]
#[case::r8_longer_audience(|k: &Key| claim(k, "aud", json!(format!("{RESOURCE}/../x"))))]
#[case::r8_prefix_audience(|k: &Key| claim(k, "aud", json!("https://mcp.example.com")))]
#[case::r8_trailing_slash(|k: &Key| claim(k, "aud", json!(format!("{RESOURCE}/"))))]
#[case::r8_case(|k: &Key| claim(k, "aud", json!("https://MCP.example.com/mcp")))]
#[case::r9_id_token(|k: &Key| k.token_with_header(header("typ", json!("JWT")), |_| {}))]
#[case::r9_no_typ(|k: &Key| k.token_with_header(without("typ"), |_| {}))]
#[case::r9_nonce(|k: &Key| claim(k, "nonce", json!("n")))]
#[case::r9_at_hash(|k: &Key| claim(k, "at_hash", json!("n")))]
#[case::r10_crit(|k: &Key| k.token_with_header(header("crit", json!(["bork"])), |_| {}))]
#[case::r10_b64(|k: &Key| k.token_with_header(header("b64", json!(false)), |_| {}))]
#[case::r11_exp_string(|k: &Key| claim(k, "exp", json!((now() + 300).to_string())))]
#[case::r11_exp_float(|k: &Key| claim(k, "exp", serde_json::from_str(&format!("{}.5", now() + 300)).unwrap()))]
#[case::r11_exp_negative(|k: &Key| claim(k, "exp", json!(-1)))]
#[case::r11_exp_huge(|k: &Key| claim(k, "exp", json!(1e300)))]
#[case::r11_nbf_string(|k: &Key| claim(k, "nbf", json!("0")))]
#[case::r12_expired(|k: &Key| ended(k, 31))]
#[case::r12_ended_before_it_began(|k: &Key| claim(k, "exp", json!(now() - 5)))]
#[case::r12_not_yet(|k: &Key| claim(k, "nbf", json!(now() + 60)))]
#[case::r12_from_the_future(|k: &Key| claim(k, "iat", json!(now() + 60)))]
#[case::r13_padding(|k: &Key| format!("{}=", k.token(|_| {})))]
#[case::r13_four_segments(|k: &Key| format!("{}.x", k.token(|_| {})))]
#[case::r13_two_segments(|k: &Key| k.token(|_| {}).rsplit_once('.').unwrap().0.to_owned())]
#[case::r13_low_bits(|k: &Key| {
    // The last character of 64 bytes in base64url carries four unused bits.
    let token = k.token(|_| {});
    let (body, last) = token.split_at(token.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.find(last).unwrap();
    format!("{body}{}", &alphabet[value + 1..value + 2])
})]
#[case::r14_jwe(|k: &Key| format!("{}.a.b", k.token(|_| {})))]
#[case::r14_too_long(|k: &Key| claim(k, "pad", json!("p".repeat(9000))))]
#[case::r15_zero_signature(|k: &Key| {
    let token = k.token(|_| {});
    format!("{}.{}", token.rsplit_once('.').unwrap().0, URL_SAFE_NO_PAD.encode([0; 64]))
})]
#[case::r17_other_key_same_kid(|k: &Key| Key::new(&k.kid).token(|_| {}))]
#[case::r17_other_issuer(|k: &Key| claim(k, "iss", json!("https://other.example")))]
#[case::r21_bound(|k: &Key| claim(k, "cnf", json!({"jkt": "x"})))]
#[case::changed_claims(|k: &Key| {
    let token = k.token(|_| {});
    let parts: Vec<_> = token.split('.').collect();
    let mut claims = good_claims();
    claims["scope"] = json!("mcp:read mcp:write");
    format!("{}.{}.{}", parts[0], encode(&claims), parts[2])
})]
#[case::junk(|_: &Key| "x".to_owned())]
#[case::dots(|_: &Key| "..".to_owned())]
#[tokio::test]
async fn rfc9068_4_refused(#[case] forge: Forge) {
    let bench = Bench::start().await;
    let token = forge(&bench.key);
    for _ in 0..2 {
        let answer = bench.call(&token, &tool_call("read")).await;
        assert_eq!(answer.status, 401);
        let challenge = answer.header("www-authenticate").unwrap();
        let start = format!(
            r#"Bearer error="invalid_token", resource_metadata="{PRM_URL}", scope="mcp:read", error_description=""#
        );
        assert!(challenge.starts_with(&start), "{challenge}");
        assert_eq!(answer.json()["error"], "invalid_token");
    }
    assert_eq!(bench.upstream.recorded(), "");
    // The same call with the good token passes: the refusal was about the token.
    assert_eq!(bench.call(&bench.token(), &tool_call("read")).await.status, 200);
}

#[rstest]
#[case::made_by_a_library(|k: &Key| k.library_token())]
#[case::audience_list(|k: &Key| claim(k, "aud", json!([RESOURCE])))]
#[case::full_media_type(|k: &Key| k.token_with_header(header("typ", json!("application/at+jwt")), |_| {}))]
#[case::within_leeway(|k: &Key| ended(k, 5))]
#[tokio::test]
async fn rfc9068_4_accepted(#[case] forge: Forge) {
    let bench = Bench::start().await;
    let token = forge(&bench.key);
    for _ in 0..3 {
        assert_eq!(bench.call(&token, &tool_call("read")).await.status, 200);
    }
}

#[tokio::test]
async fn r12_a_remembered_token_ends_with_the_leeway_at_the_latest() {
    let bench = Bench::start().await;
    let token = ended(&bench.key, 28);
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 200);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 401);
}

#[tokio::test]
async fn r3_key_material_in_the_header_is_never_fetched() {
    let bench = Bench::start().await;
    let evil = Key::new("k1");
    let canary = JwksServer::start(jwks(&[&evil])).await;
    for member in ["jku", "x5u"] {
        let token = evil.token_with_header(header(member, json!(canary.uri)), |_| {});
        assert_eq!(bench.call(&token, &tool_call("read")).await.status, 401);
    }
    assert_eq!(canary.hits(), 0);
}

/// A sidecar whose issuer publishes its keys at `jwks`, seeded with those of `seeded`.
async fn with_jwks(server: &JwksServer, seeded: &[&Key], interval: Duration) -> Bench {
    let mut options = options();
    options.jwks = jwks_limits(interval);
    let keys = json!({"keys": seeded.iter().map(|key| key.jwk()).collect::<Vec<_>>()});
    Bench::start_with(options, |config| {
        with_oauth(config, |oauth| {
            oauth["issuers"][0]["jwksUri"] = json!(server.uri);
            oauth["issuers"][0]["keys"] = keys;
        })
    })
    .await
}

#[tokio::test]
async fn r5_random_kids_cost_one_fetch_per_interval() {
    let key = Key::new("good");
    let server = JwksServer::start(jwks(&[&key])).await;
    let bench = with_jwks(&server, &[&key], Duration::from_hours(1)).await;
    let claims = encode(&good_claims());
    let signature = URL_SAFE_NO_PAD.encode([1; 64]);
    let calls = (0..10).map(|client| {
        let (claims, signature, bench) = (&claims, &signature, &bench);
        async move {
            let mut connection = bench.connect().await;
            for i in 0..1000 {
                let header = encode(&json!({"alg": "ES256", "typ": "at+jwt", "kid": format!("{client}-{i}")}));
                let token = format!("Bearer {header}.{claims}.{signature}");
                let body = tool_call("read");
                connection.send(crate::harness::request("POST", "/mcp", &[("Authorization", &token)], &body)).await;
                assert_eq!(connection.answer().await.status, 401);
            }
        }
    });
    all(calls).await;
    assert_eq!(server.hits(), 1);
    assert_eq!(bench.call(&key.token(|_| {}), &tool_call("read")).await.status, 200);
}

/// Runs all of `futures` to their end, concurrently.
async fn all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        running.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn r5_a_new_key_is_fetched_when_it_is_first_seen() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let server = JwksServer::start(jwks(&[&old, &new])).await;
    let bench = with_jwks(&server, &[&old], Duration::from_hours(1)).await;
    assert_eq!(bench.call(&old.token(|_| {}), &tool_call("read")).await.status, 200);
    assert_eq!(server.hits(), 0);
    assert_eq!(bench.call(&new.token(|_| {}), &tool_call("read")).await.status, 200);
    assert_eq!(bench.call(&new.token(|_| {}), &tool_call("read")).await.status, 200);
    assert_eq!(server.hits(), 1);
}

#[tokio::test]
async fn r5_a_withdrawn_key_takes_its_remembered_tokens_with_it() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let server = JwksServer::start(jwks(&[&new])).await;
    let bench = with_jwks(&server, &[&old], Duration::ZERO).await;
    let token = old.token(|_| {});
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 200);
    assert_eq!(bench.call(&new.token(|_| {}), &tool_call("read")).await.status, 200);
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 401);
}

#[rstest]
#[case::silent(None)]
#[case::not_json(Some("<html>".to_owned()))]
#[case::not_a_key_set(Some(r#"{"keys":1}"#.to_owned()))]
#[case::too_large(Some(format!(r#"{{"keys":[],"pad":"{}"}}"#, "p".repeat(300_000))))]
#[case::too_many(Some(format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 65].join(","))))]
#[tokio::test]
async fn r6_no_usable_answer_opens_nothing(#[case] answer: Option<String>) {
    let (known, unknown) = (Key::new("known"), Key::new("unknown"));
    let server = JwksServer::start(String::new()).await;
    server.serve(answer);
    let bench = with_jwks(&server, &[&known], Duration::ZERO).await;
    for _ in 0..2 {
        assert_eq!(bench.call(&unknown.token(|_| {}), &tool_call("read")).await.status, 401);
    }
    assert!(server.hits() >= 1);
    assert_eq!(bench.upstream.recorded(), "");
    assert_eq!(bench.call(&known.token(|_| {}), &tool_call("read")).await.status, 200, "seeded keys stay");
}

#[tokio::test]
async fn r6_a_silent_issuer_does_not_bring_back_a_key_it_withdrew() {
    let (kept, withdrawn) = (Key::new("kept"), Key::new("withdrawn"));
    let server = JwksServer::start(jwks(&[&kept])).await;
    let mut options = options();
    options.jwks = jwks_limits(Duration::ZERO);
    options.jwks.refresh_after = Duration::ZERO;
    options.jwks.max_stale = Duration::from_millis(200);
    let keys = json!({"keys": [kept.jwk(), withdrawn.jwk()]});
    let bench = Bench::start_with(options, |config| {
        with_oauth(config, |oauth| {
            oauth["issuers"][0]["jwksUri"] = json!(server.uri);
            oauth["issuers"][0]["keys"] = keys;
        })
    })
    .await;
    let token = withdrawn.token(|_| {});
    let start = std::time::Instant::now();
    while bench.call(&token, &tool_call("read")).await.status == 200 {
        assert!(start.elapsed() < PATIENCE, "the withdrawal should be noticed");
    }
    server.serve(None);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 401);
    assert_eq!(bench.call(&kept.token(|_| {}), &tool_call("read")).await.status, 200);
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 401);
}

#[tokio::test]
async fn r5_a_client_that_hangs_up_does_not_take_the_fetch_with_it() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let server = JwksServer::start(jwks(&[&old, &new])).await;
    let bench = with_jwks(&server, &[&old], Duration::from_hours(1)).await;
    let token = format!("Bearer {}", new.token(|_| {}));
    let mut client = bench.connect().await;
    client.send(crate::harness::request("POST", "/mcp", &[("Authorization", &token)], &tool_call("read"))).await;
    drop(client);
    until(|| server.hits() == 1).await;
    assert_eq!(bench.call(&new.token(|_| {}), &tool_call("read")).await.status, 200);
}

#[tokio::test]
async fn r17_issuers_do_not_lend_each_other_keys() {
    let (a, b) = (Key::new("same"), Key::new("same"));
    let bench = Bench::start().await;
    let mut config = config(bench.upstream.port, &a);
    let oauth = &mut config["enforcement"]["enforce"]["authorization"]["oAuth"];
    let mut other = oauth["issuers"][0].clone();
    other["issuer"] = json!("https://b.example");
    other["keys"] = json!({"keys": [b.jwk()]});
    oauth["issuers"].as_array_mut().unwrap().push(other);
    bench.load(&config);
    let as_b = |claims: &mut Value| claims["iss"] = json!("https://b.example");
    assert_eq!(bench.call(&a.token(|_| {}), &tool_call("read")).await.status, 200);
    assert_eq!(bench.call(&b.token(as_b), &tool_call("read")).await.status, 200);
    assert_eq!(bench.call(&b.token(|_| {}), &tool_call("read")).await.status, 401);
    assert_eq!(bench.call(&a.token(as_b), &tool_call("read")).await.status, 401);
}

#[tokio::test]
async fn remembered_tokens_do_not_outlive_the_trust_they_were_verified_under() {
    let bench = Bench::start().await;
    let token = bench.token();
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 200);
    bench.load(&config(bench.upstream.port, &Key::new("k2")));
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 401);
    bench.load(&config(bench.upstream.port, &bench.key));
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 200);
    bench.load(&with_oauth(config(bench.upstream.port, &bench.key), |oauth| {
        oauth["issuers"][0]["audience"] = json!("https://other.example/");
    }));
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 401);
}

#[tokio::test]
async fn clients_and_rules_are_checked_at_every_call() {
    let bench = Bench::start().await;
    let token = bench.token();
    assert_eq!(bench.call(&token, &tool_call("read")).await.status, 200);
    bench.load(&with_oauth(config(bench.upstream.port, &bench.key), |oauth| {
        oauth["policy"]["allowedClients"] = json!(["mcpc_other"]);
    }));
    let answer = bench.call(&token, &tool_call("read")).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (403, None));
}

#[rstest]
#[case::plain_http_beyond_this_machine("http://as.acme.svc/jwks.json", None)]
#[case::no_certificate("https://as.example/jwks.json", Some(""))]
#[case::broken_certificate(
    "https://as.example/jwks.json",
    Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
)]
#[tokio::test]
async fn keys_are_not_fetched_where_they_could_be_replaced(#[case] uri: &str, #[case] ca_bundle: Option<&str>) {
    let bench = Bench::start().await;
    let config = with_oauth(config(bench.upstream.port, &bench.key), |oauth| {
        oauth["issuers"][0]["jwksUri"] = json!(uri);
        if let Some(pem) = ca_bundle {
            oauth["issuers"][0]["caBundle"] = json!(pem);
        }
    });
    assert!(bench.config.load(config.to_string().as_bytes()).is_err());
}

/// An https JWKS endpoint for `localhost`, and the certificate of the CA that signed its own.
async fn https_jwks(body: String) -> (String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&crate::harness::json_response(&body)).await;
            let _ = stream.shutdown().await;
        }
    });
    (format!("https://localhost:{port}/jwks.json"), ca_pem)
}

#[rstest]
#[case::trusted(true, 200)]
#[case::not_trusted(false, 401)]
#[tokio::test]
async fn keys_are_fetched_from_whom_the_ca_bundle_trusts(#[case] trusted: bool, #[case] status: u16) {
    let fetched = Key::new("fetched");
    let (uri, ca) = https_jwks(jwks(&[&fetched])).await;
    let bench = Bench::start().await;
    bench.load(&with_oauth(config(bench.upstream.port, &bench.key), |oauth| {
        oauth["issuers"][0]["jwksUri"] = json!(uri);
        if trusted {
            oauth["issuers"][0]["caBundle"] = json!(ca);
        }
    }));
    assert_eq!(bench.call(&fetched.token(|_| {}), &tool_call("read")).await.status, status);
}
