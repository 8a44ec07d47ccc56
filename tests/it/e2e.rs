//! The main job on real parts: real kubectl runs the plugin against a real API server; AWS is moto, which other people wrote.
//!
//! CAPTEP-0023's own test plan, and the bad input that real parts give best. The stages that the other end-to-end tests start
//! from are here too.

use capt_spot_standin::{Endpoint, World, scenario};
use serde_json::{Value, json};

use crate::support::shell::{Shell, cluster_arn};
use crate::support::testbed::{
    ACCOUNT, ApiServer, Moto, REGION, Testbed, User, base64, kubeconfig, output, succeed,
};

/// What every test here needs.
pub const PARTS: &[&str] = &["kube-apiserver", "kubectl", "moto", "awscli"];

const ROLE: &str = "AWSServiceRoleForEC2Spot";

/// The nodes' role and Fargate's are mapped.
pub const AWS_AUTH: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: aws-auth, namespace: kube-system }
data:
  mapRoles: |
    - rolearn: arn:aws:iam::111122223333:role/demo-node
      username: system:node:{{EC2PrivateDNSName}}
      groups: [system:bootstrappers, system:nodes]
    - rolearn: arn:aws:iam::111122223333:role/demo-fargate
      username: system:node:{{SessionName}}
      groups: [system:bootstrappers, system:nodes, system:node-proxier]
";

/// Karpenter is installed and its pools may launch spot.
const KARPENTER: &str = "
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: default }
spec:
  role: demo-node
  amiSelectorTerms: [{ alias: al2023@latest }]
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: default }
spec:
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default }
      requirements: [{ key: kubernetes.io/arch, operator: In, values: [amd64] }]
";

/// An API server with [`AWS_AUTH`] and [`KARPENTER`].
pub fn cluster(bed: &Testbed) -> ApiServer {
    let server = ApiServer::start(bed);
    set_up(&server);
    server
}

/// Stores [`AWS_AUTH`] and [`KARPENTER`].
pub fn set_up(server: &ApiServer) {
    server.install_crds("karpenter-v1");
    server.apply(AWS_AUTH);
    server.apply(KARPENTER);
}

/// A trust policy.
pub fn trusting(principal: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal
    }]})
    .to_string()
}

/// moto with the cluster `demo`, whose nodes have the role `demo-node`. The account is fresh: nobody has used spot in it.
pub fn fresh_account(bed: &Testbed) -> Moto {
    let moto = Moto::start(bed);
    for (role, principal) in [
        // The caller's own: the program asks IAM for it.
        ("admin", json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:root") })),
        ("demo-cluster", json!({ "Service": "eks.amazonaws.com" })),
        ("demo-node", json!({ "Service": "ec2.amazonaws.com" })),
        (
            "demo-fargate",
            json!({ "Service": "eks-fargate-pods.amazonaws.com" }),
        ),
    ] {
        let role = json!({ "RoleName": role, "AssumeRolePolicyDocument": trusting(&principal) });
        moto.call("iam", "create_role", &role);
    }
    let cluster = json!({
        "name": "demo", "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/demo-cluster"),
        "resourcesVpcConfig": { "subnetIds": ["subnet-1"] }
    });
    moto.call("eks", "create_cluster", &cluster);
    moto
}

/// Somebody in that account creates the role. moto's own CreateServiceLinkedRole gives it another name than AWS does.
fn somebody_creates_the_role(moto: &Moto, path: &str) {
    let role = json!({
        "RoleName": ROLE, "Path": path,
        "AssumeRolePolicyDocument": trusting(&json!({ "Service": "spot.amazonaws.com" }))
    });
    moto.call("iam", "create_role", &role);
}

/// As AWS creates it.
fn the_role_is_created(moto: &Moto) {
    somebody_creates_the_role(moto, "/aws-service-role/spot.amazonaws.com/");
    let policy = "arn:aws:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy";
    moto.call(
        "iam",
        "attach_role_policy",
        &json!({ "RoleName": ROLE, "PolicyArn": policy }),
    );
}

/// moto with the cluster and the role: nothing is wrong in this account.
pub fn account_with_the_role(bed: &Testbed) -> Moto {
    let moto = fresh_account(bed);
    the_role_is_created(&moto);
    moto
}

/// The stand-in's fresh account, its cluster being `server`: for what moto lacks.
pub fn fresh_world(server: &ApiServer) -> World {
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    let cluster = world
        .account(ACCOUNT)
        .clusters
        .iter_mut()
        .find(|cluster| cluster.name == "demo");
    let cluster = cluster.expect("the scenario's cluster");
    cluster.endpoint = Endpoint::Is(server.url().to_owned());
    cluster.ca_data = Some(base64(server.ca()));
    world
}

/// A shell of this user of the API server, with the keys of moto's caller.
pub fn shell(bed: &Testbed, server: &ApiServer, user: User, moto: &Moto) -> Shell {
    moto.cluster_is(server);
    let config = server.kubeconfig(&cluster_arn(ACCOUNT), server.token(user));
    Shell::new(bed, &config, moto.environment())
}

