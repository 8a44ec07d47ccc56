//! The node-mapping checks as a user sees them: the nodes' and Fargate's roles, what is behind their mappings, and the rest
//! of aws-auth.

use capt_spot_standin::{
    AccessEntry, AuthenticationMode, Because, FargateProfile, InstanceProfile, Nodegroup, Role, World, date,
    scenario,
};
use serde_json::{Value, json};

use crate::support::program::{Ran, Stage};

const NODE: &str = "arn:aws:iam::111122223333:role/demo-node";
const FARGATE: &str = "arn:aws:iam::111122223333:role/demo-fargate";

fn stage(mode: AuthenticationMode, change: impl FnOnce(&mut World)) -> Stage {
    let mut world = scenario::karpenter_on_fargate(mode);
    world.account(scenario::ACCOUNT).add_spot_role();
    change(&mut world);
    Stage::new(world)
}

fn line(arn: &str, username: &str, groups: &[&str]) -> String {
    format!(
        "- rolearn: {arn}\n  username: {username}\n  groups: {}\n",
        json!(groups)
    )
}

fn node_line(arn: &str) -> String {
    line(
        arn,
        "system:node:{{EC2PrivateDNSName}}",
        &["system:bootstrappers", "system:nodes"],
    )
}

fn fargate_line(arn: &str) -> String {
    line(
        arn,
        "system:node:{{SessionName}}",
        &["system:bootstrappers", "system:nodes", "system:node-proxier"],
    )
}

fn map_roles(world: &mut World, text: &str) {
    world
        .kubernetes(scenario::CLUSTER)
        .put_aws_auth(&[("mapRoles", text)]);
}

/// A pool of Windows nodes, with the same role.
fn windows_pool(world: &mut World) {
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    kubernetes.put(json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "windows"},
        "spec": {"role": "demo-node", "amiSelectorTerms": [{"alias": "windows2022@latest"}]}
    }));
    let mut pool = scenario::node_pool("windows", &json!([]));
    pool["spec"]["template"]["spec"]["nodeClassRef"]["name"] = json!("windows");
    kubernetes.put(pool);
}

