//! `template check`: does every NodePool that can launch Spot wait for the role?
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hcl_edit::structure::Body;
use serde_json::Value;

use super::beside::{Beside, NOTHING};
use super::hcl::{self, BlockKind, Entry, Evaluator, Graph, Val, Vars};
use super::placeholder;
use super::pools::{self, Pool, PoolBlock, Spot};
use super::report::{self, CanSpot, Finding, ModuleReport, PoolReport, Rule, Severity, TemplateReport};
use super::role::{Guard, How, Maker, Mode, ROLE, Roles};
use super::source::{Format, Input, Manifest, ModuleSource, Skipped, Unreadable, next_step};
use crate::model::{Command, CommandScope, Language, Remedy, Snippet};

/// A module's file, parsed.
pub(super) fn parse(file: &str, module: &ModuleSource) -> Result<Body, Unreadable> {
    hcl::parse(&module.text).map_err(|e| {
        let (line, column) = (e.location().line(), e.location().column());
        let object = module
            .object
            .as_ref()
            .map(|o| format!(" in the module of {o}, its line {line}"))
            .unwrap_or_default();
        let step = next_step(file, &module.text, line);
        Unreadable {
            file: file.to_owned(),
            line: module.file_line(line).unwrap_or(line),
            column: if module.line_by_line {
                column + module.indent
            } else {
                1
            },
            message: format!("not Terraform{object}: {}. {step}", e.message()),
        }
    })
}

/// One module and the files it is made of.
struct Unit<'a> {
    parts: Vec<(Option<&'a str>, &'a ModuleSource, &'a Body)>,
    used_by: Vec<String>,
    /// For an object of a cluster: the flags with which kubectl reaches it.
    scope: Option<&'a CommandScope>,
    beside: &'a Beside,
}

impl<'a> Unit<'a> {
    fn of(file: Option<&'a str>, module: &'a ModuleSource, body: &'a Body) -> Self {
        Self {
            parts: vec![(file, module, body)],
            used_by: Vec::new(),
            scope: None,
            beside: &NOTHING,
        }
    }

    fn folder(&self) -> Option<&'a Path> {
        self.parts[0].0.map(folder_of)
    }

    fn name(&self) -> String {
        let (file, module, _) = self.parts[0];
        match (&module.object, file) {
            (Some(object), _) => object.to_string(),
            (None, Some(file)) if self.parts.len() == 1 => file.to_owned(),
            (None, Some(file)) => format!("the module in {}", folder_of(file).display()),
            (None, None) => "the module".to_owned(),
        }
    }

    /// The commands that patch the file in which this part of the module stands.
    fn patch(&self, part: usize, mode: Mode) -> Vec<String> {
        let (file, module, _) = self.parts[part];
        let patch = |file: &str| {
            let mut words = vec!["kubectl", "capt-spot", "template", "patch", "--in-place"];
            if mode == Mode::Create {
                words.extend(["--mode", "create"]);
            }
            words.push(file);
            Command::local(&words)
        };
        match (file, &module.object, self.scope) {
            (Some(file), ..) => vec![patch(file).to_string()],
            // Where it is kept in git, that file is the one to patch.
            (None, Some(object), Some(scope)) => {
                let namespace = object.namespace.as_deref().unwrap_or("default");
                let file = format!("{}.yaml", object.name);
                let kind = "workspacetemplates.infrastructure.cluster.x-k8s.io";
                let get = scope.kubectl(&["get", kind, &object.name, "-n", namespace, "-o", "yaml"]);
                let apply = scope.kubectl(&["apply", "-f", &file]);
                Command::lines(&[get.into_file(&file), patch(&file), apply])
            }
            (None, ..) => Vec::new(),
        }
    }
}

fn folder_of(file: &str) -> &Path {
    Path::new(file).parent().unwrap_or(Path::new(""))
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
    /// The flags with which kubectl reaches the cluster.
    pub scope: CommandScope,
    /// What could not be read and matters: a sentence each, without a full stop. The report is undecided then.
    pub unread: Vec<String>,
    /// What could not be read and does not matter for the verdict.
    pub notes: Vec<String>,
}

