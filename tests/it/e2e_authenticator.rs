//! The token that the program makes in process, judged by the real aws-iam-authenticator as the API server's token webhook.

use serde_json::{Value, json};

use crate::e2e::{AWS_AUTH, account_with_the_role, set_up, trusting};
use crate::support::shell::{Shell, cluster_arn};
use crate::support::testbed::{
    ACCOUNT, Authenticator, Identity, Moto, REGION, Testbed, User, output, succeed, until,
};

const PARTS: &[&str] = &[
    "kube-apiserver",
    "kubectl",
    "moto",
    "awscli",
    "aws-iam-authenticator",
];

/// The nodes are mapped, and one more role.
fn aws_auth(role: &str, username: &str) -> String {
    format!(
        "{AWS_AUTH}    - rolearn: arn:aws:iam::{ACCOUNT}:role/{role}
      username: '{username}'
      groups: [capt-spot, 'team:spot']
"
    )
}

/// Ann assumes a role in moto's account; the same keys are known to the authenticator's STS.
fn ann(moto: &Moto) -> Identity {
    let trust = trusting(&json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:root") }));
    let role = json!({ "RoleName": "operator", "AssumeRolePolicyDocument": trust });
    moto.call("iam", "create_role", &role);
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/operator");
    let session = json!({ "RoleArn": arn, "RoleSessionName": "ann@example.com" });
    let assumed = moto.call("sts", "assume_role", &session);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    Identity {
        access_key_id: text(&assumed["Credentials"]["AccessKeyId"]),
        secret_access_key: text(&assumed["Credentials"]["SecretAccessKey"]),
        session_token: text(&assumed["Credentials"]["SessionToken"]),
        arn: text(&assumed["AssumedRoleUser"]["Arn"]),
        account: ACCOUNT.to_owned(),
        user_id: text(&assumed["AssumedRoleUser"]["AssumedRoleId"]),
    }
}

#[test]
fn a_token_of_ours_is_accepted_and_the_report_says_who_the_cluster_takes_us_for() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let moto = account_with_the_role(&bed);
    let ann = ann(&moto);
    let mut authenticator = Authenticator::prepare(&bed, "demo", std::slice::from_ref(&ann));
    let server = authenticator.api_server(&bed);
    set_up(&server);
    server.apply(&aws_auth("operator", "aws:{{AccountID}}:{{SessionName}}"));
    authenticator.follow(&server);

    // What `aws eks update-kubeconfig` writes. There is no `aws` on the shell's PATH.
    let exec = |cluster: &str| {
        json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws", "interactiveMode": "Never",
            "args": ["--region", REGION, "eks", "get-token", "--cluster-name", cluster, "--output", "json"]
        }})
    };
    let context = cluster_arn(ACCOUNT);
    moto.cluster_is(&server);
    let mut environment = moto.environment();
    environment.extend(ann.environment());
    let shell = Shell::new(
        &bed,
        &server.kubeconfig_with(&context, &exec("demo")),
        environment,
    );

    // Real kubectl with a token of the real AWS CLI, which is told the same as we are.
    let mut get_token = bed.command("awscli", shell.home());
    get_token
        .envs(ann.environment())
        .args(["eks", "get-token", "--cluster-name", "demo"]);
    let credential: Value = serde_json::from_str(&succeed(output(get_token))).expect("JSON");
    let token = credential["status"]["token"].as_str().expect("a token");
    let with_token = server.kubeconfig(&context, token);
    let with_exec = server.kubeconfig_with(&context, &exec("demo"));
    shell.write_kubeconfig(&with_token);
    until("aws-auth maps the role", || {
        shell.kubectl(&["auth", "whoami"]).code == 0
    });

    shell.write_kubeconfig(&with_exec);
    // The group of aws-auth has no rights yet: who one is comes before what one may.
    let report = shell.preflight(3, &[]);
    assert_eq!(report.json["caller"]["arn"], ann.arn);
    // SessionName: the authenticator turns `@` into `-`.
    assert_eq!(
        report.json["caller"]["kubernetesUser"],
        format!("aws:{ACCOUNT}:ann-example.com")
    );
    report.expect_unknown("pools-want-spot", "denied by the cluster's RBAC");

    // The default subject of `policy rbac` is the group capt-spot, which aws-auth gives.
    let printed = shell.capt_spot(&["policy", "rbac"]).expect(0);
    server.apply(&printed.stdout);
    let report = shell.preflight(0, &[]);
    report.expect_status("pools-want-spot", "pass");

    shell.write_kubeconfig(&with_token);
    let whoami = shell.kubectl(&["auth", "whoami", "-o", "json"]).expect(0);
    let whoami: Value = serde_json::from_str(&whoami.stdout).expect("JSON");
    let user = &whoami["status"]["userInfo"];
    assert_eq!(user["username"], report.json["caller"]["kubernetesUser"]);
    assert_eq!(
        user["groups"],
        json!(["capt-spot", "team:spot", "system:authenticated"])
    );

    // A token for another cluster is refused: unknown, with the reason, and never as if nothing were there.
    shell.write_kubeconfig(&server.kubeconfig_with(&context, &exec("another")));
    let report = shell.preflight(1, &["--cluster-name", "demo"]);
    assert_eq!(report.ids("fail"), ["caller-mapped"], "{:#}", report.json);
    // aws-auth does map the role, and could not be read.
    let why = report.message("caller-mapped");
    assert!(
        why.contains("aws-auth could not be read with it; either"),
        "{why}"
    );
    report.expect_unknown("pools-want-spot", "does not accept the token (401 Unauthorized)");

    // Nor is a role accepted any more that is gone from aws-auth. The admin sees who wrote it, we don't.
    server.apply(&aws_auth("somebody-else", "somebody"));
    shell.write_kubeconfig(&with_token);
    until("aws-auth no longer maps the role", || {
        shell.kubectl(&["auth", "whoami"]).code != 0
    });
    shell.write_kubeconfig(&with_exec);
    let report = shell.preflight(1, &[]);
    assert_eq!(report.ids("fail"), ["caller-mapped"], "{:#}", report.json);
    report.expect_unknown("node-role-known", "does not accept the token (401 Unauthorized)");
    assert_eq!(report.json["caller"]["kubernetesUser"], json!(null));
    assert_eq!(server.writes_of(User::Viewer), []);
}