#[test]
fn a_fresh_account_is_not_ready_and_with_the_role_it_is() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), fresh_account(&bed));
    let shell = shell(&bed, &server, User::Admin, &moto);
    let written = server.writes_of(User::Admin);

    let report = shell.preflight(1, &[]);
    assert_eq!(report.ids("fail"), ["spot-role-exists"], "{:#}", report.json);
    report.expect_status("node-role-known", "pass");
    report.expect_status("pools-want-spot", "pass");
    let target = &report.json["target"];
    assert_eq!(
        (&target["cluster"], &target["account"]),
        (&json!("demo"), &json!(ACCOUNT))
    );
    assert_eq!(report.json["caller"]["kubernetesUser"], "admin");
    let remedy = report.check("spot-role-exists")["remedy"]["commands"][0]
        .as_str()
        .expect("a command")
        .to_owned();
    assert!(
        remedy.starts_with("kubectl capt-spot create-role --context"),
        "{remedy}"
    );
    let text = shell.capt_spot(&["preflight"]).expect(1);
    assert!(
        text.stdout.contains(&remedy) && text.stderr.is_empty(),
        "{text:?}"
    );

    let dry = shell.capt_spot(&["create-role", "--dry-run"]).expect(0);
    assert!(
        dry.said().contains("The EC2 Spot service-linked role is missing"),
        "{dry:?}"
    );
    let nobody_there = shell.capt_spot(&["create-role"]).expect(2);
    assert!(nobody_there.stdout.contains("--yes"), "{nobody_there:?}");
    shell.preflight(1, &[]).expect_status("spot-role-exists", "fail");

    the_role_is_created(&moto);
    let report = shell.preflight(0, &[]);
    report.expect_status("spot-role-exists", "pass");
    report.expect_status("spot-role-intact", "pass");
    let done = shell.capt_spot(&["create-role", "--yes"]).expect(0);
    assert!(done.stdout.starts_with("EXISTS"), "{done:?}");

    assert_eq!(
        server.writes_of(User::Admin),
        written,
        "nothing is ever written to the cluster"
    );
}

#[test]
fn motos_html_page_for_a_route_it_does_not_know_is_never_absent() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), account_with_the_role(&bed));
    let mut shell = shell(&bed, &server, User::Admin, &moto);
    let report = shell.preflight(0, &[]);
    let entries = report.answer("eks:ListAccessEntries");
    assert!(
        entries.contains("HTTP 404, an HTML page") && !entries.contains("absent"),
        "{entries}"
    );

    // The same page in place of the cluster itself, as a proxy would give it.
    shell.set("AWS_ENDPOINT_URL_EKS", &format!("{}/no/such/service", moto.url()));
    let report = shell.preflight(3, &[]);
    report.expect_unknown("cluster-found", "HTTP 404, an HTML page");
    report.expect_unknown("same-account", "HTTP 404, an HTML page");
    let refused = shell.capt_spot(&["create-role", "--yes"]).expect(1);
    assert!(refused.said().contains("could not be read"), "{refused:?}");
}

#[test]
fn an_ordinary_role_of_the_name_is_not_the_role() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), fresh_account(&bed));
    somebody_creates_the_role(&moto, "/");
    let shell = shell(&bed, &server, User::Admin, &moto);
    let report = shell.preflight(1, &[]);
    report.expect_status("spot-role-intact", "fail");
    let refused = shell.capt_spot(&["create-role", "--yes"]).expect(1);
    assert!(
        refused.said().contains("is not the service-linked role"),
        "{refused:?}"
    );
}

#[test]
fn keys_of_another_account_and_a_cluster_that_is_gone() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), fresh_account(&bed));
    let mut shell = shell(&bed, &server, User::Admin, &moto);

    let elsewhere = "444455556666";
    let role = format!("arn:aws:iam::{elsewhere}:role/admin");
    let session = json!({ "RoleArn": role, "RoleSessionName": "ann" });
    let assumed = moto.call("sts", "assume_role", &session);
    for (name, field) in [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
    ] {
        shell.set(name, assumed["Credentials"][field].as_str().expect("text"));
    }
    let report = shell.preflight(1, &[]);
    assert_eq!(report.ids("fail"), ["same-account"], "{:#}", report.json);
    assert!(
        report.message("same-account").contains(elsewhere),
        "{:#}",
        report.json
    );
    assert_eq!(report.json["caller"]["account"], elsewhere);
    let refused = shell.capt_spot(&["create-role", "--yes"]).expect(1);
    assert!(
        refused.said().contains(elsewhere) && refused.said().contains(ACCOUNT),
        "{refused:?}"
    );

    for (name, value) in moto.environment() {
        shell.set(name, &value);
    }
    moto.call("eks", "delete_cluster", &json!({ "name": "demo" }));
    let report = shell.preflight(1, &[]);
    assert_eq!(report.ids("fail"), ["cluster-found"], "{:#}", report.json);
    let refused = shell.capt_spot(&["create-role", "--yes"]).expect(1);
    assert!(refused.said().contains("EKS has no cluster demo"), "{refused:?}");
    // The real CLI agrees that nothing was made.
    let roles = moto.aws(&["iam", "list-roles", "--query", "sort(Roles[].RoleName)"]);
    assert_eq!(
        roles,
        json!(["admin", "demo-cluster", "demo-fargate", "demo-node"])
    );
}