/// Checks files. `.tf` files of one folder are one module, as in Terraform; `beside` are the other files of such folders.
///
/// # Errors
/// Every module that is not Terraform: exit code 2.
pub fn check_files(
    inputs: &[Input],
    beside: &BTreeMap<PathBuf, Beside>,
) -> Result<TemplateReport, Vec<Unreadable>> {
    let (mut bodies, mut broken) = (Vec::new(), Vec::new());
    for input in inputs {
        for module in &input.objects.modules {
            match parse(&input.name, module) {
                Ok(body) => bodies.push((input, module, body)),
                Err(e) => broken.push(e),
            }
        }
    }
    if !broken.is_empty() {
        return Err(broken);
    }
    let mut units: Vec<Unit<'_>> = Vec::new();
    let mut folders: BTreeMap<&Path, usize> = BTreeMap::new();
    for (input, module, body) in &bodies {
        let folder = folder_of(&input.name);
        if input.format == Format::Hcl
            && let Some(index) = folders.get(folder)
        {
            units[*index].parts.push((Some(&input.name), module, body));
            continue;
        }
        if input.format == Format::Hcl {
            folders.insert(folder, units.len());
        }
        units.push(Unit {
            beside: beside.get(folder).unwrap_or(&NOTHING),
            ..Unit::of(Some(&input.name), module, body)
        });
    }
    let mut judge = Judge::default();
    for unit in &units {
        judge.unit(unit);
    }
    for input in inputs {
        judge.outside(input, beside.get(folder_of(&input.name)).unwrap_or(&NOTHING));
        judge.placeholders(input);
        for skip in &input.objects.skipped {
            judge.skipped(Some(&input.name), skip);
        }
        let objects = &input.objects;
        if input.named
            && objects.modules.is_empty()
            && objects.skipped.is_empty()
            && !judge.outside.iter().any(|o| o.input.name == input.name)
        {
            judge.undecided.push(format!(
                "{} holds no WorkspaceTemplate, Workspace, Terraform module or NodePool",
                input.name
            ));
        }
    }
    Ok(judge.report(&units))
}

/// Checks WorkspaceTemplates (and Workspaces) as the API server has them. The control planes are for the report to say
/// which clusters a template makes, and which clusters' templates it could not look into.
pub fn check_objects(there: &Management) -> TemplateReport {
    let (mut modules, mut skipped) = (Vec::new(), Vec::new());
    let mut judge = Judge {
        undecided: there.unread.clone(),
        ..Judge::default()
    };
    for template in &there.templates {
        match ModuleSource::of_object(template) {
            Ok(module) => match parse("", &module) {
                Ok(body) => modules.push((module, body)),
                Err(e) => {
                    let reason = format!("line {}, column {}: {}", e.line, e.column, e.message);
                    let object = module.object.clone().unwrap_or_default();
                    judge
                        .undecided
                        .push(format!("the module of {object} could not be read: {reason}"));
                    skipped.push(Skipped {
                        object,
                        line: 0,
                        reason,
                    });
                }
            },
            Err(why) => skipped.push(why),
        }
    }
    if there.templates.is_empty() && there.unread.is_empty() {
        judge.undecided.push(match &there.namespace {
            Some(namespace) => format!("there is no WorkspaceTemplate in the namespace {namespace}"),
            None => "there is no WorkspaceTemplate on this cluster".to_owned(),
        });
    }
    if there.unread.is_empty() {
        judge.undecided.extend(orphans(there));
    }
    let units: Vec<Unit<'_>> = modules
        .iter()
        .map(|(module, body)| Unit {
            used_by: users(module, &there.control_planes),
            scope: Some(&there.scope),
            ..Unit::of(None, module, body)
        })
        .collect();
    for unit in &units {
        judge.unit(unit);
    }
    for skip in &skipped {
        judge.skipped(None, skip);
    }
    judge.report(&units)
}

