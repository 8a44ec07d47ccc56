//! From findings to a report, and the renderers beside each other. Everything here is pure.

pub mod json;
pub mod junit;
pub mod markdown;
pub mod sarif;
pub mod schema;
pub mod text;
pub mod whois;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checks::{Check, Group, Judgement, REGISTRY, Remedy, Skip, Status};
use crate::facts::Facts;

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

/// A preflight's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `capt-spot/v1`
    pub api_version: String,
    /// `PreflightReport`.
    pub kind: String,
    /// It is judged from redacted facts: its names and ids are not the real ones, and it offers no commands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
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

/// One check's finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// The check's id.
    pub id: String,
    /// Its group.
    pub group: Group,
    /// Its title.
    pub title: String,
    /// The status.
    pub status: Status,
    /// Names the things found.
    pub message: String,
    /// The values behind it.
    pub evidence: Map<String, Value>,
    /// What to do, when there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
    /// The documentation to read on.
    pub docs: String,
    /// Why it could not be read; text says the same reason once.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub reason: Option<String>,
    /// The calls it rests on, with their answers; for `-v`.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub sources: Vec<(String, String)>,
}

/// Renders a report in one of the formats of the contract.
pub fn render(report: &Report, format: crate::text::Output, style: crate::text::style::Style) -> String {
    use crate::text::Output;
    match format {
        Output::Text => text::render(report, style),
        Output::Json => json::json(report),
        Output::Yaml => json::yaml(report),
        Output::Junit => junit::render(std::slice::from_ref(report)),
        Output::Sarif => sarif::render(std::slice::from_ref(report)),
        Output::Markdown => markdown::render(report),
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

/// Judges the facts.
pub fn judge(facts: &Facts, selection: &Selection) -> Report {
    let mut checks = Vec::new();
    let mut summary = Summary::default();
    let mut undecided = false;
    for check in REGISTRY {
        if !selection.only.is_empty() && !Selection::names(&selection.only, check) {
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
        match judgement.status {
            Status::Pass => summary.pass += 1,
            Status::Warn => summary.warn += 1,
            Status::Fail => summary.fail += 1,
            Status::Unknown => summary.unknown += 1,
            Status::Skip => summary.skip += 1,
        }
        let not_told = judgement.status == Status::Unknown || judgement.skip == Some(Skip::GroundLost);
        undecided |= not_told && (check.needed)(facts);
        checks.push(Finding {
            id: check.id.to_owned(),
            group: check.group,
            title: check.title.to_owned(),
            status: judgement.status,
            message: judgement.message,
            evidence: judgement.evidence,
            // With masked names a command would do something else than what it says.
            remedy: judgement.remedy.map(|remedy| match facts.redacted {
                true => Remedy {
                    commands: Vec::new(),
                    ..remedy
                },
                false => remedy,
            }),
            docs: check.docs.to_owned(),
            reason: judgement.reason,
            sources: judgement.sources,
        });
    }
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
        api_version: API_VERSION.to_owned(),
        kind: "PreflightReport".to_owned(),
        redacted: facts.redacted,
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
