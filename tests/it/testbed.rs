//! The test bed itself: what the other tests rely on, shown on the real components.

use crate::support::testbed::{
    ACCOUNT, ApiServer, Authenticator, Identity, Moto, REGION, Testbed, User, output, run_with_stdin,
    succeed, until,
};

const NODE_POOL: &str = "
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: general }
spec: { template: { spec: { nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default } } } }
";

const AWS_AUTH: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: aws-auth, namespace: kube-system }
data: { mapRoles: '[]' }
";

/// Whether kubectl may do it, by the server's own answer to the request itself.
fn may(server: &ApiServer, user: User, arguments: &[&str]) -> bool {
    let mut command = server.kubectl(user);
    command.args(arguments);
    let out = output(command);
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.success() || stderr.contains("Forbidden"),
        "{arguments:?}: {stderr}"
    );
    out.status.success()
}

#[test]
fn the_api_server_has_an_admin_a_viewer_and_a_user_without_rights() {
    let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl"]) else {
        return;
    };
    let server = ApiServer::start(&bed);
    assert!(server.version().starts_with("v1."), "{}", server.version());
    server.install_crds("karpenter-v1");
    server.apply(AWS_AUTH);
    server.apply(NODE_POOL);

    let aws_auth = ["get", "configmap", "aws-auth", "-n", "kube-system"];
    let node_pools = ["get", "nodepools.karpenter.sh"];
    let who_may =
        |what: &[&str]| [User::Admin, User::Viewer, User::Nobody].map(|user| may(&server, user, what));
    assert_eq!(who_may(&aws_auth), [true, true, false]);
    assert_eq!(who_may(&node_pools), [true, false, false]);
    assert_eq!(
        who_may(&["get", "pods", "-A"]),
        [true, true, false],
        "the ClusterRole view is filled"
    );

    let mut whoami = server.kubectl(User::Viewer);
    whoami.args([
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username} {.status.userInfo.groups}",
    ]);
    assert_eq!(
        succeed(output(whoami)),
        r#"viewer ["testbed:viewers","system:authenticated"]"#
    );
}

#[test]
fn the_audit_log_tells_reads_reviews_and_writes_apart() {
    let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl"]) else {
        return;
    };
    let server = ApiServer::start(&bed);
    assert!(may(&server, User::Viewer, &["get", "pods"]));
    assert!(may(&server, User::Viewer, &["auth", "whoami"]));
    assert_eq!(
        server.writes_of(User::Viewer),
        [],
        "{:?}",
        server.requests_of(User::Viewer)
    );
    assert!(
        server
            .requests_of(User::Viewer)
            .iter()
            .any(|request| request.uri.contains("/pods"))
    );

    // A refused write is a write: the program must not even try.
    assert!(!may(
        &server,
        User::Viewer,
        &["create", "namespace", "left-behind"]
    ));
    let writes = server.writes_of(User::Viewer);
    let seen: Vec<_> = writes
        .iter()
        .map(|write| (write.verb.as_str(), write.status))
        .collect();
    assert_eq!(seen, [("create", 403)], "{writes:?}");
}

#[test]
fn a_custom_resource_has_its_status_as_a_subresource() {
    let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl"]) else {
        return;
    };
    let server = ApiServer::start(&bed);
    server.install_crds("karpenter-v1beta1");
    server.install_crds("karpenter-v1alpha5");
    server.install_crds("capt");
    let claim = "
apiVersion: karpenter.sh/v1beta1
kind: NodeClaim
metadata: { name: one }
spec: {}
status: { nodeName: ip-10-0-0-1 }
";
    let read = |what: &str| {
        let mut get = server.kubectl(User::Admin);
        get.args(["get", "nodeclaim", "one", "-o", &format!("jsonpath={{{what}}}")]);
        succeed(output(get))
    };
    server.apply(claim);
    assert_eq!(read(".status.nodeName"), "");
    server.apply_status(claim);
    assert_eq!(read(".status.nodeName"), "ip-10-0-0-1");
}

#[test]
fn a_server_that_is_killed_refuses_connections() {
    let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl"]) else {
        return;
    };
    let mut server = ApiServer::start(&bed);
    let address = server.url().trim_start_matches("https://").to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    server.kill();
    assert!(std::net::TcpStream::connect(&address).is_err());
}

