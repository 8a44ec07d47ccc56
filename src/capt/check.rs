//! `template check`: does every NodePool that can launch Spot wait for the role?
use crate::model::{Command, CommandScope};
use std::collections::BTreeMap;
use std::path::Path;

use hcl_edit::structure::Body;
use serde_json::Value;

use super::hcl::{BlockKind, Entry, Evaluator, Graph, Vars};
use super::pools::{self, Spot};
use super::report::{self, CanSpot, Finding, Fix, ModuleReport, PoolReport, Rule, Severity, TemplateReport};
use super::role::{Guard, How, Maker, ROLE, Roles};
use super::source::{Format, Input, ModuleSource, Skipped, Unreadable};

/// A module's file, parsed.
pub(super) fn parse(file: &str, module: &ModuleSource) -> Result<Body, Unreadable> {
    hcl_edit::parser::parse_body(&module.text).map_err(|e| {
        let (line, column) = (e.location().line(), e.location().column());
        let object = module
            .object
            .as_ref()
            .map(|o| format!(" in the module of {o}, its line {line}"))
            .unwrap_or_default();
        Unreadable {
            file: file.to_owned(),
            line: module.file_line(line).unwrap_or(line),
            column: if module.line_by_line {
                column + module.indent
            } else {
                1
            },
            message: format!("not Terraform{object}: {}", report::sanitised(e.message())),
        }
    })
}

/// One module and the files it is made of.
struct Unit<'a> {
    parts: Vec<(Option<&'a str>, &'a ModuleSource, &'a Body)>,
    used_by: Vec<String>,
    /// For an object of a cluster: the flags with which kubectl reaches it.
    scope: Option<&'a CommandScope>,
}

/// What a management cluster has, as its API server gave it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Management {
    /// The WorkspaceTemplates.
    pub templates: Vec<Value>,
    /// The CAPTControlPlanes.
    pub control_planes: Vec<Value>,
    /// The one namespace that was looked into; none: all of them.
    pub namespace: Option<String>,
    /// The flags with which kubectl reaches the cluster, with a space before each, quoted for a shell.
    pub scope: CommandScope,
    /// What could not be read and matters: a sentence each, without a full stop. The report is undecided then.
    pub unread: Vec<String>,
    /// What could not be read and does not matter for the verdict.
    pub notes: Vec<String>,
}

/// Checks files. `.tf` files of one directory are one module, as in Terraform.
///
/// # Errors
/// [`Unreadable`] at the first text that is not Terraform: exit code 2.
pub fn check_files(inputs: &[Input]) -> Result<TemplateReport, Unreadable> {
    let mut bodies = Vec::new();
    for input in inputs {
        for module in &input.modules {
            bodies.push((input, module, parse(&input.name, module)?));
        }
    }
    let mut units: Vec<Unit<'_>> = Vec::new();
    let mut directories: BTreeMap<&Path, usize> = BTreeMap::new();
    for (input, module, body) in &bodies {
        let part = (Some(input.name.as_str()), *module, body);
        if input.format == Format::Hcl {
            let directory = Path::new(&input.name).parent().unwrap_or(Path::new(""));
            let index = *directories.entry(directory).or_insert_with(|| {
                units.push(Unit {
                    parts: Vec::new(),
                    used_by: Vec::new(),
                    scope: None,
                });
                units.len() - 1
            });
            units[index].parts.push(part);
        } else {
            units.push(Unit {
                parts: vec![part],
                used_by: Vec::new(),
                scope: None,
            });
        }
    }
    let skipped = inputs
        .iter()
        .flat_map(|i| i.skipped.iter().map(|s| (Some(i.name.as_str()), s)));
    let nothing = inputs
        .iter()
        .filter(|i| i.modules.is_empty() && i.skipped.is_empty());
    let nothing = nothing.map(|i| {
        format!(
            "{} holds no WorkspaceTemplate, Workspace or Terraform module",
            i.name
        )
    });
    Ok(judge(&units, skipped, nothing.collect()))
}

