//! Where Terraform modules stand: bare `.tf` files, and inline in WorkspaceTemplates and Workspaces.
//!
//! Shapes: CAPT's `WorkspaceTemplate` (`spec.template.spec.forProvider`, older: `spec.template.spec`, `spec`) and Crossplane's
//! `Workspace` (`spec.forProvider`), wherever they stand in the YAML: as documents, in a `List`, in a `Composition`. Only
//! `source: Inline` carries the module itself.
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use super::placeholder;
use super::yaml::{self, Doc, Kind, Node, NodeId, Style};
use crate::model::Command;

/// The Kubernetes object that carries a module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ObjectRef {
    /// `WorkspaceTemplate` or `Workspace`.
    pub kind: String,
    /// `metadata.namespace`, where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `metadata.name`; `metadata.generateName` with `*`; empty when neither is there.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(ns) => write!(f, "{} {ns}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Hcl,
    Yaml,
}

/// One module and where its text stands.
#[derive(Debug, Clone)]
pub struct ModuleSource {
    pub object: Option<ObjectRef>,
    /// The Terraform text, as YAML hands it over.
    pub text: String,
    /// The file's line on which the module's first line stands; none for an object that came from the API server.
    pub first_line: Option<usize>,
    /// Characters before each line of the module in the file.
    pub indent: usize,
    /// Each line of the module is a line of the file (not so in a quoted or folded scalar).
    pub line_by_line: bool,
    /// `providerConfigRef.name` beside it.
    pub provider_config: Option<String>,
    splice: Splice,
    vars: Vars,
}

#[derive(Debug, Clone)]
enum Splice {
    Whole,
    /// A `|` block: the bytes of its lines, and their indentation in bytes.
    Literal {
        content: Range<usize>,
        indent: usize,
    },
    /// Any other scalar in a block mapping: written anew as a `|` block under a key at this column.
    AsBlock {
        span: Range<usize>,
        key_column: usize,
    },
    /// A scalar between braces: written anew in double quotes.
    AsQuoted {
        span: Range<usize>,
    },
    Refuse(String),
}

/// A module that could not be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub object: ObjectRef,
    pub line: usize,
    /// Why, as a clause: "its source is Remote (...)".
    pub reason: String,
}

/// A Kubernetes object outside any module that may bring NodePools to a cluster.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub object: ObjectRef,
    pub line: usize,
    pub value: Value,
}

/// What stands in a file of Kubernetes objects.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub modules: Vec<ModuleSource>,
    /// The modules that it names but does not hold.
    pub skipped: Vec<Skipped>,
    pub manifests: Vec<Manifest>,
}

#[derive(Debug, Clone)]
pub struct Input {
    pub name: String,
    /// The whole text, a byte order mark included.
    pub text: String,
    pub format: Format,
    /// Asked for by its own name, not as part of a folder.
    pub named: bool,
    pub objects: Objects,
}

/// A module's new text, and a variable to pass to it as "true".
#[derive(Debug, Clone)]
pub struct Change {
    /// Index in [`Objects::modules`].
    pub index: usize,
    pub text: String,
    pub pass: Option<String>,
}

/// A text that cannot be read: exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Unreadable {
    pub file: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    pub message: String,
}

/// No template is near this; it bounds what a hostile file can cost.
pub const MAX_BYTES: usize = 16 << 20;
const BOM: char = '\u{feff}';

