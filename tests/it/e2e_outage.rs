//! The API server stopped in the middle of a run, silent, or slow: every run ends by itself, says why, and takes nothing that
//! it could not read for good.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::e2e::{PARTS, account_with_the_role, cluster};
use crate::support::relay::{From, Passing, Relay, Then};
use crate::support::shell::{Report, Shell, cluster_arn};
use crate::support::testbed::{ACCOUNT, ApiServer, Moto, Testbed, User, kubeconfig};

/// A shell of the admin whose kubeconfig leads to `server` by way of `relay`.
fn shell(bed: &Testbed, server: &ApiServer, relay: &Relay, moto: &Moto) -> Shell {
    moto.cluster_is(server);
    let user = json!({ "token": server.token(User::Viewer) });
    let config = kubeconfig(&cluster_arn(ACCOUNT), &relay.https(), server.ca(), &user);
    Shell::new(bed, &config, moto.environment())
}

/// The viewer makes requests in the plugin's runs only, so the audit log's lines of the viewer are the run's.
fn with_rights(server: &ApiServer) {
    server.apply(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: viewer-is-admin }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: viewer }]
",
    );
}

/// Everything that Kubernetes tells, as `-v` names it.
const READS: &[&str] = &[
    "create selfsubjectreviews",
    "get configmaps/aws-auth",
    "list nodepools",
    "list ec2nodeclasses",
];

/// Nothing that AWS tells is touched by what happens to Kubernetes.
#[track_caller]
fn expect_aws_side_whole(report: &Report) {
    for id in [
        "cluster-found",
        "same-account",
        "spot-role-exists",
        "spot-role-intact",
    ] {
        report.expect_status(id, "pass");
    }
    assert_eq!(report.json["summary"]["fail"], 0, "{:#}", report.json);
}

/// Runs a preflight in the middle of which, after the first answer, this happens to the server. The rest is unknown because of
/// one of `reasons`.
fn in_the_middle(happens: fn(&mut ApiServer), timeout: &str, reasons: &[&str]) {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), account_with_the_role(&bed));
    with_rights(&server);
    let address = server.address();
    let server = Arc::new((Mutex::new((server, false)), Condvar::new()));
    let its_server = Arc::clone(&server);
    // Only the first connection gets through: its second request finds that the server has answered one. The others wait.
    let relay = Relay::start(address, move |passing: Passing| {
        let (state, changed) = &*its_server;
        if passing.from == From::Server {
            return Then::Pass;
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if passing.connection == 0 {
            let (server, over) = &mut *state;
            if !*over && !server.requests_of(User::Viewer).is_empty() {
                happens(server);
                *over = true;
                changed.notify_all();
            }
        } else {
            drop(changed.wait_while(state, |(_, over)| !*over));
        }
        Then::Pass
    });
    let shell = {
        let state = server.0.lock().expect("nobody panicked");
        shell(&bed, &state.0, &relay, &moto)
    };

    let report = shell.preflight(3, &["--request-timeout", timeout]);
    expect_aws_side_whole(&report);
    let state = server.0.lock().expect("nobody panicked");
    assert!(state.1, "it happened");
    assert_eq!(
        state.0.requests_of(User::Viewer).len(),
        1,
        "in the middle: one request was answered"
    );
    let unread: Vec<&&str> = READS
        .iter()
        .filter(|read| {
            let answer = report.answer(read);
            reasons.iter().any(|reason| answer.starts_with(reason))
        })
        .collect();
    assert!(
        unread.len() >= READS.len() - 1,
        "all but the one that was answered: {report:#?}"
    );
    for id in ["node-role-known", "pools-want-spot"] {
        assert_eq!(report.status(id), "unknown", "{:#}", report.check(id));
    }
}

#[test]
fn killed_in_the_middle_of_a_run() {
    in_the_middle(ApiServer::kill, "30s", &["unreachable: "]);
}

#[test]
fn stopped_in_the_middle_of_a_run() {
    in_the_middle(ApiServer::suspend, "5s", &["timed out: "]);
}

#[test]
fn silence_is_bounded_by_the_request_timeout() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), account_with_the_role(&bed));
    let relay = Relay::start(server.address(), |passing| match passing.from {
        From::Client => Then::Pass,
        From::Server => Then::Lose,
    });
    let shell = shell(&bed, &server, &relay, &moto);
    let report = shell.preflight(3, &["--request-timeout", "2s"]);
    expect_aws_side_whole(&report);
    for read in READS {
        assert!(report.answer(read).starts_with("timed out: "), "{report:#?}");
    }
    report.expect_unknown("node-role-known", "(--request-timeout)");
    report.expect_unknown("pools-want-spot", "(--request-timeout)");
    assert_eq!(report.json["caller"]["kubernetesUser"], json!(null));
}

#[test]
fn slow_is_waited_for_within_the_request_timeout() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), account_with_the_role(&bed));
    with_rights(&server);
    let relay = Relay::start(server.address(), |passing| {
        if passing.from == From::Server {
            // What is slow here is the line, not the test.
            thread::sleep(Duration::from_millis(200));
        }
        Then::Pass
    });
    let shell = shell(&bed, &server, &relay, &moto);
    let report = shell.preflight(0, &["--request-timeout", "2m"]);
    // moto has no Service Quotas.
    assert_eq!(report.ids("unknown"), ["spot-quota"], "{:#}", report.json);
    assert_eq!(report.json["caller"]["kubernetesUser"], "viewer");
}
