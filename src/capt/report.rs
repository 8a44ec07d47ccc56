//! What `template check` says: the report as data, and as text, JSON, YAML and SARIF.
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::source::ObjectRef;

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
    /// `error`, `warning` or `note`: also SARIF's levels.
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
    /// A few words.
    pub title: &'static str,
    /// Why it matters.
    pub explanation: &'static str,
    /// The severity it has at most.
    pub severity: Severity,
}

/// The rules, in the order in which they are explained.
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
];

/// The role is neither made nor required.
pub const NEITHER: Rule = Rule {
    id: "role-neither-made-nor-required",
    title: "Nothing makes or requires the Spot role",
    explanation: "A NodePool that can launch Spot needs the account's service-linked role AWSServiceRoleForEC2Spot. Without it the \
cluster comes up, and from Karpenter 1.5 on nothing says why no Spot instance ever starts.",
    severity: Severity::Error,
};
/// Made or required, but the pool does not wait.
pub const NOT_WAITED: Rule = Rule {
    id: "role-not-waited-for",
    title: "The NodePool does not wait for the Spot role",
    explanation: "Terraform orders blocks by references and depends_on only. Without either the NodePool may be applied before the role \
is there, or although it could not be made.",
    severity: Severity::Error,
};
/// Unguarded creation.
pub const FAILS: Rule = Rule {
    id: "role-creation-fails-where-it-exists",
    title: "Creating the role fails where it exists",
    explanation: "The role is there once per account. Creating it again is answered with InvalidInput (\"has been taken in this \
account\"), and the apply stops: in every account where Spot was used before, and for the second cluster of any account. \
lifecycle.ignore_changes does nothing before creation.",
    severity: Severity::Error,
};
/// `count` from a data source that sees its own resource.
pub const FLIPS: Rule = Rule {
    id: "role-count-flips",
    title: "The role is made and destroyed in turn",
    explanation: "A count that asks whether the role exists sees the role that it made itself: the first apply creates it, the next \
plans to destroy it.",
    severity: Severity::Error,
};
/// No `prevent_destroy`.
pub const DESTROY: Rule = Rule {
    id: "destroy-takes-the-role",
    title: "Destroying this workspace takes the account's role",
    explanation: "The role belongs to the account, not to a cluster. A workspace that owns it without prevent_destroy deletes it with \
itself, and every other cluster of the account loses Spot.",
    severity: Severity::Error,
};
/// The role in a cluster's module.
pub const PER_CLUSTER: Rule = Rule {
    id: "role-owned-per-cluster",
    title: "A cluster's module owns the account's role",
    explanation: "A module that is applied once per cluster is the wrong owner of something that is there once per account: one cluster \
has it in its state, the others cannot, and the owner cannot be destroyed alone.",
    severity: Severity::Warning,
};
/// `count = 0`
pub const READ_NEVER: Rule = Rule {
    id: "role-read-never",
    title: "A data source with count = 0 reads nothing",
    explanation: "count = 0 removes the block from the plan: it neither finds the role nor fails without it, and depends_on on it \
waits for nothing.",
    severity: Severity::Warning,
};
/// Guarded, off by default, nothing else.
pub const ON_REQUEST: Rule = Rule {
    id: "role-made-only-on-request",
    title: "The role is made only where a variable says so",
    explanation: "With the variables' defaults the module neither makes nor requires the role, so where nobody sets them the NodePool is \
applied without it.",
    severity: Severity::Warning,
};
/// An `aws_iam_role` of that name.
pub const ORDINARY: Rule = Rule {
    id: "role-not-service-linked",
    title: "An ordinary role has the Spot role's name",
    explanation: "EC2 Spot uses the service-linked role under /aws-service-role/spot.amazonaws.com/, which only \
CreateServiceLinkedRole makes. An ordinary role of the same name does nothing for it and stands in its way.",
    severity: Severity::Error,
};
/// A `custom_suffix`, or a name with its path.
pub const MISNAMED: Rule = Rule {
    id: "role-misnamed",
    title: "The Spot role is named as IAM does not name it",
    explanation: "The role is AWSServiceRoleForEC2Spot in every account. EC2 Spot takes no custom suffix, and a data source finds a \
role by its name without the path.",
    severity: Severity::Error,
};
/// `check` blocks.
pub const CHECK_WARNS: Rule = Rule {
    id: "check-block-only-warns",
    title: "A check block does not stop an apply",
    explanation: "Terraform's check blocks print a warning and go on, so they do not require the role.",
    severity: Severity::Note,
};
/// A failure without advice.
pub const NO_WORDS: Rule = Rule {
    id: "role-missing-says-nothing",
    title: "A missing role ends the plan without advice",
    explanation: "data \"aws_iam_role\" fails where the role is missing, in the provider's words. A precondition can say how to create \
it before the read fails.",
    severity: Severity::Note,
};
/// `|| true`
pub const HIDDEN: Rule = Rule {
    id: "role-creation-failure-hidden",
    title: "A failed creation of the role goes unnoticed",
    explanation: "`|| true` and on_failure = continue swallow \"the role exists\", which is meant, and a denial, which is not: the cluster \
comes up without the role.",
    severity: Severity::Note,
};

