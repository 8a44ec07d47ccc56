//! What in a module makes the account's Spot role, and what requires it.
use std::collections::BTreeSet;

use hcl_edit::expr::Expression;
use hcl_edit::structure::Block;
use hcl_edit::template::Element;
use hcl_edit::visit::{Visit, visit_element, visit_expr};

use super::hcl::{BlockKind, Entry, Evaluator, Graph, Val, elements, references};

pub const ROLE: &str = "AWSServiceRoleForEC2Spot";
pub const SERVICE: &str = "spot.amazonaws.com";
/// The path that only service-linked roles can have.
pub const PATH: &str = "/aws-service-role/spot.amazonaws.com/";

/// Whether Terraform looks at a block at all, as its `count` or `for_each` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// No `count` and no `for_each`, or one that always holds.
    Always,
    Never,
    /// By variables; what it does with their defaults.
    Variable {
        names: Vec<String>,
        /// Active when nobody sets anything.
        on: bool,
    },
    /// By a data source that looks for the role: its address.
    RoleRead(String),
    Unknown,
}

/// What a patched module does about the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The module reads the role and never owns it: a plan fails early where it is missing, and says how to create it.
    Require,
    /// The module creates the role where a variable (default false) says so, and requires it everywhere else.
    Create,
    /// As require, and a WorkspaceTemplate of its own, one per account, that owns the role.
    AccountTemplate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `aws_iam_service_linked_role`: Terraform owns it, and deletes it on destroy.
    Resource,
    Command {
        /// It does not fail where the role exists.
        tolerant: bool,
        /// Because no failure of it counts: `|| true` or the like.
        hides: bool,
    },
    Stack,
    /// A module that is told to.
    Module,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maker {
    /// Index in [`Graph::entries`], as everywhere here.
    pub entry: usize,
    pub how: How,
    pub guard: Guard,
    pub prevent_destroy: bool,
    pub ignore_changes: bool,
    /// An `import` block takes the role that is there into the state.
    pub imported: bool,
}

/// A block that names the role as IAM does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misnamed {
    pub entry: usize,
    /// What is wrong with the name, as the end of a sentence.
    pub why: String,
}

/// A `removed` block for a service-linked role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    pub entry: usize,
    /// What it takes out of the state.
    pub address: String,
    /// It deletes it in AWS as well, which is also what happens when it does not say.
    pub destroys: bool,
}

/// A block that fails where the role is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirer {
    pub entry: usize,
    pub guard: Guard,
    /// Its failure says what to do (a precondition or postcondition with a message).
    pub has_words: bool,
}

/// What a module does about the role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    pub makers: Vec<Maker>,
    pub requirers: Vec<Requirer>,
    /// `aws_iam_role` resources of that name: not the service-linked role.
    pub ordinary: Vec<usize>,
    /// `check` blocks that look at it: they only warn.
    pub checks: Vec<usize>,
    /// Blocks that mean it and name something else.
    pub misnamed: Vec<Misnamed>,
    pub forgotten: Vec<Forgotten>,
}

impl Roles {
    /// Finds them. `eval` must take variables as their defaults.
    pub fn of(graph: &Graph<'_>, eval: &Evaluator<'_, '_>) -> Self {
        let mut roles = Self::default();
        let readers: BTreeSet<String> = graph
            .entries
            .iter()
            .filter(|e| reads_role(e, eval))
            .map(|e| e.address.clone())
            .collect();
        let reads = |expr: &Expression| {
            let reached = graph.reached_from(expr);
            readers.iter().find(|r| reached.contains(*r)).cloned()
        };
        let imported: BTreeSet<String> = graph
            .entries
            .iter()
            .filter(|e| e.block.has_ident("import"))
            .filter_map(|e| e.attr("to"))
            .flat_map(references)
            .collect();
        for (index, entry) in graph.entries.iter().enumerate() {
            if let Some(forgotten) = forgotten(index, entry) {
                roles.forgotten.push(forgotten);
                continue;
            }
            if let Some(why) = misnamed(entry, eval) {
                roles.misnamed.push(Misnamed { entry: index, why });
                continue;
            }
            let guard = || guard(entry, eval, graph, &reads);
            if let Some(how) = makes_role(entry, eval) {
                roles.makers.push(Maker {
                    entry: index,
                    how,
                    guard: guard(),
                    prevent_destroy: entry
                        .lifecycle("prevent_destroy")
                        .is_some_and(|v| v.as_bool() == Some(true)),
                    ignore_changes: entry.lifecycle("ignore_changes").is_some(),
                    imported: imported.contains(&entry.address),
                });
                continue;
            }
            if entry.kind == BlockKind::Resource
                && entry.type_name == "aws_iam_role"
                && names_role(entry, eval)
            {
                roles.ordinary.push(index);
                continue;
            }
            if entry.block.has_ident("check") {
                let texts = texts(entry.block);
                let inside = entry
                    .block
                    .body
                    .blocks()
                    .flat_map(|b| b.body.attributes())
                    .any(|a| reads(&a.value).is_some());
                if inside || texts.iter().any(|t| t == ROLE) {
                    roles.checks.push(index);
                }
                continue;
            }
            let conditions: Vec<&Block> = entry
                .block
                .body
                .get_blocks("lifecycle")
                .flat_map(|l| l.body.blocks())
                .filter(|b| b.has_ident("precondition") || b.has_ident("postcondition"))
                .collect();
            let own = readers.contains(&entry.address);
            let has_words = conditions.iter().any(|c| {
                c.body.get_attribute("condition").is_some_and(|condition| {
                    reads(&condition.value).is_some() || own && mentions_self(&condition.value)
                })
            });
            // A command that goes on without the role requires nothing.
            let shrugs = texts(entry.block).iter().any(|text| text.contains("||"));
            let by_itself = match entry.type_name {
                "aws_iam_roles" => false,
                "external" => own && !shrugs,
                _ => own,
            };
            if by_itself || has_words || !shrugs && runs(entry, &["get-role", ROLE]) {
                roles.requirers.push(Requirer {
                    entry: index,
                    guard: guard(),
                    has_words,
                });
            }
        }
        roles
    }
}

