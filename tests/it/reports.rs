//! Whole reports, as a person reads them: `tests/reports/` holds one file a world, to be read one after the other.
//! `INSTA_UPDATE=always cargo test --test it reports` writes them anew.

use capt_spot_standin::{Because, scenario};

use crate::support::program::{Ran, Stage};

/// What differs from run to run: the stand-ins' ports, folders, times, the version.
fn steady(stage: &Stage, text: &str) -> String {
    let text = text.replace(&stage.home.path().display().to_string(), "HOME");
    let ports = regex_lite::Regex::new(r"127\.0\.0\.1:[0-9]+").expect("a pattern");
    let times =
        regex_lite::Regex::new(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z").expect("a pattern");
    let text = ports.replace_all(&text, "127.0.0.1:PORT");
    let text = times.replace_all(&text, "TIME");
    text.replace(concat!("version ", env!("CARGO_PKG_VERSION")), "version VERSION")
}

#[track_caller]
fn kept(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../reports",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => name,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Every look of one world: 40, 80 and 120 columns, colours, ASCII.
#[track_caller]
fn looks(name: &str, stage: &mut Stage, args: &[&str], code: i32) {
    for columns in ["40", "80", "120"] {
        stage.set("COLUMNS", columns);
        let ran = stage.run(args).expect(code);
        kept(&format!("{name}.{columns}"), &steady(stage, &ran.stdout));
    }
    stage.set("COLUMNS", "80");
    let ran = stage.run(&[args, &["--color", "always"]].concat()).expect(code);
    kept(
        &format!("{name}.colour"),
        &steady(stage, &ran.stdout).replace('\u{1b}', "<ESC>"),
    );
    stage.set("LANG", "C");
    let ran = stage.run(args).expect(code);
    kept(&format!("{name}.ascii"), &steady(stage, &ran.stdout));
    stage.set("LANG", "C.UTF-8");
}

fn denied(stage: &Stage, actions: &[&str]) {
    stage.standin.world(|world| {
        let account = world.account(scenario::ACCOUNT);
        let caller = account
            .access_keys
            .get_mut(scenario::ACCESS_KEY)
            .expect("the caller");
        for action in actions {
            caller.deny_because(action, Because::NoIdentityPolicy);
        }
    });
}

/// 80 columns and 24 rows, the prompt's row left free.
#[track_caller]
fn fits_one_screen(ran: &Ran) {
    assert!(ran.stdout.lines().count() < 24, "{}", ran.stdout);
    for line in ran.stdout.lines() {
        // Commands and snippets are never wrapped.
        assert!(line.starts_with("    ") || line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_fresh_account() {
    let mut stage = Stage::fresh();
    fits_one_screen(&stage.run(&["preflight", "--no-input"]).expect(1));
    looks("fresh-account", &mut stage, &["preflight", "--no-input"], 1);
}

#[test]
fn a_world_that_is_ready() {
    let mut stage = Stage::healthy();
    fits_one_screen(&stage.run(&["preflight"]).expect(0));
    looks("ready", &mut stage, &["preflight"], 0);
    let ran = stage.run(&["preflight", "--show-all"]).expect(0);
    kept("ready-show-all.80", &steady(&stage, &ran.stdout));
}

#[test]
fn denied_reads() {
    let mut stage = Stage::healthy();
    denied(
        &stage,
        &[
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "eks:ListNodegroups",
            "eks:ListFargateProfiles",
            "servicequotas:GetServiceQuota",
        ],
    );
    looks("denied", &mut stage, &["preflight"], 3);
}

#[test]
fn no_credentials() {
    let mut stage = Stage::healthy();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        stage.unset(name);
    }
    stage.set("AWS_EC2_METADATA_DISABLED", "true");
    fits_one_screen(&stage.run(&["preflight"]).expect(3));
    looks("no-credentials", &mut stage, &["preflight"], 3);
}

/// Without valid credentials, the command that fits where they come from: three lines, and exit code 3.
#[test]
fn no_credentials_of_each_source() {
    const CONFIG: &str = "
[profile sso]
sso_session = corp
sso_account_id = 111122223333
sso_role_name = Admin
[sso-session corp]
sso_region = eu-west-1
sso_start_url = https://corp.awsapps.com/start
[profile keys]
aws_access_key_id = AKIANOBODY
aws_secret_access_key = x
[profile saml]
aws_access_key_id = ASIANOBODY
aws_secret_access_key = x
aws_session_token = x
x_principal_arn = arn:aws:sts::111122223333:assumed-role/dev/me
[profile process]
credential_process = false
[profile role]
role_arn = arn:aws:iam::111122223333:role/dev
source_profile = keys
";
    const REFUSED: [(&str, &str); 2] = [
        ("AWS_ACCESS_KEY_ID", "ASIANOBODY"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ];
    let vault = [
        "exec",
        "prod",
        "--",
        "aws",
        "eks",
        "get-token",
        "--cluster-name",
        "demo",
        "--region",
        "eu-west-1",
    ];
    let mut told = String::new();
    for (name, flags, variables, wrapper) in [
        ("no such profile", &["--profile", "gone"][..], &[][..], None),
        ("IAM Identity Center", &["--profile", "sso"], &[], None),
        ("keys of a profile", &["--profile", "keys"], &[], None),
        ("a role of a profile", &["--profile", "role"], &[], None),
        ("a credential_process", &["--profile", "process"], &[], None),
        ("saml2aws", &["--profile", "saml"], &[], None),
        ("keys in the environment", &[], &REFUSED, None),
        (
            "within aws-vault",
            &[],
            &[REFUSED[0], REFUSED[1], ("AWS_VAULT", "prod")],
            None,
        ),
        (
            "within granted",
            &[],
            &[
                REFUSED[0],
                REFUSED[1],
                ("GRANTED_SSO", "true"),
                ("AWS_PROFILE", "sso"),
            ],
            None,
        ),
        (
            "IRSA",
            &[],
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token"),
                ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/dev"),
            ],
            None,
        ),
        ("aws-vault in the kubeconfig", &[], &[], Some("aws-vault")),
    ] {
        let mut stage = Stage::healthy();
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            stage.unset(name);
        }
        stage.set("AWS_EC2_METADATA_DISABLED", "true");
        let config = stage.home.path().join("config");
        std::fs::write(&config, CONFIG).expect("written");
        stage.set("AWS_CONFIG_FILE", config.to_str().expect("a path"));
        for (name, value) in variables {
            stage.set(name, value);
        }
        if let Some(program) = wrapper {
            let kubeconfig = stage
                .standin
                .kubeconfig(scenario::CLUSTER)
                .command(program, &vault);
            stage.write_kubeconfig(&kubeconfig);
        }
        let ran = stage.run(&[&["preflight"], flags].concat());
        told.push_str(&format!(
            "# {name}: exit code {}\n{}\n",
            ran.code,
            steady(&stage, &ran.stdout)
        ));
    }
    kept("no-credentials-sources.80", &told);
}

#[test]
fn nothing_answers() {
    let mut stage = Stage::healthy();
    for name in [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_IAM",
        "AWS_ENDPOINT_URL_EKS",
        "AWS_ENDPOINT_URL_STS",
    ] {
        stage.set(name, "http://127.0.0.1:9");
    }
    looks(
        "unreachable",
        &mut stage,
        &["preflight", "--request-timeout", "2s"],
        3,
    );
}

#[test]
fn many_failures() {
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    kubernetes.put_aws_auth(&[(
        "mapRoles",
        "- rolearn: arn:aws:iam::111122223333:role/path/demo-node\n  username: node\n  groups: [system:masters]\n",
    )]);
    kubernetes.put(scenario::node_pool(
        "odd",
        &serde_json::json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spott"]}]),
    ));
    let mut stage = Stage::new(world);
    looks("many-failures", &mut stage, &["preflight", "--no-input"], 1);
}

#[test]
fn before_the_installation() {
    let mut world = scenario::healthy();
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    kubernetes.uninstall("karpenter.sh", "v1");
    kubernetes.uninstall("karpenter.k8s.aws", "v1");
    kubernetes.clear("apps/v1", "deployments");
    let mut stage = Stage::new(world);
    looks("before-installation", &mut stage, &["preflight"], 0);
}

#[test]
fn several_clusters() {
    let mut stage = Stage::with_a_second_context();
    looks("several", &mut stage, &["preflight", "--all-contexts"], 0);
    for format in ["markdown", "github", "junit"] {
        let ran = stage
            .run(&["preflight", "--all-contexts", "-o", format])
            .expect(0);
        kept(&format!("several.{format}"), &steady(&stage, &ran.stdout));
    }
}

#[test]
fn one_world_in_every_format() {
    let stage = Stage::fresh();
    for format in ["markdown", "github", "junit", "sarif"] {
        let ran = stage.run(&["preflight", "-o", format]).expect(1);
        kept(&format!("fresh-account.{format}"), &steady(&stage, &ran.stdout));
    }
}

/// The same form for every verb: the answer first and last, problems before what is good.
#[test]
fn every_verb_speaks_the_same_form() {
    let stage = Stage::healthy();
    for (name, args, code) in [
        ("whois-me", &["whois", "me"][..], 0),
        ("whois-unknown", &["whois", "user/alice"], 1),
        ("whois-all", &["whois", "--all"], 0),
        ("trust-account", &["trust", "demo-admin"], 0),
        ("trust-cdk", &["trust", "demo-admin", "--cdk"], 0),
        ("create-role-exists", &["create-role", "--yes"], 0),
        ("account", &["account", "--region", "eu-west-1"], 0),
    ] {
        let ran = stage.run(args);
        kept(&format!("verb-{name}.80"), &steady(&stage, &ran.stdout));
        ran.expect(code);
        let markdown = stage.run(&[args, &["-o", "markdown"]].concat()).expect(code);
        kept(
            &format!("verb-{name}.markdown"),
            &steady(&stage, &markdown.stdout),
        );
    }
}

#[test]
fn strict_partial_and_offline_say_so() {
    let stage = Stage::healthy();
    let file = stage.home.path().join("facts.json");
    let file = file.to_str().expect("a path");
    stage.run(&["preflight", "--save", file, "--redact"]).expect(0);
    for (name, args) in [
        ("offline.80", &["--from", file][..]),
        ("partial.80", &["--skip", "target"]),
        ("strict.80", &["--strict"]),
    ] {
        let ran = stage.run(&[&["preflight"], args].concat()).expect(0);
        kept(name, &steady(&stage, &ran.stdout));
    }
}

#[test]
fn the_summary_of_a_github_step_and_further_reports() {
    let mut stage = Stage::fresh();
    let summary = stage.home.path().join("summary.md");
    std::fs::write(&summary, "before\n").expect("written");
    stage.set("GITHUB_STEP_SUMMARY", summary.to_str().expect("a path"));
    let junit = stage.home.path().join("report.xml");
    let sarif = stage.home.path().join("report.sarif");
    let ran = stage
        .run(&[
            "preflight",
            "-o",
            "github",
            "--report",
            &format!("junit={}", junit.display()),
            "--report",
            &format!("sarif={}", sarif.display()),
        ])
        .expect(1);
    assert!(ran.stdout.starts_with("::error title="), "{}", ran.stdout);
    let markdown = stage.run(&["preflight", "-o", "markdown"]).expect(1).stdout;
    let written = std::fs::read_to_string(&summary).expect("the summary");
    assert_eq!(written, format!("before\n{markdown}"));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a report");
    assert_eq!(
        read(&junit),
        stage.run(&["preflight", "-o", "junit"]).expect(1).stdout
    );
    assert_eq!(
        read(&sarif),
        stage.run(&["preflight", "-o", "sarif"]).expect(1).stdout
    );
    let ran = stage.run(&["preflight", "--report", "nonsense=x"]).expect(2);
    assert!(ran.stderr.contains("is not a format"), "{}", ran.stderr);
}

#[test]
fn with_strict_a_warning_fails_in_every_format() {
    let stage = Stage::healthy();
    stage.standin.world(|world| {
        let kubernetes = world.kubernetes(scenario::CLUSTER);
        kubernetes.put(scenario::node_pool(
            "default",
            &serde_json::json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}]),
        ));
    });
    let ran = stage.run(&["preflight", "--strict", "-o", "json"]).expect(1);
    assert_eq!(ran.json()["strict"], true);
    for (format, says) in [
        ("text", "NOT READY: --strict"),
        ("junit", "<failure "),
        ("sarif", "\"error\""),
        ("markdown", "FAIL"),
        ("github", "::error "),
    ] {
        let ran = stage.run(&["preflight", "--strict", "-o", format]).expect(1);
        assert!(ran.stdout.contains(says), "{format}: {}", ran.stdout);
    }
}
