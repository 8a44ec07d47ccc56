//! One block for one cause: what several checks could not judge for the same reason is said once.

use std::collections::BTreeSet;

use serde_json::json;

use super::Finding;
use crate::checks::{Remedy, Status};
use crate::model::{DeniedBy, Grant, Language, Snippet, Unknown, Why};

/// A problem, with the findings that it stands behind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block<'a> {
    pub(crate) status: Status,
    pub(crate) headline: String,
    pub(crate) message: String,
    pub(crate) remedy: Option<Remedy>,
    pub(crate) findings: Vec<&'a Finding>,
}

/// What joins findings that could not be read.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Iam,
    Rbac,
    Network,
    Credentials,
    Same(String),
}

fn cause_of(finding: &Finding) -> Option<Cause> {
    let unknown = finding
        .cause
        .as_ref()
        .filter(|_| finding.status == Status::Unknown)?;
    Some(match (unknown.why, unknown.grant.as_deref()) {
        _ if unknown.credentials.is_some() => Cause::Credentials,
        (Why::Denied { .. }, Some(Grant::Iam { .. })) => Cause::Iam,
        (Why::Denied { .. }, Some(Grant::Rbac { .. })) => Cause::Rbac,
        (Why::Unreachable | Why::TimedOut, _) => Cause::Network,
        _ => Cause::Same(unknown.to_string()),
    })
}

/// The problems: fail, then unknown, then warn, each in the order of the findings.
pub(crate) fn problems(findings: &[Finding]) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for status in [Status::Fail, Status::Unknown, Status::Warn] {
        let mut causes: Vec<(Option<Cause>, Vec<&Finding>)> = Vec::new();
        for finding in findings.iter().filter(|finding| finding.status == status) {
            let cause = cause_of(finding);
            match causes
                .iter_mut()
                .find(|(known, _)| known.is_some() && *known == cause)
            {
                Some((_, all)) => all.push(finding),
                None => causes.push((cause, vec![finding])),
            }
        }
        blocks.extend(causes.into_iter().map(|(cause, all)| block(cause, all)));
    }
    blocks
}

fn block(cause: Option<Cause>, findings: Vec<&Finding>) -> Block<'_> {
    let first = findings[0];
    let alone = Block {
        status: first.status,
        headline: first.headline.clone(),
        message: first.message.clone(),
        remedy: first.remedy.clone(),
        findings,
    };
    let several = alone.findings.len() > 1;
    match cause {
        Some(Cause::Iam | Cause::Rbac) => denied(alone),
        // Three lines: that, why, and the command.
        Some(Cause::Credentials) => Block {
            message: without_credentials(alone.findings[0]),
            remedy: alone.remedy.map(|remedy| match remedy.commands.as_slice() {
                [] => remedy,
                _ => Remedy {
                    text: String::new(),
                    ..remedy
                },
            }),
            ..alone
        },
        Some(Cause::Network) => Block {
            headline: if several {
                "AWS or the cluster cannot be reached".to_owned()
            } else {
                alone.headline
            },
            message: because(&alone.findings),
            remedy: Some(alone.remedy.unwrap_or_else(|| Remedy {
                text: "Look at the network, the VPN and HTTPS_PROXY (AWS_ENDPOINT_URL, if it is set). --request-timeout 30s waits \
                       longer, -v shows every call."
                    .to_owned(),
                ..Remedy::default()
            })),
            ..alone
        },
        Some(Cause::Same(_)) if several => Block {
            message: because(&alone.findings),
            ..alone
        },
        _ => alone,
    }
}

/// Why there are no credentials; the headline says that there are none.
fn without_credentials(finding: &Finding) -> String {
    let detail = finding.cause.as_ref().map_or("", |cause| cause.detail.as_str());
    detail
        .strip_prefix("no AWS credentials: ")
        .unwrap_or(detail)
        .to_owned()
}

