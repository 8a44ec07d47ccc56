//! What `template check` says: its document, and its page.
use jiff::Timestamp;
use serde::Serialize;

use super::source::ObjectRef;
use crate::model::{FilePlace, Judgement, Remedy, Status};
use crate::report::{self, Envelope, Page, Row, Verdict, closing_of};

/// How bad a finding is. Errors and warnings make the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing breaks; worth knowing.
    Note,
    /// Breaks under a condition that the module does not rule out.
    Warning,
    /// Breaks.
    Error,
}

/// One thing that `template check` looks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Kebab-case, never reused.
    pub id: &'static str,
    pub title: &'static str,
    /// Why it matters.
    pub explanation: &'static str,
    /// The severity it has at most.
    pub severity: Severity,
}

const fn rule(severity: Severity, id: &'static str, title: &'static str, explanation: &'static str) -> Rule {
    Rule {
        id,
        title,
        explanation,
        severity,
    }
}

/// In the order in which docs/templates.md explains them.
pub const RULES: &[Rule] = &[
    NEITHER,
    NOT_WAITED,
    FAILS,
    FLIPS,
    DESTROY,
    PER_CLUSTER,
    READ_NEVER,
    ON_REQUEST,
    ORDINARY,
    MISNAMED,
    CHECK_WARNS,
    NO_WORDS,
    HIDDEN,
    PLACEHOLDER,
];

pub const NEITHER: Rule = rule(
    Severity::Error,
    "role-neither-made-nor-required",
    "Nothing creates or requires the Spot role",
    "A NodePool that can launch Spot needs the account's service-linked role AWSServiceRoleForEC2Spot. Without the role the \
     cluster comes up, no Spot instance ever starts, and Karpenter 1.5 and later do not say why.",
);
pub const NOT_WAITED: Rule = rule(
    Severity::Error,
    "role-not-waited-for",
    "The NodePool does not wait for the Spot role",
    "Terraform orders blocks by references and depends_on only. Without either, the NodePool may be applied before the role \
     exists, or although the role could not be created.",
);
pub const FAILS: Rule = rule(
    Severity::Error,
    "role-creation-fails-where-it-exists",
    "Creating the role fails where it exists",
    "An account has this role once. Creating it again fails with InvalidInput (\"has been taken in this account\"), and the \
     apply stops: in every account that used Spot before, and for the second cluster of any account. lifecycle.ignore_changes \
     has no effect before creation.",
);
pub const FLIPS: Rule = rule(
    Severity::Error,
    "role-count-flips",
    "The role is created and destroyed in turn",
    "A count that asks whether the role exists sees the role that it created itself: the first apply creates the role, the \
     next one plans to destroy it.",
);
pub const DESTROY: Rule = rule(
    Severity::Error,
    "destroy-takes-the-role",
    "Destroying this workspace deletes the account's role",
    "The role belongs to the account, not to a cluster. A workspace that owns it without prevent_destroy deletes it when it is \
     destroyed, and every other cluster of the account loses Spot.",
);
pub const PER_CLUSTER: Rule = rule(
    Severity::Warning,
    "role-owned-per-cluster",
    "A cluster's module owns the account's role",
    "A module that is applied once per cluster is the wrong owner of something that exists once per account: one cluster has \
     it in its state, the others cannot, and the owner cannot be destroyed alone.",
);
pub const READ_NEVER: Rule = rule(
    Severity::Warning,
    "role-read-never",
    "A data source with count = 0 reads nothing",
    "count = 0 removes the block from the plan: it neither finds the role nor fails without it, and depends_on on it waits for \
     nothing.",
);
pub const ON_REQUEST: Rule = rule(
    Severity::Warning,
    "role-made-only-on-request",
    "The role is created only where a variable says so",
    "With the variables' defaults the module neither creates nor requires the role, so the NodePool is applied without it \
     unless somebody sets them.",
);
pub const ORDINARY: Rule = rule(
    Severity::Error,
    "role-not-service-linked",
    "An ordinary role has the Spot role's name",
    "EC2 Spot uses the service-linked role under /aws-service-role/spot.amazonaws.com/, which only CreateServiceLinkedRole \
     creates. An ordinary role of the same name does nothing for Spot and stands in the way.",
);
pub const MISNAMED: Rule = rule(
    Severity::Error,
    "role-misnamed",
    "The Spot role has another name in IAM",
    "The role is called AWSServiceRoleForEC2Spot in every account. EC2 Spot takes no custom suffix, and a data source finds a \
     role by its name without the path.",
);
pub const CHECK_WARNS: Rule = rule(
    Severity::Note,
    "check-block-only-warns",
    "A check block does not stop an apply",
    "Terraform's check blocks print a warning and go on, so they do not require the role.",
);
pub const NO_WORDS: Rule = rule(
    Severity::Note,
    "role-missing-says-nothing",
    "A missing role ends the plan without advice",
    "data \"aws_iam_role\" fails where the role is missing, with the provider's message. A precondition can say how to create \
     the role before the read fails.",
);
pub const HIDDEN: Rule = rule(
    Severity::Note,
    "role-creation-failure-hidden",
    "A failed creation of the role goes unnoticed",
    "`|| true` and on_failure = continue swallow \"the role exists\", which is intended, and a denial, which is not: the \
     cluster comes up without the role.",
);
pub const PLACEHOLDER: Rule = rule(
    Severity::Note,
    "placeholder-not-filled-in",
    "A placeholder is not filled in",
    "envsubst and `clusterctl generate` replace ${NAME} before a file is applied. Until then neither Kubernetes nor Terraform \
     takes the file, and what the placeholder decides is unknown.",
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The rule's id.
    pub id: &'static str,
    /// How bad it is here.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// The file; none for an object on a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in a YAML file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaml_line: Option<usize>,
    /// The line in the Terraform module; none for what stands outside one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hcl_line: Option<usize>,
    /// The object that carries the module, or the object itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// The block's address in the module; empty for what stands outside one.
    pub block: String,
    /// What to do.
    pub fix: Remedy,
}

