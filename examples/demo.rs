//! The main job, played without a cluster and without an account: `cargo run --example demo`.
//!
//! Stand-ins of IAM, STS, EKS and the Kubernetes API listen on 127.0.0.1, in this process. The account is fresh, Karpenter is
//! about to run on Fargate. The program itself is the real one, on the same code paths as in life: preflight fails, the
//! role is created (asked at a terminal, told on a pipe), preflight passes.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, ExitCode};

use capt_spot_standin::{Standin, scenario};

/// Set for the child, which is this very program being `kubectl capt-spot`.
const CHILD: &str = "CAPT_SPOT_DEMO_CHILD";

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        let args = std::iter::once("kubectl-capt_spot".into()).chain(std::env::args_os().skip(1));
        return ExitCode::from(capt_spot::run(args.collect()).code());
    }
    match play() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("the demo could not run: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as told.
fn play() -> io::Result<bool> {
    let standin = Standin::start(scenario::fresh_account_karpenter_on_fargate())?;
    let home = tempfile::tempdir()?;
    let kubeconfig = home.path().join("kubeconfig");
    std::fs::write(&kubeconfig, standin.kubeconfig(scenario::CLUSTER).yaml())?;
    let run = |args: &[&str]| -> io::Result<Option<i32>> {
        say(&format!("\n$ kubectl capt-spot {}", args.join(" ")));
        let mut child = Command::new(std::env::current_exe()?);
        for name in Standin::env_to_remove() {
            child.env_remove(name);
        }
        let status = child
            .args(args)
            .env(CHILD, "1")
            .env("KUBECONFIG", &kubeconfig)
            .env("HOME", home.path())
            .envs(standin.env())
            .status()?;
        Ok(status.code())
    };
    let person = io::stdin().is_terminal() && io::stderr().is_terminal();

    say(&format!(
        "A fresh account ({}) with the EKS cluster {} and Karpenter about to run on Fargate,\nplayed by stand-ins on 127.0.0.1.",
        scenario::ACCOUNT,
        scenario::CLUSTER
    ));
    if run(&["preflight", "--no-input"])? != Some(1) {
        say("\nThe demo expected \"not ready\" here.");
        return Ok(false);
    }
    let create: &[&str] = if person {
        &["create-role"]
    } else {
        &["create-role", "--yes"]
    };
    if run(create)? != Some(0) {
        say("\nNothing was created, so the account stays as it was.");
        return Ok(false);
    }
    if run(&["preflight", "--no-input"])? != Some(0) {
        say("\nThe demo expected \"ready\" here.");
        return Ok(false);
    }
    say(&format!(
        "\nNext, on your own cluster:\n\n    helm upgrade --install karpenter oci://public.ecr.aws/karpenter/karpenter \\\n        \
         --namespace kube-system --set settings.clusterName={}",
        scenario::CLUSTER
    ));
    Ok(true)
}

/// Prints a line; the children share this stdout, so nothing may stay behind in a buffer.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    // A reader that went away is no reason to stop.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
