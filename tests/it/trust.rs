//! `trust` as a user runs it: the caller, other principals, CDK's question, a real try, and what can't be read.

use capt_spot_standin::{Decision, Role, Simulated, World, scenario};
use serde_json::json;

use crate::support::program::Stage;

const ADMIN: &str = "arn:aws:iam::111122223333:role/demo-admin";

/// The healthy world, in which nobody's own policies allow sts:AssumeRole on anything by themselves.
fn world() -> World {
    let mut world = scenario::healthy();
    world
        .account(scenario::ACCOUNT)
        .simulation
        .push(Simulated::new("sts:AssumeRole", Decision::ImplicitDeny));
    world
}

#[test]
fn the_account_is_trusted_and_the_callers_own_policies_decide() {
    for (decision, code, outcome, reason) in [
        (Decision::Allowed, 0, "pass", "account-trusted"),
        (Decision::ImplicitDeny, 1, "fail", "identity-missing"),
        (Decision::ExplicitDeny, 1, "fail", "identity-denied"),
    ] {
        let mut world = scenario::healthy();
        world
            .account(scenario::ACCOUNT)
            .simulation
            .push(Simulated::new("sts:AssumeRole", decision));
        let stage = Stage::new(world);
        let report = stage
            .run(&["trust", "demo-admin", "-o", "json"])
            .expect(code)
            .json();
        assert_eq!(report["kind"], "TrustReport");
        assert_eq!(
            (&report["outcome"], &report["reason"]),
            (&json!(outcome), &json!(reason)),
            "{report}"
        );
        assert_eq!(report["role"]["arn"], ADMIN);
        assert_eq!(
            report["principal"]["arn"],
            "arn:aws:iam::111122223333:user/platform-admin"
        );
        assert_eq!(report["decidedBy"]["index"], 0);
        // The smallest policy names the caller, whatever the answer is.
        let smallest = &report["smallestTrustPolicy"];
        assert_eq!(
            smallest["document"]["Statement"][0]["Principal"]["AWS"],
            "arn:aws:iam::111122223333:user/platform-admin"
        );
        assert!(
            smallest["why"]
                .as_str()
                .unwrap_or_default()
                .contains("CVE-2023-35165")
        );
        assert_eq!(stage.writes(), [""; 0]);
    }
}

#[test]
fn other_principals_and_other_roles() {
    let mut world = world();
    let account = world.account(scenario::ACCOUNT);
    let handler = Role::new(
        "handler",
        capt_spot_standin::service_trust("lambda.amazonaws.com"),
    )
    .with_path("/cdk/");
    account.roles.push(handler);
    account.roles.push(Role::new(
        "kubectl",
        json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "Dead", "Effect": "Allow", "Principal": {"AWS": "AROAEXAMPLEEXAMPLE99"}, "Action": "sts:AssumeRole"},
            {"Sid": "Handler", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:role/cdk/handler"},
             "Action": "sts:AssumeRole"}
        ]}),
    ));
    let stage = Stage::new(world);
    let handler = "arn:aws:iam::111122223333:role/cdk/handler";
    for (principal, role, code, reason) in [
        (handler, "kubectl", 0, "role-named"),
        // A session's ARN has no path; the role was read.
        (
            "arn:aws:sts::111122223333:assumed-role/handler/run",
            "kubectl",
            0,
            "role-named",
        ),
        // A path that was left out is put right from IAM.
        (
            "arn:aws:iam::111122223333:role/handler",
            "kubectl",
            0,
            "role-named",
        ),
        (
            "arn:aws:iam::111122223333:role/demo-node",
            "kubectl",
            1,
            "principal-deleted",
        ),
        (
            "arn:aws:iam::111122223333:role/nobody",
            "kubectl",
            1,
            "principal-missing",
        ),
        (
            "arn:aws:iam::111122223333:root",
            "kubectl",
            1,
            "principal-cannot-assume",
        ),
        (handler, "demo-node", 1, "service-only"),
        (handler, "demo-karpenter", 1, "federated-only"),
        (handler, "missing", 1, "role-missing"),
        // IAM of another account can't be asked.
        ("arn:aws:iam::444455556666:role/x", "demo-admin", 1, "not-trusted"),
        (handler, "arn:aws:iam::444455556666:role/x", 3, "role-unread"),
    ] {
        let ran = stage
            .run(&["trust", role, "--principal", principal, "-o", "json"])
            .expect(code);
        assert_eq!(ran.json()["reason"], reason, "{principal} {role}: {}", ran.stdout);
    }
}