impl Finding {
    /// The line in the file, whichever kind it is.
    pub fn file_line(&self) -> Option<usize> {
        self.file.as_ref().and(self.yaml_line.or(self.hcl_line))
    }

    fn rule(&self) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.id == self.id)
    }
}

/// Can a pool launch Spot?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CanSpot {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// Not decided by the files; counts as yes.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PoolReport {
    /// Its name, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The block that makes it; for a pool outside a module, the object.
    pub block: String,
    /// Its line in a YAML file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaml_line: Option<usize>,
    /// Its block's line in the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hcl_line: Option<usize>,
    /// Can it launch Spot?
    pub spot: CanSpot,
    /// Why.
    pub why: String,
    /// What creates or requires the role and comes before it.
    pub waits_for: Vec<String>,
}

/// One module, or one file of Kubernetes objects beside modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ModuleReport {
    /// The files it stands in.
    pub files: Vec<String>,
    /// The object that carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// `CAPTControlPlane`s that use it (`namespace/name`), on a management cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Why it was not looked into; absent when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Its NodePools.
    pub node_pools: Vec<PoolReport>,
    /// The blocks that create the role.
    pub makes_role: Vec<String>,
    /// The blocks that require it.
    pub requires_role: Vec<String>,
    /// What could not be seen in it.
    pub not_seen: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// Errors.
    pub error: usize,
    /// Warnings.
    pub warning: usize,
    /// Notes.
    pub note: usize,
    /// Modules that were looked into.
    pub modules: usize,
    /// Modules that could not be.
    pub skipped: usize,
}

/// What JSON and YAML are.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "TemplateReport"))]
pub struct Document<'a> {
    #[serde(flatten)]
    pub envelope: Envelope,
    #[serde(flatten)]
    pub report: &'a TemplateReport,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TemplateReport {
    /// Ready: every NodePool that can launch Spot waits for the role, and nothing else was found.
    pub verdict: Verdict,
    /// Why it is undecided; empty otherwise.
    pub undecided: Vec<String>,
    /// Counts.
    pub summary: Summary,
    /// What was found, by place.
    pub findings: Vec<Finding>,
    /// The modules, by place.
    pub modules: Vec<ModuleReport>,
}

impl TemplateReport {
    /// Puts a report together and draws the verdict: errors and warnings count, notes do not.
    pub fn new(mut findings: Vec<Finding>, modules: Vec<ModuleReport>, mut undecided: Vec<String>) -> Self {
        findings.sort_by_key(|f| {
            (
                f.file.clone(),
                f.yaml_line,
                f.object.clone(),
                f.hcl_line,
                std::cmp::Reverse(f.severity),
                f.id,
            )
        });
        let count = |s| findings.iter().filter(|f| f.severity == s).count();
        let skipped = modules.iter().filter(|m| m.skipped.is_some()).count();
        let summary = Summary {
            error: count(Severity::Error),
            warning: count(Severity::Warning),
            note: count(Severity::Note),
            modules: modules.len() - skipped,
            skipped,
        };
        let verdict = if summary.error + summary.warning > 0 {
            undecided.clear();
            Verdict::NotReady
        } else if undecided.is_empty() {
            Verdict::Ready
        } else {
            Verdict::Undecided
        };
        Self {
            verdict,
            undecided,
            summary,
            findings,
            modules,
        }
    }

