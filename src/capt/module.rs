//! What one module does about the role and its NodePools, and what is wrong with that.
use std::path::Path;

use hcl_edit::structure::Body;

use super::beside::{Beside, NOTHING};
use super::hcl::{BlockKind, Entry, Evaluator, Graph, Val, Vars};
use super::pools::{self, Pool, PoolBlock, Spot};
use super::report::{self, CanSpot, Finding, ModuleReport, PoolReport, Rule, Severity};
use super::role::{Guard, How, Maker, Mode, ROLE, Roles};
use super::source::ModuleSource;
use crate::model::{Command, CommandScope, Remedy};

/// One module and the files it is made of.
pub(super) struct Unit<'a> {
    pub parts: Vec<(Option<&'a str>, &'a ModuleSource, &'a Body)>,
    pub used_by: Vec<String>,
    /// For an object of a cluster: the flags with which kubectl reaches it.
    pub scope: Option<&'a CommandScope>,
    pub beside: &'a Beside,
}

impl<'a> Unit<'a> {
    pub fn of(file: Option<&'a str>, module: &'a ModuleSource, body: &'a Body) -> Self {
        Self {
            parts: vec![(file, module, body)],
            used_by: Vec::new(),
            scope: None,
            beside: &NOTHING,
        }
    }

    pub fn folder(&self) -> Option<&'a Path> {
        self.parts[0].0.map(folder_of)
    }

    pub fn name(&self) -> String {
        let (file, module, _) = self.parts[0];
        match (&module.object, file) {
            (Some(object), _) => object.to_string(),
            (None, Some(file)) if self.parts.len() == 1 => file.to_owned(),
            (None, Some(file)) => format!("the module in {}", folder_of(file).display()),
            (None, None) => "the module".to_owned(),
        }
    }

    /// The commands that patch the file in which this part of the module stands.
    pub fn patch(&self, part: usize, mode: Mode) -> Vec<String> {
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

pub(super) fn folder_of(file: &str) -> &Path {
    Path::new(file).parent().unwrap_or(Path::new(""))
}

/// What the judgement of one module rests on.
#[derive(Debug)]
pub struct Facts {
    pub roles: Roles,
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

    pub fn ensuring(&self) -> impl Iterator<Item = (usize, &Guard)> {
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
    let value = |name| entry.attr(name).map(|expr| eval.eval(expr));
    let text = |name| eval.text_of(entry, name).unwrap_or_default();
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
    let source = || entry.attr("source").and_then(|source| source.as_str());
    match entry.kind {
        BlockKind::Resource => entry.type_name == "aws_eks_cluster",
        BlockKind::Module => source().is_some_and(|s| s.contains("eks") && !s.contains("//modules/")),
        _ => false,
    }
}

/// Active with the variables' defaults.
pub(super) fn active(guard: &Guard) -> bool {
    !matches!(guard, Guard::Never | Guard::Variable { on: false, .. })
}

pub(super) fn pool_report(pool: &Pool, block: String, waits_for: Vec<String>) -> PoolReport {
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
pub(super) fn who(pools: &[Pool], of: &str) -> String {
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

pub(super) struct ModuleJudge<'u, 'a, 'g> {
    pub unit: &'u Unit<'u>,
    pub graph: &'g Graph<'a>,
    pub facts: &'g Facts,
    pub findings: &'u mut Vec<Finding>,
    pub undecided: &'u mut Vec<String>,
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

    pub fn all(&mut self) {
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

    pub fn report(&self) -> ModuleReport {
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
