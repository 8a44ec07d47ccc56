//! Facts for tests of pure parts: a cluster where everything is good, to be damaged one thing at a time.

use jiff::Timestamp;

use super::spot_role::role_arn;
use super::*;
use crate::karpenter::instances::SpotQuota;
use crate::karpenter::objects::{NodeClass, NodeClassKind, NodeOs, NodePool};
use crate::karpenter::traces::NodeFold;
use crate::model::{CommandScope, DeniedBy, Grant};
use eks_aws_auth::AuthenticationMode;

/// The account of the fixture.
pub const ACCOUNT: &str = "111122223333";

/// IAM's trust policy of the service-linked role.
pub const SPOT_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"spot.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

pub fn known<T>(call: &str, value: T) -> Fact<T> {
    Fact::new(call, Observed::Known(value))
}

/// A denied IAM action.
pub fn denied<T>(action: &str) -> Fact<T> {
    let grant = Grant::Iam {
        action: action.to_owned(),
        resource: "*".to_owned(),
    };
    Fact::new(
        action,
        Observed::Unknown(Unknown::denied(DeniedBy::MissingAllow, "", grant)),
    )
}

/// A fact that could not be read because nothing answered.
pub fn unreachable<T>(call: &str) -> Fact<T> {
    Fact::new(
        call,
        Observed::Unknown(Unknown::new(Why::Unreachable, "Connection refused")),
    )
}

pub fn absent<T>(call: &str) -> Fact<T> {
    Fact::new(call, Observed::Absent)
}

pub fn role(name: &str) -> crate::model::Role {
    crate::model::Role {
        name: name.to_owned(),
        path: "/".to_owned(),
        arn: format!("arn:aws:iam::{ACCOUNT}:role/{name}"),
        id: "AROAEXAMPLE".to_owned(),
        created: Some(Timestamp::UNIX_EPOCH),
        trust: SPOT_TRUST.replace("spot.", "ec2."),
        boundary: None,
    }
}

pub fn spot_role() -> crate::model::Role {
    crate::model::Role {
        path: crate::model::SPOT_ROLE_PATH.to_owned(),
        arn: role_arn("aws", ACCOUNT),
        trust: SPOT_TRUST.to_owned(),
        ..role(SPOT_ROLE)
    }
}

