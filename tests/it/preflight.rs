//! `preflight` as a user runs it: the main job, the accounts, the reports.

use capt_spot_standin::{AuthenticationMode, Because, Decision, Fault, Role, Simulated, scenario};
use serde_json::Value;

use crate::support::program::{Ran, Stage};

const ROLE: &str = "AWSServiceRoleForEC2Spot";

#[test]
fn a_fresh_account_is_not_ready_and_says_what_to_run() {
    let stage = Stage::fresh();
    let ran = stage.run(&["preflight"]).expect(1);
    assert!(
        ran.stdout.contains("has no role AWSServiceRoleForEC2Spot"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("kubectl capt-spot create-role"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.starts_with("NOT READY  demo"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "", "nothing is drawn on a pipe");
    assert_eq!(
        stage.writes(),
        [""; 0],
        "a preflight without a person writes nothing"
    );
    let report = stage.preflight(&[]).expect(1).json();
    assert_eq!(report["apiVersion"], "capt-spot/v1");
    assert_eq!(report["kind"], "PreflightReport");
    assert_eq!(report["verdict"], "not-ready");
    assert_eq!(report["target"]["cluster"], "demo");
    assert_eq!(report["target"]["account"], scenario::ACCOUNT);
    assert_eq!(report["target"]["authenticationMode"], "API_AND_CONFIG_MAP");
    assert_eq!(report["caller"]["account"], scenario::ACCOUNT);
}

#[test]
fn an_account_that_has_the_role_is_ready() {
    let stage = Stage::healthy();
    let ran = stage.preflight(&[]).expect(0);
    assert_eq!(ran.json()["verdict"], "ready", "{}", ran.stdout);
    for id in [
        "cluster-found",
        "endpoint-matches",
        "same-account",
        "spot-role-exists",
        "spot-role-intact",
        "node-role-known",
    ] {
        assert_eq!(ran.status(id), "pass", "{id}: {}", ran.message(id));
    }
    assert!(ran.json()["caller"]["kubernetesUser"].is_string());
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn every_authentication_mode_is_ready_when_everything_is_there() {
    for mode in [
        AuthenticationMode::ConfigMap,
        AuthenticationMode::ApiAndConfigMap,
        AuthenticationMode::Api,
    ] {
        let mut world = scenario::karpenter_on_fargate(mode);
        world.account(scenario::ACCOUNT).add_spot_role();
        let stage = Stage::new(world);
        let ran = stage.preflight(&[]).expect(0);
        assert_eq!(ran.json()["target"]["authenticationMode"], mode.as_str());
    }
}

#[test]
fn credentials_of_another_account_fail_once_and_nothing_is_written() {
    let stage = Stage::new({
        let mut world = scenario::fresh_account_karpenter_on_fargate();
        let mut other = capt_spot_standin::Account::new("444455556666");
        other.add_user("AKIAOTHEREXAMPLE0000", "somebody");
        world.accounts.push(other);
        world
    });
    let mut stage = stage;
    stage.set("AWS_ACCESS_KEY_ID", "AKIAOTHEREXAMPLE0000");
    let ran = stage.preflight(&["--yes"]).expect(1);
    assert_eq!(ran.status("same-account"), "fail");
    let report = ran.json();
    let failed: Vec<&Value> = report["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter(|c| c["status"] == "fail")
        .collect();
    assert_eq!(failed.len(), 1, "one cause is reported once: {failed:#?}");
    assert_eq!(ran.status("spot-role-exists"), "skip");
    assert_eq!(stage.run(&["create-role", "--yes"]).code, 1);
    assert_eq!(stage.writes(), [""; 0]);
    // Even when the check that failed is not chosen, the rest is no comfort.
    assert_eq!(
        stage.preflight(&["--only", "spot-role"]).expect(3).json()["verdict"],
        "undecided"
    );
}

#[test]
fn an_ordinary_role_of_the_name_is_not_the_service_linked_role() {
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    let impostor = Role::new(ROLE, capt_spot_standin::service_trust("ec2.amazonaws.com"));
    world.account(scenario::ACCOUNT).roles.push(impostor);
    let stage = Stage::new(world);
    let ran = stage.preflight(&[]).expect(1);
    assert_eq!(ran.status("spot-role-intact"), "fail");
    assert!(
        ran.message("spot-role-intact").contains("ordinary role"),
        "{}",
        ran.message("spot-role-intact")
    );
    let ran = stage.run(&["create-role", "--yes"]).expect(1);
    assert!(ran.said().contains("is not the service-linked role"), "{ran:?}");
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn a_denied_read_is_unknown_and_leaves_the_others_alone() {
    let rows = [
        ("iam:GetRole", "spot-role-exists"),
        ("eks:DescribeCluster", "cluster-found"),
        ("iam:ListAttachedRolePolicies", "spot-role-intact"),
    ];
    for (action, check) in rows {
        let stage = Stage::healthy();
        stage.standin.world(|world| {
            let account = world.account(scenario::ACCOUNT);
            let identity = account
                .access_keys
                .get_mut(scenario::ACCESS_KEY)
                .expect("the caller");
            identity.deny_because(action, Because::NoIdentityPolicy);
        });
        let ran = stage.preflight(&[]).expect(3);
        assert_eq!(ran.json()["verdict"], "undecided");
        let finding = ran.check(check);
        assert_eq!(finding["status"], "unknown", "{finding}");
        assert!(
            finding["message"].as_str().expect("a message").contains(action),
            "{finding}"
        );
        assert!(
            finding["evidence"]["grant"]
                .as_str()
                .expect("the grant")
                .contains(action),
            "{finding}"
        );
    }
}

#[test]
fn the_simulator_decides_whether_the_missing_role_can_be_created() {
    for (decision, status) in [
        (Decision::Allowed, "pass"),
        (Decision::ImplicitDeny, "fail"),
        (Decision::ExplicitDeny, "fail"),
    ] {
        let stage = Stage::fresh();
        stage.standin.world(|world| {
            let simulated = Simulated::new("iam:CreateServiceLinkedRole", decision);
            world.account(scenario::ACCOUNT).simulation = vec![simulated];
        });
        let ran = stage.preflight(&[]);
        assert_eq!(
            ran.status("spot-role-creatable"),
            status,
            "{decision:?}: {}",
            ran.message("spot-role-creatable")
        );
        let asked = stage.standin.calls();
        let asked = asked
            .iter()
            .find(|call| {
                call.action == "iam:SimulatePrincipalPolicy"
                    && call.parameter("ActionNames.member.1") == Some("iam:CreateServiceLinkedRole")
            })
            .expect("the simulator was asked");
        let context = format!("{:?}", asked.parameters);
        assert!(
            context.contains("iam:AWSServiceName") && context.contains("spot.amazonaws.com"),
            "{context}"
        );
    }
}

#[test]
fn throttled_calls_are_tried_again() {
    let stage = Stage::healthy();
    stage.standin.fault("iam:GetRole*", Fault::Throttled).times(1);
    stage
        .standin
        .fault("kubernetes:get configmaps*", Fault::Throttled)
        .times(1);
    stage.preflight(&[]).expect(0);
}

#[test]
fn what_is_no_answer_is_never_absent() {
    // (calls, fault, the check that rests on them)
    let html = Fault::proxy_page(404);
    let rows = [
        ("iam:GetRole*", html.clone(), "spot-role-exists"),
        ("eks:DescribeCluster*", html.clone(), "cluster-found"),
        ("kubernetes:list nodepools*", html.clone(), "pools-want-spot"),
        ("iam:GetRole*", Fault::proxy_page(200), "spot-role-exists"),
        ("iam:GetRole*", Fault::Truncated, "spot-role-exists"),
        ("iam:GetRole*", Fault::Reset, "spot-role-exists"),
        ("iam:GetRole*", Fault::Broken(500), "spot-role-exists"),
        ("iam:GetRole*", Fault::Broken(503), "spot-role-exists"),
        ("iam:GetRole*", Fault::Throttled, "spot-role-exists"),
        ("sts:GetCallerIdentity*", html.clone(), "same-account"),
        ("eks:DescribeCluster*", Fault::Truncated, "cluster-found"),
        ("kubernetes:*", Fault::Truncated, "pools-want-spot"),
        ("kubernetes:*", Fault::Broken(500), "pools-want-spot"),
        ("kubernetes:*", html, "pools-want-spot"),
    ];
    for (pattern, fault, check) in rows {
        let stage = Stage::healthy();
        stage.standin.fault(pattern, fault.clone());
        let ran = stage.preflight(&["--request-timeout", "5s"]);
        assert_eq!(
            ran.status(check),
            "unknown",
            "{pattern} {fault:?}: {}",
            ran.message(check)
        );
        // An unread pool is advice that is missing; everything else here is needed.
        if check != "pools-want-spot" {
            assert_eq!(ran.json()["verdict"], "undecided", "{pattern} {fault:?}");
            assert_eq!(ran.code, 3);
        }
        // The same fault in the way of the write.
        stage.standin.world(|world| {
            world
                .account(scenario::ACCOUNT)
                .roles
                .retain(|role| role.name != ROLE)
        });
        if pattern.starts_with("iam") || pattern.starts_with("eks") || pattern.starts_with("sts") {
            assert_eq!(
                stage
                    .run(&["create-role", "--yes", "--request-timeout", "5s"])
                    .code,
                1,
                "{pattern} {fault:?}"
            );
            assert_eq!(stage.writes(), [""; 0], "{pattern} {fault:?}");
        }
    }
}

#[test]
fn a_server_that_hangs_is_given_up_after_the_request_timeout() {
    let stage = Stage::healthy();
    stage.standin.fault("*", Fault::Hang);
    let ran = stage.preflight(&["--request-timeout", "300ms"]).expect(3);
    assert!(
        ran.message("cluster-found").contains("--request-timeout"),
        "{}",
        ran.message("cluster-found")
    );
}

#[test]
fn selection_strictness_and_wrong_names() {
    let stage = Stage::fresh();
    let ran = stage.preflight(&["--skip", "spot-role"]).expect(0);
    assert_eq!(ran.status("spot-role-exists"), "skip");
    assert!(ran.message("spot-role-exists").contains("--skip"));
    // Ready in a few checks is not the promise that Karpenter gets spot capacity.
    for part in [["--skip", "spot-role"], ["--only", "target"]] {
        for format in ["text", "markdown"] {
            let ran = stage
                .run(&["preflight", "-o", format, part[0], part[1]])
                .expect(0);
            let said = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("in what was judged"), "{said}");
            assert!(!said.contains("Karpenter can get spot"), "{said}");
        }
    }
    let ran = stage.preflight(&["--only", "target,node-role-known"]).expect(0);
    let report = ran.json();
    let groups: Vec<&str> = report["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|c| c["group"].as_str().expect("a group"))
        .collect();
    assert!(
        groups
            .iter()
            .all(|group| *group == "target" || *group == "node-mapping"),
        "{groups:?}"
    );
    let ran = stage.preflight(&["--only", "no-such-check"]).expect(2);
    assert!(ran.stderr.contains("no-such-check"), "{}", ran.stderr);
    let stage = Stage::healthy();
    stage.write_kubeconfig_text(&tunnel(&stage));
    assert_eq!(stage.preflight(&[]).expect(0).status("endpoint-matches"), "warn");
    stage.preflight(&["--strict"]).expect(1);
}

/// A kubeconfig with `localhost` for `127.0.0.1`: the same server under a name that EKS does not give it. Its own token goes there, one
/// made here does not.
fn tunnel(stage: &Stage) -> String {
    let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER);
    kubeconfig
        .token(scenario::ADMIN_TOKEN)
        .yaml()
        .replace("http://127.0.0.1", "http://localhost")
}

#[test]
fn saved_facts_are_judged_the_same_without_any_network() {
    for world in [
        scenario::healthy(),
        scenario::fresh_account_karpenter_on_fargate(),
    ] {
        let stage = Stage::new(world);
        for format in ["text", "json", "junit", "sarif", "markdown"] {
            let file = stage.home.path().join("facts.json");
            let file = file.to_str().expect("a path");
            let live = stage.run(&["preflight", "-o", format, "--save", file]);
            let saved = std::fs::read_to_string(file).expect("the facts");
            for secret in [
                "wJalr",
                "k8s-aws-v1",
                "X-Amz-Signature",
                scenario::ACCESS_KEY,
                scenario::ADMIN_TOKEN,
            ] {
                assert!(!saved.contains(secret), "{secret}");
            }
            stage.standin.clear_calls();
            let offline = stage.run(&["preflight", "-o", format, "--from", file]);
            let told = |ran: &Ran| match format {
                "json" => ran.steady_json().to_string(),
                _ => ran
                    .stdout
                    .lines()
                    .filter(|line| !line.is_empty() && !line.contains("Offline: "))
                    .collect::<Vec<_>>()
                    .join("\n"),
            };
            assert_eq!(
                (live.code, told(&live)),
                (offline.code, told(&offline)),
                "{format}"
            );
            if format == "text" {
                assert!(offline.stdout.contains("Offline: judges facts gathered at "));
            }
            assert_eq!(stage.standin.calls().len(), 0, "{format}");
        }
    }
}

#[test]
fn masked_facts_hold_no_account_and_give_the_same_verdict() {
    let stage = Stage::fresh();
    let file = stage.home.path().join("facts.json");
    let file = file.to_str().expect("a path");
    let live = stage.preflight(&["--save", file, "--redact"]).expect(1);
    let saved = std::fs::read_to_string(file).expect("the facts");
    assert!(!saved.contains(scenario::ACCOUNT));
    assert!(
        live.stderr.starts_with("masked: 1 account ids, ") && live.stderr.contains("; left: names of roles"),
        "{}",
        live.stderr
    );
    let offline = stage.preflight(&["--from", file]).expect(1);
    assert_eq!(live.json()["summary"], offline.json()["summary"]);
    // It says what it is judged from, and a command with masked names is nothing to paste.
    assert_eq!(offline.json()["offline"]["redacted"], true);
    for check in offline.json()["checks"].as_array().expect("checks") {
        assert!(
            check["remedy"]["commands"].as_array().is_none_or(Vec::is_empty),
            "{check}"
        );
    }
    let text = stage.run(&["preflight", "--from", file]).expect(1).stdout;
    assert!(text.contains("Offline: ") && text.contains("redacted."), "{text}");
    stage.preflight(&["--save", file, "--redact=names"]).expect(1);
    let saved = std::fs::read_to_string(file).expect("the facts");
    assert!(
        !saved.contains("demo") && !saved.contains("platform-admin"),
        "{saved}"
    );
    let offline = stage.preflight(&["--from", file]).expect(1);
    assert_eq!(live.json()["summary"], offline.json()["summary"]);
}

#[test]
fn everything_ends_in_time() {
    let stage = Stage::healthy();
    // Each request would have an hour.
    stage.standin.fault("eks:ListAccessEntries*", Fault::Hang);
    stage.standin.fault("kubernetes:list nodepools*", Fault::Hang);
    let ran = stage
        .preflight(&["--request-timeout", "0", "--overall-timeout", "2s"])
        .expect(3);
    let message = ran.message("node-role-mapped");
    assert!(message.contains("2 s (--overall-timeout)"), "{message}");
    // What was read by then counts.
    assert_eq!(ran.status("spot-role-exists"), "pass");
    assert_eq!(ran.status("aws-auth-parses"), "pass");
}

#[test]
fn files_are_read_to_a_bound() {
    let stage = Stage::healthy();
    for (args, says) in [
        (
            ["preflight", "--from", "/dev/zero"],
            "reading the facts from /dev/zero failed: it is larger than 256 MiB",
        ),
        (
            ["preflight", "--nodepools", "/dev/zero"],
            "reading the node pools from /dev/zero failed: it is larger than 16 MiB",
        ),
        (
            ["preflight", "--kubeconfig", "/dev/zero"],
            "the kubeconfig /dev/zero cannot be used: it is larger than 16 MiB",
        ),
    ] {
        let ran = stage.run(&args).expect(1);
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn saved_facts_that_are_not() {
    let stage = Stage::healthy();
    let file = stage.home.path().join("facts.json");
    for (text, says) in [
        ("", "holds no saved facts"),
        ("<html>", "holds no saved facts"),
        ("{}", "names no format"),
        (r#"{"format":"capt-spot/facts/v99"}"#, "this program reads"),
        (r#"{"format":"capt-spot/facts/v1"}"#, "holds no usable facts"),
    ] {
        std::fs::write(&file, text).expect("written");
        let ran = stage
            .run(&["preflight", "--from", file.to_str().expect("a path")])
            .expect(1);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    let ran = stage.run(&["preflight", "--from", "/nonexistent"]).expect(1);
    assert!(ran.stderr.contains("/nonexistent"), "{}", ran.stderr);
}

#[test]
fn waiting_ends_when_it_is_ready() {
    let stage = Stage::fresh();
    // The role appears after the first look.
    stage.standin.fault("iam:GetRole*", Fault::Throttled).times(0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stage.preflight(&["--wait", "60s"]));
        while !stage
            .standin
            .actions()
            .iter()
            .any(|action| action == "iam:GetRole")
        {
            std::thread::yield_now();
        }
        stage.standin.world(|world| {
            world.account(scenario::ACCOUNT).add_spot_role();
        });
        waiting.join().expect("the run").expect(0);
    });
}

#[test]
fn a_wait_shorter_than_the_pause_ends_with_a_last_try() {
    let stage = Stage::fresh();
    let looks = |stage: &Stage| {
        stage
            .standin
            .actions()
            .iter()
            .filter(|action| *action == "sts:GetCallerIdentity")
            .count()
    };
    stage.preflight(&["--no-input"]).expect(1);
    let once = looks(&stage);
    stage.preflight(&["--no-input", "--wait", "1s"]).expect(1);
    assert!(
        looks(&stage) > 2 * once,
        "{} looks, {once} in one try",
        looks(&stage)
    );
}

#[test]
fn a_part_that_is_in_order_does_not_promise_the_whole() {
    let stage = Stage::fresh();
    let judge = |flags: &[&str]| stage.run(&[&["preflight"], flags].concat());
    let promise = "Karpenter can get Spot capacity";
    for part in [
        &["--skip", "spot-role"][..],
        &["--only", "karpenter"],
        &["--only", "target", "--skip", "target"],
    ] {
        let ran = judge(part).expect(0);
        assert!(
            ran.stdout.contains("READY: nothing is wrong in what was judged")
                && !ran.stdout.contains(promise),
            "{}",
            ran.stdout
        );
    }
    // What is not there is not intact, whoever else was to say so.
    let ran = judge(&["--only", "spot-role-intact", "--show-all"]).expect(3);
    assert!(ran.stdout.contains("The role does not exist"), "{}", ran.stdout);
    stage.standin.world(|world| {
        world.account(scenario::ACCOUNT).add_spot_role();
    });
    let ran = judge(&[]).expect(0);
    assert!(ran.stdout.contains(promise), "{}", ran.stdout);
}

#[test]
fn a_node_role_that_is_no_role_name_is_wrong_usage() {
    let stage = Stage::fresh();
    for name in ["", "my role", "a;b", "/"] {
        let ran = stage.preflight(&["--node-role", name]).expect(2);
        assert!(ran.stderr.contains("--node-role"), "{}", ran.stderr);
    }
}

#[test]
fn several_contexts_in_one_run() {
    let stage = Stage::with_a_second_context();
    let ran = stage
        .run(&["preflight", "--all-contexts", "-o", "json"])
        .expect(0);
    assert_eq!(ran.json()["kind"], "PreflightReportList");
    let contexts = |ran: &crate::support::program::Ran| -> Vec<String> {
        let list = ran.json();
        let items = list["items"].as_array().expect("items");
        let name = |item: &Value| item["target"]["context"].as_str().expect("a name").to_owned();
        items.iter().map(name).collect()
    };
    let [first, second] = &contexts(&ran)[..] else {
        panic!("two contexts: {}", ran.stdout);
    };
    assert_eq!(second, "second");
    let ran = stage
        .run(&["preflight", "--contexts", "sec*", "-o", "json"])
        .expect(0);
    assert_eq!(contexts(&ran), ["second"]);
    let text = stage.run(&["preflight", "--all-contexts"]).expect(0).stdout;
    assert!(first.ends_with(":cluster/demo"), "{first}");
    assert_eq!(text.matches("READY  demo").count(), 2, "{text}");
    assert!(text.contains("context: second"), "{text}");
    let sarif = stage
        .run(&["preflight", "--all-contexts", "-o", "sarif"])
        .expect(0)
        .json();
    assert_eq!(
        sarif["runs"].as_array().map(Vec::len),
        Some(1),
        "GitHub takes one"
    );
    let junit = stage
        .run(&["preflight", "--all-contexts", "-o", "junit"])
        .expect(0)
        .stdout;
    assert_eq!(junit.matches("<testsuites ").count(), 1, "one document: {junit}");
    assert!(junit.contains("<testsuite name=\"second target\""), "{junit}");
    // A context that leads nowhere is an entry in every format.
    let gone = stage.home.path().join("gone");
    let text =
        "apiVersion: v1\nkind: Config\ncontexts:\n- {name: gone, context: {cluster: gone, user: gone}}\n";
    std::fs::write(&gone, text).expect("written");
    let several = |args: &[&str]| {
        let mut command = stage.command(&[&["preflight", "--contexts", "*"], args].concat());
        let known = command
            .get_envs()
            .find(|(name, _)| *name == "KUBECONFIG")
            .and_then(|(_, value)| value)
            .expect("KUBECONFIG")
            .to_owned();
        let mut all = known;
        all.push(":");
        all.push(&gone);
        command.env("KUBECONFIG", all);
        Ran::from(&command.output().expect("the program starts"))
    };
    let ran = several(&["-o", "json"]).expect(1);
    assert_eq!(contexts(&ran).last().map(String::as_str), Some("gone"));
    assert!(ran.json()["items"][2]["error"].is_string(), "{}", ran.stdout);
    for format in ["text", "junit", "sarif", "markdown", "github", "ndjson"] {
        let ran = several(&["-o", format]).expect(1);
        assert!(ran.stdout.contains("gone"), "{format}: {}", ran.stdout);
    }
    let ran = stage.run(&["preflight", "--contexts", "nothing-*"]).expect(1);
    assert!(ran.stderr.contains("no context"), "{}", ran.stderr);
}

#[test]
fn verbose_shows_calls_and_answers_and_no_secret() {
    let stage = Stage::healthy();
    let ran = stage.run(&["preflight", "-v"]).expect(0);
    for call in [
        "sts:GetCallerIdentity -> found",
        "iam:GetRole AWSServiceRoleForEC2Spot -> found",
        "eks:DescribeCluster demo -> found",
    ] {
        assert!(ran.stderr.contains(call), "{call}\n{}", ran.stderr);
    }
    for secret in ["wJalr", "k8s-aws-v1", "X-Amz-Signature", scenario::ACCESS_KEY] {
        assert!(
            !ran.stderr.contains(secret) && !ran.stdout.contains(secret),
            "{secret}"
        );
    }
}

#[test]
fn the_token_names_the_cluster_and_the_exec_entry_s_identity() {
    let stage = Stage::healthy();
    stage.preflight(&[]).expect(0);
    let tokens = stage
        .standin
        .world(|world| world.kubernetes(scenario::CLUSTER).eks_tokens.clone());
    assert!(!tokens.is_empty());
    for token in &tokens {
        assert!(token.is_valid(), "{token:?}");
    }
}

#[test]
fn the_exec_plugin_runs_when_it_must() {
    let mut stage = Stage::healthy();
    let bin = stage.home.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let script = "#!/bin/sh\necho ran >> \"$HOME/ran\"\necho '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"status\":{\"token\":\"admin-token\"}}'\n";
    write_executable(&bin.join("aws"), script);
    stage.set("PATH", &format!("{}:/usr/bin:/bin", bin.display()));
    stage.preflight(&[]).expect(0);
    assert!(
        !stage.home.path().join("ran").exists(),
        "no program is started when it need not be"
    );
    let ran = stage.preflight(&["--use-exec"]).expect(0);
    assert!(stage.home.path().join("ran").exists(), "{}", ran.stderr);
}

/// Writes an executable file.
fn write_executable(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

#[test]
fn facts_come_from_standard_input_and_a_full_disk_does_not_cost_the_report() {
    let stage = Stage::fresh();
    let path = stage.home.path().join("facts.json");
    let file = path.to_str().expect("a path");
    let live = stage.preflight(&["--save", file]).expect(1).steady_json();
    let mut command = stage.command(&["preflight", "-o", "json", "--from", "-"]);
    let saved = std::fs::File::open(&path).expect("saved");
    let ran = Ran::from(&command.stdin(saved).output().expect("the program starts")).expect(1);
    assert_eq!(ran.steady_json(), live);
    let ran = stage
        .preflight(&["--save", "/no/such/folder/facts.json"])
        .expect(1);
    assert_eq!(ran.steady_json(), live);
    assert!(ran.stderr.contains("/no/such/folder"), "{}", ran.stderr);
}

#[test]
fn by_helm_every_command_is_one_that_helm_runs() {
    let stage = Stage::fresh();
    let by_helm = |args: &[&str]| {
        let mut command = stage.command(args);
        command
            .env("HELM_PLUGIN_NAME", "capt-spot")
            .env("HELM_NAMESPACE", "team-a");
        Ran::from(&command.output().expect("the program starts"))
    };
    for (args, code) in [
        (&["preflight"][..], 1),
        (&["explain", "spot-role-exists"], 0),
        (&["preflight", "--only", "nonsense"], 2),
        (&["trust", "--help"], 0),
    ] {
        let ran = by_helm(args).expect(code);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("helm capt-spot "), "{args:?}: {said}");
        assert!(!said.contains("kubectl capt-spot"), "{args:?}: {said}");
    }
    // For programs, the report is the same whoever asks.
    let json = by_helm(&["preflight", "-o", "json"]).expect(1).json();
    assert!(json.to_string().contains("kubectl capt-spot create-role"));
    // Helm keeps -n, and says it in HELM_NAMESPACE.
    assert!(by_helm(&["hook"]).expect(0).stdout.contains("namespace: team-a"));
}