    /// What JSON and YAML print.
    pub fn document(&self, now: Timestamp) -> Document<'_> {
        Document {
            envelope: Envelope::new("TemplateReport", "template-report", now),
            report: self,
        }
    }

    /// As people and CI systems see it. Warnings count as errors do, notes don't.
    pub fn page(&self) -> Page {
        let (status, word) = match self.verdict {
            Verdict::Ready => (Status::Pass, "READY"),
            Verdict::NotReady => (Status::Fail, "NOT READY"),
            Verdict::Undecided => (Status::Unknown, "UNDECIDED"),
        };
        let subject = match self.modules.as_slice() {
            [] => "no module".to_owned(),
            [one] => one.name(),
            several => format!("{} modules", several.len()),
        };
        let ready = if self.modules.iter().all(|module| module.node_pools.is_empty()) {
            "no NodePool that can launch Spot was found, and nothing that endangers the role"
        } else {
            "every NodePool that can launch Spot waits for the role"
        };
        let mut findings: Vec<report::Finding> = self.findings.iter().map(Finding::of_page).collect();
        findings.extend(self.undecided.iter().map(|why| {
            let judgement = Judgement::undecided(why);
            explained("module-read", "Everything that decides was read", judgement)
        }));
        findings.extend(self.modules.iter().flat_map(ModuleReport::findings));
        let unseen = self.modules.iter().flat_map(|module| {
            let skipped = module.skipped.iter().map(|why| format!("skipped: {why}"));
            let unseen = skipped.chain(module.not_seen.iter().cloned());
            unseen.map(|what| match self.modules.len() {
                1 => what,
                _ => format!("{}: {what}", module.name()),
            })
        });
        let used = self.modules.iter().filter(|module| !module.used_by.is_empty());
        let used = used.map(|module| {
            (
                module.name(),
                format!("used by CAPTControlPlane {}", module.used_by.join(", ")),
            )
        });
        let closing = closing_of(self.verdict, &findings, ready.to_owned());
        Page {
            findings,
            fields: used.collect(),
            ..Page::new("template check", status, word, subject)
        }
        .place(&["templates"])
        .section("Not seen", unseen.map(Row::new))
        .closing(closing)
    }
}

fn explained(id: &str, title: &str, judgement: Judgement) -> report::Finding {
    report::Finding::new(id, "template", title, judgement).explained_in("templates.md#the-findings")
}

impl Finding {
    fn of_page(&self) -> report::Finding {
        let rule = self.rule();
        let title = rule.map_or(self.id, |rule| rule.title);
        let status = match self.severity {
            Severity::Error | Severity::Warning => Status::Fail,
            Severity::Note => Status::Warn,
        };
        let object = self.object.as_ref().map(ToString::to_string);
        let named: Vec<&str> = object
            .iter()
            .map(String::as_str)
            .chain([self.block.as_str()])
            .collect();
        let file = self
            .file
            .as_ref()
            .zip(self.file_line())
            .map(|(file, line)| FilePlace {
                file: file.clone(),
                line,
                key: named.join(": "),
            });
        // A file is named beside the message.
        let place = match (&file, self.hcl_line.map(|line| format!("module line {line}"))) {
            (None, module) => object.into_iter().chain(module).collect::<Vec<_>>().join(", ") + ": ",
            (Some(_), _) => String::new(),
        };
        let judgement = Judgement {
            remedy: Some(self.fix.clone()),
            file,
            ..Judgement::new(status, format!("{place}{}", self.message)).headline(title)
        };
        report::Finding {
            help: rule.map(|rule| rule.explanation.to_owned()),
            ..explained(self.id, title, judgement)
        }
    }
}

impl ModuleReport {
    fn name(&self) -> String {
        match (&self.object, self.files.first()) {
            (Some(object), Some(file)) => format!("{object} ({file})"),
            (Some(object), None) => object.to_string(),
            (None, _) => self.files.join(", "),
        }
    }

    /// The pools that are no problem: they wait, or cannot launch Spot.
    fn findings(&self) -> Vec<report::Finding> {
        const TITLE: &str = "A NodePool that can launch Spot waits for the role";
        let name = self.name();
        let pools = self.node_pools.iter().filter_map(|pool| {
            let named = pool.name.as_deref().unwrap_or("(name unknown)");
            let told = |rest: &str| format!("{name}: NodePool {named} ({}) {rest}", pool.block);
            let judgement = match pool.spot {
                CanSpot::No => Judgement::skip(told(&format!("cannot launch Spot: {}", pool.why))),
                CanSpot::Yes | CanSpot::Unknown if pool.waits_for.is_empty() => return None,
                CanSpot::Yes | CanSpot::Unknown => {
                    Judgement::pass(told(&format!("waits for {}", pool.waits_for.join(", "))))
                }
            };
            Some(explained("node-pool-waits", TITLE, judgement))
        });
        pools.collect()
    }
}
