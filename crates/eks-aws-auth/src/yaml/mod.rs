//! YAML the way the authenticator reads it: sigs.k8s.io/yaml's goyaml.v2 (YAML 1.1 with its own laxities), converted to
//! JSON, or decoded straight into a list of strings for `mapAccounts`.
//!
//! No YAML library for Rust agrees with that decoder on what is an error, what is a boolean and what survives a broken
//! entry, and an evaluator that is wrong there is wrong about who may enter the cluster. `tests/go_yaml.rs` shows where a
//! YAML 1.2 parser reads another document, and `tests/oracle.rs` holds this one to the original. Nothing here recurses:
//! nesting and aliases cost neither stack nor unbounded time, since goyaml.v2's own limits (10,000 levels, the ratio of
//! alias expansion) are part of the rules.

mod parser;
mod reader;
mod resolve;
mod scanner;

use parser::{Event, Parser};
use resolve::Scalar;
use std::collections::HashMap;

/// A place in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Characters from the start, as the scanner counts them.
    index: usize,
    /// Line breaks before this place, as the scanner counts them (CR, NEL, LS and PS are breaks too).
    line: usize,
    column: usize,
    /// Bytes from the start of the text.
    pub(super) byte: usize,
}

/// Why a text yields nothing (or, for `mapAccounts`, nothing from here on).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct YamlError {
    /// Where it was noticed, in bytes from the start of the text.
    pub(super) byte: usize,
    pub(super) problem: String,
}

impl YamlError {
    fn new(byte: usize, problem: impl Into<String>) -> Self {
        Self {
            byte,
            problem: problem.into(),
        }
    }
}

type NodeId = usize;
type ValueId = usize;

struct Node {
    mark: Mark,
    content: Content,
}

enum Content {
    Scalar {
        tag: Vec<u8>,
        text: String,
        implicit: bool,
    },
    Sequence(Vec<NodeId>),
    /// Keys and values in turn.
    Mapping(Vec<NodeId>),
    Alias {
        target: NodeId,
        name: String,
    },
}

/// Reads the first document of a text into nodes. The root comes first in the result; none for a text without a document.
fn compose(text: &str) -> Result<(Vec<Node>, Option<NodeId>), YamlError> {
    let mut parser = Parser::new(if text.is_empty() { "\n" } else { text });
    let mut nodes: Vec<Node> = Vec::new();
    let mut anchors: HashMap<Vec<u8>, NodeId> = HashMap::new();
    let mut open: Vec<NodeId> = Vec::new();
    let mut root = None;
    loop {
        let (event, mark) = parser.next()?;
        let (anchor, content, opens) = match event {
            Event::StreamEnd => return Ok((nodes, root)),
            Event::DocumentStart => continue,
            Event::DocumentEnd => return Ok((nodes, root)),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                continue;
            }
            Event::Alias(name) => {
                let shown = String::from_utf8_lossy(&name).into_owned();
                let Some(&target) = anchors.get(&name) else {
                    return Err(YamlError::new(
                        mark.byte,
                        format!("unknown anchor '{shown}' referenced"),
                    ));
                };
                (None, Content::Alias { target, name: shown }, false)
            }
            Event::Scalar {
                anchor,
                tag,
                value,
                implicit,
            } => {
                let text = String::from_utf8(value)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
                (anchor, Content::Scalar { tag, text, implicit }, false)
            }
            Event::SequenceStart { anchor } => (anchor, Content::Sequence(Vec::new()), true),
            Event::MappingStart { anchor } => (anchor, Content::Mapping(Vec::new()), true),
        };
        let id = nodes.len();
        nodes.push(Node { mark, content });
        if let Some(anchor) = anchor {
            anchors.insert(anchor, id);
        }
        match open
            .last()
            .and_then(|&parent| nodes.get_mut(parent))
            .map(|parent| &mut parent.content)
        {
            Some(Content::Sequence(children) | Content::Mapping(children)) => children.push(id),
            _ => root = Some(id),
        }
        if opens {
            open.push(id);
        }
    }
}

