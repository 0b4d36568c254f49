use super::*;
use rstest::rstest;

fn with(change: Value) -> Result<Metadata, MetadataError> {
    let mut object = json!({"client_name": "A", "redirect_uris": ["https://a.example/cb"]});
    let Value::Object(change) = change else { panic!("{change}") };
    for (name, value) in change {
        object[&name] = value;
    }
    Metadata::read(&Members::parse(object.to_string().as_bytes()).unwrap())
}

fn ec_key() -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": "1",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
}

#[test]
fn rfc7591_2_defaults() {
    let metadata = with(json!({"unknown": {"a": [1]}, "contacts": ["x"]})).unwrap();
    assert_eq!(metadata.grants, GrantTypes { authorization_code: true, ..GrantTypes::default() });
    assert_eq!((metadata.method, metadata.keys, metadata.scope, metadata.uri), (None, None, None, None));
    assert!(!metadata.wants_client_credentials);
}

#[rstest]
#[case::name_number(json!({"client_name": 1}), MetadataError::Member("client_name"))]
#[case::name_invisible(json!({"client_name": "\u{200b}\n "}), MetadataError::Member("client_name"))]
#[case::name_long(json!({"client_name": "a".repeat(129)}), MetadataError::Member("client_name"))]
#[case::no_uris(json!({"redirect_uris": []}), MetadataError::RedirectUris)]
#[case::uris_text(json!({"redirect_uris": "https://a.example/cb"}), MetadataError::RedirectUris)]
#[case::uris_null(json!({"redirect_uris": null}), MetadataError::RedirectUris)]
#[case::uris_number(json!({"redirect_uris": [1]}), MetadataError::RedirectUris)]
#[case::uris_many(json!({"redirect_uris": vec!["https://a.example/cb"; 33]}), MetadataError::RedirectUris)]
#[case::implicit(json!({"grant_types": ["implicit"]}), MetadataError::Flow)]
#[case::no_grants(json!({"grant_types": []}), MetadataError::Flow)]
#[case::only_refresh(json!({"grant_types": ["refresh_token"]}), MetadataError::Flow)]
#[case::response_token(json!({"response_types": ["token"]}), MetadataError::Flow)]
#[case::grants_text(json!({"grant_types": "authorization_code"}), MetadataError::Member("grant_types"))]
#[case::grants_many(json!({"grant_types": vec!["x"; 33]}), MetadataError::Member("grant_types"))]
#[case::scope_list(json!({"scope": ["a"]}), MetadataError::Member("scope"))]
#[case::scope_spaces(json!({"scope": "a  b"}), MetadataError::Member("scope"))]
#[case::uri_script(json!({"client_uri": "javascript:alert(1)"}), MetadataError::WebPage("client_uri"))]
#[case::uri_data(json!({"client_uri": "data:text/html,x"}), MetadataError::WebPage("client_uri"))]
#[case::uri_quote(json!({"client_uri": "https://a.example/\"><script>"}), MetadataError::WebPage("client_uri"))]
#[case::logo_script(json!({"logo_uri": "javascript:alert(1)"}), MetadataError::WebPage("logo_uri"))]
#[case::policy_file(json!({"policy_uri": "file:///etc/passwd"}), MetadataError::WebPage("policy_uri"))]
#[case::uri_long(json!({"client_uri": format!("https://a/{}", "x".repeat(1024))}), MetadataError::Member("client_uri"))]
#[case::two_keys(json!({"jwks": {"keys": [ec_key()]}, "jwks_uri": "https://a.example/k"}), MetadataError::TwoKeys)]
#[case::keys_http(json!({"jwks_uri": "http://127.0.0.1/k"}), MetadataError::JwksUri(UrlError::NotHttps))]
#[case::keys_number(json!({"jwks_uri": 1}), MetadataError::Member("jwks_uri"))]
#[case::keys_none(json!({"jwks": {"keys": []}}), MetadataError::Jwks)]
#[case::keys_text(json!({"jwks": "x"}), MetadataError::Jwks)]
#[case::kind(json!({"application_type": "<script>"}), MetadataError::ApplicationType)]
#[case::kind_in_capitals(json!({"application_type": "Native"}), MetadataError::ApplicationType)]
#[case::kind_number(json!({"application_type": 1}), MetadataError::Member("application_type"))]
#[case::keys_unusable(json!({"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}}), MetadataError::Jwks)]
#[case::keys_many(json!({"jwks": {"keys": vec![ec_key(); 17]}}), MetadataError::Jwks)]
#[case::keys_symmetric(json!({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}), MetadataError::PrivateKey)]
#[case::keys_private(json!({"jwks": {"keys": [{"kty": "EC", "d": "AA"}]}}), MetadataError::PrivateKey)]
fn rfc7591_2_refused(#[case] change: Value, #[case] error: MetadataError) {
    assert_eq!(with(change), Err(error));
}

