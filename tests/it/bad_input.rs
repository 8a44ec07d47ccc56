//! Bad input: each with a clear error that names the thing and what to do, nothing lost, no panic.

use capt_spot_standin::{Endpoint, scenario};
use serde_json::json;

use crate::support::program::{Ran, Stage};

/// Nothing may ever panic or print a control character.
#[track_caller]
fn clean(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("panicked"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(
            !text
                .chars()
                .any(|c| ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)),
            "{text:?}"
        );
    }
}

#[test]
fn kubeconfigs_that_are_none() {
    let rows: &[(&str, &[&str], &str)] = &[
        ("clusters: [", &["preflight"], "cannot be used"),
        ("just text", &["preflight"], "cannot be used"),
        (
            "apiVersion: v1\nkind: Config\n",
            &["preflight"],
            "sets no current-context",
        ),
        (
            "apiVersion: v1\nkind: Config\ncurrent-context: a\n",
            &["preflight"],
            "no context \"a\"",
        ),
        (
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n",
            &["preflight"],
            "names the cluster \"c\"",
        ),
        (
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://x'}}]\n",
            &["preflight"],
            "names the user \"u\"",
        ),
    ];
    for (text, args, says) in rows {
        let stage = Stage::healthy();
        stage.write_kubeconfig_text(text);
        let ran = stage.run(args).expect(1);
        clean(&ran);
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains(says),
            "{text}: {}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "");
    }
    let mut stage = Stage::healthy();
    let ran = stage.run(&["preflight", "--context", "nonsense"]).expect(1);
    assert!(
        ran.stderr.contains("no context \"nonsense\"") && ran.stderr.contains("cluster/demo"),
        "{}",
        ran.stderr
    );
    stage.set("KUBECONFIG", "/nonexistent/kubeconfig");
    let ran = stage
        .command(&["preflight"])
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .output()
        .expect("it starts");
    let ran = Ran::from(&ran).expect(1);
    assert!(
        ran.stderr.contains("/nonexistent/kubeconfig") && ran.stderr.contains("update-kubeconfig"),
        "{}",
        ran.stderr
    );
}

#[test]
fn several_kubeconfig_files_are_merged_and_missing_ones_passed_over() {
    let stage = Stage::healthy();
    let second = stage.home.path().join("second");
    std::fs::write(&second, "apiVersion: v1\nkind: Config\ncurrent-context: kind-x\ncontexts: [{name: kind-x, context: {cluster: k, user: k}}]\nclusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: k, user: {}}]\n").expect("written");
    let list = std::env::join_paths([std::path::Path::new("/nonexistent"), &stage.kubeconfig(), &second])
        .expect("a list");
    let run = |args: &[&str]| {
        Ran::from(
            &stage
                .command(args)
                .env("KUBECONFIG", &list)
                .output()
                .expect("it starts"),
        )
    };
    // The first file that sets current-context wins.
    assert_eq!(
        run(&["preflight", "-o", "json"]).expect(0).json()["target"]["cluster"],
        "demo"
    );
    let ran = run(&["preflight", "--context", "kind-x"]).expect(1);
    assert!(
        ran.stderr.contains("is not an EKS cluster: it is a kind cluster"),
        "{}",
        ran.stderr
    );
}

#[test]
fn contexts_that_are_not_eks_get_one_clear_sentence() {
    for (name, server) in [
        ("kind-dev", "https://127.0.0.1:6443"),
        ("minikube", "https://192.168.49.2:8443"),
        ("gke_project_zone_name", "https://34.1.2.3"),
        ("docker-desktop", "https://kubernetes.docker.internal:6443"),
    ] {
        let stage = Stage::healthy();
        stage.write_kubeconfig_text(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\ncontexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]\nclusters: [{{name: {name}, cluster: {{server: '{server}'}}}}]\nusers: [{{name: {name}, user: {{token: t}}}}]\n"
        ));
        let ran = stage.run(&["preflight"]).expect(1);
        assert!(
            ran.stderr
                .contains(&format!("the context \"{name}\" is not an EKS cluster")),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert_eq!(stage.standin.calls().len(), 0, "nothing is asked for it");
    }
}