/// How to mend a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fix {
    /// In words.
    pub text: String,
    /// Commands that can be pasted.
    pub commands: Vec<String>,
}

/// One finding.
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
    /// The line in the Terraform module.
    pub hcl_line: usize,
    /// The object that carries the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// The block's address in the module.
    pub block: String,
    /// How to mend it.
    pub fix: Fix,
}

impl Finding {
    /// The line in the file, whichever kind it is.
    pub fn file_line(&self) -> Option<usize> {
        self.file
            .as_ref()
            .map(|_| self.yaml_line.unwrap_or(self.hcl_line))
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
    /// Only Terraform will know; taken as yes.
    Unknown,
}

/// A NodePool that a module makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PoolReport {
    /// Its name, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The block that makes it.
    pub block: String,
    /// That block's line in a YAML file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaml_line: Option<usize>,
    /// That block's line in the module.
    pub hcl_line: usize,
    /// Can it launch Spot?
    pub spot: CanSpot,
    /// Why.
    pub why: String,
    /// What makes or requires the role and comes before it.
    pub waits_for: Vec<String>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// The blocks that make the role.
    pub makes_role: Vec<String>,
    /// The blocks that require it.
    pub requires_role: Vec<String>,
    /// What could not be seen in it.
    pub not_seen: Vec<String>,
}

/// The whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every NodePool that can launch Spot waits for the role, and nothing else was found.
    Ready,
    /// Something was found.
    NotReady,
    /// Nothing was found, but something that matters could not be read.
    Undecided,
}

/// Counts of findings and modules.
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

/// What `template check` says. JSON and YAML are this, field by field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TemplateReport {
    /// `capt-spot/v1`
    pub api_version: &'static str,
    /// `TemplateReport`
    pub kind: &'static str,
    /// The answer.
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
    pub fn new(mut findings: Vec<Finding>, modules: Vec<ModuleReport>, undecided: Vec<String>) -> Self {
        let place = |f: &Finding| {
            (
                f.file.clone(),
                f.yaml_line,
                f.object.clone(),
                f.hcl_line,
                std::cmp::Reverse(f.severity),
                f.id,
            )
        };
        findings.sort_by_key(place);
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
            Verdict::NotReady
        } else if undecided.is_empty() {
            Verdict::Ready
        } else {
            Verdict::Undecided
        };
        let undecided = if verdict == Verdict::Undecided {
            undecided
        } else {
            Vec::new()
        };
        Self {
            api_version: "capt-spot/v1",
            kind: "TemplateReport",
            verdict,
            undecided,
            summary,
            findings,
            modules,
        }
    }

    /// 0 ready, 1 findings, 3 undecided.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Ready => 0,
            Verdict::NotReady => 1,
            Verdict::Undecided => 3,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for module in &self.modules {
            module_text(&mut out, module);
        }
        for finding in &self.findings {
            finding_text(&mut out, finding);
        }
        let s = &self.summary;
        let answer = match self.verdict {
            Verdict::Ready if self.modules.iter().all(|m| m.node_pools.is_empty()) => {
                "READY: no NodePool that can launch Spot was found, and nothing that would hurt the role"
                    .to_owned()
            }
            Verdict::Ready => "READY: every NodePool that can launch Spot waits for the role".to_owned(),
            Verdict::NotReady => format!(
                "NOT READY: {}, {}",
                plural(s.error, "error"),
                plural(s.warning, "warning")
            ),
            Verdict::Undecided => format!("UNDECIDED: {}", self.undecided.join("; ")),
        };
        wrapped(&mut out, &answer, "", "  ");
        sanitised(&out)
    }

    /// As JSON, ending with a line end.
    pub fn json(&self) -> String {
        escaped(&serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// As YAML.
    pub fn yaml(&self) -> String {
        sanitised(&crate::report::json::plain_yaml(self))
    }

    /// As SARIF 2.1.0, for code scanning.
    pub fn sarif(&self) -> String {
        let rules: Vec<Value> = RULES
            .iter()
            .map(|r| {
                json!({
                    "id": r.id,
                    "shortDescription": { "text": r.title },
                    "fullDescription": { "text": r.explanation },
                    "defaultConfiguration": { "level": r.severity.as_str() },
                })
            })
            .collect();
        let results: Vec<Value> = self
            .findings
            .iter()
            .map(|f| {
                let mut location = json!({});
                if let (Some(file), Some(line)) = (&f.file, f.file_line()) {
                    location["physicalLocation"] = json!({
                        "artifactLocation": { "uri": uri(file) },
                        "region": { "startLine": line },
                    });
                }
                let object = f.object.as_ref().map(|o| format!("{o}: ")).unwrap_or_default();
                location["logicalLocations"] =
                    json!([{ "fullyQualifiedName": sanitised(&format!("{object}{}", f.block)) }]);
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
                })
            })
            .collect();
        let notifications: Vec<Value> = self
            .modules
            .iter()
            .filter_map(|m| m.skipped.as_ref().map(|why| (m, why)))
            .map(|(m, why)| {
                let object = m.object.as_ref().map(ToString::to_string).unwrap_or_default();
                json!({ "level": "note", "message": { "text": format!("{object} was skipped: {why}") } })
            })
            .chain(
                self.undecided
                    .iter()
                    .map(|u| json!({ "level": "warning", "message": { "text": u } })),
            )
            .collect();
        let sarif = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "kubectl-capt_spot",
                    "version": env!("CARGO_PKG_VERSION"),
                    "informationUri": env!("CARGO_PKG_REPOSITORY"),
                    "rules": rules,
                } },
                "invocations": [{ "executionSuccessful": true, "exitCode": self.exit_code(),
                                  "toolExecutionNotifications": notifications }],
                "results": results,
            }],
        });
        escaped(&serde_json::to_string_pretty(&sarif).unwrap_or_default())
    }
}

