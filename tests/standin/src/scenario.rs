//! Ready-made worlds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kubernetes::{Kubernetes, User};
use crate::world::{
    AccessEntry, Account, Addon, AuthenticationMode, Cluster, Decision, FargateProfile, InstanceProfile,
    OidcProvider, Quota, Role, Simulated, World, irsa_trust, principal_trust, service_trust,
};

/// The account of every scenario.
pub const ACCOUNT: &str = "111122223333";
/// The region of every scenario.
pub const REGION: &str = "eu-west-1";
/// The cluster of every scenario.
pub const CLUSTER: &str = "demo";
/// The access key id of the scenario's caller, the IAM user `platform-admin`, who may do everything.
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// A static Kubernetes token with which the scenario's caller is an administrator.
pub const ADMIN_TOKEN: &str = "admin-token";
/// A static Kubernetes token of a user who may only read what the built-in role `view` shows.
pub const VIEW_TOKEN: &str = "view-token";

/// A fresh account in which Karpenter is about to run on Fargate: everything is in order, but the service-linked role
/// `AWSServiceRoleForEC2Spot` has never been made. The cluster is in mode API_AND_CONFIG_MAP.
pub fn fresh_account_karpenter_on_fargate() -> World {
    karpenter_on_fargate(AuthenticationMode::ApiAndConfigMap)
}

/// The same account after the role was made: nothing is wrong.
pub fn healthy() -> World {
    let mut world = fresh_account_karpenter_on_fargate();
    world.account(ACCOUNT).add_spot_role();
    world
}

/// The fresh account with a cluster of this authentication mode.
///
/// What there is: node role `demo-node`, cluster role `demo-cluster`, Fargate pod execution role `demo-fargate`,
/// Karpenter's controller role `demo-karpenter` (IRSA, its trust names this cluster's issuer), all mapped as the mode has
/// it (the Fargate role in aws-auth, or by an entry in mode API); a Fargate profile for namespace `karpenter`, the
/// controller's Deployment and ServiceAccount, EC2NodeClass `default` with `spec.role: demo-node`, NodePool `default` that
/// says nothing about capacity type; the validation webhook of aws-auth; 32 vCPUs of Standard Spot.
pub fn karpenter_on_fargate(mode: AuthenticationMode) -> World {
    let mut account = Account::new(ACCOUNT);
    account.add_user(ACCESS_KEY, "platform-admin");
    let caller = account.iam_arn("user/platform-admin");
    account.quotas = vec![
        Quota::standard_spot(REGION, 32.0),
        Quota::ec2(REGION, "L-3819A6DF", "All G and VT Spot Instance Requests", 0.0),
    ];
    let api = add_cluster(&mut account, CLUSTER, mode, &caller);
    World {
        accounts: vec![account],
        kubernetes: vec![api],
        ..World::default()
    }
}

/// The accounts of an organization: [`ACCOUNT`] is the management account, whose user may take on the role [`FLEET_ROLE`] in each of
/// `accounts` others ([`fleet_account`]), which have the Spot role and `clusters` healthy clusters each ([`fleet_cluster`]).
pub fn fleet(accounts: usize, clusters: usize) -> World {
    let mut management = Account::new(ACCOUNT);
    management.add_user(ACCESS_KEY, "platform-admin");
    let mut world = World {
        accounts: vec![management],
        ..World::default()
    };
    for n in 0..accounts {
        let mut account = Account::new(&fleet_account(n));
        account.roles.push(Role::new(
            FLEET_ROLE,
            principal_trust(&format!("arn:aws:iam::{ACCOUNT}:root")),
        ));
        account.quotas = vec![Quota::standard_spot(REGION, 32.0)];
        let caller = account.iam_arn(&format!("role/{FLEET_ROLE}"));
        for cluster in 0..clusters {
            let name = fleet_cluster(n, cluster);
            let mode = AuthenticationMode::ApiAndConfigMap;
            world
                .kubernetes
                .push(add_cluster(&mut account, &name, mode, &caller));
        }
        account.add_spot_role();
        world.accounts.push(account);
    }
    world
}

/// The role of [`fleet`].
pub const FLEET_ROLE: &str = "capt-spot-reader";

/// The id of an account of [`fleet`].
pub fn fleet_account(n: usize) -> String {
    format!("2{n:011}")
}

/// The name of a cluster of [`fleet`], unique among all accounts.
pub fn fleet_cluster(account: usize, n: usize) -> String {
    format!("a{account}-c{n}")
}