impl Input {
    /// Reads a file's bytes. `.tf` is Terraform, `.yaml`, `.yml` and `.json` are Kubernetes objects; for anything else (`-`
    /// too) the text decides.
    ///
    /// # Errors
    /// [`Unreadable`] with line and column: not UTF-8, not YAML, too large. HCL is parsed later.
    pub fn read(name: &str, bytes: Vec<u8>) -> Result<Self, Unreadable> {
        let unreadable = |line, column, message: String| Unreadable {
            file: name.into(),
            line,
            column,
            message,
        };
        if bytes.len() > MAX_BYTES {
            let message = format!(
                "{} MiB is more than a template can be (at most 16)",
                bytes.len() >> 20
            );
            return Err(unreadable(1, 1, message));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let valid = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]).into_owned();
            let column = valid.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
            unreadable(
                valid.matches('\n').count() + 1,
                column,
                "not UTF-8 text. Save the file as UTF-8".into(),
            )
        })?;
        let lower = name.to_ascii_lowercase();
        let ends = |suffixes: &[&str]| suffixes.iter().any(|s| lower.ends_with(s));
        if ends(&[".tf.json", ".tofu.json"]) {
            return Err(unreadable(
                1,
                1,
                "Terraform's JSON syntax is not read. Check the module's .tf files (HCL)".into(),
            ));
        }
        let format = if ends(&[".tf", ".tofu", ".hcl"]) {
            Format::Hcl
        } else if ends(&[".yaml", ".yml", ".json"]) || looks_like_objects(&text) {
            Format::Yaml
        } else {
            Format::Hcl
        };
        let objects = match format {
            Format::Hcl => Objects {
                modules: vec![ModuleSource::bare(text.trim_start_matches(BOM).to_owned())],
                ..Objects::default()
            },
            Format::Yaml => find(&text).map_err(|e| {
                let step = next_step(name, &text, e.line);
                unreadable(e.line, e.column, format!("not YAML: {}. {step}", e.message))
            })?,
        };
        Ok(Self {
            name: name.into(),
            text,
            format,
            named: true,
            objects,
        })
    }

    /// Whether it may read other files of its folder: Terraform by name, a chart's installation by the chart.
    pub fn reads_beside(&self) -> bool {
        let functions = [
            "file(",
            "templatefile(",
            "fileset(",
            "kubectl_path_documents",
            "chart",
        ];
        match self.format {
            Format::Hcl => functions.iter().any(|word| self.text.contains(word)),
            Format::Yaml => self
                .objects
                .manifests
                .iter()
                .any(|m| m.object.kind == "HelmChartProxy"),
        }
    }

    /// The whole file with modules replaced, every other byte as it was.
    ///
    /// # Errors
    /// A sentence, where a module stands in a form that cannot be replaced safely. What is returned was read back: it holds
    /// exactly the new texts.
    pub fn with_modules(&self, changes: &[Change]) -> Result<String, String> {
        let eol = if self.text.split('\n').next().is_some_and(|l| l.ends_with('\r')) {
            "\r\n"
        } else {
            "\n"
        };
        let mut edits = Vec::new();
        for change in changes {
            let module = &self.objects.modules[change.index];
            if let Some(variable) = &change.pass {
                edits.extend(
                    module
                        .vars
                        .pass(variable, eol)
                        .map_err(|why| format!("{}{why}", module.label_colon()))?,
                );
            }
            if module.text != change.text {
                edits.push(self.replacement(module, &change.text, eol)?);
            }
        }
        edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        let mut text = self.text.clone();
        for (range, replacement) in edits {
            text.replace_range(range, &replacement);
        }
        self.verify(&text, changes)?;
        Ok(text)
    }

    fn replacement(
        &self,
        module: &ModuleSource,
        new: &str,
        eol: &str,
    ) -> Result<(Range<usize>, String), String> {
        Ok(match &module.splice {
            Splice::Whole => {
                let start = self.text.len() - self.text.trim_start_matches(BOM).len();
                (start..self.text.len(), new.to_owned())
            }
            Splice::Literal { content, indent } => {
                let raw = &self.text[content.clone()];
                (content.clone(), relined(raw, &module.text, new, *indent, eol))
            }
            Splice::AsBlock { span, key_column } => {
                // What follows on the scalar's last line can only be a comment; it goes behind the bar.
                let rest = self.text[span.end..].split('\n').next().unwrap_or_default();
                let rest = rest.trim_end_matches('\r');
                let block = as_block(new, *key_column, rest.trim_end(), eol)?;
                (span.start..span.end + rest.len(), block)
            }
            Splice::AsQuoted { span } => {
                let quoted = serde_json::to_string(new).map_err(|e| e.to_string())?;
                (span.clone(), quoted)
            }
            Splice::Refuse(why) => return Err(format!("{}{why}", module.label_colon())),
        })
    }

    fn verify(&self, text: &str, changes: &[Change]) -> Result<(), String> {
        let again = Self::read(&self.name, text.as_bytes().to_vec()).map_err(|e| e.to_string())?;
        let modules = &self.objects.modules;
        let expected = modules.iter().enumerate().map(|(i, m)| {
            let change = changes.iter().find(|c| c.index == i);
            change.map_or(m.text.as_str(), |c| c.text.as_str())
        });
        let now = &again.objects.modules;
        if now.len() == modules.len() && now.iter().zip(expected).all(|(now, want)| now.text == want) {
            Ok(())
        } else {
            Err("the module stands in this file in a form that cannot be changed safely; write it as a `module: |` block"
                .into())
        }
    }
}

