//! What a user may not read is unknown, with the rule to ask for; and the rule, applied, is enough.

use serde_json::{Value, json};

use crate::e2e::{AWS_AUTH, PARTS, account_with_the_role, cluster, fresh_account, shell};
use crate::support::shell::Report;
use crate::support::testbed::{ApiServer, Request, Testbed, User, run_with_stdin, succeed};

/// The findings that rest on something Kubernetes tells; none of them may be good when it didn't.
fn expect_denied(report: &Report, id: &str, who: &str, rule: &Value) {
    report.expect_unknown(id, "denied by the cluster's RBAC");
    assert!(
        report.message(id).contains(&format!("User \"{who}\"")),
        "{}",
        report.message(id)
    );
    let finding = report.check(id);
    let asked: Value =
        serde_json::from_str(finding["evidence"]["grant"].as_str().expect("a rule")).expect("JSON");
    assert_eq!(&asked, rule, "{finding:#}");
    let remedy = finding["remedy"]["text"].as_str().expect("a remedy");
    assert!(remedy.starts_with("Ask for the RBAC rule {"), "{remedy}");
    assert_eq!(
        finding["remedy"]["commands"],
        json!(["kubectl capt-spot policy rbac"])
    );
}

fn list(group: &str, resource: &str) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "verbs": ["list"] })
}

/// The admin applies what `policy rbac` prints, as the README says.
fn grant_by_policy(bed: &Testbed, server: &ApiServer, arguments: &[&str]) {
    let somebody = crate::support::shell::Shell::new(bed, "", [("NO_COLOR", "1")]);
    let mut all = vec!["policy", "rbac"];
    all.extend(arguments);
    let printed = somebody.capt_spot(&all).expect(0);
    let mut apply = server.kubectl(User::Admin);
    apply.args(["apply", "-f", "-"]);
    succeed(run_with_stdin(apply, &printed.stdout));
}

#[test]
fn a_viewer_reads_aws_auth_but_not_karpenter_until_the_policy_is_applied() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), account_with_the_role(&bed));
    let shell = shell(&bed, &server, User::Viewer, &moto);

    let report = shell.preflight(3, &[]);
    assert_eq!(report.json["caller"]["kubernetesUser"], "viewer");
    assert_eq!(report.answer("get configmaps/aws-auth"), "found");
    expect_denied(
        &report,
        "node-role-known",
        "viewer",
        &list("karpenter.k8s.aws", "ec2nodeclasses"),
    );
    expect_denied(
        &report,
        "pools-want-spot",
        "viewer",
        &list("karpenter.sh", "nodepools"),
    );
    assert_eq!(report.json["summary"]["fail"], 0);

    // Without an answer there is no asking for more: what was refused is reported, and nothing was tried around it.
    assert_eq!(server.writes_of(User::Viewer), []);

    grant_by_policy(&bed, &server, &["--user", "viewer"]);
    let before = server.requests_of(User::Viewer).len();
    let report = shell.preflight(0, &[]);
    // moto has no Service Quotas; everything of the cluster is there.
    assert_eq!(report.ids("unknown"), ["spot-quota"], "{:#}", report.json);
    report.expect_status("node-role-known", "pass");
    report.expect_status("pools-want-spot", "pass");
    let requests = server.requests_of(User::Viewer).split_off(before);
    let refused: Vec<&Request> = requests.iter().filter(|request| request.status == 403).collect();
    assert!(
        refused.is_empty() && !requests.is_empty(),
        "policy rbac is all that is needed: {requests:#?}"
    );
    assert_eq!(server.writes_of(User::Viewer), []);
}

