//! From findings to a report, and the renderers beside each other. Everything here is pure.

pub mod account;
pub(crate) mod block;
pub mod create_role;
pub(crate) mod csv;
mod github;
mod html;
pub mod json;
mod junit;
mod markdown;
mod openmetrics;
pub(crate) mod openreports;
pub(crate) mod page;
mod preflight;
mod sarif;
pub(crate) mod text;
pub mod whois;

pub use page::{Page, Row, Table};
pub(crate) use preflight::{closing_of, within_a_sentence};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checks::{Check, Group, Judgement, REGISTRY, Remedy, Skip, Status};
use crate::facts::Facts;
use crate::model::{FilePlace, Shard, Unknown};
use crate::text::Output;
use crate::text::style::Style;

/// The report's format, frozen: a change that breaks readers gets a new version.
pub const API_VERSION: &str = "capt-spot/v1";

/// Whether Karpenter will get spot capacity here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that is needed was read and is good.
    Ready,
    /// Something fails.
    NotReady,
    /// Nothing failed, but something needed could not be read.
    Undecided,
}

impl Verdict {
    /// The word in a report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not-ready",
            Self::Undecided => "undecided",
        }
    }

    /// The exit code of the contract.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::NotReady => 1,
            Self::Undecided => 3,
        }
    }
}

impl From<Verdict> for crate::model::Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ready => Self::Done,
            Verdict::NotReady => Self::Failed,
            Verdict::Undecided => Self::Undecided,
        }
    }
}

/// What every document of `-o json` begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The document's JSON Schema.
    #[serde(rename = "$schema")]
    pub schema: String,
    /// `capt-spot/v1`
    pub api_version: String,
    /// What it is: `PreflightReport`, `TrustReport`...
    pub kind: String,
    /// When it was made.
    #[cfg_attr(test, schemars(with = "String"))]
    pub generated_at: Timestamp,
    /// The program that made it.
    pub tool: Tool,
}

/// The program that made a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tool {
    /// `kubectl-capt-spot`
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Envelope {
    /// For a document of this kind; `schema` is the name of its file in `schemas/`, without the extension.
    pub fn new(kind: &str, schema: &str, generated_at: Timestamp) -> Self {
        Self {
            schema: schema_url(schema),
            api_version: API_VERSION.to_owned(),
            kind: kind.to_owned(),
            generated_at: whole_seconds(generated_at),
            tool: Tool {
                name: "kubectl-capt-spot".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        }
    }
}

/// A time as documents have it.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Where the schema of that name is published; also its `$id`.
pub(crate) fn schema_url(name: &str) -> String {
    format!(
        concat!(env!("CARGO_PKG_REPOSITORY"), "/raw/main/schemas/{}.json"),
        name
    )
}

/// Where a page of `docs/` is published.
pub(crate) fn docs_url(page: &str) -> String {
    format!(concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/{}"), page)
}

/// A preflight's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `PreflightReport`.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// `--only` or `--skip` left out checks that the verdict needs.
    pub partial: bool,
    /// `--strict`: a warning counts as a failure.
    pub strict: bool,
    /// How far the installation of Karpenter is; null: not known.
    pub phase: Option<Phase>,
    /// `--from`: the saved facts that were judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
    /// The cluster it is about.
    pub target: ReportTarget,
    /// Who asked.
    pub caller: ReportCaller,
    /// The answer.
    pub verdict: Verdict,
    /// How many findings of each status.
    pub summary: Summary,
    /// The findings, in the order of the registry.
    pub checks: Vec<Finding>,
}

/// The reports of several clusters: one entry for every cluster that was asked for, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PreflightReportList {
    /// `PreflightReportList`.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// `--shard`: the part of the inventory that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// A report, or why there is none.
    pub items: Vec<Item>,
}

/// One of several clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Item {
    /// Its report.
    Report(Box<Report>),
    /// It could not be judged at all.
    NotJudged {
        /// The cluster, as far as it is known.
        target: Unresolved,
        /// Why.
        error: String,
    },
}

impl Item {
    /// As people and CI systems see it.
    pub fn page(&self, show_all: bool) -> Page {
        match self {
            Self::Report(report) => report.page(show_all),
            Self::NotJudged { target, error } => Page::not_judged(target, error),
        }
    }
}

/// The last line of `-o ndjson` with `--shard`: the shard was judged to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PreflightShard {
    /// `PreflightShard`.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Which.
    pub shard: Shard,
    /// How many lines stand before this one.
    pub items: usize,
}

/// A cluster that could not be judged, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unresolved {
    /// The kube context; of an inventory's entry its ARN, of what could not be listed its description.
    pub context: String,
    /// EKS cluster name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// AWS region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// How far the installation of Karpenter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing of Karpenter is in the cluster.
    BeforeInstallation,
    /// A chart is being installed or upgraded.
    Installing,
    /// Karpenter is there.
    Installed,
}

/// Saved facts that were judged without a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Offline {
    /// When they were read.
    #[cfg_attr(test, schemars(with = "String"))]
    pub gathered_at: Timestamp,
    /// The version of the program that read them.
    pub version: String,
    /// Whether they were masked (`--redact`).
    pub redacted: bool,
}

