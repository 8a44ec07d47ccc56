//! What `template check` says: the report as data, for people and as SARIF.
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::source::ObjectRef;
use crate::model::Remedy;
use crate::report::json::{pretty, to_yaml};
use crate::report::{Envelope, Verdict, docs_url};
use crate::text::Output;
use crate::text::sanitize::{line, short_line};
use crate::text::style::{Style, bold, dim, wrap};

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

impl Severity {
    /// Also SARIF's levels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
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

    fn place(&self) -> String {
        let module = self.hcl_line.map(|line| format!("module line {line}"));
        match (&self.file, self.yaml_line, &self.object) {
            (Some(file), Some(line), _) => {
                format!(
                    "{file}:{line}{}",
                    module.map(|m| format!(" ({m})")).unwrap_or_default()
                )
            }
            (Some(file), None, _) => format!("{file}:{}", self.hcl_line.unwrap_or(1)),
            (None, _, object) => {
                let object = object.as_ref().map(ToString::to_string);
                object.into_iter().chain(module).collect::<Vec<_>>().join(", ")
            }
        }
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

    pub fn render(&self, format: Output, style: Style, now: Timestamp) -> String {
        let document = || Document {
            envelope: Envelope::new("TemplateReport", "template-report", now),
            report: self,
        };
        match format {
            Output::Json => pretty(&document()),
            Output::Yaml => to_yaml(&document()),
            Output::Sarif => self.sarif(),
            _ => self.text(style),
        }
    }

    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        for module in &self.modules {
            module_text(&mut out, style, module);
        }
        for finding in &self.findings {
            finding_text(&mut out, style, finding);
        }
        let s = &self.summary;
        let (word, rest) = match self.verdict {
            Verdict::Ready if self.modules.iter().all(|m| m.node_pools.is_empty()) => (
                "READY",
                "no NodePool that can launch Spot was found, and nothing that endangers the role".to_owned(),
            ),
            Verdict::Ready => (
                "READY",
                "every NodePool that can launch Spot waits for the role".to_owned(),
            ),
            Verdict::NotReady => (
                "NOT READY",
                format!("{}, {}", plural(s.error, "error"), plural(s.warning, "warning")),
            ),
            Verdict::Undecided => ("UNDECIDED", self.undecided.join("; ")),
        };
        let answer = wrap(style, 0, 2, &format!("{word}: {}", line(&rest)));
        match answer.split_once(':') {
            Some((word, rest)) => out += &format!("{}:{rest}\n", style.paint(bold(), word)),
            None => out += &answer,
        }
        out
    }

    /// SARIF 2.1.0, for code scanning.
    fn sarif(&self) -> String {
        let rules: Vec<Value> = RULES
            .iter()
            .map(|r| {
                json!({
                    "id": r.id,
                    "shortDescription": { "text": r.title },
                    "fullDescription": { "text": r.explanation },
                    "helpUri": docs_url("templates.md"),
                    "defaultConfiguration": { "level": r.severity.as_str() },
                })
            })
            .collect();
        let skipped = self.modules.iter().filter_map(|m| {
            let why = m.skipped.as_ref()?;
            let object = m.object.as_ref().map(ToString::to_string).unwrap_or_default();
            Some(json!({ "level": "note", "message": { "text": format!("{object} was skipped: {why}") } }))
        });
        let notifications: Vec<Value> = skipped
            .chain(
                self.undecided
                    .iter()
                    .map(|u| json!({ "level": "warning", "message": { "text": u } })),
            )
            .collect();
        let results: Vec<Value> = self.findings.iter().map(sarif_result).collect();
        pretty(&json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "kubectl-capt_spot",
                    "version": env!("CARGO_PKG_VERSION"),
                    "informationUri": env!("CARGO_PKG_REPOSITORY"),
                    "rules": rules,
                } },
                "invocations": [{ "executionSuccessful": true, "exitCode": self.verdict.exit_code(),
                                  "toolExecutionNotifications": notifications }],
                "results": results,
            }],
        }))
    }
}

