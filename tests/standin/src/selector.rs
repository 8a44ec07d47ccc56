//! Label and field selectors, as the API server reads them.

use serde_json::Value;

/// A label selector: all terms must hold.
pub(crate) struct Labels(Vec<Term>);

enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Labels {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        split(text)
            .into_iter()
            .map(|term| label_term(term.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &String| object.get("metadata")?.get("labels")?.get(key)?.as_str();
        self.0.iter().all(|term| match term {
            Term::In(key, values) => {
                label(key).is_some_and(|value| values.iter().any(|wanted| wanted == value))
            }
            Term::NotIn(key, values) => {
                label(key).is_none_or(|value| values.iter().all(|wanted| wanted != value))
            }
            Term::Exists(key) => label(key).is_some(),
            Term::Absent(key) => label(key).is_none(),
        })
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out.retain(|term| !term.trim().is_empty());
    out
}

fn label_term(term: &str) -> Result<Term, String> {
    if let Some((head, tail)) = term.split_once('(') {
        let values = tail
            .trim_end()
            .strip_suffix(')')
            .ok_or_else(|| unparsable(term))?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => Ok(Term::In((*key).to_owned(), values)),
            [key, "notin"] => Ok(Term::NotIn((*key).to_owned(), values)),
            _ => Err(unparsable(term)),
        };
    }
    let pair = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    if let Some((key, value)) = term.split_once("!=") {
        let (key, values) = pair(key, value);
        return Ok(Term::NotIn(key, values));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        let (key, values) = pair(key, value);
        return Ok(Term::In(key, values));
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(Term::Absent(key.trim().to_owned())),
        None if term.contains(char::is_whitespace) => Err(unparsable(term)),
        None => Ok(Term::Exists(term.to_owned())),
    }
}

fn unparsable(term: &str) -> String {
    format!("unable to parse requirement: {term}")
}

/// A field selector: path, whether it must be equal, value.
pub(crate) struct Fields(Vec<(String, bool, String)>);

impl Fields {
    /// Refuses fields that the server does not index for this kind.
    pub(crate) fn parse(text: &str, plural: &str) -> Result<Self, String> {
        let mut out = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (path, equal, value) = if let Some((path, value)) = term.split_once("!=") {
                (path, false, value)
            } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (path, true, value)
            } else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            let known = match path {
                "metadata.name" | "metadata.namespace" => true,
                "reason" | "type" | "source" | "reportingComponent" => plural == "events",
                _ if path.starts_with("involvedObject.") => plural == "events",
                "status.phase" => matches!(plural, "pods" | "namespaces"),
                "spec.nodeName" | "spec.serviceAccountName" => plural == "pods",
                _ => false,
            };
            if !known {
                return Err(format!("field label not supported: {path}"));
            }
            out.push((path.to_owned(), equal, value.to_owned()));
        }
        Ok(Self(out))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, equal, wanted)| {
            let found = path
                .split('.')
                .try_fold(object, |at, key| at.get(key))
                .and_then(Value::as_str)
                .unwrap_or("");
            (found == wanted) == *equal
        })
    }
}
