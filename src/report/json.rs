//! The report as JSON and YAML.

use super::Report;

/// JSON, two spaces, a line end last.
pub fn json(report: &Report) -> String {
    pretty(report)
}

/// Any value as JSON that is safe on a terminal: serde_json escapes ASCII's control characters, this also those beyond
/// ASCII and the marks that turn text around. They can only stand inside strings, where an escape means the same.
pub fn pretty(value: &impl serde::Serialize) -> String {
    let text = plain(value);
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_ascii() || crate::text::sanitize::harmless(c) {
            out.push(c);
        } else {
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out.push('\n');
    out
}

/// Any value as JSON, as it is. By way of a JSON value: one writer is in the program, not one for each type.
fn plain(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| serde_json::to_string_pretty(&value).ok())
        .unwrap_or_default()
}

/// YAML of the same shape.
pub fn yaml(report: &Report) -> String {
    to_yaml(report)
}

/// Any value as YAML, as it is; by way of a JSON value as well.
pub fn plain_yaml(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| serde_yaml::to_string(&value).ok())
        .unwrap_or_default()
}

/// Any value as YAML that is safe on a terminal. JSON is YAML: where a text holds marks that turn text around, which the YAML
/// writer leaves as they are, the document is JSON with those marks escaped.
pub fn to_yaml(value: &impl serde::Serialize) -> String {
    let mut text = plain_yaml(value);
    if !text
        .chars()
        .all(|c| c == '\n' || crate::text::sanitize::harmless(c))
    {
        return pretty(value);
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
