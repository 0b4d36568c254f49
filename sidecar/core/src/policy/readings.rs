//! What servers may take a URI for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::Url;

/// How often a URI is decoded: more layers than this are nobody's spelling.
const MAX_DECODINGS: usize = 3;

/// `uri` and every other text that a server may read in it: normalised (case of the scheme, `..` segments, blanks),
/// percent-decoded, and the one after the other. `SECRET://x` and `%73ecret` must not pass a rule for `secret://*`.
/// `None` if that has no end, or leads to what is not UTF-8.
pub(super) fn readings(uri: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    add(&mut all, uri);
    let mut next = 0;
    for _ in 0..=MAX_DECODINGS {
        let decoded: Vec<_> = all.iter().skip(next).map(|text| decode(text)).collect::<Option<_>>()?;
        next = all.len();
        for text in &decoded {
            add(&mut all, text);
        }
        if all.len() == next {
            return Some(all);
        }
    }
    None
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// Adds `text` and its normal form, each where it is new.
fn add(all: &mut Vec<String>, text: &str) {
    if all.iter().any(|known| known == text) {
        return;
    }
    all.push(text.to_owned());
    if let Ok(normal) = Url::parse(text).map(String::from)
        && !all.contains(&normal)
    {
        all.push(normal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("a://b/c", &["a://b/c"])]
    #[case::no_uri("note", &["note"])]
    #[case::scheme("A://b", &["A://b", "a://b"])]
    #[case::dots("a://b/x/../c", &["a://b/x/../c", "a://b/c"])]
    #[case::letter("a://%62", &["a://%62", "a://b"])]
    #[case::no_uri_letter("%6eote", &["%6eote", "note"])]
    #[case::twice("a://%2562", &["a://%2562", "a://%62", "a://b"])]
    #[case::three_times("a://%252562", &["a://%252562", "a://%2562", "a://%62", "a://b"])]
    #[case::dots_in_code("a://b/%2e%2e/c", &["a://b/%2e%2e/c", "a://b/c", "a://b/../c"])]
    #[case::slashes_in_code("a://b/x%2f..%2fc", &["a://b/x%2f..%2fc", "a://b/x/../c", "a://b/c"])]
    #[case::scheme_in_code("%41://b", &["%41://b", "A://b", "a://b"])]
    #[case::no_code("a://b/100%", &["a://b/100%"])]
    #[case::no_code_either("a://b/%zz", &["a://b/%zz"])]
    #[case::percent("a://b/100%25", &["a://b/100%25", "a://b/100%"])]
    #[case::space("a://b/c d", &["a://b/c d", "a://b/c%20d"])]
    #[case::other_letters("a://b/%C3%A9", &["a://b/%C3%A9", "a://b/é"])]
    fn every_reading(#[case] uri: &str, #[case] expected: &[&str]) {
        assert_eq!(readings(uri).unwrap(), expected);
    }

    #[rstest]
    #[case::four_times("a://%25252562")]
    #[case::many_times(&format!("a://%{}62", "25".repeat(300)))]
    #[case::not_utf8("a://b/%ff")]
    #[case::not_utf8_behind("a://b/%25ff")]
    #[case::half_a_letter("a://b/%C3")]
    #[case::surrogate("a://b/%ED%A0%80")]
    #[case::overlong("a://b/%C0%AE%C0%AE/c")]
    fn without_an_end(#[case] uri: &str) {
        assert_eq!(readings(uri), None);
    }
}