#[test]
fn an_api_server_that_cannot_be_used_is_unknown_with_the_reason() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (mut server, moto) = (cluster(&bed), account_with_the_role(&bed));
    let shell = shell(&bed, &server, User::Admin, &moto);
    let name = cluster_arn(ACCOUNT);
    let unknown = |code: i32, failed: &[&str], reason: &str| {
        let report = shell.preflight(code, &[]);
        assert_eq!(report.ids("fail"), failed, "{:#}", report.json);
        report.expect_unknown("node-role-known", reason);
        report.expect_unknown("pools-want-spot", reason);
        report.expect_unknown("aws-auth-parses", reason);
        assert_eq!(report.json["caller"]["kubernetesUser"], json!(null));
        // One side's trouble leaves the other alone.
        report.expect_status("cluster-found", "pass");
        report.expect_status("spot-role-intact", "pass");
    };

    shell.write_kubeconfig(&server.kubeconfig(&name, "a-token-that-nobody-gave-out"));
    // That the cluster does not take the caller is known, and it is all that is.
    unknown(
        1,
        &["caller-mapped"],
        "the cluster does not accept the token (401 Unauthorized)",
    );

    // Another cluster's certificate authority, as a kubeconfig has it that outlived its cluster.
    let other_ca = ApiServer::start(&bed).ca().to_owned();
    let user = json!({ "token": server.token(User::Admin) });
    shell.write_kubeconfig(&kubeconfig(&name, server.url(), &other_ca, &user));
    unknown(
        1,
        &["endpoint-matches"],
        "certificate authority does not match the server",
    );

    shell.write_kubeconfig(&kubeconfig(&name, server.url(), "no certificate", &user));
    unknown(
        1,
        &["endpoint-matches"],
        "the kubeconfig's certificate authority does not match the server",
    );

    shell.write_kubeconfig(&server.kubeconfig(&name, server.token(User::Admin)));
    shell.preflight(0, &[]);
    server.kill();
    unknown(3, &[], "Connection refused");
}

#[test]
fn an_aws_that_cannot_be_reached_is_unknown_and_nothing_can_be_created() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), fresh_account(&bed));
    let mut shell = shell(&bed, &server, User::Admin, &moto);
    drop(moto);
    let report = shell.preflight(3, &["--request-timeout", "5s"]);
    for id in ["cluster-found", "same-account", "spot-role-exists"] {
        report.expect_unknown(id, "Connection refused");
    }
    report.expect_status("pools-want-spot", "pass");
    let refused = shell
        .capt_spot(&["create-role", "--yes", "--request-timeout", "5s"])
        .expect(1);
    assert!(refused.said().contains("Connection refused"), "{refused:?}");

    // A server that is no AWS but speaks TLS, with a certificate that nobody vouches for.
    shell.set("AWS_ENDPOINT_URL", server.url());
    let report = shell.preflight(3, &["--request-timeout", "5s"]);
    report.expect_unknown("cluster-found", "certificate");
    // Its certificate is accepted now, but its answers are not AWS's.
    let ca = shell.home().join("ca.pem");
    std::fs::write(&ca, server.ca()).expect("a file");
    shell.set("AWS_CA_BUNDLE", &ca.to_string_lossy());
    let report = shell.preflight(3, &["--request-timeout", "5s"]);
    for id in ["cluster-found", "same-account", "spot-role-exists"] {
        report.expect_status(id, "unknown");
    }
}

#[test]
fn the_binary_by_itself_says_the_same_as_through_kubectl() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let (server, moto) = (cluster(&bed), account_with_the_role(&bed));
    let shell = shell(&bed, &server, User::Admin, &moto);
    let through_kubectl = shell.capt_spot(&["preflight", "-o", "json"]).expect(0);
    let mut alone = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-capt_spot"));
    alone
        .env_clear()
        .envs(shell.environment().iter().cloned())
        .args(["preflight", "-o", "json"]);
    let without_time = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("\"generatedAt\""));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        without_time(&succeed(output(alone))),
        without_time(&through_kubectl.stdout)
    );
    let region = format!("--region={REGION}");
    shell.preflight(
        0,
        &[
            "--context",
            &cluster_arn(ACCOUNT),
            "--cluster-name",
            "demo",
            &region,
        ],
    );
}
