//! The report as SARIF 2.1.0 (OASIS), for code-scanning dashboards. The rules are the registry; a cluster is a run.

use serde_json::{Value, json};

use super::json::pretty;
use super::{Finding, Report};
use crate::checks::{REGISTRY, Status};

/// The document, of one cluster or of several.
pub fn render(reports: &[Report]) -> String {
    let runs: Vec<Value> = reports.iter().map(run).collect();
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": runs
    }))
}

fn run(report: &Report) -> Value {
    let rules: Vec<Value> = REGISTRY
        .iter()
        .map(|check| {
            json!({
                "id": check.id,
                "name": check.id,
                "shortDescription": {"text": check.title},
                "fullDescription": {"text": check.explanation},
                "helpUri": check.docs,
                "properties": {"group": check.group.id()}
            })
        })
        .collect();
    let results: Vec<Value> = report
        .checks
        .iter()
        .map(|finding| result(finding, report))
        .collect();
    json!({
        "tool": {"driver": {
            "name": "capt-spot",
            "version": env!("CARGO_PKG_VERSION"),
            "informationUri": env!("CARGO_PKG_REPOSITORY"),
            "rules": rules
        }},
        // Dashboards keep the runs of one tool apart by this.
        "automationDetails": {"id": format!("capt-spot/{}", name(report))},
        "results": results,
        "properties": {"verdict": report.verdict.word(), "target": report.target, "caller": report.caller}
    })
}

/// The cluster's ARN, or its name where the ARN is not known.
fn name(report: &Report) -> &str {
    report.target.arn.as_deref().unwrap_or(&report.target.cluster)
}

/// SARIF 3.27.9 and 3.27.10: where the kind is not `fail`, the level is `none`.
fn result(finding: &Finding, report: &Report) -> Value {
    let (kind, level) = match finding.status {
        Status::Pass => ("pass", "none"),
        Status::Warn => ("fail", "warning"),
        Status::Fail => ("fail", "error"),
        Status::Unknown => ("open", "none"),
        Status::Skip => ("notApplicable", "none"),
    };
    let mut text = finding.message.clone();
    if let Some(remedy) = &finding.remedy {
        text.push_str("\n\nFix: ");
        text.push_str(&remedy.text);
        for command in &remedy.commands {
            text.push_str("\n    ");
            text.push_str(command);
        }
    }
    let name = name(report);
    json!({
        "ruleId": finding.id,
        "ruleIndex": REGISTRY.iter().position(|check| check.id == finding.id),
        "kind": kind,
        "level": level,
        "message": {"text": text},
        "locations": [{"logicalLocations": [{"name": report.target.cluster, "fullyQualifiedName": name, "kind": "resource"}]}],
        "partialFingerprints": {"captSpotFinding/v1": format!("{}/{}", name, finding.id)}
    })
}
