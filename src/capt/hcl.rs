//! A Terraform module as a graph of blocks, and the part of its expressions that is decided without running it.
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;

use hcl_edit::Span;
use hcl_edit::expr::{
    BinaryOperator, Expression, ForExpr, ObjectKey, Traversal, TraversalOperator, UnaryOperator,
};
use hcl_edit::structure::{Block, Body, Structure};
use hcl_edit::template::{Directive, Element, Template};
use hcl_edit::visit::{Visit, visit_expr};

use super::beside::Beside;
use super::placeholder::{self, MARK, MARK_END};
use super::yaml;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    Resource,
    Data,
    Module,
    Variable,
    /// Anything else at the top of a module.
    Other,
}

#[derive(Debug)]
pub struct Entry<'a> {
    pub kind: BlockKind,
    /// How the module refers to it: `aws_x.y`, `data.aws_x.y`, `module.m`, `var.v`. Empty for other blocks.
    pub address: String,
    pub type_name: &'a str,
    pub block: &'a Block,
    /// Which of the module's files it stands in.
    pub part: usize,
    /// Its line there, from 1.
    pub line: usize,
    refs: Vec<String>,
    waits: Vec<String>,
}

/// A file of a module, parsed. Places in the tree are places in the text.
///
/// # Errors
/// Where the text is not Terraform.
pub fn parse(text: &str) -> Result<Body, hcl_edit::parser::Error> {
    let mut bare = BTreeSet::new();
    loop {
        let error = match hcl_edit::parser::parse_body(&placeholder::masked(text, &bare)) {
            Ok(body) => return Ok(body),
            Err(error) => error,
        };
        // Where a mark does not do, the placeholder stands outside a text.
        let at = error.location().offset();
        let found = placeholder::find(text)
            .into_iter()
            .find(|(range, _)| range.contains(&at));
        if bare.len() > 64 || !found.is_some_and(|(range, _)| bare.insert(range.start)) {
            return Err(error);
        }
    }
}

impl<'a> Entry<'a> {
    pub fn attr(&self, name: &str) -> Option<&'a Expression> {
        self.block.body.get_attribute(name).map(|a| &a.value)
    }

    /// A block's name, without its type.
    pub fn name(&self) -> &'a str {
        self.block.labels.get(1).map_or("", |label| label.as_str())
    }

    /// An attribute of its `lifecycle`.
    pub fn lifecycle(&self, name: &str) -> Option<&'a Expression> {
        let mut blocks = self.block.body.get_blocks("lifecycle");
        blocks.find_map(|l| l.body.get_attribute(name)).map(|a| &a.value)
    }
}

/// A module: every file of it, parsed.
#[derive(Debug)]
pub struct Graph<'a> {
    /// The blocks in the order of the files.
    pub entries: Vec<Entry<'a>>,
    by_address: HashMap<String, usize>,
    locals: HashMap<String, &'a Expression>,
    local_refs: HashMap<String, Vec<String>>,
    texts: Vec<&'a str>,
    /// The files in its folder.
    pub beside: &'a Beside,
    /// Those of them that its expressions read.
    pub read: RefCell<BTreeSet<String>>,
}

pub fn span(item: &impl Span) -> Range<usize> {
    item.span().unwrap_or(0..0)
}

impl<'a> Graph<'a> {
    pub fn new(parts: &[(&'a str, &'a Body)], beside: &'a Beside) -> Self {
        let mut graph = Self {
            entries: Vec::new(),
            by_address: HashMap::new(),
            locals: HashMap::new(),
            local_refs: HashMap::new(),
            texts: parts.iter().map(|(text, _)| *text).collect(),
            beside,
            read: RefCell::default(),
        };
        for (part, (text, body)) in parts.iter().enumerate() {
            let mut newlines = 0;
            let mut at = 0;
            for structure in body.iter() {
                let Structure::Block(block) = structure else {
                    continue;
                };
                let start = span(block).start;
                newlines += text.as_bytes()[at..start.max(at)]
                    .iter()
                    .filter(|b| **b == b'\n')
                    .count();
                at = start.max(at);
                if block.has_ident("locals") {
                    for attribute in block.body.attributes() {
                        let name = attribute.key.as_str().to_owned();
                        graph
                            .local_refs
                            .insert(name.clone(), references(&attribute.value));
                        graph.locals.insert(name, &attribute.value);
                    }
                    continue;
                }
                let label = |i: usize| block.labels.get(i).map_or("", |l| l.as_str());
                let (kind, address) = match block.ident.as_str() {
                    "resource" => (BlockKind::Resource, format!("{}.{}", label(0), label(1))),
                    "data" => (BlockKind::Data, format!("data.{}.{}", label(0), label(1))),
                    "module" => (BlockKind::Module, format!("module.{}", label(0))),
                    "variable" => (BlockKind::Variable, format!("var.{}", label(0))),
                    _ => (BlockKind::Other, String::new()),
                };
                let mut collector = References::default();
                collector.visit_body(&block.body);
                let depends_on = block.body.get_attribute("depends_on");
                let entry = Entry {
                    kind,
                    address,
                    type_name: label(0),
                    block,
                    part,
                    line: newlines + 1,
                    refs: collector.finish(),
                    waits: depends_on
                        .map(|a| depends_on_addresses(&a.value))
                        .unwrap_or_default(),
                };
                if !entry.address.is_empty() {
                    graph
                        .by_address
                        .insert(entry.address.clone(), graph.entries.len());
                }
                graph.entries.push(entry);
            }
        }
        graph
    }

