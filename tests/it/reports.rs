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
