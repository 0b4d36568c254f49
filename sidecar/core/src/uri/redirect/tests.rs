use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn registered(text: &str) -> RedirectUri {
    RedirectUri::parse(text).unwrap()
}

#[rstest]
#[case("https://app.example/cb", RedirectKind::Https, Some("app.example"), "app.example")]
#[case("https://app.example", RedirectKind::Https, Some("app.example"), "app.example")]
#[case("https://app.example:8443/cb?tenant=a&x", RedirectKind::Https, Some("app.example"), "app.example")]
#[case("https://claude.ai/api/mcp/auth_callback", RedirectKind::Https, Some("claude.ai"), "claude.ai")]
#[case(
    "https://xn--exmple-cua.example/",
    RedirectKind::Https,
    Some("xn--exmple-cua.example"),
    "xn--exmple-cua.example"
)]
#[case("https://[2001:db8::1]/cb", RedirectKind::Https, Some("[2001:db8::1]"), "[2001:db8::1]")]
#[case("http://127.0.0.1/cb", RedirectKind::Loopback, Some("127.0.0.1"), "127.0.0.1")]
#[case("http://127.0.0.1:0/cb", RedirectKind::Loopback, Some("127.0.0.1"), "127.0.0.1")]
#[case("http://[::1]:33418/", RedirectKind::Loopback, Some("[::1]"), "[::1]")]
#[case("http://[::1]", RedirectKind::Loopback, Some("[::1]"), "[::1]")]
#[case("http://localhost:6274/oauth/callback/debug", RedirectKind::Loopback, Some("localhost"), "localhost")]
#[case("com.example.app:/oauth2redirect/example-provider", RedirectKind::PrivateUse, None, "com.example.app:")]
#[case("cursor://anysphere.cursor-retrieval/oauth/user-x/callback", RedirectKind::PrivateUse, None, "cursor:")]
#[case("vscode://vscode.github-authentication/did-authenticate", RedirectKind::PrivateUse, None, "vscode:")]
#[case("claude://oauth", RedirectKind::PrivateUse, None, "claude:")]
#[case("vscode-insiders://vscode.github-authentication/", RedirectKind::PrivateUse, None, "vscode-insiders:")]
#[case("windsurf://codeium.windsurf/oauth", RedirectKind::PrivateUse, None, "windsurf:")]
#[case("zed://oauth?tenant=https", RedirectKind::PrivateUse, None, "zed:")]
#[case("com.googleusercontent.apps.1-a:/cb", RedirectKind::PrivateUse, None, "com.googleusercontent.apps.1-a:")]
#[case("com.microsoft.edge:/httpcallback", RedirectKind::PrivateUse, None, "com.microsoft.edge:")]
#[case("app:callback", RedirectKind::PrivateUse, None, "app:")]
#[case("app:///callback", RedirectKind::PrivateUse, None, "app:")]
fn what_real_clients_register(
    #[case] text: &str,
    #[case] kind: RedirectKind,
    #[case] host: Option<&str>,
    #[case] destination: &str,
) {
    let uri = registered(text);
    assert_eq!((uri.as_str(), uri.kind(), uri.host(), &*uri.destination()), (text, kind, host, destination));
    assert!(uri.admits(text));
    assert_eq!(
        RedirectUri::matching(&[registered("https://other.example/"), uri.clone()], text).as_deref(),
        Some(&uri)
    );
    assert_eq!(serde_json::to_string(&uri).unwrap(), format!("{text:?}"));
    assert_eq!(serde_json::from_str::<RedirectUri>(&format!("{text:?}")).unwrap(), uri);
}

