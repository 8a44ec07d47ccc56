//! The answer of `trust` as a value (JSON, YAML) and as a person reads it.

use anstyle::AnsiColor;
use serde::{Deserialize, Serialize};

use crate::report::Envelope;
use crate::text::sanitize::{line, short_line};
use crate::text::style::{Style, bold, dim, wrap};

use super::advice::{self, SmallestPolicy};
use super::cdk::CdkAnswer;
use super::{Outcome, Question, TrustVerdict};
use iam_policy::kleene::Tri;

/// What `trust -o json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TrustReport {
    /// What every document begins with.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Who wants to assume the role.
    pub principal: Party,
    /// The role.
    pub role: Party,
    /// The answer.
    #[serde(flatten)]
    pub verdict: TrustVerdict,
    /// The smallest trust policy that would do; none where there is nobody to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_trust_policy: Option<SmallestPolicy>,
    /// What `--try` found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// The answer of `--cdk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdk: Option<CdkAnswer>,
    /// The role is in IAM, so that `--try` could prove it.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub can_be_tried: bool,
}

/// One side of the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Party {
    /// Its ARN; none for a role that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// `user`, `role`, `role session`, `root user`, `federated user`
    pub kind: String,
    /// For a session, the IAM ARN of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Its account.
    pub account: String,
}

/// What `--try` found: a real sts:AssumeRole, and who the cluster authenticates that session as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// Whether sts:AssumeRole succeeded; unknown when it could not be asked.
    pub assumed: Outcome,
    /// What STS said, where it refused or could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The session's ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_arn: Option<String>,
    /// The user name that the cluster gives it; none when the cluster refused it or was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What the cluster said, where it refused or could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_error: Option<String>,
}

impl TrustReport {
    /// Puts question and answer together.
    pub(crate) fn new(question: &Question<'_>, verdict: TrustVerdict) -> Self {
        let known = question.requester.known();
        let arn = known.map(|one| one.arn.arn().to_string());
        let role_arn = known
            .map(|one| one.iam_arn().to_string())
            .filter(|iam| Some(iam) != arn.as_ref());
        let account = question.requester.home().map(|(_, account)| account.to_owned());
        Self {
            envelope: Envelope::new("TrustReport", "trust-report", question.now),
            principal: Party {
                arn,
                kind: known.map_or("role", |one| one.arn.kind()).to_owned(),
                role_arn,
                account: account.unwrap_or_default(),
            },
            role: Party {
                arn: Some(question.role_arn.to_string()),
                kind: "role".to_owned(),
                role_arn: None,
                account: question.role_arn.account.clone(),
            },
            smallest_trust_policy: advice::smallest(question),
            verdict,
            tried: None,
            cdk: None,
            can_be_tried: question.target.is_some(),
        }
    }

    /// The answer as the exit code counts it: a real try outweighs the judgement, `--cdk` counts as a whole.
    pub(crate) fn outcome(&self) -> Outcome {
        let judged = match &self.tried {
            Some(tried) if tried.assumed != Outcome::Unknown => tried.assumed,
            _ => self.verdict.outcome,
        };
        match &self.cdk {
            None => judged,
            Some(cdk) => {
                let tri = |outcome| match outcome {
                    Outcome::Pass => Tri::True,
                    Outcome::Fail => Tri::False,
                    Outcome::Unknown => Tri::Unknown,
                };
                let others = cdk
                    .parts
                    .iter()
                    .filter(|part| part.part != "trusted")
                    .map(|part| tri(part.outcome));
                Tri::all(others.chain([tri(judged)])).into()
            }
        }
    }
}

/// Columns of a row before its text: two blanks, a symbol, a word of seven, two blanks.
const TEXT_COLUMN: usize = 13;

fn mark(style: Style, outcome: Outcome) -> String {
    let (symbol, ansi) = match (outcome, style.unicode) {
        (Outcome::Pass, true) => ("✓", AnsiColor::Green.on_default()),
        (Outcome::Pass, false) => ("+", AnsiColor::Green.on_default()),
        (Outcome::Fail, true) => ("✗", AnsiColor::Red.on_default().bold()),
        (Outcome::Fail, false) => ("x", AnsiColor::Red.on_default().bold()),
        (Outcome::Unknown, _) => ("?", AnsiColor::Magenta.on_default()),
    };
    style.paint(ansi, &format!("{symbol} {:<7}", outcome.word()))
}

fn row(out: &mut String, style: Style, outcome: Outcome, text: &str) {
    out.push_str("  ");
    out.push_str(&mark(style, outcome));
    out.push_str("  ");
    out.push_str(&wrap(style, TEXT_COLUMN, TEXT_COLUMN, &short_line(text)));
    out.push('\n');
}

fn heading(out: &mut String, style: Style, text: &str) {
    out.push('\n');
    out.push_str(&style.paint(bold(), text));
    out.push('\n');
}

fn item(out: &mut String, style: Style, text: &str) {
    out.push_str("  - ");
    out.push_str(&wrap(style, 4, 4, &short_line(text)));
    out.push('\n');
}

fn paragraph(out: &mut String, style: Style, text: &str) {
    out.push_str("  ");
    out.push_str(&wrap(style, 2, 2, &short_line(text)));
    out.push('\n');
}