fn plural(n: usize, word: &str) -> String {
    if n == 1 {
        format!("1 {word}")
    } else {
        format!("{n} {word}s")
    }
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

fn module_text(out: &mut String, module: &ModuleReport) {
    let name = match (&module.object, module.files.first()) {
        (Some(object), Some(file)) => format!("{object} ({file})"),
        (Some(object), None) => object.to_string(),
        (None, _) => module.files.join(", "),
    };
    let _ = writeln!(out, "{name}");
    if let Some(why) = &module.skipped {
        wrapped(out, &format!("skipped: {why}"), "  ", "    ");
    }
    if !module.used_by.is_empty() {
        wrapped(
            out,
            &format!("used by CAPTControlPlane {}", module.used_by.join(", ")),
            "  ",
            "    ",
        );
    }
    for pool in &module.node_pools {
        let spot = match pool.spot {
            CanSpot::Yes => "can launch Spot",
            CanSpot::No => "cannot launch Spot",
            CanSpot::Unknown => "may launch Spot",
        };
        let name = pool.name.as_deref().unwrap_or("(name not known)");
        let wait = match (pool.spot, pool.waits_for.is_empty()) {
            (CanSpot::No, _) => String::new(),
            (_, true) => "; waits for nothing that makes or requires the role".into(),
            (_, false) => format!("; waits for {}", pool.waits_for.join(", ")),
        };
        wrapped(
            out,
            &format!("NodePool {name} ({}) {spot}: {}{wait}", pool.block, pool.why),
            "  ",
            "    ",
        );
    }
    for unseen in &module.not_seen {
        wrapped(out, &format!("not seen: {unseen}"), "  ", "    ");
    }
    out.push('\n');
}

fn finding_text(out: &mut String, f: &Finding) {
    let place = match (&f.file, f.yaml_line) {
        (Some(file), Some(line)) => format!("{file}:{line} (module line {})", f.hcl_line),
        (Some(file), None) => format!("{file}:{}", f.hcl_line),
        (None, _) => {
            let object = f.object.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{object}, module line {}", f.hcl_line)
        }
    };
    let _ = writeln!(out, "{} {}  {place}", f.severity.as_str(), f.id);
    wrapped(out, &f.message, "  ", "  ");
    wrapped(out, &format!("fix: {}", f.fix.text), "  ", "       ");
    for command in &f.fix.commands {
        let _ = writeln!(out, "       $ {command}");
    }
    out.push('\n');
}

fn wrapped(out: &mut String, text: &str, first: &str, rest: &str) {
    let options = textwrap::Options::new(110)
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    for line in textwrap::wrap(&sanitised(text).replace('\n', " "), options) {
        let _ = writeln!(out, "{line}");
    }
}

/// JSON with what could steer a terminal as `\uXXXX`, ending with a line end. serde_json leaves C1 controls and direction
/// overrides as they are; they can only stand in strings.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if c != '\n' && steers(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out + "\n"
}

/// Controls, and direction overrides, which make a line read as what it is not.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text from elsewhere without control characters, so that it cannot steer a terminal.
pub fn sanitised(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c != '\n' && c != '\t' && steers(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