#[test]
fn cdks_question() {
    let mut world = world();
    world.account(scenario::ACCOUNT).roles.push(Role::new(
        "handler",
        capt_spot_standin::service_trust("lambda.amazonaws.com"),
    ));
    world.account(scenario::ACCOUNT).role_mut("demo-admin").trust =
        capt_spot_standin::principal_trust("arn:aws:iam::111122223333:role/handler");
    let stage = Stage::new(world);
    // The handler's role is not known yet, and the trust policy names one role only.
    let report = stage
        .run(&["trust", "demo-admin", "--cdk", "-o", "json"])
        .expect(3)
        .json();
    assert_eq!(report["cdk"]["outcome"], "unknown");
    assert_eq!(report["cdk"]["parts"][0]["outcome"], "pass", "{report}");
    // Named, it may.
    let handler = ["--principal", "arn:aws:iam::111122223333:role/handler"];
    let ran = stage
        .run(&[
            "trust",
            "demo-admin",
            "--cdk",
            "--show-all",
            handler[0],
            handler[1],
        ])
        .expect(0);
    assert!(
        ran.stdout
            .contains("kubectlRoleArn: 'arn:aws:iam::111122223333:role/demo-admin',"),
        "{}",
        ran.stdout
    );
    assert!(ran.said().contains("aws-auth mapRoles line"), "{}", ran.stdout);
    // Trusted, and nobody to the cluster.
    stage.standin.world(|world| {
        world
            .kubernetes(scenario::CLUSTER)
            .put_aws_auth(&[("mapRoles", "")]);
    });
    let report = stage
        .run(&[
            "trust",
            "demo-admin",
            "--cdk",
            handler[0],
            handler[1],
            "-o",
            "json",
        ])
        .expect(1)
        .json();
    assert_eq!(report["outcome"], "pass");
    assert_eq!(report["cdk"]["outcome"], "fail");
    assert_eq!(report["cdk"]["parts"][0]["part"], "mapped");
    assert_eq!(report["cdk"]["parts"][0]["outcome"], "fail");
}