/// Checks WorkspaceTemplates (and Workspaces) as the API server has them. The control planes are for the report to say
/// which clusters a template makes, and which clusters' templates it could not look into.
pub fn check_objects(there: &Management) -> TemplateReport {
    let Management {
        templates,
        control_planes,
        ..
    } = there;
    let mut modules = Vec::new();
    let mut skipped = Vec::new();
    for template in templates {
        match ModuleSource::of_object(template) {
            Ok(module) => match parse("", &module) {
                Ok(body) => modules.push((module, body)),
                Err(e) => skipped.extend(module.object.map(|object| Skipped {
                    object,
                    line: 0,
                    reason: format!("line {}, column {}: {}", e.line, e.column, e.message),
                })),
            },
            Err(why) => skipped.push(why),
        }
    }
    let units: Vec<Unit<'_>> = modules
        .iter()
        .map(|(module, body)| Unit {
            parts: vec![(None, module, body)],
            used_by: users(module, control_planes),
            scope: Some(&there.scope),
        })
        .collect();
    let mut unreadable: Vec<String> = there.unread.clone();
    if templates.is_empty() && unreadable.is_empty() {
        unreadable.push(match &there.namespace {
            Some(namespace) => format!("there is no WorkspaceTemplate in the namespace {namespace}"),
            None => "there is no WorkspaceTemplate on this cluster".to_owned(),
        });
    }
    if there.unread.is_empty() {
        unreadable.extend(orphans(there));
    }
    for s in skipped.iter().filter(|s| s.reason.contains("not Terraform")) {
        unreadable.push(format!(
            "the module of {} could not be read: {}",
            s.object, s.reason
        ));
    }
    judge(&units, skipped.iter().map(|s| (None, s)), unreadable)
}

/// A sentence for each control plane whose template was not among those that were read.
fn orphans(there: &Management) -> Vec<String> {
    let text = |v: &Value, p: &str| v.pointer(p).and_then(Value::as_str).map(str::to_owned);
    let known: std::collections::BTreeSet<(Option<String>, Option<String>)> = there
        .templates
        .iter()
        .map(|t| (text(t, "/metadata/namespace"), text(t, "/metadata/name")))
        .collect();
    let mut sentences = Vec::new();
    for plane in &there.control_planes {
        let Some((namespace, name)) = template_of(plane) else {
            continue;
        };
        if known.contains(&(namespace.clone(), Some(name.clone()))) {
            continue;
        }
        let place = namespace.as_deref().unwrap_or_default();
        let why = match &there.namespace {
            Some(only) if namespace.as_ref() != Some(only) => "is outside the namespace that was looked into",
            _ => "is not there",
        };
        sentences.push(format!(
            "the CAPTControlPlane {}/{} is made from the WorkspaceTemplate {place}/{name}, which {why}",
            text(plane, "/metadata/namespace").unwrap_or_default(),
            text(plane, "/metadata/name").unwrap_or_default(),
        ));
    }
    sentences
}

