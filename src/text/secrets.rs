//! Texts of other programs and libraries, without what looks like a credential in them.

use regex_lite::{Captures, Regex};

const MASK: &str = "(hidden)";

/// The text with every password of a URL, every value of a word like `token=`, every JSON web token, EKS token and AWS secret
/// replaced.
pub fn masked(text: &str) -> String {
    let of = |pattern: &str| Regex::new(pattern).ok();
    let mut text = text.to_owned();
    // user:password@ of a URL.
    if let Some(url) = of(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@]+@") {
        text = url.replace_all(&text, format!("${{1}}{MASK}@")).into_owned();
    }
    if let Some(named) = of(
        r#"(?i)((?:password|passwd|secret|token|api[-_]?key|secret[-_ ]?access[-_ ]?key|authorization)["']?\s*[:=]\s*["']?(?:bearer\s+)?|\bbearer\s+)[^\s"',;]+"#,
    ) {
        text = named.replace_all(&text, format!("${{1}}{MASK}")).into_owned();
    }
    if let Some(token) = of(r"\b(?:eyJ[A-Za-z0-9_=-]{8,}(?:\.[A-Za-z0-9_=-]*)*|k8s-aws-v1\.[A-Za-z0-9_=-]+)")
    {
        text = token.replace_all(&text, MASK).into_owned();
    }
    // What is left of long random words: all three kinds of characters, as no name and no digest has them.
    if let Some(word) = of(r"[A-Za-z0-9+/=_-]{32,}") {
        text = word
            .replace_all(&text, |found: &Captures<'_>| {
                let word = &found[0];
                let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
                let random =
                    has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
                if random { MASK.to_owned() } else { word.to_owned() }
            })
            .into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_and_what_stays() {
        for (text, want) in [
            (
                "proxy http://user:pa%40ss@proxy:3128 refused",
                "proxy http://(hidden)@proxy:3128 refused",
            ),
            ("password=hunter2, user=a", "password=(hidden), user=a"),
            ("{\"token\": \"abc\"}", "{\"token\": \"(hidden)\"}"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer (hidden)"),
            ("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "got (hidden)"),
            ("k8s-aws-v1.aHR0cHM6Ly9zdHM", "(hidden)"),
            ("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "key (hidden)"),
            (
                "arn:aws:iam::111122223333:role/AWSServiceRoleForEC2Spot is not authorized",
                "arn:aws:iam::111122223333:role/AWSServiceRoleForEC2Spot is not authorized",
            ),
            (
                "https://0123456789ABCDEF0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com: refused",
                "https://0123456789ABCDEF0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com: refused",
            ),
            ("the token has expired", "the token has expired"),
        ] {
            assert_eq!(masked(text), want);
        }
    }
}