/// The reasons, each once, and which checks they leave open.
fn because(findings: &[&Finding]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for reason in findings.iter().filter_map(|finding| finding.cause.as_ref()) {
        let reason = reason.to_string();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if let [one] = findings {
        return one.message.clone();
    }
    let more = reasons.len().saturating_sub(2);
    reasons.truncate(2);
    let mut text = reasons.join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    format!("{}. {}", text.trim_end_matches('.'), left_open(findings))
}

/// Which checks a cause leaves undecided; many names say no more than their number.
fn left_open(findings: &[&Finding]) -> String {
    let ids: Vec<&str> = findings.iter().map(|finding| finding.id.as_str()).collect();
    match ids.len() {
        0..=8 => format!("Not decided: {}.", ids.join(", ")),
        n => format!("{n} checks are not decided."),
    }
}

/// Several denied actions: one statement, or one list of rules, that lifts them all.
fn denied(block: Block<'_>) -> Block<'_> {
    let causes: Vec<&Unknown> = block
        .findings
        .iter()
        .filter_map(|finding| finding.cause.as_ref())
        .collect();
    let grants: BTreeSet<&Grant> = causes.iter().filter_map(|cause| cause.grant.as_deref()).collect();
    let actions: BTreeSet<String> = grants.iter().map(|grant| grant.action()).collect();
    let by: Vec<DeniedBy> = causes
        .iter()
        .filter_map(|cause| match cause.why {
            Why::Denied { by } => Some(by),
            _ => None,
        })
        .collect();
    let rbac = grants.iter().any(|grant| matches!(grant, Grant::Rbac { .. }));
    let headline = match (actions.len(), rbac) {
        (1, false) => format!("{} is denied", actions.first().map_or("", String::as_str)),
        (1, true) => format!(
            "The cluster denies: {}",
            actions.first().map_or("", String::as_str)
        ),
        (n, false) => format!("{n} AWS actions are denied"),
        (n, true) => format!("The cluster denies {n} reads"),
    };
    let same_clause = by
        .first()
        .filter(|first| by.iter().all(|one| one == *first))
        .map_or("", |by| by.clause());
    let list: Vec<&str> = actions.iter().map(String::as_str).collect();
    let message = match block.findings.as_slice() {
        [one] => one.message.clone(),
        several => format!("Denied{same_clause}: {}. {}", list.join(", "), left_open(several)),
    };
    let beyond_identity = by.iter().any(|by| {
        matches!(
            by,
            DeniedBy::ExplicitDeny
                | DeniedBy::ServiceControlPolicy
                | DeniedBy::ResourceControlPolicy
                | DeniedBy::PermissionsBoundary
                | DeniedBy::SessionPolicy
                | DeniedBy::VpcEndpointPolicy
        )
    });
    let (text, snippet) = if rbac {
        let rules: Vec<String> = grants.iter().map(|grant| rule(grant)).collect();
        (
            "Ask for these RBAC rules; `kubectl capt-spot policy rbac` prints all that the tool needs.",
            Snippet {
                language: Language::Yaml,
                text: format!("rules:\n{}", rules.join("\n")),
            },
        )
    } else {
        let text = if beyond_identity {
            "A policy above the identity's own denies this; where that is lifted, this statement is enough \
             (`kubectl capt-spot policy read` prints all that the tool needs)."
        } else {
            "Ask for this statement; `kubectl capt-spot policy read` prints all that the tool needs."
        };
        (
            text,
            Snippet {
                language: Language::Json,
                text: statement(&grants),
            },
        )
    };
    Block {
        headline,
        message,
        remedy: Some(Remedy {
            text: text.to_owned(),
            commands: Vec::new(),
            snippets: vec![snippet],
        }),
        ..block
    }
}

/// One statement for all IAM grants.
fn statement(grants: &BTreeSet<&Grant>) -> String {
    let mut actions = BTreeSet::new();
    let mut resources = BTreeSet::new();
    for grant in grants {
        if let Grant::Iam { action, resource } = grant {
            actions.insert(action);
            resources.insert(resource);
        }
    }
    let one_or_all = |all: BTreeSet<&String>| match all.first() {
        Some(one) if all.len() == 1 => json!(one),
        _ => json!(all),
    };
    let statement =
        json!({"Effect": "Allow", "Action": one_or_all(actions), "Resource": one_or_all(resources)});
    serde_json::to_string_pretty(&statement).unwrap_or_default()
}

/// One RBAC rule as a line of YAML, which JSON is.
fn rule(grant: &Grant) -> String {
    match grant {
        Grant::Rbac {
            namespace: Some(namespace),
            ..
        } => format!("- {} # in the namespace {namespace}", grant.statement()),
        _ => format!("- {}", grant.statement()),
    }
}
