//! A YAML tree that remembers where every node stands in the file.
//!
//! serde gives values without positions; findings need lines, and patching needs the exact bytes of one scalar. The
//! tree is an arena, so that no input can make building, walking or dropping it recurse.
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Single,
    Double,
    /// `|`: the one form in which every line of the value is a line of the file.
    Literal,
    /// `>`: lines are joined.
    Folded,
}

pub type NodeId = usize;

#[derive(Debug, Clone)]
pub enum Kind {
    /// A scalar after YAML's escape processing.
    Scalar {
        value: String,
        style: Style,
        /// An explicit tag such as `!!str` stands before it.
        tagged: bool,
    },
    Seq(Vec<NodeId>),
    /// A mapping, its pairs in the order of the file.
    Map {
        pairs: Vec<(NodeId, NodeId)>,
        flow: bool,
    },
    /// `*name`; the node it stands for, if that was complete when the alias was read.
    Alias(Option<NodeId>),
}

#[derive(Debug, Clone)]
pub struct Node {
    pub kind: Kind,
    /// Its bytes in the text that was parsed. For a block scalar: from its first line of text, without the
    /// `|` or `>` before it.
    pub span: Range<usize>,
    /// Line of its first byte, from 1.
    pub line: usize,
    /// Column of its first byte in characters, from 0.
    pub column: usize,
    /// `&name` stands before it.
    pub anchored: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Doc {
    nodes: Vec<Node>,
    root: Option<NodeId>,
}

enum Open {
    Seq(NodeId, Vec<NodeId>),
    Map(NodeId, Vec<(NodeId, NodeId)>, Option<NodeId>),
}

/// Reads every document of a YAML stream.
///
/// # Errors
/// [`YamlError`] at the first place that is not YAML. Nesting is limited by the parser (255 levels).
pub fn parse(text: &str) -> Result<Vec<Doc>, YamlError> {
    let options = granit_parser::options! { emit_comments: false };
    let mut docs = Vec::new();
    let mut doc = Doc::default();
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, NodeId> = HashMap::new();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|e| YamlError {
            line: e.marker().line(),
            column: e.marker().col() + 1,
            message: e.info(),
        })?;
        let (kind, anchor) = match event {
            Event::DocumentStart(..) => {
                doc = Doc::default();
                anchors.clear();
                continue;
            }
            Event::DocumentEnd => {
                docs.push(std::mem::take(&mut doc));
                continue;
            }
            Event::Scalar(value, style, anchor, tag) => {
                let style = match style {
                    ScalarStyle::SingleQuoted => Style::Single,
                    ScalarStyle::DoubleQuoted => Style::Double,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                    _ => Style::Plain,
                };
                (
                    Kind::Scalar {
                        value: value.into_owned(),
                        style,
                        tagged: tag.is_some(),
                    },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, _) => (Kind::Seq(Vec::new()), anchor),
            Event::MappingStart(style, anchor, _) => (
                Kind::Map {
                    pairs: Vec::new(),
                    flow: style == StructureStyle::Flow,
                },
                anchor,
            ),
            Event::Alias(id) => (Kind::Alias(anchors.get(&id).copied()), 0),
            Event::SequenceEnd | Event::MappingEnd => {
                let done = match open.pop() {
                    Some(Open::Seq(id, items)) => {
                        doc.nodes[id].kind = Kind::Seq(items);
                        Some(id)
                    }
                    Some(Open::Map(id, found, _)) => {
                        if let Kind::Map { pairs, .. } = &mut doc.nodes[id].kind {
                            *pairs = found;
                        }
                        Some(id)
                    }
                    None => None,
                };
                if let Some(id) = done {
                    doc.nodes[id].span.end = span.byte_range().map_or(doc.nodes[id].span.end, |r| r.end);
                    attach(&mut doc, &mut open, id);
                }
                continue;
            }
            _ => continue,
        };
        let id = doc.nodes.len();
        let collection = matches!(kind, Kind::Seq(_) | Kind::Map { .. });
        let is_seq = matches!(kind, Kind::Seq(_));
        doc.nodes.push(Node {
            kind,
            span: span.byte_range().unwrap_or(0..0),
            line: span.start.line(),
            column: span.start.col(),
            anchored: anchor != 0,
        });
        if anchor != 0 {
            anchors.insert(anchor, id);
        }
        if collection {
            open.push(if is_seq {
                Open::Seq(id, Vec::new())
            } else {
                Open::Map(id, Vec::new(), None)
            });
        } else {
            attach(&mut doc, &mut open, id);
        }
    }
    Ok(docs)
}

fn attach(doc: &mut Doc, open: &mut [Open], id: NodeId) {
    match open.last_mut() {
        Some(Open::Seq(_, items)) => items.push(id),
        Some(Open::Map(_, pairs, key)) => match key.take() {
            Some(k) => pairs.push((k, id)),
            None => *key = Some(id),
        },
        None => doc.root = Some(id),
    }
}