/// goyaml.v2's guard against alias bombs.
#[derive(Default)]
struct AliasGuard {
    decoded: u64,
    decoded_in_alias: u64,
    depth: u64,
    expanded: usize,
}

impl AliasGuard {
    fn count(&mut self, mark: Mark) -> Result<(), YamlError> {
        const LOW: u64 = 400_000;
        const HIGH: u64 = 4_000_000;
        self.decoded += 1;
        if self.depth > 0 {
            self.decoded_in_alias += 1;
        }
        let allowed = match self.decoded {
            ..=LOW => 0.99,
            HIGH.. => 0.10,
            n => 0.99 - 0.89 * ((n - LOW) as f64 / (HIGH - LOW) as f64),
        };
        if self.decoded_in_alias > 100
            && self.decoded > 1000
            && self.decoded_in_alias as f64 / self.decoded as f64 > allowed
        {
            return Err(YamlError::new(mark.byte, "document contains excessive aliasing"));
        }
        Ok(())
    }

    /// Bounds the memory that repeated text takes. This limit is ours: the authenticator would run out of memory instead.
    fn expand(&mut self, node: &Node, text: &str) -> Result<(), YamlError> {
        const MOST: usize = 64 << 20;
        if self.depth > 0 {
            self.expanded += text.len();
        }
        if self.expanded > MOST {
            return Err(YamlError::new(
                node.mark.byte,
                "the aliases of this document expand it to more than 64 MiB",
            ));
        }
        Ok(())
    }
}

/// Whether turning a value into JSON fails. Go walks its maps in random order, so keys that become the same JSON key
/// (`1` and `"1"`) can leave it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fails {
    Never,
    Perhaps,
    Always,
}

/// A JSON value as `encoding/json` will meet it.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number,
    String(String),
    Array(Vec<(ValueId, Mark)>),
    /// In the order in which `json.Marshal` writes it: sorted by key. A key is the text before JSON's escapes.
    Object(Vec<(Vec<u8>, Member)>),
}

/// A member of a JSON object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) key: Mark,
    pub(super) value: ValueId,
    pub(super) mark: Mark,
    /// The YAML key was there before and this one took its place.
    pub(super) repeated: bool,
}

struct Value {
    json: Json,
    fails: Fails,
    /// Levels of arrays and objects, least and most (they differ only where `fails` could be `Perhaps`).
    height: (u32, u32),
}

/// A document converted to JSON.
pub(super) struct JsonDocument {
    values: Vec<Value>,
    /// Absent for a text without any document, which is `null`.
    pub(super) root: Option<(ValueId, Mark)>,
    pub(super) fails: Fails,
}

impl JsonDocument {
    pub(super) fn get(&self, id: ValueId) -> &Json {
        self.values.get(id).map_or(&Json::Null, |value| &value.json)
    }

