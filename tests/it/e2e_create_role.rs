//! The one write, through real kubectl and with a real API server behind it; AWS is the stand-in, for moto gives the role
//! another name than AWS does.

use std::process::Command;
use std::thread;

use capt_spot_standin::{Standin, World, scenario};

use crate::e2e::{cluster, fresh_world};
use crate::support::shell::{Shell, cluster_arn};
use crate::support::terminal::Terminal;
use crate::support::testbed::{ACCOUNT, ApiServer, Testbed, User};

const PARTS: &[&str] = &["kube-apiserver", "kubectl"];
const CREATE: &str = "iam:CreateServiceLinkedRole";
const ARN: &str =
    "arn:aws:iam::111122223333:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot";

fn shell(bed: &Testbed, server: &ApiServer, standin: &Standin) -> Shell {
    let config = server.kubeconfig(&cluster_arn(ACCOUNT), server.token(User::Admin));
    Shell::new(bed, &config, standin.env())
}

/// What was written to AWS so far.
fn writes(standin: &Standin) -> Vec<String> {
    standin.writes().into_iter().map(|call| call.action).collect()
}

fn has_the_role(world: &mut World) -> bool {
    world.account(ACCOUNT).role("AWSServiceRoleForEC2Spot").is_some()
}

#[test]
fn a_fresh_account_gets_the_role_and_the_cluster_is_left_alone() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let server = cluster(&bed);
    let standin = Standin::start(fresh_world(&server)).expect("the stand-ins start");
    let shell = shell(&bed, &server, &standin);
    let written = server.writes_of(User::Admin);

    let report = shell.preflight(1, &[]);
    assert_eq!(report.ids("fail"), ["spot-role-exists"], "{:#}", report.json);
    report.expect_status("endpoint-matches", "pass");
    assert_eq!(
        writes(&standin),
        [""; 0],
        "without a person and without --yes nothing is written"
    );

    let created = shell.capt_spot(&["create-role", "--yes"]).expect(0);
    assert!(
        created.stdout.starts_with("CREATED") && created.stdout.contains(ARN),
        "{created:?}"
    );
    for said in ["111122223333", "demo", "user/platform-admin"] {
        assert!(created.stdout.contains(said), "{said}: {created:?}");
    }
    assert_eq!(writes(&standin), [CREATE]);
    let report = shell.preflight(0, &[]);
    // The API server has node pools and no Deployment of Karpenter.
    assert_eq!(report.ids("warn"), ["controller-identity"], "{:#}", report.json);
    report.expect_status("spot-role-intact", "pass");

    let again = shell.capt_spot(&["create-role", "--yes"]).expect(0);
    assert!(
        again.stdout.starts_with("EXISTS") && again.stdout.contains(ARN),
        "{again:?}"
    );
    assert_eq!(writes(&standin), [CREATE]);

    assert_eq!(server.writes_of(User::Admin), written);
    let read = server.requests_of(User::Admin);
    assert!(
        read.iter()
            .any(|request| request.uri.contains("/configmaps/aws-auth")),
        "{read:#?}"
    );
}

#[test]
fn preflight_creates_it_on_yes_and_judges_again() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let server = cluster(&bed);
    let standin = Standin::start(fresh_world(&server)).expect("the stand-ins start");
    let shell = shell(&bed, &server, &standin);
    let report = shell.preflight(0, &["--yes"]);
    report.expect_status("spot-role-exists", "pass");
    assert_eq!(writes(&standin), [CREATE]);
}

#[test]
fn two_people_at_once_both_succeed() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let server = cluster(&bed);
    let standin = Standin::start(fresh_world(&server)).expect("the stand-ins start");
    let people = [shell(&bed, &server, &standin), shell(&bed, &server, &standin)];
    let ran = thread::scope(|scope| {
        let runs = people
            .each_ref()
            .map(|person| scope.spawn(|| person.capt_spot(&["create-role", "--yes"])));
        runs.map(|run| run.join().expect("a run"))
    });
    for ran in ran {
        assert!(ran.expect(0).stdout.contains(ARN));
    }
    let created = standin
        .calls()
        .into_iter()
        .filter(|call| call.action == CREATE && call.status == Some(200));
    assert_eq!(created.count(), 1, "it was created once");
    assert!(standin.world(has_the_role));
}

/// The order is certain here: the question waits at a terminal while somebody else creates the role.
#[test]
fn somebody_else_creates_it_while_the_question_waits() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let server = cluster(&bed);
    let standin = Standin::start(fresh_world(&server)).expect("the stand-ins start");
    let shell = shell(&bed, &server, &standin);

    let mut command = Command::new(shell.home().join("bin/kubectl"));
    command.env_clear().envs(shell.environment().iter().cloned());
    command.args(["capt-spot", "create-role"]);
    let mut terminal = Terminal::run(&command);
    terminal.wait_for("Create it now?");
    assert_eq!(writes(&standin), [""; 0], "asked first");
    let other = self::shell(&bed, &server, &standin);
    other.capt_spot(&["create-role", "--yes"]).expect(0);
    terminal.press("y\r");
    let (code, shown, _) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("created in the meantime"), "{shown}");
    assert_eq!(writes(&standin), [CREATE, CREATE]);
    let roles = standin.world(|world| {
        let roles = &world.account(scenario::ACCOUNT).roles;
        roles
            .iter()
            .filter(|role| role.name == "AWSServiceRoleForEC2Spot")
            .count()
    });
    assert_eq!(roles, 1);
}