/// A data source that looks for the role, whether or not it fails without it.
fn reads_role(entry: &Entry<'_>, eval: &Evaluator<'_, '_>) -> bool {
    if entry.kind != BlockKind::Data {
        return false;
    }
    let text = |name| eval.text_of(entry, name);
    match entry.type_name {
        "aws_iam_role" => names_role(entry, eval),
        "aws_iam_roles" => {
            let (name, path) = (text("name_regex"), text("path_prefix"));
            name.as_ref()
                .is_none_or(|n| n.contains("EC2Spot") && !n.contains("EC2SpotFleet"))
                && path.as_ref().is_none_or(|p| PATH.starts_with(p.as_str()))
        }
        "external" => texts(entry.block).iter().any(|t| t.contains(ROLE)),
        _ => false,
    }
}

fn names_role(entry: &Entry<'_>, eval: &Evaluator<'_, '_>) -> bool {
    eval.text_of(entry, "name").is_some_and(|name| name == ROLE)
}

/// What is wrong with the name by which a block means the role.
///
/// EC2 Spot uses the role of the one name, so a `custom_suffix` makes another one, if AWS makes it at all; and `GetRole`
/// takes a name without its path (IAM API reference: the pattern of `RoleName` has no slash).
fn misnamed(entry: &Entry<'_>, eval: &Evaluator<'_, '_>) -> Option<String> {
    let text = |name| eval.text_of(entry, name);
    match (entry.kind, entry.type_name) {
        (BlockKind::Resource, "aws_iam_service_linked_role" | "awscc_iam_service_linked_role") => {
            let suffix = text("custom_suffix").filter(|suffix| !suffix.is_empty())?;
            (text("aws_service_name")? == SERVICE).then(|| {
                format!("asks for a role with the suffix {suffix:?}, and EC2 Spot uses {ROLE} alone and takes no suffix")
            })
        }
        (BlockKind::Data, "aws_iam_role") => {
            let name = text("name")?;
            let (path, last) = name.rsplit_once('/')?;
            (last == ROLE).then(|| {
                if path.contains(":role/") || path.ends_with(":role") {
                    "asks for the role by its ARN, and IAM finds roles by their name alone: the plan fails in every account"
                        .to_owned()
                } else {
                    "asks for the role by its path and name, and IAM finds roles by their name alone: the plan fails in every \
                     account"
                        .to_owned()
                }
            })
        }
        _ => None,
    }
}

/// A `removed` block that is about a service-linked role.
fn forgotten(index: usize, entry: &Entry<'_>) -> Option<Forgotten> {
    if !entry.block.has_ident("removed") {
        return None;
    }
    let address = references(entry.attr("from")?)
        .into_iter()
        .find(|address| address.starts_with("aws_iam_service_linked_role."))?;
    let keeps = entry.lifecycle("destroy").and_then(Expression::as_bool) == Some(false);
    Some(Forgotten {
        entry: index,
        address,
        destroys: !keeps,
    })
}

