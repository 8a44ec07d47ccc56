//! The check `masters-trust` as a user runs it: the roles that administer the cluster, in IAM and for the caller.

use std::collections::BTreeMap;

use capt_spot_standin::{
    AccessEntry, AuthenticationMode, Because, Decision, Role, Simulated, World, principal_trust, scenario,
    service_trust,
};

use crate::support::program::Stage;

use AuthenticationMode::{Api, ApiAndConfigMap, ConfigMap};

const CHECK: &str = "masters-trust";
const ADMIN: &str = "arn:aws:iam::111122223333:role/demo-admin";

fn healthy(mode: AuthenticationMode) -> World {
    let mut world = scenario::karpenter_on_fargate(mode);
    world.account(scenario::ACCOUNT).add_spot_role();
    world
}

fn line(arn: &str) -> String {
    format!("- rolearn: {arn}\n  username: x\n  groups: [system:masters]\n")
}

/// Maps these roles to system:masters, and nobody else.
fn masters(world: &mut World, arns: &[&str]) {
    let all: String = arns.iter().map(|arn| line(arn)).collect();
    world
        .kubernetes(scenario::CLUSTER)
        .put_aws_auth(&[("mapRoles", &all)]);
}

fn deny(world: &mut World, action: &str) {
    world
        .account(scenario::ACCOUNT)
        .access_keys
        .get_mut(scenario::ACCESS_KEY)
        .expect("the caller")
        .deny_because(action, Because::NoIdentityPolicy);
}

/// A role that was made again in 2027, under this path, behind the entry of its name.
fn made_again(world: &mut World, path: &str) {
    let role = Role {
        create_date: "2027-01-01T00:00:00Z".parse().expect("a time"),
        ..Role::new("again", principal_trust("arn:aws:iam::111122223333:root"))
    };
    world.account(scenario::ACCOUNT).roles.push(role.with_path(path));
    world
        .cluster(scenario::CLUSTER)
        .access_entries
        .push(AccessEntry::cluster_admin("arn:aws:iam::111122223333:role/again"));
}