/// Everything is good: cluster `demo`, Karpenter not there yet, `demo-node` in IAM.
pub fn healthy() -> Facts {
    let server = "https://ABC.gr7.eu-west-1.eks.amazonaws.com";
    let caller = sts::Caller {
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/Admin/alice"),
        account: ACCOUNT.to_owned(),
        user_id: "AROAADMIN:alice".to_owned(),
    };
    let node_role = NodeRole {
        named_by: NamedBy::Convention,
        given: "demo-node".to_owned(),
        name: "demo-node".to_owned(),
        instance_profile: None,
        os: NodeOs::Linux,
        role: known("iam:GetRole demo-node", role("demo-node")),
        profiles_in_use: Vec::new(),
    };
    Facts {
        format: FORMAT.to_owned(),
        version: "0.0.0".to_owned(),
        gathered_at: Timestamp::UNIX_EPOCH,
        redacted: false,
        ask: Ask::default(),
        target: Target {
            context: "demo".to_owned(),
            cluster: "demo".to_owned(),
            region: "eu-west-1".to_owned(),
            partition: "aws".to_owned(),
            account: None,
            server: server.to_owned(),
            profile: None,
            role_arn: None,
            certificate_authority_sha256: None,
            insecure: false,
            scope: CommandScope {
                context: Some("demo".to_owned()),
                ..CommandScope::default()
            },
            clues: Vec::new(),
            disagreements: Vec::new(),
        },
        caller: known("sts:GetCallerIdentity", caller),
        caller_role: known("iam:GetRole Admin", role("Admin")),
        caller_may_create: Fact::not_asked("iam:SimulatePrincipalPolicy", "the role is not missing"),
        cluster: known(
            "eks:DescribeCluster demo",
            eks::Cluster {
                name: "demo".to_owned(),
                arn: format!("arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/demo"),
                status: "ACTIVE".to_owned(),
                endpoint: Some(server.to_owned()),
                version: Some("1.34".to_owned()),
                platform_version: Some("eks.12".to_owned()),
                authentication_mode: AuthenticationMode::ConfigMap,
                oidc_issuer: Some("https://oidc.eks.eu-west-1.amazonaws.com/id/ABC".to_owned()),
                certificate_authority_sha256: None,
                certificate_authority_data: None,
                auto_mode: false,
                role_arn: None,
                created: Some(Timestamp::UNIX_EPOCH),
            },
        ),
        access_entries: absent("eks:ListAccessEntries demo"),
        entry_policies_unread: BTreeMap::new(),
        spot_role: known("iam:GetRole AWSServiceRoleForEC2Spot", spot_role()),
        spot_role_policies: known(
            "iam:ListAttachedRolePolicies AWSServiceRoleForEC2Spot",
            vec!["arn:aws:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy".to_owned()],
        ),
        kubernetes_user: known(
            "create selfsubjectreviews.authentication.k8s.io",
            access::KubernetesUser {
                username: "admin".to_owned(),
                groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
                canonical_arn: None,
            },
        ),
        aws_auth: known(
            "get configmaps/aws-auth in kube-system",
            aws_auth::AwsAuth::new(
                [(
                    "mapRoles".to_owned(),
                    format!(
                        "- rolearn: arn:aws:iam::{ACCOUNT}:role/demo-node\n  username: system:node:{{{{EC2PrivateDNSName}}}}\n  groups: [system:bootstrappers, system:nodes]\n- rolearn: arn:aws:iam::{ACCOUNT}:role/Admin\n  username: admin\n  groups: [system:masters]\n"
                    ),
                )]
                .into(),
                Vec::new(),
            ),
        ),
        validation_webhook: absent("get validatingwebhookconfigurations"),
        compute: compute::Compute {
            fargate_profiles: known("eks:ListFargateProfiles demo", Vec::new()),
            fargate_roles: BTreeMap::new(),
            node_groups: known("eks:ListNodegroups demo", Vec::new()),
        },
        pools: karpenter::Pools {
            node_pools: absent("list nodepools.karpenter.sh"),
            node_classes: absent("list ec2nodeclasses.karpenter.k8s.aws"),
            auto_mode_classes: Fact::not_asked("list nodeclasses.eks.amazonaws.com", "EKS Auto Mode is off"),
        },
        node_roles: known("iam:GetRole demo-node", vec![node_role]),
        controller: controller::Controller {
            deployments: known("list deployments.apps", karpenter::List::default()),
            ..controller::Controller::not_asked(&Ask::default())
        },
        traces: traces::Traces {
            events: known(
                "list events",
                traces::Events {
                    sample_oldest: at("1969-12-31T23:10:00Z"),
                    ..traces::Events::default()
                },
            ),
            claims: absent("list nodeclaims.karpenter.sh"),
            nodes: Fact::not_asked("list nodes", "there is no node pool and no node claim"),
            never_joined: Vec::new(),
        },
        launching: launching::Launching::not_asked("Karpenter's controller is not there"),
        spot_quotas: vec![quota(SpotQuota::Standard, 32.0)],
        may_install: known(
            "create selfsubjectaccessreviews.authorization.k8s.io",
            vec![install::Review {
                needed: install::Needed::everything(),
                allowed: true,
            }],
        ),
        cluster_admins: vec![cluster_admins::ClusterAdmin {
            arn: role("Admin").arn,
            role: known("iam:GetRole Admin", role("Admin")),
            may_assume: Fact::not_asked(
                "iam:SimulatePrincipalPolicy sts:AssumeRole",
                "the caller is a session of it",
            ),
        }],
        calls: Vec::new(),
    }
}

/// The cluster of the fixture, to be damaged.
pub(crate) fn known_cluster(facts: &mut Facts) -> &mut eks::Cluster {
    match &mut facts.cluster.observed {
        Observed::Known(cluster) => cluster,
        other => panic!("{other:?}"),
    }
}

/// A time; the fixture's facts were gathered at 1970-01-01T00:00:00Z.
pub fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().expect("a good time"))
}

/// A quota in vCPUs.
pub fn quota(quota: SpotQuota, vcpus: f64) -> quotas::QuotaFact {
    quotas::QuotaFact {
        quota,
        vcpus: known(
            &format!("servicequotas:GetServiceQuota ec2 {}", quota.code()),
            vcpus,
        ),
    }
}