/// Namespace and name of the template that a control plane's `spec.workspaceTemplateRef` names; its own namespace where
/// that names none.
fn template_of(control_plane: &Value) -> Option<(Option<String>, String)> {
    let text = |p: &str| {
        let text = control_plane.pointer(p).and_then(Value::as_str)?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    let namespace = text("/spec/workspaceTemplateRef/namespace").or_else(|| text("/metadata/namespace"));
    Some((namespace, text("/spec/workspaceTemplateRef/name")?))
}

/// `namespace/name` of the control planes whose `spec.workspaceTemplateRef` names this template.
fn users(module: &ModuleSource, control_planes: &[Value]) -> Vec<String> {
    let Some(object) = &module.object else {
        return Vec::new();
    };
    let text = |v: &Value, p: &str| v.pointer(p).and_then(Value::as_str).map(str::to_owned);
    control_planes
        .iter()
        .filter(|c| {
            template_of(c)
                .is_some_and(|(namespace, name)| name == object.name && namespace == object.namespace)
        })
        .map(|c| {
            let name = text(c, "/metadata/name").unwrap_or_default();
            text(c, "/metadata/namespace").map_or_else(|| name.clone(), |ns| format!("{ns}/{name}"))
        })
        .collect()
}

fn judge<'a>(
    units: &[Unit<'a>],
    skipped: impl Iterator<Item = (Option<&'a str>, &'a Skipped)>,
    mut undecided: Vec<String>,
) -> TemplateReport {
    let mut findings = Vec::new();
    let mut modules = Vec::new();
    for unit in units {
        let parts: Vec<(&str, &Body)> = unit.parts.iter().map(|(_, m, b)| (m.text.as_str(), *b)).collect();
        let graph = Graph::new(&parts);
        let facts = Facts::of(&graph);
        let mut say = Sayer {
            unit,
            findings: &mut findings,
        };
        let report = judge_module(&graph, &facts, &mut say, &mut undecided);
        modules.push(report);
    }
    for (file, skip) in skipped {
        modules.push(ModuleReport {
            files: file.map(str::to_owned).into_iter().collect(),
            object: Some(skip.object.clone()),
            used_by: Vec::new(),
            skipped: Some(skip.reason.clone()),
            node_pools: Vec::new(),
            makes_role: Vec::new(),
            requires_role: Vec::new(),
            not_seen: Vec::new(),
        });
    }
    if units.is_empty() && modules.iter().any(|m| m.skipped.is_some()) {
        undecided.push("no module could be looked into".into());
    }
    TemplateReport::new(findings, modules, undecided)
}

/// What the judgement of one module rests on.
#[derive(Debug)]
pub struct Facts {
    /// What is done about the role.
    pub roles: Roles,
    /// The NodePools.
    pub scan: pools::Scan,
}

impl Facts {
    /// Reads them from a module.
    pub fn of(graph: &Graph<'_>) -> Self {
        let roles = Roles::of(graph, &Evaluator::new(graph, Vars::Default));
        let scan = pools::scan(graph, &Evaluator::new(graph, Vars::Open));
        Self { roles, scan }
    }

    /// Addresses of what makes or requires the role and that `entry` waits for, whether or not it is ever active.
    pub fn ensured_by(&self, graph: &Graph<'_>, index: usize) -> Vec<(String, Guard)> {
        let before = graph.waits_for(&graph.entries[index]);
        let all = self.roles.makers.iter().map(|m| (m.entry, &m.guard));
        all.chain(self.roles.requirers.iter().map(|r| (r.entry, &r.guard)))
            .filter(|(e, _)| *e == index || before.contains(&graph.entries[*e].address))
            .map(|(e, g)| (graph.entries[e].address.clone(), g.clone()))
            .collect()
    }
}

/// Active with the variables' defaults.
fn active(guard: &Guard) -> bool {
    !matches!(guard, Guard::Never | Guard::Variable { on: false, .. })
}

struct Sayer<'u, 'a, 'f> {
    unit: &'u Unit<'a>,
    findings: &'f mut Vec<Finding>,
}

impl Sayer<'_, '_, '_> {
    fn say(
        &mut self,
        rule: &Rule,
        severity: Severity,
        entry: &Entry<'_>,
        message: String,
        fix: String,
        patch: bool,
    ) {
        let (file, module, _) = self.unit.parts[entry.part];
        let yaml = module.object.is_some();
        let commands = match (file, &module.object, self.unit.scope) {
            _ if !patch || self.unit.parts.len() != 1 => Vec::new(),
            (Some(file), ..) => vec![format!(
                "kubectl capt-spot template patch --in-place {}",
                quoted(file)
            )],
            // Where it is kept in git, that file is the one to mend.
            (None, Some(object), Some(scope)) => {
                let namespace = object.namespace.as_deref().unwrap_or("default");
                let file = format!("{}.yaml", object.name);
                let kind = "workspacetemplates.infrastructure.cluster.x-k8s.io";
                vec![
                    scope
                        .kubectl(&["get", kind, &object.name, "-n", namespace, "-o", "yaml"])
                        .into_file(&file)
                        .to_string(),
                    Command::local(&["kubectl", "capt-spot", "template", "patch", "--in-place", &file])
                        .to_string(),
                    scope.kubectl(&["apply", "-f", &file]).to_string(),
                ]
            }
            (None, ..) => Vec::new(),
        };
        self.findings.push(Finding {
            id: rule.id,
            severity,
            message,
            file: file.map(str::to_owned),
            yaml_line: if yaml && file.is_some() {
                module.file_line(entry.line)
            } else {
                None
            },
            hcl_line: entry.line,
            object: module.object.clone(),
            block: entry.address.clone(),
            fix: Fix { text: fix, commands },
        });
    }
}