fn sarif_result(f: &Finding) -> Value {
    let object = f.object.as_ref().map(|o| format!("{o}: ")).unwrap_or_default();
    let mut location =
        json!({ "logicalLocations": [{ "fullyQualifiedName": format!("{object}{}", f.block) }] });
    if let (Some(file), Some(line)) = (&f.file, f.file_line()) {
        location["physicalLocation"] = json!({
            "artifactLocation": { "uri": uri(file) },
            "region": { "startLine": line },
        });
    }
    let fix = if f.fix.commands.is_empty() {
        String::new()
    } else {
        format!(" ({})", f.fix.commands.join("; "))
    };
    json!({
        "ruleId": f.id,
        "ruleIndex": RULES.iter().position(|r| r.id == f.id),
        "level": f.severity.as_str(),
        "message": { "text": format!("{} Fix: {}{fix}", f.message, f.fix.text) },
        "locations": [location],
        "properties": { "hclLine": f.hcl_line, "yamlLine": f.yaml_line },
        "partialFingerprints": { "captSpotFinding/v1": format!("{}/{object}{}/{}", f.file.as_deref().unwrap_or_default(), f.block, f.id) },
    })
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

fn uri(file: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(&file.replace('\\', "/"), KEEP).to_string()
}

/// A paragraph: the first line after `first` blanks, the others after `rest`.
fn put(out: &mut String, style: Style, first: usize, rest: usize, text: &str) {
    out.push_str(&" ".repeat(first));
    out.push_str(&wrap(style, first, rest, &short_line(text)));
    out.push('\n');
}

fn module_text(out: &mut String, style: Style, module: &ModuleReport) {
    let name = match (&module.object, module.files.first()) {
        (Some(object), Some(file)) => format!("{object} ({file})"),
        (Some(object), None) => object.to_string(),
        (None, _) => module.files.join(", "),
    };
    *out += &format!("{}\n", style.paint(bold(), &line(&name)));
    if let Some(why) = &module.skipped {
        put(out, style, 2, 4, &format!("skipped: {why}"));
    }
    if !module.used_by.is_empty() {
        put(
            out,
            style,
            2,
            4,
            &format!("used by CAPTControlPlane {}", module.used_by.join(", ")),
        );
    }
    for pool in &module.node_pools {
        let spot = match pool.spot {
            CanSpot::Yes => "can launch Spot",
            CanSpot::No => "cannot launch Spot",
            CanSpot::Unknown => "may launch Spot",
        };
        let name = pool.name.as_deref().unwrap_or("(name unknown)");
        let wait = match (pool.spot, pool.waits_for.is_empty()) {
            (CanSpot::No, _) => String::new(),
            (_, true) => "; waits for nothing that creates or requires the role".into(),
            (_, false) => format!("; waits for {}", pool.waits_for.join(", ")),
        };
        let by = match pool.block.starts_with("NodePool ") {
            true => String::new(),
            false => format!(" ({})", pool.block),
        };
        let text = format!("NodePool {name}{by} {spot}: {}{wait}", pool.why);
        put(out, style, 2, 4, &text);
    }
    for unseen in &module.not_seen {
        put(out, style, 2, 4, &format!("not seen: {unseen}"));
    }
    out.push('\n');
}

fn finding_text(out: &mut String, style: Style, f: &Finding) {
    use anstyle::AnsiColor;
    let color = match f.severity {
        Severity::Error => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Note => dim(),
    };
    *out += &format!(
        "{} {}  {}\n",
        style.paint(color, f.severity.as_str()),
        style.paint(bold(), f.rule().map_or(f.id, |rule| rule.title)),
        style.paint(dim(), f.id)
    );
    put(out, style, 2, 4, &f.place());
    put(out, style, 2, 2, &f.message);
    put(out, style, 2, 7, &format!("fix: {}", f.fix.text));
    for command in &f.fix.commands {
        *out += &format!("       {}\n", line(command));
    }
    for snippet in &f.fix.snippets {
        for row in snippet.text.lines() {
            *out += &format!("       {}\n", line(row)).replace("       \n", "\n");
        }
    }
    out.push('\n');
}