#[rstest]
#[case::nothing("", UriError::NotAbsolute)]
#[case::relative("/cb", UriError::NotAbsolute)]
#[case::no_scheme("app.example/cb", UriError::NotAbsolute)]
#[case::scheme_relative("//app.example/cb", UriError::NotAbsolute)]
#[case::no_slashes("https:app.example/cb", UriError::NotAbsolute)]
#[case::one_slash("https:/app.example/cb", UriError::NotAbsolute)]
#[case::three_slashes("https:///app.example/cb", UriError::Host)]
#[case::no_host("https://", UriError::NotAbsolute)]
#[case::bad_port("https://app.example:99999/cb", UriError::NotAbsolute)]
#[case::port_of_letters("https://app.example:a/cb", UriError::NotAbsolute)]
#[case::empty_port("https://app.example:/cb", UriError::Host)]
#[case::scheme_of_digits("1app:/cb", UriError::NotAbsolute)]
#[case::fragment("https://app.example/cb#x", UriError::Fragment)]
#[case::empty_fragment("https://app.example/cb#", UriError::Fragment)]
#[case::fragment_of_an_app("com.example.app:/cb#x", UriError::Fragment)]
#[case::user_info("https://app.example@evil.example/cb", UriError::UserInfo)]
#[case::empty_user_info("https://@app.example/cb", UriError::UserInfo)]
#[case::password("https://a:b@app.example/cb", UriError::UserInfo)]
#[case::loopback_user_info("http://127.0.0.1@evil.example/", UriError::UserInfo)]
#[case::user_info_of_an_app("cursor://a@b/cb", UriError::UserInfo)]
#[case::plain_http("http://app.example/cb", UriError::NotLoopback)]
#[case::localhost_of_evil("http://localhost.evil.example/cb", UriError::NotLoopback)]
#[case::address_of_evil("http://127.0.0.1.evil.example/cb", UriError::NotLoopback)]
#[case::trailing_dot("http://localhost./cb", UriError::NotLoopback)]
#[case::all_interfaces("http://0.0.0.0/cb", UriError::NotLoopback)]
#[case::other_loopback("http://127.0.0.2/cb", UriError::NotLoopback)]
#[case::mapped("http://[::ffff:7f00:1]/cb", UriError::NotLoopback)]
#[case::service("http://a.b.svc/cb", UriError::NotLoopback)]
#[case::capitals("http://LOCALHOST/cb", UriError::NotLoopback)]
#[case::short_address("http://127.1/cb", UriError::Host)]
#[case::decimal_address("http://2130706433/cb", UriError::Host)]
#[case::hexadecimal_address("http://0x7f000001/cb", UriError::Host)]
#[case::octal_address("http://0177.0.0.1/cb", UriError::Host)]
#[case::long_address("http://[0:0:0:0:0:0:0:1]/cb", UriError::Host)]
#[case::encoded_host("http://%6cocalhost/cb", UriError::Host)]
#[case::encoded_slash("https://app.example%2fevil.example/cb", UriError::NotAbsolute)]
#[case::dots("https://app.example/a/../cb", UriError::DotSegment)]
#[case::dot("https://app.example/./cb", UriError::DotSegment)]
#[case::last_dots("https://app.example/cb/..", UriError::DotSegment)]
#[case::encoded_dots("https://app.example/%2e%2E/cb", UriError::DotSegment)]
#[case::half_encoded_dots("https://app.example/.%2e/cb", UriError::DotSegment)]
#[case::dots_of_an_app("com.example.app:/a/../cb", UriError::DotSegment)]
#[case::backslash("https://app.example\\@evil.example/cb", UriError::Unclean)]
#[case::backslash_path("https://app.example/..\\cb", UriError::Unclean)]
#[case::tab("https://app.example/c\tb", UriError::Unclean)]
#[case::tab_in_scheme("java\tscript:alert(1)", UriError::Unclean)]
#[case::line_feed("https://app.example/cb\n", UriError::Unclean)]
#[case::response_splitting("https://app.example/cb\r\nSet-Cookie: a=b", UriError::Unclean)]
#[case::space("https://app.example/c b", UriError::Unclean)]
#[case::leading_space(" https://app.example/cb", UriError::Unclean)]
#[case::nul("https://app.example/\0", UriError::Unclean)]
#[case::not_ascii("https://exämple.example/cb", UriError::Unclean)]
#[case::full_width("https://app。example/cb", UriError::Unclean)]
#[case::quote("https://app.example/\"onclick=", UriError::Unclean)]
#[case::angle("https://app.example/<script>", UriError::Unclean)]
#[case::wildcard_host("https://*.app.example/cb", UriError::Host)]
#[case::wildcard_alone("https://*/cb", UriError::Host)]
#[case::code("https://app.example/cb?code=x", UriError::ResponseParameter)]
#[case::encoded_state("https://app.example/cb?a=b&%73tate=x", UriError::ResponseParameter)]
#[case::issuer("http://127.0.0.1/cb?iss", UriError::ResponseParameter)]
fn c4_row_67_registration(#[case] text: &str, #[case] error: UriError) {
    assert_eq!(RedirectUri::parse(text), Err(error));
}

#[rstest]
fn c4_row_68_schemes(
    #[values(
        "javascript",
        "JavaScript",
        "data",
        "vbscript",
        "VBScript",
        "file",
        "blob",
        "about",
        "ftp",
        "ws",
        "wss",
        "mailto",
        "tel",
        "view-source",
        "filesystem",
        "intent",
        "content",
        "chrome",
        "chrome-extension",
        "moz-extension",
        "ms-msdt",
        "search-ms",
        "ssh",
        "ldap",
        "urn",
        "sms"
    )]
    scheme: &str,
    #[values("alert(1)", "//app.example/cb", "/cb", "//%0aalert(1)", "text/html,<script>")] rest: &str,
) {
    let text = format!("{scheme}:{rest}");
    assert!(RedirectUri::parse(&text).is_err(), "{text}");
    assert!(serde_json::from_value::<RedirectUri>(text.into()).is_err());
}