/// Where a variable can be passed to a module: `forProvider.vars`.
#[derive(Debug, Clone)]
enum Vars {
    /// Before the first item of the list, with this indentation.
    Item {
        at: usize,
        indent: String,
        keys: Vec<String>,
    },
    /// There is no list: it goes before `module`.
    List { at: usize, indent: String },
    /// On this line, by hand.
    ByHand(usize),
    /// The file has no such place.
    Nowhere,
}

impl Vars {
    /// Where `module` stands in `holder`.
    fn of(text: &str, doc: &Doc, holder: NodeId, key: NodeId) -> Self {
        let line = doc.node(key).line;
        let place = |node: NodeId| {
            let start = text[..doc.node(node).span.start].rfind('\n').map_or(0, |i| i + 1);
            let rest = &text[start..];
            let indent = &rest[..rest.len() - rest.trim_start_matches(' ').len()];
            (start, indent.to_owned(), &rest[indent.len()..])
        };
        let Some((_, vars)) = doc.entry(holder, "vars") else {
            let (at, indent, rest) = place(key);
            return if rest.starts_with("module") {
                Self::List { at, indent }
            } else {
                Self::ByHand(line)
            };
        };
        let Kind::Seq(items) = &doc.node(vars).kind else {
            return Self::ByHand(doc.node(vars).line);
        };
        let keys = items
            .iter()
            .filter_map(|item| doc.text(doc.entry(*item, "key")?.1).map(str::to_owned))
            .collect();
        match items.first().map(|item| place(*item)) {
            Some((at, indent, rest)) if rest.starts_with("- ") => Self::Item { at, indent, keys },
            _ => Self::ByHand(doc.node(vars).line),
        }
    }

    fn pass(&self, variable: &str, eol: &str) -> Result<Option<(Range<usize>, String)>, String> {
        let item = |indent: &str| format!("{indent}- key: {variable}{eol}{indent}  value: \"true\"{eol}");
        match self {
            Self::Item { keys, .. } if keys.iter().any(|key| key == variable) => Ok(None),
            Self::Item { at, indent, .. } => Ok(Some((*at..*at, item(indent)))),
            Self::List { at, indent } => Ok(Some((
                *at..*at,
                format!("{indent}vars:{eol}{}", item(&format!("{indent}  "))),
            ))),
            Self::ByHand(line) => Err(format!(
                "the variable {variable} cannot be passed to the module on line {line}; add `{{key: {variable}, value: \"true\"}}` to \
                 its forProvider.vars first"
            )),
            Self::Nowhere => Ok(None),
        }
    }
}

impl ModuleSource {
    /// A module that is a file of its own.
    pub(super) fn bare(text: String) -> Self {
        Self {
            object: None,
            text,
            first_line: Some(1),
            indent: 0,
            line_by_line: true,
            provider_config: None,
            splice: Splice::Whole,
            vars: Vars::Nowhere,
        }
    }

    fn label_colon(&self) -> String {
        self.object.as_ref().map(|o| format!("{o}: ")).unwrap_or_default()
    }

    /// The file's line of a line of the module (both from 1).
    pub fn file_line(&self, module_line: usize) -> Option<usize> {
        let first = self.first_line?;
        Some(if self.line_by_line {
            first + module_line.saturating_sub(1)
        } else {
            first
        })
    }

