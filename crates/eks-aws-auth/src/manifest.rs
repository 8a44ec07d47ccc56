//! Reading aws-auth from a file: a manifest as kubectl takes it, a list that holds it, its bare `data`, or the template that
//! `cdk synth` writes. Time and memory are bounded whatever is in the file.

use crate::document::{Loss, MapKey, Mistake, Problem, Severity, shown};
use crate::yaml::{self, Json, JsonDocument, Member};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The largest file that is read. A ConfigMap is at most 1 MiB; a list may hold others.
pub const MAX_MANIFEST_BYTES: usize = 8 << 20;

/// The API server refuses a ConfigMap whose data is larger.
const MAX_CONFIG_MAP_BYTES: usize = 1 << 20;

/// aws-auth from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// `data`, as far as its values are texts.
    pub data: BTreeMap<String, String>,
    /// Why the API server would refuse it (severity `error`), and what else is odd about the file.
    pub problems: Vec<Problem>,
    /// What the template of a stack refers to instead of naming it (`NodeRole.Arn`): known once it is deployed. In the data
    /// it stands as `${NodeRole.Arn}`.
    pub references: BTreeSet<String>,
    /// For keys whose text is a literal block (`|`): the line of the file before the text's first.
    offsets: BTreeMap<String, usize>,
}