#[test]
fn every_kind_of_eks_kubeconfig_resolves_to_the_same_cluster() {
    let stage = Stage::healthy();
    let base = || stage.standin.kubeconfig(scenario::CLUSTER);
    let kinds = [
        base(),
        base().authenticator(),
        base().eksctl("platform-admin"),
        base().arn_named(scenario::ADMIN_TOKEN),
        base().cluster_api(scenario::ADMIN_TOKEN),
        base().cluster_api(scenario::ADMIN_TOKEN).named("a", "b", "c"),
    ];
    for kubeconfig in kinds {
        stage.write_kubeconfig(&kubeconfig);
        let ran = stage.preflight(&[]).expect(0);
        let report = ran.json();
        assert_eq!(report["target"]["cluster"], "demo", "{}", kubeconfig.yaml());
        assert_eq!(report["target"]["region"], "eu-west-1");
        assert_eq!(report["target"]["account"], scenario::ACCOUNT);
        assert_eq!(
            ran.status("caller-mapped"),
            "pass",
            "{}",
            ran.message("caller-mapped")
        );
    }
}

#[test]
fn sources_that_disagree_are_named() {
    let stage = Stage::healthy();
    let ran = stage
        .preflight(&["--region", "eu-west-1", "--cluster-name", "other"])
        .expect(1);
    assert!(
        ran.message("cluster-found").contains("no cluster other"),
        "{}",
        ran.message("cluster-found")
    );
    let text = std::fs::read_to_string(stage.kubeconfig()).expect("the kubeconfig");
    let user = text.replace(":cluster/demo", ":cluster/old");
    // Names say old, the exec entry says demo: the exec entry is believed, and it is said.
    stage.write_kubeconfig_text(&user);
    let ran = stage.preflight(&[]).expect(0);
    assert_eq!(ran.status("cluster-found"), "warn");
    assert!(
        ran.message("cluster-found")
            .contains("the exec entry names the cluster demo"),
        "{}",
        ran.message("cluster-found")
    );
}

#[test]
fn exec_plugins_that_do_not_work() {
    let rows: &[(&str, &[&str], &str)] = &[
        ("no-such-plugin", &[], "not installed or not on PATH"),
        ("sh", &["-c", "echo sorry >&2; exit 7"], "sorry"),
        ("sh", &["-c", "echo rubbish-that-is-secret"], "printed no JSON"),
        (
            "sleep",
            &["600"],
            "exec plugin sleep within 0.5 s (--request-timeout)",
        ),
    ];
    for (command, args, says) in rows {
        let stage = Stage::healthy();
        let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER).command(command, args);
        stage.write_kubeconfig(&kubeconfig);
        let ran = stage.preflight(&["--request-timeout", "500ms"]).expect(3);
        clean(&ran);
        let message = ran.message("caller-mapped");
        assert_eq!(ran.status("caller-mapped"), "unknown", "{message}");
        assert!(message.contains(says), "{command}: {message}");
        assert!(
            !ran.stdout.contains("rubbish-that-is-secret"),
            "what it printed could be a token"
        );
        assert_eq!(
            ran.status("spot-role-exists"),
            "pass",
            "the others are left alone"
        );
    }
}

#[test]
fn no_credentials_and_profiles_that_do_not_exist() {
    let mut stage = Stage::healthy();
    stage.unset("AWS_ACCESS_KEY_ID");
    stage.unset("AWS_SECRET_ACCESS_KEY");
    let ran = stage.preflight(&[]).expect(3);
    clean(&ran);
    assert!(
        ran.message("same-account").contains("no AWS credentials"),
        "{}",
        ran.message("same-account")
    );
    let text = stage.run(&["preflight"]).expect(3).stdout;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        text.matches("? No valid AWS credentials").count(),
        1,
        "one cause is said once\n{text}"
    );
    let config = stage.home.path().join("config");
    std::fs::write(&config, "[profile good]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = x\nregion = eu-west-1\n").expect("written");
    stage.set("AWS_CONFIG_FILE", config.to_str().expect("a path"));
    let ran = stage.preflight(&["--profile", "nonsense"]).expect(3);
    let message = ran.message("same-account");
    assert!(
        message.contains("no AWS profile \"nonsense\"") && message.contains("good"),
        "{message}"
    );
    let ran = stage.preflight(&["--profile", "good"]);
    assert_eq!(
        ran.status("same-account"),
        "pass",
        "{}",
        ran.message("same-account")
    );
    stage.set("AWS_PROFILE", "missing");
    let ran = stage.preflight(&[]).expect(3);
    assert!(
        ran.message("same-account").contains("no AWS profile \"missing\""),
        "{}",
        ran.message("same-account")
    );
}

