//! `whois` as a user runs it: the golden cases through the binary, files of every kind, and a live cluster.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use capt_spot_standin::{AccessEntry, AuthenticationMode, Because, Fault, Role, date, scenario};
use serde_json::{Value, json};

use crate::support::program::{Ran, Stage};

const DEV: &str = "arn:aws:sts::111122223333:assumed-role/Dev/s1";

/// Runs `whois` with this on its standard input.
fn with_stdin(stage: &Stage, args: &[&str], stdin: &[u8]) -> Ran {
    let mut command = stage.command(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // A program that refuses the input may close the pipe before its end.
        scope.spawn(move || {
            let _ = pipe.write_all(stdin);
        });
        Ran::from(&child.wait_with_output().expect("it ends"))
    })
}

fn file(stage: &Stage, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = stage.home.path().join(name);
    std::fs::write(&path, content).expect("written");
    path.to_str().expect("a path").to_owned()
}

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-auth", "namespace": "kube-system"}, "data": data})
}

fn map_roles(text: &str) -> String {
    config_map(&json!({ "mapRoles": text })).to_string()
}

fn dev(username: &str) -> String {
    format!("- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: {username}\n  groups: [dev]\n")
}

// ---------------------------------------------------------------- golden cases

fn golden(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates/eks-aws-auth/golden")
        .join(name);
    let text = std::fs::read_to_string(path).expect("the golden cases");
    let golden: Value = serde_yaml::from_str(&text).expect("YAML");
    let list = |key: &str| golden[key].as_array().cloned().unwrap_or_default();
    [list("cases"), list("chain_cases")].concat()
}

/// The arguments of a case, without `-f`.
fn arguments(case: &Value, entries: &Path) -> Vec<String> {
    let mut args = vec![
        "whois".to_owned(),
        case["principal_arn"].as_str().expect("a principal").to_owned(),
        "-o".to_owned(),
        "json".to_owned(),
    ];
    for (key, flag) in [
        ("authentication_mode", "--authentication-mode"),
        ("principal_id", "--principal-id"),
        ("access_key_id", "--access-key-id"),
        ("ec2_private_dns_name", "--private-dns-name"),
    ] {
        if let Some(value) = case[key].as_str() {
            args.extend([flag.to_owned(), value.to_owned()]);
        }
    }
    if let Some(list) = case["access_entries"].as_array() {
        let list: Vec<Value> = list
            .iter()
            .map(|entry| {
                json!({"principalArn": entry["principal_arn"], "principalId": entry["principal_id"],
                       "username": entry["username"], "kubernetesGroups": entry["groups"], "type": "STANDARD"})
            })
            .collect();
        std::fs::write(entries, Value::from(list).to_string()).expect("written");
        args.extend([
            "--access-entries".to_owned(),
            entries.to_str().expect("a path").to_owned(),
        ]);
    }
    args
}

/// What is wrong with the answer, if anything.
fn disagreement(case: &Value, ran: &Ran) -> Option<String> {
    let answer: Value = match serde_json::from_str(&ran.stdout) {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{error}: {ran:?}")),
    };
    let outcome = answer["outcome"].as_str().unwrap_or_default();
    let good = if !case["expect"].is_null() {
        let same = |key: &str| answer[key] == case["expect"][key];
        outcome == "mapped" && same("username") && same("groups") && ran.code == 0
    } else if case["not_mapped"] == true {
        outcome == "not-mapped" && answer["source"].is_null() && ran.code == 1
    } else if !case["expect_error"].is_null() {
        outcome == "denied" && answer["username"].is_null() && ran.code == 1
    } else {
        let ways = answer["alternatives"].as_array().cloned().unwrap_or_default();
        let expected = case["expect_one_of"].as_array().expect("the ways");
        outcome == "ambiguous"
            && ways.len() == expected.len()
            && expected.iter().all(|one| {
                ways.iter()
                    .any(|way| way["username"] == one["username"] && way["groups"] == one["groups"])
            })
            && ran.code == 1
    };
    (!good).then(|| answer.to_string())
}

#[test]
fn the_golden_cases_through_the_binary() {
    let stage = Stage::healthy();
    let entries = stage.home.path().join("entries.json");
    let mut judged = 0;
    for case in [golden("aws_auth_cases.yaml"), golden("quirks.yaml")].concat() {
        // Settings of the authenticator that EKS does not have: no flag sets them.
        if case["sso_role_match_gate"] == true || !case["reserved_prefixes"].is_null() {
            continue;
        }
        judged += 1;
        let args = arguments(&case, &entries);
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        let manifest = config_map(&case["config_map"]);
        let yaml = serde_yaml::to_string(&manifest).expect("YAML");
        let path = file(&stage, "aws-auth.yaml", &yaml);
        args.extend(["-f", &path]);
        let from_file = stage.run(&args);
        let wrong = disagreement(&case, &from_file);
        assert_eq!(wrong, None, "{}, from {yaml}", case["name"]);
        let last = args.len() - 1;
        args[last] = "-";
        let from_stdin = with_stdin(&stage, &args, manifest.to_string().as_bytes());
        let wrong = disagreement(&case, &from_stdin);
        assert_eq!(wrong, None, "{}, as JSON from standard input", case["name"]);
    }
    assert!(judged > 110, "{judged}");
    assert_eq!(
        stage.standin.calls().len(),
        0,
        "files are judged without a network"
    );
}

// ---------------------------------------------------------------- the contract

