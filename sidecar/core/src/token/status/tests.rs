use std::sync::LazyLock;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::token::testing::{ISSUER, NOW, Signer, key_set};

const URI: &str = "https://as.example/orgs/acme/api/v1/oauth/status/0";

static ES256: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::ES256, "k1"));

fn expect<T>(check: impl FnOnce(&StatusExpectations<'_>) -> T) -> T {
    let (issuer, list) = (IssuerUrl::parse(ISSUER).unwrap(), ResourceUri::parse(URI).unwrap());
    check(&StatusExpectations { issuer: &issuer, list: &list, algorithms: &[Algorithm::ES256] })
}

fn check(token: &str) -> Result<StatusListToken, StatusError> {
    expect(|expect| StatusListToken::verify(token, &key_set(&[&ES256.jwk]), expect, NOW))
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "statuslist+jwt"})
}

fn claims(bytes: &[u8]) -> Value {
    let list = StatusList::from_bytes(bytes.to_vec()).unwrap();
    let (issuer, uri) = (IssuerUrl::parse(ISSUER).unwrap(), ResourceUri::parse(URI).unwrap());
    serde_json::to_value(StatusListClaims::new(issuer, uri, &list, NOW, 900, 2).unwrap()).unwrap()
}

/// A good token with the member at `pointer` of its claims replaced; `null` takes it out.
fn altered(pointer: &str, value: Value) -> String {
    let mut claims = claims(&[1]);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let members = claims.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    ES256.token(&header().to_string(), &claims.to_string())
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(bytes).unwrap();
    zlib.finish().unwrap()
}

fn lst(compressed: &[u8]) -> Value {
    json!(URL_SAFE_NO_PAD.encode(compressed))
}

/// The example of §4.1: sixteen tokens, of which these are revoked, make the bytes 0xB9 0xA3; and of §4.2, what they are
/// compressed.
#[test]
fn draft_4_example() {
    let list = StatusList::from_bytes(vec![0xb9, 0xa3]).unwrap();
    let revoked: Vec<u64> = (0..16).filter(|index| list.is_revoked(*index)).collect();
    assert_eq!(revoked, [0, 3, 4, 5, 7, 8, 9, 13, 15]);
    assert_eq!(StatusList::decode("eNrbuRgAAhcBXQ").unwrap(), list);
}

#[test]
fn what_is_issued_is_read() {
    let token = ES256.token(&header().to_string(), &claims(&[0b10, 0x80]).to_string());
    let verified = check(&token).unwrap();
    assert_eq!((verified.issued_at, verified.expires_at), (NOW, NOW.plus(900)));
    assert_eq!(verified.signed_by, ES256.jwk);
    assert_eq!((0..17).filter(|index| verified.list.is_revoked(*index)).collect::<Vec<_>>(), [1, 15, 16]);
    assert_eq!(format!("{:?}", verified.list), "StatusList(2 of 16 revoked)");
}

#[test]
fn draft_5_1_claims() {
    let claims = claims(&[0; MAX_LIST_BYTES]);
    let members: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["exp", "iat", "iss", "status_list", "sub", "ttl"]);
    assert_eq!((&claims["sub"], &claims["exp"], &claims["ttl"]), (&json!(URI), &json!(NOW.0 + 900), &json!(2)));
    assert_eq!(claims["status_list"]["bits"], 1);
}

#[test]
fn the_largest_list_fits_however_badly_it_compresses() {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    });
    let bytes: Vec<u8> = noise.take(MAX_LIST_BYTES).collect();
    let token = ES256.token(&header().to_string(), &claims(&bytes).to_string());
    assert!(token.len() < MAX_STATUS_TOKEN_BYTES, "{}", token.len());
    assert_eq!(check(&token).unwrap().list.as_bytes(), bytes);
}

#[rstest]
#[case(0, false)]
#[case(7, true)]
#[case(8, true)]
#[case(u64::from(MAX_STATUS_INDEXES), true)]
#[case(u64::MAX, true)]
fn draft_8_3_what_the_list_says_nothing_of_is_revoked(#[case] index: u64, #[case] revoked: bool) {
    assert_eq!(StatusList::from_bytes(vec![0x80]).unwrap().is_revoked(index), revoked);
}

#[test]
fn two_lists_together_revoke_what_either_does() {
    let list = |bytes: &[u8]| StatusList::from_bytes(bytes.to_vec()).unwrap();
    assert_eq!(list(&[0b01, 0]).or(&list(&[0b10])), list(&[0b11, 0]));
    assert_eq!(list(&[0b10]).or(&list(&[0b01, 0])), list(&[0b11, 0]));
}

