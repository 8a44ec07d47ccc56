//! Access entries from a file.

use eks_aws_auth::{AccessEntry, MAX_MANIFEST_BYTES};

/// An array of `accessEntry` objects, or what `aws eks describe-access-entry` prints, once or several times after each other.
///
/// # Errors
/// What the file is instead.
pub(crate) fn entries_from(bytes: &[u8]) -> Result<Vec<AccessEntry>, String> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err("the file is larger than 8 MiB".to_owned());
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut entries = Vec::new();
    for document in serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>() {
        let document = document.map_err(|error| format!("not JSON: {error}"))?;
        entries_in(document, &mut entries)?;
    }
    if entries.is_empty() && bytes.trim_ascii().is_empty() {
        return Err("the file is empty; [] is a list of no access entries".to_owned());
    }
    Ok(entries)
}

fn entries_in(value: serde_json::Value, entries: &mut Vec<AccessEntry>) -> Result<(), String> {
    use serde_json::Value;
    const WANTED: &str =
        "an array of the accessEntry objects that `aws eks describe-access-entry` shows is needed";
    match value {
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(_) => entries_in(item, entries)?,
                    Value::String(_) => {
                        return Err(format!(
                            "it lists principals, as ListAccessEntries does, without username and type; {WANTED}"
                        ));
                    }
                    _ => return Err(format!("an entry is not an object; {WANTED}")),
                }
            }
            Ok(())
        }
        Value::Object(mut map) => {
            if let Some(inner) = map.remove("accessEntry").or_else(|| map.remove("accessEntries")) {
                return entries_in(inner, entries);
            }
            if !map.contains_key("principalArn") {
                return Err(format!("an object has no principalArn; {WANTED}"));
            }
            let entry = serde_json::from_value(Value::Object(map))
                .map_err(|error| format!("the access entry {} is unusable: {error}", entries.len() + 1))?;
            entries.push(entry);
            Ok(())
        }
        _ => Err(format!("it is neither an array nor an object; {WANTED}")),
    }
}