#[test]
fn the_answer_has_every_field_of_the_contract() {
    let stage = Stage::healthy();
    let text = format!("{}- username: nobody\n", dev("dev"));
    let path = file(&stage, "aws-auth.json", map_roles(&text));
    let answer = stage
        .run(&["whois", DEV, "-f", &path, "-o", "json"])
        .expect(0)
        .json();
    for (field, value) in [
        ("principal", json!(DEV)),
        ("outcome", json!("mapped")),
        ("username", json!("dev")),
        ("groups", json!(["dev"])),
        (
            "reason",
            json!("mapRoles line 1 maps arn:aws:iam::111122223333:role/Dev"),
        ),
    ] {
        assert_eq!(answer[field], value, "{field}");
    }
    for (field, value) in [
        ("kind", json!("aws-auth")),
        ("key", json!("mapRoles")),
        ("index", json!(0)),
        ("line", json!(1)),
    ] {
        assert_eq!(answer["source"][field], value, "{field}");
    }
    let problem = &answer["problems"][0];
    assert_eq!(
        (&problem["key"], &problem["line"]),
        (&json!("mapRoles"), &json!(4))
    );
    assert!(
        problem["message"].as_str().expect("text").contains("no rolearn"),
        "{problem}"
    );
    assert!(
        problem["lost"].as_str().expect("text").contains("this entry"),
        "{problem}"
    );
    assert!(!problem["fix"].as_str().expect("text").is_empty(), "{problem}");

    let entries = json!([{"principalArn": "arn:aws:iam::111122223333:role/x/Dev", "type": "STANDARD",
        "username": "arn:aws:sts::111122223333:assumed-role/Dev/{{SessionName}}", "kubernetesGroups": ["viewers"]}]);
    let entries = file(&stage, "entries.json", entries.to_string());
    let answer = stage
        .run(&[
            "whois",
            DEV,
            "-f",
            &path,
            "--access-entries",
            &entries,
            "-o",
            "json",
        ])
        .expect(0)
        .json();
    assert_eq!(answer["source"]["kind"], "access-entry");
    assert_eq!(answer["source"]["index"], 0);
    assert_eq!(
        answer["username"],
        "arn:aws:sts::111122223333:assumed-role/Dev/s1"
    );
    assert_eq!(answer["groups"], json!(["viewers"]), "nothing is merged");
    assert_eq!(answer["passedOver"][0]["because"], "hidden-by-entry", "{answer}");

    // A permission set's role has its path in an access entry, and none in aws-auth.
    let sso = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin_0a1b/jo@example.com";
    for (path_in_arn, caveats) in [("", 1), ("aws-reserved/sso.amazonaws.com/eu-west-1/", 0)] {
        let arn = format!("arn:aws:iam::111122223333:role/{path_in_arn}AWSReservedSSO_Admin_0a1b");
        let entries = json!([{"principalArn": arn, "type": "STANDARD", "username": "admin:{{SessionName}}"}]);
        let entries = file(&stage, "sso.json", entries.to_string());
        let answer = stage
            .run(&[
                "whois",
                sso,
                "--access-entries",
                &entries,
                "--authentication-mode",
                "API",
                "-o",
                "json",
            ])
            .expect(0)
            .json();
        assert_eq!(answer["username"], "admin:jo-example.com");
        assert_eq!(
            answer["caveats"].as_array().expect("caveats").len(),
            caveats,
            "{answer}"
        );
    }

    let nobody = "arn:aws:iam::111122223333:user/nobody";
    let answer = stage
        .run(&["whois", nobody, "-f", &path, "-o", "json"])
        .expect(1)
        .json();
    assert!(answer["caveats"].to_string().contains("creator"), "{answer}");
    for field in ["username", "source"] {
        assert_eq!(answer[field], Value::Null, "{field}");
    }
    assert_eq!(
        (&answer["outcome"], &answer["groups"]),
        (&json!("not-mapped"), &json!([]))
    );
    let yaml = stage
        .run(&["whois", nobody, "-f", &path, "-o", "yaml"])
        .expect(1)
        .stdout;
    assert_eq!(serde_yaml::from_str::<Value>(&yaml).expect("YAML"), answer);
}

