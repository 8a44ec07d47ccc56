//! Reading aws-auth from a file: a manifest as kubectl takes it, a list that holds it, or its bare `data`.
//!
//! Files come from anywhere, so time and memory are bounded whatever is in them.

use super::document::{MapKey, Mistake, Problem, Severity, shown};
use super::yaml::{self, Json, JsonDocument, Member};
use std::collections::BTreeMap;
use thiserror::Error;

/// The largest file that is read. A ConfigMap is at most 1 MiB; a list may hold others.
pub const MAX_MANIFEST_BYTES: usize = 8 << 20;

/// The API server refuses a ConfigMap whose data is larger.
pub const MAX_CONFIG_MAP_BYTES: usize = 1 << 20;

/// In what form the data was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestForm {
    /// A ConfigMap.
    ConfigMap,
    /// The bare `data`, or a map with nothing but `data`.
    Data,
}

/// aws-auth from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `data`, as far as its values are texts.
    pub data: BTreeMap<String, String>,
    /// The form.
    pub form: ManifestForm,
    /// Why the API server would refuse it (severity `error`), and what else is odd about the file.
    pub problems: Vec<Problem>,
    /// For keys whose text is a literal block (`|`): the line of the file before the text's first.
    offsets: BTreeMap<String, usize>,
}