/// A sentence for each control plane whose template was not among those that were read.
fn orphans(there: &Management) -> Vec<String> {
    let text = |v: &Value, p: &str| v.pointer(p).and_then(Value::as_str).map(str::to_owned);
    let known: BTreeSet<(Option<String>, Option<String>)> = there
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

/// What the judgement of one module rests on.
#[derive(Debug)]
pub struct Facts {
    /// What is done about the role.
    pub roles: Roles,
    /// The NodePools.
    pub scan: pools::Scan,
    /// The block that sets up Karpenter: its chart, or a module for its roles and queue.
    pub karpenter: Option<usize>,
    /// It makes an EKS cluster.
    pub cluster: bool,
}

impl Facts {
    pub fn of(graph: &Graph<'_>) -> Self {
        let defaults = Evaluator::new(graph, Vars::Default);
        Self {
            roles: Roles::of(graph, &defaults),
            scan: pools::scan(graph, &Evaluator::new(graph, Vars::Open)),
            karpenter: graph
                .entries
                .iter()
                .position(|entry| sets_up_karpenter(entry, &defaults)),
            cluster: graph.entries.iter().any(is_cluster),
        }
    }

    /// Addresses of what creates or requires the role and that `entry` waits for, whether or not it is ever active.
    fn ensured_by(&self, graph: &Graph<'_>, index: usize) -> Vec<(String, Guard)> {
        let before = graph.waits_for(&graph.entries[index]);
        self.ensuring()
            .filter(|(e, _)| *e == index || before.contains(&graph.entries[*e].address))
            .map(|(e, g)| (graph.entries[e].address.clone(), g.clone()))
            .collect()
    }

    fn ensuring(&self) -> impl Iterator<Item = (usize, &Guard)> {
        let makers = self.roles.makers.iter().map(|m| (m.entry, &m.guard));
        makers.chain(self.roles.requirers.iter().map(|r| (r.entry, &r.guard)))
    }

    /// It is there for the account's role alone.
    pub fn only_role(&self) -> bool {
        let owns = |m: &Maker| m.how == How::Resource && m.guard != Guard::Never;
        self.roles.makers.iter().any(owns) && !self.per_cluster()
    }

    /// It is applied once per cluster.
    fn per_cluster(&self) -> bool {
        self.cluster || self.karpenter.is_some() || !self.scan.blocks.is_empty()
    }

    /// What patching is to make of it where nobody says.
    pub fn mode(&self) -> Mode {
        if self.only_role() {
            Mode::Create
        } else {
            Mode::Require
        }
    }
}

fn sets_up_karpenter(entry: &Entry<'_>, eval: &Evaluator<'_, '_>) -> bool {
    let value = |name: &str| entry.block.body.get_attribute(name).map(|a| eval.eval(&a.value));
    let text = |name: &str| match value(name) {
        Some(Val::Str(text)) => text,
        _ => String::new(),
    };
    if value("count") == Some(Val::Num(0.0)) || value("create") == Some(Val::Bool(false)) {
        return false;
    }
    match entry.kind {
        BlockKind::Resource => entry.type_name == "helm_release" && pools::installs_karpenter(&text("chart")),
        BlockKind::Module => {
            let source = text("source");
            let source = source.split('?').next().unwrap_or_default();
            let named = source
                .split('/')
                .any(|part| part == "karpenter" || part == "terraform-aws-karpenter");
            named || value("enable_karpenter") == Some(Val::Bool(true))
        }
        _ => false,
    }
}

fn is_cluster(entry: &Entry<'_>) -> bool {
    let source = || {
        let source = entry.block.body.get_attribute("source");
        source.and_then(|a| a.value.as_str().map(str::to_owned))
    };
    match entry.kind {
        BlockKind::Resource => entry.type_name == "aws_eks_cluster",
        BlockKind::Module => source().is_some_and(|s| s.contains("eks")),
        _ => false,
    }
}

/// Active with the variables' defaults.
fn active(guard: &Guard) -> bool {
    !matches!(guard, Guard::Never | Guard::Variable { on: false, .. })
}

/// What a module is to the NodePools outside of it.
#[derive(Default)]
struct Summary {
    /// It makes the cluster that they come to.
    home: bool,
    only_role: bool,
    /// What in it creates or requires the role, with the variables' defaults.
    ensures: Vec<String>,
    /// Whether it has NodePools, or something that may be one.
    pools: bool,
    /// The block that sets up Karpenter, with its line, and what patches its file.
    karpenter: Option<(String, Vec<String>)>,
}

/// The NodePools of an object outside any module.
struct Outside<'a> {
    input: &'a Input,
    manifest: &'a Manifest,
    found: pools::Outside,
}

#[derive(Default)]
struct Judge<'a> {
    findings: Vec<Finding>,
    modules: Vec<ModuleReport>,
    undecided: Vec<String>,
    summaries: Vec<Summary>,
    outside: Vec<Outside<'a>>,
    /// Files that a module of their folder reads itself.
    read: BTreeSet<PathBuf>,
}

impl<'a> Judge<'a> {
    fn unit(&mut self, unit: &Unit<'_>) {
        let parts: Vec<(&str, &Body)> = unit.parts.iter().map(|(_, m, b)| (m.text.as_str(), *b)).collect();
        let graph = Graph::new(&parts, unit.beside);
        let facts = Facts::of(&graph);
        let mut judge = ModuleJudge {
            unit,
            graph: &graph,
            facts: &facts,
            findings: &mut self.findings,
            undecided: &mut self.undecided,
        };
        judge.all();
        self.modules.push(judge.report());
        if let Some(folder) = unit.folder() {
            self.read
                .extend(graph.read.borrow().iter().map(|file| folder.join(file)));
        }
        let ensures = facts.ensuring().filter(|(_, guard)| active(guard));
        self.summaries.push(Summary {
            home: facts.cluster || facts.karpenter.is_some(),
            only_role: facts.only_role(),
            ensures: ensures.map(|(e, _)| graph.entries[e].address.clone()).collect(),
            pools: !facts.scan.blocks.is_empty() || facts.scan.unseen.iter().any(|u| u.manifest),
            karpenter: facts.karpenter.map(|index| {
                let entry = &graph.entries[index];
                (
                    format!("{}, line {}", entry.address, entry.line),
                    unit.patch(entry.part, Mode::Require),
                )
            }),
        });
    }

    fn skipped(&mut self, file: Option<&str>, skip: &Skipped) {
        self.modules.push(ModuleReport {
            files: file.map(str::to_owned).into_iter().collect(),
            object: Some(skip.object.clone()),
            skipped: Some(skip.reason.clone()),
            ..ModuleReport::default()
        });
    }