/// A file name as a shell takes it.
fn quoted(file: &str) -> String {
    let plain = !file.is_empty()
        && file
            .chars()
            .all(|c| c.is_alphanumeric() || "/._-+@%:,".contains(c));
    if plain {
        file.to_owned()
    } else {
        format!("'{}'", file.replace('\'', "'\\''"))
    }
}

fn judge_module(
    graph: &Graph<'_>,
    facts: &Facts,
    say: &mut Sayer<'_, '_, '_>,
    undecided: &mut Vec<String>,
) -> ModuleReport {
    let roles = &facts.roles;
    let address = |i: usize| graph.entries[i].address.clone();
    let mut node_pools = Vec::new();
    for block in &facts.scan.blocks {
        let entry = &graph.entries[block.entry];
        let ensured = facts.ensured_by(graph, block.entry);
        let (_, module, _) = say.unit.parts[entry.part];
        let in_file = say.unit.parts[entry.part].0.is_some() && module.object.is_some();
        let waits_for: Vec<String> = ensured
            .iter()
            .filter(|(_, g)| *g != Guard::Never)
            .map(|(a, _)| a.clone())
            .collect();
        for pool in &block.pools {
            let (spot, why) = match &pool.spot {
                Spot::Yes(why) => (CanSpot::Yes, why),
                Spot::No(why) => (CanSpot::No, why),
                Spot::Unknown(why) => (CanSpot::Unknown, why),
            };
            node_pools.push(PoolReport {
                name: pool.name.clone(),
                block: entry.address.clone(),
                yaml_line: if in_file {
                    module.file_line(entry.line)
                } else {
                    None
                },
                hcl_line: entry.line,
                spot,
                why: why.clone(),
                waits_for: waits_for.clone(),
            });
        }
        if block.pools.iter().any(|p| p.spot.needs_role()) {
            judge_pool(graph, facts, block, &ensured, say);
        }
    }
    let per_cluster = !facts.scan.blocks.is_empty() || graph.entries.iter().any(is_cluster);
    for maker in &roles.makers {
        judge_maker(graph, roles, maker, per_cluster, say);
    }
    for requirer in &roles.requirers {
        let entry = &graph.entries[requirer.entry];
        if requirer.guard == Guard::Never {
            let message = format!(
                "{} has count = 0, so it reads nothing: it neither finds the role nor fails without it.",
                entry.address
            );
            say.say(
                &report::READ_NEVER,
                Severity::Warning,
                entry,
                message,
                "Remove the count.".into(),
                true,
            );
        } else if !requirer.has_words && entry.type_name == "aws_iam_role" {
            let message = format!(
                "Where the role is missing, {} ends the plan with the provider's words, which do not say how to create it.",
                entry.address
            );
            let fix = "Give it a lifecycle precondition with a message.".into();
            say.say(&report::NO_WORDS, Severity::Note, entry, message, fix, true);
        }
    }
    for index in &roles.ordinary {
        let entry = &graph.entries[*index];
        let message = format!(
            "{} declares an ordinary role named {ROLE}. EC2 Spot needs the service-linked role of that name, which only \
             CreateServiceLinkedRole makes, and which this one keeps from being made.",
            entry.address
        );
        let fix = "Remove the block; create the role once per account: kubectl capt-spot create-role".into();
        say.say(&report::ORDINARY, Severity::Error, entry, message, fix, false);
    }
    for wrong in &roles.misnamed {
        let entry = &graph.entries[wrong.entry];
        let message = format!("{} {}.", entry.address, wrong.why);
        let fix = match entry.kind {
            BlockKind::Data => format!("Write name = \"{ROLE}\"."),
            _ => "Take the custom_suffix out; better, only require the role (kubectl capt-spot create-role, once per account)."
                .to_owned(),
        };
        say.say(&report::MISNAMED, Severity::Error, entry, message, fix, false);
    }
    for block in roles.forgotten.iter().filter(|block| block.destroys) {
        let entry = &graph.entries[block.entry];
        let surely = block.address.contains("spot") && !block.address.contains("fleet");
        let (severity, if_it_is) = if surely {
            (Severity::Error, "")
        } else {
            (Severity::Warning, "; if that is the Spot role")
        };
        let message = format!(
            "This removed block takes {} out of the state and deletes it in AWS as well (destroy is not false){if_it_is}, every \
             cluster of the account loses Spot.",
            block.address
        );
        let fix = "Set destroy = false in its lifecycle.".into();
        say.say(&report::DESTROY, severity, entry, message, fix, false);
    }
    for index in &roles.checks {
        let entry = &graph.entries[*index];
        let message =
            "This check block looks at the role, but a failing check block only warns; the apply goes on."
                .to_owned();
        let fix = "Use a precondition or postcondition on a block that the NodePools depend on.".into();
        say.say(&report::CHECK_WARNS, Severity::Note, entry, message, fix, true);
    }
    let mut not_seen = Vec::new();
    for unseen in &facts.scan.unseen {
        let entry = &graph.entries[unseen.entry];
        not_seen.push(format!(
            "what {} (line {}) applies is {}",
            entry.address, entry.line, unseen.why
        ));
        let waits = facts
            .ensured_by(graph, unseen.entry)
            .iter()
            .any(|(_, g)| active(g));
        if unseen.manifest && !waits {
            undecided.push(format!(
                "{} may hold a NodePool (its manifest is {}), and it waits for nothing that makes or requires the role",
                entry.address, unseen.why
            ));
        }
    }
    let calls: Vec<String> = graph
        .entries
        .iter()
        .filter(|e| e.kind == BlockKind::Module)
        .map(|e| e.address.clone())
        .collect();
    if !calls.is_empty() {
        not_seen.push(format!(
            "the inside of {}: NodePools made there are not judged",
            calls.join(", ")
        ));
    }
    let (_, module, _) = say.unit.parts[0];
    ModuleReport {
        files: say
            .unit
            .parts
            .iter()
            .filter_map(|(f, _, _)| f.map(str::to_owned))
            .collect(),
        object: module.object.clone(),
        used_by: say.unit.used_by.clone(),
        skipped: None,
        node_pools,
        makes_role: roles.makers.iter().map(|m| address(m.entry)).collect(),
        requires_role: roles
            .requirers
            .iter()
            .filter(|r| r.guard != Guard::Never)
            .map(|r| address(r.entry))
            .collect(),
        not_seen,
    }
}

