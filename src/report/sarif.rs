//! SARIF 2.1.0 (OASIS) as GitHub code scanning takes it: problems only, one run, each with a physical location and a
//! fingerprint that stays the same (docs.github.com, "SARIF support for code scanning").

use serde_json::{Value, json};

use super::json::pretty;
use super::page::segment_of_uri;
use super::{Finding, Page, docs_url};
use crate::checks::{Status, pages::page_of};
use crate::model::FilePlace;
use crate::text::sanitize::lines;

/// GitHub takes 25,000 results of a run and shows 5,000.
const MOST_RESULTS: usize = 5_000;

/// The document.
pub(crate) fn render(pages: &[Page]) -> String {
    let problems: Vec<(&Page, &Finding)> = [Status::Fail, Status::Unknown, Status::Warn]
        .into_iter()
        .flat_map(|status| pages.iter().map(move |page| (status, page)))
        .flat_map(|(status, page)| {
            let of = page
                .findings
                .iter()
                .filter(move |finding| finding.status == status);
            of.map(move |finding| (page, finding))
        })
        .collect();
    let mut rules: Vec<&Finding> = Vec::new();
    for (_, finding) in problems.iter().take(MOST_RESULTS) {
        if !rules.iter().any(|rule| rule.id == finding.id) {
            rules.push(finding);
        }
    }
    let results: Vec<Value> = problems
        .iter()
        .take(MOST_RESULTS)
        .map(|(page, finding)| {
            let index = rules.iter().position(|rule| rule.id == finding.id);
            result(page, finding, index)
        })
        .collect();
    let mut notes: Vec<String> = pages
        .iter()
        .map(|page| lines(&format!("{} {}: {}", page.word, page.subject, page.closing)))
        .collect();
    if problems.len() > MOST_RESULTS {
        notes.push(format!(
            "{} more problems are left out",
            problems.len() - MOST_RESULTS
        ));
    }
    let notes: Vec<Value> = notes
        .into_iter()
        .map(|text| json!({"level": "note", "message": {"text": text}}))
        .collect();
    let verb = pages.first().map_or("preflight", |page| page.verb);
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "kubectl-capt-spot",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules.into_iter().map(rule).collect::<Vec<_>>()
            }},
            // Dashboards keep the runs of one tool apart by this.
            "automationDetails": {"id": format!("capt-spot/{verb}/")},
            "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": notes}],
            "results": results
        }]
    }))
}

fn rule(finding: &Finding) -> Value {
    let own = || finding.help.clone().unwrap_or_else(|| finding.title.clone());
    let page = page_of(&finding.id).map_or_else(own, with_absolute_links);
    json!({
        "id": finding.id,
        "name": finding.id,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.title},
        "help": {"text": page, "markdown": page},
        "helpUri": finding.docs,
        "properties": {"tags": [finding.group]}
    })
}

/// A page's links, as they work elsewhere.
fn with_absolute_links(page: &str) -> String {
    page.replace("](../", &format!("]({}", docs_url("")))
        .split("](")
        .enumerate()
        .map(|(n, part)| {
            let relative = n > 0 && !part.starts_with("http") && !part.starts_with('#');
            match (n, relative) {
                (0, _) => part.to_owned(),
                (_, true) => format!("]({}{part}", docs_url("checks/")),
                (_, false) => format!("]({part}"),
            }
        })
        .collect()
}

fn result(page: &Page, finding: &Finding, rule: Option<usize>) -> Value {
    let level = match page.counts_as(finding) {
        Status::Fail => "error",
        _ => "warning",
    };
    let (uri, line) = match &finding.file {
        Some(file) => (uri(file), file.line),
        None => (page.place.clone(), 1),
    };
    json!({
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": level,
        "message": {"text": lines(&format!("{}. {}", finding.headline, finding.told("\n\n")))},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": line}},
            "logicalLocations": [{"name": page.subject, "fullyQualifiedName": page.place, "kind": "resource"}]
        }],
        // The same finding of the same cluster is the same alert in every run, whatever its message says.
        "partialFingerprints": {"captSpotFinding/v1": fingerprint(page, finding)}
    })
}

fn fingerprint(page: &Page, finding: &Finding) -> String {
    match &finding.file {
        Some(file) => format!("{}/{}/{}", uri(file), finding.id, file.key),
        None => format!("{}/{}", page.place, finding.id),
    }
}

/// A file's path as a relative URI.
fn uri(file: &FilePlace) -> String {
    let path = file.file.replace('\\', "/");
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty() && *segment != ".")
        .map(segment_of_uri)
        .collect();
    segments.join("/")
}
