//! `access` as a user runs it.

use capt_spot_standin::{AccessEntry, AuthenticationMode, Because, Fault, Role, principal_trust, scenario};
use serde_json::{Value, json};

use crate::support::program::{Ran, Stage};

fn live(mode: AuthenticationMode) -> Stage {
    let mut world = scenario::karpenter_on_fargate(mode);
    world.account(scenario::ACCOUNT).add_spot_role();
    Stage::new(world)
}

fn file(stage: &Stage, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = stage.home.path().join(name);
    std::fs::write(&path, content).expect("written");
    path.to_str().expect("a path").to_owned()
}

fn manifest(map_roles: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system"}, "data": {"mapRoles": map_roles}})
    .to_string()
}

fn line(name: &str) -> String {
    format!("- rolearn: arn:aws:iam::111122223333:role/{name}\n  username: {name}\n")
}

fn principals(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| item["principal"].as_str().expect("a principal"))
        .collect()
}

/// One of everything: an entry that hides its line, a role with a path, one that is gone, a line that matches no one, an account, and
/// bindings of groups and users.
fn busy(mode: AuthenticationMode) -> Stage {
    let stage = live(mode);
    stage.standin.world(|world| {
        let account = world.account(scenario::ACCOUNT);
        account
            .roles
            .push(Role::new("Dev", principal_trust(scenario::ACCOUNT)).with_path("/team/"));
        account.roles.push(Role::new("Ops", principal_trust(scenario::ACCOUNT)));
        if mode != AuthenticationMode::ConfigMap {
            let entries = &mut world.cluster(scenario::CLUSTER).access_entries;
            entries.push(AccessEntry::new("arn:aws:iam::111122223333:role/Ops", "STANDARD"));
        }
        let roles = "\
- rolearn: arn:aws:iam::111122223333:role/demo-node
  username: system:node:{{EC2PrivateDNSName}}
  groups: [system:bootstrappers, system:nodes]
- rolearn: arn:aws:iam::111122223333:role/demo-fargate
  username: system:node:{{SessionName}}
  groups: [system:bootstrappers, system:nodes, system:node-proxier]
- rolearn: arn:aws:iam::111122223333:role/demo-admin
  username: admin
  groups: [system:masters]
- rolearn: arn:aws:iam::111122223333:role/Dev
  username: dev:{{SessionName}}
  groups: [developers, system:developers]
- rolearn: arn:aws:iam::111122223333:role/Ops
  username: ops
  groups: [operators]
- rolearn: arn:aws:iam::111122223333:role/Gone
  username: gone
- rolearn: arn:aws:iam::111122223333:role/team/Dev
  username: never
";
        let users = "- userarn: arn:aws:iam::111122223333:user/platform-admin\n  username: platform-admin\n  groups: [system:masters]\n";
        let api = world.kubernetes(scenario::CLUSTER);
        api.put_aws_auth(&[("mapRoles", roles), ("mapUsers", users), ("mapAccounts", "- \"444455556666\"\n")]);
        let binding = |kind: &str, namespace: Option<&str>, role: &str, subject: Value| {
            let name = format!("{role}-{}", subject["name"].as_str().expect("a name").replace(':', "-"));
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
                "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": [subject]})
        };
        let group = |name: &str| json!({"kind": "Group", "name": name});
        for namespace in ["a", "b"] {
            api.put(binding("RoleBinding", Some(namespace), "edit", group("system:developers")));
        }
        api.put(binding("RoleBinding", Some("c"), "view", json!({"kind": "User", "name": "dev:jo"})));
        api.put(binding("ClusterRoleBinding", None, "cluster-admin", group("operators")));
    });
    stage
}