/// The cluster a report is about. Null: not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReportTarget {
    /// The kube context.
    pub context: String,
    /// EKS cluster name.
    pub cluster: String,
    /// AWS region.
    pub region: String,
    /// The cluster's account.
    pub account: Option<String>,
    /// AWS partition.
    pub partition: String,
    /// The cluster's ARN.
    pub arn: Option<String>,
    /// The kubeconfig's server.
    pub server: String,
    /// `CONFIG_MAP`, `API_AND_CONFIG_MAP` or `API`.
    pub authentication_mode: Option<String>,
    /// Kubernetes version.
    pub version: Option<String>,
}

/// Who asked. Null: not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReportCaller {
    /// The AWS identity.
    pub arn: Option<String>,
    /// Its account.
    pub account: Option<String>,
    /// The username that the cluster gives it.
    pub kubernetes_user: Option<String>,
}

/// How many findings of each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// Good.
    pub pass: usize,
    /// Somebody should look.
    pub warn: usize,
    /// It will not work.
    pub fail: usize,
    /// Could not be read.
    pub unknown: usize,
    /// Not judged.
    pub skip: usize,
}

impl Summary {
    fn count(&mut self, status: Status) {
        let field = match status {
            Status::Pass => &mut self.pass,
            Status::Warn => &mut self.warn,
            Status::Fail => &mut self.fail,
            Status::Unknown => &mut self.unknown,
            Status::Skip => &mut self.skip,
        };
        *field += 1;
    }
}

/// One check's finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// The check's id.
    pub id: String,
    /// Its group.
    pub group: String,
    /// Its title: what a pass says.
    pub title: String,
    /// The status.
    pub status: Status,
    /// What is wrong, in a few words; the title where nothing is.
    pub headline: String,
    /// Names the things found.
    pub message: String,
    /// The values behind it.
    pub evidence: Map<String, Value>,
    /// What to do, when there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
    /// The check's page.
    pub docs: String,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Skip>,
    /// Why it could not be read; text says the same cause once.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub cause: Option<Unknown>,
    /// The file it is about; none: the cluster.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub file: Option<FilePlace>,
    /// What it is about, where no page of `docs/checks/` says that.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub help: Option<String>,
    /// The calls it rests on, with their answers; for `-v`.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub sources: Vec<(String, String)>,
}

impl Finding {
    /// What a judgement is in a report. `docs` links to `docs/checks/ID.md`.
    pub fn new(id: &str, group: &str, title: &str, judgement: Judgement) -> Self {
        let headline = match judgement.status {
            Status::Pass | Status::Skip => title.to_owned(),
            Status::Warn | Status::Fail | Status::Unknown => judgement
                .headline
                .unwrap_or_else(|| first_clause(&judgement.message)),
        };
        Self {
            id: id.to_owned(),
            group: group.to_owned(),
            title: title.to_owned(),
            status: judgement.status,
            headline,
            message: judgement.message,
            evidence: judgement.evidence,
            remedy: judgement.remedy,
            docs: docs_url(&format!("checks/{id}.md")),
            skip: judgement.skip,
            cause: judgement.cause,
            file: judgement.file,
            help: None,
            sources: judgement.sources,
        }
    }

    /// The same, explained by a page of `docs/` that is not a check's.
    #[must_use]
    pub fn explained_in(mut self, page: &str) -> Self {
        self.docs = docs_url(page);
        self
    }

    /// The message and what to do, as plain text.
    pub(crate) fn told(&self, between: &str) -> String {
        let mut text = self.message.clone();
        if let Some(remedy) = &self.remedy {
            text.push_str(between);
            text.push_str("Fix: ");
            text.push_str(&remedy.text);
            let snippets = remedy.snippets.iter().map(|snippet| &snippet.text);
            for part in remedy
                .commands
                .iter()
                .chain(snippets)
                .flat_map(|text| text.lines())
            {
                text.push_str("\n    ");
                text.push_str(part);
            }
        }
        text
    }

    fn of(check: &Check, judgement: Judgement) -> Self {
        Self::new(check.id, check.group.id(), check.title, judgement)
    }
}

/// The beginning of a sentence, as far as it can stand alone, with a capital letter.
fn first_clause(message: &str) -> String {
    const LONGEST: usize = 100;
    let end = [": ", "; ", ". "]
        .iter()
        .filter_map(|mark| message.find(mark))
        .min()
        .unwrap_or(message.len());
    let clause = message[..end].trim_end_matches('.');
    capitalized(&clause.chars().take(LONGEST).collect::<String>())
}

