//! JSON and YAML.

use crate::text::sanitize::{begins_logging_command, defused, harmless};

/// Any value as JSON that is safe on a terminal: serde_json escapes ASCII's control characters, this also those beyond
/// ASCII and the marks that turn text around. They can only stand inside strings, where an escape means the same.
pub fn pretty(value: &impl serde::Serialize) -> String {
    let text = plain(value);
    let mut out = String::with_capacity(text.len() + 1);
    for (at, c) in text.char_indices() {
        // A CI system would take these for its own, even within a string.
        let command = c == '#' && begins_logging_command(&text[at..]);
        if !command && (c.is_ascii() || harmless(c)) {
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

/// One line for each of a list's `items`, or one for the whole; safe on a terminal.
pub(crate) fn ndjson(document: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(document).unwrap_or_default();
    let compact = |value: &serde_json::Value| {
        // Line ends stand only between tokens: those of strings are escaped.
        let long = pretty(value);
        long.lines()
            .map(str::trim_start)
            .chain(["\n"])
            .collect::<String>()
    };
    match value.get("items").and_then(serde_json::Value::as_array) {
        Some(items) => items.iter().map(compact).collect(),
        None => compact(&value),
    }
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
    let safe = |line: &str| line.chars().all(harmless) && defused(line) == line;
    if !text.lines().all(safe) {
        return pretty(value);
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
