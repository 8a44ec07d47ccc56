//! `fleet manifest` on the real controllers of Jobs and CronJobs: the printed objects are applied as they are, and a kubelet of the
//! tests runs the Pods.

use std::collections::BTreeMap;

use capt_spot_standin::{Fault, scenario};
use serde_json::{Value, json};

use crate::e2e::{fresh_world, set_up};
use crate::support::kubelet::Kubelet;
use crate::support::program::Stage;
use crate::support::testbed::{ApiServer, Testbed, User, output, run_with_stdin, succeed, until};

const NEEDED: [&str; 2] = ["kube-apiserver", "kubectl"];
const NAMESPACE: &str = "capt-spot";
const IMAGE: &str =
    "registry.example/capt-spot@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn kubectl(server: &ApiServer, arguments: &[&str]) -> String {
    let mut command = server.kubectl(User::Admin);
    command.args(["-n", NAMESPACE]).args(arguments);
    succeed(output(command))
}

fn get(server: &ApiServer, what: &str) -> Value {
    serde_json::from_str(&kubectl(server, &["get", what, "-o", "json"])).expect("JSON")
}

/// Applies what the program prints, as it is.
fn apply(server: &ApiServer, printed: &str) {
    let mut command = server.kubectl(User::Admin);
    command.args(["apply", "-f", "-"]);
    succeed(run_with_stdin(command, printed));
}

fn condition(job: &Value, kind: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[test]
fn every_shard_is_judged_although_one_pod_is_killed_and_one_index_fails() {
    let Some(bed) = Testbed::require(&NEEDED) else {
        return;
    };
    let server = ApiServer::start_with(&bed, &["-jobs"]);
    let stage = Stage::without_kubeconfig(scenario::fleet(5, 2));
    // One account, of shard 1, lacks the role: its index fails, and nothing is tried again for that.
    stage.standin.world(|world| {
        let account = world.account(&scenario::fleet_account(4));
        account
            .roles
            .retain(|role| role.name != "AWSServiceRoleForEC2Spot");
    });
    let entries: Vec<Value> = (0..5)
        .flat_map(|account| (0..2).map(move |n| (account, n)))
        .map(|(account, n)| {
            let id = scenario::fleet_account(account);
            json!({
                "account": id,
                "region": scenario::REGION,
                "name": scenario::fleet_cluster(account, n),
                "roleArn": format!("arn:aws:iam::{id}:role/{}", scenario::FLEET_ROLE),
            })
        })
        .collect();
    let inventory = stage.home.path().join("inventory.json");
    let document = json!({"apiVersion": "capt-spot/v1", "kind": "ClusterInventory", "clusters": entries});
    std::fs::write(&inventory, document.to_string()).expect("written");
    let inventory = inventory.to_str().expect("UTF-8");
    let manifest = [
        "fleet",
        "manifest",
        "--clusters",
        inventory,
        "--shards=4",
        "--image",
        IMAGE,
    ];
    let flags = ["--", "--parallel=1", "--request-timeout=0", "--overall-timeout=0"];
    let printed = stage.run(&[&manifest[..], &flags].concat()).expect(0).stdout;
    kubectl(&server, &["create", "namespace", NAMESPACE]);
    apply(&server, &printed);

    // The second cluster of the first account keeps its Pod waiting, so that this is in the middle of its shard.
    let waits_for = scenario::fleet_cluster(0, 1);
    stage
        .standin
        .fault(&format!("eks:DescribeCluster {waits_for}"), Fault::Hang)
        .times(1);
    let mut kubelet = Kubelet::new(&server, NAMESPACE, stage.environment());
    let first = format!("\"cluster\":\"{}\"", scenario::fleet_cluster(0, 0));
    let mut killed = String::new();
    until("a Pod is in the middle of its shard", || {
        kubelet.work();
        let waiting = stage
            .standin
            .unanswered()
            .iter()
            .any(|call| call.long.contains(&waits_for));
        let logs = kubelet.logs();
        let pod = logs
            .iter()
            .find(|(_, log)| log.replace(": ", ":").contains(&first));
        match pod {
            Some((pod, log)) if waiting && !log.contains("PreflightShard") => {
                killed.clone_from(pod);
                true
            }
            _ => false,
        }
    });
    kubelet.kill(&killed);
    let mut job = Value::Null;
    until("the Job has ended", || {
        kubelet.work();
        job = get(&server, "job/capt-spot");
        condition(&job, "Complete") || condition(&job, "Failed")
    });

    // Each was judged, one without any cluster too; the one with the account fails by itself, and that of the killed Pod ran again.
    let logs = kubelet.logs();
    let mut by_index: BTreeMap<String, usize> = BTreeMap::new();
    for pod in logs.keys() {
        let index = pod.split('-').nth(2).expect("an index").to_owned();
        *by_index.entry(index).or_default() += 1;
    }
    let again = killed.split('-').nth(2).expect("an index");
    assert_eq!(by_index.len(), 4, "{by_index:?}");
    for (index, pods) in &by_index {
        assert_eq!(*pods, if index == again { 2 } else { 1 }, "{by_index:?}");
    }
    assert!(condition(&job, "Failed"), "{job:#}");
    assert_eq!(job["status"]["failedIndexes"], "1", "{logs:#?}");
    assert_eq!(job["status"]["completedIndexes"], "0,2,3", "{logs:#?}");

    // Nothing is lost, nothing is there twice.
    let all: Vec<String> = logs.into_values().collect();
    let merge = stage.command(&["fleet", "merge", "-", "--clusters", inventory, "-o", "json"]);
    let merged = run_with_stdin(merge, &all.join("\n"));
    let notes = String::from_utf8_lossy(&merged.stderr).into_owned();
    assert_eq!(merged.status.code(), Some(1), "{notes}");
    assert!(notes.contains("2 clusters are there more than once"), "{notes}");
    let list: Value = serde_json::from_slice(&merged.stdout).expect("JSON");
    let got: Vec<(Value, Value)> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| (item["target"]["cluster"].clone(), item["verdict"].clone()))
        .collect();
    let want: Vec<(Value, Value)> = (0..5)
        .flat_map(|account| (0..2).map(move |n| (account, n)))
        .map(|(account, n)| {
            let verdict = if account == 4 { "not-ready" } else { "ready" };
            (json!(scenario::fleet_cluster(account, n)), json!(verdict))
        })
        .collect();
    assert_eq!(got, want);

    // And the garbage collector takes the Pods with the Job.
    kubectl(
        &server,
        &[
            "delete",
            "job",
            "capt-spot",
            "--cascade=background",
            "--wait=false",
        ],
    );
    until("the Pods are gone", || get(&server, "pods")["items"] == json!([]));
}