/// With a capital letter first, where the first word is not a name.
fn capitalized(text: &str) -> String {
    const NAMES: &[&str] = &["aws", "eksctl", "helm", "kubectl", "terraform"];
    let word = text.split([' ', ',']).next().unwrap_or_default();
    if NAMES.contains(&word) || !word.chars().all(char::is_alphabetic) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Renders answers in the format that was asked for: `document` is what JSON and YAML print.
pub fn render(pages: &[Page], document: &impl Serialize, format: Output, style: Style) -> String {
    match format {
        Output::Text => text::render(pages, style),
        Output::Json => json::pretty(document),
        Output::Yaml => json::to_yaml(document),
        Output::Ndjson => json::ndjson(document),
        Output::Junit => junit::render(pages),
        Output::Sarif => sarif::render(pages),
        Output::Markdown => markdown::render(pages),
        Output::Github => github::render(pages),
        Output::Csv => csv::render(pages),
        Output::Html => html::render(pages),
        Output::Openmetrics => openmetrics::render(pages),
        Output::Openreports => openreports::render(pages),
    }
}

impl Report {
    /// Renders it alone.
    pub fn render(&self, format: Output, style: Style, show_all: bool) -> String {
        render(&[self.page(show_all)], self, format, style)
    }
}

/// Which checks to judge, and how strictly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Ids or groups; empty: all.
    pub only: Vec<String>,
    /// Ids or groups.
    pub skip: Vec<String>,
    /// A warning counts as a failure.
    pub strict: bool,
}

impl Selection {
    /// Names in `--only` or `--skip` that are neither a check nor a group.
    pub fn unknown_names(&self) -> Vec<&str> {
        let known = |name: &&String| {
            REGISTRY.iter().any(|check| check.id == name.as_str())
                || Group::ALL.iter().any(|group| group.id() == name.as_str())
        };
        self.only
            .iter()
            .chain(&self.skip)
            .filter(|name| !known(name))
            .map(String::as_str)
            .collect()
    }

    fn names(list: &[String], check: &Check) -> bool {
        list.iter()
            .any(|name| name == check.id || name == check.group.id())
    }
}

/// Credentials that are missing or refused are one problem, and fixed in one place.
fn credentials(facts: &Facts, findings: &mut [Finding]) {
    for finding in findings {
        let source = finding
            .cause
            .as_ref()
            .and_then(|cause| cause.credentials.as_ref());
        if let Some(source) = source {
            finding.headline = "No valid AWS credentials".to_owned();
            finding.remedy = Some(source.remedy(&facts.target));
        }
    }
}

fn phase(facts: &Facts) -> Option<Phase> {
    if facts.ask.installing {
        Some(Phase::Installing)
    } else if crate::checks::karpenter::is_there(facts) {
        Some(Phase::Installed)
    } else {
        facts
            .controller
            .deployments
            .known()
            .map(|_| Phase::BeforeInstallation)
    }
}

/// Judges the facts.
pub fn judge(facts: &Facts, selection: &Selection) -> Report {
    let mut checks = Vec::new();
    let mut summary = Summary::default();
    let mut undecided = false;
    let mut partial = false;
    for check in REGISTRY {
        if !selection.only.is_empty() && !Selection::names(&selection.only, check) {
            partial |= (check.needed)(facts);
            continue;
        }
        let judgement = if Selection::names(&selection.skip, check) {
            Judgement {
                skip: Some(Skip::SwitchedOff),
                ..Judgement::skip(crate::checks::SWITCHED_OFF)
            }
        } else {
            (check.judge)(facts)
        };
        let mut finding = Finding::of(check, judgement);
        if facts.redacted
            && let Some(remedy) = &mut finding.remedy
        {
            // With masked names a command would do something else than what it says.
            remedy.commands.clear();
        }
        summary.count(finding.status);
        let not_told = finding.status == Status::Unknown || finding.skip == Some(Skip::GroundLost);
        undecided |= not_told && (check.needed)(facts);
        partial |= finding.skip == Some(Skip::SwitchedOff) && (check.needed)(facts);
        checks.push(finding);
    }
    credentials(facts, &mut checks);
    let verdict = if summary.fail > 0 || selection.strict && summary.warn > 0 {
        Verdict::NotReady
    } else if undecided {
        Verdict::Undecided
    } else {
        Verdict::Ready
    };
    let cluster = facts.cluster.known();
    let caller = facts.caller.known();
    Report {
        envelope: Envelope::new("PreflightReport", "preflight-report", facts.gathered_at),
        partial,
        strict: selection.strict,
        phase: phase(facts),
        offline: None,
        target: ReportTarget {
            context: facts.target.context.clone(),
            cluster: facts.target.cluster.clone(),
            region: facts.target.region.clone(),
            account: cluster
                .and_then(|c| c.account())
                .map(str::to_owned)
                .or_else(|| facts.target.account.clone()),
            partition: facts.target.partition.clone(),
            arn: cluster.map(|c| c.arn.clone()),
            server: facts.target.server.clone(),
            authentication_mode: cluster.map(|c| c.authentication_mode.as_str().to_owned()),
            version: cluster.and_then(|c| c.version.clone()),
        },
        caller: ReportCaller {
            arn: caller.map(|c| c.arn.clone()),
            account: caller.map(|c| c.account.clone()),
            kubernetes_user: facts.kubernetes_user.known().map(|user| user.username.clone()),
        },
        verdict,
        summary,
        checks,
    }
}