/// A command or document, cleaned and never wrapped: it is there to be pasted.
fn verbatim(out: &mut String, style: Style, text: &str) {
    for one in text.lines() {
        out.push_str("    ");
        out.push_str(&style.paint(AnsiColor::Cyan.on_default(), &line(one)));
        out.push('\n');
    }
}

/// The report for a person.
pub(crate) fn render_text(report: &TrustReport, style: Style) -> String {
    let verdict = &report.verdict;
    let mut out = String::new();
    let principal = report.principal.arn.clone().unwrap_or_else(|| {
        format!(
            "a role of account {} that is not known yet",
            report.principal.account
        )
    });
    let mut field = |name: &str, value: &str| {
        out.push_str(&style.paint(dim(), &format!("{name:<10} ")));
        out.push_str(&short_line(value));
        out.push('\n');
    };
    field("principal", &format!("{principal} ({})", report.principal.kind));
    if let Some(role) = &report.principal.role_arn {
        field("", role);
    }
    field("role", report.role.arn.as_deref().unwrap_or_default());
    out.push('\n');
    for step in &verdict.steps {
        row(&mut out, style, step.outcome, &step.message);
    }
    out.push('\n');
    let head = verdict.outcome.word();
    out.push_str(&mark(style, verdict.outcome).replace(&format!("{head:<7}"), head));
    out.push_str(": ");
    out.push_str(&wrap(style, head.len() + 4, 2, &short_line(&verdict.message)));
    out.push('\n');

    if !verdict.hints.is_empty() {
        heading(&mut out, style, "Odd in the trust policy");
        for hint in &verdict.hints {
            item(&mut out, style, hint);
        }
    }
    let deciding: Vec<_> = verdict.could_not_see.iter().filter(|one| one.decides).collect();
    if !deciding.is_empty() {
        heading(&mut out, style, "Not known, and decides");
        for one in deciding {
            item(&mut out, style, &one.what);
            if let Some(grant) = &one.grant {
                verbatim(&mut out, style, grant);
            }
        }
    }
    let others: Vec<&str> = verdict
        .could_not_see
        .iter()
        .filter(|one| !one.decides)
        .map(|one| one.what.as_str())
        .collect();
    if !others.is_empty() {
        heading(&mut out, style, "Can never be seen from here");
        for what in others {
            item(&mut out, style, what);
        }
        if report.tried.is_none()
            && report.can_be_tried
            && let Some(proof) = advice::proof(verdict.outcome)
        {
            paragraph(&mut out, style, proof);
        }
    }
    if let Some(tried) = &report.tried {
        heading(&mut out, style, "Tried");
        tried_rows(&mut out, style, tried);
    }
    if let Some(cdk) = &report.cdk {
        heading(&mut out, style, "CDK's kubectlRoleArn");
        for part in &cdk.parts {
            row(&mut out, style, part.outcome, &part.message);
        }
        out.push_str(
            &mark(style, cdk.outcome).replace(&format!("{:<7}", cdk.outcome.word()), cdk.outcome.word()),
        );
        out.push_str(": ");
        out.push_str(&wrap(
            style,
            cdk.outcome.word().len() + 4,
            2,
            &short_line(&cdk.message),
        ));
        out.push('\n');
        if let Some(remedy) = &cdk.remedy {
            paragraph(&mut out, style, &format!("fix: {remedy}"));
        }
        out.push_str("  for the stack:\n");
        verbatim(&mut out, style, &cdk.stack);
    }
    if let Some(remedy) = &verdict.remedy {
        heading(&mut out, style, "What to do");
        paragraph(&mut out, style, &remedy.text);
        for command in &remedy.commands {
            verbatim(&mut out, style, command);
        }
        for snippet in &remedy.snippets {
            out.push('\n');
            verbatim(&mut out, style, &snippet.text);
        }
    }
    if let Some(smallest) = &report.smallest_trust_policy {
        heading(&mut out, style, "The smallest trust policy that would do");
        verbatim(
            &mut out,
            style,
            &serde_json::to_string_pretty(&smallest.document).unwrap_or_default(),
        );
        paragraph(&mut out, style, &smallest.why);
        if let Some(caution) = &smallest.caution {
            paragraph(&mut out, style, caution);
        }
    }
    out
}

fn tried_rows(out: &mut String, style: Style, tried: &Tried) {
    match (&tried.session_arn, &tried.error) {
        (Some(arn), _) => row(out, style, tried.assumed, &format!("sts:AssumeRole gave {arn}")),
        (None, Some(error)) => row(out, style, tried.assumed, &format!("sts:AssumeRole: {error}")),
        (None, None) => row(out, style, tried.assumed, "sts:AssumeRole gave no session"),
    }
    if let Some(username) = &tried.username {
        let groups = if tried.groups.is_empty() {
            "no groups".to_owned()
        } else {
            format!("groups {}", tried.groups.join(", "))
        };
        row(
            out,
            style,
            Outcome::Pass,
            &format!("the cluster authenticates it as {username}, {groups}"),
        );
    } else if let Some(error) = &tried.cluster_error {
        row(out, style, Outcome::Unknown, &format!("the cluster: {error}"));
    }
}
