//! `${NAME}` that envsubst or `clusterctl generate` has not filled in yet, and the marks for values that are not known.
use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

/// Stands in a text for something that is not known here: this, what it is, [`MARK_END`]. Both are private-use characters
/// that YAML takes as part of a plain scalar.
pub const MARK: char = '\u{e0c0}';
pub const MARK_END: char = '\u{e0c1}';
/// What Helm fills in.
pub const HELM: &str = "{";

pub fn mark(what: &str) -> String {
    format!("{MARK}{what}{MARK_END}")
}

/// Why a value is not known, for what a mark holds; none for an evaluator's own reason.
pub fn reason(what: &str) -> Option<String> {
    const FILLS: &str = "a placeholder that envsubst or `clusterctl generate` fills in";
    match what {
        HELM => Some("a value that Helm fills in".into()),
        "?" => Some("a value of Terraform".into()),
        name if name.starts_with('$') => Some(format!("{name}, {FILLS}")),
        masked if masked.bytes().all(|b| b == b'-') => Some(FILLS.into()),
        _ => None,
    }
}

/// Whether a Terraform variable's name is a placeholder's instead.
pub fn is_name(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The placeholders in a text: `${NAME}` in capitals, and `${name:=default}`, which is not Terraform. CAPT itself fills in
/// `${WORKSPACE_NAME}`, and `$${` is Terraform's way to write `${`.
pub fn find(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("${").map(|i| at + i) {
        at = start + 2;
        let rest = &text[at..];
        let name = &rest[..rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len())];
        let after = &rest[name.len()..];
        let default = [":=", ":-", ":+", ":?"].iter().any(|op| after.starts_with(op));
        let escaped = text[..start].ends_with('$');
        if escaped
            || name.is_empty()
            || name == "WORKSPACE_NAME"
            || !(default || after.starts_with('}') && is_name(name))
        {
            continue;
        }
        let Some(end) = closing(rest) else { continue };
        found.push((start..at + end, name));
        at += end;
    }
    found
}

/// The end of a placeholder whose inside begins here, with its brace.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (i, c) in text.char_indices() {
        match c {
            '\n' => return None,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i + 1);
        }
    }
    None
}

/// The text with a mark of the same length for each placeholder that HCL cannot parse, so that every place stays where it was.
/// For those that start at one of `bare` it is a name in capitals, which is one, too.
pub fn masked(text: &str, bare: &BTreeSet<usize>) -> String {
    let mut out = text.to_owned();
    for (range, name) in find(text) {
        if bare.contains(&range.start) {
            let name = name.to_ascii_uppercase();
            out.replace_range(range.clone(), &format!("{name:_<width$}", width = range.len()));
        } else if text[range.start + 2 + name.len()..].starts_with(':') {
            let filler = "-".repeat(range.len() - MARK.len_utf8() - MARK_END.len_utf8());
            out.replace_range(range, &mark(&filler));
        }
    }
    out
}

/// A manifest's JSON with marks for its placeholders.
pub fn marked(json: &mut Value) {
    match json {
        Value::String(text) => {
            for (range, name) in find(&text.clone()).into_iter().rev() {
                text.replace_range(range, &mark(&format!("${{{name}}}")));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(marked),
        Value::Object(map) => map.values_mut().for_each(marked),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_in_capitals_and_defaults() {
        let names = |text| find(text).into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(names("a ${CLUSTER_NAME} ${var.x} ${x}"), ["CLUSTER_NAME"]);
        assert_eq!(names("${V:=${CLUSTER_NAME}-vpc} ${e:-d}"), ["V", "e"]);
        assert!(names("$${ESCAPED} ${WORKSPACE_NAME} ${X ? 1 : 2} ${N:=").is_empty());
    }

    proptest! {
        #[test]
        fn a_mask_has_the_length_of_what_it_hides(text in "([$:={}A-Z_é\n-]|\\$\\{[A-Z]{1,3}:=[a-z]{0,3}\\})*") {
            let bare = find(&text).iter().skip(1).map(|(range, _)| range.start).collect();
            prop_assert_eq!(masked(&text, &bare).len(), text.len());
        }
    }
}