/// The ids of the failed checks.
fn failed(ran: &Ran) -> Vec<String> {
    let report = ran.json();
    report["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter(|check| check["status"] == "fail")
        .map(|check| check["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// What was done, the mode, the doing.
type Row = (&'static str, AuthenticationMode, fn(&mut World));

use AuthenticationMode::{Api, ApiAndConfigMap, ConfigMap};

#[test]
fn each_way_a_mapping_can_be() {
    let rows: &[Row] = &[
        ("all is well with lines", ConfigMap, |_| {}),
        ("all is well with entries", Api, |_| {}),
        ("the role was created again behind its entry", Api, |world| {
            world.account(scenario::ACCOUNT).role_mut("demo-node").create_date = date("2024-06-01T00:00:00Z");
        }),
        (
            "the same, and a line of aws-auth catches it",
            ApiAndConfigMap,
            |world| {
                world.account(scenario::ACCOUNT).role_mut("demo-node").create_date =
                    date("2024-06-01T00:00:00Z");
                world
                    .cluster(scenario::CLUSTER)
                    .access_entries
                    .push(AccessEntry::new(NODE, "EC2_LINUX"));
            },
        ),
        ("the role is gone, its entry is not", Api, |world| {
            world
                .account(scenario::ACCOUNT)
                .roles
                .retain(|role| role.name != "demo-node");
        }),
        ("the role is gone, its line is not", ConfigMap, |world| {
            world
                .account(scenario::ACCOUNT)
                .roles
                .retain(|role| role.name != "demo-node");
        }),
        ("the role never was", ConfigMap, |world| {
            let roles = &mut world.account(scenario::ACCOUNT).roles;
            roles.retain(|role| role.name != "demo-node");
            map_roles(world, &fargate_line(FARGATE));
        }),
        ("a tab", ConfigMap, |world| {
            map_roles(world, "- rolearn: x\n\tusername: y\n")
        }),
        ("no line for the node role", ConfigMap, |world| {
            map_roles(world, &fargate_line(FARGATE))
        }),
        ("the node role with a path", ConfigMap, |world| {
            let text = node_line("arn:aws:iam::111122223333:role/team/demo-node");
            map_roles(world, &format!("{text}{}", fargate_line(FARGATE)));
        }),
        ("the key in the wrong case", ConfigMap, |world| {
            let text = node_line(NODE);
            world
                .kubernetes(scenario::CLUSTER)
                .put_aws_auth(&[("maproles", &text), ("mapRoles", &fargate_line(FARGATE))]);
        }),
        ("somebody else's lines", ConfigMap, |world| {
            let text = [
                node_line(NODE),
                fargate_line(FARGATE),
                line("arn:aws:iam::111122223333:role/a/Dev", "dev", &["dev"]),
                line(
                    "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0a1b",
                    "admin",
                    &["system:masters"],
                ),
                line("arn:aws:iam::111122223333:instance-profile/x", "x", &["x"]),
            ];
            map_roles(world, &text.concat());
        }),
        ("lines that nothing reads", Api, |world| {
            map_roles(
                world,
                &line("arn:aws:iam::111122223333:role/a/Dev", "dev", &["dev"]),
            )
        }),
        ("Fargate's line is lost", ConfigMap, |world| {
            map_roles(world, &node_line(NODE))
        }),
        ("Fargate's line as a node's", ConfigMap, |world| {
            map_roles(world, &format!("{}{}", node_line(NODE), node_line(FARGATE)))
        }),
        ("Fargate's line without a group", ConfigMap, |world| {
            let fargate = line(
                FARGATE,
                "system:node:{{SessionName}}",
                &["system:bootstrappers", "system:nodes"],
            );
            map_roles(world, &format!("{}{fargate}", node_line(NODE)));
        }),
        (
            "an unmapped profile that has nothing to do with Karpenter",
            ConfigMap,
            |world| {
                let other = Role::new(
                    "batch",
                    capt_spot_standin::service_trust("eks-fargate-pods.amazonaws.com"),
                );
                let account = world.account(scenario::ACCOUNT);
                let arn = account.role_arn(&other);
                account.roles.push(other);
                world
                    .cluster(scenario::CLUSTER)
                    .fargate_profiles
                    .push(FargateProfile::new("batch", &arn, "batch-*"));
            },
        ),
        (
            "Fargate's role was created again behind its entry",
            Api,
            |world| {
                world
                    .account(scenario::ACCOUNT)
                    .role_mut("demo-fargate")
                    .create_date = date("2024-06-01T00:00:00Z");
            },
        ),
        ("no Fargate profile", ConfigMap, |world| {
            world.cluster(scenario::CLUSTER).fargate_profiles.clear()
        }),
        ("a managed node group with the same role", ConfigMap, |world| {
            let groups = &mut world.cluster(scenario::CLUSTER).nodegroups;
            groups.push(Nodegroup::new("system", NODE));
            groups.push(Nodegroup::new("other", "arn:aws:iam::111122223333:role/other"));
        }),
        ("the same with an entry", Api, |world| {
            let group = Nodegroup::new("system", NODE);
            world.cluster(scenario::CLUSTER).nodegroups.push(group);
        }),
        (
            "the instance profile holds another role, which is mapped",
            ConfigMap,
            |world| {
                let account = world.account(scenario::ACCOUNT);
                account.roles.push(Role::node("older"));
                account
                    .instance_profiles
                    .insert("demo_1234567890".to_owned(), InstanceProfile::of("older"));
                let text = node_line("arn:aws:iam::111122223333:role/older");
                map_roles(world, &format!("{text}{}", fargate_line(FARGATE)));
            },
        ),
        (
            "the instance profile holds another role, which is not",
            ConfigMap,
            |world| {
                let account = world.account(scenario::ACCOUNT);
                account.roles.push(Role::node("older"));
                account
                    .instance_profiles
                    .insert("demo_1234567890".to_owned(), InstanceProfile::of("older"));
            },
        ),
        (
            "a Windows node class without Windows' group",
            ConfigMap,
            |world| {
                windows_pool(world);
            },
        ),
        ("custom AMIs in a Windows pool", ConfigMap, |world| {
            let kubernetes = world.kubernetes(scenario::CLUSTER);
            kubernetes.put(json!({
                    "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "custom"},
                    "spec": {"role": "demo-node", "amiFamily": "Custom", "amiSelectorTerms": [{"id": "ami-0a1b2c3d4e5f60718"}]}
                }));
            let mut pool = scenario::node_pool(
                "custom",
                &json!([{"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}]),
            );
            pool["spec"]["template"]["spec"]["nodeClassRef"]["name"] = json!("custom");
            kubernetes.put(pool);
        }),
        (
            "Linux and Windows nodes of one role with a Windows entry",
            Api,
            |world| {
                windows_pool(world);
                let cluster = world.cluster(scenario::CLUSTER);
                cluster.access_entries.retain(|entry| entry.principal_arn != NODE);
                cluster.access_entries.push(AccessEntry::new(NODE, "EC2_WINDOWS"));
            },
        ),
        (
            "an entry of type STANDARD hides the good line",
            ApiAndConfigMap,
            |world| {
                let entry = AccessEntry::new(NODE, "STANDARD");
                world.cluster(scenario::CLUSTER).access_entries.push(entry);
            },
        ),
    ];
    let mut told = String::new();
    for (name, mode, change) in rows {
        let stage = stage(*mode, change);
        let ran = stage.preflight(&[]);
        told.push_str(&format!(
            "## {name} ({}): exit {}\n{}\n",
            mode.as_str(),
            ran.code,
            ran.findings("node-mapping")
        ));
        assert!(failed(&ran).len() < 2, "{name}: one cause is reported once");
        // What was saved is judged the same, masked or not.
        let file = stage.home.path().join("facts.json");
        let file = file.to_str().expect("a path");
        let live = stage.preflight(&["--save", file]);
        let saved = stage.preflight(&["--from", file]);
        assert_eq!(saved.steady_json(), live.steady_json(), "{name}");
        let live = stage.preflight(&["--save", file, "--redact"]);
        let masked = stage.preflight(&["--from", file]);
        assert_eq!(masked.json()["summary"], live.json()["summary"], "{name}");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_remedy_is_the_one_for_the_mode() {
    let unmapped = |world: &mut World| map_roles(world, &fargate_line(FARGATE));
    let with_path = |world: &mut World| {
        let text = node_line("arn:aws:iam::111122223333:role/team/demo-node");
        map_roles(world, &format!("{}{text}", fargate_line(FARGATE)));
    };
    let no_entry = |world: &mut World| {
        let cluster = world.cluster(scenario::CLUSTER);
        cluster.access_entries.retain(|entry| entry.principal_arn != NODE);
    };
    let recreated_with_a_path = |world: &mut World| {
        let role = world.account(scenario::ACCOUNT).role_mut("demo-node");
        role.create_date = date("2024-06-01T00:00:00Z");
        role.path = "/team/".to_owned();
    };
    let mut told = String::new();
    for (mode, change, check) in [
        (ConfigMap, unmapped as fn(&mut World), "node-role-mapped"),
        (ApiAndConfigMap, unmapped, "node-role-mapped"),
        (ConfigMap, with_path, "node-role-mapped"),
        (Api, no_entry, "node-role-mapped"),
        (Api, recreated_with_a_path, "node-role-current"),
        (
            ConfigMap,
            |world| map_roles(world, &node_line(NODE)),
            "fargate-role-mapped",
        ),
    ] {
        let ran = stage(mode, change).preflight(&[]);
        told.push_str(&format!("## {}\n{}\n", mode.as_str(), ran.findings(check)));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn roles_of_other_accounts_and_partitions_are_told_apart() {
    for (arn, says) in [
        (
            "arn:aws:iam::444455556666:role/demo-node",
            "is in account 444455556666, the cluster in 111122223333",
        ),
        (
            "arn:aws-cn:iam::111122223333:role/demo-node",
            "is in partition aws-cn, the cluster in aws",
        ),
    ] {
        let ran = stage(ConfigMap, |_| {}).preflight(&["--node-role", arn]);
        assert_eq!(failed(&ran), ["node-role-mapped"], "{}", ran.stdout);
        assert!(
            ran.message("node-role-mapped").contains(says),
            "{}",
            ran.message("node-role-mapped")
        );
        assert_eq!(ran.status("node-role-current"), "skip");
    }
}

#[test]
fn who_wrote_aws_auth_last_is_named_where_the_role_is_gone_from_it() {
    let stage = stage(ConfigMap, |world| {
        world.kubernetes(scenario::CLUSTER).put(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "aws-auth", "namespace": "kube-system", "managedFields": [
                {"manager": "eks", "time": "2024-05-02T08:00:00Z"},
                {"manager": "Terraform", "time": "2024-07-01T00:00:00Z"},
            ]},
            "data": {"mapRoles": fargate_line(FARGATE)},
        }));
    });
    let ran = stage.preflight(&[]).expect(1);
    let message = ran.message("node-role-mapped");
    assert!(
        message.contains("last written by Terraform 2024-07-01T00:00:00Z"),
        "{message}"
    );
}

#[test]
fn what_could_not_be_read_is_unknown_only_where_it_matters() {
    let denied = |action: &str| {
        let stage = stage(ApiAndConfigMap, |world| {
            let account = world.account(scenario::ACCOUNT);
            account
                .access_keys
                .get_mut(scenario::ACCESS_KEY)
                .expect("the caller")
                .deny_because(action, Because::NoIdentityPolicy);
            let group = Nodegroup::new("system", "arn:aws:iam::111122223333:role/other");
            world.cluster(scenario::CLUSTER).nodegroups.push(group);
        });
        stage.preflight(&[])
    };
    for action in ["eks:ListFargateProfiles", "eks:DescribeFargateProfile"] {
        let ran = denied(action).expect(0);
        let found = ran.check("fargate-role-mapped");
        assert_eq!(found["status"], "unknown", "{found}");
        assert!(found["evidence"]["grant"].to_string().contains(action), "{found}");
        assert_eq!(ran.status("node-role-mapped"), "pass");
    }
    for action in ["eks:ListNodegroups", "eks:DescribeNodegroup"] {
        let ran = denied(action).expect(0);
        assert_eq!(ran.status("node-role-mapped"), "pass");
        let message = ran.message("node-role-mapped");
        assert!(
            message.contains("shares the role could not be read") && message.contains(action),
            "{message}"
        );
    }
    let ran = denied("iam:GetInstanceProfile").expect(0);
    let message = ran.message("node-role-mapped");
    assert!(
        message.contains("the node class default really holds the role could not be read")
            && message.contains("iam:GetInstanceProfile"),
        "{message}"
    );
    let ran = denied("eks:ListAccessEntries").expect(3);
    assert_eq!(ran.status("node-role-current"), "unknown");
    assert_eq!(ran.status("aws-auth-hygiene"), "pass");
    let ran = denied("iam:GetRole").expect(3);
    assert_eq!(ran.status("node-role-current"), "unknown");
    // The webhook is a side-light: nothing hangs on it.
    let stage = Stage::healthy();
    stage.standin.world(|world| {
        let access = capt_spot_standin::Access::all_but(&[("get", "validatingwebhookconfigurations")]);
        for user in world.kubernetes(scenario::CLUSTER).principals.values_mut() {
            user.access = access.clone();
        }
    });
    let ran = stage.preflight(&[]).expect(0);
    assert_eq!(
        ran.check("aws-auth-parses")["evidence"]["validationWebhook"],
        Value::Null
    );
    let ran = Stage::healthy().preflight(&[]).expect(0);
    assert_eq!(
        ran.check("aws-auth-parses")["evidence"]["validationWebhook"],
        json!(true)
    );
}

#[test]
fn every_page_is_read() {
    let stage = stage(ConfigMap, |world| {
        world.page_size = 2;
        let cluster = world.cluster(scenario::CLUSTER);
        for n in 0..5 {
            let name = format!("more-{n}");
            cluster
                .fargate_profiles
                .push(FargateProfile::new(&name, FARGATE, &name));
            cluster
                .nodegroups
                .push(Nodegroup::new(&name, "arn:aws:iam::111122223333:role/other"));
        }
        cluster.nodegroups.push(Nodegroup::new("the-last", NODE));
    });
    let ran = stage.preflight(&[]).expect(0);
    let message = ran.message("fargate-role-mapped");
    assert!(
        message.contains("Fargate profiles karpenter, more-0, more-1, more-2, more-3, more-4:"),
        "{message}"
    );
    assert!(
        ran.message("node-role-mapped").contains("the-last"),
        "{}",
        ran.message("node-role-mapped")
    );
}

#[test]
fn an_aws_auth_as_large_as_can_be_is_judged_whole() {
    let mistaken: String = (0..12_000)
        .map(|n| format!("- rolearn: arn:aws:iam::111122223333:role/team/r{n}\n  username: u\n"))
        .collect();
    let stage = stage(ConfigMap, |world| {
        let text = format!("{mistaken}{}{}", node_line(NODE), fargate_line(FARGATE));
        map_roles(world, &text);
    });
    let ran = stage.preflight(&[]).expect(0);
    let found = ran.check("aws-auth-hygiene");
    assert_eq!(found["evidence"]["count"], 12_000);
    assert_eq!(
        found["evidence"]["problems"].as_array().expect("problems").len(),
        50
    );
    let message = found["message"].as_str().expect("a message");
    assert!(
        message.contains("and 11995 more") && message.len() < 3000,
        "{message}"
    );
    assert_eq!(ran.status("node-role-mapped"), "pass");
    assert!(ran.stdout.len() < 200_000, "{}", ran.stdout.len());
}