#[test]
fn each_way_an_administrators_role_can_be() {
    type Row = (&'static str, AuthenticationMode, fn(&mut World));
    let rows: &[Row] = &[
        ("good, by a line", ConfigMap, |_| {}),
        ("good, by a line beside entries", ApiAndConfigMap, |_| {}),
        ("good, by an entry", Api, |_| {}),
        ("the caller's own policies do not let it", ConfigMap, |world| {
            let account = world.account(scenario::ACCOUNT);
            account.role_mut("demo-admin").trust = principal_trust("arn:aws:iam::111122223333:root");
            let denied = Simulated::new("sts:AssumeRole", Decision::ImplicitDeny);
            account.simulation.push(denied);
        }),
        ("EC2 may assume it", ConfigMap, |world| {
            world.account(scenario::ACCOUNT).role_mut("demo-admin").trust =
                service_trust("ec2.amazonaws.com");
        }),
        (
            "mappings of roles that are gone, and of one that nobody can assume",
            ApiAndConfigMap,
            |world| {
                let (gone, dead) = (
                    "arn:aws:iam::111122223333:role/gone",
                    "arn:aws:iam::111122223333:role/dead",
                );
                masters(world, &[ADMIN, gone, dead]);
                let dead = Role::new("dead", principal_trust("AROAEXAMPLEEXAMPLE99"));
                world.account(scenario::ACCOUNT).roles.push(dead);
                world
                    .cluster(scenario::CLUSTER)
                    .access_entries
                    .push(AccessEntry::cluster_admin(
                        "arn:aws:iam::111122223333:role/team/deleted",
                    ));
            },
        ),
        ("an entry that outlived its role", Api, |world| {
            made_again(world, "/")
        }),
        ("an entry whose role is now under a path", Api, |world| {
            made_again(world, "/new/")
        }),
        ("a role of another account", ConfigMap, |world| {
            masters(world, &[ADMIN, "arn:aws:iam::444455556666:role/pipeline"]);
        }),
        ("nobody but the cluster's creator", ConfigMap, |world| {
            masters(world, &[])
        }),
        ("the role cannot be read", ConfigMap, |world| {
            deny(world, "iam:GetRole")
        }),
        ("the entry's policies cannot be read", Api, |world| {
            deny(world, "eks:ListAssociatedAccessPolicies");
        }),
        ("the entries cannot be read", Api, |world| {
            deny(world, "eks:ListAccessEntries")
        }),
        ("the cluster cannot be read", Api, |world| {
            deny(world, "eks:DescribeCluster")
        }),
        // What only the caller's part hangs on is said, and leaves the rest alone.
        ("the caller's policies cannot be simulated", Api, |world| {
            deny(world, "iam:SimulatePrincipalPolicy");
        }),
    ];
    let mut told = String::new();
    for (name, mode, change) in rows {
        let mut world = healthy(*mode);
        change(&mut world);
        let ran = Stage::new(world).preflight(&[]);
        let findings = ran.findings(CHECK);
        told.push_str(&format!(
            "## {name} ({}): exit {}\n{findings}\n",
            mode.as_str(),
            ran.code
        ));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_callers_own_policies_are_asked_only_where_they_decide() {
    for (trust, asked) in [
        (principal_trust("arn:aws:iam::111122223333:root"), 1),
        (service_trust("ec2.amazonaws.com"), 0),
    ] {
        let mut world = healthy(ConfigMap);
        world.account(scenario::ACCOUNT).role_mut("demo-admin").trust = trust;
        let stage = Stage::new(world);
        stage.preflight(&[]);
        let simulated = stage
            .standin
            .calls()
            .iter()
            .filter(|call| call.action == "iam:SimulatePrincipalPolicy")
            // What a launch takes is simulated as well.
            .filter(|call| call.parameter("ActionNames.member.1") == Some("sts:AssumeRole"))
            .count();
        assert_eq!(simulated, asked);
    }
}

#[test]
fn the_caller_may_be_a_session_of_it() {
    let mut world = healthy(Api);
    world
        .account(scenario::ACCOUNT)
        .add_session("ASIAADMINEXAMPLE0000", "demo-admin", "alice");
    let mut stage = Stage::new(world);
    stage.set("AWS_ACCESS_KEY_ID", "ASIAADMINEXAMPLE0000");
    stage.set("AWS_SESSION_TOKEN", "a-session-token");
    let ran = stage.preflight(&[]).expect(0);
    assert!(
        ran.message(CHECK).contains("the caller is a session of it"),
        "{}",
        ran.message(CHECK)
    );
    // Each role is read once, whoever needs it.
    let mut reads: BTreeMap<String, usize> = BTreeMap::new();
    for call in stage.standin.calls() {
        if call.action == "iam:GetRole" {
            *reads
                .entry(call.parameter("RoleName").unwrap_or_default().to_owned())
                .or_default() += 1;
        }
    }
    assert!(reads.contains_key("demo-admin"), "{reads:?}");
    assert!(reads.values().all(|count| *count == 1), "{reads:?}");
}

#[test]
fn a_role_in_both_places_is_asked_about_once() {
    let mut world = healthy(ApiAndConfigMap);
    world
        .cluster(scenario::CLUSTER)
        .access_entries
        .push(AccessEntry::cluster_admin(ADMIN));
    let stage = Stage::new(world);
    let ran = stage.preflight(&[]).expect(0);
    insta::assert_snapshot!(ran.findings(CHECK));
    let about_it = |action: &str| {
        let calls = stage.standin.calls();
        calls
            .iter()
            .filter(|call| {
                call.action == action
                    && call
                        .parameters
                        .iter()
                        .any(|(_, value)| value.ends_with("demo-admin"))
            })
            .count()
    };
    assert_eq!(about_it("iam:GetRole"), 1);
    assert_eq!(about_it("iam:SimulatePrincipalPolicy"), 1);
}

#[test]
fn a_role_of_another_account_is_not_asked_for() {
    let mut world = healthy(ConfigMap);
    masters(&mut world, &[ADMIN, "arn:aws:iam::444455556666:role/pipeline"]);
    let stage = Stage::new(world);
    stage.preflight(&["--only", CHECK]);
    let calls = stage.standin.calls();
    assert!(
        calls
            .iter()
            .all(|call| call.parameter("RoleName") != Some("pipeline"))
    );
}

#[test]
fn a_document_with_a_thousand_of_them_costs_a_hundred_reads() {
    let mut world = healthy(ConfigMap);
    let arns: Vec<String> = (0..1000)
        .map(|n| format!("arn:aws:iam::111122223333:role/many-{n}"))
        .collect();
    let arns: Vec<&str> = arns.iter().map(String::as_str).collect();
    masters(&mut world, &arns);
    let stage = Stage::new(world);
    let ran = stage.preflight(&["--only", CHECK]);
    assert_eq!(ran.status(CHECK), "warn");
    assert!(
        ran.message(CHECK).contains("; and 980 more"),
        "{}",
        ran.message(CHECK)
    );
    let finding = ran.check(CHECK);
    assert_eq!(finding["evidence"]["roles"].as_array().map(Vec::len), Some(1000));
    let reads = stage
        .standin
        .calls()
        .iter()
        .filter(|call| {
            call.action == "iam:GetRole"
                && call
                    .parameter("RoleName")
                    .is_some_and(|name| name.starts_with("many-"))
        })
        .count();
    assert_eq!(reads, 100);
}

#[test]
fn saved_and_masked_facts_are_judged_the_same() {
    let mut world = healthy(ApiAndConfigMap);
    masters(
        &mut world,
        &[
            ADMIN,
            "arn:aws:iam::111122223333:role/gone",
            "arn:aws:iam::444455556666:role/pipeline",
        ],
    );
    let stage = Stage::new(world);
    let file = stage.home.path().join("facts.json");
    let file = file.to_str().expect("a path");
    let live = stage.preflight(&["--save", file]).check(CHECK);
    let ran = stage.preflight(&["--from", file]);
    assert_eq!(ran.check(CHECK), live);
    stage.preflight(&["--save", file, "--redact"]);
    let masked = stage.preflight(&["--from", file]).check(CHECK);
    assert_eq!(masked["status"], live["status"]);
    let text = masked.to_string();
    assert!(
        !text.contains(scenario::ACCOUNT) && !text.contains("444455556666"),
        "{text}"
    );
    // Facts of an earlier version hold no such reads: then nothing is known of the roles.
    let mut old: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("facts")).expect("JSON");
    old.as_object_mut().expect("an object").remove("clusterAdmins");
    std::fs::write(file, old.to_string()).expect("written");
    let finding = stage.preflight(&["--from", file]).check(CHECK);
    assert_eq!(finding["status"], "unknown", "{finding}");
}