/// Adds a cluster of this name with its roles, as [`karpenter_on_fargate`] has it, for this caller; its API goes into the world.
fn add_cluster(account: &mut Account, name: &str, mode: AuthenticationMode, caller: &str) -> Kubernetes {
    let mut cluster = Cluster::new(name, REGION, mode);
    let issuer = cluster.oidc_issuer.clone().unwrap_or_default();
    let issuer = issuer.trim_start_matches("https://").to_owned();
    let provider = account.iam_arn(&format!("oidc-provider/{issuer}"));
    account.oidc_providers.push(OidcProvider::irsa(&issuer));

    let policy = |name: &str| format!("arn:aws:iam::aws:policy/{name}");
    let own = |what: &str| format!("{name}-{what}");
    account.roles.extend([
        Role {
            attached_policies: vec![policy("AmazonEKSClusterPolicy")],
            ..Role::new(&own("cluster"), service_trust("eks.amazonaws.com"))
        },
        Role::node(&own("node")),
        Role {
            attached_policies: vec![policy("AmazonEKSFargatePodExecutionRolePolicy")],
            ..Role::new(&own("fargate"), service_trust("eks-fargate-pods.amazonaws.com"))
        },
        Role {
            attached_policies: vec![account.iam_arn(&format!("policy/KarpenterControllerPolicy-{name}"))],
            ..Role::new(
                &own("karpenter"),
                irsa_trust(&provider, &issuer, "karpenter", "karpenter"),
            )
        },
        // Who may administer the cluster through a role.
        Role::new(&own("admin"), principal_trust(&account.iam_arn("root"))),
    ]);
    // Karpenter's own policy does not hold this right.
    account.simulation.push(
        Simulated::new("iam:CreateServiceLinkedRole", Decision::ImplicitDeny)
            .for_source(&account.iam_arn(&format!("role/{name}-karpenter"))),
    );

    // The one that Karpenter makes for its EC2NodeClass.
    account
        .instance_profiles
        .insert(format!("{name}_1234567890"), InstanceProfile::of(&own("node")));

    let id = account.id.clone();
    let role = |what: &str| format!("arn:aws:iam::{id}:role/{name}-{what}");
    cluster.role_arn = role("cluster");
    cluster.fargate_profiles = vec![FargateProfile::new("karpenter", &role("fargate"), "karpenter")];
    cluster.addons = vec![
        Addon::new("coredns", "v1.12.4-eksbuild.1"),
        Addon::new("kube-proxy", "v1.34.0-eksbuild.4"),
        Addon::new("vpc-cni", "v1.20.4-eksbuild.1"),
    ];
    cluster.access_entries = match mode {
        AuthenticationMode::ConfigMap => Vec::new(),
        // The creator, and nobody else: the rest stands in aws-auth.
        AuthenticationMode::ApiAndConfigMap => vec![AccessEntry::cluster_admin(caller)],
        AuthenticationMode::Api => vec![
            AccessEntry::cluster_admin(caller),
            AccessEntry::cluster_admin(&role("admin")),
            AccessEntry::new(&role("node"), "EC2_LINUX"),
            AccessEntry::new(&role("fargate"), "FARGATE_LINUX"),
        ],
    };
    account.clusters.push(cluster);

    let mut api = Kubernetes::new(name);
    api.install_karpenter_v1();
    let roles = map_roles(&role("node"), &role("fargate"), &role("admin"), &own("admin"));
    match mode {
        AuthenticationMode::Api => {}
        // The caller has an entry, which would hide a line.
        AuthenticationMode::ApiAndConfigMap => {
            api.put_aws_auth(&[("mapRoles", &roles)]);
        }
        AuthenticationMode::ConfigMap => {
            api.put_aws_auth(&[("mapRoles", &roles), ("mapUsers", &map_users(caller))]);
        }
    }
    let admin = match mode {
        AuthenticationMode::ConfigMap => User::admin("platform-admin"),
        // An access entry's user name is the ARN, and its rights are a policy's, not a group's.
        _ => User {
            groups: Vec::new(),
            ..User::admin(caller)
        },
    };
    api.principals = BTreeMap::from([
        (caller.to_owned(), admin.clone()),
        (role("admin"), User::admin(&own("admin"))),
    ]);
    api.tokens = BTreeMap::from([
        (ADMIN_TOKEN.to_owned(), admin),
        (VIEW_TOKEN.to_owned(), User::new("viewer", &["viewers"], view())),
    ]);
    put_karpenter(&mut api, name, &role("karpenter"));
    api
}

/// What the built-in ClusterRole `view` grants of the kinds served here: no Secrets, no cluster-scoped kinds, and none of
/// Karpenter's (its chart aggregates into `admin` only).
fn view() -> crate::Access {
    use crate::{Access, Rule};
    Access::Rules(vec![Rule::new(
        &["get", "list", "watch"],
        &[
            "configmaps",
            "endpoints",
            "events",
            "namespaces",
            "persistentvolumeclaims",
            "pods",
            "serviceaccounts",
            "services",
            "daemonsets.apps",
            "deployments.apps",
            "replicasets.apps",
            "statefulsets.apps",
            "cronjobs.batch",
            "jobs.batch",
            "poddisruptionbudgets.policy",
        ],
    )])
}