#[test]
fn an_expired_sso_session_says_how_to_log_in() {
    let mut stage = Stage::healthy();
    stage.unset("AWS_ACCESS_KEY_ID");
    stage.unset("AWS_SECRET_ACCESS_KEY");
    let config = stage.home.path().join("config");
    let text = "[profile corp]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Admin\nregion = eu-west-1\n\
                [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n";
    std::fs::write(&config, text).expect("written");
    stage.set("AWS_CONFIG_FILE", config.to_str().expect("a path"));
    let ran = stage.preflight(&["--profile", "corp"]).expect(3);
    let remedy = &ran.check("same-account")["remedy"];
    assert_eq!(remedy["commands"][0], "aws sso login --profile corp", "{remedy}");
}

#[test]
fn the_region_is_missing() {
    let mut stage = Stage::healthy();
    stage.unset("AWS_REGION");
    stage.unset("AWS_DEFAULT_REGION");
    let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER).named("x", "x", "x");
    let text = kubeconfig
        .yaml()
        .replace("--region", "--color")
        .replace("eu-west-1", "off");
    stage.write_kubeconfig_text(&text);
    let ran = stage.run(&["preflight"]).expect(1);
    assert!(ran.stderr.contains("--region REGION"), "{}", ran.stderr);
}

#[test]
fn clusters_that_are_not_there() {
    for status in ["CREATING", "DELETING", "FAILED"] {
        let stage = Stage::healthy();
        stage.standin.world(|world| {
            let cluster = world.cluster(scenario::CLUSTER);
            cluster.status = status.to_owned();
            if status == "CREATING" {
                cluster.endpoint = Endpoint::Absent;
            }
        });
        let ran = stage.preflight(&[]).expect(1);
        assert_eq!(ran.status("cluster-found"), "fail");
        assert!(
            ran.message("cluster-found").contains(status),
            "{}",
            ran.message("cluster-found")
        );
        let report = ran.json();
        assert_eq!(report["summary"]["fail"], 1, "{report:#}");
    }
    let stage = Stage::healthy();
    stage
        .standin
        .world(|world| world.account(scenario::ACCOUNT).clusters.clear());
    let ran = stage.preflight(&[]).expect(1);
    assert_eq!(ran.status("cluster-found"), "fail");
    assert_eq!(ran.json()["summary"]["fail"], 1);
    assert_eq!(stage.run(&["create-role", "--yes"]).code, 1);
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn a_cluster_created_again_under_its_name() {
    let stage = Stage::fresh();
    let text = std::fs::read_to_string(stage.kubeconfig()).expect("the kubeconfig");
    let url = stage.standin.kubernetes_url(scenario::CLUSTER);
    stage.write_kubeconfig_text(
        &text.replace(&url, "https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com"),
    );
    let ran = stage.preflight(&["--request-timeout", "2s"]).expect(1);
    assert_eq!(ran.status("endpoint-matches"), "fail");
    let ran = stage
        .run(&["create-role", "--yes", "--request-timeout", "2s"])
        .expect(1);
    assert!(ran.said().contains("is another EKS endpoint"), "{ran:?}");
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn nothing_answers() {
    let mut stage = Stage::healthy();
    stage.set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let ran = stage.preflight(&[]).expect(3);
    clean(&ran);
    assert!(
        ran.message("cluster-found").contains("Connection refused"),
        "{}",
        ran.message("cluster-found")
    );
    let stage = Stage::healthy();
    let text = std::fs::read_to_string(stage.kubeconfig()).expect("the kubeconfig");
    stage.write_kubeconfig_text(&text.replace(
        &stage.standin.kubernetes_url(scenario::CLUSTER),
        "http://127.0.0.1:1",
    ));
    let ran = stage.preflight(&[]).expect(3);
    assert_eq!(ran.status("aws-auth-parses"), "unknown");
    assert_eq!(ran.status("spot-role-exists"), "pass");
}

#[test]
fn aws_auth_in_every_state() {
    let big = format!("# {}\n", "x".repeat(1_000_000));
    let rows: &[(&str, &str, &str)] = &[
        ("", "pass", "fail"),
        ("[]", "pass", "fail"),
        // What is lost is told once, by the check that names the line.
        ("- rolearn: a\n\tusername: b\n", "fail", "skip"),
        ("\u{1b}[31m: [\n", "fail", "skip"),
        (&big, "pass", "fail"),
    ];
    for (text, parses, mapped) in rows {
        let mut world = scenario::karpenter_on_fargate(capt_spot_standin::AuthenticationMode::ConfigMap);
        world.account(scenario::ACCOUNT).add_spot_role();
        world
            .kubernetes(scenario::CLUSTER)
            .put_aws_auth(&[("mapRoles", text)]);
        let stage = Stage::new(world);
        let ran = stage.preflight(&[]);
        clean(&ran);
        assert_eq!(
            ran.status("aws-auth-parses"),
            *parses,
            "{}",
            ran.message("aws-auth-parses")
        );
        assert_eq!(
            ran.status("node-role-mapped"),
            *mapped,
            "{}",
            ran.message("node-role-mapped")
        );
        clean(&stage.run(&["preflight"]));
    }
}

#[test]
fn hostile_names_stay_text() {
    for name in [
        "evil\u{1b}[2J\u{7}",
        "abc\u{202e}txt",
        "line\nbreak",
        &"n".repeat(10_000),
        "$(reboot)",
        "`id`",
        "<b>&\"'|",
    ] {
        let mut world = scenario::fresh_account_karpenter_on_fargate();
        let kubernetes = world.kubernetes(scenario::CLUSTER);
        kubernetes.put(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
            "spec": {"template": {"spec": {"requirements": [
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [name]}
            ]}}}
        }));
        kubernetes.put(json!({
            "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": name}, "spec": {"role": name}
        }));
        let stage = Stage::new(world);
        for format in ["text", "json", "yaml", "junit", "sarif", "markdown"] {
            let ran = stage.run(&["preflight", "-o", format]).expect(1);
            clean(&ran);
        }
        let ran = stage.run(&["preflight", "--cluster-name", name]);
        clean(&ran);
    }
}