#[test]
fn a_real_try_asks_the_cluster_who_it_is_then() {
    let stage = Stage::new(world());
    let report = stage
        .run(&["trust", "demo-admin", "--try", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(report["tried"]["assumed"], "pass", "{report}");
    assert_eq!(
        report["tried"]["sessionArn"],
        "arn:aws:sts::111122223333:assumed-role/demo-admin/EKSGetTokenAuth"
    );
    let groups = report["tried"]["groups"].to_string();
    assert!(groups.contains("system:masters"), "{report}");
    // The secret of the session is nowhere.
    let ran = stage.run(&["trust", "demo-admin", "--try", "-v"]).expect(0);
    for secret in ["IQoJ", "wJalr", "k8s-aws-v1"] {
        assert!(
            !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
            "{secret}"
        );
    }
    let ran = stage.run(&["trust", "missing", "--try", "-o", "json"]).expect(1);
    assert_eq!(ran.json()["tried"]["assumed"], "fail");
}

#[test]
fn what_cannot_be_read_is_unknown_and_names_the_grant() {
    for (action, reason) in [
        ("iam:GetRole", "role-unread"),
        ("iam:SimulatePrincipalPolicy", "identity-unread"),
    ] {
        let mut world = world();
        world
            .account(scenario::ACCOUNT)
            .access_keys
            .get_mut(scenario::ACCESS_KEY)
            .expect("the caller")
            .deny(action);
        let stage = Stage::new(world);
        let report = stage.run(&["trust", "demo-admin", "-o", "json"]).expect(3).json();
        assert_eq!(report["reason"], reason, "{report}");
        let text = report["couldNotSee"].to_string();
        assert!(text.contains(action), "{text}");
    }
}

/// What a run asked for: the actions of AWS, and what of Kubernetes.
fn asked(stage: &Stage) -> Vec<String> {
    let mut actions: Vec<String> = stage
        .standin
        .calls()
        .iter()
        .map(|call| call.action.clone())
        .collect();
    actions.sort();
    actions
}

#[test]
fn only_what_the_question_needs_is_read() {
    let stage = Stage::new(world());
    stage.run(&["trust", "demo-admin"]).expect(1);
    assert_eq!(
        asked(&stage),
        [
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "sts:GetCallerIdentity"
        ]
    );
    // Two roles, and each is read once.
    let stage = Stage::new(world());
    let node = "arn:aws:iam::111122223333:role/demo-node";
    stage.run(&["trust", "demo-admin", "--principal", node]).expect(1);
    stage.run(&["trust", "demo-node", "--principal", node]).expect(1);
    let reads = asked(&stage)
        .iter()
        .filter(|action| *action == "iam:GetRole")
        .count();
    assert_eq!(reads, 3);
    // CDK's question is about the cluster too, and not about Karpenter.
    let stage = Stage::new(world());
    stage.run(&["trust", "demo-admin", "--cdk"]).expect(0);
    assert_eq!(
        asked(&stage),
        [
            "eks:DescribeAccessEntry",
            "eks:DescribeCluster",
            "eks:ListAccessEntries",
            "eks:ListAssociatedAccessPolicies",
            "iam:GetRole",
            "kubernetes:get configmaps",
            "sts:GetCallerIdentity",
        ]
    );
}

#[test]
fn a_trust_policy_in_every_form_it_comes_in() {
    let caller = "arn:aws:iam::111122223333:user/platform-admin";
    let one = json!({"Effect": "Allow", "Principal": {"AWS": caller}, "Action": "sts:AssumeRole"});
    let lists = json!([{"Effect": "Allow", "Principal": {"AWS": [caller], "Service": ["ec2.amazonaws.com"]},
                        "Action": ["sts:TagSession", "sts:AssumeRole"], "Condition": {"Bool": {"aws:SecureTransport": ["true"]}}}]);
    let other = |n: usize| {
        json!({"Sid": format!("S{n}"), "Effect": "Allow", "Action": "sts:AssumeRole",
               "Principal": {"AWS": format!("arn:aws:iam::111122223333:role/other-{n}")}})
    };
    let hundred = |last: serde_json::Value| {
        let mut all: Vec<serde_json::Value> = (0..99).map(other).collect();
        all.push(last);
        serde_json::Value::Array(all)
    };
    let deny = json!({"Sid": "Last", "Effect": "Deny", "Principal": "*", "Action": "sts:*"});
    let document = |statements: &serde_json::Value| {
        json!({"Version": "2012-10-17", "Statement": statements}).to_string()
    };
    let encoded = |text: &str| {
        text.bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(b).to_string()
                }
                b => format!("%{b:02X}"),
            })
            .collect::<String>()
    };
    for (sent, code, reason, index) in [
        (document(&one), 0, "named-directly", json!(0)),
        (encoded(&document(&one)), 0, "named-directly", json!(0)),
        (document(&lists), 0, "named-directly", json!(0)),
        (encoded(&document(&lists)), 0, "named-directly", json!(0)),
        // No Version: the older one, without variables.
        (
            json!({"Statement": one}).to_string(),
            0,
            "named-directly",
            json!(0),
        ),
        (
            format!("\u{feff}\n  {}\n", document(&one)),
            0,
            "named-directly",
            json!(0),
        ),
        (
            encoded(&document(&hundred(one.clone()))),
            0,
            "named-directly",
            json!(99),
        ),
        (document(&hundred(other(99))), 1, "not-trusted", json!(null)),
        (document(&hundred(deny)), 1, "denied-by-trust", json!(99)),
        (document(&json!([])), 1, "not-trusted", json!(null)),
        ("{}".to_owned(), 1, "not-trusted", json!(null)),
        (String::new(), 3, "role-unread", json!(null)),
        ("<html>no</html>".to_owned(), 3, "trust-unreadable", json!(null)),
        ("%7B%22Version".to_owned(), 3, "trust-unreadable", json!(null)),
        ("%ff%fe".to_owned(), 3, "trust-unreadable", json!(null)),
        ("[]".to_owned(), 3, "trust-unreadable", json!(null)),
        ("null".to_owned(), 3, "trust-unreadable", json!(null)),
    ] {
        let mut world = world();
        world
            .account(scenario::ACCOUNT)
            .role_mut("demo-admin")
            .trust_as_sent = Some(sent.clone());
        let ran = Stage::new(world).run(&["trust", "demo-admin", "-o", "json"]);
        let report = ran.json();
        assert_eq!(
            (ran.code, &report["reason"]),
            (code, &json!(reason)),
            "{sent}\n{report}"
        );
        assert_eq!(report["decidedBy"]["index"], index, "{sent}\n{report}");
    }
}

