//! `create-role` as a user runs it: the one write, and everything that keeps it from happening.

use capt_spot_standin::{Because, Fault, scenario};

use crate::support::program::{Ran, Stage};

const CREATE: &str = "iam:CreateServiceLinkedRole";

fn has_role(stage: &Stage) -> bool {
    stage.standin.world(|world| {
        world
            .account(scenario::ACCOUNT)
            .role("AWSServiceRoleForEC2Spot")
            .is_some()
    })
}

#[test]
fn it_creates_once_and_says_so() {
    let stage = Stage::fresh();
    let ran = stage.run(&["create-role", "--yes"]).expect(0);
    insta::assert_snapshot!("created", ran.stdout);
    assert_eq!(ran.stderr, "");
    assert_eq!(stage.writes(), [CREATE]);
    let call = stage.standin.writes().remove(0);
    assert_eq!(call.parameter("AWSServiceName"), Some("spot.amazonaws.com"));
    assert_eq!(
        (call.parameter("Description"), call.parameter("CustomSuffix")),
        (None, None)
    );
    let ran = stage.run(&["create-role", "--yes"]).expect(0);
    insta::assert_snapshot!("exists", ran.stdout);
    assert_eq!(stage.writes(), [CREATE], "done already: nothing is written again");
    stage.preflight(&[]).expect(0);
}

#[test]
fn a_program_is_told_how_it_ended() {
    let stage = Stage::fresh();
    let outcome = |flags: &[&str]| {
        let json = stage
            .run(&[&["create-role", "-o", "json"], flags].concat())
            .expect(0)
            .json();
        assert_eq!(json["kind"], "CreateRoleResult");
        assert_eq!(json["account"], scenario::ACCOUNT);
        (json["outcome"].clone(), json["role"].clone())
    };
    assert_eq!(
        outcome(&["--dry-run"]),
        ("would-create".into(), serde_json::Value::Null)
    );
    let (word, role) = outcome(&["--yes"]);
    assert_eq!(word, "created");
    assert!(
        role.as_str()
            .is_some_and(|arn| arn.ends_with("/AWSServiceRoleForEC2Spot")),
        "{role}"
    );
    assert_eq!(outcome(&["--yes"]), ("exists".into(), role));
    assert_eq!(stage.writes(), [CREATE]);
}

#[test]
fn nobody_there_and_no_yes_is_an_error_that_says_what_to_do() {
    let stage = Stage::fresh();
    let ran = stage.run(&["create-role"]).expect(2);
    insta::assert_snapshot!("nobody", ran.stdout);
    let ran = stage.run(&["create-role", "-q"]).expect(2);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("--yes"), "{ran:?}");
    let ran = stage.run(&["create-role", "-o", "json"]).expect(2);
    assert_eq!(ran.json()["outcome"], "refused");
    assert!(ran.stderr.contains("--yes"), "{ran:?}");
    assert_eq!(stage.writes(), [""; 0]);
    let ran = stage.run(&["create-role", "--dry-run", "--yes"]).expect(0);
    insta::assert_snapshot!("dry_run", ran.stdout);
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn preflight_with_yes_creates_and_judges_again() {
    let stage = Stage::fresh();
    let ran = stage.preflight(&["--yes"]).expect(0);
    assert_eq!(ran.json()["verdict"], "ready");
    assert_eq!(stage.writes(), [CREATE]);
    assert!(
        ran.stderr.contains("the role was created: arn:"),
        "{}",
        ran.stderr
    );
    stage.preflight(&["--yes"]).expect(0);
    assert_eq!(stage.writes(), [CREATE]);
}

#[test]
fn another_account_than_expected_is_refused() {
    let stage = Stage::fresh();
    let ran = stage
        .run(&["create-role", "--yes", "--expect-account", "444455556666"])
        .expect(1);
    insta::assert_snapshot!("another_account", ran.stdout);
    assert_eq!(stage.writes(), [""; 0]);
    stage
        .run(&["create-role", "--yes", "--expect-account", "4444"])
        .expect(2);
    stage
        .run(&["create-role", "--yes", "--expect-account", scenario::ACCOUNT])
        .expect(0);
    assert!(has_role(&stage));
}

#[test]
fn a_denial_names_caller_action_and_who_denies_and_prints_the_statement() {
    for (because, says) in [
        (Because::NoIdentityPolicy, "no policy of the caller allows it"),
        (Because::NoServiceControlPolicy, "service control policy"),
        (Because::ServiceControlPolicy(None), "service control policy"),
        (Because::NoPermissionsBoundary, "permissions boundary"),
    ] {
        let stage = Stage::fresh();
        stage.standin.world(|world| {
            let account = world.account(scenario::ACCOUNT);
            account
                .access_keys
                .get_mut(scenario::ACCESS_KEY)
                .expect("the caller")
                .deny_because(CREATE, because.clone());
        });
        let ran = stage.run(&["create-role", "--yes"]).expect(1);
        assert!(ran.said().contains(says), "{because:?}: {ran:?}");
        if matches!(because, Because::NoIdentityPolicy) {
            insta::assert_snapshot!("denied", ran.stdout);
        }
        let ran = stage.run(&["create-role", "--yes", "-o", "json"]).expect(1);
        assert_eq!(ran.json()["outcome"], "refused");
        assert!(!has_role(&stage));
    }
}