#[rstest]
fn rfc7592_2_2_null_and_empty_are_left_out(
    #[values(
        "client_name",
        "client_uri",
        "logo_uri",
        "tos_uri",
        "policy_uri",
        "grant_types",
        "response_types",
        "token_endpoint_auth_method",
        "application_type",
        "scope",
        "jwks",
        "jwks_uri"
    )]
    member: &str,
    #[values(Value::Null, json!(""))] nothing: Value,
) {
    let bare = json!({"redirect_uris": ["https://a.example/cb"]});
    let mut empty = bare.clone();
    empty[member] = nothing;
    let read = |object: &Value| Metadata::read(&Members::parse(object.to_string().as_bytes()).unwrap());
    assert_eq!(read(&empty), read(&bare));
    assert!(read(&bare).is_ok());
}

#[rstest]
#[case("client_secret_jwt")]
#[case("tls_client_auth")]
#[case("self_signed_tls_client_auth")]
#[case("None")]
fn methods_that_are_not_built(#[case] method: &str) {
    assert!(matches!(with(json!({"token_endpoint_auth_method": method})), Err(MetadataError::Method(_))));
}

#[rstest]
#[case("javascript:alert(1)")]
#[case("JavaScript:alert(1)")]
#[case("data:text/html,x")]
#[case("vbscript:x")]
#[case("file:///etc/passwd")]
#[case("blob:https://a.example/1")]
#[case("about:blank")]
#[case("http://a.example/cb")]
#[case("https://a.example/cb#f")]
#[case("https://u@a.example/cb")]
#[case("/cb")]
#[case("")]
fn row_68_redirect_uris(#[case] uri: &str) {
    let error = with(json!({"redirect_uris": ["https://a.example/cb", uri]})).unwrap_err();
    assert!(error.is_redirect_uri(), "{error}");
}

#[rstest]
#[case("{\"client_name\": \"a\", \"client_name\": \"b\"}")]
#[case("{\"a\": 1, \"\\u0061\": 2}")]
#[case("{\"jwks\": {\"keys\": [], \"keys\": []}}")]
#[case("[]")]
#[case("{} {}")]
#[case("")]
#[case("{")]
fn it_is_one_object_with_one_meaning(#[case] text: &str) {
    assert!(matches!(Members::parse(text.as_bytes()), Err(MetadataError::Json(_))));
}

#[rstest]
#[case("Claude Code", "Claude Code")]
#[case("  two\n\tlines\u{a0} ", "two lines")]
#[case("ev\u{202e}il\u{200b}", "evil")]
#[case("\u{1b}[31mred", "[31mred")]
#[case("\u{3164}A\u{115f}p\u{fe0f}p\u{e0100}", "App")]
#[case("A\u{300}\u{301}\u{302}\u{303}", "A\u{300}\u{301}")]
#[case("名前 \u{1f600}", "名前 \u{1f600}")]
#[case("<b>&amp;", "<b>&amp;")]
fn names_are_made_visible(#[case] written: &str, #[case] shown: &str) {
    assert_eq!(with(json!({"client_name": written})).unwrap().name.as_deref(), Some(shown));
}

#[test]
fn what_is_stored_reads_the_same() {
    let all = json!({
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [ec_key()]}, "scope": "a b",
        "client_uri": "https://a.example/", "application_type": "native", "logo_uri": "https://a.example/l.png",
        "redirect_uris": ["http://localhost/callback", "com.example.app:/cb"],
    });
    for change in [all, json!({"jwks_uri": "https://a.example/k?x=1"}), json!({})] {
        let metadata = with(change).unwrap();
        let text = Value::Object(metadata.to_members()).to_string();
        assert_eq!(Metadata::read(&Members::parse(text.as_bytes()).unwrap()).unwrap(), metadata);
    }
}

#[test]
fn a_client_may_not_ask_without_a_person() {
    let metadata = with(json!({"grant_types": ["authorization_code", "client_credentials"]})).unwrap();
    assert!(metadata.wants_client_credentials && !metadata.grants.client_credentials);
}