/// (what, mode, entries, aws-auth's mapRoles, principal, exit code, outcome, username, a word of the reason)
#[test]
fn modes_entries_and_lines_together() {
    let stage = Stage::healthy();
    let entry = |arn: &str, kind: &str, username: &str| json!({"principalArn": arn, "type": kind, "username": username, "kubernetesGroups": ["entry"]});
    let node = "arn:aws:iam::111122223333:role/Node";
    let node_session = "arn:aws:sts::111122223333:assumed-role/Node/i-0123456789abcdef0";
    let line = dev("from-line");
    let rows: &[(&str, Value, &str, i32, &str, Value, &str)] = &[
        (
            "CONFIG_MAP",
            json!([entry("arn:aws:iam::111122223333:role/Dev", "STANDARD", "e")]),
            DEV,
            0,
            "mapped",
            json!("from-line"),
            "mapRoles line 1",
        ),
        (
            "API_AND_CONFIG_MAP",
            json!([entry("arn:aws:iam::111122223333:role/Dev", "STANDARD", "e")]),
            DEV,
            0,
            "mapped",
            json!("e"),
            "access entry",
        ),
        (
            "API",
            json!([entry("arn:aws:iam::111122223333:role/Dev", "STANDARD", "e")]),
            DEV,
            0,
            "mapped",
            json!("e"),
            "access entry",
        ),
        (
            "API",
            json!([]),
            DEV,
            1,
            "not-mapped",
            Value::Null,
            "mode API ignores aws-auth",
        ),
        (
            "API_AND_CONFIG_MAP",
            json!([]),
            DEV,
            0,
            "mapped",
            json!("from-line"),
            "mapRoles line 1",
        ),
        // Templates are the entry's own; the type is not what makes the name.
        (
            "API",
            json!([entry(
                "arn:aws:iam::111122223333:role/Dev",
                "STANDARD",
                "x:{{SessionNameRaw}}:{{AccountID}}"
            )]),
            "arn:aws:sts::111122223333:assumed-role/Dev/jo@x.org",
            0,
            "mapped",
            json!("x:jo@x.org:111122223333"),
            "STANDARD",
        ),
        (
            "API",
            json!([entry(
                "arn:aws:iam::111122223333:role/Dev",
                "STANDARD",
                "x:{{SessionName}}"
            )]),
            "arn:aws:sts::111122223333:assumed-role/Dev/jo@x.org",
            0,
            "mapped",
            json!("x:jo-x.org"),
            "STANDARD",
        ),
        // A node's entry used by a person is refused, and aws-auth is not tried.
        (
            "API_AND_CONFIG_MAP",
            json!([entry(
                "arn:aws:iam::111122223333:role/Dev",
                "EC2_LINUX",
                "system:node:{{EC2PrivateDNSName}}"
            )]),
            DEV,
            1,
            "denied",
            Value::Null,
            "is not an instance id",
        ),
        (
            "API",
            json!([entry(node, "EC2_LINUX", "system:node:{{EC2PrivateDNSName}}")]),
            node_session,
            0,
            "mapped",
            json!("system:node:ip-10-0-1-5.internal"),
            "EC2_LINUX",
        ),
        // Entries go by the principal, whatever its path; other accounts' and partitions' are others.
        (
            "API",
            json!([entry("arn:aws:iam::111122223333:role/a/b/Dev", "STANDARD", "e")]),
            DEV,
            0,
            "mapped",
            json!("e"),
            "role/a/b/Dev",
        ),
        (
            "API",
            json!([entry("arn:aws:iam::444455556666:role/Dev", "STANDARD", "e")]),
            DEV,
            1,
            "not-mapped",
            Value::Null,
            "no access entry",
        ),
        (
            "API",
            json!([entry("arn:aws-cn:iam::111122223333:role/Dev", "STANDARD", "e")]),
            DEV,
            1,
            "not-mapped",
            Value::Null,
            "no access entry",
        ),
        (
            "API",
            json!([entry("arn:aws:iam::111122223333:root", "STANDARD", "e")]),
            "arn:aws:iam::111122223333:user/a",
            1,
            "not-mapped",
            Value::Null,
            "",
        ),
        (
            "API",
            json!([entry("arn:aws:iam::111122223333:root", "STANDARD", "e")]),
            "arn:aws:iam::111122223333:root",
            0,
            "mapped",
            json!("e"),
            "",
        ),
        (
            "API",
            json!([entry("arn:aws:iam::111122223333:user/a", "STANDARD", "e")]),
            "arn:aws:iam::111122223333:user/b",
            1,
            "not-mapped",
            Value::Null,
            "",
        ),
        (
            "API",
            json!([entry("arn:aws:iam::111122223333:user/t/a", "STANDARD", "e")]),
            "arn:aws:iam::111122223333:user/a",
            1,
            "not-mapped",
            Value::Null,
            "",
        ),
    ];
    let path = file(&stage, "aws-auth.json", map_roles(&line));
    for (mode, entries, principal, code, outcome, username, says) in rows {
        let list = file(&stage, "entries.json", entries.to_string());
        let args = [
            "whois",
            principal,
            "-f",
            &path,
            "--access-entries",
            &list,
            "--authentication-mode",
            mode,
            "-o",
            "json",
            "--private-dns-name",
            "ip-10-0-1-5.internal",
        ];
        let ran = stage.run(&args);
        let answer = ran.json();
        let row = format!("{mode} {entries} {principal}: {answer}");
        assert_eq!(
            (ran.code, answer["outcome"].as_str(), &answer["username"]),
            (*code, Some(*outcome), username),
            "{row}"
        );
        assert!(
            answer["reason"].as_str().expect("a reason").contains(says),
            "{row}"
        );
        assert_eq!(answer["authenticationMode"], *mode);
    }
}

