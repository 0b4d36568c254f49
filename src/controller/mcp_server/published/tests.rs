use std::{convert::Infallible, net::Ipv4Addr};

use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rstest::rstest;
use tokio::net::TcpListener;

use super::*;

fn different() -> Published {
    Published::Different("x".to_owned())
}

fn away() -> Published {
    Published::Unreachable("x".to_owned())
}

#[rstest]
#[case::first_equal(None, 0, Published::Equal, Published::Equal, 0)]
#[case::first_away(None, 0, away(), away(), 1)]
#[case::back(Some(away()), 9, Published::Equal, Published::Equal, 0)]
#[case::briefly_away(Some(Published::Equal), 0, away(), Published::Equal, 1)]
#[case::still_briefly_away(Some(Published::Equal), 2, away(), Published::Equal, 3)]
#[case::away_for_longer(Some(Published::Equal), 3, away(), away(), 4)]
#[case::other_document_at_once(Some(Published::Equal), 0, different(), different(), 1)]
#[case::away_after_another_document(Some(different()), 1, away(), away(), 2)]
fn what_holds_after_an_answer(
    #[case] before: Option<Published>,
    #[case] failures: u32,
    #[case] answer: Published,
    #[case] verdict: Published,
    #[case] counted: u32,
) {
    assert_eq!(judge(before.as_ref(), failures, answer), (verdict, counted));
}

#[rstest]
#[case(0, 300_000)]
#[case(1, 500)]
#[case(2, 1_000)]
#[case(4, 4_000)]
#[case(40, 60_000)]
fn wrong_answers_are_asked_for_again_soon_and_then_slower(#[case] failures: u32, #[case] milliseconds: u64) {
    assert_eq!(pause(failures), Duration::from_millis(milliseconds));
}

async fn server(status: u16, kind: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |_| async move {
                let answer = Response::builder().status(status).header(CONTENT_TYPE, kind);
                Ok::<_, Infallible>(answer.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    format!("http://{address}/prm")
}

#[rstest]
#[case::equal(200, "application/json", r#"{"a":1}"#, Published::Equal)]
#[case::other_bytes(200, "application/json", r#"{"a": 1}"#, Published::Different("another document".to_owned()))]
#[case::other_type(200, "text/plain", r#"{"a":1}"#, Published::Different("the document, but not as application/json".to_owned()))]
#[case::not_yet(404, "application/json", r#"{"a":1}"#, Published::Different("status 404".to_owned()))]
#[tokio::test]
async fn byte_for_byte(
    #[case] status: u16,
    #[case] kind: &'static str,
    #[case] body: &'static str,
    #[case] expected: Published,
) {
    let url = server(status, kind, body).await;
    let publication = Publication { url, ca_bundle: Some(String::new()), document: r#"{"a":1}"#.to_owned() };
    assert_eq!(fetch(&publication).await, expected);
}

#[tokio::test]
async fn an_answer_is_believed_until_another_document_is_wanted() {
    let publications = Publications::default();
    let key = ObjectKey::new("a", "b");
    let url = server(200, "application/json", "1").await;
    let one = Publication { url, ca_bundle: Some(String::new()), document: "1".to_owned() };
    assert_eq!(publications.check(&key, Some(&one)).await.0, Published::Equal);
    // Nobody listens there: were it asked again, it would not be equal.
    publications.lock().get_mut(&key).unwrap().publication.url = "http://127.0.0.1:1/".to_owned();
    let same = Publication { url: "http://127.0.0.1:1/".to_owned(), ..one };
    assert_eq!(publications.check(&key, Some(&same)).await.0, Published::Equal);
    let other = Publication { document: "2".to_owned(), ..same };
    assert!(matches!(publications.check(&key, Some(&other)).await.0, Published::Unreachable(_)));
    assert_eq!(publications.check(&key, None).await.0, Published::Nothing);
}

#[tokio::test]
async fn a_bundle_that_is_no_certificate_is_said() {
    let bundle = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let publication =
        Publication { url: "https://127.0.0.1:1/".to_owned(), ca_bundle: Some(bundle), document: String::new() };
    assert!(matches!(fetch(&publication).await, Published::Unreachable(_)));
}

#[tokio::test]
async fn a_server_that_is_away_is_not_asked_for_each_mcp_server() {
    let publications = Publications::default();
    let url = server(200, "application/json", "1").await;
    let good = Publication { url, ca_bundle: Some(String::new()), document: "1".to_owned() };
    let (before, new) = (ObjectKey::new("a", "before"), ObjectKey::new("a", "new"));
    assert_eq!(publications.check(&before, Some(&good)).await.0, Published::Equal);
    publications.reached(origin(&good.url), &away());
    // It would answer: it is not asked. What was known holds, as a short absence does.
    let (verdict, again) = publications.check(&new, Some(&good)).await;
    assert_eq!(verdict, away());
    assert!(again <= FIRST_PAUSE, "{again:?}");
    publications.lock().get_mut(&before).unwrap().at -= BELIEVED;
    assert_eq!(publications.check(&before, Some(&good)).await.0, Published::Equal);
    assert_eq!(publications.lock()[&before].failures, 0, "nobody asked");
    let elsewhere = Publication { url: "http://127.0.0.1:1/".to_owned(), ..good.clone() };
    assert_ne!(publications.check(&new, Some(&elsewhere)).await.0, away(), "another origin is asked");
    publications.reached(origin(&good.url), &different());
    assert_eq!(publications.check(&new, Some(&good)).await.0, Published::Equal);
}

#[rstest]
#[case("https://a.example/x/y", "https://a.example")]
#[case("https://a.example:8443/x", "https://a.example:8443")]
#[case("https://a.example", "https://a.example")]
#[case("", "")]
fn an_origin_is_scheme_and_authority(#[case] url: &str, #[case] expected: &str) {
    assert_eq!(origin(url), expected);
}