#[test]
fn wrong_usage_is_said_before_anything_is_read() {
    let stage = Stage::new(world());
    for (args, part) in [
        (&["trust"][..], "<ROLE|--filename <FILE>>"),
        (&["trust", "a b"], "is not a role name"),
        (
            &["trust", "arn:aws:iam::111122223333:user/eve"],
            "is not the ARN of a role",
        ),
        (&["trust", "arn:aws:iam::…:role/x"], "twelve digits"),
        (&["trust", "x", "--principal", "eve"], "is not an ARN"),
    ] {
        let ran = stage.run(args).expect(2);
        assert!(ran.stderr.contains(part), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_policy_is_judged_before_iam_has_it() {
    let stage = Stage::new(world());
    let file = stage.home.path().join("trust.json");
    let path = file.to_str().expect("a path");
    let user = "arn:aws:iam::111122223333:user/eve";
    let one = |principal: serde_json::Value, condition: serde_json::Value| {
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": principal,
               "Action": "sts:AssumeRole", "Condition": condition}})
        .to_string()
    };
    let mfa = json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}});
    for (text, code, reason) in [
        (one(json!({"AWS": user}), json!({})), 0, "named-directly"),
        (
            one(json!({"AWS": "111122223333"}), json!({})),
            0,
            "account-trusted",
        ),
        (one(json!({"AWS": ADMIN}), json!({})), 1, "not-trusted"),
        (one(json!({"AWS": user}), mfa), 3, "trust-unclear"),
        (
            r#"{"Statement": [], "Statement": []}"#.to_owned(),
            3,
            "trust-unreadable",
        ),
        ("<html>".to_owned(), 3, "trust-unreadable"),
    ] {
        std::fs::write(&file, &text).expect("written");
        let ran = stage
            .run(&["trust", "-f", path, "--principal", user, "-o", "json"])
            .expect(code);
        assert_eq!(ran.json()["reason"], reason, "{text}: {}", ran.stdout);
        assert_eq!(ran.json()["kind"], "TrustReport");
    }
    // Offline means offline.
    assert_eq!(stage.standin.calls().len(), 0);
    for (args, code, part) in [
        (&["trust", "-f", path][..], 2, "--principal"),
        (
            &["trust", "-f", "/nowhere", "--principal", user],
            1,
            "/nowhere could not be read",
        ),
        (
            &["trust", "name", "-f", path, "--principal", user],
            2,
            "the role's ARN",
        ),
        (
            &["trust", "-f", path, "--principal", user, "--cdk"],
            2,
            "cannot be used with",
        ),
    ] {
        let ran = stage.run(args).expect(code);
        assert!(ran.stderr.contains(part), "{args:?}: {}", ran.stderr);
    }
}