    /// Where a document that always fails does so, and by what.
    pub(super) fn first_failure(&self) -> (Option<usize>, &'static str) {
        let Some((mut id, mut mark)) = self.root else {
            return (None, "it is empty");
        };
        loop {
            let fails = |id: ValueId| {
                self.values
                    .get(id)
                    .is_some_and(|value| value.fails == Fails::Always)
            };
            let inner = match self.get(id) {
                Json::Array(items) => items.iter().find(|(item, _)| fails(*item)).copied(),
                Json::Object(members) => members
                    .iter()
                    .map(|(_, member)| (member.value, member.mark))
                    .find(|(value, _)| fails(*value)),
                Json::Number => return (Some(mark.byte), "a value is .nan or .inf"),
                _ => None,
            };
            match inner {
                Some(inner) => (id, mark) = inner,
                None if fails(id) => {
                    return (Some(mark.byte), "a map has a key that is null or a huge number");
                }
                None => return (None, "it is nested more than 10,000 levels deep"),
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(u64),
    /// NaN equals nothing, not even itself.
    NotANumber(usize),
    Text(Vec<u8>),
}

impl Key {
    /// The JSON key, or none where sigs.k8s.io/yaml gives up.
    fn json(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Null | Self::Uint(_) => return None,
            Self::Bool(true) => b"true".to_vec(),
            Self::Bool(false) => b"false".to_vec(),
            Self::Int(int) => int.to_string().into_bytes(),
            Self::Float(bits) => float_key(f64::from_bits(*bits)).into_bytes(),
            Self::NotANumber(_) => b".nan".to_vec(),
            Self::Text(text) => text.clone(),
        })
    }
}

/// `strconv.FormatFloat(float, 'g', -1, 32)` with goyaml's names for the infinities.
fn float_key(float: f64) -> String {
    let short = float as f32;
    if short.is_infinite() {
        return if short > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{short:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let Ok(exponent) = exponent.parse::<i32>() else {
        return scientific;
    };
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{short}")
}

enum Frame {
    Sequence {
        node: NodeId,
        next: usize,
        items: Vec<(ValueId, Mark)>,
    },
    /// `merging`: fills the map below it (`<<`) instead of one of its own.
    Mapping {
        node: NodeId,
        next: usize,
        key: Option<(Key, Mark)>,
        merging: bool,
    },
    MergeList {
        node: NodeId,
        left: usize,
    },
    Alias {
        node: NodeId,
    },
}

struct Decoder<'a> {
    nodes: &'a [Node],
    guard: AliasGuard,
    aliases_entered: Vec<bool>,
    values: Vec<Value>,
    frames: Vec<Frame>,
    maps: Vec<HashMap<Key, Member>>,
    nans: usize,
    /// The key just decoded, where a mapping asked for one.
    last_key: Key,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, json: Json, fails: Fails, height: (u32, u32)) -> ValueId {
        self.values.push(Value { json, fails, height });
        self.values.len() - 1
    }

    fn mark(&self, node: NodeId) -> Mark {
        self.nodes.get(node).map(|node| node.mark).unwrap_or_default()
    }

    /// Begins to decode a node. A scalar is done at once and handed back; the others leave a frame.
    fn enter(&mut self, mut id: NodeId, merging: bool) -> Result<Option<(ValueId, Mark)>, YamlError> {
        loop {
            let Some(node) = self.nodes.get(id) else {
                return Ok(None);
            };
            self.guard.count(node.mark)?;
            match &node.content {
                Content::Alias { target, name } => {
                    if std::mem::replace(&mut self.aliases_entered[id], true) {
                        return Err(YamlError::new(
                            node.mark.byte,
                            format!("anchor '{name}' value contains itself"),
                        ));
                    }
                    self.guard.depth += 1;
                    self.frames.push(Frame::Alias { node: id });
                    id = *target;
                }
                Content::Sequence(_) => {
                    self.frames.push(Frame::Sequence {
                        node: id,
                        next: 0,
                        items: Vec::new(),
                    });
                    return Ok(None);
                }
                Content::Mapping(_) => {
                    if !merging {
                        self.maps.push(HashMap::new());
                    }
                    self.frames.push(Frame::Mapping {
                        node: id,
                        next: 0,
                        key: None,
                        merging,
                    });
                    return Ok(None);
                }
                Content::Scalar { tag, text, implicit } => {
                    self.guard.expand(node, text)?;
                    let scalar = resolve::resolve(tag, *implicit, text)
                        .map_err(|problem| YamlError::new(node.mark.byte, problem))?;
                    let mark = node.mark;
                    let (json, fails, key) = match scalar {
                        Scalar::Null => (Json::Null, Fails::Never, Key::Null),
                        Scalar::Bool(bool) => (Json::Bool(bool), Fails::Never, Key::Bool(bool)),
                        Scalar::Int(int) => (Json::Number, Fails::Never, Key::Int(int)),
                        Scalar::Uint(uint) => (Json::Number, Fails::Never, Key::Uint(uint)),
                        Scalar::Float(float) if float.is_nan() => {
                            self.nans += 1;
                            (Json::Number, Fails::Always, Key::NotANumber(self.nans))
                        }
                        Scalar::Float(float) => {
                            let fails = if float.is_infinite() {
                                Fails::Always
                            } else {
                                Fails::Never
                            };
                            (Json::Number, fails, Key::Float((float + 0.0).to_bits()))
                        }
                        Scalar::Text => (
                            Json::String(text.clone()),
                            Fails::Never,
                            Key::Text(text.clone().into_bytes()),
                        ),
                        Scalar::Bytes(bytes) => {
                            (Json::String(json_text(&bytes)), Fails::Never, Key::Text(bytes))
                        }
                    };
                    self.last_key = key;
                    return Ok(Some((self.value(json, fails, (0, 0)), mark)));
                }
            }
        }
    }

    fn decode(&mut self, root: NodeId) -> Result<Option<(ValueId, Mark)>, YamlError> {
        let mut done = self.enter(root, false)?;
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(done);
            };
            match frame {
                Frame::Alias { node } => {
                    let node = *node;
                    self.frames.pop();
                    self.guard.depth -= 1;
                    self.aliases_entered[node] = false;
                    // Complaints about the value belong where the alias stands.
                    done = done.map(|(value, _)| (value, self.mark(node)));
                }
                Frame::Sequence { node, next, items } => {
                    if let Some(item) = done.take() {
                        items.push(item);
                    }
                    let (node, at) = (*node, *next);
                    *next += 1;
                    if let Some(&child) = children(self.nodes, node).get(at) {
                        done = self.enter(child, false)?;
                    } else if let Some(Frame::Sequence { items, .. }) = self.frames.pop() {
                        done = Some((self.array(items), self.mark(node)));
                    }
                }
                Frame::MergeList { node, left } => {
                    done = None;
                    let node = *node;
                    let Some(at) = left.checked_sub(1) else {
                        self.frames.pop();
                        continue;
                    };
                    *left = at;
                    let Some(&child) = children(self.nodes, node).get(at) else {
                        continue;
                    };
                    if !self.is_mapping(child) {
                        return Err(want_map(self.mark(child)));
                    }
                    self.enter(child, true)?;
                }
                Frame::Mapping {
                    node,
                    next,
                    key,
                    merging,
                } => {
                    let (node, merging) = (*node, *merging);
                    if let Some((value, mark)) = done.take() {
                        if let Some((key, key_mark)) = key.take() {
                            if let Some(map) = self.maps.last_mut() {
                                let member = Member {
                                    key: key_mark,
                                    value,
                                    mark,
                                    repeated: map.contains_key(&key),
                                };
                                map.insert(key, member);
                            }
                        } else {
                            if matches!(
                                self.values.get(value).map(|value| &value.json),
                                Some(Json::Array(_) | Json::Object(_))
                            ) {
                                return Err(YamlError::new(
                                    mark.byte,
                                    "invalid map key: a key cannot be a list or a map",
                                ));
                            }
                            *key = Some((self.last_key.clone(), mark));
                        }
                    }
                    let at = *next;
                    let wants_value = key.is_some();
                    let Some(&child) = children(self.nodes, node).get(at) else {
                        self.frames.pop();
                        done = match merging {
                            true => None,
                            false => self.maps.pop().map(|map| (self.object(map), self.mark(node))),
                        };
                        continue;
                    };
                    if !wants_value && is_merge_key(self.nodes, child) {
                        *next += 2;
                        if let Some(&value) = children(self.nodes, node).get(at + 1) {
                            self.merge(value)?;
                        }
                    } else {
                        *next += 1;
                        done = self.enter(child, false)?;
                    }
                }
            }
        }
    }

    /// A mapping, or an alias of one.
    fn is_mapping(&self, node: NodeId) -> bool {
        match self.nodes.get(node).map(|node| &node.content) {
            Some(Content::Mapping(_)) => true,
            Some(Content::Alias { target, .. }) => {
                matches!(
                    self.nodes.get(*target).map(|node| &node.content),
                    Some(Content::Mapping(_))
                )
            }
            _ => false,
        }
    }

    fn merge(&mut self, value: NodeId) -> Result<(), YamlError> {
        if self.is_mapping(value) {
            self.enter(value, true)?;
        } else if let Some(Content::Sequence(children)) = self.nodes.get(value).map(|node| &node.content) {
            self.frames.push(Frame::MergeList {
                node: value,
                left: children.len(),
            });
        } else {
            return Err(want_map(self.mark(value)));
        }
        Ok(())
    }

    fn array(&mut self, items: Vec<(ValueId, Mark)>) -> ValueId {
        let (mut fails, mut height) = (Fails::Never, (0, 0));
        for value in items.iter().filter_map(|&(item, _)| self.values.get(item)) {
            fails = fails.max(value.fails);
            height = (height.0.max(value.height.0), height.1.max(value.height.1));
        }
        self.value(Json::Array(items), fails, (height.0 + 1, height.1 + 1))
    }

    fn object(&mut self, map: HashMap<Key, Member>) -> ValueId {
        let (mut fails, mut height) = (Fails::Never, (0, 0));
        let mut members: Vec<(Vec<u8>, Member)> = Vec::with_capacity(map.len());
        for (key, member) in map {
            match key.json() {
                Some(key) => members.push((key, member)),
                None => fails = Fails::Always,
            }
        }
        members.sort_by(|(a, x), (b, y)| a.cmp(b).then(x.key.byte.cmp(&y.key.byte)));
        for same_key in members.chunk_by(|(a, _), (b, _)| a == b) {
            let (mut least, mut most) = ((Fails::Always, u32::MAX), (Fails::Never, 0));
            for value in same_key
                .iter()
                .filter_map(|(_, member)| self.values.get(member.value))
            {
                least = (least.0.min(value.fails), least.1.min(value.height.0));
                most = (most.0.max(value.fails), most.1.max(value.height.1));
            }
            fails = fails.max(if least.0 == most.0 { most.0 } else { Fails::Perhaps });
            height = (height.0.max(least.1), height.1.max(most.1));
        }
        members.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        self.value(Json::Object(members), fails, (height.0 + 1, height.1 + 1))
    }
}