#[test]
fn a_cron_job_judges_its_own_cluster_and_publishes_with_no_more_than_the_printed_rights() {
    let Some(bed) = Testbed::require(&[&NEEDED[..], &["openreports-crds"]].concat()) else {
        return;
    };
    let server = ApiServer::start_with(&bed, &["-jobs"]);
    set_up(&server);
    crate::openreports::install(&bed, &server);
    let stage = Stage::new(fresh_world(&server));
    let cluster = ["--cluster-name=demo", "--region", scenario::REGION];
    let manifest = [
        "fleet",
        "manifest",
        "--publish",
        "--schedule=* * * * *",
        "--image",
        IMAGE,
    ];
    let printed = stage.run(&[&manifest[..], &cluster].concat()).expect(0).stdout;
    kubectl(&server, &["create", "namespace", NAMESPACE]);
    apply(&server, &printed);
    // It is due: the last time was some minutes ago.
    let ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(3);
    let due = json!({"status": {"lastScheduleTime": format!("{ago:.0}")}}).to_string();
    kubectl(
        &server,
        &[
            "patch",
            "cronjob",
            "capt-spot",
            "--subresource=status",
            "--type=merge",
            "-p",
            &due,
        ],
    );

    let mut kubelet = Kubelet::new(&server, NAMESPACE, stage.environment());
    until("its Job has ended", || {
        kubelet.work();
        let jobs = get(&server, "jobs");
        let ended = |job: &Value| condition(job, "Complete") || condition(job, "Failed");
        jobs["items"]
            .as_array()
            .is_some_and(|jobs| jobs.iter().any(ended))
    });
    let log = kubelet.logs().into_values().next().expect("a log");
    let line = log
        .lines()
        .find(|line| line.starts_with('{'))
        .unwrap_or_else(|| panic!("{log}"));
    let report: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(report["verdict"], "not-ready", "{log}");
    assert_eq!(
        report["caller"]["kubernetesUser"],
        "system:serviceaccount:capt-spot:capt-spot"
    );
    let checks = report["checks"].as_array().expect("checks");
    for check in checks {
        let message = check["message"].as_str().expect("a message");
        assert!(!message.contains("denied by the cluster's RBAC"), "{check:#}");
    }

    let published = get(&server, "reports.openreports.io");
    let published = published["items"].as_array().expect("items");
    assert_eq!(published.len(), 1, "{log}");
    assert_eq!(published[0]["summary"]["fail"], report["summary"]["fail"]);
    let mine = kubectl(
        &server,
        &[
            "get",
            "reports.openreports.io",
            "-o",
            "json",
            "--show-managed-fields",
        ],
    );
    let mine: Value = serde_json::from_str(&mine).expect("JSON");
    let managers = mine["items"][0]["metadata"]["managedFields"]
        .as_array()
        .expect("fields")
        .clone();
    let managers: Vec<(&Value, &Value)> = managers
        .iter()
        .map(|one| (&one["manager"], &one["operation"]))
        .collect();
    assert_eq!(managers, [(&json!("capt-spot"), &json!("Apply"))]);
}

/// The overlay of examples/fleet: what Kustomize makes of the printed CronJob is what the API server takes.
#[test]
fn kustomize_patches_the_printed_cron_job() {
    let Some(bed) = Testbed::require(&NEEDED) else {
        return;
    };
    let server = ApiServer::start(&bed);
    let stage = Stage::healthy();
    let folder = tempfile::tempdir().expect("a folder");
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet");
    for file in ["kustomization.yaml", "pushgateway.yaml"] {
        std::fs::copy(example.join(file), folder.path().join(file)).expect("copied");
    }
    let manifest = ["fleet", "manifest", "--schedule=*/15 * * * *", "--image", IMAGE];
    let printed = stage.run(&manifest).expect(0).stdout;
    std::fs::write(folder.path().join("manifest.yaml"), printed).expect("written");
    let mut build = server.kubectl(User::Admin);
    build.arg("kustomize").arg(folder.path());
    let built = succeed(output(build));
    kubectl(&server, &["create", "namespace", NAMESPACE]);
    apply(&server, &built);
    let spec = &get(&server, "cronjob/capt-spot")["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let names: Vec<&Value> = spec["containers"]
        .as_array()
        .expect("containers")
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["capt-spot", "push"]);
}
