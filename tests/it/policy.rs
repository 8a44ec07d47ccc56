//! `policy read|create|rbac` print exactly what the program calls, compared with a record of the calls it makes.

use std::collections::BTreeSet;

use capt_spot_standin::{
    AuthenticationMode, AutoMode, InstanceProfile, KmsKey, Nodegroup, PodIdentity, scenario,
};
use serde_json::{Value, json};

use crate::support::program::Stage;

/// Worlds that between them need every read: each authentication mode, a missing and a present role, instance profiles, a
/// managed node group, the old kinds, no Karpenter at all, Pod Identity, and a kubeconfig that names no cluster.
fn worlds() -> Vec<Stage> {
    let mut stages = Vec::new();
    for mode in [
        AuthenticationMode::ConfigMap,
        AuthenticationMode::ApiAndConfigMap,
        AuthenticationMode::Api,
    ] {
        stages.push(Stage::new(scenario::karpenter_on_fargate(mode)));
    }
    let mut world = scenario::healthy();
    let account = world.account(scenario::ACCOUNT);
    account
        .instance_profiles
        .insert("demo-profile".to_owned(), InstanceProfile::of("demo-node"));
    let group = Nodegroup::new("system", &account.iam_arn("role/system-nodes"));
    world.cluster(scenario::CLUSTER).nodegroups.push(group);
    let mut key = KmsKey::new(
        scenario::REGION,
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        scenario::ACCOUNT,
    );
    key.alias = Some("alias/nodes".to_owned());
    world.account(scenario::ACCOUNT).kms_keys.push(key);
    world.kubernetes(scenario::CLUSTER).put(json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "by-profile"},
        "spec": {"instanceProfile": "demo-profile", "amiSelectorTerms": [{"alias": "al2023@latest"}],
                 "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"kmsKeyID": "alias/nodes"}}]}
    }));
    let mut pool = scenario::node_pool("by-profile", &json!([]));
    pool["spec"]["template"]["spec"]["nodeClassRef"]["name"] = json!("by-profile");
    world.kubernetes(scenario::CLUSTER).put(pool);
    stages.push(Stage::new(world));
    let mut world = scenario::healthy();
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    kubernetes.uninstall("karpenter.sh", "v1");
    kubernetes.uninstall("karpenter.k8s.aws", "v1");
    kubernetes.install_karpenter_v1alpha5();
    stages.push(Stage::new(world));
    let mut world = scenario::healthy();
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    kubernetes.uninstall("karpenter.sh", "v1");
    kubernetes.uninstall("karpenter.k8s.aws", "v1");
    stages.push(Stage::new(world));
    // EKS Auto Mode beside it.
    let mut world = scenario::healthy();
    let role = world.account(scenario::ACCOUNT).iam_arn("role/demo-node");
    world.cluster(scenario::CLUSTER).auto_mode = Some(AutoMode {
        enabled: true,
        node_pools: vec!["general-purpose".to_owned()],
        node_role_arn: Some(role),
    });
    stages.push(Stage::new(world));
    // Pod Identity instead of IRSA.
    let mut world = scenario::healthy();
    let role = world.account(scenario::ACCOUNT).iam_arn("role/demo-karpenter");
    let association = PodIdentity::new("karpenter", "karpenter", &role);
    world.cluster(scenario::CLUSTER).pod_identities.push(association);
    stages.push(Stage::new(world));
    // A static token and names that tell nothing: the cluster is found by its endpoint.
    let stage = Stage::healthy();
    let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER);
    stage.write_kubeconfig(&kubeconfig.cluster_api(scenario::ADMIN_TOKEN).named("x", "x", "x"));
    stages.push(stage);
    stages
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Value::String(one) => vec![one.clone()],
        _ => Vec::new(),
    }
}