fn children(nodes: &[Node], node: NodeId) -> &[NodeId] {
    match nodes.get(node).map(|node| &node.content) {
        Some(Content::Sequence(children) | Content::Mapping(children)) => children,
        _ => &[],
    }
}

fn is_merge_key(nodes: &[Node], node: NodeId) -> bool {
    matches!(nodes.get(node).map(|node| &node.content),
        Some(Content::Scalar { tag, text, implicit }) if text == "<<" && (*implicit || resolve::is_merge_tag(tag)))
}

fn want_map(mark: Mark) -> YamlError {
    YamlError::new(
        mark.byte,
        "map merge ('<<') requires map or sequence of maps as the value",
    )
}

/// What is left of a string that goes through JSON: every byte that is not UTF-8 becomes U+FFFD.
fn json_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n('\u{FFFD}', chunk.invalid().len()));
    }
    text
}

/// Converts the first document of a text to JSON, as sigs.k8s.io/yaml's `YAMLToJSON` does.
pub(super) fn to_json(text: &str) -> Result<JsonDocument, YamlError> {
    /// `encoding/json`'s limit of nesting.
    const MAX_JSON_DEPTH: u32 = 10_000;
    let (nodes, root) = compose(text)?;
    let mut decoder = Decoder {
        nodes: &nodes,
        guard: AliasGuard::default(),
        aliases_entered: vec![false; nodes.len()],
        values: Vec::new(),
        frames: Vec::new(),
        maps: Vec::new(),
        nans: 0,
        last_key: Key::Null,
    };
    let root = match root {
        // The document itself counts as one decoding.
        Some(root) => {
            decoder.guard.count(decoder.mark(root))?;
            decoder.decode(root)?
        }
        None => None,
    };
    let values = decoder.values;
    let mut fails = Fails::Never;
    if let Some(value) = root.and_then(|(root, _)| values.get(root)) {
        fails = value.fails;
        if value.height.0 > MAX_JSON_DEPTH {
            fails = Fails::Always;
        } else if value.height.1 > MAX_JSON_DEPTH {
            fails = fails.max(Fails::Perhaps);
        }
    }
    Ok(JsonDocument { values, root, fails })
}

