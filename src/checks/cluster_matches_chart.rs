//! Whether the chart that is being installed names this cluster.

use super::{Check, Group, Judgement, never};
use crate::facts::Facts;
use crate::model::Language;

pub(crate) static CLUSTER_MATCHES_CHART: Check = Check {
    id: "cluster-matches-chart",
    group: Group::Target,
    title: "The chart names this cluster",
    needed: never,
    judge: cluster_matches_chart,
};

fn cluster_matches_chart(facts: &Facts) -> Judgement {
    if !facts.ask.installing {
        return Judgement::skip("no chart is being installed");
    }
    let Some(chart) = &facts.ask.chart_cluster else {
        return Judgement::skip(
            "the chart names no cluster (settings.clusterName is not set, or it is not Karpenter's chart)",
        );
    };
    let cluster = facts.target.cluster.as_str();
    let judgement = if chart == cluster {
        Judgement::pass(format!("the chart names {chart}"))
    } else {
        let value = serde_json::Value::from(cluster);
        Judgement::fail(format!(
            "the chart names the cluster {chart}, the context is {cluster}"
        ))
        .headline("The chart names another cluster")
        .fix(
            "Name this cluster in the chart's values, or install into the other one with --kube-context.",
            [],
        )
        .snippet(Language::Yaml, format!("settings:\n  clusterName: {value}"))
    };
    judgement
        .evidence("chart", chart.as_str())
        .evidence("cluster", cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::healthy;

    #[test]
    fn each_way_it_can_be() {
        let said = told_of(
            healthy,
            CLUSTER_MATCHES_CHART.judge,
            &[
                ("no chart", |_| {}),
                ("a chart without a cluster", |f| f.ask.installing = true),
                ("this cluster's", |f| {
                    f.ask.installing = true;
                    f.ask.chart_cluster = Some("demo".into());
                }),
                ("another cluster's", |f| {
                    f.ask.installing = true;
                    f.ask.chart_cluster = Some("other".into());
                }),
            ],
        );
        insta::assert_snapshot!(said);
    }
}