#[test]
fn iam_shows_it_late() {
    let stage = Stage::fresh();
    stage
        .standin
        .world(|world| world.account(scenario::ACCOUNT).reads_until_visible = 3);
    stage.run(&["create-role", "--yes"]).expect(0);
    assert_eq!(stage.writes(), [CREATE]);
}

#[test]
fn two_people_at_once_both_succeed() {
    let stage = Stage::fresh();
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| stage.run(&["create-role", "--yes"]).code))
            .collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    assert_eq!(codes, [0, 0, 0, 0]);
    assert!(has_role(&stage));
}

#[test]
fn taken_in_the_meantime_is_success_after_reading_it_again() {
    // Both texts that AWS has for it: the role is there by the time of the call, but the first look does not show it.
    let invalid_input = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>InvalidInput</Code><Message>Service role name AWSServiceRoleForEC2Spot has been taken in this account, please try a different suffix.</Message></Error><RequestId>0</RequestId></ErrorResponse>";
    let exists = invalid_input.replace("InvalidInput", "EntityAlreadyExists");
    for body in [invalid_input.to_owned(), exists] {
        let stage = Stage::fresh();
        let reply = Fault::Reply {
            status: 400,
            content_type: "text/xml".to_owned(),
            body,
        };
        stage.standin.fault("iam:CreateServiceLinkedRole*", reply);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| stage.run(&["create-role", "--yes"]));
            while !stage.standin.actions().iter().any(|action| action == CREATE) && !run.is_finished() {
                std::thread::yield_now();
            }
            stage.standin.world(|world| {
                world.account(scenario::ACCOUNT).add_spot_role();
            });
            let ran = run.join().expect("a run").expect(0);
            assert!(ran.said().contains("created in the meantime"), "{}", ran.stdout);
        });
    }
}

#[test]
fn a_bad_suffix_is_not_taken_for_success() {
    let stage = Stage::fresh();
    let body = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>InvalidInput</Code><Message>Custom suffix is not allowed for spot.amazonaws.com</Message></Error><RequestId>0</RequestId></ErrorResponse>";
    let reply = Fault::Reply {
        status: 400,
        content_type: "text/xml".to_owned(),
        body: body.to_owned(),
    };
    stage.standin.fault("iam:CreateServiceLinkedRole*", reply);
    let ran = stage.run(&["create-role", "--yes"]).expect(1);
    insta::assert_snapshot!("failed", ran.stdout);
    let ran = stage.run(&["create-role", "--yes", "-o", "json"]).expect(1);
    assert_eq!(ran.json()["outcome"], "failed");
}

