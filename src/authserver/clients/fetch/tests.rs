//! The fetcher against a real TLS server on loopback, which special-use rules keep it from unless they are lifted.

use std::{net::IpAddr, sync::atomic::Ordering, time::Instant};

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::authserver::clients::testing::{Answer, LOOPBACK, Names, Origin};

const MAX: usize = 5 * 1024;

fn fetcher(names: &Arc<Names>) -> Fetcher {
    Fetcher { resolver: Arc::clone(names) as Arc<dyn Resolve>, ..Fetcher::default() }
}

fn on_loopback() -> Fetcher {
    fetcher(&Names::new(&[&[LOOPBACK]]))
}

fn url(text: &str) -> HttpsUrl {
    HttpsUrl::parse(text).unwrap()
}

async fn answered(answer: Answer) -> Result<Fetched, FetchError> {
    let origin = Origin::start(answer).await;
    let mut fetcher = on_loopback();
    fetcher.timeout = Duration::from_secs(1);
    fetcher.get(&url(&origin.url("/c.json")), MAX, &origin.reachable()).await
}

#[tokio::test]
async fn it_asks_plainly_and_once() {
    let origin = Origin::start(Answer::json(&json!({"a": 1}))).await;
    let fetched = on_loopback().get(&url(&origin.url("/c.json")), MAX, &origin.reachable()).await.unwrap();
    assert_eq!(&fetched.body[..], b"{\"a\":1}");
    let requests = origin.requests();
    assert_eq!(requests.len(), 1);
    let request = requests[0].to_ascii_lowercase();
    assert!(request.starts_with("get /c.json http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: app.example:{}\r\n", origin.port)), "{request}");
    assert!(request.contains("\r\naccept-encoding: identity\r\n"), "nothing else is read: {request}");
    for header in ["cookie:", "authorization:", "referer:"] {
        assert!(!request.contains(header), "{request}");
    }
}

#[tokio::test]
async fn no_search_domain_answers_for_a_host() {
    let origin = Origin::start(Answer::json(&json!({}))).await;
    let names = Names::new(&[&[LOOPBACK]]);
    let result = fetcher(&names).get(&url(&origin.url("/c.json")), MAX, &origin.reachable()).await;
    assert!(result.is_ok(), "the certificate need not name it with a dot: {result:?}");
    assert_eq!(*names.looked_up.lock().unwrap(), ["app.example."]);
    assert!(!origin.requests()[0].contains("app.example."), "nor is it asked for with one");
}

/// Row 78 of the attacks: 40 hosts and more, as names that resolve there and as addresses.
#[tokio::test]
async fn special_use_addresses_are_never_connected_to() {
    let origin = Origin::start(Answer::json(&json!({}))).await;
    let trusted = ClientDocuments { ca_bundle: origin.ca.clone(), ..ClientDocuments::default() };
    let addresses = [
        "127.0.0.1",
        "127.0.0.2",
        "127.1.2.3",
        "127.255.255.254",
        "0.0.0.0",
        "0.0.0.1",
        "10.0.0.1",
        "10.96.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.17.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.65.2",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::127.0.0.1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ]
    .map(|address| address.parse::<IpAddr>().unwrap());
    assert!(addresses.len() >= 40);
    for address in addresses {
        let named = fetcher(&Names::new(&[&[address]]));
        let result = named.get(&url(&origin.url("/c.json")), MAX, &trusted).await;
        assert_eq!(result.err(), Some(FetchError::SpecialUse), "a name of {address}");
        let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let literal = url(&format!("https://{host}:{}/c.json", origin.port));
        let result = Fetcher::default().get(&literal, MAX, &trusted).await;
        assert_eq!(result.err(), Some(FetchError::SpecialUse), "{address} itself");
    }
    let localhost = url(&format!("https://localhost:{}/c.json", origin.port));
    let result = Fetcher::default().get(&localhost, MAX, &trusted).await;
    assert!(matches!(result, Err(FetchError::SpecialUse | FetchError::Resolve)), "{result:?}");
    assert_eq!(origin.connections(), 0);
}

/// Whoever names a host of the network inside learns nothing about it: there is such a name, or there is none.
#[tokio::test]
async fn names_of_the_network_inside_look_like_no_names() {
    let mut told = Vec::new();
    for (name, answers) in [("there", &[&[LOOPBACK][..]][..]), ("empty", &[&[]]), ("not there", &[])] {
        let settings = ClientDocuments::default();
        let result =
            fetcher(&Names::new(answers)).get(&url("https://app.ns.svc.cluster.local/c"), MAX, &settings).await;
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "its host has no public address", "{name}");
        assert!(error.is_passing(), "{name}: so that they are told alike where they come from a jwks_uri");
        told.push(error.reason());
    }
    assert_eq!(told, ["fetch_special_use", "fetch_resolve", "fetch_resolve"], "the log tells them apart");
}