#[test]
fn a_user_without_rights_learns_every_rule_and_the_group_binding_lifts_them() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), fresh_account(&bed));
    let shell = shell(&bed, &server, User::Nobody, &moto);

    // Something fails beside it: that is worse than not knowing.
    let report = shell.preflight(1, &[]);
    assert_eq!(report.ids("fail"), ["spot-role-exists"], "{:#}", report.json);
    assert_eq!(
        report.json["caller"]["kubernetesUser"], "nobody",
        "a review of oneself is everybody's right"
    );
    let aws_auth = report.answer("get configmaps/aws-auth");
    assert!(aws_auth.contains("denied by the cluster's RBAC"), "{aws_auth}");
    expect_denied(
        &report,
        "node-role-known",
        "nobody",
        &list("karpenter.k8s.aws", "ec2nodeclasses"),
    );
    expect_denied(
        &report,
        "pools-want-spot",
        "nobody",
        &list("karpenter.sh", "nodepools"),
    );
    let text = shell.capt_spot(&["preflight"]).expect(1).stdout;
    assert!(
        text.contains("? The cluster denies ") && text.contains("kubectl capt-spot policy rbac"),
        "{text}"
    );

    // As the README shows it, for whole groups; everybody who is logged in is in this one.
    grant_by_policy(&bed, &server, &["--group", "system:authenticated"]);
    let report = shell.preflight(1, &[]);
    assert_eq!(report.answer("get configmaps/aws-auth"), "found");
    report.expect_status("pools-want-spot", "pass");
    assert_eq!(server.writes_of(User::Nobody), []);
}

#[test]
fn a_pool_in_an_older_version_is_found_with_the_same_policy() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (ApiServer::start(&bed), account_with_the_role(&bed));
    server.apply(AWS_AUTH);
    grant_by_policy(&bed, &server, &["--user", "nobody"]);
    let shell = shell(&bed, &server, User::Nobody, &moto);

    let report = shell.preflight(0, &["--node-role", "demo-node"]);
    let nothing = report.message("pools-want-spot");
    assert!(nothing.contains("Karpenter is not installed yet"), "{nothing}");

    server.install_crds("karpenter-v1alpha5");
    server.apply(
        "
apiVersion: karpenter.sh/v1alpha5
kind: Provisioner
metadata: { name: old }
spec: { requirements: [{ key: karpenter.sh/capacity-type, operator: In, values: [spot] }] }
",
    );
    let report = shell.preflight(0, &["--node-role", "demo-node"]);
    let old = report.message("pools-want-spot");
    assert!(
        old.starts_with("1 of 1 node pool can launch Spot, and nothing else: old"),
        "{old}"
    );

    server.install_crds("karpenter-v1beta1");
    server.apply(
        "
apiVersion: karpenter.sh/v1beta1
kind: NodePool
metadata: { name: newer }
spec: { template: { spec: { requirements: [{ key: karpenter.sh/capacity-type, operator: In, values: [on-demand] }] } } }
",
    );
    let report = shell.preflight(0, &["--node-role", "demo-node"]);
    report.expect_status("pools-want-spot", "pass");
    assert!(
        report.message("pools-want-spot").contains("cannot: newer"),
        "{:#}",
        report.json
    );
}

#[test]
fn before_karpenter_is_installed_nobody_is_sent_for_rights_on_it() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (ApiServer::start(&bed), account_with_the_role(&bed));
    server.apply(AWS_AUTH);
    let shell = shell(&bed, &server, User::Viewer, &moto);

    // The API server denies a kind that it doesn't have as well, but everybody may see that it doesn't have it.
    let report = shell.preflight(0, &["--node-role", "demo-node"]);
    assert_eq!(report.answer("list nodepools.karpenter.sh"), "absent");
    assert_eq!(report.answer("list ec2nodeclasses.karpenter.k8s.aws"), "absent");
    report.expect_status("pools-want-spot", "pass");

    // Where an older Karpenter is, the rule to ask for names the kind that is there.
    server.install_crds("karpenter-v1alpha5");
    let report = shell.preflight(3, &[]);
    expect_denied(
        &report,
        "pools-want-spot",
        "viewer",
        &list("karpenter.sh", "provisioners"),
    );
    expect_denied(
        &report,
        "node-role-known",
        "viewer",
        &list("karpenter.k8s.aws", "awsnodetemplates"),
    );
}