impl Manifest {
    /// The first reason for which the API server refuses it, if it does: then nothing in it counts.
    pub fn rejected(&self) -> Option<&Problem> {
        self.problems
            .iter()
            .find(|problem| problem.severity == Severity::Error)
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
    /// Something other than aws-auth.
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
    Bool(bool),
    Number,
    /// Deeper than anything that is looked at.
    Deep(&'static str),
}

impl Plain {
    /// The references in the Manifest of a stack's resource are this far below the top.
    const DEPTH: usize = 10;

    fn from_json(value: &serde_json::Value) -> Self {
        Self::from_json_to(value, Self::DEPTH)
    }

    fn from_json_to(value: &serde_json::Value, depth: usize) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(_) => Self::Number,
            Value::String(text) => Self::Text(text.clone(), 0),
            Value::Array(items) => match depth.checked_sub(1) {
                Some(depth) => Self::List(items.iter().map(|item| Self::from_json_to(item, depth)).collect()),
                None => Self::Deep("a list"),
            },
            Value::Object(members) => match depth.checked_sub(1) {
                Some(depth) => Self::Map(
                    members
                        .iter()
                        .map(|(key, value)| (key.clone(), Self::from_json_to(value, depth)))
                        .collect(),
                ),
                None => Self::Deep("a map"),
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
            Self::Bool(_) => "true or false",
            Self::Number => "a number",
            Self::Deep(what) => what,
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
            Json::Bool(value) => Plain::Bool(*value),
            Json::Number => Plain::Number,
            Json::String(text) => Plain::Text(text.clone(), byte),
            Json::Array(items) => match depth.checked_sub(1) {
                Some(depth) => Plain::List(
                    items
                        .iter()
                        .map(|(item, mark)| self.plain_to(*item, mark.byte, depth))
                        .collect(),
                ),
                None => Plain::Deep("a list"),
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
                None => Plain::Deep("a map"),
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
        if let Some(Plain::Map(resources)) = document.get("Resources") {
            return self.template(resources);
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

    /// A CloudFormation template of CDK: its Kubernetes manifests are JSON in the properties of resources, with the stack's
    /// references in between.
    fn template(&mut self, resources: &[(String, Plain)]) {
        let before = self.found.len();
        for (_, resource) in resources {
            let kind = resource.get("Type").and_then(Plain::text);
            let manifest = resource
                .get("Properties")
                .and_then(|properties| properties.get("Manifest"));
            let (Some("Custom::AWSCDK-EKS-KubernetesResource"), Some(manifest)) = (kind, manifest) else {
                continue;
            };
            let mut references = BTreeSet::new();
            let text = joined(manifest, &mut references);
            let Ok(serde_json::Value::Array(objects)) = serde_json::from_str(&text) else {
                continue;
            };
            for object in objects
                .iter()
                .filter(|object| object["metadata"]["name"] == "aws-auth")
            {
                self.object(&Plain::from_json(object), &|_| None);
            }
            if let Some((manifest, _)) = self.found.get_mut(before..).and_then(<[_]>::last_mut) {
                manifest.references.append(&mut references);
            }
        }
        if self.found.len() == before {
            self.others
                .push("a stack's template without an aws-auth manifest".to_owned());
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
        let known = |name: &str| {
            MapKey::ALL
                .iter()
                .any(|key| key.as_str().eq_ignore_ascii_case(name))
        };
        let metadata = |name: &str| object.get("metadata")?.get(name)?.text();
        let (name, namespace) = (metadata("name"), metadata("namespace"));
        let mut manifest = Manifest::default();
        let is_object = ["kind", "apiVersion", "metadata"]
            .iter()
            .any(|field| object.get(field).is_some());
        let data = match object.get("kind") {
            Some(Plain::Text(kind, _)) if !kind.eq_ignore_ascii_case("ConfigMap") => {
                self.others.push(format!(
                    "a {} named {}",
                    shown(kind),
                    shown(name.unwrap_or_default())
                ));
                return;
            }
            None if !is_object
                && object.get("data").is_none()
                && members.iter().any(|(key, _)| known(key)) =>
            {
                Some(object)
            }
            None if object.get("data").is_none() => {
                let keys: Vec<String> = members.iter().take(5).map(|(key, _)| shown(key)).collect();
                self.others
                    .push(format!("a map with the keys {}", keys.join(", ")));
                return;
            }
            _ => object.get("data"),
        };
        let exact = name == Some("aws-auth") && matches!(namespace, None | Some("kube-system"));
        if is_object {
            manifest.config_map(object, name);
            if !exact {
                manifest.warn(
                    None,
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
                manifest.warn(
                    Some(key),
                    format!("{} stands beside data, not in it", shown(key)),
                    if matches!(value, Plain::Null) {
                        ""
                    } else {
                        "all of it: the API server drops it"
                    },
                    "indent it, so that it is under data",
                );
            }
        }
        match data {
            None | Some(Plain::Null) => {}
            Some(Plain::Map(members)) => {
                for (key, value) in members {
                    manifest.value(key, value, literal_block);
                }
            }
            Some(other) => manifest.reject(
                None,
                format!("data is {} where a map is needed", other.describe()),
                "write data as a map with the keys mapRoles, mapUsers and mapAccounts",
            ),
        }
        let binary = match object.get("binaryData") {
            Some(Plain::Map(members)) => members.as_slice(),
            _ => &[],
        };
        let of_binary = binary
            .iter()
            .map(|(key, value)| key.len() + value.text().map_or(0, |text| text.len() / 4 * 3));
        let of_data = manifest.data.iter().map(|(key, text)| key.len() + text.len());
        let size: usize = of_data.chain(of_binary).sum();
        if size > MAX_CONFIG_MAP_BYTES {
            manifest.reject(
                None,
                format!("data has {size} bytes, more than the 1 MiB that a ConfigMap can have"),
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
            manifest.warn(
                None,
                format!("the file holds {exact} ConfigMaps kube-system/aws-auth: the last one is judged"),
                "the earlier ones: each apply replaces the keys of the one before",
                "keep one",
            );
        }
        Ok(manifest)
    }
}

impl Manifest {
    fn problem(&mut self, key: Option<&str>, severity: Severity, message: String, lost: &str, fix: &str) {
        self.problems.push(Problem {
            key: key.map(str::to_owned),
            line: None,
            index: None,
            message,
            lost: lost.to_owned(),
            loss: if lost.is_empty() {
                Loss::Nothing
            } else {
                Loss::Part
            },
            fix: fix.to_owned(),
            severity,
            mistake: Some(Mistake::Key),
        });
    }

    fn warn(&mut self, key: Option<&str>, message: String, lost: &str, fix: &str) {
        self.problem(key, Severity::Warning, message, lost, fix);
    }

    /// The API server answers 400, 404 or 422.
    fn reject(&mut self, key: Option<&str>, message: String, fix: &str) {
        let message = format!("ConfigMap rejected: {message}");
        self.problem(
            key,
            Severity::Error,
            message,
            "all of it: the API server refuses the ConfigMap",
            fix,
        );
    }

    /// What is around `data`.
    fn config_map(&mut self, object: &Plain, name: Option<&str>) {
        match object.get("kind") {
            Some(Plain::Text(kind, _)) if kind == "ConfigMap" => {}
            Some(Plain::Text(kind, _)) => self.reject(
                None,
                format!("kind is {}, and case matters", shown(kind)),
                "write kind: ConfigMap",
            ),
            None | Some(Plain::Null) => {
                self.reject(None, "kind is missing".to_owned(), "add kind: ConfigMap")
            }
            Some(other) => self.reject(
                None,
                format!("kind is {} where a text is needed", other.describe()),
                "write kind: ConfigMap",
            ),
        }
        match object.get("apiVersion") {
            Some(Plain::Text(version, _)) if version == "v1" => {}
            Some(Plain::Text(version, _)) => self.reject(
                None,
                format!("there is no ConfigMap in apiVersion {}", shown(version)),
                "write apiVersion: v1",
            ),
            None | Some(Plain::Null) => {
                self.reject(None, "apiVersion is missing".to_owned(), "add apiVersion: v1");
            }
            Some(other) => self.reject(
                None,
                format!("apiVersion is {} where a text is needed", other.describe()),
                "write apiVersion: v1",
            ),
        }
        match object.get("metadata") {
            Some(Plain::Map(members)) => {
                for (field, value) in members {
                    self.metadata(field, value);
                }
                let unnamed = members
                    .iter()
                    .all(|(field, value)| field != "name" || matches!(value, Plain::Null));
                if unnamed || name == Some("") {
                    self.reject(None, "metadata.name is missing".to_owned(), "add name: aws-auth");
                }
            }
            None | Some(Plain::Null) => {
                self.reject(
                    None,
                    "metadata is missing".to_owned(),
                    "add metadata with name: aws-auth and namespace: kube-system",
                );
            }
            Some(other) => self.reject(
                None,
                format!("metadata is {} where a map is needed", other.describe()),
                "write metadata as a map with name: aws-auth and namespace: kube-system",
            ),
        }
        match object.get("immutable") {
            None | Some(Plain::Null | Plain::Bool(false)) => {}
            Some(Plain::Bool(true)) => self.warn(
                None,
                "it is immutable: once it is there, neither EKS nor anyone else can add a role".to_owned(),
                "",
                "remove immutable",
            ),
            Some(other) => self.reject(
                None,
                format!("immutable is {} where true or false is needed", other.describe()),
                "remove immutable",
            ),
        }
        match object.get("binaryData") {
            None | Some(Plain::Null) => {}
            Some(Plain::Map(members)) => {
                for (key, value) in members {
                    self.binary(object, key, value);
                }
            }
            Some(other) => self.reject(
                None,
                format!("binaryData is {} where a map is needed", other.describe()),
                "remove binaryData",
            ),
        }
    }

    fn binary(&mut self, object: &Plain, key: &str, value: &Plain) {
        use base64::Engine as _;
        // encoding/json skips line breaks in base64.
        let decodes = |text: &str| {
            let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        };
        if !matches!(value, Plain::Null) && !value.text().is_some_and(decodes) {
            return self.reject(
                Some(key),
                format!("{} in binaryData is not base64", shown(key)),
                "put mappings under data, as text",
            );
        }
        if object.get("data").is_some_and(|data| data.get(key).is_some()) {
            return self.reject(
                Some(key),
                format!("{} is in data and in binaryData", shown(key)),
                "keep the one in data",
            );
        }
        self.key(key);
        if MapKey::ALL
            .iter()
            .any(|known| known.as_str().eq_ignore_ascii_case(key))
        {
            self.warn(
                Some(key),
                "mappings in binaryData are not read".to_owned(),
                "all of it",
                "put them under data, as text",
            );
        }
    }

    /// A field of metadata whose type the API server checks.
    fn metadata(&mut self, field: &str, value: &Plain) {
        let is_text = |value: &Plain| matches!(value, Plain::Text(..) | Plain::Null);
        let (good, needed) = match (field, value) {
            (_, Plain::Null) => return,
            (
                "name" | "namespace" | "generateName" | "uid" | "resourceVersion" | "selfLink"
                | "creationTimestamp",
                _,
            ) => (is_text(value), "a text"),
            ("labels" | "annotations", Plain::Map(members)) => {
                for (key, value) in members.iter().filter(|(_, value)| !is_text(value)) {
                    self.reject(
                        None,
                        format!(
                            "metadata.{field}: {} is {} where a text is needed",
                            shown(key),
                            value.describe()
                        ),
                        &format!("put the value of {} in quotes", shown(key)),
                    );
                }
                return;
            }
            ("labels" | "annotations", _) => (false, "a map"),
            ("finalizers", Plain::List(items)) => (items.iter().all(is_text), "a list of texts"),
            ("finalizers" | "ownerReferences" | "managedFields", _) => {
                (matches!(value, Plain::List(_)) && field != "finalizers", "a list")
            }
            _ => return,
        };
        if !good {
            self.reject(
                None,
                format!(
                    "metadata.{field} is {} where {needed} is needed",
                    value.describe()
                ),
                &format!("write metadata.{field} as {needed}"),
            );
        }
    }

    /// A key of `data` or `binaryData`.
    fn key(&mut self, key: &str) {
        let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if key.is_empty() || key.len() > 253 || !key.chars().all(good) || key.starts_with("..") || key == "."
        {
            self.reject(
                Some(key),
                format!(
                    "{} cannot be a key of a ConfigMap: letters, digits, '-', '_' and '.' can",
                    shown(key)
                ),
                "remove the key, or write it so",
            );
        }
    }

    fn value(&mut self, key: &str, value: &Plain, literal_block: &dyn Fn(usize) -> Option<usize>) {
        self.key(key);
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
                    Plain::List(_) | Plain::Map(_) | Plain::Deep(_) => {
                        format!("put a | behind {}: and keep the lines below it", shown(key))
                    }
                    _ => format!("put the value of {} in quotes", shown(key)),
                };
                let message = format!(
                    "{} is {} where a text is needed (data values must be strings)",
                    shown(key),
                    other.describe()
                );
                self.reject(Some(key), message, &fix);
            }
        }
    }
}

/// A text of a stack's template with its `Fn::Join` carried out. The partition is taken to be `aws`; every other reference
/// stays, as `${NodeRole.Arn}`.
fn joined(value: &Plain, references: &mut BTreeSet<String>) -> String {
    let name = |value: &Plain| -> String {
        let plain = |text: &str| -> String {
            text.chars()
                .filter(|c| c.is_ascii_alphanumeric() || ".:-".contains(*c))
                .collect()
        };
        match value {
            Plain::Text(text, _) => plain(text),
            Plain::List(parts) => parts
                .iter()
                .filter_map(Plain::text)
                .map(plain)
                .collect::<Vec<_>>()
                .join("."),
            _ => String::new(),
        }
    };
    match value {
        Plain::Text(text, _) => text.clone(),
        Plain::Map(members) => match members.as_slice() {
            [(function, Plain::List(arguments))] if function == "Fn::Join" => match arguments.as_slice() {
                [Plain::Text(by, _), Plain::List(parts)] => parts
                    .iter()
                    .map(|part| joined(part, references))
                    .collect::<Vec<_>>()
                    .join(by),
                _ => String::new(),
            },
            [(function, Plain::Text(name, _))] if function == "Ref" && name == "AWS::Partition" => {
                "aws".to_owned()
            }
            [(_, what)] => {
                let name = name(what);
                let reference = format!("${{{name}}}");
                references.insert(name);
                reference
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}