#[test]
fn a_live_cluster_is_listed() {
    let stage = live(AuthenticationMode::ConfigMap);
    let all = stage.run(&["access", "list", "-o", "json"]).expect(0).json();
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
    let csv = stage.run(&["access", "list", "-o", "csv"]).expect(0).stdout;
    assert_eq!(stage.run(&["access", "list", "--csv"]).expect(0).stdout, csv);
    let alias = stage.run(&["whois", "--all", "-o", "csv"]).expect(0).stdout;
    assert_eq!(alias, csv);
    assert_eq!(stage.writes(), [""; 0]);
}

/// What is in force, hidden, gone and for no one; what groups and users are bound to.
#[test]
fn everything_about_a_busy_cluster() {
    let stage = busy(AuthenticationMode::ApiAndConfigMap);
    let run = |args: &[&str], code: i32| stage.run(args).expect(code).stdout;
    insta::assert_snapshot!("list", run(&["access", "list"], 0));
    insta::assert_snapshot!("list_csv", run(&["access", "list", "-o", "csv"], 0));
    let list = run(&["access", "list"], 0);
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    // The role that a binding makes an administrator counts as one, and so does its hidden line.
    let admins = stage
        .run(&["access", "list", "--used-by", "admins", "-o", "json"])
        .json();
    assert!(
        principals(&admins).contains(&"arn:aws:iam::111122223333:role/Ops"),
        "{admins}"
    );
    insta::assert_snapshot!("plan", run(&["access", "migrate"], 1));
    insta::assert_snapshot!(
        "switch",
        run(&["access", "diff", "--authentication-mode", "API"], 1)
    );
    let better = file(&stage, "better.json", manifest(&line("Dev")));
    insta::assert_snapshot!(
        "markdown",
        run(&["access", "diff", "-f", &better, "-o", "markdown"], 1)
    );
    for format in ["junit", "sarif", "github", "ndjson", "yaml", "csv"] {
        run(&["access", "diff", "-f", &better, "-o", format], 1);
    }
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
    let old = file(&stage, "old.json", manifest(&line("Dev")));
    let new = file(&stage, "new.json", manifest(&(line("Dev") + &line("Ops"))));
    stage
        .run(&["access", "diff", "--from-file", &old, "-f", &new])
        .expect(0);
    let ran = stage
        .run(&["access", "diff", "--from-file", &new, "-f", &old])
        .expect(1);
    insta::assert_snapshot!("two_files", ran.stdout);
    // A mistake that loses everyone is named.
    let broken = file(&stage, "broken.json", manifest(&(line("Dev") + "\t- x\n")));
    let ran = stage
        .run(&["access", "diff", "--from-file", &old, "-f", &broken])
        .expect(1);
    insta::assert_snapshot!("a_broken_file", ran.stdout);
    assert_eq!(stage.standin.calls().len(), 0);
}

