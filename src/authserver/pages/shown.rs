//! Text of others, made fit to be shown.

use std::fmt;

/// The longest text shown, in characters.
const MAX_CHARS: usize = 200;

/// A text that somebody else wrote: without control characters and without those that change the direction of what
/// follows or are invisible, and not long. Templates escape it as any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown(String);

impl Shown {
    /// Makes a text fit to be shown. What cannot be shown becomes U+FFFD, so that nobody takes the rest for the whole.
    pub(crate) fn of(text: &str) -> Self {
        let visible = |c: char| if is_visible(c) { c } else { char::REPLACEMENT_CHARACTER };
        let mut shown: String = text.chars().take(MAX_CHARS).map(visible).collect();
        if text.chars().nth(MAX_CHARS).is_some() {
            shown.push('…');
        }
        Self(shown)
    }
}

fn is_visible(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !hidden
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
    #[case("", "")]
    fn hidden_characters_are_seen(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Shown::of(text).to_string(), shown);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(Shown::of(&"é".repeat(200)).to_string().chars().count(), 200);
        let cut = Shown::of(&"é".repeat(100_000)).to_string();
        assert_eq!(cut.chars().count(), 201);
        assert!(cut.ends_with('…'));
    }
}