    pub fn get(&self, address: &str) -> Option<&Entry<'a>> {
        self.by_address.get(address).map(|i| &self.entries[*i])
    }

    /// The line of a place in a block's file, from 1.
    pub fn line_in(&self, entry: &Entry<'a>, offset: usize) -> usize {
        let start = span(entry.block).start;
        entry.line
            + self.texts[entry.part][start..offset.max(start)]
                .matches('\n')
                .count()
    }

    /// Every block and local that must be done before `entry`, as Terraform orders them: references and `depends_on`, through
    /// locals and other blocks. A reference to a module's output waits for what that output needs, which stands in
    /// another file: such a module counts itself, but what its arguments refer to counts only where the module is
    /// waited for as a whole (`depends_on`), or waits as a whole itself.
    pub fn waits_for(&self, entry: &Entry<'a>) -> BTreeSet<String> {
        let mut queue: VecDeque<(String, bool)> = entry.refs.iter().map(|a| (a.clone(), false)).collect();
        for address in &entry.waits {
            queue.push_back((address.clone(), true));
        }
        let mut seen: HashSet<(String, bool)> = HashSet::new();
        while let Some((address, as_whole)) = queue.pop_front() {
            if !seen.insert((address.clone(), as_whole)) {
                continue;
            }
            if let Some(local) = address.strip_prefix("local.") {
                queue.extend(
                    self.local_refs
                        .get(local)
                        .into_iter()
                        .flatten()
                        .map(|a| (a.clone(), false)),
                );
            } else if let Some(next) = self.get(&address) {
                if next.kind != BlockKind::Module || as_whole {
                    queue.extend(next.refs.iter().map(|a| (a.clone(), false)));
                }
                queue.extend(next.waits.iter().map(|a| (a.clone(), true)));
            }
        }
        seen.into_iter().map(|(a, _)| a).collect()
    }

    pub fn local_expressions(&self) -> impl Iterator<Item = &'a Expression> {
        self.locals.values().copied()
    }

    /// Everything an expression refers to, through locals and the blocks it names.
    pub fn reached_from(&self, expr: &Expression) -> BTreeSet<String> {
        let mut queue: VecDeque<String> = references(expr).into();
        let mut seen = BTreeSet::new();
        while let Some(address) = queue.pop_front() {
            if !seen.insert(address.clone()) {
                continue;
            }
            if let Some(local) = address.strip_prefix("local.") {
                queue.extend(self.local_refs.get(local).into_iter().flatten().cloned());
            } else if let Some(next) = self.get(&address) {
                queue.extend(next.refs.iter().chain(&next.waits).cloned());
            }
        }
        seen
    }
}

#[derive(Default)]
struct References(BTreeSet<String>);

impl References {
    fn finish(self) -> Vec<String> {
        self.0.into_iter().collect()
    }
}

impl Visit for References {
    fn visit_expr(&mut self, node: &Expression) {
        if let Expression::Traversal(traversal) = node
            && let Some((address, _)) = address_of(traversal)
        {
            self.0.insert(address);
        }
        visit_expr(self, node);
    }
}

/// The addresses an expression refers to, its inner expressions and templates included.
pub fn references(expr: &Expression) -> Vec<String> {
    let mut collector = References::default();
    collector.visit_expr(expr);
    collector.finish()
}

/// The address a traversal begins with, and how many of its operators belong to it.
pub fn address_of(traversal: &Traversal) -> Option<(String, usize)> {
    let root = traversal.expr.as_variable()?.as_str();
    let attr = |i: usize| match traversal.operators.get(i).map(|o| o.value()) {
        Some(TraversalOperator::GetAttr(name)) => Some(name.as_str()),
        _ => None,
    };
    match root {
        "each" | "count" | "self" | "path" | "terraform" => None,
        "data" => Some((format!("data.{}.{}", attr(0)?, attr(1)?), 2)),
        _ => Some((format!("{root}.{}", attr(0)?), 1)),
    }
}

/// The addresses in a `depends_on` list; the quoted form of old Terraform too.
pub fn depends_on_addresses(list: &Expression) -> Vec<String> {
    let Some(items) = list.as_array() else {
        return references(list);
    };
    items
        .iter()
        .flat_map(|item| match item.as_str() {
            Some(quoted) => quoted
                .parse::<Expression>()
                .map(|e| references(&e))
                .unwrap_or_default(),
            None => references(item),
        })
        .collect()
}

/// A value as far as it is decided by the text of the module.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    Null,
    Bool(bool),
    Num(f64),
    /// A string. Parts that are not known are [`MARK`]s in it.
    Str(String),
    List(Vec<Val>),
    /// An object or map, in order. A key with a [`MARK`] stands for keys that are not known.
    Obj(Vec<(String, Val)>),
    /// One of these.
    Any(Vec<Val>),
    /// Not known here; index of the reason.
    Unknown(usize),
}

/// How much one module may make the evaluator do, in visited nodes and copied bytes.
const BUDGET: usize = 4_000_000;
const MAX_DEPTH: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vars {
    /// As its default: what the module does when nobody sets anything.
    Default,
    /// A variable can be set from outside: not known, but a default that is a text, list or object is followed, since
    /// that is where manifests are written.
    Open,
}

