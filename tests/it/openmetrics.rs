//! The metrics, the alert rules and the dashboard, read with Prometheus's own code.

use std::path::{Path, PathBuf};

use capt_spot_standin::scenario;
use serde_json::{Value, json};

use crate::formats::stages;
use crate::support::program::Stage;
use crate::support::testbed::{Testbed, output, succeed};

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts/capt-spot/monitoring")
        .join(file)
}

fn prometheus(bed: &Testbed, home: &Path, arguments: &[&Path]) -> String {
    let mut command = bed.command("prometheus", home);
    command.args(arguments);
    succeed(output(command))
}

/// An account without the role, where Karpenter runs on-demand nodes in a pool that admits Spot, beside pools that are right.
fn fallen_back() -> Stage {
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    let capacity =
        |values: Value| json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": values}]);
    kubernetes.put(scenario::node_pool("steady", &capacity(json!(["on-demand"]))));
    kubernetes.put(scenario::node_pool(
        "mixed",
        &capacity(json!(["spot", "on-demand"])),
    ));
    for (name, pool, capacity) in [
        ("a", "default", "on-demand"),
        ("b", "default", "on-demand"),
        ("c", "steady", "on-demand"),
        ("d", "mixed", "on-demand"),
        ("e", "mixed", "spot"),
    ] {
        kubernetes.put(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"karpenter.sh/nodepool": pool, "karpenter.sh/capacity-type": capacity}},
        }));
    }
    Stage::new(world)
}

fn metrics(stage: &Stage, name: &str, folder: &Path) -> PathBuf {
    let ran = stage.run(&["preflight", "--all-contexts", "-o", "openmetrics"]);
    assert!([0, 1, 3].contains(&ran.code), "{ran:?}");
    let path = folder.join(format!("{name}.prom"));
    std::fs::write(&path, ran.stdout).expect("written");
    path
}

#[test]
fn prometheus_reads_the_metrics_of_every_world() {
    let Some(bed) = Testbed::require(&["prometheus"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut files: Vec<PathBuf> = Vec::new();
    for (name, stage) in stages() {
        files.push(metrics(&stage, name, folder.path()));
    }
    let mut arguments = vec![Path::new("metrics")];
    arguments.extend(files.iter().map(PathBuf::as_path));
    let samples = prometheus(&bed, folder.path(), &arguments);
    // Two contexts of one cluster are one cluster.
    assert_eq!(
        samples.matches("capt_spot_judged").count(),
        files.len(),
        "{samples}"
    );
}

#[test]
fn the_alerts_fire_on_what_they_are_for_and_on_nothing_else() {
    let Some(bed) = Testbed::require(&["prometheus"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let rules = shipped("rules.yaml");
    let alerts = |stage: &Stage, name: &str| {
        let file = metrics(stage, name, folder.path());
        prometheus(&bed, folder.path(), &[Path::new("alerts"), &rules, &file])
    };
    let names = prometheus(&bed, folder.path(), &[Path::new("rules"), &rules]);
    insta::assert_snapshot!(format!(
        "rules:\n{names}\nhealthy:\n{}\nfallen back:\n{}",
        alerts(&Stage::healthy(), "healthy"),
        alerts(&fallen_back(), "fallen-back")
    ));
}

#[test]
fn every_query_of_the_dashboard_shows_something() {
    let Some(bed) = Testbed::require(&["prometheus"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = metrics(&fallen_back(), "fallen-back", folder.path());
    let text = std::fs::read_to_string(shipped("dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries: Vec<String> = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let mut filled = query.to_owned();
            for variable in dashboard["templating"]["list"].as_array().expect("variables") {
                let name = variable["name"].as_str().expect("a name");
                filled = filled.replace(&format!("${name}"), ".*");
            }
            assert!(!filled.contains('$'), "{filled}");
            queries.push(filled);
        }
    }
    let list = folder.path().join("queries");
    std::fs::write(&list, queries.join("\n")).expect("written");
    let said = prometheus(&bed, folder.path(), &[Path::new("queries"), &list, &file]);
    let silent: Vec<&str> = said.lines().filter(|line| line.starts_with("0 ")).collect();
    // This world has no failed launches.
    assert!(
        silent
            .iter()
            .all(|line| line.contains("capt_spot_failed_launches")),
        "{silent:?}"
    );
}