#[test]
fn moto_is_an_aws_with_an_account_a_cluster_and_a_role() {
    let Some(bed) = Testbed::require(&["moto", "awscli"]) else {
        return;
    };
    let moto = Moto::start(&bed);
    assert_eq!(moto.aws(&["sts", "get-caller-identity"])["Account"], ACCOUNT);
    let role = moto.aws(&[
        "iam",
        "create-role",
        "--role-name=AWSServiceRoleForEC2Spot",
        "--path=/aws-service-role/spot.amazonaws.com/",
        "--assume-role-policy-document={}",
    ]);
    let arn =
        format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot");
    assert_eq!(role["Role"]["Arn"], arn);
    let cluster = moto.aws(&[
        "eks",
        "create-cluster",
        "--name=demo",
        &format!("--role-arn=arn:aws:iam::{ACCOUNT}:role/cluster"),
        "--resources-vpc-config=subnetIds=subnet-1",
    ]);
    assert_eq!(
        cluster["cluster"]["arn"],
        format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/demo")
    );
}

#[test]
fn kubectl_and_both_helms_are_the_versions_that_the_readme_names() {
    let Some(bed) = Testbed::require(&["kubectl", "helm3", "helm4"]) else {
        return;
    };
    let home = tempfile::tempdir().expect("a temporary directory");
    for (name, arguments, version) in [
        ("kubectl", ["version", "--client"], "Client Version: v1.36."),
        ("helm3", ["version", "--short"], "v3.19."),
        ("helm4", ["version", "--short"], "v4.2."),
    ] {
        let mut command = bed.command(name, home.path());
        command.args(arguments);
        let out = succeed(output(command));
        assert!(out.starts_with(version), "{name}: {out}");
    }
}

#[test]
fn krews_validator_refuses_a_manifest_that_is_none() {
    let Some(bed) = Testbed::require(&["validate-krew-manifest", "krew"]) else {
        return;
    };
    let home = tempfile::tempdir().expect("a temporary directory");
    let manifest = home.path().join("capt-spot.yaml");
    std::fs::write(
        &manifest,
        "apiVersion: krew.googlecontainertools.github.com/v1alpha2\nkind: Plugin\n",
    )
    .expect("a file");
    let mut command = bed.command("validate-krew-manifest", home.path());
    command.arg("-manifest").arg(&manifest).arg("-skip-install");
    let out = run_with_stdin(command, "");
    let why = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && why.contains("plugin manifest validation error"),
        "{why}"
    );

    let mut version = bed.command("krew", home.path());
    version.arg("version").env("KREW_ROOT", home.path());
    assert!(succeed(output(version)).contains("GitTag"));
}

#[test]
fn a_token_of_the_aws_cli_is_accepted_by_the_real_authenticator() {
    let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl", "aws-iam-authenticator", "awscli"])
    else {
        return;
    };
    let ann = Identity::session(ACCOUNT, "admin", "ann@example.com");
    let mut authenticator = Authenticator::prepare(&bed, "demo", std::slice::from_ref(&ann));
    let server = authenticator.api_server(&bed);
    let aws_auth = |role: &str| {
        format!(
            "
apiVersion: v1
kind: ConfigMap
metadata: {{ name: aws-auth, namespace: kube-system }}
data:
  mapRoles: |
    - rolearn: arn:aws:iam::{ACCOUNT}:role/{role}
      username: 'cli:{{{{SessionName}}}}'
      groups: [system:masters]
"
        )
    };
    server.apply(&aws_auth("admin"));
    authenticator.follow(&server);

    let home = tempfile::tempdir().expect("a temporary directory");
    let whoami = |cluster: &str| {
        let mut get_token = bed.command("awscli", home.path());
        get_token
            .envs(ann.environment())
            .args(["eks", "get-token", "--cluster-name", cluster]);
        let credential: serde_json::Value = serde_json::from_str(&succeed(output(get_token))).expect("JSON");
        let token = credential["status"]["token"].as_str().expect("a token");
        let kubeconfig = home.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig("demo", token)).expect("a file");
        let mut whoami = server.kubectl(User::Nobody);
        whoami.env("KUBECONFIG", &kubeconfig);
        whoami.args([
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username} {.status.userInfo.groups}",
        ]);
        let out = output(whoami);
        if out.status.success() {
            Ok(succeed(out))
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    };
    // SessionName: the authenticator turns `@` into `-`.
    let mapped = r#"cli:ann-example.com ["system:masters","system:authenticated"]"#;
    until("aws-auth maps the role", || whoami("demo").is_ok());
    assert_eq!(whoami("demo").as_deref(), Ok(mapped));
    let refused = whoami("another").expect_err("a token signed for another cluster");
    assert!(refused.contains("Unauthorized"), "{refused}");

    server.apply(&aws_auth("path/admin"));
    until("aws-auth no longer maps the role", || whoami("demo").is_err());
    let refused = whoami("demo").expect_err("aws-auth never matches a role's path");
    assert!(refused.contains("Unauthorized"), "{refused}");
}
