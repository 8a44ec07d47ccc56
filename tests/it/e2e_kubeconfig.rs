//! Kubeconfigs that the real AWS CLI writes: the same target, and the same token as the CLI's own.

use std::path::Path;
use std::process::Command;

use capt_spot_standin::scenario;

use crate::support::program::{Ran, Stage};
use crate::support::testbed::Testbed;

/// The real CLI writes a kubeconfig for the stage's cluster.
fn update_kubeconfig(stage: &Stage, aws: &Path, more: &[&str]) {
    let _ = std::fs::remove_file(stage.kubeconfig());
    let written = Command::new(aws)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(stage.environment())
        .args(["eks", "update-kubeconfig", "--name", scenario::CLUSTER])
        .args(more)
        .output()
        .expect("the CLI starts");
    let said = String::from_utf8_lossy(&written.stderr);
    assert!(written.status.success(), "{more:?}: {said}");
}

/// Runs the preflight with the CLI on the PATH.
fn preflight(stage: &Stage, aws: &Path, more: &[&str]) -> Ran {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::iter::once(aws.parent().expect("a folder").to_path_buf()).chain(std::env::split_paths(&path));
    let args = [&["preflight", "-o", "json", "--request-timeout", "60s"], more].concat();
    let output = stage
        .command(&args)
        .env("PATH", std::env::join_paths(folders).expect("a PATH"))
        .output()
        .expect("it starts");
    Ran::from(&output)
}

/// What the tokens that the cluster got say, each once.
fn tokens(stage: &Stage) -> Vec<String> {
    let tokens = stage.standin.world(|world| {
        let api = world.kubernetes(scenario::CLUSTER);
        std::mem::take(&mut api.eks_tokens)
    });
    let mut said: Vec<String> = tokens
        .iter()
        .map(|token| {
            // Each AssumeRole gives another key.
            let key = if token.has_session_token {
                "a session"
            } else {
                token.access_key.as_str()
            };
            format!(
                "{key} in {} for the cluster: {}, {}",
                token.region,
                token.signed_for_cluster,
                token.problem.as_deref().unwrap_or("good")
            )
        })
        .collect();
    said.sort();
    said.dedup();
    said
}

#[test]
fn what_update_kubeconfig_writes_is_understood() {
    let Some(bed) = Testbed::require(&["awscli"]) else {
        return;
    };
    let aws = bed.path("awscli");
    let mut stage = Stage::healthy();
    let config = stage.home.path().join("config");
    let keys = stage.environment();
    let key = |name: &str| {
        keys.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .expect("a variable")
    };
    let profile = format!(
        "[default]\ncli_follow_urlparam = false\n[profile prod]\nregion = eu-west-1\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        key("AWS_ACCESS_KEY_ID"),
        key("AWS_SECRET_ACCESS_KEY")
    );
    std::fs::write(&config, profile).expect("written");
    stage.set("AWS_CONFIG_FILE", config.to_str().expect("a path"));
    let role = "arn:aws:iam::111122223333:role/demo-admin";
    for more in [
        &["--region", "eu-west-1"][..],
        &["--region", "eu-west-1", "--role-arn", role],
        &["--profile", "prod"],
        &["--profile", "prod", "--role-arn", role],
        &["--alias", "prod", "--user-alias", "me"],
        &["--assume-role-arn", role],
    ] {
        update_kubeconfig(&stage, aws, more);
        let ours = preflight(&stage, aws, &[]);
        let our_tokens = tokens(&stage);
        let theirs = preflight(&stage, aws, &["--use-exec"]);
        let their_tokens = tokens(&stage);
        let written = std::fs::read_to_string(stage.kubeconfig()).expect("the kubeconfig");
        assert_eq!(our_tokens, their_tokens, "{more:?}\n{written}");
        assert_eq!(our_tokens.len(), 1, "{more:?}");
        let (ours, theirs) = (ours.json(), theirs.json());
        for part in ["target", "caller", "summary"] {
            assert_eq!(ours[part], theirs[part], "{more:?}\n{written}");
        }
        assert_eq!(ours["target"]["cluster"], "demo", "{more:?}");
        assert_eq!(ours["target"]["region"], "eu-west-1", "{more:?}");
        assert_eq!(
            ours["target"]["context"],
            if more.contains(&"--alias") {
                "prod"
            } else {
                "arn:aws:eks:eu-west-1:111122223333:cluster/demo"
            }
        );
    }
    // The proxy that the CLI writes is on the way, for kubectl and here.
    update_kubeconfig(&stage, aws, &["--proxy-url", "http://127.0.0.1:1"]);
    let ran = preflight(&stage, aws, &[]).expect(3);
    assert_eq!(ran.status("caller-mapped"), "unknown");
    assert_eq!(tokens(&stage), [""; 0]);
}