#[test]
fn wrong_usage_is_2() {
    let stage = Stage::healthy();
    for args in [
        &["nonsense"][..],
        &[],
        &["preflight", "--no-such-flag"],
        &["preflight", "-o", "nonsense"],
        &["preflight", "--request-timeout", "soon"],
        &["preflight", "--color", "perhaps"],
        &["preflight", "--from", "x", "--save", "y"],
        &["explain", "-o", "sarif"],
        &["completion", "nonsense"],
    ] {
        let ran = stage.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
    let help = stage.run(&["--help"]).expect(0);
    assert!(
        help.stdout.contains("Usage: kubectl capt-spot"),
        "{}",
        help.stdout
    );
    let as_helm = stage
        .command(&["--help"])
        .env("HELM_PLUGIN_NAME", "capt-spot")
        .output()
        .expect("it starts");
    assert!(String::from_utf8_lossy(&as_helm.stdout).contains("Usage: helm capt-spot"));
    assert!(
        stage
            .run(&["--version"])
            .expect(0)
            .stdout
            .starts_with("capt-spot ")
    );
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            stage.run(&["completion", shell]).expect(0).stdout.len() > 400,
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let stage = Stage::healthy();
    let mut child = stage
        .command(&["preflight"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the end");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_certificate_bundle_that_is_damaged() {
    let mut stage = Stage::healthy();
    let bundle = stage.home.path().join("bundle.pem");
    for (text, says) in [
        ("", "holds no PEM certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "is damaged at its certificate 1",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "holds something else than a certificate",
        ),
    ] {
        std::fs::write(&bundle, text).expect("written");
        stage.set("AWS_CA_BUNDLE", bundle.to_str().expect("UTF-8"));
        let ran = stage.run(&["preflight"]).expect(1);
        clean(&ran);
        assert!(
            ran.stderr.contains("AWS_CA_BUNDLE") && ran.stderr.contains(says),
            "{}",
            ran.stderr
        );
    }
}
