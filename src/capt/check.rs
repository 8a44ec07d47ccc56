//! `template check`: does every NodePool that can launch Spot wait for the role?
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hcl_edit::structure::Body;
use serde_json::Value;

use super::beside::{Beside, NOTHING};
use super::hcl::{self, Graph};
use super::module::{Facts, ModuleJudge, Unit, active, folder_of, pool_report, who};
use super::placeholder;
use super::pools;
use super::report::{self, Finding, ModuleReport, PoolReport, Severity, TemplateReport};
use super::role::{Mode, ROLE};
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
            Some(only) if namespace.as_ref() != Some(only) => "is outside the namespace that was read",
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
            self.undecided.push("no module could be judged".into());
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
                    " {address} is in another module, and nothing makes this NodePool's cluster wait for it."
                ),
            ),
            None => (&report::NEITHER, Severity::Error, String::new()),
        };
        let message = format!(
            "{who}, but {} the role {ROLE}.{but} In an account without the role no Spot instance ever starts.",
            match names.as_slice() {
                [name] => format!("{name} neither creates nor requires"),
                names => format!("none of {} creates or requires", names.join(", ")),
            }
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