/// A NodePool `NAME` of v1 with these requirements.
pub fn node_pool(name: &str, requirements: serde_json::Value) -> NodePool {
    let item = serde_json::json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
        "spec": {"template": {"spec": {
            "requirements": requirements,
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
        }}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}
    });
    NodePool::from_json(&item, None).expect("a good pool")
}

/// The requirement on the capacity type.
pub fn capacity_type(values: &[&str]) -> serde_json::Value {
    serde_json::json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": values}])
}

pub fn with_pools(facts: &mut Facts, pools: Vec<NodePool>) {
    facts.pools.node_pools = known(
        "list nodepools.karpenter.sh",
        karpenter::List {
            items: pools,
            broken: Vec::new(),
        },
    );
}

/// The same pool with other conditions.
pub fn with_conditions(pool: NodePool, conditions: serde_json::Value) -> NodePool {
    let item = serde_json::json!({
        "apiVersion": "karpenter.sh/v1", "metadata": {"name": "x"}, "spec": {"template": {"spec": {}}},
        "status": {"conditions": conditions}
    });
    let conditions = NodePool::from_json(&item, None)
        .expect("good conditions")
        .conditions;
    NodePool { conditions, ..pool }
}

/// The EC2NodeClass `default`, ready.
pub fn node_class() -> NodeClass {
    let item = serde_json::json!({
        "metadata": {"name": "default"},
        "spec": {"role": "demo-node", "amiSelectorTerms": [{"alias": "al2023@latest"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}
    });
    NodeClass::from_json(&item, NodeClassKind::Ec2NodeClass).expect("a good class")
}

pub fn with_classes(facts: &mut Facts, classes: Vec<NodeClass>) {
    facts.pools.node_classes = known(
        "list ec2nodeclasses.karpenter.k8s.aws",
        karpenter::List {
            items: classes,
            broken: Vec::new(),
        },
    );
}

/// The controller's role: IRSA for kube-system/karpenter.
pub fn controller_role() -> crate::model::Role {
    let issuer = "oidc.eks.eu-west-1.amazonaws.com/id/ABC";
    crate::model::Role {
        trust: serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}")},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                format!("{issuer}:sub"): "system:serviceaccount:kube-system:karpenter",
                format!("{issuer}:aud"): "sts.amazonaws.com"
            }}
        }]})
        .to_string(),
        ..role("demo-karpenter")
    }
}

