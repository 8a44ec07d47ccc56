//! `access` as a user runs it.

use capt_spot_standin::{AuthenticationMode, scenario};
use serde_json::{Value, json};

use crate::support::program::Stage;

fn live(mode: AuthenticationMode) -> Stage {
    let mut world = scenario::karpenter_on_fargate(mode);
    world.account(scenario::ACCOUNT).add_spot_role();
    Stage::new(world)
}

fn file(stage: &Stage, name: &str, map_roles: &str) -> String {
    let path = stage.home.path().join(name);
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system"}, "data": {"mapRoles": map_roles}});
    std::fs::write(&path, manifest.to_string()).expect("written");
    path.to_str().expect("a path").to_owned()
}

fn principals(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| item["principal"].as_str().expect("a principal"))
        .collect()
}

#[test]
fn a_live_cluster_is_listed() {
    let stage = live(AuthenticationMode::ConfigMap);
    let all = stage.run(&["access", "list", "-o", "json"]).json();
    assert_eq!(
        (&all["kind"], &all["authenticationMode"]),
        (&json!("AccessList"), &json!("CONFIG_MAP"))
    );
    for (who, role) in [
        ("nodes", "demo-node"),
        ("fargate", "demo-fargate"),
        ("admins", "demo-admin"),
    ] {
        let list = stage
            .run(&["access", "list", "--used-by", who, "-o", "json"])
            .json();
        let arn = format!("arn:aws:iam::111122223333:role/{role}");
        assert!(principals(&list).contains(&arn.as_str()), "{who}: {list}");
    }
    let csv = stage.run(&["access", "list", "--csv"]).stdout;
    assert!(
        csv.starts_with("principal,state,role,username,groups,policies,source\n"),
        "{csv}"
    );
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn the_switch_to_entries_alone_is_told_before_it_is_done() {
    let stage = live(AuthenticationMode::ApiAndConfigMap);
    let diff = stage
        .run(&["access", "diff", "--authentication-mode", "API", "-o", "json"])
        .expect(1)
        .json();
    let lost = diff["items"].as_array().expect("items").iter();
    let lost: Vec<&str> = lost
        .filter(|item| item["result"] == "lost")
        .map(|item| item["principal"].as_str().expect("a principal"))
        .collect();
    assert!(
        lost.contains(&"arn:aws:iam::111122223333:role/demo-node"),
        "{diff}"
    );
    assert!(
        diff["lockouts"].to_string().contains("locks out the nodes of"),
        "{diff}"
    );
    stage.run(&["access", "diff"]).expect(2);
}

#[test]
fn two_files_are_compared_without_a_cluster() {
    let stage = Stage::healthy();
    let line = |name: &str| format!("- rolearn: arn:aws:iam::111122223333:role/{name}\n  username: {name}\n");
    let old = file(&stage, "old.json", &line("Dev"));
    let new = file(&stage, "new.json", &(line("Dev") + &line("Ops")));
    stage
        .run(&["access", "diff", "--from-file", &old, "-f", &new])
        .expect(0);
    stage
        .run(&["access", "diff", "--from-file", &new, "-f", &old])
        .expect(1);
    let ran = stage
        .run(&[
            "access",
            "diff",
            "--from-file",
            &old,
            "-f",
            &new,
            "-o",
            "markdown",
        ])
        .expect(0);
    assert!(
        ran.stdout
            .contains("| arn:aws:iam::111122223333:role/Ops | gained |"),
        "{}",
        ran.stdout
    );
    std::fs::write(&old, "kind: Secret\n").expect("written");
    stage
        .run(&["access", "diff", "--from-file", &old, "-f", &new])
        .expect(1);
    assert_eq!(stage.standin.calls().len(), 0);
}

#[test]
fn a_plan_is_verified_against_the_cluster() {
    let stage = live(AuthenticationMode::ConfigMap);
    let plan = stage.run(&["access", "migrate", "-o", "json"]).expect(0).json();
    assert_eq!(plan["kind"], "AccessPlan");
    let of = |name: &str| {
        let entries = plan["entries"].as_array().expect("entries").iter();
        let arn = format!("arn:aws:iam::111122223333:role/{name}");
        entries
            .clone()
            .find(|entry| entry["principalArn"] == arn)
            .map(|entry| entry["type"].clone())
    };
    assert_eq!(of("demo-node"), Some(json!("EC2_LINUX")), "{plan}");
    assert_eq!(of("demo-fargate"), Some(json!("FARGATE_LINUX")), "{plan}");
    stage.run(&["access", "migrate", "--verify"]).expect(1);
    stage.run(&["access", "migrate", "--form", "terraform"]).expect(0);
    assert_eq!(stage.writes(), [""; 0]);
}