impl Manifest {
    /// Whether the API server would not take it.
    pub fn is_rejected(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// The file's line for a line of a key's text, where the two correspond.
    pub fn file_line(&self, key: &str, line: usize) -> Option<usize> {
        self.offsets.get(key).map(|offset| offset + line)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ManifestError`] if there is no aws-auth in it that could be judged.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge);
        }
        if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            return Err(ManifestError::Utf16);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|&&c| c == b'\n')
                .count();
            ManifestError::NotUtf8 { line }
        })?;
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        if text.trim().is_empty() {
            return Err(ManifestError::Empty);
        }
        let mut search = Search::default();
        if text.trim_start().starts_with('{')
            && let Ok(documents) = serde_json::Deserializer::from_str(text)
                .into_iter::<serde_json::Value>()
                .collect::<Result<Vec<_>, _>>()
        {
            for document in &documents {
                search.document(&Plain::from_json(document), &|_| None);
            }
        } else {
            for (first_line, document) in documents(text) {
                let json = yaml::to_json(document).map_err(|error| ManifestError::NotYaml {
                    line: first_line + line_breaks(&document[..error.byte.min(document.len())]),
                    problem: error.problem,
                })?;
                if json.fails != yaml::Fails::Never {
                    let (byte, what) = json.first_failure();
                    let line = first_line + line_breaks(&document[..byte.unwrap_or(0).min(document.len())]);
                    return Err(ManifestError::NotYaml {
                        line,
                        problem: format!("{what}, which JSON cannot hold"),
                    });
                }
                let Some((root, mark)) = json.root else { continue };
                let at = Place {
                    json: &json,
                    text: document,
                    first_line,
                };
                search.document(&at.plain(root, mark.byte), &|byte| at.literal_block(byte));
            }
        }
        search.finish()
    }
}

/// Why a file cannot be judged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ManifestError {
    /// Larger than [`MAX_MANIFEST_BYTES`].
    #[error("the file is larger than 8 MiB; aws-auth itself can have at most 1 MiB")]
    TooLarge,
    /// UTF-16.
    #[error("the file is UTF-16: save it as UTF-8")]
    Utf16,
    /// Not UTF-8.
    #[error("line {line} is not UTF-8: save the file as UTF-8")]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
    },
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// The manifest around aws-auth's texts is broken.
    #[error("line {line} of the file is not YAML: {problem}; kubectl would not apply it")]
    NotYaml {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Something else than aws-auth.
    #[error("no aws-auth in the file: {found}. A ConfigMap, a List that holds it, or its data with {} is needed",
        MapKey::ALL.map(MapKey::as_str).join(", "))]
    NotAwsAuth {
        /// What was found instead.
        found: String,
    },
}

/// The documents of a YAML file, each with the number of its first line, from 1.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---").map(str::trim);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#')) && at > start {
            documents.push((start_line, &text[start..at]));
            (start, start_line) = (at, number + 1);
        }
        at += line.len();
    }
    documents.push((start_line, &text[start..]));
    documents
}

fn line_breaks(text: &str) -> usize {
    text.bytes().filter(|&c| c == b'\n').count()
}

/// As much of a document as is looked at: maps down to `data`'s values, and the items of a list.
enum Plain {
    Text(String, usize),
    Map(Vec<(String, Plain)>),
    List(Vec<Plain>),
    Null,
    Other(&'static str),
}

impl Plain {
    /// `data`'s values are at most this far below the top: list, item, data, value.
    const DEPTH: usize = 5;

    fn from_json(value: &serde_json::Value) -> Self {
        Self::from_json_to(value, Self::DEPTH)
    }

    fn from_json_to(value: &serde_json::Value, depth: usize) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Other("true or false"),
            Value::Number(_) => Self::Other("a number"),
            Value::String(text) => Self::Text(text.clone(), 0),
            Value::Array(items) => match depth.checked_sub(1) {
                Some(depth) => Self::List(items.iter().map(|item| Self::from_json_to(item, depth)).collect()),
                None => Self::Other("a list"),
            },
            Value::Object(members) => match depth.checked_sub(1) {
                Some(depth) => Self::Map(
                    members
                        .iter()
                        .map(|(key, value)| (key.clone(), Self::from_json_to(value, depth)))
                        .collect(),
                ),
                None => Self::Other("a map"),
            },
        }
    }

    fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text, _) => Some(text),
            _ => None,
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Text(..) => "a text",
            Self::Map(_) => "a map",
            Self::List(_) => "a list",
            Self::Null => "nothing",
            Self::Other(what) => what,
        }
    }
}

#[derive(Clone, Copy)]
struct Place<'a> {
    json: &'a JsonDocument,
    text: &'a str,
    first_line: usize,
}

impl Place<'_> {
    fn plain(self, value: usize, byte: usize) -> Plain {
        self.plain_to(value, byte, Plain::DEPTH)
    }

    fn plain_to(self, value: usize, byte: usize, depth: usize) -> Plain {
        match self.json.get(value) {
            Json::Null => Plain::Null,
            Json::Bool => Plain::Other("true or false"),
            Json::Number => Plain::Other("a number"),
            Json::String(text) => Plain::Text(text.clone(), byte),
            Json::Array(items) => match depth.checked_sub(1) {
                Some(depth) => Plain::List(
                    items
                        .iter()
                        .map(|(item, mark)| self.plain_to(*item, mark.byte, depth))
                        .collect(),
                ),
                None => Plain::Other("a list"),
            },
            Json::Object(members) => match depth.checked_sub(1) {
                Some(depth) => Plain::Map(
                    members
                        .iter()
                        .map(|(key, Member { value, mark, .. })| {
                            (
                                String::from_utf8_lossy(key).into_owned(),
                                self.plain_to(*value, mark.byte, depth),
                            )
                        })
                        .collect(),
                ),
                None => Plain::Other("a map"),
            },
        }
    }

    /// The file's line on which a literal block scalar is announced.
    fn literal_block(self, byte: usize) -> Option<usize> {
        self.text
            .get(byte..)?
            .starts_with('|')
            .then(|| self.first_line + line_breaks(&self.text[..byte]))
    }
}

#[derive(Default)]
struct Search {
    found: Vec<(Manifest, bool)>,
    others: Vec<String>,
}

impl Search {
    fn document(&mut self, document: &Plain, literal_block: &dyn Fn(usize) -> Option<usize>) {
        if matches!(document, Plain::Null) {
            return;
        }
        let items = match (document, document.get("items")) {
            (_, Some(Plain::List(items))) if document.get("data").is_none() => items,
            _ => return self.object(document, literal_block),
        };
        for item in items {
            self.object(item, literal_block);
        }
        if items.is_empty() {
            self.others.push("an empty list".to_owned());
        }
    }

    fn object(&mut self, object: &Plain, literal_block: &dyn Fn(usize) -> Option<usize>) {
        let Plain::Map(members) = object else {
            self.others.push(match object {
                Plain::List(items) if items.iter().any(|item| item.get("rolearn").or(item.get("userarn")).is_some()) => {
                    "a list of entries, which is the text of mapRoles or mapUsers and not the ConfigMap around it".to_owned()
                }
                other => format!("{} at the top", other.describe()),
            });
            return;
        };
        let name = object
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .and_then(Plain::text);
        let namespace = object
            .get("metadata")
            .and_then(|metadata| metadata.get("namespace"))
            .and_then(Plain::text);
        let kind = object.get("kind").and_then(Plain::text);
        let known = |name: &str| {
            MapKey::ALL
                .iter()
                .any(|key| key.as_str().eq_ignore_ascii_case(name))
        };
        let (form, data) = match kind {
            Some("ConfigMap") => (ManifestForm::ConfigMap, object.get("data")),
            Some(kind) => {
                self.others.push(format!(
                    "a {} named {}",
                    shown(kind),
                    shown(name.unwrap_or_default())
                ));
                return;
            }
            None if object.get("data").is_some() => (ManifestForm::Data, object.get("data")),
            None if members.iter().any(|(key, _)| known(key)) => (ManifestForm::Data, Some(object)),
            None => {
                let keys: Vec<String> = members.iter().take(5).map(|(key, _)| shown(key)).collect();
                self.others
                    .push(format!("a map with the keys {}", keys.join(", ")));
                return;
            }
        };
        let exact = name == Some("aws-auth") && matches!(namespace, None | Some("kube-system"));
        let mut manifest = Manifest {
            data: BTreeMap::new(),
            form,
            problems: Vec::new(),
            offsets: BTreeMap::new(),
        };
        if form == ManifestForm::ConfigMap {
            if !exact {
                manifest.problem(
                    None,
                    None,
                    Severity::Warning,
                    format!(
                        "the ConfigMap is {}/{}: the authenticator reads only kube-system/aws-auth",
                        namespace.unwrap_or("kube-system"),
                        name.unwrap_or("(no name)")
                    ),
                    "all of it",
                    "name it aws-auth, in the namespace kube-system",
                );
            }
            for (key, value) in members.iter().filter(|(key, _)| known(key)) {
                manifest.problem(
                    Some(key),
                    None,
                    Severity::Warning,
                    format!("{} stands beside data, not in it", shown(key)),
                    if matches!(value, Plain::Null) {
                        ""
                    } else {
                        "all of it: the API server drops it"
                    },
                    "indent it, so that it is under data",
                );
            }
            for part in ["binaryData", "immutable"] {
                if part == "binaryData"
                    && matches!(object.get(part), Some(Plain::Map(members)) if members.iter().any(|(key, _)| known(key)))
                {
                    manifest.problem(
                        None,
                        None,
                        Severity::Warning,
                        "mappings in binaryData are not read".to_owned(),
                        "all of them",
                        "put them under data, as text",
                    );
                }
            }
        }
        match data {
            None | Some(Plain::Null) => {}
            Some(Plain::Map(members)) => {
                for (key, value) in members {
                    manifest.value(key, value, literal_block);
                }
            }
            Some(other) => manifest.problem(
                None,
                None,
                Severity::Error,
                format!("data is {} where a map is needed", other.describe()),
                "all of it: the API server refuses the ConfigMap",
                "write data as a map with the keys mapRoles, mapUsers and mapAccounts",
            ),
        }
        let size: usize = manifest
            .data
            .iter()
            .map(|(key, text)| key.len() + text.len())
            .sum();
        if size > MAX_CONFIG_MAP_BYTES {
            manifest.problem(
                None,
                None,
                Severity::Error,
                format!("data has {size} bytes, more than the 1 MiB that a ConfigMap can have"),
                "all of it: the API server refuses the ConfigMap",
                "map by access entries",
            );
        }
        self.found.push((manifest, exact));
    }

    fn finish(mut self) -> Result<Manifest, ManifestError> {
        let exact = self.found.iter().filter(|(_, exact)| *exact).count();
        // Of several, the one that is applied last is what the cluster has.
        let chosen = self
            .found
            .iter()
            .rposition(|(_, exact)| *exact)
            .or(self.found.len().checked_sub(1));
        let Some(chosen) = chosen else {
            let found = match self.others.len() {
                0 => "it holds no document".to_owned(),
                1..=3 => format!("it holds {}", self.others.join(" and ")),
                n => format!("it holds {n} other things, the first being {}", self.others[0]),
            };
            return Err(ManifestError::NotAwsAuth { found });
        };
        let (mut manifest, _) = self.found.swap_remove(chosen);
        if exact > 1 {
            manifest.problem(
                None,
                None,
                Severity::Warning,
                format!("the file holds {exact} ConfigMaps kube-system/aws-auth: the last one is judged"),
                "the earlier ones: each apply replaces the keys of the one before",
                "keep one",
            );
        }
        Ok(manifest)
    }
}

impl Manifest {
    fn problem(
        &mut self,
        key: Option<&str>,
        line: Option<usize>,
        severity: Severity,
        message: String,
        lost: &str,
        fix: &str,
    ) {
        self.problems.push(Problem {
            key: key.map(str::to_owned),
            line,
            index: None,
            message,
            lost: lost.to_owned(),
            fix: fix.to_owned(),
            severity,
            mistake: Some(Mistake::Key),
        });
    }

    fn value(&mut self, key: &str, value: &Plain, literal_block: &dyn Fn(usize) -> Option<usize>) {
        match value {
            Plain::Text(text, byte) => {
                if let Some(line) = literal_block(*byte) {
                    self.offsets.insert(key.to_owned(), line);
                }
                self.data.insert(key.to_owned(), text.clone());
            }
            Plain::Null => {
                self.data.insert(key.to_owned(), String::new());
            }
            other => {
                let fix = match other {
                    Plain::List(_) | Plain::Map(_) => {
                        format!("put a | behind {}: and keep the lines below it", shown(key))
                    }
                    _ => format!("put the value of {} in quotes", shown(key)),
                };
                self.problem(
                    Some(key),
                    None,
                    Severity::Error,
                    format!(
                        "ConfigMap rejected: {} is {} where a text is needed (data values must be strings)",
                        shown(key),
                        other.describe()
                    ),
                    "all of it: the API server refuses the ConfigMap",
                    &fix,
                );
            }
        }
    }
}