    /// What the objects of a file bring, but for a file that a module applies itself.
    fn outside(&mut self, input: &'a Input, beside: &Beside) {
        if self.read.contains(Path::new(&input.name)) {
            return;
        }
        for manifest in &input.objects.manifests {
            let found = pools::outside(manifest, beside);
            if found.karpenter || !found.pools.is_empty() {
                self.outside.push(Outside {
                    input,
                    manifest,
                    found,
                });
            }
        }
    }

    fn placeholders(&mut self, input: &Input) {
        let found = placeholder::find(&input.text);
        let holds =
            !input.objects.modules.is_empty() || self.outside.iter().any(|o| o.input.name == input.name);
        let (Some((range, _)), true) = (found.first(), holds) else {
            return;
        };
        let names: BTreeSet<&str> = found.iter().map(|(_, name)| *name).collect();
        let shown: Vec<String> = names.iter().take(5).map(|name| format!("${{{name}}}")).collect();
        let more = match names.len().saturating_sub(shown.len()) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let line = input.text[..range.start].matches('\n').count() + 1;
        let yaml = input.format == Format::Yaml;
        let fill = Command::local(&["clusterctl", "generate", "yaml", "--from", &input.name]).piped(
            Command::local(&["kubectl", "capt-spot", "template", "check", "-"]),
        );
        self.findings.push(Finding {
            id: report::PLACEHOLDER.id,
            severity: Severity::Note,
            message: format!(
                "{} has placeholders that are not filled in: {}{more}.",
                input.name,
                shown.join(", ")
            ),
            file: Some(input.name.clone()),
            yaml_line: yaml.then_some(line),
            hcl_line: (!yaml).then_some(line),
            object: None,
            block: String::new(),
            fix: Remedy {
                text: "Fill them in (clusterctl generate, or envsubst), and check the result.".into(),
                commands: if yaml { vec![fill.to_string()] } else { Vec::new() },
                snippets: Vec::new(),
            },
        });
    }