#[test]
fn near_misses_are_named_with_their_lines() {
    let stage = Stage::healthy();
    let rows = [
        (
            "arn:aws:iam::111122223333:role/team/Dev",
            "role-path",
            "same role with a path, which never matches",
        ),
        (
            "arn:aws:iam::444455556666:role/Dev",
            "other-account",
            "same name in another account (444455556666)",
        ),
        (
            "arn:aws-cn:iam::111122223333:role/Dev",
            "other-partition",
            "same name in another partition (aws-cn)",
        ),
        (
            "arn:aws:sts::111122223333:assumed-role/Dev/s1",
            "assumed-role-arn",
            "use the role's",
        ),
        (
            "arn:aws:iam::111122223333:instance-profile/Dev",
            "instance-profile-arn",
            "use its role's",
        ),
        (
            "arn:aws:iam::111122223333:user/Dev",
            "other-kind",
            "as user instead of role",
        ),
        (
            "'arn:aws:iam::111122223333:role/Dev '",
            "stray-characters",
            "stray characters",
        ),
        (
            "arn:aws:iam::111122223333:role/D*",
            "wildcard",
            "wildcards are not supported",
        ),
    ];
    for (arn, because, says) in rows {
        let text = format!("- rolearn: {arn}\n  username: x\n");
        let path = file(&stage, "aws-auth.json", map_roles(&text));
        let answer = stage
            .run(&["whois", DEV, "-f", &path, "-o", "json"])
            .expect(1)
            .json();
        let over = &answer["passedOver"][0];
        assert_eq!(over["because"], because, "{answer}");
        let message = over["message"].as_str().expect("a message");
        assert!(
            message.contains(says) && message.starts_with("mapRoles line 1"),
            "{message}"
        );
        let text = stage.run(&["whois", DEV, "-f", &path]).expect(1).stdout;
        assert!(
            text.contains("Passed over") && text.contains("rolearn:"),
            "{text}"
        );
        // How to fix it: a file names no cluster, so there is no command.
        assert!(text.contains("Fix: ") && !text.contains("eksctl"), "{text}");
    }
    // Another case is the same principal.
    let path = file(
        &stage,
        "aws-auth.json",
        map_roles("- rolearn: arn:aws:iam::111122223333:role/dEV\n  username: x\n"),
    );
    stage.run(&["whois", DEV, "-f", &path]).expect(0);
}

#[test]
fn everybody_from_files() {
    let stage = Stage::healthy();
    let data = json!({
        "mapRoles": format!("{}{}- username: nobody\n- rolearn: arn:aws:iam::111122223333:role/x/Path\n  username: p\n", dev("one"), dev("two")),
        "mapUsers": "- userarn: arn:aws:iam::111122223333:user/alice\n  username: alice\n",
        "mapAccounts": "- \"444455556666\"\n",
    });
    let path = file(&stage, "aws-auth.json", config_map(&data).to_string());
    let entries = json!([{"principalArn": "arn:aws:iam::111122223333:user/alice", "type": "STANDARD", "username": "a"}]);
    let entries = file(&stage, "entries.json", entries.to_string());
    let args = ["whois", "--all", "-f", &path, "--access-entries", &entries];
    let answer = stage.run(&[&args[..], &["-o", "json"]].concat()).expect(0).json();
    let states: Vec<(&str, &str)> = answer["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            (
                item["principal"].as_str().expect("a principal"),
                item["state"].as_str().expect("a state"),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            ("arn:aws:iam::111122223333:user/alice", "inForce"),
            ("arn:aws:iam::111122223333:role/Dev", "displaced"),
            ("arn:aws:iam::111122223333:role/Dev", "inForce"),
            ("arn:aws:iam::111122223333:role/x/Path", "neverMatches"),
            ("arn:aws:iam::111122223333:user/alice", "hidden"),
            ("", "dropped"),
            ("444455556666", "inForce"),
        ]
    );
    let text = stage.run(&args).expect(0).stdout;
    for says in ["displaced", "hidden", "no match", "dropped", "444455556666"] {
        assert!(text.contains(says), "{says}\n{text}");
    }
    stage.run(&["whois", "--all", DEV, "-f", &path]).expect(2);
    stage.run(&["whois", "-f", &path]).expect(2);
}

#[test]
fn several_principals_in_one_run() {
    let stage = Stage::healthy();
    let path = file(
        &stage,
        "aws-auth.json",
        map_roles(&format!("{}- username: nobody\n", dev("dev"))),
    );
    let user = "arn:aws:iam::111122223333:user/nobody";
    let list = stage
        .run(&["whois", user, "Dev", DEV, "-f", &path, "-o", "json"])
        .expect(1)
        .json();
    assert_eq!(list["kind"], "WhoisList");
    let answers: Vec<_> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            (
                item["principal"].as_str().expect("a principal"),
                item["outcome"].as_str().expect("an outcome"),
            )
        })
        .collect();
    assert_eq!(
        answers,
        [
            (user, "not-mapped"),
            ("arn:aws:iam::111122223333:role/Dev", "mapped"),
            (DEV, "mapped"),
        ]
    );
    let one = stage
        .run(&["whois", DEV, "-f", &path, "-o", "json"])
        .expect(0)
        .json();
    let mut there = list["items"][2].clone();
    there["generatedAt"] = one["generatedAt"].clone();
    assert_eq!(there, one, "each is what it is alone");
    let text = stage.run(&["whois", user, DEV, "-f", &path]).expect(1).stdout;
    insta::assert_snapshot!(text);
    stage.run(&["whois", DEV, "two words", "-f", &path]).expect(2);
}

#[test]
fn nobody_is_offered_to_be_an_administrator() {
    let stage = live(AuthenticationMode::ConfigMap);
    stage.standin.world(|world| {
        world
            .account(scenario::ACCOUNT)
            .roles
            .push(Role::node("blue-nodes"));
        world.kubernetes(scenario::CLUSTER).put_aws_auth(&[]);
    });
    let mut told = String::new();
    for asked in [
        "demo-node",
        "blue-nodes",
        "demo-fargate",
        "demo-karpenter",
        "user/alice",
    ] {
        let answer = stage.run(&["whois", asked, "-o", "json"]).expect(1).json();
        told.push_str(&format!(
            "# {asked}\n{}\n",
            serde_yaml::to_string(&answer["remedy"]).expect("YAML")
        ));
    }
    assert!(
        !told.contains("system:masters") && !told.contains("AmazonEKSClusterAdminPolicy"),
        "{told}"
    );
    insta::assert_snapshot!(told);
}