/// What decoding into a list of strings left behind.
#[derive(Debug, Default)]
pub(super) struct Strings {
    /// The list's items with their position in it and their place. After an error that stops the decoding, the rest of
    /// the list stands as empty strings, as it does in the authenticator.
    pub(super) items: Vec<(String, usize, Mark)>,
    /// Things that were passed over, and what stopped the decoding.
    pub(super) errors: Vec<YamlError>,
    /// The last error stopped the decoding.
    pub(super) stopped: bool,
}

/// Decodes the first document of a text into a list of strings, as yaml.v2 does for Go's `[]string`: scalars keep their
/// text whatever they look like.
pub(super) fn to_strings(text: &str) -> Strings {
    let mut strings = Strings::default();
    let (nodes, root) = match compose(text) {
        Ok((nodes, Some(root))) => (nodes, root),
        Ok((_, None)) => return strings,
        Err(error) => {
            strings.errors.push(error);
            strings.stopped = true;
            return strings;
        }
    };
    let mut guard = AliasGuard {
        decoded: 1,
        ..AliasGuard::default()
    };
    if let Err(error) = decode_strings(&nodes, root, &mut guard, &mut strings) {
        strings.errors.push(error);
        strings.stopped = true;
    }
    strings
}

fn decode_strings(
    nodes: &[Node],
    root: NodeId,
    guard: &mut AliasGuard,
    strings: &mut Strings,
) -> Result<(), YamlError> {
    let root = follow(nodes, root, guard)?;
    let Some(node) = nodes.get(root) else {
        return Ok(());
    };
    let children = match &node.content {
        Content::Sequence(children) => children,
        Content::Scalar { tag, text, implicit } => {
            let scalar = resolve::resolve(tag, *implicit, text)
                .map_err(|problem| YamlError::new(node.mark.byte, problem))?;
            if scalar != Scalar::Null {
                strings.errors.push(YamlError::new(
                    node.mark.byte,
                    "found a single value instead of a list",
                ));
            }
            return Ok(());
        }
        _ => {
            strings
                .errors
                .push(YamlError::new(node.mark.byte, "found a map instead of a list"));
            return Ok(());
        }
    };
    let depth = guard.depth;
    for (index, &child) in children.iter().enumerate() {
        let mut item = || -> Result<Result<String, &'static str>, YamlError> {
            let target = follow(nodes, child, guard)?;
            let Some(node) = nodes.get(target) else {
                return Ok(Err("found nothing"));
            };
            if let Content::Scalar { text, .. } = &node.content {
                guard.expand(node, text)?;
            }
            guard.depth = depth;
            let Content::Scalar { tag, text, implicit } = &node.content else {
                return Ok(Err(match node.content {
                    Content::Sequence(_) => "found a list instead of an account number",
                    _ => "found a map instead of an account number",
                }));
            };
            let scalar = resolve::resolve(tag, *implicit, text)
                .map_err(|problem| YamlError::new(node.mark.byte, problem))?;
            Ok(Ok(match scalar {
                Scalar::Null => String::new(),
                Scalar::Bytes(bytes) => json_text(&bytes),
                _ => text.clone(),
            }))
        };
        let mark = nodes.get(child).map(|node| node.mark).unwrap_or_default();
        match item() {
            Ok(Ok(text)) => strings.items.push((text, index, mark)),
            Ok(Err(problem)) => strings.errors.push(YamlError::new(mark.byte, problem)),
            Err(error) => {
                for rest in strings.items.len()..children.len() {
                    strings.items.push((String::new(), rest, mark));
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Counts a decoding and follows aliases to what they stand for.
fn follow(nodes: &[Node], mut id: NodeId, guard: &mut AliasGuard) -> Result<NodeId, YamlError> {
    loop {
        let Some(node) = nodes.get(id) else { return Ok(id) };
        guard.count(node.mark)?;
        match node.content {
            Content::Alias { target, .. } => {
                guard.depth += 1;
                id = target;
            }
            _ => return Ok(id),
        }
    }
}