impl Doc {
    pub fn root(&self) -> Option<NodeId> {
        self.root
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Every node in the order of the file.
    pub fn ids(&self) -> Range<NodeId> {
        0..self.nodes.len()
    }

    /// The node behind an alias, or the node itself.
    pub fn resolve(&self, id: NodeId) -> NodeId {
        match self.nodes[id].kind {
            // An alias never points at an alias: anchors stand on nodes with content.
            Kind::Alias(Some(target)) => target,
            _ => id,
        }
    }

    /// The value under `key` of a mapping (aliases followed), with its key's node. The last one wins, as in Kubernetes.
    pub fn entry(&self, id: NodeId, key: &str) -> Option<(NodeId, NodeId)> {
        match &self.nodes[self.resolve(id)].kind {
            Kind::Map { pairs, .. } => pairs
                .iter()
                .rev()
                .find(|(k, _)| self.text(*k) == Some(key))
                .map(|(k, v)| (*k, *v)),
            _ => None,
        }
    }

    pub fn at(&self, id: NodeId, path: &[&str]) -> Option<NodeId> {
        path.iter()
            .try_fold(id, |node, key| self.entry(node, key).map(|(_, v)| v))
    }

    /// A scalar's text (aliases followed).
    pub fn text(&self, id: NodeId) -> Option<&str> {
        match &self.nodes[self.resolve(id)].kind {
            Kind::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The node as JSON, plain scalars read by YAML's core schema. Aliases are expanded within `budget` nodes.
    pub fn json(&self, id: NodeId, budget: &mut usize) -> Option<Value> {
        *budget = budget.checked_sub(1)?;
        let id = self.resolve(id);
        Some(match &self.nodes[id].kind {
            Kind::Scalar {
                value,
                style: Style::Plain,
                tagged: false,
            } => plain(value),
            Kind::Scalar { value, .. } => Value::String(value.clone()),
            Kind::Seq(items) => Value::Array(
                items
                    .iter()
                    .map(|i| self.json(*i, budget))
                    .collect::<Option<_>>()?,
            ),
            Kind::Map { pairs, .. } => {
                let mut map = serde_json::Map::new();
                for (k, v) in pairs {
                    if let Some(key) = self.text(*k) {
                        map.insert(key.to_owned(), self.json(*v, budget)?);
                    }
                }
                Value::Object(map)
            }
            Kind::Alias(_) => Value::Null,
        })
    }
}

/// YAML 1.2's core schema for plain scalars, as far as a Kubernetes manifest can tell the difference.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let numeric = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
            if numeric && let Ok(n) = text.parse::<i64>() {
                return Value::from(n);
            }
            if numeric && let Ok(n) = text.parse::<f64>() {
                return Value::from(n);
            }
            Value::String(text.to_owned())
        }
    }
}

/// Every document of a text as JSON, within a bound on the nodes that aliases may expand to.
///
/// # Errors
/// [`YamlError`] where the text is not YAML or expands beyond the bound.
pub fn json_documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut budget = 200_000;
    parse(text)?
        .iter()
        .filter_map(|doc| doc.root().map(|root| doc.json(root, &mut budget)))
        .map(|v| {
            v.ok_or(YamlError {
                line: 1,
                column: 1,
                message: "aliases expand too far".into(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_bytes() {
        let text = "a: 1\nspec:\n  module: |\n    x = 1\n\n    y = 2\nb: \"q\\n\"\n---\n- é: &n z\n- *n\n";
        let docs = parse(text).expect("parses");
        assert_eq!(docs.len(), 2);
        let root = docs[0].root().expect("root");
        let module = docs[0].at(root, &["spec", "module"]).expect("module");
        let node = docs[0].node(module);
        assert_eq!(docs[0].text(module), Some("x = 1\n\ny = 2\n"));
        assert_eq!((node.line, node.column), (4, 4));
        assert!(
            text[node.span.clone()].starts_with("x = 1\n"),
            "{:?}",
            &text[node.span.clone()]
        );
        let b = docs[0].at(root, &["b"]).expect("b");
        assert_eq!(&text[docs[0].node(b).span.clone()], "\"q\\n\"");
        let second = docs[1]
            .json(docs[1].root().expect("root"), &mut 100)
            .expect("json");
        assert_eq!(second, serde_json::json!([{"é": "z"}, "z"]));
    }

    #[test]
    fn aliases_do_not_explode() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..30 {
            let p = i - 1;
            text.push_str(&format!(
                "a{i}: &a{i} [*a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}]\n"
            ));
        }
        assert!(json_documents(&text).is_err());
    }

    #[test]
    fn errors_have_a_place() {
        let err = parse("a: [1\nb: }\n").expect_err("no YAML");
        assert!(err.line >= 1 && err.column >= 1 && !err.message.is_empty());
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
    }
}
