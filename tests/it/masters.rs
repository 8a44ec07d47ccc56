//! The check `masters-trust` as a user runs it: the roles that administer the cluster, in IAM and for the caller.

use std::collections::BTreeMap;

use capt_spot_standin::{
    AccessEntry, AuthenticationMode, Because, Decision, Role, Simulated, World, principal_trust, scenario,
    service_trust,
};
use serde_json::json;

use crate::support::program::Stage;

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

#[test]
fn a_role_that_is_there_and_trusts_somebody_is_good_in_every_mode() {
    for (mode, from) in [
        (AuthenticationMode::ConfigMap, "aws-auth mapRoles[2], line 12"),
        (
            AuthenticationMode::ApiAndConfigMap,
            "aws-auth mapRoles[2], line 12",
        ),
        (AuthenticationMode::Api, "access entry"),
    ] {
        let stage = Stage::new(healthy(mode));
        let ran = stage.preflight(&[]).expect(0);
        assert_eq!(ran.status(CHECK), "pass", "{}", ran.message(CHECK));
        assert!(
            ran.message(CHECK).contains(&format!(
                "{ADMIN} ({from}): it exists, and the caller may assume it"
            )),
            "{}",
            ran.message(CHECK)
        );
        let evidence = &ran.check(CHECK)["evidence"]["roles"];
        assert_eq!(evidence[0]["arn"], ADMIN);
        assert_eq!(evidence[0]["caller"], "yes");
        assert_eq!(
            evidence[0]["assumableBy"],
            json!(["arn:aws:iam::111122223333:root"])
        );
    }
}