#[test]
fn caller_and_cluster_are_verified_again_right_before_the_call() {
    const AGAIN: [&str; 2] = ["eks:DescribeCluster", "sts:GetCallerIdentity"];
    let stage = Stage::fresh();
    stage.run(&["create-role", "--yes"]).expect(0);
    let actions = stage.standin.actions();
    let create = actions
        .iter()
        .position(|action| action == CREATE)
        .expect("the write");
    let mut before = actions[create - 2..create].to_vec();
    before.sort();
    assert_eq!(before, AGAIN, "{actions:?}");
    // The second look fails: nothing is written.
    for call in AGAIN {
        let stage = Stage::fresh();
        stage
            .standin
            .fault(&format!("{call}*"), Fault::proxy_page(403))
            .after(1);
        let ran = stage.run(&["create-role", "--yes"]).expect(1);
        assert!(ran.said().contains("Right before the call"), "{ran:?}");
        assert_eq!(stage.writes(), [""; 0]);
    }
    // Or shows another cluster of that name.
    let stage = Stage::fresh();
    stage.standin.change_on("eks:DescribeCluster", 2, |world| {
        world.cluster(scenario::CLUSTER).extra.insert(
            "arn".to_owned(),
            "arn:aws:eks:eu-west-1:444455556666:cluster/demo".into(),
        );
    });
    let ran = stage.run(&["create-role", "--yes"]).expect(1);
    assert!(ran.stdout.contains("444455556666"), "{ran:?}");
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn a_context_that_leads_to_another_cluster_is_refused() {
    use base64::Engine as _;
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    world.kubernetes(scenario::CLUSTER).tls = true;
    let data = base64::engine::general_purpose::STANDARD.encode("another certificate authority");
    let cluster = world.cluster(scenario::CLUSTER);
    cluster.extra.insert(
        "certificateAuthority".to_owned(),
        serde_json::json!({ "data": data }),
    );
    let stage = Stage::new(world);
    for verb in [&["create-role", "--yes"][..], &["preflight", "--yes"]] {
        let ran = stage.run(verb).expect(1);
        assert!(
            ran.said().contains("certificate authority is not demo's"),
            "{ran:?}"
        );
    }
    let other = "https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com";
    let stage = Stage::fresh();
    stage.write_kubeconfig(&stage.standin.kubeconfig(scenario::CLUSTER).server(other));
    let ran = stage
        .run(&["create-role", "--yes", "--request-timeout", "2s"])
        .expect(1);
    assert!(ran.said().contains("is another EKS endpoint"), "{ran:?}");
    assert_eq!(stage.writes(), [""; 0]);
}

/// What can become of an answer on its way back.
fn lost_answers() -> Vec<(&'static str, Fault)> {
    let reply = |body: &str| Fault::Reply {
        status: 200,
        content_type: "text/xml".to_owned(),
        body: body.to_owned(),
    };
    vec![
        ("reset", Fault::Reset),
        ("no answer", Fault::Hang),
        ("empty", reply("")),
        ("cut off", reply("<CreateServiceLinkedRoleResponse><Create")),
        ("a page", Fault::proxy_page(200)),
        ("a page of a gateway", Fault::proxy_page(502)),
        ("a failure", Fault::Broken(500)),
    ]
}

/// One run for each of them, at the same time: most of a run is waiting.
fn for_each_lost_answer(judge: impl Fn(&str, &Stage) + Sync) {
    std::thread::scope(|scope| {
        for (what, fault) in lost_answers() {
            let judge = &judge;
            scope.spawn(move || {
                let stage = Stage::fresh();
                stage.standin.fault("iam:CreateServiceLinkedRole*", fault);
                judge(what, &stage);
            });
        }
    });
}

#[test]
fn a_lost_answer_is_not_taken_for_a_failure() {
    for_each_lost_answer(|what, stage| {
        stage
            .standin
            .change_on("iam:CreateServiceLinkedRole", 1, |world| {
                world.account(scenario::ACCOUNT).add_spot_role();
            });
        let ran = stage
            .run(&["create-role", "--yes", "--request-timeout", "3s", "-o", "json"])
            .expect(0);
        assert_eq!(ran.json()["outcome"], "created", "{what}: {ran:?}");
        assert!(has_role(stage));
    });
}

#[test]
fn a_lost_answer_and_no_role_is_said_as_it_is() {
    for_each_lost_answer(|what, stage| {
        let ran = stage
            .run(&["create-role", "--yes", "--request-timeout", "1s"])
            .expect(1);
        assert!(
            ran.said().contains("The role may have been created"),
            "{what}: {ran:?}"
        );
        assert!(ran.said().contains("NoSuchEntity"), "{what}: {ran:?}");
    });
}

#[test]
fn taken_and_never_visible_is_not_called_created() {
    let stage = Stage::fresh();
    let body = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>InvalidInput</Code><Message>Service role name AWSServiceRoleForEC2Spot has been taken in this account, please try a different suffix.</Message></Error><RequestId>0</RequestId></ErrorResponse>";
    let reply = Fault::Reply {
        status: 400,
        content_type: "text/xml".to_owned(),
        body: body.to_owned(),
    };
    stage.standin.fault("iam:CreateServiceLinkedRole*", reply);
    let ran = stage
        .run(&["create-role", "--yes", "--request-timeout", "1s"])
        .expect(1);
    assert!(
        ran.said()
            .contains("Nothing was created: IAM says that the role's name has been taken"),
        "{ran:?}"
    );
    assert!(ran.stdout.starts_with("FAILED"), "{}", ran.stdout);
}

#[cfg(unix)]
#[test]
fn a_signal_after_the_request_went_out_says_what_may_have_happened() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let stage = Stage::fresh();
        stage.standin.fault("iam:CreateServiceLinkedRole*", Fault::Hang);
        let mut command = stage.command(&["create-role", "--yes"]);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        while !stage.standin.actions().iter().any(|action| action == CREATE)
            && child.try_wait().expect("a child").is_none()
        {
            std::thread::yield_now();
        }
        let killed = std::process::Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(killed.is_ok_and(|status| status.success()));
        let ran = Ran::from(&child.wait_with_output().expect("the end")).expect(code);
        assert!(
            ran.stderr
                .contains("the role may have been created in account 111122223333"),
            "{}",
            ran.stderr
        );
    }
}