fn is_cluster(entry: &Entry<'_>) -> bool {
    let source = || {
        entry
            .block
            .body
            .get_attribute("source")
            .and_then(|a| a.value.as_str().map(str::to_owned))
    };
    match entry.kind {
        BlockKind::Resource => entry.type_name == "aws_eks_cluster",
        BlockKind::Module => source().is_some_and(|s| s.contains("eks")),
        _ => false,
    }
}

fn judge_pool(
    graph: &Graph<'_>,
    facts: &Facts,
    block: &pools::PoolBlock,
    ensured: &[(String, Guard)],
    say: &mut Sayer<'_, '_, '_>,
) {
    if ensured.iter().any(|(_, g)| active(g)) {
        return;
    }
    let entry = &graph.entries[block.entry];
    let needy: Vec<&pools::Pool> = block.pools.iter().filter(|p| p.spot.needs_role()).collect();
    let names: Vec<&str> = needy.iter().filter_map(|p| p.name.as_deref()).collect();
    let who = match (needy.len(), names.as_slice()) {
        (1, [name]) => format!("NodePool {name} ({})", entry.address),
        (1, _) => format!("The NodePool of {}", entry.address),
        (n, []) => format!("{n} NodePools of {}", entry.address),
        (_, names) => format!("NodePools {} ({})", names.join(", "), entry.address),
    };
    let why = match needy.iter().find_map(|p| {
        if let Spot::Yes(why) = &p.spot {
            Some(why)
        } else {
            None
        }
    }) {
        Some(why) => format!("can launch Spot ({why})"),
        None => match &needy[0].spot {
            Spot::Yes(why) | Spot::No(why) | Spot::Unknown(why) => format!("may launch Spot ({why})"),
        },
    };
    if let Some((address, Guard::Variable { names, .. })) =
        ensured.iter().find(|(_, g)| matches!(g, Guard::Variable { .. }))
    {
        let message = format!(
            "{who} {why}. It waits for {address}, which is there only where {} says so: with the defaults nothing makes or \
             requires the role.",
            names.join(" and ")
        );
        let fix =
            "Let the module read the role where it does not make it, and the NodePool depend on both.".into();
        say.say(&report::ON_REQUEST, Severity::Warning, entry, message, fix, true);
        return;
    }
    let list = |indices: Vec<usize>| {
        let all: Vec<String> = indices
            .iter()
            .map(|i| format!("{} (line {})", graph.entries[*i].address, graph.entries[*i].line))
            .collect();
        all.join(", ")
    };
    let makers: Vec<usize> = facts
        .roles
        .makers
        .iter()
        .filter(|m| m.guard != Guard::Never)
        .map(|m| m.entry)
        .collect();
    let requirers: Vec<usize> = facts
        .roles
        .requirers
        .iter()
        .filter(|r| r.guard != Guard::Never)
        .map(|r| r.entry)
        .collect();
    if !makers.is_empty() {
        let message = format!(
            "{who} {why}. {} makes the role, but the NodePool does not depend on it: Terraform may apply the NodePool first, or \
             although the role could not be made.",
            list(makers)
        );
        let fix = "Make the NodePool depend on the role (depends_on).".into();
        say.say(&report::NOT_WAITED, Severity::Error, entry, message, fix, true);
    } else if !requirers.is_empty() {
        let message = format!(
            "{who} {why}. {} requires the role, but the NodePool does not depend on it, so nothing keeps the NodePool back when \
             that read is put off to the apply.",
            list(requirers)
        );
        let fix = "Make the NodePool depend on it (depends_on).".into();
        say.say(&report::NOT_WAITED, Severity::Warning, entry, message, fix, true);
    } else {
        let message = format!(
            "{who} {why}, but nothing in this module makes or requires the role {ROLE}. In an account without it no Spot instance \
             ever starts, and Karpenter 1.5 and later do not say why."
        );
        let fix = "Let the module read the role, and the NodePool depend on that.".into();
        say.say(&report::NEITHER, Severity::Error, entry, message, fix, true);
    }
}