#[test]
fn the_callers_own_policies_are_asked_only_where_they_decide() {
    for (trust, decision, status, words, asked) in [
        (
            principal_trust("arn:aws:iam::111122223333:root"),
            Decision::ImplicitDeny,
            "pass",
            "but not by the caller",
            1,
        ),
        (
            service_trust("ec2.amazonaws.com"),
            Decision::Allowed,
            "warn",
            "any EC2 instance that carries it",
            0,
        ),
    ] {
        let mut world = healthy(AuthenticationMode::ConfigMap);
        let account = world.account(scenario::ACCOUNT);
        account.role_mut("demo-admin").trust = trust;
        account
            .simulation
            .push(Simulated::new("sts:AssumeRole", decision));
        let stage = Stage::new(world);
        let ran = stage.preflight(&[]).expect(0);
        assert_eq!(ran.status(CHECK), status);
        assert!(ran.message(CHECK).contains(words), "{}", ran.message(CHECK));
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
    let mut world = healthy(AuthenticationMode::Api);
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
    let mut world = healthy(AuthenticationMode::ApiAndConfigMap);
    world
        .cluster(scenario::CLUSTER)
        .access_entries
        .push(AccessEntry::cluster_admin(ADMIN));
    let stage = Stage::new(world);
    let ran = stage.preflight(&[]).expect(0);
    assert!(
        ran.message(CHECK)
            .contains(&format!("{ADMIN} (access entry): it exists")),
        "{}",
        ran.message(CHECK)
    );
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
fn dead_mappings_are_a_warning_with_the_way_out() {
    let mut world = healthy(AuthenticationMode::ApiAndConfigMap);
    let gone = "arn:aws:iam::111122223333:role/gone";
    let dead = "arn:aws:iam::111122223333:role/dead";
    let deleted = "arn:aws:iam::111122223333:role/team/deleted";
    masters(&mut world, &[ADMIN, gone, dead]);
    world
        .account(scenario::ACCOUNT)
        .roles
        .push(Role::new("dead", principal_trust("AROAEXAMPLEEXAMPLE99")));
    world
        .cluster(scenario::CLUSTER)
        .access_entries
        .push(AccessEntry::cluster_admin(deleted));
    let stage = Stage::new(world);
    let ran = stage.preflight(&["--only", "helm-access"]).expect(0);
    let finding = ran.check(CHECK);
    assert_eq!(finding["status"], "warn", "{finding}");
    for part in [
        format!("{gone} (aws-auth mapRoles[1], line 4) does not exist"),
        format!(
            "{dead} (aws-auth mapRoles[2], line 7) exists, and its trust policy admits no one (it names \
             AROAEXAMPLEEXAMPLE99, deleted)"
        ),
        format!("{deleted} (access entry) does not exist"),
    ] {
        assert!(ran.message(CHECK).contains(&part), "{part}\n{finding}");
    }
    let commands = finding["remedy"]["commands"].to_string();
    for part in [
        "kubectl edit configmap aws-auth -n kube-system --context",
        "aws eks delete-access-entry --cluster-name demo --principal-arn arn:aws:iam::111122223333:role/team/deleted \
         --region eu-west-1",
        "kubectl capt-spot trust arn:aws:iam::111122223333:role/dead",
    ] {
        assert!(commands.contains(part), "{part}\n{commands}");
    }
}

#[test]
fn an_entry_that_outlived_its_role_is_no_mapping_of_the_new_one() {
    for (path, part) in [("/", "it was made on"), ("/new/", "the role of that name is now")] {
        let mut world = healthy(AuthenticationMode::Api);
        let account = world.account(scenario::ACCOUNT);
        let role = Role {
            create_date: "2027-01-01T00:00:00Z".parse().expect("a time"),
            ..Role::new("again", principal_trust("arn:aws:iam::111122223333:root"))
        }
        .with_path(path);
        account.roles.push(role);
        world
            .cluster(scenario::CLUSTER)
            .access_entries
            .push(AccessEntry::cluster_admin("arn:aws:iam::111122223333:role/again"));
        let stage = Stage::new(world);
        let ran = stage.preflight(&[]);
        assert_eq!(ran.status(CHECK), "warn", "{}", ran.message(CHECK));
        assert!(ran.message(CHECK).contains(part), "{}", ran.message(CHECK));
    }
}

#[test]
fn what_cannot_be_read_is_unknown_and_names_the_grant() {
    for (action, mode, part) in [
        (
            "iam:GetRole",
            AuthenticationMode::ConfigMap,
            "role/demo-admin (aws-auth mapRoles[2], line 12) could not be read",
        ),
        (
            "eks:ListAssociatedAccessPolicies",
            AuthenticationMode::Api,
            "the policies of the access entry of arn:aws:iam::111122223333:role/demo-admin could not be read",
        ),
        (
            "eks:ListAccessEntries",
            AuthenticationMode::Api,
            "the access entries could not be read",
        ),
        (
            "eks:DescribeCluster",
            AuthenticationMode::Api,
            "authentication mode could not be read",
        ),
    ] {
        let mut world = healthy(mode);
        world
            .account(scenario::ACCOUNT)
            .access_keys
            .get_mut(scenario::ACCESS_KEY)
            .expect("the caller")
            .deny_because(action, Because::NoIdentityPolicy);
        let stage = Stage::new(world);
        let finding = stage.preflight(&[]).check(CHECK);
        assert_eq!(finding["status"], "unknown", "{finding}");
        assert!(
            finding["message"].as_str().is_some_and(|m| m.contains(part)),
            "{finding}"
        );
        assert_eq!(finding["evidence"]["denied"], action, "{finding}");
        assert!(
            finding["evidence"]["grant"]
                .as_str()
                .is_some_and(|grant| grant.contains(action)),
            "{finding}"
        );
        assert!(finding["remedy"]["commands"].to_string().contains("policy read"));
    }
    // What only the caller's part hangs on is said, and leaves the rest alone.
    let mut world = healthy(AuthenticationMode::Api);
    world
        .account(scenario::ACCOUNT)
        .access_keys
        .get_mut(scenario::ACCESS_KEY)
        .expect("the caller")
        .deny("iam:SimulatePrincipalPolicy");
    let ran = Stage::new(world).preflight(&[]).expect(0);
    assert_eq!(ran.status(CHECK), "pass");
    assert!(
        ran.message(CHECK).contains("unknown whether by the caller"),
        "{}",
        ran.message(CHECK)
    );
}

#[test]
fn roles_of_another_account_are_said_and_not_asked_for() {
    let mut world = healthy(AuthenticationMode::ConfigMap);
    let other = "arn:aws:iam::444455556666:role/pipeline";
    masters(&mut world, &[ADMIN, other]);
    let stage = Stage::new(world);
    let ran = stage.preflight(&["--only", CHECK]);
    assert_eq!(ran.status(CHECK), "unknown");
    assert!(
        ran.message(CHECK).contains(&format!(
            "{other} (aws-auth mapRoles[1], line 4) could not be read: not asked: it is of account 444455556666"
        )),
        "{}",
        ran.message(CHECK)
    );
    assert!(
        stage
            .standin
            .calls()
            .iter()
            .all(|call| call.parameter("RoleName") != Some("pipeline"))
    );
}

#[test]
fn a_document_with_a_thousand_of_them_costs_a_hundred_reads() {
    let mut world = healthy(AuthenticationMode::ConfigMap);
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
fn without_such_a_role_there_is_nothing_to_judge() {
    let mut world = healthy(AuthenticationMode::ConfigMap);
    masters(&mut world, &[]);
    let ran = Stage::new(world).preflight(&["--only", CHECK]).expect(0);
    assert_eq!(ran.status(CHECK), "skip");
    assert!(
        ran.message(CHECK)
            .contains("is an administrator that AWS does not show"),
        "{}",
        ran.message(CHECK)
    );
}

#[test]
fn saved_and_masked_facts_are_judged_the_same() {
    let mut world = healthy(AuthenticationMode::ApiAndConfigMap);
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