#[test]
fn the_read_policy_is_exactly_what_is_called() {
    let mut called = BTreeSet::new();
    for stage in worlds() {
        let ran = stage.preflight(&[]);
        assert!(ran.code == 0 || ran.code == 1, "{} {}", ran.stdout, ran.stderr);
        assert_eq!(stage.writes(), [""; 0]);
        called.extend(
            stage
                .standin
                .calls()
                .iter()
                .filter(|call| call.kubernetes.is_none())
                .map(|call| call.action.clone()),
        );
    }
    // Everybody may ask who they are.
    called.remove("sts:GetCallerIdentity");
    let policy = Stage::healthy().run(&["policy", "read"]).expect(0).json();
    let granted: BTreeSet<String> = policy["Statement"]
        .as_array()
        .expect("statements")
        .iter()
        .flat_map(|s| strings(&s["Action"]))
        .collect();
    assert_eq!(called, granted);
    assert!(granted.iter().all(|action| !action.contains('*')));
}

#[test]
fn the_create_policy_allows_the_one_role_and_nothing_else() {
    let policy = Stage::healthy()
        .run(&["policy", "create", "--region", "cn-north-1"])
        .expect(0)
        .json();
    assert_eq!(
        policy["Statement"],
        json!([{
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": "arn:aws-cn:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
            "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}}
        }])
    );
}

#[test]
fn a_policy_can_be_narrowed_to_one_cluster() {
    let args = [
        "policy",
        "read",
        "--account",
        "111122223333",
        "--region",
        "eu-west-1",
        "--cluster-name",
        "demo",
    ];
    let text = Stage::healthy().run(&args).expect(0).stdout;
    assert!(
        text.contains("arn:aws:eks:eu-west-1:111122223333:cluster/demo"),
        "{text}"
    );
    assert!(!text.contains("PARTITION") && !text.contains("ACCOUNT"), "{text}");
    Stage::healthy()
        .run(&["policy", "read", "--account", "12"])
        .expect(2);
}

#[test]
fn the_rbac_rules_are_exactly_what_is_called() {
    // Reviews of oneself are everybody's (ClusterRole system:basic-user), discovery too (system:discovery).
    let review = |group: &str| matches!(group, "authentication.k8s.io" | "authorization.k8s.io");
    let mut called = BTreeSet::new();
    for stage in worlds() {
        stage.preflight(&[]);
        stage.run(&["access", "list"]);
        for call in stage.standin.calls() {
            let Some(asked) = call.kubernetes else { continue };
            if !asked.resource.is_empty() && !review(&asked.group) {
                let resource = match asked.subresource.as_str() {
                    "" => asked.resource,
                    sub => format!("{}/{sub}", asked.resource),
                };
                called.insert((asked.group, resource, asked.verb));
            }
        }
    }
    let list = Stage::healthy()
        .run(&["policy", "rbac", "-o", "json"])
        .expect(0)
        .json();
    let mut granted = BTreeSet::new();
    for object in list["items"].as_array().expect("items") {
        for rule in object["rules"].as_array().into_iter().flatten() {
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        granted.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    assert_eq!(called, granted);
    assert!(
        granted.iter().all(|(_, _, verb)| verb == "get" || verb == "list"),
        "reads only"
    );
}

#[test]
fn rbac_binds_whom_it_is_told() {
    let stage = Stage::healthy();
    let subject = |args: &[&str]| {
        let mut all = vec!["policy", "rbac", "-o", "json"];
        all.extend(args);
        let list = stage.run(&all).expect(0).json();
        list["items"][1]["subjects"][0].clone()
    };
    assert_eq!(subject(&[])["name"], "capt-spot");
    assert_eq!(subject(&["--user", "alice"])["kind"], "User");
    assert_eq!(subject(&["--service-account", "ci/runner"])["namespace"], "ci");
    stage
        .run(&["policy", "rbac", "--service-account", "runner"])
        .expect(2);
    stage
        .run(&["policy", "rbac", "--user", "a", "--group", "b"])
        .expect(2);
}
