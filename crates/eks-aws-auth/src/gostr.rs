//! Go's notions of letter case, which decide whether two ARNs or field names are the same.
//!
//! Go maps one character to one character (`unicode.ToLower`, `unicode.SimpleFold`); Rust's methods map to several. The
//! tables of Rust's standard library are newer: letters that got their other case after Unicode 15 (which Go has) have
//! none here.

/// `unicode.ToLower`.
fn lower(c: char) -> char {
    if c == '\u{130}' {
        return 'i';
    }
    if newer_than_go(c) {
        c
    } else {
        single(c.to_lowercase()).unwrap_or(c)
    }
}

fn upper(c: char) -> char {
    if newer_than_go(c) {
        c
    } else {
        single(c.to_uppercase()).unwrap_or(c)
    }
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

/// Letters whose case pairs came with Unicode 16 and 17.
fn newer_than_go(c: char) -> bool {
    matches!(c, '\u{19B}' | '\u{264}' | '\u{1C89}'..='\u{1C8A}' | '\u{A7CB}'..='\u{A7CF}' | '\u{A7D2}'..='\u{A7D5}'
        | '\u{A7DA}'..='\u{A7DC}' | '\u{10D50}'..='\u{10D85}' | '\u{16EA0}'..='\u{16ED3}')
}

/// One character for all that are the same but for case.
fn fold(c: char) -> char {
    // The dotted and the dotless i stand alone in Go's orbits.
    if matches!(c, '\u{130}' | '\u{131}') {
        return c;
    }
    lower(upper(c))
}

/// `strings.ToLower`.
pub(crate) fn to_lower(text: &str) -> String {
    text.chars().map(lower).collect()
}

/// `strings.EqualFold`.
pub(crate) fn equal_fold(a: &str, b: &str) -> bool {
    a.chars().map(fold).eq(b.chars().map(fold))
}

/// A text that is the same for all that are equal but for case.
pub(crate) fn fold_text(text: &str) -> String {
    text.chars().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_folded_as_in_go() {
        for (a, b, same) in [
            ("role/Dev", "role/dEV", true),
            ("role/Dev", "role/De", false),
            ("\u{212A}", "k", true),
            ("\u{17F}", "S", true),
            ("\u{3C2}", "\u{3A3}", true),
            ("\u{DF}", "\u{1E9E}", true),
            ("\u{DF}", "ss", false),
            ("\u{130}", "i", false),
            ("\u{131}", "I", false),
            ("\u{B5}", "\u{3BC}", true),
            ("\u{1C89}", "\u{1C8A}", false),
        ] {
            assert_eq!(equal_fold(a, b), same, "{a:?} {b:?}");
        }
    }

    #[test]
    fn lower_case_maps_one_character_to_one() {
        assert_eq!(
            to_lower("ARN:\u{130}\u{3A3}\u{212A}\u{17F}"),
            "arn:i\u{3C3}k\u{17F}"
        );
    }
}