#[rstest]
#[case::empty(0)]
#[case::too_many(MAX_LIST_BYTES + 1)]
fn size_is_limited(#[case] bytes: usize) {
    assert_eq!(StatusList::from_bytes(vec![0; bytes]), Err(StatusError::Size));
    assert_eq!(check(&altered("/status_list/lst", lst(&zlib(&vec![0; bytes])))), Err(StatusError::Size));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = zlib(&vec![0; 32 << 20]);
    assert!(bomb.len() < 40_000);
    assert_eq!(check(&altered("/status_list/lst", lst(&bomb))), Err(StatusError::Size));
    // Whoever read on to its end would find that it has none.
    let endless = &bomb[..bomb.len() - 8];
    assert_eq!(check(&altered("/status_list/lst", lst(endless))), Err(StatusError::Size));
}

#[rstest]
#[case::no_type(json!({"alg": "ES256", "kid": "k1"}), TokenError::WrongType.into())]
#[case::access_token(json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}), TokenError::WrongType.into())]
#[case::jwt(json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), TokenError::WrongType.into())]
#[case::none(json!({"alg": "none", "typ": "statuslist+jwt"}), TokenError::UnsupportedAlgorithm.into())]
#[case::not_allowed(json!({"alg": "RS256", "kid": "k1", "typ": "statuslist+jwt"}), TokenError::UnsupportedAlgorithm.into())]
#[case::unknown_key(json!({"alg": "ES256", "kid": "k2", "typ": "statuslist+jwt"}), StatusError::UnknownKey)]
#[case::critical(json!({"alg": "ES256", "kid": "k1", "typ": "statuslist+jwt", "crit": ["x"]}), TokenError::CriticalHeader.into())]
fn headers_that_are_refused(#[case] header: Value, #[case] error: StatusError) {
    assert_eq!(check(&ES256.token(&header.to_string(), &claims(&[1]).to_string())), Err(error));
}

#[test]
fn a_media_type_is_a_type() {
    let header = json!({"alg": "ES256", "kid": "k1", "typ": "application/statuslist+jwt"});
    assert!(check(&ES256.token(&header.to_string(), &claims(&[1]).to_string())).is_ok());
}

#[test]
fn a_stranger_signs_no_list() {
    let stranger = Signer::new(Algorithm::ES256, "k1");
    let forged = stranger.token(&header().to_string(), &claims(&[0]).to_string());
    assert_eq!(check(&forged), Err(TokenError::BadSignature.into()));
}

#[rstest]
#[case::no_iss("/iss", json!(null), TokenError::WrongIssuer.into())]
#[case::iss_other("/iss", json!("https://as.example/orgs/other/api/v1"), TokenError::WrongIssuer.into())]
#[case::no_sub("/sub", json!(null), StatusError::Subject)]
#[case::sub_other("/sub", json!(format!("{URI}1")), StatusError::Subject)]
#[case::sub_list("/sub", json!([URI]), StatusError::Subject)]
#[case::no_iat("/iat", json!(null), TokenError::Dates.into())]
#[case::iat_later("/iat", json!(NOW.0 + 31), TokenError::NotYetValid.into())]
#[case::no_exp("/exp", json!(null), TokenError::Dates.into())]
#[case::exp_text("/exp", json!("1800000900"), TokenError::Dates.into())]
#[case::exp_before_iat("/exp", json!(NOW.0), TokenError::Dates.into())]
#[case::ttl_zero("/ttl", json!(0), StatusError::Encoding)]
#[case::ttl_text("/ttl", json!("2"), StatusError::Encoding)]
#[case::ttl_negative("/ttl", json!(-2), StatusError::Encoding)]
#[case::no_list("/status_list", json!(null), StatusError::Encoding)]
#[case::list_text("/status_list", json!("eNrbuRgAAhcBXQ"), StatusError::Encoding)]
#[case::no_bits("/status_list/bits", json!(null), StatusError::Encoding)]
#[case::two_bits("/status_list/bits", json!(2), StatusError::Encoding)]
#[case::bits_text("/status_list/bits", json!("1"), StatusError::Encoding)]
#[case::no_lst("/status_list/lst", json!(null), StatusError::Encoding)]
#[case::lst_padded("/status_list/lst", json!("eNrbuRgAAhcBXQ=="), StatusError::Encoding)]
#[case::lst_empty("/status_list/lst", json!(""), StatusError::Encoding)]
#[case::lst_not_zlib("/status_list/lst", lst(&[0xb9, 0xa3]), StatusError::Encoding)]
#[case::lst_cut("/status_list/lst", json!("eNrbuRgA"), StatusError::Encoding)]
#[case::lst_wrong_sum("/status_list/lst", json!("eNrbuRgAAhcBXA"), StatusError::Encoding)]
fn draft_8_3_claims_that_are_refused(#[case] pointer: &str, #[case] value: Value, #[case] error: StatusError) {
    assert_eq!(check(&altered(pointer, value)), Err(error));
}

