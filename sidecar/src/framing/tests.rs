use super::*;
use rstest::rstest;

fn scan(text: &str) -> Result<State, Ambiguous> {
    let mut whole = Scanner::default();
    let result = whole.feed(text.as_bytes()).map(|()| whole.state);
    // The verdict does not depend on how the bytes are cut.
    let mut by_byte = Scanner::default();
    let cut = text.bytes().try_for_each(|byte| by_byte.feed(&[byte])).map(|()| by_byte.state);
    assert_eq!(result, cut);
    result
}

#[rstest]
#[case("GET / HTTP/1.1\r\nHost: a\r\n\r\n")]
#[case("\r\nGET / HTTP/1.1\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab")]
#[case("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nContent-Length:2 \r\n\r\n\n\nPOST / HTTP/1.1\r\ncontent-length: 1\r\n\r\nx")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n")]
#[case("GET / HTTP/1.1\r\nCookie: a#b\r\nTE: trailers\r\n\r\n")]
fn rfc9112_6_one_reading(#[case] text: &str) {
    assert_eq!(scan(text), Ok(State::RequestLine));
}

#[rstest]
#[case("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding:\x0bchunked\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n")]
#[case("GET / HTTP/1.1\nHost: a\r\n\r\n")]
#[case("GET / HTTP/1.1\r\nHost: a\n\r\n")]
#[case("GET / HTTP/1.1\r\nHost: a\r\n\n")]
#[case("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n")]
#[case("GET /mcp#frag HTTP/1.1\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")]
fn rfc9112_6_two_readings(#[case] text: &str) {
    assert_eq!(scan(text), Err(Ambiguous));
}

#[test]
fn a_head_in_progress_is_known() {
    let mut scanner = Scanner::default();
    assert!(!scanner.inside_head());
    scanner.feed(b"PO").unwrap();
    assert!(scanner.inside_head());
    scanner.feed(b"ST / HTTP/1.1\r\nContent-Length: 3\r\n").unwrap();
    assert!(scanner.inside_head());
    scanner.feed(b"\r\n").unwrap();
    assert!(!scanner.inside_head());
    scanner.feed(b"abc").unwrap();
    assert!(!scanner.inside_head());
}

#[test]
fn an_endless_line_is_refused() {
    let mut scanner = Scanner::default();
    let refused = (0..MAX_LINE_BYTES).any(|_| scanner.feed(&[b'a'; 64]).is_err());
    assert!(refused);
}

#[test]
fn a_scanner_is_small_whatever_it_is_fed() {
    // Nothing of it is on the heap.
    assert!(size_of::<Scanner>() <= KEPT_BYTES + 64);
}

#[rstest]
#[case("GET /{x} HTTP/1.1\r\n\r\n", Ok(State::RequestLine))]
#[case("GET /{x}#f HTTP/1.1\r\n\r\n", Err(Ambiguous))]
#[case("GET / HTTP/1.1\r\nCookie: {x}\r\n\r\n", Ok(State::RequestLine))]
#[case("GET / HTTP/1.1\r\nCookie: {x}\n\r\n", Err(Ambiguous))]
#[case("GET / HTTP/1.1\r\n{x}: y\r\n\r\n", Ok(State::RequestLine))]
#[case("GET / HTTP/1.1\r\nContent-Length: 0{s}\r\n\r\n", Err(Ambiguous))]
#[case("GET / HTTP/1.1\r\nContent-Length: 0{s}1\r\n\r\n", Err(Ambiguous))]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding:{s}chunked\r\n\r\n", Err(Ambiguous))]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding: chunked{s}\r\n\r\n", Err(Ambiguous))]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0;{x}\r\n\r\n", Err(Ambiguous))]
#[case("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: {x}\r\n\r\n", Ok(State::RequestLine))]
fn lines_longer_than_what_is_kept(#[case] text: &str, #[case] result: Result<State, Ambiguous>) {
    for length in [KEPT_BYTES, 4 * KEPT_BYTES] {
        let text = text.replace("{x}", &"c".repeat(length)).replace("{s}", &" ".repeat(length));
        assert_eq!(scan(&text), result, "{length}");
    }
}