#[tokio::test]
async fn one_bad_address_spoils_the_name() {
    let origin = Origin::start(Answer::json(&json!({}))).await;
    let public: IpAddr = "8.8.8.8".parse().unwrap();
    for mixed in [[public, LOOPBACK], [LOOPBACK, public]] {
        let names = Names::new(&[&mixed]);
        let settings = ClientDocuments { ca_bundle: origin.ca.clone(), ..ClientDocuments::default() };
        let result = fetcher(&names).get(&url(&origin.url("/c.json")), MAX, &settings).await;
        assert_eq!(result.err(), Some(FetchError::SpecialUse));
    }
    assert_eq!(origin.connections(), 0);
}

/// DNS rebinding: what was checked is what is connected to, whatever the name means a moment later.
#[tokio::test]
async fn the_checked_address_is_pinned() {
    let origin = Origin::start(Answer::json(&json!({}))).await;
    let elsewhere: IpAddr = "127.0.0.77".parse().unwrap();
    let names = Names::new(&[&[elsewhere], &[LOOPBACK]]);
    let only_elsewhere =
        ClientDocuments { allowed_cidrs: vec!["127.0.0.77/32".parse().unwrap()], ..origin.reachable() };
    let result = fetcher(&names).get(&url(&origin.url("/c.json")), MAX, &only_elsewhere).await;
    assert_eq!(result.err(), Some(FetchError::Connect), "nobody listens at the address that was checked");
    assert_eq!((names.asked.load(Ordering::SeqCst), origin.connections()), (1, 0));
    let result = fetcher(&names).get(&url(&origin.url("/c.json")), MAX, &only_elsewhere).await;
    assert_eq!(result.err(), Some(FetchError::SpecialUse), "and now it is checked again");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let origin = Origin::start(Answer::json(&json!({}))).await;
    let names = Names::new(&[&["127.0.0.77".parse().unwrap(), LOOPBACK]]);
    assert!(fetcher(&names).get(&url(&origin.url("/c.json")), MAX, &origin.reachable()).await.is_ok());
}

#[tokio::test]
async fn names_without_an_address() {
    let (none, unknown) = (Names::new(&[&[]]), Names::new(&[]));
    let many = Names::new(&[&["8.8.8.8".parse().unwrap(); 33]]);
    for names in [none, unknown, many] {
        let result = fetcher(&names).get(&url("https://app.example/c"), MAX, &ClientDocuments::default()).await;
        assert_eq!(result.err(), Some(FetchError::Resolve));
    }
}