#[test]
fn a_clock_may_be_half_a_minute_behind() {
    assert!(check(&altered("/iat", json!(NOW.0 + 30))).is_ok());
}

#[test]
fn expired_lists_are_refused() {
    let mut claims = claims(&[1]);
    claims["iat"] = json!(NOW.0 - 900);
    claims["exp"] = json!(NOW.0 - 29);
    assert!(check(&ES256.token(&header().to_string(), &claims.to_string())).is_ok());
    claims["exp"] = json!(NOW.0 - 30);
    let token = ES256.token(&header().to_string(), &claims.to_string());
    assert_eq!(check(&token), Err(TokenError::Expired.into()));
}

#[test]
fn nothing_may_follow_the_compressed_bits() {
    let mut compressed = zlib(&[1]);
    compressed.push(0);
    assert_eq!(check(&altered("/status_list/lst", lst(&compressed))), Err(StatusError::Encoding));
}

fn reference(status: &Value) -> Result<Option<StatusReference>, TokenError> {
    StatusReference::of(json!({"status": status}).as_object().unwrap())
}

#[test]
fn draft_6_2_reference() {
    let reference = reference(&json!({"status_list": {"idx": 7, "uri": URI}})).unwrap().unwrap();
    assert_eq!((reference.list.as_str(), reference.index), (URI, 7));
    assert_eq!(StatusReference::of(&Claims::new()), Ok(None));
}

#[rstest]
#[case::null(json!(null))]
#[case::text(json!(URI))]
#[case::empty(json!({}))]
#[case::list(json!([{"idx": 7, "uri": URI}]))]
#[case::other_mechanism(json!({"status_assertion": {}}))]
#[case::two_mechanisms(json!({"status_list": {"idx": 7, "uri": URI}, "status_assertion": {}}))]
#[case::no_index(json!({"status_list": {"uri": URI}}))]
#[case::negative(json!({"status_list": {"idx": -1, "uri": URI}}))]
#[case::fraction(json!({"status_list": {"idx": 1.5, "uri": URI}}))]
#[case::whole_float(json!({"status_list": {"idx": 1.0, "uri": URI}}))]
#[case::index_text(json!({"status_list": {"idx": "7", "uri": URI}}))]
#[case::no_uri(json!({"status_list": {"idx": 7}}))]
#[case::uri_number(json!({"status_list": {"idx": 7, "uri": 7}}))]
#[case::uri_relative(json!({"status_list": {"idx": 7, "uri": "/oauth/status/0"}}))]
#[case::uri_plain(json!({"status_list": {"idx": 7, "uri": "http://as.example/status/0"}}))]
#[case::uri_dots(json!({"status_list": {"idx": 7, "uri": "https://as.example/status/../0"}}))]
fn a_status_that_cannot_be_looked_up_is_refused(#[case] status: Value) {
    assert_eq!(reference(&status), Err(TokenError::Status));
}

#[rstest]
#[case("https://as.example/status/0", Some("0"))]
#[case("https://as.example/status/a-B_9", Some("a-B_9"))]
#[case("https://as.example/status/", None)]
#[case("https://as.example/status/a/b", None)]
#[case("https://as.example/status/a?b", None)]
#[case("https://as.example/status/a.b", None)]
#[case("https://as.example/status/%61", None)]
#[case("https://as.example/status2/0", None)]
#[case("https://as.example.evil.example/status/0", None)]
#[case("https://AS.example/status/0", None)]
fn only_lists_in_the_folder_have_a_name(#[case] uri: &str, #[case] name: Option<&str>) {
    let reference = StatusReference { list: ResourceUri::parse(uri).unwrap(), index: 0 };
    assert_eq!(reference.name_under("https://as.example/status/"), name);
    let long = format!("https://as.example/status/{}", "a".repeat(65));
    let long = StatusReference { list: ResourceUri::parse(&long).unwrap(), index: 0 };
    assert_eq!(long.name_under("https://as.example/status/"), None);
}

proptest! {
    #[test]
    fn every_list_survives(bytes in proptest::collection::vec(any::<u8>(), 1..2000)) {
        let list = StatusList::from_bytes(bytes).unwrap();
        prop_assert_eq!(StatusList::decode(&list.encode().unwrap()).unwrap(), list);
    }

    #[test]
    fn no_text_panics(text: String, bytes: Vec<u8>) {
        let _ = StatusList::decode(&text);
        let _ = StatusList::decode(&URL_SAFE_NO_PAD.encode(&bytes));
        let _ = check(&text);
    }
}
