//! OpenMetrics 1.0, for Prometheus: the verdict and each check's status, which pools can launch Spot, and how their nodes run.
//! Everything is a gauge, so that the same document is Prometheus's older text format: a Pushgateway and the node exporter read it.
//!
//! One series more for a pool or a check is paid for by every cluster of a fleet, so what names them is bounded: checks are the
//! registry's, causes an enumeration, pools [`MOST_POOLS`] a cluster. No message is a label.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Finding, Page};
use crate::checks::Status;
use crate::text::sanitize::line;

/// Pools of a cluster that have series of their own; how many are left out is a series, too.
const MOST_POOLS: usize = 100;
/// Characters of a label's value. A kube context may be an ARN; Kubernetes's names have at most 253.
const LONGEST_LABEL: usize = 253;

/// Every family, in the order of the document: name, help.
const FAMILIES: [(&str, &str); 11] = [
    (TARGET, "A cluster that was judged, and what it was judged by."),
    (
        VERDICT,
        "1 for the verdict of the cluster, 0 for the other verdicts.",
    ),
    (
        CHECKS,
        "Checks of the cluster by status; a warning of --strict is a fail.",
    ),
    (
        CHECK,
        "1 for the status that a check of the cluster has; a warning of --strict is a fail.",
    ),
    (
        CAN_SPOT,
        "Whether the node pool can launch Spot, by its requirements.",
    ),
    (NODES, "Nodes of the node pool by capacity type."),
    (
        ONLY_ON_DEMAND,
        "NodeClaims of the node pool that could only become on-demand.",
    ),
    (POOLS_OMITTED, "Node pools of the cluster without series here."),
    (
        FAILURES,
        "Launches that failed, by cause, as far as the cluster remembers them.",
    ),
    (JUDGED, "0: the cluster could not be judged at all."),
    (AT, "When the result was made; its age is time() less this."),
];

const TARGET: &str = "capt_spot_target";
const VERDICT: &str = "capt_spot_verdict";
const CHECKS: &str = "capt_spot_checks";
const CHECK: &str = "capt_spot_check_status";
const CAN_SPOT: &str = "capt_spot_pool_can_launch_spot";
const NODES: &str = "capt_spot_pool_nodes";
const ONLY_ON_DEMAND: &str = "capt_spot_pool_only_on_demand_nodeclaims";
const POOLS_OMITTED: &str = "capt_spot_pools_omitted";
const FAILURES: &str = "capt_spot_failed_launches";
const JUDGED: &str = "capt_spot_judged";
const AT: &str = "capt_spot_result_timestamp_seconds";

/// The series of each family, by their labels: the same series twice would make Prometheus refuse the whole document.
type Samples = BTreeMap<&'static str, BTreeMap<String, f64>>;

/// The document.
pub(crate) fn render(pages: &[Page]) -> String {
    let mut samples = Samples::new();
    for page in one_each(pages.iter()) {
        of_page(page, &mut samples);
    }
    let mut out = String::new();
    // Writing to a String cannot fail.
    for (name, help) in FAMILIES {
        let Some(series) = samples.get(name) else { continue };
        let _ = writeln!(out, "# TYPE {name} gauge");
        if name.ends_with("_seconds") {
            let _ = writeln!(out, "# UNIT {name} seconds");
        }
        let _ = writeln!(out, "# HELP {name} {help}");
        for (labels, value) in series {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
    out.push_str("# EOF\n");
    out
}

/// Two contexts may lead to one cluster: it counts once, by the worse of its answers.
pub(super) fn one_each<'a>(pages: impl Iterator<Item = &'a Page>) -> Vec<&'a Page> {
    let rank = |page: &Page| match page.status {
        Status::Fail => 2,
        Status::Unknown => 1,
        Status::Pass | Status::Warn | Status::Skip => 0,
    };
    let mut kept: BTreeMap<Vec<(&str, String)>, &Page> = BTreeMap::new();
    for page in pages {
        let there = kept.entry(identity(page)).or_insert(page);
        if rank(page) > rank(there) {
            *there = page;
        }
    }
    kept.into_values().collect()
}

/// The labels of every series. A cluster that the context did not lead to has nothing but that.
fn identity(page: &Page) -> Vec<(&'static str, String)> {
    let about = &page.about_cluster;
    let known = |value: &Option<String>| value.clone().unwrap_or_default();
    vec![
        ("account", known(&about.account)),
        ("region", known(&about.region)),
        ("cluster", about.name(page).unwrap_or_default().to_owned()),
    ]
}