    /// A module that was read from the API server: a `WorkspaceTemplate` or `Workspace` object as JSON.
    ///
    /// # Errors
    /// Why it could not be looked into, as in [`Skipped::reason`].
    pub fn of_object(object: &serde_json::Value) -> Result<Self, Skipped> {
        // The object's own JSON is YAML, so that the rules of what is a module stand in one place.
        let text = object.to_string();
        let nothing = || Skipped {
            object: json_ref(object),
            line: 0,
            reason: "it has no module".into(),
        };
        let found = find(&text).map_err(|e| Skipped {
            reason: e.message,
            ..nothing()
        })?;
        match (found.modules.into_iter().next(), found.skipped.into_iter().next()) {
            (Some(module), _) => Ok(Self {
                first_line: None,
                splice: Splice::Whole,
                vars: Vars::Nowhere,
                ..module
            }),
            (None, Some(skipped)) => Err(skipped),
            (None, None) => Err(nothing()),
        }
    }

    /// Whether the text can be put back without touching anything but itself, and what happens to its form otherwise.
    pub fn form_note(&self) -> Option<&'static str> {
        match self.splice {
            Splice::AsBlock { .. } => Some("its module was not a `|` block and is written as one"),
            Splice::AsQuoted { .. } => {
                Some("its module stands between braces and is written in double quotes")
            }
            _ => None,
        }
    }
}

fn looks_like_objects(text: &str) -> bool {
    text.trim_start_matches(BOM).lines().any(|l| {
        ["apiVersion:", "kind:", "\"apiVersion\":", "---"]
            .iter()
            .any(|k| l.trim_start().starts_with(k))
    }) && yaml::parse(text).is_ok()
}

/// What to do about a text that does not parse at this line.
pub fn next_step(file: &str, text: &str, line: usize) -> String {
    let at = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let local = |words: &[&str]| Command::local(words);
    match placeholder::find(at).first() {
        Some((range, _)) => format!(
            "{} is a placeholder; fill it in first: `{}`, or `envsubst`",
            &at[range.clone()],
            local(&["clusterctl", "generate", "yaml", "--from", file])
        ),
        None if at.contains("{{") && text.contains("}}") => {
            "The file is a Go template; render it first (`helm template`) and check what that prints".into()
        }
        None => "Correct that line, then run this again".into(),
    }
}

/// Kinds outside a module that may bring NodePools: by group, or any group.
fn brings_pools(group: &str, kind: &str) -> bool {
    match kind {
        "NodePool" | "Provisioner" => group == "karpenter.sh",
        "HelmChartProxy" => group == "addons.cluster.x-k8s.io",
        "HelmRelease" => group == "helm.toolkit.fluxcd.io",
        "Application" => group == "argoproj.io",
        "ConfigMap" => group == "v1",
        _ => false,
    }
}

fn find(text: &str) -> Result<Objects, yaml::YamlError> {
    let mut found = Objects::default();
    let mut budget = 200_000;
    for doc in yaml::parse(text)? {
        for id in doc.ids() {
            if !matches!(doc.node(id).kind, Kind::Map { .. }) {
                continue;
            }
            let field = |key| doc.entry(id, key).and_then(|(_, v)| doc.text(v));
            let (Some(api), Some(kind)) = (field("apiVersion"), field("kind")) else {
                continue;
            };
            let group = api.split('/').next().unwrap_or_default();
            let object = object_ref(&doc, id, kind);
            let line = doc.node(id).line;
            let holders: &[&[&str]] = match kind {
                "WorkspaceTemplate" if group == "infrastructure.cluster.x-k8s.io" => &[
                    &["spec", "template", "spec", "forProvider"],
                    &["spec", "template", "spec"],
                    &["spec"],
                ],
                "Workspace" if group.ends_with("upbound.io") => &[&["spec", "forProvider"]],
                _ if brings_pools(group, kind) => {
                    match doc.json(id, &mut budget) {
                        Some(value) => found.manifests.push(Manifest { object, line, value }),
                        None => found.skipped.push(Skipped {
                            object,
                            line,
                            reason: "its aliases expand too far".into(),
                        }),
                    }
                    continue;
                }
                _ => continue,
            };
            match module_of(text, &doc, id, holders) {
                Ok(mut module) => {
                    module.object = Some(object);
                    found.modules.push(module);
                }
                Err(reason) => found.skipped.push(Skipped { object, line, reason }),
            }
        }
    }
    Ok(found)
}