    /// The modules that make the cluster which the NodePools of a file come to: of its folder if there are any, else all; where
    /// none is known to make one, the only module of the folder.
    fn homes(&self, units: &[Unit<'_>], folder: &Path) -> Vec<usize> {
        let here = |i: &usize| units[*i].folder() == Some(folder);
        let (homes, others): (Vec<usize>, Vec<usize>) =
            (0..units.len()).partition(|i| self.summaries[*i].home);
        let in_folder: Vec<usize> = homes.iter().copied().filter(here).collect();
        if !in_folder.is_empty() {
            return in_folder;
        }
        if !homes.is_empty() {
            return homes;
        }
        let neighbours = others
            .into_iter()
            .filter(|i| here(i) && !self.summaries[*i].only_role);
        let neighbours: Vec<usize> = neighbours.collect();
        if neighbours.len() == 1 {
            neighbours
        } else {
            Vec::new()
        }
    }

    fn report(mut self, units: &[Unit<'_>]) -> TemplateReport {
        let mut with_pools: BTreeSet<usize> = BTreeSet::new();
        let mut installed = Vec::new();
        for outside in std::mem::take(&mut self.outside) {
            let homes = self.homes(units, folder_of(&outside.input.name));
            if outside.found.pools.is_empty() {
                installed.push((outside, homes));
            } else {
                with_pools.extend(&homes);
                self.outside_pools(units, &homes, &outside);
            }
        }
        for (i, summary) in self.summaries.iter().enumerate() {
            let Some((block, patch)) = &summary.karpenter else {
                continue;
            };
            if summary.pools || with_pools.contains(&i) || !summary.ensures.is_empty() {
                continue;
            }
            let require = match patch.last() {
                Some(command) => format!(", or let the module require the role (`{command}`)"),
                None => String::new(),
            };
            self.undecided.push(format!(
                "{} sets up Karpenter ({block}), and its NodePools are not in what was read: check the files or the chart with the \
                 NodePools together with it{require}",
                units[i].name()
            ));
        }
        let any_pools = self.modules.iter().any(|m| !m.node_pools.is_empty());
        for (outside, homes) in installed {
            let ensured = !homes.is_empty() && homes.iter().all(|i| !self.summaries[*i].ensures.is_empty());
            if !any_pools && !ensured && !homes.iter().any(|i| self.summaries[*i].karpenter.is_some()) {
                self.undecided.push(format!(
                    "{} ({}:{}) installs Karpenter, and its NodePools are not in what was read: check the files or the chart with \
                     the NodePools together with it",
                    outside.manifest.object, outside.input.name, outside.manifest.line
                ));
            }
        }
        if units.is_empty() && self.modules.iter().all(|m| m.skipped.is_some()) && !self.modules.is_empty() {
            self.undecided.push("no module could be looked into".into());
        }
        TemplateReport::new(self.findings, self.modules, self.undecided)
    }

    fn outside_pools(&mut self, units: &[Unit<'_>], homes: &[usize], outside: &Outside<'_>) {
        let Outside {
            input,
            manifest,
            found,
        } = outside;
        let ensured = !homes.is_empty() && homes.iter().all(|i| !self.summaries[*i].ensures.is_empty());
        let waits_for: Vec<String> = homes
            .iter()
            .flat_map(|i| &self.summaries[*i].ensures)
            .filter(|_| ensured)
            .cloned()
            .collect();
        let node_pools = found.pools.iter().map(|pool| PoolReport {
            yaml_line: Some(manifest.line),
            ..pool_report(pool, manifest.object.to_string(), waits_for.clone())
        });
        self.modules.push(ModuleReport {
            files: vec![input.name.clone()],
            node_pools: node_pools.collect(),
            ..ModuleReport::default()
        });
        if ensured || !found.pools.iter().any(|p| p.spot.needs_role()) {
            return;
        }
        let who = who(&found.pools, &manifest.object.to_string());
        if homes.is_empty() {
            self.undecided.push(format!(
                "{who}, and the module that makes its cluster is not in what was read: check both together, or ask the cluster \
                 (`kubectl capt-spot preflight`)"
            ));
            return;
        }
        let lacking = || homes.iter().filter(|i| self.summaries[**i].ensures.is_empty());
        let names: Vec<String> = lacking().map(|i| units[*i].name()).collect();
        let elsewhere = self.summaries.iter().flat_map(|s| &s.ensures).next();
        let (rule, severity, but) = match elsewhere {
            Some(address) => (
                &report::NOT_WAITED,
                Severity::Warning,
                format!(
                    ", but nothing makes the NodePool's cluster wait for {address}, which is in another module"
                ),
            ),
            None => (&report::NEITHER, Severity::Error, String::new()),
        };
        let message = format!(
            "{who}. {} neither creates nor requires the role {ROLE}{but}. In an account without the role no Spot instance ever \
             starts.",
            names.join(" and ")
        );
        let commands: Vec<String> = lacking()
            .filter_map(|i| self.summaries[*i].karpenter.as_ref())
            .flat_map(|(_, patch)| patch.clone())
            .collect();
        let snippets = if commands.is_empty() {
            vec![Snippet {
                language: Language::Hcl,
                text: super::patch::require_text(),
            }]
        } else {
            Vec::new()
        };
        self.findings.push(Finding {
            id: rule.id,
            severity,
            message,
            file: Some(input.name.clone()),
            yaml_line: Some(manifest.line),
            hcl_line: None,
            object: Some(manifest.object.clone()),
            block: String::new(),
            fix: Remedy {
                text: "Let the module that makes the cluster require the role: its plan then stops where the role is missing.".into(),
                commands,
                snippets,
            },
        });
    }
}

fn pool_report(pool: &Pool, block: String, waits_for: Vec<String>) -> PoolReport {
    let (spot, why) = match &pool.spot {
        Spot::Yes(why) => (CanSpot::Yes, why),
        Spot::No(why) => (CanSpot::No, why),
        Spot::Unknown(why) => (CanSpot::Unknown, why),
    };
    PoolReport {
        name: pool.name.clone(),
        block,
        yaml_line: None,
        hcl_line: None,
        spot,
        why: why.clone(),
        waits_for,
    }
}

/// Which NodePools of a block or an object need the role, and why.
fn who(pools: &[Pool], of: &str) -> String {
    let needy: Vec<&Pool> = pools.iter().filter(|p| p.spot.needs_role()).collect();
    let names: Vec<&str> = needy.iter().filter_map(|p| p.name.as_deref()).collect();
    let who = match (needy.len(), names.as_slice()) {
        (1, [name]) if of.starts_with("NodePool ") => format!("NodePool {name}"),
        (1, [name]) => format!("NodePool {name} ({of})"),
        (1, _) => format!("The NodePool of {of}"),
        (n, []) => format!("{n} NodePools of {of}"),
        (_, names) => format!("NodePools {} ({of})", names.join(", ")),
    };
    let sure = needy.iter().find_map(|p| match &p.spot {
        Spot::Yes(why) => Some(why),
        _ => None,
    });
    let maybe = needy.iter().find_map(|p| match &p.spot {
        Spot::Unknown(why) => Some(why),
        _ => None,
    });
    match (sure, maybe) {
        (Some(why), _) => format!("{who} can launch Spot ({why})"),
        (None, why) => format!("{who} may launch Spot ({})", why.map_or("", String::as_str)),
    }
}

struct ModuleJudge<'u, 'a, 'g> {
    unit: &'u Unit<'u>,
    graph: &'g Graph<'a>,
    facts: &'g Facts,
    findings: &'u mut Vec<Finding>,
    undecided: &'u mut Vec<String>,
}

/// Whether `template patch` fixes it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Patch,
    Hand,
}

impl<'g> ModuleJudge<'_, '_, 'g> {
    fn entry(&self, index: usize) -> &'g Entry<'g> {
        &self.graph.entries[index]
    }