/// What a browser or the system would take for an address to open, or for an order.
#[rstest]
#[case("microsoft-edge:https://evil.example/cb")]
#[case("Microsoft-Edge:evil.example")]
#[case("microsoft-edge-holographic://evil.example/cb")]
#[case("googlechrome://evil.example/cb")]
#[case("googlechromes://evil.example/cb")]
#[case("googlechrome-x-callback://x-callback-url/open/?url=https://evil.example/")]
#[case("x-safari-https://evil.example/cb")]
#[case("x-safari-http://evil.example/cb")]
#[case("firefox://open-url?url=https://evil.example/cb")]
#[case("firefox-focus://open-url?url=https://evil.example/cb")]
#[case("opera-https://evil.example/cb")]
#[case("touch-https://evil.example/cb")]
#[case("feed:https://evil.example/cb")]
#[case("feed://evil.example/cb")]
#[case("webcal://evil.example/cb")]
#[case("web+app://evil.example/cb")]
#[case("ext+app:cb")]
#[case("itms-services://?action=download-manifest&url=https://evil.example/cb")]
#[case("itms-apps://evil.example/cb")]
#[case("x-man-page://ls")]
#[case("x-apple.systempreferences:cb")]
#[case("ms-settings:cb")]
#[case("ms-word:ofe")]
#[case("applescript://com.apple.scripteditor")]
#[case("some.new.browser:https://evil.example/cb")]
#[case("some.new.browser:HTTP://evil.example/cb")]
#[case("some.new.browser://https://evil.example/cb")]
fn rfc8252_7_1_a_door_to_a_website_or_a_program_is_no_scheme_of_an_app(#[case] text: &str) {
    assert!(RedirectUri::parse(text).is_err(), "{text}");
}

#[rstest]
#[case::no_path("https:")]
#[case::nothing_after_the_scheme("cursor:")]
fn a_scheme_alone_is_nothing(#[case] text: &str) {
    assert!(RedirectUri::parse(text).is_err());
}

#[rstest]
#[case::prefix("https://app.example/c")]
#[case::longer("https://app.example/cbx")]
#[case::below("https://app.example/cb/x")]
#[case::trailing_slash("https://app.example/cb/")]
#[case::query("https://app.example/cb?x=1")]
#[case::empty_query("https://app.example/cb?")]
#[case::fragment("https://app.example/cb#x")]
#[case::path_case("https://app.example/CB")]
#[case::host_case("https://App.example/cb")]
#[case::scheme_case("HTTPS://app.example/cb")]
#[case::encoded("https://app.example/%63b")]
#[case::default_port("https://app.example:443/cb")]
#[case::port("https://app.example:8443/cb")]
#[case::trailing_dot("https://app.example./cb")]
#[case::subdomain("https://x.app.example/cb")]
#[case::suffix("https://app.example.evil.example/cb")]
#[case::prefix_host("https://evilapp.example/cb")]
#[case::user_info("https://app.example@evil.example/cb")]
#[case::user_info_before("https://evil.example@app.example/cb")]
#[case::dots("https://app.example/x/../cb")]
#[case::encoded_dots("https://app.example/x/%2e%2e/cb")]
#[case::dot("https://app.example/./cb")]
#[case::two_slashes("https://app.example//cb")]
#[case::backslash("https://app.example\\cb")]
#[case::backslash_host("https://app.example\\.evil.example/cb")]
#[case::tab("https://app.example/\tcb")]
#[case::line_feed("https://app.example/cb\n")]
#[case::space(" https://app.example/cb")]
#[case::nul("https://app.example/cb\0")]
#[case::plain("http://app.example/cb")]
#[case::homograph("https://аpp.example/cb")]
#[case::full_width_dot("https://app．example/cb")]
#[case::relative("//app.example/cb")]
#[case::path_alone("/cb")]
#[case::empty("")]
#[case::script("javascript:https://app.example/cb")]
fn c4_row_67_requests_are_compared_byte_for_byte(#[case] requested: &str) {
    let uri = registered("https://app.example/cb");
    assert!(!uri.admits(requested));
    assert_eq!(RedirectUri::matching(&[uri], requested), None);
}