#[test]
fn whois_and_preflight_agree_on_a_role_with_a_path() {
    let stage = live(AuthenticationMode::Api);
    let node = "arn:aws:iam::111122223333:role/demo-node";
    stage.standin.world(|world| {
        let path = "/team/".to_owned();
        world.account(scenario::ACCOUNT).role_mut("demo-node").path = path;
    });
    // The entry is for the role without a path, which is gone.
    let asked = [
        node,
        "demo-node",
        "arn:aws:sts::111122223333:assumed-role/demo-node/i-0123456789abcdef0",
    ];
    for asked in asked {
        let answer = stage.run(&["whois", asked, "-o", "json"]).expect(1).json();
        assert_eq!(answer["passedOver"][0]["because"], "stale", "{asked}: {answer}");
    }
    assert_eq!(stage.preflight(&[]).status("node-role-current"), "fail");
    stage.standin.world(|world| {
        let entries = &mut world.cluster(scenario::CLUSTER).access_entries;
        entries.retain(|entry| entry.principal_arn != node);
        entries.push(AccessEntry::new(
            "arn:aws:iam::111122223333:role/team/demo-node",
            "EC2_LINUX",
        ));
    });
    for asked in asked {
        stage.run(&["whois", asked]).expect(0);
    }
    assert_eq!(stage.preflight(&[]).status("node-role-mapped"), "pass");
}

// ---------------------------------------------------------------- bad input

#[test]
fn files_that_are_no_aws_auth_get_one_clear_sentence() {
    let stage = Stage::healthy();
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_map = format!("mapRoles: {}x", "{a: ".repeat(100_000));
    let bomb = bomb();
    let rows: &[(&str, &[u8], i32, &str)] = &[
        ("nothing", b"", 1, "is empty"),
        ("blanks", b" \n\t\n", 1, "is empty"),
        ("a byte order mark alone", b"\xEF\xBB\xBF", 1, "is empty"),
        ("UTF-16", b"\xFF\xFEa\0", 1, "UTF-16"),
        (
            "Latin-1",
            b"data:\n  mapRoles: |\n    - rolearn: a\xE9\n",
            1,
            "line 3 is not UTF-8",
        ),
        ("bytes", b"\x00\x01\x02\xff", 1, "not UTF-8"),
        (
            "a Secret",
            b"apiVersion: v1\nkind: Secret\nmetadata: {name: aws-auth}\n",
            1,
            "a \"Secret\" named \"aws-auth\"",
        ),
        (
            "a list of Pods",
            b"apiVersion: v1\nkind: List\nitems:\n- {kind: Pod, metadata: {name: x}}\n",
            1,
            "a \"Pod\" named \"x\"",
        ),
        (
            "an empty list",
            b"{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}",
            1,
            "an empty list",
        ),
        (
            "the text of mapRoles",
            b"- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: x\n",
            1,
            "the text of mapRoles",
        ),
        ("a scalar", b"hello", 1, "no aws-auth in the file"),
        ("another map", b"a: 1\nb: 2\n", 1, "the keys \"a\", \"b\""),
        ("not YAML", b"data:\n  mapRoles: |\n    x\n\ty: z\n", 1, "line 4"),
        (
            "half of JSON",
            b"{\"kind\": \"ConfigMap\", \"data\": {",
            1,
            "not YAML",
        ),
        (
            "HTML",
            b"<!DOCTYPE html><html><body>Sign in</body></html>",
            1,
            "no aws-auth in the file",
        ),
        ("deep lists", deep.as_bytes(), 1, ""),
        ("deep maps", deep_map.as_bytes(), 1, ""),
        ("aliases that multiply", bomb.as_bytes(), 1, ""),
    ];
    for (name, content, code, says) in rows {
        for from_stdin in [false, true] {
            let ran = if from_stdin {
                with_stdin(&stage, &["whois", DEV, "-f", "-", "-o", "json"], content)
            } else {
                let path = file(&stage, "aws-auth.yaml", content);
                stage.run(&["whois", DEV, "-f", &path, "-o", "json"])
            };
            let ran = ran.expect(*code);
            assert_eq!(ran.stdout, "", "{name}");
            assert!(ran.stderr.contains(says), "{name}: {}", ran.stderr);
            assert!(
                !ran.stderr.contains("panicked") && ran.stderr.len() < 2000,
                "{name}: {}",
                ran.stderr
            );
        }
    }
    let ran = stage.run(&["whois", DEV, "-f", "/nonexistent"]).expect(1);
    assert!(ran.stderr.contains("/nonexistent"), "{}", ran.stderr);
    let folder = stage.home.path().to_str().expect("a path").to_owned();
    stage.run(&["whois", DEV, "-f", &folder]).expect(1);
    stage
        .run(&["whois", DEV, "-f", "-", "--access-entries", "-"])
        .expect(2);
    assert_eq!(stage.standin.calls().len(), 0);
}

/// Nine levels of nine aliases each.
fn bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