    fn address(&self, index: usize) -> String {
        self.entry(index).address.clone()
    }

    fn add(&mut self, rule: &Rule, severity: Severity, at: usize, message: String, fix: &str, by: By) {
        let entry = self.entry(at);
        let (file, module, _) = self.unit.parts[entry.part];
        let commands = if by == By::Patch && self.unit.parts.len() == 1 {
            self.unit.patch(entry.part, self.facts.mode())
        } else {
            Vec::new()
        };
        self.findings.push(Finding {
            id: rule.id,
            severity,
            message,
            file: file.map(str::to_owned),
            yaml_line: self.yaml_line(entry),
            hcl_line: Some(entry.line),
            object: module.object.clone(),
            block: entry.address.clone(),
            fix: Remedy {
                text: fix.into(),
                commands,
                snippets: Vec::new(),
            },
        });
    }

    fn yaml_line(&self, entry: &Entry<'_>) -> Option<usize> {
        let (file, module, _) = self.unit.parts[entry.part];
        file.and(module.object.as_ref())
            .and_then(|_| module.file_line(entry.line))
    }

    fn all(&mut self) {
        let facts = self.facts;
        for block in &facts.scan.blocks {
            if block.pools.iter().any(|p| p.spot.needs_role()) {
                self.pool(block);
            }
        }
        for maker in &facts.roles.makers {
            self.maker(maker);
        }
        self.requirers();
        self.wrong_blocks();
        for unseen in facts.scan.unseen.iter().filter(|unseen| unseen.manifest) {
            let ensured = facts.ensured_by(self.graph, unseen.entry);
            if !ensured.iter().any(|(_, guard)| active(guard)) {
                self.undecided.push(format!(
                    "{} may hold a NodePool (its manifest is {}), and it waits for nothing that creates or requires the role",
                    self.address(unseen.entry),
                    unseen.why
                ));
            }
        }
    }

    fn report(&self) -> ModuleReport {
        let facts = self.facts;
        let mut node_pools = Vec::new();
        for block in &facts.scan.blocks {
            let entry = self.entry(block.entry);
            let ensured = facts.ensured_by(self.graph, block.entry).into_iter();
            let waits_for: Vec<String> = ensured
                .filter(|(_, g)| *g != Guard::Never)
                .map(|(a, _)| a)
                .collect();
            node_pools.extend(block.pools.iter().map(|pool| PoolReport {
                yaml_line: self.yaml_line(entry),
                hcl_line: Some(entry.line),
                ..pool_report(pool, entry.address.clone(), waits_for.clone())
            }));
        }
        let mut not_seen: Vec<String> = facts
            .scan
            .unseen
            .iter()
            .map(|unseen| {
                let entry = self.entry(unseen.entry);
                format!(
                    "what {} (line {}) applies is {}",
                    entry.address, entry.line, unseen.why
                )
            })
            .collect();
        let modules = self.graph.entries.iter().filter(|e| e.kind == BlockKind::Module);
        let calls: Vec<&str> = modules.map(|e| e.address.as_str()).collect();
        if !calls.is_empty() {
            not_seen.push(format!(
                "the inside of {}: NodePools made there are not judged",
                calls.join(", ")
            ));
        }
        let files = self
            .unit
            .parts
            .iter()
            .filter_map(|(file, ..)| file.map(str::to_owned));
        let requirers = facts.roles.requirers.iter().filter(|r| r.guard != Guard::Never);
        ModuleReport {
            files: files.collect(),
            object: self.unit.parts[0].1.object.clone(),
            used_by: self.unit.used_by.clone(),
            skipped: None,
            node_pools,
            makes_role: facts.roles.makers.iter().map(|m| self.address(m.entry)).collect(),
            requires_role: requirers.map(|r| self.address(r.entry)).collect(),
            not_seen,
        }
    }