pub struct Evaluator<'g, 'a> {
    graph: &'g Graph<'a>,
    vars: Vars,
    memo: RefCell<HashMap<String, Option<Val>>>,
    reasons: RefCell<Vec<String>>,
    budget: Cell<usize>,
    /// A template directive (`%{ if }`, `%{ for }`) shaped the last text, so its structure is not certain.
    pub directives: Cell<bool>,
}

type Scope = Vec<(String, Val)>;

impl<'g, 'a> Evaluator<'g, 'a> {
    pub fn new(graph: &'g Graph<'a>, vars: Vars) -> Self {
        Self {
            graph,
            vars,
            memo: RefCell::default(),
            reasons: RefCell::default(),
            budget: Cell::new(BUDGET),
            directives: Cell::new(false),
        }
    }

    pub fn reason(&self, index: usize) -> String {
        self.reasons
            .borrow()
            .get(index)
            .cloned()
            .unwrap_or_else(|| "a value of Terraform".into())
    }

    /// The first reason that a text with [`MARK`]s names.
    pub fn reason_in(&self, text: &str) -> Option<String> {
        let rest = text.split_once(MARK)?.1;
        let what = rest.split_once(MARK_END).map_or(rest, |(what, _)| what);
        Some(placeholder::reason(what).unwrap_or_else(|| self.reason(what.parse().unwrap_or(usize::MAX))))
    }

    fn unknown(&self, why: impl Into<String>) -> Val {
        let mut reasons = self.reasons.borrow_mut();
        reasons.push(why.into());
        Val::Unknown(reasons.len() - 1)
    }

