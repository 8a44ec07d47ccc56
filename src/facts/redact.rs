//! Masking saved facts so that they can go into a public issue and are still judged the same.
//!
//! Works on the text, so that a value inside a message or inside aws-auth is masked as well. The same value always gets the
//! same stand-in: whatever was equal stays equal, which is all that judging looks at. A leading zero stays one, because YAML
//! reads `0123...` otherwise.

use std::collections::BTreeMap;

use regex_lite::Regex;

/// Masks account ids, unique ids of principals and keys, the hashes in EKS endpoints and OIDC issuers, and e-mail addresses.
///
/// # Errors
/// Never in practice: the patterns are fixed and tested.
pub fn redact(text: &str) -> Result<String, regex_lite::Error> {
    let words = Regex::new(r"%[0-9A-Fa-f]{2}|[0-9A-Za-z]+")?;
    let unique_ids = Regex::new(r"\b(AROA|AIDA|AKIA|ASIA|ANPA|AIPA)[A-Z0-9]{8,}\b")?;
    let hashes = Regex::new(r"\b[0-9A-Fa-f]{32}\b")?;
    let mail = Regex::new(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")?;
    let text = mask(text, &mail, |n, _| Some(format!("person{n}@example.com")));
    let text = mask(&text, &unique_ids, |n, old| Some(format!("{}{n:017}", &old[..4])));
    let text = mask(&text, &hashes, |n, old| {
        let lower = old.bytes().any(|b| b.is_ascii_lowercase());
        Some(if lower {
            format!("{n:032x}")
        } else {
            format!("{n:032X}")
        })
    });
    Ok(mask(&text, &words, |n, old| {
        let account = old.len() == 12 && old.bytes().all(|b| b.is_ascii_digit());
        account.then(|| {
            if old.starts_with('0') {
                format!("0{n:011}")
            } else {
                format!("9{n:011}")
            }
        })
    }))
}

/// Replaces what `pattern` finds by what `name` calls it; where that is nothing, it stays.
fn mask(text: &str, pattern: &Regex, name: impl Fn(usize, &str) -> Option<String>) -> String {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let replaced = pattern.replace_all(text, |found: &regex_lite::Captures<'_>| {
        let old = &found[0];
        if let Some(known) = seen.get(old) {
            return known.clone();
        }
        match name(seen.len() + 1, old) {
            Some(new) => {
                seen.insert(old.to_owned(), new.clone());
                new
            }
            None => old.to_owned(),
        }
    });
    replaced.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stays_equal_and_nothing_else_changes() {
        let text = "arn:aws:iam::111122223333:role/x 111122223333,444455556666 012345678901 sha256abc111122223333 20261121103000";
        assert_eq!(
            redact(text).expect("the patterns"),
            "arn:aws:iam::900000000001:role/x 900000000001,900000000002 000000000003 sha256abc111122223333 20261121103000"
        );
        assert_eq!(
            redact("AROAEXAMPLEEXAMPLE:a.b@corp.example https://0123456789ABCDEF0123456789ABCDEF.gr7.x")
                .expect("the patterns"),
            "AROA00000000000000001:person1@example.com https://00000000000000000000000000000001.gr7.x"
        );
    }

    #[test]
    fn a_url_encoded_trust_policy_is_masked_too() {
        let text = "arn%3Aaws%3Aiam%3A%3A111122223333%3Aroot and %22111122223333%22";
        let masked = redact(text).expect("the patterns");
        assert_eq!(
            masked,
            "arn%3Aaws%3Aiam%3A%3A900000000001%3Aroot and %22900000000001%22"
        );
    }
}