    fn pool(&mut self, block: &PoolBlock) {
        let (graph, facts) = (self.graph, self.facts);
        let ensured = facts.ensured_by(graph, block.entry);
        if ensured.iter().any(|(_, guard)| active(guard)) {
            return;
        }
        let at = block.entry;
        let who = who(&block.pools, &self.address(at));
        let conditional = ensured.iter().find_map(|(address, guard)| match guard {
            Guard::Variable { names, .. } => Some((address, names)),
            _ => None,
        });
        if let Some((address, names)) = conditional {
            let message = format!(
                "{who}. It waits for {address}, which exists only where {} says so: with the defaults nothing creates or requires \
                 the role.",
                names.join(" and ")
            );
            let fix =
                "Let the module read the role where it does not create it, and the NodePool depend on both.";
            self.add(
                &report::ON_REQUEST,
                Severity::Warning,
                at,
                message,
                fix,
                By::Patch,
            );
            return;
        }
        let list = |indices: &mut dyn Iterator<Item = (usize, &Guard)>| {
            let all: Vec<String> = indices
                .filter(|(_, guard)| **guard != Guard::Never)
                .map(|(i, _)| format!("{} (line {})", graph.entries[i].address, graph.entries[i].line))
                .collect();
            all.join(", ")
        };
        let makers = list(&mut facts.roles.makers.iter().map(|m| (m.entry, &m.guard)));
        let requirers = list(&mut facts.roles.requirers.iter().map(|r| (r.entry, &r.guard)));
        if !makers.is_empty() {
            let message = format!(
                "{who}. {makers} creates the role, but the NodePool does not depend on it: Terraform may apply the NodePool first, \
                 or although the role could not be created."
            );
            let fix = "Make the NodePool depend on the role (depends_on).";
            self.add(&report::NOT_WAITED, Severity::Error, at, message, fix, By::Patch);
        } else if !requirers.is_empty() {
            let message = format!(
                "{who}. {requirers} requires the role, but the NodePool does not depend on it, so nothing keeps the NodePool back \
                 when Terraform defers that read to the apply."
            );
            let fix = "Make the NodePool depend on it (depends_on).";
            self.add(
                &report::NOT_WAITED,
                Severity::Warning,
                at,
                message,
                fix,
                By::Patch,
            );
        } else {
            let message = format!(
                "{who}, but nothing in this module creates or requires the role {ROLE}. In an account without the role no Spot \
                 instance ever starts, and Karpenter 1.5 and later do not say why."
            );
            let fix = "Let the module read the role, and the NodePool depend on that.";
            self.add(&report::NEITHER, Severity::Error, at, message, fix, By::Patch);
        }
    }

    fn maker(&mut self, maker: &Maker) {
        let at = maker.entry;
        let address = self.address(at);
        match maker.how {
            _ if maker.guard == Guard::Never => {}
            // What the inside of a stack or a module does where the role exists is not seen here.
            How::Stack | How::Module => {}
            How::Command { hides: true, .. } => {
                let message = format!(
                    "{address} runs a command that creates the role and ignores every failure: where creating it is denied, the \
                     NodePools come up without the role and nothing says so."
                );
                let fix = "Use `kubectl capt-spot create-role --yes`, which accepts a role that exists and fails otherwise.";
                self.add(&report::HIDDEN, Severity::Note, at, message, fix, By::Hand);
            }
            How::Command { tolerant: false, .. } => {
                let message = format!(
                    "{address} runs a command that creates the role and fails where it exists (InvalidInput: \"has been taken in \
                     this account\")."
                );
                let fix = "Use `kubectl capt-spot create-role --yes`, which accepts a role that exists.";
                self.add(&report::FAILS, Severity::Error, at, message, fix, By::Hand);
            }
            How::Command { .. } => {}
            How::Resource => {
                self.creation(maker, &address);
                self.destruction(maker, &address);
            }
        }
    }

    fn creation(&mut self, maker: &Maker, address: &str) {
        let at = maker.entry;
        let how = match &maker.guard {
            Guard::RoleRead(reader) => {
                let message = format!(
                    "{address} is created when {reader} does not find the role. The first apply creates it; the next one finds it \
                     and plans to destroy it."
                );
                let fix = "Decide by a variable, or only require the role.";
                return self.add(&report::FLIPS, Severity::Error, at, message, fix, By::Patch);
            }
            Guard::Variable { on: false, .. } | Guard::Never => return,
            _ if maker.imported => {
                let message = format!(
                    "An import block takes the existing role for {address}, so that nothing is created where the role exists. \
                     Where it is missing, the import ends the plan with the provider's message, which does not say how to create it."
                );
                let fix =
                    "Only require the role, and create it once per account: kubectl capt-spot create-role";
                return self.add(&report::NO_WORDS, Severity::Note, at, message, fix, By::Hand);
            }
            Guard::Variable { names, .. } => {
                format!("creates the role unless {} says otherwise", names.join(" and "))
            }
            Guard::Unknown => "may create the role: what decides is not in the module".to_owned(),
            Guard::Always => "creates the role unconditionally".to_owned(),
        };
        let mut message = format!(
            "{address} {how}. Where the account has it already (Spot was used once, or this is its second cluster), AWS answers \
             InvalidInput, \"has been taken in this account\", and the apply stops."
        );
        if maker.ignore_changes {
            message.push_str(" lifecycle.ignore_changes does not help: it has no effect before creation.");
        }
        let requirers = self.facts.roles.requirers.iter();
        let never: Vec<String> = requirers
            .filter(|r| r.guard == Guard::Never)
            .map(|r| self.address(r.entry))
            .collect();
        if !never.is_empty() {
            message.push_str(&format!(
                " Nor does {} with count = 0: it reads nothing.",
                never.join(", ")
            ));
        }
        let severity = if maker.guard == Guard::Always {
            Severity::Error
        } else {
            Severity::Warning
        };
        let fix = match self.facts.mode() {
            Mode::Create => {
                "Let a variable decide (--mode create): the workspace that owns the role sets it, every other one requires the role."
            }
            _ => {
                "Only require the role, and create it once per account (kubectl capt-spot create-role); or guard its creation by a \
                 variable that defaults to false (--mode create)."
            }
        };
        self.add(&report::FAILS, severity, at, message, fix, By::Patch);
    }