#[test]
fn odd_files_that_are_aws_auth_all_the_same() {
    let stage = Stage::healthy();
    let text = dev("dev");
    let indented = |by: usize, text: &str| -> String {
        text.lines()
            .map(|line| format!("{}{line}\n", " ".repeat(by)))
            .collect()
    };
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: aws-auth\n  namespace: kube-system\n";
    let manifest = format!("{head}data:\n  mapRoles: |\n{}", indented(4, &text));
    let applied =
        config_map(&json!({"mapRoles": "- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: old\n"}));
    let noise = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "aws-auth", "namespace": "kube-system", "uid": "0", "resourceVersion": "1",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()},
        "managedFields": [{"manager": "eks", "fieldsV1": {"f:data": {"f:mapRoles": {}}}}]},
        "data": {"mapRoles": text}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"kind": "Secret", "metadata": {"name": "x"}}, noise]});
    let comment = format!("{}# {}\n", text, "x".repeat(900_000));
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("as it is", manifest.clone().into_bytes()),
        ("CRLF", manifest.replace('\n', "\r\n").into_bytes()),
        ("a byte order mark", [b"\xEF\xBB\xBF", manifest.as_bytes()].concat()),
        ("kubectl get -o json", serde_json::to_vec_pretty(&noise).expect("JSON")),
        ("kubectl get -o yaml", serde_yaml::to_string(&noise).expect("YAML").into_bytes()),
        ("a List that holds it", list.to_string().into_bytes()),
        ("several documents", format!("kind: Namespace\nmetadata: {{name: x}}\n---\n{manifest}---\n# the end\n").into_bytes()),
        ("bare data", format!("mapRoles: |\n{}", indented(2, &text)).into_bytes()),
        ("data alone", json!({"data": {"mapRoles": text}}).to_string().into_bytes()),
        ("the lines as JSON", map_roles(&json!([{"rolearn": "arn:aws:iam::111122223333:role/Dev", "username": "dev", "groups": ["dev"]}]).to_string()).into_bytes()),
        ("nearly a MiB", map_roles(&comment).into_bytes()),
        ("anchors", map_roles("- &a {rolearn: 'arn:aws:iam::111122223333:role/X', username: dev, groups: [dev]}\n- {<<: *a, rolearn: 'arn:aws:iam::111122223333:role/Dev'}\n").into_bytes()),
    ];
    for (name, content) in rows {
        let path = file(&stage, "aws-auth", &content);
        let ran = stage.run(&["whois", DEV, "-f", &path, "-o", "json"]);
        assert_eq!(ran.code, 0, "{name}: {} {}", ran.stdout, ran.stderr);
        let answer = ran.json();
        assert_eq!(
            (&answer["username"], &answer["groups"]),
            (&json!("dev"), &json!(["dev"])),
            "{name}"
        );
    }
    // The line of the file, where it can be told.
    let path = file(&stage, "aws-auth", &manifest);
    let answer = stage
        .run(&["whois", DEV, "-f", &path, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(answer["source"]["fileLine"], 8, "{answer}");
}

#[test]
fn damage_within_is_an_answer_and_not_an_error() {
    let stage = Stage::healthy();
    let deep = format!("- rolearn: {}x{}\n", "[".repeat(20_000), "]".repeat(20_000));
    let bomb = bomb();
    let too_large = format!("{}# {}\n", dev("dev"), "x".repeat(1_100_000));
    let many: String = (0..8_000)
        .map(|n| format!("- rolearn: arn:aws:iam::111122223333:role/r{n}\n  username: u\n"))
        .collect();
    let rows: &[(&str, String, &str, &str)] = &[
        (
            "a tab",
            map_roles("- rolearn: arn:aws:iam::111122223333:role/Dev\n\tusername: x\n"),
            "not-mapped",
            "lost to a mistake on line 2",
        ),
        (
            "bare braces",
            map_roles("- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: {{SessionName}}\n"),
            "not-mapped",
            "lost to a mistake",
        ),
        ("deep nesting", map_roles(&deep), "not-mapped", ""),
        ("aliases that multiply", map_roles(&bomb), "not-mapped", ""),
        (
            "more than a ConfigMap can hold",
            map_roles(&too_large),
            "denied",
            "more than the 1 MiB",
        ),
        (
            "a list where a text is needed",
            config_map(&json!({"mapRoles": [{"rolearn": "x"}]})).to_string(),
            "denied",
            "where a text is needed",
        ),
        (
            "thousands of others",
            map_roles(&many),
            "not-mapped",
            "nothing in aws-auth maps",
        ),
        (
            "no apiVersion",
            map_roles(&dev("dev")).replace("\"apiVersion\":\"v1\",", ""),
            "denied",
            "apiVersion is missing",
        ),
        (
            "an immutable that is a text",
            map_roles(&dev("dev")).replace("{\"apiVersion\"", "{\"immutable\":\"yes\",\"apiVersion\""),
            "denied",
            "immutable is a text",
        ),
        (
            "no data",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-auth"}}).to_string(),
            "not-mapped",
            "nothing in aws-auth maps",
        ),
        (
            "control characters",
            map_roles(
                "- rolearn: \"arn:aws:iam::111122223333:role/Dev\\u001b[31m\"\n  username: \"\\u001b]0;x\\u0007\"\n",
            ),
            "not-mapped",
            "",
        ),
    ];
    for (name, content, outcome, says) in rows {
        let path = file(&stage, "aws-auth.json", content);
        let ran = stage.run(&["whois", DEV, "-f", &path, "-o", "json"]).expect(1);
        let answer = ran.json();
        assert_eq!(answer["outcome"], *outcome, "{name}: {answer}");
        let reason = answer["reason"].as_str().expect("a reason");
        assert!(reason.contains(says), "{name}: {reason}");
        for args in [&["whois", DEV, "-f", &path][..], &["whois", "--all", "-f", &path]] {
            let text = stage.run(args);
            assert!(
                text.code <= 1 && !text.stdout.contains('\u{1b}') && text.stderr.is_empty(),
                "{name}: {text:?}"
            );
        }
    }
}

#[test]
fn arns_that_are_none_are_wrong_usage_and_identities_that_are_none_are_refused() {
    let stage = Stage::healthy();
    let path = file(&stage, "aws-auth.json", map_roles(&dev("dev")));
    for arn in [
        "",
        "arn:",
        "arn:aws:iam",
        "ARN:aws:iam::111122223333:role/x",
        "two words",
        "a\u{1b}[31m",
        "me\u{7}",
        "me",
    ] {
        let ran = stage.run(&["whois", arn, "-f", &path, "-o", "json"]).expect(2);
        assert!(
            ran.stdout.is_empty() && ran.stderr.contains("fix:"),
            "{arn:?}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.contains('\u{1b}'), "{arn:?}");
    }
    for (arn, says) in [
        ("arn:aws:s3:::bucket", "is not a service with identities"),
        ("arn:aws:iam::111122223333:group/x", "is not an identity"),
        (
            "arn:aws:iam::111122223333:instance-profile/x",
            "is not an identity",
        ),
        (
            "arn:aws:sts::111122223333:assumed-role/Dev",
            "has no session part",
        ),
        ("arn:aws-nk:iam::111122223333:user/x", "not recognized"),
        ("arn:AWS:iam::111122223333:user/x", "not recognized"),
        (
            "arn:aws:sts::111122223333:assumed-role/Dev/a:b",
            "contains a colon",
        ),
    ] {
        let answer = stage
            .run(&["whois", arn, "-f", &path, "-o", "json"])
            .expect(1)
            .json();
        assert_eq!(answer["outcome"], "denied", "{arn}");
        assert!(
            answer["reason"].as_str().expect("a reason").contains(says),
            "{arn}: {answer}"
        );
    }
    for (content, says) in [
        ("", "is empty"),
        ("{", "not JSON"),
        ("null", "neither an array nor an object"),
        (
            "[\"arn:aws:iam::111122223333:role/x\"]",
            "as ListAccessEntries does",
        ),
        ("[{\"username\": \"x\"}]", "no principalArn"),
        ("[{\"principalArn\": 1}]", "unusable"),
        ("[[[[]]]]", "not an object"),
    ] {
        let entries = file(&stage, "entries.json", content);
        let ran = stage.run(&["whois", DEV, "--access-entries", &entries]).expect(1);
        assert!(ran.stderr.contains(says), "{content}: {}", ran.stderr);
    }
    // What the AWS CLI prints is taken as it is.
    let printed = json!({"accessEntry": {"principalArn": "arn:aws:iam::111122223333:role/Dev", "username": "e", "type": "STANDARD",
        "kubernetesGroups": [], "createdAt": "2024-05-02T08:10:00.123000+02:00", "tags": {}}});
    let ran = with_stdin(
        &stage,
        &["whois", DEV, "--access-entries", "-", "-o", "json"],
        format!("{printed}\n{printed}\n").as_bytes(),
    );
    assert_eq!(ran.expect(0).json()["username"], "e");
}

// ---------------------------------------------------------------- the cluster

fn live(mode: AuthenticationMode) -> Stage {
    let mut world = scenario::karpenter_on_fargate(mode);
    world.account(scenario::ACCOUNT).add_spot_role();
    Stage::new(world)
}

#[test]
fn a_live_cluster_by_arn_by_name_and_me() {
    let admin = "arn:aws:iam::111122223333:role/demo-admin";
    for (mode, asked, username, from) in [
        (AuthenticationMode::ConfigMap, admin, "demo-admin", "aws-auth"),
        (
            AuthenticationMode::ConfigMap,
            "demo-admin",
            "demo-admin",
            "aws-auth",
        ),
        (
            AuthenticationMode::ConfigMap,
            "arn:aws:sts::111122223333:assumed-role/demo-admin/jo",
            "demo-admin",
            "aws-auth",
        ),
        (
            AuthenticationMode::ConfigMap,
            "user/platform-admin",
            "platform-admin",
            "aws-auth",
        ),
        (AuthenticationMode::ConfigMap, "me", "platform-admin", "aws-auth"),
        (
            AuthenticationMode::ApiAndConfigMap,
            "demo-node",
            "system:node:{{EC2PrivateDNSName}}",
            "aws-auth",
        ),
        (
            AuthenticationMode::ApiAndConfigMap,
            "me",
            "arn:aws:iam::111122223333:user/platform-admin",
            "access-entry",
        ),
        (
            AuthenticationMode::Api,
            "demo-node",
            "system:node:{{EC2PrivateDNSName}}",
            "access-entry",
        ),
        (
            AuthenticationMode::Api,
            "arn:aws:sts::111122223333:assumed-role/demo-admin/jo",
            "arn:aws:sts::111122223333:assumed-role/demo-admin/jo",
            "access-entry",
        ),
        (
            AuthenticationMode::Api,
            "me",
            "arn:aws:iam::111122223333:user/platform-admin",
            "access-entry",
        ),
    ] {
        let stage = live(mode);
        let ran = stage.run(&["whois", asked, "-o", "json"]).expect(0);
        let answer = ran.json();
        assert_eq!(
            (&answer["outcome"], &answer["username"]),
            (&json!("mapped"), &json!(username)),
            "{asked}: {answer}"
        );
        assert_eq!(answer["source"]["kind"], from, "{asked}: {answer}");
        assert_eq!(answer["authenticationMode"], mode.as_str());
        assert_eq!(answer["target"]["cluster"], "demo");
        assert_eq!(answer["validationWebhook"], true, "{answer}");
        assert_eq!(answer["kubernetesUser"].is_null(), asked != "me", "{answer}");
        let text = stage.run(&["whois", asked]).expect(0).stdout;
        assert!(
            text.starts_with("MAPPED") && text.contains("cluster") && text.contains(mode.as_str()),
            "{text}"
        );
        assert_eq!(
            text.contains("EKS's webhook"),
            mode != AuthenticationMode::Api,
            "{text}"
        );
        assert_eq!(stage.writes(), [""; 0]);
    }
}

#[test]
fn a_live_cluster_and_principals_it_does_not_know() {
    let stage = live(AuthenticationMode::ApiAndConfigMap);
    let answer = stage
        .run(&["whois", "demo-karpenter", "-o", "json"])
        .expect(1)
        .json();
    assert_eq!(answer["outcome"], "not-mapped");
    let commands = answer["remedy"]["commands"].to_string();
    assert!(
        commands.contains("aws eks create-access-entry --cluster-name demo")
            && commands.contains("AmazonEKSViewPolicy"),
        "{commands}"
    );
    assert!(
        answer["remedy"]["awsAuthEntry"]
            .as_str()
            .expect("an entry")
            .contains("role/demo-karpenter"),
        "{answer}"
    );
    // A name that IAM does not have.
    let answer = stage
        .run(&["whois", "no-such-role", "-o", "json"])
        .expect(1)
        .json();
    assert!(
        answer["caveats"]
            .to_string()
            .contains("IAM has no role no-such-role"),
        "{answer}"
    );
    // Created again behind its entry.
    stage.standin.world(|world| {
        let account = world.account(scenario::ACCOUNT);
        account.role_mut("demo-karpenter").create_date = date("2025-01-01T00:00:00Z");
        let arn = account.iam_arn("role/demo-karpenter");
        world
            .cluster(scenario::CLUSTER)
            .access_entries
            .push(AccessEntry::cluster_admin(&arn));
    });
    let answer = stage
        .run(&["whois", "demo-karpenter", "-o", "json"])
        .expect(1)
        .json();
    assert_eq!(answer["outcome"], "not-mapped", "{answer}");
    assert_eq!(answer["passedOver"][0]["because"], "stale", "{answer}");
    assert!(
        answer["remedy"]["commands"][0]
            .as_str()
            .expect("a command")
            .starts_with("aws eks delete-access-entry"),
        "{answer}"
    );
    // Judged as if the mode were another.
    let answer = stage
        .run(&["whois", "demo-node", "--authentication-mode", "API", "-o", "json"])
        .expect(1)
        .json();
    assert!(
        answer["caveats"]
            .to_string()
            .contains("the cluster's is API_AND_CONFIG_MAP"),
        "{answer}"
    );
}

#[test]
fn everybody_of_a_live_cluster() {
    let stage = live(AuthenticationMode::Api);
    stage.standin.world(|world| {
        world.page_size = 1;
        world
            .account(scenario::ACCOUNT)
            .roles
            .retain(|role| role.name != "demo-fargate");
        let again = Role {
            create_date: date("2025-01-01T00:00:00Z"),
            ..Role::node("demo-node")
        };
        *world.account(scenario::ACCOUNT).role_mut("demo-node") = again;
    });
    let answer = stage.run(&["whois", "--all", "-o", "json"]).expect(0).json();
    let states: Vec<(&str, &str)> = answer["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            (
                item["principal"].as_str().expect("a principal"),
                item["state"].as_str().expect("a state"),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            ("arn:aws:iam::111122223333:user/platform-admin", "inForce"),
            ("arn:aws:iam::111122223333:role/demo-admin", "inForce"),
            ("arn:aws:iam::111122223333:role/demo-node", "stale"),
            ("arn:aws:iam::111122223333:role/demo-fargate", "stale"),
        ]
    );
}

#[test]
fn what_could_not_be_read_leaves_it_undecided() {
    for action in ["eks:ListAccessEntries", "eks:DescribeAccessEntry"] {
        let stage = live(AuthenticationMode::ApiAndConfigMap);
        stage.standin.world(|world| {
            let account = world.account(scenario::ACCOUNT);
            let identity = account
                .access_keys
                .get_mut(scenario::ACCESS_KEY)
                .expect("the caller");
            identity.deny_because(action, Because::NoIdentityPolicy);
        });
        let answer = stage.run(&["whois", "demo-node", "-o", "json"]).expect(3).json();
        assert_eq!(
            (&answer["outcome"], &answer["undecided"]),
            (&json!("ambiguous"), &json!(true)),
            "{answer}"
        );
        assert!(answer["unread"].to_string().contains(action), "{answer}");
        // The API server's own word needs no mapping.
        stage.run(&["whois", "me"]).expect(0);
    }
    let stage = live(AuthenticationMode::ConfigMap);
    stage
        .standin
        .fault("kubernetes:get configmaps*", Fault::Broken(500));
    let answer = stage.run(&["whois", "demo-node", "-o", "json"]).expect(3).json();
    assert_eq!(answer["undecided"], true);
}
