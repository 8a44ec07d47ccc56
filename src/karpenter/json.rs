//! Reading single fields out of loosely typed JSON, with errors that name the object and the field.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest name, label value or reason that is kept, in characters. Kubernetes allows 253 for a name; what is longer
/// was not written by an API server.
const MAX_QUOTED: usize = 300;

/// An object that does not have the shape its kind promises. It is reported and judged as unknown, never dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{kind} {name}: {field} {problem}", name = .name.as_deref().unwrap_or("(without a name)"))]
#[serde(rename_all = "camelCase")]
pub struct BrokenObject {
    /// The Kubernetes kind that was expected.
    pub kind: String,
    /// `metadata.name`, where it could be read.
    pub name: Option<String>,
    /// The path of the field, as in `spec.template.spec.requirements[2].key`.
    pub field: String,
    /// What is wrong with it, as the end of a sentence that begins with the field.
    pub problem: String,
}

/// Shortens text from elsewhere for an error message.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// What a JSON value is, for messages.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// One object being read: the JSON and what is known about it for error messages.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    kind: &'a str,
    root: &'a Value,
}

/// A place inside an [`Item`]. `Null` and a missing field are the same, as they are to the API server.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    item: Item<'a>,
    value: Option<&'a Value>,
    path: Path,
}

/// Deepest field that is read anywhere (`spec.template.spec.containers[0].env[3].value`).
const MAX_DEPTH: usize = 8;

/// A field's path. Kept as parts, so that tens of thousands of objects can be read without making any text.
#[derive(Clone, Copy, Default)]
struct Path([Option<Part>; MAX_DEPTH]);

impl Path {
    fn then(mut self, part: Part) -> Self {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(part);
        }
        self
    }
}

#[derive(Clone, Copy)]
enum Part {
    Field(&'static str),
    Index(usize),
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, part) in self.0.iter().flatten().enumerate() {
            match part {
                Part::Field(name) if position == 0 => write!(f, "{name}")?,
                Part::Field(name) => write!(f, ".{name}")?,
                Part::Index(index) => write!(f, "[{index}]")?,
            }
        }
        if self.0.is_empty() {
            write!(f, "the object")
        } else {
            Ok(())
        }
    }
}

impl<'a> Item<'a> {
    /// Begins reading `root` as an object of kind `kind`.
    pub(crate) fn new(kind: &'a str, root: &'a Value) -> Self {
        Self { kind, root }
    }

    /// The whole JSON of the object.
    pub(crate) fn root(self) -> &'a Value {
        self.root
    }

    /// The object itself.
    pub(crate) fn top(self) -> At<'a> {
        At {
            item: self,
            value: Some(self.root),
            path: Path::default(),
        }
    }

    /// The value at a path of field names, missing or not.
    pub(crate) fn at(self, path: &[&'static str]) -> Result<At<'a>, BrokenObject> {
        let mut at = self.top();
        for field in path {
            at = at.field(field)?;
        }
        Ok(at)
    }

    /// `metadata.name`, which every object has.
    pub(crate) fn name(self) -> Result<String, BrokenObject> {
        let name = self.at(&["metadata", "name"])?.required_string()?;
        Ok(name)
    }

    /// `metadata.labels`.
    pub(crate) fn label(self, key: &str) -> Option<&'a str> {
        self.root.get("metadata")?.get("labels")?.get(key)?.as_str()
    }
}

impl<'a> At<'a> {
    /// An error about this place.
    pub(crate) fn broken(&self, problem: impl Into<String>) -> BrokenObject {
        let name = self
            .item
            .root
            .get("metadata")
            .and_then(|m| m.get("name"))
            .and_then(Value::as_str);
        BrokenObject {
            kind: self.item.kind.to_owned(),
            name: name.map(clip),
            field: self.path.to_string(),
            problem: problem.into(),
        }
    }

    fn wrong_type(&self, value: &Value, wanted: &str) -> BrokenObject {
        self.broken(format!("is {}, not {wanted}", type_name(value)))
    }

    /// Whether there is a value here. `null` is none.
    pub(crate) fn is_present(&self) -> bool {
        self.value.is_some_and(|value| !value.is_null())
    }

    /// The raw value, `null` and missing being the same.
    pub(crate) fn value(&self) -> Option<&'a Value> {
        self.value.filter(|value| !value.is_null())
    }

    /// A field of this object. This place may be missing; it may not be anything but an object.
    pub(crate) fn field(&self, name: &'static str) -> Result<At<'a>, BrokenObject> {
        let value = match self.value() {
            None => None,
            Some(Value::Object(map)) => map.get(name),
            Some(other) => return Err(self.wrong_type(other, "an object")),
        };
        Ok(At {
            item: self.item,
            value,
            path: self.path.then(Part::Field(name)),
        })
    }

    /// The elements of this list; none where it is missing.
    pub(crate) fn elements(&self) -> Result<Vec<At<'a>>, BrokenObject> {
        match self.value() {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values
                .iter()
                .enumerate()
                .map(|(index, value)| At {
                    item: self.item,
                    value: Some(value),
                    path: self.path.then(Part::Index(index)),
                })
                .collect()),
            Some(other) => Err(self.wrong_type(other, "a list")),
        }
    }

    /// The string here, if any.
    pub(crate) fn string(&self) -> Result<Option<String>, BrokenObject> {
        match self.value() {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong_type(other, "a string")),
        }
    }

    /// The string here; an empty one counts as missing, as Go's zero value does.
    pub(crate) fn non_empty(&self) -> Result<Option<String>, BrokenObject> {
        Ok(self.string()?.filter(|text| !text.is_empty()))
    }

    /// The string here, which must be there and not be empty.
    pub(crate) fn required_string(&self) -> Result<String, BrokenObject> {
        self.non_empty()?.ok_or_else(|| self.broken("is missing"))
    }

    /// The integer here, if any.
    pub(crate) fn integer(&self) -> Result<Option<i64>, BrokenObject> {
        match self.value() {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| self.wrong_type(value, "an integer of 64 bits")),
        }
    }

    /// The RFC 3339 time here, if any.
    pub(crate) fn time(&self) -> Result<Option<Timestamp>, BrokenObject> {
        match self.non_empty()? {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| self.broken(format!("is not an RFC 3339 time: {:?}", clip(&text)))),
        }
    }

    /// The list of strings here; none where it is missing. Numbers and booleans, as YAML gives for unquoted values,
    /// are taken by their text.
    pub(crate) fn strings(&self) -> Result<Vec<String>, BrokenObject> {
        self.elements()?
            .into_iter()
            .map(|element| match element.value {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(Value::Number(number)) => Ok(number.to_string()),
                Some(Value::Bool(boolean)) => Ok(boolean.to_string()),
                Some(other) => Err(element.wrong_type(other, "a string")),
                None => Err(element.broken("is missing")),
            })
            .collect()
    }

    /// The map of strings here; empty where it is missing. Numbers (`cpu: 100`) are taken by their text.
    pub(crate) fn string_map(&self) -> Result<BTreeMap<String, String>, BrokenObject> {
        match self.value() {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key.clone(), text.clone())),
                    Value::Number(number) => Ok((key.clone(), number.to_string())),
                    Value::Bool(boolean) => Ok((key.clone(), boolean.to_string())),
                    other => Err(self.broken(format!(
                        "holds {} under {:?}, not a string",
                        type_name(other),
                        clip(key)
                    ))),
                })
                .collect(),
            Some(other) => Err(self.wrong_type(other, "an object")),
        }
    }
}
