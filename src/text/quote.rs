//! Words for commands that people paste into a shell.

/// Quotes a word so that a POSIX shell takes it as one, and as nothing else.
///
/// Names come from elsewhere: a cluster called `$(reboot)` must stay text. A word with a NUL, which no shell takes,
/// loses it.
pub fn quote(word: &str) -> String {
    let without_nul: String;
    let word = if word.contains('\0') {
        without_nul = word.replace('\0', "");
        &without_nul
    } else {
        word
    };
    // A flag with its value reads better bare, and no shell has a meaning for these.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+%".contains(c);
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(plain) {
        return word.to_owned();
    }
    shlex::try_quote(word).map_or_else(|_| "''".to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quoted_word_is_that_word(word in "[^\0]{1,40}") {
            prop_assert_eq!(shlex::split(&quote(&word)), Some(vec![word]));
        }
    }
}
