//! Texts that strangers write and people read.

/// The most combining marks on one character. More of them cover the lines around it.
const MAX_MARKS: usize = 2;

/// Whether a character cannot be seen, or changes how those around it are seen: controls, changes of direction, joiners,
/// fillers, tags and variation selectors.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text without the combining marks that are too many on one character.
pub(super) fn without_floods(text: &str) -> impl Iterator<Item = char> {
    let mut marks = 0;
    text.chars().filter(move |c| {
        marks = if is_mark(*c) { marks + 1 } else { 0 };
        marks <= MAX_MARKS
    })
}

/// Whether there is anything in it to call somebody by.
pub(super) fn is_a_name(text: &str) -> bool {
    text.chars().any(|c| c.is_alphanumeric() && !is_hidden(c) && !is_mark(c))
}

/// Whether a character is put onto the one before it: the blocks of combining marks, and the marks of those scripts in
/// which they are stacked.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{6d6}'..='\u{6dc}' | '\u{e31}' | '\u{e34}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}'
        | '\u{eb1}' | '\u{eb4}'..='\u{ebc}' | '\u{ec8}'..='\u{ece}' | '\u{f71}'..='\u{f84}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{302a}'..='\u{302f}' | '\u{3099}'..='\u{309a}'
        | '\u{a66f}'..='\u{a67d}' | '\u{fe20}'..='\u{fe2f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn what_cannot_be_seen() {
        for hidden in "\0\u{7f}\u{ad}\u{34f}\u{115f}\u{1160}\u{200b}\u{200d}\u{202e}\u{2066}\u{2800}\u{3164}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{e0041}\u{e0100}\u{e01ef}".chars() {
            assert!(is_hidden(hidden), "{hidden:?}");
        }
        for seen in "a Zé東ش한\u{301}😀-_".chars() {
            assert!(!is_hidden(seen), "{seen:?}");
        }
    }

    #[rstest]
    #[case("cafe\u{301}", "cafe\u{301}")]
    #[case("a\u{300}\u{301}\u{302}\u{303}b\u{300}", "a\u{300}\u{301}b\u{300}")]
    #[case("\u{20d0}\u{e47}\u{fe20}", "\u{20d0}\u{e47}")]
    fn marks_do_not_flood(#[case] text: &str, #[case] kept: &str) {
        assert_eq!(without_floods(text).collect::<String>(), kept);
    }

    #[rstest]
    #[case("App", true)]
    #[case("名前", true)]
    #[case("7", true)]
    #[case("", false)]
    #[case("- .", false)]
    #[case("😀", false)]
    #[case("\u{3164}\u{115f}", false)]
    fn names(#[case] text: &str, #[case] name: bool) {
        assert_eq!(is_a_name(text), name);
    }
}