fn judge_maker(
    graph: &Graph<'_>,
    roles: &Roles,
    maker: &Maker,
    per_cluster: bool,
    say: &mut Sayer<'_, '_, '_>,
) {
    let entry = &graph.entries[maker.entry];
    let address = &entry.address;
    if maker.guard == Guard::Never || maker.how == How::Stack || maker.how == How::Module {
        // What the inside of a stack or a module does where the role exists is not seen here.
        return;
    }
    if let How::Command { tolerant, hides } = maker.how {
        if hides {
            let message = format!(
                "{address} runs a command that creates the role, and no failure of it counts: where it is denied, the NodePools \
                 come up without the role and nothing says so."
            );
            let fix = "Use `kubectl capt-spot create-role --yes`, which is content with a role that is there and fails otherwise."
                .into();
            say.say(&report::HIDDEN, Severity::Note, entry, message, fix, false);
        } else if !tolerant {
            let message = format!(
                "{address} runs a command that creates the role and fails where it exists (InvalidInput: \"has been taken in this \
                 account\")."
            );
            let fix =
                "Use `kubectl capt-spot create-role --yes`, which is content with a role that is there."
                    .into();
            say.say(&report::FAILS, Severity::Error, entry, message, fix, false);
        }
        return;
    }
    match &maker.guard {
        Guard::RoleRead(reader) => {
            let message = format!(
                "{address} is made when {reader} does not find the role. The first apply makes it; the next one finds it and plans to \
                 destroy it."
            );
            let fix = "Decide by a variable, or only require the role.".into();
            say.say(&report::FLIPS, Severity::Error, entry, message, fix, true);
        }
        Guard::Variable { on: false, .. } | Guard::Never => {}
        _ if maker.imported => {
            let message = format!(
                "An import block takes the role that is there for {address}, so that nothing is created where it exists. Where it \
                 is missing, the import ends the plan with the provider's words, which do not say how to create it."
            );
            let fix =
                "Only require the role, and create it once per account: kubectl capt-spot create-role".into();
            say.say(&report::NO_WORDS, Severity::Note, entry, message, fix, false);
        }
        guard => {
            let mut message = match guard {
                Guard::Variable { names, .. } => format!(
                    "{address} creates the role unless {} says otherwise.",
                    names.join(" and ")
                ),
                Guard::Unknown => format!(
                    "Whether {address} creates the role is decided by something that is not known here."
                ),
                _ => format!("{address} creates the role unconditionally."),
            };
            message.push_str(
                " Where the account has it already (Spot was used once, or this is its second cluster), AWS answers InvalidInput, \
                 \"has been taken in this account\", and the apply stops.",
            );
            if maker.ignore_changes {
                message.push_str(" lifecycle.ignore_changes does not help: it does nothing before creation.");
            }
            let never: Vec<&str> = roles
                .requirers
                .iter()
                .filter(|r| r.guard == Guard::Never)
                .map(|r| graph.entries[r.entry].address.as_str())
                .collect();
            if !never.is_empty() {
                message.push_str(&format!(
                    " Nor does {} with count = 0: it reads nothing.",
                    never.join(", ")
                ));
            }
            let severity = if *guard == Guard::Always {
                Severity::Error
            } else {
                Severity::Warning
            };
            let fix = "Only require the role, and create it once per account (kubectl capt-spot create-role); or guard its creation by a \
                       variable that defaults to false (--mode create)."
                .into();
            say.say(&report::FAILS, severity, entry, message, fix, true);
        }
    }
    if !maker.prevent_destroy {
        let message = format!(
            "{address} has no prevent_destroy: destroying the workspace that made the role deletes it from the account, and every \
             other cluster there loses Spot (AWS refuses only while Spot instances run)."
        );
        let fix = "Only require the role; or, in the one module that owns it, set lifecycle { prevent_destroy = true }.".into();
        say.say(&report::DESTROY, Severity::Error, entry, message, fix, true);
    } else if per_cluster {
        let asked = matches!(maker.guard, Guard::Variable { on: false, .. });
        let message = format!(
            "{address} puts the account's role into a cluster's module{}: the workspace that owns the role cannot be destroyed before \
             the role is taken out of its state.",
            if asked { " (off by default)" } else { "" }
        );
        let fix =
            "Keep the role in a workspace of its own, one per account (--mode account-template).".into();
        let severity = if asked { Severity::Note } else { Severity::Warning };
        say.say(&report::PER_CLUSTER, severity, entry, message, fix, false);
    }
}

/// What the check finds in one module, without places in a file.
pub(super) fn faults(graph: &Graph<'_>, facts: &Facts) -> Vec<Finding> {
    let nowhere = ModuleSource::bare(String::new());
    let body = Body::new();
    let unit = Unit {
        parts: vec![(None, &nowhere, &body)],
        used_by: Vec::new(),
        scope: None,
    };
    let mut findings = Vec::new();
    judge_module(
        graph,
        facts,
        &mut Sayer {
            unit: &unit,
            findings: &mut findings,
        },
        &mut Vec::new(),
    );
    findings
}
