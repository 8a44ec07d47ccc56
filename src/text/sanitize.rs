//! Hostile text stays text: what comes from elsewhere cannot move the cursor, change colours or reverse the line.

use std::borrow::Cow;

/// A message longer than this is cut in text output; JSON keeps all of it.
pub const LONGEST: usize = 2000;

/// Whether a character may reach the terminal: no control characters, none that change the direction of text or hide.
pub(crate) fn harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E0FFF}'))
}

/// The text with every harmful character written out (`\u{1b}`), on one line.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => out.push(' '),
            c if harmless(c) => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// The same, and cut where it is longer than anybody reads.
pub fn short_line(text: &str) -> Cow<'_, str> {
    let clean = line(text);
    match clean.char_indices().nth(LONGEST) {
        None => clean,
        Some((at, _)) => Cow::Owned(format!(
            "{}... ({} more characters)",
            &clean[..at],
            clean[at..].chars().count()
        )),
    }
}

/// A text of several lines (a policy document, a diff): its line ends stay, everything else is cleaned.
pub fn lines(text: &str) -> String {
    text.split('\n')
        .map(|one| line(one.trim_end_matches('\r')).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_and_bidirectional_marks_are_written_out() {
        assert_eq!(line("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(line("a\u{202e}b\u{200b}c"), "a\\u{202e}b\\u{200b}c");
        assert_eq!(line("a\nb\tc"), "a b c");
        assert_eq!(line("plain: é 日本 ✓"), "plain: é 日本 ✓");
        assert_eq!(
            short_line(&"x".repeat(10_000)).len(),
            LONGEST + "... (8000 more characters)".len()
        );
    }

    proptest! {
        #[test]
        fn nothing_harmful_gets_through(text in "\\PC*|[\\x00-\\x1f\\x7f-\\x9f\\u{202a}-\\u{202e}\\u{2066}-\\u{2069}a-z]*") {
            prop_assert!(line(&text).chars().all(harmless));
        }
    }
}
