//! Text of others, made fit to be shown.

use std::fmt;

use crate::authserver::text::{is_hidden, without_floods};

/// The longest text shown, in characters.
const MAX_CHARS: usize = 200;

/// A text that somebody else wrote: without control characters and without those that change the direction of what
/// follows or are invisible, and not long. Templates escape it as any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown(String);

impl Shown {
    /// Makes a text fit to be shown. What cannot be shown becomes U+FFFD, so that nobody takes the rest for the whole; combining
    /// marks beyond the second on one character are left out.
    pub(crate) fn of(text: &str) -> Self {
        let mut shown: String = without_floods(text).take(MAX_CHARS).map(visible).collect();
        if text.chars().nth(MAX_CHARS).is_some() {
            shown.push('…');
        }
        Self(shown)
    }

    /// The whole of what tells who somebody is: a host, a scheme or an identifier. Whose it is may stand at its end, and
    /// its length is bounded where it was parsed.
    pub(crate) fn whole(name: &str) -> Self {
        Self(name.chars().map(visible).collect())
    }
}

fn visible(c: char) -> char {
    if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Claude Code", "Claude Code")]
    #[case("Café 東京 👋", "Café 東京 👋")]
    #[case("a\nb\0c\u{7f}", "a\u{fffd}b\u{fffd}c\u{fffd}")]
    #[case::right_to_left_override("a\u{202e}moc.live", "a\u{fffd}moc.live")]
    #[case::isolate("\u{2066}a\u{2069}", "\u{fffd}a\u{fffd}")]
    #[case::zero_width("Clau\u{200b}de", "Clau\u{fffd}de")]
    #[case::tags("a\u{e0041}", "a\u{fffd}")]
    #[case::filler("\u{3164}\u{2800}", "\u{fffd}\u{fffd}")]
    #[case::flood("a\u{301}\u{301}\u{301}\u{301}", "a\u{301}\u{301}")]
    #[case("", "")]
    fn hidden_characters_are_seen(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Shown::of(text).to_string(), shown);
    }

    #[test]
    fn names_are_whole() {
        let host = format!("{}.evil.example", "a.".repeat(1000));
        assert_eq!(Shown::whole(&host).to_string(), host);
        assert_eq!(Shown::whole("a\u{202e}b").to_string(), "a\u{fffd}b");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(Shown::of(&"é".repeat(200)).to_string().chars().count(), 200);
        let cut = Shown::of(&"é".repeat(100_000)).to_string();
        assert_eq!(cut.chars().count(), 201);
        assert!(cut.ends_with('…'));
    }
}
