//! `account` as a user runs it: the account's side alone, before there is a cluster.

use capt_spot_standin::{Because, Role, World, scenario, service_trust};

use crate::support::program::{Ran, Stage};

const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

fn account(world: World, args: &[&str]) -> (Ran, Stage) {
    let mut stage = Stage::new(world);
    // No cluster and no kubeconfig are needed.
    stage.set("KUBECONFIG", "/nowhere");
    let ran = stage.run(&[&["account", "--region", "eu-west-1"], args].concat());
    (ran, stage)
}

fn with_role() -> World {
    let mut world = scenario::healthy();
    world.account(scenario::ACCOUNT).add_spot_role();
    world
}

#[test]
fn the_role_and_the_quota_without_a_cluster() {
    let without = || {
        let mut world = scenario::healthy();
        let roles = &mut world.account(scenario::ACCOUNT).roles;
        roles.retain(|role| role.name != SPOT_ROLE);
        world
    };
    let (missing, mut impostor) = (without(), without());
    let ordinary = Role::new(SPOT_ROLE, service_trust("ec2.amazonaws.com"));
    impostor.account(scenario::ACCOUNT).roles.push(ordinary);
    let mut denied = with_role();
    denied
        .account(scenario::ACCOUNT)
        .access_keys
        .get_mut(scenario::ACCESS_KEY)
        .expect("the caller")
        .deny_because("iam:GetRole", Because::NoIdentityPolicy);
    let mut told = Vec::new();
    for (name, world, code) in [
        ("ready", with_role(), 0),
        ("missing", missing, 1),
        ("an ordinary role", impostor, 1),
        ("denied", denied, 3),
    ] {
        let (ran, stage) = account(world, &[]);
        let ran = ran.expect(code);
        told.push(format!("== {name}\n{}", ran.stdout));
        let asked: Vec<String> = stage
            .standin
            .calls()
            .iter()
            .map(|call| call.action.clone())
            .collect();
        assert!(
            asked
                .iter()
                .all(|action| !action.starts_with("eks:") && !action.starts_with("kubernetes:")),
            "{asked:?}"
        );
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_report_of_a_machine() {
    let (ran, _) = account(with_role(), &["-o", "json"]);
    let report = ran.expect(0).json();
    assert_eq!(report["kind"], "AccountReport");
    assert_eq!(report["target"]["account"], scenario::ACCOUNT);
    assert_eq!(report["verdict"], "ready");
    let ids: Vec<&str> = report["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|check| check["id"].as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "spot-role-exists",
            "spot-role-intact",
            "spot-role-creatable",
            "spot-quota"
        ]
    );
    for format in ["yaml", "junit", "sarif", "markdown", "github"] {
        let (ran, _) = account(with_role(), &["-o", format]);
        assert!(!ran.expect(0).stdout.is_empty(), "{format}");
    }
}

#[test]
fn a_region_is_needed() {
    let mut stage = Stage::new(with_role());
    stage.set("AWS_REGION", "");
    stage.set("AWS_DEFAULT_REGION", "");
    let ran = stage.run(&["account"]).expect(2);
    assert!(ran.stderr.contains("--region"), "{}", ran.stderr);
}