    fn destruction(&mut self, maker: &Maker, address: &str) {
        let at = maker.entry;
        if !maker.prevent_destroy {
            let message = format!(
                "{address} has no prevent_destroy: destroying the workspace that created the role deletes it from the account, and \
                 every other cluster there loses Spot (AWS refuses only while Spot instances run)."
            );
            let fix = match self.facts.mode() {
                Mode::Create => "Set lifecycle { prevent_destroy = true }.",
                _ => {
                    "Only require the role; or, in the one module that owns it, set lifecycle { prevent_destroy = true }."
                }
            };
            self.add(&report::DESTROY, Severity::Error, at, message, fix, By::Patch);
        } else if self.facts.per_cluster() {
            let asked = matches!(maker.guard, Guard::Variable { on: false, .. });
            let message = format!(
                "{address} puts the account's role into a cluster's module{}: the workspace that owns the role cannot be destroyed \
                 before the role is taken out of its state.",
                if asked { " (off by default)" } else { "" }
            );
            let fix = "Keep the role in a workspace of its own, one per account (--mode account-template).";
            let severity = if asked { Severity::Note } else { Severity::Warning };
            self.add(&report::PER_CLUSTER, severity, at, message, fix, By::Hand);
        }
    }

    fn requirers(&mut self) {
        for requirer in &self.facts.roles.requirers {
            let entry = self.entry(requirer.entry);
            let (at, address) = (requirer.entry, &entry.address);
            if requirer.guard == Guard::Never {
                let message = format!(
                    "{address} has count = 0, so it reads nothing: it neither finds the role nor fails without it."
                );
                let fix = "Remove the count.";
                self.add(
                    &report::READ_NEVER,
                    Severity::Warning,
                    at,
                    message,
                    fix,
                    By::Patch,
                );
            } else if !requirer.has_words && entry.type_name == "aws_iam_role" {
                let message = format!(
                    "Where the role is missing, {address} ends the plan with the provider's message, which does not say how to \
                     create it."
                );
                let fix = "Give it a lifecycle precondition with a message.";
                self.add(&report::NO_WORDS, Severity::Note, at, message, fix, By::Patch);
            }
        }
    }

    /// Blocks that mean the role and do not get it, or only look at it.
    fn wrong_blocks(&mut self) {
        let roles = &self.facts.roles;
        for index in &roles.ordinary {
            let message = format!(
                "{} declares an ordinary role named {ROLE}. EC2 Spot needs the service-linked role of that name, which only \
                 CreateServiceLinkedRole creates, and which cannot be created while this one exists.",
                self.address(*index)
            );
            let fix = "Remove the block; create the role once per account: kubectl capt-spot create-role";
            self.add(&report::ORDINARY, Severity::Error, *index, message, fix, By::Hand);
        }
        for wrong in &roles.misnamed {
            let message = format!("{} {}.", self.address(wrong.entry), wrong.why);
            let right = format!("Write name = \"{ROLE}\".");
            let fix = match self.entry(wrong.entry).kind {
                BlockKind::Data => right.as_str(),
                _ => {
                    "Remove the custom_suffix; better, only require the role (kubectl capt-spot create-role, once per account)."
                }
            };
            self.add(
                &report::MISNAMED,
                Severity::Error,
                wrong.entry,
                message,
                fix,
                By::Hand,
            );
        }
        for block in roles.forgotten.iter().filter(|block| block.destroys) {
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
            let fix = "Set destroy = false in its lifecycle.";
            self.add(&report::DESTROY, severity, block.entry, message, fix, By::Hand);
        }
        for index in &roles.checks {
            let message =
                "This check block looks at the role, but a failing check block only warns; the apply goes on.".to_owned();
            let fix = "Use a precondition or postcondition on a block that the NodePools depend on.";
            self.add(
                &report::CHECK_WARNS,
                Severity::Note,
                *index,
                message,
                fix,
                By::Patch,
            );
        }
    }
}

/// What the check finds in one module, without places in a file.
pub(super) fn faults(graph: &Graph<'_>, facts: &Facts) -> Vec<Finding> {
    let (nowhere, body) = (ModuleSource::bare(String::new()), Body::new());
    let mut findings = Vec::new();
    let mut judge = ModuleJudge {
        unit: &Unit::of(None, &nowhere, &body),
        graph,
        facts,
        findings: &mut findings,
        undecided: &mut Vec::new(),
    };
    judge.all();
    findings
}
