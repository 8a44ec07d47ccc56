//! The chart `charts/capt-spot`, by both helms: the same objects as `fleet manifest` prints.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::program::Stage;
use crate::support::testbed::{Testbed, output, succeed};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/capt-spot");

fn helm(bed: &Testbed, name: &str, home: &Path, arguments: &[&str]) -> String {
    let mut command = bed.command(name, home);
    command.args(arguments);
    succeed(output(command))
}

/// Objects by kind, namespace and name, without the one label that says who made them.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut named = BTreeMap::new();
    for mut object in objects {
        for labels in [
            "/metadata/labels",
            "/spec/template/metadata/labels",
            "/spec/jobTemplate/metadata/labels",
            "/spec/jobTemplate/spec/template/metadata/labels",
        ] {
            let labels = object.pointer_mut(labels).and_then(Value::as_object_mut);
            if let Some(labels) = labels {
                assert!(labels.shift_remove("app.kubernetes.io/managed-by").is_some());
            }
        }
        let metadata = &object["metadata"];
        let name = format!(
            "{} {} {}",
            object["kind"], metadata["namespace"], metadata["name"]
        );
        assert!(named.insert(name, object).is_none());
    }
    named
}

fn documents(yaml: &str) -> Vec<Value> {
    yaml.split("\n---\n")
        .map(|one| one.trim_start_matches("---\n"))
        .filter(|one| one.lines().any(|line| !line.is_empty() && !line.starts_with('#')))
        .map(|one| serde_yaml::from_str(one).unwrap_or_else(|error| panic!("{error}: {one}")))
        .collect()
}

#[test]
fn the_chart_makes_what_the_manifest_has() {
    let Some(bed) = Testbed::require(&["helm3", "helm4"]) else {
        return;
    };
    let stage = Stage::healthy();
    let home = stage.home.path();
    let inventory = home.join("inventory.json");
    let clusters = json!([
        {"account": "111122223333", "region": "eu-west-1", "name": "demo", "roleArn": "arn:aws:iam::111122223333:role/reader"},
        {"account": "123456789012", "region": "us-east-1", "name": "other"},
    ]);
    let text =
        json!({"apiVersion": "capt-spot/v1", "kind": "ClusterInventory", "clusters": clusters}).to_string();
    std::fs::write(&inventory, text).expect("written");
    let inventory = inventory.to_str().expect("UTF-8");
    let same = home.join("same.json");
    let set_file = format!("inventory={}", same.display());
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let image = format!("registry.example/capt-spot@{digest}");
    let set_digest = format!("image.digest={digest}");
    let role = "arn:aws:iam::111122223333:role/capt-spot";
    let set_role = format!("serviceAccount.roleArn={role}");
    let worlds: [(&[&str], &[&str]); 3] = [
        (
            &[
                "--clusters",
                inventory,
                "--shards=4",
                "--parallelism=2",
                "--role-arn",
                role,
                "--image",
                &image,
            ],
            &[
                "--set-file",
                &set_file,
                "--set=schedule=,shards=4,parallelism=2,image.repository=registry.example/capt-spot",
                "--set",
                &set_digest,
                "--set",
                &set_role,
            ],
        ),
        (
            &[
                "--clusters",
                inventory,
                "--publish",
                "--schedule=0 3 * * *",
                "--name=nightly",
                "--service-account=reader",
            ],
            &[
                "--set-file",
                &set_file,
                "--set=publish=true,nameOverride=nightly,serviceAccount.name=reader",
            ],
        ),
        (
            &[
                "--cluster-name=demo",
                "--region=eu-west-1",
                "--schedule=*/15 * * * *",
                "--publish",
                "--deadline=300",
                "--retries=0",
                "--",
                "--strict",
            ],
            &[
                "--set=cluster.name=demo,cluster.region=eu-west-1,publish=true,deadlineSeconds=300,retries=0",
                "--set=schedule=*/15 * * * *",
                "--set=flags={--strict}",
            ],
        ),
    ];
    for (flags, values) in worlds {
        let mut line = vec!["fleet", "manifest", "-o", "json"];
        line.extend(flags);
        let list = stage.run(&line).expect(0).json();
        let objects = list["items"].as_array().expect("items").clone();
        let map = objects.iter().find(|object| object["kind"] == "ConfigMap");
        if let Some(map) = map {
            std::fs::write(&same, map["data"]["inventory.json"].as_str().expect("text")).expect("written");
        }
        let want = by_name(objects);
        for helm_of in ["helm3", "helm4"] {
            let mut lint = vec!["lint", CHART, "--strict"];
            lint.extend(values);
            helm(&bed, helm_of, home, &lint);
            let mut template = vec!["template", "release", CHART, "--namespace=capt-spot"];
            template.extend(values);
            let made = by_name(documents(&helm(&bed, helm_of, home, &template)));
            assert_eq!(
                made.keys().collect::<Vec<_>>(),
                want.keys().collect::<Vec<_>>(),
                "{helm_of} {values:?}"
            );
            for (name, object) in &made {
                assert_eq!(object, &want[name], "{helm_of} {values:?}");
            }
        }
    }
}

#[test]
fn the_chart_has_the_rules_and_the_dashboard_and_refuses_what_cannot_be() {
    let Some(bed) = Testbed::require(&["helm3", "helm4"]) else {
        return;
    };
    let home = tempfile::tempdir().expect("a folder");
    let cluster = "--set=cluster.name=demo,cluster.region=eu-west-1";
    for helm_of in ["helm3", "helm4"] {
        let both = "--set=prometheusRule.enabled=true,dashboard.enabled=true";
        let objects = documents(&helm(
            &bed,
            helm_of,
            home.path(),
            &["template", "x", CHART, cluster, both],
        ));
        let of = |kind: &str| {
            objects
                .iter()
                .find(|object| object["kind"] == kind)
                .expect("it is there")
        };
        let shipped = |file: &str| {
            let path = Path::new(CHART).join("monitoring").join(file);
            std::fs::read_to_string(path).expect("shipped")
        };
        let rules: Value = serde_yaml::from_str(&shipped("rules.yaml")).expect("YAML");
        assert_eq!(of("PrometheusRule")["spec"], rules);
        assert_eq!(
            of("ConfigMap")["data"]["capt-spot.json"],
            shipped("dashboard.json")
        );
        for (wrong, why) in [
            ("--set=shards=2", "cluster.name: which EKS cluster"),
            ("--set=shards=0", "shards"),
            ("--set=image.digest=latest", "digest"),
            ("--set=shard=2", "shard"),
        ] {
            let mut command = bed.command(helm_of, home.path());
            command.args(["template", "x", CHART, wrong]);
            let out = output(command);
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(
                !out.status.success() && said.contains(why),
                "{helm_of} {wrong}: {said}"
            );
        }
    }
}

/// A chart that is released says which version of the program it runs.
#[test]
fn the_chart_has_the_programs_version() {
    let chart: Value = serde_yaml::from_str(
        &std::fs::read_to_string(Path::new(CHART).join("Chart.yaml")).expect("the chart"),
    )
    .expect("YAML");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