/// What preflight saved is a state like any other: against the cluster, against another file, and for a plan.
#[test]
fn saved_facts_are_a_state() {
    let stage = live(AuthenticationMode::ConfigMap);
    let facts = stage.home.path().join("facts.json");
    let facts = facts.to_str().expect("a path");
    stage.run(&["preflight", "--save", facts]);
    stage.run(&["access", "diff", "--from-facts", facts]).expect(0);
    stage.standin.clear_calls();
    let list = stage
        .run(&["access", "list", "--facts", facts, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(list["cluster"], Value::Null);
    assert_eq!(list["target"]["cluster"], "demo");
    let new = file(&stage, "new.json", manifest(&line("Dev")));
    let args = ["access", "diff", "--from-facts", facts, "-f", &new, "-o", "json"];
    let lockouts = stage.run(&args).expect(1).json()["lockouts"].to_string();
    assert!(
        lockouts.contains("nodes of") && lockouts.contains("Fargate pods of"),
        "{lockouts}"
    );
    stage.run(&["access", "migrate", "--facts", facts]).expect(0);
    stage
        .run(&["access", "diff", "--from-facts", facts, "--facts", facts])
        .expect(0);
    assert_eq!(stage.standin.calls().len(), 0);
    // A cluster that changed since then.
    stage.standin.world(|world| {
        world
            .kubernetes(scenario::CLUSTER)
            .put_aws_auth(&[("mapRoles", line("Dev").as_str())]);
    });
    stage.run(&["access", "diff", "--from-facts", facts]).expect(1);
}

#[test]
fn a_plan_is_verified_against_the_cluster() {
    let stage = live(AuthenticationMode::ConfigMap);
    let ran = stage.run(&["access", "migrate", "-o", "json"]).expect(0);
    let plan = ran.json();
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
    let plan = file(&stage, "plan.json", &ran.stdout);
    stage.run(&["access", "migrate", "--verify", &plan]).expect(1);
    stage.run(&["access", "migrate", "--form", "terraform"]).expect(0);
    stage
        .run(&["access", "migrate", "--form", "terraform", "-o", "json"])
        .expect(2);
    for (content, says) in [
        ("{}", "is not a plan"),
        (
            r#"{"kind": "AccessDiff", "entries": []}"#,
            "its kind is \"AccessDiff\"",
        ),
        ("\u{0}", "is not a plan"),
    ] {
        let path = file(&stage, "other.json", content);
        let ran = stage.run(&["access", "migrate", "--verify", &path]).expect(1);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    assert_eq!(stage.writes(), [""; 0]);
}

// ---------------------------------------------------------------- bad input

#[track_caller]
fn clean(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("panicked"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

/// The files that `whois -f` is tried with: those that are none are errors that name the file, damage within is an answer.
#[test]
fn files_that_are_none_and_damage_within() {
    let stage = Stage::healthy();
    let deep = format!("- rolearn: {}x{}\n", "[".repeat(20_000), "]".repeat(20_000));
    let good = file(&stage, "good.json", manifest(&line("Dev")));
    let rows: &[(&str, Vec<u8>, bool)] = &[
        ("not YAML", b"{".to_vec(), false),
        ("another kind", b"apiVersion: v1\nkind: Secret\n".to_vec(), false),
        ("empty", Vec::new(), false),
        ("no text", b"\xff\xfe\x00".to_vec(), false),
        ("too large", vec![b'#'; 9 << 20], false),
        (
            "a list where a text is needed",
            manifest("x")
                .replace("\"x\"", "[{\"rolearn\": \"x\"}]")
                .into_bytes(),
            false,
        ),
        (
            "a tab",
            manifest("- rolearn: x\n\tusername: y\n").into_bytes(),
            true,
        ),
        ("deep nesting", manifest(&deep).into_bytes(), true),
        ("no lines", manifest("").into_bytes(), true),
        (
            "control characters",
            manifest(
                "- rolearn: \"arn:aws:iam::111122223333:role/Dev\\u001b[31m\"\n  username: \"\\u0007\"\n",
            )
            .into_bytes(),
            true,
        ),
    ];
    for (name, content, state) in rows {
        let bad = file(&stage, "bad", content);
        let place = ["--cluster-name", "demo", "--region", "eu-west-1"];
        for args in [
            &["access", "list", "-f", &bad][..],
            &["access", "diff", "--from-file", &bad, "-f", &good],
            &["access", "diff", "--from-file", &good, "-f", &bad],
            &[&["access", "migrate", "-f", &bad][..], &place].concat(),
        ] {
            let ran = stage.run(args);
            clean(&ran);
            let error = ran.stderr.starts_with("error: ");
            let refused = ran.code == 1 && error && ran.stderr.contains("/bad");
            assert!(
                if *state {
                    !error
                } else {
                    refused || (args[1] == "list" && !error)
                },
                "{name}, {args:?}: {ran:?}"
            );
        }
    }
    for (content, says) in [
        ("{", "not JSON"),
        (
            "[\"arn:aws:iam::111122223333:role/Dev\"]",
            "without username and type",
        ),
        ("[{\"type\": \"STANDARD\"}]", "no principalArn"),
        ("", "empty"),
    ] {
        let bad = file(&stage, "entries.json", content);
        let ran = stage.run(&["access", "list", "--access-entries", &bad]).expect(1);
        assert!(ran.stderr.contains(says), "{content}: {}", ran.stderr);
    }
    stage
        .run(&["access", "list", "-f", "-", "--access-entries", "-"])
        .expect(2);
    stage
        .run(&["access", "diff", "--from-file", "-", "-f", "-"])
        .expect(2);
    stage.run(&["access", "migrate", "-f", &good]).expect(2);
    stage.run(&["access", "list", "--facts", &good]).expect(1);
    assert_eq!(stage.standin.calls().len(), 0);
}

/// Files that contradict the mode do not count, and that is said.
#[test]
fn states_that_contradict_the_mode() {
    let stage = Stage::healthy();
    let entries = json!([{"principalArn": "arn:aws:iam::111122223333:role/Dev", "type": "STANDARD", "username": "e", "policies": []}]);
    let entries = file(&stage, "entries.json", entries.to_string());
    let lines = file(&stage, "lines.json", manifest(&line("Dev")));
    let both = [
        "-f",
        &lines,
        "--access-entries",
        &entries,
        "--authentication-mode",
    ];
    let states = |mode: &str| {
        let args = [&["access", "list", "-o", "json"][..], &both, &[mode]].concat();
        let list = stage.run(&args).expect(0).json();
        let states = list["items"].as_array().expect("items").iter();
        let states: Vec<String> = states
            .map(|item| item["state"].as_str().expect("a state").to_owned())
            .collect();
        (states.join(" "), list["caveats"].to_string())
    };
    let (found, caveats) = states("CONFIG_MAP");
    assert_eq!(found, "ignored inForce");
    assert!(
        caveats.contains("the 1 that were given do not count"),
        "{caveats}"
    );
    assert_eq!(states("API").0, "inForce ignored");
    assert_eq!(states("API_AND_CONFIG_MAP").0, "inForce hidden");
    // A plan from CONFIG_MAP makes the entry: the file's does not count, neither before nor after.
    let place = ["--cluster-name", "demo", "--region", "eu-west-1", "-o", "json"];
    let args = [&["access", "migrate"][..], &both, &["CONFIG_MAP"], &place].concat();
    let plan = stage.run(&args).expect(0).json();
    assert_eq!(plan["entries"][0]["username"], "Dev");
    assert_eq!(plan["proof"]["summary"]["same"], 1, "{plan}");
    // Where aws-auth does not count there is nothing to plan.
    let args = [&["access", "migrate"][..], &both, &["API"], &place].concat();
    let plan = stage.run(&args).expect(0).json();
    assert_eq!((&plan["entries"], &plan["steps"]), (&json!([]), &json!([])));
}

/// DescribeAccessEntry tells no principal id, and files often no times: such an entry counts.
#[test]
fn entries_without_ids_and_times_count() {
    let stage = Stage::healthy();
    let entries = json!([
        {"principalArn": "arn:aws:iam::111122223333:role/A", "username": "a", "policies": []},
        {"principalArn": "arn:aws:iam::111122223333:role/B", "type": "LATER", "username": "b", "kubernetesGroups": null, "policies": []},
        {"principalArn": "arn:aws:iam::111122223333:role/C", "type": "STANDARD", "policies": []},
        {"principalArn": "arn:aws:iam::111122223333:role/D", "type": "STANDARD", "username": "d"},
    ]);
    let entries = file(&stage, "entries.json", entries.to_string());
    let empty = file(&stage, "none.json", "[]");
    let mode = [
        "--from-authentication-mode",
        "API",
        "--authentication-mode",
        "API",
        "-o",
        "json",
    ];
    let args = [
        &[
            "access",
            "diff",
            "--from-access-entries",
            &entries,
            "--access-entries",
            &empty,
        ][..],
        &mode,
    ]
    .concat();
    let diff = stage.run(&args).expect(1).json();
    // A username or policies that were not given are unknown, and never none.
    assert_eq!(
        (&diff["summary"]["lost"], &diff["summary"]["unknown"]),
        (&json!(2), &json!(2)),
        "{diff}"
    );
}

/// What may not be read is said, with what lifts it, and never counts as nothing.
#[test]
fn what_may_not_be_read_is_said() {
    // The view role may not list bindings.
    let stage = busy(AuthenticationMode::ApiAndConfigMap);
    stage.standin.fault(
        "kubernetes:list rolebindings*",
        Fault::Reply {
            status: 403,
            content_type: "application/json".to_owned(),
            body: json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
                "message": "rolebindings.rbac.authorization.k8s.io is forbidden"}).to_string(),
        },
    );
    let list = stage.run(&["access", "list", "-o", "json"]).expect(3).json();
    assert!(list["unread"].to_string().contains("RoleBindings"), "{list}");
    assert!(list["unread"].to_string().contains("rolebindings"), "{list}");
    assert_eq!(list["items"][0].get("may"), None);
    let plan = stage.run(&["access", "migrate", "-o", "json"]).expect(1).json();
    let not_carried = plan["notCarried"].to_string();
    assert!(
        not_carried.contains("what is bound to it could not be read"),
        "{not_carried}"
    );
    assert!(plan["caveats"].to_string().contains("RoleBindings"), "{plan}");

    // Neither the entries, nor aws-auth, nor the mode, nor IAM.
    for (action, diff, plan) in [
        ("eks:ListAccessEntries", 3, 3),
        ("eks:DescribeCluster", 3, 3),
        ("iam:GetRole", 1, 1),
    ] {
        let stage = busy(AuthenticationMode::ApiAndConfigMap);
        stage.standin.world(|world| {
            let keys = &mut world.account(scenario::ACCOUNT).access_keys;
            let identity = keys.get_mut(scenario::ACCESS_KEY).expect("the caller");
            identity.deny_because(action, Because::NoIdentityPolicy);
        });
        let ran = stage.run(&["access", "list", "-o", "json"]).expect(3);
        assert!((ran.stdout + &ran.stderr).contains(action), "{action}");
        stage
            .run(&["access", "diff", "--authentication-mode", "API"])
            .expect(diff);
        stage.run(&["access", "migrate"]).expect(plan);
    }
    let stage = busy(AuthenticationMode::ApiAndConfigMap);
    stage
        .standin
        .fault("kubernetes:get configmaps*", Fault::Broken(500));
    stage.run(&["access", "list"]).expect(3);
    stage.run(&["access", "migrate"]).expect(3);
    // In mode API, aws-auth is not missed.
    let stage = busy(AuthenticationMode::Api);
    stage
        .standin
        .fault("kubernetes:get configmaps*", Fault::Broken(500));
    stage.run(&["access", "list"]).expect(0);
    stage.run(&["access", "migrate"]).expect(0);
}

/// The right cluster, or none.
#[test]
fn another_account_and_no_cluster_are_errors() {
    let stage = Stage::healthy();
    let ran = stage
        .run(&["access", "list", "--cluster-name", "other"])
        .expect(1);
    assert!(ran.stderr.contains("EKS has no cluster other"), "{}", ran.stderr);
    let mut stage = Stage::healthy();
    let other = "999999999999";
    stage.standin.world(|world| {
        let mut account = capt_spot_standin::Account::new(other);
        let identity =
            capt_spot_standin::Identity::new(&format!("arn:aws:iam::{other}:user/other"), "AIDAOTHER");
        account
            .access_keys
            .insert("AKIAOTHEREXAMPLE0000".to_owned(), identity);
        world.accounts.push(account);
    });
    stage.set("AWS_ACCESS_KEY_ID", "AKIAOTHEREXAMPLE0000");
    let ran = stage.run(&["access", "migrate"]).expect(1);
    assert!(
        ran.stderr.contains("the credentials are of account 999999999999"),
        "{}",
        ran.stderr
    );
}