/// Karpenter 1.8 runs well: IRSA, a pool that says nothing about the capacity type, one spot node that has joined.
pub fn with_karpenter() -> Facts {
    let mut facts = healthy();
    with_pools(&mut facts, vec![node_pool("general", serde_json::json!([]))]);
    with_classes(&mut facts, vec![node_class()]);
    facts.launching = launching::Launching {
        controller_pods: known("list pods in kube-system", Vec::new()),
        log: Fact::not_asked("get pods/log in kube-system", "there is none in this fixture"),
        kms_keys: Vec::new(),
    };
    let deployment = serde_json::json!({
        "metadata": {"name": "karpenter", "namespace": "kube-system"},
        "spec": {"replicas": 2, "template": {"spec": {
            "serviceAccountName": "karpenter",
            "containers": [{"name": "controller", "image": "public.ecr.aws/karpenter/controller:1.8.1",
                            "env": [{"name": "CLUSTER_NAME", "value": "demo"}, {"name": "INTERRUPTION_QUEUE", "value": "demo"}]}]
        }}},
        "status": {"readyReplicas": 2}
    });
    let account = serde_json::json!({"metadata": {"name": "karpenter", "namespace": "kube-system",
        "annotations": {"eks.amazonaws.com/role-arn": controller_role().arn}}});
    facts.controller = controller::Controller {
        deployments: known(
            "list deployments.apps",
            karpenter::List {
                items: vec![Deployment::from_json(&deployment).expect("a good Deployment")],
                broken: Vec::new(),
            },
        ),
        service_account: known(
            "get serviceaccounts/karpenter in kube-system",
            crate::karpenter::objects::ServiceAccount::from_json(&account).expect("a good account"),
        ),
        pods: known(
            "list pods in kube-system",
            controller::ControllerPods {
                total: 2,
                on_fargate: 0,
            },
        ),
        associations: known("eks:ListPodIdentityAssociations demo", Vec::new()),
        association: absent("eks:ListPodIdentityAssociations demo"),
        addon: absent("eks:DescribeAddon demo eks-pod-identity-agent"),
        agent_pods: absent("get daemonsets.apps/eks-pod-identity-agent in kube-system"),
        oidc_provider: known(
            "iam:GetOpenIDConnectProvider",
            crate::model::OidcProvider {
                arn: format!("arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"),
                audiences: vec!["sts.amazonaws.com".to_owned()],
            },
        ),
        role: known("iam:GetRole demo-karpenter", controller_role()),
        may_create: Fact::not_asked("iam:SimulatePrincipalPolicy", "the role is not missing"),
        may_launch: Fact::not_asked("iam:SimulatePrincipalPolicy", "filled in below"),
    };
    facts.controller.may_launch = known("iam:SimulatePrincipalPolicy", allowed_to_launch(&facts));
    let mut claims = ClaimFold::new(Timestamp::UNIX_EPOCH);
    claims.add_json(&claim(
        "general-aaaaa",
        serde_json::json!([{"type": "Launched", "status": "True"}, {"type": "Registered", "status": "True"}]),
    ));
    facts.traces.claims = known("list nodeclaims.karpenter.sh", claims);
    let mut nodes = NodeFold::default();
    nodes.add_json(&node("general", "spot"));
    facts.traces.nodes = known("list nodes", nodes);
    facts.may_install = Fact::not_asked("create selfsubjectaccessreviews", "Karpenter is installed");
    facts
}

/// The simulator allows everything that a launch takes.
fn allowed_to_launch(facts: &Facts) -> Vec<launch_permissions::Permitted> {
    let paths = facts
        .pools
        .launch_paths(&facts.ask, &facts.target, &facts.cluster);
    let scope = launch_permissions::scope(&paths, &facts.target, ACCOUNT, &facts.controller, &facts.ask);
    let requests = scope.map(|scope| scope.requests()).unwrap_or_default();
    requests
        .into_iter()
        .map(|request| launch_permissions::Permitted {
            action: request.action.to_owned(),
            resource: request.resource,
            decided: crate::model::Decided::plain(crate::model::SimulatedDecision::Allowed),
        })
        .collect()
}

/// A NodeClaim of the pool `general`, an hour old.
pub fn claim(name: &str, conditions: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"name": name, "creationTimestamp": "1969-12-31T23:00:00Z",
                     "labels": {"karpenter.sh/nodepool": "general"}},
        "spec": {"nodeClassRef": {"name": "default"}},
        "status": {"conditions": conditions}
    })
}

pub fn node(pool: &str, capacity_type: &str) -> serde_json::Value {
    serde_json::json!({"metadata": {"name": "n", "labels":
        {"karpenter.sh/nodepool": pool, "karpenter.sh/capacity-type": capacity_type}}})
}

/// A warning Event about the NodeClaim `general-aaaaa`.
pub fn event(reason: &str, message: &str, last_seen: &str) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "NodeClaim", "name": "general-aaaaa"},
        "reason": reason, "message": message, "type": "Warning", "lastTimestamp": last_seen, "count": 3
    })
}

/// An aws-auth with this `mapRoles`.
pub fn map_roles(text: &str) -> eks_aws_auth::AwsAuth {
    eks_aws_auth::AwsAuth::parse(&[("mapRoles".to_owned(), text.to_owned())].into())
}

/// An access entry with AmazonEKSClusterAdminPolicy, for the whole cluster or a namespace.
pub fn admin_entry(arn: &str, scope: &str) -> AccessEntry {
    let policy = eks_aws_auth::AssociatedPolicy {
        policy_arn: "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy".into(),
        access_scope: eks_aws_auth::AccessScope {
            kind: scope.into(),
            namespaces: vec!["a".into()],
        },
    };
    AccessEntry {
        policies: Some(vec![policy]),
        ..AccessEntry::new(arn, eks_aws_auth::EntryType::Standard, "u", &[])
    }
}