    fn spend(&self, amount: usize) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(amount));
        left > amount
    }

    /// An expression's value at the top of the module.
    pub fn eval(&self, expr: &Expression) -> Val {
        self.go(expr, &mut Vec::new(), 0)
    }

    /// An expression's value inside a block with `for_each`, for one of its elements.
    pub fn eval_each(&self, expr: &Expression, key: &str, value: &Val) -> Val {
        let each = Val::Obj(vec![
            ("key".into(), Val::Str(key.into())),
            ("value".into(), value.clone()),
        ]);
        self.go(expr, &mut vec![("each".into(), each)], 0)
    }

    fn go(&self, expr: &Expression, scope: &mut Scope, depth: usize) -> Val {
        if depth > MAX_DEPTH || !self.spend(1) {
            return self.unknown("an expression too large to follow");
        }
        let depth = depth + 1;
        match expr {
            Expression::Null(_) => Val::Null,
            Expression::Bool(b) => Val::Bool(*b.value()),
            Expression::Number(n) => Val::Num(n.value().as_f64().unwrap_or(f64::NAN)),
            Expression::String(s) => self.text(s.value().clone()),
            Expression::Array(items) => Val::List(items.iter().map(|i| self.go(i, scope, depth)).collect()),
            Expression::Object(object) => {
                let mut pairs = Vec::new();
                for (key, value) in object.iter() {
                    let key = match key {
                        ObjectKey::Ident(name) => name.as_str().to_owned(),
                        ObjectKey::Expression(e) => match self.go(e, scope, depth) {
                            Val::Str(s) => s,
                            other => self.as_text(&other),
                        },
                    };
                    put(&mut pairs, key, self.go(value.expr(), scope, depth));
                }
                Val::Obj(pairs)
            }
            Expression::StringTemplate(t) => self.template(t, scope, depth),
            Expression::HeredocTemplate(t) => self.template(&t.template, scope, depth),
            Expression::Parenthesis(p) => self.go(p.inner(), scope, depth),
            Expression::Variable(name) => match scope.iter().rev().find(|(n, _)| n == name.as_str()) {
                Some((_, v)) => self.copy(v),
                None if placeholder::is_name(name.as_str()) => {
                    let name = name.as_str().trim_end_matches('_');
                    let placeholder = placeholder::reason(&format!("${{{name}}}"));
                    self.unknown(placeholder.unwrap_or_default())
                }
                None => self.unknown(format!("`{}`", name.as_str())),
            },
            Expression::Conditional(c) => match self.go(&c.cond_expr, scope, depth) {
                Val::Bool(true) => self.go(&c.true_expr, scope, depth),
                Val::Bool(false) => self.go(&c.false_expr, scope, depth),
                _ => any(vec![
                    self.go(&c.true_expr, scope, depth),
                    self.go(&c.false_expr, scope, depth),
                ]),
            },
            Expression::UnaryOp(op) => match (op.operator.value(), self.go(&op.expr, scope, depth)) {
                (UnaryOperator::Not, Val::Bool(b)) => Val::Bool(!b),
                (UnaryOperator::Neg, Val::Num(n)) => Val::Num(-n),
                _ => self.unknown("a calculation"),
            },
            Expression::BinaryOp(op) => {
                let (l, r) = (
                    self.go(&op.lhs_expr, scope, depth),
                    self.go(&op.rhs_expr, scope, depth),
                );
                self.binary(*op.operator.value(), &l, &r)
            }
            Expression::FuncCall(call) => {
                if call.name.is_namespaced() {
                    return self.unknown("a function of a provider");
                }
                let args: Vec<Val> = call.args.iter().map(|a| self.go(a, scope, depth)).collect();
                self.call(call.name.name.as_str(), args, depth)
            }
            Expression::Traversal(t) => self.traverse(t, scope, depth),
            Expression::ForExpr(f) => self.for_expr(f, scope, depth),
        }
    }

    fn for_expr(&self, f: &ForExpr, scope: &mut Scope, depth: usize) -> Val {
        let items = self.go(&f.intro.collection_expr, scope, depth);
        let Some(items) = elements(&items) else {
            return self.unknown("a `for` over something not known");
        };
        let mut list = Vec::new();
        let mut pairs = Vec::new();
        for (key, value) in items {
            if !self.spend(weight(&value)) {
                return self.unknown("an expression too large to follow");
            }
            let mark = scope.len();
            if let Some(k) = &f.intro.key_var {
                scope.push((k.as_str().to_owned(), key));
            }
            scope.push((f.intro.value_var.as_str().to_owned(), value));
            let keep = f
                .cond
                .as_ref()
                .is_none_or(|c| self.go(&c.expr, scope, depth) != Val::Bool(false));
            if keep {
                let value = self.go(&f.value_expr, scope, depth);
                match &f.key_expr {
                    Some(k) => {
                        let key = self.go(k, scope, depth);
                        put(&mut pairs, self.as_text(&key), value);
                    }
                    None => list.push(value),
                }
            }
            scope.truncate(mark);
        }
        if f.key_expr.is_some() {
            Val::Obj(pairs)
        } else {
            Val::List(list)
        }
    }

    /// An attribute of a block, where it is a text.
    pub fn text_of(&self, entry: &Entry<'_>, name: &str) -> Option<String> {
        match self.eval(entry.attr(name)?) {
            Val::Str(text) => Some(text),
            _ => None,
        }
    }

    fn text(&self, text: String) -> Val {
        if self.spend(text.len() / 8) {
            Val::Str(text)
        } else {
            self.unknown("a text too large to follow")
        }
    }

    fn copy(&self, value: &Val) -> Val {
        if self.spend(weight(value)) {
            value.clone()
        } else {
            self.unknown("a value too large to follow")
        }
    }

    fn template(&self, template: &Template, scope: &mut Scope, depth: usize) -> Val {
        // "${x}" alone is x itself, whatever its type.
        if let Some(Element::Interpolation(only)) = template.as_single_element() {
            return self.go(&only.expr, scope, depth);
        }
        let mut out = String::new();
        self.render(template, scope, depth, &mut out);
        self.text(out)
    }

    fn render(&self, template: &Template, scope: &mut Scope, depth: usize, out: &mut String) {
        let mut trim = false;
        for element in template {
            match element {
                Element::Literal(text) => {
                    let text = if trim { text.trim_start() } else { text.as_str() };
                    trim = false;
                    out.push_str(text);
                }
                Element::Interpolation(i) => {
                    if i.strip.strip_start() {
                        out.truncate(out.trim_end().len());
                    }
                    trim = i.strip.strip_end();
                    let value = self.go(&i.expr, scope, depth);
                    out.push_str(&self.as_text(&value));
                }
                Element::Directive(directive) => {
                    if depth > MAX_DEPTH {
                        return;
                    }
                    match &**directive {
                        Directive::If(d) => match self.go(&d.if_expr.cond_expr, scope, depth) {
                            Val::Bool(false) => {
                                if let Some(e) = &d.else_expr {
                                    self.render(&e.template, scope, depth + 1, out);
                                }
                            }
                            known => {
                                if known != Val::Bool(true) {
                                    self.directives.set(true);
                                }
                                self.render(&d.if_expr.template, scope, depth + 1, out);
                            }
                        },
                        Directive::For(d) => {
                            let items = self.go(&d.for_expr.collection_expr, scope, depth);
                            let items = elements(&items).unwrap_or_else(|| {
                                self.directives.set(true);
                                vec![(
                                    self.unknown("a `for` in a template"),
                                    self.unknown("a `for` in a template"),
                                )]
                            });
                            for (key, value) in items {
                                if !self.spend(weight(&value)) {
                                    return;
                                }
                                let mark = scope.len();
                                if let Some(k) = &d.for_expr.key_var {
                                    scope.push((k.as_str().to_owned(), key));
                                }
                                scope.push((d.for_expr.value_var.as_str().to_owned(), value));
                                self.render(&d.for_expr.template, scope, depth + 1, out);
                                scope.truncate(mark);
                            }
                        }
                    }
                }
            }
            if !self.spend(out.len() / 64) {
                return;
            }
        }
    }

    fn as_text(&self, value: &Val) -> String {
        match value {
            Val::Null => String::new(),
            Val::Bool(b) => b.to_string(),
            Val::Num(n) => n.to_string(),
            Val::Str(s) if self.spend(s.len() / 8) => s.clone(),
            Val::Unknown(i) => format!("{MARK}{i}{MARK_END}"),
            // A text with structure decides more than its being uncertain hides.
            Val::Any(options) => match options
                .iter()
                .find(|o| matches!(o, Val::Str(s) if s.contains('\n')))
            {
                Some(Val::Str(s)) if self.spend(s.len() / 8) => s.clone(),
                _ => self.as_text(&self.unknown("a condition")),
            },
            _ => self.as_text(&self.unknown("a value in a text")),
        }
    }

    fn variable(&self, name: &str, depth: usize) -> Val {
        let default = self
            .graph
            .get(&format!("var.{name}"))
            .and_then(|e| e.block.body.get_attribute("default"));
        let default = default.map(|a| self.go(&a.value, &mut Vec::new(), depth));
        match (self.vars, default) {
            (Vars::Default, Some(value)) => value,
            (Vars::Open, Some(value)) => {
                let shown = match &value {
                    Val::Str(s) if s.len() < 40 => format!(", default {s:?}"),
                    Val::Bool(b) => format!(", default {b}"),
                    Val::Num(n) => format!(", default {n}"),
                    _ => String::new(),
                };
                let open = self.unknown(format!("var.{name} (set from outside{shown})"));
                match value {
                    Val::Str(s) if !s.contains('\n') => open,
                    Val::Null | Val::Bool(_) | Val::Num(_) => open,
                    Val::List(l) if l.is_empty() => open,
                    structured => any(vec![structured, open]),
                }
            }
            (_, None) => self.unknown(format!("var.{name} (set from outside)")),
        }
    }

    fn local(&self, name: &str, depth: usize) -> Val {
        if let Some(known) = self.memo.borrow().get(name) {
            return match known {
                Some(value) => self.copy(value),
                None => self.unknown(format!("local.{name}, which refers to itself")),
            };
        }
        let Some(expr) = self.graph.locals.get(name) else {
            return self.unknown(format!("local.{name}, which stands in another file"));
        };
        self.memo.borrow_mut().insert(name.to_owned(), None);
        let value = self.go(expr, &mut Vec::new(), depth);
        self.memo
            .borrow_mut()
            .insert(name.to_owned(), Some(value.clone()));
        value
    }

    fn traverse(&self, t: &Traversal, scope: &mut Scope, depth: usize) -> Val {
        let (mut value, skip) = match t.expr.as_variable().map(|v| v.as_str()) {
            Some(root) if !scope.iter().any(|(n, _)| n == root) => match address_of(t) {
                Some((address, used)) => {
                    let value = if let Some(name) = address.strip_prefix("local.") {
                        self.local(name, depth)
                    } else if let Some(name) = address.strip_prefix("var.") {
                        self.variable(name, depth)
                    } else if let Some(documents) = self.file_documents(&address, depth) {
                        documents
                    } else {
                        self.unknown(address)
                    };
                    (value, used)
                }
                None if root == "path" => (Val::Str(".".into()), 1),
                None => (self.unknown(format!("{root}.*")), t.operators.len()),
            },
            _ => (self.go(&t.expr, scope, depth), 0),
        };
        for operator in t.operators.iter().skip(skip) {
            value = match operator.value() {
                TraversalOperator::GetAttr(name) => self.index(&value, &Val::Str(name.as_str().to_owned())),
                TraversalOperator::Index(e) => {
                    let key = self.go(e, scope, depth);
                    self.index(&value, &key)
                }
                TraversalOperator::LegacyIndex(n) => self.index(&value, &Val::Num(*n.value() as f64)),
                TraversalOperator::FullSplat(_) | TraversalOperator::AttrSplat(_) => match value {
                    Val::List(_) | Val::Unknown(_) => value,
                    other => Val::List(vec![other]),
                },
            };
        }
        value
    }

    /// `data.kubectl_file_documents.x` and `data.kubectl_path_documents.x`: their `documents` and `manifests` are the documents
    /// of a text, or of the files that a pattern matches.
    fn file_documents(&self, address: &str, depth: usize) -> Option<Val> {
        let entry = self.graph.get(address).filter(|e| e.kind == BlockKind::Data)?;
        let argument = |name| Some(self.go(entry.attr(name)?, &mut Vec::new(), depth));
        let texts = match entry.type_name {
            "kubectl_file_documents" => vec![argument("content")?],
            "kubectl_path_documents" => match argument("pattern")? {
                Val::Str(pattern) => {
                    let files = self.graph.beside.matching(".", &pattern);
                    files.iter().map(|file| self.file("file", file)).collect()
                }
                other => vec![other],
            },
            _ => return None,
        };
        let map = Val::Obj(
            texts
                .iter()
                .enumerate()
                .map(|(i, text)| (i.to_string(), text.clone()))
                .collect(),
        );
        let list = Val::List(texts);
        Some(Val::Obj(vec![
            ("documents".into(), list),
            ("manifests".into(), map),
        ]))
    }

    fn file(&self, function: &str, path: &str) -> Val {
        match self.graph.beside.file(path) {
            Some((path, text)) => {
                self.graph.read.borrow_mut().insert(path.to_owned());
                self.text(text.to_owned())
            }
            None => {
                let shown = path.replace([MARK, MARK_END], "");
                self.unknown(format!("{function}({shown:?}), which is not read"))
            }
        }
    }

    fn index(&self, value: &Val, key: &Val) -> Val {
        match (value, key) {
            (Val::Obj(pairs), Val::Str(key)) if !key.contains(MARK) => {
                match pairs.iter().find(|(k, _)| k == key) {
                    Some((_, v)) => self.copy(v),
                    None => self.unknown(format!("a key `{key}`")),
                }
            }
            (Val::List(items), Val::Num(n)) => match items.get(*n as usize) {
                Some(v) => self.copy(v),
                None => self.unknown("an element of a list"),
            },
            // A splat: the attribute of each.
            (Val::List(items), Val::Str(_)) => Val::List(items.iter().map(|i| self.index(i, key)).collect()),
            (Val::Obj(pairs), _) => any(pairs.iter().map(|(_, v)| self.copy(v)).collect()),
            (Val::List(items), _) => any(items.iter().map(|v| self.copy(v)).collect()),
            (Val::Any(options), _) => any(options.iter().map(|o| self.index(o, key)).collect()),
            (Val::Unknown(i), _) => Val::Unknown(*i),
            _ => self.unknown("an element of something else"),
        }
    }

    fn binary(&self, operator: BinaryOperator, l: &Val, r: &Val) -> Val {
        let known = |v: &Val| !matches!(v, Val::Unknown(_) | Val::Any(_)) && !marked(v);
        match (operator, l, r) {
            (BinaryOperator::And, Val::Bool(false), _) | (BinaryOperator::And, _, Val::Bool(false)) => {
                Val::Bool(false)
            }
            (BinaryOperator::Or, Val::Bool(true), _) | (BinaryOperator::Or, _, Val::Bool(true)) => {
                Val::Bool(true)
            }
            (BinaryOperator::And | BinaryOperator::Or, Val::Bool(_), Val::Bool(b)) => Val::Bool(*b),
            (BinaryOperator::Eq, _, _) if known(l) && known(r) => Val::Bool(l == r),
            (BinaryOperator::NotEq, _, _) if known(l) && known(r) => Val::Bool(l != r),
            (op, Val::Num(a), Val::Num(b)) => match op {
                BinaryOperator::Plus => Val::Num(a + b),
                BinaryOperator::Minus => Val::Num(a - b),
                BinaryOperator::Mul => Val::Num(a * b),
                BinaryOperator::Less => Val::Bool(a < b),
                BinaryOperator::LessEq => Val::Bool(a <= b),
                BinaryOperator::Greater => Val::Bool(a > b),
                BinaryOperator::GreaterEq => Val::Bool(a >= b),
                _ => self.unknown("a calculation"),
            },
            _ => self.unknown("a calculation"),
        }
    }

    fn call(&self, name: &str, mut args: Vec<Val>, depth: usize) -> Val {
        let first = || args.first().cloned();
        match name {
            "yamlencode" | "jsonencode" => match first() {
                // JSON is YAML on one line, whatever it is put into.
                Some(value) => match to_json(&value) {
                    Some(json) => self.text(json.to_string()),
                    None => self.unknown(format!("{name}() of something not known")),
                },
                None => self.unknown(name),
            },
            "yamldecode" | "jsondecode" => match first() {
                Some(Val::Str(s)) => match yaml::json_documents(&s).ok().and_then(|d| d.into_iter().next()) {
                    Some(json) => from_json(&json),
                    None => self.unknown(format!("{name}() of a text that is not YAML")),
                },
                Some(Val::Unknown(i)) => Val::Unknown(i),
                _ => self.unknown(name),
            },
            "tolist" | "toset" | "tomap" | "nonsensitive" | "sensitive" | "trimspace" | "chomp" | "try"
            | "sort" | "distinct" | "reverse" | "one" | "tostring" | "tobool" | "tonumber" => {
                match (name, first()) {
                    ("one", Some(Val::List(items))) => items.into_iter().next().unwrap_or(Val::Null),
                    (_, Some(value)) => value,
                    _ => self.unknown(name),
                }
            }
            "indent" => match (args.first(), args.get(1)) {
                (Some(Val::Num(n)), Some(Val::Str(s))) if *n >= 0.0 && *n <= 64.0 => {
                    self.text(s.replace('\n', &format!("\n{}", " ".repeat(*n as usize))))
                }
                _ => args.pop().unwrap_or(Val::Null),
            },
            "merge" => {
                let mut pairs = Vec::new();
                for arg in args {
                    match arg {
                        Val::Obj(more) => more.into_iter().for_each(|(k, v)| put(&mut pairs, k, v)),
                        Val::Null => {}
                        other => pairs.push((self.as_text(&other), other)),
                    }
                }
                Val::Obj(pairs)
            }
            "concat" | "setunion" => {
                let mut all = Vec::new();
                for arg in args {
                    match arg {
                        Val::List(items) => all.extend(items),
                        other => all.push(other),
                    }
                }
                Val::List(all)
            }
            "flatten" => match first() {
                Some(Val::List(items)) => Val::List(
                    items
                        .into_iter()
                        .flat_map(|i| if let Val::List(l) = i { l } else { vec![i] })
                        .collect(),
                ),
                Some(other) => other,
                None => self.unknown(name),
            },
            "compact" => match first() {
                Some(Val::List(items)) => Val::List(
                    items
                        .into_iter()
                        .filter(|i| *i != Val::Null && *i != Val::Str(String::new()))
                        .collect(),
                ),
                Some(other) => other,
                None => self.unknown(name),
            },
            "coalesce" => args
                .into_iter()
                .find(|a| *a != Val::Null && *a != Val::Str(String::new()))
                .unwrap_or(Val::Null),
            "lookup" => match (args.first(), args.get(1)) {
                (Some(Val::Obj(pairs)), Some(Val::Str(key))) => match pairs.iter().find(|(k, _)| k == key) {
                    Some((_, v)) => v.clone(),
                    None => args.get(2).cloned().unwrap_or(Val::Null),
                },
                _ => self.unknown("lookup()"),
            },
            "element" => match (args.first(), args.get(1)) {
                (Some(list), Some(key)) => self.index(list, key),
                _ => self.unknown(name),
            },
            "values" => match first() {
                Some(Val::Obj(pairs)) => Val::List(pairs.into_iter().map(|(_, v)| v).collect()),
                _ => self.unknown("values()"),
            },
            "keys" => match first() {
                Some(Val::Obj(pairs)) => Val::List(pairs.into_iter().map(|(k, _)| Val::Str(k)).collect()),
                _ => self.unknown("keys()"),
            },
            "length" => match first() {
                Some(Val::List(items)) if !items.iter().any(marked) => Val::Num(items.len() as f64),
                Some(Val::Obj(pairs)) if !pairs.iter().any(|(k, _)| k.contains(MARK)) => {
                    Val::Num(pairs.len() as f64)
                }
                _ => self.unknown("length()"),
            },
            "join" => match (args.first(), args.get(1)) {
                (Some(Val::Str(sep)), Some(Val::List(items))) => {
                    let items: Vec<String> = items.iter().map(|i| self.as_text(i)).collect();
                    self.text(items.join(sep))
                }
                _ => self.unknown("join()"),
            },
            "split" => match (args.first(), args.get(1)) {
                (Some(Val::Str(sep)), Some(Val::Str(text))) if !sep.is_empty() => {
                    if !self.spend(text.len()) {
                        return self.unknown("a text too large to follow");
                    }
                    Val::List(text.split(sep.as_str()).map(|p| Val::Str(p.to_owned())).collect())
                }
                _ => self.unknown("split()"),
            },
            "file" | "templatefile" => match first() {
                Some(Val::Str(path)) => match (self.file(name, &path), args.get(1)) {
                    (Val::Str(text), Some(Val::Obj(vars))) => match text.parse::<Template>() {
                        Ok(template) => self.template(&template, &mut vars.clone(), depth),
                        Err(_) => self.unknown(format!("templatefile({path:?}), which is not a template")),
                    },
                    (text, _) => text,
                },
                _ => self.unknown(format!("{name}()")),
            },
            "fileset" => match (args.first(), args.get(1)) {
                (Some(Val::Str(directory)), Some(Val::Str(pattern))) => {
                    let files = self.graph.beside.matching(directory, pattern);
                    Val::List(files.into_iter().map(Val::Str).collect())
                }
                _ => self.unknown("fileset()"),
            },
            _ => self.unknown(format!("{name}()")),
        }
    }
}