fn makes_role(entry: &Entry<'_>, eval: &Evaluator<'_, '_>) -> Option<How> {
    match (entry.kind, entry.type_name) {
        (BlockKind::Resource, "aws_iam_service_linked_role" | "awscc_iam_service_linked_role") => {
            let service = entry.attr("aws_service_name")?;
            let each = entry.attr("for_each").map(|f| eval.eval(f));
            let all = each.as_ref().and_then(elements).unwrap_or_default();
            let mut names = vec![eval.eval(service)];
            for (key, value) in &all {
                let key = if let (Val::Num(_), Val::Str(v)) = (key, value) {
                    v.clone()
                } else {
                    key_text(key)
                };
                names.push(eval.eval_each(service, &key, value));
            }
            let is = names.iter().any(|n| matches!(n, Val::Str(s) if s == SERVICE));
            // Not known, but the block itself speaks of it.
            let may = names.iter().any(|n| matches!(n, Val::Unknown(_) | Val::Any(_)))
                && (entry.address.contains("spot") || texts(entry.block).iter().any(|t| t.contains(SERVICE)));
            (is || may && all.is_empty()).then_some(How::Resource)
        }
        (BlockKind::Resource, "aws_cloudformation_stack") => {
            let all = texts(entry.block).concat();
            (all.contains("AWS::IAM::ServiceLinkedRole") && all.contains(SERVICE)).then_some(How::Stack)
        }
        (BlockKind::Module, _) => {
            let told = entry.block.body.attributes().any(|a| {
                let key = a.key.as_str();
                let slr = key.contains("service_linked") || key.contains("slr");
                slr && key.contains("spot") && eval.eval(&a.value) == Val::Bool(true)
            });
            (told || texts(entry.block).iter().any(|t| t == SERVICE)).then_some(How::Module)
        }
        (BlockKind::Resource, _) => {
            if !runs(entry, &["create-service-linked-role", SERVICE])
                && !runs(entry, &["capt-spot", "create-role"])
            {
                return None;
            }
            let all = texts(entry.block).concat();
            let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
            let hides = has(&[
                "|| true",
                "||true",
                "|| :",
                "||:",
                "|| echo",
                "|| exit 0",
                "set +e",
            ]) || entry.block.body.get_blocks("provisioner").any(|p| {
                p.body.get_attribute("on_failure").is_some_and(|a| {
                    references(&a.value).is_empty()
                        && a.value.as_variable().is_some_and(|v| v.as_str() == "continue")
                })
            });
            let looks = has(&["get-role", "capt-spot"]);
            Some(How::Command {
                tolerant: hides || looks,
                hides,
            })
        }
        _ => None,
    }
}

fn key_text(key: &Val) -> String {
    match key {
        Val::Str(s) => s.clone(),
        _ => String::new(),
    }
}

/// A block that runs a command with these words in it.
fn runs(entry: &Entry<'_>, words: &[&str]) -> bool {
    let command = entry.kind == BlockKind::Resource
        && entry.block.body.get_blocks("provisioner").next().is_some()
        || matches!(entry.type_name, "external" | "shell_script");
    command && {
        let all = texts(entry.block).join(" ");
        words.iter().all(|w| all.contains(w))
    }
}

fn guard(
    entry: &Entry<'_>,
    eval: &Evaluator<'_, '_>,
    graph: &Graph<'_>,
    reads: &dyn Fn(&Expression) -> Option<String>,
) -> Guard {
    let Some(expr) = entry.attr("count").or_else(|| entry.attr("for_each")) else {
        return Guard::Always;
    };
    if let Some(reader) = reads(expr) {
        return Guard::RoleRead(reader);
    }
    let on = match eval.eval(expr) {
        Val::Num(n) => Some(n != 0.0),
        Val::Bool(b) => Some(b),
        Val::List(l) => Some(!l.is_empty()),
        Val::Obj(o) => Some(!o.is_empty()),
        _ => None,
    };
    let names: Vec<String> = graph
        .reached_from(expr)
        .into_iter()
        .filter(|a| a.starts_with("var."))
        .collect();
    match (on, names.is_empty()) {
        (Some(true), true) => Guard::Always,
        (Some(false), true) => Guard::Never,
        (Some(on), false) => Guard::Variable { names, on },
        // A variable without a default: whoever uses the module decides.
        (None, false) => Guard::Variable { names, on: false },
        (None, true) => Guard::Unknown,
    }
}

fn mentions_self(expr: &Expression) -> bool {
    struct Finder(bool);
    impl Visit for Finder {
        fn visit_expr(&mut self, node: &Expression) {
            if node.as_variable().is_some_and(|v| v.as_str() == "self") {
                self.0 = true;
            }
            visit_expr(self, node);
        }
    }
    let mut finder = Finder(false);
    finder.visit_expr(expr);
    finder.0
}

/// Every literal text in a block.
fn texts(block: &Block) -> Vec<String> {
    struct Texts(Vec<String>);
    impl Visit for Texts {
        fn visit_expr(&mut self, node: &Expression) {
            if let Some(s) = node.as_str() {
                self.0.push(s.to_owned());
            }
            visit_expr(self, node);
        }
        fn visit_element(&mut self, node: &Element) {
            if let Element::Literal(s) = node {
                self.0.push(s.value().clone());
            }
            visit_element(self, node);
        }
    }
    let mut found = Texts(Vec::new());
    found.visit_body(&block.body);
    found.0
}
