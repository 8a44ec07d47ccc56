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
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{FFFE}' | '\u{FFFF}'
            | '\u{E0000}'..='\u{E0FFF}'))
}

/// The text with every harmful character written out (`\u{1b}`), on one line, and nothing in it that a CI system would take
/// for a command in its log.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(harmless) {
        return defused(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => out.push(' '),
            c if harmless(c) => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(defused(&out).into_owned())
}

/// The text with the beginnings of commands in CI logs written out: `##[` and `##vso[` anywhere in a line (GitHub Actions,
/// Azure Pipelines), `::error::` where a line may begin (GitHub Actions), which after wrapping is at any word.
pub fn defused(text: &str) -> Cow<'_, str> {
    if !text.contains("##") && !text.contains("::") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut begins_word = true;
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        let command = match c {
            '#' => begins_logging_command(rest),
            ':' => {
                let mut next = rest.strip_prefix("::").unwrap_or_default().chars();
                begins_word && next.next().is_some_and(|c| c.is_ascii_alphabetic())
            }
            _ => false,
        };
        if command {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        begins_word = c.is_whitespace();
    }
    Cow::Owned(out)
}

/// Whether a text begins with `##[` or `##vso[`.
pub(crate) fn begins_logging_command(text: &str) -> bool {
    text.starts_with("##[")
        || text
            .get(..6)
            .is_some_and(|head| head.eq_ignore_ascii_case("##vso["))
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

    #[test]
    fn commands_of_ci_logs_are_written_out() {
        for (text, want) in [
            ("::error::owned", "\\u{3a}:error::owned"),
            ("a ::set-output name=x::y", "a \\u{3a}:set-output name=x::y"),
            ("a\n::warning::b", "a \\u{3a}:warning::b"),
            ("a\u{a0}::stop-commands::b", "a\u{a0}\\u{3a}:stop-commands::b"),
            ("x##[command]rm", "x\\u{23}#[command]rm"),
            ("x##VSO[task.setvariable]y", "x\\u{23}#VSO[task.setvariable]y"),
            ("###vso[a]", "#\\u{23}#vso[a]"),
            (
                "arn:aws:iam::111122223333:role/x ::1 [::1] a::b",
                "arn:aws:iam::111122223333:role/x ::1 [::1] a::b",
            ),
        ] {
            assert_eq!(line(text), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_command_gets_through(text in "(::| |\n|\u{a0}|#|\\[|vso|error|a){0,12}") {
            let line = line(&text);
            prop_assert!(!line.contains("##[") && !line.contains("##vso["));
            prop_assert!(!line.split(char::is_whitespace).any(|word| word.starts_with("::error") || word.starts_with("::a")));
        }

        #[test]
        fn nothing_harmful_gets_through(text in "\\PC*|[\\x00-\\x1f\\x7f-\\x9f\\u{202a}-\\u{202e}\\u{2066}-\\u{2069}a-z]*") {
            prop_assert!(line(&text).chars().all(harmless));
        }
    }
}