fn map_roles(node: &str, fargate: &str, admin: &str, admin_name: &str) -> String {
    format!(
        "\
- rolearn: {node}
  username: system:node:{{{{EC2PrivateDNSName}}}}
  groups:
  - system:bootstrappers
  - system:nodes
- rolearn: {fargate}
  username: system:node:{{{{SessionName}}}}
  groups:
  - system:bootstrappers
  - system:nodes
  - system:node-proxier
- rolearn: {admin}
  username: {admin_name}
  groups:
  - system:masters
"
    )
}

fn map_users(user: &str) -> String {
    format!("- userarn: {user}\n  username: platform-admin\n  groups:\n  - system:masters\n")
}

/// Karpenter's objects: namespace, ServiceAccount (IRSA), Deployment with its pods and Fargate nodes, EC2NodeClass,
/// NodePool, and the cluster's aws-auth webhook.
fn put_karpenter(api: &mut Kubernetes, cluster: &str, controller_role: &str) {
    let labels = json!({
        "app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter",
        "app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/version": "1.8.1", "helm.sh/chart": "karpenter-1.8.1",
    });
    api.put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "karpenter" }, "status": { "phase": "Active" } }));
    api.put(json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "karpenter", "namespace": "karpenter", "labels": labels,
                      "annotations": { "eks.amazonaws.com/role-arn": controller_role } },
    }));
    let container = json!({
        "name": "controller",
        "image": "public.ecr.aws/karpenter/controller:1.8.1",
        "env": [
            { "name": "KUBERNETES_MIN_VERSION", "value": "1.19.0-0" },
            { "name": "LOG_LEVEL", "value": "info" },
            { "name": "FEATURE_GATES", "value": "ReservedCapacity=true,SpotToSpotConsolidation=false,NodeRepair=false" },
            { "name": "CLUSTER_NAME", "value": cluster },
            { "name": "INTERRUPTION_QUEUE", "value": cluster },
        ],
    });
    api.put(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "karpenter", "namespace": "karpenter", "labels": labels, "generation": 1 },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter" } },
            "template": {
                "metadata": { "labels": { "app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter" } },
                "spec": { "serviceAccountName": "karpenter", "containers": [container] },
            },
        },
        "status": { "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2, "observedGeneration": 1 },
    }));
    for (number, node) in [
        (1, "fargate-ip-10-0-1-11.eu-west-1.compute.internal"),
        (2, "fargate-ip-10-0-2-12.eu-west-1.compute.internal"),
    ] {
        api.put(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": node, "labels": {
                "eks.amazonaws.com/compute-type": "fargate", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": node,
            }},
            "spec": { "taints": [{ "key": "eks.amazonaws.com/compute-type", "value": "fargate", "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }] },
        }));
        api.put(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("karpenter-6d8f7c9b5d-0000{number}"), "namespace": "karpenter", "labels": {
                "app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter",
                "eks.amazonaws.com/fargate-profile": "karpenter",
            }},
            "spec": { "serviceAccountName": "karpenter", "nodeName": node, "containers": [container] },
            "status": { "phase": "Running" },
        }));
    }
    api.put(json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass",
        "metadata": { "name": "default", "generation": 1 },
        "spec": {
            "role": format!("{cluster}-node"),
            "amiSelectorTerms": [{ "alias": "al2023@latest" }],
            "subnetSelectorTerms": [{ "tags": { "karpenter.sh/discovery": cluster } }],
            "securityGroupSelectorTerms": [{ "tags": { "karpenter.sh/discovery": cluster } }],
        },
        "status": { "instanceProfile": format!("{cluster}_1234567890"), "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready" }] },
    }));
    api.put(node_pool(
        "default",
        &json!([
            { "key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"] },
            { "key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c", "m", "r"] },
        ]),
    ));
    api.put(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "eks-aws-auth-configmap-validation-webhook" },
        "webhooks": [{
            "name": "eks-aws-auth-configmap-validation-webhook.amazonaws.com", "failurePolicy": "Ignore",
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"] }],
        }],
    }));
}

/// A NodePool (v1) of this name with these requirements, for EC2NodeClass `default`.
pub fn node_pool(name: &str, requirements: &Value) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool",
        "metadata": { "name": name, "generation": 1 },
        "spec": {
            "template": { "spec": {
                "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
                "requirements": requirements,
                "expireAfter": "720h",
            }},
            "disruption": { "consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "1m" },
        },
        "status": { "conditions": [
            { "type": "NodeClassReady", "status": "True", "reason": "NodeClassReady" },
            { "type": "Ready", "status": "True", "reason": "Ready" },
        ]},
    })
}