fn put(pairs: &mut Vec<(String, Val)>, key: String, value: Val) {
    match pairs.iter_mut().find(|(k, _)| *k == key) {
        Some(slot) => slot.1 = value,
        None => pairs.push((key, value)),
    }
}

fn any(options: Vec<Val>) -> Val {
    let mut flat = Vec::new();
    for option in options {
        match option {
            Val::Any(more) => flat.extend(more),
            other => flat.push(other),
        }
    }
    if flat.len() == 1 {
        flat.remove(0)
    } else {
        Val::Any(flat)
    }
}

/// Key and value of every element of a collection; none where it is not known which there are.
pub fn elements(value: &Val) -> Option<Vec<(Val, Val)>> {
    match value {
        Val::List(items) => Some(
            items
                .iter()
                .enumerate()
                .map(|(i, v)| (Val::Num(i as f64), v.clone()))
                .collect(),
        ),
        Val::Obj(pairs) => Some(
            pairs
                .iter()
                .map(|(k, v)| (Val::Str(k.clone()), v.clone()))
                .collect(),
        ),
        Val::Any(options) => {
            let known: Vec<_> = options.iter().filter_map(elements).flatten().collect();
            (!known.is_empty()).then_some(known)
        }
        _ => None,
    }
}

fn weight(value: &Val) -> usize {
    match value {
        Val::Str(s) => 1 + s.len() / 8,
        Val::List(items) | Val::Any(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Val::Obj(pairs) => 1 + pairs.iter().map(|(k, v)| k.len() / 8 + weight(v)).sum::<usize>(),
        _ => 1,
    }
}

/// Whether anything in a value is not known.
pub fn marked(value: &Val) -> bool {
    match value {
        Val::Str(s) => s.contains(MARK),
        Val::List(items) => items.iter().any(marked),
        Val::Obj(pairs) => pairs.iter().any(|(k, v)| k.contains(MARK) || marked(v)),
        Val::Any(_) | Val::Unknown(_) => true,
        _ => false,
    }
}

/// A value as JSON; what is not known becomes a text with a [`MARK`]. None where the whole is not known.
pub fn to_json(value: &Val) -> Option<serde_json::Value> {
    use serde_json::Value;
    fn inner(value: &Val) -> Value {
        match value {
            Val::Null => Value::Null,
            Val::Bool(b) => Value::Bool(*b),
            Val::Num(n) if n.fract() == 0.0 && n.abs() < 9e15 => Value::from(*n as i64),
            Val::Num(n) => Value::from(*n),
            Val::Str(s) => Value::String(s.clone()),
            Val::List(items) => Value::Array(items.iter().map(inner).collect()),
            Val::Obj(pairs) => Value::Object(pairs.iter().map(|(k, v)| (k.clone(), inner(v))).collect()),
            Val::Any(options) => match options.first() {
                // Which one is not known; the list keeps both visible as one uncertain element.
                Some(Val::Unknown(i)) => Value::String(format!("{MARK}{i}{MARK_END}")),
                _ => Value::String(format!("{MARK}?{MARK_END}")),
            },
            Val::Unknown(i) => Value::String(format!("{MARK}{i}{MARK_END}")),
        }
    }
    (!matches!(value, Val::Unknown(_) | Val::Any(_))).then(|| inner(value))
}

fn from_json(json: &serde_json::Value) -> Val {
    use serde_json::Value;
    match json {
        Value::Null => Val::Null,
        Value::Bool(b) => Val::Bool(*b),
        Value::Number(n) => Val::Num(n.as_f64().unwrap_or(f64::NAN)),
        Value::String(s) => Val::Str(s.clone()),
        Value::Array(items) => Val::List(items.iter().map(from_json).collect()),
        Value::Object(map) => Val::Obj(map.iter().map(|(k, v)| (k.clone(), from_json(v))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph_of(text: &str, f: impl FnOnce(&Graph<'_>)) {
        let body = parse(text).expect("parses");
        f(&Graph::new(&[(text, &body)], &super::super::beside::NOTHING));
    }

    #[test]
    fn waiting_goes_through_locals_blocks_and_depends_on() {
        let text = r#"
resource "aws_iam_service_linked_role" "spot" { aws_service_name = "spot.amazonaws.com" }
locals {
  role = aws_iam_service_linked_role.spot.arn
  far  = { x = ["${local.role}"] }
}
resource "null_resource" "a" { triggers = { r = local.far.x[0] } }
resource "null_resource" "b" { depends_on = ["null_resource.a"] }
resource "null_resource" "c" { depends_on = [null_resource.z] }
module "m" {
  source = "./m"
  role   = aws_iam_service_linked_role.spot.arn
}
resource "null_resource" "output_only" { triggers = { x = module.m.out } }
resource "null_resource" "whole" { depends_on = [module.m] }
"#;
        graph_of(text, |g| {
            let waits = |a: &str| {
                g.waits_for(g.get(a).expect(a))
                    .contains("aws_iam_service_linked_role.spot")
            };
            assert!(waits("null_resource.a") && waits("null_resource.b") && waits("null_resource.whole"));
            assert!(!waits("null_resource.c") && !waits("null_resource.output_only"));
            assert_eq!(g.get("null_resource.a").expect("a").line, 7);
        });
    }

    #[test]
    fn values_are_followed_as_far_as_they_are_static() {
        let text = r#"
variable "type" { default = "on-demand" }
locals {
  a    = { x = [1, 2], y = "t" }
  b    = merge(local.a, { z = local.a.y })
  loop = local.loop
  all  = { for k, v in { p = 1, q = 2 } : k => v * 2 if v > 1 }
}
output "o" {
  value = [local.b.z, local.a.x[1], local.loop, "n-${local.a.y}", var.type, local.all, jsonencode(local.a), true ? 1 : 2,
  length(local.a.x) == 2, try(local.a.y, "no"), templatefile("${path.module}/np.yaml", {}), "a${var.type}b"]
}
"#;
        graph_of(text, |g| {
            let e = Evaluator::new(g, Vars::Open);
            let out = &g
                .entries
                .last()
                .expect("output")
                .block
                .body
                .get_attribute("value")
                .expect("value")
                .value;
            let Val::List(v) = e.eval(out) else {
                panic!("a list")
            };
            assert_eq!(v[0], Val::Str("t".into()));
            assert_eq!(v[1], Val::Num(2.0));
            assert!(matches!(v[2], Val::Unknown(_)));
            assert_eq!(v[3], Val::Str("n-t".into()));
            assert!(matches!(&v[4], Val::Unknown(i) if e.reason(*i).contains("var.type")));
            assert_eq!(v[5], Val::Obj(vec![("q".into(), Val::Num(4.0))]));
            assert_eq!(v[6], Val::Str(r#"{"x":[1,2],"y":"t"}"#.into()));
            assert_eq!(v[7], Val::Num(1.0));
            assert_eq!(v[8], Val::Bool(true));
            assert_eq!(v[9], Val::Str("t".into()));
            assert!(
                matches!(&v[10], Val::Unknown(i) if e.reason(*i).contains("np.yaml")),
                "{:?}",
                v[10]
            );
            assert!(matches!(&v[11], Val::Str(s) if s.contains(MARK)));
            let e = Evaluator::new(g, Vars::Default);
            let Val::List(v) = e.eval(out) else {
                panic!("a list")
            };
            assert_eq!(v[4], Val::Str("on-demand".into()));
        });
    }

    #[test]
    fn doubling_locals_stay_bounded() {
        let mut text = String::from("locals {\n  a0 = [\"xxxxxxxx\", \"yyyyyyyy\"]\n");
        for i in 1..60 {
            text.push_str(&format!("  a{i} = concat(local.a{}, local.a{})\n", i - 1, i - 1));
        }
        text.push_str("}\noutput \"o\" {\n  value = local.a59\n}\n");
        graph_of(&text, |g| {
            let out = &g.entries[0]
                .block
                .body
                .get_attribute("value")
                .expect("value")
                .value;
            let _ = Evaluator::new(g, Vars::Open).eval(out);
        });
    }
}