#[tokio::test]
async fn the_certificate_is_checked() {
    let origin = Origin::start(Answer::json(&json!({}))).await;
    let untrusted = ClientDocuments { ca_bundle: String::new(), ..origin.reachable() };
    let result = on_loopback().get(&url(&origin.url("/c.json")), MAX, &untrusted).await;
    assert_eq!(result.err(), Some(FetchError::Connect));
    let other_name = url(&format!("https://evil.example:{}/c.json", origin.port));
    let result = on_loopback().get(&other_name, MAX, &origin.reachable()).await;
    assert_eq!(result.err(), Some(FetchError::Connect));
    let by_address = url(&format!("https://127.0.0.1:{}/c.json", origin.port));
    assert!(Fetcher::default().get(&by_address, MAX, &origin.reachable()).await.is_ok(), "the certificate names it");
    for bundle in ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n!"] {
        let broken = ClientDocuments { ca_bundle: bundle.to_owned(), ..origin.reachable() };
        let result = on_loopback().get(&url(&origin.url("/c.json")), MAX, &broken).await;
        assert_eq!(result.err(), Some(FetchError::CaBundle));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[rstest]
#[case(301)]
#[case(302)]
#[case(303)]
#[case(307)]
#[case(308)]
#[tokio::test]
async fn redirects_are_not_followed(#[case] status: u16) {
    let target = Origin::start(Answer::json(&json!({}))).await;
    let location = format!("Location: {}\r\nContent-Type: application/json\r\n", target.url("/c.json"));
    assert_eq!(answered(Answer::with(status, &location, b"{}")).await.err(), Some(FetchError::Status(status)));
    assert_eq!(target.connections(), 0);
}

#[rstest]
#[case(201)]
#[case(204)]
#[case(206)]
#[case(304)]
#[case(400)]
#[case(404)]
#[case(500)]
#[tokio::test]
async fn only_200_is_success(#[case] status: u16) {
    let answer = Answer::with(status, "Content-Type: application/json\r\n", b"");
    assert_eq!(answered(answer).await.err(), Some(FetchError::Status(status)));
}

#[rstest]
#[case("application/json", true)]
#[case("Application/JSON; charset=utf-8", true)]
#[case("application/oauth-client+json", true)]
#[case("application/jwk-set+json", true)]
#[case("application/+json", false)]
#[case("text/json", false)]
#[case("text/html", false)]
#[case("application/jsonp", false)]
#[case("application/javascript", false)]
#[case("application/xml+json2", false)]
#[case("application/json\r\nContent-Type: text/html", false)]
#[case("application/json\r\nContent-Encoding: gzip", false)]
#[case("application/json\r\nContent-Encoding: identity", false)]
#[tokio::test]
async fn only_plain_json(#[case] kind: &str, #[case] fine: bool) {
    let result = answered(Answer::with(200, &format!("Content-Type: {kind}\r\n"), b"{}")).await;
    let refused = matches!(result, Err(FetchError::ContentType | FetchError::Encoding));
    assert_eq!((result.is_ok(), refused), (fine, !fine), "{result:?}");
}

#[tokio::test]
async fn no_content_type_is_no_json() {
    assert_eq!(answered(Answer::with(200, "", b"{}")).await.err(), Some(FetchError::ContentType));
}

#[tokio::test]
async fn length_is_bounded() {
    let kind = "Content-Type: application/json\r\n";
    let of = |len: usize| Answer::with(200, kind, &vec![b' '; len]);
    assert_eq!(answered(of(MAX)).await.unwrap().body.len(), MAX);
    assert_eq!(answered(of(MAX + 1)).await.err(), Some(FetchError::TooLarge));
    let chunked = |len: usize| {
        let head = format!("HTTP/1.1 200 OK\r\n{kind}Transfer-Encoding: chunked\r\n\r\n{len:x}\r\n");
        Answer::Bytes([head.as_bytes(), &vec![b' '; len], b"\r\n0\r\n\r\n"].concat())
    };
    assert_eq!(answered(chunked(MAX)).await.unwrap().body.len(), MAX);
    assert_eq!(answered(chunked(MAX + 1)).await.err(), Some(FetchError::TooLarge));
    let head = format!("HTTP/1.1 200 OK\r\n{kind}X: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(answered(Answer::Bytes(head.into_bytes())).await.err(), Some(FetchError::Broken));
}

#[tokio::test]
async fn time_is_bounded() {
    let body = Answer::with(200, "Content-Type: application/json\r\n", &[b' '; 1000]);
    let Answer::Bytes(slow) = body else { unreachable!() };
    for answer in [Answer::Drip(slow), Answer::Silence] {
        let began = Instant::now();
        assert_eq!(answered(answer).await.err(), Some(FetchError::Timeout));
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}

#[rstest]
#[case(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{}")]
#[case(b"garbage\r\n\r\n")]
#[case(b"")]
#[tokio::test]
async fn answers_that_break_off(#[case] bytes: &[u8]) {
    assert_eq!(answered(Answer::Bytes(bytes.to_vec())).await.err(), Some(FetchError::Broken));
}

#[rstest]
#[case("", None)]
#[case("Cache-Control: max-age=600\r\n", Some(600))]
#[case("Cache-Control: public, Max-Age=\"600\"\r\n", Some(600))]
#[case("Cache-Control: max-age=600\r\nCache-Control: max-age=30\r\n", Some(30))]
#[case("Cache-Control: no-store\r\n", Some(0))]
#[case("Cache-Control: max-age=600, no-cache\r\n", Some(0))]
#[case("Cache-Control: max-age=-1\r\n", None)]
#[case("Cache-Control: s-maxage=5\r\n", None)]
#[tokio::test]
async fn rfc9111_5_2_2_max_age(#[case] header: &str, #[case] seconds: Option<u64>) {
    let answer = Answer::with(200, &format!("Content-Type: application/json\r\n{header}"), b"{}");
    assert_eq!(answered(answer).await.unwrap().max_age, seconds.map(Duration::from_secs));
}