#[rstest]
#[case("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", true)]
#[case("http://127.0.0.1:0/cb", "http://127.0.0.1:51004/cb", true)]
#[case("http://127.0.0.1:3000/cb", "http://127.0.0.1:51004/cb", true)]
#[case("http://127.0.0.1:3000/cb", "http://127.0.0.1/cb", true)]
#[case("http://127.0.0.1/cb?a=b", "http://127.0.0.1:1/cb?a=b", true)]
#[case("http://[::1]/cb", "http://[::1]:51004/cb", true)]
#[case("http://[::1]:1", "http://[::1]:2", true)]
#[case("http://localhost/callback", "http://localhost:3118/callback", true)]
#[case::path("http://127.0.0.1/cb", "http://127.0.0.1:51004/cbx", false)]
#[case::no_path("http://127.0.0.1/cb", "http://127.0.0.1:51004", false)]
#[case::slash("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb/", false)]
#[case::query("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb?x", false)]
#[case::other_query("http://127.0.0.1/cb?a=b", "http://127.0.0.1:1/cb?a=c", false)]
#[case::fragment("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb#x", false)]
#[case::name_for_address("http://localhost/cb", "http://127.0.0.1:51004/cb", false)]
#[case::address_for_name("http://127.0.0.1/cb", "http://localhost:51004/cb", false)]
#[case::other_family("http://127.0.0.1/cb", "http://[::1]:51004/cb", false)]
#[case::other_scheme("http://127.0.0.1/cb", "https://127.0.0.1:51004/cb", false)]
#[case::https_has_one_port("https://127.0.0.1/cb", "https://127.0.0.1:51004/cb", false)]
#[case::evil("http://localhost/cb", "http://localhost.evil.example:1/cb", false)]
#[case::evil_in_port("http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb", false)]
#[case::evil_user("http://127.0.0.1/cb", "http://127.0.0.1@evil.example/cb", false)]
#[case::empty_port("http://127.0.0.1/cb", "http://127.0.0.1:/cb", false)]
#[case::large_port("http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", false)]
#[case::trailing_dot("http://localhost/cb", "http://localhost.:1/cb", false)]
#[case::host_case("http://localhost/cb", "http://LocalHost:1/cb", false)]
#[case::short_address("http://127.0.0.1/cb", "http://127.1:1/cb", false)]
#[case::private_use_has_no_port("cursor://host/cb", "cursor://host:1/cb", false)]
fn rfc8252_7_3_loopback_ports(#[case] registered_as: &str, #[case] requested: &str, #[case] admitted: bool) {
    let uri = registered(registered_as);
    assert_eq!(uri.admits(requested), admitted);
    if let Ok(other) = RedirectUri::parse(requested) {
        assert_eq!(other.without_loopback_port() == uri.without_loopback_port(), admitted);
    }
    let matched = RedirectUri::matching(&[uri], requested);
    assert_eq!(matched.as_ref().map(|matched| matched.as_str()), admitted.then_some(requested));
}

#[test]
fn length_is_limited() {
    let longest = format!("https://app.example/{}", "a".repeat(MAX_URL_BYTES - "https://app.example/".len()));
    assert_eq!(registered(&longest).as_str().len(), MAX_URL_BYTES);
    assert_eq!(RedirectUri::parse(&format!("{longest}a")), Err(UriError::TooLong));
}

#[test]
fn nothing_matches_nothing() {
    assert_eq!(RedirectUri::matching(&[], "https://app.example/cb"), None);
}

#[rstest]
#[case("https://app.example/cb", "https://app.example/cb?code=a&state=b+c%26d")]
#[case("https://app.example", "https://app.example?code=a&state=b+c%26d")]
#[case("https://app.example/cb?", "https://app.example/cb?code=a&state=b+c%26d")]
#[case("https://app.example/cb?x=1", "https://app.example/cb?x=1&code=a&state=b+c%26d")]
#[case("https://app.example/cb?x=1&", "https://app.example/cb?x=1&code=a&state=b+c%26d")]
#[case("cursor://host/cb", "cursor://host/cb?code=a&state=b+c%26d")]
#[case("com.example.app:/cb?x", "com.example.app:/cb?x&code=a&state=b+c%26d")]
fn rfc6749_4_1_2_parameters_are_added_to_the_query(#[case] text: &str, #[case] expected: &str) {
    let matched = RedirectUri::matching(&[registered(text)], text).unwrap();
    assert_eq!(matched.with_parameters(&[("code", "a"), ("state", "b c&d")]), expected);
    assert_eq!(matched.with_parameters(&[]), text);
}

proptest! {
    #[test]
    fn parameters_arrive_as_sent(name in "[a-z_]{1,8}", value: String) {
        let matched = RedirectUri::matching(&[registered("https://app.example/cb?x=1")], "https://app.example/cb?x=1");
        let url = Url::parse(&matched.unwrap().with_parameters(&[(&name, &value)])).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        prop_assert_eq!(pairs, [("x".to_owned(), "1".to_owned()), (name, value)]);
        prop_assert_eq!((url.host_str(), url.path(), url.fragment()), (Some("app.example"), "/cb", None));
    }

    #[test]
    fn only_itself_is_admitted(requested in "https://app\\.example[:/?a-z0-9.%]{0,12}") {
        prop_assert_eq!(registered("https://app.example/cb").admits(&requested), requested == "https://app.example/cb");
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = RedirectUri::parse(&text);
    }
}
