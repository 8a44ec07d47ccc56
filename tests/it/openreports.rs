//! OpenReports objects, on an API server that has their real definitions.

use serde_json::{Value, json};

use crate::formats::stages;
use crate::support::program::Stage;
use crate::support::testbed::{ApiServer, Testbed, User, output, run_with_stdin, succeed};

const NEEDED: [&str; 3] = ["kube-apiserver", "kubectl", "openreports-crds"];

/// Installs the definitions, and waits until they are served.
pub fn install(bed: &Testbed, server: &ApiServer) {
    let path = bed.path("openreports-crds");
    for arguments in [
        &["apply", "--server-side", "-f"][..],
        &["wait", "--for=condition=Established", "--timeout=60s", "-f"],
    ] {
        let mut command = server.kubectl(User::Admin);
        command.args(arguments).arg(path);
        succeed(output(command));
    }
}

fn reports(server: &ApiServer) -> Vec<Value> {
    let mut command = server.kubectl(User::Admin);
    command.args(["get", "reports.openreports.io", "-A", "-o", "json"]);
    let list: Value = serde_json::from_str(&succeed(output(command))).expect("JSON");
    list["items"].as_array().expect("items").clone()
}

#[test]
fn what_is_printed_is_what_the_definitions_admit() {
    let Some(bed) = Testbed::require(&NEEDED) else {
        return;
    };
    let server = ApiServer::start(&bed);
    install(&bed, &server);
    for (name, stage) in stages() {
        let printed = stage
            .run(&["preflight", "--all-contexts", "-o", "openreports"])
            .stdout;
        let mut apply = server.kubectl(User::Admin);
        // A field that the definition does not have is an error.
        apply.args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--validate=strict",
            "-f",
            "-",
        ]);
        succeed(run_with_stdin(apply, &printed));
        let stored = reports(&server);
        assert_eq!(stored.len(), 1, "{name}: all of them are of one cluster");
        let results = stored[0]["results"].as_array().expect("results").len();
        let summary = stored[0]["summary"].as_object().expect("a summary");
        let counted: u64 = summary.values().filter_map(Value::as_u64).sum();
        assert_eq!(counted, results as u64, "{name}");
        assert!(results > 20, "{name}");
    }
}

/// `--publish` goes to the context's cluster, changes its own fields alone, and says what to ask for.
#[test]
fn publishing_needs_the_rights_that_policy_rbac_prints_and_keeps_what_others_set() {
    let Some(bed) = Testbed::require(&NEEDED) else {
        return;
    };
    let server = ApiServer::start(&bed);
    install(&bed, &server);
    crate::e2e::set_up(&server);
    let mut stage = Stage::new(crate::e2e::fresh_world(&server));
    let name = "arn:aws:eks:eu-west-1:111122223333:cluster/demo";
    let kubeconfig = |user| server.kubeconfig(name, server.token(user));
    stage.set("NO_COLOR", "1");

    stage.write_kubeconfig_text(&kubeconfig(User::Viewer));
    let denied = stage.run(&["preflight", "-q", "--publish"]).expect(1);
    assert!(
        denied.stderr.contains("publishing the results failed")
            && denied.stderr.contains("policy rbac --publish"),
        "{}",
        denied.stderr
    );
    assert_eq!(reports(&server), [] as [Value; 0]);

    let rbac = stage
        .run(&["policy", "rbac", "--publish", "--user=viewer", "-n", "default"])
        .expect(0);
    server.apply(&rbac.stdout);
    let written = server.writes_of(User::Viewer).len();
    let ran = stage.run(&["preflight", "-o", "json", "--publish"]).expect(1);
    let stored = reports(&server);
    assert_eq!(
        (stored.len(), &stored[0]["metadata"]["namespace"]),
        (1, &json!("default"))
    );
    let writes = server.writes_of(User::Viewer).split_off(written);
    let verbs: Vec<(&str, u64)> = writes
        .iter()
        .map(|write| (write.verb.as_str(), write.status))
        .collect();
    assert_eq!(verbs, [("patch", 201)], "{writes:?}");

    // Somebody's label stays, the role's finding goes from fail to pass.
    let object = stored[0]["metadata"]["name"].as_str().expect("a name");
    let mut label = server.kubectl(User::Admin);
    label.args(["label", "reports.openreports.io", object, "team=platform"]);
    succeed(output(label));
    let finding = |stored: &Value| {
        let results = stored["results"].as_array().expect("results").clone();
        let role = results
            .iter()
            .find(|result| result["policy"] == "spot-role-exists");
        role.expect("the check")["result"].clone()
    };
    assert_eq!(finding(&stored[0]), "fail");
    stage.standin.world(|world| {
        world.account("111122223333").add_spot_role();
    });
    stage.run(&["preflight", "-q", "--publish"]);
    let stored = reports(&server);
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["metadata"]["labels"]["team"], "platform");
    assert_eq!(finding(&stored[0]), "pass");
    assert_eq!(ran.json()["kind"], "PreflightReport");

    // Without the definitions it says so, and the report is printed all the same.
    let bare = ApiServer::start(&bed);
    stage.write_kubeconfig_text(&bare.kubeconfig(name, bare.token(User::Admin)));
    let ran = stage.run(&["preflight", "-o", "json", "--publish"]).expect(1);
    assert!(
        ran.stderr.contains("does not have the kind Report"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.json()["kind"], "PreflightReport");
}