fn json_ref(object: &serde_json::Value) -> ObjectRef {
    let text = |p: &str| object.pointer(p).and_then(|v| v.as_str()).map(str::to_owned);
    ObjectRef {
        kind: text("/kind").unwrap_or_default(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name").unwrap_or_default(),
    }
}

fn object_ref(doc: &Doc, id: NodeId, kind: &str) -> ObjectRef {
    let meta = |key: &str| {
        doc.at(id, &["metadata", key])
            .and_then(|n| doc.text(n))
            .map(str::to_owned)
    };
    ObjectRef {
        kind: kind.to_owned(),
        namespace: meta("namespace"),
        name: meta("name")
            .or_else(|| meta("generateName").map(|g| g + "*"))
            .unwrap_or_default(),
    }
}

fn module_of(text: &str, doc: &Doc, id: NodeId, holders: &[&[&str]]) -> Result<ModuleSource, String> {
    let holder = holders
        .iter()
        .filter_map(|path| doc.at(id, path))
        .find(|h| doc.entry(*h, "module").is_some() || doc.entry(*h, "source").is_some())
        .ok_or("it has no module")?;
    let field = |key| doc.entry(holder, key).and_then(|(_, v)| doc.text(v));
    match (field("source"), field("module")) {
        (Some("Inline"), _) => {}
        (Some(source), Some(from)) => {
            return Err(format!(
                "its source is {source} ({}), and only Inline holds the module itself",
                first_line(from)
            ));
        }
        (Some(source), None) => {
            return Err(format!(
                "its source is {source}, and only Inline holds the module itself"
            ));
        }
        (None, _) => return Err("it has no `source: Inline`".into()),
    }
    if field("inlineFormat").is_some_and(|f| f != "HCL") {
        return Err("its inlineFormat is JSON, and only HCL is read".into());
    }
    let (key, value) = doc.entry(holder, "module").ok_or("it has no module")?;
    let aliased = matches!(doc.node(value).kind, Kind::Alias(_));
    let value = doc.resolve(value);
    let Kind::Scalar {
        value: module,
        style,
        tagged,
    } = &doc.node(value).kind
    else {
        return Err("its module is not a text".into());
    };
    let node = doc.node(value);
    let block = literal(text, doc, key, module);
    let shared = aliased || node.anchored || *tagged && block.is_none();
    let (first_line, indent) = match &block {
        Some((_, indent, first)) if !aliased => (*first, Some(*indent)),
        _ => (node.line, None),
    };
    let splice = match block {
        _ if shared => Splice::Refuse(
            "its module has a YAML anchor, alias or tag, so changing it could change another place too; write it as a plain \
             `module: |` block"
                .into(),
        ),
        Some((content, indent, _)) => Splice::Literal { content, indent },
        None => rewritten(text, doc, key, node, *style),
    };
    let config = [
        &["spec", "template", "spec", "providerConfigRef", "name"][..],
        &["spec", "providerConfigRef", "name"],
    ];
    Ok(ModuleSource {
        object: None,
        text: module.clone(),
        first_line: Some(first_line),
        indent: indent.unwrap_or(0),
        line_by_line: indent.is_some(),
        provider_config: config
            .iter()
            .find_map(|p| doc.at(id, p))
            .and_then(|n| doc.text(n))
            .map(str::to_owned),
        splice,
        vars: Vars::of(text, doc, holder, key),
    })
}

/// Where a module is written anew that is not a `|` block.
fn rewritten(text: &str, doc: &Doc, key: NodeId, node: &Node, style: Style) -> Splice {
    let in_flow = doc.ids().any(|n| {
        matches!(&doc.node(n).kind, Kind::Map { pairs, flow: true } if pairs.iter().any(|(k, _)| *k == key))
    });
    if in_flow {
        return Splice::AsQuoted {
            span: node.span.clone(),
        };
    }
    let key = doc.node(key);
    let span = if matches!(style, Style::Folded | Style::Literal) {
        // The span of a block scalar starts behind its header; what it needs is the header too.
        let Some(at) = text[key.span.end..node.span.start].find(['>', '|']) else {
            return Splice::Refuse("its module's form cannot be changed safely".into());
        };
        key.span.end + at..text[..node.span.end].trim_end().len()
    } else {
        node.span.clone()
    };
    Splice::AsBlock {
        span,
        key_column: key.column,
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

/// The bytes of a `|` block's lines under `key`, their indentation and first line, if stripping that indentation from
/// those lines gives exactly the value that the parser gave.
fn literal(text: &str, doc: &Doc, key: NodeId, value: &str) -> Option<(Range<usize>, usize, usize)> {
    let key_end = doc.node(key).span.end;
    let header_end = key_end + text.get(key_end..)?.find('\n')? + 1;
    let header = text[key_end..header_end]
        .trim_start()
        .strip_prefix(':')?
        .trim_start();
    // An anchor or tag may stand before the bar; it is refused by the caller, but the lines are still exact.
    let header = header
        .split_whitespace()
        .find(|w| !w.starts_with(['&', '!']))?
        .strip_prefix('|')?;
    let wanted = value.trim_end_matches('\n');
    let lines_wanted = wanted.split('\n').count();
    let raw = &text[header_end..];
    let mut end = header_end;
    for line in raw.split_inclusive('\n').take(lines_wanted) {
        end += line.len();
    }
    let raw = &text[header_end..end];
    let indent = match header.trim_matches(['+', '-']).parse::<usize>() {
        Ok(n) => doc.node(key).column + n,
        Err(_) => raw
            .lines()
            .find(|l| !l.trim().is_empty())
            .map(|l| l.len() - l.trim_start_matches(' ').len())?,
    };
    let stripped: Vec<&str> = raw.lines().map(|l| strip_indent(l, indent)).collect();
    (stripped.join("\n") == wanted).then(|| {
        (
            header_end..end,
            indent,
            text[..header_end].matches('\n').count() + 1,
        )
    })
}

/// A line of a block scalar without its indentation; a shorter line of blanks is an empty one.
fn strip_indent(line: &str, indent: usize) -> &str {
    let have = line.len() - line.trim_start_matches(' ').len();
    &line[have.min(indent)..]
}

/// The raw lines of a `|` block with a new value. Lines that stay keep their bytes, trailing blanks and line ends included.
fn relined(raw: &str, old: &str, new: &str, indent: usize, eol: &str) -> String {
    let raw_lines: Vec<&str> = raw.split_inclusive('\n').collect();
    let old_lines: Vec<&str> = old.trim_end_matches('\n').split('\n').collect();
    let new_lines: Vec<&str> = new.trim_end_matches('\n').split('\n').collect();
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for op in similar::TextDiff::from_slices(&old_lines, &new_lines).ops() {
        if let &similar::DiffOp::Equal {
            old_index,
            new_index,
            len,
        } = op
        {
            kept.extend((0..len).map(|i| (new_index + i, old_index + i)));
        }
    }
    let mut kept = kept.into_iter().peekable();
    let mut out = String::with_capacity(raw.len() + new.len().saturating_sub(old.len()) * 2);
    for (i, line) in new_lines.iter().enumerate() {
        match kept.next_if(|(n, _)| *n == i).and_then(|(_, o)| raw_lines.get(o)) {
            Some(raw_line) => out.push_str(raw_line.trim_end_matches(['\r', '\n'])),
            None if line.is_empty() => {}
            None => {
                out.extend(std::iter::repeat_n(' ', indent));
                out.push_str(line);
            }
        }
        out.push_str(eol);
    }
    if !raw.ends_with('\n') {
        // The file ended without a line end, and still does.
        out.truncate(out.trim_end_matches(['\r', '\n']).len());
    }
    out
}

/// A value as a `|` block under a key at `key_column`, without the line end after its last line.
fn as_block(value: &str, key_column: usize, comment: &str, eol: &str) -> Result<String, String> {
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err("its module holds control characters, so it cannot be written as a `|` block".into());
    }
    let chomp = match value.len() - value.trim_end_matches('\n').len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let indicator = if value.starts_with([' ', '\n', '\t']) {
        "2"
    } else {
        ""
    };
    let mut out = format!("|{indicator}{chomp}{comment}");
    let body = value.strip_suffix('\n').unwrap_or(value);
    for line in body.split('\n') {
        out.push_str(eol);
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', key_column + 2));
            out.push_str(line);
        }
    }
    Ok(out)
}