fn of_page(page: &Page, samples: &mut Samples) {
    let identity = identity(page);
    let mut put = |family: &'static str, more: &[(&'static str, &str)], value: f64| {
        let labels: Vec<String> = identity
            .iter()
            .map(|(name, value)| label(name, value))
            .chain(more.iter().map(|(name, value)| label(name, value)))
            .collect();
        let series = samples.entry(family).or_default();
        series.insert(labels.join(","), value);
    };
    let about = &page.about_cluster;
    put(JUDGED, &[], f64::from(u8::from(about.judged)));
    if let Some(at) = about.at {
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit into 53 bits")]
        put(AT, &[], at.as_second() as f64);
    }
    for (verdict, status) in [
        ("ready", Status::Pass),
        ("not-ready", Status::Fail),
        ("undecided", Status::Unknown),
    ] {
        put(
            VERDICT,
            &[("verdict", verdict)],
            f64::from(u8::from(page.status == status)),
        );
    }
    if !about.judged {
        return;
    }
    let version = about.version.as_deref().unwrap_or_default();
    put(
        TARGET,
        &[
            ("context", &page.name),
            ("version", version),
            ("capt_spot_version", env!("CARGO_PKG_VERSION")),
        ],
        1.0,
    );
    for status in [
        Status::Pass,
        Status::Warn,
        Status::Fail,
        Status::Unknown,
        Status::Skip,
    ] {
        let of_status = |finding: &&Finding| page.counts_as(finding) == status;
        let count = page.findings.iter().filter(of_status).count();
        put(CHECKS, &[("status", status.word())], number(count));
    }
    for finding in &page.findings {
        let status = page.counts_as(finding).word();
        let labels = [
            ("check", finding.id.as_str()),
            ("group", finding.group.as_str()),
            ("status", status),
        ];
        put(CHECK, &labels, 1.0);
    }
    let evidence = |id: &str| {
        let finding = page.findings.iter().find(|finding| finding.id == id);
        finding.map(|finding| &finding.evidence)
    };
    let pools = evidence("pools-want-spot");
    let list = pools
        .and_then(|pools| pools.get("pools"))
        .and_then(Value::as_array);
    let list = list.map_or(&[][..], Vec::as_slice);
    for pool in list.iter().take(MOST_POOLS) {
        let name = pool["pool"].as_str().unwrap_or_default();
        let can = pool["verdict"]["verdict"] == "can-launch-spot";
        put(CAN_SPOT, &[("pool", name)], f64::from(u8::from(can)));
        for (capacity, nodes) in pool["nodes"].as_object().into_iter().flatten() {
            let labels = [("pool", name), ("capacity_type", capacity.as_str())];
            put(NODES, &labels, nodes.as_f64().unwrap_or_default());
        }
    }
    let total = pools
        .and_then(|pools| pools.get("total"))
        .and_then(Value::as_u64)
        .and_then(|total| usize::try_from(total).ok())
        .unwrap_or(list.len());
    if pools.is_some() {
        put(POOLS_OMITTED, &[], number(total.saturating_sub(MOST_POOLS)));
    }
    let seen = evidence("spot-failures-seen");
    let of_claims = seen.and_then(|seen| seen.get("pools")).and_then(Value::as_object);
    for (pool, claims) in of_claims.into_iter().flatten().take(MOST_POOLS) {
        let count = claims["onlyOnDemand"].as_f64().unwrap_or_default();
        put(ONLY_ON_DEMAND, &[("pool", pool)], count);
    }
    let causes = seen
        .and_then(|seen| seen.get("traces"))
        .and_then(Value::as_object);
    for (cause, count) in causes.into_iter().flatten() {
        put(FAILURES, &[("cause", cause)], count.as_f64().unwrap_or_default());
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of checks and pools are small")]
fn number(count: usize) -> f64 {
    count as f64
}

fn label(name: &str, value: &str) -> String {
    let mut out = format!("{name}=\"");
    for c in line(value).chars().take(LONGEST_LABEL) {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{denied, healthy, with_karpenter};
    use crate::report::{Selection, judge};

    #[test]
    fn a_cluster_with_karpenter_one_that_is_denied_and_one_that_could_not_be_judged() {
        let mut refused = with_karpenter();
        refused.target.cluster = "second".to_owned();
        refused.cluster = denied("eks:DescribeCluster second");
        let pages = [
            judge(&with_karpenter(), &Selection::default()).page(false),
            judge(&refused, &Selection::default()).page(false),
            Page::unresolved("preflight", "gone \"\u{1b}[31m\\", "no such context"),
        ];
        let text = render(&pages).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_cluster_that_two_contexts_lead_to_is_there_once_by_the_worse_answer() {
        let mut worse = healthy();
        worse.spot_role = crate::facts::fixture::absent("iam:GetRole");
        let pages: Vec<Page> = [healthy(), worse.clone(), healthy()]
            .iter()
            .map(|facts| judge(facts, &Selection::default()).page(false))
            .collect();
        assert_eq!(render(&pages), render(&pages[1..2]));
    }
}
