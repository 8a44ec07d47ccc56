//! OpenReports objects (`openreports.io/v1alpha1`): one Report for each cluster, for Policy Reporter and others to show.

use serde_json::{Map, Value, json};
use sha2::Digest as _;

use super::json::to_yaml;
use super::openmetrics::one_each;
use super::{Finding, Page};
use crate::checks::Status;
use crate::text::sanitize::{line, lines};

/// Their group.
pub(crate) const GROUP: &str = "openreports.io";
/// Their version.
pub(crate) const VERSION: &str = "v1alpha1";
/// Their kind.
pub(crate) const KIND: &str = "Report";
/// The source that their readers tell tools apart by, and the field manager.
pub(crate) const SOURCE: &str = "capt-spot";
/// Labels and annotations of ours.
const OWN: &str = "capt-spot.appthrust.io";

/// As manifests, ready to apply. They name no namespace: the one of the kubeconfig, or of `kubectl apply -n`, is theirs.
pub(crate) fn render(pages: &[Page]) -> String {
    let objects: Vec<String> = objects(pages.iter()).iter().map(to_yaml).collect();
    objects.join("---\n")
}

/// One for each cluster.
pub(crate) fn objects<'a>(pages: impl Iterator<Item = &'a Page>) -> Vec<Value> {
    one_each(pages).into_iter().map(object).collect()
}

fn object(page: &Page) -> Value {
    let about = &page.about_cluster;
    let cluster = about.name(page);
    let verdict = match page.status {
        Status::Pass => "ready",
        Status::Fail => "not-ready",
        Status::Unknown | Status::Warn | Status::Skip => "undecided",
    };
    let mut labels = json!({
        "app.kubernetes.io/managed-by": SOURCE,
        (format!("{OWN}/verdict")): verdict,
    });
    let mut properties = Map::new();
    let known = [
        ("account", about.account.as_deref()),
        ("region", about.region.as_deref()),
        ("cluster", cluster),
    ];
    for (name, value) in known {
        let Some(value) = value else { continue };
        properties.insert(name.to_owned(), json!(line(value)));
        if is_label(value) {
            labels[format!("{OWN}/{name}")] = json!(value);
        }
    }
    let count = |status: Status| {
        let of_status = |finding: &&Finding| page.counts_as(finding) == status;
        page.findings.iter().filter(of_status).count()
    };
    let results: Vec<Value> = page
        .findings
        .iter()
        .map(|finding| result(page, finding, &properties))
        .collect();
    let mut object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {
            "name": name(page),
            "labels": labels,
            "annotations": {(format!("{OWN}/closing")): line(&page.closing)},
        },
        "source": SOURCE,
        "summary": {
            "pass": count(Status::Pass),
            "warn": count(Status::Warn),
            "fail": count(Status::Fail),
            "error": count(Status::Unknown),
            "skip": count(Status::Skip),
        },
        "results": results,
    });
    if let Some(cluster) = cluster {
        // The kind by which the AWS Controllers for Kubernetes name an EKS cluster; no object has to be there.
        object["scope"] =
            json!({"apiVersion": "eks.services.k8s.aws/v1alpha1", "kind": "Cluster", "name": line(cluster)});
    }
    object
}

fn result(page: &Page, finding: &Finding, properties: &Map<String, Value>) -> Value {
    let status = page.counts_as(finding);
    let (word, severity) = match status {
        Status::Pass => ("pass", "info"),
        Status::Warn => ("warn", "medium"),
        Status::Fail => ("fail", "high"),
        // Their word for what could not be evaluated.
        Status::Unknown => ("error", "medium"),
        Status::Skip => ("skip", "info"),
    };
    let mut properties = properties.clone();
    properties.insert("docs".to_owned(), json!(finding.docs));
    let message = match status {
        Status::Pass | Status::Skip => finding.message.clone(),
        _ => format!("{}. {}", finding.headline, finding.told("\n\n")),
    };
    let mut result = json!({
        "source": SOURCE,
        "policy": line(&finding.id),
        "category": line(&finding.group),
        "result": word,
        "severity": severity,
        "scored": status != Status::Skip,
        "message": lines(&message),
        "properties": properties,
    });
    if let Some(at) = page.about_cluster.at {
        result["timestamp"] = json!({"seconds": at.as_second(), "nanos": 0});
    }
    result
}

/// The same for the same cluster in every run, different for clusters of one name.
fn name(page: &Page) -> String {
    let about = &page.about_cluster;
    let cluster = about.name(page).unwrap_or("account");
    let whole = [
        about.account.as_deref().unwrap_or_default(),
        about.region.as_deref().unwrap_or_default(),
        cluster,
    ]
    .join("/");
    let digest = sha2::Sha256::digest(whole.as_bytes());
    let hash: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    // EKS admits upper case and underscores, Kubernetes does not.
    let plain: String = cluster
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
            _ => '-',
        })
        .take(100)
        .collect();
    match plain.trim_matches('-') {
        "" => format!("{SOURCE}-{hash}"),
        plain => format!("{SOURCE}-{plain}-{hash}"),
    }
}

/// Whether a value may stand in a label.
fn is_label(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric();
    value.len() <= 63
        && value.starts_with(inner)
        && value.ends_with(inner)
        && value.chars().all(|c| inner(c) || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{absent, healthy};
    use crate::report::account::AccountReport;
    use crate::report::{Selection, judge};

    #[test]
    fn a_cluster_one_that_could_not_be_judged_and_an_account() {
        let mut fresh = healthy();
        fresh.spot_role = absent("iam:GetRole");
        let pages = [
            judge(&fresh, &Selection::default()).page(false),
            Page::unresolved("preflight", "Gone_\u{1b}[31m", "no such context"),
            AccountReport::new(&healthy(), false).page(false),
        ];
        insta::assert_snapshot!(render(&pages));
    }

    #[test]
    fn names_are_stable_and_of_kubernetes() {
        let of = |account: &str, cluster: &str| {
            let mut page = Page::unresolved("preflight", "x", "x");
            page.about_cluster.account = Some(account.to_owned());
            page.about_cluster.cluster = Some(cluster.to_owned());
            name(&page)
        };
        assert_eq!(of("111122223333", "Demo_A"), of("111122223333", "Demo_A"));
        assert_ne!(of("111122223333", "demo"), of("123456789012", "demo"));
        for cluster in ["Demo_A", "___", "", &"x".repeat(300), "é"] {
            let name = of("111122223333", cluster);
            assert!(name.len() <= 253 && name.starts_with("capt-spot-"), "{name}");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            );
        }
    }
}
